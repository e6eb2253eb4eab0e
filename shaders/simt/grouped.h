/* shaders/simt/grouped.h: pairs (token, slot) of a grouped_matmul, and what grouped_sort leaves in the workspace for
 * the products (backends/gpu/grouped.c):
 *
 *   tiles in all, three words unused
 *   tiles [extra[2]]: expert (their number: none), first pair in the order, pairs, unused
 *   order [pairs]: pair numbers, by expert
 *
 * args.extra: its offset in the workspace; pairs of a tile; upper bound of tiles. */
#ifndef HY_SIMT_GROUPED_H
#define HY_SIMT_GROUPED_H

#include "shaders/simt/common.h"

HY_DEVICE u32 grouped_experts(const hy_args &args) {
    return args.operand[HY_GROUPED_MATMUL_w].dim[0];
}
HY_DEVICE u32 grouped_slots(const hy_args &args) {
    return args.operand[HY_GROUPED_MATMUL_ids].dim[1];
}
HY_DEVICE u32 grouped_pairs(const hy_args &args) {
    return hy_count(args, HY_GROUPED_MATMUL_ids) * grouped_slots(args);
}

/* The expert of a pair; the number of experts: none. */
HY_DEVICE u32 grouped_expert(const hy_args &args, u32 pair) {
    const u32 slots = grouped_slots(args);
    const u32 id = ((const u32 *)hy_row(args, HY_GROUPED_MATMUL_ids, pair / slots))[pair % slots];
    return hy_min(id, grouped_experts(args));
}

/* The row of x that a pair multiplies. */
HY_DEVICE u32 grouped_x_row(const hy_args &args, u32 pair) {
    return args.operand[HY_GROUPED_MATMUL_x].dim[1] == 1u ? pair / grouped_slots(args) : pair;
}

HY_DEVICE u32 *grouped_work(const hy_args &args) {
    return (u32 *)(args.workspace + args.extra[0]);
}
HY_DEVICE u32 grouped_tile_count(const hy_args &args) {
    return grouped_work(args)[0];
}
HY_DEVICE u32x4 *grouped_tiles(const hy_args &args) {
    return (u32x4 *)(grouped_work(args) + 4);
}
HY_DEVICE u32 *grouped_order(const hy_args &args) {
    return (u32 *)(grouped_tiles(args) + args.extra[2]);
}

#endif

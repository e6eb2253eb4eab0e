/* shaders/vulkan/grouped_work.glsl: pairs (token, slot) of a grouped_matmul, and what the sort leaves in the
 * workspace for the products (backends/gpu/grouped.c):
 *
 *   tiles in all, three words unused
 *   tiles [extra[2]]: expert (their number: none), first pair in the order, pairs, unused
 *   order [pairs]: pair numbers, by expert
 *
 * args.extra: its offset in the workspace; pairs of a tile; upper bound of tiles. */
#ifndef HY_GROUPED_WORK_GLSL
#define HY_GROUPED_WORK_GLSL

#include "common.glsl"

#define GROUPED_COLUMNS ARGS.extra[1]
#define GROUPED_TILES ARGS.extra[2]

uint grouped_experts() {
    return OPERAND(HY_GROUPED_MATMUL_w).dim[0];
}

uint grouped_slots() {
    return OPERAND(HY_GROUPED_MATMUL_ids).dim[1];
}

uint grouped_pairs() {
    return hy_count(HY_GROUPED_MATMUL_ids) * grouped_slots();
}

/* The expert of a pair; the number of experts: none. */
uint grouped_expert(uint pair) {
    const uint slots = grouped_slots();
    const uint id = Words(hy_row(HY_GROUPED_MATMUL_ids, pair / slots)).v[pair % slots];
    return min(id, grouped_experts());
}

/* The row of x that a pair multiplies. */
uint grouped_x_row(uint pair) {
    return OPERAND(HY_GROUPED_MATMUL_x).dim[1] == 1u ? pair / grouped_slots() : pair;
}

uvec2 grouped_work() {
    return hy_add(ARGS.workspace, ARGS.extra[0]);
}
uvec2 grouped_tiles() {
    return hy_add(grouped_work(), 16u);
}
uvec2 grouped_order() {
    return hy_add(grouped_tiles(), 16u * GROUPED_TILES);
}

#endif

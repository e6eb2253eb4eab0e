/* shaders/simt/rope.h: heads of some rows in shared memory: loaded, normed, rotated. What rope and kv_write share.
 * ROPE_LANES threads have one head, four columns each at a time. A head is read whole before any of it is written, so
 * that an output may lie in its input's memory.
 *
 * constant: heads of a workgroup; columns of a head at most, a multiple of 4. Dynamic shared memory: so many columns of
 * so many heads as float32, then ROPE_LANES sums of squares of each head. */
#ifndef HY_SIMT_ROPE_H
#define HY_SIMT_ROPE_H

#include "shaders/simt/rows.h"

#define ROPE_LANES 32u
#define ROPE_THREADS 128 /* at most */

HY_DEVICE u32 rope_lane() {
    return hy_thread() % ROPE_LANES;
}
HY_DEVICE u32 rope_place() {
    return hy_thread() / ROPE_LANES;
}
/* This thread's head. */
HY_DEVICE float *rope_head(const hy_args &args) {
    return (float *)hy_dynamic() + rope_place() * args.constant[1];
}
HY_DEVICE float *rope_squares(const hy_args &args) {
    return (float *)hy_dynamic() + args.constant[0] * args.constant[1] + rope_place() * ROPE_LANES;
}

/* Reads this thread's part of a head, and adds up its squares in order. */
HY_DEVICE void rope_load(const hy_args &args, u32 dtype, const u8 *row, u32 columns) {
    float squares = 0.0f;
    for (u32 i = 4u * rope_lane(); i < columns; i += 4u * ROPE_LANES) {
        const f32x4 v = hy_load4(dtype, row, i, columns);
        *(f32x4 *)(rope_head(args) + i) = v;
        HY_UNROLL for (u32 j = 0; j < 4u; j++) squares = hy_fma(v.v[j], v.v[j], squares);
    }
    rope_squares(args)[rope_lane()] = squares;
}

/* 1 / sqrt(mean of squares + eps): the lanes' sums in four chains, (0 + 1) + (2 + 3). */
HY_DEVICE float rope_norm(const hy_args &args, u32 columns, float eps) {
    const float *squares = rope_squares(args);
    float chain[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (u32 i = 0; i < ROPE_LANES; i += 4u)
        HY_UNROLL for (u32 j = 0; j < 4u; j++) chain[j] = chain[j] + squares[i + j];
    const float total = (chain[0] + chain[1]) + (chain[2] + chain[3]);
    return hy_rsqrt(total / (float)columns + eps);
}

/* How a head is changed. */
struct rope_plan {
    const float *weight, *table;
    u32 turned; /* columns that are rotated: G, or 0 */
    bool pairs, normed;
    float scale;
};

HY_DEVICE float rope_normed(const hy_args &args, const rope_plan &p, u32 column) {
    const float x = rope_head(args)[column];
    return p.normed ? x * p.scale * p.weight[column] : x;
}

/* Element `column` of the changed head: (a, b) -> (a cos - b sin, a sin + b cos). */
HY_DEVICE float rope_element(const hy_args &args, const rope_plan &p, u32 column) {
    const float x = rope_normed(args, p, column);
    if (column >= p.turned) return x;
    const u32 half_ = p.turned / 2u;
    const bool second = p.pairs ? (column & 1u) != 0u : column >= half_;
    const u32 partner = p.pairs ? column ^ 1u : second ? column - half_ : column + half_;
    const u32 j = p.pairs ? column / 2u : column % half_;
    const float other = rope_normed(args, p, partner);
    const float xc = x * p.table[j], os = other * p.table[half_ + j];
    return second ? os + xc : xc - os;
}

/* Elements [column, column + 4); those past `columns` are 0. */
HY_DEVICE f32x4 rope_four(const hy_args &args, const rope_plan &p, u32 column, u32 columns) {
    f32x4 v = {};
    HY_UNROLL for (u32 j = 0; j < 4u; j++) if (column + j < columns) v.v[j] =
        rope_element(args, p, column + j);
    return v;
}

#endif

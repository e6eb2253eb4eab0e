/* shaders/simt/tile.h: products of int8 on matrix tiles: one step of a workgroup or warp, from shared memory.
 *
 * A step is TILE_SUBS sub-blocks of 32 k of ROWS weight rows and COLUMNS rows of x:
 *
 *   int8 of the weights   [ROWS][TILE_PITCH bytes]
 *   int8 of x             [COLUMNS][TILE_PITCH bytes]
 *   last words of x       [TILE_SUBS][COLUMNS] of the a8 block: scale, sum
 *   a, and b if any       float32 [TILE_SUBS * TILE_PARTS][ROWS]
 *
 * The order of additions is that of all matmul kernels (docs/numerics.md): for each sub-block, or each half of
 * one, an exact integer dot product, then p = fma(dot, a xs, p) and p = fma(b, xs xsum, p). Matrix units make
 * the integers only, so that the bits are those of every other kernel. */
#ifndef HY_SIMT_TILE_H
#define HY_SIMT_TILE_H

#include "shaders/simt/quant.h"
#include "shaders/simt/tile_shape.h"
#include "shaders/simt/tile_sums.h"

#define TILE_PARTS (SPLIT + 1u)

/* Bytes and places of a step's parts. */
template <u32 ROWS, u32 COLUMNS> struct tile_step {
    static constexpr u32 weights = 0u;
    static constexpr u32 x = ROWS * TILE_PITCH;
    static constexpr u32 x_last = x + COLUMNS * TILE_PITCH;
    static constexpr u32 a = x_last + TILE_SUBS * COLUMNS * 8u;
    static constexpr u32 b = a + TILE_SUBS * TILE_PARTS * ROWS * 4u;
    static constexpr u32 bytes = TILE_STEP_BYTES(ROWS, COLUMNS, TILE_PARTS, HAS_MINIMA);
};

/* ---- filling a step -------------------------------------------------------------------------------- */

/* Sub-block `sub` of weight row `row` of the step; is: else zeros. */
template <u32 ROWS, u32 COLUMNS>
HY_DEVICE void tile_put_weights(u8 *step, u32 row, u32 sub, const hy_weights &w, bool is) {
    typedef tile_step<ROWS, COLUMNS> at;
    u32x4 *to = (u32x4 *)(step + at::weights + row * TILE_PITCH + 32u * sub);
    const u32x4 zero = {0u, 0u, 0u, 0u};
    const u32x4 low = {w.q[0], w.q[1], w.q[2], w.q[3]}, high = {w.q[4], w.q[5], w.q[6], w.q[7]};
    to[0] = is ? low : zero;
    to[1] = is ? high : zero;
    HY_UNROLL for (u32 h = 0; h < TILE_PARTS; h++) {
        const u32 scale = (sub * TILE_PARTS + h) * ROWS + row;
        ((float *)(step + at::a))[scale] = is ? w.a[h] : 0.0f;
#if HAS_MINIMA
        ((float *)(step + at::b))[scale] = is ? w.b[h] : 0.0f;
#endif
    }
}

/* Begins to copy 8 bytes of x: piece `piece` of the 5 TILE_SUBS of a row's step. from: the row's step. */
template <u32 ROWS, u32 COLUMNS>
HY_DEVICE void tile_fetch_x(u8 *step, u32 column, u32 piece, const u8 *from, bool is) {
    typedef tile_step<ROWS, COLUMNS> at;
    const u32 sub = piece / 5u, part = piece % 5u;
    u8 *to = part < 4u ? step + at::x + column * TILE_PITCH + 32u * sub + 8u * part
                       : step + at::x_last + (sub * COLUMNS + column) * 8u;
    hy_async8(to, from + 8u * piece, is);
}

/* ---- products -------------------------------------------------------------------------------------- */

/* Integer sums begin with the bits of 1.5 * 2^23: as long as they stay below 2^22 (32 products of int8 do) they
 * are, read as a float, that number more, and one subtraction makes the sum a float. */
HY_DEVICE void tile_clear(hy_tile_i32 &sums) {
    HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) sums.v[e] = 0x4b400000;
}
HY_DEVICE float tile_sum(i32 sum) {
    return hy_float((u32)sum) - 12582912.0f;
}

#if HAS_MINIMA
/* Sum of the int8 of part h of a block of x. */
HY_DEVICE i32 tile_x_sum(const u8 *x, i32 sum, u32 h) {
#if SPLIT
    const u32x4 q = ((const u32x4 *)x)[h];
    sum = hy_dot4(q.x, 0x01010101u, 0);
    sum = hy_dot4(q.y, 0x01010101u, sum);
    sum = hy_dot4(q.z, 0x01010101u, sum);
    sum = hy_dot4(q.w, 0x01010101u, sum);
#endif
    return sum;
}
#endif

/* p += products of the tile at weight row `row` and column `column` of the step's part `part`, whose integers are
 * in `sums`. */
template <u32 ROWS, u32 COLUMNS>
HY_DEVICE void tile_add(float *p, const hy_tile_i32 &sums, const u8 *step, u32 row, u32 column,
                        u32 sub, u32 h) {
    typedef tile_step<ROWS, COLUMNS> at;
    const u32 part = sub * TILE_PARTS + h;
    const float *a = (const float *)(step + at::a) + part * ROWS + row;
    const u32x2 *last = (const u32x2 *)(step + at::x_last) + sub * COLUMNS + column;
    HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) {
        const u32x2 x = last[hy_tile_column(e)];
        const float xs = hy_float(x.x);
        p[e] = hy_fma(tile_sum(sums.v[e]), a[hy_tile_row(e)] * xs, p[e]);
#if HAS_MINIMA
        const float *b = (const float *)(step + at::b) + part * ROWS + row;
        const u8 *q = step + at::x + (column + hy_tile_column(e)) * TILE_PITCH + 32u * sub;
        p[e] = hy_fma(b[hy_tile_row(e)], xs * (float)tile_x_sum(q, (i32)x.y, h), p[e]);
#endif
    }
}

/* p += products of HIGH x WIDE tiles from weight row `row` and column `column` on, of `subs` sub-blocks. */
template <u32 ROWS, u32 COLUMNS, u32 HIGH, u32 WIDE>
HY_DEVICE void tile_multiply(tile_sums<HIGH, WIDE> &p, const u8 *step, u32 row, u32 column,
                             u32 subs) {
    typedef tile_step<ROWS, COLUMNS> at;
    HY_NO_UNROLL for (u32 sub = 0; sub < subs; sub++) {
        const u8 *weights = step + at::weights + row * TILE_PITCH + 32u * sub;
        const u8 *x = step + at::x + column * TILE_PITCH + 32u * sub;
        hy_tile_a a[HIGH];
        HY_UNROLL for (u32 i = 0; i < HIGH; i++)
            hy_load_a(a[i], weights + 16u * i * TILE_PITCH, TILE_PITCH);
        HY_UNROLL for (u32 j = 0; j < WIDE; j++) {
            hy_tile_b b;
            hy_load_b(b, x + 16u * j * TILE_PITCH, TILE_PITCH);
            HY_UNROLL for (u32 i = 0; i < HIGH; i++)
                HY_UNROLL for (u32 h = 0; h < TILE_PARTS; h++) {
                hy_tile_i32 sums;
                tile_clear(sums);
#if SPLIT
                hy_mma8_half(sums, a[i], b, h);
#else
                hy_mma8(sums, a[i], b);
#endif
                tile_add<ROWS, COLUMNS>(p.v[i][j].v, sums, step, row + 16u * i, column + 16u * j,
                                        sub, h);
            }
        }
    }
}

#endif

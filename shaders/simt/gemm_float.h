/* shaders/simt/gemm_float.h: products of many rows of x by f32, f16 or bf16 weights, in float32. The order of additions
 * is that of all matmul kernels (docs/numerics.md).
 *
 * Grid: tiles of gemm.h, those of the same weights following each other. */
#ifndef HY_SIMT_GEMM_FLOAT_H
#define HY_SIMT_GEMM_FLOAT_H

#include "shaders/simt/gemm.h"

#define GEMM_FLOAT_CHUNK 64u /* k that are added up apart */
#define GEMM_FLOAT_STEP 16u  /* of which one step has so many, four in a piece */

/* A step in shared memory. */
template <u32 WIDTH> struct gemm_float_step {
    f32x4 w[GEMM_PIECES * GEMM_ROW_PITCH];    /* [piece][row] */
    f32x4 x[GEMM_PIECES * (8u * WIDTH + 2u)]; /* [piece][column] */
};

/* p += the products of the four k of one piece, in order. */
template <u32 WIDTH>
HY_DEVICE void gemm_float_add(const gemm_float_step<WIDTH> &step, u32 piece, gemm_sums<WIDTH> &s) {
    const u32 r = hy_thread() / 8u, c = hy_thread() % 8u;
    f32x4 w[GEMM_HEIGHT];
    HY_UNROLL for (u32 i = 0; i < GEMM_HEIGHT; i++) w[i] =
        step.w[piece * GEMM_ROW_PITCH + r + 16u * i];
    HY_UNROLL for (u32 j = 0; j < WIDTH; j++) {
        const f32x4 x = step.x[piece * (8u * WIDTH + 2u) + c + 8u * j];
        HY_UNROLL for (u32 i = 0; i < GEMM_HEIGHT; i++) HY_UNROLL for (u32 k = 0; k < 4u; k++)
            s.p[i][j] = hy_fma(w[i].v[k], x.v[k], s.p[i][j]);
    }
}

template <product_kind KIND, u32 WIDTH> HY_DEVICE void gemm_float(const hy_args &args) {
    HY_SHARED gemm_float_step<WIDTH> step;
    constexpr u32 columns = 8u * WIDTH, lines = GEMM_THREADS / GEMM_PIECES;
    product_place t;
    if (!product_place_of<KIND>(args, GEMM_ROWS, columns, t)) return;
    const u32 line = hy_thread() / GEMM_PIECES, piece = hy_thread() % GEMM_PIECES;
    const u32 k_end = hy_columns(args, HY_MATMUL_x), dtype = hy_dtype(args, HY_MATMUL_x);
    const u8 *weights[GEMM_ROWS / lines];
    HY_UNROLL for (u32 i = 0; i < GEMM_ROWS / lines; i++) weights[i] =
        product_weight_row(args, t, GEMM_ROWS, line + lines * i);
    gemm_sums<WIDTH> s;
    gemm_clear(s);
    HY_NO_UNROLL for (u32 first = 0; first < k_end; first += GEMM_FLOAT_STEP) {
        const u32 k = first + 4u * piece;
        HY_UNROLL for (u32 i = 0; i < GEMM_ROWS / lines; i++) {
            f32x4 v = {};
            if (weights[i] && k < k_end) v = hy_load4(FORMAT, weights[i], k, k_end);
            step.w[piece * GEMM_ROW_PITCH + line + lines * i] = v;
        }
        for (u32 column = line; column < columns; column += lines) {
            f32x4 v = {};
            if (t.begin + column < t.end && k < k_end)
                v = hy_load4(dtype, product_x<KIND>(args, t.begin + column), k, k_end);
            step.x[piece * (columns + 2u) + column] = v;
        }
        hy_sync();
        HY_NO_UNROLL for (u32 i = 0; i < GEMM_PIECES; i++) gemm_float_add(step, i, s);
        hy_sync();
        if ((first + GEMM_FLOAT_STEP) % GEMM_FLOAT_CHUNK == 0u || first + GEMM_FLOAT_STEP >= k_end)
            gemm_chunk(s);
    }
    gemm_store<KIND>(args, t, s);
}

#endif

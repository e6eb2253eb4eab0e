/* shaders/simt/gemm.h: products of many rows of x without matrix units: the tile that a workgroup makes, GEMM_ROWS
 * weight rows times 8 WIDTH rows of x, and how it is stored.
 *
 * 128 threads are 16 groups of rows by 8 groups of columns: thread (r, c) has rows r, r + 16, r + 32, r + 48 and columns
 * c, c + 8, ... Neighbours read neighbouring 16 bytes of shared memory or the same ones. */
#ifndef HY_SIMT_GEMM_H
#define HY_SIMT_GEMM_H

#include "shaders/simt/product.h"
#include "shaders/simt/quant.h"

#define GEMM_THREADS 128
#define GEMM_ROWS 64u
#define GEMM_HEIGHT 4u /* rows of a thread */
/* One step is four pieces of 16 bytes of every row and column. The odd 2 keeps the stores of neighbouring threads,
 * which go to pieces two apart, in different banks. */
#define GEMM_PIECES 4u
#define GEMM_ROW_PITCH (GEMM_ROWS + 2u)
#define GEMM_STAGE_PITCH (GEMM_ROWS + 4u)

/* A thread's sums, of all chunks and of this one: row r + 16 i, column c + 8 j. */
template <u32 WIDTH> struct gemm_sums { float z[GEMM_HEIGHT][WIDTH], p[GEMM_HEIGHT][WIDTH]; };

template <u32 WIDTH> HY_DEVICE void gemm_clear(gemm_sums<WIDTH> &s) {
    HY_UNROLL for (u32 i = 0; i < GEMM_HEIGHT; i++) HY_UNROLL for (u32 j = 0; j < WIDTH; j++)
        s.z[i][j] = s.p[i][j] = 0.0f;
}

/* At the end of a chunk. */
template <u32 WIDTH> HY_DEVICE void gemm_chunk(gemm_sums<WIDTH> &s) {
    HY_UNROLL for (u32 i = 0; i < GEMM_HEIGHT; i++) HY_UNROLL for (u32 j = 0; j < WIDTH; j++) {
        s.z[i][j] = s.z[i][j] + s.p[i][j];
        s.p[i][j] = 0.0f;
    }
}

/* Stores z. Eight columns at a time go through shared memory, so that neighbouring threads write neighbouring
 * outputs. */
template <product_kind KIND, u32 WIDTH>
HY_DEVICE void gemm_store(const hy_args &args, const product_place &t, const gemm_sums<WIDTH> &s) {
    HY_SHARED float stage[8u * GEMM_STAGE_PITCH]; /* [column group][row] */
    const u32 r = hy_thread() / 8u, c = hy_thread() % 8u;
    const u32 half_ = t.glu ? GEMM_ROWS / 2u : 0u, pairs = t.glu ? GEMM_ROWS / 4u : GEMM_ROWS / 2u;
    const hy_epilogue e = product_epilogue<KIND>(args, t.expert);
    HY_UNROLL for (u32 j = 0; j < WIDTH; j++) {
        hy_sync();
        HY_UNROLL for (u32 i = 0; i < GEMM_HEIGHT; i++) stage[c * GEMM_STAGE_PITCH + r + 16u * i] =
            s.z[i][j];
        hy_sync();
        HY_NO_UNROLL for (u32 at = hy_thread(); at < 8u * pairs; at += GEMM_THREADS) {
            const u32 column = at / pairs, row = at % pairs * 2u;
            const float *from = stage + column * GEMM_STAGE_PITCH + row;
            product_store_pair<KIND>(args, e, t, t.begin + 8u * j + column, row, from,
                                     from + half_);
        }
    }
}

#endif

/* shaders/simt/gemm_half.h: matmul of many rows on matrix tiles of f16: weights and x rounded to f16, products and
 * sums in float32. x comes from rows_to_f16, each row scaled by a power of two; weights are a v + b in float32 as
 * everywhere, then rounded to f16 unscaled: those past 65504 become +-65504 (no model that runs in f16 has such).
 *
 * A workgroup makes HALF_TILE_ROWS weight rows (with glu the first half are gate rows, the second half the up rows
 * of the same outputs) times HALF_TILE_COLUMNS rows of x, in steps of 64 k that lie in shared memory twice as in
 * gemm_tile.h. Chunks of 256 k are summed up apart and then added, in order; within one the device's own order.
 *
 * Reads as in shaders/args.h; at args.workspace f16 [T, extra[0]], and extra[1] bytes from there float32 [T], what
 * the rows of x have to be multiplied by. Grid: tiles, those of the same weights following each other. */
#ifndef HY_SIMT_GEMM_HALF_H
#define HY_SIMT_GEMM_HALF_H

#include "shaders/simt/halves.h"
#include "shaders/simt/tile_shape.h"
#include "shaders/simt/tile_sums.h"

#define HALF_TILE_WARPS (HALF_TILE_THREADS / HY_WARP)
#define HALF_TILE_HIGH (HALF_TILE_ROWS / 16u / (HALF_TILE_WARPS / 2u)) /* tiles of a warp */
#define HALF_TILE_WIDE (HALF_TILE_COLUMNS / 16u / 2u)
#define HALF_TILE_STEP_BYTES ((HALF_TILE_ROWS + HALF_TILE_COLUMNS) * HALF_TILE_PITCH)
#define HALF_TILE_CHUNK 256u /* k that are added up apart */

typedef tile_sums<HALF_TILE_HIGH, HALF_TILE_WIDE> half_tile_sums;

struct half_tile_feed {
    const u8 *weights; /* this thread's row; NULL: past the last */
    u32 plane[4];      /* of the weights */
    u32 k;             /* of a row */
    const u8 *x;       /* the tile's first row in the workspace */
    u32 width;         /* halves of such a row */
    u32 columns;       /* rows of x that there are */
};

/* A step's weights: 32 of a row for each thread. */
HY_DEVICE void half_tile_load(const half_tile_feed &f, u32 first, half_weights &w) {
    const u32 k = first + hy_thread() % 2u * 32u;
    if (f.weights) halves_load(f.weights, f.plane, k, f.k, w);
}

HY_DEVICE void half_tile_put(const half_tile_feed &f, u32 first, u8 *step, const half_weights &w) {
    const u32 k = first + hy_thread() % 2u * 32u;
    halves_put(step + hy_thread() / 2u * HALF_TILE_PITCH + hy_thread() % 2u * 64u,
               f.weights && k < f.k, w);
}

/* ---- products -------------------------------------------------------------------------------------- */

/* Begins to copy the step's x. */
HY_DEVICE void half_tile_fetch(const half_tile_feed &f, u32 first, u8 *step) {
    constexpr u32 pieces = HALF_TILE_K / 8u;
    u8 *x = step + HALF_TILE_ROWS * HALF_TILE_PITCH;
    HY_UNROLL for (u32 i = 0; i < HALF_TILE_COLUMNS * pieces / HALF_TILE_THREADS; i++) {
        const u32 n = i * HALF_TILE_THREADS + hy_thread(), column = n / pieces, piece = n % pieces;
        const bool is = column < f.columns && first + 8u * piece < f.width;
        const u64 at = (u64)column * f.width + first + 8u * piece;
        hy_async16(x + column * HALF_TILE_PITCH + 16u * piece, is ? f.x + 2u * at : f.x, is);
    }
    hy_async_commit();
}

/* p += products of one step. */
HY_DEVICE void half_tile_step(half_tile_sums &p, const u8 *step) {
    const u8 *weights = step + tile_sums_row<HALF_TILE_HIGH>() * HALF_TILE_PITCH;
    const u8 *x = step + (HALF_TILE_ROWS + tile_sums_column<HALF_TILE_WIDE>()) * HALF_TILE_PITCH;
    HY_UNROLL for (u32 k = 0; k < HALF_TILE_K / 16u; k++) {
        hy_tile_a a[HALF_TILE_HIGH];
        HY_UNROLL for (u32 i = 0; i < HALF_TILE_HIGH; i++)
            hy_load_a(a[i], weights + 16u * i * HALF_TILE_PITCH + 32u * k, HALF_TILE_PITCH);
        HY_UNROLL for (u32 j = 0; j < HALF_TILE_WIDE; j++) {
            hy_tile_b b;
            hy_load_b(b, x + 16u * j * HALF_TILE_PITCH + 32u * k, HALF_TILE_PITCH);
            HY_UNROLL for (u32 i = 0; i < HALF_TILE_HIGH; i++) hy_mma16(p.v[i][j], a[i], b);
        }
    }
}

HY_DEVICE void half_tile_multiply(const half_tile_feed &f, u8 *memory, half_tile_sums &z) {
    half_tile_sums p;
    tile_sums_clear(z);
    tile_sums_clear(p);
    half_weights w = {};
    half_tile_load(f, 0u, w);
    half_tile_fetch(f, 0u, memory);
    u8 *step = memory, *other = memory + HALF_TILE_STEP_BYTES;
    HY_NO_UNROLL for (u32 first = 0; first < f.k; first += HALF_TILE_K) {
        const u32 next = first + HALF_TILE_K;
        half_tile_put(f, first, step, w);
        hy_async_wait<0>();
        hy_sync(); /* this step is there, and the other one has been read by all */
        if (next < f.k) {
            half_tile_load(f, next, w);
            half_tile_fetch(f, next, other);
        }
        half_tile_step(p, step);
        if (next % HALF_TILE_CHUNK == 0u || next >= f.k) tile_sums_chunk(z, p);
        u8 *swap = step;
        step = other;
        other = swap;
    }
}

HY_DEVICE void half_tile_product(const hy_args &args) {
    product_place t;
    if (!product_place_of<MATMUL>(args, HALF_TILE_ROWS, HALF_TILE_COLUMNS, t)) return;
    const u32 *stride = args.operand[HY_MATMUL_w].stride;
    const u8 *workspace = (const u8 *)args.workspace;
    const u32 width = args.extra[0];
    const half_tile_feed f = {product_weight_row(args, t, HALF_TILE_ROWS, hy_thread() / 2u),
                              {0u, stride[1], stride[2], stride[3]},
                              hy_columns(args, HY_MATMUL_x),
                              workspace + 2u * ((u64)t.begin * width),
                              width,
                              t.end - t.begin};
    half_tile_sums z;
    half_tile_multiply(f, hy_dynamic(), z);
    tile_sums_store<HALF_TILE_ROWS>(args, t, z, (const float *)(workspace + args.extra[1]),
                                    (float *)hy_dynamic());
}

#endif

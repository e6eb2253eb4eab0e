/* shaders/simt/gemm_tile.h: matmul of many rows by weights in a block format, on matrix tiles; x is a8.
 *
 * A workgroup makes ROWS weight rows (with glu the first half are gate rows, the second half the up rows of the
 * same outputs) times COLUMNS rows of x. Its warps stand two side by side, the others below each other. Steps of
 * 64 k lie in shared memory twice: while the warps multiply one, x of the next is copied asynchronously and its
 * weights are loaded to registers, so that one barrier a step is enough.
 *
 * Grid: tiles, those of the same weights following each other. Dynamic shared memory: gemm_tile_bytes. No
 * args.extra of its own. Order of additions: tile.h; chunks of 256 k apart, then in order. */
#ifndef HY_SIMT_GEMM_TILE_H
#define HY_SIMT_GEMM_TILE_H

#include "shaders/simt/tile.h"

#define GEMM_TILE_WARPS (GEMM_TILE_THREADS / HY_WARP)
#define GEMM_TILE_HIGH (GEMM_TILE_ROWS / 16u / (GEMM_TILE_WARPS / 2u)) /* tiles of a warp */
#define GEMM_TILE_WIDE (GEMM_TILE_COLUMNS / 16u / 2u)
#define GEMM_TILE_CHUNK 8u /* sub-blocks that are added up apart */

typedef tile_step<GEMM_TILE_ROWS, GEMM_TILE_COLUMNS> gemm_tile_step;
typedef tile_sums<GEMM_TILE_HIGH, GEMM_TILE_WIDE> gemm_tile_sums;

/* What a thread brings of every step: a sub-block of one weight row, and pieces of x. */
struct gemm_tile_feed {
    const u8 *weights; /* this thread's row; NULL: past the last */
    const u8 **x_row;  /* [GEMM_TILE_COLUMNS] in shared memory; NULL likewise */
    const u8 *x;       /* address that may be named, and is not read, where there is no row */
    u32 plane[4];      /* of the weights */
    u32 blocks;        /* of a row */
};

HY_DEVICE void gemm_tile_load(const gemm_tile_feed &f, u32 first, hy_weights &w) {
    const u32 s = first + hy_thread() % TILE_SUBS;
    if (f.weights && s < f.blocks)
        w = hy_load_weights(f.weights, f.plane[1], f.plane[2], f.plane[3], s);
}

HY_DEVICE void gemm_tile_put(const gemm_tile_feed &f, u32 first, u8 *step, const hy_weights &w) {
    const u32 sub = hy_thread() % TILE_SUBS;
    tile_put_weights<GEMM_TILE_ROWS, GEMM_TILE_COLUMNS>(step, hy_thread() / TILE_SUBS, sub, w,
                                                        f.weights && first + sub < f.blocks);
}

HY_DEVICE void gemm_tile_fetch(const gemm_tile_feed &f, u32 first, u8 *step) {
    constexpr u32 pieces = 5u * TILE_SUBS;
    HY_UNROLL for (u32 i = 0; i < GEMM_TILE_COLUMNS * pieces / GEMM_TILE_THREADS; i++) {
        const u32 n = i * GEMM_TILE_THREADS + hy_thread(), column = n / pieces, piece = n % pieces;
        const u8 *row = f.x_row[column];
        const bool is = row && first + piece / 5u < f.blocks;
        tile_fetch_x<GEMM_TILE_ROWS, GEMM_TILE_COLUMNS>(step, column, piece,
                                                        is ? row + HY_A8_BYTES * first : f.x, is);
    }
    hy_async_commit();
}

HY_DEVICE void gemm_tile_multiply(const gemm_tile_feed &f, u8 *memory, gemm_tile_sums &z) {
    const u32 row = tile_sums_row<GEMM_TILE_HIGH>();
    const u32 column = tile_sums_column<GEMM_TILE_WIDE>();
    gemm_tile_sums p;
    tile_sums_clear(z);
    tile_sums_clear(p);
    hy_weights w = {};
    gemm_tile_load(f, 0u, w);
    gemm_tile_fetch(f, 0u, memory);
    u8 *step = memory, *other = memory + gemm_tile_step::bytes;
    HY_NO_UNROLL for (u32 first = 0; first < f.blocks; first += TILE_SUBS) {
        const u32 next = first + TILE_SUBS;
        gemm_tile_put(f, first, step, w);
        hy_async_wait<0>();
        hy_sync(); /* this step is there, and the other one has been read by all */
        if (next < f.blocks) {
            gemm_tile_load(f, next, w);
            gemm_tile_fetch(f, next, other);
        }
        tile_multiply<GEMM_TILE_ROWS, GEMM_TILE_COLUMNS>(p, step, row, column,
                                                         hy_min(TILE_SUBS, f.blocks - first));
        if (next % GEMM_TILE_CHUNK == 0u || next >= f.blocks) tile_sums_chunk(z, p);
        u8 *swap = step;
        step = other;
        other = swap;
    }
}

HY_DEVICE void gemm_tile_product(const hy_args &args) {
    HY_SHARED const u8 *x_row[GEMM_TILE_COLUMNS];
    product_place t;
    if (!product_place_of<MATMUL>(args, GEMM_TILE_ROWS, GEMM_TILE_COLUMNS, t)) return;
    for (u32 i = hy_thread(); i < GEMM_TILE_COLUMNS; i += GEMM_TILE_THREADS)
        x_row[i] = t.begin + i < t.end ? product_x<MATMUL>(args, t.begin + i) : nullptr;
    hy_sync();
    const u32 *stride = args.operand[HY_MATMUL_w].stride;
    const gemm_tile_feed f = {product_weight_row(args, t, GEMM_TILE_ROWS, hy_thread() / TILE_SUBS),
                              x_row,
                              hy_address(args, HY_MATMUL_x),
                              {0u, stride[1], stride[2], stride[3]},
                              hy_columns(args, HY_MATMUL_x) / 32u};
    gemm_tile_sums z;
    gemm_tile_multiply(f, hy_dynamic(), z);
    tile_sums_store<GEMM_TILE_ROWS>(args, t, z, nullptr, (float *)hy_dynamic());
}

#endif

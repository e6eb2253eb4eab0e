/* shaders/simt/few_tile.h: matmul and grouped_matmul of a few rows of x by weights in a block format, on matrix
 * tiles; x is a8. Weights are read once for COLUMNS rows of x; that is all that counts here.
 *
 * A workgroup makes FEW_TILE_ROWS weight rows (with glu half of them gate rows, then the up rows of the same
 * outputs) times COLUMNS rows of x. Its warps take chunks of 256 k in turn, each with steps of 64 k of its own in
 * shared memory, twice: while one is multiplied, x of the next is copied asynchronously and its weights are
 * loaded to registers. So every thread has loads under way at all times, and no barrier but one of its warp. After
 * each round the chunks' sums are added in order.
 *
 * Grid: tiles, those of the same weights following each other. Dynamic shared memory: FEW_TILE_BYTES. Order of
 * additions: tile.h; chunks of 256 k apart, then in order. */
#ifndef HY_SIMT_FEW_TILE_H
#define HY_SIMT_FEW_TILE_H

#include "shaders/simt/tile.h"

#define FEW_TILE_WARPS (FEW_TILE_THREADS / HY_WARP)
#define FEW_TILE_ITEMS (FEW_TILE_ROWS * TILE_SUBS / HY_WARP) /* sub-blocks of a thread's */
#define FEW_TILE_STEPS (8u / TILE_SUBS)                      /* of a chunk */

/* What a thread brings of every step: sub-blocks of weight rows, and pieces of x. */
struct few_tile_feed {
    const u8 *weights[FEW_TILE_ITEMS]; /* rows; NULL: past the last */
    const u8 **x_row;                  /* [COLUMNS] in shared memory; NULL likewise */
    const u8 *x;  /* address that may be named, and is not read, where there is no row */
    u32 plane[4]; /* of the weights */
    u32 blocks;   /* of a row */
};

/* Number of a thread's item, as row * TILE_SUBS + sub-block. */
HY_DEVICE u32 few_tile_item(u32 i) {
    return i * HY_WARP + hy_lane();
}

/* The step of sub-blocks from `first` on. */
HY_DEVICE void few_tile_load(const few_tile_feed &f, u32 first, hy_weights (&w)[FEW_TILE_ITEMS]) {
    HY_UNROLL for (u32 i = 0; i < FEW_TILE_ITEMS; i++) {
        const u32 s = first + few_tile_item(i) % TILE_SUBS;
        if (f.weights[i] && s < f.blocks)
            w[i] = hy_load_weights(f.weights[i], f.plane[1], f.plane[2], f.plane[3], s);
    }
}

template <u32 COLUMNS>
HY_DEVICE void few_tile_put(const few_tile_feed &f, u32 first, u8 *step,
                            const hy_weights (&w)[FEW_TILE_ITEMS]) {
    HY_UNROLL for (u32 i = 0; i < FEW_TILE_ITEMS; i++) {
        const u32 row = few_tile_item(i) / TILE_SUBS, sub = few_tile_item(i) % TILE_SUBS;
        tile_put_weights<FEW_TILE_ROWS, COLUMNS>(step, row, sub, w[i],
                                                 f.weights[i] && first + sub < f.blocks);
    }
}

template <u32 COLUMNS> HY_DEVICE void few_tile_fetch(const few_tile_feed &f, u32 first, u8 *step) {
    constexpr u32 pieces = 5u * TILE_SUBS, all = COLUMNS * pieces;
    HY_UNROLL for (u32 i = 0; i < (all + HY_WARP - 1u) / HY_WARP; i++) {
        const u32 n = i * HY_WARP + hy_lane(), column = n / pieces, piece = n % pieces;
        if (n >= all) continue;
        const u8 *row = f.x_row[column];
        const bool is = row && first + piece / 5u < f.blocks;
        tile_fetch_x<FEW_TILE_ROWS, COLUMNS>(step, column, piece,
                                             is ? row + HY_A8_BYTES * first : f.x, is);
    }
    hy_async_commit();
}

/* First sub-block of a warp's step number n: chunks go round among the warps. */
HY_DEVICE u32 few_tile_first(u32 n) {
    const u32 warp = hy_thread() / HY_WARP;
    return (n / FEW_TILE_STEPS * FEW_TILE_WARPS + warp) * 8u + n % FEW_TILE_STEPS * TILE_SUBS;
}

/* A chunk's sums to part[column][row]. */
template <u32 WIDE> HY_DEVICE void few_tile_part(const tile_sums<2u, WIDE> &p, float *part) {
    HY_UNROLL for (u32 i = 0; i < 2u; i++) HY_UNROLL for (u32 j = 0; j < WIDE; j++)
        HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++)
            part[(16u * j + hy_tile_column(e)) * FEW_TILE_PITCH + 16u * i + hy_tile_row(e)] =
                p.v[i][j].v[e];
}

/* z += the parts of `chunks` warps, in order. */
template <u32 COLUMNS> HY_DEVICE void few_tile_add(float *z, const float *part, u32 chunks) {
    constexpr u32 all = COLUMNS * FEW_TILE_PITCH;
    HY_NO_UNROLL for (u32 i = hy_thread(); i < all; i += FEW_TILE_THREADS) {
        float sum = z[i];
        for (u32 c = 0; c < chunks; c++)
            sum = sum + part[c * all + i];
        z[i] = sum;
    }
}

/* All sums of the workgroup to z[column][row]. */
template <u32 COLUMNS>
HY_DEVICE void few_tile_multiply(const few_tile_feed &f, u8 *memory, float *part, float *z) {
    typedef tile_step<FEW_TILE_ROWS, COLUMNS> at;
    constexpr u32 WIDE = COLUMNS / 16u;
    const u32 warp = hy_thread() / HY_WARP, chunks = (f.blocks + 7u) / 8u;
    u8 *step = memory + warp * 2u * at::bytes, *other = step + at::bytes;
    hy_weights w[FEW_TILE_ITEMS] = {};
    for (u32 i = hy_thread(); i < COLUMNS * FEW_TILE_PITCH; i += FEW_TILE_THREADS)
        z[i] = 0.0f;
    if (few_tile_first(0u) < f.blocks) {
        few_tile_load(f, few_tile_first(0u), w);
        few_tile_fetch<COLUMNS>(f, few_tile_first(0u), step);
    }
    u32 n = 0;
    HY_NO_UNROLL for (u32 done = 0; done < chunks; done += FEW_TILE_WARPS) {
        tile_sums<2u, WIDE> p;
        tile_sums_clear(p);
        HY_NO_UNROLL for (u32 i = 0; i < FEW_TILE_STEPS; i++, n++) {
            const u32 first = few_tile_first(n), next = few_tile_first(n + 1u);
            if (first >= f.blocks) continue;
            few_tile_put<COLUMNS>(f, first, step, w);
            hy_async_wait<0>();
            hy_warp_sync(); /* this step is there, and the other one has been read by all */
            if (next < f.blocks) {
                few_tile_load(f, next, w);
                few_tile_fetch<COLUMNS>(f, next, other);
            }
            tile_multiply<FEW_TILE_ROWS, COLUMNS>(p, step, 0u, 0u,
                                                  hy_min(TILE_SUBS, f.blocks - first));
            u8 *swap = step;
            step = other;
            other = swap;
        }
        few_tile_part<WIDE>(p, part + warp * COLUMNS * FEW_TILE_PITCH);
        hy_sync();
        few_tile_add<COLUMNS>(z, part, hy_min(FEW_TILE_WARPS, chunks - done));
        hy_sync();
    }
}

template <product_kind KIND, u32 COLUMNS> HY_DEVICE void few_tile_product(const hy_args &args) {
    HY_SHARED const u8 *x_row[COLUMNS];
    typedef tile_step<FEW_TILE_ROWS, COLUMNS> at;
    product_place t;
    if (!product_place_of<KIND>(args, FEW_TILE_ROWS, COLUMNS, t)) return;
    for (u32 i = hy_thread(); i < COLUMNS; i += FEW_TILE_THREADS)
        x_row[i] = t.begin + i < t.end ? product_x<KIND>(args, t.begin + i) : nullptr;
    hy_sync();
    const u32 *stride = args.operand[HY_MATMUL_w].stride;
    few_tile_feed f = {{},
                       x_row,
                       hy_address(args, HY_MATMUL_x),
                       {0u, stride[1], stride[2], stride[3]},
                       hy_columns(args, HY_MATMUL_x) / 32u};
    HY_UNROLL for (u32 i = 0; i < FEW_TILE_ITEMS; i++) f.weights[i] =
        product_weight_row(args, t, FEW_TILE_ROWS, few_tile_item(i) / TILE_SUBS);
    float *part = (float *)(hy_dynamic() + FEW_TILE_WARPS * 2u * at::bytes);
    float *z = part + FEW_TILE_WARPS * COLUMNS * FEW_TILE_PITCH;
    few_tile_multiply<COLUMNS>(f, hy_dynamic(), part, z);
    const hy_epilogue e = product_epilogue<KIND>(args, t.expert);
    const u32 half_ = t.glu ? FEW_TILE_ROWS / 2u : 0u;
    const u32 pairs = t.glu ? FEW_TILE_ROWS / 4u : FEW_TILE_ROWS / 2u;
    HY_NO_UNROLL for (u32 n = hy_thread(); n < COLUMNS * pairs; n += FEW_TILE_THREADS) {
        const u32 column = n / pairs, row = n % pairs * 2u;
        const float *sums = z + column * FEW_TILE_PITCH + row;
        product_store_pair<KIND>(args, e, t, t.begin + column, row, sums, sums + half_);
    }
}

#endif

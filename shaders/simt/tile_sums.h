/* shaders/simt/tile_sums.h: the sums of a workgroup whose warps stand two side by side, the others below each
 * other, each with HIGH x WIDE matrix tiles; and how they leave it. matmul alone. */
#ifndef HY_SIMT_TILE_SUMS_H
#define HY_SIMT_TILE_SUMS_H

#include "shaders/simt/product.h"

template <u32 HIGH, u32 WIDE> struct tile_sums { hy_tile_f32 v[HIGH][WIDE]; };

template <u32 HIGH, u32 WIDE> HY_DEVICE void tile_sums_clear(tile_sums<HIGH, WIDE> &sums) {
    HY_UNROLL for (u32 i = 0; i < HIGH; i++) HY_UNROLL for (u32 j = 0; j < WIDE; j++)
        HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) sums.v[i][j]
            .v[e] = 0.0f;
}

/* At the end of a chunk: z += p, p = 0. */
template <u32 HIGH, u32 WIDE>
HY_DEVICE void tile_sums_chunk(tile_sums<HIGH, WIDE> &z, tile_sums<HIGH, WIDE> &p) {
    HY_UNROLL for (u32 i = 0; i < HIGH; i++) HY_UNROLL for (u32 j = 0; j < WIDE; j++)
        HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) z.v[i][j]
            .v[e] = z.v[i][j].v[e] + p.v[i][j].v[e];
    tile_sums_clear(p);
}

/* First row and column of this thread's warp. */
template <u32 HIGH> HY_DEVICE u32 tile_sums_row() {
    return hy_thread() / HY_WARP / 2u * (16u * HIGH);
}
template <u32 WIDE> HY_DEVICE u32 tile_sums_column() {
    return hy_thread() / HY_WARP % 2u * (16u * WIDE);
}

/* ---- outputs ---------------------------------------------------------------------------------------- */

/* Stores z, each column multiplied by its row's scale if there are such. 32 columns at a time go through shared
 * memory, [32][ROWS + 4], so that neighbouring threads write neighbouring outputs. All threads call together. */
template <u32 ROWS, u32 HIGH, u32 WIDE>
HY_DEVICE void tile_sums_store(const hy_args &args, const product_place &t,
                               const tile_sums<HIGH, WIDE> &z, const float *scales, float *stage) {
    constexpr u32 pitch = ROWS + 4u;
    const u32 half_ = t.glu ? ROWS / 2u : 0u, pairs = t.glu ? ROWS / 4u : ROWS / 2u;
    const u32 first = tile_sums_row<HIGH>(), side = hy_thread() / HY_WARP % 2u;
    const hy_epilogue e = product_epilogue<MATMUL>(args, 0u);
    HY_UNROLL for (u32 j = 0; j < WIDE; j++) {
        hy_sync();
        HY_UNROLL for (u32 i = 0; i < HIGH; i++) HY_UNROLL for (u32 s = 0; s < HY_TILE_SUMS; s++)
            stage[(16u * side + hy_tile_column(s)) * pitch + first + 16u * i + hy_tile_row(s)] =
                z.v[i][j].v[s];
        hy_sync();
        HY_NO_UNROLL for (u32 n = hy_thread(); n < 32u * pairs; n += hy_threads()) {
            const u32 column = n / pairs, row = n % pairs * 2u;
            const u32 x = t.begin + column / 16u * (16u * WIDE) + 16u * j + column % 16u;
            if (x >= t.end) continue;
            const float *from = stage + column * pitch + row;
            const float scale = scales ? scales[x] : 1.0f;
            const float sums[2] = {from[0] * scale, from[1] * scale};
            const float ups[2] = {from[half_] * scale, from[half_ + 1u] * scale};
            product_store_pair<MATMUL>(args, e, t, x, row, sums, ups);
        }
    }
}

#endif

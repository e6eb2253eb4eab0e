/* shaders/simt/gemv_float.h: products of few tokens by weights that are plain numbers.
 *
 * One thread makes the sum of one chunk of 64 k of one row, in order of k, for all tokens; a group of 32 threads has
 * GEMV_FLOAT_LANES chunks side by side of its rows. So that memory is read in order, the group brings a piece of every
 * chunk (128 bytes) to shared memory together, from where each thread takes its own. Chunk sums are then added in
 * order: the order of additions of all matmul kernels.
 *
 * Grid: workgroups of GEMV_FLOAT_ROWS weight rows; GROUPED: of one pair. No args.extra, no constants. */
#ifndef HY_SIMT_GEMV_FLOAT_H
#define HY_SIMT_GEMV_FLOAT_H

#include "shaders/simt/gemv_shape.h"
#include "shaders/simt/product.h"
#include "shaders/simt/quant.h"

#define GEMV_FLOAT_CHUNK 64u
#define GEMV_FLOAT_QUADS 8u                                   /* of a piece */
#define GEMV_FLOAT_PIECE (GEMV_FLOAT_QUADS * HY_QUAD_WEIGHTS) /* k of a piece */
#define GEMV_FLOAT_PITCH (GEMV_FLOAT_QUADS + 1u) /* quads: neighbours meet different banks */
#define GEMV_FLOAT_GROUPS (GEMV_FLOAT_THREADS / 32u)
#define GEMV_FLOAT_GROUP_ROWS (32u / GEMV_FLOAT_LANES)

/* A piece of every chunk of the group: chunks from number `chunk` on, their k from `from` on. Past K there are zeros,
 * here or in a row's padding: they add nothing to a sum that begins with zero. */
HY_DEVICE void gemv_float_load(u32x4 *to, const u8 *const (&row)[GEMV_FLOAT_GROUP_ROWS], u32 chunk,
                               u32 from, u32 k_end) {
    const u32 lane = hy_thread() % 32u;
    u32x4 w[GEMV_FLOAT_QUADS];
    HY_UNROLL for (u32 i = 0; i < GEMV_FLOAT_QUADS; i++) {
        /* item (i * 32 + lane) / QUADS is a thread: its row and chunk */
        const u32 item = i * (32u / GEMV_FLOAT_QUADS) + lane / GEMV_FLOAT_QUADS;
        const u32 quad = lane % GEMV_FLOAT_QUADS, column = chunk + item % GEMV_FLOAT_LANES;
        const u32 k = column * GEMV_FLOAT_CHUNK + from + quad * HY_QUAD_WEIGHTS;
        const u32x4 zero = {0u, 0u, 0u, 0u};
        w[i] = k < k_end ? hy_stream(row[i / (GEMV_FLOAT_QUADS / GEMV_FLOAT_GROUP_ROWS)] +
                                     (u64)(k / HY_QUAD_WEIGHTS) * 16u)
                         : zero;
    }
    HY_UNROLL for (u32 i = 0; i < GEMV_FLOAT_QUADS; i++) {
        const u32 item = i * (32u / GEMV_FLOAT_QUADS) + lane / GEMV_FLOAT_QUADS;
        to[item * GEMV_FLOAT_PITCH + lane % GEMV_FLOAT_QUADS] = w[i];
    }
}

/* What a thread's piece adds to the sums of its chunk; k: of its first weight. */
template <product_kind KIND, u32 COLUMNS>
HY_DEVICE void gemv_float_multiply(const hy_args &args, const u32x4 *from, u32 k, u32 first,
                                   u32 columns, float (&p)[COLUMNS]) {
    const u32 k_end = hy_columns(args, HY_MATMUL_x), dtype = hy_dtype(args, HY_MATMUL_x);
    HY_NO_UNROLL for (u32 quad = 0; quad < GEMV_FLOAT_QUADS; quad++) {
        float w[HY_QUAD_WEIGHTS];
        hy_weights_of(from[quad], w);
        HY_UNROLL for (u32 column = 0; column < COLUMNS; column++) {
            if (column >= columns) continue;
            const u8 *row = product_x<KIND>(args, first + column);
            float sum = p[column];
            HY_UNROLL for (u32 i = 0; i < HY_QUAD_WEIGHTS; i += 4u) {
                const u32 at = k + quad * HY_QUAD_WEIGHTS + i;
                f32x4 x = {};
                if (at < k_end) x = hy_load4(dtype, row, at, k_end);
                HY_UNROLL for (u32 j = 0; j < 4u; j++) sum = hy_fma(w[i + j], x.v[j], sum);
            }
            p[column] = sum;
        }
    }
}

template <product_kind KIND, u32 COLUMNS> HY_DEVICE void gemv_float(const hy_args &args) {
    HY_SHARED u32x4 memory[GEMV_FLOAT_GROUPS][32u * GEMV_FLOAT_PITCH];
    constexpr u32 rows = GEMV_FLOAT_GROUPS * GEMV_FLOAT_GROUP_ROWS;
    const u32 group = hy_thread() / 32u, lane = hy_thread() % 32u;
    const u32 chunk = lane % GEMV_FLOAT_LANES, own = lane / GEMV_FLOAT_LANES;
    product_place t;
    if (!product_place_of<KIND>(args, rows, COLUMNS, t)) return;
    /* With glu rows are pairs, gate row m and up row M + m; rows past the end are those of the last output. */
    const u32 first =
        t.output_ + group * (t.glu ? GEMV_FLOAT_GROUP_ROWS / 2u : GEMV_FLOAT_GROUP_ROWS);
    const u8 *row[GEMV_FLOAT_GROUP_ROWS];
    HY_UNROLL for (u32 i = 0; i < GEMV_FLOAT_GROUP_ROWS; i++) {
        const u32 m = hy_min(first + (t.glu ? i / 2u : i), t.outputs - 1u);
        row[i] = product_weights(args, t.expert, t.glu && (i & 1u) != 0u ? m + t.outputs : m);
    }
    const u32 k_end = hy_columns(args, HY_MATMUL_x), columns = hy_min(t.end - t.begin, COLUMNS);
    float z[COLUMNS] = {};
    HY_NO_UNROLL for (u32 c = 0; c * GEMV_FLOAT_CHUNK < k_end; c += GEMV_FLOAT_LANES) {
        float p[COLUMNS] = {};
        HY_NO_UNROLL for (u32 from = 0; from < GEMV_FLOAT_CHUNK; from += GEMV_FLOAT_PIECE) {
            hy_warp_sync();
            gemv_float_load(memory[group], row, c, from, k_end);
            hy_warp_sync();
            gemv_float_multiply<KIND, COLUMNS>(args, memory[group] + lane * GEMV_FLOAT_PITCH,
                                               (c + chunk) * GEMV_FLOAT_CHUNK + from, t.begin,
                                               columns, p);
        }
        HY_UNROLL for (u32 column = 0; column < COLUMNS; column++)
            HY_NO_UNROLL for (u32 j = 0; j < GEMV_FLOAT_LANES; j++) {
            const float part = hy_shuffle(p[column], (hy_lane() & ~(GEMV_FLOAT_LANES - 1u)) + j);
            if ((c + j) * GEMV_FLOAT_CHUNK < k_end) z[column] = z[column] + part;
        }
    }
    const hy_epilogue e = product_epilogue<KIND>(args, t.expert);
    const u32 m = first + (t.glu ? own / 2u : own);
    HY_UNROLL for (u32 column = 0; column < COLUMNS; column++) {
        const float up = hy_shuffle_xor(z[column], GEMV_FLOAT_LANES);
        const bool gate = !t.glu || (own & 1u) == 0u;
        if (chunk == 0u && gate && m < t.outputs && column < columns)
            product_store<KIND>(args, e, t.begin + column, m, z[column], up);
    }
}

#endif

/* shaders/simt/gemv.h: products of few tokens by weights in a block format; activations are a8.
 *
 * A group of GEMV_LANES threads has ROWS weight rows; lane l takes sub-block s = l, l + GEMV_LANES, ... of all of
 * them, so that neighbours read neighbouring 16 bytes, all loads of a pass before the first is used. Weights are
 * unpacked once and stay in registers for all COLUMNS tokens. With glu rows are pairs, gate row m and up row M + m.
 *
 * The order of additions is that of all matmul kernels (docs/numerics.md): exact integer dot products; chunks of 256 k
 * summed up in order of k; chunks added in order. A pass has GEMV_LANES / 8 chunks: its lanes put dot products and
 * scales into shared memory of their own group, from where one thread for each (row, token, chunk) makes the chunk's
 * sum. Where rows are too few to fill a device, `turns` groups of a workgroup share the same rows and take passes
 * in turn; chunk sums meet in shared memory, and are added in the same order.
 *
 * Grid: workgroups of GEMV_GROUPS / turns * ROWS weight rows; GROUPED: of one pair. constant[0]: turns, a divisor of
 * GEMV_GROUPS. No args.extra. */
#ifndef HY_SIMT_GEMV_H
#define HY_SIMT_GEMV_H

#include "shaders/simt/gemv_shape.h"
#include "shaders/simt/product.h"
#include "shaders/simt/quant.h"

#define GEMV_PARTS (SPLIT + 1u)
#define GEMV_CHUNKS (GEMV_LANES / 8u) /* of a pass */
#define GEMV_PITCH                                                                                 \
    (GEMV_LANES + GEMV_CHUNKS) /* floats; chunks 9 apart, so that they meet different banks */
#define GEMV_GROUPS (GEMV_THREADS / GEMV_LANES)

/* Shared memory of a group. [row][part][lane], lanes by chunks 9 apart. */
template <u32 ROWS, u32 COLUMNS> struct gemv_pass {
    float dot[ROWS * COLUMNS * GEMV_PARTS * GEMV_PITCH];
    float a[ROWS * GEMV_PARTS * GEMV_PITCH];
#if HAS_MINIMA
    float b[ROWS * GEMV_PARTS * GEMV_PITCH];
    float sum[COLUMNS * GEMV_PARTS * GEMV_PITCH]; /* xs * the sum of a part's int8 */
#endif
    float scale[COLUMNS * GEMV_PITCH]; /* xs */
};

/* Of a workgroup. */
template <u32 ROWS, u32 COLUMNS> struct gemv_memory {
    gemv_pass<ROWS, COLUMNS> pass[GEMV_GROUPS];
    float part[GEMV_GROUPS][ROWS * COLUMNS * GEMV_CHUNKS]; /* [chunk of the pass][row][column] */
};

struct gemv_feed {
    u32 plane[4]; /* of the weights */
    u32 blocks;   /* of a row */
    const u8 *x;  /* the first token's row */
    u64 x_step;   /* bytes from one token's to the next */
    u32 columns;  /* tokens */
};

HY_DEVICE u32 gemv_place(u32 lane) {
    return lane + lane / 8u;
}

/* Products of sub-block s of ROWS rows by all tokens; lanes past the rows' end put zeros. */
template <u32 ROWS, u32 COLUMNS>
HY_DEVICE void gemv_multiply(const gemv_feed &f, gemv_pass<ROWS, COLUMNS> &to,
                             const u8 *const (&row)[ROWS], u32 s) {
    const u32 place = gemv_place(hy_thread() % GEMV_LANES);
    hy_weights w[ROWS];
    HY_UNROLL for (u32 i = 0; i < ROWS; i++) w[i] =
        hy_load_weights(row[i], f.plane[1], f.plane[2], f.plane[3], s);
    HY_UNROLL for (u32 i = 0; i < ROWS; i++) HY_UNROLL for (u32 h = 0; h < GEMV_PARTS; h++) {
        to.a[(i * GEMV_PARTS + h) * GEMV_PITCH + place] = w[i].a[h];
#if HAS_MINIMA
        to.b[(i * GEMV_PARTS + h) * GEMV_PITCH + place] = w[i].b[h];
#endif
    }
    HY_NO_UNROLL for (u32 column = 0; column < f.columns; column++) {
        const u32x2 *x = (const u32x2 *)(f.x + column * f.x_step + (u64)s * HY_A8_BYTES);
        const u32x2 last = x[4];
        u32 q[8];
        HY_UNROLL for (u32 j = 0; j < 4u; j++) {
            q[2u * j] = x[j].x;
            q[2u * j + 1u] = x[j].y;
        }
        const float xs = hy_float(last.x);
        to.scale[column * GEMV_PITCH + place] = xs;
#if HAS_MINIMA
        HY_UNROLL for (u32 h = 0; h < GEMV_PARTS; h++) {
            i32 sum = (i32)last.y;
#if SPLIT
            sum = 0;
            HY_UNROLL for (u32 j = 0; j < 4u; j++) sum = hy_dot4(q[4u * h + j], 0x01010101u, sum);
#endif
            to.sum[(column * GEMV_PARTS + h) * GEMV_PITCH + place] = xs * (float)sum;
        }
#endif
        HY_UNROLL for (u32 i = 0; i < ROWS; i++) HY_UNROLL for (u32 h = 0; h < GEMV_PARTS; h++) {
            i32 dot = 0;
            HY_UNROLL for (u32 j = h * 4u; j < (SPLIT ? h * 4u + 4u : 8u); j++) dot =
                hy_dot4(w[i].q[j], q[j], dot);
            to.dot[((i * COLUMNS + column) * GEMV_PARTS + h) * GEMV_PITCH + place] = (float)dot;
        }
    }
}

/* The sum of `blocks` sub-blocks of a row and token, whose first is at `place`. */
template <u32 ROWS, u32 COLUMNS>
HY_DEVICE float gemv_chunk(const gemv_pass<ROWS, COLUMNS> &from, u32 row, u32 column, u32 blocks,
                           u32 place) {
    float p = 0.0f;
    for (u32 i = place; i < place + blocks; i++)
        HY_UNROLL for (u32 h = 0; h < GEMV_PARTS; h++) {
            const u32 at = (row * GEMV_PARTS + h) * GEMV_PITCH + i;
            const float xs = from.scale[column * GEMV_PITCH + i];
            p = hy_fma(from.dot[((row * COLUMNS + column) * GEMV_PARTS + h) * GEMV_PITCH + i],
                       from.a[at] * xs, p);
#if HAS_MINIMA
            p = hy_fma(from.b[at], from.sum[(column * GEMV_PARTS + h) * GEMV_PITCH + i], p);
#endif
        }
    return p;
}

/* The chunk sums of a pass that begins with sub-block s. */
template <u32 ROWS, u32 COLUMNS>
HY_DEVICE void gemv_chunks(const gemv_feed &f, const gemv_pass<ROWS, COLUMNS> &from, float *part,
                           u32 s) {
    HY_NO_UNROLL for (u32 i = hy_thread() % GEMV_LANES; i < GEMV_CHUNKS * ROWS * f.columns;
                      i += GEMV_LANES) {
        const u32 chunk = i % GEMV_CHUNKS, row = i / GEMV_CHUNKS % ROWS;
        const u32 column = i / GEMV_CHUNKS / ROWS, first = s + 8u * chunk;
        if (first >= f.blocks) continue;
        part[chunk * ROWS * COLUMNS + row * COLUMNS + column] =
            gemv_chunk(from, row, column, hy_min(8u, f.blocks - first), 9u * chunk);
    }
}

/* z += the chunks of a pass that begins with sub-block s, in order. */
template <u32 ROWS, u32 COLUMNS>
HY_DEVICE float gemv_add(const gemv_feed &f, const float *part, u32 s, u32 i, float z) {
    for (u32 chunk = 0; chunk < GEMV_CHUNKS && s + 8u * chunk < f.blocks; chunk++)
        z = z + part[chunk * ROWS * COLUMNS + i];
    return z;
}

/* Which rows a group has. */
template <u32 ROWS> struct gemv_rows {
    const u8 *row[ROWS];
    u32 first; /* output of row 0 */
};

template <u32 ROWS>
HY_DEVICE void gemv_rows_of(const hy_args &args, const product_place &t, u32 set,
                            gemv_rows<ROWS> &out) {
    const u32 outputs = t.glu ? ROWS / 2u : ROWS;
    out.first = t.output_ + set * outputs;
    HY_UNROLL for (u32 i = 0; i < ROWS; i++) {
        /* Rows past the end are those of the last output once more: they cost nothing that is not there. */
        const u32 m = hy_min(out.first + (t.glu ? i / 2u : i), t.outputs - 1u);
        out.row[i] = product_weights(args, t.expert, t.glu && (i & 1u) != 0u ? m + t.outputs : m);
    }
}

/* Sums of a group's row and token i (row * COLUMNS + column), i = lane, lane + GEMV_LANES, ..., of which each lane has
 * its own; then outputs. */
template <product_kind KIND, u32 ROWS, u32 COLUMNS>
HY_DEVICE void gemv_store(const hy_args &args, const product_place &t, const gemv_rows<ROWS> &rows,
                          const float *z, u32 columns) {
    const u32 outputs = t.glu ? ROWS / 2u : ROWS;
    const hy_epilogue e = product_epilogue<KIND>(args, t.expert);
    HY_NO_UNROLL for (u32 i = hy_thread() % GEMV_LANES; i < outputs * columns; i += GEMV_LANES) {
        const u32 row = i % outputs, column = i / outputs, m = rows.first + row;
        if (m >= t.outputs) continue;
        const float *sum = z + (t.glu ? 2u * row : row) * COLUMNS + column;
        product_store<KIND>(args, e, t.begin + column, m, sum[0], t.glu ? sum[COLUMNS] : 0.0f);
    }
}

template <product_kind KIND, u32 ROWS, u32 COLUMNS> HY_DEVICE void gemv(const hy_args &args) {
    HY_SHARED gemv_memory<ROWS, COLUMNS> memory;
    HY_SHARED float sums[GEMV_GROUPS][ROWS * COLUMNS];
    const u32 turns = args.constant[0], group = hy_thread() / GEMV_LANES;
    const u32 lane = hy_thread() % GEMV_LANES, set = group / turns, turn = group % turns;
    product_place t;
    if (!product_place_of<KIND>(args, GEMV_GROUPS / turns * ROWS, COLUMNS, t)) return;
    const u32 *stride = args.operand[HY_MATMUL_w].stride;
    gemv_feed f = {{0u, stride[1], stride[2], stride[3]},
                   hy_columns(args, HY_MATMUL_x) / 32u,
                   product_x<KIND>(args, t.begin),
                   hy_bytes(HY_DTYPE_A8, args.operand[HY_MATMUL_x].stride[0]),
                   hy_min(t.end - t.begin, COLUMNS)};
    gemv_rows<ROWS> rows;
    gemv_rows_of(args, t, set, rows);
    for (u32 i = lane; i < ROWS * COLUMNS; i += GEMV_LANES)
        sums[group][i] = 0.0f;
    HY_NO_UNROLL for (u32 begin = 0; begin < f.blocks; begin += GEMV_LANES * turns) {
        const u32 s = begin + turn * GEMV_LANES;
        if (s + lane < f.blocks) gemv_multiply(f, memory.pass[group], rows.row, s + lane);
        hy_warp_sync();
        gemv_chunks(f, memory.pass[group], memory.part[group], s);
        if (turns == 1u)
            hy_warp_sync();
        else
            hy_sync();
        if (turn == 0u)
            for (u32 i = lane; i < ROWS * COLUMNS; i += GEMV_LANES) {
                float z = sums[group][i];
                for (u32 g = 0; g < turns; g++)
                    z = gemv_add<ROWS, COLUMNS>(f, memory.part[group + g], begin + g * GEMV_LANES,
                                                i, z);
                sums[group][i] = z;
            }
        if (turns > 1u)
            hy_sync(); /* before the next parts; alone, the warp meets before that anyway */
    }
    hy_warp_sync();
    if (turn == 0u) gemv_store<KIND, ROWS, COLUMNS>(args, t, rows, sums[group], f.columns);
}

#endif

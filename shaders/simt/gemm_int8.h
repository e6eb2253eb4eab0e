/* shaders/simt/gemm_int8.h: products of many rows of x by weights in a block format; x is a8. One weight sub-block is
 * unpacked once for a whole tile of columns. The order of additions is that of all matmul kernels (docs/numerics.md).
 *
 * Grid: tiles of gemm.h, those of the same weights following each other. */
#ifndef HY_SIMT_GEMM_INT8_H
#define HY_SIMT_GEMM_INT8_H

#include "shaders/simt/gemm.h"

#define GEMM_CHUNK 8u           /* sub-blocks of 32 k that are added up apart */
#define GEMM_STEP 2u            /* of which one step has so many */
#define GEMM_PARTS (SPLIT + 1u) /* scales of a sub-block */

/* A step in shared memory. */
template <u32 WIDTH> struct gemm_step {
    u32x4 w[GEMM_PIECES * GEMM_ROW_PITCH];    /* [piece][row] */
    u32x4 x[GEMM_PIECES * (8u * WIDTH + 2u)]; /* [piece][column] */
    float a[GEMM_STEP * GEMM_PARTS * GEMM_ROWS], xs[GEMM_STEP * GEMM_PARTS * 8u * WIDTH];
#if HAS_MINIMA
    float b[GEMM_STEP * GEMM_PARTS * GEMM_ROWS], sum[GEMM_STEP * GEMM_PARTS * 8u * WIDTH];
#endif
};

/* Sub-block s of a row (NULL: zeros) to sub-block `sub` of the step. */
template <u32 WIDTH>
HY_DEVICE void gemm_put_weights(const hy_args &args, gemm_step<WIDTH> &step, const u8 *address,
                                u32 s, u32 sub, u32 row) {
    u32x4 low = {}, high = {};
    hy_weights w = {};
    if (address) {
        const u32 *stride = args.operand[HY_MATMUL_w].stride;
        w = hy_load_weights(address, stride[1], stride[2], stride[3], s);
        low = {w.q[0], w.q[1], w.q[2], w.q[3]};
        high = {w.q[4], w.q[5], w.q[6], w.q[7]};
    }
    step.w[2u * sub * GEMM_ROW_PITCH + row] = low;
    step.w[(2u * sub + 1u) * GEMM_ROW_PITCH + row] = high;
    HY_UNROLL for (u32 h = 0; h < GEMM_PARTS; h++) {
        step.a[(sub * GEMM_PARTS + h) * GEMM_ROWS + row] = w.a[h];
#if HAS_MINIMA
        step.b[(sub * GEMM_PARTS + h) * GEMM_ROWS + row] = w.b[h];
#endif
    }
}

/* Block s of a row of x, likewise. */
template <u32 WIDTH>
HY_DEVICE void gemm_put_x(gemm_step<WIDTH> &step, const u8 *address, u32 s, u32 sub, u32 column) {
    constexpr u32 columns = 8u * WIDTH, pitch = columns + 2u;
    u32x4 low = {}, high = {};
    u32x2 last = {};
    if (address) {
        const u32x2 *block = (const u32x2 *)(address + (u64)s * HY_A8_BYTES);
        low = {block[0].x, block[0].y, block[1].x, block[1].y};
        high = {block[2].x, block[2].y, block[3].x, block[3].y};
        last = block[4];
    }
    const float xs = hy_float(last.x);
    step.x[2u * sub * pitch + column] = low;
    step.x[(2u * sub + 1u) * pitch + column] = high;
    HY_UNROLL for (u32 h = 0; h < GEMM_PARTS; h++) {
        step.xs[(sub * GEMM_PARTS + h) * columns + column] = xs;
#if HAS_MINIMA
        i32 sum = (i32)last.y;
#if SPLIT
        const u32x4 q = h == 0u ? low : high;
        sum = hy_dot4(q.x, 0x01010101u, hy_dot4(q.y, 0x01010101u, 0));
        sum = hy_dot4(q.z, 0x01010101u, hy_dot4(q.w, 0x01010101u, sum));
#endif
        step.sum[(sub * GEMM_PARTS + h) * columns + column] = xs * (float)sum;
#endif
    }
}

/* sums += products of the 16 k of one piece. */
template <u32 WIDTH>
HY_DEVICE void gemm_multiply(const gemm_step<WIDTH> &step, u32 piece,
                             i32 (&sums)[GEMM_HEIGHT][WIDTH]) {
    const u32 r = hy_thread() / 8u, c = hy_thread() % 8u;
    u32x4 w[GEMM_HEIGHT];
    HY_UNROLL for (u32 i = 0; i < GEMM_HEIGHT; i++) w[i] =
        step.w[piece * GEMM_ROW_PITCH + r + 16u * i];
    HY_UNROLL for (u32 j = 0; j < WIDTH; j++) {
        const u32x4 x = step.x[piece * (8u * WIDTH + 2u) + c + 8u * j];
        HY_UNROLL for (u32 i = 0; i < GEMM_HEIGHT; i++) {
            i32 sum = sums[i][j];
            sum = hy_dot4(w[i].x, x.x, sum);
            sum = hy_dot4(w[i].y, x.y, sum);
            sum = hy_dot4(w[i].z, x.z, sum);
            sums[i][j] = hy_dot4(w[i].w, x.w, sum);
        }
    }
}

/* p += the products of the step's part `part`. */
template <u32 WIDTH>
HY_DEVICE void gemm_add_part(const gemm_step<WIDTH> &step, u32 part, gemm_sums<WIDTH> &s) {
    const u32 r = hy_thread() / 8u, c = hy_thread() % 8u;
    i32 sums[GEMM_HEIGHT][WIDTH] = {};
    gemm_multiply(step, SPLIT ? part : 2u * part, sums);
#if !SPLIT
    gemm_multiply(step, 2u * part + 1u, sums);
#endif
    HY_UNROLL for (u32 j = 0; j < WIDTH; j++) {
        const u32 column = part * 8u * WIDTH + c + 8u * j;
        HY_UNROLL for (u32 i = 0; i < GEMM_HEIGHT; i++) {
            const u32 row = part * GEMM_ROWS + r + 16u * i;
            s.p[i][j] = hy_fma((float)sums[i][j], step.a[row] * step.xs[column], s.p[i][j]);
#if HAS_MINIMA
            s.p[i][j] = hy_fma(step.b[row], step.sum[column], s.p[i][j]);
#endif
        }
    }
}

template <product_kind KIND, u32 WIDTH> HY_DEVICE void gemm_int8(const hy_args &args) {
    HY_SHARED gemm_step<WIDTH> step;
    product_place t;
    if (!product_place_of<KIND>(args, GEMM_ROWS, 8u * WIDTH, t)) return;
    const u32 line = hy_thread() / GEMM_STEP, sub = hy_thread() % GEMM_STEP;
    const u32 blocks = hy_columns(args, HY_MATMUL_x) / 32u;
    const bool brings = line < 8u * WIDTH;
    const u8 *weights = product_weight_row(args, t, GEMM_ROWS, line);
    const u8 *x =
        brings && t.begin + line < t.end ? product_x<KIND>(args, t.begin + line) : nullptr;
    gemm_sums<WIDTH> s;
    gemm_clear(s);
    HY_NO_UNROLL for (u32 first = 0; first < blocks; first += GEMM_STEP) {
        const bool is = first + sub < blocks;
        gemm_put_weights(args, step, is ? weights : nullptr, first + sub, sub, line);
        if (brings) gemm_put_x(step, is ? x : nullptr, first + sub, sub, line);
        hy_sync();
        const u32 parts = hy_min(GEMM_STEP, blocks - first) * GEMM_PARTS;
        HY_NO_UNROLL for (u32 part = 0; part < parts; part++) gemm_add_part(step, part, s);
        hy_sync();
        if ((first + GEMM_STEP) % GEMM_CHUNK == 0u || first + GEMM_STEP >= blocks) gemm_chunk(s);
    }
    gemm_store<KIND>(args, t, s);
}

#endif

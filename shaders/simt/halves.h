/* shaders/simt/halves.h: weights as f16: a v + b in float32 as everywhere, then rounded; those past 65504 become +-65504
 * (no model that runs in f16 has such). 32 of a row at a time. */
#ifndef HY_SIMT_HALVES_H
#define HY_SIMT_HALVES_H

#include "shaders/simt/quant.h"

#ifdef FORMAT_FLOAT

struct half_weights {
    u32x4 q[4]; /* 32 f16 */
};

/* Halves i and i + 1 of a word where `left` of them and of what follows are the row's. */
HY_DEVICE u32 halves_cut(u32 word, i32 left) {
    return left >= 2 ? word : left == 1 ? word & 0xffffu : 0u;
}

HY_DEVICE void halves_load(const u8 *row, const u32 *plane, u32 k, u32 k_end, half_weights &w) {
    HY_UNROLL for (u32 i = 0; i < 4u; i++) {
        u32x4 q = {0u, 0u, 0u, 0u};
        const u32 at = k + 8u * i;
        if (at < k_end) q = hy_stream(row + 2u * at);
#ifdef FORMAT_bf16
        q.x = hy_clamp_f16x2(hy_float(q.x << 16), hy_float(q.x & 0xffff0000u));
        q.y = hy_clamp_f16x2(hy_float(q.y << 16), hy_float(q.y & 0xffff0000u));
        q.z = hy_clamp_f16x2(hy_float(q.z << 16), hy_float(q.z & 0xffff0000u));
        q.w = hy_clamp_f16x2(hy_float(q.w << 16), hy_float(q.w & 0xffff0000u));
#endif
        const i32 left = (i32)k_end - (i32)at; /* a row's padding is zeros, but be it NaN */
        q.x = halves_cut(q.x, left);
        q.y = halves_cut(q.y, left - 2);
        q.z = halves_cut(q.z, left - 4);
        q.w = halves_cut(q.w, left - 6);
        w.q[i] = q;
    }
}

HY_DEVICE void halves_put(u8 *to, bool is, const half_weights &w) {
    const u32x4 zero = {0u, 0u, 0u, 0u};
    HY_UNROLL for (u32 i = 0; i < 4u; i++)((u32x4 *)to)[i] = is ? w.q[i] : zero;
}

#else

typedef hy_weights half_weights;

HY_DEVICE void halves_load(const u8 *row, const u32 *plane, u32 k, u32 k_end, half_weights &w) {
    if (k < k_end) w = hy_load_weights(row, plane[1], plane[2], plane[3], k / 32u);
}

/* Number i of the four int8 of a word, as a weight of part `part`. */
HY_DEVICE float halves_weight(const hy_weights &w, u32 word, u32 i, u32 part) {
    const float v = (float)((i32)(word << (24u - 8u * i)) >> 24);
#if HAS_MINIMA
    return hy_fma(v, w.a[part], w.b[part]);
#else
    return v * w.a[part];
#endif
}

HY_DEVICE void halves_put(u8 *to, bool is, const half_weights &w) {
    HY_UNROLL for (u32 i = 0; i < 8u; i++) {
        const u32 part = SPLIT * (i / 4u), q = w.q[i];
        u32x2 v = {0u, 0u};
        if (is) {
            v.x = hy_clamp_f16x2(halves_weight(w, q, 0u, part), halves_weight(w, q, 1u, part));
            v.y = hy_clamp_f16x2(halves_weight(w, q, 2u, part), halves_weight(w, q, 3u, part));
        }
        ((u32x2 *)to)[i] = v;
    }
}

#endif

/* Entry halves: weights -> f16 rows in the workspace, for the vendor's BLAS (backends/simt/blas.c says where). One thread
 * for each 32 of a row; elements past the row are 0. */
HY_DEVICE void halves(const hy_args &args) {
    const hy_arg_tensor &w = args.operand[HY_MATMUL_w];
    const u32 width = args.extra[0], each = width / 32u;
    const u32 n = hy_group() * hy_threads() + hy_thread(), row = n / each, k = n % each * 32u;
    if (row >= w.dim[0]) return;
    const u32 plane[4] = {0u, w.stride[1], w.stride[2], w.stride[3]};
    half_weights v = {};
    halves_load(hy_address(args, HY_MATMUL_w) + (u64)row * w.stride[0], plane, k, w.columns, v);
    halves_put((u8 *)args.workspace + args.extra[2] + 2u * ((u64)row * width + k), true, v);
}

#endif

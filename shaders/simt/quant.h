/* shaders/simt/quant.h: weights from P16 rows (backends/gpu/layout.h). Compiled for one format, named by a definition
 * FORMAT_q4_0, FORMAT_f16, ...
 *
 * Block formats (hal/dtype.c says what the bits mean) give sub-blocks of 32 k as signed bytes and the float32 a (and b)
 * with which a weight is a * v + b:
 *   HAS_MINIMA  1: there is a b
 *   SPLIT       1: a (and b) for each 16 k
 *   hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s)
 * A row needs nothing but its address: planes begin at multiples of 16 bytes, so every load is aligned, and quants are
 * read 16 bytes at a time, past the first cache, for they are read once.
 *
 * Float formats define FORMAT_FLOAT and HY_QUAD_WEIGHTS, the weights in 16 bytes:
 *   void hy_weights_of(u32x4 quad, float (&w)[HY_QUAD_WEIGHTS])
 * A row's padding is zeros. */
#ifndef HY_SIMT_QUANT_H
#define HY_SIMT_QUANT_H

#include "shaders/simt/common.h"

#if defined(FORMAT_f32) || defined(FORMAT_f16) || defined(FORMAT_bf16)
#define FORMAT_FLOAT 1

#ifdef FORMAT_f32
#define HY_QUAD_WEIGHTS 4u
HY_DEVICE void hy_weights_of(u32x4 quad, float (&w)[HY_QUAD_WEIGHTS]) {
    w[0] = hy_float(quad.x);
    w[1] = hy_float(quad.y);
    w[2] = hy_float(quad.z);
    w[3] = hy_float(quad.w);
}
#else
#define HY_QUAD_WEIGHTS 8u
HY_DEVICE void hy_weights_of(u32x4 quad, float (&w)[HY_QUAD_WEIGHTS]) {
    const f32x4 low = hy_halves4(FORMAT, {quad.x, quad.y});
    const f32x4 high = hy_halves4(FORMAT, {quad.z, quad.w});
    HY_UNROLL for (u32 i = 0; i < 4u; i++) {
        w[i] = low.v[i];
        w[4u + i] = high.v[i];
    }
}
#endif

#else

#if defined(FORMAT_q4_1) || defined(FORMAT_q5_1) || defined(FORMAT_q2_k) ||                        \
    defined(FORMAT_q4_k) || defined(FORMAT_q5_k)
#define HAS_MINIMA 1
#else
#define HAS_MINIMA 0
#endif
#if defined(FORMAT_q2_k) || defined(FORMAT_q3_k) || defined(FORMAT_q6_k)
#define SPLIT 1
#else
#define SPLIT 0
#endif

struct hy_weights {
    u32 q[8];           /* 32 v, int8, k ascending from the low byte */
    float a[SPLIT + 1]; /* of each 32 k, or of each 16 k */
#if HAS_MINIMA
    float b[SPLIT + 1];
#endif
};

/* 32 bytes at a multiple of 16. */
HY_DEVICE void hy_load_words(const u8 *address, u32 (&w)[8]) {
    const u32x4 low = hy_stream(address), high = hy_stream(address + 16);
    w[0] = low.x;
    w[1] = low.y;
    w[2] = low.z;
    w[3] = low.w;
    w[4] = high.x;
    w[5] = high.y;
    w[6] = high.z;
    w[7] = high.w;
}

/* Nibbles in GGUF's order: the low ones are k 0..15, the high ones 16..31. */
HY_DEVICE void hy_load_nibbles(const u8 *address, u32 (&w)[8]) {
    const u32x4 x = hy_stream(address);
    const u32 words[4] = {x.x, x.y, x.z, x.w};
    HY_UNROLL for (u32 i = 0; i < 4u; i++) {
        w[i] = words[i] & 0x0f0f0f0fu;
        w[i + 4] = words[i] >> 4 & 0x0f0f0f0fu;
    }
}

/* The same of a code book of 16 bytes, in four words. */
HY_DEVICE void hy_load_codes(const u8 *address, u32 c0, u32 c1, u32 c2, u32 c3, u32 (&w)[8]) {
    const u32x4 x = hy_stream(address);
    const u32 words[4] = {x.x, x.y, x.z, x.w};
    HY_UNROLL for (u32 i = 0; i < 4u; i++) hy_lookup16(words[i], c0, c1, c2, c3, w[i], w[i + 4]);
}

/* -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113 */
HY_DEVICE void hy_load_iq4(const u8 *address, u32 (&w)[8]) {
    hy_load_codes(address, 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u, w);
}

/* Each byte minus n, for bytes < 128 and n <= 128. */
HY_DEVICE u32 hy_minus(u32 w, u32 n) {
    return (w + (0x80u - n) * 0x01010101u) ^ 0x80808080u;
}

/* Bits 0..3 of x, each in the low bit of a byte. */
HY_DEVICE u32 hy_spread(u32 x) {
    return (x & 15u) * 0x00204081u & 0x01010101u;
}

/* The int8 in bits [at, at + 8). */
HY_DEVICE i32 hy_int8(i32 x, u32 at) {
    return (i32)((u32)x << (24u - at)) >> 24;
}

#if defined(FORMAT_q2_k) || defined(FORMAT_q3_k) || defined(FORMAT_q4_k) ||                        \
    defined(FORMAT_q5_k) || defined(FORMAT_q6_k) || defined(FORMAT_iq4_xs)
#include "shaders/simt/quant_k.h"
#else
#include "shaders/simt/quant_32.h"
#endif

#endif
#endif

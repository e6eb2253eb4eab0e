/* shaders/vulkan/quant.glsl: weights from P16 rows (backends/gpu/layout.h). Compiled for one format, named
 * by a definition FORMAT_q4_0, FORMAT_f16, ...
 *
 * Block formats (hal/dtype.c says what the bits mean) give sub-blocks of 32 k as signed bytes and the
 * float32 a (and b) with which a weight is a * v + b:
 *   HAS_MINIMA  1: there is a b
 *   SPLIT       1: a (and b) for each 16 k
 *   hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s)
 * A row needs nothing but its address: planes begin at multiples of 16 bytes, so every load is aligned, and
 * quants are read 16 bytes at a time.
 *
 * Float formats define FORMAT_FLOAT:
 *   float hy_load_weight(uvec2 row, uint k)
 *   vec4 hy_load_weight4(uvec2 row, uint k)                          k a multiple of 4
 *   void hy_load_weight8(uvec2 row, uint k, out vec4 low, out vec4 high)   k a multiple of 8
 * The wide ones may begin before K and end behind it: a row's padding is zeros. */
#ifndef HY_QUANT_GLSL
#define HY_QUANT_GLSL

#include "common.glsl"

#if defined(FORMAT_f32) || defined(FORMAT_f16) || defined(FORMAT_bf16)
#define FORMAT_FLOAT 1
#include "quant_float.glsl"
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
    uint q[8];         /* 32 v, int8, k ascending from the low byte */
    float a[SPLIT + 1]; /* of each 32 k, or of each 16 k */
#if HAS_MINIMA
    float b[SPLIT + 1];
#endif
};

/* 16 and 32 bytes at a multiple of 16. */
uvec4 hy_quad(uvec2 address) {
    return Quads(address).v[0];
}

void hy_load_words(uvec2 address, out uint w[8]) {
    const uvec4 low = Quads(address).v[0], high = Quads(address).v[1];
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
void hy_load_nibbles(uvec2 address, out uint w[8]) {
    const uvec4 x = hy_quad(address);
    for (int i = 0; i < 4; i++) {
        w[i] = x[i] & 0x0f0f0f0fu;
        w[i + 4] = x[i] >> 4 & 0x0f0f0f0fu;
    }
}

/* Each byte minus n, for bytes < 128 and n <= 128. */
uint hy_minus(uint w, uint n) {
    return w + (0x80u - n) * 0x01010101u ^ 0x80808080u;
}

/* Bits 0..3 of x, each in the low bit of a byte. */
uint hy_spread(uint x) {
    return (x & 15u) * 0x00204081u & 0x01010101u;
}

#if defined(FORMAT_iq4_nl) || defined(FORMAT_iq4_xs)

/* Bits of y where m has ones, else of x. */
uint hy_mux(uint m, uint x, uint y) {
    return x & ~m | y & m;
}

/* Of two neighbours in the code book the one that bit 0 of the nibble names. */
uint hy_iq4_pair(uint m, uint low, uint high) {
    return hy_mux(m, low * 0x01010101u, high * 0x01010101u);
}

/* Code book values of the nibbles in a word's four bytes: a tree of choices by bit 0, 1, 2, 3, all four at
 * once. */
uint hy_iq4x4(uint w) {
    const uint m0 = (w & 0x01010101u) * 0xffu, m1 = (w >> 1 & 0x01010101u) * 0xffu;
    const uint m2 = (w >> 2 & 0x01010101u) * 0xffu, m3 = (w >> 3 & 0x01010101u) * 0xffu;
    const uint v0 = hy_mux(m1, hy_iq4_pair(m0, 0x81u, 0x98u), hy_iq4_pair(m0, 0xadu, 0xbfu));
    const uint v4 = hy_mux(m1, hy_iq4_pair(m0, 0xcfu, 0xddu), hy_iq4_pair(m0, 0xeau, 0xf6u));
    const uint v8 = hy_mux(m1, hy_iq4_pair(m0, 0x01u, 0x0du), hy_iq4_pair(m0, 0x19u, 0x26u));
    const uint v12 = hy_mux(m1, hy_iq4_pair(m0, 0x35u, 0x45u), hy_iq4_pair(m0, 0x59u, 0x71u));
    return hy_mux(m3, hy_mux(m2, v0, v4), hy_mux(m2, v8, v12));
}

#endif

#if defined(FORMAT_q2_k) || defined(FORMAT_q3_k) || defined(FORMAT_q4_k) || defined(FORMAT_q5_k) || \
    defined(FORMAT_q6_k) || defined(FORMAT_iq4_xs)
#include "quant_k.glsl"
#else
#include "quant_32.glsl"
#endif

#endif
#endif

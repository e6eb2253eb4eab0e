/* shaders/simt/math.h: elementary functions and a8 rounding: the bits of backends/cpu/vmath.h and of
 * shaders/vulkan/math.glsl. Quotients and roots are the compiler's, correctly rounded. */
#ifndef HY_SIMT_MATH_H
#define HY_SIMT_MATH_H

#include "shaders/simt/common.h"

HY_DEVICE float hy_rsqrt(float x) { /* each of the two rounded */
    return 1.0f / hy_sqrt(x);
}

/* 2^n for -126 <= n <= 127. */
HY_DEVICE float hy_pow2(i32 n) {
    return hy_float((u32)(n + 127) << 23);
}

/* e^x, within 1.5 ulp; 0 below -104, infinity above 88.73; NaN stays NaN. */
HY_DEVICE float hy_exp(float x) {
    const float low = x < -104.0f ? -104.0f : x;
    const float v = low > 89.0f ? 89.0f : low;
    const float shifted = hy_fma(v, 1.442695f, 12582912.0f); /* log2(e); 1.5 * 2^23 */
    const float n = shifted - 12582912.0f;
    /* Exact, for these are ln 2's top 16 bits; and no fma, as some compilers make one of two that share n. */
    const float tail = n * 0.69314575f;
    const float head = v - tail;
    const float r = hy_fma(n, -1.4286068e-06f, head);
    float p = 0.001392625f;
    p = hy_fma(p, r, 0.008363233f);
    p = hy_fma(p, r, 0.041666552f);
    p = hy_fma(p, r, 0.16666576f);
    p = hy_fma(p, r, 0.5f);
    const float square = p * r;
    p = hy_fma(square, r, r);
    /* 2^n in two factors, so that neither overflows and a subnormal result rounds once. */
    const i32 i = (i32)(hy_bits(shifted) - 0x4b400000u), half_ = i >> 1;
    const float once = (p + 1.0f) * hy_pow2(half_);
    const float result = once * hy_pow2(i - half_);
    return result;
}

/* w * w - square, where square = w * w as rounded: exact without a fused multiply-add. */
HY_DEVICE float hy_square_error(float w, float square) {
    const float high = hy_float(hy_bits(w) & 0xfffff000u);
    const float low = w - high;
    const float cross_ = high * low;
    const float first = high * high - square;
    const float rest = first + cross_ + cross_ + low * low;
    return rest;
}

/* `act` is a hy_act. What they share is written once, so that it is compiled once: each has one quotient and
 * one exponential. silu x / (1 + e^-x), 3 ulp; sigmoid 1 / (1 + e^-x), 2.5 ulp; tanh 1 - 2 / (1 + e^2|x|), or a
 * polynomial near 0, 2 ulp; gelu_tanh x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3); gelu_erf
 * x / 2 (1 + erf(x / sqrt 2)): h = erfc(|x| / sqrt 2) / 2 is a polynomial in t = 1 / (1 + z / 2) times
 * e^(-z^2), z^2 in two words. */
HY_DEVICE float hy_act(u32 act, float x) {
    if (act == HY_ACT_NONE || x != x) return x;
    if (act == HY_ACT_RELU) return x > 0.0f ? x : 0.0f;
    if (act == HY_ACT_RELU2) {
        const float square = x * x;
        return x > 0.0f ? square : 0.0f;
    }
    const float a = hy_fabs(x);
    const float z = a * 0.70710677f;       /* sqrt(1 / 2) */
    const float w = z < 16.0f ? z : 16.0f; /* e^-256 is 0; keeps the low word finite */
    const float square = w * w;
    float exponent = -x, numerator = x;
    if (act == HY_ACT_GELU_TANH) {
        const float xx = x * x;
        const float cube = xx * x;
        const float inner = hy_fma(cube, 0.044715f, x);
        exponent = -1.59576912f * inner; /* 2 sqrt(2 / pi) */
    } else if (act == HY_ACT_GELU_ERF) {
        exponent = -square;
        numerator = 1.0f;
    } else if (act == HY_ACT_TANH) {
        exponent = a + a;
        numerator = 2.0f;
    } else if (act == HY_ACT_SIGMOID) {
        numerator = 1.0f;
    }
    const float e = hy_exp(exponent);
    float denominator = 1.0f + e;
    if (act == HY_ACT_GELU_ERF) denominator = hy_fma(z, 0.5f, 1.0f);
    const float t = numerator / denominator;
    if (act == HY_ACT_TANH) {
        const float u = x * x;
        float p = -0.006045165f;
        p = hy_fma(p, u, 0.02096133f);
        p = hy_fma(p, u, -0.053843264f);
        p = hy_fma(p, u, 0.13332719f);
        p = hy_fma(p, u, -0.33333328f);
        const float xu = x * u;
        const float small = hy_fma(xu, p, x);
        const float large = 1.0f - t;
        return a < 0.625f ? small : x < 0.0f ? -large : large;
    }
    if (act != HY_ACT_GELU_ERF) return t;
    float p = 0.032398652f;
    p = hy_fma(p, t, -0.1716289f);
    p = hy_fma(p, t, 0.33256868f);
    p = hy_fma(p, t, -0.21899329f);
    p = hy_fma(p, t, -0.08664944f);
    p = hy_fma(p, t, 0.074567944f);
    p = hy_fma(p, t, 0.03905752f);
    p = hy_fma(p, t, 0.18979546f);
    p = hy_fma(p, t, 0.2444791f);
    p = hy_fma(p, t, 0.2823184f);
    p = hy_fma(p, t, 0.28208584f);
    const float gauss = hy_fma(-hy_square_error(w, square), e, e);
    const float h = 0.5f * t * p * gauss;
    const float positive = hy_fma(-x, h, x);
    const float negative = x * h;
    return x > 0.0f ? positive : negative;
}

/* cap * tanh(x / cap), cap > 0. */
HY_DEVICE float hy_softcap(float x, float cap) {
    const float y = cap * hy_act(HY_ACT_TANH, x / cap);
    return y;
}

/* ---- a8: 32 int8, then a float32 scale and the int32 sum of the int8 ------------------------------- */

#define HY_A8_SCALE 8u /* words into the block */
#define HY_A8_SUM 9u

/* |x| by its bits, NaN as 0: the largest of these, as integers, is max|x| of a block. */
HY_DEVICE u32 hy_a8_magnitude(float x) {
    const u32 bits = hy_bits(x) & 0x7fffffffu;
    return bits > 0x7f800000u ? 0u : bits;
}

/* The scale of a block whose max|x| is `most`: most / 127, magnitudes above 2^127 as 2^127. */
HY_DEVICE float hy_a8_scale(float most) {
    return hy_float(hy_min(hy_bits(most), 0x7f000000u)) / 127.0f;
}

/* One element: x / scale to the nearest integer, ties to even; NaN and blocks of zeros give 0. */
HY_DEVICE i32 hy_a8_quantize(float x, float scale) {
    const u32 s = hy_bits(scale);
    if (s == 0u || (hy_bits(x) & 0x7fffffffu) > 0x7f800000u) return 0;
    const float v = x / scale;
    const float low = v > -127.0f ? v : -127.0f;
    const float both = low < 127.0f ? low : 127.0f;
    const float shifted = both + 12582912.0f;
    return (i32)(hy_bits(shifted) - 0x4b400000u);
}

#endif

/* backends/cpu/vmath.h: elementary functions that give the same bits in a vector lane, in a scalar tail
 * and on every instruction set.
 *
 * Plain C over single elements: loops over them vectorize, because nothing here branches or calls a
 * library; every rounding is spelled out (fmaf where a product and a sum round once), and the build
 * forbids contraction. A file compiled for an ISA without a fused multiply-add calls fmaf, slow but equal.
 * Errors below are relative, against the exact function of the float32 argument, from sweeps of the whole
 * range in tests/unit/test_cpu_matmul.c. Coefficients: Chebyshev fits made for this file. */
#ifndef HY_CPU_VMATH_H
#define HY_CPU_VMATH_H

#include <math.h>
#include <stdint.h>

#include "base/half.h"
#include "base/num.h"
#include "hal/dtype.h"
#include "hal/ops.h"

#define VM_INLINE static inline __attribute__((always_inline))

/* The nearest integer to v, ties to even, for |v| <= 2^22: the sum's low bits hold it. */
#define VM_ROUND_MAGIC 12582912.0f /* 1.5 * 2^23 */

/* 2^n for -126 <= n <= 127. */
VM_INLINE float vm_pow2(int32_t n) {
    return hy_f32_from_bits((uint32_t)(n + 127) << 23);
}

/* e^x, within 1.5 ulp; 0 below -104, infinity above 88.73; NaN stays NaN. */
VM_INLINE float vm_exp(float x) {
    const float low = x < -104.0f ? -104.0f : x;
    const float v = low > 89.0f ? 89.0f : low;
    const float shifted = fmaf(v, 0x1.715476p+0f, VM_ROUND_MAGIC); /* log2(e) */
    const float n = shifted - VM_ROUND_MAGIC;
    const float head = fmaf(n, -0x1.62e4p-1f, v); /* exact: ln 2's top 16 bits */
    const float r = fmaf(n, -0x1.7f7d1cp-20f, head);
    float p = 0x1.6d117cp-10f;
    p = fmaf(p, r, 0x1.120be2p-7f);
    p = fmaf(p, r, 0x1.555518p-5f);
    p = fmaf(p, r, 0x1.5554dcp-3f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p * r, r, r);
    /* 2^n in two factors, so that neither overflows and a subnormal result rounds once. */
    const int32_t i = (int32_t)(hy_f32_bits(shifted) - 0x4b400000u);
    const int32_t half = i >> 1;
    return (p + 1.0f) * vm_pow2(half) * vm_pow2(i - half);
}

/* 1 / (1 + e^-x), 2.5 ulp. */
VM_INLINE float vm_sigmoid(float x) {
    return 1.0f / (1.0f + vm_exp(-x));
}

/* tanh x, 2 ulp. */
VM_INLINE float vm_tanh(float x) {
    const float a = fabsf(x), u = x * x;
    float p = -0x1.8c2d0ap-8f;
    p = fmaf(p, u, 0x1.576e3p-6f);
    p = fmaf(p, u, -0x1.b91582p-5f);
    p = fmaf(p, u, 0x1.110dd8p-3f);
    p = fmaf(p, u, -0x1.555552p-2f);
    const float small = fmaf(x * u, p, x);
    const float large = 1.0f - 2.0f / (vm_exp(a + a) + 1.0f);
    return a < 0.625f ? small : x < 0.0f ? -large : large;
}

/* x / (1 + e^-x), 3 ulp. */
VM_INLINE float vm_silu(float x) {
    return x / (1.0f + vm_exp(-x));
}

/* x / 2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3): no cancellation. */
VM_INLINE float vm_gelu_tanh(float x) {
    const float inner = fmaf(x * x * x, 0.044715f, x);
    return x / (1.0f + vm_exp(-1.59576912160573071f * inner)); /* 2 sqrt(2 / pi) */
}

/* x / 2 (1 + erf(x / sqrt 2)): h = erfc(|x| / sqrt 2) / 2 from a polynomial in t = 1 / (1 + z / 2) times
 * e^(-z^2), z^2 carried in two words. */
VM_INLINE float vm_gelu_erf(float x) {
    const float z = fabsf(x) * 0x1.6a09e6p-1f; /* sqrt(1 / 2) */
    const float t = 1.0f / fmaf(z, 0.5f, 1.0f);
    float p = 0x1.0968e6p-5f;
    p = fmaf(p, t, -0x1.5f7efap-3f);
    p = fmaf(p, t, 0x1.548ce2p-2f);
    p = fmaf(p, t, -0x1.c07f8ep-3f);
    p = fmaf(p, t, -0x1.62ea86p-4f);
    p = fmaf(p, t, 0x1.316e28p-4f);
    p = fmaf(p, t, 0x1.3ff58ep-5f);
    p = fmaf(p, t, 0x1.84b37cp-3f);
    p = fmaf(p, t, 0x1.f4b176p-3f);
    p = fmaf(p, t, 0x1.211814p-2f);
    p = fmaf(p, t, 0x1.20db1cp-2f);
    const float w = z < 16.0f ? z : 16.0f; /* e^-256 is 0; keeps the low word finite */
    const float square = w * w, rest = fmaf(w, w, -square);
    const float gauss = fmaf(-rest, vm_exp(-square), vm_exp(-square));
    const float h = 0.5f * t * p * gauss;
    return x > 0.0f ? fmaf(-x, h, x) : x * h;
}

/* softcap * tanh(x / softcap). */
VM_INLINE float vm_softcap(float x, float softcap) {
    return softcap * vm_tanh(x / softcap);
}

/* `act` is a hy_act; hoisted out of a loop by the compiler when it does not change in it. */
VM_INLINE float vm_act(float x, int32_t act) {
    switch (act) {
    case HY_ACT_SILU:
        return vm_silu(x);
    case HY_ACT_GELU_TANH:
        return vm_gelu_tanh(x);
    case HY_ACT_GELU_ERF:
        return vm_gelu_erf(x);
    case HY_ACT_RELU:
        return x > 0.0f ? x : x != x ? x : 0.0f;
    case HY_ACT_RELU2:
        return x > 0.0f ? x * x : x != x ? x : 0.0f;
    case HY_ACT_TANH:
        return vm_tanh(x);
    case HY_ACT_SIGMOID:
        return vm_sigmoid(x);
    default:
        return x;
    }
}

/* x[0..n) = act(x[0..n)): the switch outside of the loops, so that each of them vectorizes. */
VM_INLINE void vm_act_row(float *x, int n, int32_t act) {
#define VM_ACT_CASE(ACT)                                                                           \
    case ACT:                                                                                      \
        for (int i = 0; i < n; i++)                                                                \
            x[i] = vm_act(x[i], ACT);                                                              \
        break
    switch (act) {
        VM_ACT_CASE(HY_ACT_SILU);
        VM_ACT_CASE(HY_ACT_GELU_TANH);
        VM_ACT_CASE(HY_ACT_GELU_ERF);
        VM_ACT_CASE(HY_ACT_RELU);
        VM_ACT_CASE(HY_ACT_RELU2);
        VM_ACT_CASE(HY_ACT_TANH);
        VM_ACT_CASE(HY_ACT_SIGMOID);
    default:
        break;
    }
#undef VM_ACT_CASE
}

/* One a8 block exactly as hy_quantize_row(HY_DTYPE_A8): q gets the int8, *sum their sum, returned is the scale:
 * max|x| / 127, NaN counting as zero, magnitudes above 2^127 as 2^127. Comparisons are of integers, whose minima and maxima
 * every compiler knows as instructions: the largest magnitude is the largest of the bits, too. */
VM_INLINE float vm_a8_quantize(const float x[32], int8_t q[32], int32_t *sum) {
    int32_t number[32], most = 0, all = 0;
    for (int i = 0; i < 32; i++) {
        const int32_t bits = (int32_t)hy_f32_bits(x[i]), size = bits & 0x7fffffff;
        number[i] = size > 0x7f800000 ? 0 : bits;
        most = HY_MAX(most, number[i] & 0x7fffffff);
    }
    const float scale = hy_f32_from_bits((uint32_t)HY_MIN(most, 0x7f000000)) / 127.0f;
    const float divisor = scale > 0.0f ? scale : INFINITY; /* a block of zeros: x / inf = 0 */
    for (int i = 0; i < 32; i++) {
        const float v = hy_f32_from_bits((uint32_t)number[i]) / divisor;
        const int32_t near = (int32_t)(hy_f32_bits(v + VM_ROUND_MAGIC) - 0x4b400000u);
        number[i] = HY_MAX(HY_MIN(near, 127), -127);
        all += number[i];
    }
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)number[i];
    *sum = all;
    return scale;
}

/* The whole block. */
VM_INLINE void vm_a8_block(const float x[32], hy_a8_block *out) {
    out->scale = vm_a8_quantize(x, out->q, &out->sum);
}

#endif

/* backends/cpu/simd.h: sixteen float32 lanes on every ISA, for kernel files that are compiled once per
 * ISA: one AVX-512 register, two AVX2 registers, four of NEON, or four vectors of the generic build.
 *
 * Every operation gives the same bits on every ISA but v16_fma, which rounds once where the ISA has a
 * fused multiply-add and twice where it has not. Sums over lanes go down one fixed tree. */
#ifndef HY_CPU_SIMD_H
#define HY_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

#include "base/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef CPU_TARGET
#define CPU_TARGET generic
#define CPU_TARGET_GENERIC
#endif
#if defined(__aarch64__) && !defined(CPU_TARGET_GENERIC)
#define CPU_ARM
#include <arm_neon.h>
#endif
#define CPU_PASTE_(name, isa) name##_##isa
#define CPU_PASTE(name, isa) CPU_PASTE_(name, isa)
/* A name that is exported from a kernel file: cpu_rms_norm -> cpu_rms_norm_avx2. */
#define CPU_NAME(name) CPU_PASTE(name, CPU_TARGET)

#define CPU_INLINE static inline __attribute__((always_inline, unused))

/* ---- the lanes and their arithmetic ---- */

#if defined(__AVX512F__)

/* Sixteen lanes. */
typedef __m512 v16;
/* All lanes x. */
CPU_INLINE v16 v16_set(float x) {
    return _mm512_set1_ps(x);
}
/* 16 floats, any alignment. */
CPU_INLINE v16 v16_load(const float *p) {
    return _mm512_loadu_ps(p);
}
/* To 16 floats, any alignment. */
CPU_INLINE void v16_store(float *p, v16 x) {
    _mm512_storeu_ps(p, x);
}
/* a + b */
CPU_INLINE v16 v16_add(v16 a, v16 b) {
    return _mm512_add_ps(a, b);
}
/* a - b */
CPU_INLINE v16 v16_sub(v16 a, v16 b) {
    return _mm512_sub_ps(a, b);
}
/* a * b */
CPU_INLINE v16 v16_mul(v16 a, v16 b) {
    return _mm512_mul_ps(a, b);
}
/* a / b */
CPU_INLINE v16 v16_div(v16 a, v16 b) {
    return _mm512_div_ps(a, b);
}
/* a > b ? a : b, so b when either is NaN. */
CPU_INLINE v16 v16_max(v16 a, v16 b) {
    return _mm512_max_ps(a, b);
}
/* a < b ? a : b */
CPU_INLINE v16 v16_min(v16 a, v16 b) {
    return _mm512_min_ps(a, b);
}
/* a * b + c */
CPU_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    return _mm512_fmadd_ps(a, b, c);
}
CPU_INLINE v16 v16_abs(v16 a) {
    return _mm512_abs_ps(a);
}
/* Nearest integer, ties to even. */
CPU_INLINE v16 v16_round(v16 a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x 2^n for x near 1 and whole n in [-152, 128], rounded once. */
CPU_INLINE v16 v16_scale(v16 x, v16 n) {
    return _mm512_scalef_ps(x, n);
}
CPU_INLINE v16 v16_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
CPU_INLINE void v16_store_f16(uint16_t *p, v16 x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
CPU_INLINE v16 v16_load_bf16(const uint16_t *p) {
    __m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
}
CPU_INLINE v16 v16_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
CPU_INLINE v16 v16_load_n(const float *p, uint32_t n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
CPU_INLINE void v16_store_n(float *p, v16 x, uint32_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
}
/* Lanes 0..7 with 8..15, and so on: the tree of every sum over lanes. */
CPU_INLINE float v16_sum(v16 x) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
/* out[i] = v16_sum(x[i]), four at once. */
CPU_INLINE void v16_sum4(const v16 x[4], float *out) {
    const __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(x[0], x[1], 0x44),
                                   _mm512_shuffle_f32x4(x[0], x[1], 0xee));
    const __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(x[2], x[3], 0x44),
                                   _mm512_shuffle_f32x4(x[2], x[3], 0xee));
    __m512 c = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    c = _mm512_add_ps(c, _mm512_permute_ps(c, 0x4e));
    c = _mm512_add_ps(c, _mm512_permute_ps(c, 0xb1));
    const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(first, c)));
}

/* 16 x 16 turned over: lane j of x[i] <-> lane i of x[j]. */
CPU_INLINE void v16_transpose(v16 x[16]) {
    __m512 t[16];
    for (int i = 0; i < 16; i += 4) { /* 4 x 4 inside of 128 bits */
        const __m512 a = _mm512_unpacklo_ps(x[i], x[i + 1]), b = _mm512_unpackhi_ps(x[i], x[i + 1]);
        const __m512 c = _mm512_unpacklo_ps(x[i + 2], x[i + 3]);
        const __m512 d = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
        t[i] = _mm512_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < 4; i++) { /* then the 128 bits */
        const __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
        const __m512 b = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        const __m512 c = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        const __m512 d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        x[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        x[i + 8] = _mm512_shuffle_f32x4(a, b, 0xdd);
        x[i + 4] = _mm512_shuffle_f32x4(c, d, 0x88);
        x[i + 12] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

#elif defined(__AVX2__)

typedef struct v16 {
    __m256 a, b; /* lanes 0..7, 8..15 */
} v16;
#define V16_EACH(call_a, call_b) ((v16){call_a, call_b})
CPU_INLINE v16 v16_set(float x) {
    return V16_EACH(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
CPU_INLINE v16 v16_load(const float *p) {
    return V16_EACH(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
CPU_INLINE void v16_store(float *p, v16 x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
CPU_INLINE v16 v16_add(v16 x, v16 y) {
    return V16_EACH(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b));
}
CPU_INLINE v16 v16_sub(v16 x, v16 y) {
    return V16_EACH(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b));
}
CPU_INLINE v16 v16_mul(v16 x, v16 y) {
    return V16_EACH(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b));
}
CPU_INLINE v16 v16_div(v16 x, v16 y) {
    return V16_EACH(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b));
}
CPU_INLINE v16 v16_max(v16 x, v16 y) {
    return V16_EACH(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b));
}
CPU_INLINE v16 v16_min(v16 x, v16 y) {
    return V16_EACH(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b));
}
CPU_INLINE v16 v16_fma(v16 x, v16 y, v16 z) {
    return V16_EACH(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
CPU_INLINE v16 v16_abs(v16 x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return V16_EACH(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
CPU_INLINE v16 v16_round(v16 x) {
    return V16_EACH(_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                    _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
CPU_INLINE __m256 v8_exp2_whole(__m256 n) {
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
CPU_INLINE v16 v16_exp2_whole(v16 n) {
    return V16_EACH(v8_exp2_whole(n.a), v8_exp2_whole(n.b));
}
CPU_INLINE v16 v16_load_f16(const uint16_t *p) {
    return V16_EACH(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
CPU_INLINE void v16_store_f16(uint16_t *p, v16 x) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
CPU_INLINE __m256 v8_load_bf16(const uint16_t *p) {
    __m256i w = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
}
CPU_INLINE v16 v16_load_bf16(const uint16_t *p) {
    return V16_EACH(v8_load_bf16(p), v8_load_bf16(p + 8));
}
CPU_INLINE v16 v16_load_i8(const int8_t *p) {
    __m128i q = _mm_loadu_si128((const __m128i *)p);
    return V16_EACH(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8))));
}
CPU_INLINE v16 v16_load_n(const float *p, uint32_t n) {
    float lanes[16] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return v16_load(lanes);
}
CPU_INLINE void v16_store_n(float *p, v16 x, uint32_t n) {
    float lanes[16];
    v16_store(lanes, x);
    memcpy(p, lanes, n * sizeof *p);
}
CPU_INLINE float v16_sum(v16 x) {
    __m256 a = _mm256_add_ps(x.a, x.b);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
/* out[i] = v16_sum(x[i]), four at once. */
CPU_INLINE void v16_sum4(const v16 x[4], float *out) {
    __m128 b[4];
    for (int i = 0; i < 4; i++) {
        const __m256 a = _mm256_add_ps(x[i].a, x[i].b);
        b[i] = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    }
    _MM_TRANSPOSE4_PS(b[0], b[1], b[2], b[3]);
    _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(b[0], b[2]), _mm_add_ps(b[1], b[3])));
}

#else /* generic and NEON: GCC and clang vectors of four, which every machine has or splits */

/* Four lanes. */
typedef float v4 __attribute__((vector_size(16)));
/* Four integers. */
typedef int32_t v4i __attribute__((vector_size(16)));
/* Sixteen lanes. */
typedef struct v16 {
    v4 v[4];
} v16;
#define V16_LOOP(expression)                                                                       \
    v16 r;                                                                                         \
    for (int i = 0; i < 4; i++)                                                                    \
        r.v[i] = (expression);                                                                     \
    return r
/* All lanes x. */
CPU_INLINE v16 v16_set(float x) {
    V16_LOOP(((v4){x, x, x, x}));
}
/* 16 floats, any alignment. */
CPU_INLINE v16 v16_load(const float *p) {
    v16 r;
    memcpy(&r, p, sizeof r);
    return r;
}
/* To 16 floats, any alignment. */
CPU_INLINE void v16_store(float *p, v16 x) {
    memcpy(p, &x, sizeof x);
}
/* a + b */
CPU_INLINE v16 v16_add(v16 a, v16 b) {
    V16_LOOP(a.v[i] + b.v[i]);
}
/* a - b */
CPU_INLINE v16 v16_sub(v16 a, v16 b) {
    V16_LOOP(a.v[i] - b.v[i]);
}
/* a * b */
CPU_INLINE v16 v16_mul(v16 a, v16 b) {
    V16_LOOP(a.v[i] * b.v[i]);
}
/* a / b */
CPU_INLINE v16 v16_div(v16 a, v16 b) {
    V16_LOOP(a.v[i] / b.v[i]);
}
/* mask ? a : b, bit by bit */
CPU_INLINE v4 v4_pick(v4i mask, v4 a, v4 b) {
    return (v4)((mask & (v4i)a) | (~mask & (v4i)b));
}
typedef uint16_t v4h __attribute__((vector_size(8)));
#if defined(CPU_ARM)
CPU_INLINE v4 v4_fma(v4 a, v4 b, v4 c) {
    return (v4)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
CPU_INLINE v4 v4_round(v4 x) {
    return (v4)vrndnq_f32((float32x4_t)x);
}
CPU_INLINE v4 v4_load_f16(const uint16_t *p) {
    return (v4)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
CPU_INLINE void v4_store_f16(uint16_t *p, v4 x) {
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)x)));
}
#else
CPU_INLINE v4 v4_fma(v4 a, v4 b, v4 c) { /* rounds twice */
    return a * b + c;
}
/* Adding and taking away 1.5 * 2^23 rounds what is below 2^22; larger values keep to themselves. */
CPU_INLINE v4 v4_round(v4 x) {
    const v4 magic = {12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f};
    const v4 limit = {4194304.0f, 4194304.0f, 4194304.0f, 4194304.0f};
    const v4 magnitude = (v4)((v4i)x & 0x7fffffff), r = (x + magic) - magic;
    return v4_pick(magnitude < limit, (v4)(((v4i)r & 0x7fffffff) | ((v4i)x & INT32_MIN)), x);
}
/* The exponent moves by 112; what was infinite or NaN gets all exponent bits. Subnormals come out right. */
CPU_INLINE v4 v4_load_f16(const uint16_t *p) {
    v4h h;
    memcpy(&h, p, sizeof h);
    const v4i w = __builtin_convertvector(h, v4i), magnitude = w & 0x7fff;
    const v4 shift = {0x1p112f, 0x1p112f, 0x1p112f, 0x1p112f};
    const v4 value = (v4)(magnitude << 13) * shift;
    return (v4)((v4i)value | ((magnitude >= 0x7c00) & 0x7f800000) | ((w & 0x8000) << 16));
}
CPU_INLINE void v4_store_f16(uint16_t *p, v4 x) {
    for (int i = 0; i < 4; i++)
        p[i] = hy_f32_to_f16(x[i]);
}
#endif
/* a * b + c */
CPU_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    V16_LOOP(v4_fma(a.v[i], b.v[i], c.v[i]));
}
CPU_INLINE v16 v16_max(v16 a, v16 b) {
    V16_LOOP(v4_pick(a.v[i] > b.v[i], a.v[i], b.v[i]));
}
CPU_INLINE v16 v16_min(v16 a, v16 b) {
    V16_LOOP(v4_pick(a.v[i] < b.v[i], a.v[i], b.v[i]));
}
CPU_INLINE v16 v16_abs(v16 a) {
    V16_LOOP((v4)((v4i)a.v[i] & 0x7fffffff));
}
CPU_INLINE v16 v16_round(v16 a) {
    V16_LOOP(v4_round(a.v[i]));
}
CPU_INLINE v16 v16_exp2_whole(v16 n) {
    V16_LOOP((v4)((__builtin_convertvector(n.v[i], v4i) + 127) << 23));
}
typedef int8_t v4b __attribute__((vector_size(4)));
CPU_INLINE v16 v16_load_f16(const uint16_t *p) {
    V16_LOOP(v4_load_f16(p + 4 * i));
}
CPU_INLINE void v16_store_f16(uint16_t *p, v16 x) {
    for (int i = 0; i < 4; i++)
        v4_store_f16(p + 4 * i, x.v[i]);
}
CPU_INLINE v4 v4_load_bf16(const uint16_t *p) {
    v4h h;
    memcpy(&h, p, sizeof h);
    return (v4)(__builtin_convertvector(h, v4i) << 16);
}
CPU_INLINE v16 v16_load_bf16(const uint16_t *p) {
    V16_LOOP(v4_load_bf16(p + 4 * i));
}
CPU_INLINE v4 v4_load_i8(const int8_t *p) {
    v4b b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(b, v4);
}
CPU_INLINE v16 v16_load_i8(const int8_t *p) {
    V16_LOOP(v4_load_i8(p + 4 * i));
}
CPU_INLINE v16 v16_load_n(const float *p, uint32_t n) {
    float lanes[16] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return v16_load(lanes);
}
CPU_INLINE void v16_store_n(float *p, v16 x, uint32_t n) {
    memcpy(p, &x, n * sizeof *p);
}
CPU_INLINE float v16_sum(v16 x) {
    const v4 a = (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]);
    return (a[0] + a[2]) + (a[1] + a[3]);
}
/* out[i] = v16_sum(x[i]), four at once. */
CPU_INLINE void v16_sum4(const v16 x[4], float *out) {
#if defined(CPU_ARM)
    float32x4_t a[4], b[2];
    for (int i = 0; i < 4; i++)
        a[i] = (float32x4_t)((x[i].v[0] + x[i].v[2]) + (x[i].v[1] + x[i].v[3]));
    for (int i = 0; i < 2; i++)
        b[i] = vcombine_f32(vget_low_f32(a[2 * i]), vget_low_f32(a[2 * i + 1])) +
               vcombine_f32(vget_high_f32(a[2 * i]), vget_high_f32(a[2 * i + 1]));
    vst1q_f32(out, vpaddq_f32(b[0], b[1]));
#else
    for (int i = 0; i < 4; i++)
        out[i] = v16_sum(x[i]);
#endif
}

#endif

/* ---- built on those ---- */

/* Sixteen bf16 out of pairs that lie side by side: the first of each, or the second. */
CPU_INLINE v16 v16_load_bf16_pair(const uint8_t *p, const int second) {
#if defined(__AVX512F__)
    const __m512i w = _mm512_loadu_si512((const void *)p);
    return _mm512_castsi512_ps(second ? _mm512_and_si512(w, _mm512_set1_epi32((int)0xffff0000u))
                                      : _mm512_slli_epi32(w, 16));
#elif defined(__AVX2__)
    const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)p),
                  b = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
    const __m256i high = _mm256_set1_epi32((int)0xffff0000u);
    return V16_EACH(
        _mm256_castsi256_ps(second ? _mm256_and_si256(a, high) : _mm256_slli_epi32(a, 16)),
        _mm256_castsi256_ps(second ? _mm256_and_si256(b, high) : _mm256_slli_epi32(b, 16)));
#else
    uint32_t w[16];
    float lanes[16];
    memcpy(w, p, sizeof w);
    for (int i = 0; i < 16; i++)
        w[i] = second ? w[i] & 0xffff0000u : w[i] << 16;
    memcpy(lanes, w, sizeof lanes);
    return v16_load(lanes);
#endif
}

/* All lanes 0. */
CPU_INLINE v16 v16_zero(void) {
    return v16_set(0.0f);
}

/* One binary16. */
CPU_INLINE float cpu_f16(uint16_t h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#elif defined(CPU_ARM)
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
#else
    return hy_f16_to_f32(h);
#endif
}

/* The largest lane; a NaN may be passed over. */
CPU_INLINE float v16_max_lane(v16 x) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
    const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
#else
    const __m256 a = _mm256_max_ps(x.a, x.b);
#endif
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
#else
    float lanes[16];
    v16_store(lanes, x);
    for (int half = 8; half; half /= 2) {
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    }
    return lanes[0];
#endif
}

/* Rounds to nearest even. */
CPU_INLINE void v16_store_bf16(uint16_t *p, v16 x) {
    float lanes[16];
    v16_store(lanes, x);
    for (int i = 0; i < 16; i++)
        p[i] = hy_f32_to_bf16(lanes[i]);
}

#if !defined(__AVX512F__)
/* As above. */
CPU_INLINE v16 v16_scale(v16 x, v16 n) {
    const v16 half = v16_round(v16_mul(n, v16_set(0.5f)));
    return v16_mul(v16_mul(x, v16_exp2_whole(half)), v16_exp2_whole(v16_sub(n, half)));
}
#endif

/* x = n ln 2 + r, |r| <= ln 2 / 2; returned is r's power series without its first term,
 * r + r^2 / 2 + ... + r^7 / 5040 (the rest is below 6e-9). */
CPU_INLINE v16 v16_exp_parts(v16 x, v16 *n) {
    *n = v16_round(v16_mul(x, v16_set(1.44269504f)));
    v16 r = v16_sub(x, v16_mul(*n, v16_set(0.693359375f))); /* exact: ten bits times eight */
    r = v16_sub(r, v16_mul(*n, v16_set(-2.12194440e-4f)));
    v16 q = v16_set(1.0f / 5040);
    q = v16_add(v16_mul(q, r), v16_set(1.0f / 720));
    q = v16_add(v16_mul(q, r), v16_set(1.0f / 120));
    q = v16_add(v16_mul(q, r), v16_set(1.0f / 24));
    q = v16_add(v16_mul(q, r), v16_set(1.0f / 6));
    q = v16_add(v16_mul(q, r), v16_set(0.5f));
    return v16_add(r, v16_mul(v16_mul(r, r), q));
}

/* e^x within about 1 ulp, subnormal results included; NaN stays. */
CPU_INLINE v16 v16_exp(v16 x) {
    v16 n;
    x = v16_max(v16_set(-105.0f), v16_min(v16_set(89.0f), x)); /* in this order NaN gets through */
    const v16 p = v16_add(v16_set(1.0f), v16_exp_parts(x, &n));
    return v16_scale(p, n);
}

#endif

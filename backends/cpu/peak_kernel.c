/* backends/cpu/peak_kernel.c: see peak.h; compiled once per ISA. Chains of sums hide the latency: a core with
 * two units and a latency of up to six cycles needs twelve. */
#include <stddef.h>

#include "backends/cpu/peak.h"
#include "backends/cpu/simd.h"

enum { CHAINS = 14 };

#define UNROLL _Pragma("GCC unroll 16")
/* Arm: vectors of the SVE length that this file is compiled for, or of NEON. */
#if defined(CPU_ARM) && defined(__ARM_FEATURE_SVE_BITS) && __ARM_FEATURE_SVE_BITS > 0
#define ARM_SVE
#include <arm_sve.h>
#define ARM_FIXED __attribute__((arm_sve_vector_bits(__ARM_FEATURE_SVE_BITS)))
#endif

/* The compiler does not know the value any more, and may not drop it. */
#if defined(ARM_SVE) /* clang has registers for vectors of unknown length only */
#define OPAQUE(x)                                                                                  \
    do {                                                                                           \
        __typeof__(svsel(svptrue_b8(), x, x)) any = x;                                             \
        __asm__ volatile("" : "+w"(any));                                                          \
        x = any;                                                                                   \
    } while (0)
#elif defined(__aarch64__)
#define OPAQUE(x) __asm__ volatile("" : "+w"(x))
#else
#define OPAQUE(x) __asm__ volatile("" : "+x"(x))
#endif

/* ---- floats ---- */

#if defined(__AVX2__)
#if defined(__AVX512F__)
typedef __m512 lanes_f;
#define MADD _mm512_fmadd_ps
#define SPLAT _mm512_set1_ps
#else
typedef __m256 lanes_f;
#define MADD _mm256_fmadd_ps
#define SPLAT _mm256_set1_ps
#endif
#elif defined(ARM_SVE)
typedef svfloat32_t lanes_f ARM_FIXED;
#define MADD(a, b, c) svmad_f32_x(svptrue_b32(), a, b, c)
#define SPLAT svdup_f32
#elif defined(CPU_ARM)
typedef float32x4_t lanes_f;
#define MADD(a, b, c) vfmaq_f32(c, a, b)
#define SPLAT vdupq_n_f32
#else
typedef float lanes_f __attribute__((vector_size(16)));
#define MADD(a, b, c) ((a) * (b) + (c))
#define SPLAT(x) ((lanes_f){x, x, x, x})
#endif

static uint64_t peak_f32(uint32_t rounds) {
    lanes_f sum[CHAINS], x = SPLAT(0.5f), y = SPLAT(1.0f);
    UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = SPLAT((float)i);
    for (uint32_t r = 0; r < rounds; r++) {
        OPAQUE(x);
        UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = MADD(sum[i], x, y);
    }
    UNROLL for (int i = 0; i < CHAINS; i++) OPAQUE(sum[i]);
    return (uint64_t)rounds * CHAINS * (sizeof(lanes_f) / 4) * 2;
}

/* ---- bytes ---- */

#if defined(__AVX512VNNI__)
typedef __m512i lanes_i;
#define SPLAT_I _mm512_set1_epi8
#define DOT(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
#elif defined(__AVX2__)
typedef __m256i lanes_i;
#define SPLAT_I _mm256_set1_epi8
#define DOT(sum, a, b)                                                                             \
    _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)))
#elif defined(__SSE2__)
typedef __m128i lanes_i;
#define SPLAT_I _mm_set1_epi8
/* Without products of bytes: they are widened on the way in, products of 16 bits are summed. */
#define DOT(sum, a, b)                                                                             \
    _mm_add_epi32(_mm_add_epi32(sum, _mm_madd_epi16(_mm_unpacklo_epi8(a, a), b)),                  \
                  _mm_madd_epi16(_mm_unpackhi_epi8(a, a), b))
#endif

#if defined(ARM_SVE)
typedef svint32_t lanes_i ARM_FIXED;
#define SPLAT_I svdup_s32
#define BYTES svreinterpret_s8_s32
#if defined(__ARM_FEATURE_SVE_MATMUL_INT8)
#define DOT(sum, a, b) svmmla_s32(sum, BYTES(a), BYTES(b))
#else
#define DOT(sum, a, b) svdot_s32(sum, BYTES(a), BYTES(b))
#endif
#elif defined(CPU_ARM)
typedef int32x4_t lanes_i;
#define SPLAT_I vdupq_n_s32
#define BYTES vreinterpretq_s8_s32
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define DOT(sum, a, b) vmmlaq_s32(sum, BYTES(a), BYTES(b))
#else
#define DOT(sum, a, b) vdotq_s32(sum, BYTES(a), BYTES(b))
#endif
#endif
/* Products per byte of a vector: smmla's are of rows by columns. */
#if defined(__ARM_FEATURE_MATMUL_INT8)
enum { PRODUCTS = 2 };
#else
enum { PRODUCTS = 1 };
#endif

#if defined(CPU_TARGET_AMX)
#include "backends/cpu/amx.h"
/* Four sums of 16 x 16, of one pair of full registers; of bytes, or half as many halves. */
#define TILE_PEAK(name, DOT, K)                                                                    \
    static uint64_t name(uint32_t rounds) {                                                        \
        amx_enter_whole(); /* all are zero then */                                                 \
        for (uint32_t r = 0; r < rounds; r++) {                                                    \
            DOT(0, 4, 5);                                                                          \
            DOT(1, 4, 5);                                                                          \
            DOT(2, 4, 5);                                                                          \
            DOT(3, 4, 5);                                                                          \
        }                                                                                          \
        _tile_release();                                                                           \
        return (uint64_t)rounds * 4 * 16 * 16 * (K)*2;                                             \
    }
TILE_PEAK(peak_int8, _tile_dpbusd, 64)
TILE_PEAK(peak_bf16, _tile_dpbf16ps, 32)
#elif defined(SPLAT_I)
static uint64_t peak_int8(uint32_t rounds) {
    lanes_i sum[CHAINS], x = SPLAT_I(3), y = SPLAT_I(5);
    UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = SPLAT_I((char)i);
    for (uint32_t r = 0; r < rounds; r++) {
        UNROLL for (int i = 0; i < CHAINS; i++) {
            OPAQUE(x);
            sum[i] = DOT(sum[i], x, y);
        }
    }
    UNROLL for (int i = 0; i < CHAINS; i++) OPAQUE(sum[i]);
    return (uint64_t)rounds * CHAINS * sizeof(lanes_i) * PRODUCTS * 2;
}
#else
#define peak_int8 NULL
#endif

#if defined(CPU_TARGET_AMX)
#elif defined(__AVX512BF16__)
static uint64_t peak_bf16(uint32_t rounds) {
    __m512 sum[CHAINS];
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f003f00), y = x;
    UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (uint32_t r = 0; r < rounds; r++) {
        OPAQUE(x);
        UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_dpbf16_ps(sum[i], x, y);
    }
    UNROLL for (int i = 0; i < CHAINS; i++) OPAQUE(sum[i]);
    return (uint64_t)rounds * CHAINS * 32 * 2;
}
#else
#define peak_bf16 NULL
#endif

/* ---- memory ---- */

#if defined(__AVX512F__)
typedef __m512i line;
#define PUT(to, x) _mm512_stream_si512((void *)(to), x)
#elif defined(__AVX2__)
typedef __m256i line;
#define PUT(to, x) _mm256_stream_si256(to, x)
#elif defined(__SSE2__)
typedef __m128i line;
#define PUT(to, x) _mm_stream_si128(to, x)
#else
typedef uint64_t line __attribute__((vector_size(16)));
#define PUT(to, x) (*(to) = (x))
#endif

enum { STEP = 8 };
_Static_assert(CPU_PEAK_STEP % (STEP * sizeof(line)) == 0, "no rest of a step");

/* Past the caches where the ISA is x86's: an ordinary store reads its line first, and the rate would be that of
 * reading and writing. Arm's cores see by themselves that whole lines are written in order, and read none. */
static void peak_write(void *to, uint64_t bytes) {
    line *p = to;
    line x;
    memset(&x, CPU_PEAK_BYTE, sizeof x);
    for (uint64_t i = 0; i < bytes / sizeof(line); i += STEP) {
        UNROLL for (int k = 0; k < STEP; k++) PUT(&p[i + (uint64_t)k], x);
    }
#if defined(__SSE2__)
    _mm_sfence(); /* the next to look is another thread */
#endif
}

/* From one end to the other: hardware prefetchers like nothing better. */
static uint64_t peak_read(const void *from, uint64_t bytes) {
    const line *p = from;
    line sum[STEP];
    memset(sum, 0, sizeof sum);
    for (uint64_t i = 0; i < bytes / sizeof(line); i += STEP) {
        UNROLL for (int k = 0; k < STEP; k++) sum[k] |= p[i + (uint64_t)k];
    }
    uint64_t words[sizeof sum / 8], all = 0;
    memcpy(words, sum, sizeof words);
    for (size_t i = 0; i < sizeof words / 8; i++)
        all |= words[i];
    return all;
}

extern const cpu_peak CPU_NAME(cpu_peak);
const cpu_peak CPU_NAME(cpu_peak) = {peak_f32, peak_int8, peak_bf16, peak_write, peak_read};

/* backends/cpu/matmul_kernel.c: matmul kernels, compiled once per ISA (backends/cpu/matmul.h).
 *
 * The multiplication proper is in matmul_<isa>.h; here is what all of them share, in C that vectorizes. */
#include <math.h>
#include <string.h>

#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul.h"
#include "backends/cpu/vmath.h"

/* What the micro kernels need to know of a block format, constant under inlining. */
typedef struct mm_format {
    hy_dtype dtype;
    int header, sub; /* bytes of a panel block's header and of its sub-blocks */
    int subs;        /* sub-blocks of 32 k in a block */
    int split;       /* 1: scales of 16 k each */
    int minima;      /* 1: offsets b */
    int unpacked;    /* 1: weights as in mm_unpacked; header, sub and subs mean nothing */
    int gfni;        /* 1: pairs of bits by gf2p8affineqb */
} mm_format;

/* X(dtype, name, header, sub, subs, split, minima); first those whose weights are pairs of bits. */
#define MM_PAIR_FORMATS(X)                                                                         \
    X(HY_DTYPE_Q2_K, q2_k, 320, 128, 8, 1, 1)                                                      \
    X(HY_DTYPE_Q3_K, q3_k, 224, 192, 8, 1, 0)
#define MM_BLOCK_FORMATS(X)                                                                        \
    X(HY_DTYPE_Q8_0, q8_0, 32, 512, 1, 0, 0)                                                       \
    X(HY_DTYPE_Q4_0, q4_0, 32, 256, 1, 0, 0)                                                       \
    X(HY_DTYPE_Q4_1, q4_1, 64, 256, 1, 0, 1)                                                       \
    X(HY_DTYPE_Q5_0, q5_0, 32, 320, 1, 0, 0)                                                       \
    X(HY_DTYPE_Q5_1, q5_1, 64, 320, 1, 0, 1)                                                       \
    MM_PAIR_FORMATS(X)                                                                             \
    X(HY_DTYPE_Q4_K, q4_k, 256, 256, 8, 0, 1)                                                      \
    X(HY_DTYPE_Q5_K, q5_k, 256, 320, 8, 0, 1)                                                      \
    X(HY_DTYPE_Q6_K, q6_k, 288, 384, 8, 1, 0)                                                      \
    X(HY_DTYPE_IQ4_NL, iq4_nl, 32, 256, 1, 0, 0)                                                   \
    X(HY_DTYPE_IQ4_XS, iq4_xs, 128, 256, 8, 0, 0)                                                  \
    X(HY_DTYPE_MXFP4, mxfp4, 16, 256, 1, 0, 0)
#define MM_PLAIN_FORMATS(X)                                                                        \
    X(HY_DTYPE_F32, f32)                                                                           \
    X(HY_DTYPE_F16, f16)                                                                           \
    X(HY_DTYPE_BF16, bf16)

CPU_INLINE uint32_t load_u32(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- the sub-blocks' scales ------------------------------------------------------------------------ */

/* Byte `i` of 16 words. */
CPU_INLINE int32_t byte_of(uint32_t word, int i) {
    return (int32_t)(word >> 8 * i & 255u);
}

/* q4_k, q5_k: three words w0 w1 w2 a row hold eight 6-bit scales and minima (hal/dtype.c). */
CPU_INLINE void scales_q4_k(const uint8_t *header, const float *d, const float *dmin,
                            mm_scales *out) {
    uint32_t sc[2][CPU_PANEL], mn[2][CPU_PANEL];
    for (int r = 0; r < CPU_PANEL; r++) {
        const uint32_t w0 = load_u32(header + 64 + 4 * r), w1 = load_u32(header + 128 + 4 * r);
        const uint32_t w2 = load_u32(header + 192 + 4 * r);
        sc[0][r] = w0 & 0x3f3f3f3fu;
        mn[0][r] = w1 & 0x3f3f3f3fu;
        sc[1][r] = (w2 & 0x0f0f0f0fu) | (w0 >> 2 & 0x30303030u);
        mn[1][r] = (w2 >> 4 & 0x0f0f0f0fu) | (w1 >> 2 & 0x30303030u);
    }
    for (int s = 0; s < 8; s++) {
        for (int r = 0; r < CPU_PANEL; r++) {
            out->a[s][r] = d[r] * (float)byte_of(sc[s / 4][r], s % 4);
            out->b[s][r] = -(dmin[r] * (float)byte_of(mn[s / 4][r], s % 4));
        }
    }
}

/* q3_k: nibbles in w0 and w1, top pairs in w2. Compilers take one byte after the other: matmul_avx2.h has its own. */
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
CPU_INLINE void scales_q3_k(const uint8_t *header, mm_scales *out);
#else
CPU_INLINE void scales_q3_k(const uint8_t *header, mm_scales *out) {
    for (int q = 0; q < 4; q++) {
        uint32_t word[CPU_PANEL];
        for (int r = 0; r < CPU_PANEL; r++) {
            const uint32_t low = load_u32(header + 32 + q % 2 * 64 + 4 * r);
            const uint32_t top = load_u32(header + 160 + 4 * r);
            word[r] = (low >> q / 2 * 4 & 0x0f0f0f0fu) | (top >> 2 * q & 0x03030303u) << 4;
        }
        for (int i = 0; i < 4; i++)
            for (int r = 0; r < CPU_PANEL; r++)
                out->sc[4 * q + i][r] = (int8_t)(byte_of(word[r], i) - 32);
    }
}
#endif

CPU_INLINE void scales_q2_k(const uint8_t *header, const float *dmin, const bool sc,
                            mm_scales *out) {
    for (int s = 0; s < 16; s++) {
        for (int r = 0; r < CPU_PANEL; r++) {
            const int32_t both = header[64 + 16 * s + r];
            if (sc) out->sc[s][r] = (int8_t)(both & 15);
            out->b[s][r] = -(dmin[r] * (float)(both >> 4));
        }
    }
}

CPU_INLINE void scales_q6_k(const uint8_t *header, const float *d, mm_scales *out) {
    for (int s = 0; s < 16; s++)
        for (int r = 0; r < CPU_PANEL; r++)
            out->a[s][r] = d[r] * (float)(int8_t)header[32 + 16 * s + r];
}

CPU_INLINE void scales_iq4_xs(const uint8_t *header, const float *d, mm_scales *out) {
    uint32_t low[CPU_PANEL], high[CPU_PANEL]; /* 8 nibbles, 8 pairs */
    for (int r = 0; r < CPU_PANEL; r++) {
        uint16_t pairs;
        memcpy(&pairs, header + 32 + 2 * r, sizeof pairs);
        low[r] = load_u32(header + 64 + 4 * r);
        high[r] = pairs;
    }
    for (int s = 0; s < 8; s++) {
        for (int r = 0; r < CPU_PANEL; r++) {
            const uint32_t sc = (low[r] >> 4 * s & 15u) | (high[r] >> 2 * s & 3u) << 4;
            out->a[s][r] = d[r] * (float)((int32_t)sc - 32);
        }
    }
}

/* Half of 2^(e - 127), as hal/dtype.c has it. */
CPU_INLINE float mxfp4_scale(uint32_t e) {
    return hy_f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

/* sc: whether those are wanted, of q2_k and q3_k. */
CPU_INLINE void block_scales(mm_format f, const uint8_t *header, const bool sc, mm_scales *out) {
    float d[CPU_PANEL], dmin[CPU_PANEL];
    if (f.dtype == HY_DTYPE_MXFP4) {
        for (int r = 0; r < CPU_PANEL; r++)
            out->a[0][r] = mxfp4_scale(header[r]);
        return;
    }
    if (f.subs == 1) {
        v16_store(out->a[0], v16_load_f16((const uint16_t *)(const void *)header));
        if (f.minima)
            v16_store(out->b[0], v16_load_f16((const uint16_t *)(const void *)(header + 32)));
        return;
    }
    v16_store(d, v16_load_f16((const uint16_t *)(const void *)header));
    if (f.minima) v16_store(dmin, v16_load_f16((const uint16_t *)(const void *)(header + 32)));
    if (f.split && f.dtype != HY_DTYPE_Q6_K)
        for (int s = 0; s < 8; s++)
            memcpy(out->a[s], d, sizeof d);
    switch (f.dtype) {
    case HY_DTYPE_Q2_K:
        scales_q2_k(header, dmin, sc, out);
        break;
    case HY_DTYPE_Q3_K:
        if (sc) scales_q3_k(header, out);
        break;
    case HY_DTYPE_Q6_K:
        scales_q6_k(header, d, out);
        break;
    case HY_DTYPE_IQ4_XS:
        scales_iq4_xs(header, d, out);
        break;
    default:
        scales_q4_k(header, d, dmin, out);
        break;
    }
}

/* Scales of the block at `header` to sub-block `s` on of a chunk's; sc too, or not, for weights that were
 * multiplied with it. */
CPU_INLINE void chunk_scales(mm_format f, const uint8_t *header, uint32_t s, const bool sc,
                             mm_scales *out) {
    const bool scaled = f.split && f.dtype != HY_DTYPE_Q6_K;
    const uint32_t as = f.dtype == HY_DTYPE_Q6_K ? 2 : 1, bs = scaled ? 2 : 1; /* of a sub-block */
    const uint32_t subs = (uint32_t)f.subs;
    mm_scales own;
    block_scales(f, header, sc, &own);
    memcpy(out->a[as * s], own.a, as * subs * sizeof own.a[0]);
    if (f.minima) memcpy(out->b[bs * s], own.b, bs * subs * sizeof own.b[0]);
    if (scaled && sc) memcpy(out->sc[2 * s], own.sc, 2 * subs * sizeof own.sc[0]);
}

/* What matmul_float.h asks for: element k of a panel's 16 rows, k being odd or not. */
CPU_INLINE v16 plain_16(hy_dtype dtype, const uint8_t *panel, uint64_t k, const int odd) {
    if (dtype == HY_DTYPE_F32) return v16_load((const float *)(const void *)panel + 16 * k);
    if (dtype == HY_DTYPE_F16) return v16_load_f16((const uint16_t *)(const void *)panel + 16 * k);
    return v16_load_bf16_pair(panel + (k - (uint64_t)odd) * 32, odd);
}

enum { PLAIN_K = 1 };
CPU_INLINE v16 plain_madd(v16 w, v16 x, v16 sum) {
    return v16_fma(w, x, sum);
}

/* Asks for element k, or nothing: lines hold two k of halves. */
CPU_INLINE void ask_ahead(hy_dtype dtype, const uint8_t *panel, uint64_t k, const int odd,
                          const int cache) {
    if (dtype == HY_DTYPE_F32)
        mm_ask(panel + 64 * k, cache);
    else if (!odd)
        mm_ask(panel + 32 * k, cache);
}

/* Few columns: asks for what is `distance` behind `panel`. */
CPU_INLINE void ask_at(const mm_ahead *ahead, const uint8_t *panel, int distance, int bytes,
                       const int cache) {
    const uint8_t *from = panel + distance;
    if (from >= ahead->end) from += ahead->jump;
    for (int i = 0; i < bytes; i += 64)
        mm_ask(from + i, cache);
}

enum { MM_NEAR = 4096 };

/* Further than hardware looks. A core that reads 40 GB/s where memory answers after 150 ns has 6 KB on the way; formats
 * with more arithmetic to a byte want some more, as measured. */
CPU_INLINE void ask_for(mm_format f, const mm_ahead *ahead, const uint8_t *panel, int bytes) {
    ask_at(ahead, panel, f.subs > 1 && f.sub <= 320 ? 10240 : 8192, bytes, ahead->second ? 2 : 1);
    if (ahead->second) ask_at(ahead, panel, MM_NEAR, bytes, 1);
}

/* Part s, of as many as there are sub-blocks, of a panel block: its header is not read where it is. */
CPU_INLINE void ask_for_part(mm_format f, const mm_ahead *ahead, const uint8_t *block, int s) {
    const int part = (f.header + f.subs * f.sub) / f.subs, from = (s * part + 63) / 64 * 64;
    ask_for(f, ahead, block + from, (s + 1) * part - from);
}

/* Integer sums begin with the bits of 1.5 * 2^23, a float whose last place is 1: as isum is below 2^22, the sum's bits
 * are the float 1.5 * 2^23 + isum, and fma(that, a, -1.5 * 2^23 a) is isum * a rounded once, a product that needs no
 * conversion before it. Conversions take the multipliers' ports on Intel. -1.5 * 2^23 a is exact, for no a has more
 * than 19 bits. Elsewhere sums begin with 0. */
#if defined(__AVX2__)
enum { MM_SUM_BEGIN = 0x4b400000 };
#define MM_SUM_FLOAT 12582912.0f
#else
enum { MM_SUM_BEGIN = 0 };
#endif

#if defined(__AVX512VNNI__)
#include "backends/cpu/matmul_avx512.h"
#include "backends/cpu/matmul_float.h"
#elif defined(__AVX2__)
#include "backends/cpu/matmul_avx2.h"
#include "backends/cpu/matmul_float.h"
#elif defined(CPU_ARM)
#include "backends/cpu/matmul_arm.h"
#else
#include "backends/cpu/matmul_generic.h"
#endif

#ifndef MM_PAIRED
#define MM_PAIRED 0
#endif

/* ---- one function per format and width -------------------------------------------------------------- */

#define MM_ANY_FUNCTION(DTYPE, name, header, sub, subs, split, minima, gfni, width)                \
    static void name##_##width(const uint8_t *panel, const uint8_t *tile, uint32_t k,              \
                               const mm_ahead *ahead, float *z) {                                  \
        mm_blocks((mm_format){DTYPE, header, sub, subs, split, minima, 0, gfni}, width, panel,     \
                  tile, k, ahead, z);                                                              \
    }
#define MM_BLOCK_FUNCTION(DTYPE, name, header, sub, subs, split, minima, width)                    \
    MM_ANY_FUNCTION(DTYPE, name, header, sub, subs, split, minima, 0, width)
#define MM_PLAIN_FUNCTION(DTYPE, name, width)                                                      \
    static void name##_##width(const uint8_t *panel, const uint8_t *tile, uint32_t k,              \
                               const mm_ahead *ahead, float *z) {                                  \
        (void)ahead;                                                                               \
        mm_plain(DTYPE, width, panel, tile, k, z);                                                 \
    }
#ifndef MM_WIDE
#define MM_EACH_NARROW MM_EACH_WIDTH /* all widths unpack on the way */
#endif
#define MM_BLOCK_FUNCTIONS(DTYPE, name, header, sub, subs, split, minima)                          \
    MM_EACH_NARROW(MM_BLOCK_FUNCTION, DTYPE, name, header, sub, subs, split, minima)
#define MM_PLAIN_FUNCTIONS(DTYPE, name) MM_EACH_WIDTH(MM_PLAIN_FUNCTION, DTYPE, name)
MM_BLOCK_FORMATS(MM_BLOCK_FUNCTIONS)
MM_PLAIN_FORMATS(MM_PLAIN_FUNCTIONS)

#ifdef MM_WIDE
#define MM_UNPACK_FUNCTION(DTYPE, name, header, sub, subs, split, minima)                          \
    static void unpack_##name(const uint8_t *panel, uint32_t k, mm_unpacked *out) {                \
        mm_unpack((mm_format){DTYPE, header, sub, subs, split, minima, 0, 0}, panel, k, out);      \
    }
#define MM_WIDE_FUNCTION(DTYPE, name, split, minima, width)                                        \
    static void wide_##name##_##width(const mm_unpacked *u, const uint8_t *tile, uint32_t k,       \
                                      const mm_next *next, float *z) {                             \
        mm_wide_blocks((mm_format){DTYPE, 0, 0, 0, split, minima, 1, 0}, width, u, tile, k, next,  \
                       z);                                                                         \
    }
#ifdef MM_PAIR
#define MM_WIDE_PAIR_FUNCTION(DTYPE, name, split, minima)                                          \
    static void wide_pair_##name(const mm_unpacked *u, const uint8_t *tile, uint32_t k,            \
                                 const mm_next *next, float *z, uint64_t z_step) {                 \
        mm_wide_pair_blocks((mm_format){DTYPE, 0, 0, 0, split, minima, 1, 0}, MM_PAIR, u, tile, k, \
                            next, z, z_step);                                                      \
    }
#define MM_PLAIN_PAIR_FUNCTION(DTYPE, name)                                                        \
    static void pair_##name(const uint8_t *panel, uint64_t step, const uint8_t *tile, uint32_t k,  \
                            float *z, uint64_t z_step) {                                           \
        mm_plain_pair(DTYPE, MM_PAIR, panel, step, tile, k, z, z_step);                            \
    }
MM_PLAIN_FORMATS(MM_PLAIN_PAIR_FUNCTION)
#endif
/* mm_kernels.widen once dtype is a constant. */
CPU_INLINE void mm_widen(hy_dtype dtype, const uint8_t *panel, uint32_t k, float *out) {
    for (uint32_t i = 0; i + 1 < k; i += 2) {
        v16_store(out + 16 * i, plain_16(dtype, panel, i, 0));
        v16_store(out + 16 * i + 16, plain_16(dtype, panel, i + 1, 1));
    }
    if (k % 2) v16_store(out + 16 * (k - 1), plain_16(dtype, panel, k - 1, 0));
}
static void widen_f16(const uint8_t *panel, uint32_t k, float *out) {
    mm_widen(HY_DTYPE_F16, panel, k, out);
}
static void widen_bf16(const uint8_t *panel, uint32_t k, float *out) {
    mm_widen(HY_DTYPE_BF16, panel, k, out);
}
MM_BLOCK_FORMATS(MM_UNPACK_FUNCTION)
MM_WIDE_FORMATS(MM_WIDE_FUNCTIONS)
#endif

/* ---- activations ----------------------------------------------------------------------------------- */

/* 32 elements of a float row from k on; `left` of them are there. */
CPU_INLINE void load_32(hy_dtype x, const void *row, uint32_t k, uint32_t left, float out[32]) {
    if (x == HY_DTYPE_A8) {
        const hy_a8_block *block = (const hy_a8_block *)row + k / 32;
        for (int i = 0; i < 32; i++)
            out[i] = block->scale * (float)block->q[i];
        return;
    }
    v16_store(out, cpu_get(x, row, k, k + HY_MIN(left, 32)));
    if (left > 16)
        v16_store(out + 16, cpu_get(x, row, k + 16, k + HY_MIN(left, 32)));
    else
        memset(out + 16, 0, 64);
}

static void quantize(hy_dtype x, const void *row, uint32_t k, void *out) {
    hy_a8_block *block = out;
    float lanes[32];
    for (uint32_t i = 0; i < k; i += 32, block++) {
        load_32(x, row, i, k - i, lanes);
        vm_a8_block(lanes, block);
    }
}

static void fill_plain(hy_dtype x, const void *row, uint32_t begin, uint32_t end, uint32_t width,
                       uint32_t column, uint8_t *tile) {
    float lanes[32] = {0};
    float *out = (float *)(void *)tile + column;
    for (uint32_t k = begin; k < end; k += 32) {
        const uint32_t count = HY_MIN(end - k, 32);
        if (row) load_32(x, row, k, count, lanes);
        for (uint32_t i = 0; i < count; i++)
            out[(uint64_t)(k + i) * width] = lanes[i];
    }
}

/* How far the stored unsigned integers are above the format's. */
CPU_INLINE int32_t format_offset(hy_dtype weights) {
    switch (weights) {
    case HY_DTYPE_Q4_0:
        return 8;
    case HY_DTYPE_Q5_0:
        return 16;
    case HY_DTYPE_Q3_K:
        return MM_Q3_OFFSET;
    case HY_DTYPE_Q6_K:
        return 32;
    case HY_DTYPE_MXFP4:
        return 12;
    case HY_DTYPE_Q8_0:
    case HY_DTYPE_IQ4_NL:
    case HY_DTYPE_IQ4_XS:
        return MM_BYTE_OFFSET;
    default:
        return 0;
    }
}

/* What a tile holds beside q and scale. */
typedef enum mm_aux {
    AUX_OFFSET, /* MM_SUM_BEGIN - offset * xsum */
    AUX_HALVES, /* the same of 16 k, then -offset * xsum of the others */
    AUX_PAIR,   /* one of the whole, then -4 * xsum of 16 k each as two int16 */
    AUX_MINIMA, /* xs * xsum */
    AUX_MINIMA_HALVES
} mm_aux;

CPU_INLINE mm_aux aux_of(hy_dtype weights) {
    switch (weights) {
    case HY_DTYPE_Q4_1:
    case HY_DTYPE_Q5_1:
    case HY_DTYPE_Q4_K:
    case HY_DTYPE_Q5_K:
        return AUX_MINIMA;
    case HY_DTYPE_Q2_K:
        return AUX_MINIMA_HALVES;
    case HY_DTYPE_Q3_K:
        return AUX_PAIR;
    case HY_DTYPE_Q6_K:
        return AUX_HALVES;
    default:
        return AUX_OFFSET;
    }
}

/* One block of a tile's column. */
CPU_INLINE void fill_block(const hy_a8_block *block, mm_aux sort, int32_t offset, uint32_t width,
                           uint8_t *at, uint32_t column) {
    if (MM_PAIRED && width > 1) { /* two columns beside each other, 8 k at a time */
        for (int i = 0; i < 4; i++)
            memcpy(at + column / 2 * 64 + 16 * i + column % 2 * 8, block->q + 8 * i, 8);
    } else {
        memcpy(at + (uint64_t)column * 32, block->q, 32);
    }
    float *scale = (float *)(void *)(at + (uint64_t)width * 32), *aux = scale + width + column;
    scale[column] = block->scale;
    int32_t first = 0, term[2];
    if (sort == AUX_HALVES || sort == AUX_PAIR || sort == AUX_MINIMA_HALVES)
        for (int i = 0; i < 16; i++)
            first += block->q[i];
    const int32_t second = block->sum - first;
    switch (sort) {
    case AUX_MINIMA:
        *aux = block->scale * (float)block->sum;
        return;
    case AUX_MINIMA_HALVES:
        aux[0] = block->scale * (float)first;
        aux[width] = block->scale * (float)second;
        return;
    case AUX_PAIR:
        term[0] = MM_SUM_BEGIN - offset * block->sum;
        term[1] = (int32_t)((uint32_t)(-4 * second) << 16 | (uint16_t)(-4 * first));
        memcpy(aux + width, term + 1, 4);
        break;
    case AUX_HALVES:
        term[0] = MM_SUM_BEGIN - offset * first;
        term[1] = -offset * second;
        memcpy(aux + width, term + 1, 4);
        break;
    default:
        term[0] = MM_SUM_BEGIN - offset * block->sum;
    }
    memcpy(aux, term, 4);
}

static void fill_blocks(hy_dtype weights, hy_dtype x, const void *row, uint32_t begin, uint32_t end,
                        uint32_t width, uint32_t column, uint8_t *tile) {
    const mm_aux sort = aux_of(weights);
    const int32_t offset = format_offset(weights);
    const uint64_t stride = (uint64_t)width * mm_column_bytes(weights, 32);
    static const hy_a8_block zero;
    float lanes[32];
    for (uint32_t b = begin / 32; b < end / 32; b++) {
        hy_a8_block own;
        const hy_a8_block *block = row ? &own : &zero;
        if (row && x == HY_DTYPE_A8) {
            block = (const hy_a8_block *)row + b;
        } else if (row) {
            load_32(x, row, b * 32, 32, lanes);
            vm_a8_block(lanes, &own);
        }
        fill_block(block, sort, offset, width, tile + b * stride, column);
    }
}

static void fill(hy_dtype weights, hy_dtype x, const void *row, uint32_t begin, uint32_t end,
                 uint32_t width, uint32_t column, uint8_t *tile) {
    if (hy_dtype_get(weights)->quantized)
        fill_blocks(weights, x, row, begin, end, width, column, tile);
    else
        fill_plain(x, row, begin, end, width, column, tile);
}

/* ---- the way out ----------------------------------------------------------------------------------- */

CPU_INLINE void add_bias(float *y, const float *bias, uint32_t first, uint32_t count) {
    if (!bias) return;
    float lanes[16];
    v16_store(lanes, cpu_get(HY_DTYPE_F32, bias, first, first + count));
    for (int i = 0; i < 16; i++)
        y[i] += lanes[i];
}

/* Everything but the residual, for one row's 16 outputs. */
static void finish_16(const mm_epilogue *e, const float *z, const float *up, uint32_t first,
                      uint32_t count, float *y) {
    float u[16];
    memcpy(y, z, 16 * sizeof *y);
    add_bias(y, e->bias, first, count);
    vm_act_row(y, 16, e->act);
    if (up) {
        memcpy(u, up, sizeof u);
        add_bias(u, e->bias, e->m + first, count);
        for (int i = 0; i < 16; i++)
            y[i] *= u[i];
    }
    if (e->scale != 0.0f)
        for (int i = 0; i < 16; i++)
            y[i] *= e->scale;
    if (e->softcap > 0.0f)
        for (int i = 0; i < 16; i++)
            y[i] = vm_softcap(y[i], e->softcap);
}

static void finish(const mm_epilogue *e, const float *z, const float *up, uint32_t first,
                   uint32_t count, uint32_t rows, const mm_place *to) {
    const bool plain =
        !e->bias && e->act == HY_ACT_NONE && !up && e->scale == 0.0f && !(e->softcap > 0.0f);
    char *out = to->out;
    const char *residual = to->residual;
    for (uint32_t r = 0; r < rows; r++, z += 16) {
        float y[16];
        if (!plain) finish_16(e, z, up, first, count, y);
        v16 v = v16_load(plain ? z : y);
        if (residual) {
            v = v16_add(v, cpu_get(e->residual_dtype, residual, 0, count));
            residual += to->residual_stride;
        }
        cpu_put(e->out_dtype, out, 0, count, v);
        out += to->out_stride;
        if (up) up += 16;
    }
}

#define MM_ROW_ENTRY(DTYPE, name, width) name##_##width,
#define MM_BLOCK_ENTRY(DTYPE, name, header, sub, subs, split, minima, width) name##_##width,
#define MM_BLOCK_ROW(DTYPE, name, header, sub, subs, split, minima)                                \
    [DTYPE] = {MM_EACH_NARROW(MM_BLOCK_ENTRY, DTYPE, name, header, sub, subs, split, minima)},
#define MM_PLAIN_ROW(DTYPE, name) [DTYPE] = {MM_EACH_WIDTH(MM_ROW_ENTRY, DTYPE, name)},
#define MM_UNPACK_ROW(DTYPE, name, header, sub, subs, split, minima) [DTYPE] = unpack_##name,
#define MM_WIDE_ROW(DTYPE, name, header, sub, subs, split, minima) [DTYPE] = MM_WIDE_ENTRIES(name),
#define MM_WIDE_PAIR_ROW(DTYPE, name, header, sub, subs, split, minima)                            \
    [DTYPE] = MM_WIDE_PAIR_ENTRY(name),
#define MM_PLAIN_PAIR_ROW(DTYPE, name) [DTYPE] = pair_##name,

#ifdef MM_GFNI_FORMATS
#define MM_GFNI_FUNCTIONS(DTYPE, name, header, sub, subs, split, minima)                           \
    MM_ANY_FUNCTION(DTYPE, gfni_##name, header, sub, subs, split, minima, 1, 1)                    \
    MM_ANY_FUNCTION(DTYPE, gfni_##name, header, sub, subs, split, minima, 1, 2)                    \
    MM_ANY_FUNCTION(DTYPE, gfni_##name, header, sub, subs, split, minima, 1, 4)
#define MM_GFNI_ROW(DTYPE, name, header, sub, subs, split, minima)                                 \
    [DTYPE] = {gfni_##name##_1, gfni_##name##_2, gfni_##name##_4},
MM_GFNI_FORMATS(MM_GFNI_FUNCTIONS)
const mm_kernels cpu_mm_avx512_gfni = {
    .width = {1, 2, 4},
    .micro = {MM_GFNI_FORMATS(MM_GFNI_ROW)},
    .fill = fill,
    .finish = finish,
    .quantize = quantize,
};
#endif

const mm_kernels CPU_NAME(cpu_mm) = {
    .width = {MM_WIDTH_LIST},
    .micro = {MM_BLOCK_FORMATS(MM_BLOCK_ROW) MM_PLAIN_FORMATS(MM_PLAIN_ROW)},
#ifdef MM_WIDE
    .unpack = {MM_BLOCK_FORMATS(MM_UNPACK_ROW)},
    .wide = {MM_BLOCK_FORMATS(MM_WIDE_ROW)},
    .widen = {[HY_DTYPE_F16] = widen_f16, [HY_DTYPE_BF16] = widen_bf16},
    .few = 2 * MM_NARROW,
    .few_width = MM_NARROW,
#endif
#ifdef MM_PAIR
    .pair = {MM_PLAIN_FORMATS(MM_PLAIN_PAIR_ROW)},
    .wide_pair = {MM_BLOCK_FORMATS(MM_WIDE_PAIR_ROW)},
#endif
    .fill = fill,
    .finish = finish,
    .quantize = quantize,
};

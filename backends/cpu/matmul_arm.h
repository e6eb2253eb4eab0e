/* backends/cpu/matmul_arm.h: panels times tiles with NEON or SVE; included by matmul_kernel.c alone.
 *
 * One vector holds MM_ROWS rows x 4 k of weights: 4 rows with NEON, 8 or 16 with SVE of 256 or 512 bits.
 * sdot multiplies it with four int8 of one column, a lane of 16 bytes that are repeated in every 128 bits.
 * Where there is smmla, tiles of two columns and more hold them in pairs, 8 k of one beside 8 k of the other,
 * and two vectors of weights are interleaved to 2 rows x 8 k in every 128 bits: half as many products for one
 * more instruction per vector. Sums are then 2 rows x 2 columns until the chunk ends, and scales are spread
 * alike, so that every element sees the arithmetic of matmul.h in either form. A pass over the panel takes as
 * many rows as 32 registers allow. */

#if defined(__ARM_FEATURE_SVE_BITS) && __ARM_FEATURE_SVE_BITS > 0
#define MM_SVE 1
#include <arm_sve.h>
#else
#define MM_SVE 0
#endif
#include <arm_neon.h>

/* Signed byte weights stay as they are. */
enum { MM_BYTE_OFFSET = 0, MM_Q3_OFFSET = 0 };

enum {
#if MM_SVE
    MM_ROWS = __ARM_FEATURE_SVE_BITS / 32, /* of one vector */
#else
    MM_ROWS = 4,
#endif
    MM_VECTORS = CPU_PANEL / MM_ROWS /* that make up the 16 rows */
};

#if (MM_SVE && defined(__ARM_FEATURE_SVE_MATMUL_INT8)) ||                                          \
    (!MM_SVE && defined(__ARM_FEATURE_MATMUL_INT8))
#define MM_PAIRED 1
#define MM_WIDTH_LIST 1, 2, 4, 8
#define MM_EACH_WIDTH(F, ...)                                                                      \
    F(__VA_ARGS__, 1) F(__VA_ARGS__, 2) F(__VA_ARGS__, 4) F(__VA_ARGS__, 8)
#elif MM_SVE
#define MM_WIDTH_LIST 1, 2, 4, 8, 12
#define MM_EACH_WIDTH(F, ...)                                                                      \
    F(__VA_ARGS__, 1) F(__VA_ARGS__, 2) F(__VA_ARGS__, 4) F(__VA_ARGS__, 8) F(__VA_ARGS__, 12)
#else
#define MM_WIDTH_LIST 1, 2, 4
#define MM_EACH_WIDTH(F, ...) F(__VA_ARGS__, 1) F(__VA_ARGS__, 2) F(__VA_ARGS__, 4)
#endif
#ifndef MM_PAIRED
#define MM_PAIRED 0
#endif
#define MM_UNROLL _Pragma("GCC unroll 16")
/* What was loaded before is loaded again after: registers are for sums, not for values that two
 * sub-blocks or two chunks share. */
#define MM_FORGET() __asm__ volatile("" ::: "memory")

/* ---- vectors: NEON and SVE by the same names -------------------------------------------------------- */

/* load_*, store_*: one vector, any alignment; *_16: the same 16 bytes in every 128 bits; fused: a * b + c.
 * SVE's give vectors of unknown length: they are assigned before an operator takes them. */
#if MM_SVE

#define MM_FIXED __attribute__((arm_sve_vector_bits(__ARM_FEATURE_SVE_BITS)))
/* Weights. */
typedef svuint8_t mm_bytes MM_FIXED;
/* Sums of products. */
typedef svint32_t mm_ints MM_FIXED;
/* Sums, one a row; or of 2 rows x 2 columns. */
typedef svfloat32_t mm_floats MM_FIXED;
/* Pairs of bf16. */
typedef svuint32_t mm_words MM_FIXED;
/* One bit per byte. */
typedef svbool_t mm_mask MM_FIXED;
#define MM_ALL svptrue_b8()
#define load_bytes(p) svld1_u8(MM_ALL, p)
#define load_16(p) svld1rq_u8(MM_ALL, p)
#define load_floats(p) svld1_f32(MM_ALL, p)
#define load_f16(p) svcvt_f32_f16_x(MM_ALL, svreinterpret_f16_u32(svld1uh_u32(MM_ALL, p)))
#define load_words(p) svld1_u32(MM_ALL, p)
#define store_floats(p, x) svst1_f32(MM_ALL, p, x)
#define repeat_u64(x) svreinterpret_s32_u64(svdup_u64(x))
#define splat(x) svdup_f32(x)
#define as_floats(x) svreinterpret_f32_s32(x)
#define as_ints(x) svreinterpret_s32_f32(x)
#define words_as_floats(x) svreinterpret_f32_u32(x)
#define to_floats(x) svcvt_f32_s32_x(MM_ALL, x)
#define fused(a, b, c) svmla_f32_x(MM_ALL, c, a, b)
#define look_up_16(table, index) svtbl_u8(load_16(table), index)
#define zip_floats(half, a, b) svzip##half##_f32(a, b)
#define unzip_floats(half, a, b) svuzp##half##_f32(a, b)
#define zip_words(half, a, b)                                                                      \
    svreinterpret_u8_u32(svzip##half##_u32(svreinterpret_u32_u8(a), svreinterpret_u32_u8(b)))
#define dot_lane_of(sum, w, q, lane)                                                               \
    svdot_lane_s32(sum, svreinterpret_s8_u8(w), svreinterpret_s8_u8(q), lane)
#define multiply_pairs(sum, w, q) svmmla_s32(sum, svreinterpret_s8_u8(w), svreinterpret_s8_u8(q))

#else

/* Weights. */
typedef uint8x16_t mm_bytes;
/* Sums of products. */
typedef int32x4_t mm_ints;
/* Sums, one a row; or of 2 rows x 2 columns. */
typedef float32x4_t mm_floats;
/* Pairs of bf16. */
typedef uint32x4_t mm_words;
#define load_bytes(p) vld1q_u8(p)
#define load_16(p) vld1q_u8(p)
#define load_floats(p) vld1q_f32(p)
#define load_f16(p) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))
#define load_words(p) vld1q_u32(p)
#define store_floats(p, x) vst1q_f32(p, x)
#define repeat_u64(x) vreinterpretq_s32_u64(vdupq_n_u64(x))
#define splat(x) vdupq_n_f32(x)
#define as_floats(x) vreinterpretq_f32_s32(x)
#define as_ints(x) vreinterpretq_s32_f32(x)
#define words_as_floats(x) vreinterpretq_f32_u32(x)
#define to_floats(x) vcvtq_f32_s32(x)
#define fused(a, b, c) vfmaq_f32(c, a, b)
#define look_up_16(table, index) vqtbl1q_u8(load_16(table), index)
#define zip_floats(half, a, b) vzip##half##q_f32(a, b)
#define unzip_floats(half, a, b) vuzp##half##q_f32(a, b)
#define zip_words(half, a, b)                                                                      \
    vreinterpretq_u8_u32(vzip##half##q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
#define dot_lane_of(sum, w, q, lane)                                                               \
    vdotq_laneq_s32(sum, vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(q), lane)
#define multiply_pairs(sum, w, q) vmmlaq_s32(sum, vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(q))

#endif

/* Sets `bit` of the bytes whose bits at `bits` are 1. SVE's masks are one bit per byte, as the bits plane. */
CPU_INLINE mm_bytes set_where(const uint8_t *bits, mm_bytes v, uint8_t bit) {
#if MM_SVE
    mm_mask mask;
    memcpy(&mask, bits, sizeof mask);
    return svorr_n_u8_m(mask, v, bit);
#else
    static const uint8_t one[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const mm_bytes spread = vcombine_u8(vdup_n_u8(bits[0]), vdup_n_u8(bits[1]));
    return vorrq_u8(v, vandq_u8(vtstq_u8(spread, vld1q_u8(one)), vdupq_n_u8(bit)));
#endif
}

/* sum + four products of each row's w with lane `lane` of q; the instruction wants a constant. */
CPU_INLINE mm_ints dot_lane(mm_ints sum, mm_bytes w, mm_bytes q, int lane) {
    switch (lane) {
    case 0:
        return dot_lane_of(sum, w, q, 0);
    case 1:
        return dot_lane_of(sum, w, q, 1);
    case 2:
        return dot_lane_of(sum, w, q, 2);
    default:
        return dot_lane_of(sum, w, q, 3);
    }
}

/* ---- block formats ---------------------------------------------------------------------------------- */

/* The codebooks of hal/dtype.c: iq4 values, and mxfp4 values + 12. */
static const uint8_t codebook_iq4[16] = {129, 152, 173, 191, 207, 221, 234, 246,
                                         1,   13,  25,  38,  53,  69,  89,  113};
static const uint8_t codebook_mxfp4[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                           12, 11, 10, 9,  8,  6,  4,  0};

/* 2-bit fields of group g in bits `to`, `to` + 1; `pairs`: the vector's part. */
CPU_INLINE mm_bytes pair_at(const uint8_t *pairs, int g, int to) {
    const mm_bytes v = load_bytes(pairs + g / 4 * 64);
    const int right = g % 4 * 2 - to;
    return right >= 0 ? v >> right : v << -right;
}

/* Weights of group g (k 4g .. 4g + 3 of 32), vector r of the 16 rows. */
CPU_INLINE mm_bytes group(mm_format f, const uint8_t *sub, int g, int r) {
    const uint8_t *mine = sub + 4 * MM_ROWS * r;
    if (f.dtype == HY_DTYPE_Q8_0) return load_bytes(mine + 64 * g);
    if (f.dtype == HY_DTYPE_Q2_K) return pair_at(mine, g, 0) & 3;
    if (f.dtype == HY_DTYPE_Q3_K)
        return set_where(sub + 128 + 8 * g + MM_ROWS / 2 * r, pair_at(mine, g, 0) & 3, 4) - 4;
    const mm_bytes both = load_bytes(mine + g % 4 * 64);
    const mm_bytes nibble = g < 4 ? both & 15 : both >> 4;
    switch (f.dtype) {
    case HY_DTYPE_Q5_0:
    case HY_DTYPE_Q5_1:
    case HY_DTYPE_Q5_K:
        return set_where(sub + 256 + 8 * g + MM_ROWS / 2 * r, nibble, 16);
    case HY_DTYPE_Q6_K:
        return nibble | (pair_at(mine + 256, g, 4) & 0x30);
    case HY_DTYPE_IQ4_NL:
    case HY_DTYPE_IQ4_XS:
        return look_up_16(codebook_iq4, nibble);
    case HY_DTYPE_MXFP4:
        return look_up_16(codebook_mxfp4, nibble);
    default:
        return nibble;
    }
}

/* What one pass over a panel does, constant under inlining. */
typedef struct mm_pass {
    int first, count; /* vectors of the 16 rows */
    int paired;       /* 1: two columns in every sum, half as many rows */
    int columns;      /* of sums: n, or n / 2 pairs */
    int rows;         /* vectors of sums: count, or twice as many */
} mm_pass;

/* The pass that begins with vector `first`. */
CPU_INLINE mm_pass pass_of(const int n, const int first) {
    const int paired = MM_PAIRED && n > 1, most = n <= 2 ? 4 : n == 4 || paired ? 2 : 1;
    const int count = most < MM_VECTORS ? most : MM_VECTORS;
    return (mm_pass){first, count, paired, paired ? n / 2 : n, paired ? 2 * count : count};
}

/* One float32 or int32 of each column of sum c. */
CPU_INLINE mm_ints column_word(mm_pass p, const uint8_t *words, int c) {
    uint64_t two;
    if (!p.paired) return repeat_u64(load_u32(words + 4 * c) * 0x100000001u);
    memcpy(&two, words + 8 * c, sizeof two);
    return repeat_u64(two);
}

/* A scale of each row of vector v of sums, from the 16 rows'. */
CPU_INLINE mm_floats row_scale(mm_pass p, const float *scale, int v) {
    const mm_floats a = load_floats(scale + MM_ROWS * (p.first + (p.paired ? v / 2 : v)));
    if (!p.paired) return a;
    return v % 2 ? zip_floats(2, a, a) : zip_floats(1, a, a);
}

/* Weights of k [8 o, 8 o + 8) of 32: w[v] and, unless paired, w[rows + v] with the second four. */
CPU_INLINE void octet(mm_format f, mm_pass p, const uint8_t *sub, int o, mm_bytes *w) {
    MM_UNROLL for (int v = 0; v < p.count; v++) {
        const mm_bytes low = group(f, sub, 2 * o, p.first + v);
        const mm_bytes high = group(f, sub, 2 * o + 1, p.first + v);
        if (p.paired) {
            w[2 * v] = zip_words(1, low, high);
            w[2 * v + 1] = zip_words(2, low, high);
        } else {
            w[v] = low;
            w[p.rows + v] = high;
        }
    }
}

/* Sums over octets [first, first + octets) of 32 k, added to dot. */
CPU_INLINE void octet_dots(mm_format f, mm_pass p, const uint8_t *sub, const uint8_t *x, int first,
                           int octets, mm_ints *dot) {
    MM_UNROLL for (int i = 0; i < octets; i++) {
        /* low and high nibbles of one load follow each other */
        const int o = octets == 2 ? first + i : f.dtype == HY_DTYPE_Q8_0 ? i : i / 2 + i % 2 * 2;
        mm_bytes w[8];
        octet(f, p, sub, o, w);
        MM_UNROLL for (int c = 0; c < p.columns; c++) {
            const mm_bytes q = load_16(x + (p.paired ? 64 * c + 16 * o : 32 * c + o / 2 * 16));
            MM_UNROLL for (int v = 0; v < p.rows; v++) {
                mm_ints *sum = &dot[c * p.rows + v];
#if MM_PAIRED
                if (p.paired) {
                    *sum = multiply_pairs(*sum, w[v], q);
                    continue;
                }
#endif
                *sum = dot_lane(*sum, w[v], q, o % 2 * 2);
                *sum = dot_lane(*sum, w[p.rows + v], q, o % 2 * 2 + 1);
            }
        }
    }
}

/* One half of 32 k of a format with scales of 16 k: isum, or for q6_k t, begins or goes on. */
CPU_INLINE void half_block(mm_format f, const int n, mm_pass p, const uint8_t *sub,
                           const uint8_t *x, int half, const mm_scales *scales, int s,
                           mm_ints *isum, mm_floats *t) {
    const uint8_t *aux = x + n * 36 + 4 * n * half;
    const mm_ints zero = repeat_u64(0);
    int32_t sc[CPU_PANEL];
    float words[CPU_PANEL]; /* sc's bits: row_scale() spreads words, whatever is in them */
    mm_ints dot[16];
    for (int r = 0; r < CPU_PANEL; r++)
        sc[r] = scales->sc[2 * s + half][r];
    memcpy(words, sc, sizeof words);
    MM_UNROLL for (int i = 0; i < p.columns * p.rows; i++) dot[i] =
        f.dtype == HY_DTYPE_Q6_K ? column_word(p, aux, i / p.rows) : zero;
    octet_dots(f, p, sub, x, 2 * half, 2, dot);
    MM_UNROLL for (int i = 0; i < p.columns * p.rows; i++) {
        if (f.dtype == HY_DTYPE_Q6_K) {
            const mm_floats sum = to_floats(dot[i]),
                            a = row_scale(p, scales->a[2 * s + half], i % p.rows);
            if (half)
                t[i] = fused(sum, a, t[i]);
            else
                t[i] = sum * a;
        } else {
            const mm_ints scale = as_ints(row_scale(p, words, i % p.rows));
            isum[i] = half ? isum[i] + dot[i] * scale : dot[i] * scale;
        }
    }
}

/* One sub-block of 32 k. */
CPU_INLINE void sub_block(mm_format f, const int n, mm_pass p, const uint8_t *sub, const uint8_t *x,
                          const mm_scales *scales, int s, mm_floats *acc) {
    const uint8_t *scale = x + n * 32, *aux = scale + 4 * n;
    const mm_ints zero = repeat_u64(0);
    mm_ints dot[16];
    mm_floats t[16];
    if (f.split) {
        half_block(f, n, p, sub, x, 0, scales, s, dot, t);
        half_block(f, n, p, sub, x, 1, scales, s, dot, t);
    } else {
        MM_UNROLL for (int i = 0; i < p.columns * p.rows; i++) dot[i] =
            f.minima ? zero : column_word(p, aux, i / p.rows);
        octet_dots(f, p, sub, x, 0, 4, dot);
    }
    MM_UNROLL for (int i = 0; i < p.columns * p.rows; i++) {
        const mm_floats xs = as_floats(column_word(p, scale, i / p.rows));
        if (f.dtype == HY_DTYPE_Q6_K) {
            acc[i] = fused(t[i], xs, acc[i]);
            continue;
        }
        const mm_floats sum = to_floats(dot[i]);
        acc[i] = fused(sum * row_scale(p, scales->a[s], i % p.rows), xs, acc[i]);
        for (int h = 0; f.minima && h <= f.split; h++)
            acc[i] = fused(row_scale(p, scales->b[f.split ? 2 * s + h : s], i % p.rows),
                           as_floats(column_word(p, aux + 4 * n * h, i / p.rows)), acc[i]);
    }
}

/* One chunk (`blocks` panel blocks). Returns the panel behind it. */
CPU_INLINE const uint8_t *chunk_blocks(mm_format f, const int n, mm_pass p, const uint8_t *panel,
                                       const uint8_t *tile, uint32_t blocks, mm_floats *acc) {
    const uint64_t step = (uint64_t)n * mm_column_bytes(f.dtype, 32);
    for (; blocks; blocks--) {
        mm_scales scales;
        block_scales(f, panel, true, &scales);
        const uint8_t *sub = panel + f.header;
        for (int s = 0; s < f.subs; s++) {
            MM_FORGET();
            sub_block(f, n, p, sub, tile, &scales, s, acc);
            tile += step;
            sub += f.sub;
        }
        panel = sub;
    }
    return panel;
}

/* Adds a chunk's sums to z. */
CPU_INLINE void add_chunk(mm_pass p, const mm_floats *acc, float *z) {
    z += MM_ROWS * p.first;
    MM_UNROLL for (int i = 0; i < p.columns * p.rows; i++) {
        const int c = i / p.rows, v = i % p.rows;
        float *out = z + (p.paired ? CPU_PANEL * (2 * c + v % 2) + MM_ROWS * (v / 2)
                                   : CPU_PANEL * c + MM_ROWS * v);
        mm_floats sum = acc[i], old = load_floats(out);
        if (p.paired)
            sum = v % 2 ? unzip_floats(2, acc[i - 1], acc[i]) : unzip_floats(1, acc[i], acc[i + 1]);
        store_floats(out, old + sum);
    }
}

/* Block formats: an mm_micro once f and n are constants. */
CPU_INLINE void mm_blocks(mm_format f, const int n, const uint8_t *panel, const uint8_t *tile,
                          uint32_t k, const mm_ahead *ahead, float *z) {
    (void)ahead;
    memset(z, 0, sizeof(float) * CPU_PANEL * (size_t)n);
    for (int first = 0; first < MM_VECTORS; first += pass_of(n, 0).count) {
        const mm_pass p = pass_of(n, first);
        const uint8_t *from = panel, *x = tile;
        for (uint32_t at = 0; at < k; at += MM_BLOCK_CHUNK) {
            const uint32_t length = HY_MIN(k - at, MM_BLOCK_CHUNK);
            mm_floats acc[16];
            MM_FORGET();
            MM_UNROLL for (int i = 0; i < p.columns * p.rows; i++) acc[i] = splat(0.0f);
            from = chunk_blocks(f, n, p, from, x, length / (32u * (uint32_t)f.subs), acc);
            x += (uint64_t)n * mm_column_bytes(f.dtype, length);
            add_chunk(p, acc, z);
        }
    }
}

/* ---- float weights ---------------------------------------------------------------------------------- */

/* Element k of the rows of vector v; odd: whether k is. */
CPU_INLINE mm_floats plain_rows(hy_dtype dtype, const uint8_t *panel, uint64_t k, int v,
                                const int odd) {
    const uint64_t at = CPU_PANEL * k + (uint64_t)(MM_ROWS * v);
    if (dtype == HY_DTYPE_F32) return load_floats((const float *)(const void *)panel + at);
    if (dtype == HY_DTYPE_F16) return load_f16((const uint16_t *)(const void *)panel + at);
    const mm_words pair =
        load_words((const uint32_t *)(const void *)panel + CPU_PANEL * (k / 2) + MM_ROWS * v);
    const mm_words w = odd ? pair & 0xffff0000u : pair << 16;
    return words_as_floats(w);
}

/* Element i of `lanes` chunks that lie side by side: streams that hardware prefetchers may not follow, so that k
 * further ahead is asked for. */
CPU_INLINE void plain_step(hy_dtype dtype, const int n, const int first, const int count,
                           const int lanes, const uint8_t *panel, const float *x, uint64_t i,
                           const int odd, mm_floats *part) {
    enum { AHEAD = 8 * MM_CHUNK };
    MM_UNROLL for (int l = 0; l < lanes; l++) {
        const uint64_t at = i + (uint64_t)l * MM_CHUNK;
        if (lanes > 1) ask_ahead(dtype, panel, at + AHEAD, odd, 2);
        MM_UNROLL for (int v = 0; v < count; v++) {
            const mm_floats w = plain_rows(dtype, panel, at, first + v, odd);
            mm_floats *sum = part + n * (count * l + v);
            MM_UNROLL for (int c = 0; c < n; c++) sum[c] =
                fused(w, splat(x[at * (uint64_t)n + (uint64_t)c]), sum[c]);
        }
    }
}

/* `lanes` chunks of `length` k side by side (they add up independently), from k on. */
CPU_INLINE void plain_chunks(hy_dtype dtype, const int n, const int first, const int count,
                             const int lanes, const uint8_t *panel, const float *x, uint64_t k,
                             uint32_t length, mm_floats *acc) {
    mm_floats part[16];
    MM_UNROLL for (int i = 0; i < n * count * lanes; i++) part[i] = splat(0.0f);
    const uint64_t end = k + length;
    for (uint64_t i = k; i + 1 < end; i += 2) {
        plain_step(dtype, n, first, count, lanes, panel, x, i, 0, part);
        plain_step(dtype, n, first, count, lanes, panel, x, i + 1, 1, part);
    }
    if (length % 2) plain_step(dtype, n, first, count, lanes, panel, x, end - 1, 0, part);
    MM_UNROLL for (int i = 0; i < n * count * lanes; i++) acc[i % (n * count)] += part[i];
}

/* Float weights: an mm_micro once dtype and n are constants. */
CPU_INLINE void mm_plain(hy_dtype dtype, const int n, const uint8_t *panel, const uint8_t *tile,
                         uint32_t k, float *z) {
    const float *x = (const float *)(const void *)tile;
    const int count = 16 / n < MM_VECTORS ? 16 / n : MM_VECTORS;
    /* hides the latency of fma when there are few columns */
    const int many = 16 / (n * count), lanes = many < 4 ? many : 4;
    for (int first = 0; first < MM_VECTORS; first += count) {
        mm_floats acc[16];
        MM_UNROLL for (int i = 0; i < n * count; i++) acc[i] =
            load_floats(z + CPU_PANEL * (i % n) + MM_ROWS * (first + i / n));
        uint32_t at = 0;
        for (; lanes > 1 && k - at >= (uint32_t)lanes * MM_CHUNK; at += (uint32_t)lanes * MM_CHUNK)
            plain_chunks(dtype, n, first, count, lanes, panel, x, at, MM_CHUNK, acc);
        for (; at < k; at += MM_CHUNK)
            plain_chunks(dtype, n, first, count, 1, panel, x, at, HY_MIN(k - at, MM_CHUNK), acc);
        MM_UNROLL for (int i = 0; i < n * count; i++)
            store_floats(z + CPU_PANEL * (i % n) + MM_ROWS * (first + i / n), acc[i]);
    }
}

/* backends/cpu/matmul_avx512.h: panels times tiles with AVX-512 VNNI; included by matmul_kernel.c alone.
 *
 * One register holds 16 rows x 4 k of unsigned weights; vpdpbusd multiplies them with four int8 of one
 * column, broadcast from the tile. A tile of 12 columns needs 12 sums, 12 float accumulators and five
 * others of the 32 registers, and makes 12 products of each unpacked register. Weights that are signed
 * bytes by nature are stored 128 higher in the register; the tile's aux takes that back. */

/* How far signed byte weights are raised. */
enum { MM_BYTE_OFFSET = 128 };
#define MM_WIDTH_LIST 1, 2, 4, 8, 12
#define MM_EACH_WIDTH(F, ...)                                                                      \
    F(__VA_ARGS__, 1) F(__VA_ARGS__, 2) F(__VA_ARGS__, 4) F(__VA_ARGS__, 8) F(__VA_ARGS__, 12)
#define MM_UNROLL _Pragma("GCC unroll 16")
/* What was loaded before is loaded again after: registers are for sums, not for values that two
 * sub-blocks or two chunks share. */
#define MM_FORGET() __asm__ volatile("" ::: "memory")

/* 64 bytes, any alignment. */
CPU_INLINE __m512i load_64(const uint8_t *p) {
    return _mm512_loadu_si512((const void *)p);
}

/* The codebooks as unsigned bytes: iq4 values + 128, mxfp4 values + 12. */
CPU_INLINE __m512i codebook(hy_dtype dtype) {
    const __m128i iq4 =
        _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, (char)129, (char)141, (char)153, (char)166,
                      (char)181, (char)197, (char)217, (char)241);
    const __m128i e2m1 = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return _mm512_broadcast_i32x4(dtype == HY_DTYPE_MXFP4 ? e2m1 : iq4);
}

/* 2-bit fields of unit g / 4 of a pairs plane, moved to bits `to`, `to` + 1. */
CPU_INLINE __m512i pair_at(const uint8_t *pairs, int g, int to) {
    const __m512i v = load_64(pairs + g / 4 * 64);
    const int right = g % 4 * 2 - to;
    const __m512i moved = right > 0   ? _mm512_srli_epi16(v, (unsigned)right)
                          : right < 0 ? _mm512_slli_epi16(v, (unsigned)-right)
                                      : v;
    return moved;
}

/* Sets `bit` where the bits plane has 1 for group g. */
CPU_INLINE __m512i add_bit(__m512i v, const uint8_t *bits, int g, int bit) {
    uint64_t word;
    memcpy(&word, bits + 8 * g, sizeof word);
    return _mm512_mask_add_epi8(v, _cvtu64_mask64(word), v, _mm512_set1_epi8((char)bit));
}

/* Weights of group g (k 4g .. 4g + 3 of 32) of a sub-block, unsigned. */
CPU_INLINE __m512i group(mm_format f, const uint8_t *sub, int g) {
    if (f.dtype == HY_DTYPE_Q8_0)
        return _mm512_xor_si512(load_64(sub + 64 * g), _mm512_set1_epi8((char)0x80));
    if (f.dtype == HY_DTYPE_Q2_K) return _mm512_and_si512(pair_at(sub, g, 0), _mm512_set1_epi8(3));
    if (f.dtype == HY_DTYPE_Q3_K)
        return add_bit(_mm512_and_si512(pair_at(sub, g, 0), _mm512_set1_epi8(3)), sub + 128, g, 4);
    const __m512i both = load_64(sub + g % 4 * 64);
    const __m512i nibble =
        _mm512_and_si512(g < 4 ? both : _mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
    switch (f.dtype) {
    case HY_DTYPE_Q5_0:
    case HY_DTYPE_Q5_1:
    case HY_DTYPE_Q5_K:
        return add_bit(nibble, sub + 256, g, 16);
    case HY_DTYPE_Q6_K: /* (pair & 0x30) | nibble */
        return _mm512_ternarylogic_epi32(pair_at(sub + 256, g, 4), _mm512_set1_epi8(0x30), nibble,
                                         0xea);
    case HY_DTYPE_IQ4_NL:
    case HY_DTYPE_IQ4_XS:
    case HY_DTYPE_MXFP4:
        return _mm512_shuffle_epi8(codebook(f.dtype), nibble);
    default:
        return nibble;
    }
}

/* Sub-blocks' a and b of formats with one sub-block in a block, without a detour through memory. */
CPU_INLINE __m512 single_scale(mm_format f, const uint8_t *header) {
    if (f.dtype != HY_DTYPE_MXFP4) return v16_load_f16((const uint16_t *)(const void *)header);
    const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)header));
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
    const __m512i tiny = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    return _mm512_castsi512_ps(
        _mm512_mask_mov_epi32(normal, _mm512_cmple_epu32_mask(e, one), tiny));
}

/* One sub-block of 16 or 32 k: groups [first, first + count). */
CPU_INLINE void sub_block(mm_format f, const int n, const uint8_t *sub, const uint8_t *x, int half,
                          __m512 a, __m512 b, __m512 *acc) {
    const uint8_t *scale = x + n * 32, *aux = scale + 4 * n * (1 + half);
    const int groups = f.split ? 4 : 8;
    __m512i dot[MM_MAX_WIDTH];
    MM_UNROLL for (int c = 0; c < n; c++) dot[c] =
        f.minima ? _mm512_setzero_si512() : _mm512_set1_epi32((int32_t)load_u32(aux + 4 * c));
    MM_UNROLL for (int i = 0; i < groups; i++) {
        /* low and high nibbles of one load follow each other */
        const int g = f.split ? 4 * half + i : f.dtype == HY_DTYPE_Q8_0 ? i : i / 2 + i % 2 * 4;
        const __m512i w = group(f, sub, g);
        MM_UNROLL for (int c = 0; c < n; c++) dot[c] = _mm512_dpbusd_epi32(
            dot[c], w, _mm512_set1_epi32((int32_t)load_u32(x + c * 32 + 4 * g)));
    }
    MM_UNROLL for (int c = 0; c < n; c++) {
        const __m512 s = _mm512_mul_ps(
            a, _mm512_castsi512_ps(_mm512_set1_epi32((int32_t)load_u32(scale + 4 * c))));
        acc[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[c]), s, acc[c]);
        if (f.minima)
            acc[c] = _mm512_fmadd_ps(
                b, _mm512_castsi512_ps(_mm512_set1_epi32((int32_t)load_u32(aux + 4 * c))), acc[c]);
    }
}

/* One chunk: `blocks` panel blocks. Returns the panel behind them. */
CPU_INLINE const uint8_t *chunk_blocks(mm_format f, const int n, const uint8_t *panel,
                                       const uint8_t *tile, uint32_t blocks, __m512 *acc) {
    const uint64_t step = (uint64_t)n * (f.split ? 44 : 40);
    for (; blocks; blocks--) {
        const uint8_t *sub = panel + f.header;
        if (f.subs == 1) {
            const __m512 a = single_scale(f, panel);
            const __m512 b = f.minima ? single_scale(f, panel + 32) : a;
            sub_block(f, n, sub, tile, 0, a, b, acc);
            tile += step;
            panel = sub + f.sub;
            continue;
        }
        mm_scales scales;
        block_scales(f, panel, &scales);
        for (int s = 0; s < f.subs; s++) {
            MM_UNROLL for (int half = 0; half <= f.split; half++) {
                MM_FORGET();
                const int at = f.split ? 2 * s + half : s;
                sub_block(f, n, sub, tile, half, _mm512_load_ps(scales.a[at]),
                          f.minima ? _mm512_load_ps(scales.b[at]) : _mm512_setzero_ps(), acc);
            }
            tile += step;
            sub += f.sub;
        }
        panel = sub;
    }
    return panel;
}

/* Block formats: an mm_micro once f and n are constants. */
CPU_INLINE void mm_blocks(mm_format f, const int n, const uint8_t *panel, const uint8_t *tile,
                          uint32_t k, float *z) {
    __m512 acc[MM_MAX_WIDTH];
    MM_UNROLL for (int c = 0; c < n; c++) _mm512_storeu_ps(z + 16 * c, _mm512_setzero_ps());
    for (uint32_t at = 0; at < k; at += MM_BLOCK_CHUNK) {
        const uint32_t length = HY_MIN(k - at, MM_BLOCK_CHUNK);
        MM_FORGET();
        MM_UNROLL for (int c = 0; c < n; c++) acc[c] = _mm512_setzero_ps();
        panel = chunk_blocks(f, n, panel, tile, length / (32u * (uint32_t)f.subs), acc);
        tile += (uint64_t)length / 32 * (uint64_t)n * (f.split ? 44 : 40);
        MM_UNROLL for (int c = 0; c < n; c++)
            _mm512_storeu_ps(z + 16 * c, _mm512_add_ps(_mm512_loadu_ps(z + 16 * c), acc[c]));
    }
}

/* ---- float weights ---------------------------------------------------------------------------------- */

/* Element k of the 16 rows. */
CPU_INLINE __m512 plain_16(hy_dtype dtype, const uint8_t *panel, uint64_t k) {
    if (dtype == HY_DTYPE_F32) return _mm512_loadu_ps((const float *)(const void *)panel + 16 * k);
    const uint16_t *p = (const uint16_t *)(const void *)panel + 16 * k;
    return dtype == HY_DTYPE_F16 ? v16_load_f16(p) : v16_load_bf16(p);
}

/* `lanes` chunks of `length` k side by side (they add up independently), from k on. */
CPU_INLINE void plain_chunks(hy_dtype dtype, const int n, const int lanes, const uint8_t *panel,
                             const float *x, uint64_t k, uint32_t length, __m512 *acc) {
    __m512 part[MM_MAX_WIDTH];
    MM_UNROLL for (int i = 0; i < n * lanes; i++) part[i] = _mm512_setzero_ps();
    for (uint64_t i = k; i < k + length; i++) {
        MM_UNROLL for (int l = 0; l < lanes; l++) {
            const uint64_t at = i + (uint64_t)l * MM_CHUNK;
            if (lanes > 1) ask_ahead(dtype, panel, at + MM_AHEAD);
            const __m512 w = plain_16(dtype, panel, at);
            MM_UNROLL for (int c = 0; c < n; c++) part[l * n + c] = _mm512_fmadd_ps(
                w, _mm512_set1_ps(x[at * (uint64_t)n + (uint64_t)c]), part[l * n + c]);
        }
    }
    MM_UNROLL for (int i = 0; i < n * lanes; i++) acc[i % n] = _mm512_add_ps(acc[i % n], part[i]);
}

/* Float weights: an mm_micro once dtype and n are constants. */
CPU_INLINE void mm_plain(hy_dtype dtype, const int n, const uint8_t *panel, const uint8_t *tile,
                         uint32_t k, float *z) {
    const float *x = (const float *)(const void *)tile;
    const int lanes = n <= 4 ? 4 / n : 1; /* hides the latency of fma when there are few columns */
    __m512 acc[MM_MAX_WIDTH];
    MM_UNROLL for (int c = 0; c < n; c++) acc[c] = _mm512_setzero_ps();
    uint32_t at = 0;
    for (; lanes > 1 && k - at >= (uint32_t)lanes * MM_CHUNK; at += (uint32_t)lanes * MM_CHUNK)
        plain_chunks(dtype, n, lanes, panel, x, at, MM_CHUNK, acc);
    for (; at < k; at += MM_CHUNK)
        plain_chunks(dtype, n, 1, panel, x, at, HY_MIN(k - at, MM_CHUNK), acc);
    MM_UNROLL for (int c = 0; c < n; c++) _mm512_storeu_ps(z + 16 * c, acc[c]);
}

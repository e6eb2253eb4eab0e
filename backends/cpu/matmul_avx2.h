/* backends/cpu/matmul_avx2.h: panels times tiles with AVX2; included by matmul_kernel.c alone.
 *
 * One register holds 8 rows x 4 k; vpmaddubsw multiplies unsigned weights with int8 of one column into
 * 16-bit sums of two, of which as many are added as fit before vpmaddwd widens them, with the integer
 * scales of formats that have some: all exact. Signed byte weights give their sign to the activations. Tiles of 4 go over the panel once per 8 rows, smaller
 * ones once for all 16. */

/* Signed byte weights stay as they are. */
enum { MM_BYTE_OFFSET = 0, MM_Q3_OFFSET = 0 };
#define MM_WIDTH_LIST 1, 2, 4
#define MM_EACH_WIDTH(F, ...) F(__VA_ARGS__, 1) F(__VA_ARGS__, 2) F(__VA_ARGS__, 4)
#define MM_UNROLL _Pragma("GCC unroll 16")
/* What was loaded before is loaded again after: registers are for sums, not for values that two
 * sub-blocks or two chunks share. */
#define MM_FORGET() __asm__ volatile("" ::: "memory")

/* 32 bytes, any alignment. */
CPU_INLINE __m256i load_32b(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Products of two (at most 2 * 127 * the largest weight) that 16 bits hold. */
CPU_INLINE int sums_in_16_bits(hy_dtype dtype) {
    switch (dtype) {
    case HY_DTYPE_Q8_0:
    case HY_DTYPE_IQ4_NL:
    case HY_DTYPE_IQ4_XS:
        return 1; /* 2 * 127 * 128 */
    case HY_DTYPE_Q6_K:
        return 2; /* 2 * 127 * 63 */
    case HY_DTYPE_Q5_0:
    case HY_DTYPE_Q5_1:
    case HY_DTYPE_Q5_K:
    case HY_DTYPE_MXFP4:
        return 4; /* 2 * 127 * 31 */
    default:
        return 8; /* 2 * 127 * 15 */
    }
}

/* Formats whose weights fill a signed byte. */
CPU_INLINE bool signed_weights(hy_dtype dtype) {
    return sums_in_16_bits(dtype) == 1;
}

/* iq4 values, mxfp4 values + 12. */
CPU_INLINE __m256i codebook(hy_dtype dtype) {
    const __m128i iq4 =
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    const __m128i e2m1 = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return _mm256_broadcastsi128_si256(dtype == HY_DTYPE_MXFP4 ? e2m1 : iq4);
}

/* 2-bit fields of group g in bits `to`, `to` + 1; `pairs`: the 8 rows' part. */
CPU_INLINE __m256i pair_at(const uint8_t *pairs, int g, int to) {
    const __m256i v = load_32b(pairs + g / 4 * 64);
    const int right = g % 4 * 2 - to;
    return right > 0 ? _mm256_srli_epi16(v, right) : right < 0 ? _mm256_slli_epi16(v, -right) : v;
}

/* Eight rows at a time; see matmul_kernel.c. */
CPU_INLINE void scales_q3_k(const uint8_t *header, mm_scales *out) {
    /* byte i of four rows' words side by side, for each i */
    const __m256i by_byte =
        _mm256_broadcastsi128_si256(_mm_setr_epi32(0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703));
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    MM_UNROLL for (int i = 0; i < 8; i++) {
        const int q = i / 2, high = i % 2;
        const __m256i low =
            _mm256_srli_epi32(load_32b(header + 32 + q % 2 * 64 + 32 * high), q / 2 * 4);
        const __m256i top = _mm256_srli_epi32(load_32b(header + 160 + 32 * high), 2 * q);
        const __m256i all =
            _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)),
                            _mm256_slli_epi32(_mm256_and_si256(top, _mm256_set1_epi8(3)), 4));
        const __m256i turned =
            _mm256_shuffle_epi8(_mm256_sub_epi8(all, _mm256_set1_epi8(32)), by_byte);
        int8_t lanes[4][8];
        _mm256_storeu_si256((__m256i *)(void *)lanes,
                            _mm256_permutevar8x32_epi32(turned, in_order));
        MM_UNROLL for (int j = 0; j < 4; j++) memcpy(out->sc[4 * q + j] + 8 * high, lanes[j], 8);
    }
}

/* Sets `bit` where the bits plane has 1 for group g; `bits`: the 8 rows' part of word 0. */
CPU_INLINE __m256i add_bit(__m256i v, const uint8_t *bits, int g, int bit) {
    const __m256i word = _mm256_set1_epi32((int32_t)load_u32(bits + 8 * g));
    const __m256i spread =
        _mm256_shuffle_epi8(word, _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                                   2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
    const __m256i one = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, one), one);
    return _mm256_or_si256(v, _mm256_and_si256(set, _mm256_set1_epi8((char)bit)));
}

/* Weights of group g; rows 8 high .. 8 high + 7. */
CPU_INLINE __m256i group(mm_format f, const uint8_t *sub, int g, int high) {
    const uint8_t *mine = sub + 32 * high;
    if (f.unpacked) return load_32b(mine + 64 * g);
    const __m256i three = _mm256_set1_epi8(3);
    if (f.dtype == HY_DTYPE_Q8_0) return load_32b(mine + 64 * g);
    if (f.dtype == HY_DTYPE_Q2_K) return _mm256_and_si256(pair_at(mine, g, 0), three);
    if (f.dtype == HY_DTYPE_Q3_K)
        return add_bit(_mm256_and_si256(pair_at(mine, g, 0), three), sub + 128 + 4 * high, g, 4);
    const __m256i both = load_32b(mine + g % 4 * 64);
    const __m256i nibble =
        _mm256_and_si256(g < 4 ? both : _mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
    switch (f.dtype) {
    case HY_DTYPE_Q5_0:
    case HY_DTYPE_Q5_1:
    case HY_DTYPE_Q5_K:
        return add_bit(nibble, sub + 256 + 4 * high, g, 16);
    case HY_DTYPE_Q6_K:
        return _mm256_or_si256(nibble,
                               _mm256_and_si256(pair_at(mine + 256, g, 4), _mm256_set1_epi8(0x30)));
    case HY_DTYPE_IQ4_NL:
    case HY_DTYPE_IQ4_XS:
    case HY_DTYPE_MXFP4:
        return _mm256_shuffle_epi8(codebook(f.dtype), nibble);
    default:
        return nibble;
    }
}

/* Four bytes to all lanes. */
CPU_INLINE __m256i broadcast(const uint8_t *p) {
    return _mm256_set1_epi32((int32_t)load_u32(p));
}

/* dot[c] += the sums over 32 k. */
CPU_INLINE void whole_dots(mm_format f, const int n, const uint8_t *sub, const uint8_t *x, int high,
                           __m256i *dot) {
    const int most = sums_in_16_bits(f.dtype);
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[4];
    MM_UNROLL for (int i = 0; i < 8; i++) {
        const int g = f.dtype == HY_DTYPE_Q8_0 ? i : i / 2 + i % 2 * 4;
        const __m256i w = group(f, sub, g, high);
        const __m256i size = signed_weights(f.dtype) ? _mm256_abs_epi8(w) : w;
        MM_UNROLL for (int c = 0; c < n; c++) {
            const __m256i q = broadcast(x + c * 32 + 4 * g);
            const __m256i product =
                _mm256_maddubs_epi16(size, signed_weights(f.dtype) ? _mm256_sign_epi8(q, w) : q);
            sum[c] = i % most ? _mm256_add_epi16(sum[c], product) : product;
            if (i % most == most - 1)
                dot[c] = _mm256_add_epi32(dot[c], _mm256_madd_epi16(sum[c], ones));
        }
    }
}

/* 8 rows' scales of one half as pairs of equal int16. */
CPU_INLINE __m256i scale_pairs(const int8_t *sc) {
    const __m256i v = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)sc));
    return _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16), 0xaa);
}

/* q2_k, q3_k: dot[c] += the scaled sums over 32 k; sc: two halves of [16 rows], the 8 rows' part. */
CPU_INLINE void scaled_dots(mm_format f, const int n, const uint8_t *sub, const uint8_t *x,
                            int high, const int8_t *sc, __m256i *dot) {
    const uint8_t *pair =
        x + n * 40; /* q3_k: the halves' offsets, each into one of two 16-bit sums */
    __m256i sum[4];
    MM_UNROLL for (int i = 0; i < 8; i++) {
        const __m256i w = group(f, sub, i, high);
        MM_UNROLL for (int c = 0; c < n; c++) {
            const __m256i product = _mm256_maddubs_epi16(w, broadcast(x + c * 32 + 4 * i));
            if (i % 4)
                sum[c] = _mm256_add_epi16(sum[c], product);
            else if (f.dtype == HY_DTYPE_Q3_K)
                sum[c] = _mm256_add_epi16(
                    product, _mm256_set1_epi32((int32_t)(i ? load_u32(pair + 4 * c) >> 16
                                                           : load_u32(pair + 4 * c) & 0xffffu)));
            else
                sum[c] = product;
            if (i % 4 == 3)
                dot[c] = _mm256_add_epi32(
                    dot[c], _mm256_madd_epi16(sum[c], scale_pairs(sc + i / 4 * CPU_PANEL)));
        }
    }
}

/* q6_k: dot[c] = the sums over one half, groups [g, g + 4). */
CPU_INLINE void half_dots(mm_format f, const int n, const uint8_t *sub, const uint8_t *x, int high,
                          int g, __m256i *dot) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[4];
    MM_UNROLL for (int c = 0; c < n; c++) dot[c] = broadcast(x + n * (36 + g) + 4 * c);
    MM_UNROLL for (int i = g; i < g + 4; i++) {
        const __m256i w = group(f, sub, i, high);
        MM_UNROLL for (int c = 0; c < n; c++) {
            const __m256i product = _mm256_maddubs_epi16(w, broadcast(x + c * 32 + 4 * i));
            sum[c] = i % 2 ? _mm256_add_epi16(sum[c], product) : product;
            if (i % 2) dot[c] = _mm256_add_epi32(dot[c], _mm256_madd_epi16(sum[c], ones));
        }
    }
}

/* a * isum; sum: isum + MM_SUM_BEGIN. */
CPU_INLINE __m256 scaled(__m256i sum, __m256 a) {
    const __m256 down = _mm256_mul_ps(a, _mm256_set1_ps(-MM_SUM_FLOAT));
    return _mm256_fmadd_ps(_mm256_castsi256_ps(sum), a, down);
}

/* q6_k: one sub-block for 8 rows; a: of its halves. */
CPU_INLINE void halves_block(mm_format f, const int n, const uint8_t *sub, const uint8_t *x,
                             int high, const float (*a)[CPU_PANEL], __m256 *acc) {
    __m256i dot[4];
    __m256 t[4];
    half_dots(f, n, sub, x, high, 0, dot);
    MM_UNROLL for (int c = 0; c < n; c++) t[c] = scaled(dot[c], _mm256_load_ps(a[0] + 8 * high));
    half_dots(f, n, sub, x, high, 4, dot);
    MM_UNROLL for (int c = 0; c < n; c++) {
        t[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[c]), _mm256_load_ps(a[1] + 8 * high), t[c]);
        acc[c] = _mm256_fmadd_ps(t[c], _mm256_castsi256_ps(broadcast(x + n * 32 + 4 * c)), acc[c]);
    }
}

/* One sub-block for 8 rows. */
CPU_INLINE void sub_block(mm_format f, const int n, const uint8_t *sub, const uint8_t *x, int high,
                          const mm_scales *scales, int s, __m256 *acc) {
    const uint8_t *scale = x + n * 32, *aux = scale + 4 * n;
    if (f.dtype == HY_DTYPE_Q6_K) {
        halves_block(f, n, sub, x, high, scales->a + 2 * s, acc);
        return;
    }
    const __m256 a = _mm256_load_ps(scales->a[s] + 8 * high);
    __m256i dot[4];
    MM_UNROLL for (int c = 0; c < n; c++) dot[c] =
        f.minima || f.split ? _mm256_set1_epi32(MM_SUM_BEGIN) : broadcast(aux + 4 * c);
    if (f.split)
        scaled_dots(f, n, sub, x, high, scales->sc[2 * s] + 8 * high, dot);
    else
        whole_dots(f, n, sub, x, high, dot);
    MM_UNROLL for (int c = 0; c < n; c++) {
        const __m256 xs = _mm256_castsi256_ps(broadcast(scale + 4 * c));
        acc[c] = _mm256_fmadd_ps(scaled(dot[c], a), xs, acc[c]);
    }
    for (int h = 0; f.minima && h <= f.split; h++) {
        const __m256 b = _mm256_load_ps(scales->b[f.split ? 2 * s + h : s] + 8 * high);
        MM_UNROLL for (int c = 0; c < n; c++) acc[c] =
            _mm256_fmadd_ps(b, _mm256_castsi256_ps(broadcast(aux + 4 * (n * h + c))), acc[c]);
    }
}

/* One chunk (`blocks` panel blocks) for rows [8 first, 8 first + 8 count) of the panel. Returns the panel
 * behind it. */
CPU_INLINE const uint8_t *chunk_blocks(mm_format f, const int n, const int first, const int count,
                                       const uint8_t *panel, const uint8_t *tile, uint32_t blocks,
                                       const mm_ahead *ahead, __m256 (*acc)[4]) {
    const uint64_t step = (uint64_t)n * mm_column_bytes(f.dtype, 32);
    for (; blocks; blocks--) {
        mm_scales scales;
        if (first == 0) ask_for(f, ahead, panel, f.header);
        block_scales(f, panel, true, &scales);
        const uint8_t *sub = panel + f.header;
        for (int s = 0; s < f.subs; s++) {
            MM_FORGET();
            if (first == 0) ask_for(f, ahead, sub, f.sub);
            MM_UNROLL for (int h = first; h < first + count; h++)
                sub_block(f, n, sub, tile, h, &scales, s, acc[h - first]);
            tile += step;
            sub += f.sub;
        }
        panel = sub;
    }
    return panel;
}

/* All of k for those rows. */
CPU_INLINE void half_panels(mm_format f, const int n, const int first, const int count,
                            const uint8_t *panel, const uint8_t *tile, uint32_t k,
                            const mm_ahead *ahead, float *z) {
    __m256 acc[2][4];
    z += 8 * first;
    MM_UNROLL for (int i = 0; i < count * n; i++)
        _mm256_storeu_ps(z + 16 * (i % n) + 8 * (i / n), _mm256_setzero_ps());
    for (uint32_t at = 0; at < k; at += MM_BLOCK_CHUNK) {
        const uint32_t length = HY_MIN(k - at, MM_BLOCK_CHUNK);
        MM_FORGET();
        MM_UNROLL for (int i = 0; i < count * n; i++) acc[i / n][i % n] = _mm256_setzero_ps();
        panel = chunk_blocks(f, n, first, count, panel, tile, length / (32u * (uint32_t)f.subs),
                             ahead, acc);
        tile += (uint64_t)n * mm_column_bytes(f.dtype, length);
        MM_UNROLL for (int i = 0; i < count * n; i++) {
            float *out = z + 16 * (i % n) + 8 * (i / n);
            _mm256_storeu_ps(out, _mm256_add_ps(_mm256_loadu_ps(out), acc[i / n][i % n]));
        }
    }
}

/* Block formats: an mm_micro once f and n are constants. */
CPU_INLINE void mm_blocks(mm_format f, const int n, const uint8_t *panel, const uint8_t *tile,
                          uint32_t k, const mm_ahead *ahead, float *z) {
    if (n <= 2) {
        half_panels(f, n, 0, 2, panel, tile, k, ahead, z);
    } else {
        half_panels(f, n, 0, 1, panel, tile, k, ahead, z);
        half_panels(f, n, 1, 1, panel, tile, k, ahead, z);
    }
}

/* ---- many tiles: chunks unpacked before ---- */

/* mm_kernels.unpack once f is a constant. */
CPU_INLINE void mm_unpack(mm_format f, const uint8_t *panel, uint32_t k, mm_unpacked *out) {
    uint8_t *w = out->w;
    for (uint32_t s = 0; s < k / 32; s += (uint32_t)f.subs) {
        const uint8_t *sub = panel + f.header;
        chunk_scales(f, panel, s, true, &out->scales);
        for (int i = 0; i < f.subs; i++, sub += f.sub) {
            MM_UNROLL for (int g = 0; g < 16; g++, w += 32)
                _mm256_store_si256((__m256i *)(void *)w, group(f, sub, g / 2, g % 2));
        }
        panel = sub;
    }
}

/* An mm_wide once f and n are constants. */
CPU_INLINE void mm_wide_blocks(mm_format f, const int n, const mm_unpacked *u, const uint8_t *tile,
                               uint32_t k, const mm_next *next, float *z) {
    const uint64_t step = (uint64_t)n * mm_column_bytes(f.dtype, 32);
    for (int high = 0; high < 2; high++, z += 8) {
        const uint8_t *x = tile;
        __m256 acc[4];
        MM_UNROLL for (int c = 0; c < n; c++) acc[c] = _mm256_setzero_ps();
        for (uint32_t s = 0; s < k / 32; s++, x += step) {
            MM_FORGET();
            if (!high) mm_ask_next(next, 0, s);
            if (!high && s < (uint32_t)n) mm_ask_outputs(next, s);
            sub_block(f, n, u->w + 512 * s, x, high, &u->scales, (int)s, acc);
        }
        MM_UNROLL for (int c = 0; c < n; c++)
            _mm256_storeu_ps(z + 16 * c, _mm256_add_ps(_mm256_loadu_ps(z + 16 * c), acc[c]));
    }
}

#define MM_WIDE 1
enum { MM_NARROW = 4 }; /* columns of a tile that unpacks as it goes */
#define MM_EACH_NARROW MM_EACH_WIDTH
#define MM_WIDE_FORMATS MM_BLOCK_FORMATS
#define MM_WIDE_FUNCTIONS(DTYPE, name, header, sub, subs, split, minima)                           \
    MM_WIDE_FUNCTION(DTYPE, name, split, minima, 4)
#define MM_WIDE_ENTRIES(name)                                                                      \
    { NULL, NULL, wide_##name##_4 }

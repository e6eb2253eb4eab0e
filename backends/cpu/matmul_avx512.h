/* backends/cpu/matmul_avx512.h: panels times tiles with AVX-512 VNNI; included by matmul_kernel.c alone.
 *
 * One register holds 16 rows x 4 k of unsigned weights; vpdpbusd multiplies them with four int8 of one
 * column, broadcast from the tile. A tile of up to 8 columns unpacks as it goes; for more a chunk of
 * the panel is unpacked once, to the first-level cache, and multiplied with one tile after the other. 12
 * columns of a tile, or 6 and two panels, need 12 sums, 12 float accumulators and four others of the 32
 * registers; with two panels a broadcast is one load for two products. Weights
 * that are signed bytes by nature are stored 128 higher in the register; the tile's aux takes that back.
 * q2_k and q3_k chunks are multiplied with their integer scales while they are unpacked: that fits a
 * byte, and so they have one sum per 32 k like the others. */

/* How far signed byte weights are raised, and the products of q3_k weights and scales, -124 to 128. */
enum { MM_BYTE_OFFSET = 128, MM_Q3_OFFSET = 127 };
#define MM_WIDTH_LIST 1, 2, 4, 8, 12
#define MM_EACH_NARROW(F, ...)                                                                     \
    F(__VA_ARGS__, 1) F(__VA_ARGS__, 2) F(__VA_ARGS__, 4) F(__VA_ARGS__, 8)
#define MM_EACH_WIDTH(F, ...) MM_EACH_NARROW(F, __VA_ARGS__) F(__VA_ARGS__, 12)
enum { MM_NARROW = 8 }; /* columns that unpack as they go */
#define MM_UNROLL _Pragma("GCC unroll 24")
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

/* Those fields alone, at bit 0: by a shift and a mask, or by gf2p8affineqb, which makes any bit of a byte of any
 * others: bit i of the result is those of byte 7 - i of the matrix. */
CPU_INLINE __m512i low_pairs(mm_format f, const uint8_t *pairs, int g) {
    if (!f.gfni || g % 4 == 0) return _mm512_and_si512(pair_at(pairs, g, 0), _mm512_set1_epi8(3));
    __m512i v = load_64(pairs + g / 4 * 64);
    __asm__("vgf2p8affineqb $0, %1, %0, %0"
            : "+v"(v)
            : "v"(_mm512_set1_epi64((long long)(0x0102000000000000ull << g % 4 * 2))));
    return v;
}

/* v + more where the bits plane has 1 for group g. */
CPU_INLINE __m512i add_where(__m512i v, const uint8_t *bits, int g, __m512i more) {
    uint64_t word;
    memcpy(&word, bits + 8 * g, sizeof word);
    return _mm512_mask_add_epi8(v, _cvtu64_mask64(word), v, more);
}

/* Weights of group g (k 4g .. 4g + 3 of 32) of a sub-block, unsigned. */
CPU_INLINE __m512i group(mm_format f, const uint8_t *sub, int g) {
    if (f.dtype == HY_DTYPE_Q8_0)
        return _mm512_xor_si512(load_64(sub + 64 * g), _mm512_set1_epi8((char)0x80));
    if (f.dtype == HY_DTYPE_Q2_K) return low_pairs(f, sub, g);
    if (f.dtype == HY_DTYPE_Q3_K)
        return add_where(low_pairs(f, sub, g), sub + 128, g, _mm512_set1_epi8(4));
    const __m512i both = load_64(sub + g % 4 * 64);
    const __m512i nibble =
        _mm512_and_si512(g < 4 ? both : _mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
    switch (f.dtype) {
    case HY_DTYPE_Q5_0:
    case HY_DTYPE_Q5_1:
    case HY_DTYPE_Q5_K:
        return add_where(nibble, sub + 256, g, _mm512_set1_epi8(16));
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

/* Four bytes, or a float, to all lanes. */
CPU_INLINE __m512i broadcast(const uint8_t *p) {
    return _mm512_set1_epi32((int32_t)load_u32(p));
}

/* sum + w times four int8, to all lanes. Written out, for compilers load and multiply by two instructions. */
CPU_INLINE __m512i dot_four(__m512i sum, __m512i w, const uint8_t *x) {
    typedef uint32_t __attribute__((may_alias, aligned(1))) four;
    __asm__("vpdpbusd %2%{1to16%}, %1, %0"
            : "+v"(sum)
            : "v"(w), "m"(*(const four *)(const void *)x));
    return sum;
}

/* What takes MM_SUM_BEGIN back from its product with 16 rows' scales. */
CPU_INLINE __m512 below(__m512 a) {
    return _mm512_mul_ps(a, _mm512_set1_ps(-MM_SUM_FLOAT));
}

/* a * isum; sum: isum + MM_SUM_BEGIN, down: below(a). */
CPU_INLINE __m512 scaled(__m512i sum, __m512 a, __m512 down) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(sum), a, down);
}

/* acc += dot * a * scale, + b * aux for each of the `minima` (0, 1, 2) terms; dot and acc are [panel][count],
 * a: with below(a); scale: where the tile's are, of the first of these columns of n. */
CPU_INLINE void add_sums(const int minima, const int panels, const int n, const int count,
                         const uint8_t *scale, __m512 (*a)[2], __m512 (*b)[2], const __m512i *dot,
                         __m512 *acc) {
    MM_UNROLL for (int c = 0; c < count; c++, scale += 4) {
        const __m512 xs = _mm512_castsi512_ps(broadcast(scale));
        MM_UNROLL for (int p = c; p < panels * count; p += count) acc[p] =
            _mm512_fmadd_ps(scaled(dot[p], a[p / count][0], a[p / count][1]), xs, acc[p]);
        MM_UNROLL for (int h = 0; h < minima; h++) {
            const __m512 term = _mm512_castsi512_ps(broadcast(scale + 4 * n * (h + 1)));
            MM_UNROLL for (int p = c; p < panels * count; p += count) acc[p] =
                _mm512_fmadd_ps(b[p / count][h], term, acc[p]);
        }
    }
}

/* The same of q6_k: two sums of 16 k each, the second begun with 0, and their a, the first with below(a). */
CPU_INLINE void add_halves(const int panels, const int count, const uint8_t *scale, __m512 (*a)[3],
                           const __m512i *low, const __m512i *high, __m512 *acc) {
    MM_UNROLL for (int c = 0; c < count; c++) {
        const __m512 xs = _mm512_castsi512_ps(broadcast(scale + 4 * c));
        MM_UNROLL for (int p = c; p < panels * count; p += count) {
            __m512 t = scaled(low[p], a[p / count][0], a[p / count][1]);
            t = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high[p]), a[p / count][2], t);
            acc[p] = _mm512_fmadd_ps(t, xs, acc[p]);
        }
    }
}

/* ---- few columns: unpacked on the way ---- */

/* Sums over 32 k; low and high nibbles of one load follow each other. */
CPU_INLINE void packed_dots(mm_format f, const int n, const uint8_t *sub, const uint8_t *x,
                            __m512i *dot) {
    MM_UNROLL for (int i = 0; i < 8; i++) {
        const int at = f.dtype == HY_DTYPE_Q8_0 ? i : i / 2 + i % 2 * 4;
        const __m512i w = group(f, sub, at);
        MM_UNROLL for (int c = 0; c < n; c++) dot[c] = dot_four(dot[c], w, x + c * 32 + 4 * at);
    }
}

/* One sub-block of a format without scales of 16 k. */
CPU_INLINE void sub_block(mm_format f, const int n, const uint8_t *sub, const uint8_t *x, __m512 a,
                          __m512 b, __m512 *acc) {
    __m512 minimum[1][2] = {{b, b}}, as[1][2] = {{a, below(a)}};
    __m512i dot[MM_NARROW];
    MM_UNROLL for (int c = 0; c < n; c++) dot[c] =
        f.minima ? _mm512_set1_epi32(MM_SUM_BEGIN) : broadcast(x + n * 36 + 4 * c);
    packed_dots(f, n, sub, x, dot);
    add_sums(f.minima, 1, n, n, x + n * 32, as, minimum, dot, acc);
}

/* 16 rows' bytes as int32. */
CPU_INLINE __m512i bytes_16(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* q3_k: scales 4 q .. 4 q + 3 of 16 rows as bytes, 32 higher. */
CPU_INLINE __m512i scale_words(const uint8_t *header, int q) {
    const __m512i low = _mm512_srli_epi32(load_64(header + 32 + q % 2 * 64), (unsigned)q / 2 * 4);
    const __m512i top = _mm512_srli_epi32(load_64(header + 160), 2 * (unsigned)q);
    return _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi8(15)),
                           _mm512_slli_epi32(_mm512_and_si512(top, _mm512_set1_epi8(3)), 4));
}

/* What sums of half `half` of 32 k begin with; aux: the column's first field. */
CPU_INLINE __m512i half_begin(mm_format f, const int n, const uint8_t *aux, int half) {
    if (f.dtype == HY_DTYPE_Q6_K) return broadcast(aux + 4 * n * half);
    if (f.dtype != HY_DTYPE_Q3_K) return _mm512_setzero_si512();
    int16_t offset;
    memcpy(&offset, aux + 4 * n + 2 * half, sizeof offset);
    return _mm512_set1_epi32(offset);
}

/* q2_k, q6_k: scales of one half of sub-block s, as int32. */
CPU_INLINE __m512i half_scales(mm_format f, const uint8_t *panel, int s, int half) {
    const uint8_t *scales = panel + (f.minima ? 64 : 32) + 16 * (2 * s + half);
    if (f.dtype == HY_DTYPE_Q6_K)
        return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)scales));
    return _mm512_and_si512(bytes_16(scales), _mm512_set1_epi32(15));
}

/* q3_k: scales of both halves of sub-block s, as two int16 for each row. */
CPU_INLINE __m512i scale_pairs(__m512i words, int s) {
    const __m512i bytes = _mm512_broadcast_i32x4(
        s % 2 ? _mm_setr_epi8(2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1)
              : _mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1));
    return _mm512_sub_epi16(_mm512_shuffle_epi8(words, bytes), _mm512_set1_epi16(32));
}

/* q2_k: the two b of sub-block s, -(dmin mn) each; without conversions, see MM_SUM_BEGIN. */
CPU_INLINE void half_minima(const uint8_t *panel, __m512 dmin, int s, __m512 *b) {
    const __m512 less = _mm512_mul_ps(dmin, _mm512_set1_ps(-0.0625f));
    const __m512 more = _mm512_mul_ps(dmin, _mm512_set1_ps(0.0625f * MM_SUM_FLOAT));
    MM_UNROLL for (int h = 0; h < 2; h++) { /* 16 mn + 1.5 * 2^23 */
        const __m512i mn = _mm512_ternarylogic_epi32(
            bytes_16(panel + 64 + 16 * (2 * s + h)), _mm512_set1_epi32(0xf0),
            _mm512_set1_epi32(MM_SUM_BEGIN), 0xea); /* (byte & 0xf0) | begin */
        b[h] = _mm512_fmadd_ps(_mm512_castsi512_ps(mn), less, more);
    }
}

/* q2_k and q3_k: what becomes of the values of 16 k each. low: byte 4 * (row % 4) + v of a row's 128 bits is the
 * 2-bit value v times the scale, q3_k + offset; high, q3_k: what the third bit adds. */
typedef struct mm_products {
    __m512i low[2], high[2];
} mm_products;

/* Where in 128 bits the row's four bytes begin. */
CPU_INLINE __m512i first_of_rows(void) {
    return _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
}

CPU_INLINE void products_of(mm_format f, const uint8_t *panel, __m512i words, int s,
                            mm_products *out) {
    MM_UNROLL for (int h = 0; h < 2; h++) {
        if (f.dtype == HY_DTYPE_Q2_K) {
            out->low[h] =
                _mm512_mullo_epi32(half_scales(f, panel, s, h), _mm512_set1_epi32(0x03020100));
            continue;
        }
        /* bytes (v - 4) (byte of words - 32) + offset, modulo 256 */
        const __m512i byte = _mm512_set1_epi8((char)(s % 2 * 2 + h));
        const __m512i all = _mm512_shuffle_epi8(words, _mm512_or_si512(first_of_rows(), byte));
        const __m512i one = _mm512_sub_epi8(_mm512_set1_epi8(32), all);
        const __m512i two = _mm512_add_epi8(one, one), four = _mm512_add_epi8(two, two);
        __m512i low = _mm512_mask_mov_epi8(four, 0x8888888888888888u, one);
        low = _mm512_mask_mov_epi8(low, 0x4444444444444444u, two);
        low = _mm512_mask_add_epi8(low, 0x2222222222222222u, one, two);
        out->low[h] = _mm512_add_epi8(low, _mm512_set1_epi8(MM_Q3_OFFSET));
        out->high[h] = _mm512_sub_epi8(_mm512_setzero_si512(), four);
    }
}

/* group(), multiplied with the scales of q2_k and q3_k. */
CPU_INLINE __m512i scaled_group(mm_format f, const uint8_t *sub, int g, const mm_products *p) {
    const __m512i index = _mm512_ternarylogic_epi32(pair_at(sub, g, 0), _mm512_set1_epi8(3),
                                                    first_of_rows(), 0xea); /* (pair & 3) | row */
    const __m512i v = _mm512_shuffle_epi8(p->low[g / 4], index);
    return f.dtype == HY_DTYPE_Q3_K ? add_where(v, sub + 128, g, p->high[g / 4]) : v;
}

/* Sums of the two halves of 32 k, side by side: latency is what few columns wait for. */
CPU_INLINE void half_dots(mm_format f, const int n, const uint8_t *sub, const uint8_t *x,
                          __m512i (*dot)[MM_NARROW]) {
    const uint8_t *aux = x + n * 36;
    MM_UNROLL for (int h = 0; h < 2; h++) {
        MM_UNROLL for (int c = 0; c < n; c++) dot[h][c] = half_begin(f, n, aux + 4 * c, h);
    }
    MM_UNROLL for (int i = 0; i < 8; i++) {
        const int h = i % 2, at = i / 2 + 4 * h;
        const __m512i w = group(f, sub, at);
        MM_UNROLL for (int c = 0; c < n; c++) dot[h][c] =
            dot_four(dot[h][c], w, x + c * 32 + 4 * at);
    }
}

/* MM_SUM_BEGIN + both sums times their scales. q2_k's scales are int32 as they come, and 0 times what is above
 * a sum's 16 bits is 0; q3_k's come in pairs. */
CPU_INLINE __m512i two_scaled(__m512i first, __m512i second, __m512i scale0, __m512i scale1) {
    const __m512i begin = _mm512_set1_epi32(MM_SUM_BEGIN);
    return _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(begin, first, scale0), second, scale1);
}
CPU_INLINE __m512i pair_scaled(__m512i first, __m512i second, __m512i scales) {
    return _mm512_dpwssd_epi32(
        _mm512_set1_epi32(MM_SUM_BEGIN),
        _mm512_mask_blend_epi16(0xaaaaaaaau, first, _mm512_slli_epi32(second, 16)), scales);
}

/* q2_k, q3_k: isum + MM_SUM_BEGIN of 32 k. Few columns multiply sums with scales, many have weights multiplied. */
CPU_INLINE void scaled_dots(mm_format f, const int n, const uint8_t *panel, const uint8_t *sub,
                            const uint8_t *x, __m512i words, int s, __m512i *isum) {
    if (n < MM_NARROW) {
        __m512i dot[2][MM_NARROW]; /* 16 bits hold them */
        half_dots(f, n, sub, x, dot);
        MM_UNROLL for (int c = 0; c < n; c++) isum[c] =
            f.dtype == HY_DTYPE_Q2_K ? two_scaled(dot[0][c], dot[1][c], half_scales(f, panel, s, 0),
                                                  half_scales(f, panel, s, 1))
                                     : pair_scaled(dot[0][c], dot[1][c], scale_pairs(words, s));
        return;
    }
    mm_products products;
    products_of(f, panel, words, s, &products);
    MM_UNROLL for (int c = 0; c < n; c++) isum[c] =
        f.minima ? _mm512_set1_epi32(MM_SUM_BEGIN) : broadcast(x + n * 36 + 4 * c);
    MM_UNROLL for (int g = 0; g < 8; g++) {
        const __m512i w = scaled_group(f, sub, g, &products);
        MM_UNROLL for (int c = 0; c < n; c++) isum[c] = dot_four(isum[c], w, x + c * 32 + 4 * g);
    }
}

/* q6_k: 32 k to acc. */
CPU_INLINE void halves_block(mm_format f, const int n, const uint8_t *panel, const uint8_t *sub,
                             const uint8_t *x, __m512 d, int s, __m512 *acc) {
    __m512i dot[2][MM_NARROW];
    __m512 a[1][3];
    half_dots(f, n, sub, x, dot);
    MM_UNROLL for (int h = 0; h < 2; h++) a[0][2 * h] =
        _mm512_mul_ps(d, _mm512_cvtepi32_ps(half_scales(f, panel, s, h)));
    a[0][1] = below(a[0][0]);
    add_halves(1, n, x + n * 32, a, dot[0], dot[1], acc);
}

/* One panel block (256 k) of a format with scales of 16 k. */
CPU_INLINE void split_block(mm_format f, const int n, const uint8_t *panel, const uint8_t *x,
                            const mm_ahead *ahead, __m512 *acc) {
    const __m512 d = v16_load_f16((const uint16_t *)(const void *)panel);
    __m512 a[1][2] = {{d, below(d)}};
    const __m512 dmin = f.minima ? v16_load_f16((const uint16_t *)(const void *)(panel + 32)) : d;
    const uint64_t step = (uint64_t)n * mm_column_bytes(f.dtype, 32);
    const uint8_t *sub = panel + f.header;
    __m512i words = _mm512_setzero_si512();
    MM_UNROLL for (int s = 0; s < 8; s++, x += step, sub += f.sub) {
        MM_FORGET();
        ask_for_part(f, ahead, panel, s);
        if (f.dtype == HY_DTYPE_Q6_K) {
            halves_block(f, n, panel, sub, x, d, s, acc);
            continue;
        }
        if (f.dtype == HY_DTYPE_Q3_K && s % 2 == 0) words = scale_words(panel, s / 2);
        __m512i isum[MM_NARROW];
        __m512 b[1][2];
        scaled_dots(f, n, panel, sub, x, words, s, isum);
        if (f.minima) half_minima(panel, dmin, s, b[0]);
        add_sums(f.minima ? 2 : 0, 1, n, n, x + n * 32, a, b, isum, acc);
    }
}

/* One chunk: `blocks` panel blocks. Returns the panel behind them. */
CPU_INLINE const uint8_t *chunk_blocks(mm_format f, const int n, const uint8_t *panel,
                                       const uint8_t *tile, uint32_t blocks, const mm_ahead *ahead,
                                       __m512 *acc) {
    const uint64_t step = (uint64_t)n * mm_column_bytes(f.dtype, 32);
    for (; blocks; blocks--, panel += f.header + f.subs * f.sub, tile += (uint64_t)f.subs * step) {
        const uint8_t *sub = panel + f.header;
        if (f.split) {
            MM_FORGET();
            split_block(f, n, panel, tile, ahead, acc);
            continue;
        }
        if (f.subs == 1) {
            const __m512 a = single_scale(f, panel);
            ask_for(f, ahead, panel, f.header + f.sub);
            sub_block(f, n, sub, tile, a, f.minima ? single_scale(f, panel + 32) : a, acc);
            continue;
        }
        mm_scales scales;
        ask_for(f, ahead, panel, f.header);
        block_scales(f, panel, false, &scales);
        for (int s = 0; s < f.subs; s++) {
            MM_FORGET();
            ask_for(f, ahead, sub + s * f.sub, f.sub);
            sub_block(f, n, sub + s * f.sub, tile + (uint64_t)s * step, _mm512_load_ps(scales.a[s]),
                      f.minima ? _mm512_load_ps(scales.b[s]) : _mm512_setzero_ps(), acc);
        }
    }
    return panel;
}

/* Block formats: an mm_micro once f and n are constants. */
CPU_INLINE void mm_blocks(mm_format f, const int n, const uint8_t *panel, const uint8_t *tile,
                          uint32_t k, const mm_ahead *ahead, float *z) {
    __m512 acc[MM_NARROW];
    MM_UNROLL for (int c = 0; c < n; c++) _mm512_storeu_ps(z + 16 * c, _mm512_setzero_ps());
    for (uint32_t at = 0; at < k; at += MM_BLOCK_CHUNK) {
        const uint32_t length = HY_MIN(k - at, MM_BLOCK_CHUNK);
        MM_FORGET();
        MM_UNROLL for (int c = 0; c < n; c++) acc[c] = _mm512_setzero_ps();
        panel = chunk_blocks(f, n, panel, tile, length / (32u * (uint32_t)f.subs), ahead, acc);
        tile += (uint64_t)n * mm_column_bytes(f.dtype, length);
        MM_UNROLL for (int c = 0; c < n; c++)
            _mm512_storeu_ps(z + 16 * c, _mm512_add_ps(_mm512_loadu_ps(z + 16 * c), acc[c]));
    }
}

/* ---- many: chunks unpacked before ---- */

/* mm_kernels.unpack once f is a constant. */
CPU_INLINE void mm_unpack(mm_format f, const uint8_t *panel, uint32_t k, mm_unpacked *out) {
    const bool scaled = f.split && f.dtype != HY_DTYPE_Q6_K;
    const __m512i none = _mm512_setzero_si512();
    uint8_t *w = out->w;
    for (uint32_t s = 0; s < k / 32; s += (uint32_t)f.subs) {
        const uint8_t *sub = panel + f.header;
        chunk_scales(f, panel, s, false, &out->scales);
        for (int i = 0; i < f.subs; i++, sub += f.sub) {
            const uint32_t at = s + (uint32_t)i;
            const __m512 a = _mm512_load_ps(out->scales.a[f.dtype == HY_DTYPE_Q6_K ? 2 * at : at]);
            _mm512_store_ps(out->scales.down[at], below(a));
            mm_products products;
            if (scaled)
                products_of(f, panel, f.minima ? none : scale_words(panel, i / 2), i, &products);
            MM_UNROLL for (int g = 0; g < 8; g++, w += 64) _mm512_store_si512(
                (void *)w, scaled ? scaled_group(f, sub, g, &products) : group(f, sub, g));
        }
        panel = sub;
    }
}

/* Some columns of a tile of n, and one or two chunks: sums are [panel][column]. */
typedef struct wide_part {
    int n, panels, first, count;
} wide_part;

/* dot: begins with a field of the tile, or MM_SUM_BEGIN; then the sums over groups
 * [g, g_end) of sub-block s of the chunks at u. */
CPU_INLINE void wide_dots(const wide_part p, const mm_unpacked *u, uint32_t s, const uint8_t *x,
                          const uint8_t *offset, int g, int g_end, __m512i *dot) {
    MM_UNROLL for (int i = 0; i < p.panels * p.count; i++) dot[i] =
        offset ? broadcast(offset + 4 * (p.first + i % p.count)) : _mm512_set1_epi32(MM_SUM_BEGIN);
    MM_UNROLL for (int i = g; i < g_end; i++) {
        __m512i w[2];
        MM_UNROLL for (int q = 0; q < p.panels; q++) w[q] =
            _mm512_load_si512((const void *)(u[q].w + 512 * s + 64 * i));
        MM_UNROLL for (int c = 0; c < p.count; c++) {
            const __m512i four = broadcast(x + (p.first + c) * 32 + 4 * i);
            MM_UNROLL for (int q = 0; q < p.panels; q++) dot[q * p.count + c] =
                _mm512_dpbusd_epi32(dot[q * p.count + c], w[q], four);
        }
    }
}

/* 32 k: acc += what sub-block s of the chunks makes of x. */
CPU_INLINE void wide_block(mm_format f, const wide_part p, const mm_unpacked *u, uint32_t s,
                           const uint8_t *x, __m512 *acc) {
    const uint8_t *scale = x + p.n * 32 + 4 * p.first, *aux = x + p.n * 36;
    __m512i dot[MM_MAX_WIDTH], high[MM_MAX_WIDTH];
    __m512 a[2][2], b[2][2], halves[2][3];
    if (f.dtype == HY_DTYPE_Q6_K) {
        wide_dots(p, u, s, x, aux, 0, 4, dot);
        wide_dots(p, u, s, x, aux + 4 * p.n, 4, 8, high);
        MM_UNROLL for (int q = 0; q < p.panels; q++) {
            halves[q][0] = _mm512_load_ps(u[q].scales.a[2 * s]);
            halves[q][1] = _mm512_load_ps(u[q].scales.down[s]);
            halves[q][2] = _mm512_load_ps(u[q].scales.a[2 * s + 1]);
        }
        add_halves(p.panels, p.count, scale, halves, dot, high, acc);
        return;
    }
    const int minima = f.minima ? 1 + f.split : 0; /* of 32 k */
    wide_dots(p, u, s, x, minima ? NULL : aux, 0, 8, dot);
    MM_UNROLL for (int q = 0; q < p.panels; q++) {
        a[q][0] = _mm512_load_ps(u[q].scales.a[s]);
        a[q][1] = _mm512_load_ps(u[q].scales.down[s]);
        MM_UNROLL for (int h = 0; h < minima; h++) b[q][h] =
            _mm512_load_ps(u[q].scales.b[(uint32_t)minima * s + (uint32_t)h]);
    }
    add_sums(minima, p.panels, p.n, p.count, scale, a, b, dot, acc);
}

/* All k of a chunk; on the way its share of what is needed next is asked for. */
CPU_INLINE void wide_blocks(mm_format f, const wide_part p, const mm_unpacked *u,
                            const uint8_t *tile, uint32_t k, const mm_next *next, float *z,
                            uint64_t z_step) {
    const uint32_t passes = (uint32_t)(p.n / p.count), pass = (uint32_t)(p.first / p.count);
    mm_next own = *next;
    own.bytes = (next->bytes + passes - 1) / passes;
    for (int q = 0; q < p.panels; q++)
        own.panel[q] = next->panel[q] + pass * (k / 32) * own.bytes;
    __m512 acc[MM_MAX_WIDTH];
    MM_UNROLL for (int i = 0; i < p.panels * p.count; i++) acc[i] = _mm512_setzero_ps();
    for (uint32_t s = 0; s < k / 32; s++, tile += p.n * (int)mm_column_bytes(f.dtype, 32)) {
        MM_FORGET();
        for (int q = 0; q < p.panels; q++)
            mm_ask_next(&own, q, s);
        if (s < (uint32_t)p.count) mm_ask_outputs(next, (uint32_t)p.first + s);
        wide_block(f, p, u, s, tile, acc);
    }
    z += 16 * p.first;
    MM_UNROLL for (int i = 0; i < p.panels * p.count; i++) {
        float *to = z + (uint64_t)(i / p.count) * z_step + 16 * (i % p.count);
        _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), acc[i]));
    }
}

/* An mm_wide once f and n are constants; of f what matters are split, minima and whether it is q6_k, whose
 * columns have two sums each. */
CPU_INLINE void mm_wide_blocks(mm_format f, const int n, const mm_unpacked *u, const uint8_t *tile,
                               uint32_t k, const mm_next *next, float *z) {
    const int count = f.dtype == HY_DTYPE_Q6_K ? n / 2 : n;
    MM_UNROLL for (int first = 0; first < n; first += count)
        wide_blocks(f, (wide_part){n, 1, first, count}, u, tile, k, next, z, 0);
}

/* An mm_wide_pair, the same way. */
CPU_INLINE void mm_wide_pair_blocks(mm_format f, const int n, const mm_unpacked *u,
                                    const uint8_t *tile, uint32_t k, const mm_next *next, float *z,
                                    uint64_t z_step) {
    const int count = f.dtype == HY_DTYPE_Q6_K ? n / 3 : n / 2;
    MM_UNROLL for (int first = 0; first < n; first += count)
        wide_blocks(f, (wide_part){n, 2, first, count}, u, tile, k, next, z, z_step);
}

/* Those whose arithmetic takes about as long as reading them. */
#define MM_GFNI_FORMATS MM_PAIR_FORMATS

#define MM_WIDE 1
#define MM_PAIR 12 /* columns of the tile that has functions for pairs of panels */
/* Formats that are alike once unpacked share functions: X(a format of that sort, its name, split, minima). */
#define MM_WIDE_FORMATS(X)                                                                         \
    X(HY_DTYPE_Q8_0, q8_0, 0, 0)                                                                   \
    X(HY_DTYPE_Q3_K, q3_k, 0, 0)                                                                   \
    X(HY_DTYPE_Q4_K, q4_k, 0, 1)                                                                   \
    X(HY_DTYPE_Q2_K, q2_k, 1, 1)                                                                   \
    X(HY_DTYPE_Q6_K, q6_k, 1, 0)
#define MM_WIDE_FUNCTIONS(DTYPE, name, split, minima)                                              \
    MM_WIDE_FUNCTION(DTYPE, name, split, minima, 8)                                                \
    MM_WIDE_FUNCTION(DTYPE, name, split, minima, 12)                                               \
    MM_WIDE_PAIR_FUNCTION(DTYPE, name, split, minima)
#define MM_LIKE_q8_0 q8_0
#define MM_LIKE_q4_0 q8_0
#define MM_LIKE_q5_0 q8_0
#define MM_LIKE_iq4_nl q8_0
#define MM_LIKE_iq4_xs q8_0
#define MM_LIKE_mxfp4 q8_0
#define MM_LIKE_q3_k q3_k
#define MM_LIKE_q4_1 q4_k
#define MM_LIKE_q5_1 q4_k
#define MM_LIKE_q4_k q4_k
#define MM_LIKE_q5_k q4_k
#define MM_LIKE_q2_k q2_k
#define MM_LIKE_q6_k q6_k
#define MM_WIDE_OF(like)                                                                           \
    { NULL, NULL, NULL, wide_##like##_8, wide_##like##_12 }
#define MM_WIDE_PAIR_OF(like) wide_pair_##like
#define MM_LIKE(X, name) X(name)
#define MM_WIDE_ENTRIES(name) MM_LIKE(MM_WIDE_OF, MM_LIKE_##name)
#define MM_WIDE_PAIR_ENTRY(name) MM_LIKE(MM_WIDE_PAIR_OF, MM_LIKE_##name)

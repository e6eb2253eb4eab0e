/* backends/cpu/attention_dot.h: products of attention_bf16.h by AVX-512's dots of pairs of bf16; included by
 * attention_kernel.c alone. */

enum { BLOCKS = 4 /* of 16 keys or columns that share each load of a pair of a row */ };
_Static_assert(BLOCKS * 16 == ATT_TILE && ATT_ROWS % SHARE == 0, "scores of a tile at once");

/* sum [SHARE][blocks] += pairs [0, pairs) of SHARE rows, row_bytes apart, times those of blocks, block_bytes apart. */
CPU_INLINE void add_dots(const uint32_t blocks, const char *row, uint64_t row_bytes,
                         const char *block, uint64_t block_bytes, uint32_t pairs, v16 *sum) {
    for (uint32_t i = 0; i < pairs; i++, row += 4, block += 64) {
        __m512bh b[BLOCKS];
#pragma GCC unroll 4
        for (uint32_t x = 0; x < blocks; x++)
            b[x] = (__m512bh)_mm512_loadu_si512(block + x * block_bytes);
#pragma GCC unroll 4
        for (uint32_t r = 0; r < SHARE; r++) {
            int32_t pair;
            memcpy(&pair, row + r * row_bytes, sizeof pair);
            const __m512bh a = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
            for (uint32_t x = 0; x < blocks; x++)
                sum[r * blocks + x] = _mm512_dpbf16_ps(sum[r * blocks + x], a, b[x]);
        }
    }
}

static void score_rounded(const state *st, range keys, const wish *next, const char *turned,
                          uint32_t rows) {
    const uint32_t pairs = (uint32_t)hy_align_up(st->shape.d, 32) / 2;
    const uint64_t row_bytes = st->shape.dp * sizeof(float);
    (void)keys; /* those of other blocks mean nothing */
    for (uint32_t r = 0; r < rows; r += SHARE) {
        v16 sum[SHARE * BLOCKS];
        ask_share(next, r, rows, SHARE);
#pragma GCC unroll 16
        for (int i = 0; i < SHARE * BLOCKS; i++)
            sum[i] = v16_zero();
        add_dots(BLOCKS, (const char *)st->q + r * row_bytes, row_bytes, turned,
                 pairs / 16 * (uint64_t)PIECE, pairs, sum);
#pragma GCC unroll 16
        for (int i = 0; i < SHARE * BLOCKS; i++)
            v16_store(st->s + (size_t)r * ATT_TILE + 16 * i, sum[i]);
    }
}

/* Columns [16 i, 16 (i + blocks)) of rows [r, r + SHARE). */
CPU_INLINE void weigh_blocks(const uint32_t blocks, const state *st, uint32_t r, uint32_t i,
                             range keys, const char *values) {
    const uint32_t cp = st->shape.cp;
    const uint64_t row_bytes = ATT_TILE * sizeof(float);
    float *o = st->o + (size_t)r * cp + 16 * i;
    v16 sum[SHARE * BLOCKS];
#pragma GCC unroll 16
    for (uint32_t x = 0; x < SHARE * blocks; x++)
        sum[x] = v16_load(o + x / blocks * cp + x % blocks * 16);
    for (uint32_t j = keys.begin / 32; j * 32 < keys.end; j++)
        add_dots(blocks, (const char *)st->s + r * row_bytes + 64 * j, row_bytes,
                 values + (size_t)(j * (cp / 16) + i) * PIECE, PIECE, 16, sum);
#pragma GCC unroll 16
    for (uint32_t x = 0; x < SHARE * blocks; x++)
        v16_store(o + x / blocks * cp + x % blocks * 16, sum[x]);
}

static void weigh_rounded(const state *st, range keys, const wish *next, const char *values,
                          uint32_t rows) {
    const uint32_t blocks = st->shape.cp / 16;
    for (uint32_t i = 0, count; i < blocks; i += count) { /* these columns stay in the cache */
        count = i + BLOCKS <= blocks ? BLOCKS : 1;
        for (uint32_t r = 0; r < rows; r += SHARE) {
            if (r == 0) ask_share(next, i, blocks, count);
            if (count == BLOCKS)
                weigh_blocks(BLOCKS, st, r, i, keys, values);
            else
                weigh_blocks(1, st, r, i, keys, values);
        }
    }
}

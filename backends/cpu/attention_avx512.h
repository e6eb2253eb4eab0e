/* backends/cpu/attention_avx512.h: scores of many rows with AVX-512; included by attention_kernel.c alone.
 *
 * Keys are turned over once, 16 of them in a vector, so that the partial sums of a dot product lie in registers and
 * their tree is made of plain additions: sums over lanes need no shuffles. */

enum { BLOCKS = 2, BLOCK_KEYS = 16 * BLOCKS }; /* of 16 keys that share each load of a query */

/* Where the BLOCKS begin that have the range's first key. */
static uint32_t first_key(range r) {
    return r.begin & ~(BLOCK_KEYS - 1u);
}

/* Keys [r.begin, r.end) of a tile as float32 [key / 16][width][16]: columns follow each other, a vector has 16
 * keys. What stands for other keys of the BLOCKS means nothing. */
static void turn(const cache_tile *from, range r, uint32_t columns, uint32_t width, float *to) {
    for (uint32_t j = first_key(r); j < hy_align_up(r.end, BLOCK_KEYS); j += 16) {
        for (uint32_t i = 0; i < columns; i += 16) {
            v16 key[16];
#pragma GCC unroll 16
            for (uint32_t x = 0; x < 16; x++) {
                const uint32_t at = HY_MIN(HY_MAX(j + x, r.begin), r.end - 1);
                const float *scales = from->scales ? from->scales + at * from->scale_step : NULL;
                key[x] = load_kv(from->dtype, from->base + at * from->step, scales, i, columns);
            }
            v16_transpose(key);
#pragma GCC unroll 16
            for (int x = 0; x < 16; x++)
                v16_store(to + (size_t)j * width + (i + (uint32_t)x) * 16, key[x]);
        }
    }
}

/* The sums over columns c and c + 8 of every 16, added up: of SHARE rows and the keys of BLOCKS, [row][block]. */
CPU_INLINE void two_columns(const float *k, const float *q, uint32_t dp, uint32_t c, v16 *out) {
    v16 sum[2][SHARE * BLOCKS];
#pragma GCC unroll 16
    for (int x = 0; x < 2 * SHARE * BLOCKS; x++)
        sum[x % 2][x / 2] = v16_zero();
    for (uint32_t i = c; i < dp; i += 16) {
#pragma GCC unroll 2
        for (uint32_t x = 0; x < 2; x++) {
            const uint32_t column = i + 8 * x;
            v16 key[BLOCKS];
#pragma GCC unroll 2
            for (uint32_t b = 0; b < BLOCKS; b++)
                key[b] = v16_load(k + ((size_t)b * dp + column) * 16);
#pragma GCC unroll 8
            for (int y = 0; y < SHARE * BLOCKS; y++)
                sum[x][y] = v16_fma(v16_set(q[(size_t)(y / BLOCKS) * dp + column]), key[y % BLOCKS],
                                    sum[x][y]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < SHARE * BLOCKS; i++)
        out[i] = v16_add(sum[0][i], sum[1][i]);
}

/* The same of columns c, c + 8, c + 4, c + 12; a sum of two is added up as v16_sum would. */
CPU_INLINE void four_columns(const float *k, const float *q, uint32_t dp, uint32_t c, v16 *out) {
    v16 more[SHARE * BLOCKS];
    two_columns(k, q, dp, c, out);
    two_columns(k, q, dp, c + 4, more);
#pragma GCC unroll 8
    for (int i = 0; i < SHARE * BLOCKS; i++)
        out[i] = v16_add(out[i], more[i]);
}

/* Dots of SHARE rows and the keys of BLOCKS -> s, ATT_TILE from row to row. */
CPU_INLINE void dots_of_blocks(const float *k, const float *q, uint32_t dp, float *s) {
    v16 a[SHARE * BLOCKS], b[SHARE * BLOCKS], c[SHARE * BLOCKS];
    four_columns(k, q, dp, 0, a);
    four_columns(k, q, dp, 2, b);
#pragma GCC unroll 8
    for (int i = 0; i < SHARE * BLOCKS; i++)
        a[i] = v16_add(a[i], b[i]);
    four_columns(k, q, dp, 1, b);
    four_columns(k, q, dp, 3, c);
#pragma GCC unroll 8
    for (int i = 0; i < SHARE * BLOCKS; i++)
        v16_store(s + i / BLOCKS * ATT_TILE + i % BLOCKS * 16, v16_add(a[i], v16_add(b[i], c[i])));
}

/* dots() of all rows with turned keys: the same bits. Rows past the last of SHARE are computed too: there is
 * room for ATT_ROWS, a multiple. Values that are needed next are asked for on the way. */
static void dots_turned(const float *k, range keys, const wish *next, const float *q, uint32_t dp,
                        uint32_t rows, float *s) {
    const uint32_t steps = (uint32_t)hy_div_up(rows, SHARE);
    for (uint32_t j = first_key(keys); j < keys.end;
         j += BLOCK_KEYS, k += (size_t)dp * BLOCK_KEYS) {
        for (uint32_t i = 0; i < steps; i++) {
            for (uint32_t x = BLOCK_KEYS * i / steps; x < BLOCK_KEYS * (i + 1) / steps; x++)
                ask(next, j + x, 0, next->step);
            dots_of_blocks(k, q + (size_t)i * SHARE * dp, dp, s + (size_t)i * SHARE * ATT_TILE + j);
        }
    }
}

/* dots() of all rows, through a copy of the keys. */
static void dots_of_many(const cache_tile *k, const wish *next, range keys, const state *st,
                         uint32_t rows) {
    const att_shape *s = &st->shape;
    turn(k, keys, s->d, s->dp, st->tile);
    dots_turned(st->tile + (size_t)first_key(keys) * s->dp, keys, next, st->q, s->dp, rows, st->s);
}

/* backends/cpu/attention_avx512.h: scores of many rows with AVX-512; included by attention_kernel.c alone.
 *
 * Keys are turned over once, 16 of them in a vector, so that the partial sums of a dot product lie in registers and
 * their tree is made of plain additions: sums over lanes need no shuffles. */

/* Keys [r.begin, r.end) of a tile as float32 [key / 16][width][16]: columns follow each other, a vector has 16
 * keys. What stands for other keys of the blocks means nothing. */
static void turn(const cache_tile *from, range r, uint32_t columns, uint32_t width, float *to) {
    for (uint32_t j = r.begin & ~15u; j < r.end; j += 16) {
        for (uint32_t i = 0; i < columns; i += 16) {
            v16 key[16];
#pragma GCC unroll 16
            for (uint32_t x = 0; x < 16; x++) {
                const uint32_t at = HY_MIN(HY_MAX(j + x, r.begin), r.end - 1);
                const uint16_t *scales = from->scales ? from->scales + at * from->scale_step : NULL;
                key[x] = load_kv(from->dtype, from->base + at * from->step, scales, i, columns);
            }
            v16_transpose(key);
#pragma GCC unroll 16
            for (int x = 0; x < 16; x++)
                v16_store(to + (size_t)j * width + (i + (uint32_t)x) * 16, key[x]);
        }
    }
}

/* The sums over columns c, c + 8, c + 4, c + 12 of every 16, added up as v16_sum would: of SHARE rows and 16
 * keys. */
CPU_INLINE void quarter(const float *k, const float *q, uint32_t dp, uint32_t c, v16 *out) {
    v16 sum[4][SHARE];
#pragma GCC unroll 16
    for (int x = 0; x < 4 * SHARE; x++)
        sum[x / SHARE][x % SHARE] = v16_zero();
    for (uint32_t i = c; i < dp; i += 16) {
#pragma GCC unroll 4
        for (int x = 0; x < 4; x++) {
            const uint32_t column = i + (uint32_t)(x % 2 * 8 + x / 2 * 4);
            const v16 key = v16_load(k + (size_t)column * 16);
#pragma GCC unroll 4
            for (int r = 0; r < SHARE; r++)
                sum[x][r] = v16_fma(v16_set(q[(size_t)r * dp + column]), key, sum[x][r]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < SHARE; r++)
        out[r] = v16_add(v16_add(sum[0][r], sum[1][r]), v16_add(sum[2][r], sum[3][r]));
}

/* dots() of all rows with turned keys: the same bits. Rows past the last of SHARE are computed too: there is
 * room for ROWS, a multiple. Values that are needed next are asked for on the way. */
static void dots_turned(const float *k, range keys, const wish *next, const float *q, uint32_t dp,
                        uint32_t rows, float *s) {
    const uint32_t each = (uint32_t)hy_div_up(16, hy_div_up(rows, SHARE)); /* keys to ask for */
    for (uint32_t j = keys.begin & ~15u; j < keys.end; j += 16, k += (size_t)dp * 16) {
        for (uint32_t r = 0; r < rows; r += SHARE) {
            const float *query = q + (size_t)r * dp;
            v16 a[SHARE], b[SHARE], c[SHARE], d[SHARE];
            for (uint32_t x = r / SHARE * each; x < HY_MIN((r / SHARE + 1) * each, 16); x++)
                ask(next, j + x, 0, next->step);
            quarter(k, query, dp, 0, a);
            quarter(k, query, dp, 2, b);
            quarter(k, query, dp, 1, c);
            quarter(k, query, dp, 3, d);
            for (int x = 0; x < SHARE; x++)
                v16_store(s + (size_t)(r + (uint32_t)x) * ATT_TILE + j,
                          v16_add(v16_add(a[x], b[x]), v16_add(c[x], d[x])));
        }
    }
}

/* dots() of all rows, through a copy of the keys. */
static void dots_of_many(const cache_tile *k, const wish *next, range keys, const state *st,
                         uint32_t rows) {
    const att_shape *s = &st->shape;
    turn(k, keys, s->d, s->dp, st->tile);
    dots_turned(st->tile + (size_t)(keys.begin & ~15u) * s->dp, keys, next, st->q, s->dp, rows,
                st->s);
}

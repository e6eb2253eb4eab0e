/* backends/cpu/attention_bf16.h: attention of many rows with queries, keys, values and weights rounded to bf16; included
 * by attention_kernel.c alone, before attention_amx.h or attention_dot.h, which multiply.
 *
 * Sums are float32 and exp has four terms: another class than the rest of attention_kernel.c, for numerics=fast. Scores
 * and what rows have summed stay where they are elsewhere too, between the same steps. */
#define ATT_BF16

enum {
    PIECE = 1024 /* bytes of 16 pairs of 16 keys or columns, a full register of AMX */
};

/* e^x within 4e-6 of it for x <= 0, no less than 2^-126: 2^n times a polynomial of what is left. */
CPU_INLINE v16 weight_exp(v16 x) {
    const v16 t = _mm512_max_ps(_mm512_mul_ps(x, v16_set(1.44269504f)), v16_set(-125.0f));
    const v16 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const v16 f = _mm512_sub_ps(t, n);
    v16 p = _mm512_fmadd_ps(v16_set(9.6181291e-3f), f, v16_set(5.5504109e-2f));
    p = _mm512_fmadd_ps(p, f, v16_set(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, f, v16_set(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, f, v16_set(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* 32 floats of which `left` are there, as bf16. */
CPU_INLINE __m512i bf16_32(const float *p, uint32_t left) {
    return (__m512i)_mm512_cvtne2ps_pbh(left > 16 ? v16_load(p + 16) : v16_zero(), v16_load(p));
}

/* Queries of many rows become bf16 in place, zeros behind the last column; those of few stay float32, rounded. */
static void round_queries(const state *st, const item *it) {
    const uint32_t dp = st->shape.dp;
    const bool direct = is_direct(st->call, it);
    for (uint32_t r = 0; r < rows_of(it); r++) {
        float *row = st->q + (size_t)r * dp;
        for (uint32_t i = 0; i < dp; i += 32) {
            const __m512i pairs = bf16_32(row + i, dp - i);
            if (!direct) {
                _mm512_storeu_si512((char *)row + 2 * i, pairs);
                continue;
            }
            v16_store(row + i, v16_load_bf16((const uint16_t *)&pairs));
            if (dp - i > 16) v16_store(row + i + 16, v16_load_bf16((const uint16_t *)&pairs + 16));
        }
    }
}

/* Columns [i, i + 32) of a key, as bf16 pairs. */
CPU_INLINE v16 key_pairs(uint32_t dtype, const char *row, const float *scales, uint32_t i,
                         uint32_t columns) {
    const v16 low = load_kv(dtype, row, scales, i, columns);
    const v16 high = i + 16 < columns ? load_kv(dtype, row, scales, i + 16, columns) : v16_zero();
    return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* Keys of the range -> [key / 16][column / 32][16 pairs][16 keys][2]. What stands for other keys of the 16 means
 * nothing. */
CPU_INLINE void turn_keys(uint32_t dtype, const cache_tile *from, range r, uint32_t columns,
                          char *to) {
    const uint32_t steps = (uint32_t)hy_div_up(columns, 32);
    for (uint32_t j = r.begin & ~15u; j < r.end; j += 16) {
        const char *row[16];
        const float *scales[16] = {NULL};
        for (uint32_t x = 0; x < 16; x++) {
            const uint32_t at = HY_MIN(HY_MAX(j + x, r.begin), r.end - 1);
            row[x] = from->base + at * from->step;
            if (dtype == HY_DTYPE_Q8_0) scales[x] = from->scales + at * from->scale_step;
        }
        for (uint32_t i = 0; i < steps; i++) {
            v16 key[16];
#pragma GCC unroll 16
            for (uint32_t x = 0; x < 16; x++)
                key[x] = key_pairs(dtype, row[x], scales[x], 32 * i, columns);
            v16_transpose(key);
            char *piece = to + (size_t)(j / 16 * steps + i) * PIECE;
#pragma GCC unroll 16
            for (int x = 0; x < 16; x++)
                v16_store((float *)(void *)(piece + 64 * x), key[x]);
        }
    }
}

/* Asks for keys or values: parts [part, part + count) of `parts`. */
static void ask_share(const wish *next, uint32_t part, uint32_t parts, uint32_t count) {
    if (!next) return;
    for (uint32_t j = ATT_TILE * part / parts;
         j < HY_MIN(ATT_TILE * (part + count) / parts, ATT_TILE); j++)
        ask(next, j, 0, next->step);
}

/* A row of values, or of zeros. */
typedef struct value_row {
    const char *values; /* NULL: zeros */
    const float *scales;
} value_row;

/* Row j; zeros outside the range. */
CPU_INLINE value_row row_of(uint32_t dtype, const cache_tile *from, range r, uint32_t j) {
    if (j < r.begin || j >= r.end) return (value_row){NULL, NULL};
    return (value_row){from->base + j * from->step,
                       dtype == HY_DTYPE_Q8_0 ? from->scales + j * from->scale_step : NULL};
}

/* Its columns [i, i + 16). */
CPU_INLINE v16 row_columns(uint32_t dtype, value_row row, uint32_t i, uint32_t columns) {
    return row.values ? load_kv(dtype, row.values, row.scales, i, columns) : v16_zero();
}

/* Values of the range -> [key / 32][column / 16][16 pairs][16 columns][2]; zeros for keys outside it. */
CPU_INLINE void pair_values(uint32_t dtype, const cache_tile *from, range r, uint32_t columns,
                            uint32_t cp, char *to) {
    static const uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i zip = _mm512_loadu_si512(order);
    for (uint32_t j = r.begin & ~31u; j < hy_align_up(r.end, 32); j += 2) {
        const value_row even = row_of(dtype, from, r, j), odd = row_of(dtype, from, r, j + 1);
        char *piece = to + (size_t)(j / 32) * (cp / 16) * PIECE + j % 32 * 32;
        for (uint32_t i = 0; i < cp; i += 16, piece += PIECE) {
            const v16 low = row_columns(dtype, even, i, columns);
            const v16 high = row_columns(dtype, odd, i, columns);
            const __m512i pair = (__m512i)_mm512_cvtne2ps_pbh(high, low);
            _mm512_storeu_si512(piece, _mm512_permutexvar_epi16(zip, pair));
        }
    }
}

/* Weights of a row become bf16 in place, zeros for keys behind those that it sees; o is brought to its new
 * maximum. */
static void round_weights(range keys, uint32_t end, float factor, float *s, float *o, uint32_t cp) {
    const uint32_t there = keys.begin < keys.end ? (uint32_t)hy_align_up(keys.end, 16) : 0;
    for (uint32_t j = 0; j < end; j += 32) {
        const v16 low = j < there ? v16_load(s + j) : v16_zero();
        const v16 high = j + 16 < there ? v16_load(s + j + 16) : v16_zero();
        _mm512_storeu_si512((char *)s + 2 * j, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    if (!there || factor == 1) return;
    for (uint32_t i = 0; i < cp; i += 16)
        v16_store(o + i, v16_mul(v16_load(o + i), v16_set(factor)));
}

/* Keys of a tile as turn_keys() leaves them -> scores of all rows. Rows up to a multiple of 32 may be computed too: there
 * is room for ATT_ROWS. */
static void score_rounded(const state *st, range keys, const wish *next, const char *turned,
                          uint32_t rows);
/* Values as pair_values() leaves them, weighed, to the sums of all rows. */
static void weigh_rounded(const state *st, range keys, const wish *next, const char *values,
                          uint32_t rows);

/* dots() of all rows. */
static void dots_of_many(const cache_tile *k, const wish *next, range keys, const state *st,
                         uint32_t rows) {
    char *turned = (char *)st->tile;
    EACH_CACHE(k->dtype, turn_keys, k, keys, st->shape.d, turned)
    score_rounded(st, keys, next, turned, rows);
}

/* o[r] = o[r] * factor[r] + sum over the keys of s[r, j] * v[j], for all rows of the item. all: keys that any row
 * sees. */
static void weigh_many(const cache_tile *v, const wish *next, const state *st, const item *it,
                       const range *keys, range all, const float *factor) {
    const att_shape *s = &st->shape;
    const uint32_t rows = rows_of(it);
    char *values = (char *)st->tile;
    EACH_CACHE(v->dtype, pair_values, v, all, s->c, s->cp, values)
    for (uint32_t r = 0; r < rows; r++)
        round_weights(keys[r / it->heads], all.end, factor[r], st->s + (size_t)r * ATT_TILE,
                      st->o + (size_t)r * s->cp, s->cp);
    weigh_rounded(st, all, next, values, rows);
}

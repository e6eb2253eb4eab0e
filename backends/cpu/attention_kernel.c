/* backends/cpu/attention_kernel.c: HY_OP_ATTENTION, compiled once per ISA. See attention.h for the division
 * of work and hal/ops.h for the meaning.
 *
 * Scores and sums are float32. A dot product runs over 16 lanes by column and down one tree; probabilities
 * times values are added key by key. Both orders are the same whether the cache is read directly (few rows)
 * or through a float32 copy of the tile (many). Source: Dao 2023 arXiv:2307.08691; Kwon et al. 2023
 * arXiv:2309.06180. */
#include <math.h>

#include "backends/cpu/attention.h"
#include "backends/cpu/kernel.h"
#include "backends/cpu/take.h"

/* Rows that share each load of a key or value, and vectors of values that two of them weigh at a time: by the
 * registers there are. */
#if defined(__AVX512F__)
enum { SHARE = 4, WIDE = 8 };
#else
enum { SHARE = 1, WIDE = 4 };
#endif
/* Keys scored for all rows before the next: these stay in the first-level cache. */
enum { PART = 16 };

/* The part of a work item that has one sequence: tokens [begin, end), heads [head, head + heads) of kv heads
 * [kv_head, kv_head + kv_heads), of one alone where there are several tokens. Row r is token begin + r / heads,
 * head + r % heads. */
typedef struct item {
    uint32_t begin, end, head, heads, kv_head, kv_heads;
    int32_t sequence;
} item;

static uint32_t rows_of(const item *it) {
    return (it->end - it->begin) * it->heads;
}

/* The part of kv head kv_head + x. */
static item part_of(const item *it, uint32_t x) {
    item part = *it;
    part.heads /= it->kv_heads;
    part.head += x * part.heads;
    part.kv_head += x;
    part.kv_heads = 1;
    return part;
}

typedef struct range {
    uint32_t begin, end;
} range;

/* This worker's memory, [ATT_ROWS, ...] each, and what does not change during the call. */
typedef struct state {
    const cpu_call *call;
    att_shape shape;
    float *q;                     /* [row, dp] */
    float *o, *all;               /* [row, cp]: of the present span; of the spans so far */
    float *s;                     /* [row, ATT_TILE]: scores, then probabilities */
    float *tile;                  /* [ATT_TILE, max(dp, cp)]: keys or values as float32 */
    float *scales;                /* [ATT_TILE, max(dp, cp) / 16]: theirs */
    float *m, *l, *all_m, *all_l; /* [row]: largest score and sum of exponentials */
    float *partials;
} state;

/* Rows that read the cache where it lies; more go through a copy, since each SHARE of them turns what they read
 * into float32 anew. */
static uint32_t direct_rows(const hy_op *op) {
    const bool costly = op->operand[HY_ATTENTION_k_cache].dtype == HY_DTYPE_Q8_0 ||
                        op->operand[HY_ATTENTION_v_cache].dtype == HY_DTYPE_Q8_0;
    return costly ? 2 * SHARE : ATT_GROUP;
}

/* Whether the rows of each kv head do so. */
static bool is_direct(const cpu_call *call, const item *it) {
    return rows_of(it) / it->kv_heads <= direct_rows(&call->op);
}

static state state_of(const cpu_call *call, uint32_t worker, uint32_t workers) {
    state st = {.call = call, .shape = att_shape_of(&call->op, workers)};
    const att_shape *s = &st.shape;
    st.q = (float *)call->workspace + s->scratch * worker;
    st.o = st.q + (size_t)ATT_ROWS * s->dp;
    st.all = st.o + (size_t)ATT_ROWS * s->cp;
    st.s = st.all + (size_t)ATT_ROWS * s->cp;
    st.m = st.s + ATT_ROWS * ATT_TILE;
    st.l = st.m + ATT_ROWS;
    st.all_m = st.l + ATT_ROWS;
    st.all_l = st.all_m + ATT_ROWS;
    st.tile = st.m + (size_t)ATT_ROWS * 16;
    st.scales = st.tile + (size_t)ATT_TILE * HY_MAX(s->dp, s->cp);
    st.partials = (float *)call->workspace + s->scratch * workers;
    return st;
}

/* The same from row r on. */
static state rows_from(const state *st, uint32_t r) {
    state part = *st;
    part.q += (size_t)r * st->shape.dp;
    part.o += (size_t)r * st->shape.cp;
    part.s += (size_t)r * ATT_TILE;
    return part;
}

/* ---- what is visible ----------------------------------------------------------------------------- */

/* Positions that token t sees; empty for one of no sequence. */
static range visible(const cpu_call *call, uint32_t t) {
    const hy_attention_attr *attr = &call->op.attention;
    const hy_tensor *table = &call->op.operand[HY_ATTENTION_table];
    const int32_t sequence = ((const int32_t *)call->p[HY_ATTENTION_row])[t];
    if (sequence < 0 || (uint32_t)sequence >= cpu_rows(call, HY_ATTENTION_table))
        return (range){0, 0};
    const int64_t pos = ((const int32_t *)call->p[HY_ATTENTION_pos])[t];
    int64_t end = ((const int32_t *)call->p[HY_ATTENTION_len])[sequence], begin = 0;
    end = HY_MIN(end, (int64_t)table->dim[1] * call->op.operand[HY_ATTENTION_k_cache].dim[2]);
    if (attr->causal) end = HY_MIN(end, pos + 1);
    if (attr->window > 0) begin = HY_MAX(pos - attr->window + 1, 0);
    if (begin >= end) return (range){0, 0};
    return (range){(uint32_t)begin, (uint32_t)end};
}

static range intersect(range a, range b) {
    const range r = {HY_MAX(a.begin, b.begin), HY_MIN(a.end, b.end)};
    return r.begin < r.end ? r : (range){0, 0};
}

static range hull(range a, range b) {
    if (a.begin >= a.end) return b;
    if (b.begin >= b.end) return a;
    return (range){HY_MIN(a.begin, b.begin), HY_MAX(a.end, b.end)};
}

/* The tile that holds position p: [begin, end). */
static range tile_at(const att_shape *s, uint32_t p) {
    const uint32_t page = p / s->length * s->length, in = (p - page) / ATT_TILE * ATT_TILE;
    return (range){page + in, page + HY_MIN(in + ATT_TILE, s->length)};
}

#include "backends/cpu/attention_cache.h"

/* ---- scores -------------------------------------------------------------------------------------- */

/* Columns [i, min(i + 16, end)) of four keys. */
CPU_INLINE void dot4_columns(uint32_t dtype, int rows, const char *const *row,
                             const float *const *scales, uint32_t i, uint32_t end, const float *q,
                             uint32_t dp, v16 sum[SHARE][4]) {
    v16 key[4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; x++)
        key[x] = load_kv(dtype, row[x], scales[x], i, end);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        const v16 query = v16_load(q + (size_t)r * dp + i);
#pragma GCC unroll 4
        for (int x = 0; x < 4; x++)
            sum[r][x] = v16_fma(query, key[x], sum[r][x]);
    }
}

/* s[r, 0..3] = q[r] . k[j + 0..3] of `rows` rows; keys at and past `end` repeat the last one. */
CPU_INLINE void dot4(uint32_t dtype, int rows, const cache_tile *k, const wish *next, uint32_t j,
                     uint32_t end, uint32_t columns, const float *q, uint32_t dp, float *s) {
    const char *row[4];
    const float *scales[4] = {NULL, NULL, NULL, NULL};
    v16 sum[SHARE][4];
    for (int x = 0; x < 4; x++) {
        const uint32_t key = HY_MIN(j + (uint32_t)x, end - 1);
        row[x] = k->base + key * k->step;
        if (dtype == HY_DTYPE_Q8_0) scales[x] = k->scales + key * k->scale_step;
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int x = 0; x < 4; x++)
            sum[r][x] = v16_zero();
    }
    uint32_t i = 0;
    const uint64_t portion = next ? 4 * next->step * 16 / dp : 0; /* of four keys, for 16 columns */
    for (; i + 16 <= columns; i += 16) {
        if (next) ask(next, j, i / 16 * portion, (i / 16 + 1) * portion);
        dot4_columns(dtype, rows, row, scales, i, i + 16, q, dp, sum);
    }
    if (i < columns) dot4_columns(dtype, rows, row, scales, i, columns, q, dp, sum);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
        v16_sum4(sum[r], s + r * ATT_TILE);
}

CPU_INLINE void dots_rows(uint32_t dtype, int rows, const cache_tile *k, const wish *next,
                          range keys, uint32_t columns, const float *q, uint32_t dp, float *s) {
    for (uint32_t j = keys.begin; j < keys.end; j += 4) {
        if (next)
            dot4(dtype, rows, k, next, j, keys.end, columns, q, dp, s + j);
        else
            dot4(dtype, rows, k, NULL, j, keys.end, columns, q, dp, s + j);
    }
}

CPU_INLINE void dots_of(uint32_t dtype, const cache_tile *k, const wish *next, range keys,
                        uint32_t columns, const float *q, uint32_t dp, uint32_t rows, float *s) {
    uint32_t r = 0;
    for (; r + SHARE <= rows; r += SHARE)
        dots_rows(dtype, SHARE, k, r ? NULL : next, keys, columns, q + (size_t)r * dp, dp,
                  s + (size_t)r * ATT_TILE);
    for (; SHARE > 2 && r + 2 <= rows; r += 2)
        dots_rows(dtype, 2, k, r ? NULL : next, keys, columns, q + (size_t)r * dp, dp,
                  s + (size_t)r * ATT_TILE);
    for (; r < rows; r++)
        dots_rows(dtype, 1, k, r ? NULL : next, keys, columns, q + (size_t)r * dp, dp,
                  s + (size_t)r * ATT_TILE);
}

/* s[row, j] = q[row] . k[j] for the keys of the range; meanwhile those of `next` (or NULL) are asked for. May
 * write up to three scores past it: the range begins at a multiple of 4, so that these are inside the row. */
static void dots(const cache_tile *k, const wish *next, range keys, uint32_t columns,
                 const float *q, uint32_t dp, uint32_t rows, float *s) {
    EACH_CACHE(k->dtype, dots_of, k, next, keys, columns, q, dp, rows, s)
}

/* ---- scores of many rows ---- */

/* dots() in parts, for rows that share the keys' way through the caches. */
static void dots_in_parts(const cache_tile *k, const wish *next, range keys, const state *st,
                          uint32_t rows) {
    for (range part = {keys.begin, 0}; part.begin < keys.end; part.begin = part.end) {
        part.end = HY_MIN(part.begin + PART, keys.end);
        dots(k, next, part, st->shape.d, st->q, st->shape.dp, rows, st->s);
    }
}

/* The same for more rows than share loads: through a copy of the keys. */
#if defined(__AVX512BF16__)
#include "backends/cpu/attention_bf16.h"
#if defined(CPU_TARGET_AMX)
#include "backends/cpu/attention_amx.h"
#else
#include "backends/cpu/attention_dot.h"
#endif
#elif defined(__AVX512F__)
#include "backends/cpu/attention_avx512.h"
#else
static void dots_of_many(const cache_tile *k, const wish *next, range keys, const state *st,
                         uint32_t rows) {
    const att_shape *s = &st->shape;
    const cache_tile copy = k->dtype == HY_DTYPE_F32 ? *k : expand(k, keys, s->d, s->dp, st->tile);
    dots_in_parts(&copy, next, keys, st, rows);
}
#endif

#if !defined(ATT_BF16)
#define weight_exp v16_exp
static void round_queries(const state *st, const item *it) {
    (void)st, (void)it;
}
#endif
#if !defined(CPU_TARGET_AMX) /* no registers to set up */
static void att_enter(void) {}
static void att_leave(void) {}
#endif

/* ---- probabilities ---- */

/* Raw dot products of one row -> scores, those of other keys -infinity; their maximum. `p0` is the position of
 * lane 0. */
static float mask_scores(const state *st, uint32_t head, uint32_t t, range keys, uint32_t p0,
                         float *s) {
    const hy_attention_attr *attr = &st->call->op.attention;
    const uint32_t width = (uint32_t)hy_align_up(keys.end, 16);
    for (uint32_t j = 0; j < width; j += 16)
        v16_store(s + j, v16_mul(v16_load(s + j), v16_set(attr->scale)));
    if (attr->softcap > 0) {
        for (uint32_t j = 0; j < width; j++)
            s[j] = vm_softcap(s[j], attr->softcap);
    }
    const float *slopes = st->call->p[HY_ATTENTION_slopes];
    if (slopes) {
        const int32_t pos = ((const int32_t *)st->call->p[HY_ATTENTION_pos])[t];
        for (uint32_t j = 0; j < width; j++)
            s[j] += slopes[head] * (float)((int32_t)(p0 + j) - pos);
    }
    for (uint32_t j = 0; j < keys.begin; j++)
        s[j] = -INFINITY;
    for (uint32_t j = keys.end; j < width; j++)
        s[j] = -INFINITY;
    v16 largest = v16_load(s);
    for (uint32_t j = 16; j < width; j += 16)
        largest = v16_max(v16_load(s + j), largest);
    return v16_max_lane(largest);
}

/* Scores of one row -> probabilities relative to `next`; returns their sum. */
static float exponentials(range keys, float next, float *s) {
    v16 sum = v16_zero();
    for (uint32_t j = 0; j < keys.end; j += 16) {
        const v16 p = weight_exp(v16_sub(v16_load(s + j), v16_set(next)));
        v16_store(s + j, p);
        sum = v16_add(sum, p);
    }
    return v16_sum(sum);
}

/* Raw dot products of the item's rows -> probabilities relative to each row's new maximum; updates m and l of
 * rows that see a key. factor: for what a row has summed before. */
static void soften(state *st, const item *it, const range *keys, uint32_t p0, float *factor) {
    const uint32_t rows = rows_of(it);
    for (uint32_t first = 0; first < rows; first += 16) { /* 16 factors by one v16_exp */
        const uint32_t count = HY_MIN(rows - first, 16);
        float top[16], next[16];
        for (uint32_t x = 0; x < 16; x++) {
            const uint32_t r = first + HY_MIN(x, count - 1), i = r / it->heads;
            top[x] = -INFINITY;
            if (x < count && keys[i].begin < keys[i].end)
                top[x] = mask_scores(st, it->head + r % it->heads, it->begin + i, keys[i], p0,
                                     st->s + (size_t)r * ATT_TILE);
        }
        const v16 before = v16_load(st->m + first), after = v16_max(v16_load(top), before);
        v16_store(next, after);
        v16_store(factor + first, v16_exp(v16_sub(before, after)));
        for (uint32_t x = 0; x < count; x++) {
            const uint32_t r = first + x, i = r / it->heads;
            if (keys[i].begin >= keys[i].end) continue;
            const float sum = exponentials(keys[i], next[x], st->s + (size_t)r * ATT_TILE);
            st->l[r] = st->l[r] * factor[r] + sum;
            st->m[r] = next[x];
        }
    }
}

/* ---- values -------------------------------------------------------------------------------------- */

/* What all rows of weigh() share. */
typedef struct weighing {
    const cache_tile *v;
    const wish *next; /* or NULL */
    range keys;
    uint32_t columns, cp;
} weighing;

/* o[r] = o[r] * factor[r] + sum over the keys in order of s[r, j] * v[j], for columns
 * [i, i + 16 * width) of `rows` rows. */
CPU_INLINE void weigh_block(uint32_t dtype, int rows, int width, const weighing *w, bool asking,
                            uint32_t i, const float *s, const float *factor, float *o) {
    const uint32_t columns = width > 1 ? i + 16 * (uint32_t)width : w->columns; /* > 1: all there */
    const uint64_t portion = asking ? w->next->step * 16 / w->cp : 0;           /* for 16 columns */
    v16 sum[SHARE][WIDE];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int x = 0; x < width; x++)
            sum[r][x] = v16_mul(v16_load(o + (size_t)r * w->cp + i + 16 * x), v16_set(factor[r]));
    }
    for (uint32_t j = w->keys.begin; j < w->keys.end; j++) {
        if (asking) ask(w->next, j, i / 16 * portion, (i / 16 + (uint32_t)width) * portion);
        const char *row = w->v->base + j * w->v->step;
        const float *scales = dtype == HY_DTYPE_Q8_0 ? w->v->scales + j * w->v->scale_step : NULL;
        v16 value[WIDE];
#pragma GCC unroll 8
        for (int x = 0; x < width; x++)
            value[x] = load_kv(dtype, row, scales, i + 16 * (uint32_t)x, columns);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const v16 p = v16_set(s[r * ATT_TILE + j]);
#pragma GCC unroll 8
            for (int x = 0; x < width; x++)
                sum[r][x] = v16_fma(p, value[x], sum[r][x]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int x = 0; x < width; x++)
            v16_store(o + (size_t)r * w->cp + i + 16 * x, sum[r][x]);
    }
}

/* The same of rows from r on; the first of all do the asking. */
CPU_INLINE void weigh_rows(uint32_t dtype, int rows, int width, const weighing *w, uint32_t i,
                           uint32_t r, const float *s, const float *factor, float *o) {
    s += (size_t)r * ATT_TILE;
    o += (size_t)r * w->cp;
    if (w->next && r == 0)
        weigh_block(dtype, rows, width, w, true, i, s, factor + r, o);
    else
        weigh_block(dtype, rows, width, w, false, i, s, factor + r, o);
}

/* The same for all rows: the values of these columns stay in the first-level cache. */
CPU_INLINE void weigh_columns(uint32_t dtype, int width, const weighing *w, uint32_t i,
                              uint32_t rows, const float *s, const float *factor, float *o) {
    uint32_t r = 0;
    for (; r + SHARE <= rows; r += SHARE)
        weigh_rows(dtype, SHARE, width, w, i, r, s, factor, o);
    for (; SHARE > 2 && r + 2 <= rows; r += 2)
        weigh_rows(dtype, 2, width, w, i, r, s, factor, o);
    for (; r < rows; r++)
        weigh_rows(dtype, 1, width, w, i, r, s, factor, o);
}

CPU_INLINE void weigh_of(uint32_t dtype, const weighing *w, uint32_t rows, const float *s,
                         const float *factor, float *o) {
    uint32_t i = 0;
    for (; WIDE > 4 && rows <= 2 && i + 16 * WIDE <= w->columns; i += 16 * WIDE)
        weigh_columns(dtype, WIDE, w, i, rows, s, factor, o);
    for (; i + 64 <= w->columns; i += 64)
        weigh_columns(dtype, 4, w, i, rows, s, factor, o);
    for (; i < w->columns; i += 16)
        weigh_columns(dtype, 1, w, i, rows, s, factor, o);
}

/* All rows see the same keys. */
static void weigh(const weighing *w, uint32_t rows, const float *s, const float *factor, float *o) {
    EACH_CACHE(w->v->dtype, weigh_of, w, rows, s, factor, o)
}

/* ---- one tile, one span, one item ---------------------------------------------------------------- */

/* Keys of tile [tile.begin, tile.end), relative to it, that row r sees. */
static range keys_of(range seen, range tile) {
    const range r = intersect(seen, tile);
    return r.begin < r.end ? (range){r.begin - tile.begin, r.end - tile.begin} : (range){0, 0};
}

/* Raw scores of one kv head's rows. */
static void score(const state *st, const item *it, const cache_tile *k, const wish *next,
                  range read) {
    const uint32_t rows = rows_of(it);
    if (is_direct(st->call, it))
        dots_in_parts(k, next, read, st, rows);
    else
        dots_of_many(k, next, read, st, rows);
}

/* Adds a tile's values to o of one kv head's rows. keys: those that each token sees; all: that any does. */
static void add_values(const state *st, const item *it, cache_tile v, const wish *next,
                       const range *keys, range all, const float *factor) {
    const att_shape *s = &st->shape;
    const uint32_t tokens = it->end - it->begin;
    const bool direct = is_direct(st->call, it);
    if (!next->base) next = NULL;
#if defined(ATT_BF16)
    if (!direct) {
        weigh_many(&v, next, st, it, keys, all, factor);
        return;
    }
#endif
    if (!direct && v.dtype != HY_DTYPE_F32) v = expand(&v, all, s->c, s->cp, st->tile);
    for (uint32_t i = 0, end; i < tokens; i = end) { /* runs that see the same keys */
        for (end = i + 1;
             end < tokens && keys[end].begin == keys[i].begin && keys[end].end == keys[i].end;)
            end++;
        const size_t r = (size_t)i * it->heads;
        const weighing w = {&v, i == 0 ? next : NULL, keys[i], s->c, s->cp};
        if (keys[i].begin < keys[i].end)
            weigh(&w, (end - i) * it->heads, st->s + r * ATT_TILE, factor + r, st->o + r * s->cp);
    }
}

/* What is read y-th of a tile: keys of its kv heads, which lie one after the other, then their values, then keys of the
 * tile that follows. False if that begins at `end`, or if there is no page. */
static bool open_part(const state *st, const item *it, range tile, uint32_t end, uint32_t y,
                      cache_tile *out) {
    const item part = part_of(it, y % it->kv_heads);
    const bool values = y / it->kv_heads == 1, follows = y >= 2 * it->kv_heads;
    if (follows && tile.end >= end) return false;
    return open_tile(st->call, values ? HY_ATTENTION_v_cache : HY_ATTENTION_k_cache, &part,
                     follows ? tile.end : tile.begin, out);
}

static wish wish_part(const state *st, const item *it, range tile, uint32_t end, uint32_t y) {
    cache_tile part;
    return open_part(st, it, tile, end, y, &part) ? wish_for(&part) : (wish){NULL, 0};
}

/* Adds one tile to the span's m, l, o of every row of the item. Reading goes on to position `end`. */
static void add_tile(state *st, const item *it, const range *seen, range tile, uint32_t end) {
    const uint32_t tokens = it->end - it->begin, parts = it->kv_heads;
    range keys[ATT_ROWS], all = {0, 0};
    float factor[ATT_ROWS];
    cache_tile now;
    for (uint32_t i = 0; i < tokens; i++) {
        keys[i] = keys_of(seen[i], tile);
        all = hull(all, keys[i]);
    }
    if (all.begin >= all.end) return;
    const range read = {all.begin & ~3u, all.end};
    if (!open_part(st, it, tile, end, 0, &now) || !open_part(st, it, tile, end, parts, &now))
        return;
    for (uint32_t y = 0; y < 2 * parts; y++) {
        const item part = part_of(it, y % parts);
        const uint32_t first = y % parts * part.heads;
        const state rows = rows_from(st, first);
        if (y == parts) soften(st, it, keys, tile.begin, factor);
        const wish next = wish_part(st, it, tile, end, y + 1);
        open_part(st, it, tile, end, y, &now);
        scale_tile(&now, read, st->scales);
        if (y < parts)
            score(&rows, &part, &now, &next, read);
        else
            add_values(&rows, &part, now, &next, keys, all, factor + first);
    }
}

/* m, l, o of all rows over positions [span.begin, span.end); reading goes on to position `end`. */
static void run_span(state *st, const item *it, const range *seen, range span, uint32_t end) {
    const att_shape *s = &st->shape;
    const uint32_t rows = rows_of(it);
    range all = {0, 0};
    for (uint32_t i = 0; i < it->end - it->begin; i++)
        all = hull(all, intersect(seen[i], span));
    for (uint32_t r = 0; r < rows; r++) {
        st->m[r] = -INFINITY;
        st->l[r] = 0;
    }
    memset(st->o, 0, (size_t)rows * s->cp * sizeof *st->o);
    for (uint32_t p = all.begin; p < all.end;) {
        const range tile = tile_at(s, p);
        add_tile(st, it, seen, tile, end);
        p = tile.end;
    }
}

/* Adds a span's result to that of the spans before it. */
static void fold(float *all_m, float *all_l, float *all, float m, float l, const float *o,
                 uint32_t cp) {
    if (*all_m == -INFINITY) { /* the first */
        *all_m = m;
        *all_l = l;
        memcpy(all, o, cp * sizeof *o);
        return;
    }
    const float next = m > *all_m ? m : *all_m;
    float old[16], new[16];
    v16_store(old, v16_exp(v16_set(*all_m - next)));
    v16_store(new, v16_exp(v16_set(m - next)));
    *all_l = *all_l * old[0] + l * new[0];
    *all_m = next;
    for (uint32_t i = 0; i < cp; i += 16) {
        const v16 kept = v16_mul(v16_load(all + i), v16_set(old[0]));
        v16_store(all + i, v16_add(kept, v16_mul(v16_load(o + i), v16_set(new[0]))));
    }
}

static void put_out(const cpu_call *call, uint32_t t, uint32_t head, uint32_t c, const float *x) {
    const uint32_t dtype = call->op.operand[HY_ATTENTION_out].dtype;
    char *out = cpu_at(call, HY_ATTENTION_out, t, head);
    if (dtype == HY_DTYPE_A8) {
        cpu_quantize_a8(x, out, c);
        return;
    }
    for (uint32_t i = 0; i < c; i += 16)
        cpu_put(dtype, out, i, c, v16_load(x + i));
}

/* Divides by the sum, the head's sink included, and stores. m of -infinity: nothing was visible. */
static void finish(const state *st, uint32_t t, uint32_t head, float m, float l, float *x) {
    const att_shape *s = &st->shape;
    const float *sinks = st->call->p[HY_ATTENTION_sinks];
    float keep = 1;
    if (m == -INFINITY && l == 0) {
        memset(x, 0, s->cp * sizeof *x);
        l = 1;
    } else if (sinks) {
        const float next = sinks[head] > m ? sinks[head] : m;
        float old[16], sink[16];
        v16_store(old, v16_exp(v16_set(m - next)));
        v16_store(sink, v16_exp(v16_set(sinks[head] - next)));
        keep = old[0];
        l = l * keep + sink[0];
    }
    const v16 factor = v16_set(keep / l);
    for (uint32_t i = 0; i < s->cp; i += 16)
        v16_store(x + i, v16_mul(v16_load(x + i), factor));
    put_out(st->call, t, head, s->c, x);
}

static void load_queries(state *st, const item *it) {
    const att_shape *s = &st->shape;
    const uint32_t dtype = st->call->op.operand[HY_ATTENTION_q].dtype;
    for (uint32_t r = 0; r < rows_of(it); r++) {
        const char *q =
            cpu_at(st->call, HY_ATTENTION_q, it->begin + r / it->heads, it->head + r % it->heads);
        for (uint32_t i = 0; i < s->dp; i += 16)
            v16_store(st->q + (size_t)r * s->dp + i, cpu_get(dtype, q, i, s->d));
    }
    round_queries(st, it);
}

/* Queries of an item, and its first keys: nothing else is at work that a burst could hold up. */
static void begin_item(state *st, const item *it, range seen) {
    const range tile = tile_at(&st->shape, seen.begin);
    cache_tile first;
    if (open_tile(st->call, HY_ATTENTION_k_cache, it, tile.begin, &first)) {
        const wish keys = wish_for(&first);
        ask(&keys, 0, 0, (tile.end - tile.begin) * first.step);
    }
    load_queries(st, it);
}

static range span_at(const att_shape *s, uint64_t number) {
    const uint64_t begin = number * s->span, end = begin + s->span;
    return (range){(uint32_t)begin, (uint32_t)HY_MIN(end, UINT32_MAX)};
}

/* The whole context of an item, span after span. */
static void run_item(state *st, const item *it) {
    const att_shape *s = &st->shape;
    const uint32_t tokens = it->end - it->begin, rows = rows_of(it);
    range seen[ATT_ROWS], all = {0, 0};
    for (uint32_t i = 0; i < tokens; i++) {
        seen[i] = visible(st->call, it->begin + i);
        all = hull(all, seen[i]);
    }
    for (uint32_t r = 0; r < rows; r++) {
        st->all_m[r] = -INFINITY;
        st->all_l[r] = 0;
    }
    if (all.begin < all.end) begin_item(st, it, all);
    for (uint32_t n = all.begin / s->span; (uint64_t)n * s->span < all.end; n++) {
        run_span(st, it, seen, span_at(s, n), all.end);
        for (uint32_t r = 0; r < rows; r++) {
            const range part = intersect(seen[r / it->heads], span_at(s, n));
            if (part.begin < part.end)
                fold(&st->all_m[r], &st->all_l[r], st->all + (size_t)r * s->cp, st->m[r], st->l[r],
                     st->o + (size_t)r * s->cp, s->cp);
        }
    }
    for (uint32_t r = 0; r < rows; r++)
        finish(st, it->begin + r / it->heads, it->head + r % it->heads, st->all_m[r], st->all_l[r],
               st->all + (size_t)r * s->cp);
}

/* ---- division of work ---------------------------------------------------------------------------- */

/* Changes who does what, never a bit of the result. */
typedef struct plan {
    bool split;        /* one span per item, joined in the second phase */
    uint32_t rows;     /* true T */
    uint32_t tokens;   /* per item */
    uint32_t chunks;   /* of tokens */
    uint32_t kv_heads; /* per item */
    uint32_t parts;    /* items that have all heads */
    uint32_t spans;
    uint64_t items;
} plan;

/* Whether an item may have several kv heads: if no two rows next to each other are of one sequence, and rows are
 * read directly, for the functions of more compute some besides. */
static bool heads_together(const cpu_call *call, const att_shape *s, uint32_t rows) {
    const int32_t *sequences = call->p[HY_ATTENTION_row];
    for (uint32_t t = 1; t < rows; t++)
        if (sequences[t] == sequences[t - 1]) return false;
    return s->group <= direct_rows(&call->op);
}

/* As many as leave an item for every worker and make a piece of ATT_PIECE bytes, or more that leave `wanted` items: what
 * is read in one go is longer by that, and hardware prefetchers get up to speed. rows: as long as the longest. */
static void take_heads(plan *p, const att_shape *s, uint64_t rows, uint64_t workers,
                       uint64_t wanted) {
    const uint64_t items = rows * (p->split ? p->spans : 1);
    const uint64_t whole = rows * (p->split ? p->spans - 1 : 1); /* the last span may be short */
    for (p->kv_heads = HY_MIN(s->kv_heads, ATT_ROWS / s->group);;
         p->kv_heads = (p->kv_heads + 1) / 2) {
        p->parts = (uint32_t)hy_div_up(s->kv_heads, p->kv_heads);
        if (p->kv_heads == 1 || items * p->parts >= wanted) return;
        if (whole * p->parts >= workers && p->kv_heads * s->page <= ATT_PIECE) return;
    }
}

static plan plan_of(const cpu_call *call, const att_shape *s, uint32_t workers) {
    plan p = {.rows = cpu_rows(call, HY_ATTENTION_q), .tokens = 1, .kv_heads = 1};
    const uint64_t wanted = (uint64_t)ATT_ITEMS * workers;
    const bool together = heads_together(call, s, p.rows);
    uint64_t total = 0, longest = 1;
    uint32_t end = 0;
    for (uint32_t t = 0; t < p.rows; t++) {
        const range seen = visible(call, t);
        end = HY_MAX(end, seen.end);
        total += seen.end - seen.begin;
        longest = HY_MAX(longest, seen.end - seen.begin);
    }
    p.parts = s->kv_heads * s->blocks;
    p.spans = (uint32_t)hy_div_up(end, s->span);
    const uint64_t partials = (uint64_t)p.rows * s->heads * p.spans * (s->cp + 16);
    const uint64_t long_rows =
        HY_MAX((total + longest / 2) / longest, 1); /* a short one beside it keeps nobody busy */
    const uint64_t fewest = together ? long_rows : (uint64_t)p.rows * p.parts;
    p.split = fewest < wanted && p.spans > 1 && partials <= s->partials;
    if (together) {
        take_heads(&p, s, long_rows, workers, wanted);
    } else if (!p.split) {
        while (p.tokens * 2 * s->block <= ATT_ROWS && p.tokens < p.rows &&
               hy_div_up(p.rows, p.tokens * 2ull) * p.parts >= wanted)
            p.tokens *= 2;
    }
    p.chunks = (uint32_t)hy_div_up(p.rows, p.tokens);
    p.items = (uint64_t)p.chunks * p.parts * (p.split ? p.spans : 1);
    return p;
}

/* One span of one token's heads, to the partial results: [t, head, span, cp + 16], m and l at the end. */
static float *partial_at(const state *st, const plan *p, uint32_t t, uint32_t head, uint32_t span) {
    const uint64_t row = ((uint64_t)t * st->shape.heads + head) * p->spans + span;
    return st->partials + row * (st->shape.cp + 16);
}

static void run_partial(state *st, const plan *p, const item *it, uint32_t number) {
    const att_shape *s = &st->shape;
    const range seen = visible(st->call, it->begin), span = span_at(s, number);
    const range part = intersect(seen, span);
    if (part.begin >= part.end) return;
    begin_item(st, it, part);
    run_span(st, it, &seen, span, part.end);
    for (uint32_t r = 0; r < it->heads; r++) {
        float *to = partial_at(st, p, it->begin, it->head + r, number);
        memcpy(to, st->o + (size_t)r * s->cp, s->cp * sizeof *to);
        to[s->cp] = st->m[r];
        to[s->cp + 1] = st->l[r];
    }
}

/* Work item `number`: later tokens first, for they see most. */
static void run_number(state *st, const plan *p, uint64_t number) {
    const att_shape *s = &st->shape;
    uint32_t span = 0;
    if (p->split) {
        span = (uint32_t)(number % p->spans);
        number /= p->spans;
    }
    const uint32_t part = (uint32_t)(number % p->parts);
    const uint32_t chunk = p->chunks - 1 - (uint32_t)(number / p->parts);
    item it = {.kv_head = part / s->blocks * p->kv_heads};
    const uint32_t block = part % s->blocks * s->block;
    it.kv_heads = HY_MIN(p->kv_heads, s->kv_heads - it.kv_head);
    it.head = it.kv_head * s->group + block;
    it.heads = s->blocks > 1 ? HY_MIN(s->block, s->group - block) : it.kv_heads * s->group;
    const int32_t *sequences = st->call->p[HY_ATTENTION_row];
    const uint32_t end = HY_MIN((chunk + 1) * p->tokens, p->rows);
    for (it.begin = chunk * p->tokens; it.begin < end; it.begin = it.end) {
        it.sequence = sequences[it.begin];
        for (it.end = it.begin + 1; it.end < end && sequences[it.end] == it.sequence;)
            it.end++;
        if (p->split)
            run_partial(st, p, &it, span);
        else
            run_item(st, &it);
    }
}

void CPU_NAME(cpu_attention)(cpu_call *call, uint32_t worker, uint32_t workers) {
    state st = state_of(call, worker, workers);
    const plan p = plan_of(call, &st.shape, workers);
    att_enter();
    cpu_taker taker = {call, worker, workers, 0};
    for (uint64_t i; cpu_take(&taker, p.items, &i);) /* a token's heads by those who wrote them */
        run_number(&st, &p, p.rows == 1 ? cpu_in_a_row(i, p.items, workers) : i);
    att_leave();
}

void CPU_NAME(cpu_attention_join)(cpu_call *call, uint32_t worker, uint32_t workers) {
    state st = state_of(call, worker, workers);
    const att_shape *s = &st.shape;
    const plan p = plan_of(call, s, workers);
    if (!p.split) return;
    uint64_t i, end;
    cpu_share((uint64_t)p.rows * s->heads, worker, workers, &i, &end);
    for (; i < end; i++) {
        const uint32_t t = (uint32_t)(i / s->heads), head = (uint32_t)(i % s->heads);
        const range seen = visible(call, t);
        float m = -INFINITY, l = 0;
        for (uint32_t n = seen.begin / s->span; (uint64_t)n * s->span < seen.end; n++) {
            const float *from = partial_at(&st, &p, t, head, n);
            fold(&m, &l, st.all, from[s->cp], from[s->cp + 1], from, s->cp);
        }
        finish(&st, t, head, m, l, st.all);
    }
}

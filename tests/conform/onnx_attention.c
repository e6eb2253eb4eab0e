/* tests/conform/onnx_attention.c: Attention, RotaryEmbedding and TensorScatter on pages.
 *
 * Every batch entry is a sequence. Its new keys and values go into pages through kv_write, behind the past
 * ones, and attention reads those pages. Pages are short and numbered backwards, so that tables matter;
 * what no sequence owns is NaN. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "tests/conform/onnx.h"

enum { PAGE = 4, MAX_TOKENS = 1 << 16 };

/* ---- pages ---- */

/* A cache for `batches` sequences of up to `pages` pages each. */
typedef struct cache {
    uint64_t batches, heads, columns, pages, length; /* length: of a page */
    hy_dtype dtype;
    uint32_t size;
    uint8_t *data; /* [batches * pages, heads, length, columns] */
    double *want;
} cache;

static uint64_t page_of(const cache *k, uint64_t b, uint64_t i) {
    return k->batches * k->pages - 1 - (b * k->pages + i);
}

static uint64_t slot_of(const cache *k, uint64_t b, uint64_t position) {
    return page_of(k, b, position / k->length) * k->length + position % k->length;
}

/* First element of a position's row. */
static uint64_t row_at(const cache *k, uint64_t b, uint64_t head, uint64_t position) {
    const uint64_t slot = slot_of(k, b, position);
    return ((slot / k->length * k->heads + head) * k->length + slot % k->length) * k->columns;
}

static hy_status cache_new(onnx_case *c, cache *k, const onnx_value *like) {
    const uint64_t elements = k->batches * k->pages * k->heads * k->length * k->columns;
    k->dtype = like->dtype;
    k->size = like->t.element_bytes;
    HY_TRY(onnx_alloc(c, elements, k->size, &k->data));
    HY_TRY(onnx_alloc(c, elements, sizeof *k->want, &k->want));
    memset(k->data, 0xff, elements * k->size); /* NaN in every float type */
    for (uint64_t i = 0; i < elements; i++)
        k->want[i] = NAN;
    return HY_OK;
}

/* v [batch, head, position, column] -> positions first, first + 1, ...; into what the cache holds before
 * (data) or what it must hold after (want). */
static hy_status cache_put(onnx_case *c, cache *k, const onnx_value *v, uint64_t first, bool want) {
    double *values;
    const uint64_t positions = v->t.dim[2], size = k->size;
    HY_TRY(onnx_f64(c, v, &values));
    for (uint64_t i = 0; i < v->t.elements; i += k->columns) {
        const uint64_t row = i / k->columns, position = row % positions;
        const uint64_t head = row / positions % k->heads, b = row / positions / k->heads;
        const uint64_t at = row_at(k, b, head, first + position);
        memcpy(k->want + at, values + i, k->columns * sizeof *values);
        if (!want) memcpy(k->data + at * size, v->t.data + i * size, k->columns * size);
    }
    return HY_OK;
}

static void set_cache(onnx_run *run, uint32_t operand, const cache *k, const void *data) {
    onnx_set(run, operand, k->dtype, data, k->batches * k->pages, k->heads, k->length, k->columns);
}

/* ---- Attention ---- */

typedef struct problem {
    onnx_value q, k, v, y; /* [batch, position, head, column] */
    onnx_value mask, past_k, past_v, nonpad;
    uint64_t batches, heads, kv_heads, queries, fresh, past, total; /* total = past + fresh keys */
    cache keys, values;
    const uint8_t *k_pages, *v_pages; /* after kv_write */
    int32_t *valid;                   /* [batch]: keys that are not padding */
    int32_t *seen;                    /* [batch, query]: keys that the mask leaves; NULL: no mask */
} problem;

/* Any layout -> [batch, position, head, column]. heads: of rank 3, from the attributes. */
static hy_status to_rows(onnx_case *c, onnx_value *v, const char *heads_attr, onnx_value *out) {
    if (v->t.rank == 4) return onnx_permute(c, v, (const uint32_t[]){0, 2, 1, 3}, out);
    const double heads = onnx_number(c, heads_attr, 0);
    if (v->t.rank != 3)
        return hy_fail(HY_E_FORMAT, "'%s' has rank %u, not 3 or 4", v->t.name, v->t.rank);
    if (!(heads >= 1 && heads <= (double)v->t.dim[2]) || v->t.dim[2] % (uint64_t)heads)
        return hy_fail(HY_E_FORMAT, "%s of %g does not divide the %llu columns of '%s'", heads_attr,
                       heads, (unsigned long long)v->t.dim[2], v->t.name);
    *out = *v;
    out->t.rank = 4;
    out->t.dim[3] = v->t.dim[2] / (uint64_t)heads;
    out->t.dim[2] = (uint64_t)heads;
    return HY_OK;
}

static hy_status read_floats(onnx_case *c, problem *p) {
    struct {
        size_t i;
        const char *heads;
        onnx_value *to;
    } rows[] = {{0, "q_num_heads", &p->q}, {1, "kv_num_heads", &p->k}, {2, "kv_num_heads", &p->v}};
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        onnx_value v;
        HY_TRY(onnx_input(c, rows[i].i, &v));
        HY_TRY(onnx_require(&v, "Q, K or V"));
        HY_TRY(onnx_require_float(&v));
        HY_TRY(to_rows(c, &v, rows[i].heads, rows[i].to));
    }
    HY_TRY(onnx_output(c, 0, &p->y));
    HY_TRY(onnx_require(&p->y, "Y"));
    HY_TRY(onnx_require_float(&p->y));
    HY_TRY(to_rows(c, &p->y, "q_num_heads", &p->y));
    HY_TRY(onnx_input(c, 3, &p->mask));
    HY_TRY(onnx_input(c, 4, &p->past_k));
    HY_TRY(onnx_input(c, 5, &p->past_v));
    return onnx_input(c, 6, &p->nonpad);
}

/* [batch, head, positions, columns] of a past or present tensor. */
static bool has_shape(const onnx_value *v, uint64_t b, uint64_t heads, uint64_t positions,
                      uint64_t columns) {
    const uint64_t *d = v->t.dim;
    return v->t.rank == 4 && d[0] == b && d[1] == heads && d[2] == positions && d[3] == columns;
}

static hy_status check_shapes(problem *p) {
    const uint64_t *q = p->q.t.dim, *k = p->k.t.dim, *v = p->v.t.dim, *y = p->y.t.dim;
    p->batches = q[0];
    p->queries = q[1];
    p->heads = q[2];
    p->fresh = k[1];
    p->kv_heads = k[2];
    const bool agree = k[0] == q[0] && v[0] == q[0] && v[1] == k[1] && v[2] == k[2] &&
                       k[3] == q[3] && y[0] == q[0] && y[1] == q[1] && y[2] == q[2] &&
                       y[3] == v[3] && p->q.t.elements && p->k.t.elements && p->v.t.elements;
    if (!agree) return hy_fail(HY_E_FORMAT, "shapes of Q, K, V and Y do not agree");
    if (p->past_k.present != p->past_v.present)
        return hy_fail(HY_E_FORMAT, "past_key and past_value go together");
    if (p->past_k.present) {
        p->past = p->past_k.t.rank == 4 ? p->past_k.t.dim[2] : 0;
        if (p->past_k.dtype != p->k.dtype || p->past_v.dtype != p->v.dtype ||
            !has_shape(&p->past_k, q[0], k[2], p->past, k[3]) ||
            !has_shape(&p->past_v, q[0], k[2], p->past, v[3]))
            return hy_fail(HY_E_FORMAT, "past_key or past_value does not fit K and V");
    }
    p->total = p->past + p->fresh;
    if (p->batches * p->queries > MAX_TOKENS || p->batches * p->total > MAX_TOKENS)
        return hy_fail(HY_E_LIMIT, "more than %d tokens", MAX_TOKENS);
    return HY_OK;
}

/* Caches before and after the write of K and V; what follows from the inputs must also be what the case
 * says, where it has present_key and present_value. */
static hy_status lay_out(onnx_case *c, problem *p) {
    const uint32_t order[] = {0, 2, 1, 3};
    struct {
        cache *to;
        const onnx_value *fresh, *past;
        size_t output;
    } rows[] = {{&p->keys, &p->k, &p->past_k, 1}, {&p->values, &p->v, &p->past_v, 2}};
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        onnx_value fresh, present;
        *rows[i].to = (cache){.batches = p->batches,
                              .heads = p->kv_heads,
                              .columns = rows[i].fresh->t.dim[3],
                              .pages = hy_div_up(p->total, PAGE),
                              .length = PAGE};
        HY_TRY(cache_new(c, rows[i].to, rows[i].fresh));
        if (p->past) HY_TRY(cache_put(c, rows[i].to, rows[i].past, 0, false));
        HY_TRY(onnx_permute(c, rows[i].fresh, order, &fresh));
        HY_TRY(cache_put(c, rows[i].to, &fresh, p->past, true));
        HY_TRY(onnx_output(c, rows[i].output, &present));
        if (!present.present) continue;
        if (!has_shape(&present, p->batches, p->kv_heads, p->total, rows[i].to->columns))
            return hy_fail(HY_E_FORMAT, "'%s' does not fit K and V", present.t.name);
        HY_TRY(cache_put(c, rows[i].to, &present, 0, true));
    }
    return HY_OK;
}

/* The new keys and values into their pages. */
static hy_status write_keys(onnx_case *c, problem *p) {
    const uint64_t tokens = p->batches * p->fresh;
    int32_t *slots;
    onnx_run run = {.op = {.kind = HY_OP_KV_WRITE}};
    HY_TRY(lay_out(c, p));
    HY_TRY(onnx_alloc(c, tokens, sizeof *slots, &slots));
    for (uint64_t t = 0; t < tokens; t++)
        slots[t] = (int32_t)slot_of(&p->keys, t / p->fresh, p->past + t % p->fresh);
    onnx_set(&run, HY_KV_WRITE_k, p->k.dtype, p->k.t.data, tokens, p->kv_heads, p->k.t.dim[3], 0);
    onnx_set(&run, HY_KV_WRITE_v, p->v.dtype, p->v.t.data, tokens, p->kv_heads, p->v.t.dim[3], 0);
    onnx_set(&run, HY_KV_WRITE_slot, HY_DTYPE_I32, slots, tokens, 0, 0, 0);
    set_cache(&run, HY_KV_WRITE_k_cache, &p->keys, p->keys.data);
    set_cache(&run, HY_KV_WRITE_v_cache, &p->values, p->values.data);
    onnx_expect(&run, HY_KV_WRITE_k_cache, p->keys.want, true);
    onnx_expect(&run, HY_KV_WRITE_v_cache, p->values.want, true);
    HY_TRY(onnx_run_op(c, &run));
    p->k_pages = run.out[HY_KV_WRITE_k_cache];
    p->v_pages = run.out[HY_KV_WRITE_v_cache];
    return HY_OK;
}

/* Keys that a row of the mask leaves: a prefix of its `keys` columns, or -1. */
static int32_t prefix_of(const double *visible, uint64_t keys) {
    uint64_t n = 0;
    while (n < keys && visible[n] != 0)
        n++;
    for (uint64_t i = n; i < keys; i++) {
        if (visible[i] != 0) return -1;
    }
    return (int32_t)n;
}

/* 1 where a key may be seen. Columns that the mask lacks are hidden. */
static hy_status visibility(onnx_case *c, problem *p, double **out, uint64_t *columns) {
    onnx_value full;
    double *value;
    const bool boolean = strcmp(p->mask.t.dtype, "BOOL") == 0;
    *columns = p->mask.t.rank ? p->mask.t.dim[p->mask.t.rank - 1] : 0;
    if (*columns > p->total) return hy_fail(HY_E_FORMAT, "attn_mask has more columns than keys");
    if (!boolean) HY_TRY(onnx_require_float(&p->mask));
    const uint64_t dim[] = {p->batches, p->heads, p->queries, *columns};
    HY_TRY(onnx_broadcast(c, &p->mask, 4, dim, &full));
    HY_TRY(onnx_f64(c, &full, &value));
    for (uint64_t i = 0; i < full.t.elements && !boolean; i++) {
        if (value[i] != 0 && !(isinf(value[i]) && value[i] < 0))
            return hy_fail(HY_E_UNSUPPORTED, "attn_mask is an arbitrary bias: the op takes causal, "
                                             "length and window only");
        value[i] = value[i] == 0;
    }
    *out = value;
    return HY_OK;
}

/* A mask that hides the same tail of keys from all heads is a length for each query. */
static hy_status read_mask(onnx_case *c, problem *p) {
    double *visible;
    uint64_t columns;
    if (!p->mask.present) return HY_OK;
    HY_TRY(visibility(c, p, &visible, &columns));
    HY_TRY(onnx_alloc(c, p->batches * p->queries, sizeof *p->seen, &p->seen));
    for (uint64_t b = 0; b < p->batches; b++) {
        for (uint64_t i = 0; i < p->heads * p->queries; i++) {
            const uint64_t head = i / p->queries, query = i % p->queries;
            const int32_t n =
                prefix_of(visible + (b * p->heads * p->queries + i) * columns, columns);
            int32_t *seen = &p->seen[b * p->queries + query];
            if (n < 0 || (head > 0 && n != *seen))
                return hy_fail(
                    HY_E_UNSUPPORTED,
                    "attn_mask hides keys other than a tail that all heads share: the op "
                    "takes causal, length and window only");
            *seen = n;
        }
    }
    return HY_OK;
}

static hy_status read_padding(onnx_case *c, problem *p) {
    HY_TRY(onnx_alloc(c, p->batches, sizeof *p->valid, &p->valid));
    for (uint64_t b = 0; b < p->batches; b++)
        p->valid[b] = (int32_t)p->total;
    if (!p->nonpad.present) return HY_OK;
    if (p->nonpad.t.elements != p->batches)
        return hy_fail(HY_E_FORMAT, "nonpad_kv_seqlen has %llu values",
                       (unsigned long long)p->nonpad.t.elements);
    HY_TRY(onnx_i32(c, &p->nonpad, &p->valid));
    for (uint64_t b = 0; b < p->batches; b++) {
        if (p->valid[b] < 0 || (uint64_t)p->valid[b] > p->total)
            return hy_fail(HY_E_FORMAT, "nonpad_kv_seqlen is %d of %llu", p->valid[b],
                           (unsigned long long)p->total);
    }
    return HY_OK;
}

static hy_status read_attributes(onnx_case *c, const problem *p, hy_attention_attr *attr) {
    attr->scale = (float)onnx_number(c, "scale", 1 / sqrt((double)p->q.t.dim[3]));
    attr->softcap = (float)onnx_number(c, "softcap", 0); /* before the mask, as in ONNX */
    attr->causal = onnx_number(c, "is_causal", 0) != 0;
    const double left = onnx_number(c, "left_window_size", -1);
    if (left >= 0 && left < INT32_MAX) attr->window = (int32_t)left + 1;
    if (onnx_number(c, "right_window_size", -1) >= 0)
        return hy_fail(HY_E_UNSUPPORTED, "right_window_size: the op looks ahead without bound, or "
                                         "not at all");
    return HY_OK;
}

/* Tables: a sequence per batch entry, or per query where a mask gives each another length. Query i of a
 * batch stands at position past + i; with padded keys the last one stands at the last valid key. */
static hy_status set_sequences(onnx_case *c, const problem *p, onnx_run *run) {
    const uint64_t tokens = p->batches * p->queries, pages = p->keys.pages;
    const uint64_t sequences = p->seen ? tokens : p->batches;
    int32_t *table, *row, *pos, *len;
    HY_TRY(onnx_alloc(c, sequences * pages, sizeof *table, &table));
    HY_TRY(onnx_alloc(c, tokens, sizeof *row, &row));
    HY_TRY(onnx_alloc(c, tokens, sizeof *pos, &pos));
    HY_TRY(onnx_alloc(c, sequences, sizeof *len, &len));
    for (uint64_t t = 0; t < tokens; t++) {
        const uint64_t b = t / p->queries, s = p->seen ? t : b;
        const int64_t before =
            p->nonpad.present ? p->valid[b] - (int64_t)p->queries : (int64_t)p->past;
        row[t] = (int32_t)s;
        pos[t] = (int32_t)(before + (int64_t)(t % p->queries));
        len[s] = p->seen ? HY_MIN(p->seen[t], p->valid[b]) : p->valid[b];
        for (uint64_t i = 0; i < pages; i++)
            table[s * pages + i] = (int32_t)page_of(&p->keys, b, i);
    }
    onnx_set(run, HY_ATTENTION_table, HY_DTYPE_I32, table, sequences, pages, 0, 0);
    onnx_set(run, HY_ATTENTION_row, HY_DTYPE_I32, row, tokens, 0, 0, 0);
    onnx_set(run, HY_ATTENTION_pos, HY_DTYPE_I32, pos, tokens, 0, 0, 0);
    onnx_set(run, HY_ATTENTION_len, HY_DTYPE_I32, len, sequences, 0, 0, 0);
    return HY_OK;
}

static hy_status attend(onnx_case *c, problem *p) {
    onnx_run run = {.op = {.kind = HY_OP_ATTENTION}};
    const uint64_t tokens = p->batches * p->queries;
    double *want;
    HY_TRY(read_mask(c, p));
    HY_TRY(read_padding(c, p));
    HY_TRY(read_attributes(c, p, &run.op.attention));
    HY_TRY(set_sequences(c, p, &run));
    HY_TRY(onnx_f64(c, &p->y, &want));
    onnx_set(&run, HY_ATTENTION_q, p->q.dtype, p->q.t.data, tokens, p->heads, p->q.t.dim[3], 0);
    set_cache(&run, HY_ATTENTION_k_cache, &p->keys, p->k_pages);
    set_cache(&run, HY_ATTENTION_v_cache, &p->values, p->v_pages);
    run.op.operand[HY_ATTENTION_out].dtype = (uint8_t)p->y.dtype;
    onnx_expect(&run, HY_ATTENTION_out, want, false);
    return onnx_run_op(c, &run);
}

/* kv_write is compared in any case, also where the mask keeps attention from being so. */
hy_status onnx_attention(onnx_case *c) {
    problem p = {0};
    onnx_value scores, present;
    HY_TRY(read_floats(c, &p));
    HY_TRY(check_shapes(&p));
    HY_TRY(onnx_output(c, 1, &present));
    HY_TRY(onnx_output(c, 3, &scores));
    HY_TRY(write_keys(c, &p));
    const hy_status status = attend(c, &p);
    if (status == HY_E_UNSUPPORTED && present.present) {
        char reason[300];
        snprintf(reason, sizeof reason, "%s", hy_error_text());
        return hy_fail(status, "%s (present_key and present_value agree)", reason);
    }
    if (scores.present)
        snprintf(c->note, sizeof c->note, "output qk_matmul_output: the op does not return scores");
    return status;
}

/* ---- RotaryEmbedding ---- */

/* Rows [cos | sin] of the tokens. */
static hy_status rope_rows(onnx_case *c, uint64_t tokens, const onnx_value *positions, float **out,
                           uint64_t *width) {
    onnx_value cosine, sine;
    float *value[2];
    int32_t *position = NULL;
    HY_TRY(onnx_input(c, 1, &cosine));
    HY_TRY(onnx_input(c, 2, &sine));
    if (!cosine.present || !sine.present || !cosine.t.rank || sine.t.elements != cosine.t.elements)
        return hy_fail(HY_E_FORMAT, "cos_cache and sin_cache are missing or differ");
    HY_TRY(onnx_f32(c, &cosine, &value[0]));
    HY_TRY(onnx_f32(c, &sine, &value[1]));
    if (positions->present) HY_TRY(onnx_i32(c, positions, &position));
    const uint64_t half = cosine.t.dim[cosine.t.rank - 1],
                   rows = half ? cosine.t.elements / half : 0;
    if (rows == 0 || (position ? positions->t.elements : rows) != tokens)
        return hy_fail(HY_E_FORMAT, "no row of cos_cache for each of %llu tokens",
                       (unsigned long long)tokens);
    HY_TRY(onnx_alloc(c, tokens * 2 * half, sizeof **out, out));
    for (uint64_t t = 0; t < tokens; t++) {
        const int64_t row = position ? position[t] : (int64_t)t;
        if (row < 0 || (uint64_t)row >= rows)
            return hy_fail(HY_E_FORMAT, "position %lld of %llu", (long long)row,
                           (unsigned long long)rows);
        for (int i = 0; i < 2; i++)
            memcpy(*out + (t * 2 + (uint64_t)i) * half, value[i] + (uint64_t)row * half,
                   half * sizeof **out);
    }
    *width = 2 * half;
    return HY_OK;
}

hy_status onnx_rotary_embedding(onnx_case *c) {
    onnx_value x, y, positions;
    float *table;
    double *want;
    uint64_t width;
    HY_TRY(onnx_input(c, 0, &x));
    HY_TRY(onnx_output(c, 0, &y));
    HY_TRY(onnx_input(c, 3, &positions));
    if (!x.present || !y.present) return hy_fail(HY_E_FORMAT, "input or output is absent");
    HY_TRY(onnx_require_float(&x));
    HY_TRY(onnx_require_float(&y));
    HY_TRY(to_rows(c, &x, "num_heads", &x));
    HY_TRY(to_rows(c, &y, "num_heads", &y));
    if (memcmp(x.t.dim, y.t.dim, sizeof x.t.dim) != 0 || x.t.elements == 0)
        return hy_fail(HY_E_FORMAT, "shapes of input and output do not agree");
    const uint64_t tokens = x.t.dim[0] * x.t.dim[1], heads = x.t.dim[2], columns = x.t.dim[3];
    HY_TRY(rope_rows(c, tokens, &positions, &table, &width));
    const double rotated = onnx_number(c, "rotary_embedding_dim", 0);
    if ((double)width != (rotated == 0 ? (double)columns : rotated))
        return hy_fail(HY_E_FORMAT, "cos_cache is for %llu of %llu columns",
                       (unsigned long long)width, (unsigned long long)columns);
    HY_TRY(onnx_f64(c, &y, &want));
    onnx_run run = {.op = {.kind = HY_OP_ROPE}};
    run.op.rope.style = onnx_number(c, "interleaved", 0) != 0 ? HY_ROPE_PAIRS : HY_ROPE_HALVES;
    onnx_set(&run, HY_ROPE_x, x.dtype, x.t.data, tokens, heads, columns, 0);
    onnx_set(&run, HY_ROPE_table, HY_DTYPE_F32, table, tokens, width, 0, 0);
    run.op.operand[HY_ROPE_out].dtype = (uint8_t)y.dtype;
    onnx_expect(&run, HY_ROPE_out, want, false);
    return onnx_run_op(c, &run);
}

/* ---- TensorScatter ---- */

/* Any cache -> [batch, head, position, column]; the position axis is the attribute. */
static void to_pages(onnx_value *v, uint32_t axis) {
    const uint64_t dim[] = {v->t.dim[0], onnx_extent(v, 1, axis), v->t.dim[axis],
                            onnx_extent(v, axis + 1, v->t.rank)};
    v->t.rank = 4;
    for (uint32_t d = 0; d < HY_SAFETENSORS_MAX_RANK; d++)
        v->t.dim[d] = d < 4 ? dim[d] : 1;
}

/* Positions that the rows of the update go to; past the end only where the cache is a ring. */
static hy_status scatter_slots(onnx_case *c, const cache *k, uint64_t count, int32_t **out) {
    onnx_value start;
    int32_t *first = NULL;
    const bool ring = strcmp(onnx_text(c, "mode", "linear"), "circular") == 0;
    const uint64_t length = k->pages * k->length;
    HY_TRY(onnx_input(c, 2, &start));
    if (start.present) {
        if (start.t.elements != k->batches)
            return hy_fail(HY_E_FORMAT, "write_indices has %llu values",
                           (unsigned long long)start.t.elements);
        HY_TRY(onnx_i32(c, &start, &first));
    }
    HY_TRY(onnx_alloc(c, k->batches * count, sizeof **out, out));
    for (uint64_t t = 0; t < k->batches * count; t++) {
        const uint64_t b = t / count;
        int64_t position = (first ? first[b] : 0) + (int64_t)(t % count);
        if (position < 0 || (!ring && (uint64_t)position >= length))
            return hy_fail(HY_E_FORMAT, "write index %lld of %llu", (long long)position,
                           (unsigned long long)length);
        (*out)[t] = (int32_t)slot_of(k, b, (uint64_t)position % length);
    }
    return HY_OK;
}

/* The update goes to the keys and, once more, to the values. */
hy_status onnx_tensor_scatter(onnx_case *c) {
    onnx_value past, update, present;
    uint32_t axis;
    int32_t *slots;
    HY_TRY(onnx_input(c, 0, &past));
    HY_TRY(onnx_input(c, 1, &update));
    HY_TRY(onnx_output(c, 0, &present));
    if (!past.present || !update.present || !present.present || past.t.rank < 3 ||
        update.t.rank != past.t.rank || present.t.rank != past.t.rank)
        return hy_fail(HY_E_FORMAT,
                       "past_cache, update and present_cache need one rank, 3 or more");
    HY_TRY(onnx_require_float(&past));
    HY_TRY(onnx_axis(c, past.t.rank, -2, &axis));
    if (axis == 0) return hy_fail(HY_E_FORMAT, "axis 0 is the batch");
    to_pages(&past, axis);
    to_pages(&update, axis);
    to_pages(&present, axis);
    const uint64_t *d = past.t.dim, count = update.t.dim[2], tokens = d[0] * count;
    if (!has_shape(&update, d[0], d[1], count, d[3]) ||
        !has_shape(&present, d[0], d[1], d[2], d[3]) || update.dtype != past.dtype ||
        !past.t.elements || !count || count > d[2])
        return hy_fail(HY_E_FORMAT, "shapes of past_cache, update and present_cache do not agree");
    cache k = {.batches = d[0], .heads = d[1], .columns = d[3], .pages = 1, .length = d[2]};
    HY_TRY(cache_new(c, &k, &past));
    HY_TRY(cache_put(c, &k, &past, 0, false));
    HY_TRY(cache_put(c, &k, &present, 0, true));
    HY_TRY(scatter_slots(c, &k, count, &slots));
    HY_TRY(onnx_permute(c, &update, (const uint32_t[]){0, 2, 1, 3}, &update));
    onnx_run run = {.op = {.kind = HY_OP_KV_WRITE}};
    onnx_set(&run, HY_KV_WRITE_k, update.dtype, update.t.data, tokens, d[1], d[3], 0);
    onnx_set(&run, HY_KV_WRITE_v, update.dtype, update.t.data, tokens, d[1], d[3], 0);
    onnx_set(&run, HY_KV_WRITE_slot, HY_DTYPE_I32, slots, tokens, 0, 0, 0);
    set_cache(&run, HY_KV_WRITE_k_cache, &k, k.data);
    set_cache(&run, HY_KV_WRITE_v_cache, &k, k.data);
    onnx_expect(&run, HY_KV_WRITE_k_cache, k.want, true);
    onnx_expect(&run, HY_KV_WRITE_v_cache, k.want, true);
    return onnx_run_op(c, &run);
}

/* kv_write and attention over a paged cache. */
#include <math.h>

#include "backends/ref/ref.h"
#include "base/num.h"

/* ---- kv_write ------------------------------------------------------------------------------------ */

/* Value, magnitude, rope row, norm weight: each as wide as the widest row. */
static uint64_t kv_width(const hy_op *op) {
    return HY_MAX(op->operand[HY_KV_WRITE_k].dim[2], op->operand[HY_KV_WRITE_v].dim[2]);
}

uint64_t ref_kv_write_scratch(const hy_op *op, uint32_t workers) {
    return 4 * kv_width(op) * workers;
}

/* rope(norm(x)) of one row of k or q, to v and mag. */
static void prepare(const ref_call *c, uint32_t operand, uint32_t norm, uint64_t row, uint32_t t,
                    double *v, double *mag, double *angles, double *weight) {
    const uint32_t d = ref_inner(&c->o[operand]);
    const bool changed = ref_has(c, norm) || ref_has(c, HY_KV_WRITE_table);
    ref_read(&c->o[operand], row, v);
    for (uint32_t i = 0; i < d; i++)
        mag[i] = changed ? fabs(v[i]) : 0;
    if (ref_has(c, norm)) {
        ref_read(&c->o[norm], 0, weight);
        ref_rms(v, mag, d, c->op->kv_write.eps, weight);
    }
    if (ref_has(c, HY_KV_WRITE_table)) {
        const ref_tensor *table = &c->o[HY_KV_WRITE_table];
        ref_read(table, t, angles);
        ref_rotate(v, mag, angles, ref_inner(table), c->op->kv_write.style);
    }
}

void ref_kv_write(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *k = &c->o[HY_KV_WRITE_k], *v = &c->o[HY_KV_WRITE_v];
    const hy_tensor *cache = c->o[HY_KV_WRITE_k_cache].t;
    const uint64_t width = kv_width(c->op);
    const uint32_t heads = k->t->dim[1], length = cache->dim[2];
    double *x = c->scratch + worker * 4 * width, *mag = x + width, *angles = mag + width,
           *weight = angles + width;
    for (uint32_t t = worker; t < k->n; t += workers) {
        const int64_t slot = ref_int(&c->o[HY_KV_WRITE_slot], t);
        const bool inside = slot >= 0 && slot < (int64_t)cache->dim[0] * length;
        for (uint32_t h = 0; h < heads && inside; h++) {
            const uint64_t row = (uint64_t)t * heads + h;
            const uint64_t to =
                ((uint64_t)slot / length * heads + h) * length + (uint64_t)slot % length;
            prepare(c, HY_KV_WRITE_k, HY_KV_WRITE_k_norm, row, t, x, mag, angles, weight);
            ref_cache_emit(c, HY_KV_WRITE_k_cache, to, x, mag);
            ref_read(v, row, x);
            for (uint32_t i = 0; i < ref_inner(v); i++)
                mag[i] = 0;
            ref_cache_emit(c, HY_KV_WRITE_v_cache, to, x, mag);
        }
        if (!ref_has(c, HY_KV_WRITE_q)) continue;
        const uint32_t q_heads = c->o[HY_KV_WRITE_q].t->dim[1];
        for (uint32_t a = 0; a < q_heads; a++) {
            const uint64_t row = (uint64_t)t * q_heads + a;
            prepare(c, HY_KV_WRITE_q, HY_KV_WRITE_q_norm, row, t, x, mag, angles, weight);
            ref_emit(c, HY_KV_WRITE_q_out, row, 0, ref_inner(&c->o[HY_KV_WRITE_q]), x, mag);
        }
    }
}

/* ---- attention ----------------------------------------------------------------------------------- */

/* One query of one head, and where its worker keeps things. */
typedef struct query {
    const ref_call *c;
    uint32_t head, kv_head;
    int32_t sequence, pos;
    double *q, *k, *v;      /* [D], [D], [C] */
    double *score, *spread; /* [P L]: score, then weight; its magnitude A */
    double *out, *mag;      /* [C] */
} query;

static uint64_t context_of(const hy_op *op) {
    return (uint64_t)op->operand[HY_ATTENTION_table].dim[1] *
           op->operand[HY_ATTENTION_k_cache].dim[2];
}

static uint64_t worker_scratch(const hy_op *op) {
    return 2 * (uint64_t)op->operand[HY_ATTENTION_q].dim[2] +
           3 * (uint64_t)op->operand[HY_ATTENTION_v_cache].dim[3] + 2 * context_of(op);
}

uint64_t ref_attention_scratch(const hy_op *op, uint32_t workers) {
    return worker_scratch(op) * workers;
}

/* Cache row of position p, or -1 when its page is absent. */
static int64_t cache_row(const query *s, int64_t p) {
    const ref_tensor *table = &s->c->o[HY_ATTENTION_table];
    const hy_tensor *cache = s->c->o[HY_ATTENTION_k_cache].t;
    const uint32_t length = cache->dim[2];
    const int32_t page =
        ref_int(table, ref_at(table, (uint64_t)s->sequence) + (uint64_t)p / length);
    if (page < 0 || (uint32_t)page >= cache->dim[0]) return -1;
    return ((int64_t)page * cache->dim[1] + s->kv_head) * length + p % length;
}

/* The visible positions [*first, *end). */
static void visible(const query *s, int64_t *first, int64_t *end) {
    const hy_attention_attr *attr = &s->c->op->attention;
    const int64_t context = (int64_t)context_of(s->c->op);
    *end = ref_int(&s->c->o[HY_ATTENTION_len], (uint64_t)s->sequence);
    if (*end > context) *end = context;
    if (attr->causal && *end > (int64_t)s->pos + 1) *end = (int64_t)s->pos + 1;
    *first = attr->window > 0 ? (int64_t)s->pos - attr->window + 1 : 0;
    if (*first < 0) *first = 0;
}

static ref_number score_of(const query *s, int64_t p, int64_t row) {
    const hy_attention_attr *attr = &s->c->op->attention;
    const ref_tensor *cache = &s->c->o[HY_ATTENTION_k_cache];
    ref_number z = {0, 0};
    ref_cache_read(cache, (uint64_t)row, s->k);
    for (uint32_t i = 0; i < ref_inner(cache); i++) {
        z.value += s->q[i] * s->k[i];
        z.mag += fabs(s->q[i] * s->k[i]);
    }
    z.value *= attr->scale;
    z.mag *= fabs((double)attr->scale);
    z = ref_softcap(attr->softcap, z);
    if (ref_has(s->c, HY_ATTENTION_slopes)) {
        const double bias =
            ref_value(&s->c->o[HY_ATTENTION_slopes], s->head) * (double)(p - s->pos);
        z.value += bias;
        z.mag += fabs(bias);
    }
    return z;
}

/* Scores and spreads of [first, end) become weights and A; absent pages weigh nothing. Returns the mean of
 * A by weight, the sink included. */
static double weigh(query *s, int64_t first, int64_t end, double max) {
    double total = 0, mean = 0, sink = 0, sink_weight = 0;
    if (ref_has(s->c, HY_ATTENTION_sinks)) {
        sink = ref_value(&s->c->o[HY_ATTENTION_sinks], s->head);
        max = HY_MAX(max, sink);
        sink_weight = exp(sink - max);
        total += sink_weight;
    }
    for (int64_t p = first; p < end; p++) {
        const bool absent = s->score[p] == -INFINITY;
        s->spread[p] = absent ? 0 : s->spread[p] + (max - s->score[p]);
        s->score[p] = absent ? 0 : exp(s->score[p] - max);
        total += s->score[p];
    }
    mean = sink_weight / total * (fabs(sink) + (max - sink));
    for (int64_t p = first; p < end; p++) {
        s->score[p] /= total;
        mean += s->score[p] * s->spread[p];
    }
    return mean;
}

/* out and mag of one query. */
static void attend(query *s) {
    const ref_tensor *cache = &s->c->o[HY_ATTENTION_v_cache];
    const uint32_t width = ref_inner(cache);
    double max = -INFINITY;
    int64_t first = 0, end = 0;
    for (uint32_t i = 0; i < width; i++)
        s->out[i] = s->mag[i] = 0;
    if (s->sequence < 0) return;
    visible(s, &first, &end);
    for (int64_t p = first; p < end; p++) {
        const int64_t row = cache_row(s, p);
        ref_number z = {-INFINITY, 0};
        if (row >= 0) z = score_of(s, p, row);
        s->score[p] = z.value;
        s->spread[p] = z.mag;
        max = HY_MAX(max, z.value);
    }
    if (max == -INFINITY) return; /* nothing visible */
    const double mean = weigh(s, first, end, max);
    for (int64_t p = first; p < end; p++) {
        if (s->score[p] == 0) continue;
        ref_cache_read(cache, (uint64_t)cache_row(s, p), s->v);
        for (uint32_t i = 0; i < width; i++) {
            s->out[i] += s->score[p] * s->v[i];
            s->mag[i] += s->score[p] * fabs(s->v[i]) * (1 + s->spread[p] + mean);
        }
    }
}

void ref_attention(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *q = &c->o[HY_ATTENTION_q];
    const uint32_t heads = q->t->dim[1], d = q->t->dim[2];
    const uint32_t kv_heads = c->o[HY_ATTENTION_k_cache].t->dim[1];
    const uint32_t width = ref_inner(&c->o[HY_ATTENTION_v_cache]);
    query s = {.c = c, .q = c->scratch + worker * worker_scratch(c->op)};
    s.k = s.q + d;
    s.v = s.k + d;
    s.out = s.v + width;
    s.mag = s.out + width;
    s.score = s.mag + width;
    s.spread = s.score + context_of(c->op);
    for (uint64_t row = worker; row < ref_rows(q); row += workers) {
        const uint64_t t = row / heads;
        s.head = (uint32_t)(row % heads);
        s.kv_head = (uint32_t)((uint64_t)s.head * kv_heads / heads);
        s.sequence = ref_int(&c->o[HY_ATTENTION_row], t);
        s.pos = ref_int(&c->o[HY_ATTENTION_pos], t);
        if (s.sequence >= (int32_t)c->o[HY_ATTENTION_table].n) s.sequence = -1;
        ref_read(q, row, s.q);
        attend(&s);
        ref_emit(c, HY_ATTENTION_out, row, 0, width, s.out, s.mag);
    }
}

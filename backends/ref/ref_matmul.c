/* matmul and grouped_matmul: each weight row is dequantized once, all tokens pass over it. */
#include <math.h>

#include "backends/ref/ref.h"

/* x . w with sum |x| terms, terms NULL: no magnitude asked for. The order of additions depends on k alone. */
static ref_number dot(const double *x, const double *w, const double *terms, uint32_t k) {
    double sum[4] = {0}, mag[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= k; i += 4) {
        for (uint32_t j = 0; j < 4; j++)
            sum[j] += x[i + j] * w[i + j];
    }
    for (; i < k; i++)
        sum[0] += x[i] * w[i];
    for (i = 0; terms && i < k; i++)
        mag[i % 4] += fabs(x[i]) * terms[i];
    ref_number z = {sum[0] + sum[1] + (sum[2] + sum[3]), mag[0] + mag[1] + (mag[2] + mag[3])};
    return z;
}

static ref_number add(ref_number z, double value) {
    ref_number y = {z.value + value, z.mag + fabs(value)};
    return y;
}

/* What one worker needs to make outputs m of both ops. */
typedef struct product {
    const ref_call *c;
    const ref_tensor *w, *bias;    /* bias NULL: none */
    const double *x;               /* [rows, k] */
    double *gate, *up;             /* [k] each: weight rows m and M + m */
    double *gate_terms, *up_terms; /* [k] each: |d q| + |m| of every weight; NULL: no oracle */
    uint32_t k, m_count;
    int32_t act, glu;
} product;

/* Dequantizes the weight rows of output m; `first` is the expert's first row. */
static void load_weights(const product *p, uint64_t first, uint32_t m) {
    ref_read(p->w, first + m, p->gate);
    if (p->gate_terms) ref_read_terms(p->w, first + m, p->gate_terms);
    if (!p->glu) return;
    ref_read(p->w, first + p->m_count + m, p->up);
    if (p->up_terms) ref_read_terms(p->w, first + p->m_count + m, p->up_terms);
}

/* act(z[m]) or act(z[m]) * z[M + m] for row `row` of x; bias_at: offset of the expert's bias. */
static ref_number product_at(const product *p, uint64_t row, uint64_t bias_at, uint32_t m) {
    const double *x = p->x + row * p->k;
    ref_number z = dot(x, p->gate, p->gate_terms, p->k);
    if (p->bias) z = add(z, ref_value(p->bias, bias_at + m));
    z = ref_act(p->act, z);
    if (!p->glu) return z;
    ref_number up = dot(x, p->up, p->up_terms, p->k);
    if (p->bias) up = add(up, ref_value(p->bias, bias_at + p->m_count + m));
    return ref_mul(z, up);
}

/* All workers fill x [rows, k]; it is complete when this returns. */
static void load_x(const ref_call *c, const ref_tensor *x, uint32_t worker, uint32_t workers) {
    const uint64_t rows = ref_rows(x);
    for (uint64_t r = worker; r < rows; r += workers)
        ref_read(x, r, c->scratch + r * ref_inner(x));
    ref_sync(c, workers);
}

static product product_of(const ref_call *c, uint32_t x, uint32_t w, uint32_t bias,
                          uint32_t worker) {
    product p = {.c = c, .w = &c->o[w], .x = c->scratch, .k = ref_inner(&c->o[x])};
    p.bias = ref_has(c, bias) ? &c->o[bias] : NULL;
    p.gate = c->scratch + (hy_tensor_rows(c->o[x].t) + 4 * (uint64_t)worker) * p.k;
    p.up = p.gate + p.k;
    p.gate_terms = c->want ? p.up + p.k : NULL;
    p.up_terms = c->want ? p.up + 2 * (uint64_t)p.k : NULL;
    return p;
}

/* x [rows, k], then two weight rows and their terms per worker. */
static uint64_t scratch_of(const hy_tensor *x, uint32_t workers) {
    return (hy_tensor_rows(x) + 4 * (uint64_t)workers) * x->dim[x->rank - 1];
}

/* An a8 out is stored by rows: results [T, M] wait behind the rest until they are complete. */
uint64_t ref_matmul_scratch(const hy_op *op, uint32_t workers) {
    const hy_tensor *out = &op->operand[HY_MATMUL_out];
    const uint64_t results = out->dtype == HY_DTYPE_A8 ? hy_tensor_rows(out) * out->dim[1] : 0;
    return scratch_of(&op->operand[HY_MATMUL_x], workers) + results;
}

static void emit_rows(const ref_call *c, const double *results, uint32_t worker, uint32_t workers) {
    const uint32_t m = ref_inner(&c->o[HY_MATMUL_out]);
    ref_sync(c, workers);
    for (uint32_t t = worker; t < c->o[HY_MATMUL_out].n; t += workers)
        ref_emit(c, HY_MATMUL_out, t, 0, m, results + (uint64_t)t * m, NULL);
}

void ref_matmul(const ref_call *c, uint32_t worker, uint32_t workers) {
    const hy_matmul_attr *attr = &c->op->matmul;
    product p = product_of(c, HY_MATMUL_x, HY_MATMUL_w, HY_MATMUL_bias, worker);
    const ref_tensor *residual = ref_has(c, HY_MATMUL_residual) ? &c->o[HY_MATMUL_residual] : NULL;
    p.act = attr->act;
    p.glu = attr->glu;
    p.m_count = ref_inner(&c->o[HY_MATMUL_out]);
    double *results = NULL;
    if (c->o[HY_MATMUL_out].t->dtype == HY_DTYPE_A8 && !c->want)
        results = c->scratch + scratch_of(c->o[HY_MATMUL_x].t, workers);
    load_x(c, &c->o[HY_MATMUL_x], worker, workers);
    const uint32_t begin = (uint32_t)((uint64_t)p.m_count * worker / workers);
    const uint32_t end = (uint32_t)((uint64_t)p.m_count * (worker + 1) / workers);
    if (c->o[HY_MATMUL_x].n == 0) return;
    for (uint32_t m = begin; m < end; m++) {
        load_weights(&p, 0, m);
        for (uint32_t t = 0; t < c->o[HY_MATMUL_x].n; t++) {
            ref_number y = product_at(&p, t, 0, m);
            y = ref_softcap(attr->softcap, ref_scale(attr->scale, y));
            if (residual) y = add(y, ref_value(residual, ref_at(residual, t) + m));
            if (results)
                results[(uint64_t)t * p.m_count + m] = y.value;
            else
                ref_emit(c, HY_MATMUL_out, t, m, 1, &y.value, &y.mag);
        }
    }
    if (results) emit_rows(c, results, worker, workers);
}

uint64_t ref_grouped_matmul_scratch(const hy_op *op, uint32_t workers) {
    return scratch_of(&op->operand[HY_GROUPED_MATMUL_x], workers);
}

/* The expert of slot (t, p), or -1. */
static int32_t expert_of(const ref_call *c, uint32_t t, uint32_t slot) {
    const ref_tensor *ids = &c->o[HY_GROUPED_MATMUL_ids];
    const int32_t id = ref_int(ids, ref_at(ids, t) + slot);
    return id >= 0 && (uint32_t)id < c->o[HY_GROUPED_MATMUL_w].t->dim[0] ? id : -1;
}

/* Output m of every slot that chose `expert`; expert -1: zeros. */
static void run_expert(const product *p, int32_t expert, uint32_t m) {
    const ref_call *c = p->c;
    const ref_tensor *x = &c->o[HY_GROUPED_MATMUL_x];
    const uint32_t slots = ref_inner(&c->o[HY_GROUPED_MATMUL_ids]), q = x->t->dim[1];
    bool loaded = false;
    for (uint32_t t = 0; t < x->n; t++) {
        for (uint32_t slot = 0; slot < slots; slot++) {
            if (expert_of(c, t, slot) != expert) continue;
            ref_number y = {0, 0};
            if (expert >= 0) {
                const uint32_t n = p->w->t->dim[1];
                if (!loaded) load_weights(p, (uint64_t)expert * n, m);
                loaded = true;
                const uint64_t bias_at = p->bias ? ref_at(p->bias, (uint64_t)expert) : 0;
                y = product_at(p, (uint64_t)t * q + (q == 1 ? 0 : slot), bias_at, m);
            }
            ref_emit(c, HY_GROUPED_MATMUL_out, (uint64_t)t * slots + slot, m, 1, &y.value, &y.mag);
        }
    }
}

void ref_grouped_matmul(const ref_call *c, uint32_t worker, uint32_t workers) {
    product p =
        product_of(c, HY_GROUPED_MATMUL_x, HY_GROUPED_MATMUL_w, HY_GROUPED_MATMUL_bias, worker);
    p.act = c->op->grouped_matmul.act;
    p.glu = c->op->grouped_matmul.glu;
    p.m_count = ref_inner(&c->o[HY_GROUPED_MATMUL_out]);
    load_x(c, &c->o[HY_GROUPED_MATMUL_x], worker, workers);
    const uint32_t begin = (uint32_t)((uint64_t)p.m_count * worker / workers);
    const uint32_t end = (uint32_t)((uint64_t)p.m_count * (worker + 1) / workers);
    const int32_t experts = (int32_t)p.w->t->dim[0];
    for (uint32_t m = begin; m < end; m++) {
        for (int32_t expert = -1; expert < experts; expert++)
            run_expert(&p, expert, m);
    }
}

/* Choosing: argmax, topk, topk_route; and combining what the chosen experts gave. */
#include <math.h>

#include "backends/ref/ref.h"

static double *row_scratch(const ref_call *c, uint32_t worker) {
    return c->scratch + worker * ref_rows_scratch(c->op, 1);
}

/* NaN loses against everything, and equals come in order of their index. */
static bool beats(double a, double b) {
    return a > b || (isnan(b) && !isnan(a));
}

/* Index of the largest of v [n] that is not yet taken. */
static uint32_t largest(const double *v, const double *taken, uint32_t n) {
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++) {
        if (taken && taken[i] != 0) continue;
        if (best == n || beats(v[i], v[best])) best = i;
    }
    return best;
}

void ref_argmax(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[HY_ARGMAX_x];
    double *v = row_scratch(c, worker);
    for (uint32_t r = worker; r < x->n; r += workers) {
        ref_read(x, r, v);
        const double index = largest(v, NULL, ref_inner(x)), mag = 0;
        ref_emit(c, HY_ARGMAX_out, 0, r, 1, &index, &mag);
    }
}

void ref_topk(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[HY_TOPK_x];
    const uint32_t n = ref_inner(x);
    double *v = row_scratch(c, worker), *taken = v + n;
    for (uint32_t r = worker; r < x->n; r += workers) {
        ref_read(x, r, v);
        for (uint32_t i = 0; i < n; i++)
            taken[i] = 0;
        for (uint32_t i = 0; i < (uint32_t)c->op->topk.k; i++) {
            const uint32_t best = largest(v, taken, n);
            const double index = best, mag = 0;
            taken[best] = 1;
            ref_emit(c, HY_TOPK_values, r, i, 1, &v[best], &mag);
            ref_emit(c, HY_TOPK_ids, r, i, 1, &index, &mag);
        }
    }
}

/* p = gate(logits) of one row, to p and mag [E]. */
static void gate_row(const ref_call *c, uint32_t t, double *p, double *mag) {
    const ref_tensor *logits = &c->o[HY_TOPK_ROUTE_logits];
    const uint32_t n = ref_inner(logits);
    const int32_t gate = c->op->topk_route.gate;
    ref_read(logits, t, p);
    for (uint32_t i = 0; i < n; i++) {
        ref_number number = {p[i], gate == HY_GATE_NONE ? 0 : fabs(p[i])};
        if (gate == HY_GATE_SIGMOID) number = ref_act(HY_ACT_SIGMOID, number);
        p[i] = number.value;
        mag[i] = number.mag;
    }
    if (gate == HY_GATE_SOFTMAX) ref_softmax(p, mag, n);
}

/* Divides by the sum, or takes the softmax, of the k chosen. */
static void normalize(double *w, double *mag, uint32_t k, int32_t how) {
    double sum = 0, sum_mag = 0;
    if (how == 2) ref_softmax(w, mag, k);
    if (how != 1) return;
    for (uint32_t i = 0; i < k; i++) {
        sum += w[i];
        sum_mag += mag[i] + fabs(w[i]);
    }
    for (uint32_t i = 0; i < k; i++) {
        w[i] /= sum;
        mag[i] = (mag[i] + fabs(w[i]) * sum_mag) / fabs(sum) + fabs(w[i]);
    }
}

void ref_topk_route(const ref_call *c, uint32_t worker, uint32_t workers) {
    const hy_topk_route_attr *attr = &c->op->topk_route;
    const ref_tensor *logits = &c->o[HY_TOPK_ROUTE_logits];
    const uint32_t n = ref_inner(logits), k = (uint32_t)attr->k;
    const double scale = attr->scale == 0 ? 1 : attr->scale;
    double *p = row_scratch(c, worker), *mag = p + n, *key = mag + n;
    double *w = key + n, *wm = w + n, *taken = wm + n;
    for (uint32_t t = worker; t < logits->n; t += workers) {
        gate_row(c, t, p, mag);
        const bool bias = ref_has(c, HY_TOPK_ROUTE_bias);
        for (uint32_t i = 0; i < n; i++) {
            key[i] = p[i] + (bias ? ref_value(&c->o[HY_TOPK_ROUTE_bias], i) : 0);
            taken[i] = 0;
        }
        for (uint32_t i = 0; i < k; i++) {
            const uint32_t best = largest(key, taken, n);
            const double index = best, none = 0;
            w[i] = p[best];
            wm[i] = mag[best];
            taken[best] = 1;
            ref_emit(c, HY_TOPK_ROUTE_ids, t, i, 1, &index, &none);
        }
        normalize(w, wm, k, attr->normalize);
        for (uint32_t i = 0; i < k; i++) {
            w[i] *= scale;
            wm[i] = scale == 1 ? wm[i] : wm[i] * fabs(scale) + fabs(w[i]);
        }
        ref_emit(c, HY_TOPK_ROUTE_weights, t, 0, k, w, wm);
    }
}

void ref_combine(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[HY_COMBINE_x], *weights = &c->o[HY_COMBINE_weights];
    const uint32_t slots = x->t->dim[1], d = ref_inner(x);
    const uint64_t width = ref_rows_scratch(c->op, 1) / REF_ROWS;
    double *sum = row_scratch(c, worker), *mag = sum + width, *v = mag + width;
    for (uint32_t t = worker; t < x->n; t += workers) {
        if (ref_has(c, HY_COMBINE_residual)) ref_read(&c->o[HY_COMBINE_residual], t, sum);
        for (uint32_t i = 0; i < d; i++) {
            if (!ref_has(c, HY_COMBINE_residual)) sum[i] = 0;
            mag[i] = fabs(sum[i]);
        }
        for (uint32_t p = 0; p < slots; p++) {
            const double weight = ref_value(weights, ref_at(weights, t) + p);
            ref_read(x, (uint64_t)t * slots + p, v);
            for (uint32_t i = 0; i < d; i++) {
                sum[i] += weight * v[i];
                mag[i] += fabs(weight * v[i]);
            }
        }
        ref_emit(c, HY_COMBINE_out, t, 0, d, sum, mag);
    }
}

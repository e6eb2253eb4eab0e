/* rope_table and rope. */
#include <math.h>

#include "backends/ref/ref.h"

uint64_t ref_rope_scratch(const hy_op *op, uint32_t workers) {
    const bool table = op->kind == HY_OP_ROPE_TABLE;
    const hy_tensor *out = &op->operand[table ? HY_ROPE_TABLE_out : HY_ROPE_out];
    return 3 * (uint64_t)out->dim[out->rank - 1] * workers;
}

void ref_rope_table(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *pos = &c->o[HY_ROPE_TABLE_pos], *freq = &c->o[HY_ROPE_TABLE_freq];
    const uint32_t f = freq->t->dim[0];
    const double scale = c->op->rope_table.magnitude == 0 ? 1 : c->op->rope_table.magnitude;
    double *out = c->scratch + (uint64_t)worker * 6 * f, *mag = out + 2 * (uint64_t)f;
    for (uint32_t t = worker; t < pos->n; t += workers) {
        for (uint32_t j = 0; j < f; j++) {
            const uint64_t at = ref_at(freq, j);
            const double angle = ref_int(pos, t) * (ref_value(freq, at) + ref_value(freq, at + 1));
            out[j] = cos(angle) * scale;
            out[f + j] = sin(angle) * scale;
            mag[j] = mag[f + j] = fabs(scale);
        }
        ref_emit(c, HY_ROPE_TABLE_out, t, 0, 2 * f, out, mag);
    }
}

void ref_rotate(double *v, double *mag, const double *table, uint32_t g, int32_t style) {
    const uint32_t half = g / 2;
    for (uint32_t j = 0; j < half; j++) {
        const uint32_t i0 = style == HY_ROPE_HALVES ? j : 2 * j;
        const uint32_t i1 = style == HY_ROPE_HALVES ? j + half : 2 * j + 1;
        const double a = v[i0], b = v[i1], ma = mag[i0], mb = mag[i1];
        const double cosine = table[j], sine = table[half + j];
        v[i0] = a * cosine - b * sine;
        v[i1] = a * sine + b * cosine;
        mag[i0] = ma * fabs(cosine) + mb * fabs(sine);
        mag[i1] = ma * fabs(sine) + mb * fabs(cosine);
    }
}

void ref_rope(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[HY_ROPE_x], *table = &c->o[HY_ROPE_table];
    const uint32_t d = ref_inner(x), g = ref_inner(table), heads = x->t->dim[1];
    double *v = c->scratch + (uint64_t)worker * 3 * d, *mag = v + d, *angles = mag + d;
    for (uint64_t row = worker; row < ref_rows(x); row += workers) {
        ref_read(x, row, v);
        ref_read(table, row / heads, angles);
        for (uint32_t i = 0; i < d; i++)
            mag[i] = i < g ? fabs(v[i]) : 0; /* the rest is copied */
        ref_rotate(v, mag, angles, g, c->op->rope.style);
        ref_emit(c, HY_ROPE_out, row, 0, d, v, mag);
    }
}

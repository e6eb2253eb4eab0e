/* rms_norm and layer_norm, with the residual addition in front. */
#include <math.h>

#include "backends/ref/ref.h"

uint64_t ref_norm_scratch(const hy_op *op, uint32_t workers) {
    const hy_tensor *x = &op->operand[HY_RMS_NORM_x];
    return 4 * (uint64_t)x->dim[x->rank - 1] * workers;
}

static double mean_square(const double *v, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += v[i] * v[i];
    return sum / n;
}

void ref_rms(double *v, double *mag, uint32_t n, double eps, const double *weight) {
    const double r = 1 / sqrt(mean_square(v, n) + eps), spread = sqrt(mean_square(mag, n)) * r;
    for (uint32_t i = 0; i < n; i++) {
        const double w = weight ? weight[i] : 1;
        mag[i] = (mag[i] + fabs(v[i]) * spread) * r * fabs(w);
        v[i] *= r * w;
    }
}

/* v - mean, with what the mean may be off. */
static void center(double *v, double *mag, uint32_t n) {
    double mean = 0, mean_mag = 0;
    for (uint32_t i = 0; i < n; i++) {
        mean += v[i];
        mean_mag += mag[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        v[i] -= mean / n;
        mag[i] += mean_mag / n;
    }
}

/* s as stored in `dtype`. Where float32 arithmetic may round to the other neighbour, mag covers that. */
static void store_rounding(hy_dtype dtype, double *s, double *mag, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const double error = 0x1p-23 * mag[i];
        if (dtype != HY_DTYPE_F32)
            mag[i] +=
                0x1p24 * fabs(ref_round(dtype, s[i] + error) - ref_round(dtype, s[i] - error));
        s[i] = ref_round(dtype, s[i]);
    }
}

/* s = x + residual of one row; emits the sum where present. */
static void load_sum(const ref_call *c, uint64_t row, uint32_t residual, uint32_t sum, double *s,
                     double *mag, double *other) {
    const uint32_t d = ref_inner(&c->o[HY_RMS_NORM_x]);
    ref_read(&c->o[HY_RMS_NORM_x], row, s);
    for (uint32_t i = 0; i < d; i++)
        mag[i] = fabs(s[i]);
    if (ref_has(c, residual)) {
        ref_read(&c->o[residual], row, other);
        for (uint32_t i = 0; i < d; i++) {
            s[i] += other[i];
            mag[i] += fabs(other[i]);
        }
    }
    if (!ref_has(c, sum)) return;
    ref_emit(c, sum, row, 0, d, s, mag);
    store_rounding((hy_dtype)c->o[sum].t->dtype, s, mag, d);
}

void ref_rms_norm(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[HY_RMS_NORM_x];
    const uint32_t d = ref_inner(x);
    double *s = c->scratch + (uint64_t)worker * 4 * d, *mag = s + d, *other = mag + d;
    double *weight = ref_has(c, HY_RMS_NORM_weight) ? other + d : NULL;
    if (weight) ref_read(&c->o[HY_RMS_NORM_weight], 0, weight);
    for (uint64_t row = worker; row < ref_rows(x); row += workers) {
        load_sum(c, row, HY_RMS_NORM_residual, HY_RMS_NORM_sum, s, mag, other);
        ref_rms(s, mag, d, c->op->rms_norm.eps, weight);
        ref_emit(c, HY_RMS_NORM_out, row, 0, d, s, mag);
    }
}

void ref_layer_norm(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[HY_LAYER_NORM_x];
    const uint32_t d = ref_inner(x);
    double *s = c->scratch + (uint64_t)worker * 4 * d, *mag = s + d, *other = mag + d;
    double *weight = ref_has(c, HY_LAYER_NORM_weight) ? other + d : NULL;
    if (weight) ref_read(&c->o[HY_LAYER_NORM_weight], 0, weight);
    for (uint64_t row = worker; row < ref_rows(x); row += workers) {
        load_sum(c, row, HY_LAYER_NORM_residual, HY_LAYER_NORM_sum, s, mag, other);
        center(s, mag, d);
        ref_rms(s, mag, d, c->op->layer_norm.eps, weight);
        if (ref_has(c, HY_LAYER_NORM_bias)) {
            ref_read(&c->o[HY_LAYER_NORM_bias], 0, other);
            for (uint32_t i = 0; i < d; i++) {
                s[i] += other[i];
                mag[i] += fabs(other[i]);
            }
        }
        ref_emit(c, HY_LAYER_NORM_out, row, 0, d, s, mag);
    }
}

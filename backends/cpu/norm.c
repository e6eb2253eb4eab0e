/* backends/cpu/norm.c: rms_norm, layer_norm, softmax: one row at a time, each row by one worker. Sums go
 * into 4 x 16 lanes by column and down a fixed tree, so that every ISA gives the same bits. */
#include <math.h>

#include "backends/cpu/kernel.h"
#include "backends/cpu/misc.h"

enum { SUMS = 4 }; /* chains of 16 lanes: enough to hide the latency of an addition */

CPU_INLINE float total(const v16 sum[SUMS]) {
    return v16_sum(v16_add(v16_add(sum[0], sum[1]), v16_add(sum[2], sum[3])));
}

/* One row: where s = x + residual comes from. */
typedef struct row_in {
    const char *x, *residual;
    char *sum;
    uint32_t x_dtype, residual_dtype, sum_dtype, columns;
} row_in;

/* First reading of s at column i; stores it in `sum`. The lanes are as stored. */
CPU_INLINE v16 first_s(const row_in *r, uint32_t i) {
    v16 s = cpu_get(r->x_dtype, r->x, i, r->columns);
    if (r->residual) s = v16_add(s, cpu_get(r->residual_dtype, r->residual, i, r->columns));
    if (r->sum) {
        cpu_put(r->sum_dtype, r->sum, i, r->columns, s);
        s = cpu_rounded(r->sum_dtype, s);
    }
    return s;
}

/* s once more: from `sum`, which may have been written over x. */
CPU_INLINE v16 next_s(const row_in *r, uint32_t i) {
    if (r->sum) return cpu_get(r->sum_dtype, r->sum, i, r->columns);
    const v16 s = cpu_get(r->x_dtype, r->x, i, r->columns);
    return r->residual ? v16_add(s, cpu_get(r->residual_dtype, r->residual, i, r->columns)) : s;
}

CPU_INLINE void rms_row(const row_in *r, const float *weight, float eps, uint32_t dtype,
                        char *out) {
    v16 sum[SUMS] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
    for (uint32_t i = 0; i < r->columns; i += 16) {
        const v16 s = first_s(r, i);
        sum[i / 16 % SUMS] = v16_add(sum[i / 16 % SUMS], v16_mul(s, s));
    }
    const v16 scale = v16_set(1.0f / sqrtf(total(sum) / (float)r->columns + eps));
    float buffer[CPU_CHUNK];
    for (uint32_t begin = 0; begin < r->columns; begin += CPU_CHUNK) {
        const uint32_t count = HY_MIN(r->columns - begin, CPU_CHUNK);
        float *to = cpu_out(dtype, out, begin, buffer);
        for (uint32_t i = 0; i < count; i += 16) {
            v16 y = v16_mul(next_s(r, begin + i), scale);
            if (weight) y = v16_mul(y, cpu_get(HY_DTYPE_F32, weight + begin, i, count));
            cpu_put(HY_DTYPE_F32, to, i, count, y);
        }
        cpu_flush(dtype, out, begin, count, to);
    }
}

void CPU_NAME(cpu_rms_norm)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const float eps = call->op.rms_norm.eps;
    const uint32_t dtype = t[HY_RMS_NORM_out].dtype, columns = cpu_columns(&t[HY_RMS_NORM_x]);
    uint64_t row, end;
    cpu_share(cpu_flat_rows(call, HY_RMS_NORM_x), worker, workers, &row, &end);
    for (; row < end; row++) {
        row_in r = {cpu_row(call, HY_RMS_NORM_x, row),
                    cpu_row(call, HY_RMS_NORM_residual, row),
                    cpu_row(call, HY_RMS_NORM_sum, row),
                    t[HY_RMS_NORM_x].dtype,
                    t[HY_RMS_NORM_residual].dtype,
                    t[HY_RMS_NORM_sum].dtype,
                    columns};
        const float *weight = call->p[HY_RMS_NORM_weight];
        char *out = cpu_row(call, HY_RMS_NORM_out, row);
        if (r.x_dtype == HY_DTYPE_F32 && (!r.residual || r.residual_dtype == HY_DTYPE_F32) &&
            (!r.sum || r.sum_dtype == HY_DTYPE_F32)) {
            r.x_dtype = r.residual_dtype = r.sum_dtype = HY_DTYPE_F32; /* known to the compiler */
            rms_row(&r, weight, eps, dtype, out);
        } else {
            rms_row(&r, weight, eps, dtype, out);
        }
    }
}

/* Mean and 1 / sqrt(var + eps) of a row. The mean is corrected by the mean of the differences, so that a
 * large common offset does not cost digits. */
static void moments(const row_in *r, float eps, float *mean, float *correction, float *scale) {
    const float n = (float)r->columns;
    v16 sum[SUMS] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
    for (uint32_t i = 0; i < r->columns; i += 16)
        sum[i / 16 % SUMS] = v16_add(sum[i / 16 % SUMS], first_s(r, i));
    *mean = total(sum) / n;
    v16 squares[SUMS];
    for (int i = 0; i < SUMS; i++)
        sum[i] = squares[i] = v16_zero();
    for (uint32_t i = 0; i < r->columns; i += 16) {
        float lanes[16];
        v16 d = v16_sub(next_s(r, i), v16_set(*mean));
        if (r->columns - i < 16) { /* lanes past the row are not part of it */
            v16_store(lanes, d);
            d = v16_load_n(lanes, r->columns - i);
        }
        sum[i / 16 % SUMS] = v16_add(sum[i / 16 % SUMS], d);
        squares[i / 16 % SUMS] = v16_add(squares[i / 16 % SUMS], v16_mul(d, d));
    }
    *correction = total(sum) / n;
    float var = total(squares) / n - *correction * *correction;
    *scale = 1.0f / sqrtf((var > 0 || var != var ? var : 0.0f) + eps);
}

static void layer_row(const row_in *r, const float *weight, const float *bias, float eps,
                      uint32_t dtype, char *out) {
    float mean, correction, scale, buffer[CPU_CHUNK];
    moments(r, eps, &mean, &correction, &scale);
    for (uint32_t begin = 0; begin < r->columns; begin += CPU_CHUNK) {
        const uint32_t count = HY_MIN(r->columns - begin, CPU_CHUNK);
        float *to = cpu_out(dtype, out, begin, buffer);
        for (uint32_t i = 0; i < count; i += 16) {
            v16 y = v16_sub(next_s(r, begin + i), v16_set(mean));
            y = v16_mul(v16_sub(y, v16_set(correction)), v16_set(scale));
            if (weight) y = v16_mul(y, cpu_get(HY_DTYPE_F32, weight + begin, i, count));
            if (bias) y = v16_add(y, cpu_get(HY_DTYPE_F32, bias + begin, i, count));
            cpu_put(HY_DTYPE_F32, to, i, count, y);
        }
        cpu_flush(dtype, out, begin, count, to);
    }
}

void CPU_NAME(cpu_layer_norm)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    uint64_t row, end;
    cpu_share(cpu_flat_rows(call, HY_LAYER_NORM_x), worker, workers, &row, &end);
    for (; row < end; row++) {
        const row_in r = {
            cpu_row(call, HY_LAYER_NORM_x, row),   cpu_row(call, HY_LAYER_NORM_residual, row),
            cpu_row(call, HY_LAYER_NORM_sum, row), t[HY_LAYER_NORM_x].dtype,
            t[HY_LAYER_NORM_residual].dtype,       t[HY_LAYER_NORM_sum].dtype,
            cpu_columns(&t[HY_LAYER_NORM_x])};
        layer_row(&r, call->p[HY_LAYER_NORM_weight], call->p[HY_LAYER_NORM_bias],
                  call->op.layer_norm.eps, t[HY_LAYER_NORM_out].dtype,
                  cpu_row(call, HY_LAYER_NORM_out, row));
    }
}

/* scale * x with lanes past the row at -infinity. */
CPU_INLINE v16 softmax_in(uint32_t dtype, const char *x, uint32_t i, uint32_t columns, v16 scale) {
    v16 s = v16_mul(scale, cpu_get(dtype, x, i, columns));
    if (columns - i >= 16) return s;
    float lanes[16];
    v16_store(lanes, s);
    for (uint32_t j = columns - i; j < 16; j++)
        lanes[j] = -INFINITY;
    return v16_load(lanes);
}

static void softmax_row(uint32_t dtype, const char *x, uint32_t columns, float scale_value,
                        uint32_t out_dtype, char *out) {
    const v16 scale = v16_set(scale_value);
    v16 largest = v16_set(-INFINITY);
    for (uint32_t i = 0; i < columns; i += 16)
        largest = v16_max(softmax_in(dtype, x, i, columns, scale), largest);
    const v16 top = v16_set(v16_max_lane(largest));
    v16 sum[SUMS] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
    for (uint32_t i = 0; i < columns; i += 16) {
        const v16 e = v16_exp(v16_sub(softmax_in(dtype, x, i, columns, scale), top));
        sum[i / 16 % SUMS] = v16_add(sum[i / 16 % SUMS], e);
    }
    const v16 all = v16_set(total(sum));
    for (uint32_t i = 0; i < columns; i += 16) {
        const v16 e = v16_exp(v16_sub(softmax_in(dtype, x, i, columns, scale), top));
        cpu_put(out_dtype, out, i, columns, v16_div(e, all));
    }
}

void CPU_NAME(cpu_softmax)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const float scale = call->op.softmax.scale == 0 ? 1.0f : call->op.softmax.scale;
    uint64_t row, end;
    cpu_share(cpu_flat_rows(call, HY_SOFTMAX_x), worker, workers, &row, &end);
    for (; row < end; row++)
        softmax_row(t[HY_SOFTMAX_x].dtype, cpu_row(call, HY_SOFTMAX_x, row),
                    cpu_columns(&t[HY_SOFTMAX_x]), scale, t[HY_SOFTMAX_out].dtype,
                    cpu_row(call, HY_SOFTMAX_out, row));
}

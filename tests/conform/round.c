/* tests/conform/round.c: rounding of activations to a8; of activations and weights to f16 or bf16. */
#include "tests/conform/round.h"

#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/num.h"

static const float half_max = 65504.0f;

static bool to_half(const hy_kernel *kernel) {
    return kernel->rounded == HY_DTYPE_F16;
}

static bool to_bfloat(const hy_kernel *kernel) {
    return kernel->rounded == HY_DTYPE_BF16;
}

bool conform_rounds(const hy_op *op, const hy_kernel *kernel, uint32_t operand) {
    const bool product = op->kind == HY_OP_MATMUL || op->kind == HY_OP_GROUPED_MATMUL;
    if (!(kernel->flags & HY_KERNEL_ROUNDS)) return false;
    if (op->kind == HY_OP_ATTENTION) return operand == HY_ATTENTION_q;
    if (!product) return false;
    if (to_half(kernel) || to_bfloat(kernel))
        return operand == HY_MATMUL_x || operand == HY_MATMUL_w;
    return operand == HY_MATMUL_x && op->operand[operand].dtype != HY_DTYPE_A8;
}

/* The power of two that a row of x is multiplied with before it is rounded to f16: the largest up
 * to 2^126 that keeps magnitudes below 2^14; 1 for a row of zeros. */
static float scale_of(const float *row, uint32_t count) {
    float largest = 0;
    int exponent;
    for (uint32_t i = 0; i < count; i++)
        if (fabsf(row[i]) > largest) largest = fabsf(row[i]); /* not NaN: a row past the count */
    if (largest == 0) return 1;
    frexpf(largest, &exponent); /* largest < 2^exponent */
    return ldexpf(1, HY_MIN(14 - exponent, 126));
}

static void round_x_to_half(float *row, uint32_t count) {
    const float scale = scale_of(row, count);
    for (uint32_t i = 0; i < count; i++)
        row[i] = hy_f16_to_f32(hy_f32_to_f16(row[i] * scale)) / scale;
}

static void round_w_to_half(float *row, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        row[i] = hy_f16_to_f32(hy_f32_to_f16(HY_MIN(HY_MAX(row[i], -half_max), half_max)));
}

/* To nearest even, subnormals to zero. */
static float to_nearest_bfloat(float x) {
    return fabsf(x) < 0x1p-126f ? 0 : hy_bf16_to_f32(hy_f32_to_bf16(x));
}

static void round_to_bfloat(float *row, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        row[i] = to_nearest_bfloat(row[i]);
}

hy_status conform_round(const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                        const uint8_t *data, float *out) {
    const hy_tensor *t = &op->operand[operand];
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
    const uint32_t columns = t->dim[t->rank - 1], d1 = t->rank > 2 ? t->dim[1] : 1;
    uint8_t *a8 = malloc(columns / 32 * sizeof(hy_a8_block) + 1);
    if (!a8) return hy_fail(HY_E_MEMORY, "no memory for a row of a8");
    for (uint32_t a = 0; a < t->dim[0]; a++) {
        for (uint32_t b = 0; b < d1; b++, out += columns) {
            const uint64_t at = a * t->stride[0] + (t->rank > 2 ? b * t->stride[1] : 0);
            hy_dequantize_row((hy_dtype)t->dtype, data + at / info->block * info->bytes, out,
                              columns);
            if (to_bfloat(kernel)) {
                round_to_bfloat(out, columns);
            } else if (!to_half(kernel)) {
                hy_quantize_row(HY_DTYPE_A8, out, a8, columns);
                hy_dequantize_row(HY_DTYPE_A8, a8, out, columns);
            } else if (operand == HY_MATMUL_x && op->kind != HY_OP_ATTENTION) {
                round_x_to_half(out, columns);
            } else {
                round_w_to_half(out, columns);
            }
        }
    }
    free(a8);
    return HY_OK;
}

/* Half a step of f16, of numbers multiplied with `scale` before. */
static double half_step(float x, float scale) {
    return HY_MAX(fabs((double)x) * 0x1p-11, 0x1p-25 / (double)scale);
}

/* Half a step of bf16: 8 bits are kept. */
static double half_step_of_bfloat(float x) {
    int exponent;
    frexpf(x, &exponent); /* |x| < 2^exponent */
    return HY_MAX(ldexp(1, exponent - 9), 0x1p-126);
}

double conform_rounding(const hy_kernel *kernel, const float *x, const float *w, uint32_t count) {
    double allowed = 0;
    if (to_bfloat(kernel)) {
        for (uint32_t i = 0; i < count; i++) {
            const double dx = half_step_of_bfloat(x[i]), rounded = (double)to_nearest_bfloat(w[i]);
            allowed += fabs((double)x[i]) * fabs((double)w[i] - rounded) + dx * fabs(rounded);
        }
        return allowed;
    }
    if (to_half(kernel)) {
        const float scale = scale_of(x, count);
        for (uint32_t i = 0; i < count; i++) {
            const double dx = half_step(x[i], scale), dw = half_step(w[i], 1);
            allowed += fabs((double)x[i]) * dw + dx * (fabs((double)w[i]) + dw);
        }
        return allowed;
    }
    for (uint32_t b = 0; b < count; b += 32) {
        float largest = 0, weight = 0;
        for (uint32_t i = b; i < b + 32; i++) {
            largest = HY_MAX(largest, fabsf(x[i]));
            weight += fabsf(w[i]);
        }
        allowed += (double)largest / 127.0 * 0.5 * (double)weight;
    }
    return allowed;
}

/* Reading operands exactly, rounding results once, and arithmetic that carries magnitudes. */
#include "backends/ref/ref.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"

#define CHUNK 256 /* elements dequantized at a time; a multiple of every block */

/* ---- reading ------------------------------------------------------------------------------------- */

uint64_t ref_rows(const ref_tensor *o) {
    if (o->t->rank == 1) return 1;
    uint64_t rows = o->n;
    for (uint32_t d = 1; d + 1u < o->t->rank; d++)
        rows *= o->t->dim[d];
    return rows;
}

uint64_t ref_at(const ref_tensor *o, uint64_t row) {
    uint64_t at = 0;
    for (uint32_t d = o->t->rank - 1u; d-- > 0;) {
        at += row % o->t->dim[d] * o->t->stride[d];
        row /= o->t->dim[d];
    }
    return at;
}

static uint8_t *address(const ref_tensor *o, uint64_t at) {
    return o->p + hy_dtype_row_bytes(hy_dtype_get((hy_dtype)o->t->dtype), at);
}

double ref_value(const ref_tensor *o, uint64_t at) {
    const uint8_t *p = address(o, at);
    float value = 0;
    if (o->t->dtype == HY_DTYPE_I32) return ref_int(o, at);
    hy_dequantize_row((hy_dtype)o->t->dtype, p, &value, 1);
    return value;
}

int32_t ref_int(const ref_tensor *o, uint64_t at) {
    int32_t value;
    memcpy(&value, address(o, at), sizeof value);
    return value;
}

/* The exact products of an a8 row: scale * q needs up to 32 bits, more than a float32 holds. */
static void read_a8(const uint8_t *src, double *dst, uint32_t count) {
    for (uint32_t i = 0; i < count; i += 32) {
        hy_a8_block block;
        memcpy(&block, src + i / 32 * sizeof block, sizeof block);
        for (uint32_t j = 0; j < 32; j++)
            dst[i + j] = (double)block.scale * block.q[j];
    }
}

void ref_read(const ref_tensor *o, uint64_t row, double *dst) {
    const hy_dtype dtype = (hy_dtype)o->t->dtype;
    const uint32_t count = ref_inner(o);
    const uint64_t at = ref_at(o, row);
    float chunk[CHUNK];
    if (dtype == HY_DTYPE_A8) {
        read_a8(address(o, at), dst, count);
        return;
    }
    for (uint32_t i = 0; i < count; i += CHUNK) {
        const uint32_t n = HY_MIN(count - i, CHUNK);
        if (dtype == HY_DTYPE_I32) {
            for (uint32_t j = 0; j < n; j++)
                dst[i + j] = ref_int(o, at + i + j);
            continue;
        }
        hy_dequantize_row(dtype, address(o, at + i), chunk, n);
        for (uint32_t j = 0; j < n; j++)
            dst[i + j] = chunk[j];
    }
}

void ref_read_terms(const ref_tensor *o, uint64_t row, double *dst) {
    const hy_dtype dtype = (hy_dtype)o->t->dtype;
    const uint32_t count = ref_inner(o);
    const uint64_t at = ref_at(o, row);
    float chunk[CHUNK];
    for (uint32_t i = 0; i < count; i += CHUNK) {
        const uint32_t n = HY_MIN(count - i, CHUNK);
        hy_dequantize_terms(dtype, address(o, at + i), chunk, n);
        for (uint32_t j = 0; j < n; j++)
            dst[i + j] = chunk[j];
    }
}

/* Planar q8_0 pages: per (page, head) int8 [L, D], then f16 scales [L, D / 32]. */
static uint8_t *page_of(const ref_tensor *o, uint64_t row, uint8_t **scales, uint32_t *index) {
    const uint32_t length = o->t->dim[2], d = o->t->dim[3];
    uint8_t *page =
        o->p + row / length * hy_dtype_row_bytes(hy_dtype_get(HY_DTYPE_Q8_0), (uint64_t)length * d);
    *index = (uint32_t)(row % length);
    *scales = page + (uint64_t)length * d + (uint64_t)*index * (d / 32) * 2;
    return page + (uint64_t)*index * d;
}

void ref_cache_read(const ref_tensor *o, uint64_t row, double *dst) {
    if (o->t->dtype != HY_DTYPE_Q8_0) {
        ref_read(o, row, dst);
        return;
    }
    uint8_t *scales;
    uint32_t index;
    const uint8_t *q = page_of(o, row, &scales, &index);
    for (uint32_t i = 0; i < o->t->dim[3]; i++) {
        uint16_t scale;
        memcpy(&scale, scales + i / 32 * 2, sizeof scale);
        dst[i] = (double)hy_f16_to_f32(scale) * (int8_t)q[i];
    }
}

/* ---- rounding and storing ------------------------------------------------------------------------ */

/* Nearest number of `digits` binary digits, smallest normal exponent `lowest`, largest value `most`. */
static double round_digits(double x, int digits, int lowest, double most) {
    int exponent;
    if (x == 0 || !isfinite(x)) return x;
    (void)frexp(x, &exponent); /* |x| in [2^(exponent - 1), 2^exponent) */
    const int quantum = HY_MAX(exponent - digits, lowest - digits + 1);
    const double rounded = ldexp(nearbyint(ldexp(x, -quantum)), quantum);
    return fabs(rounded) > most ? copysign(INFINITY, x) : rounded;
}

double ref_round(hy_dtype dtype, double x) {
    switch (dtype) {
    case HY_DTYPE_F32:
        return (float)x;
    case HY_DTYPE_F16:
        return round_digits(x, 11, -14, 65504);
    case HY_DTYPE_BF16:
        return round_digits(x, 8, -126, 0x1.fep127);
    default:
        return x;
    }
}

static void store_one(hy_dtype dtype, uint8_t *dst, double x) {
    const float value = (float)ref_round(dtype, x);
    const int32_t integer = dtype == HY_DTYPE_I32 ? (int32_t)x : 0;
    uint16_t half;
    switch (dtype) {
    case HY_DTYPE_F32:
        memcpy(dst, &value, sizeof value);
        break;
    case HY_DTYPE_F16: /* exact, the value is rounded already */
        half = hy_f32_to_f16(value);
        memcpy(dst, &half, sizeof half);
        break;
    case HY_DTYPE_BF16:
        half = hy_f32_to_bf16(value);
        memcpy(dst, &half, sizeof half);
        break;
    case HY_DTYPE_I32:
        memcpy(dst, &integer, sizeof integer);
        break;
    default:
        break;
    }
}

static void store_a8(uint8_t *dst, const double *want, uint32_t count) {
    float block[32];
    for (uint32_t i = 0; i < count; i += 32) {
        for (uint32_t j = 0; j < 32; j++)
            block[j] = (float)want[i + j];
        hy_quantize_row(HY_DTYPE_A8, block, dst + i / 32 * sizeof(hy_a8_block), 32);
    }
}

/* Whether the oracle takes this result; it takes none of the operands that it was not asked for. */
static bool keep(const ref_call *c, uint32_t operand, uint64_t row, uint32_t column, uint32_t count,
                 const double *want, const double *mag) {
    if (!c->want) return false;
    if (operand != c->target) return true;
    const uint64_t at = row * ref_inner(&c->o[operand]) + column;
    memcpy(c->want + at, want, count * sizeof *want);
    memcpy(c->mag + at, mag, count * sizeof *mag);
    return true;
}

void ref_emit(const ref_call *c, uint32_t operand, uint64_t row, uint32_t column, uint32_t count,
              const double *want, const double *mag) {
    const ref_tensor *o = &c->o[operand];
    const hy_dtype dtype = (hy_dtype)o->t->dtype;
    if (keep(c, operand, row, column, count, want, mag)) return;
    const uint64_t at = ref_at(o, row) + column;
    if (dtype == HY_DTYPE_A8) {
        store_a8(address(o, at), want, count);
        return;
    }
    const uint32_t bytes = hy_dtype_get(dtype)->bytes;
    uint8_t *dst = address(o, at);
    for (uint32_t i = 0; i < count; i++)
        store_one(dtype, dst + (uint64_t)i * bytes, want[i]);
}

void ref_cache_emit(const ref_call *c, uint32_t operand, uint64_t row, const double *want,
                    const double *mag) {
    const ref_tensor *o = &c->o[operand];
    const uint32_t d = ref_inner(o);
    if (o->t->dtype != HY_DTYPE_Q8_0) {
        ref_emit(c, operand, row, 0, d, want, mag);
        return;
    }
    if (keep(c, operand, row, 0, d, want, mag)) return;
    uint8_t *scales;
    uint32_t index;
    uint8_t *q = page_of(o, row, &scales, &index);
    for (uint32_t i = 0; i < d; i += 32) {
        float largest = 0;
        for (uint32_t j = i; j < i + 32; j++)
            largest = HY_MAX(largest, fabsf((float)want[j]));
        const float scale = largest / 127.0f;
        const uint16_t half = hy_f32_to_f16(scale);
        memcpy(scales + i / 32 * 2, &half, sizeof half);
        for (uint32_t j = i; j < i + 32; j++) {
            const float level = scale > 0 ? nearbyintf((float)want[j] / scale) : 0;
            q[j] = (uint8_t)(int8_t)HY_MAX(-127.0f, HY_MIN(127.0f, level));
        }
    }
}

/* ---- arithmetic ---------------------------------------------------------------------------------- */

static double act_value(int32_t act, double x) {
    switch (act) {
    case HY_ACT_SILU:
        return x / (1 + exp(-x));
    case HY_ACT_GELU_TANH: /* sqrt(2 / pi) */
        return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case HY_ACT_GELU_ERF: /* sqrt(1 / 2) */
        return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case HY_ACT_RELU:
        return x > 0 ? x : 0;
    case HY_ACT_RELU2:
        return x > 0 ? x * x : 0;
    case HY_ACT_TANH:
        return tanh(x);
    case HY_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    default:
        return x;
    }
}

ref_number ref_act(int32_t act, ref_number z) {
    /* Largest slopes: silu 1.0998, gelu 1.1290. */
    static const double slope[HY_ACT_COUNT] = {
        [HY_ACT_SILU] = 1.1, [HY_ACT_GELU_TANH] = 1.13, [HY_ACT_GELU_ERF] = 1.13,
        [HY_ACT_RELU] = 1,   [HY_ACT_TANH] = 1,         [HY_ACT_SIGMOID] = 0.25};
    if (act == HY_ACT_NONE) return z;
    ref_number y = {act_value(act, z.value), 0};
    if (act == HY_ACT_RELU2)
        y.mag = (2 * fabs(z.value) + 0x1p-20 * z.mag) * z.mag + y.value;
    else
        y.mag = slope[act] * z.mag + fabs(y.value);
    return y;
}

ref_number ref_mul(ref_number a, ref_number b) {
    ref_number y = {a.value * b.value,
                    a.mag * fabs(b.value) + fabs(a.value) * b.mag + 0x1p-20 * a.mag * b.mag};
    return y;
}

ref_number ref_scale(float scale, ref_number y) {
    if (scale == 0) return y;
    ref_number scaled = {y.value * (double)scale, y.mag * fabs((double)scale)};
    return scaled;
}

ref_number ref_softcap(float softcap, ref_number y) {
    if (softcap <= 0) return y;
    ref_number capped = {softcap * tanh(y.value / (double)softcap), 0};
    capped.mag = y.mag + fabs(capped.value);
    return capped;
}

void ref_softmax(double *v, double *mag, uint32_t n) {
    double max = -INFINITY, sum = 0, mean = 0;
    for (uint32_t i = 0; i < n; i++)
        max = v[i] > max ? v[i] : max;
    for (uint32_t i = 0; i < n; i++) {
        mag[i] += max - v[i];
        v[i] = exp(v[i] - max);
        sum += v[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        v[i] /= sum;
        if (v[i] > 0) mean += v[i] * mag[i]; /* exp(-inf) counts nothing */
    }
    for (uint32_t i = 0; i < n; i++)
        mag[i] = v[i] > 0 ? v[i] * (1 + mag[i] + mean) : 0;
}

void ref_sync(const ref_call *c, uint32_t workers) {
    if (workers > 1) hy_pool_barrier(c->pool);
}

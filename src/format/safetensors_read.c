/* Elements of safetensors as float64. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "src/format/safetensors.h"

/* Little-endian bytes, unaligned. */
static uint64_t load(const uint8_t *p, uint32_t bytes) {
    uint64_t bits = 0;
    for (uint32_t b = 0; b < bytes; b++)
        bits |= (uint64_t)p[b] << 8 * b;
    return bits;
}

static double from_f64(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double from_f32(uint64_t bits) {
    return (double)hy_f32_from_bits((uint32_t)bits);
}

static double from_f16(uint64_t bits) {
    return (double)hy_f16_to_f32((uint16_t)bits);
}

static double from_bf16(uint64_t bits) {
    return (double)hy_bf16_to_f32((uint16_t)bits);
}

/* No infinities; all ones but the sign is NaN (OCP 8-bit Floating Point Specification v1.0). */
static double from_e4m3(uint64_t bits) {
    const double sign = bits & 0x80 ? -1 : 1, mantissa = (double)(bits & 7);
    const int exponent = (int)(bits >> 3 & 15);
    if ((bits & 0x7f) == 0x7f) return (double)NAN;
    return sign * (exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9));
}

/* The upper byte of a binary16. */
static double from_e5m2(uint64_t bits) {
    return from_f16(bits << 8);
}

static double from_unsigned(uint64_t bits) {
    return (double)bits;
}

static double from_i8(uint64_t bits) {
    return (double)(int8_t)bits;
}

static double from_i16(uint64_t bits) {
    return (double)(int16_t)bits;
}

static double from_i32(uint64_t bits) {
    return (double)(int32_t)bits;
}

static double from_i64(uint64_t bits) {
    return (double)(int64_t)bits;
}

static double from_bool(uint64_t bits) {
    return bits != 0;
}

hy_status hy_safetensor_to_f64(const hy_safetensor *tensor, double *out) {
    static const struct {
        const char *dtype;
        double (*convert)(uint64_t bits);
    } rows[] = {
        {"F64", from_f64},      {"F32", from_f32},      {"F16", from_f16},
        {"BF16", from_bf16},    {"F8_E4M3", from_e4m3}, {"F8_E5M2", from_e5m2},
        {"I64", from_i64},      {"I32", from_i32},      {"I16", from_i16},
        {"I8", from_i8},        {"U64", from_unsigned}, {"U32", from_unsigned},
        {"U16", from_unsigned}, {"U8", from_unsigned},  {"BOOL", from_bool},
    };
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        if (strcmp(tensor->dtype, rows[i].dtype) != 0) continue;
        for (uint64_t k = 0; k < tensor->elements; k++)
            out[k] = rows[i].convert(
                load(tensor->data + k * tensor->element_bytes, tensor->element_bytes));
        return HY_OK;
    }
    return hy_fail(HY_E_UNSUPPORTED, "tensor '%s': dtype %s has no conversion", tensor->name,
                   tensor->dtype);
}

/* Typed reads of GGUF values. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "src/format/gguf_inner.h"

/* A number as the file has it: negative integers in `i`, others in `u`, floats in `f`. */
typedef struct number {
    enum { NOT_A_NUMBER, UNSIGNED, NEGATIVE, FLOATING } kind;
    uint64_t u;
    int64_t i;
    double f;
} number;

/* Little-endian bytes, unaligned. */
static uint64_t load(const uint8_t *p, uint32_t bytes) {
    uint64_t bits = 0;
    for (uint32_t b = 0; b < bytes; b++)
        bits |= (uint64_t)p[b] << 8 * b;
    return bits;
}

static number from_signed(uint64_t bits, uint32_t bytes) {
    const unsigned shift = 64 - 8 * bytes;
    const int64_t value = (int64_t)(bits << shift) >> shift;
    if (value < 0) return (number){.kind = NEGATIVE, .i = value};
    return (number){.kind = UNSIGNED, .u = (uint64_t)value};
}

static number read_number(hy_gguf_type type, const uint8_t *p) {
    const uint32_t bytes = hy_gguf_element_bytes(type);
    const uint64_t bits = load(p, bytes);
    double wide;
    switch (type) {
    case HY_GGUF_U8:
    case HY_GGUF_U16:
    case HY_GGUF_U32:
    case HY_GGUF_U64:
        return (number){.kind = UNSIGNED, .u = bits};
    case HY_GGUF_I8:
    case HY_GGUF_I16:
    case HY_GGUF_I32:
    case HY_GGUF_I64:
        return from_signed(bits, bytes);
    case HY_GGUF_F32:
        return (number){.kind = FLOATING, .f = (double)hy_f32_from_bits((uint32_t)bits)};
    case HY_GGUF_F64:
        memcpy(&wide, &bits, sizeof wide);
        return (number){.kind = FLOATING, .f = wide};
    default:
        return (number){.kind = NOT_A_NUMBER};
    }
}

static hy_status wrong_type(const hy_gguf_value *value, const char *want) {
    const bool array = value->type == HY_GGUF_ARRAY;
    return hy_fail(HY_E_FORMAT, "key '%.*s' is %s%s, not %s", (int)HY_MIN(value->key.length, 200),
                   value->key.data, array ? "an array of " : "of type ",
                   hy_gguf_value_type_name(array ? value->element_type : value->type), want);
}

static hy_status does_not_fit(const hy_gguf_value *value, number n, const char *type) {
    const int length = (int)HY_MIN(value->key.length, 200);
    if (n.kind == NEGATIVE)
        return hy_fail(HY_E_FORMAT, "key '%.*s': %" PRId64 " does not fit a %s", length,
                       value->key.data, n.i, type);
    if (n.kind == UNSIGNED)
        return hy_fail(HY_E_FORMAT, "key '%.*s': %" PRIu64 " does not fit a %s", length,
                       value->key.data, n.u, type);
    return hy_fail(HY_E_FORMAT, "key '%.*s': %g does not fit a %s", length, value->key.data, n.f,
                   type);
}

static hy_status to_u32(const hy_gguf_value *value, number n, uint32_t *out) {
    if (n.kind == NOT_A_NUMBER || n.kind == FLOATING) return wrong_type(value, "an integer");
    if (n.kind == NEGATIVE || n.u > UINT32_MAX) return does_not_fit(value, n, "u32");
    *out = (uint32_t)n.u;
    return HY_OK;
}

static hy_status to_f32(const hy_gguf_value *value, number n, float *out) {
    if (n.kind == NOT_A_NUMBER) return wrong_type(value, "a number");
    if (n.kind == NEGATIVE) n.f = (double)n.i;
    if (n.kind == UNSIGNED) n.f = (double)n.u;
    if (isfinite(n.f) && fabs(n.f) > (double)FLT_MAX) return does_not_fit(value, n, "f32");
    *out = (float)n.f;
    return HY_OK;
}

hy_status hy_gguf_u32(const hy_gguf *gguf, const char *key, uint32_t fallback, uint32_t *out) {
    const hy_gguf_value *value = hy_gguf_find(gguf, key);
    if (value) return to_u32(value, read_number(value->type, value->data), out);
    *out = fallback;
    return HY_OK;
}

hy_status hy_gguf_f32(const hy_gguf *gguf, const char *key, float fallback, float *out) {
    const hy_gguf_value *value = hy_gguf_find(gguf, key);
    if (value) return to_f32(value, read_number(value->type, value->data), out);
    *out = fallback;
    return HY_OK;
}

hy_status hy_gguf_bool(const hy_gguf *gguf, const char *key, bool fallback, bool *out) {
    const hy_gguf_value *value = hy_gguf_find(gguf, key);
    if (!value) {
        *out = fallback;
        return HY_OK;
    }
    if (value->type != HY_GGUF_BOOL) return wrong_type(value, "a bool");
    if (value->data[0] > 1)
        return hy_fail(HY_E_FORMAT, "key '%s': %u is no bool", key, value->data[0]);
    *out = value->data[0] == 1;
    return HY_OK;
}

hy_status hy_gguf_string(const hy_gguf *gguf, const char *key, hy_span *out) {
    const hy_gguf_value *value = hy_gguf_find(gguf, key);
    if (!value) {
        *out = (hy_span){"", 0};
        return HY_OK;
    }
    if (value->type != HY_GGUF_STRING) return wrong_type(value, "a string");
    *out = (hy_span){(const char *)value->data, (size_t)value->size};
    return HY_OK;
}

hy_status hy_gguf_strings(const hy_gguf_value *value, hy_span *out) {
    if (value->type != HY_GGUF_ARRAY || value->element_type != HY_GGUF_STRING)
        return wrong_type(value, "an array of strings");
    const uint8_t *p = value->data; /* opening has walked the same lengths */
    for (uint64_t i = 0; i < value->count; i++) {
        out[i] = (hy_span){(const char *)p + 8, (size_t)load(p, 8)};
        p += 8 + out[i].length;
    }
    return HY_OK;
}

/* The element, or NOT_A_NUMBER of anything but an array of numbers. Bools read as 0 and 1:
 * per-layer switches come as either. */
static hy_status element(const hy_gguf_value *value, uint64_t index, number *out) {
    *out = (number){.kind = NOT_A_NUMBER};
    if (value->type != HY_GGUF_ARRAY) return wrong_type(value, "an array");
    if (index >= value->count)
        return hy_fail(HY_E_ARGUMENT, "element %" PRIu64 " of %" PRIu64, index, value->count);
    const uint32_t bytes = hy_gguf_element_bytes(value->element_type);
    const uint8_t *p = value->data + index * bytes;
    if (value->element_type == HY_GGUF_BOOL)
        *out = (number){.kind = UNSIGNED, .u = *p != 0};
    else
        *out = read_number(value->element_type, p);
    return HY_OK;
}

hy_status hy_gguf_element_u32(const hy_gguf_value *value, uint64_t index, uint32_t *out) {
    number n;
    HY_TRY(element(value, index, &n));
    return to_u32(value, n, out);
}

hy_status hy_gguf_element_f32(const hy_gguf_value *value, uint64_t index, float *out) {
    number n;
    HY_TRY(element(value, index, &n));
    return to_f32(value, n, out);
}

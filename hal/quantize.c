/* Reference quantizers: plain types, the simple 32-element formats, A8, and the way to the others.
 *
 * The simple formats follow GGUF's reference to the bit (scale from the extreme value,
 * multiplication by its float32 inverse), so that files agree with other tools'. */
#include "hal/dtype.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "hal/dtype_inner.h"

#define F16_MAX 65504.0f /* the largest finite binary16 */

/* 1 / d; 0 where that would be infinite (d zero or subnormal). */
static float inverse(float d) {
    return fabsf(d) >= FLT_MIN ? 1.0f / d : 0.0f;
}

static int clamp_int(int value, int low, int high) {
    return value < low ? low : value > high ? high : value;
}

/* Nearest integer, ties away from zero, for |x| < 2^31: roundf without a call. */
static int round_away(float x) {
    const int whole = (int)x;
    const float rest = x - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

static float largest_magnitude(const float *x, int n) {
    float largest = 0;
    for (int i = 0; i < n; i++)
        largest = HY_MAX(largest, fabsf(x[i]));
    return largest;
}

/* The element of largest magnitude, with its sign; the first of equals. */
static float extreme(const float *x, int n) {
    float best = 0;
    for (int i = 0; i < n; i++) {
        if (fabsf(x[i]) > fabsf(best)) best = x[i];
    }
    return best;
}

static void to_q8_0(const float *src, uint8_t *dst) {
    const float d = largest_magnitude(src, 32) / 127.0f, id = inverse(d);
    hy_store_u16(dst, hy_f32_to_f16(d));
    for (int i = 0; i < 32; i++)
        dst[2 + i] = (uint8_t)(int8_t)round_away(src[i] * id);
}

static void pack_nibbles(const uint8_t q[32], uint8_t *dst) {
    for (int i = 0; i < 16; i++)
        dst[i] = (uint8_t)((q[i] & 15) | (q[16 + i] & 15) << 4);
}

static void pack_fifth_bits(const uint8_t q[32], uint8_t *dst) {
    uint32_t high = 0;
    for (int i = 0; i < 32; i++)
        high |= (uint32_t)(q[i] >> 4) << i;
    hy_store_u16(dst, (uint16_t)high);
    hy_store_u16(dst + 2, (uint16_t)(high >> 16));
}

/* Levels 0 .. 2 * half - 1 around `half`; the extreme element maps to level 0. Returns the scale.
 */
static float symmetric_levels(const float *src, int half, uint8_t q[32]) {
    const float d = extreme(src, 32) / (float)-half, id = inverse(d);
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)clamp_int((int)(src[i] * id + ((float)half + 0.5f)), 0, 2 * half - 1);
    return d;
}

/* Levels 0 .. top between the smallest and the largest element. Returns the scale. */
static float affine_levels(const float *src, int top, uint8_t q[32], float *min) {
    float low = src[0], high = src[0];
    for (int i = 1; i < 32; i++) {
        low = HY_MIN(low, src[i]);
        high = HY_MAX(high, src[i]);
    }
    const float d = (high - low) / (float)top, id = inverse(d);
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)clamp_int((int)((src[i] - low) * id + 0.5f), 0, top);
    *min = low;
    return d;
}

static void to_q4_0(const float *src, uint8_t *dst) {
    uint8_t q[32];
    hy_store_u16(dst, hy_f32_to_f16(symmetric_levels(src, 8, q)));
    pack_nibbles(q, dst + 2);
}

static void to_q5_0(const float *src, uint8_t *dst) {
    uint8_t q[32];
    hy_store_u16(dst, hy_f32_to_f16(symmetric_levels(src, 16, q)));
    pack_fifth_bits(q, dst + 2);
    pack_nibbles(q, dst + 6);
}

static void to_q4_1(const float *src, uint8_t *dst) {
    uint8_t q[32];
    float min;
    hy_store_u16(dst, hy_f32_to_f16(affine_levels(src, 15, q, &min)));
    hy_store_u16(dst + 2, hy_f32_to_f16(min));
    pack_nibbles(q, dst + 4);
}

static void to_q5_1(const float *src, uint8_t *dst) {
    uint8_t q[32];
    float min;
    hy_store_u16(dst, hy_f32_to_f16(affine_levels(src, 31, q, &min)));
    hy_store_u16(dst + 2, hy_f32_to_f16(min));
    pack_fifth_bits(q, dst + 4);
    pack_nibbles(q, dst + 8);
}

/* The scale is the power of two that puts the largest element between 4 and 8 (e2m1 ends at 6); each
 * element goes to the nearest value, of two equally near the smaller. */
static void to_mxfp4(const float *src, uint8_t *dst) {
    const float largest = largest_magnitude(src, 32);
    const int e = largest > 0 ? clamp_int(ilogbf(largest) - 2 + 127, 0, 254) : 0;
    const float d = hy_e8m0_half((uint8_t)e);
    uint8_t q[32];
    for (int i = 0; i < 32; i++) {
        int code = 0;
        for (int k = 0; k < 7; k++)
            code +=
                fabsf(src[i]) > d * (0.5f * (float)(hy_mxfp4_values[k] + hy_mxfp4_values[k + 1]));
        q[i] = (uint8_t)(code | (src[i] < 0 && code ? 8 : 0));
    }
    dst[0] = (uint8_t)e;
    pack_nibbles(q, dst + 1);
}

/* By hal/dtype.h's definition. The clamps do something only above 2^127, and in the subnormal range,
 * where the scale is too coarse. */
static void to_a8(const float *src, uint8_t *dst) {
    hy_a8_block block = {.scale = 0};
    float largest = 0;
    for (int i = 0; i < 32; i++) { /* a NaN compares false and is passed over */
        if (fabsf(src[i]) > largest) largest = fabsf(src[i]);
    }
    block.scale = HY_MIN(largest, 0x1p127f) / 127.0f; /* beyond, 127 * scale could be infinite */
    for (int i = 0; i < 32; i++) {
        const float q = block.scale > 0 ? rintf(src[i] / block.scale) : 0.0f;
        block.q[i] = (int8_t)(q >= 127.0f ? 127 : q <= -127.0f ? -127 : q == q ? (int)q : 0);
        block.sum += block.q[i];
    }
    memcpy(dst, &block, sizeof block);
}

/* limit: the largest magnitude whose scale, and minimum, still fit binary16; input is held below
 * it. */
typedef struct to_format {
    void (*block)(const float *src, uint8_t *dst);
    float limit;
} to_format;

// clang-format off
static const to_format formats[HY_DTYPE_COUNT] = {
    [HY_DTYPE_Q8_0]   = {to_q8_0,            F16_MAX * 127},
    [HY_DTYPE_Q4_0]   = {to_q4_0,            F16_MAX * 8},
    [HY_DTYPE_Q4_1]   = {to_q4_1,            F16_MAX},
    [HY_DTYPE_Q5_0]   = {to_q5_0,            F16_MAX * 16},
    [HY_DTYPE_Q5_1]   = {to_q5_1,            F16_MAX},
    [HY_DTYPE_Q2_K]   = {hy_quantize_q2_k,   F16_MAX},
    [HY_DTYPE_Q3_K]   = {hy_quantize_q3_k,   F16_MAX},
    [HY_DTYPE_Q4_K]   = {hy_quantize_q4_k,   F16_MAX},
    [HY_DTYPE_Q5_K]   = {hy_quantize_q5_k,   F16_MAX},
    [HY_DTYPE_Q6_K]   = {hy_quantize_q6_k,   F16_MAX},
    [HY_DTYPE_IQ4_NL] = {hy_quantize_iq4_nl, F16_MAX},
    [HY_DTYPE_IQ4_XS] = {hy_quantize_iq4_xs, F16_MAX},
    [HY_DTYPE_MXFP4]  = {to_mxfp4,           FLT_MAX},
};
// clang-format on

static void quantize_blocks(hy_dtype dtype, const float *src, uint8_t *dst, uint64_t count) {
    const hy_dtype_info *info = hy_dtype_get(dtype);
    const to_format *format = &formats[dtype];
    float block[256];
    for (uint64_t at = 0; at < count; at += info->block, dst += info->bytes) {
        for (uint32_t i = 0; i < info->block; i++) {
            const float x = src[at + i];
            block[i] = x != x ? 0.0f : HY_MAX(-format->limit, HY_MIN(format->limit, x));
        }
        format->block(block, dst);
    }
}

void hy_quantize_row(hy_dtype dtype, const float *src, void *dst, uint64_t count) {
    uint8_t *bytes = dst;
    if (dtype == HY_DTYPE_F32) {
        memcpy(dst, src, count * sizeof *src);
    } else if (dtype == HY_DTYPE_F16) {
        for (uint64_t i = 0; i < count; i++)
            hy_store_u16(bytes + 2 * i, hy_f32_to_f16(src[i]));
    } else if (dtype == HY_DTYPE_BF16) {
        for (uint64_t i = 0; i < count; i++)
            hy_store_u16(bytes + 2 * i, hy_f32_to_bf16(src[i]));
    } else if (dtype == HY_DTYPE_A8) {
        for (uint64_t i = 0; i < count; i += 32)
            to_a8(src + i, bytes + i / 32 * sizeof(hy_a8_block));
    } else if ((unsigned)dtype < HY_DTYPE_COUNT && formats[dtype].block) {
        quantize_blocks(dtype, src, bytes, count);
    }
}

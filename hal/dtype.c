/* The table of element types, and dequantization as each format defines it.
 *
 * Every expression below is the definition in float32, in the order in which GGUF's reference
 * evaluates it; the build forbids contraction, so the results agree bit for bit. Rows come from
 * file mappings, so nothing assumes alignment. Sources: ggml docs/gguf.md and the block layouts
 * that it names; OCP Microscaling Formats v1.0 for MXFP4. */
#include "hal/dtype.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "hal/dtype_inner.h"

static const hy_dtype_info infos[HY_DTYPE_COUNT] = {[HY_DTYPE_NONE] = {"none", 1, 0, -1, false},
#define ROW(NAME, text, block, bytes, gguf)                                                        \
    [HY_DTYPE_##NAME] = {text, block, bytes, gguf, (block) > 1},
                                                    HY_DTYPE_LIST(ROW)
#undef ROW
};

const int8_t hy_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
const int8_t hy_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

const hy_dtype_info *hy_dtype_get(hy_dtype dtype) {
    return &infos[(unsigned)dtype < HY_DTYPE_COUNT ? dtype : HY_DTYPE_NONE];
}

/* ASCII only: the process's locale must not change what "I32" means. */
static int lower(int c) {
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

hy_dtype hy_dtype_by_name(const char *name) {
    if (!name) return HY_DTYPE_NONE;
    for (int i = HY_DTYPE_NONE + 1; i < HY_DTYPE_COUNT; i++) {
        const char *a = infos[i].name, *b = name;
        while (*a && *a == lower((unsigned char)*b)) {
            a++;
            b++;
        }
        if (*a == 0 && *b == 0) return (hy_dtype)i;
    }
    return HY_DTYPE_NONE;
}

hy_dtype hy_dtype_by_gguf(uint32_t gguf_type) {
    for (int i = HY_DTYPE_NONE + 1; i < HY_DTYPE_COUNT; i++) {
        if (infos[i].gguf_type >= 0 && (uint32_t)infos[i].gguf_type == gguf_type)
            return (hy_dtype)i;
    }
    return HY_DTYPE_NONE;
}

/* ---- plain types ---- */

static void from_f16(const uint8_t *src, float *dst, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        dst[i] = hy_load_f16(src + 2 * i);
}

static void from_bf16(const uint8_t *src, float *dst, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        dst[i] = hy_bf16_to_f32(hy_load_u16(src + 2 * i));
}

/* ---- blocks of 32 ---- */

static void from_q8_0(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src);
    for (int i = 0; i < 32; i++)
        dst[i] = (float)(int8_t)src[2 + i] * d;
}

static void from_q4_0(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src);
    for (int i = 0; i < 16; i++) {
        dst[i] = (float)((src[2 + i] & 15) - 8) * d;
        dst[16 + i] = (float)((src[2 + i] >> 4) - 8) * d;
    }
}

static void from_q4_1(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src), m = hy_load_f16(src + 2);
    for (int i = 0; i < 16; i++) {
        dst[i] = (float)(src[4 + i] & 15) * d + m;
        dst[16 + i] = (float)(src[4 + i] >> 4) * d + m;
    }
}

/* Element i of a 5-bit block: nibbles like the 4-bit formats, bit i of `high` on top. */
static int five_bits(const uint8_t *nibbles, uint32_t high, int i) {
    int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
    return low | (int)(high >> i & 1u) << 4;
}

static void from_q5_0(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src);
    const uint32_t high = hy_load_u32(src + 2);
    for (int i = 0; i < 32; i++)
        dst[i] = (float)(five_bits(src + 6, high, i) - 16) * d;
}

static void from_q5_1(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src), m = hy_load_f16(src + 2);
    const uint32_t high = hy_load_u32(src + 4);
    for (int i = 0; i < 32; i++)
        dst[i] = (float)five_bits(src + 8, high, i) * d + m;
}

static void from_iq4_nl(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src);
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)hy_iq4_values[src[2 + i] & 15];
        dst[16 + i] = d * (float)hy_iq4_values[src[2 + i] >> 4];
    }
}

static void from_mxfp4(const uint8_t *src, float *dst) {
    const float d = hy_e8m0_half(src[0]);
    for (int i = 0; i < 16; i++) {
        dst[i] = (float)hy_mxfp4_values[src[1 + i] & 15] * d;
        dst[16 + i] = (float)hy_mxfp4_values[src[1 + i] >> 4] * d;
    }
}

static void from_a8(const uint8_t *src, float *dst) {
    hy_a8_block block;
    memcpy(&block, src, sizeof block);
    for (int i = 0; i < 32; i++)
        dst[i] = block.scale * (float)block.q[i];
}

/* ---- blocks of 256 ---- */

/* Where sub-block s (16 elements) of Q2_K, Q3_K and Q6_K lies: 128 elements share 32 bytes, each byte
 * holding an element of each of their four quarters. */
typedef struct quarter {
    int half, turn, first; /* which 128, which quarter of them, first byte of the 32 */
} quarter;

static quarter quarter_of(int s) {
    return (quarter){s / 8, s % 8 / 2, (s & 1) * 16};
}

/* scales[16] (4-bit scale | 4-bit min << 4), two bits per element [64], d, dmin. */
static void from_q2_k(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src + 80), dmin = hy_load_f16(src + 82);
    for (int s = 0; s < 16; s++) {
        const quarter at = quarter_of(s);
        const uint8_t *q = src + 16 + at.half * 32 + at.first;
        const float dl = d * (float)(src[s] & 15), ml = dmin * (float)(src[s] >> 4);
        for (int i = 0; i < 16; i++)
            dst[s * 16 + i] = dl * (float)(q[i] >> at.turn * 2 & 3) - ml;
    }
}

/* high bits [32] (bit clear: subtract 4), two bits per element [64], 16 6-bit scales [12], d. */
static void from_q3_k(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src + 108);
    int8_t scale[16];
    hy_q3_k_scales(src + 96, scale);
    for (int s = 0; s < 16; s++) {
        const quarter at = quarter_of(s);
        const uint8_t *high = src + at.first, *q = src + 32 + at.half * 32 + at.first;
        const float dl = d * (float)scale[s];
        for (int i = 0; i < 16; i++) {
            const int low = q[i] >> at.turn * 2 & 3, bit = high[i] >> s / 2 & 1;
            dst[s * 16 + i] = dl * (float)(low + 4 * bit - 4);
        }
    }
}

/* d, dmin, eight 6-bit scales and mins [12], nibbles [128]. */
static void from_q4_k(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src), dmin = hy_load_f16(src + 2);
    for (int s = 0; s < 8; s++) {
        uint8_t scale, min;
        hy_q4_k_scale_min(src + 4, s, &scale, &min);
        const float dl = d * (float)scale, ml = dmin * (float)min;
        const uint8_t *q = src + 16 + s / 2 * 32;
        for (int i = 0; i < 32; i++)
            dst[s * 32 + i] = dl * (float)(q[i] >> (s & 1) * 4 & 15) - ml;
    }
}

/* d, dmin, eight 6-bit scales and mins [12], high bits [32], nibbles [128]. */
static void from_q5_k(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src), dmin = hy_load_f16(src + 2);
    const uint8_t *high = src + 16;
    for (int s = 0; s < 8; s++) {
        uint8_t scale, min;
        hy_q4_k_scale_min(src + 4, s, &scale, &min);
        const float dl = d * (float)scale, ml = dmin * (float)min;
        const uint8_t *q = src + 48 + s / 2 * 32;
        for (int i = 0; i < 32; i++) {
            const int value = (q[i] >> (s & 1) * 4 & 15) | (high[i] >> s & 1) << 4;
            dst[s * 32 + i] = dl * (float)value - ml;
        }
    }
}

/* nibbles [128], high pairs [64], int8 scales [16], d. */
static void from_q6_k(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src + 208);
    for (int s = 0; s < 16; s++) {
        const quarter at = quarter_of(s);
        const uint8_t *low = src + at.half * 64 + (at.turn & 1) * 32 + at.first;
        const uint8_t *high = src + 128 + at.half * 32 + at.first;
        const float dl = d * (float)(int8_t)src[192 + s];
        for (int i = 0; i < 16; i++) {
            const int nibble = low[i] >> at.turn / 2 * 4 & 15, pair = high[i] >> at.turn * 2 & 3;
            dst[s * 16 + i] = dl * (float)((nibble | pair << 4) - 32);
        }
    }
}

/* d, high bits of the scales (u16), low nibbles of the scales [4], nibbles [128]. */
static void from_iq4_xs(const uint8_t *src, float *dst) {
    const float d = hy_load_f16(src);
    const unsigned high = hy_load_u16(src + 2);
    for (int s = 0; s < 8; s++) {
        const int low = src[4 + s / 2] >> (s & 1) * 4 & 15;
        const float dl = d * (float)((low | (int)(high >> 2 * s & 3u) << 4) - 32);
        const uint8_t *q = src + 8 + s * 16;
        for (int i = 0; i < 16; i++) {
            dst[s * 32 + i] = dl * (float)hy_iq4_values[q[i] & 15];
            dst[s * 32 + 16 + i] = dl * (float)hy_iq4_values[q[i] >> 4];
        }
    }
}

/* ---- dispatch ---- */

static void (*const from_block[HY_DTYPE_COUNT])(const uint8_t *src, float *dst) = {
    [HY_DTYPE_Q8_0] = from_q8_0,   [HY_DTYPE_Q4_0] = from_q4_0,     [HY_DTYPE_Q4_1] = from_q4_1,
    [HY_DTYPE_Q5_0] = from_q5_0,   [HY_DTYPE_Q5_1] = from_q5_1,     [HY_DTYPE_Q2_K] = from_q2_k,
    [HY_DTYPE_Q3_K] = from_q3_k,   [HY_DTYPE_Q4_K] = from_q4_k,     [HY_DTYPE_Q5_K] = from_q5_k,
    [HY_DTYPE_Q6_K] = from_q6_k,   [HY_DTYPE_IQ4_NL] = from_iq4_nl, [HY_DTYPE_IQ4_XS] = from_iq4_xs,
    [HY_DTYPE_MXFP4] = from_mxfp4, [HY_DTYPE_A8] = from_a8,
};

void hy_dequantize_row(hy_dtype dtype, const void *src, float *dst, uint64_t count) {
    const hy_dtype_info *info = hy_dtype_get(dtype);
    const uint8_t *bytes = src;
    if (dtype == HY_DTYPE_F32) {
        memcpy(dst, src, count * sizeof *dst);
    } else if (dtype == HY_DTYPE_F16) {
        from_f16(bytes, dst, count);
    } else if (dtype == HY_DTYPE_BF16) {
        from_bf16(bytes, dst, count);
    } else if (info->quantized) {
        for (uint64_t i = 0; i < count / info->block; i++)
            from_block[dtype](bytes + i * info->bytes, dst + i * info->block);
    }
}

/* Where a format keeps its scale and minimum (f16), and with which sign the minimum is added. */
static bool minimum_of(hy_dtype dtype, uint32_t *scale, uint32_t *minimum, bool *subtracted) {
    *subtracted = dtype == HY_DTYPE_Q2_K || dtype == HY_DTYPE_Q4_K || dtype == HY_DTYPE_Q5_K;
    *scale = dtype == HY_DTYPE_Q2_K ? 80 : 0;
    *minimum = *scale + 2;
    return *subtracted || dtype == HY_DTYPE_Q4_1 || dtype == HY_DTYPE_Q5_1;
}

/* With |d| for d and the sign of m that adds, the block's own formula gives |d q| + |m|. */
void hy_dequantize_terms(hy_dtype dtype, const void *src, float *dst, uint64_t count) {
    const hy_dtype_info *info = hy_dtype_get(dtype);
    uint8_t block[256];
    uint32_t scale, minimum;
    bool subtracted;
    if (!minimum_of(dtype, &scale, &minimum, &subtracted)) {
        hy_dequantize_row(dtype, src, dst, count);
    } else {
        for (uint64_t i = 0; i < count / info->block; i++) {
            memcpy(block, (const uint8_t *)src + i * info->bytes, info->bytes);
            block[scale + 1] &= 0x7f;
            block[minimum + 1] = (uint8_t)((block[minimum + 1] & 0x7f) | (subtracted ? 0x80 : 0));
            hy_dequantize_row(dtype, block, dst + i * info->block, info->block);
        }
    }
    for (uint64_t i = 0; i < count; i++)
        dst[i] = fabsf(dst[i]);
}

/* hal/dtype_inner.h: what dequantization and the quantizers share; private to hal/. */
#ifndef HY_HAL_DTYPE_INNER_H
#define HY_HAL_DTYPE_INNER_H

#include <stdint.h>
#include <string.h>

#include "base/half.h"

extern const int8_t hy_iq4_values[16];   /* the codebook of IQ4_NL and IQ4_XS */
extern const int8_t hy_mxfp4_values[16]; /* e2m1 values, doubled */

/* Unaligned little-endian 16-bit word. */
static inline uint16_t hy_load_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

/* Unaligned little-endian 32-bit word. */
static inline uint32_t hy_load_u32(const uint8_t *p) {
    return (uint32_t)hy_load_u16(p) | (uint32_t)hy_load_u16(p + 2) << 16;
}

/* Unaligned binary16. */
static inline float hy_load_f16(const uint8_t *p) {
    return hy_f16_to_f32(hy_load_u16(p));
}

/* Stores a 16-bit word, little-endian. */
static inline void hy_store_u16(uint8_t *p, uint16_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

/* Half of 2^(e - 127): the MXFP4 value table is doubled. e < 2 are subnormal. */
static inline float hy_e8m0_half(uint8_t e) {
    return hy_f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* The 6-bit scale and min of sub-block s (0..7) of a Q4_K or Q5_K block: packed[0..3] and [4..7]
 * hold the low 6 bits of the first four, their top pairs and [8..11] the last four. */
static inline void hy_q4_k_scale_min(const uint8_t packed[12], int s, uint8_t *scale,
                                     uint8_t *min) {
    if (s < 4) {
        *scale = packed[s] & 63;
        *min = packed[s + 4] & 63;
    } else {
        *scale = (uint8_t)((packed[s + 4] & 15) | (packed[s - 4] >> 6) << 4);
        *min = (uint8_t)(packed[s + 4] >> 4 | (packed[s] >> 6) << 4);
    }
}

/* The sixteen signed scales of a Q3_K block: nibbles in packed[0..7], top pairs in [8..11]. */
static inline void hy_q3_k_scales(const uint8_t packed[12], int8_t scale[16]) {
    for (int s = 0; s < 16; s++) {
        const int low = packed[s % 8] >> s / 8 * 4 & 15, high = packed[8 + s % 4] >> s / 4 * 2 & 3;
        scale[s] = (int8_t)((low | high << 4) - 32);
    }
}

/* ---- the quantizers of 256-element blocks and of the codebook formats (quantize_k.c)
 * --------------- src: finite float32 [256] (IQ4_NL: [32]) -> dst: one block. */
void hy_quantize_q2_k(const float *src, uint8_t *dst);
/* As hy_quantize_q2_k. */
void hy_quantize_q3_k(const float *src, uint8_t *dst);
/* As hy_quantize_q2_k. */
void hy_quantize_q4_k(const float *src, uint8_t *dst);
/* As hy_quantize_q2_k. */
void hy_quantize_q5_k(const float *src, uint8_t *dst);
/* As hy_quantize_q2_k. */
void hy_quantize_q6_k(const float *src, uint8_t *dst);
/* As hy_quantize_q2_k, of 32 elements. */
void hy_quantize_iq4_nl(const float *src, uint8_t *dst);
/* As hy_quantize_q2_k. */
void hy_quantize_iq4_xs(const float *src, uint8_t *dst);

#endif

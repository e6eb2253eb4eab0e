/* base/half.h: IEEE binary16 and bfloat16 to and from binary32, round to nearest even, NaN kept. */
#ifndef HY_BASE_HALF_H
#define HY_BASE_HALF_H

#include <stdint.h>
#include <string.h>

/* The binary32 with these bits. */
static inline float hy_f32_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Its inverse. */
static inline uint32_t hy_f32_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Exact. */
static inline float hy_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 1023u;
    if (exponent == 31) return hy_f32_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0) return hy_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    /* subnormal: mantissa * 2^-24 is exact in binary32 */
    return hy_f32_from_bits(sign | hy_f32_bits((float)mantissa * 0x1p-24f));
}

/* Overflow gives infinity; a NaN stays one, quiet, with the top of its payload. */
static inline uint16_t hy_f32_to_f16(float f) {
    uint32_t bits = hy_f32_bits(f), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to 65536 or more */
    if (magnitude <
        0x38800000u) { /* below 2^-14: adding 0.5 leaves the rounded mantissa in the low bits */
        float shifted = hy_f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (hy_f32_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | rounded >> 13);
}

/* Exact. */
static inline float hy_bf16_to_f32(uint16_t b) {
    return hy_f32_from_bits((uint32_t)b << 16);
}

/* As hy_f32_to_f16. */
static inline uint16_t hy_f32_to_bf16(float f) {
    uint32_t bits = hy_f32_bits(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif

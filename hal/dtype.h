/* hal/dtype.h: element types and block formats, with their exact dequantization.
 *
 * A row of a block format is a sequence of blocks of `block` elements in `bytes` bytes each; rows never
 * share a block. The byte layouts of the quantized formats are GGUF's. Conversion functions are the
 * reference that every kernel is tested against: dequantization gives the float32 values that the format
 * defines, bit for bit. Thread-safety: everything here is pure. */
#ifndef HY_HAL_DTYPE_H
#define HY_HAL_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* X(NAME, text name, elements per block, bytes per block, GGUF type number or -1)
 * A8 is the activation format: 32 int8, then a float32 scale and the int32 sum of the int8, 40 bytes; it
 * lives in activations only and in no file. */
#define HY_DTYPE_LIST(X)                                                                           \
    X(F32, "f32", 1, 4, 0)                                                                         \
    X(F16, "f16", 1, 2, 1)                                                                         \
    X(BF16, "bf16", 1, 2, 30)                                                                      \
    X(Q8_0, "q8_0", 32, 34, 8)                                                                     \
    X(Q4_0, "q4_0", 32, 18, 2)                                                                     \
    X(Q4_1, "q4_1", 32, 20, 3)                                                                     \
    X(Q5_0, "q5_0", 32, 22, 6)                                                                     \
    X(Q5_1, "q5_1", 32, 24, 7)                                                                     \
    X(Q2_K, "q2_k", 256, 84, 10)                                                                   \
    X(Q3_K, "q3_k", 256, 110, 11)                                                                  \
    X(Q4_K, "q4_k", 256, 144, 12)                                                                  \
    X(Q5_K, "q5_k", 256, 176, 13)                                                                  \
    X(Q6_K, "q6_k", 256, 210, 14)                                                                  \
    X(IQ4_NL, "iq4_nl", 32, 18, 20)                                                                \
    X(IQ4_XS, "iq4_xs", 256, 136, 23)                                                              \
    X(MXFP4, "mxfp4", 32, 17, 39)                                                                  \
    X(I32, "i32", 1, 4, 26)                                                                        \
    X(A8, "a8", 32, 40, -1)

typedef enum hy_dtype {
    HY_DTYPE_NONE = 0, /* an absent operand */
#define HY_DTYPE_ENUM(NAME, text, block, bytes, gguf) HY_DTYPE_##NAME,
    HY_DTYPE_LIST(HY_DTYPE_ENUM)
#undef HY_DTYPE_ENUM
        HY_DTYPE_COUNT
} hy_dtype;

typedef struct hy_dtype_info {
    const char *name;  /* "q4_k" */
    uint32_t block;    /* elements per block, 1 for plain types */
    uint32_t bytes;    /* bytes per block */
    int32_t gguf_type; /* -1: not in files */
    bool quantized;    /* block > 1 */
} hy_dtype_info;

/* Never NULL; HY_DTYPE_NONE has name "none" and 0 bytes. */
const hy_dtype_info *hy_dtype_get(hy_dtype dtype);

/* By name, letter case ignored; HY_DTYPE_NONE when there is none. */
hy_dtype hy_dtype_by_name(const char *name);
hy_dtype hy_dtype_by_gguf(uint32_t gguf_type);

/* Bytes of a row of `elements`, which must be a multiple of the block. */
static inline uint64_t hy_dtype_row_bytes(const hy_dtype_info *info, uint64_t elements) {
    return elements / info->block * info->bytes;
}

/* src: one row of `count` elements in `dtype`'s layout -> dst: float32 [count]. `count` is a multiple of
 * the block. Any float type or block format, A8 included; not I32. */
void hy_dequantize_row(hy_dtype dtype, const void *src, float *dst, uint64_t count);

/* The same row, of each element the sum of the magnitudes of the terms that its format adds up: |d q| + |m|
 * where there is a minimum m, |w| elsewhere. What rounding in a product may be measured by. */
void hy_dequantize_terms(hy_dtype dtype, const void *src, float *dst, uint64_t count);

/* src: float32 [count] -> dst: one row in `dtype`'s layout, by the plain reference method of the format
 * (round to nearest, per-block search as the format's author published). Deterministic. NaN and infinite
 * inputs give some finite block, never undefined behaviour. */
void hy_quantize_row(hy_dtype dtype, const float *src, void *dst, uint64_t count);

/* One A8 block: scale = max|x| / 127 (0 for an all-zero block), q = round to nearest even of x / scale,
 * sum = q0 + ... + q31 (an integer, so that offsets of weights cancel exactly). Every backend quantizes
 * activations with exactly these operations in float32, so that the same row gives the same bits
 * everywhere. */
typedef struct hy_a8_block {
    int8_t q[32];
    float scale;
    int32_t sum;
} hy_a8_block;

#endif

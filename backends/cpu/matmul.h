/* backends/cpu/matmul.h: between the matmul driver (plain C) and its kernels (compiled once per ISA).
 *
 * ONE ORDER OF ADDITIONS. An output element is a function of its weight row and its activation row alone:
 * not of the batch, not of how work is split, not of the ISA. With all operations in float32:
 *
 *   z = 0; for each chunk of consecutive k in order (64 k of float weights, 1024 k of block formats, the
 *   last may be shorter): p = 0; what is below, in order of k; z = z + p. Chunks keep the error of long
 *   sums of one sign small.
 *   float weights: p = fma(w[k], x[k], p)
 *   block formats: x as a8 blocks of 32 (scale xs); sub-blocks of 32 k, or of 16 k for q2_k, q3_k, q6_k;
 *   v are a sub-block's integers as the format defines them (q4_0: nibble - 8, iq4: code
 *   book values, mxfp4: doubled e2m1, q2_k, q4_k, q5_k and the _1 formats: unsigned), q those of a8:
 *     isum = sum of v q (exact)            p = fma(isum, a * xs, p)
 *     with minima: xsum = sum of q (exact)  then p = fma(b, xs * xsum, p)
 *   a and b are the sub-block's scale and offset, exact in float32:
 *     q4_0 q5_0 q8_0 iq4_nl: a = d          q4_1 q5_1: a = d, b = m       mxfp4: a = 2^(e - 128)
 *     q4_k q5_k: a = d sc, b = -(dmin mn)   q2_k: the same per 16         q3_k q6_k iq4_xs: a = d sc
 *   epilogue: z + bias, act, * up, * scale, softcap, + residual, one rounding each, in that order. */
#ifndef HY_CPU_MATMUL_H
#define HY_CPU_MATMUL_H

#include "backends/cpu/cpu.h"
#include "backends/cpu/panel.h"

enum {
    MM_MAX_WIDTH = 12,    /* columns of the widest tile of any ISA */
    MM_WIDTHS = 6,        /* different tile widths of one ISA at most */
    MM_CHUNK = 64,        /* k after which float weights' partial sums are added up */
    MM_BLOCK_CHUNK = 1024 /* the same for block formats; a multiple of every block */
};

/* A tile is `width` activation rows, interleaved for one pass over a panel; columns past the rows there
 * are hold zeros. For float weights: float32 [k][width]. For block formats, per 32 k:
 *   int8 q [width][32]; float32 scale [width]; aux [width] (two such fields where sub-blocks have 16 k):
 *   the term that a sub-block's sum of unsigned products needs: int32 -offset * xsum, or with minima
 *   float32 xs * xsum. */

/* Multiplies one panel with one tile: z [width][16]. */
typedef void (*mm_micro)(const uint8_t *panel, const uint8_t *tile, uint32_t k, float *z);

/* What is done to a dot product on its way out. */
typedef struct mm_epilogue {
    const float *bias; /* of this expert, [N], or NULL */
    uint32_t m;        /* outputs; where the bias of the up half begins */
    int32_t act;
    float scale, softcap;
    uint32_t out_dtype, residual_dtype;
} mm_epilogue;

/* The functions of one ISA. */
typedef struct mm_kernels {
    uint32_t width[MM_WIDTHS]; /* ascending, then 0 */
    mm_micro micro[HY_DTYPE_COUNT][MM_WIDTHS];
    /* Fills column `column` of a tile of `width` for k in [begin, end), multiples of 32 but for the end;
     * row: activations of dtype x (NULL: zeros). */
    void (*fill)(hy_dtype weights, hy_dtype x, const void *row, uint32_t begin, uint32_t end,
                 uint32_t width, uint32_t column, uint8_t *tile);
    /* Finishes outputs [first, first + count), count <= 16, of one row: z and, with glu, up: 16 sums
     * each; out and residual (or NULL): address of output `first`. */
    void (*finish)(const mm_epilogue *e, const float *z, const float *up, uint32_t first,
                   uint32_t count, void *out, const void *residual);
    /* float row -> a8 blocks [k / 32], bits as hy_quantize_row. */
    void (*quantize)(hy_dtype x, const void *row, uint32_t k, void *out);
} mm_kernels;

/* Plain C, every machine. */
extern const mm_kernels cpu_mm_generic;
#if defined(__x86_64__)
/* CPU_AVX2. */
extern const mm_kernels cpu_mm_avx2;
/* CPU_AVX512. */
extern const mm_kernels cpu_mm_avx512;
#endif

/* Bytes of one column of a tile. */
static inline uint64_t mm_column_bytes(hy_dtype weights, uint64_t k) {
    switch (weights) {
    case HY_DTYPE_F32:
    case HY_DTYPE_F16:
    case HY_DTYPE_BF16:
        return k * 4;
    case HY_DTYPE_Q2_K:
    case HY_DTYPE_Q3_K:
    case HY_DTYPE_Q6_K:
        return k / 32 * 44;
    default:
        return k / 32 * 40;
    }
}

#endif

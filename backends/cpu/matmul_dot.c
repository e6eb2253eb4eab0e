/* backends/cpu/matmul_dot.c: bf16 weights times activations rounded to bf16; compiled for AVX-512 BF16.
 *
 * A panel has pairs of k (panel.h), and a tile is [k / 2][width] pairs too. vdpbf16ps adds both products of a
 * pair to a float32 in a way of its own, and takes and leaves subnormals as zeros; so results are another class
 * than those of matmul_kernel.c. Within it the order is a row's own:
 *
 *   z = 0; for each MM_CHUNK of k: p = 0; for each pair in order: p = dot(w, x, p); z = z + p */
#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul.h"

#define MM_UNROLL _Pragma("GCC unroll 24")
#define MM_PAIR 12
enum { PLAIN_K = 2, PAIR_BYTES = 4 }; /* an element: a pair of bf16 as 32 bits */

/* ---- what matmul_float.h asks for ---- */

CPU_INLINE v16 plain_16(hy_dtype dtype, const uint8_t *panel, uint64_t pair, const int odd) {
    (void)dtype, (void)odd;
    return _mm512_loadu_ps((const void *)(panel + pair * CPU_PANEL * PAIR_BYTES));
}

CPU_INLINE v16 plain_madd(v16 w, v16 x, v16 sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)x);
}

/* A line each. */
CPU_INLINE void ask_ahead(hy_dtype dtype, const uint8_t *panel, uint64_t pair, const int odd,
                          const int cache) {
    (void)dtype, (void)odd;
    mm_ask(panel + pair * CPU_PANEL * PAIR_BYTES, cache);
}

#include "backends/cpu/matmul_float.h"

#define EACH_WIDTH(F) F(1) F(2) F(4) F(8) F(12)
#define FUNCTION(width)                                                                            \
    static void dot_##width(const uint8_t *panel, const uint8_t *tile, uint32_t k,                 \
                            const mm_ahead *ahead, float *z) {                                     \
        (void)ahead;                                                                               \
        mm_plain(HY_DTYPE_BF16, width, panel, tile, (k + 1) / PLAIN_K, z);                         \
    }
EACH_WIDTH(FUNCTION)

static void dot_pair(const uint8_t *panels, uint64_t step, const uint8_t *tile, uint32_t k,
                     float *z, uint64_t z_step) {
    mm_plain_pair(HY_DTYPE_BF16, MM_PAIR, panels, step, tile, (k + 1) / PLAIN_K, z, z_step);
}

/* 32 elements from k on, zeros at and past `end`, rounded to nearest even. */
CPU_INLINE __m512i rounded_32(hy_dtype x, const void *row, uint32_t k, uint32_t end) {
    const v16 low = cpu_get(x, row, k, end);
    const v16 high = end - k > 16 ? cpu_get(x, row, k + 16, end) : v16_zero();
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

static void fill(hy_dtype weights, hy_dtype x, const void *row, uint32_t begin, uint32_t end,
                 uint32_t width, uint32_t column, uint8_t *tile) {
    (void)weights;
    uint32_t pair[16] = {0};
    for (uint32_t k = begin; k < end; k += 32) {
        const uint32_t pairs = HY_MIN((end - k + 1) / 2, 16u);
        if (row) _mm512_storeu_si512((void *)pair, rounded_32(x, row, k, end));
        uint8_t *out = tile + ((uint64_t)(k / 2) * width + column) * PAIR_BYTES;
        for (uint32_t i = 0; i < pairs; i++)
            memcpy(out + (uint64_t)i * width * PAIR_BYTES, &pair[i], PAIR_BYTES);
    }
}

/* The way out is the same. */
static void finish(const mm_epilogue *e, const float *z, const float *up, uint32_t first,
                   uint32_t count, uint32_t rows, const mm_place *to) {
    cpu_mm_avx512.finish(e, z, up, first, count, rows, to);
}

#define WIDTH(width) width,
#define ENTRY(width) dot_##width,
const mm_kernels CPU_NAME(cpu_mm) = {
    .width = {EACH_WIDTH(WIDTH)},
    .micro = {[HY_DTYPE_BF16] = {EACH_WIDTH(ENTRY)}},
    .pair = {[HY_DTYPE_BF16] = dot_pair},
    .fill = fill,
    .finish = finish,
};

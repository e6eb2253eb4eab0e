/* backends/cpu/matmul_dot.c: bf16 weights times activations rounded to bf16; compiled for AVX-512 BF16.
 *
 * A panel has pairs of k (panel.h), and a tile is [k / 2][width] pairs too. vdpbf16ps adds both products of a
 * pair to a float32 in a way of its own, and takes and leaves subnormals as zeros; so results are another class
 * than those of matmul_kernel.c. Within it the order is a row's own:
 *
 *   z = 0; for each MM_CHUNK of k: p = 0; for each pair in order: p = dot(w, x, p); z = z + p */
#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul.h"

#define UNROLL _Pragma("GCC unroll 16")
enum {
    PAIRS = MM_CHUNK / 2,
    AHEAD =
        8 *
        PAIRS, /* pairs asked for ahead: several streams are more than hardware prefetchers follow */
    PAIR_BYTES = 4
};

/* Two bf16 of one column in all lanes. */
CPU_INLINE __m512bh pair_of(const uint8_t *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

/* `lanes` chunks of `pairs` pairs side by side (they add up independently), from pair k on. */
CPU_INLINE void dot_chunks(const int n, const int lanes, const uint8_t *panel, const uint8_t *tile,
                           uint64_t k, uint64_t pairs, __m512 *acc) {
    __m512 part[MM_MAX_WIDTH];
    UNROLL for (int i = 0; i < n * lanes; i++) part[i] = _mm512_setzero_ps();
    for (uint64_t i = k; i < k + pairs; i++) {
        UNROLL for (int l = 0; l < lanes; l++) {
            const uint64_t at = i + (uint64_t)l * PAIRS;
            const uint8_t *row = panel + at * CPU_PANEL * PAIR_BYTES;
            if (lanes > 1) __builtin_prefetch(row + AHEAD * CPU_PANEL * PAIR_BYTES, 0, 2);
            const __m512bh w = (__m512bh)_mm512_loadu_si512((const void *)row);
            const uint8_t *x = tile + at * (uint64_t)n * PAIR_BYTES;
            UNROLL for (int c = 0; c < n; c++) part[l * n + c] =
                _mm512_dpbf16_ps(part[l * n + c], w, pair_of(x + c * PAIR_BYTES));
        }
    }
    UNROLL for (int i = 0; i < n * lanes; i++) acc[i % n] = _mm512_add_ps(acc[i % n], part[i]);
}

/* An mm_micro once n is constant. */
CPU_INLINE void mm_dot(const int n, const uint8_t *panel, const uint8_t *tile, uint32_t k,
                       float *z) {
    const int lanes =
        n <= 4 ? 4 / n : 1; /* hides the latency of a dot when there are few columns */
    const uint64_t pairs = ((uint64_t)k + 1) / 2, step = (uint64_t)lanes * PAIRS;
    __m512 acc[MM_MAX_WIDTH];
    UNROLL for (int c = 0; c < n; c++) acc[c] = _mm512_loadu_ps(z + 16 * c);
    uint64_t at = 0;
    for (; lanes > 1 && pairs - at >= step; at += step)
        dot_chunks(n, lanes, panel, tile, at, PAIRS, acc);
    for (; at < pairs; at += PAIRS)
        dot_chunks(n, 1, panel, tile, at, HY_MIN(pairs - at, (uint64_t)PAIRS), acc);
    UNROLL for (int c = 0; c < n; c++) _mm512_storeu_ps(z + 16 * c, acc[c]);
}

#define EACH_WIDTH(F) F(1) F(2) F(4) F(8) F(12)
#define FUNCTION(width)                                                                            \
    static void dot_##width(const uint8_t *panel, const uint8_t *tile, uint32_t k, float *z) {     \
        mm_dot(width, panel, tile, k, z);                                                          \
    }
EACH_WIDTH(FUNCTION)

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
    .fill = fill,
    .finish = finish,
};

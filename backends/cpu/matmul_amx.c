/* backends/cpu/matmul_amx.c: block formats in the tile registers of AMX; compiled for AMX-INT8.
 *
 * A chunk of a panel, unpacked once, is multiplied 32 k at a time by one instruction: int8 of 16 columns times
 * bytes of 16 rows. Its sums, exact in int32, pass through the first-level cache and are added up as everywhere
 * else, so the bits are those of matmul_kernel.c. Tiles, unpacked weights and what is done for few columns are
 * AVX-512's; but unpacked weights are signed here, so that no sum begins with an offset. q3_k's, multiplied with
 * their scales, go up to 128 and stay raised. */
#include "backends/cpu/amx.h"
#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul.h"

#define UNROLL _Pragma("GCC unroll 16")
enum {
    WIDTH = 16,
    NARROW = 8, /* columns that are AVX-512's: unpacking before costs more than it saves */
    SUMS = 4    /* blocks of 32 k in flight */
};

/* Registers 0 and 1 are sums, 4 and 5 columns, 6 and 7 weights, of 32 or (q6_k) 16 k at a time. Takes as long as
 * a third of a tile: once for many. */
static void enter(hy_dtype weights) {
    static const amx_config whole = {.palette = 1,
                                     .bytes = {64, 64, 0, 0, 32, 32, 64, 64},
                                     .rows = {16, 16, 0, 0, 16, 16, 8, 8}};
    static const amx_config halves = {.palette = 1,
                                      .bytes = {64, 64, 0, 0, 16, 16, 64, 64},
                                      .rows = {16, 16, 0, 0, 16, 16, 4, 4}};
    _tile_loadconfig(weights == HY_DTYPE_Q6_K ? &halves : &whole);
}

static void leave(void) {
    _tile_release();
}

/* How a format's sums are added up. */
typedef struct sort {
    int halves; /* q6_k: sums of 16 k, a scale for each */
    int raised; /* the tile's aux brings sums down */
    int minima; /* terms with minima, 0 to 2 */
} sort;

typedef int32_t sums[WIDTH][CPU_PANEL];

/* sum = products of the columns at x, 32 bytes apart, and the weights at w. */
#define PRODUCTS(C, A, B, DOT, x, w, sum)                                                          \
    do {                                                                                           \
        _tile_zero(C);                                                                             \
        _tile_loadd(A, x, 32);                                                                     \
        _tile_loadd(B, w, 64);                                                                     \
        DOT(C, A, B);                                                                              \
        _tile_stored(C, sum, 64);                                                                  \
    } while (0)

/* The sums of one block. */
CPU_INLINE void multiply(sort f, const uint8_t *w, const uint8_t *x, sums *sum) {
    if (f.raised)
        PRODUCTS(0, 4, 6, _tile_dpbsud, x, w, sum[0]);
    else
        PRODUCTS(0, 4, 6, _tile_dpbssd, x, w, sum[0]);
    if (f.halves) PRODUCTS(1, 5, 7, _tile_dpbssd, x + 16, w + 256, sum[1]);
}

/* One of 16 columns' words, in all lanes. */
CPU_INLINE __m512i broadcast(const uint8_t *words, int column) {
    int32_t v;
    memcpy(&v, words + 4 * column, sizeof v);
    return _mm512_set1_epi32(v);
}

/* Adds the sums of block s; x: its part of the tile. */
CPU_INLINE void add_sums(sort f, const mm_scales *scales, uint32_t s, const uint8_t *x,
                         const sums *sum, __m512 *acc) {
    const uint8_t *xs = x + WIDTH * 32, *aux = xs + WIDTH * 4;
    UNROLL for (int c = 0; c < WIDTH; c++) {
        const __m512 scale = _mm512_castsi512_ps(broadcast(xs, c));
        const __m512i dot = _mm512_load_si512((const void *)sum[0][c]);
        if (f.halves) {
            const __m512i high = _mm512_load_si512((const void *)sum[1][c]);
            __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_load_ps(scales->a[2 * s]));
            t = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_load_ps(scales->a[2 * s + 1]), t);
            acc[c] = _mm512_fmadd_ps(t, scale, acc[c]);
            continue;
        }
        const __m512 a = _mm512_load_ps(scales->a[s]);
        const __m512i begun = _mm512_add_epi32(dot, broadcast(aux, c)); /* with MM_SUM_BEGIN */
        const __m512 t = f.raised ? _mm512_fmadd_ps(_mm512_castsi512_ps(begun), a,
                                                    _mm512_load_ps(scales->down[s]))
                                  : _mm512_mul_ps(_mm512_cvtepi32_ps(dot), a);
        acc[c] = _mm512_fmadd_ps(t, scale, acc[c]);
        UNROLL for (int h = 0; h < f.minima; h++) acc[c] =
            _mm512_fmadd_ps(_mm512_load_ps(scales->b[(uint32_t)f.minima * s + (uint32_t)h]),
                            _mm512_castsi512_ps(broadcast(aux + WIDTH * 4 * h, c)), acc[c]);
    }
}

/* An mm_wide once f and step, a block's bytes in a tile, are constants. */
CPU_INLINE void wide(sort f, uint64_t step, const mm_unpacked *u, const uint8_t *tile, uint32_t k,
                     const mm_next *next, float *z) {
    _Alignas(64) sums sum[SUMS * 2];
    const uint32_t blocks = k / 32, of = f.halves ? 2 : 1; /* sums of a block */
    __m512 acc[WIDTH];
    AMX_STORED();
    for (uint32_t s = 0; s < HY_MIN(blocks, SUMS - 1u); s++)
        multiply(f, u->w + 512 * s, tile + s * step, sum + of * s);
    UNROLL for (int c = 0; c < WIDTH; c++) acc[c] = _mm512_setzero_ps();
    for (uint32_t s = 0; s < blocks; s++) {
        const uint32_t ahead = s + SUMS - 1;
        mm_ask_next(next, 0, s);
        if (s < WIDTH) mm_ask_outputs(next, s);
        if (ahead < blocks)
            multiply(f, u->w + 512 * ahead, tile + ahead * step, sum + of * (ahead % SUMS));
        add_sums(f, &u->scales, s, tile + s * step, (const sums *)sum + of * (s % SUMS), acc);
    }
    UNROLL for (int c = 0; c < WIDTH; c++)
        _mm512_storeu_ps(z + 16 * c, _mm512_add_ps(_mm512_loadu_ps(z + 16 * c), acc[c]));
}

#define WIDE(name, like, ...)                                                                      \
    static void wide_##name(const mm_unpacked *u, const uint8_t *tile, uint32_t k,                 \
                            const mm_next *next, float *z) {                                       \
        wide((sort){__VA_ARGS__}, WIDTH *mm_column_bytes(like, 32), u, tile, k, next, z);          \
    }
WIDE(scaled, HY_DTYPE_Q4_0, 0, 0, 0)
WIDE(minima, HY_DTYPE_Q4_K, 0, 0, 1)
WIDE(q2_k, HY_DTYPE_Q2_K, 0, 0, 2)
WIDE(q3_k, HY_DTYPE_Q3_K, 0, 1, 0)
WIDE(q6_k, HY_DTYPE_Q6_K, 1, 0, 0)

/* As AVX-512 unpacks, then down to signed bytes, but for q3_k's. */
CPU_INLINE void unpack(hy_dtype dtype, int raised, const uint8_t *panel, uint32_t k,
                       mm_unpacked *out) {
    cpu_mm_avx512.unpack[dtype](panel, k, out);
    if (!raised || dtype == HY_DTYPE_Q3_K) return;
    const __m512i down = _mm512_set1_epi8((char)raised);
    for (uint32_t i = 0; i < k * CPU_PANEL; i += 64) {
        const __m512i w = _mm512_load_si512((const void *)(out->w + i));
        _mm512_store_si512((void *)(out->w + i), _mm512_sub_epi8(w, down));
    }
}

/* ---- what is AVX-512's ---- */

#define MICRO(dtype, name, index)                                                                  \
    static void name##_##index(const uint8_t *panel, const uint8_t *tile, uint32_t k,              \
                               const mm_ahead *ahead, float *z) {                                  \
        cpu_mm_avx512.micro[dtype][index](panel, tile, k, ahead, z);                               \
    }
#define FUNCTIONS(dtype, name, wide, raised)                                                       \
    MICRO(dtype, name, 0)                                                                          \
    MICRO(dtype, name, 1)                                                                          \
    MICRO(dtype, name, 2)                                                                          \
    MICRO(dtype, name, 3)                                                                          \
    static void unpack_##name(const uint8_t *panel, uint32_t k, mm_unpacked *out) {                \
        unpack(dtype, raised, panel, k, out);                                                      \
    }
AMX_BLOCK_FORMATS(FUNCTIONS)

static void fill(hy_dtype weights, hy_dtype x, const void *row, uint32_t begin, uint32_t end,
                 uint32_t width, uint32_t column, uint8_t *tile) {
    cpu_mm_avx512.fill(weights, x, row, begin, end, width, column, tile);
}

static void finish(const mm_epilogue *e, const float *z, const float *up, uint32_t first,
                   uint32_t count, uint32_t rows, const mm_place *to) {
    cpu_mm_avx512.finish(e, z, up, first, count, rows, to);
}

static void quantize(hy_dtype x, const void *row, uint32_t k, void *out) {
    cpu_mm_avx512.quantize(x, row, k, out);
}

#define MICRO_ROW(dtype, name, wide, raised) [dtype] = {name##_0, name##_1, name##_2, name##_3},
#define UNPACK_ROW(dtype, name, wide, raised) [dtype] = unpack_##name,
#define WIDE_ROW(dtype, name, wide, raised) [dtype] = {[4] = wide_##wide},

const mm_kernels CPU_NAME(cpu_mm) = {
    .width = {1, 2, 4, NARROW, WIDTH},
    .micro = {AMX_BLOCK_FORMATS(MICRO_ROW)},
    .unpack = {AMX_BLOCK_FORMATS(UNPACK_ROW)},
    .wide = {AMX_BLOCK_FORMATS(WIDE_ROW)},
    .enter = enter,
    .leave = leave,
    .few = 2 * NARROW,
    .few_width = NARROW,
    .fill = fill,
    .finish = finish,
    .quantize = quantize,
};

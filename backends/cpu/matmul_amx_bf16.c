/* backends/cpu/matmul_amx_bf16.c: weights and activations rounded to bf16, in the tile registers of AMX; compiled for
 * AMX-BF16.
 *
 * A register of weights is 32 k of a panel, [16 pairs of k][16 rows][2] as bf16's panels have them (panel.h); other
 * formats are dequantized and rounded to that, 512 k at a time (matmul_tile.c). A tile is [k / 32][16 or 32
 * columns][32 k]. No scale is left to multiply with, so that sums stay in their registers: they add up 32 k at a
 * time, in the hardware's order, subnormals taken and left as zeros: a class of its own. Rows of whole 32 k only. */
#include "backends/cpu/amx.h"
#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul.h"

#define UNROLL _Pragma("GCC unroll 16")
enum { STEP = 32 /* k */, REGISTER = 1024, AHEAD = 8 * REGISTER, COLUMNS = 16 };

static void enter(hy_dtype weights) {
    (void)weights;
    amx_enter_whole();
}

static void leave(void) {
    _tile_release();
}

/* ---- products --------------------------------------------------------------------------------------- */

/* mm_kernels.add once the first two and `ask` are constants. Registers 0 to 3 are sums [panel][register of columns],
 * 4 and 5 columns, 6 and 7 weights. ask: the panel comes from memory, once. */
CPU_INLINE void products(const uint32_t panels, const uint32_t registers, const int ask,
                         const uint8_t *w, uint64_t w_step, const uint8_t *tile, uint32_t k,
                         float *z, uint64_t z_step) {
    enum { ROW = CPU_PANEL * sizeof *z, NEXT = COLUMNS * CPU_PANEL };
    const uint8_t *const end = w + k / STEP * REGISTER;
    AMX_STORED();
    _tile_loadd(0, z, ROW);
    if (registers > 1) _tile_loadd(1, z + NEXT, ROW);
    if (panels > 1) _tile_loadd(2, z + z_step, ROW);
    if (panels > 1 && registers > 1) _tile_loadd(3, z + z_step + NEXT, ROW);
    for (; w < end; w += REGISTER, tile += registers * REGISTER) {
        for (int i = 0; ask && i < REGISTER; i += 64)
            __builtin_prefetch(w + AHEAD + i, 0, 2);
        _tile_loadd(6, w, 64);
        _tile_loadd(4, tile, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (registers > 1) _tile_loadd(5, tile + REGISTER, 64);
        if (registers > 1) _tile_dpbf16ps(1, 5, 6);
        if (panels > 1) _tile_loadd(7, w + w_step, 64);
        if (panels > 1) _tile_dpbf16ps(2, 4, 7);
        if (panels > 1 && registers > 1) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, z, ROW);
    if (registers > 1) _tile_stored(1, z + NEXT, ROW);
    if (panels > 1) _tile_stored(2, z + z_step, ROW);
    if (panels > 1 && registers > 1) _tile_stored(3, z + z_step + NEXT, ROW);
}

static void add(uint32_t panels, const uint8_t *w, uint64_t w_step, const uint8_t *tile,
                uint32_t width, uint32_t k, float *z, uint64_t z_step) {
    if (panels > 1 && width > COLUMNS)
        products(2, 2, 0, w, w_step, tile, k, z, z_step);
    else if (panels > 1)
        products(2, 1, 0, w, w_step, tile, k, z, z_step);
    else if (width > COLUMNS)
        products(1, 2, 0, w, w_step, tile, k, z, z_step);
    else
        products(1, 1, 0, w, w_step, tile, k, z, z_step);
}

/* Few rows of bf16: a panel is streamed. */
static void micro_16(const uint8_t *panel, const uint8_t *tile, uint32_t k, const mm_ahead *ahead,
                     float *z) {
    (void)ahead;
    products(1, 1, 1, panel, 0, tile, k, z, 0);
}

static void micro_32(const uint8_t *panel, const uint8_t *tile, uint32_t k, const mm_ahead *ahead,
                     float *z) {
    (void)ahead;
    products(1, 2, 1, panel, 0, tile, k, z, 0);
}

/* ---- weights ---------------------------------------------------------------------------------------- */

/* What stands for rows 8 * half .. 8 * half + 7, twice each: a factor for both k of a pair. */
CPU_INLINE __m512 twice(__m512 rows, int half) {
    const __m512i first = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(_mm512_add_epi32(first, _mm512_set1_epi32(8 * half)), rows);
}

/* Of 4 k of 16 rows, [16 rows][4], those of a pair of k of 8 rows, as dwords: their places among the bytes. */
CPU_INLINE __m512i places(int pair, int half) {
    const __m512i first =
        _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29);
    return _mm512_add_epi32(first, _mm512_set1_epi32(2 * pair + 32 * half));
}

/* Groups [g, g_end) of 4 k: (w - raised) a + b. */
CPU_INLINE void dequantize(const uint8_t *w, int g, int g_end, __m512 a, __m512 b, uint8_t *out) {
    const __m512 as[2] = {twice(a, 0), twice(a, 1)}, bs[2] = {twice(b, 0), twice(b, 1)};
    UNROLL for (int i = g; i < g_end; i++) {
        const __m512i four = _mm512_load_si512((const void *)(w + 64 * i));
        UNROLL for (int p = 0; p < 2; p++) {
            __m512 f[2];
            UNROLL for (int h = 0; h < 2; h++) {
                const __m512i v =
                    _mm512_maskz_permutexvar_epi8(0x1111111111111111u, places(p, h), four);
                f[h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), as[h], bs[h]);
            }
            _mm512_store_si512((void *)(out + 64 * (2 * i + p)),
                               (__m512i)_mm512_cvtne2ps_pbh(f[1], f[0]));
        }
    }
}

/* mm_kernels.round of block formats once dtype and raised are constants. Rounds once, as dequantizing to float32
 * does, and then to bf16. Formats with minima, and only they, are not raised. */
CPU_INLINE void round_blocks(hy_dtype dtype, int raised, const uint8_t *panel, uint32_t k,
                             uint8_t *out) {
    const uint32_t as = dtype == HY_DTYPE_Q6_K ? 2 : 1; /* scales of 32 k; offsets, if any */
    const uint32_t bs = dtype == HY_DTYPE_Q2_K ? 2 : 1;
    const __m512 down = _mm512_set1_ps((float)-raised);
    mm_unpacked u;
    cpu_mm_avx512.unpack[dtype](panel, k, &u);
    for (uint32_t s = 0; s < k / STEP; s++) {
        UNROLL for (uint32_t h = 0; h < HY_MAX(as, bs); h++) {
            const __m512 a = _mm512_load_ps(u.scales.a[as * s + (as > 1 ? h : 0)]);
            const __m512 b = raised ? _mm512_mul_ps(a, down)
                                    : _mm512_load_ps(u.scales.b[bs * s + (bs > 1 ? h : 0)]);
            const int groups = 8 / HY_MAX((int)as, (int)bs), g = (int)h * groups;
            dequantize(u.w + 512 * s, g, g + groups, a, b, out + REGISTER * s);
        }
    }
}

#define ROUND(dtype, name, sort, raised)                                                           \
    static void round_##name(const uint8_t *panel, uint32_t k, uint8_t *out) {                     \
        round_blocks(dtype, raised, panel, k, out);                                                \
    }
AMX_BLOCK_FORMATS(ROUND)

/* [k][16 rows]; a register row is two k. */
static void round_f16(const uint8_t *panel, uint32_t k, uint8_t *out) {
    const __m512i low = _mm512_cvtepu16_epi32(
        _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512i pairs =
        _mm512_or_si512(low, _mm512_slli_epi32(_mm512_add_epi32(low, _mm512_set1_epi32(16)), 16));
    for (uint32_t i = 0; i < k / 2; i++) {
        const __m512i both = _mm512_permutexvar_epi16(pairs, _mm512_loadu_si512(panel + 64 * i));
        const __m512 first = _mm512_cvtph_ps(_mm512_castsi512_si256(both));
        const __m512 second = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1));
        _mm512_store_si512((void *)(out + 64 * i), (__m512i)_mm512_cvtne2ps_pbh(second, first));
    }
}

/* ---- activations, and the way out ------------------------------------------------------------------- */

static void fill(hy_dtype weights, hy_dtype x, const void *row, uint32_t begin, uint32_t end,
                 uint32_t width, uint32_t column, uint8_t *tile) {
    (void)weights;
    for (uint32_t k = begin; k < end; k += STEP) {
        __m512i pairs = _mm512_setzero_si512();
        if (row)
            pairs =
                (__m512i)_mm512_cvtne2ps_pbh(cpu_get(x, row, k + 16, end), cpu_get(x, row, k, end));
        _mm512_storeu_si512(tile + ((size_t)k / STEP * width + column) * 64, pairs);
    }
}

static void finish(const mm_epilogue *e, const float *z, const float *up, uint32_t first,
                   uint32_t count, uint32_t rows, const mm_place *to) {
    cpu_mm_avx512.finish(e, z, up, first, count, rows, to);
}

#define ROUND_ROW(dtype, name, sort, raised) [dtype] = round_##name,

const mm_kernels cpu_mm_amx_bf16 = {
    .width = {COLUMNS, 2 * COLUMNS},
    .micro = {[HY_DTYPE_BF16] = {micro_16, micro_32}},
    .round = {AMX_BLOCK_FORMATS(ROUND_ROW)[HY_DTYPE_F16] = round_f16},
    .add = add,
    .enter = enter,
    .leave = leave,
    .fill = fill,
    .finish = finish,
};

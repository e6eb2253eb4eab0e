/* backends/cpu/matmul_amx_bf16.c: bf16 weights times activations rounded to bf16, in the tile registers of AMX;
 * compiled for AMX-BF16.
 *
 * A panel is what a register of weights holds already (panel.h: [k / 2][16 rows][2]), and a tile is [k / 32][16 or
 * 32 columns][32]. A register adds up 32 k at a time in the hardware's order, subnormals taken and left as zeros; chunks of
 * MM_BLOCK_CHUNK k are added to z as elsewhere: a class of its own. Rows of whole 32 k only. */
#include "backends/cpu/amx.h"
#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul.h"

enum { STEP = 32 /* k */, REGISTER = 1024, AHEAD = 8 * REGISTER };

/* Registers 0 and 1 are sums, 4 and 5 columns, 6 and 7 weights. */
static void enter(hy_dtype weights) {
    (void)weights;
    amx_enter_whole();
}

static void leave(void) {
    _tile_release();
}

/* Of one register of columns, or two; k is whole chunks, but for the last. */
CPU_INLINE void multiply(const int registers, const uint8_t *panel, const uint8_t *tile, uint32_t k,
                         float *z) {
    const uint8_t *const end = panel + k / STEP * REGISTER;
    _Alignas(64) float part[2 * 16 * CPU_PANEL];
    AMX_STORED();
    while (panel < end) {
        const uint8_t *chunk_end = HY_MIN(panel + MM_BLOCK_CHUNK / STEP * REGISTER, end);
        _tile_zero(0);
        _tile_zero(1);
        for (; panel < chunk_end; panel += REGISTER, tile += registers * REGISTER) {
            for (int i = 0; i < REGISTER; i += 64)
                __builtin_prefetch(panel + AHEAD + i, 0, 2);
            _tile_loadd(6, panel, 64);
            _tile_loadd(4, tile, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (registers == 1) continue;
            _tile_loadd(5, tile + REGISTER, 64);
            _tile_dpbf16ps(1, 5, 6);
        }
        _tile_stored(0, part, CPU_PANEL * sizeof *part);
        if (registers > 1) _tile_stored(1, part + 16 * CPU_PANEL, CPU_PANEL * sizeof *part);
        for (int c = 0; c < 16 * registers; c++)
            v16_store(z + 16 * c, v16_add(v16_load(z + 16 * c), v16_load(part + 16 * c)));
    }
}

static void multiply_16(const uint8_t *panel, const uint8_t *tile, uint32_t k, float *z) {
    multiply(1, panel, tile, k, z);
}

static void multiply_32(const uint8_t *panel, const uint8_t *tile, uint32_t k, float *z) {
    multiply(2, panel, tile, k, z);
}

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

/* The way out is the same. */
static void finish(const mm_epilogue *e, const float *z, const float *up, uint32_t first,
                   uint32_t count, uint32_t rows, const mm_place *to) {
    cpu_mm_avx512.finish(e, z, up, first, count, rows, to);
}

const mm_kernels cpu_mm_amx_bf16 = {
    .width = {16, 32},
    .micro = {[HY_DTYPE_BF16] = {multiply_16, multiply_32}},
    .enter = enter,
    .leave = leave,
    .fill = fill,
    .finish = finish,
};

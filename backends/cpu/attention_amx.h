/* backends/cpu/attention_amx.h: products of attention_bf16.h in the tile registers of AMX; included by
 * attention_kernel.c alone. A register of queries or weights has 16 rows x 32 columns or keys, one of keys or values 16
 * pairs of those x 16 keys or columns. */
#include "backends/cpu/amx.h"

enum { QUERY_STEP = 64 /* bytes of 32 columns */ };

/* Before a worker's first product; any thread, once. */
static void att_enter(void) {
    amx_enter_whole();
}

/* After its last. */
static void att_leave(void) {
    _tile_release();
}

/* Registers 0 to 3 are sums, 4 and 5 queries or weights, 6 and 7 keys or values. */

/* C += A x B, and the same of the second A where there is one, the second B, or both. */
CPU_INLINE void multiply_tiles(bool two_a, bool two_b, const char *a, const char *second_a,
                               uint64_t a_stride, const char *b, const char *second_b) {
    _tile_loadd(4, a, a_stride);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (two_b) {
        _tile_loadd(7, second_b, 64);
        _tile_dpbf16ps(1, 4, 7);
    }
    if (!two_a) return;
    _tile_loadd(5, second_a, a_stride);
    _tile_dpbf16ps(2, 5, 6);
    if (two_b) _tile_dpbf16ps(3, 5, 7);
}

/* Scores of rows [r, r + 16) or, with `two`, 32, of keys [j, j + 32). */
static void score_tiles(const state *st, uint32_t r, uint32_t j, bool two, const char *turned) {
    const uint32_t dp = st->shape.dp, steps = (uint32_t)hy_div_up(st->shape.d, 32);
    const uint64_t stride = dp * sizeof(float), row = ATT_TILE * sizeof(float);
    const char *a = (const char *)st->q + r * stride, *second_a = a + 16 * stride;
    const char *b = turned + (size_t)(j / 16 * steps) * PIECE;
    float *scores = st->s + (size_t)r * ATT_TILE + j;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (uint32_t i = 0; i < steps; i++)
        multiply_tiles(two, true, a + i * QUERY_STEP, second_a + i * QUERY_STEP, stride,
                       b + i * PIECE, b + (steps + i) * PIECE);
    _tile_stored(0, scores, row);
    _tile_stored(1, scores + 16, row);
    if (!two) return;
    _tile_stored(2, scores + 16 * ATT_TILE, row);
    _tile_stored(3, scores + 16 * ATT_TILE + 16, row);
}

static void score_rounded(const state *st, range keys, const wish *next, const char *turned,
                          uint32_t rows) {
    AMX_STORED();
    for (uint32_t j = keys.begin & ~31u; j < keys.end; j += 32) { /* these keys stay in the cache */
        for (uint32_t r = 0; r < rows; r += 32) {
            ask_share(next, j / 32 * rows + r, 2 * rows, HY_MIN(rows - r, 32));
            score_tiles(st, r, j, rows - r > 16, turned);
        }
    }
}

/* Adds to columns [16 i, 16 i + 16), or 32, of rows [r, r + 16), or 32. */
static void weigh_columns_of(const state *st, uint32_t r, uint32_t i, range keys, bool two_rows,
                             bool two_columns, const char *values) {
    const uint32_t cp = st->shape.cp;
    const uint64_t stride = cp * sizeof(float), row = ATT_TILE * sizeof(float);
    const char *a = (const char *)st->s + r * row;
    float *o = st->o + (size_t)r * cp + 16 * i, *second = o + (size_t)16 * cp;
    _tile_loadd(0, o, stride);
    if (two_columns) _tile_loadd(1, o + 16, stride);
    if (two_rows) _tile_loadd(2, second, stride);
    if (two_rows && two_columns) _tile_loadd(3, second + 16, stride);
    for (uint32_t j = keys.begin / 32; j * 32 < keys.end; j++) {
        const char *b = values + (size_t)(j * (cp / 16) + i) * PIECE;
        multiply_tiles(two_rows, two_columns, a + 64 * j, a + 16 * row + 64 * j, row, b, b + PIECE);
    }
    _tile_stored(0, o, stride);
    if (two_columns) _tile_stored(1, o + 16, stride);
    if (two_rows) _tile_stored(2, second, stride);
    if (two_rows && two_columns) _tile_stored(3, second + 16, stride);
}

static void weigh_rounded(const state *st, range keys, const wish *next, const char *values,
                          uint32_t rows) {
    const uint32_t blocks = st->shape.cp / 16;
    AMX_STORED();
    for (uint32_t i = 0; i < blocks; i += 2) { /* these columns stay in the cache */
        for (uint32_t r = 0; r < rows; r += 32) {
            if (r == 0) ask_share(next, i, blocks, 2);
            weigh_columns_of(st, r, i, keys, rows - r > 16, i + 1 < blocks, values);
        }
    }
}

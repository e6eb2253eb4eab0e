/* shaders/vulkan/gemm.glsl: the tile that a workgroup of gemm.comp or gemm_float.comp computes:
 * GEMM_ROWS weight rows times COLUMNS rows of x, and how it is stored. With glu the tile's first
 * half are gate rows and its second half the up rows of the same outputs, so that a thread holds
 * both.
 *
 * 128 threads are 16 groups of rows by 8 groups of columns: thread (r, c) has rows r, r + 16, r +
 * 32, r + 48 and columns c, c + 8, ... Neighbours read neighbouring 16 bytes of shared memory or
 * the same ones. */
#ifndef HY_GEMM_GLSL
#define HY_GEMM_GLSL

#include "store_pair.glsl"

layout(constant_id = 1) const uint WIDTH = 4; /* columns of a thread: 2, 4 or 8 */

const uint GEMM_THREADS = 128u;
const uint GEMM_ROWS = 64u;
const uint GEMM_HEIGHT = 4u; /* rows of a thread */
const uint COLUMNS = 8u * WIDTH;
const uint SUMS = GEMM_HEIGHT * WIDTH;
/* One step is four pieces of 16 bytes of every row and column. The odd 2 keeps the stores of
 * neighbouring threads, which go to pieces two apart, in different banks. */
const uint GEMM_PIECES = 4u;
const uint ROW_PITCH = GEMM_ROWS + 2u;
const uint COLUMN_PITCH = COLUMNS + 2u;
const uint STAGE_PITCH = GEMM_ROWS + 4u;

/* A thread's sums, of all chunks and of this one: row r + 16 i, column c + 8 j at i * WIDTH + j. */
float z[SUMS];
float p[SUMS];

shared uvec4 tile_w[GEMM_PIECES * ROW_PITCH];    /* [piece][row] */
shared uvec4 tile_x[GEMM_PIECES * COLUMN_PITCH]; /* [piece][column] */
shared float stage[8u * STAGE_PITCH];            /* [column group][row] */

struct gemm_tile {
    uint output_;  /* the first one */
    uint outputs;  /* M */
    uint column;   /* the first row of out (product.glsl) */
    uint columns;  /* the end of those that there are */
    bool glu;
};

/* The tile of this workgroup; false: there is nothing to do. Tiles of the same weights follow each
 * other. */
bool gemm_tile_of(out gemm_tile t) {
    const uint tiles = product_tiles(COLUMNS);
    t.glu = ARGS.word[HY_MATMUL_ATTR_glu] != 0u;
    t.outputs = hy_columns(HY_MATMUL_out);
    const uint count = t.glu ? GEMM_ROWS / 2u : GEMM_ROWS;
    t.output_ = hy_group() / tiles * count;
    return t.output_ < t.outputs &&
           product_tile(hy_group() % tiles, COLUMNS, t.output_, count, t.column, t.columns);
}

/* Address of row `row` of the tile in the packed weights; 0: past the last. */
uvec2 gemm_weight_row(gemm_tile t, uint row) {
    const bool up = t.glu && row >= GEMM_ROWS / 2u;
    const uint m = t.output_ + (up ? row - GEMM_ROWS / 2u : row);
    if (m >= t.outputs) return uvec2(0u);
    return product_weights(up ? m + t.outputs : m);
}

/* Address of column `column` of the tile in x; 0: past the last. */
uvec2 gemm_x_row(gemm_tile t, uint column) {
    return t.column + column < t.columns ? product_x(t.column + column) : uvec2(0u);
}

void gemm_clear() {
    for (uint i = 0u; i < SUMS; i++)
        z[i] = p[i] = 0.0;
}

/* At the end of a chunk. */
void gemm_chunk() {
    for (uint i = 0u; i < SUMS; i++) {
        precise const float sum = z[i] + p[i];
        z[i] = sum;
        p[i] = 0.0;
    }
}

/* Stores z. Eight columns at a time go through shared memory, so that neighbouring threads write
 * neighbouring outputs. */
void gemm_store(gemm_tile t) {
    const uint thread = gl_LocalInvocationID.x, r = thread / 8u, c = thread % 8u;
    const uint half_ = t.glu ? GEMM_ROWS / 2u : 0u;
    const uint pairs = t.glu ? GEMM_ROWS / 4u : GEMM_ROWS / 2u; /* of a column */
    const hy_epilogue_of e = product_epilogue();
    for (uint j = 0u; j < WIDTH; j++) {
        barrier();
        for (uint i = 0u; i < GEMM_HEIGHT; i++)
            stage[c * STAGE_PITCH + r + 16u * i] = z[i * WIDTH + j];
        barrier();
        [[dont_unroll]] for (uint at = thread; at < 8u * pairs; at += GEMM_THREADS) {
            const uint column = at / pairs, row = at % pairs * 2u;
            const uint x = t.column + 8u * j + column;
            const uint from = column * STAGE_PITCH + row;
            if (x < t.columns && t.output_ + row < t.outputs)
                hy_store_pair(e, x, t.output_ + row, vec2(stage[from], stage[from + 1u]),
                              vec2(stage[from + half_], stage[from + half_ + 1u]));
        }
    }
}

#endif

/* shaders/vulkan/gemm.comp: matmul of many rows by weights in a block format; x is a8. One weight
 * sub-block is unpacked once for a whole tile of columns. The order of additions is that of all
 * matmul kernels (docs/numerics.md): the bits are those of the kernel for few rows.
 *
 * Reads as in shaders/args.h; x is operand 0 or, where the op's x is float, what phase 0 left in
 * the workspace. Grid: tiles of gemm.glsl. Compiled per format (quant.glsl), with and without DOT8.
 * Without it int8 are multiplied as floats, exact as well, since no sum of 32 products reaches
 * 2^24. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "dot8.glsl"
#include "gemm.glsl"
#include "quant.glsl"

const uint CHUNK = 8u;         /* sub-blocks of 32 k that are added up apart */
const uint STEP = 2u;          /* of which one step has so many */
const uint PARTS = SPLIT + 1u; /* scales of a sub-block */

/* [scale of the step][row or column]: a, and b or 0; xs, and xs * xsum or 0 */
#if HAS_MINIMA
#define SCALE vec2
#else
#define SCALE float
#endif
shared SCALE scale_w[STEP * PARTS * GEMM_ROWS];
shared SCALE scale_x[STEP * PARTS * COLUMNS];

/* Sub-block s of a row (address 0: zeros) to sub-block `sub` of the step. */
void put_weights(uvec2 address, uint s, uint sub, uint row) {
    uvec4 low = uvec4(0u), high = uvec4(0u);
    SCALE scale[PARTS];
    for (uint h = 0u; h < PARTS; h++)
        scale[h] = SCALE(0.0);
    if (address != uvec2(0u)) {
        const hy_weights w =
            hy_load_weights(address, OPERAND(HY_MATMUL_w).stride[1],
                            OPERAND(HY_MATMUL_w).stride[2], OPERAND(HY_MATMUL_w).stride[3], s);
        low = uvec4(w.q[0], w.q[1], w.q[2], w.q[3]);
        high = uvec4(w.q[4], w.q[5], w.q[6], w.q[7]);
        for (uint h = 0u; h < PARTS; h++) {
#if HAS_MINIMA
            scale[h] = vec2(w.a[h], w.b[h]);
#else
            scale[h] = w.a[h];
#endif
        }
    }
    tile_w[2u * sub * ROW_PITCH + row] = low;
    tile_w[(2u * sub + 1u) * ROW_PITCH + row] = high;
    for (uint h = 0u; h < PARTS; h++)
        scale_w[(sub * PARTS + h) * GEMM_ROWS + row] = scale[h];
}

#if HAS_MINIMA
/* Sum of the int8 of part h of a block. */
int part_sum(uvec4 low, uvec4 high, int sum, uint h) {
#if SPLIT
    const uvec4 q = h == 0u ? low : high;
    return hy_sum4(q.x) + hy_sum4(q.y) + hy_sum4(q.z) + hy_sum4(q.w);
#else
    return sum;
#endif
}
#endif

/* Block s of a row of x, likewise. */
void put_x(uvec2 address, uint s, uint sub, uint column) {
    uvec4 low = uvec4(0u), high = uvec4(0u);
    float xs = 0.0;
    int sum = 0;
    if (address != uvec2(0u)) {
        Pairs block = Pairs(hy_add(address, 40u * s));
        low = uvec4(block.v[0], block.v[1]);
        high = uvec4(block.v[2], block.v[3]);
        const uvec2 last = block.v[4];
        xs = uintBitsToFloat(last.x);
        sum = int(last.y);
    }
    tile_x[2u * sub * COLUMN_PITCH + column] = low;
    tile_x[(2u * sub + 1u) * COLUMN_PITCH + column] = high;
    for (uint h = 0u; h < PARTS; h++) {
#if HAS_MINIMA
        precise const float xsum = xs * float(part_sum(low, high, sum, h));
        scale_x[(sub * PARTS + h) * COLUMNS + column] = vec2(xs, xsum);
#else
        scale_x[(sub * PARTS + h) * COLUMNS + column] = xs;
#endif
    }
}

#ifdef DOT8
#define SUM int
#define LANES(word) word
#define PRODUCTS(a, b) hy_dot4(a, b)
#define LANE4 uint
#else
#define SUM float
#define LANES(word) lanes(word)
#define PRODUCTS(a, b) dot(a, b)
#define LANE4 vec4
vec4 lanes(uint word) {
    const int x = int(word);
    return vec4(bitfieldExtract(x, 0, 8), bitfieldExtract(x, 8, 8), bitfieldExtract(x, 16, 8),
                x >> 24);
}
#endif

SUM isum[SUMS];

/* isum += products of the 16 k of one piece. */
void multiply(uint piece) {
    const uint r = gl_LocalInvocationID.x / 8u, c = gl_LocalInvocationID.x % 8u;
    uvec4 w[GEMM_HEIGHT], x[WIDTH];
    for (uint i = 0u; i < GEMM_HEIGHT; i++)
        w[i] = tile_w[piece * ROW_PITCH + r + 16u * i];
    for (uint j = 0u; j < WIDTH; j++)
        x[j] = tile_x[piece * COLUMN_PITCH + c + 8u * j];
    for (uint word = 0u; word < 4u; word++) {
        LANE4 v[GEMM_HEIGHT];
        for (uint i = 0u; i < GEMM_HEIGHT; i++)
            v[i] = LANES(w[i][word]);
        for (uint j = 0u; j < WIDTH; j++) {
            const LANE4 q = LANES(x[j][word]);
            for (uint i = 0u; i < GEMM_HEIGHT; i++)
                isum[i * WIDTH + j] += PRODUCTS(v[i], q);
        }
    }
}

/* p += the products of the step's part `part`. */
void add_part(uint part) {
    const uint r = gl_LocalInvocationID.x / 8u, c = gl_LocalInvocationID.x % 8u;
    for (uint i = 0u; i < SUMS; i++)
        isum[i] = SUM(0);
#if SPLIT
    multiply(part);
#else
    [[dont_unroll]] for (uint h = 0u; h < 2u; h++)
        multiply(2u * part + h);
#endif
    for (uint j = 0u; j < WIDTH; j++) {
        const SCALE x = scale_x[part * COLUMNS + c + 8u * j];
        for (uint i = 0u; i < GEMM_HEIGHT; i++) {
            const SCALE w = scale_w[part * GEMM_ROWS + r + 16u * i];
#if HAS_MINIMA
            precise const float ax = w.x * x.x;
            p[i * WIDTH + j] = fma(float(isum[i * WIDTH + j]), ax, p[i * WIDTH + j]);
            p[i * WIDTH + j] = fma(w.y, x.y, p[i * WIDTH + j]);
#else
            precise const float ax = w * x;
            p[i * WIDTH + j] = fma(float(isum[i * WIDTH + j]), ax, p[i * WIDTH + j]);
#endif
        }
    }
}

void main() {
    gemm_tile t;
    if (!gemm_tile_of(t)) return;
    const uint thread = gl_LocalInvocationID.x, line = thread / STEP, sub = thread % STEP;
    const uint blocks = hy_columns(HY_MATMUL_x) / 32u;
    const uvec2 weights = gemm_weight_row(t, line), x = gemm_x_row(t, line);
    gemm_clear();
    [[dont_unroll]] for (uint first = 0u; first < blocks; first += STEP) {
        const uint s = first + sub;
        put_weights(s < blocks ? weights : uvec2(0u), s, sub, line);
        if (line < COLUMNS) put_x(s < blocks ? x : uvec2(0u), s, sub, line);
        barrier();
        [[dont_unroll]] for (uint part = 0u; part < min(STEP, blocks - first) * PARTS; part++)
            add_part(part);
        barrier();
        if ((first + STEP) % CHUNK == 0u || first + STEP >= blocks) gemm_chunk();
    }
    gemm_store(t);
}

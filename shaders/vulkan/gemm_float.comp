/* shaders/vulkan/gemm_float.comp: matmul of many rows by f32, f16 or bf16 weights, in float32. The
 * order of additions is that of all matmul kernels (docs/numerics.md).
 *
 * Reads as in shaders/args.h. Grid: tiles of gemm.glsl. Compiled per format (quant.glsl). */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "gemm.glsl"
#include "quant.glsl"
#include "rows.glsl"

const uint CHUNK = 64u; /* k that are added up apart */
const uint STEP = 16u;  /* of which one step has so many, four in a piece */

/* Weights k .. k + 3 of a row (address 0: zeros) to a piece of the step. */
void put_weights(uvec2 address, uint k, uint columns, uint piece, uint row) {
    vec4 v = vec4(0.0);
    if (address != uvec2(0u) && k < columns) {
        v = hy_load_weight4(address, k);
        v = mix(vec4(0.0), v, lessThan(uvec4(k) + uvec4(0u, 1u, 2u, 3u), uvec4(columns)));
    }
    tile_w[piece * ROW_PITCH + row] = floatBitsToUint(v);
}

void put_x(uvec2 address, uint k, uint columns, uint piece, uint column) {
    vec4 v = vec4(0.0);
    if (address != uvec2(0u) && k < columns)
        v = hy_load4(hy_dtype(HY_MATMUL_x), address, k, columns);
    tile_x[piece * COLUMN_PITCH + column] = floatBitsToUint(v);
}

/* p += the products of the four k of one piece, in order. */
void add_piece(uint piece) {
    const uint r = gl_LocalInvocationID.x / 8u, c = gl_LocalInvocationID.x % 8u;
    vec4 w[GEMM_HEIGHT];
    for (uint i = 0u; i < GEMM_HEIGHT; i++)
        w[i] = uintBitsToFloat(tile_w[piece * ROW_PITCH + r + 16u * i]);
    for (uint j = 0u; j < WIDTH; j++) {
        const vec4 x = uintBitsToFloat(tile_x[piece * COLUMN_PITCH + c + 8u * j]);
        for (uint i = 0u; i < GEMM_HEIGHT; i++)
            for (uint e = 0u; e < 4u; e++)
                p[i * WIDTH + j] = fma(w[i][e], x[e], p[i * WIDTH + j]);
    }
}

void main() {
    gemm_tile t;
    if (!gemm_tile_of(t)) return;
    const uint thread = gl_LocalInvocationID.x, line = thread / GEMM_PIECES;
    const uint piece = thread % GEMM_PIECES, half_ = GEMM_THREADS / GEMM_PIECES;
    const uint columns = hy_columns(HY_MATMUL_x);
    const uvec2 weights[2] = {gemm_weight_row(t, line), gemm_weight_row(t, line + half_)};
    const uvec2 x[2] = {gemm_x_row(t, line), gemm_x_row(t, line + half_)};
    gemm_clear();
    [[dont_unroll]] for (uint first = 0u; first < columns; first += STEP) {
        const uint k = first + 4u * piece;
        [[dont_unroll]] for (uint i = 0u; i < 2u; i++) {
            put_weights(weights[i], k, columns, piece, line + half_ * i);
            if (line + half_ * i < COLUMNS) put_x(x[i], k, columns, piece, line + half_ * i);
        }
        barrier();
        [[dont_unroll]] for (uint i = 0u; i < GEMM_PIECES; i++)
            add_piece(i);
        barrier();
        if ((first + STEP) % CHUNK == 0u || first + STEP >= columns) gemm_chunk();
    }
    gemm_store(t);
}

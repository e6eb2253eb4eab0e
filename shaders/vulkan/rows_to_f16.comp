/* shaders/vulkan/rows_to_f16.comp: phase 0 of coopmat.comp: rows of x -> f16 rows in the workspace,
 * each scaled by a power of two s of its own (docs/numerics.md): s = 2^e with the largest e <= 126
 * that keeps |s x| below 2^14. So nothing overflows, and values down to 2^-27 of the row's largest
 * keep their 11 bits.
 *
 * Reads args.operand[0], x of any dtype; counters. Writes at args.workspace: f16 [T, extra[0]],
 * elements past x's columns 0, extra[0] a multiple of 32; and at extra[1] bytes from there float32
 * [T], 1 / s. One workgroup of 128 threads for each row. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "rows.glsl"

shared uint most[128];

/* Elements i .. i + 3, i a multiple of 4. */
vec4 load4(uvec2 row, uint i, uint columns) {
    if (hy_dtype(0u) != HY_DTYPE_A8) return hy_load4(hy_dtype(0u), row, i, columns);
    Words block = Words(hy_advance(row, i / 32u, HY_A8_BYTES));
    const int q = int(block.v[i % 32u / 4u]);
    precise const vec4 v = uintBitsToFloat(block.v[HY_A8_SCALE]) *
                           vec4(bitfieldExtract(q, 0, 8), bitfieldExtract(q, 8, 8),
                                bitfieldExtract(q, 16, 8), q >> 24);
    return v;
}

void main() {
    const uint row = hy_group(), t = gl_LocalInvocationID.x, threads = gl_WorkGroupSize.x;
    if (row >= hy_rows(0u)) return;
    const uint columns = hy_columns(0u), width = ARGS.extra[0];
    const uvec2 from = hy_row(0u, row);
    uint largest = 0u; /* magnitudes compare like their bits */
    [[dont_unroll]] for (uint i = 4u * t; i < columns; i += 4u * threads) {
        const uvec4 v = floatBitsToUint(load4(from, i, columns)) & 0x7fffffffu;
        largest = max(largest, max(max(v.x, v.y), max(v.z, v.w)));
    }
    most[t] = largest;
    barrier();
    [[dont_unroll]] for (uint n = threads / 2u; n > 0u; n /= 2u) {
        if (t < n) most[t] = max(most[t], most[t + n]);
        barrier();
    }
    /* largest = f 2^(exponent - 127), 1 <= f < 2 */
    const int exponent = int(most[0] >> 23), e = most[0] == 0u ? 0 : min(140 - exponent, 126);
    const float scale = uintBitsToFloat(uint(e + 127) << 23);
    const uvec2 to = hy_advance(ARGS.workspace, row, 2u * width);
    [[dont_unroll]] for (uint i = 4u * t; i < width; i += 4u * threads) {
        vec4 v = vec4(0.0);
        if (i < columns) v = load4(from, i, columns) * scale;
        Pairs(to).v[i / 4u] = uvec2(hy_to_f16(v.x) | hy_to_f16(v.y) << 16,
                                    hy_to_f16(v.z) | hy_to_f16(v.w) << 16);
    }
    if (t == 0u)
        Floats(hy_add(ARGS.workspace, ARGS.extra[1])).v[row] = uintBitsToFloat(uint(127 - e) << 23);
}

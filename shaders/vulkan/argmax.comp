/* shaders/vulkan/argmax.comp: the column of the largest element of each row, ties to the lowest, NaN passed
 * over; 0 for a row of NaN alone. One workgroup a row. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "keys.glsl"

shared uvec2 best_of[HY_ROW_THREADS];

void main() {
    const uint row = hy_group(), t = gl_LocalInvocationID.x;
    if (row >= hy_count(HY_ARGMAX_x)) return;
    const uint dtype = hy_dtype(HY_ARGMAX_x), columns = hy_columns(HY_ARGMAX_x);
    const uvec2 x = hy_row(HY_ARGMAX_x, row);
    uvec2 best = uvec2(0u);
    [[dont_unroll]] for (uint i = 4u * t; i < columns; i += 4u * gl_WorkGroupSize.x) {
        const vec4 v = hy_load4(dtype, x, i, columns);
        [[dont_unroll]] for (uint j = 0u; j < min(4u, columns - i); j++) {
            const uvec2 place = uvec2(hy_key(v[j]), ~(i + j));
            if (hy_above(place, best)) best = place;
        }
    }
    best_of[t] = best;
    [[dont_unroll]] for (uint step_ = gl_WorkGroupSize.x / 2u; step_ > 0u; step_ /= 2u) {
        barrier();
        if (t < step_ && hy_above(best_of[t + step_], best_of[t])) best_of[t] = best_of[t + step_];
    }
    if (t == 0u) Words(OPERAND(HY_ARGMAX_out).address).v[row] = ~best_of[0].y;
}

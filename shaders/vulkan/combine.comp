/* shaders/vulkan/combine.comp: HY_OP_COMBINE. Threads are numbered through the rows, four elements each, the
 * last of a row maybe fewer. Grid: gpu_family_elements (backends/gpu). */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "rows.glsl"

void main() {
    const uint columns = hy_columns(HY_COMBINE_out), each = (columns + 3u) / 4u;
    const uint n = hy_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    const uint row = n / each, i = 4u * (n % each);
    if (row >= hy_count(HY_COMBINE_out)) return;
    const uint slots = OPERAND(HY_COMBINE_x).dim[1];
    const uvec2 weights = hy_row(HY_COMBINE_weights, row);
    precise vec4 sum = vec4(0.0);
    if (hy_present(HY_COMBINE_residual))
        sum = hy_load4(hy_dtype(HY_COMBINE_residual), hy_row(HY_COMBINE_residual, row), i, columns);
    [[dont_unroll]] for (uint p = 0u; p < slots; p++) {
        const uvec2 from = hy_row(HY_COMBINE_x, row * slots + p);
        const vec4 x = hy_load4(hy_dtype(HY_COMBINE_x), from, i, columns);
        precise const vec4 term = Floats(weights).v[p] * x;
        sum = sum + term;
    }
    hy_store4(hy_dtype(HY_COMBINE_out), hy_row(HY_COMBINE_out, row), i, columns, sum);
}

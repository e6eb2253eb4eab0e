/* shaders/vulkan/softmax.comp: e^(s - max s) / sum, s = scale * x. One workgroup a row; each thread reads its
 * elements three times and writes them at the last, so that out may lie over x. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "total.glsl"

#define STEP (4u * gl_WorkGroupSize.x)

/* scale * x, past the row -infinity. */
vec4 load_s(uint dtype, uvec2 row, uint i, uint columns, float scale) {
    precise const vec4 s = scale * hy_load4(dtype, row, i, columns);
    return mix(vec4(-HY_INFINITY), s, hy_inside(i, columns));
}

vec4 exponentials(vec4 s, float top) {
    precise vec4 e = s - vec4(top);
    [[dont_unroll]] for (uint j = 0u; j < 4u; j++)
        e[j] = hy_exp(e[j]);
    return e;
}

void main() {
    const uint row = hy_group(), first = 4u * gl_LocalInvocationID.x;
    if (row >= hy_rows(HY_SOFTMAX_x)) return;
    const uint dtype = hy_dtype(HY_SOFTMAX_x), columns = hy_columns(HY_SOFTMAX_x);
    const uvec2 x = hy_row(HY_SOFTMAX_x, row), to = hy_row(HY_SOFTMAX_out, row);
    const float given = uintBitsToFloat(ARGS.word[HY_SOFTMAX_ATTR_scale]);
    const float scale = given == 0.0 ? 1.0 : given;
    vec4 largest = vec4(-HY_INFINITY);
    [[dont_unroll]] for (uint i = first; i < columns; i += STEP) {
        const vec4 s = load_s(dtype, x, i, columns, scale);
        largest = mix(largest, s, greaterThan(s, largest));
    }
    const float top = hy_largest(max(max(largest.x, largest.y), max(largest.z, largest.w)));
    precise vec4 sum = vec4(0.0);
    [[dont_unroll]] for (uint i = first; i < columns; i += STEP)
        sum = sum + exponentials(load_s(dtype, x, i, columns, scale), top);
    const float all_ = hy_total4(sum);
    [[dont_unroll]] for (uint i = first; i < columns; i += STEP) {
        vec4 e = exponentials(load_s(dtype, x, i, columns, scale), top);
        [[dont_unroll]] for (uint j = 0u; j < 4u; j++)
            e[j] = hy_divide(e[j], all_);
        hy_store4(hy_dtype(HY_SOFTMAX_out), to, i, columns, e);
    }
}

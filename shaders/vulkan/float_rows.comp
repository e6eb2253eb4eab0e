/* shaders/vulkan/float_rows.comp: matmul by weights that are the result of another op: plain numbers of any
 * dtype and strides. One thread for each output; the order of additions is that of all GPU products.
 *
 * args.extra: none. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "epilogue.glsl"

#define CHUNK 64u

float dot_of(uvec2 x, uvec2 w) {
    const uint end = hy_columns(HY_MATMUL_x);
    const uint x_type = hy_dtype(HY_MATMUL_x), w_type = hy_dtype(HY_MATMUL_w);
    precise float z = 0.0;
    [[dont_unroll]] for (uint from = 0u; from < end; from += CHUNK) {
        precise float p = 0.0;
        [[dont_unroll]] for (uint k = from; k < min(from + CHUNK, end); k++)
            p = fma(hy_load(w_type, w, k), hy_load(x_type, x, k), p);
        z = z + p;
    }
    return z;
}

void main() {
    const uint outputs = hy_columns(HY_MATMUL_out);
    const uint groups = (outputs + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x; /* of a token */
    const uint t = hy_group() / groups;
    const uint m = hy_group() % groups * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (t >= hy_count(HY_MATMUL_x) || m >= outputs) return;
    const hy_epilogue_of e = hy_matmul_epilogue();
    const uvec2 x = hy_row(HY_MATMUL_x, t);
    float sum[2] = float[2](0.0, 0.0);
    [[dont_unroll]] for (uint i = 0u; i < (e.glu ? 2u : 1u); i++)
        sum[i] = dot_of(x, hy_row(HY_MATMUL_w, m + i * outputs));
    hy_matmul_store(e, t, m, sum[0], sum[1]);
}

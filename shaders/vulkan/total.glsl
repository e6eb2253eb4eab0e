/* shaders/vulkan/total.glsl: sums and maxima over a workgroup, in an order that is a function of the number of
 * threads alone: sixteen sums of every sixteenth thread's number, then the sum of those; each in order. */
#ifndef HY_TOTAL_GLSL
#define HY_TOTAL_GLSL

#include "rows.glsl"

shared float total_part[HY_ROW_THREADS];
shared float total_sum[16];

/* The sum of all threads' x, given to all of them. All call it together, again and again if they like. */
float hy_total(float x) {
    const uint t = gl_LocalInvocationID.x;
    total_part[t] = x;
    barrier();
    if (t < 16u) {
        precise float sum = total_part[t];
        [[dont_unroll]] for (uint j = t + 16u; j < gl_WorkGroupSize.x; j += 16u)
            sum = sum + total_part[j];
        total_sum[t] = sum;
    }
    barrier();
    precise float sum = total_sum[0];
    [[dont_unroll]] for (uint j = 1u; j < 16u; j++)
        sum = sum + total_sum[j];
    return sum;
}

/* The sum of the four, then of all threads'. */
float hy_total4(vec4 v) {
    precise const float sum = (v.x + v.y) + (v.z + v.w);
    return hy_total(sum);
}

/* The largest of all threads' x. */
float hy_largest(float x) {
    const uint t = gl_LocalInvocationID.x;
    total_part[t] = x;
    barrier();
    if (t < 16u) {
        [[dont_unroll]] for (uint j = t + 16u; j < gl_WorkGroupSize.x; j += 16u)
            x = total_part[j] > x ? total_part[j] : x;
        total_sum[t] = x;
    }
    barrier();
    x = total_sum[0];
    [[dont_unroll]] for (uint j = 1u; j < 16u; j++)
        x = total_sum[j] > x ? total_sum[j] : x;
    return x;
}

#endif

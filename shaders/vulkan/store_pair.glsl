/* shaders/vulkan/store_pair.glsl: two neighbouring outputs of a product at once, so that halves are
 * written a whole word at a time. */
#ifndef HY_STORE_PAIR_GLSL
#define HY_STORE_PAIR_GLSL

#include "product.glsl"

/* Finishes and stores outputs m and m + 1 (where there is one) of row t from their sums. */
void hy_store_pair(hy_epilogue_of e, uint t, uint m, vec2 z, vec2 up) {
    const uint dtype = hy_dtype(HY_MATMUL_out), count = min(2u, e.outputs - m);
    const uvec2 row = hy_row(HY_MATMUL_out, product_row(t));
    vec2 y = vec2(0.0);
    [[dont_unroll]] for (uint i = 0u; i < count; i++)
        y[i] = product_finish(e, t, m + i, z[i], up[i]);
    const uvec2 address = hy_element(row, dtype, m);
    if (dtype != HY_DTYPE_F32 && count == 2u && (address.x & 2u) == 0u) {
        Words(address).v[0] = dtype == HY_DTYPE_F16 ? hy_to_f16(y.x) | hy_to_f16(y.y) << 16
                                                    : hy_to_bf16(y.x) | hy_to_bf16(y.y) << 16;
        return;
    }
    [[dont_unroll]] for (uint i = 0u; i < count; i++)
        hy_store(dtype, row, m + i, y[i]);
}

#endif

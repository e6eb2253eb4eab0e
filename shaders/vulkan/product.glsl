/* shaders/vulkan/product.glsl: in what matmul and grouped_matmul (GROUPED) differ: where rows of the weights, of x
 * and of out are, which of them a workgroup has, and how outputs are finished. Operands x, w and out have the
 * same numbers in both ops, act and glu too.
 *
 * A row of out is a token, or a pair (token, slot). Rows are numbered by i: with SORTED the place in the order
 * by experts (grouped_work.glsl), else the token or pair itself. */
#ifndef HY_PRODUCT_GLSL
#define HY_PRODUCT_GLSL

#include "epilogue.glsl"

#ifndef GROUPED

hy_epilogue_of product_epilogue() {
    return hy_matmul_epilogue();
}

/* Row n of the packed weights. */
uvec2 product_weights(uint n) {
    return hy_advance(OPERAND(HY_MATMUL_w).address, n, OPERAND(HY_MATMUL_w).stride[0]);
}

/* The row of out that has number i. */
uint product_row(uint i) {
    return i;
}

/* The row of x that makes row i of out. */
uvec2 product_x(uint i) {
    return hy_row(HY_MATMUL_x, i);
}

/* Output m of row i as it is stored, from its sum and, with glu, that of row M + m of the weights. */
float product_finish(hy_epilogue_of e, uint i, uint m, float z, float up) {
    precise float y = hy_epilogue(e, m, z, up);
    if (hy_present(HY_MATMUL_residual))
        y = y + hy_load(hy_dtype(HY_MATMUL_residual), hy_row(HY_MATMUL_residual, i), m);
    return y;
}

/* Upper bound of tiles of `columns` rows. */
uint product_tiles(uint columns) {
    return (OPERAND(HY_MATMUL_x).dim[0] + columns - 1u) / columns;
}

/* Rows [begin, end) are those of tile `tile`, or more. False: there are none, or nothing is left to do with
 * their outputs [m, m + count). */
bool product_tile(uint tile, uint columns, uint m, uint count, out uint begin, out uint end) {
    begin = tile * columns;
    end = hy_count(HY_MATMUL_x);
    return begin < end;
}

#else
#include "grouped_work.glsl"

uint product_expert; /* this workgroup's, after product_tile or product_pair */

hy_epilogue_of product_epilogue() {
    return hy_grouped_epilogue(product_expert);
}

uvec2 product_weights(uint n) {
    return hy_advance(OPERAND(HY_MATMUL_w).address,
                      product_expert * OPERAND(HY_GROUPED_MATMUL_w).dim[1] + n,
                      OPERAND(HY_MATMUL_w).stride[0]);
}

uint product_row(uint i) {
#ifdef SORTED
    return Words(grouped_order()).v[i];
#else
    return i;
#endif
}

uvec2 product_x(uint i) {
    return hy_row(HY_MATMUL_x, grouped_x_row(product_row(i)));
}

float product_finish(hy_epilogue_of e, uint i, uint m, float z, float up) {
    return hy_epilogue(e, m, z, up);
}

/* Zeros for outputs [m, m + count) of row i. */
void product_zero(uint i, uint m, uint count) {
    const uint end = min(m + count, hy_columns(HY_MATMUL_out));
    const uvec2 row = hy_row(HY_MATMUL_out, product_row(i));
    [[dont_unroll]] for (uint at = m + gl_LocalInvocationID.x; at < end; at += gl_WorkGroupSize.x)
        hy_store(hy_dtype(HY_MATMUL_out), row, at, 0.0);
}

#ifdef SORTED

uint product_tiles(uint columns) {
    return GROUPED_TILES;
}

bool product_tile(uint tile, uint columns, uint m, uint count, out uint begin, out uint end) {
    begin = end = 0u;
    if (tile >= Words(grouped_work()).v[0]) return false;
    const uvec4 found = Quads(grouped_tiles()).v[tile];
    product_expert = found.x;
    begin = found.y;
    end = found.y + found.z;
    if (product_expert < grouped_experts()) return true;
    [[dont_unroll]] for (uint i = begin; i < end; i++)
        product_zero(i, m, count);
    return false;
}

#else

/* The same for one pair. */
bool product_pair(uint pair, uint m, uint count) {
    if (pair >= grouped_pairs()) return false;
    product_expert = grouped_expert(pair);
    if (product_expert < grouped_experts()) return true;
    product_zero(pair, m, count);
    return false;
}

#endif
#endif

void product_store(hy_epilogue_of e, uint i, uint m, float z, float up) {
    hy_store(hy_dtype(HY_MATMUL_out), hy_row(HY_MATMUL_out, product_row(i)), m,
             product_finish(e, i, m, z, up));
}

#endif

/* shaders/vulkan/gemv.glsl: what the products for few tokens share: which rows of the weights a workgroup has,
 * and how their sums leave it.
 *
 * A workgroup makes `rows` rows for all tokens. With glu they are pairs, gate row m and up row M + m, so that
 * whoever finishes output m has both. Rows past the end are those of the last output once more: they cost
 * nothing that is not there, and are not stored. */
#ifndef HY_GEMV_GLSL
#define HY_GEMV_GLSL

#include "product.glsl"

struct gemv_rows {
    uint tokens;  /* true T; of a grouped_matmul 1, or 0: nothing to do */
    uint token;   /* row of out of column 0 */
    uint outputs; /* M */
    uint first;   /* output of this workgroup */
    bool glu;
};

#ifdef GROUPED
uvec2 gemv_pair_x; /* the pair's row of x */
#endif

/* rows: of a workgroup, even. A grouped_matmul's workgroups have one pair each, its neighbours the same. */
gemv_rows gemv_rows_of(uint rows) {
    gemv_rows r;
    r.outputs = hy_columns(HY_MATMUL_out);
    r.glu = ARGS.word[HY_MATMUL_ATTR_glu] != 0u;
    const uint count = r.glu ? rows / 2u : rows;
#ifdef GROUPED
    const uint groups = (r.outputs + count - 1u) / count;
    r.token = hy_group() / groups;
    r.first = hy_group() % groups * count;
    r.tokens = uint(product_pair(r.token, r.first, count));
    gemv_pair_x = r.tokens != 0u ? product_x(r.token) : uvec2(0u);
#else
    r.tokens = hy_count(HY_MATMUL_x);
    r.token = 0u;
    r.first = hy_group() * count;
#endif
    return r;
}

/* Address of the workgroup's row i in the packed weights. */
uvec2 gemv_row(gemv_rows r, uint i) {
    const uint m = min(r.first + (r.glu ? i / 2u : i), r.outputs - 1u);
    const uint n = r.glu && (i & 1u) != 0u ? r.outputs + m : m;
    return product_weights(n);
}

/* Columns are tokens, rows those of the workgroup. */
shared float gemv_z[GEMV_SUMS];

void gemv_clear(uint thread, uint threads) {
    for (uint i = thread; i < GEMV_SUMS; i += threads)
        gemv_z[i] = 0.0;
}

/* Stores all outputs of the workgroup from gemv_z [column][row]. */
void gemv_store(gemv_rows r, uint rows, uint columns, uint thread, uint threads) {
    const hy_epilogue_of e = product_epilogue();
    const uint outputs = r.glu ? rows / 2u : rows;
    [[dont_unroll]] for (uint i = thread; i < outputs * columns; i += threads) {
        const uint m = i % outputs, column = i / outputs;
        if (r.first + m >= r.outputs) continue;
        const uint z = column * rows + (r.glu ? 2u * m : m);
        product_store(e, r.token + column, r.first + m, gemv_z[z], r.glu ? gemv_z[z + 1u] : 0.0);
    }
}

#endif

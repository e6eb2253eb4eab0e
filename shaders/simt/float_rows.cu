/* shaders/simt/float_rows.cu: matmul_float_rows: matmul by weights that are the result of another op: plain numbers of any
 * dtype and strides. One thread for each output; the order of additions is that of all matmul kernels. No args.extra.
 *
 * matmul_finish: the last phase of a product by the vendor's BLAS: sums -> outputs. One thread for two outputs of a row;
 * args.extra: backends/simt/blas.c. */
#include "shaders/simt/product.h"

#define CHUNK 64u

HY_DEVICE float dot_of(const hy_args &args, const u8 *x, const u8 *w) {
    const u32 end = hy_columns(args, HY_MATMUL_x);
    const u32 x_type = hy_dtype(args, HY_MATMUL_x), w_type = hy_dtype(args, HY_MATMUL_w);
    float z = 0.0f;
    HY_NO_UNROLL for (u32 from = 0; from < end; from += CHUNK) {
        float p = 0.0f;
        HY_NO_UNROLL for (u32 k = from; k < hy_min(from + CHUNK, end); k++) p =
            hy_fma(hy_load(w_type, w, k), hy_load(x_type, x, k), p);
        z = z + p;
    }
    return z;
}

HY_ENTRY(matmul_float_rows, 128) {
    const u32 outputs = hy_columns(args, HY_MATMUL_out);
    const u32 groups = (outputs + hy_threads() - 1u) / hy_threads(); /* of a token */
    const u32 t = hy_group() / groups, m = hy_group() % groups * hy_threads() + hy_thread();
    if (t >= hy_count(args, HY_MATMUL_x) || m >= outputs) return;
    const hy_epilogue e = product_epilogue<MATMUL>(args, 0u);
    const u8 *x = hy_row(args, HY_MATMUL_x, t);
    const float z = dot_of(args, x, hy_row(args, HY_MATMUL_w, m));
    const float up = e.glu ? dot_of(args, x, hy_row(args, HY_MATMUL_w, m + outputs)) : 0.0f;
    product_store<MATMUL>(args, e, t, m, z, up);
}

HY_ENTRY(matmul_finish, 128) {
    const u32 outputs = hy_columns(args, HY_MATMUL_out), threads = hy_threads();
    const u32 groups = ((outputs + 1u) / 2u + threads - 1u) / threads; /* of a row */
    const u32 t = hy_group() / groups, row = 2u * (hy_group() % groups * threads + hy_thread());
    if (t >= hy_count(args, HY_MATMUL_x) || row >= outputs) return;
    const u8 *workspace = (const u8 *)args.workspace;
    const float scale = ((const float *)(workspace + args.extra[1]))[t];
    const u64 n = args.operand[HY_MATMUL_w].dim[0];
    const float *sums = (const float *)(workspace + args.extra[3]) + t * n + row;
    const hy_epilogue e = product_epilogue<MATMUL>(args, 0u);
    const product_place p = {0u, outputs, t, t + 1u, 0u, e.glu};
    float z[2] = {}, up[2] = {};
    HY_UNROLL for (u32 i = 0; i < 2u; i++) {
        if (row + i >= outputs) continue;
        z[i] = sums[i] * scale;
        if (e.glu) up[i] = sums[outputs + i] * scale;
    }
    product_store_pair<MATMUL>(args, e, p, t, row, z, up);
}

/* shaders/simt/product.h: in what matmul and grouped_matmul differ: where rows of the weights, of x and of out are,
 * which of them a workgroup has; and what every product does to its sums on the way out. Operands x, w and out have
 * the same numbers in both ops, act and glu too.
 *
 * A row of out is a token, or a pair (token, slot). Rows are numbered by i: in a sorted product the place in the order
 * by experts (grouped.h), else the token or pair itself. */
#ifndef HY_SIMT_PRODUCT_H
#define HY_SIMT_PRODUCT_H

#include "shaders/simt/grouped.h"
#include "shaders/simt/math.h"

/* Which product a kernel makes. */
enum product_kind { MATMUL, GROUPED, SORTED };

/* ---- rows ------------------------------------------------------------------------------------------ */

/* Row n of the packed weights of an expert (matmul: 0). */
HY_DEVICE const u8 *product_weights(const hy_args &args, u32 expert, u32 n) {
    const u64 row = (u64)expert * args.operand[HY_GROUPED_MATMUL_w].dim[1] + n;
    return hy_address(args, HY_MATMUL_w) + row * args.operand[HY_MATMUL_w].stride[0];
}

/* The row of out that has number i. */
template <product_kind KIND> HY_DEVICE u32 product_row(const hy_args &args, u32 i) {
    return KIND == SORTED ? grouped_order(args)[i] : i;
}

/* The row of x that makes row i of out. */
template <product_kind KIND> HY_DEVICE const u8 *product_x(const hy_args &args, u32 i) {
    const u32 row = product_row<KIND>(args, i);
    return hy_row(args, HY_MATMUL_x, KIND == MATMUL ? row : grouped_x_row(args, row));
}

/* ---- outputs --------------------------------------------------------------------------------------- */

/* + bias, act, * up, * scale, softcap, + residual, one rounding each. */
struct hy_epilogue {
    const float *bias; /* [N] of this expert; NULL: none */
    u32 outputs;       /* M; with glu the bias of the up half begins there */
    u32 act;           /* HY_ACT_x */
    bool glu;
    float scale;   /* 0: none */
    float softcap; /* 0: none */
};

template <product_kind KIND>
HY_DEVICE hy_epilogue product_epilogue(const hy_args &args, u32 expert) {
    hy_epilogue e = {(const float *)hy_address(args, HY_MATMUL_bias),
                     hy_columns(args, HY_MATMUL_out),
                     args.word[HY_MATMUL_ATTR_act],
                     args.word[HY_MATMUL_ATTR_glu] != 0u,
                     0.0f,
                     0.0f};
    if (KIND == MATMUL) {
        e.scale = hy_word_float(args, HY_MATMUL_ATTR_scale);
        e.softcap = hy_word_float(args, HY_MATMUL_ATTR_softcap);
    } else {
        e.bias = (const float *)hy_address(args, HY_GROUPED_MATMUL_bias);
        if (e.bias) e.bias += (u64)expert * args.operand[HY_GROUPED_MATMUL_bias].stride[0];
    }
    return e;
}

/* Output m of row i as it is stored, from its sum and, with glu, that of row M + m of the weights. */
template <product_kind KIND>
HY_DEVICE float product_finish(const hy_args &args, const hy_epilogue &e, u32 i, u32 m, float z,
                               float up) {
    float y = z, factor = up;
    if (e.bias) {
        y = y + e.bias[m];
        if (e.glu) factor = factor + e.bias[e.outputs + m];
    }
    y = hy_act(e.act, y);
    if (e.glu) y = y * factor;
    if (e.scale != 0.0f) y = y * e.scale;
    if (e.softcap > 0.0f) y = hy_softcap(y, e.softcap);
    if (KIND == MATMUL && hy_present(args, HY_MATMUL_residual))
        y = y + hy_load(hy_dtype(args, HY_MATMUL_residual), hy_row(args, HY_MATMUL_residual, i), m);
    return y;
}

template <product_kind KIND>
HY_DEVICE void product_store(const hy_args &args, const hy_epilogue &e, u32 i, u32 m, float z,
                             float up) {
    hy_store(hy_dtype(args, HY_MATMUL_out), hy_row(args, HY_MATMUL_out, product_row<KIND>(args, i)),
             m, product_finish<KIND>(args, e, i, m, z, up));
}

/* ---- which outputs a workgroup has ----------------------------------------------------------------- */

struct product_place {
    u32 output_; /* the first one */
    u32 outputs; /* M */
    u32 begin;   /* the first row of x; of out, for GROUPED */
    u32 end;     /* of those that there are */
    u32 expert;
    bool
        glu; /* the first half of the weight rows are gate rows, the second half the up rows of the same outputs */
};

/* Zeros for outputs [m, m + count) of rows [begin, end), whose expert is none. */
template <product_kind KIND>
HY_DEVICE void product_zero(const hy_args &args, const product_place &p, u32 count) {
    const u32 end = hy_min(p.output_ + count, p.outputs);
    for (u32 i = p.begin; i < p.end; i++)
        for (u32 m = p.output_ + hy_thread(); m < end; m += hy_threads())
            hy_store(hy_dtype(args, HY_MATMUL_out),
                     hy_row(args, HY_MATMUL_out, product_row<KIND>(args, i)), m, 0.0f);
}

/* A workgroup of `rows` weight rows and `columns` rows of x (GROUPED: one pair). Workgroups of the same weights follow
 * each other; with GROUPED those of a pair do. False: there is nothing to do, or it is done. */
template <product_kind KIND>
HY_DEVICE bool product_place_of(const hy_args &args, u32 rows, u32 columns, product_place &p) {
    p.glu = args.word[HY_MATMUL_ATTR_glu] != 0u;
    p.outputs = hy_columns(args, HY_MATMUL_out);
    p.expert = 0;
    const u32 count = p.glu ? rows / 2u : rows;
    if (KIND == MATMUL) {
        const u32 tiles = (args.operand[HY_MATMUL_x].dim[0] + columns - 1u) / columns;
        p.output_ = hy_group() / tiles * count;
        p.begin = hy_group() % tiles * columns;
        p.end = hy_count(args, HY_MATMUL_x);
        return p.output_ < p.outputs && p.begin < p.end;
    }
    if (KIND == GROUPED) {
        const u32 groups = (p.outputs + count - 1u) / count;
        p.begin = hy_group() / groups;
        p.end = p.begin + 1u;
        p.output_ = hy_group() % groups * count;
        if (p.begin >= grouped_pairs(args)) return false;
        p.expert = grouped_expert(args, p.begin);
    } else {
        const u32 tile = hy_group() % args.extra[2];
        p.output_ = hy_group() / args.extra[2] * count;
        if (p.output_ >= p.outputs || tile >= grouped_tile_count(args)) return false;
        const u32x4 found = grouped_tiles(args)[tile];
        p.expert = found.x;
        p.begin = found.y;
        p.end = found.y + found.z;
    }
    if (p.expert < grouped_experts(args)) return true;
    product_zero<KIND>(args, p, count);
    return false;
}

/* Row `row` of the workgroup's `rows` in the packed weights; NULL: past the last. */
HY_DEVICE const u8 *product_weight_row(const hy_args &args, const product_place &p, u32 rows,
                                       u32 row) {
    const bool up = p.glu && row >= rows / 2u;
    const u32 m = p.output_ + (up ? row - rows / 2u : row);
    if (m >= p.outputs) return nullptr;
    return product_weights(args, p.expert, up ? m + p.outputs : m);
}

/* Finishes and stores outputs `row` and `row` + 1 (where there is one) of the workgroup and row i, from their sums, so
 * that halves are written a whole word at a time. row is even. */
template <product_kind KIND>
HY_DEVICE void product_store_pair(const hy_args &args, const hy_epilogue &e, const product_place &p,
                                  u32 i, u32 row, const float z[2], const float up[2]) {
    const u32 dtype = hy_dtype(args, HY_MATMUL_out), m = p.output_ + row;
    if (i >= p.end || m >= p.outputs) return;
    u8 *out = hy_row(args, HY_MATMUL_out, product_row<KIND>(args, i));
    const float y = product_finish<KIND>(args, e, i, m, z[0], up[0]);
    if (m + 1u >= p.outputs) {
        hy_store(dtype, out, m, y);
        return;
    }
    const float next = product_finish<KIND>(args, e, i, m + 1u, z[1], up[1]);
    if (dtype != HY_DTYPE_F32 && hy_aligned(out + 2u * m, 4u)) {
        *(u32 *)(out + 2u * m) = hy_half_bits(dtype, y) | hy_half_bits(dtype, next) << 16;
    } else {
        hy_store(dtype, out, m, y);
        hy_store(dtype, out, m + 1u, next);
    }
}

#endif

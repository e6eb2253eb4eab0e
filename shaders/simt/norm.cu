/* shaders/simt/norm.cu: rms_norm, layer_norm. One workgroup a row; thread t takes columns 4 t .. 4 t + 3, and so on by
 * 4 * threads. Passes over the row: 0 the mean, of layer_norm alone; 1 the squares; 2 the output. Each pass reads
 * s = x + residual again: in the thread that wrote it, so that output and sum may lie over x or residual. */
#include "shaders/simt/total.h"

struct row_in {
    const u8 *x, *residual;
    u8 *sum;
    u32 x_dtype, residual_dtype, sum_dtype, columns; /* dtype 0: absent */
};

/* Numbers of the operands, which the two ops do not share. */
template <bool LAYER> struct operands {
    static constexpr u32 x = LAYER ? HY_LAYER_NORM_x : HY_RMS_NORM_x;
    static constexpr u32 residual = LAYER ? HY_LAYER_NORM_residual : HY_RMS_NORM_residual;
    static constexpr u32 weight = LAYER ? HY_LAYER_NORM_weight : HY_RMS_NORM_weight;
    static constexpr u32 sum = LAYER ? HY_LAYER_NORM_sum : HY_RMS_NORM_sum;
    static constexpr u32 out = LAYER ? HY_LAYER_NORM_out : HY_RMS_NORM_out;
    static constexpr u32 eps = LAYER ? HY_LAYER_NORM_ATTR_eps : HY_RMS_NORM_ATTR_eps;
};

template <bool LAYER> HY_DEVICE row_in open_row(const hy_args &args, u32 row) {
    typedef operands<LAYER> o;
    row_in r = {};
    r.columns = hy_columns(args, o::x);
    r.x_dtype = hy_dtype(args, o::x);
    r.residual_dtype = hy_dtype(args, o::residual);
    r.sum_dtype = hy_dtype(args, o::sum);
    r.x = hy_row(args, o::x, row);
    if (r.residual_dtype != 0u) r.residual = hy_row(args, o::residual, row);
    if (r.sum_dtype != 0u) r.sum = hy_row(args, o::sum, row);
    return r;
}

/* Elements i .. i + 3 of s, 0 past the row. The first time x + residual, stored in `sum`; later `sum`, which may have
 * been written over x. They are as stored. */
HY_DEVICE f32x4 load_s(const row_in &r, u32 i, bool first) {
    const bool stored = !first && r.sum_dtype != 0u;
    f32x4 s = hy_load4(stored ? r.sum_dtype : r.x_dtype, stored ? r.sum : r.x, i, r.columns);
    if (r.residual_dtype != 0u && !stored) {
        const f32x4 residual = hy_load4(r.residual_dtype, r.residual, i, r.columns);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) s.v[j] = s.v[j] + residual.v[j];
    }
    if (!first || r.sum_dtype == 0u) return s;
    hy_store4(r.sum_dtype, r.sum, i, r.columns, s);
    return hy_rounded4(r.sum_dtype, s);
}

/* What is taken from s, one after the other, and what the rest is multiplied by. */
struct moments {
    float mean, correction, scale;
};

/* After the pass over s: the mean. After that over s - mean: the correction, which is the mean of the differences, so
 * that a large common offset does not cost digits, and the scale. */
template <bool LAYER>
HY_DEVICE void measure(hy_totals &totals, moments &m, u32 pass, f32x4 sum, f32x4 squares, float n,
                       float eps) {
    if (LAYER) {
        const float mean = hy_total4(totals, sum) / n;
        if (pass == 0u) {
            m.mean = mean;
            return;
        }
        m.correction = mean;
    }
    const float square = m.correction * m.correction;
    const float var = hy_total4(totals, squares) / n - square;
    m.scale = hy_rsqrt((var < 0.0f ? 0.0f : var) + eps);
}

template <bool LAYER>
HY_DEVICE f32x4 finish(const hy_args &args, const moments &m, f32x4 d, u32 i, u32 columns) {
    constexpr u32 weight = operands<LAYER>::weight;
    f32x4 w, b;
    const bool weighs = hy_present(args, weight);
    const bool shifts = LAYER && hy_present(args, HY_LAYER_NORM_bias);
    if (weighs) w = hy_load4(HY_DTYPE_F32, hy_address(args, weight), i, columns);
    if (shifts) b = hy_load4(HY_DTYPE_F32, hy_address(args, HY_LAYER_NORM_bias), i, columns);
    HY_UNROLL for (u32 j = 0; j < 4u; j++) {
        float y = d.v[j];
        if (LAYER) y = y - m.correction;
        y = y * m.scale;
        if (weighs) y = y * w.v[j];
        if (shifts) y = y + b.v[j];
        d.v[j] = y;
    }
    return d;
}

HY_DEVICE void store(u32 dtype, u8 *row, u32 i, u32 columns, f32x4 y) {
    if (dtype == HY_DTYPE_A8)
        hy_store_a8(i < columns, row + i / 32u * HY_A8_BYTES, y);
    else if (i < columns)
        hy_store4(dtype, row, i, columns, y);
}

template <bool LAYER> HY_DEVICE void norm(const hy_args &args) {
    HY_SHARED hy_totals totals;
    typedef operands<LAYER> o;
    constexpr u32 first = LAYER ? 0u : 1u;
    const u32 row = hy_group();
    if (row >= hy_rows(args, o::x)) return;
    const row_in r = open_row<LAYER>(args, row);
    u8 *to = hy_row(args, o::out, row);
    const u32 dtype = hy_dtype(args, o::out);
    moments m = {0.0f, 0.0f, 0.0f};
    HY_NO_UNROLL for (u32 pass = first; pass <= 2u; pass++) {
        f32x4 sum = {}, squares = {};
        HY_NO_UNROLL for (u32 begin = 0; begin < r.columns; begin += 4u * hy_threads()) {
            const u32 i = begin + 4u * hy_thread();
            f32x4 d = {};
            if (i < r.columns) d = load_s(r, i, pass == first);
            HY_UNROLL for (u32 j = 0; j < 4u; j++) if (LAYER) d.v[j] =
                i + j < r.columns ? d.v[j] - m.mean : 0.0f;
            if (pass == 2u) {
                if (i < r.columns) d = finish<LAYER>(args, m, d, i, r.columns);
                store(dtype, to, i, r.columns, d);
                continue;
            }
            HY_UNROLL for (u32 j = 0; j < 4u; j++) {
                sum.v[j] = sum.v[j] + d.v[j];
                squares.v[j] = hy_fma(d.v[j], d.v[j], squares.v[j]);
            }
        }
        if (pass < 2u)
            measure<LAYER>(totals, m, pass, sum, squares, (float)r.columns,
                           hy_word_float(args, o::eps));
    }
}

HY_ENTRY(rms_norm, HY_ROW_THREADS) {
    norm<false>(args);
}
HY_ENTRY(layer_norm, HY_ROW_THREADS) {
    norm<true>(args);
}

/* shaders/simt/softmax.cu: e^(s - max s) / sum, s = scale * x. One workgroup a row; each thread reads its elements
 * three times and writes them at the last, so that out may lie over x. */
#include "shaders/simt/total.h"

struct row_in {
    const u8 *x;
    u32 dtype, columns;
    float scale;
};

/* scale * x, past the row -infinity. */
HY_DEVICE f32x4 load_s(const row_in &r, u32 i) {
    f32x4 s = hy_load4(r.dtype, r.x, i, r.columns);
    HY_UNROLL for (u32 j = 0; j < 4u; j++) s.v[j] =
        i + j < r.columns ? r.scale * s.v[j] : -HY_INFINITY;
    return s;
}

HY_DEVICE f32x4 exponentials(f32x4 s, float top) {
    HY_UNROLL for (u32 j = 0; j < 4u; j++) s.v[j] = hy_exp(s.v[j] - top);
    return s;
}

HY_ENTRY(softmax, HY_ROW_THREADS) {
    HY_SHARED hy_totals totals;
    const u32 row = hy_group(), first = 4u * hy_thread(), step = 4u * hy_threads();
    if (row >= hy_rows(args, HY_SOFTMAX_x)) return;
    const float given = hy_word_float(args, HY_SOFTMAX_ATTR_scale);
    const row_in r = {hy_row(args, HY_SOFTMAX_x, row), hy_dtype(args, HY_SOFTMAX_x),
                      hy_columns(args, HY_SOFTMAX_x), given == 0.0f ? 1.0f : given};
    u8 *to = hy_row(args, HY_SOFTMAX_out, row);
    float largest = -HY_INFINITY;
    HY_NO_UNROLL for (u32 i = first; i < r.columns; i += step) {
        const f32x4 s = load_s(r, i);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) largest = s.v[j] > largest ? s.v[j] : largest;
    }
    const float top = hy_largest(totals, largest);
    f32x4 sum = {};
    HY_NO_UNROLL for (u32 i = first; i < r.columns; i += step) {
        const f32x4 e = exponentials(load_s(r, i), top);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) sum.v[j] = sum.v[j] + e.v[j];
    }
    const float all = hy_total4(totals, sum);
    HY_NO_UNROLL for (u32 i = first; i < r.columns; i += step) {
        f32x4 e = exponentials(load_s(r, i), top);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) e.v[j] = e.v[j] / all;
        hy_store4(hy_dtype(args, HY_SOFTMAX_out), to, i, r.columns, e);
    }
}

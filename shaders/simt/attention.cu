/* shaders/simt/attention.cu: attention in float32, and the join of spans' partial results. */
#include "shaders/simt/attention_float.h"

HY_ENTRY(attention_split1, ATT_THREADS) {
    attention_split<1>(args);
}
HY_ENTRY(attention_split2, ATT_THREADS) {
    attention_split<2>(args);
}
HY_ENTRY(attention_split5, ATT_THREADS) {
    attention_split<5>(args);
}
HY_ENTRY(attention_rows1, ATT_THREADS) {
    attention_rows<1>(args);
}
HY_ENTRY(attention_rows2, ATT_THREADS) {
    attention_rows<2>(args);
}
HY_ENTRY(attention_rows5, ATT_THREADS) {
    attention_rows<5>(args);
}

/* Partial results of spans, in order, into the output. A group of 32 threads for each (token, head) and 128 columns. */
HY_ENTRY(attention_join, ATT_THREADS) {
    const u32 heads = args.operand[HY_ATTENTION_q].dim[1];
    const u32 columns = hy_columns(args, HY_ATTENTION_v_cache), slices = (columns + 127u) / 128u;
    const u32 rows = hy_count(args, HY_ATTENTION_q) * heads;
    const u32 item = hy_group() * (hy_threads() / 32u) + hy_thread() / 32u;
    if (hy_group() * (hy_threads() / 32u) / slices >= rows) return;
    const u32 row = item / slices, t = row / heads, head = row % heads;
    const u32 column = item % slices * 128u + hy_thread() % 32u * 4u;
    const bool live = row < rows;
    att_range seen = {0u, 0u};
    if (live) seen = att_seen(args, att_sequence(args, t), t);
    att_total all = {ATT_NONE, 0.0f};
    f32x4 sum = {};
    for (u32 n = seen.begin / ATT_SPAN; n * ATT_SPAN < seen.end; n++) {
        const u32 partial = att_partial(args, t, head, n);
        const float *pair = att_partial_pair(args, partial);
        float old, added;
        att_fold(all, pair[0], pair[1], old, added);
        if (column >= columns) continue;
        const f32x4 o =
            hy_load4(HY_DTYPE_F32, (const u8 *)att_partial_row(args, partial), column, columns);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) sum.v[j] = hy_fma(o.v[j], added, sum.v[j] * old);
    }
    const float scale = live ? att_scale(args, all, head) : 0.0f;
    HY_UNROLL for (u32 j = 0; j < 4u; j++) sum.v[j] = sum.v[j] * scale;
    att_store(args, live, t, head, column, sum);
}

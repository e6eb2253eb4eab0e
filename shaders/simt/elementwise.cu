/* shaders/simt/elementwise.cu: add, mul, unary, glu, cast, copy, gather_rows, quantize_rows. Threads are numbered
 * through the rows, four elements each, the last of a row maybe fewer; every one reads all that it needs before it
 * writes, so that out may lie over any input. Grid: gpu_family_elements (backends/gpu/rows.c).
 *
 * quantize_rows is also phase 0 of products that round their activations. It reads operand[0], float rows of any
 * dtype, rank and strides; operand[1], as many a8 rows as long; counters. Of operand[1] no counter is looked at. */
#include "shaders/simt/rows.h"

/* A thread's four elements. */
struct place {
    u32 row, i, columns;
    bool live;
};

/* False: the whole workgroup has nothing to do. */
HY_DEVICE bool place_of(const hy_args &args, u32 operand, place &p) {
    p.columns = hy_columns(args, operand);
    const u32 each = (p.columns + 3u) / 4u, rows = hy_rows(args, operand);
    const u32 begin = hy_group() * hy_threads(), n = begin + hy_thread();
    p.row = n / each;
    p.i = 4u * (n % each);
    p.live = p.row < rows;
    return begin / each < rows;
}

/* The four elements of an operand; of one row for all, rank 1, whatever the row. */
HY_DEVICE f32x4 load(const hy_args &args, u32 operand, u32 row, const place &p) {
    return hy_load4(hy_dtype(args, operand), hy_row(args, operand, row), p.i, p.columns);
}

HY_DEVICE void store(const hy_args &args, u32 operand, const place &p, f32x4 v) {
    hy_store4(hy_dtype(args, operand), hy_row(args, operand, p.row), p.i, p.columns, v);
}

/* The same into a8. All threads of the workgroup call together. */
HY_DEVICE void store_a8(const hy_args &args, u32 operand, const place &p, f32x4 v) {
    u8 *row = p.live ? hy_row(args, operand, p.row) : nullptr;
    hy_store_a8(p.live, row + p.i / 32u * HY_A8_BYTES, v);
}

HY_ENTRY(add, 128) {
    place p;
    if (!place_of(args, HY_ADD_a, p) || !p.live) return;
    f32x4 y = load(args, HY_ADD_a, p.row, p);
    const f32x4 b = load(args, HY_ADD_b, p.row, p);
    HY_UNROLL for (u32 j = 0; j < 4u; j++) y.v[j] = y.v[j] + b.v[j];
    store(args, HY_ADD_out, p, y);
}

HY_ENTRY(mul, 128) {
    place p;
    if (!place_of(args, HY_MUL_a, p) || !p.live) return;
    f32x4 y = load(args, HY_MUL_a, p.row, p);
    const f32x4 b = load(args, HY_MUL_b, p.row, p);
    HY_UNROLL for (u32 j = 0; j < 4u; j++) y.v[j] = y.v[j] * b.v[j];
    store(args, HY_MUL_out, p, y);
}

HY_ENTRY(unary, 128) {
    place p;
    if (!place_of(args, HY_UNARY_x, p) || !p.live) return;
    const u32 act = args.word[HY_UNARY_ATTR_act];
    const float scale = hy_word_float(args, HY_UNARY_ATTR_scale);
    const float softcap = hy_word_float(args, HY_UNARY_ATTR_softcap);
    f32x4 v = load(args, HY_UNARY_x, p.row, p);
    HY_NO_UNROLL for (u32 j = 0; j < 4u; j++) {
        float y = hy_act(act, v.v[j]);
        if (scale != 0.0f) y = y * scale;
        v.v[j] = softcap > 0.0f ? hy_softcap(y, softcap) : y;
    }
    store(args, HY_UNARY_out, p, v);
}

HY_ENTRY(glu, 128) {
    place p;
    if (!place_of(args, HY_GLU_gate, p)) return;
    f32x4 gate = {};
    if (p.live) {
        gate = load(args, HY_GLU_gate, p.row, p);
        const f32x4 up = load(args, HY_GLU_up, p.row, p);
        HY_NO_UNROLL for (u32 j = 0; j < 4u; j++) gate.v[j] =
            hy_act(args.word[HY_GLU_ATTR_act], gate.v[j]) * up.v[j];
    }
    if (hy_dtype(args, HY_GLU_out) == HY_DTYPE_A8)
        store_a8(args, HY_GLU_out, p, gate);
    else if (p.live)
        store(args, HY_GLU_out, p, gate);
}

HY_ENTRY(cast, 128) {
    place p;
    if (!place_of(args, HY_CAST_x, p) || !p.live) return;
    store(args, HY_CAST_out, p, load(args, HY_CAST_x, p.row, p));
}

HY_ENTRY(copy, 128) {
    place p;
    if (!place_of(args, HY_COPY_x, p) || !p.live) return;
    hy_move4(hy_dtype(args, HY_COPY_out), hy_row(args, HY_COPY_x, p.row),
             hy_row(args, HY_COPY_out, p.row), p.i, p.columns);
}

/* A number outside of x is the caller's error: 0 then, and nothing read. */
HY_ENTRY(gather_rows, 128) {
    place p;
    if (!place_of(args, HY_GATHER_ROWS_out, p) || !p.live) return;
    const u32 from = ((const u32 *)hy_address(args, HY_GATHER_ROWS_rows))[p.row];
    f32x4 v = {};
    if (from < args.operand[HY_GATHER_ROWS_x].dim[0]) v = load(args, HY_GATHER_ROWS_x, from, p);
    store(args, HY_GATHER_ROWS_out, p, v);
}

HY_ENTRY(quantize_rows, 128) {
    place p;
    if (!place_of(args, HY_QUANTIZE_ROWS_x, p)) return;
    f32x4 v = {};
    if (p.live) v = load(args, HY_QUANTIZE_ROWS_x, p.row, p);
    store_a8(args, HY_QUANTIZE_ROWS_out, p, v);
}

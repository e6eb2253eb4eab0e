/* shaders/vulkan/elementwise.comp: add, mul, unary, glu, cast, copy, gather_rows, quantize_rows: one of ADD,
 * MUL, UNARY, GLU, CAST, COPY, GATHER_ROWS, QUANTIZE_ROWS is defined. Threads are numbered through the rows,
 * four elements each, the last of a row maybe fewer; every one reads all that it needs before it writes, so
 * that out may lie over any input. Grid: gpu_family_elements (backends/gpu/rows.c).
 *
 * quantize_rows is also phase 0 of products that round their activations. It reads operand[0], float rows of
 * any dtype, rank and strides; operand[1], as many a8 rows as long; counters. Of operand[1] no counter is
 * looked at. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "rows.glsl"

#if defined(ADD) || defined(MUL)
#define OUT HY_ADD_out /* mul has the same operands */
#define ROWS HY_ADD_a
vec4 compute(uint row, uint i, uint columns) {
    const vec4 a = hy_load4(hy_dtype(HY_ADD_a), hy_row(HY_ADD_a, row), i, columns);
    /* One row for all has rank 1, and hy_row gives its address whatever the row. */
    const vec4 b = hy_load4(hy_dtype(HY_ADD_b), hy_row(HY_ADD_b, row), i, columns);
#ifdef ADD
    precise const vec4 y = a + b;
#else
    precise const vec4 y = a * b;
#endif
    return y;
}

#elif defined(UNARY)
#define OUT HY_UNARY_out
#define ROWS HY_UNARY_x
vec4 compute(uint row, uint i, uint columns) {
    const uint act = ARGS.word[HY_UNARY_ATTR_act];
    const float scale = uintBitsToFloat(ARGS.word[HY_UNARY_ATTR_scale]);
    const float softcap = uintBitsToFloat(ARGS.word[HY_UNARY_ATTR_softcap]);
    vec4 v = hy_load4(hy_dtype(HY_UNARY_x), hy_row(HY_UNARY_x, row), i, columns);
    [[dont_unroll]] for (uint j = 0u; j < 4u; j++) {
        precise float y = hy_act(act, v[j]);
        if (scale != 0.0) y = y * scale;
        v[j] = softcap > 0.0 ? hy_softcap(y, softcap) : y;
    }
    return v;
}

#elif defined(GLU)
#define OUT HY_GLU_out
#define ROWS HY_GLU_gate
vec4 compute(uint row, uint i, uint columns) {
    const uint act = ARGS.word[HY_GLU_ATTR_act];
    vec4 gate = hy_load4(hy_dtype(HY_GLU_gate), hy_row(HY_GLU_gate, row), i, columns);
    const vec4 up = hy_load4(hy_dtype(HY_GLU_up), hy_row(HY_GLU_up, row), i, columns);
    [[dont_unroll]] for (uint j = 0u; j < 4u; j++)
        gate[j] = hy_act(act, gate[j]);
    precise const vec4 y = gate * up;
    return y;
}

#elif defined(CAST)
#define OUT HY_CAST_out
#define ROWS HY_CAST_x
vec4 compute(uint row, uint i, uint columns) {
    return hy_load4(hy_dtype(HY_CAST_x), hy_row(HY_CAST_x, row), i, columns);
}

#elif defined(QUANTIZE_ROWS)
#define OUT HY_QUANTIZE_ROWS_out
#define ROWS HY_QUANTIZE_ROWS_x
vec4 compute(uint row, uint i, uint columns) {
    return hy_load4(hy_dtype(ROWS), hy_row(ROWS, row), i, columns);
}

#elif defined(GATHER_ROWS)
#define OUT HY_GATHER_ROWS_out
#define ROWS HY_GATHER_ROWS_out
/* A number outside of x is the caller's error: 0 then, and nothing read. */
vec4 compute(uint row, uint i, uint columns) {
    const uint from = Words(OPERAND(HY_GATHER_ROWS_rows).address).v[row];
    if (from >= OPERAND(HY_GATHER_ROWS_x).dim[0]) return vec4(0.0);
    return hy_load4(hy_dtype(HY_GATHER_ROWS_x), hy_row(HY_GATHER_ROWS_x, from), i, columns);
}

#elif defined(COPY)
#define OUT HY_COPY_out
#define ROWS HY_COPY_x
#endif

void main() {
    const uint columns = hy_columns(ROWS), each = (columns + 3u) / 4u, rows = hy_rows(ROWS);
    const uint begin = hy_group() * gl_WorkGroupSize.x, n = begin + gl_LocalInvocationID.x;
    if (begin / each >= rows) return;
    const uint row = n / each, i = 4u * (n % each);
    const bool live = row < rows;
    const uvec2 to = live ? hy_row(OUT, row) : uvec2(0u);
#if defined(COPY)
    if (live) hy_move4(hy_dtype(OUT), hy_row(ROWS, row), to, i, columns);
#else
    const vec4 y = live ? compute(row, i, columns) : vec4(0.0);
#if defined(GLU)
    if (hy_dtype(OUT) == HY_DTYPE_A8)
        hy_store_a8(live, hy_advance(to, i / 32u, HY_A8_BYTES), y);
    else if (live)
        hy_store4(hy_dtype(OUT), to, i, columns, y);
#elif defined(QUANTIZE_ROWS)
    hy_store_a8(live, hy_advance(to, i / 32u, HY_A8_BYTES), y);
#else
    if (live) hy_store4(hy_dtype(OUT), to, i, columns, y);
#endif
#endif
}

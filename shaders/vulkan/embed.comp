/* shaders/vulkan/embed.comp: rows of an embedding table in P16, dequantized exactly as hal/dtype.c does it:
 * a v + b with two roundings, then the scale. One thread for each four elements. A row of an id that is not
 * in the table is zeros.
 *
 * args.extra: none. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "quant.glsl"
#include "rows.glsl"

#ifdef FORMAT_FLOAT

vec4 weights(uvec2 row, uint k, uint columns) {
    return hy_load4(FORMAT, row, k, columns);
}

#else

vec4 weights(uvec2 row, uint k, uint columns) {
    const hy_weights w = hy_load_weights(row, OPERAND(HY_EMBED_table).stride[1],
                                         OPERAND(HY_EMBED_table).stride[2],
                                         OPERAND(HY_EMBED_table).stride[3], k / 32u);
    const uint word = k / 4u % 8u, part = word / 4u * SPLIT;
    uint q = w.q[0];
    [[unroll]] for (uint i = 1u; i < 8u; i++)
        if (i == word) q = w.q[i];
    const float a = part == 0u ? w.a[0] : w.a[SPLIT];
    const int v = int(q);
    precise vec4 x = vec4(bitfieldExtract(v, 0, 8), bitfieldExtract(v, 8, 8),
                          bitfieldExtract(v, 16, 8), bitfieldExtract(v, 24, 8)) * a;
#if HAS_MINIMA
    x = x + (part == 0u ? w.b[0] : w.b[SPLIT]);
#endif
    return x;
}

#endif

void main() {
    const uint columns = hy_columns(HY_EMBED_out), width = 4u * gl_WorkGroupSize.x;
    const uint groups = (columns + width - 1u) / width; /* of a token */
    const uint t = hy_group() / groups;
    const uint k = hy_group() % groups * width + 4u * gl_LocalInvocationID.x;
    if (t >= hy_count(HY_EMBED_ids) || k >= columns) return;
    const uint id = Words(OPERAND(HY_EMBED_ids).address).v[t];
    const float scale = uintBitsToFloat(ARGS.word[HY_EMBED_ATTR_scale]);
    precise vec4 x = vec4(0.0);
    if (id < OPERAND(HY_EMBED_table).dim[0])
        x = weights(hy_advance(OPERAND(HY_EMBED_table).address, id, OPERAND(HY_EMBED_table).stride[0]),
                    k, columns);
    if (scale != 0.0) x = x * scale;
    hy_store4(hy_dtype(HY_EMBED_out), hy_row(HY_EMBED_out, t), k, columns, x);
}

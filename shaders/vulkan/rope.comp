/* shaders/vulkan/rope.comp: HY_OP_ROPE: the first G elements of each head turned by the token's angles.
 * ROPE_LANES threads for each (token, head). args.extra: none. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "rope.glsl"

void main() {
    const uint heads = OPERAND(HY_ROPE_x).dim[1], columns = hy_columns(HY_ROPE_x);
    const uint rows = hy_rows(HY_ROPE_x), first = hy_group() * HEADS, row = first + rope_place();
    if (first >= rows) return;
    if (row < rows) rope_load(hy_dtype(HY_ROPE_x), hy_row(HY_ROPE_x, row), columns);
    barrier();
    if (row >= rows) return;
    rope_plan p;
    p.weight = uvec2(0u);
    p.table = hy_row(HY_ROPE_table, row / heads);
    p.turned = hy_columns(HY_ROPE_table);
    p.pairs = ARGS.word[HY_ROPE_ATTR_style] == HY_ROPE_PAIRS;
    p.normed = false;
    p.scale = 1.0;
    const uvec2 out_row = hy_row(HY_ROPE_out, row);
    [[dont_unroll]] for (uint i = 4u * rope_lane(); i < columns; i += 4u * ROPE_LANES)
        hy_store4(hy_dtype(HY_ROPE_out), out_row, i, columns, rope_four(p, i, columns));
}

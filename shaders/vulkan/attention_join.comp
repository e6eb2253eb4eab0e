/* shaders/vulkan/attention_join.comp: phase 1 of vulkan.attention.*.split: partial results of spans, in order,
 * into the output. 64 threads, LANES for each (token, head), four columns each. args.extra: attention.glsl. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "attention.glsl"

layout(constant_id = 2) const uint LANES = 32u;
#define ROWS (64u / LANES)

void main() {
    const uint heads = OPERAND(HY_ATTENTION_q).dim[1], columns = hy_columns(HY_ATTENTION_v_cache);
    const uint rows = hy_count(HY_ATTENTION_q) * heads, first = hy_group() / ATT_SLICES * ROWS;
    if (first >= rows) return;
    const uint row = first + gl_LocalInvocationID.x / LANES, t = row / heads, head = row % heads;
    const uint lane = gl_LocalInvocationID.x % LANES;
    const uint column = hy_group() % ATT_SLICES * ATT_COLUMNS + 4u * lane;
    const bool live = row < rows;
    const uvec2 seen = live ? att_seen(att_sequence(t), t) : uvec2(0u);
    float m = ATT_NONE, l = 0.0;
    precise vec4 sum = vec4(0.0);
    [[dont_unroll]] for (uint n = seen.x / ATT_SPAN; n * ATT_SPAN < seen.y; n++) {
        const uint partial = att_partial(t, head, n), pair = att_partial_pair(partial);
        float old, new_;
        att_fold(m, l, Floats(ARGS.workspace).v[pair], Floats(ARGS.workspace).v[pair + 1u], old, new_);
        if (column >= columns) continue;
        const vec4 o = hy_load4(HY_DTYPE_F32, att_partial_row(partial), column, columns);
        sum = fma(o, vec4(new_), sum * old);
    }
    precise const vec4 result = sum * att_scale(m, l, head);
    att_store(live, t, head, column, result);
}

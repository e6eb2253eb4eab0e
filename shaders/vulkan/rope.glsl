/* shaders/vulkan/rope.glsl: heads of some rows in shared memory: loaded, normed, rotated. What rope.comp and
 * kv_write.comp share. ROPE_LANES threads have one head, four columns each at a time. A head is read whole
 * before any of it is written, so that an output may lie in its input's memory. */
#ifndef HY_ROPE_GLSL
#define HY_ROPE_GLSL

#include "rows.glsl"

#define ROPE_LANES 32u
layout(constant_id = 1) const uint HEADS = 4u;  /* of a workgroup */
layout(constant_id = 2) const uint WIDTH = 32u; /* columns of a head at most, a multiple of 4 */

shared float rope_x[HEADS * WIDTH];
shared float rope_squares[HEADS * ROPE_LANES];

uint rope_lane() {
    return gl_LocalInvocationID.x % ROPE_LANES;
}
uint rope_place() {
    return gl_LocalInvocationID.x / ROPE_LANES;
}

/* Reads this thread's part of a head, and adds up its squares in order. */
void rope_load(uint dtype, uvec2 row, uint columns) {
    precise float squares = 0.0;
    [[dont_unroll]] for (uint i = 4u * rope_lane(); i < columns; i += 4u * ROPE_LANES) {
        precise const vec4 v = hy_load4(dtype, row, i, columns);
        const uint at = rope_place() * WIDTH + i;
        rope_x[at] = v.x;
        rope_x[at + 1u] = v.y;
        rope_x[at + 2u] = v.z;
        rope_x[at + 3u] = v.w;
        squares = fma(v.x, v.x, squares);
        squares = fma(v.y, v.y, squares);
        squares = fma(v.z, v.z, squares);
        squares = fma(v.w, v.w, squares);
    }
    rope_squares[gl_LocalInvocationID.x] = squares;
}

/* 1 / sqrt(mean of squares + eps): the lanes' sums in four chains, (0 + 1) + (2 + 3). */
float rope_norm(uint columns, float eps) {
    const uint first = rope_place() * ROPE_LANES;
    precise vec4 chain = vec4(0.0);
    [[dont_unroll]] for (uint i = first; i < first + ROPE_LANES; i += 4u)
        chain += vec4(rope_squares[i], rope_squares[i + 1u], rope_squares[i + 2u], rope_squares[i + 3u]);
    precise const float total = (chain.x + chain.y) + (chain.z + chain.w);
    precise const float mean = hy_divide(total, float(columns)) + eps;
    return hy_rsqrt(mean);
}

/* How a head is changed. */
struct rope_plan {
    uvec2 weight, table; /* addresses of float32 rows */
    uint turned;         /* columns that are rotated: G, or 0 */
    bool pairs, normed;
    float scale;
};

float rope_normed(rope_plan p, uint column) {
    const float x = rope_x[rope_place() * WIDTH + column];
    if (!p.normed) return x;
    precise const float scaled = x * p.scale;
    precise const float y = scaled * Floats(p.weight).v[column];
    return y;
}

/* Element `column` of the changed head: (a, b) -> (a cos - b sin, a sin + b cos). */
float rope_element(rope_plan p, uint column) {
    const float x = rope_normed(p, column);
    if (column >= p.turned) return x;
    const uint half_ = p.turned / 2u;
    const bool second = p.pairs ? (column & 1u) != 0u : column >= half_;
    const uint partner = p.pairs ? column ^ 1u : second ? column - half_ : column + half_;
    const uint j = p.pairs ? column / 2u : column % half_;
    const float other = rope_normed(p, partner);
    const float c = Floats(p.table).v[j], s = Floats(p.table).v[half_ + j];
    precise const float xc = x * c;
    precise const float os = other * s;
    precise const float y = second ? os + xc : xc - os;
    return y;
}

/* Elements [column, column + 4); those past `columns` are 0. */
vec4 rope_four(rope_plan p, uint column, uint columns) {
    vec4 v = vec4(0.0);
    [[dont_unroll]] for (uint j = 0u; j < min(4u, columns - column); j++)
        v[j] = rope_element(p, column + j);
    return v;
}

#endif

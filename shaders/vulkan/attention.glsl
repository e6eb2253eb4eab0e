/* shaders/vulkan/attention.glsl: what attention.comp and attention_join.comp share: which positions a token
 * sees, and how partial results become one. Order of additions: attention.comp. */
#ifndef HY_ATTENTION_GLSL
#define HY_ATTENTION_GLSL

#include "rows.glsl"

#define ATT_COLUMNS 256u /* of the values, at most, that one workgroup weighs */
#define ATT_NONE -3.0e38 /* the largest score of no key: finite, for not every device has infinities */

/* What the op is, for the compiler to leave out the rest: dtypes of k, v << 4, q << 8, out << 12. */
layout(constant_id = 3) const uint ATT_TYPES = 0u;
#define ATT_K (ATT_TYPES & 15u)
#define ATT_V (ATT_TYPES >> 4 & 15u)
#define ATT_Q (ATT_TYPES >> 8 & 15u)
#define ATT_OUT (ATT_TYPES >> 12 & 31u)
#define ATT_K_WIDE ((ATT_TYPES >> 17 & 1u) != 0u) /* read 16 bytes at a time */
#define ATT_V_WIDE ((ATT_TYPES >> 18 & 1u) != 0u)
#define ATT_SOFTCAP ((ATT_TYPES >> 19 & 1u) != 0u)
#define ATT_SLOPES ((ATT_TYPES >> 20 & 1u) != 0u)
#define ATT_SINKS ((ATT_TYPES >> 21 & 1u) != 0u)
#define ATT_LOADS (1u << (ATT_TYPES >> 23 & 3u)) /* of 16 bytes of a thread, under way together */
#define ATT_SMALL (ATT_TYPES >> 22 & 1u) /* 1: a device with little shared memory */

/* args.extra */
#define ATT_SPANS ARGS.extra[0]    /* upper bound */
#define ATT_SPAN ARGS.extra[1]     /* positions */
#define ATT_HEADS ARGS.extra[2]    /* that a workgroup takes of one kv head */
#define ATT_BLOCKS ARGS.extra[3]   /* of heads, in a group */
#define ATT_TOKENS ARGS.extra[4]   /* that a workgroup takes */
#define ATT_SLICES ARGS.extra[5]   /* of ATT_COLUMNS columns, in a row of values */
#define ATT_PARTIALS ARGS.extra[6] /* upper bound: partial results in the workspace */

/* The sequence's place in table and len: inside of them even if there is no such sequence, for lavapipe follows an
 * address that is the same for all threads even where none of them takes the branch. */
uint att_place(int sequence) {
    return min(uint(max(sequence, 0)), OPERAND(HY_ATTENTION_table).dim[0] - 1u);
}

/* Positions [x, y) that token t of a sequence sees; (0, 0) when there is none. */
uvec2 att_seen(int sequence, uint t) {
    if (sequence < 0 || uint(sequence) >= hy_count(HY_ATTENTION_table)) return uvec2(0u);
    const uint pages = OPERAND(HY_ATTENTION_table).dim[1], page = OPERAND(HY_ATTENTION_k_cache).dim[2];
    const int window = int(ARGS.word[HY_ATTENTION_ATTR_window]);
    const int pos = int(Words(OPERAND(HY_ATTENTION_pos).address).v[t]);
    int end = int(Words(OPERAND(HY_ATTENTION_len).address).v[att_place(sequence)]);
    if (end <= 0) return uvec2(0u);
    if (uint(end - 1) / page >= pages) end = int(pages * page); /* less than end: no overflow */
    if (ARGS.word[HY_ATTENTION_ATTR_causal] != 0u && pos < end) end = pos + 1;
    const int begin = window > 0 && pos >= window ? pos - window + 1 : 0;
    return begin < end ? uvec2(begin, end) : uvec2(0u);
}

int att_sequence(uint t) {
    return int(Words(OPERAND(HY_ATTENTION_row).address).v[t]);
}

uvec2 att_intersect(uvec2 a, uvec2 b) {
    const uvec2 r = uvec2(max(a.x, b.x), min(a.y, b.y));
    return r.x < r.y ? r : uvec2(0u);
}

/* Positions of span n; no position is past 2^31. */
uvec2 att_span(uint n) {
    return uvec2(n * ATT_SPAN, n * ATT_SPAN + ATT_SPAN);
}

/* What was summed relative to the largest score m, relative to a larger one. */
float att_factor(float m, float next) {
    precise const float below = m - next;
    return m == next ? 1.0 : m == ATT_NONE ? 0.0 : hy_exp(below);
}

/* The sums of spans so far, and one span more. new_: the factor for that span's values, old for those
 * before. */
void att_fold(inout float all_m, inout float all_l, float m, float l, out float old, out float new_) {
    const float next = m > all_m ? m : all_m;
    old = att_factor(all_m, next);
    new_ = att_factor(m, next);
    precise const float kept = all_l * old;
    precise const float sum = fma(l, new_, kept);
    all_m = next;
    all_l = sum;
}

/* What the sum of weighted values is multiplied by in the end: 1 / l, the head's sink included. */
float att_scale(float m, float l, uint head) {
    if (m == ATT_NONE) return 0.0;
    if (!ATT_SINKS) return hy_divide(1.0, l);
    const float sink = Floats(OPERAND(HY_ATTENTION_sinks).address).v[head];
    const float next = sink > m ? sink : m;
    const float keep = att_factor(m, next);
    precise const float below = sink - next;
    precise const float sum = fma(l, keep, hy_exp(below));
    return hy_divide(keep, sum);
}

/* Columns [column, column + 4) of out row (t, head). All threads of the workgroup together; eight neighbours
 * have 32 neighbouring columns. `live` false: nothing to store. */
void att_store(bool live, uint t, uint head, uint column, vec4 v) {
    const uint columns = hy_columns(HY_ATTENTION_out);
    const uvec2 row = hy_row(HY_ATTENTION_out, t * OPERAND(HY_ATTENTION_out).dim[1] + head);
    const bool inside = live && column < columns;
    precise const vec4 x = v + 0.0; /* no negative zero: whether one comes out may depend on tiles */
    if (ATT_OUT == HY_DTYPE_A8)
        hy_store_a8(inside, hy_advance(row, column / 32u, HY_A8_BYTES), x);
    else if (inside)
        hy_store4(ATT_OUT, row, column, columns, x);
}

/* ---- partial results in the workspace: [T, A, span] rows of C floats, then as many pairs (m, l) ------- */

uint att_partial(uint t, uint head, uint span) {
    return (t * OPERAND(HY_ATTENTION_q).dim[1] + head) * ATT_SPANS + span;
}

uvec2 att_partial_row(uint partial) {
    return hy_advance(ARGS.workspace, partial, 4u * hy_columns(HY_ATTENTION_v_cache));
}

uint att_partial_pair(uint partial) { /* in floats */
    return ATT_PARTIALS * hy_columns(HY_ATTENTION_v_cache) + 2u * partial;
}

#endif

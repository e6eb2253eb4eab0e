/* shaders/simt/attention.h: what the attention kernels share: the block of work that a workgroup has, which positions
 * its tokens see, and how partial results of spans become one.
 *
 * A workgroup takes some heads of one kv head, and one token (SPLIT: one span of its context too, whose partial
 * results go to the workspace for attention_join) or several (whole contexts). Tokens of one sequence that follow
 * each other are a run: they go together and share what is read; other sequences come after each other. A row of
 * the block is token row / heads, head row % heads. */
#ifndef HY_SIMT_ATTENTION_H
#define HY_SIMT_ATTENTION_H

#include "shaders/simt/attention_shape.h"
#include "shaders/simt/rows.h"

#define ATT_NONE (-3.0e38f) /* the largest score of no key */

/* args.extra */
#define ATT_SPANS args.extra[0]    /* upper bound */
#define ATT_SPAN args.extra[1]     /* positions; a multiple of the page's */
#define ATT_HEADS args.extra[2]    /* that a workgroup takes of one kv head */
#define ATT_BLOCKS args.extra[3]   /* of heads, in a group */
#define ATT_TOKENS args.extra[4]   /* that a workgroup takes */
#define ATT_PARTIALS args.extra[6] /* upper bound: partial results in the workspace */

/* Positions [begin, end). */
struct att_range {
    u32 begin, end;
};

HY_DEVICE att_range att_intersect(att_range a, att_range b) {
    const att_range r = {hy_max(a.begin, b.begin), hy_min(a.end, b.end)}, none = {0u, 0u};
    return r.begin < r.end ? r : none;
}

/* Those of span n; no position is past 2^31. */
HY_DEVICE att_range att_span(const hy_args &args, u32 n) {
    return {n * ATT_SPAN, n * ATT_SPAN + ATT_SPAN};
}

HY_DEVICE i32 att_sequence(const hy_args &args, u32 t) {
    return ((const i32 *)hy_address(args, HY_ATTENTION_row))[t];
}

/* What token t of a sequence sees; {0, 0}: nothing. */
HY_DEVICE att_range att_seen(const hy_args &args, i32 sequence, u32 t) {
    const att_range none = {0u, 0u};
    if (sequence < 0 || (u32)sequence >= hy_count(args, HY_ATTENTION_table)) return none;
    const u32 pages = args.operand[HY_ATTENTION_table].dim[1];
    const u32 page = args.operand[HY_ATTENTION_k_cache].dim[2];
    const i32 window = (i32)args.word[HY_ATTENTION_ATTR_window];
    const i32 pos = ((const i32 *)hy_address(args, HY_ATTENTION_pos))[t];
    i32 end = ((const i32 *)hy_address(args, HY_ATTENTION_len))[sequence];
    if (end <= 0) return none;
    if ((u32)(end - 1) / page >= pages) end = (i32)(pages * page); /* less than end: no overflow */
    if (args.word[HY_ATTENTION_ATTR_causal] != 0u && pos < end) end = pos + 1;
    const i32 begin = window > 0 && pos >= window ? pos - window + 1 : 0;
    const att_range seen = {(u32)begin, (u32)end};
    return begin < end ? seen : none;
}

/* The page of a sequence's position; past the last page: the table has none there. */
HY_DEVICE u32 att_page_number(const hy_args &args, i32 sequence, u32 position) {
    const u32 *table = (const u32 *)hy_row(args, HY_ATTENTION_table, (u32)sequence);
    return table[position / args.operand[HY_ATTENTION_k_cache].dim[2]];
}

/* ---- the block of work ----------------------------------------------------------------------------- */

/* Of a workgroup. Of its tokens, a run [run_begin, run_end) of one sequence is at hand. */
struct att_block {
    u32 kv_head, head0, heads;
    u32 token0, tokens;
    u32 run_begin, run_end;
    i32 sequence;
};

/* What of the tokens all threads have to know, in shared memory. */
struct att_tokens {
    i32 sequence[ATT_MAX_ROWS];
    att_range seen[ATT_MAX_ROWS];
};

/* Block `work` of a grid that numbers blocks of heads, kv heads, then tokens, later ones first, for they see most.
 * False: there is nothing to do. All threads call together. */
HY_DEVICE bool att_block_of(const hy_args &args, u32 work, att_tokens &tokens, att_block &b) {
    const u32 kv_heads = args.operand[HY_ATTENTION_k_cache].dim[1];
    const u32 group = args.operand[HY_ATTENTION_q].dim[1] / kv_heads;
    const u32 chunks = (args.operand[HY_ATTENTION_q].dim[0] + ATT_TOKENS - 1u) / ATT_TOKENS;
    const u32 block = work % ATT_BLOCKS * ATT_HEADS, chunk = work / ATT_BLOCKS / kv_heads;
    const u32 count = hy_count(args, HY_ATTENTION_q);
    if (chunk >= chunks) return false;
    b.token0 = (chunks - 1u - chunk) * ATT_TOKENS;
    if (b.token0 >= count) return false;
    b.tokens = hy_min(ATT_TOKENS, count - b.token0);
    b.kv_head = work / ATT_BLOCKS % kv_heads;
    b.head0 = b.kv_head * group + block;
    b.heads = hy_min(ATT_HEADS, group - block);
    b.run_begin = b.run_end = 0;
    for (u32 i = hy_thread(); i < b.tokens; i += hy_threads()) {
        tokens.sequence[i] = att_sequence(args, b.token0 + i);
        tokens.seen[i] = att_seen(args, tokens.sequence[i], b.token0 + i);
    }
    hy_sync();
    return true;
}

/* The next run; false: there is none. */
HY_DEVICE bool att_next_run(const att_tokens &tokens, att_block &b) {
    if (b.run_end >= b.tokens) return false;
    b.run_begin = b.run_end;
    b.sequence = tokens.sequence[b.run_begin];
    do
        b.run_end++;
    while (b.run_end < b.tokens && tokens.sequence[b.run_end] == b.sequence);
    return true;
}

/* All that tokens of the run see, together. */
HY_DEVICE att_range att_hull(const att_tokens &tokens, const att_block &b) {
    att_range hull = {0xffffffffu, 0u};
    for (u32 i = b.run_begin; i < b.run_end; i++) {
        const att_range s = tokens.seen[i];
        if (s.begin < s.end) hull = {hy_min(hull.begin, s.begin), hy_max(hull.end, s.end)};
    }
    hull.begin = hy_min(hull.begin, hull.end);
    return hull;
}

/* Row `row` of the block is one of the run. */
HY_DEVICE bool att_in_run(const hy_args &args, const att_block &b, u32 row) {
    const u32 token = row / ATT_HEADS;
    return token >= b.run_begin && token < b.run_end && row % ATT_HEADS < b.heads;
}

/* The query of row `row`, which is one of the run. */
HY_DEVICE u8 *att_query(const hy_args &args, const att_block &b, u32 row) {
    const u32 t = b.token0 + row / ATT_HEADS, head = b.head0 + row % ATT_HEADS;
    return hy_row(args, HY_ATTENTION_q, t * args.operand[HY_ATTENTION_q].dim[1] + head);
}

/* What a row sees. */
HY_DEVICE att_range att_row_seen(const hy_args &args, const att_tokens &tokens, const att_block &b,
                                 u32 row) {
    const att_range none = {0u, 0u};
    return att_in_run(args, b, row) ? tokens.seen[row / ATT_HEADS] : none;
}

/* ---- scores: scale, soft cap, slopes ---------------------------------------------------------------- */

HY_DEVICE float att_score(const hy_args &args, const att_block &b, u32 row, u32 position, float z) {
    const float cap = hy_word_float(args, HY_ATTENTION_ATTR_softcap);
    const float *slopes = (const float *)hy_address(args, HY_ATTENTION_slopes);
    z = z * hy_word_float(args, HY_ATTENTION_ATTR_scale);
    if (cap > 0.0f) z = hy_softcap(z, cap);
    if (!slopes) return z;
    const u32 token = b.token0 + hy_min(row / ATT_HEADS, b.tokens - 1u);
    const u32 head = b.head0 + hy_min(row % ATT_HEADS, b.heads - 1u);
    const i32 pos = ((const i32 *)hy_address(args, HY_ATTENTION_pos))[token];
    return hy_fma(slopes[head], (float)((i32)position - pos), z);
}

/* ---- sums of spans ---------------------------------------------------------------------------------- */

/* What was summed relative to the largest score m, relative to a larger one. */
HY_DEVICE float att_factor(float m, float next) {
    return m == next ? 1.0f : m == ATT_NONE ? 0.0f : hy_exp(m - next);
}

/* A row's largest score so far, and the sum of its weights relative to that. */
struct att_total {
    float m, l;
};

/* The spans so far, and one span more. added: the factor for that span's values, old for those before. */
HY_DEVICE void att_fold(att_total &all, float m, float l, float &old, float &added) {
    const float next = m > all.m ? m : all.m;
    old = att_factor(all.m, next);
    added = att_factor(m, next);
    all.l = hy_fma(l, added, all.l * old);
    all.m = next;
}

/* The same of span n for a row that sees `seen`; old is -1 where that is nothing of the span. */
HY_DEVICE void att_add_span(const hy_args &args, att_total &all, att_range seen, u32 n, float m,
                            float l, float &old, float &added) {
    const att_range own = att_intersect(seen, att_span(args, n));
    old = -1.0f;
    added = 0.0f;
    if (own.begin < own.end) att_fold(all, m, l, old, added);
}

/* What the sum of weighted values is multiplied by in the end: 1 / l, the head's sink included. */
HY_DEVICE float att_scale(const hy_args &args, att_total all, u32 head) {
    const float *sinks = (const float *)hy_address(args, HY_ATTENTION_sinks);
    if (all.m == ATT_NONE) return 0.0f;
    if (!sinks) return 1.0f / all.l;
    const float sink = sinks[head], next = sink > all.m ? sink : all.m;
    const float keep = att_factor(all.m, next);
    return keep / hy_fma(all.l, keep, hy_exp(sink - next));
}

/* The same of row `row` of the block; 0 where it is none of the run. */
HY_DEVICE float att_row_scale(const hy_args &args, const att_block &b, u32 row, att_total all) {
    return att_in_run(args, b, row) ? att_scale(args, all, b.head0 + row % ATT_HEADS) : 0.0f;
}

/* Partial results in the workspace: [T, A, span] rows of C floats, then as many pairs (m, l). */
HY_DEVICE u32 att_partial(const hy_args &args, u32 t, u32 head, u32 span) {
    return (t * args.operand[HY_ATTENTION_q].dim[1] + head) * ATT_SPANS + span;
}
HY_DEVICE float *att_partial_row(const hy_args &args, u32 partial) {
    return (float *)args.workspace + (u64)partial * hy_columns(args, HY_ATTENTION_v_cache);
}
HY_DEVICE float *att_partial_pair(const hy_args &args, u32 partial) {
    return (float *)args.workspace + (u64)ATT_PARTIALS * hy_columns(args, HY_ATTENTION_v_cache) +
           2u * partial;
}

/* ---- results ---------------------------------------------------------------------------------------- */

/* Columns [column, column + 4) of out row (t, head). Eight neighbours have 32 neighbouring columns; all threads of
 * the warp call together. `live` false: nothing to store. */
HY_DEVICE void att_store(const hy_args &args, bool live, u32 t, u32 head, u32 column, f32x4 v) {
    const u32 columns = hy_columns(args, HY_ATTENTION_out),
              dtype = hy_dtype(args, HY_ATTENTION_out);
    const bool inside = live && column < columns;
    u8 *row = nullptr;
    if (inside)
        row = hy_row(args, HY_ATTENTION_out, t * args.operand[HY_ATTENTION_out].dim[1] + head);
    HY_UNROLL for (u32 j = 0; j < 4u; j++) v.v[j] =
        v.v[j] + 0.0f; /* no negative zero: whether one comes out may depend on tiles */
    if (dtype == HY_DTYPE_A8)
        hy_store_a8(inside, row + column / 32u * HY_A8_BYTES, v);
    else if (inside)
        hy_store4(dtype, row, column, columns, v);
}

#endif

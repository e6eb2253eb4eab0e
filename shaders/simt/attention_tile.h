/* shaders/simt/attention_tile.h: attention over a paged cache of f16 on matrix tiles: queries and weights rounded to
 * f16, products and sums in float32.
 *
 * Order of additions, the same for any shape of the batch. Keys go in tiles of 64 positions at multiples of 64.
 *
 *   score    16 columns at a time, in order, in the device's own order inside; then as in attention_float.h.
 *   tile     next = max(m, scores); factor = exp(m - next); w = 2^15 exp2(log2(e) (score - next)) rounded to f16, 0
 *            for keys that are not visible; o = o * factor, then o += w v, and l likewise with values of 1, 16 keys at a
 *            time, in order; m = next. (2^15: weights down to 2^-29 keep their 11 bits.)
 *   span     tiles in order into m, l, o, from nothing: 512 positions.
 *   result   spans in order (att_fold), the sink, times 1 / l.
 *
 * Every warp scores some of a tile's keys for all rows, and then weighs some of the values' columns for all rows: so no
 * sum depends on how many rows there are. A row whose keys are not visible in a tile is unchanged by it, but for a
 * value that is infinite or NaN and visible to another row of the workgroup.
 *
 * Columns: of queries, keys and values alike, a multiple of 16. Keys of the next tile come while this one's are weighed, its
 * values while the next one's are scored. Source: Dao 2023 arXiv:2307.08691. */
#ifndef HY_SIMT_ATTENTION_TILE_H
#define HY_SIMT_ATTENTION_TILE_H

#include "shaders/simt/attention.h"

#define ATT_WARPS (ATT_THREADS / HY_WARP)
#define ATT_LOG2_E 1.44269504f
#define ATT_LIFT 15.0f             /* weights are 2^15 times as large */
#define ATT_LOWER 3.0517578125e-5f /* 2^-15 */

/* A workgroup's dynamic shared memory, for 16 HIGH rows. */
struct att_tile_memory {
    u8 *query, *key, *value, *weight;  /* f16 */
    float *score;                      /* [rows][ATT_SCORE_PITCH] */
    float *old, *added, *most, *total; /* of each row */
    u32 columns, pitch;                /* pitch: bytes between rows of queries, keys and values */
};

template <u32 HIGH> HY_DEVICE att_tile_memory att_tile_memory_of(const hy_args &args) {
    att_tile_memory m;
    constexpr u32 rows = 16u * HIGH;
    m.columns = hy_columns(args, HY_ATTENTION_q);
    m.pitch = 2u * m.columns + ATT_PAD;
    m.query = hy_dynamic();
    m.key = m.query + rows * m.pitch;
    m.value = m.key + ATT_TILE * m.pitch;
    m.weight = m.value + ATT_TILE * m.pitch;
    m.score = (float *)(m.weight + ATT_HALVES_BYTES(rows, ATT_TILE));
    m.old = m.score + rows * ATT_SCORE_PITCH;
    m.added = m.old + rows;
    m.most = m.added + rows;
    m.total = m.most + rows;
    return m;
}

/* Queries of the run, others 0; past the largest f16 the largest. */
template <u32 HIGH>
HY_DEVICE void att_tile_queries(const hy_args &args, const att_block &b, const att_tile_memory &m) {
    const u32 quads = m.columns / 4u, dtype = hy_dtype(args, HY_ATTENTION_q);
    for (u32 n = hy_thread(); n < 16u * HIGH * quads; n += ATT_THREADS) {
        const u32 row = n / quads, i = n % quads * 4u;
        f32x4 q = {};
        if (att_in_run(args, b, row)) q = hy_load4(dtype, att_query(args, b, row), i, m.columns);
        const u32x2 words = {hy_clamp_f16x2(q.v[0], q.v[1]), hy_clamp_f16x2(q.v[2], q.v[3])};
        *(u32x2 *)(m.query + row * m.pitch + 2u * i) = words;
    }
}

/* Begins to copy a tile of keys or values; those outside of `part`, and all where the table has no page, are 0. */
HY_DEVICE void att_tile_fetch(const hy_args &args, const att_block &b, const att_tile_memory &m,
                              u32 operand, u8 *to, u32 tile, att_range part) {
    const hy_arg_tensor &c = args.operand[operand];
    const u32 pieces = m.columns / 8u;
    if (tile < part.end) {
        const u32 number = att_page_number(args, b.sequence, tile);
        const bool is = number < c.dim[0]; /* not -1 */
        const u64 first = (u64)(is ? number : 0u) * c.stride[0] + (u64)b.kv_head * c.stride[1] +
                          (u64)(tile % c.dim[2]) * c.stride[2];
        for (u32 n = hy_thread(); n < ATT_TILE * pieces; n += ATT_THREADS) {
            const u32 key = n / pieces, i = n % pieces * 8u;
            const bool there = is && tile + key >= part.begin && tile + key < part.end;
            hy_async16(to + key * m.pitch + 2u * i,
                       (const u8 *)c.address + 2u * (first + (u64)key * c.stride[2] + i), there);
        }
    }
    hy_async_commit();
}

/* Scores of all rows and keys to shared memory, without scale. */
template <u32 HIGH> HY_DEVICE void att_tile_scores(const att_tile_memory &m) {
    HY_UNROLL for (u32 turn = 0; turn < ATT_TILE / 16u / ATT_WARPS; turn++) {
        const u32 n = hy_thread() / HY_WARP + ATT_WARPS * turn;
        hy_tile_f32 z[HIGH] = {};
        HY_NO_UNROLL for (u32 i = 0; i < m.columns; i += 16u) {
            hy_tile_b k;
            hy_load_b(k, m.key + 16u * n * m.pitch + 2u * i, m.pitch);
            HY_UNROLL for (u32 h = 0; h < HIGH; h++) {
                hy_tile_a q;
                hy_load_a(q, m.query + 16u * h * m.pitch + 2u * i, m.pitch);
                hy_mma16(z[h], q, k);
            }
        }
        HY_UNROLL for (u32 h = 0; h < HIGH; h++) HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++)
            m.score[(16u * h + hy_tile_row(e)) * ATT_SCORE_PITCH + 16u * n + hy_tile_column(e)] =
            z[h].v[e];
    }
}

/* What the threads of a row keep of it: ATT_THREADS / rows neighbours have one. */
struct att_tile_state {
    u32 row;
    float most;
    att_range seen;
};

/* Scores -> weights. All threads call together. `part`: positions that are there. */
template <u32 HIGH>
HY_DEVICE void att_tile_weights(const hy_args &args, const att_block &b, const att_tile_memory &m,
                                att_tile_state &s, u32 tile, att_range part) {
    constexpr u32 threads = ATT_THREADS / (16u * HIGH), each = ATT_TILE / threads;
    const u32 first = hy_thread() % threads * each;
    const att_range own = att_intersect(s.seen, part);
    float *scores = m.score + s.row * ATT_SCORE_PITCH + first;
    float next = s.most;
    HY_UNROLL for (u32 j = 0; j < each; j++) {
        const u32 position = tile + first + j;
        const float score = position >= own.begin && position < own.end
                                ? att_score(args, b, s.row, position, scores[j])
                                : ATT_NONE;
        scores[j] = score;
        next = score > next ? score : next;
    }
    HY_UNROLL for (u32 mask = 1; mask < threads; mask *= 2u) {
        const float other = hy_shuffle_xor(next, mask);
        next = other > next ? other : next;
    }
    if (first == 0u) m.old[s.row] = att_factor(s.most, next);
    s.most = next;
    u32 *to = (u32 *)(m.weight + s.row * (2u * ATT_TILE + ATT_PAD) + 2u * first);
    HY_UNROLL for (u32 j = 0; j < each; j += 2u) {
        float w[2];
        HY_UNROLL for (u32 i = 0; i < 2u; i++) {
            const u32 position = tile + first + j + i;
            const bool visible = position >= own.begin && position < own.end;
            const float e = hy_exp2_fast(hy_fma(scores[j + i] - next, ATT_LOG2_E, ATT_LIFT));
            w[i] = visible ? e : 0.0f;
        }
        to[j / 2u] = hy_to_f16x2(w[0], w[1]);
    }
}

/* A warp's sums: of 16 HIGH rows and WIDE times 16 columns, and the sums of the weights of 16 rows. */
template <u32 HIGH, u32 WIDE> struct att_tile_sums { hy_tile_f32 o[HIGH][WIDE], l; };

template <u32 HIGH, u32 WIDE>
HY_DEVICE void att_tile_values(const att_tile_memory &m, att_tile_sums<HIGH, WIDE> &s) {
    const u32 warp = hy_thread() / HY_WARP;
    constexpr u32 pitch = 2u * ATT_TILE + ATT_PAD;
    hy_tile_b ones;
    hy_fill_b(ones, 0x3c003c00u);
    HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) {
        HY_UNROLL for (u32 h = 0; h < HIGH; h++) HY_UNROLL for (u32 n = 0; n < WIDE; n++) s.o[h][n]
            .v[e] = s.o[h][n].v[e] * m.old[16u * h + hy_tile_row(e)];
        if (warp < HIGH) s.l.v[e] = s.l.v[e] * m.old[16u * warp + hy_tile_row(e)];
    }
    HY_NO_UNROLL for (u32 key = 0; key < ATT_TILE; key += 16u) {
        hy_tile_a w[HIGH];
        HY_UNROLL for (u32 h = 0; h < HIGH; h++)
            hy_load_a(w[h], m.weight + 16u * h * pitch + 2u * key, pitch);
        if (warp < HIGH) {
            hy_tile_a own;
            hy_load_a(own, m.weight + 16u * warp * pitch + 2u * key, pitch);
            hy_mma16(s.l, own, ones);
        }
        HY_UNROLL for (u32 n = 0; n < WIDE; n++) {
            const u32 column = 16u * (warp + ATT_WARPS * n);
            if (column >= m.columns) continue;
            hy_tile_b v;
            hy_load_b_turned(v, m.value + key * m.pitch + 2u * column, m.pitch);
            HY_UNROLL for (u32 h = 0; h < HIGH; h++) hy_mma16(s.o[h][n], w[h], v);
        }
    }
}

/* Positions `part` of one span: m.most and m.total of every row, and the sums, those of weights and values still 2^15
 * times as large. `hull`: all positions of the run, for what is fetched ahead. */
template <u32 HIGH, u32 WIDE>
HY_DEVICE void att_tile_span(const hy_args &args, const att_block &b, const att_tile_memory &m,
                             const att_tokens &tokens, att_tile_sums<HIGH, WIDE> &s, att_range part,
                             att_range hull) {
    const u32 row = hy_thread() / (ATT_THREADS / (16u * HIGH)), warp = hy_thread() / HY_WARP;
    const u32 pages = args.operand[HY_ATTENTION_k_cache].dim[0];
    att_tile_state state = {row, ATT_NONE, att_row_seen(args, tokens, b, row)};
    s = {};
    HY_NO_UNROLL for (u32 tile = part.begin / ATT_TILE * ATT_TILE; tile < part.end;
                      tile += ATT_TILE) {
        const att_range none = {0u, 0u};
        const bool is = att_page_number(args, b.sequence, tile) < pages;
        hy_async_wait<1>();
        hy_sync(); /* keys are there, and values of the tile before have been read */
        att_tile_scores<HIGH>(m);
        hy_sync();
        att_tile_fetch(args, b, m, HY_ATTENTION_k_cache, m.key, tile + ATT_TILE, hull);
        att_tile_weights<HIGH>(args, b, m, state, tile, is ? part : none);
        hy_async_wait<1>();
        hy_sync(); /* values are there, and weights */
        att_tile_values(m, s);
        hy_sync();
        att_tile_fetch(args, b, m, HY_ATTENTION_v_cache, m.value, tile + ATT_TILE, hull);
    }
    if (hy_thread() % (ATT_THREADS / (16u * HIGH)) == 0u) m.most[row] = state.most;
    if (warp < HIGH)
        HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) if (hy_tile_column(e) == 0u)
            m.total[16u * warp + hy_tile_row(e)] = s.l.v[e] * ATT_LOWER;
    hy_sync();
}

/* What every run begins with: queries, and the first tile on its way. */
template <u32 HIGH>
HY_DEVICE void att_tile_begin(const hy_args &args, const att_block &b, const att_tile_memory &m,
                              att_range hull) {
    const u32 tile = hull.begin / ATT_TILE * ATT_TILE;
    att_tile_queries<HIGH>(args, b, m);
    att_tile_fetch(args, b, m, HY_ATTENTION_k_cache, m.key, tile, hull);
    att_tile_fetch(args, b, m, HY_ATTENTION_v_cache, m.value, tile, hull);
}

/* One token, one span. */
template <u32 WIDE> HY_DEVICE void attention_tile_split(const hy_args &args) {
    HY_SHARED att_tokens tokens;
    const u32 span = hy_group() % ATT_SPANS, warp = hy_thread() / HY_WARP;
    att_block b;
    if (!att_block_of(args, hy_group() / ATT_SPANS, tokens, b)) return;
    att_next_run(tokens, b);
    const att_range part = att_intersect(tokens.seen[0], att_span(args, span));
    if (part.begin >= part.end) return;
    const att_tile_memory m = att_tile_memory_of<1>(args);
    att_tile_sums<1, WIDE> s;
    att_tile_begin<1>(args, b, m, part);
    att_tile_span<1, WIDE>(args, b, m, tokens, s, part, part);
    HY_UNROLL for (u32 n = 0; n < WIDE; n++) HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) {
        const u32 row = hy_tile_row(e), column = 16u * (warp + ATT_WARPS * n) + hy_tile_column(e);
        if (row >= b.heads || column >= m.columns) continue;
        const u32 partial = att_partial(args, b.token0, b.head0 + row, span);
        att_partial_row(args, partial)[column] = s.o[0][n].v[e] * ATT_LOWER;
    }
    const u32 row = hy_thread();
    if (row >= b.heads) return;
    float *pair = att_partial_pair(args, att_partial(args, b.token0, b.head0 + row, span));
    pair[0] = m.most[row];
    pair[1] = m.total[row];
}

/* Adds a span's sums to those of the spans before. */
template <u32 HIGH, u32 WIDE>
HY_DEVICE void att_tile_fold(const att_tile_memory &m, const att_tile_sums<HIGH, WIDE> &s,
                             hy_tile_f32 (&all)[HIGH][WIDE]) {
    HY_UNROLL for (u32 h = 0; h < HIGH; h++) HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) {
        const float old = m.old[16u * h + hy_tile_row(e)];
        const float added = m.added[16u * h + hy_tile_row(e)];
        HY_UNROLL for (u32 n = 0; n < WIDE; n++) {
            float &to = all[h][n].v[e];
            to = old >= 0.0f ? hy_fma(s.o[h][n].v[e] * ATT_LOWER, added, to * old) : to;
        }
    }
}

/* Outputs of a run, through the memory of keys and values. */
template <u32 HIGH, u32 WIDE>
HY_DEVICE void att_tile_store(const hy_args &args, const att_block &b, const att_tile_memory &m,
                              const hy_tile_f32 (&all)[HIGH][WIDE]) {
    float *stage = (float *)m.key; /* [rows][columns + 4] */
    const u32 warp = hy_thread() / HY_WARP, pitch = m.columns + 4u, quads = m.columns / 4u;
    hy_async_wait<0>();
    hy_sync();
    HY_UNROLL for (u32 h = 0; h < HIGH; h++) HY_UNROLL for (u32 n = 0; n < WIDE; n++)
        HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) {
        const u32 row = 16u * h + hy_tile_row(e);
        const u32 column = 16u * (warp + ATT_WARPS * n) + hy_tile_column(e);
        if (column < m.columns) stage[row * pitch + column] = all[h][n].v[e] * m.added[row];
    }
    hy_sync();
    for (u32 first = 0; first < 16u * HIGH * quads; first += ATT_THREADS) {
        const u32 n = first + hy_thread(), row = n / quads, column = n % quads * 4u;
        const bool live = n < 16u * HIGH * quads && att_in_run(args, b, row);
        f32x4 v = {};
        if (live) v = *(const f32x4 *)(stage + row * pitch + column);
        att_store(args, live, b.token0 + row / ATT_HEADS, b.head0 + row % ATT_HEADS, column, v);
    }
    hy_sync();
}

/* A run of tokens, whole contexts. */
template <u32 HIGH, u32 WIDE>
HY_DEVICE void att_tile_run(const hy_args &args, const att_block &b, const att_tile_memory &m,
                            const att_tokens &tokens) {
    const u32 t = hy_thread();
    const att_range hull = att_hull(tokens, b);
    att_range mine = {0u, 0u};
    if (t < 16u * HIGH) mine = att_row_seen(args, tokens, b, t);
    att_tile_sums<HIGH, WIDE> s;
    hy_tile_f32 values[HIGH][WIDE] = {};
    att_total all = {ATT_NONE, 0.0f};
    if (hull.begin < hull.end) att_tile_begin<HIGH>(args, b, m, hull);
    HY_NO_UNROLL for (u32 n = hull.begin / ATT_SPAN; n * ATT_SPAN < hull.end; n++) {
        att_tile_span<HIGH, WIDE>(args, b, m, tokens, s, att_intersect(hull, att_span(args, n)),
                                  hull);
        if (t < 16u * HIGH)
            att_add_span(args, all, mine, n, m.most[t], m.total[t], m.old[t], m.added[t]);
        hy_sync();
        att_tile_fold(m, s, values);
        hy_sync();
    }
    if (t < 16u * HIGH) m.added[t] = att_row_scale(args, b, t, all);
    att_tile_store<HIGH, WIDE>(args, b, m, values);
}

template <u32 HIGH, u32 WIDE> HY_DEVICE void attention_tile(const hy_args &args) {
    HY_SHARED att_tokens tokens;
    att_block b;
    if (!att_block_of(args, hy_group(), tokens, b)) return;
    const att_tile_memory m = att_tile_memory_of<HIGH>(args);
    HY_NO_UNROLL while (att_next_run(tokens, b)) att_tile_run<HIGH, WIDE>(args, b, m, tokens);
}

#endif

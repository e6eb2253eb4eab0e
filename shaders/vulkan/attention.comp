/* shaders/vulkan/attention.comp: HY_OP_ATTENTION over a paged cache of any dtype; meaning in hal/ops.h. Two
 * modules: `rows` for many tokens, and with SPLIT for few.
 *
 *   rows    A workgroup of 128 threads takes all heads of a kv head (or a block of them) of several tokens, as
 *           many rows as ROWS says, and walks the whole context. Tokens of one sequence that follow each other go
 *           together and share what is read; other sequences come after each other.
 *   split   A workgroup of 64 threads takes one token, a block of heads of one kv head, and one span of the
 *           context. Partial results go to the workspace; attention_join.comp makes one of them.
 *
 * Order of additions, the same in both and for any shape of the batch, in float32; a fused multiply-add is
 * written fma. Keys go in tiles of 64 positions that begin at multiples of 64 inside a page and end with it.
 *
 *   score    per 32 columns in order: p = fma(q[i], k[i], p) from 0; z = z + p. Then z * scale, soft cap,
 *            fma(slope, distance, z).
 *   tile     next = max(m, scores); factor = exp(m - next); for each visible key e = exp(score - next);
 *            l[place in tile] = fma(l[place], factor, e): 64 sums; o = o * factor, then o = fma(e, v, o) key by
 *            key; m = next.
 *   span     tiles in order into m, l, o, from nothing: 512 positions (whole pages). Then l is summed:
 *            four neighbours (0 + 1) + (2 + 3), the 16 sums x and x + 8, then 4, 2, 1.
 *   result   spans in order (att_fold), the sink, times 1 / l.
 *
 * A tile is read once for all rows: as many columns of its keys at a time, then as many of its values, as fit. A
 * thread scores ROWS_T rows by KEYS_T keys and keeps their state; LANES threads by four columns weigh values.
 * A row that is also the output's memory is read before it is written: by this workgroup alone, if one
 * workgroup takes all columns.
 *
 * Source: Dao 2023 arXiv:2307.08691; Kwon et al. 2023 arXiv:2309.06180. args.extra: attention.glsl. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "attention.glsl"
#include "attention_cache.glsl"

layout(constant_id = 1) const uint ROWS_T = 1u;
layout(constant_id = 2) const uint LANES = 32u; /* 8, 16, 32 or 64 */
layout(constant_id = 4) const uint QUADS = 1u;  /* split: vec4s of a query */

#ifdef SPLIT
#define THREADS 64u
#define KEYS_T 1u
#define ROW_LANES 1u
#else
#define THREADS 128u
#define KEYS_T 4u
#define ROW_LANES 8u
#endif
#define KEY_LANES (ATT_TILE / KEYS_T)
#define ROWS (ROWS_T * ROW_LANES)
#define WEIGH_LANES (THREADS / LANES) /* threads of the same columns */
#define ROWS_V ((ROWS + WEIGH_LANES - 1u) / WEIGH_LANES)
#define CHUNK 32u /* columns of keys whose products are summed for themselves */

/* Columns of keys staged at a time; keys whose values are staged at a time, a multiple of 4. */
#ifdef SPLIT
#define K_LOADED (ATT_K_WIDE ? ATT_K : HY_DTYPE_F32)
#define V_LOADED (ATT_V_WIDE ? ATT_V : HY_DTYPE_F32)
#define K_UNITS min(STAGE_UNITS, (4u * QUADS + att_width(K_LOADED) - 1u) / att_width(K_LOADED))
#define V_UNITS (4u * LANES / att_width(V_LOADED))
#define COLUMNS_K (STAGE_UNITS * att_width(K_LOADED))
#define KEYS_V min(ATT_TILE, ATT_TILE * STAGE_UNITS / V_UNITS)
#else
#define COLUMNS_K CHUNK
#define KEYS_V (512u / LANES)
#endif

#ifdef SPLIT
shared vec4 att_query[ROWS * QUADS];
shared float att_weight[ROWS * ATT_TILE];
#else
/* 32 columns of the queries, STAGE_STRIDE apart; then weights, WEIGHT_STRIDE apart. */
#define WEIGHT_STRIDE 17u
shared vec4 att_query[ROWS * WEIGHT_STRIDE];
shared int token_sequence[ROWS];
shared uvec2 token_seen[ROWS];
#endif
shared float att_top[ROWS * 16u]; /* largest score, or sum, of four keys */
shared float att_old[ROWS], att_new[ROWS], att_most[ROWS];

/* The block of work: heads [head0, head0 + heads) of kv_head, tokens [token0, token0 + tokens), columns of the
 * values from column0. Of the tokens, a run [run.x, run.y) of one sequence is at hand. */
uint head0, heads, kv_head, token0, tokens, column0;
uvec2 run;
int sequence;

/* State of the thread's rows x keys, and rows x four columns. (Not precise here, which glslang 12 compiles wrongly,
 * but where they get their values.) */
uvec2 seen[ROWS_T];
float score[ROWS_T * KEYS_T], sum[ROWS_T * KEYS_T], most[ROWS_T];
vec4 value[ROWS_V];

uint key_lane() {
    return gl_LocalInvocationID.x % KEY_LANES;
}
/* Row i of those that this thread scores. */
uint score_row(uint i) {
    return gl_LocalInvocationID.x / KEY_LANES * ROWS_T + i;
}
/* Row i of those for which this thread weighs values; past ROWS where threads are left over. */
uint value_row(uint i) {
    return gl_LocalInvocationID.x / LANES * ROWS_V + i;
}

/* Row `row` of the block is one of the run: token row / ATT_HEADS, head row % ATT_HEADS. */
bool in_run(uint row) {
    const uint token = row / ATT_HEADS;
    return token >= run.x && token < run.y && row % ATT_HEADS < heads;
}

/* ---- scores ---------------------------------------------------------------------------------------- */

/* Columns [column, column + 4 * quads) of the queries of the run. */
void load_queries(uint column, uint quads, uint stride) {
    const uint columns = hy_columns(HY_ATTENTION_q), size = hy_size(ATT_Q);
    const uint step = OPERAND(HY_ATTENTION_q).stride[1] * size;
    [[dont_unroll]] for (uint u = gl_LocalInvocationID.x; u < ROWS * quads; u += THREADS) {
        const uint row = u / quads, quad = u % quads, i = column + 4u * quad;
        if (i >= columns || !in_run(row)) continue;
        const uvec2 at = hy_advance(OPERAND(HY_ATTENTION_q).address, token0 + row / ATT_HEADS,
                                    OPERAND(HY_ATTENTION_q).stride[0] * size);
        att_query[row * stride + quad] =
            hy_load4(ATT_Q, hy_advance(at, head0 + row % ATT_HEADS, step), i, columns);
    }
}

/* Four columns of staged key j of the thread's, and of a staged value. */
vec4 key_quad(uint j, uint quad) {
#ifdef SPLIT
    return att_quad(K_LOADED, key_lane() * STAGE_STRIDE, key_lane(), quad);
#else
    return att_stage[(j * KEY_LANES + key_lane()) * STAGE_STRIDE + quad];
#endif
}
vec4 value_quad(uint place) {
    const uint lane = gl_LocalInvocationID.x % LANES;
#ifdef SPLIT
    return att_quad(V_LOADED, place * 2u * V_UNITS, place, lane);
#else
    return att_stage[place * LANES + lane];
#endif
}

/* score += q . k over `quads` vec4s: queries from vec4 `query` of their rows, keys from staged vec4 `staged`. */
void add_chunk(uint query, uint stride, uint staged, uint quads) {
    precise float part[ROWS_T * KEYS_T];
    [[unroll]] for (uint x = 0u; x < ROWS_T * KEYS_T; x++)
        part[x] = 0.0;
    [[dont_unroll]] for (uint quad = 0u; quad < quads; quad++) {
        vec4 k[KEYS_T];
        [[unroll]] for (uint j = 0u; j < KEYS_T; j++)
            k[j] = key_quad(j, staged + quad);
        [[unroll]] for (uint i = 0u; i < ROWS_T; i++) {
            const vec4 q = att_query[score_row(i) * stride + query + quad];
            [[unroll]] for (uint j = 0u; j < KEYS_T; j++) {
                precise float p = part[i * KEYS_T + j];
                p = fma(q.x, k[j].x, p);
                p = fma(q.y, k[j].y, p);
                p = fma(q.z, k[j].z, p);
                p = fma(q.w, k[j].w, p);
                part[i * KEYS_T + j] = p;
            }
        }
    }
    [[unroll]] for (uint x = 0u; x < ROWS_T * KEYS_T; x++) {
        precise const float z = score[x] + part[x];
        score[x] = z;
    }
}

/* score = q . k for the keys of the tile; those that are not visible may be anything. */
void dots(att_page page, uint first, uvec2 keys, bool busy) {
    const uint columns = page.columns;
    [[unroll]] for (uint x = 0u; x < ROWS_T * KEYS_T; x++)
        score[x] = 0.0;
    [[dont_unroll]] for (uint column = 0u; column < columns; column += COLUMNS_K) {
        barrier();
#ifdef SPLIT
        att_fill(page, first, keys, keys, column, K_UNITS, STAGE_STRIDE, 0u);
        barrier();
        const uint end = min(columns, column + COLUMNS_K);
        [[dont_unroll]] for (uint c = column; busy && c < end; c += CHUNK)
            add_chunk(c / 4u, QUADS, (c - column) / 4u, (min(CHUNK, end - c) + 3u) / 4u);
#else
        att_fill(page, first, keys, keys, column, CHUNK / 4u, STAGE_STRIDE, KEYS_T, 0u);
        load_queries(column, CHUNK / 4u, STAGE_STRIDE);
        barrier();
        if (busy) add_chunk(0u, STAGE_STRIDE, 0u, (min(CHUNK, columns - column) + 3u) / 4u);
#endif
    }
}

/* Soft cap of the thread's scores: through shared memory, so that its long code is there once. */
void soft_cap(float cap) {
#ifdef SPLIT
#define PLACE(x) att_weight[(x) * ATT_TILE + gl_LocalInvocationID.x]
#else
#define PLACE(x) att_query[score_row((x) / 4u) * WEIGHT_STRIDE + key_lane()][(x) % 4u]
    barrier(); /* queries are read */
#endif
    [[unroll]] for (uint x = 0u; x < ROWS_T * KEYS_T; x++)
        PLACE(x) = score[x];
    [[dont_unroll]] for (uint x = 0u; x < ROWS_T * KEYS_T; x++)
        PLACE(x) = hy_softcap(PLACE(x), cap);
    [[unroll]] for (uint x = 0u; x < ROWS_T * KEYS_T; x++)
        score[x] = PLACE(x);
#undef PLACE
}

/* Scale, soft cap, slopes. `position` is that of the thread's first key. */
void finish_scores(uint position) {
    const float cap = uintBitsToFloat(ARGS.word[HY_ATTENTION_ATTR_softcap]);
    const float scale = uintBitsToFloat(ARGS.word[HY_ATTENTION_ATTR_scale]);
    [[unroll]] for (uint x = 0u; x < ROWS_T * KEYS_T; x++) {
        precise const float scaled = score[x] * scale;
        score[x] = scaled;
    }
    if (ATT_SOFTCAP) soft_cap(cap);
    if (!ATT_SLOPES) return;
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++) {
        const uint row = score_row(i), token = min(row / ATT_HEADS, tokens - 1u);
        const uint head = head0 + min(row % ATT_HEADS, heads - 1u);
        const int pos = int(Words(OPERAND(HY_ATTENTION_pos).address).v[token0 + token]);
        const float slope = Floats(OPERAND(HY_ATTENTION_slopes).address).v[head];
        [[unroll]] for (uint j = 0u; j < KEYS_T; j++) {
            precise const float biased =
                fma(slope, float(int(position + j) - pos), score[i * KEYS_T + j]);
            score[i * KEYS_T + j] = biased;
        }
    }
}

/* ---- weights --------------------------------------------------------------------------------------- */

/* Sums, or the largest, of four neighbouring keys of each row to att_top; all threads see them after. */
#ifdef SPLIT
#define FOUR(x) att_weight[4u * u + x]
void tops() {
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++)
        att_weight[i * ATT_TILE + gl_LocalInvocationID.x] = score[i];
    barrier();
    [[dont_unroll]] for (uint u = gl_LocalInvocationID.x; u < ROWS * 16u; u += THREADS)
        att_top[u] = max(max(FOUR(0u), FOUR(1u)), max(FOUR(2u), FOUR(3u)));
    barrier();
}

void sums() {
    barrier(); /* weights are read */
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++)
        att_weight[i * ATT_TILE + gl_LocalInvocationID.x] = sum[i];
    barrier();
    [[dont_unroll]] for (uint u = gl_LocalInvocationID.x; u < ROWS * 16u; u += THREADS) {
        precise const float four = (FOUR(0u) + FOUR(1u)) + (FOUR(2u) + FOUR(3u));
        att_top[u] = four;
    }
}
#else
void tops() {
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++)
        att_top[score_row(i) * 16u + key_lane()] =
            max(max(score[4u * i], score[4u * i + 1u]), max(score[4u * i + 2u], score[4u * i + 3u]));
    barrier();
}

void sums() {
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++) {
        precise const float four =
            (sum[4u * i] + sum[4u * i + 1u]) + (sum[4u * i + 2u] + sum[4u * i + 3u]);
        att_top[score_row(i) * 16u + key_lane()] = four;
    }
}
#endif

/* Scores -> weights of the keys `part` in shared memory, and what is to become of earlier values in att_old; updates
 * most and sum. A key that a row does not see weighs 0, or -1 where rows see different keys of the tile. */
void weights(uint position, uvec2 part, bool even) {
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++) {
        const uvec2 own = att_intersect(seen[i], part);
        [[unroll]] for (uint j = 0u; j < KEYS_T; j++) {
            const bool visible = position + j >= own.x && position + j < own.y;
            if (!visible) score[i * KEYS_T + j] = ATT_NONE;
        }
    }
    tops();
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++) {
        float next = most[i];
        [[dont_unroll]] for (uint x = 0u; x < 16u; x++) {
            const float top = att_top[score_row(i) * 16u + x];
            next = top > next ? top : next;
        }
        const float factor = att_factor(most[i], next);
        most[i] = next;
        if (key_lane() == 0u) att_old[score_row(i)] = factor;
        const uvec2 own = att_intersect(seen[i], part);
        [[unroll]] for (uint j = 0u; j < KEYS_T; j++) {
            const bool visible = position + j >= own.x && position + j < own.y;
            precise const float below = score[i * KEYS_T + j] - next;
            const float e = visible ? hy_exp(below) : 0.0;
            precise const float l = fma(sum[i * KEYS_T + j], factor, e);
            sum[i * KEYS_T + j] = l;
            score[i * KEYS_T + j] = visible || even ? e : -1.0;
        }
#ifdef SPLIT
        att_weight[i * ATT_TILE + gl_LocalInvocationID.x] = score[i];
#else
        att_query[score_row(i) * WEIGHT_STRIDE + key_lane()] =
            vec4(score[4u * i], score[4u * i + 1u], score[4u * i + 2u], score[4u * i + 3u]);
#endif
    }
}

/* Weights of row `row` and keys [key, key + 4), key a multiple of 4. */
vec4 weights_of(uint row, uint key) {
    row = min(row, ROWS - 1u);
#ifdef SPLIT
    const uint at = row * ATT_TILE + key;
    return vec4(att_weight[at], att_weight[at + 1u], att_weight[at + 2u], att_weight[at + 3u]);
#else
    return att_query[row * WEIGHT_STRIDE + key / 4u];
#endif
}

/* ---- values ---------------------------------------------------------------------------------------- */

/* value += weight * v for keys [key, key + 4), staged from `place`. */
void weigh(uint key, uint place, bool even) {
    vec4 v[4];
    [[unroll]] for (uint x = 0u; x < 4u; x++)
        v[x] = value_quad(place + x);
    [[unroll]] for (uint i = 0u; i < ROWS_V; i++) {
        const vec4 w = weights_of(value_row(i), key);
        precise vec4 o = value[i];
        [[unroll]] for (uint x = 0u; x < 4u; x++) {
            if (even || w[x] != -1.0) o = fma(vec4(w[x]), v[x], o);
        }
        value[i] = o;
    }
}

/* value = value * factor + the tile's weighted values. */
void add_values(att_page page, uint first, uvec2 keys, bool even) {
    const uint begin = keys.x / KEYS_V * KEYS_V;
    [[dont_unroll]] for (uint base = begin; base < keys.y; base += KEYS_V) {
        const uvec2 four = uvec2(max(base, keys.x & ~3u), min(base + KEYS_V, keys.y + 3u & ~3u));
        if (base > begin) barrier();
#ifdef SPLIT
        att_fill(page, first, four, keys, column0, V_UNITS, 2u * V_UNITS, base);
#else
        att_fill(page, first, four, keys, column0, LANES, LANES, 0u, base);
#endif
        barrier();
        if (base == begin) {
            [[unroll]] for (uint i = 0u; i < ROWS_V; i++) {
                precise const vec4 kept = value[i] * att_old[min(value_row(i), ROWS - 1u)];
                value[i] = kept;
            }
        }
#ifndef SPLIT
        if (!even) {
            [[dont_unroll]] for (uint key = four.x; key < four.y; key += 4u)
                weigh(key, key - base, false);
            continue;
        }
#endif
        [[dont_unroll]] for (uint key = four.x; key < four.y; key += 4u)
            weigh(key, key - base, true);
    }
}

/* ---- tiles, spans ---------------------------------------------------------------------------------- */

/* Adds the keys `part` of one tile, absolute positions; nothing where the table has no page. `even`: all rows
 * of the run see all of them. */
void add_tile(uvec2 part, uint tile, bool even) {
    const uint length = OPERAND(HY_ATTENTION_k_cache).dim[2];
    const uvec2 table = hy_advance(OPERAND(HY_ATTENTION_table).address, att_place(sequence),
                                   4u * OPERAND(HY_ATTENTION_table).stride[0]);
    const uint number = Words(table).v[tile / length];
    if (number >= OPERAND(HY_ATTENTION_k_cache).dim[0]) return; /* -1 too */
    const uint first = tile % length, position = tile + KEYS_T * key_lane();
    const uvec2 keys = part - tile;
    bool busy = false;
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++)
        busy = busy || max(seen[i].x, part.x) < min(seen[i].y, part.y);
    dots(att_open(HY_ATTENTION_k_cache, ATT_K, ATT_K_WIDE, number, kv_head), first, keys, busy);
    finish_scores(position);
    weights(position, part, even);
    add_values(att_open(HY_ATTENTION_v_cache, ATT_V, ATT_V_WIDE, number, kv_head), first, keys, even);
}

/* most, sum, value over positions `part` of one span; those in `even` are visible to all rows. Then att_most has
 * the largest score of each row, and thread `row` returns its sum. */
float run_span(uvec2 part, uvec2 even) {
    const uint length = OPERAND(HY_ATTENTION_k_cache).dim[2];
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++)
        most[i] = ATT_NONE;
    [[unroll]] for (uint x = 0u; x < ROWS_T * KEYS_T; x++)
        sum[x] = 0.0;
    [[unroll]] for (uint i = 0u; i < ROWS_V; i++)
        value[i] = vec4(0.0);
    [[dont_unroll]] for (uint p = part.x; p < part.y;) {
        const uint page = p / length * length, tile = p - (p - page) % ATT_TILE;
        const uint end = min(part.y, min(tile + ATT_TILE, page + length));
        add_tile(uvec2(p, end), tile, p >= even.x && end <= even.y);
        p = end;
    }
    sums();
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++) {
        if (key_lane() == 0u) att_most[score_row(i)] = most[i];
    }
    barrier();
    precise float l[16];
    const uint row = min(gl_LocalInvocationID.x, ROWS - 1u);
    [[unroll]] for (uint x = 0u; x < 16u; x++)
        l[x] = att_top[row * 16u + x];
    [[unroll]] for (uint x = 0u; x < 8u; x++)
        l[x] += l[x + 8u];
    [[unroll]] for (uint x = 0u; x < 4u; x++)
        l[x] += l[x + 4u];
    precise const float total = (l[0] + l[2]) + (l[1] + l[3]);
    return total;
}

#ifdef SPLIT

void main() {
    const uint group = hy_group();
    const uint span = group % ATT_SPANS, slice = group / ATT_SPANS % ATT_SLICES;
    const uint work = group / ATT_SPANS / ATT_SLICES, kv_heads = OPERAND(HY_ATTENTION_k_cache).dim[1];
    const uint group_heads = OPERAND(HY_ATTENTION_q).dim[1] / kv_heads;
    const uint block = work % ATT_BLOCKS * ATT_HEADS;
    kv_head = work / ATT_BLOCKS % kv_heads;
    token0 = work / ATT_BLOCKS / kv_heads;
    if (token0 >= hy_count(HY_ATTENTION_q)) return;
    sequence = att_sequence(token0);
    const uvec2 part = att_intersect(att_seen(sequence, token0), att_span(span));
    if (part.x >= part.y) return;
    heads = min(ATT_HEADS, group_heads - block);
    head0 = kv_head * group_heads + block;
    tokens = 1u;
    run = uvec2(0u, 1u);
    column0 = slice * ATT_COLUMNS;
    att_ask_exact();
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++)
        seen[i] = in_run(i) ? part : uvec2(0u);
    load_queries(0u, QUADS, QUADS);
    const float l = run_span(part, part);
    const uint thread = gl_LocalInvocationID.x, columns = hy_columns(HY_ATTENTION_v_cache);
    if (thread < heads && slice == 0u) {
        const uint pair = att_partial_pair(att_partial(token0, head0 + thread, span));
        Floats(ARGS.workspace).v[pair] = att_most[thread];
        Floats(ARGS.workspace).v[pair + 1u] = l;
    }
    const uint column = column0 + 4u * (thread % LANES);
    if (column >= columns) return;
    [[unroll]] for (uint i = 0u; i < ROWS_V; i++) {
        if (value_row(i) < heads)
            hy_store4(HY_DTYPE_F32, att_partial_row(att_partial(token0, head0 + value_row(i), span)),
                      column, columns, value[i]);
    }
}

#else

vec4 all_value[ROWS_V];

/* The tokens of the run, whole context. */
void attend() {
    const uint thread = gl_LocalInvocationID.x;
    uvec2 hull = uvec2(0xffffffffu, 0u), even = uvec2(0u, 0xffffffffu);
    [[dont_unroll]] for (uint i = run.x; i < run.y; i++) {
        const uvec2 s = token_seen[i];
        even = uvec2(max(even.x, s.x), min(even.y, s.y)); /* nothing, if a token sees nothing */
        if (s.x < s.y) hull = uvec2(min(hull.x, s.x), max(hull.y, s.y));
    }
    hull.x = min(hull.x, hull.y);
    [[unroll]] for (uint i = 0u; i < ROWS_T; i++)
        seen[i] = in_run(score_row(i)) ? token_seen[score_row(i) / ATT_HEADS] : uvec2(0u);
    [[unroll]] for (uint i = 0u; i < ROWS_V; i++)
        all_value[i] = vec4(0.0);
    const uvec2 mine =
        thread < ROWS && in_run(thread) ? token_seen[thread / ATT_HEADS] : uvec2(0u);
    float all_most = ATT_NONE, all_sum = 0.0;
    [[dont_unroll]] for (uint n = hull.x / ATT_SPAN; n * ATT_SPAN < hull.y; n++) {
        const uvec2 part = att_intersect(hull, att_span(n));
        const float l = run_span(part, even);
        if (thread < ROWS) {
            const uvec2 own = att_intersect(mine, att_span(n));
            float old = -1.0, new_ = 0.0; /* -1: the row sees nothing of this span */
            if (own.x < own.y) att_fold(all_most, all_sum, att_most[thread], l, old, new_);
            att_old[thread] = old;
            att_new[thread] = new_;
        }
        barrier();
        [[unroll]] for (uint i = 0u; i < ROWS_V; i++) {
            const uint row = min(value_row(i), ROWS - 1u);
            precise const vec4 kept = all_value[i] * att_old[row];
            precise const vec4 folded = fma(value[i], vec4(att_new[row]), kept);
            if (att_old[row] >= 0.0) all_value[i] = folded;
        }
    }
    barrier(); /* att_new is read, and all queries of the run */
    if (thread < ROWS && in_run(thread))
        att_new[thread] = att_scale(all_most, all_sum, head0 + thread % ATT_HEADS);
    barrier();
    [[dont_unroll]] for (uint i = 0u; i < ROWS_V; i++) {
        const uint row = value_row(i);
        precise vec4 result = vec4(0.0);
        [[unroll]] for (uint j = 0u; j < ROWS_V; j++) /* an index known to the compiler */
            result = i == j ? all_value[j] : result;
        result *= att_new[min(row, ROWS - 1u)];
        att_store(row < ROWS && in_run(row), token0 + row / ATT_HEADS, head0 + row % ATT_HEADS,
                  column0 + 4u * (thread % LANES), result);
    }
    barrier();
}

void main() {
    const uint group = hy_group(), slice = group % ATT_SLICES, work = group / ATT_SLICES;
    const uint kv_heads = OPERAND(HY_ATTENTION_k_cache).dim[1];
    const uint group_heads = OPERAND(HY_ATTENTION_q).dim[1] / kv_heads;
    const uint chunks = (OPERAND(HY_ATTENTION_q).dim[0] + ATT_TOKENS - 1u) / ATT_TOKENS;
    const uint block = work % ATT_BLOCKS * ATT_HEADS, chunk = work / ATT_BLOCKS / kv_heads;
    const uint count = hy_count(HY_ATTENTION_q), thread = gl_LocalInvocationID.x;
    if (chunk >= chunks) return;
    token0 = (chunks - 1u - chunk) * ATT_TOKENS; /* later tokens first, for they see most */
    if (token0 >= count) return;
    tokens = min(ATT_TOKENS, count - token0);
    kv_head = work / ATT_BLOCKS % kv_heads;
    head0 = kv_head * group_heads + block;
    heads = min(ATT_HEADS, group_heads - block);
    column0 = slice * ATT_COLUMNS;
    att_ask_exact();
    if (thread < tokens) {
        const int s = att_sequence(token0 + thread);
        token_sequence[thread] = s;
        token_seen[thread] = att_seen(s, token0 + thread);
    }
    barrier();
    run = uvec2(0u);
    [[dont_unroll]] while (run.y < tokens) {
        run = uvec2(run.y, run.y + 1u);
        sequence = token_sequence[run.x];
        [[dont_unroll]] while (run.y < tokens && token_sequence[run.y] == sequence)
            run.y++;
        attend();
    }
}

#endif

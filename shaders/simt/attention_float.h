/* shaders/simt/attention_float.h: attention over a paged cache of any dtype, in float32.
 *
 * Order of additions, the same for any shape of the batch and that of shaders/vulkan/attention.comp; a fused
 * multiply-add is written fma. Keys go in tiles of 64 positions that begin at multiples of 64 inside a page and end
 * with it.
 *
 *   score    per 32 columns in order: p = fma(q[i], k[i], p) from 0; z = z + p. Then z * scale, soft cap,
 *            fma(slope, distance, z).
 *   tile     next = max(m, scores); factor = exp(m - next); for each visible key e = exp(score - next);
 *            l[place in tile] = fma(l[place], factor, e): 64 sums; o = o * factor, then o = fma(e, v, o) key by
 *            key; m = next.
 *   span     tiles in order into m, l, o, from nothing: 512 positions (whole pages). Then l is summed: four
 *            neighbours (0 + 1) + (2 + 3), the 16 sums x and x + 8, then 4, 2, 1.
 *   result   spans in order (att_fold), the sink, times 1 / l.
 *
 * Thread t scores key t % 64 for every other row; keeps the state of row t / 16 for four keys; and has columns t, t + 128,
 * ... of the values, WIDE of them. Source: Dao 2023 arXiv:2307.08691; Kwon et al. 2023 arXiv:2309.06180. */
#ifndef HY_SIMT_ATTENTION_FLOAT_H
#define HY_SIMT_ATTENTION_FLOAT_H

#include "shaders/simt/attention.h"

#define ATT_CHUNK 32u /* columns of keys whose products are summed for themselves */
#define ATT_KEY_PITCH (ATT_CHUNK + 1u)

struct att_float_memory {
    att_tokens tokens;
    float query[8][ATT_CHUNK], key[ATT_TILE * ATT_KEY_PITCH];
    float weight[8][ATT_TILE];
    float old[8], added[8], most[8], total[8];
};

/* Keys or values of one page and kv head. */
struct att_page {
    const u8 *rows, *scales;  /* of row 0; scales: q8_0, whose numbers are int8 */
    u32 dtype, columns, step; /* step: bytes between rows */
};

HY_DEVICE att_page att_open(const hy_args &args, u32 operand, u32 page, u32 kv_head) {
    const hy_arg_tensor &c = args.operand[operand];
    att_page p = {hy_address(args, operand), nullptr, hy_dtype(args, operand), c.columns,
                  c.columns};
    if (p.dtype == HY_DTYPE_Q8_0) { /* planar: int8 of all rows, then their scales */
        const u32 numbers = c.dim[2] * p.columns;
        p.rows += (u64)(page * c.dim[1] + kv_head) * (numbers + numbers / 16u);
        p.scales = p.rows + numbers;
    } else {
        const u32 size = hy_size(p.dtype);
        p.step = c.stride[2] * size;
        p.rows += ((u64)page * c.stride[0] + (u64)kv_head * c.stride[1]) * size;
    }
    return p;
}

/* Column i of a row; that must be one of its columns. */
HY_DEVICE float att_element(const att_page &p, u32 row, u32 i) {
    const u8 *at = p.rows + (u64)row * p.step;
    if (p.dtype != HY_DTYPE_Q8_0) return hy_load(p.dtype, at, i);
    const u32 scale = ((const u16 *)p.scales)[row * (p.columns / 32u) + i / 32u];
    return (float)(int8_t)at[i] * hy_from_f16(scale);
}

/* z[i] = q . k of row 2 i + thread / 64 and key thread % 64 of the tile, of which [keys.begin, keys.end) are there. */
template <u32 ROWS>
HY_DEVICE void att_dots(const hy_args &args, const att_block &b, att_float_memory &memory,
                        const att_page &page, u32 first, att_range keys, float (&z)[ROWS / 2u]) {
    const u32 t = hy_thread(), key = t % ATT_TILE, side = t / ATT_TILE, columns = page.columns;
    HY_UNROLL for (u32 i = 0; i < ROWS / 2u; i++) z[i] = 0.0f;
    HY_NO_UNROLL for (u32 column = 0; column < columns; column += ATT_CHUNK) {
        hy_sync();
        for (u32 u = t; u < ATT_TILE * ATT_CHUNK; u += ATT_THREADS) {
            const u32 k = u / ATT_CHUNK, i = column + u % ATT_CHUNK;
            const bool is = k >= keys.begin && k < keys.end && i < columns;
            memory.key[k * ATT_KEY_PITCH + u % ATT_CHUNK] =
                is ? att_element(page, first + k, i) : 0.0f;
        }
        for (u32 u = t; u < ROWS * ATT_CHUNK; u += ATT_THREADS) {
            const u32 row = u / ATT_CHUNK, i = column + u % ATT_CHUNK;
            float q = 0.0f;
            if (i < columns && att_in_run(args, b, row))
                q = hy_load(hy_dtype(args, HY_ATTENTION_q), att_query(args, b, row), i);
            memory.query[row][u % ATT_CHUNK] = q;
        }
        hy_sync();
        float p[ROWS / 2u] = {};
        HY_NO_UNROLL for (u32 i = 0; i < hy_min(ATT_CHUNK, columns - column); i++) {
            const float k = memory.key[key * ATT_KEY_PITCH + i];
            HY_UNROLL for (u32 r = 0; r < ROWS / 2u; r++) p[r] =
                hy_fma(memory.query[2u * r + side][i], k, p[r]);
        }
        HY_UNROLL for (u32 r = 0; r < ROWS / 2u; r++) z[r] = z[r] + p[r];
    }
}

/* State of row thread / 16 and keys 4 (thread % 16) .. + 3 of every tile. */
struct att_float_state {
    float most, sum[4];
    att_range seen;
};

/* Scores in memory.weight -> weights; a key that a row does not see weighs -1. `part`: positions of the tile that are
 * there. All threads call together. */
template <u32 ROWS>
HY_DEVICE void att_weights(att_float_memory &memory, att_float_state &s, u32 tile, att_range part) {
    const u32 row = hy_thread() / 16u, key = hy_thread() % 16u * 4u;
    const att_range own = att_intersect(s.seen, part);
    const bool is = row < ROWS;
    float score[4], next = s.most;
    HY_UNROLL for (u32 j = 0; j < 4u; j++) {
        const u32 position = tile + key + j;
        const bool visible = is && position >= own.begin && position < own.end;
        score[j] = visible ? memory.weight[row][key + j] : ATT_NONE;
        next = score[j] > next ? score[j] : next;
    }
    HY_UNROLL for (u32 mask = 1; mask < 16u; mask *= 2u) {
        const float other = hy_shuffle_xor(next, mask);
        next = other > next ? other : next;
    }
    const float factor = att_factor(s.most, next);
    s.most = next;
    HY_UNROLL for (u32 j = 0; j < 4u; j++) {
        const u32 position = tile + key + j;
        const bool visible = is && position >= own.begin && position < own.end;
        const float e = visible ? hy_exp(score[j] - next) : 0.0f;
        s.sum[j] = hy_fma(s.sum[j], factor, e);
        if (is) memory.weight[row][key + j] = visible ? e : -1.0f;
    }
    if (is && key == 0u) memory.old[row] = factor;
}

/* value = value * factor + the weighted values of the tile's keys. */
template <u32 ROWS, u32 WIDE>
HY_DEVICE void att_values(const att_float_memory &memory, const att_page &page, u32 first,
                          att_range keys, float (&value)[ROWS][WIDE]) {
    HY_UNROLL for (u32 r = 0; r < ROWS; r++) HY_UNROLL for (u32 c = 0; c < WIDE; c++) value[r][c] =
        value[r][c] * memory.old[r];
    HY_NO_UNROLL for (u32 key = keys.begin; key < keys.end; key++)
        HY_UNROLL for (u32 c = 0; c < WIDE; c++) {
        const u32 column = hy_thread() + ATT_THREADS * c;
        if (column >= page.columns) continue;
        const float v = att_element(page, first + key, column);
        HY_UNROLL for (u32 r = 0; r < ROWS; r++) {
            const float w = memory.weight[r][key];
            value[r][c] = w >= 0.0f ? hy_fma(w, v, value[r][c]) : value[r][c];
        }
    }
}

/* Adds positions `part` of one tile; nothing where the table has no page. */
template <u32 ROWS, u32 WIDE>
HY_DEVICE void att_float_tile(const hy_args &args, const att_block &b, att_float_memory &memory,
                              att_float_state &s, float (&value)[ROWS][WIDE], u32 tile,
                              att_range part) {
    const u32 number = att_page_number(args, b.sequence, tile);
    if (number >= args.operand[HY_ATTENTION_k_cache].dim[0]) return; /* -1 too */
    const u32 first = tile % args.operand[HY_ATTENTION_k_cache].dim[2],
              side = hy_thread() / ATT_TILE;
    const u32 key = hy_thread() % ATT_TILE;
    const att_range keys = {part.begin - tile, part.end - tile};
    float z[ROWS / 2u];
    att_dots<ROWS>(args, b, memory, att_open(args, HY_ATTENTION_k_cache, number, b.kv_head), first,
                   keys, z);
    HY_UNROLL for (u32 i = 0; i < ROWS / 2u; i++) memory.weight[2u * i + side][key] =
        att_score(args, b, 2u * i + side, tile + key, z[i]);
    hy_sync();
    att_weights<ROWS>(memory, s, tile, part);
    hy_sync();
    att_values<ROWS, WIDE>(memory, att_open(args, HY_ATTENTION_v_cache, number, b.kv_head), first,
                           keys, value);
}

/* Positions `part` of one span: memory.most and memory.total of every row, and the values. */
template <u32 ROWS, u32 WIDE>
HY_DEVICE void att_float_span(const hy_args &args, const att_block &b, att_float_memory &memory,
                              float (&value)[ROWS][WIDE], att_range part) {
    const u32 length = args.operand[HY_ATTENTION_k_cache].dim[2], row = hy_thread() / 16u;
    att_float_state s = {ATT_NONE, {}, att_row_seen(args, memory.tokens, b, row)};
    HY_UNROLL for (u32 r = 0; r < ROWS; r++) HY_UNROLL for (u32 c = 0; c < WIDE; c++) value[r][c] =
        0.0f;
    HY_NO_UNROLL for (u32 p = part.begin; p < part.end;) {
        const u32 page = p / length * length, tile = p - (p - page) % ATT_TILE;
        const u32 end = hy_min(part.end, hy_min(tile + ATT_TILE, page + length));
        att_float_tile(args, b, memory, s, value, tile, {p, end});
        p = end;
    }
    float l = (s.sum[0] + s.sum[1]) + (s.sum[2] + s.sum[3]);
    HY_UNROLL for (u32 mask = 8; mask > 0u; mask /= 2u) l = l + hy_shuffle_xor(l, mask);
    if (row < ROWS && hy_thread() % 16u == 0u) {
        memory.most[row] = s.most;
        memory.total[row] = l;
    }
    hy_sync();
}

/* One token, one span. */
template <u32 WIDE> HY_DEVICE void attention_split(const hy_args &args) {
    HY_SHARED att_float_memory memory;
    constexpr u32 rows = ATT_FLOAT_ROWS(WIDE);
    const u32 span = hy_group() % ATT_SPANS, t = hy_thread();
    att_block b;
    if (!att_block_of(args, hy_group() / ATT_SPANS, memory.tokens, b)) return;
    att_next_run(memory.tokens, b);
    const att_range part = att_intersect(memory.tokens.seen[0], att_span(args, span));
    if (part.begin >= part.end) return;
    float value[rows][WIDE];
    att_float_span<rows, WIDE>(args, b, memory, value, part);
    HY_UNROLL for (u32 r = 0; r < rows; r++) {
        if (r >= b.heads) continue;
        const u32 partial = att_partial(args, b.token0, b.head0 + r, span);
        HY_UNROLL for (u32 c = 0; c < WIDE;
                       c++) if (t + ATT_THREADS * c < hy_columns(args, HY_ATTENTION_v_cache))
            att_partial_row(args, partial)[t + ATT_THREADS * c] = value[r][c];
        if (t > 0u) continue;
        att_partial_pair(args, partial)[0] = memory.most[r];
        att_partial_pair(args, partial)[1] = memory.total[r];
    }
}

/* A run of tokens, whole contexts. */
template <u32 ROWS, u32 WIDE>
HY_DEVICE void att_float_run(const hy_args &args, const att_block &b, att_float_memory &memory) {
    const u32 t = hy_thread(), columns = hy_columns(args, HY_ATTENTION_v_cache);
    const att_range hull = att_hull(memory.tokens, b);
    att_range mine = {0u, 0u};
    if (t < ROWS) mine = att_row_seen(args, memory.tokens, b, t);
    float value[ROWS][WIDE], all[ROWS][WIDE] = {};
    att_total total = {ATT_NONE, 0.0f};
    HY_NO_UNROLL for (u32 n = hull.begin / ATT_SPAN; n * ATT_SPAN < hull.end; n++) {
        att_float_span<ROWS, WIDE>(args, b, memory, value, att_intersect(hull, att_span(args, n)));
        if (t < ROWS)
            att_add_span(args, total, mine, n, memory.most[t], memory.total[t], memory.old[t],
                         memory.added[t]);
        hy_sync();
        HY_UNROLL for (u32 r = 0; r < ROWS; r++) HY_UNROLL for (u32 c = 0; c < WIDE; c++) {
            const float folded = hy_fma(value[r][c], memory.added[r], all[r][c] * memory.old[r]);
            all[r][c] = memory.old[r] >= 0.0f ? folded : all[r][c];
        }
        hy_sync();
    }
    if (t < ROWS) memory.added[t] = att_row_scale(args, b, t, total);
    hy_sync();
    /* Through shared memory, so that four columns are one thread's. */
    HY_UNROLL for (u32 r = 0; r < ROWS; r++) HY_UNROLL for (u32 c = 0; c < WIDE; c++) {
        const u32 column = ATT_THREADS * c + 4u * t;
        memory.key[t] = all[r][c] * memory.added[r];
        hy_sync();
        f32x4 v = {};
        if (t < ATT_THREADS / 4u)
            HY_UNROLL for (u32 j = 0; j < 4u; j++) v.v[j] = memory.key[4u * t + j];
        att_store(args, t < ATT_THREADS / 4u && att_in_run(args, b, r) && column < columns,
                  b.token0 + r / ATT_HEADS, b.head0 + r % ATT_HEADS, column, v);
        hy_sync();
    }
}

template <u32 WIDE> HY_DEVICE void attention_rows(const hy_args &args) {
    HY_SHARED att_float_memory memory;
    att_block b;
    if (!att_block_of(args, hy_group(), memory.tokens, b)) return;
    HY_NO_UNROLL while (att_next_run(memory.tokens, b))
        att_float_run<ATT_FLOAT_ROWS(WIDE), WIDE>(args, b, memory);
}

#endif

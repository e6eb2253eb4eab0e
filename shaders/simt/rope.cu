/* shaders/simt/rope.cu: rope, rope_table, kv_write. Grids: backends/gpu/rope.c. */
#include "shaders/simt/rope.h"

/* ---- rope: the first G elements of each head turned by the token's angles; a group of threads for each (token,
 * head). */

HY_ENTRY(rope, ROPE_THREADS) {
    const u32 heads = args.operand[HY_ROPE_x].dim[1], columns = hy_columns(args, HY_ROPE_x);
    const u32 rows = hy_rows(args, HY_ROPE_x), first = hy_group() * args.constant[0];
    const u32 row = first + rope_place();
    if (first >= rows) return;
    if (row < rows)
        rope_load(args, hy_dtype(args, HY_ROPE_x), hy_row(args, HY_ROPE_x, row), columns);
    hy_sync();
    if (row >= rows) return;
    const rope_plan p = {nullptr,
                         (const float *)hy_row(args, HY_ROPE_table, row / heads),
                         hy_columns(args, HY_ROPE_table),
                         args.word[HY_ROPE_ATTR_style] == HY_ROPE_PAIRS,
                         false,
                         1.0f};
    u8 *out = hy_row(args, HY_ROPE_out, row);
    for (u32 i = 4u * rope_lane(); i < columns; i += 4u * ROPE_LANES)
        hy_store4(hy_dtype(args, HY_ROPE_out), out, i, columns, rope_four(args, p, i, columns));
}

/* ---- rope_table: cosines and sines of pos * (hi + lo). A thread for each (token, frequency).
 *
 * No float64: the product of position and mantissa is exact in 64 bits, and times 1 / (2 pi) as a fixed point number it
 * gives the turns; of these only the fraction counts, known to 2^-40 for any position and any frequency. What is left
 * is at most an eighth of a turn, for two polynomials. */

/* Bits of 1 / (2 pi) behind the point: 32 from bit `from` on, the first the highest. */
HY_DEVICE u32 per_turn(i32 from) {
    const u32 words[8] = {0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u,
                          0x36d8a566u, 0x4f10e410u, 0x7f9458eau, 0xf7aef158u};
    const i32 word = from >> 5, rest = from & 31;
    const u32 high = word >= 0 && word < 8 ? words[word] : 0u;
    const u32 low = word >= -1 && word < 7 ? words[word + 1] : 0u;
    return (u32)(((u64)high << 32 | low) << rest >> 32);
}

/* The fraction of position * |x| / (2 pi), in units of 2^-64. */
HY_DEVICE u64 turns_of(u32 position, float x) {
    const u32 bits = hy_bits(x), field = bits >> 23 & 0xffu;
    const u32 mantissa = (bits & 0x7fffffu) | (field == 0u ? 0u : 0x800000u);
    const i32 exponent = (i32)hy_max(field, 1u) - 150; /* x = mantissa 2^exponent */
    const u64 n = (u64)position * mantissa;
    const u32 n1 = (u32)(n >> 32), n0 = (u32)n;
    /* 2^exponent / (2 pi), its whole part dropped; 96 bits: n has 55, so the fraction is good to 2^-41 */
    const u32 w0 = per_turn(exponent), w1 = per_turn(exponent + 32), w2 = per_turn(exponent + 64);
    u64 turns = (u64)(n0 * w0 + n1 * w1) << 32;
    turns += (u64)n0 * w1;
    turns += (u64)n0 * w2 >> 32;
    turns += (u64)n1 * w2;
    return turns;
}

HY_ENTRY(rope_table, 64) {
    const u32 pairs = args.operand[HY_ROPE_TABLE_freq].dim[0];
    const u32 i = hy_group() * hy_threads() + hy_thread(), t = i / pairs, j = i % pairs;
    if (t >= hy_count(args, HY_ROPE_TABLE_out)) return;
    const i32 pos = ((const i32 *)hy_address(args, HY_ROPE_TABLE_pos))[t];
    const float *row = (const float *)hy_row(args, HY_ROPE_TABLE_freq, j);
    u64 turns = 0;
    HY_NO_UNROLL for (u32 x = 0; x < 2u; x++) {
        const bool negative = hy_bits(row[x]) >> 31 != (u32)pos >> 31;
        const u64 part = turns_of(pos < 0 ? 0u - (u32)pos : (u32)pos, row[x]);
        turns = negative ? turns - part : turns + part;
    }
    /* The nearest quarter turn, and what is left of it: within +-2^29 2^-32 turns. */
    const u32 high = (u32)(turns >> 32), quarter = (high + 0x20000000u) >> 30;
    const float fine = (float)(u32)turns * 2.3283064365386963e-10f; /* 2^-32 */
    const float near_ = (float)(i32)(high - (quarter << 30)) + fine;
    const float x = near_ * 1.4629181e-9f; /* 2 pi 2^-32 */
    const float u = x * x;
    float s = 2.7249896e-06f;
    s = hy_fma(s, u, -0.00019840087f);
    s = hy_fma(s, u, 0.008333332f);
    s = hy_fma(s, u, -0.16666667f);
    s = hy_fma(x * u, s, x);
    float c = 2.4547917e-05f;
    c = hy_fma(c, u, -0.0013888302f);
    c = hy_fma(c, u, 0.041666664f);
    c = hy_fma(c, u, -0.5f);
    c = hy_fma(c, u, 1.0f);
    const bool odd = (quarter & 1u) != 0u;
    const float given = hy_word_float(args, HY_ROPE_TABLE_ATTR_magnitude);
    const float magnitude = given == 0.0f ? 1.0f : given;
    float *out = (float *)hy_row(args, HY_ROPE_TABLE_out, t);
    out[j] = (odd ? s : c) * (((quarter + 1u) & 2u) != 0u ? -magnitude : magnitude);
    out[pairs + j] = (odd ? c : s) * ((quarter & 2u) != 0u ? -magnitude : magnitude);
}

/* ---- kv_write: keys and values of new tokens into cache pages, and queries: normed and rotated where asked. A group of
 * threads for each (token, head), heads in the order keys, values, queries. */

/* Eight neighbouring threads have one block of 32 of a planar row: int8 at `numbers`, scale at `scale_at`. All threads
 * of the workgroup call it together; `live` false: no block here. */
HY_DEVICE void store_block(bool live, u8 *numbers, u8 *scale_at, f32x4 v) {
    const float scale = hy_a8_scale(hy_float(hy_block_most(v)));
    i32 sum = 0;
    const u32 word = hy_block_word(v, scale, sum);
    if (!live) return;
    if (hy_aligned(numbers, 4u)) {
        *(u32 *)numbers = word;
    } else { /* pages of an odd number of halves */
        ((u16 *)numbers)[0] = (u16)word;
        ((u16 *)numbers)[1] = (u16)(word >> 16);
    }
    if (hy_thread() % 8u == 0u) *(u16 *)scale_at = (u16)hy_to_f16(scale);
}

/* A page and head of a q8_0 cache: int8 of all its rows, then their scales. */
HY_DEVICE void store_planar(const hy_args &args, bool live, u32 cache, u32 slot, u32 head,
                            const rope_plan &p, u32 most_columns) {
    const hy_arg_tensor &c = args.operand[cache];
    const u32 length = c.dim[2], columns = c.columns, numbers = length * columns;
    const u64 page = (u64)(slot / length * c.dim[1] + head) * (numbers + numbers / 16u);
    u8 *row = (u8 *)c.address + page + slot % length * columns;
    u8 *scales = (u8 *)c.address + page + numbers + slot % length * (columns / 16u);
    for (u32 first = 0; first < most_columns; first += 4u * ROPE_LANES) {
        const u32 i = first + 4u * rope_lane();
        const bool inside = live && i < columns;
        f32x4 v = {};
        if (inside) v = rope_four(args, p, i, columns);
        store_block(inside, row + i, scales + i / 32u * 2u, v);
    }
}

HY_DEVICE u8 *cache_row(const hy_args &args, u32 cache, u32 slot, u32 head) {
    const hy_arg_tensor &c = args.operand[cache];
    const u32 length = c.dim[2];
    const u64 at = (u64)(slot / length) * c.stride[0] + (u64)head * c.stride[1] +
                   (u64)(slot % length) * c.stride[2];
    return (u8 *)c.address + at * hy_size(hy_dtype(args, cache));
}

/* What a group of threads has to do. */
struct write_item {
    u32 from, to, norm; /* operands */
    u32 t, index, slot; /* token, head among its kind, place in the cache */
    bool is_q, is_v, live;
};

HY_DEVICE write_item item_of(const hy_args &args, u32 item, u32 items, u32 heads) {
    const u32 kv_heads = args.operand[HY_KV_WRITE_k].dim[1], t = item / heads, head = item % heads;
    const bool is_q = head >= 2u * kv_heads, is_v = !is_q && head >= kv_heads;
    write_item w = {is_q   ? HY_KV_WRITE_q
                    : is_v ? HY_KV_WRITE_v
                           : HY_KV_WRITE_k,
                    is_q   ? HY_KV_WRITE_q_out
                    : is_v ? HY_KV_WRITE_v_cache
                           : HY_KV_WRITE_k_cache,
                    is_q ? HY_KV_WRITE_q_norm : HY_KV_WRITE_k_norm,
                    t,
                    is_q   ? head - 2u * kv_heads
                    : is_v ? head - kv_heads
                           : head,
                    0u,
                    is_q,
                    is_v,
                    item < items};
    if (w.live && !is_q) {
        const hy_arg_tensor &cache = args.operand[HY_KV_WRITE_k_cache];
        w.slot = ((const u32 *)hy_address(args, HY_KV_WRITE_slot))[t];
        w.live = w.slot < cache.dim[0] * cache.dim[2]; /* not -1 */
    }
    return w;
}

HY_DEVICE rope_plan plan_of(const hy_args &args, const write_item &w, u32 columns) {
    rope_plan p = {(const float *)hy_address(args, w.norm),
                   nullptr,
                   0u,
                   args.word[HY_KV_WRITE_ATTR_style] == HY_ROPE_PAIRS,
                   !w.is_v && hy_present(args, w.norm),
                   1.0f};
    if (p.normed && w.live)
        p.scale = rope_norm(args, columns, hy_word_float(args, HY_KV_WRITE_ATTR_eps));
    if (!w.is_v && hy_present(args, HY_KV_WRITE_table)) {
        p.turned = hy_columns(args, HY_KV_WRITE_table);
        p.table = (const float *)hy_row(args, HY_KV_WRITE_table, w.t);
    }
    return p;
}

HY_ENTRY(kv_write, ROPE_THREADS) {
    const u32 queries = hy_present(args, HY_KV_WRITE_q) ? args.operand[HY_KV_WRITE_q].dim[1] : 0u;
    const u32 heads = 2u * args.operand[HY_KV_WRITE_k].dim[1] + queries;
    const u32 items = hy_count(args, HY_KV_WRITE_k) * heads, first = hy_group() * args.constant[0];
    if (first >= items) return;
    const write_item w = item_of(args, first + rope_place(), items, heads);
    const u32 columns = hy_columns(args, w.from), dtype = hy_dtype(args, w.to);
    if (w.live)
        rope_load(args, hy_dtype(args, w.from),
                  hy_row(args, w.from, w.t * args.operand[w.from].dim[1] + w.index), columns);
    hy_sync();
    const rope_plan p = plan_of(args, w, columns);
    if (w.live && dtype != HY_DTYPE_Q8_0) {
        u8 *row = w.is_q ? hy_row(args, w.to, w.t * args.operand[w.to].dim[1] + w.index)
                         : cache_row(args, w.to, w.slot, w.index);
        for (u32 i = 4u * rope_lane(); i < columns; i += 4u * ROPE_LANES)
            hy_store4(dtype, row, i, columns, rope_four(args, p, i, columns));
    }
    const bool planar = hy_dtype(args, HY_KV_WRITE_k_cache) == HY_DTYPE_Q8_0 ||
                        hy_dtype(args, HY_KV_WRITE_v_cache) == HY_DTYPE_Q8_0;
    if (planar) /* the same for all threads, as the blocks are made together */
        store_planar(args, w.live && dtype == HY_DTYPE_Q8_0,
                     w.is_v ? HY_KV_WRITE_v_cache : HY_KV_WRITE_k_cache, w.slot, w.index, p,
                     hy_max(hy_columns(args, HY_KV_WRITE_k), hy_columns(args, HY_KV_WRITE_v)));
}

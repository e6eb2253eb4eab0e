/* shaders/simt/experts.cu: combine, topk_route, grouped_sort, and rows_to_f16, which is phase 0 of products on tiles of
 * f16. */
#include "shaders/simt/grouped.h"
#include "shaders/simt/keys.h"
#include "shaders/simt/total.h"

/* ---- combine. Threads are numbered through the rows, four elements each, the last of a row maybe fewer. Grid:
 * gpu_family_elements. */

HY_ENTRY(combine, 128) {
    const u32 columns = hy_columns(args, HY_COMBINE_out), each = (columns + 3u) / 4u;
    const u32 n = hy_group() * hy_threads() + hy_thread(), row = n / each, i = 4u * (n % each);
    if (row >= hy_count(args, HY_COMBINE_out)) return;
    const u32 slots = args.operand[HY_COMBINE_x].dim[1];
    const float *weights = (const float *)hy_row(args, HY_COMBINE_weights, row);
    f32x4 sum = {};
    if (hy_present(args, HY_COMBINE_residual))
        sum = hy_load4(hy_dtype(args, HY_COMBINE_residual), hy_row(args, HY_COMBINE_residual, row),
                       i, columns);
    for (u32 p = 0; p < slots; p++) {
        const f32x4 x = hy_load4(hy_dtype(args, HY_COMBINE_x),
                                 hy_row(args, HY_COMBINE_x, row * slots + p), i, columns);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) sum.v[j] = sum.v[j] + weights[p] * x.v[j];
    }
    hy_store4(hy_dtype(args, HY_COMBINE_out), hy_row(args, HY_COMBINE_out, row), i, columns, sum);
}

/* ---- topk_route, one workgroup for each token.
 *
 * The k largest of p + bias have to be float64's. Without a bias they are those of the logits, for gates keep the order.
 * With one, p and p + bias are held in two floats (46 bits) and compared as integers. An expert's place is the number of
 * experts before it, so that no order of threads matters. constant[0]: experts or more; dynamic shared memory: for each
 * of them a gate in two floats, a key in two words, a choice. Two-float arithmetic: Dekker 1971; Knuth, TAOCP 2,
 * 4.2.2. */

#define ROUTE_THREADS 256

struct two { /* x is the number as rounded, y what is left */
    float x, y;
};

HY_DEVICE two two_sum(float a, float b) {
    const float s = a + b;
    const float t = s - a;
    return {s, (a - (s - t)) + (b - t)};
}

HY_DEVICE two add(two a, two b) {
    const two s = two_sum(a.x, b.x);
    return two_sum(s.x, s.y + (a.y + b.y));
}

/* The first 12 bits, rounded, and the rest: products of such are exact. */
HY_DEVICE two halves(float a) {
    const float high = hy_float((hy_bits(a) + 0x800u) & 0xfffff000u);
    return {high, a - high};
}

HY_DEVICE two multiply(two a, two b) {
    const two u = halves(a.x), v = halves(b.x);
    const float p = a.x * b.x;
    const float lost = (u.x * v.x - p) + u.x * v.y + u.y * v.x + u.y * v.y;
    return two_sum(p, lost + (a.x * b.y + a.y * b.x));
}

/* A quotient of what each quotient leaves. */
HY_DEVICE two divide(two a, two b) {
    two q = {0.0f, 0.0f};
    HY_NO_UNROLL for (u32 i = 0; i < 3u; i++) {
        const float next = a.x / b.x;
        q = add(q, {next, 0.0f});
        a = add(a, multiply(b, {-next, 0.0f}));
    }
    return q;
}

/* 1 / n! from n = 7 down. */
HY_DEVICE two factor(u32 i) {
    const two factors[8] = {{0.000198412701f, -2.72559687e-12f},
                            {0.00138888892f, -3.36310944e-11f},
                            {0.00833333377f, -4.34617203e-10f},
                            {0.0416666679f, -1.24176347e-09f},
                            {0.166666672f, -4.96705388e-09f},
                            {0.5f, 0.0f},
                            {1.0f, 0.0f},
                            {1.0f, 0.0f}};
    return factors[i];
}

/* e^x for x <= 0, to 2^-45; what is below 2^-126 may be 0. */
HY_DEVICE two exponential(two x) {
    if (x.x < -104.0f) return {0.0f, 0.0f};
    const float n = hy_rint(x.x * 1.44269502f); /* x / ln 2 */
    two r = add(x, {n * -0.693145752f, 0.0f});  /* ln 2 in three parts, the products of two exact */
    r = add(r, {n * -1.428416e-06f, 0.0f});
    r = add(r, {n * -1.90821493e-10f, 0.0f});
    float tail = 2.08767559e-09f; /* 1 / 12! ... 1 / 8!: a float's bits suffice */
    tail = hy_fma(tail, r.x, 2.50521079e-08f);
    tail = hy_fma(tail, r.x, 2.755732e-07f);
    tail = hy_fma(tail, r.x, 2.75573188e-06f);
    tail = hy_fma(tail, r.x, 2.48015876e-05f);
    two e = {tail, 0.0f};
    HY_UNROLL for (u32 i = 0; i < 8u; i++) e = add(multiply(e, r), factor(i));
    const i32 half_ = (i32)n >> 1;
    const float first = hy_pow2(half_), second = hy_pow2((i32)n - half_);
    return {e.x * first * second, e.y * first * second};
}

HY_DEVICE two sigmoid(float x) {
    const two e = exponential({-hy_fabs(x), 0.0f}), one = {1.0f, 0.0f};
    return divide(x < 0.0f ? e : one, add(e, one));
}

/* The sum as float64 has it: what of y is below 2^-52 of x goes. */
HY_DEVICE u64 key_of(two sum) {
    const u32 exponent = hy_bits(sum.x) >> 23 & 255u;
    if (exponent > 60u && exponent < 255u && hy_fabs(sum.y) < hy_pow2((i32)exponent - 157)) {
        const float unit =
            1.5f * hy_pow2((i32)exponent - 156); /* its last bit is 2^-52 of x's first */
        const float rounded = sum.y + unit;
        sum.y = rounded - unit;
    }
    return (u64)hy_key(sum.x) << 32 | hy_key(sum.y);
}

/* A token's choice, in shared memory. */
struct route {
    u64 *key;    /* [experts] */
    two *gate;   /* [experts] */
    u32 *chosen; /* by place */
    const float *logits;
    u32 experts, k;
};

/* The sum of one number from each thread; the tree depends on nothing but their number. */
HY_DEVICE two workgroup_sum(two *parts, two mine) {
    const u32 t = hy_thread();
    parts[t] = mine;
    HY_NO_UNROLL for (u32 step = hy_threads() / 2u; step > 0u; step /= 2u) {
        hy_sync();
        if (t < step) parts[t] = add(parts[t], parts[t + step]);
    }
    hy_sync();
    return parts[0];
}

/* The gate of every expert whose number is this thread's, modulo the threads. */
HY_DEVICE void softmax(const route &r) {
    HY_SHARED hy_totals totals;
    HY_SHARED two parts[ROUTE_THREADS];
    const u32 t = hy_thread(), threads = hy_threads();
    float most = -HY_INFINITY;
    for (u32 e = t; e < r.experts; e += threads)
        most = r.logits[e] > most ? r.logits[e] : most;
    most = hy_largest(totals, most);
    two sum = {0.0f, 0.0f};
    for (u32 e = t; e < r.experts; e += threads) {
        r.gate[e] = exponential(two_sum(r.logits[e], -most));
        sum = add(sum, r.gate[e]);
    }
    sum = workgroup_sum(parts, sum);
    for (u32 e = t; e < r.experts; e += threads)
        r.gate[e] = divide(r.gate[e], sum);
}

HY_DEVICE void find_gates(const route &r, u32 kind) {
    if (kind == HY_GATE_SOFTMAX) {
        softmax(r);
        return;
    }
    for (u32 e = hy_thread(); e < r.experts; e += hy_threads()) {
        const two plain = {r.logits[e], 0.0f};
        r.gate[e] = kind == HY_GATE_SIGMOID ? sigmoid(r.logits[e]) : plain;
    }
}

/* Experts before e: those with a larger key, and of equal keys those with a lower number. */
HY_DEVICE u32 place_of(const route &r, u32 e) {
    const u64 mine = r.key[e];
    u32 place = 0;
    for (u32 i = 0; i < r.experts; i++)
        place += r.key[i] > mine || (i < e && r.key[i] == mine);
    return place;
}

/* The weight of place i. */
HY_DEVICE float weight_of(const hy_args &args, const route &r, u32 i) {
    const u32 how = args.word[HY_TOPK_ROUTE_ATTR_normalize];
    const float scale = hy_word_float(args, HY_TOPK_ROUTE_ATTR_scale);
    float w = r.gate[r.chosen[i]].x;
    if (how != 0u) {
        float most = r.gate[r.chosen[0]].x;
        for (u32 j = 1; j < r.k; j++) {
            const float x = r.gate[r.chosen[j]].x;
            most = x > most ? x : most;
        }
        two sum = {0.0f, 0.0f};
        for (u32 j = 0; j < r.k; j++) {
            const two p = r.gate[r.chosen[j]], e = {hy_exp(p.x - most), 0.0f};
            sum = add(sum, how == 2u ? e : p);
        }
        w = (how == 2u ? hy_exp(w - most) : w) / sum.x;
    }
    return scale != 0.0f ? w * scale : w;
}

HY_ENTRY(topk_route, ROUTE_THREADS) {
    const u32 row = hy_group(), t = hy_thread(), threads = hy_threads(), room = args.constant[0];
    if (row >= hy_count(args, HY_TOPK_ROUTE_logits)) return;
    u64 *keys = (u64 *)hy_dynamic();
    two *gates = (two *)(keys + room);
    const route r = {keys,
                     gates,
                     (u32 *)(gates + room),
                     (const float *)hy_row(args, HY_TOPK_ROUTE_logits, row),
                     hy_columns(args, HY_TOPK_ROUTE_logits),
                     args.word[HY_TOPK_ROUTE_ATTR_k]};
    u32 *ids = (u32 *)hy_row(args, HY_TOPK_ROUTE_ids, row);
    float *weights = (float *)hy_row(args, HY_TOPK_ROUTE_weights, row);
    const float *bias = (const float *)hy_address(args, HY_TOPK_ROUTE_bias);
    find_gates(r, args.word[HY_TOPK_ROUTE_ATTR_gate]);
    for (u32 e = t; e < r.experts; e += threads) {
        two key = {r.logits[e], 0.0f};
        if (bias) key = add(r.gate[e], {bias[e], 0.0f});
        r.key[e] = key_of(key);
    }
    hy_sync();
    for (u32 e = t; e < r.experts; e += threads) {
        const u32 place = place_of(r, e);
        if (place >= r.k) continue;
        r.chosen[place] = e;
        ids[place] = e;
    }
    hy_sync();
    for (u32 i = t; i < r.k; i += threads)
        weights[i] = weight_of(args, r, i);
}

/* ---- grouped_sort: before the products of a grouped_matmul of many tokens: puts pairs (token, slot) in order by expert
 * and lists the tiles (grouped.h). One workgroup for each expert and one for the pairs without; each counts all pairs,
 * so that none waits for another. An expert's pairs follow in order of their numbers: a stable counting sort.
 * constant[0]: experts + 1, or more, of which each has a word of dynamic shared memory. */

#define SORT_THREADS 128

HY_DEVICE u32 tiles_of(const hy_args &args, u32 pairs) {
    return (pairs + args.extra[1] - 1u) / args.extra[1];
}

/* What comes before an expert. */
struct sort_begin {
    u32 pair, tile;
};

HY_DEVICE void count_pairs(const hy_args &args, u32 *counts, sort_begin &begin, u32 pairs) {
    const u32 t = hy_thread(), threads = hy_threads(), experts = grouped_experts(args);
    for (u32 e = t; e <= experts; e += threads)
        counts[e] = 0;
    if (t == 0u) begin.pair = begin.tile = 0;
    hy_sync();
    for (u32 i = t; i < pairs; i += threads)
        hy_atomic_add(&counts[grouped_expert(args, i)], 1u);
    hy_sync();
}

HY_DEVICE void add_those_before(const hy_args &args, const u32 *counts, sort_begin &begin,
                                u32 expert) {
    u32 pairs = 0, tiles = 0;
    for (u32 e = hy_thread(); e < expert; e += hy_threads()) {
        pairs += counts[e];
        tiles += tiles_of(args, counts[e]);
    }
    hy_atomic_add(&begin.pair, pairs);
    hy_atomic_add(&begin.tile, tiles);
    hy_sync();
}

/* Each thread has a slice of consecutive pairs. */
HY_DEVICE void write_order(const hy_args &args, u32 expert, u32 at, u32 pairs) {
    HY_SHARED u32 slices[SORT_THREADS];
    const u32 t = hy_thread(), threads = hy_threads(), slice = (pairs + threads - 1u) / threads;
    const u32 from = hy_min(t * slice, pairs), to = hy_min(from + slice, pairs);
    u32 mine = 0;
    for (u32 i = from; i < to; i++)
        mine += grouped_expert(args, i) == expert;
    slices[t] = mine;
    hy_sync();
    if (mine == 0u) return;
    for (u32 j = 0; j < t; j++)
        at += slices[j];
    for (u32 i = from; i < to; i++)
        if (grouped_expert(args, i) == expert) grouped_order(args)[at++] = i;
}

HY_ENTRY(grouped_sort, SORT_THREADS) {
    HY_SHARED sort_begin begin;
    u32 *counts = (u32 *)hy_dynamic();
    const u32 expert = hy_group(), experts = grouped_experts(args), pairs = grouped_pairs(args);
    if (expert > experts) return;
    count_pairs(args, counts, begin, pairs);
    add_those_before(args, counts, begin, expert);
    const u32 count = counts[expert], tiles = tiles_of(args, count);
    if (expert == experts && hy_thread() == 0u) grouped_work(args)[0] = begin.tile + tiles;
    if (count == 0u) return;
    for (u32 i = hy_thread(); i < tiles; i += hy_threads()) {
        const u32 done = i * args.extra[1];
        const u32x4 tile = {expert, begin.pair + done, hy_min(count - done, args.extra[1]), 0u};
        grouped_tiles(args)[begin.tile + i] = tile;
    }
    write_order(args, expert, begin.pair, pairs);
}

/* ---- rows_to_f16: rows of x -> f16 rows in the workspace, each scaled by a power of two s of its own
 * (docs/numerics.md): s = 2^e with the largest e <= 126 that keeps |s x| below 2^14. So nothing overflows, and values down
 * to 2^-27 of the row's largest keep their 11 bits.
 *
 * Reads args.operand[0], x of any dtype; counters. Writes at args.workspace: f16 [T, extra[0]], elements past x's columns
 * 0, extra[0] a multiple of 32; and at extra[1] bytes from there float32 [T], 1 / s. One workgroup of 128 threads for
 * each row. */

/* Elements i .. i + 3, i a multiple of 4. */
HY_DEVICE f32x4 load_any(const hy_args &args, const u8 *row, u32 i, u32 columns) {
    if (hy_dtype(args, 0u) != HY_DTYPE_A8) return hy_load4(hy_dtype(args, 0u), row, i, columns);
    const u32 *block = (const u32 *)(row + i / 32u * HY_A8_BYTES);
    const i32 q = (i32)block[i % 32u / 4u];
    f32x4 v;
    HY_UNROLL for (u32 j = 0; j < 4u; j++) v.v[j] =
        hy_float(block[HY_A8_SCALE]) * (float)((i32)((u32)q << (24u - 8u * j)) >> 24);
    return v;
}

HY_ENTRY(rows_to_f16, 128) {
    HY_SHARED u32 most[128];
    const u32 row = hy_group(), t = hy_thread(), threads = hy_threads();
    if (row >= hy_rows(args, 0u)) return;
    const u32 columns = hy_columns(args, 0u), width = args.extra[0];
    const u8 *from = hy_row(args, 0u, row);
    u32 largest = 0; /* magnitudes compare like their bits */
    for (u32 i = 4u * t; i < columns; i += 4u * threads) {
        const f32x4 v = load_any(args, from, i, columns);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) largest =
            hy_max(largest, hy_bits(v.v[j]) & 0x7fffffffu);
    }
    most[t] = largest;
    hy_sync();
    for (u32 n = threads / 2u; n > 0u; n /= 2u) {
        if (t < n) most[t] = hy_max(most[t], most[t + n]);
        hy_sync();
    }
    /* largest = f 2^(exponent - 127), 1 <= f < 2 */
    const i32 exponent = (i32)(most[0] >> 23);
    const i32 high = 140 - exponent < 126 ? 140 - exponent : 126, e = most[0] == 0u ? 0 : high;
    const float scale = hy_float((u32)(e + 127) << 23);
    u32x2 *to = (u32x2 *)((u8 *)args.workspace + 2u * (u64)row * width);
    for (u32 i = 4u * t; i < width; i += 4u * threads) {
        f32x4 v = {};
        if (i < columns) v = load_any(args, from, i, columns);
        const u32x2 words = {hy_to_f16x2(v.v[0] * scale, v.v[1] * scale),
                             hy_to_f16x2(v.v[2] * scale, v.v[3] * scale)};
        to[i / 4u] = words;
    }
    if (t == 0u)
        ((float *)((u8 *)args.workspace + args.extra[1]))[row] = hy_float((u32)(127 - e) << 23);
}

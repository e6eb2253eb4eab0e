/* tests/conform/gen_attention.c: cases of attention, kv_write, rope and rope_table. */
#include "base/num.h"
#include "tests/conform/gen.h"

typedef struct attention_case {
    const char *name;
    uint32_t t, heads, kv_heads, d, c, page, pages, sequences;
    float softcap;
    int32_t window, causal;
    bool sinks, slopes;
} attention_case;

// clang-format off
static const attention_case attentions[] = {
    {"decode",      1,  4, 2, 64, 64, 64,  3, 1, 0,   0, 1, false, false},
    {"one head",    1,  1, 1, 16, 16, 64,  1, 1, 0,   0, 1, false, false},
    {"batch",       9,  8, 2, 32, 32, 64,  2, 5, 0,   0, 1, false, false},
    {"prefill",    33,  4, 4, 64, 64, 64,  2, 1, 0,   0, 1, false, false},
    {"ragged",     17,  6, 3, 80, 80, 64,  2, 3, 0,   0, 1, false, false},
    {"grouped",     5, 16, 2, 128,128,64,  2, 2, 0,   0, 1, false, false},
    {"odd width",   7,  2, 1, 24, 40, 64,  2, 2, 0,   0, 1, false, false},
    {"long",        2,  2, 1, 32, 32, 64, 18, 2, 0,   0, 1, false, false},
    {"window",     12,  4, 2, 32, 32, 64,  3, 2, 0,  16, 1, false, false},
    {"window one",  5,  2, 2, 32, 32, 64,  2, 2, 0,   1, 1, false, false},
    {"softcap",     6,  4, 2, 32, 32, 64,  2, 2, 20,  0, 1, false, false},
    {"sinks",       6,  4, 2, 32, 32, 64,  2, 2, 0,   0, 1, true,  false},
    {"slopes",      6,  4, 2, 32, 32, 64,  2, 2, 0,   0, 1, false, true},
    {"both ways",   6,  4, 2, 32, 32, 64,  2, 2, 0,   0, 0, false, false},
    {"all",        13,  6, 2, 64, 64, 64,  3, 3, 30, 70, 1, true,  true},
    {"small page",  6,  4, 2, 32, 32, 16,  5, 2, 0,   0, 1, false, false},
    {"wide",        3,  3, 1, 256,256,64,  2, 2, 0,   0, 1, false, false},
};
// clang-format on

static hy_op attention(const attention_case *a, hy_dtype kv, hy_dtype q, hy_dtype out) {
    hy_op op = gen_op(HY_OP_ATTENTION);
    uint32_t pages = a->pages * a->sequences + 1;
    if (pages % 7 == 0) pages++; /* the table walks pages in steps of 7 */
    gen_set(&op, HY_ATTENTION_q, q, HY_COUNTER_T, a->t, a->heads, a->d, 0);
    gen_set(&op, HY_ATTENTION_k_cache, kv, HY_COUNTER_NONE, pages, a->kv_heads, a->page, a->d);
    gen_set(&op, HY_ATTENTION_v_cache, kv, HY_COUNTER_NONE, pages, a->kv_heads, a->page, a->c);
    gen_set(&op, HY_ATTENTION_table, HY_DTYPE_I32, HY_COUNTER_S, a->sequences, a->pages, 0, 0);
    gen_set(&op, HY_ATTENTION_row, HY_DTYPE_I32, HY_COUNTER_T, a->t, 0, 0, 0);
    gen_set(&op, HY_ATTENTION_pos, HY_DTYPE_I32, HY_COUNTER_T, a->t, 0, 0, 0);
    gen_set(&op, HY_ATTENTION_len, HY_DTYPE_I32, HY_COUNTER_S, a->sequences, 0, 0, 0);
    if (a->sinks)
        gen_set(&op, HY_ATTENTION_sinks, HY_DTYPE_F32, HY_COUNTER_NONE, a->heads, 0, 0, 0);
    if (a->slopes)
        gen_set(&op, HY_ATTENTION_slopes, HY_DTYPE_F32, HY_COUNTER_NONE, a->heads, 0, 0, 0);
    op.attention.scale = 0.125f;
    op.attention.softcap = a->softcap;
    op.attention.window = a->window;
    op.attention.causal = a->causal;
    op.operand[HY_ATTENTION_out].dtype = (uint8_t)out;
    return op;
}

void gen_attention(gen *g) {
    static const hy_dtype caches[] = {HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_BF16, HY_DTYPE_Q8_0};
    for (uint32_t i = 0; i < HY_COUNT_OF(attentions); i++) {
        const attention_case *a = &attentions[i];
        for (uint32_t k = 0; k < HY_COUNT_OF(caches); k++) {
            if (caches[k] == HY_DTYPE_Q8_0 && (a->d % 32 || a->c % 32)) continue;
            hy_op op = attention(a, caches[k], HY_DTYPE_F32, HY_DTYPE_F32);
            gen_emit_pattern(g, &op, a->name, CONFORM_NORMAL);
        }
        hy_op op = attention(a, HY_DTYPE_F16, gen_floats[i % 3], gen_floats[(i + 1) % 3]);
        gen_gap(&op, HY_ATTENTION_q, 8);
        gen_emit_pattern(g, &op, a->name, CONFORM_NORMAL);
        if (a->heads * a->c % 32 == 0 && a->c % 32 == 0) {
            op = attention(a, HY_DTYPE_F16, HY_DTYPE_F32, HY_DTYPE_A8);
            gen_emit_pattern(g, &op, a->name, CONFORM_NORMAL);
        }
    }
}

typedef struct kv_case {
    const char *name;
    uint32_t t, heads, kv_heads, d, c, rotated; /* rotated 0: no table */
    bool q, q_norm, k_norm;
    int32_t style;
} kv_case;

// clang-format off
static const kv_case writes[] = {
    {"plain",        1, 0, 2, 64,  64,  0,  false, false, false, 0},
    {"many",        19, 0, 3, 32,  96,  0,  false, false, false, 0},
    {"rope pairs",   5, 4, 2, 64,  64,  64, true,  false, false, HY_ROPE_PAIRS},
    {"rope halves", 17, 4, 2, 64,  64,  64, true,  false, false, HY_ROPE_HALVES},
    {"partial",      4, 6, 3, 96,  96,  32, true,  false, false, HY_ROPE_HALVES},
    {"norms",        3, 8, 2, 128, 128, 128,true,  true,  true,  HY_ROPE_HALVES},
    {"norms pairs", 12, 2, 1, 32,  32,  16, true,  true,  true,  HY_ROPE_PAIRS},
    {"k norm only",  4, 0, 2, 32,  32,  0,  false, false, true,  0},
};
// clang-format on

static void kv_write(gen *g, const kv_case *w, hy_dtype kv, hy_dtype in, uint32_t gap) {
    hy_op op = gen_op(HY_OP_KV_WRITE);
    gen_set(&op, HY_KV_WRITE_k, in, HY_COUNTER_T, w->t, w->kv_heads, w->d, 0);
    gen_set(&op, HY_KV_WRITE_v, in, HY_COUNTER_T, w->t, w->kv_heads, w->c, 0);
    gen_set(&op, HY_KV_WRITE_slot, HY_DTYPE_I32, HY_COUNTER_T, w->t, 0, 0, 0);
    if (w->q) gen_set(&op, HY_KV_WRITE_q, in, HY_COUNTER_T, w->t, w->heads, w->d, 0);
    if (w->rotated)
        gen_set(&op, HY_KV_WRITE_table, HY_DTYPE_F32, HY_COUNTER_T, w->t, w->rotated, 0, 0);
    if (w->q_norm) gen_set(&op, HY_KV_WRITE_q_norm, HY_DTYPE_F32, HY_COUNTER_NONE, w->d, 0, 0, 0);
    if (w->k_norm) gen_set(&op, HY_KV_WRITE_k_norm, HY_DTYPE_F32, HY_COUNTER_NONE, w->d, 0, 0, 0);
    gen_set(&op, HY_KV_WRITE_k_cache, kv, HY_COUNTER_NONE, 3, w->kv_heads, 64, w->d);
    gen_set(&op, HY_KV_WRITE_v_cache, kv, HY_COUNTER_NONE, 3, w->kv_heads, 64, w->c);
    if (w->q) op.operand[HY_KV_WRITE_q_out].dtype = (uint8_t)in;
    if (gap) {
        gen_gap(&op, HY_KV_WRITE_k, gap);
        gen_gap(&op, HY_KV_WRITE_v, gap);
    }
    op.kv_write.style = w->style;
    op.kv_write.eps = 1e-6f;
    gen_emit_pattern(g, &op, w->name, gap ? CONFORM_OUTLIERS : CONFORM_NORMAL);
}

void gen_kv_write(gen *g) {
    static const hy_dtype caches[] = {HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_BF16, HY_DTYPE_Q8_0};
    for (uint32_t i = 0; i < HY_COUNT_OF(writes); i++) {
        for (uint32_t k = 0; k < HY_COUNT_OF(caches); k++) {
            kv_write(g, &writes[i], caches[k], HY_DTYPE_F32, 0);
            kv_write(g, &writes[i], caches[k], gen_floats[(i + k) % 3], 16);
        }
    }
}

void gen_rope(gen *g) {
    static const uint32_t shape[][4] = {
        {1, 1, 2, 2}, {3, 4, 64, 64}, {17, 3, 80, 32}, {5, 2, 128, 128}, {9, 1, 48, 24}};
    for (uint32_t i = 0; i < HY_COUNT_OF(shape); i++) {
        for (uint32_t k = 0; k < 6; k++) {
            hy_op op = gen_op(HY_OP_ROPE);
            gen_set(&op, HY_ROPE_x, gen_floats[k % 3], HY_COUNTER_T, shape[i][0], shape[i][1],
                    shape[i][2], 0);
            gen_set(&op, HY_ROPE_table, HY_DTYPE_F32, HY_COUNTER_T, shape[i][0], shape[i][3], 0, 0);
            op.operand[HY_ROPE_out].dtype = (uint8_t)gen_floats[(k + i) % 3];
            op.rope.style = k / 3;
            if (k == 4) gen_gap(&op, HY_ROPE_x, 16);
            gen_emit(g, &op, "rope");
        }
    }
}

void gen_rope_table(gen *g) {
    for (uint32_t i = 0; i < 6; i++) {
        hy_op op = gen_op(HY_OP_ROPE_TABLE);
        gen_set(&op, HY_ROPE_TABLE_pos, HY_DTYPE_I32, HY_COUNTER_T, 1 + i * 5, 0, 0, 0);
        gen_set(&op, HY_ROPE_TABLE_freq, HY_DTYPE_F32, HY_COUNTER_NONE, 1 + i * 13, 2, 0, 0);
        op.rope_table.magnitude = i % 2 ? 1.25f : 0;
        gen_emit_pattern(g, &op, "rope table", CONFORM_NORMAL);
    }
}

/* tests/conform/gen_matmul.c: cases of matmul, grouped_matmul and embed. */
#include <stdio.h>

#include "base/num.h"
#include "tests/conform/gen.h"

static void plain(gen *g, hy_dtype w, uint32_t t, uint32_t n, uint32_t k) {
    hy_op op = gen_op(HY_OP_MATMUL);
    gen_set(&op, HY_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_T, t, k, 0, 0);
    gen_constant(&op, HY_MATMUL_w, w, n, k, 0);
    gen_emit(g, &op, "plain");
}

/* Tile edges in rows of the weight, tokens and blocks of K. */
static void shapes(gen *g, hy_dtype w) {
    static const uint32_t tokens[] = {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 16, 17, 24, 25, 33};
    static const uint32_t rows[] = {1, 15, 16, 17, 31, 32, 33, 48, 67};
    static const uint32_t blocks[] = {1, 2, 3, 5, 8, 9};
    uint32_t block = HY_MAX(hy_dtype_get(w)->block, 1u);
    for (uint32_t i = 0; i < HY_COUNT_OF(tokens); i++) {
        uint32_t unit = block > 1 ? block : 1 + i * 7; /* plain types: K odd, prime, even */
        plain(g, w, tokens[i], rows[i % HY_COUNT_OF(rows)], unit * blocks[i % HY_COUNT_OF(blocks)]);
        plain(g, w, tokens[(i * 7 + 3) % HY_COUNT_OF(tokens)], rows[(i + 4) % HY_COUNT_OF(rows)],
              unit * blocks[(i + 2) % HY_COUNT_OF(blocks)]);
    }
    plain(g, w, 64, 160, 256 * 4);
    plain(g, w, 1, 301, 256 * 3);
}

typedef struct feature {
    const char *name;
    hy_act act;
    bool glu, bias, residual;
    float scale, softcap;
} feature;

static const feature features[] = {
    {"bias", HY_ACT_NONE, false, true, false, 0, 0},
    {"residual", HY_ACT_NONE, false, false, true, 0, 0},
    {"silu glu", HY_ACT_SILU, true, false, false, 0, 0},
    {"gelu glu bias", HY_ACT_GELU_TANH, true, true, true, 0, 0},
    {"gelu erf", HY_ACT_GELU_ERF, false, true, false, 0, 0},
    {"relu", HY_ACT_RELU, false, false, false, 0, 0},
    {"relu2", HY_ACT_RELU2, false, false, false, 0.5f, 0},
    {"tanh", HY_ACT_TANH, false, false, false, 0, 0},
    {"sigmoid", HY_ACT_SIGMOID, true, false, false, 0, 0},
    {"scale softcap", HY_ACT_NONE, false, false, false, 0.25f, 3.0f},
    {"all", HY_ACT_SILU, true, true, true, 1.5f, 5.0f},
};

static void featured(gen *g, hy_dtype w, const feature *f, uint32_t t, uint32_t m, uint32_t k) {
    hy_op op = gen_op(HY_OP_MATMUL);
    uint32_t n = f->glu ? 2 * m : m;
    gen_set(&op, HY_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_T, t, k, 0, 0);
    gen_constant(&op, HY_MATMUL_w, w, n, k, 0);
    if (f->bias) gen_set(&op, HY_MATMUL_bias, HY_DTYPE_F32, HY_COUNTER_NONE, n, 0, 0, 0);
    if (f->residual) gen_set(&op, HY_MATMUL_residual, HY_DTYPE_F32, HY_COUNTER_T, t, m, 0, 0);
    op.matmul.act = f->act;
    op.matmul.glu = f->glu;
    op.matmul.scale = f->scale;
    op.matmul.softcap = f->softcap;
    gen_emit_pattern(g, &op, f->name, CONFORM_NORMAL);
}

/* Other dtypes of activations, gaps between rows, no counter. */
static void variants(gen *g, hy_dtype w) {
    bool quantized = hy_dtype_get(w)->quantized;
    uint32_t k = quantized ? 512 : 96;
    for (uint32_t i = 0; i < 4; i++) {
        hy_dtype x = i < 3 ? gen_floats[i] : HY_DTYPE_A8;
        if (x == HY_DTYPE_A8 && !quantized) continue;
        for (uint32_t o = 0; o < 3; o++) {
            hy_op op = gen_op(HY_OP_MATMUL);
            gen_set(&op, HY_MATMUL_x, x, o ? HY_COUNTER_T : HY_COUNTER_NONE, 5 + o, k, 0, 0);
            gen_constant(&op, HY_MATMUL_w, w, 37, k, 0);
            op.operand[HY_MATMUL_out].dtype = (uint8_t)gen_floats[o];
            if (x != HY_DTYPE_A8) gen_gap(&op, HY_MATMUL_x, 32);
            gen_gap(&op, HY_MATMUL_out, 19);
            gen_emit(g, &op, "dtypes");
        }
    }
}

/* Results that the next product reads: blocks of two panels' rows. */
static void quantized_out(gen *g, hy_dtype w) {
    const uint32_t k = hy_dtype_get(w)->block > 32 ? 512 : 96;
    static const uint32_t tokens[] = {1, 4, 7, 12, 33};
    for (uint32_t i = 0; i < HY_COUNT_OF(tokens); i++) {
        hy_op op = gen_op(HY_OP_MATMUL);
        const bool glu = i % 2 == 0;
        gen_set(&op, HY_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_T, tokens[i], k, 0, 0);
        gen_constant(&op, HY_MATMUL_w, w, (glu ? 64 : 32) * (1 + i), k, 0);
        op.operand[HY_MATMUL_out].dtype = HY_DTYPE_A8;
        op.matmul.act = HY_ACT_SILU;
        op.matmul.glu = glu;
        gen_emit(g, &op, "a8");
    }
}

/* Weights that are not constant: rows in the file's layout, with gaps where they are plain numbers. */
static void loose(gen *g, hy_dtype w) {
    bool quantized = hy_dtype_get(w)->quantized;
    for (uint32_t i = 0; i < 3; i++) {
        hy_op op = gen_op(HY_OP_MATMUL);
        uint32_t k = quantized ? 256 * (i + 1) : 45 + 32 * i, n = 15 + 9 * i;
        gen_set(&op, HY_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_T, 1 + 6 * i, k, 0, 0);
        gen_set(&op, HY_MATMUL_w, w, HY_COUNTER_NONE, n, k, 0, 0);
        if (!quantized) gen_gap(&op, HY_MATMUL_w, 3 * i);
        gen_emit_pattern(g, &op, "loose", CONFORM_NORMAL);
    }
}

void gen_matmul(gen *g) {
    for (uint32_t i = 0; i < gen_weight_count; i++) {
        hy_dtype w = gen_weights[i];
        uint32_t k = hy_dtype_get(w)->block > 32 ? 512 : 96;
        shapes(g, w);
        for (uint32_t f = 0; f < HY_COUNT_OF(features); f++) {
            featured(g, w, &features[f], 1 + 6 * (f % 3), 16 + 5 * (f % 4), k);
        }
        variants(g, w);
        if (hy_dtype_get(w)->quantized) quantized_out(g, w);
        loose(g, w);
    }
}

static void loose_experts(gen *g, hy_dtype w) {
    hy_op op = gen_op(HY_OP_GROUPED_MATMUL);
    gen_set(&op, HY_GROUPED_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_T, 7, 1, 256, 0);
    gen_set(&op, HY_GROUPED_MATMUL_w, w, HY_COUNTER_NONE, 3, 18, 256, 0);
    gen_set(&op, HY_GROUPED_MATMUL_ids, HY_DTYPE_I32, HY_COUNTER_T, 7, 2, 0, 0);
    gen_emit_pattern(g, &op, "loose", CONFORM_NORMAL);
}

static void grouped(gen *g, hy_dtype w, uint32_t t, uint32_t p, uint32_t q, uint32_t experts,
                    uint32_t m, uint32_t k, const feature *f) {
    hy_op op = gen_op(HY_OP_GROUPED_MATMUL);
    uint32_t n = f->glu ? 2 * m : m;
    gen_set(&op, HY_GROUPED_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_T, t, q, k, 0);
    gen_constant(&op, HY_GROUPED_MATMUL_w, w, experts, n, k);
    gen_set(&op, HY_GROUPED_MATMUL_ids, HY_DTYPE_I32, HY_COUNTER_T, t, p, 0, 0);
    if (f->bias)
        gen_set(&op, HY_GROUPED_MATMUL_bias, HY_DTYPE_F32, HY_COUNTER_NONE, experts, n, 0, 0);
    op.grouped_matmul.act = f->act;
    op.grouped_matmul.glu = f->glu;
    gen_emit(g, &op, f->name);
}

void gen_grouped_matmul(gen *g) {
    static const feature none = {"plain", HY_ACT_NONE, false, false, false, 0, 0};
    for (uint32_t i = 0; i < gen_weight_count; i++) {
        hy_dtype w = gen_weights[i];
        uint32_t k = hy_dtype_get(w)->block > 32 ? 256 : 96;
        grouped(g, w, 1, 2, 1, 4, 17, k, &none);
        grouped(g, w, 9, 2, 1, 3, 32, k, &features[2]);
        grouped(g, w, 6, 3, 3, 8, 33, k * 2, &none);
        grouped(g, w, 20, 1, 1, 5, 16, k, &features[0]);
        grouped(g, w, 3, 2, 2, 2, 20, k, &features[3]);
        loose_experts(g, w);
    }
}

void gen_embed(gen *g) {
    for (uint32_t i = 0; i < gen_weight_count; i++) {
        hy_dtype w = gen_weights[i];
        for (uint32_t s = 0; s < 4; s++) {
            hy_op op = gen_op(HY_OP_EMBED);
            uint32_t block = hy_dtype_get(w)->block, d = block > 1 ? block * (s + 1) : 31 + s;
            gen_set(&op, HY_EMBED_ids, HY_DTYPE_I32, HY_COUNTER_T, 1 + 4 * s, 0, 0, 0);
            gen_constant(&op, HY_EMBED_table, w, 3 + 15 * s, d, 0);
            op.operand[HY_EMBED_out].dtype = (uint8_t)gen_floats[s % 3];
            op.embed.scale = s == 2 ? 2.5f : 0;
            if (s == 3) gen_gap(&op, HY_EMBED_out, 5);
            gen_emit(g, &op, "embed");
        }
    }
}

/* tests/conform/gen_misc.c: cases of norms, elementwise ops, routing and row movement. */
#include "base/num.h"
#include "tests/conform/gen.h"

/* rows, columns: primes, powers of two and their neighbours. */
static const uint32_t sizes[][2] = {{1, 1},  {1, 31},  {2, 32},  {3, 33},   {5, 63},   {7, 64},
                                    {4, 65}, {1, 256}, {9, 257}, {2, 1024}, {1, 2051}, {17, 96}};

void gen_norms(gen *g, hy_op_kind kind) {
    bool layer = kind == HY_OP_LAYER_NORM;
    uint32_t x = layer ? HY_LAYER_NORM_x : HY_RMS_NORM_x,
             out = layer ? HY_LAYER_NORM_out : HY_RMS_NORM_out;
    uint32_t residual = layer ? HY_LAYER_NORM_residual : HY_RMS_NORM_residual;
    uint32_t weight = layer ? HY_LAYER_NORM_weight : HY_RMS_NORM_weight;
    uint32_t sum = layer ? HY_LAYER_NORM_sum : HY_RMS_NORM_sum;
    for (uint32_t i = 0; i < HY_COUNT_OF(sizes); i++) {
        for (uint32_t v = 0; v < 5; v++) {
            uint32_t rows = sizes[i][0], d = sizes[i][1];
            if (v == 4 && d % 32) continue;
            hy_op op = gen_op(kind);
            hy_dtype in = gen_floats[v % 3];
            gen_set(&op, x, in, HY_COUNTER_T, rows, v == 3 ? 3 : d, v == 3 ? d : 0, 0);
            if (v == 1 || v == 4) {
                gen_set(&op, residual, gen_floats[(v + i) % 3], HY_COUNTER_T, rows, d, 0, 0);
                op.operand[sum].dtype = (uint8_t)gen_floats[v == 4 ? 0 : i % 3];
            }
            if (v != 2) gen_set(&op, weight, HY_DTYPE_F32, HY_COUNTER_NONE, d, 0, 0, 0);
            if (layer && v != 0)
                gen_set(&op, HY_LAYER_NORM_bias, HY_DTYPE_F32, HY_COUNTER_NONE, d, 0, 0, 0);
            op.operand[out].dtype = (uint8_t)(v == 4 ? HY_DTYPE_A8 : gen_floats[(v + 1) % 3]);
            if (layer) {
                op.layer_norm.eps = 1e-5f;
            } else {
                op.rms_norm.eps = 1e-5f;
            }
            if (v == 2) gen_gap(&op, x, 7);
            if (v == 0) gen_gap(&op, out, 3);
            gen_emit(g, &op, "norm");
        }
    }
}

static void unary(gen *g, uint32_t rows, uint32_t d, uint32_t v) {
    hy_op op = gen_op(HY_OP_UNARY);
    gen_set(&op, HY_UNARY_x, gen_floats[v % 3], HY_COUNTER_T, rows, d, 0, 0);
    op.operand[HY_UNARY_out].dtype = (uint8_t)gen_floats[(v / 2) % 3];
    op.unary.act = (int32_t)(v % HY_ACT_COUNT);
    op.unary.scale = v % 3 == 1 ? 0.5f : 0;
    op.unary.softcap = v % 4 == 3 ? 2.0f : 0;
    if (v == 5) gen_gap(&op, HY_UNARY_out, 9);
    gen_emit_pattern(g, &op, "unary", v % 2 ? CONFORM_NORMAL : CONFORM_ZEROS);
}

static void glu(gen *g, uint32_t rows, uint32_t d, uint32_t v) {
    hy_op op = gen_op(HY_OP_GLU);
    if (v == 7 && d % 32) return;
    gen_set(&op, HY_GLU_gate, gen_floats[v % 3], HY_COUNTER_T, rows, d, 0, 0);
    gen_set(&op, HY_GLU_up, gen_floats[v % 3], HY_COUNTER_T, rows, d, 0, 0);
    op.operand[HY_GLU_out].dtype = (uint8_t)(v == 7 ? HY_DTYPE_A8 : gen_floats[(v / 3) % 3]);
    op.glu.act = (int32_t)(1 + v % (HY_ACT_COUNT - 1));
    if (v == 4) gen_gap(&op, HY_GLU_gate, 64);
    gen_emit_pattern(g, &op, "glu", CONFORM_NORMAL);
}

static void binary(gen *g, hy_op_kind kind, uint32_t rows, uint32_t d, uint32_t v) {
    hy_op op = gen_op(kind); /* add and mul have the same operands */
    gen_set(&op, HY_ADD_a, gen_floats[v % 3], HY_COUNTER_T, rows, d, 0, 0);
    if (v % 2) {
        gen_set(&op, HY_ADD_b, gen_floats[(v / 2) % 3], HY_COUNTER_NONE, d, 0, 0, 0);
    } else {
        gen_set(&op, HY_ADD_b, gen_floats[(v / 2) % 3], HY_COUNTER_T, rows, d, 0, 0);
    }
    op.operand[HY_ADD_out].dtype = (uint8_t)gen_floats[(v / 3) % 3];
    if (v == 2) gen_gap(&op, HY_ADD_a, 5);
    if (v == 3) gen_gap(&op, HY_ADD_out, 5);
    gen_emit(g, &op, "binary");
}

void gen_elementwise(gen *g, hy_op_kind kind) {
    for (uint32_t i = 0; i < HY_COUNT_OF(sizes); i++) {
        for (uint32_t v = 0; v < 8; v++) {
            if (kind == HY_OP_UNARY) unary(g, sizes[i][0], sizes[i][1], v);
            if (kind == HY_OP_GLU) glu(g, sizes[i][0], sizes[i][1], v);
            if (kind == HY_OP_ADD || kind == HY_OP_MUL)
                binary(g, kind, sizes[i][0], sizes[i][1], v);
            if (kind != HY_OP_SOFTMAX || v > 3) continue;
            hy_op op = gen_op(kind);
            gen_set(&op, HY_SOFTMAX_x, gen_floats[v % 3], HY_COUNTER_T, sizes[i][0], sizes[i][1], 0,
                    0);
            op.operand[HY_SOFTMAX_out].dtype = (uint8_t)gen_floats[v == 3 ? 1 : 0];
            op.softmax.scale = v == 1 ? 0.3f : 0;
            if (v == 2) gen_gap(&op, HY_SOFTMAX_x, 11);
            gen_emit(g, &op, "softmax");
        }
    }
}

static void route(gen *g, uint32_t v) {
    hy_op op = gen_op(HY_OP_TOPK_ROUTE);
    uint32_t experts = 2 + v * 9, k = 1 + v % 4;
    gen_set(&op, HY_TOPK_ROUTE_logits, HY_DTYPE_F32, HY_COUNTER_T, 1 + v * 3, experts, 0, 0);
    if (v % 3 == 2)
        gen_set(&op, HY_TOPK_ROUTE_bias, HY_DTYPE_F32, HY_COUNTER_NONE, experts, 0, 0, 0);
    op.topk_route.k = (int32_t)HY_MIN(k, experts);
    op.topk_route.gate = (int32_t)(v % 3);
    op.topk_route.normalize = (int32_t)(v / 2 % 3);
    op.topk_route.scale = v == 5 ? 2.5f : 0;
    if (op.topk_route.gate == HY_GATE_NONE && op.topk_route.normalize == 1)
        op.topk_route.normalize = 2;
    gen_emit_pattern(g, &op, "route", v == 6 ? CONFORM_TIES : CONFORM_NORMAL);
}

void gen_routing(gen *g, hy_op_kind kind) {
    for (uint32_t v = 0; v < 12; v++) {
        hy_op op = gen_op(kind);
        uint32_t rows = sizes[v][0], d = sizes[v][1];
        if (kind == HY_OP_TOPK_ROUTE) {
            route(g, v);
        } else if (kind == HY_OP_COMBINE) {
            gen_set(&op, HY_COMBINE_x, gen_floats[v % 3], HY_COUNTER_T, rows, 1 + v % 5, d, 0);
            gen_set(&op, HY_COMBINE_weights, HY_DTYPE_F32, HY_COUNTER_T, rows, 1 + v % 5, 0, 0);
            if (v % 2)
                gen_set(&op, HY_COMBINE_residual, gen_floats[v % 3], HY_COUNTER_T, rows, d, 0, 0);
            op.operand[HY_COMBINE_out].dtype = (uint8_t)gen_floats[(v / 2) % 3];
            gen_emit(g, &op, "combine");
        } else {
            conform_pattern pattern = v % 2 ? CONFORM_TIES : CONFORM_NORMAL;
            gen_set(&op, 0, gen_floats[v % 3], HY_COUNTER_R, rows, d, 0, 0);
            if (kind == HY_OP_TOPK) op.topk.k = (int32_t)HY_MIN(1 + v * 3, d);
            gen_emit_pattern(g, &op, "top", pattern);
        }
    }
}

void gen_rows(gen *g, hy_op_kind kind) {
    for (uint32_t v = 0; v < 12; v++) {
        hy_op op = gen_op(kind);
        uint32_t rows = sizes[v][0], d = sizes[v][1];
        if (kind == HY_OP_GATHER_ROWS) {
            gen_set(&op, HY_GATHER_ROWS_x, gen_floats[v % 3], HY_COUNTER_T, rows, d, 0, 0);
            gen_set(&op, HY_GATHER_ROWS_rows, HY_DTYPE_I32, HY_COUNTER_R, 1 + v * 2, 0, 0, 0);
            op.operand[HY_GATHER_ROWS_out].dtype = (uint8_t)gen_floats[v % 3];
            if (v == 4) gen_gap(&op, HY_GATHER_ROWS_x, 3);
        } else if (kind == HY_OP_QUANTIZE_ROWS) {
            gen_set(&op, HY_QUANTIZE_ROWS_x, gen_floats[v % 3], HY_COUNTER_T, rows, 32 * (1 + v), 0,
                    0);
            op.operand[HY_QUANTIZE_ROWS_out].dtype = HY_DTYPE_A8;
            if (v == 5) gen_gap(&op, HY_QUANTIZE_ROWS_x, 13);
        } else if (kind == HY_OP_COPY) {
            hy_dtype type = v % 4 == 3 ? HY_DTYPE_I32 : gen_floats[v % 4];
            gen_set(&op, HY_COPY_x, type, HY_COUNTER_T, rows, v == 6 ? 3 : d, v == 6 ? d : 0, 0);
            op.operand[HY_COPY_out].dtype = (uint8_t)type;
            if (v % 3) gen_gap(&op, HY_COPY_x, 6);
            if (v % 2) gen_gap(&op, HY_COPY_out, 1);
        } else {
            gen_set(&op, HY_CAST_x, gen_floats[v % 3], HY_COUNTER_T, rows, d, 0, 0);
            op.operand[HY_CAST_out].dtype = (uint8_t)gen_floats[(v / 3) % 3];
            if (v == 7) gen_gap(&op, HY_CAST_x, 2);
        }
        gen_emit(g, &op, hy_op_get(kind)->name);
    }
}

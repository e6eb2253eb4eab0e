#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/unit/program_task.h"
#include "tests/unit/random_graph.h"

enum { POOL = 64, NODES = 24 };

typedef struct maker {
    hy_graph *graph;
    hy_rng rng;
    hy_dtype weights;
    uint32_t value[POOL], values; /* f32 [T, n] with n 32 or 64 */
    uint32_t names;
} maker;

static uint32_t columns(const maker *m, uint32_t value) {
    return m->graph->value[value].dim[1].factor;
}

static uint32_t pick(maker *m) {
    uint32_t n = m->values; /* rather a late one */
    uint32_t back = hy_rng_below(&m->rng, hy_rng_below(&m->rng, n) + 1);
    return m->value[n - 1 - back];
}

/* A value with that many columns; `like` when there is no other. */
static uint32_t pick_like(maker *m, uint32_t like) {
    for (int tries = 0; tries < 8; tries++) {
        uint32_t value = pick(m);
        if (columns(m, value) == columns(m, like)) return value;
    }
    return like;
}

static uint32_t weight(maker *m, hy_dtype dtype, uint32_t rank, uint32_t rows, uint32_t cols) {
    char name[32];
    snprintf(name, sizeof name, "t%u", m->names++);
    hy_weight_part part = {name, rows};
    return hy_graph_weight(m->graph, dtype, rank, (uint32_t[]){rows, cols}, 0, 1, &part);
}

static void keep(maker *m, uint32_t node, uint32_t operand) {
    assert_true(m->values < POOL);
    m->value[m->values++] = hy_graph_result(m->graph, node, operand);
}

static uint32_t matmul(maker *m, uint32_t x, uint32_t rows) {
    hy_node_desc d = hy_node_desc_of(HY_OP_MATMUL);
    bool plain = hy_rng_below(&m->rng, 4) == 0;
    d.operand[HY_MATMUL_x] = x;
    d.operand[HY_MATMUL_w] = weight(m, plain ? HY_DTYPE_F32 : m->weights, 2, rows, columns(m, x));
    uint32_t node = hy_graph_add(m->graph, &d);
    if (hy_rng_below(&m->rng, 3)) return hy_graph_result(m->graph, node, HY_MATMUL_out);
    hy_node_desc add = hy_node_desc_of(HY_OP_ADD);
    add.operand[HY_ADD_a] = hy_graph_result(m->graph, node, HY_MATMUL_out);
    add.operand[HY_ADD_b] = weight(m, HY_DTYPE_F32, 1, rows, 0);
    return hy_graph_result(m->graph, hy_graph_add(m->graph, &add), HY_ADD_out);
}

static void add_two(maker *m, hy_op_kind kind) {
    hy_node_desc d = hy_node_desc_of(kind); /* add and mul number their operands alike */
    d.operand[HY_ADD_a] = pick(m);
    d.operand[HY_ADD_b] = pick_like(m, d.operand[HY_ADD_a]);
    keep(m, hy_graph_add(m->graph, &d), HY_ADD_out);
}

static void add_unary(maker *m) {
    hy_node_desc d = hy_node_desc_of(HY_OP_UNARY);
    d.operand[HY_UNARY_x] = pick(m);
    d.unary.act = (int32_t)hy_rng_below(&m->rng, HY_ACT_COUNT);
    if (d.unary.act == HY_ACT_RELU2) d.unary.act = HY_ACT_TANH; /* grows without bound */
    d.unary.scale = hy_rng_below(&m->rng, 2) ? 0.5f : 0;
    d.unary.softcap = hy_rng_below(&m->rng, 3) ? 0 : 3;
    keep(m, hy_graph_add(m->graph, &d), HY_UNARY_out);
}

static void add_norm(maker *m) {
    hy_node_desc d = hy_node_desc_of(HY_OP_RMS_NORM);
    uint32_t x = pick(m);
    d.operand[HY_RMS_NORM_x] = x;
    d.rms_norm.eps = 1e-5f;
    if (hy_rng_below(&m->rng, 2))
        d.operand[HY_RMS_NORM_weight] = weight(m, HY_DTYPE_F32, 1, columns(m, x), 0);
    keep(m, hy_graph_add(m->graph, &d), HY_RMS_NORM_out);
}

/* q, k, v of one x, or gate and up with their glu. */
static void add_siblings(maker *m) {
    uint32_t x = pick(m);
    if (hy_rng_below(&m->rng, 2)) {
        for (int i = 0; i < 3; i++)
            m->value[m->values++] = matmul(m, x, i ? 32 : 64);
        return;
    }
    hy_node_desc d = hy_node_desc_of(HY_OP_GLU);
    d.operand[HY_GLU_gate] = matmul(m, x, 64);
    d.operand[HY_GLU_up] = matmul(m, x, 64);
    d.glu.act = HY_ACT_SILU;
    keep(m, hy_graph_add(m->graph, &d), HY_GLU_out);
}

/* A view and back: heads, some of them, as columns. */
static void add_views(maker *m) {
    uint32_t x = pick(m);
    if (columns(m, x) != 64) return;
    uint32_t h = hy_graph_reshape(m->graph, x, 3, (hy_dim[]){HY_DIM_T, HY_DIM(4), HY_DIM(16)});
    uint32_t s = hy_graph_slice(m->graph, h, 1, hy_rng_below(&m->rng, 3), 2);
    if (hy_rng_below(&m->rng, 2)) {
        hy_node_desc d = hy_node_desc_of(HY_OP_SOFTMAX);
        d.operand[HY_SOFTMAX_x] = s;
        s = hy_graph_result(m->graph, hy_graph_add(m->graph, &d), HY_SOFTMAX_out);
    }
    m->value[m->values++] = hy_graph_reshape(m->graph, s, 2, (hy_dim[]){HY_DIM_T, HY_DIM(32)});
}

static uint32_t gathered(maker *m, uint32_t x, uint32_t rows) {
    hy_node_desc d = hy_node_desc_of(HY_OP_GATHER_ROWS);
    d.operand[HY_GATHER_ROWS_x] = x;
    d.operand[HY_GATHER_ROWS_rows] = rows;
    return hy_graph_result(m->graph, hy_graph_add(m->graph, &d), HY_GATHER_ROWS_out);
}

hy_graph *random_graph(uint64_t seed, hy_dtype weights, uint32_t *outputs) {
    maker m = {.rng = hy_rng_seed(seed), .weights = weights};
    must(hy_graph_new("random", &m.graph));
    m.value[m.values++] =
        hy_graph_input(m.graph, "x", HY_DTYPE_F32, 2, (hy_dim[]){HY_DIM_T, HY_DIM(64)});
    uint32_t rows = hy_graph_input(m.graph, "rows", HY_DTYPE_I32, 1, (hy_dim[]){HY_DIM_R});
    for (uint32_t i = 0; i < NODES; i++) {
        uint32_t kind = hy_rng_below(&m.rng, 10), x;
        if (kind < 2) {
            x = pick(&m);
            m.value[m.values++] = matmul(&m, x, hy_rng_below(&m.rng, 2) ? 64 : 32);
        } else if (kind < 5)
            add_two(&m, kind == 2 ? HY_OP_MUL : HY_OP_ADD);
        else if (kind == 5)
            add_unary(&m);
        else if (kind < 8)
            add_norm(&m);
        else if (kind == 8)
            add_views(&m);
        else
            add_siblings(&m);
        must(hy_graph_status(m.graph));
        if (m.values + 4 > POOL) break;
    }
    *outputs = 1 + hy_rng_below(&m.rng, 2);
    for (uint32_t i = 0; i < *outputs; i++) {
        char name[16];
        uint32_t value = i ? pick(&m) : m.value[m.values - 1];
        snprintf(name, sizeof name, "out%u", i);
        hy_graph_output_add(m.graph, name, i ? value : gathered(&m, value, rows));
    }
    must(hy_graph_status(m.graph));
    must(hy_graph_verify(m.graph));
    return m.graph;
}

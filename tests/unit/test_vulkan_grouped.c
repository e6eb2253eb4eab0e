/* Products by the weights of experts and the choice of experts on Vulkan, where the conformance cases are too
 * small: every kernel gives the bits of matmul with the expert's weights, over many tiles, chunks and experts;
 * experts are those of float64 where float32 cannot tell. On vulkan:0, a software device too; says so where
 * there is none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define RUN_BYTES (8 << 20)
#include "base/rng.h"
#include "tests/unit/op_run.h"

static hy_rng rng;
static bool have_device;

static op_run open_run(const hy_op *op) {
    if (!have_device) skip();
    return run_open("vulkan:0", op);
}

static hy_op op_of(hy_op_kind kind) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = kind;
    return op;
}

static hy_tensor tensor(hy_dtype dtype, hy_counter counter, uint32_t a, uint32_t b, uint32_t c) {
    return hy_tensor_of(dtype, c ? 3 : b ? 2 : 1, (const uint32_t[]){a, b, c}, counter);
}

/* Runs the op with one kernel, its constants packed, for `tokens`. */
static void run_kernel(op_run *run, const hy_kernel *kernel, uint32_t tokens) {
    const hy_backend *b = run->device->backend;
    const uint64_t used = run->used;
    hy_view view[HY_MAX_OPERANDS];
    hy_timeline *timeline;
    hy_cmd *cmd;
    memcpy(view, run->view, sizeof view);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (!kernel->constant[i].layout) continue;
        view[i] = run_space(run, kernel->constant[i].bytes);
        run_must(b->pack(run->device, &run->op, kernel, i, 0, hy_tensor_rows(&run->op.operand[i]),
                         run_at(run, i), view[i]));
    }
    run_must(b->cmd_new(run->device, run_counters(run, tokens, 0, 0), &cmd));
    run_must(b->cmd_op(cmd, &run->op, kernel, view, run_space(run, kernel->workspace)));
    run_must(b->cmd_seal(cmd));
    run_must(b->timeline_new(run->device, &timeline));
    run_must(b->submit(run->device, cmd, timeline, 1));
    run_must(b->timeline_wait(timeline, 1, UINT64_MAX));
    hy_timeline_free(timeline);
    hy_cmd_free(cmd);
    run->used = used;
}

/* Random rows; of block formats what quantizing gives. */
static void fill(const op_run *run, uint32_t operand) {
    const hy_tensor *t = &run->op.operand[operand];
    const uint64_t rows = hy_tensor_rows(t), columns = t->dim[t->rank - 1];
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
    float row[4096];
    assert_true(columns <= HY_COUNT_OF(row));
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t i = 0; i < columns; i++)
            row[i] = hy_rng_normal(&rng);
        hy_quantize_row((hy_dtype)t->dtype, row,
                        (char *)run_at(run, operand) + r * hy_dtype_row_bytes(info, columns),
                        columns);
    }
}

/* ---- grouped_matmul -------------------------------------------------------------------------------- */

typedef struct shape {
    hy_dtype weights, x, out;
    uint32_t tokens, slots, per_token; /* T, P, Q */
    uint32_t experts, n, k;
    bool glu, bias;
} shape;

static hy_op grouped_op(const shape *s) {
    hy_op op = op_of(HY_OP_GROUPED_MATMUL);
    const uint32_t m = s->glu ? s->n / 2 : s->n;
    hy_tensor *o = op.operand;
    o[HY_GROUPED_MATMUL_x] = tensor(s->x, HY_COUNTER_T, s->tokens, s->per_token, s->k);
    o[HY_GROUPED_MATMUL_w] = tensor(s->weights, HY_COUNTER_NONE, s->experts, s->n, s->k);
    o[HY_GROUPED_MATMUL_w].constant = 1;
    o[HY_GROUPED_MATMUL_ids] = tensor(HY_DTYPE_I32, HY_COUNTER_T, s->tokens, s->slots, 0);
    if (s->bias)
        o[HY_GROUPED_MATMUL_bias] = tensor(HY_DTYPE_F32, HY_COUNTER_NONE, s->experts, s->n, 0);
    o[HY_GROUPED_MATMUL_out] = tensor(s->out, HY_COUNTER_T, s->tokens, s->slots, m);
    op.grouped_matmul.act = s->glu ? HY_ACT_SILU : HY_ACT_NONE;
    op.grouped_matmul.glu = s->glu;
    return op;
}

/* All rows of x by the weights of one expert. */
static hy_op expert_op(const shape *s) {
    hy_op op = op_of(HY_OP_MATMUL);
    const uint32_t rows = s->tokens * s->per_token;
    hy_tensor *o = op.operand;
    o[HY_MATMUL_x] = tensor(s->x, HY_COUNTER_NONE, rows, s->k, 0);
    o[HY_MATMUL_w] = tensor(s->weights, HY_COUNTER_NONE, s->n, s->k, 0);
    o[HY_MATMUL_w].constant = 1;
    if (s->bias) o[HY_MATMUL_bias] = tensor(HY_DTYPE_F32, HY_COUNTER_NONE, s->n, 0, 0);
    o[HY_MATMUL_out] = tensor(s->out, HY_COUNTER_NONE, rows, s->glu ? s->n / 2 : s->n, 0);
    op.matmul.act = s->glu ? HY_ACT_SILU : HY_ACT_NONE;
    op.matmul.glu = s->glu;
    return op;
}

static const hy_kernel *of_order_1(const op_run *run, hy_kernel kernels[HY_MAX_CANDIDATES]) {
    uint32_t count, i = 0;
    run_must(run->device->backend->candidates(run->device, &run->op, kernels, &count));
    while (i < count && kernels[i].order != 1)
        i++;
    assert_true(i < count);
    return &kernels[i];
}

/* Bytes of a row of out. */
static uint64_t row_bytes(const shape *s) {
    return hy_dtype_row_bytes(hy_dtype_get(s->out), s->glu ? s->n / 2 : s->n);
}

/* want: rows of out [pair], from matmul, of pairs with an expert. */
static void wanted(const shape *s, const op_run *grouped, uint8_t *want) {
    hy_op op = expert_op(s);
    op_run run = open_run(&op);
    hy_kernel kernels[HY_MAX_CANDIDATES];
    const hy_kernel *kernel = of_order_1(&run, kernels);
    const uint64_t expert_bytes = hy_tensor_bytes(&op.operand[HY_MATMUL_w]);
    const int32_t *ids = run_i32(grouped, HY_GROUPED_MATMUL_ids);
    memcpy(run_at(&run, HY_MATMUL_x), run_at(grouped, HY_GROUPED_MATMUL_x),
           hy_tensor_bytes(&op.operand[HY_MATMUL_x]));
    for (uint32_t e = 0; e < s->experts; e++) {
        memcpy(run_at(&run, HY_MATMUL_w),
               (char *)run_at(grouped, HY_GROUPED_MATMUL_w) + e * expert_bytes, expert_bytes);
        if (s->bias)
            memcpy(run_at(&run, HY_MATMUL_bias),
                   run_f32(grouped, HY_GROUPED_MATMUL_bias) + e * s->n, s->n * sizeof(float));
        run_kernel(&run, kernel, s->tokens);
        for (uint32_t pair = 0; pair < s->tokens * s->slots; pair++) {
            if (ids[pair] != (int32_t)e) continue;
            const uint32_t row = s->per_token == 1 ? pair / s->slots : pair;
            memcpy(want + pair * row_bytes(s),
                   (uint8_t *)run_at(&run, HY_MATMUL_out) + row * row_bytes(s), row_bytes(s));
        }
    }
    run_close(&run);
}

static void check_rows(const shape *s, const op_run *run, const hy_kernel *kernel, uint32_t tokens,
                       const uint8_t *want) {
    const uint8_t *out = run_at(run, HY_GROUPED_MATMUL_out);
    for (uint64_t i = 0; i < s->tokens * s->slots * row_bytes(s); i++) {
        const uint64_t pair = i / row_bytes(s);
        const uint8_t expected = pair / s->slots < tokens ? want[i] : RUN_POISON;
        if (out[i] != expected)
            fail_msg("%s, %u tokens: pair %u (expert %d): byte %u is %02x, not %02x", kernel->name,
                     tokens, (uint32_t)pair, run_i32(run, HY_GROUPED_MATMUL_ids)[pair],
                     (uint32_t)(i % row_bytes(s)), out[i], expected);
    }
}

/* Every kernel, at least `least`, for all tokens and for some. */
static void check_grouped(const shape *s, uint32_t least) {
    hy_op op = grouped_op(s);
    op_run run = open_run(&op);
    hy_kernel kernels[HY_MAX_CANDIDATES];
    uint32_t count;
    const uint64_t out_bytes = hy_tensor_bytes(&op.operand[HY_GROUPED_MATMUL_out]);
    uint8_t *want = calloc(1, out_bytes);
    assert_non_null(want);
    fill(&run, HY_GROUPED_MATMUL_x);
    fill(&run, HY_GROUPED_MATMUL_w);
    if (s->bias) fill(&run, HY_GROUPED_MATMUL_bias);
    for (uint32_t pair = 0; pair < s->tokens * s->slots; pair++) /* the first ones are liked most */
        run_i32(&run, HY_GROUPED_MATMUL_ids)[pair] =
            pair % 11 == 7 ? -1 : (int32_t)hy_rng_below(&rng, 1 + hy_rng_below(&rng, s->experts));
    wanted(s, &run, want);
    run_must(run.device->backend->candidates(run.device, &op, kernels, &count));
    assert_in_range(count, least, HY_MAX_CANDIDATES);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t turn = 0; turn < 2; turn++) {
            const uint32_t tokens = turn ? s->tokens / 3 : s->tokens;
            assert_int_equal(kernels[i].order, 1);
            memset(run_at(&run, HY_GROUPED_MATMUL_out), RUN_POISON, out_bytes);
            run_kernel(&run, &kernels[i], tokens);
            check_rows(s, &run, &kernels[i], tokens, want);
        }
    }
    free(want);
    run_close(&run);
}

/* Several tiles of the widest kind for one expert, several tiles of rows, several chunks of k. */
static void test_many_tokens(void **state) {
    (void)state;
    check_grouped(
        &(shape){HY_DTYPE_Q4_K, HY_DTYPE_F32, HY_DTYPE_F32, 100, 3, 1, 4, 140, 768, true, true}, 2);
    check_grouped(
        &(shape){HY_DTYPE_Q6_K, HY_DTYPE_F32, HY_DTYPE_F32, 60, 2, 2, 2, 70, 512, false, false}, 2);
    check_grouped(
        &(shape){HY_DTYPE_Q4_0, HY_DTYPE_F32, HY_DTYPE_F32, 90, 2, 1, 3, 66, 544, true, false}, 2);
    check_grouped(
        &(shape){HY_DTYPE_F16, HY_DTYPE_F32, HY_DTYPE_F32, 64, 2, 2, 3, 70, 203, false, true}, 2);
}

/* a8 activations, and rows of halves that share words with their neighbours. */
static void test_dtypes(void **state) {
    (void)state;
    check_grouped(
        &(shape){HY_DTYPE_Q4_1, HY_DTYPE_A8, HY_DTYPE_F16, 40, 3, 1, 3, 35, 96, false, true}, 2);
    check_grouped(
        &(shape){HY_DTYPE_Q2_K, HY_DTYPE_A8, HY_DTYPE_BF16, 21, 2, 2, 3, 34, 256, true, false}, 2);
    check_grouped(
        &(shape){HY_DTYPE_BF16, HY_DTYPE_F16, HY_DTYPE_BF16, 33, 2, 2, 3, 21, 99, false, true}, 2);
}

/* More experts than threads of a workgroup, most without any pair; and one token. */
static void test_many_experts(void **state) {
    (void)state;
    check_grouped(
        &(shape){HY_DTYPE_Q8_0, HY_DTYPE_F32, HY_DTYPE_F32, 40, 4, 1, 150, 10, 64, false, false},
        2);
    check_grouped(
        &(shape){HY_DTYPE_F32, HY_DTYPE_F32, HY_DTYPE_F32, 1, 8, 1, 130, 6, 40, false, false}, 2);
}

/* ---- topk_route ------------------------------------------------------------------------------------ */

static hy_op route_op(uint32_t tokens, uint32_t experts, uint32_t k, hy_gate gate) {
    hy_op op = op_of(HY_OP_TOPK_ROUTE);
    hy_tensor *o = op.operand;
    o[HY_TOPK_ROUTE_logits] = tensor(HY_DTYPE_F32, HY_COUNTER_NONE, tokens, experts, 0);
    o[HY_TOPK_ROUTE_bias] = tensor(HY_DTYPE_F32, HY_COUNTER_NONE, experts, 0, 0);
    o[HY_TOPK_ROUTE_ids] = tensor(HY_DTYPE_I32, HY_COUNTER_NONE, tokens, k, 0);
    o[HY_TOPK_ROUTE_weights] = tensor(HY_DTYPE_F32, HY_COUNTER_NONE, tokens, k, 0);
    op.topk_route.k = (int32_t)k;
    op.topk_route.gate = (int32_t)gate;
    op.topk_route.normalize = gate == HY_GATE_SIGMOID ? 1 : 0;
    return op;
}

/* A bias that leaves of p + bias what float32 cannot hold: a half and less than 2^-24 of noise. */
static void level(const float *logits, uint32_t experts, hy_gate gate, float *bias) {
    double sum = 0;
    for (uint32_t e = 0; e < experts; e++)
        sum += exp((double)logits[e]);
    for (uint32_t e = 0; e < experts; e++) {
        const double x = (double)logits[e];
        const double p = gate == HY_GATE_SOFTMAX   ? exp(x) / sum
                         : gate == HY_GATE_SIGMOID ? 1 / (1 + exp(-x))
                                                   : x;
        bias[e] = (float)(0.5 - p);
    }
}

static void check_route(uint32_t experts, uint32_t k, hy_gate gate) {
    enum { TOKENS = 3 };
    hy_op op = route_op(TOKENS, experts, k, gate);
    op_run gpu = open_run(&op), cpu = run_open("cpu:0", &op);
    float *logits = run_f32(&gpu, HY_TOPK_ROUTE_logits), *bias = run_f32(&gpu, HY_TOPK_ROUTE_bias);
    for (uint32_t i = 0; i < TOKENS * experts; i++)
        logits[i] = 3 * hy_rng_normal(&rng);
    /* the second token is the first; the third one's experts are equal by pairs */
    memcpy(logits + experts, logits, experts * sizeof *logits);
    for (uint32_t e = 0; e < experts; e++)
        logits[2 * experts + e] = logits[e / 2];
    level(logits, experts, gate, bias);
    memcpy(run_at(&cpu, HY_TOPK_ROUTE_logits), logits, TOKENS * experts * sizeof *logits);
    memcpy(run_at(&cpu, HY_TOPK_ROUTE_bias), bias, experts * sizeof *bias);
    run_all(&gpu);
    run_all(&cpu);
    for (uint32_t i = 0; i < TOKENS * k; i++) {
        const int32_t got = run_i32(&gpu, HY_TOPK_ROUTE_ids)[i];
        const int32_t want = run_i32(&cpu, HY_TOPK_ROUTE_ids)[i];
        const float weight = run_f32(&gpu, HY_TOPK_ROUTE_weights)[i];
        const float wanted_weight = run_f32(&cpu, HY_TOPK_ROUTE_weights)[i];
        if (got != want || !(fabsf(weight - wanted_weight) <= 1e-6f * fabsf(wanted_weight)))
            fail_msg("%u experts, gate %d, token %u: place %u is %d (%.9g), not %d (%.9g)", experts,
                     (int)gate, i / k, i % k, got, (double)weight, want, (double)wanted_weight);
    }
    run_close(&gpu);
    run_close(&cpu);
}

static void test_experts_are_those_of_float64(void **state) {
    (void)state;
    for (uint32_t turn = 0; turn < 4; turn++) {
        for (hy_gate gate = HY_GATE_SOFTMAX; gate <= HY_GATE_NONE; gate++) {
            check_route(8, 2, gate);
            check_route(60, 8, gate);
            check_route(256, 8, gate);
            check_route(384, 30, gate);
        }
    }
}

/* Without a bias: by the logits alone, where their probabilities are too small to differ. */
static void test_far_apart_logits(void **state) {
    (void)state;
    enum { EXPERTS = 70, PLACES = 70 };
    hy_op op = route_op(1, EXPERTS, PLACES, HY_GATE_SOFTMAX);
    memset(&op.operand[HY_TOPK_ROUTE_bias], 0, sizeof op.operand[0]);
    op_run run = open_run(&op);
    float *logits = run_f32(&run, HY_TOPK_ROUTE_logits);
    for (uint32_t e = 0; e < EXPERTS; e++)
        logits[e] = -5.0f * (float)(e * 29 % EXPERTS);
    logits[3] = NAN;
    logits[17] = NAN;
    logits[40] = -INFINITY;
    run_all(&run);
    const int32_t *ids = run_i32(&run, HY_TOPK_ROUTE_ids);
    for (uint32_t i = 1; i < PLACES - 3; i++)
        assert_true(logits[ids[i]] < logits[ids[i - 1]]);
    assert_int_equal(ids[PLACES - 3], 40);
    assert_int_equal(ids[PLACES - 2], 3);
    assert_int_equal(ids[PLACES - 1], 17);
    run_close(&run);
}

int main(void) {
    rng = hy_rng_seed(20261125);
    hy_device *device;
    have_device = hy_device_open("vulkan:0", NULL, &device) == HY_OK;
    if (have_device)
        hy_device_close(device);
    else
        print_message("skipped: %s\n", hy_error_text());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_tokens),
        cmocka_unit_test(test_many_experts),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_experts_are_those_of_float64),
        cmocka_unit_test(test_far_apart_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What steps move and compute by the plan: against sums done by hand for a small model, and against what the
 * engine holds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "halyard/halyard.h"
#include "tests/unit/tiny_model.h"

/* The default tiny model: llama, f32, 2 layers, 2 heads over 1 head of keys. */
enum { D = 64, H = 32, HEADS = 2, FFN = 96, V = 80, LAYERS = 2, CONTEXT = 256, EXPERTS = 8 };

static hy_instance *instance;
static hy_model *model, *mixture;

typedef struct sums {
    double weights, read, written, activations, flops, attention;
    uint32_t ops, int8, seen, rows; /* positions that attention sees, rows of logits */
} sums;

static void add(void *user, const hy_op_cost *c) {
    sums *s = user;
    s->weights += (double)c->weight_bytes;
    s->read += (double)c->kv_read_bytes;
    s->written += (double)c->kv_written_bytes;
    s->activations += (double)c->activation_bytes;
    s->flops += c->flops;
    if (strcmp(c->op, "attention") == 0) s->attention += c->flops;
    s->int8 += c->arithmetic == HY_ARITHMETIC_INT8;
    s->ops++;
    assert_non_null(strstr(c->kernel, c->op));
    if (strcmp(c->op, "attention") == 0) {
        const uint32_t want[3] = {HEADS, 1, H};
        assert_memory_equal(c->extent, want, sizeof want);
        assert_string_equal(c->type, "f16");
        s->seen = c->extent[3];
    }
    if (strcmp(c->op, "matmul") == 0 && c->extent[0] == V) s->rows = c->tokens;
    assert_string_equal(c->device, strncmp(c->kernel, "cpu", 3) == 0 ? "cpu:0" : "ref:0");
}

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s", hy_error_text());
}

static sums costs(const hy_engine *engine, const hy_step_shape *shape) {
    sums s = {0};
    ok(hy_engine_costs(engine, shape, add, &s));
    return s;
}

static hy_engine *plan(hy_model *of, const char *device) {
    hy_engine *engine;
    ok(hy_engine_new(of,
                     hy_engine_params(.device = device, .context = CONTEXT, .max_sequences = 8,
                                      .max_batch = 128, .plan_only = 1),
                     &engine));
    return engine;
}

static hy_model *open_model(const char *name, const tiny_model *shape) {
    hy_model *out;
    tiny_model_write(tiny_model_path(name), shape);
    ok(hy_model_open(instance, tiny_model_path(name), NULL, &out));
    remove(tiny_model_path(name));
    return out;
}

static void test_one_token(void **state) {
    hy_engine *engine = plan(model, "ref");
    (void)state;
    const sums none = costs(engine, NULL), s = costs(engine, hy_step_shape(.past = 99));
    const double row = 2.0 * H * 2; /* bytes of a position: k and v of one head, f16 */
    assert_true(s.read == LAYERS * 100 * row);
    assert_true(none.read == LAYERS * row);
    assert_true(s.written == LAYERS * row);
    assert_true(s.weights == none.weights);
    /* every product of the network, of one token: q, k, v, o, gate, up, down and the head */
    const double products = LAYERS * (D * (HEADS + 2) * H + HEADS * H * D + 3.0 * D * FFN) + D * V;
    assert_true(s.flops - s.attention > 2 * products);
    assert_true(s.flops - s.attention < 2.2 * products);
    /* q k and p v over 100 positions, about four more operations each */
    assert_true(s.attention == LAYERS * 100.0 * HEADS * (4.0 * H + 4));
    hy_engine_free(engine);
}

static void test_batches(void **state) {
    hy_engine *engine = plan(model, "ref");
    (void)state;
    const sums one = costs(engine, hy_step_shape(.past = 50));
    const sums eight = costs(engine, hy_step_shape(.tokens = 8, .sequences = 8, .past = 50));
    assert_true(eight.read == 8 * one.read);
    assert_true(eight.written == 8 * one.written);
    assert_true(fabs(eight.flops / (8 * one.flops) - 1) < 1e-9);
    /* the weights once, but for the embedding's rows */
    assert_true(eight.weights == one.weights + 7 * D * 4);
    const sums chunk = costs(engine, hy_step_shape(.tokens = 100, .past = 20));
    assert_int_equal(chunk.seen, 120);
    assert_int_equal(chunk.rows, 1);
    assert_int_equal(eight.rows, 8);
    assert_true(chunk.read == LAYERS * 120 * 2.0 * H * 2);
    assert_true(chunk.attention == LAYERS * (100 * 20 + 5050.0) * HEADS * (4.0 * H + 4));
    hy_engine_free(engine);
}

static void test_experts(void **state) {
    hy_engine *engine = plan(mixture, "ref");
    (void)state;
    const sums one = costs(engine, NULL), many = costs(engine, hy_step_shape(.tokens = 128));
    const double expert = LAYERS * 3.0 * D * FFN * 4;
    /* 2 of 8, and nearly all of them for 128 tokens; of the embedding one row, and then all */
    const double more = many.weights - one.weights - (V - 1.0) * D * 4;
    assert_true(fabs(more / (6 * expert) - 1) < 1e-3);
    hy_engine_free(engine);
}

static void test_arithmetic(void **state) {
    hy_model *quantized = open_model("q8", &(tiny_model){.dtype = HY_DTYPE_Q8_0});
    hy_engine *on_cpu = plan(quantized, "cpu"), *plain = plan(model, "cpu");
    (void)state;
    assert_true(costs(on_cpu, NULL).int8 >= 4 * LAYERS + 1);
    assert_int_equal(costs(plain, NULL).int8, 0);
    hy_engine_free(on_cpu);
    hy_engine_free(plain);
    hy_model_free(quantized);
}

static void test_only_a_plan(void **state) {
    hy_engine *engine = plan(model, "ref"), *loaded;
    hy_sequence *sequence;
    hy_plan_device planned, held;
    uint32_t count;
    hy_engine_desc desc = {.size = sizeof desc};
    (void)state;
    assert_int_equal(hy_sequence_new(engine, &sequence), HY_E_STATE);
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_STATE);
    ok(hy_engine_describe(engine, &desc));
    assert_int_equal(desc.bytes, 0);
    assert_int_equal(desc.pages, desc.pages_free);
    ok(hy_engine_memory(engine, &planned, 1, &count));
    hy_engine_free(engine);
    ok(hy_engine_new(
        model,
        hy_engine_params(.device = "ref", .context = CONTEXT, .max_sequences = 8, .max_batch = 128),
        &loaded));
    ok(hy_engine_memory(loaded, &held, 1, &count));
    assert_int_equal(count, 1);
    ok(hy_engine_describe(loaded, &desc));
    assert_int_equal(planned.total, held.total);
    assert_int_equal(desc.bytes, held.total - held.host);
    hy_engine_free(loaded);
    /* more than any machine has */
    ok(hy_engine_new(model,
                     hy_engine_params(.device = "ref", .context = 1u << 24, .max_sequences = 100,
                                      .plan_only = 1),
                     &engine));
    ok(hy_engine_memory(engine, &planned, 1, &count));
    assert_true(planned.state == 100ull * (1u << 24) * 256);
    hy_engine_free(engine);
}

static void test_wrong_shapes(void **state) {
    hy_engine *engine = plan(model, "ref");
    sums s = {0};
    (void)state;
    assert_int_equal(hy_engine_costs(engine, hy_step_shape(.tokens = 129), add, &s), HY_E_ARGUMENT);
    assert_int_equal(hy_engine_costs(engine, hy_step_shape(.tokens = 9, .sequences = 9), add, &s),
                     HY_E_ARGUMENT);
    assert_int_equal(hy_engine_costs(engine, hy_step_shape(.tokens = 2, .sequences = 3), add, &s),
                     HY_E_ARGUMENT);
    assert_int_equal(hy_engine_costs(engine, hy_step_shape(.past = CONTEXT), add, &s),
                     HY_E_ARGUMENT);
    assert_int_equal(hy_engine_costs(engine, NULL, NULL, NULL), HY_E_ARGUMENT);
    assert_int_equal(s.ops, 0);
    hy_engine_free(engine);
}

static int set_up(void **state) {
    (void)state;
    ok(hy_instance_new(NULL, &instance));
    model = open_model("cost", &(tiny_model){0});
    mixture = open_model("experts", &(tiny_model){.experts = EXPERTS, .experts_used = 2});
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    hy_model_free(model);
    hy_model_free(mixture);
    hy_instance_free(instance);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_token),   cmocka_unit_test(test_batches),
        cmocka_unit_test(test_experts),     cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_only_a_plan), cmocka_unit_test(test_wrong_shapes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

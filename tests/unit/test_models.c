/* The graphs of the architectures, and what happens with files that are not what they say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "models/model.h"
#include "tests/unit/tiny_model.h"

/* Opens, reads and builds; the status of the first failure. */
static hy_status build(const tiny_model *m, const hy_model_graph_params *params, hy_graph **graph) {
    static const hy_model_graph_params plain = {.kv_dtype = HY_DTYPE_F32};
    const char *path = tiny_model_path("models");
    hy_gguf *gguf = NULL;
    hy_hparams h;
    *graph = NULL;
    tiny_model_write(path, m);
    hy_status status = hy_gguf_open(path, &gguf);
    unlink(path);
    if (status == HY_OK) status = hy_hparams_read(gguf, &h);
    if (status == HY_OK) status = hy_model_graph(gguf, &h, params ? params : &plain, graph);
    hy_gguf_close(gguf);
    return status;
}

static void expect(const tiny_model *m, hy_status wanted, const char *text) {
    hy_graph *graph;
    hy_status status = build(m, NULL, &graph);
    hy_graph_free(graph);
    if (status != wanted || !strstr(hy_error_text(), text))
        fail_msg("got %s '%s', wanted %s '%s'", hy_status_name(status), hy_error_text(),
                 hy_status_name(wanted), text);
}

static size_t count_values(const hy_graph *graph, hy_value_kind kind) {
    size_t n = 0;
    for (size_t i = 0; i < graph->values; i++)
        n += graph->value[i].kind == kind;
    return n;
}

static size_t count_nodes(const hy_graph *graph, uint32_t kind) {
    size_t n = 0;
    for (size_t i = 0; i < graph->nodes; i++)
        n += graph->node[i].kind == kind;
    return n;
}

static void check_graph(const tiny_model *m, size_t matmuls, size_t norms) {
    hy_graph *graph;
    if (build(m, NULL, &graph) != HY_OK) fail_msg("%s", hy_error_text());
    if (hy_graph_verify(graph) != HY_OK) fail_msg("%s", hy_error_text());
    assert_int_equal(count_values(graph, HY_VALUE_INPUT), 7);
    assert_int_equal(count_values(graph, HY_VALUE_STATE), 4);
    assert_int_equal(count_nodes(graph, HY_OP_MATMUL), matmuls);
    assert_int_equal(count_nodes(graph, HY_OP_RMS_NORM), norms);
    assert_int_equal(count_nodes(graph, HY_OP_ATTENTION), 2);
    assert_int_equal(graph->outputs, 1);
    assert_string_equal(graph->output[0].name, "logits");
    const hy_value *logits = &graph->value[graph->output[0].value];
    assert_int_equal(logits->dim[0].symbol, HY_SYMBOL_R);
    assert_int_equal(logits->dim[1].factor, 80);
    hy_graph_free(graph);
}

static void test_graphs(void **state) {
    (void)state;
    check_graph(&(tiny_model){0}, 15, 5);
    check_graph(&(tiny_model){.tied = true}, 15, 5);
    check_graph(&(tiny_model){.joined_qkv = true, .biases = true}, 11, 5);
    check_graph(&(tiny_model){.arch = "qwen2", .biases = true}, 15, 5);
    check_graph(&(tiny_model){.arch = "qwen3"}, 15, 9);
    check_graph(&(tiny_model){.arch = "qwen3moe", .experts = 4}, 11, 9);
    check_graph(&(tiny_model){.experts = 4, .dtype = HY_DTYPE_Q4_0}, 11, 5);
}

static void test_tied_weight_is_one(void **state) {
    hy_graph *graph;
    size_t tables = 0;
    (void)state;
    assert_int_equal(build(&(tiny_model){.tied = true}, NULL, &graph), HY_OK);
    for (size_t i = 0; i < graph->values; i++)
        tables += graph->value[i].kind == HY_VALUE_WEIGHT &&
                  strcmp(graph->value[i].part[0].name, "token_embd.weight") == 0;
    assert_int_equal(tables, 1);
    hy_graph_free(graph);
}

static void test_half_norms_become_literals(void **state) {
    hy_graph *graph;
    (void)state;
    assert_int_equal(build(&(tiny_model){.vector_dtype = HY_DTYPE_F16}, NULL, &graph), HY_OK);
    /* five norms and the rope frequencies */
    assert_int_equal(count_values(graph, HY_VALUE_LITERAL), 6);
    assert_int_equal(hy_graph_verify(graph), HY_OK);
    hy_graph_free(graph);
    expect(&(tiny_model){.vector_dtype = HY_DTYPE_Q8_0}, HY_E_UNSUPPORTED,
           "blk.0.attn_norm.weight has type q8_0");
}

static void test_tensors(void **state) {
    (void)state;
    expect(&(tiny_model){.without_tensor = "blk.0.attn_q.weight"}, HY_E_FORMAT,
           "tensor blk.0.attn_q.weight is missing");
    expect(&(tiny_model){.without_tensor = "token_embd.weight"}, HY_E_FORMAT,
           "tensor token_embd.weight is missing");
    expect(&(tiny_model){.without_tensor = "output_norm.weight"}, HY_E_FORMAT,
           "tensor output_norm.weight is missing");
    expect(&(tiny_model){.arch = "qwen3", .without_tensor = "blk.1.attn_k_norm.weight"},
           HY_E_FORMAT, "tensor blk.1.attn_k_norm.weight is missing");
    expect(&(tiny_model){.misshapen = "blk.0.attn_q.weight"}, HY_E_FORMAT,
           "tensor blk.0.attn_q.weight: shape [65,64], expected [64,64]");
    expect(&(tiny_model){.experts = 4, .misshapen = "blk.1.ffn_down_exps.weight"}, HY_E_FORMAT,
           "tensor blk.1.ffn_down_exps.weight: shape [5,64,96], expected [4,64,96]");
    expect(&(tiny_model){.misshapen = "output_norm.weight"}, HY_E_FORMAT,
           "tensor output_norm.weight: shape [65], expected [64]");
    expect(&(tiny_model){.unknown_type = "blk.1.ffn_up.weight", .ffn = 256, .embedding = 256},
           HY_E_UNSUPPORTED, "tensor blk.1.ffn_up.weight has type IQ1_M (29)");
}

static void test_keys(void **state) {
    (void)state;
    expect(&(tiny_model){.arch = "gpt2"}, HY_E_UNSUPPORTED,
           "architecture 'gpt2' is not known; known: llama, qwen2, qwen3, qwen3moe");
    expect(&(tiny_model){.without_key = "general.architecture"}, HY_E_FORMAT,
           "general.architecture is missing");
    static const char *const required[] = {
        "block_count",    "embedding_length",     "feed_forward_length",
        "context_length", "attention.head_count", "attention.layer_norm_rms_epsilon"};
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++)
        expect(&(tiny_model){.without_key = required[i]}, HY_E_FORMAT, required[i]);
    static const char *const nonzero[] = {
        "block_count",          "embedding_length",        "feed_forward_length", "context_length",
        "attention.head_count", "attention.head_count_kv", "attention.key_length"};
    for (size_t i = 0; i < sizeof nonzero / sizeof nonzero[0]; i++)
        expect(&(tiny_model){.bad_key = nonzero[i], .bad_value = 0}, HY_E_FORMAT, nonzero[i]);
    for (size_t i = 0; i < sizeof nonzero / sizeof nonzero[0]; i++)
        expect(&(tiny_model){.bad_key = nonzero[i], .bad_value = UINT32_MAX}, HY_E_LIMIT,
               nonzero[i]);
}

static void test_what_must_divide(void **state) {
    (void)state;
    expect(&(tiny_model){.heads = 3, .kv_heads = 2}, HY_E_FORMAT, "head_count 3");
    expect(&(tiny_model){.heads = 1, .kv_heads = 2}, HY_E_FORMAT, "head_count 1");
    expect(&(tiny_model){.heads = 3, .kv_heads = 1, .without_key = "attention.key_length"},
           HY_E_FORMAT, "embedding_length 64 is not a multiple");
    expect(&(tiny_model){.bad_key = "rope.dimension_count", .bad_value = 31}, HY_E_FORMAT,
           "rope.dimension_count 31");
    expect(&(tiny_model){.bad_key = "rope.dimension_count", .bad_value = 34}, HY_E_FORMAT,
           "rope.dimension_count 34");
    expect(&(tiny_model){.experts = 4, .experts_used = 5}, HY_E_FORMAT, "expert_used_count 5");
    expect(&(tiny_model){.arch = "qwen3moe"}, HY_E_FORMAT, "expert_count");
    expect(&(tiny_model){.eps = -1.0f}, HY_E_FORMAT, "layer_norm_rms_epsilon");
    expect(&(tiny_model){.eps = NAN}, HY_E_FORMAT, "layer_norm_rms_epsilon");
    expect(&(tiny_model){.scaling = "dynamic"}, HY_E_UNSUPPORTED, "'dynamic' is not known");
}

static void test_cache_types(void **state) {
    hy_graph *graph;
    hy_model_graph_params params = {.kv_dtype = HY_DTYPE_Q8_0};
    (void)state;
    assert_int_equal(build(&(tiny_model){0}, &params, &graph), HY_OK);
    hy_graph_free(graph);
    assert_int_equal(build(&(tiny_model){.head_dim = 16}, &params, &graph), HY_E_UNSUPPORTED);
    assert_non_null(strstr(hy_error_text(), "multiple of 32"));
    params.kv_dtype = HY_DTYPE_Q4_0;
    assert_int_equal(build(&(tiny_model){0}, &params, &graph), HY_E_UNSUPPORTED);
}

/* The frequencies [16, 2] of a graph; they live in the graph. */
static const float *frequencies(const hy_graph *graph) {
    for (size_t i = 0; i < graph->values; i++)
        if (graph->value[i].kind == HY_VALUE_LITERAL &&
            strcmp(graph->value[i].name, "rope.freq") == 0)
            return graph->value[i].data;
    fail_msg("no literal rope.freq");
    return NULL;
}

static void test_rope_frequencies(void **state) {
    hy_graph *plain, *linear, *yarn;
    (void)state;
    assert_int_equal(build(&(tiny_model){0}, NULL, &plain), HY_OK);
    assert_int_equal(build(&(tiny_model){.scaling = "linear"}, NULL, &linear), HY_OK);
    assert_int_equal(build(&(tiny_model){.scaling = "yarn"}, NULL, &yarn), HY_OK);
    const float *p = frequencies(plain), *l = frequencies(linear), *y = frequencies(yarn);
    for (int j = 0; j < 16; j++) {
        const double f = pow(10000.0, -2.0 * j / 32), sum = (double)p[2 * j] + (double)p[2 * j + 1];
        assert_true(fabs(sum - f) <= f * 0x1p-47);
        assert_true(fabs((double)l[2 * j] + (double)l[2 * j + 1] - f / 4) <= f * 0x1p-47);
        const double kept = ((double)y[2 * j] + (double)y[2 * j + 1]) / f;
        assert_true(kept >= 0.25 - 1e-12 && kept <= 1 + 1e-12);
    }
    /* Over 64 positions the first pair turns about 10 times: between the two ends; the last pairs turn
     * less than once and are interpolated. */
    assert_true(y[30] == l[30]);
    assert_true(y[0] > l[0]);
    hy_graph_free(plain);
    hy_graph_free(linear);
    hy_graph_free(yarn);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_tied_weight_is_one),
        cmocka_unit_test(test_half_norms_become_literals),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_what_must_divide),
        cmocka_unit_test(test_cache_types),
        cmocka_unit_test(test_rope_frequencies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The public API on small random models: errors, limits, reuse of prefixes, forks, and no heap allocation
 * while decoding. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "halyard/halyard.h"
#include "tests/unit/count_alloc.h"
#include "tests/unit/tiny_model.h"

enum { V = 80 };

static hy_instance *instance;
static hy_model *model;
static char warning[256];
static int32_t ids[1024];

static void keep_warning(void *user, hy_log_level level, const char *text) {
    (void)user;
    if (level == HY_LOG_WARN) snprintf(warning, sizeof warning, "%s", text);
}

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

static void refused(hy_status status, hy_status wanted, const char *text) {
    if (status != wanted || !strstr(hy_error_text(), text))
        fail_msg("got %s '%s', wanted %s '%s'", hy_status_name(status), hy_error_text(),
                 hy_status_name(wanted), text);
}

static hy_model *open_tiny(const tiny_model *m) {
    const char *path = tiny_model_path("engine");
    hy_model *out = NULL;
    tiny_model_write(path, m);
    hy_status status = hy_model_open(instance, path, NULL, &out);
    unlink(path);
    ok(status);
    return out;
}

static int set_up(void **state) {
    hy_rng rng = hy_rng_seed(3);
    (void)state;
    ok(hy_instance_new(hy_instance_params(.log = keep_warning, .log_level = HY_LOG_WARN),
                       &instance));
    model = open_tiny(&(tiny_model){0});
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        ids[i] = (int32_t)hy_rng_below(&rng, V);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    hy_model_free(model);
    hy_instance_free(instance);
    return 0;
}

static hy_engine *make(const hy_engine_params *params) {
    hy_engine *engine = NULL;
    ok(hy_engine_new(model, params, &engine));
    return engine;
}

static hy_sequence *sequence_of(hy_engine *engine, size_t count) {
    hy_sequence *s = NULL;
    ok(hy_sequence_new(engine, &s));
    if (count) ok(hy_sequence_add(s, ids, count, 0));
    return s;
}

/* Steps until nothing is pending and copies the logits. */
static void finish(hy_engine *engine, hy_sequence *s, float *out) {
    const float *logits;
    while (hy_sequence_pending(s))
        ok(hy_engine_step(engine, NULL, NULL));
    ok(hy_sequence_logits(s, &logits));
    memcpy(out, logits, V * sizeof *out);
    for (int i = 0; i < V; i++)
        assert_true(isfinite(out[i]));
}

static uint32_t pages_free(const hy_engine *engine) {
    hy_engine_desc desc = {.size = sizeof desc};
    ok(hy_engine_describe(engine, &desc));
    return desc.pages_free;
}

/* ---- models ------------------------------------------------------------------------------------ */

static void test_open_errors(void **state) {
    hy_model *out = NULL;
    const char *path = tiny_model_path("bad");
    (void)state;
    refused(hy_model_open(instance, "/nonexistent/x.gguf", NULL, &out), HY_E_NOT_FOUND,
            "/nonexistent/x.gguf");
    tiny_model_write(path, &(tiny_model){.arch = "gpt2"});
    refused(hy_model_open(instance, path, NULL, &out), HY_E_UNSUPPORTED, "'gpt2' is not known");
    tiny_model_write(path, &(tiny_model){.without_tensor = "blk.1.ffn_up.weight"});
    refused(hy_model_open(instance, path, NULL, &out), HY_E_FORMAT,
            "blk.1.ffn_up.weight is missing");
    tiny_model_write(path, &(tiny_model){.unknown_type = "output.weight", .embedding = 256});
    refused(hy_model_open(instance, path, NULL, &out), HY_E_UNSUPPORTED, "IQ1_M (29)");
    assert_null(out);
    unlink(path);
}

static void test_description(void **state) {
    hy_model_desc desc = {.size = sizeof desc};
    char text[64];
    size_t length = 0;
    (void)state;
    ok(hy_model_describe(model, &desc));
    assert_string_equal(desc.arch, "llama");
    assert_string_equal(desc.type, "F32");
    assert_int_equal(desc.vocab, V);
    assert_int_equal(desc.layers, 2);
    assert_int_equal(desc.head_dim, 32);
    assert_int_equal(desc.bos, -1);
    /* embedding and head; per layer two norms, q and o, k and v, three of the FFN; the last norm */
    assert_int_equal(desc.parameters,
                     2 * 80 * 64 + 2 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64) + 64);
    assert_int_equal(desc.bytes, desc.parameters * 4);
    ok(hy_model_meta(model, "llama.block_count", text, sizeof text, &length));
    assert_string_equal(text, "2");
    ok(hy_model_meta(model, "general.architecture", text, 3, &length));
    assert_string_equal(text, "ll");
    assert_int_equal(length, 5);
    ok(hy_model_meta(model, "llama.attention.layer_norm_rms_epsilon", text, sizeof text, &length));
    assert_string_equal(text, "1e-05");
    refused(hy_model_meta(model, "no.such", text, sizeof text, &length), HY_E_NOT_FOUND, "no.such");
    hy_decoder *decoder = NULL;
    refused(hy_decoder_new(model, 0, &decoder), HY_E_UNSUPPORTED, "no vocabulary");
    desc.size = 0;
    refused(hy_model_describe(model, &desc), HY_E_ARGUMENT, "hy_model_desc.size");
}

/* A program of before `bus` was there gets what it knows and no byte more. */
static void test_device_sizes(void **state) {
    (void)state;
    for (uint32_t i = 0; i < hy_device_count(instance); i++) {
        hy_device_desc now = {.size = sizeof now, .bus = "poison"}, before = now;
        before.size = offsetof(hy_device_desc, bus);
        ok(hy_device_get(instance, i, &now));
        ok(hy_device_get(instance, i, &before));
        assert_string_equal(before.id, now.id);
        assert_int_equal(before.software, now.software);
        assert_string_equal(before.bus, "poison");
        if (strcmp(now.id, "cpu:0") == 0) assert_string_equal(now.bus, "");
    }
}

static void test_text(void **state) {
    hy_model *m = open_tiny(&(tiny_model){.vocabulary = true});
    hy_decoder *decoder = NULL;
    int32_t out[16];
    size_t count = 0, length = 0;
    const char *text;
    char back[64] = "";
    (void)state;
    ok(hy_model_tokenize(m, "h\xc3\xa9", 3, HY_TOKENIZE_ADD_SPECIAL, out, 16, &count));
    assert_int_equal(count, 5); /* <s>, space, h and the two bytes */
    assert_int_equal(out[0], 1);
    assert_true(hy_token_is_end(m, 2));
    assert_false(hy_token_is_end(m, 1));
    ok(hy_decoder_new(m, 0, &decoder));
    for (size_t i = 0; i < count; i++) {
        ok(hy_decoder_next(decoder, out[i], &text, &length));
        if (i == 3) assert_int_equal(length, 0); /* half of a character */
        strcat(back, text);
    }
    assert_string_equal(back, "h\xc3\xa9");
    ok(hy_decoder_next(decoder, out[3], &text, &length));
    ok(hy_decoder_finish(decoder, &text, &length));
    assert_string_equal(text, "\xef\xbf\xbd");
    hy_decoder_free(decoder);
    refused(hy_model_tokenize(m, "a\xff", 2, 0, out, 16, &count), HY_E_TEXT, "1");
    hy_model_free(m);
}

/* ---- engines ----------------------------------------------------------------------------------- */

static void test_engine_errors(void **state) {
    hy_engine *engine = NULL;
    hy_model *odd = open_tiny(&(tiny_model){.head_dim = 16});
    (void)state;
    refused(hy_engine_new(model, hy_engine_params(.device = "gpu9"), &engine), HY_E_NOT_FOUND,
            "ref:0");
    refused(hy_engine_new(model, hy_engine_params(.device = "ref,nope"), &engine), HY_E_NOT_FOUND,
            "nope");
    refused(hy_engine_new(model, hy_engine_params(.device = "ref=x"), &engine), HY_E_ARGUMENT,
            "'x'");
    refused(hy_engine_new(model, hy_engine_params(.max_batch = 4, .max_rows = 5), &engine),
            HY_E_ARGUMENT, "max_rows");
    refused(hy_engine_new(odd, hy_engine_params(.device = "ref", .kv_type = HY_KV_Q8_0), &engine),
            HY_E_UNSUPPORTED, "multiple of 32");
    hy_engine_params unset = {0};
    refused(hy_engine_new(model, &unset, &engine), HY_E_ARGUMENT, "hy_engine_params.size");
    assert_null(engine);
    hy_model_free(odd);
}

static void test_memory_is_refused_before_loading(void **state) {
    /* 2^24 positions of 60 sequences: 1e9 tokens of 256 bytes of cache */
    const hy_engine_params *huge = hy_engine_params(.device = "ref", .context = 1u << 24,
                                                    .max_sequences = 100, .kv_type = HY_KV_F32);
    hy_plan_device plan[2];
    uint32_t count = 0;
    hy_engine *engine = NULL;
    (void)state;
    refused(hy_plan(model, huge, plan, 2, &count), HY_E_MEMORY, "available");
    assert_int_equal(count, 1);
    assert_true(plan[0].state == 100ull * (1u << 24) * 512);
    refused(hy_engine_new(model, huge, &engine), HY_E_MEMORY, "needed");
    ok(hy_plan(model, hy_engine_params(.device = "ref"), plan, 2, &count));
    assert_int_equal(plan[0].total, plan[0].weights + plan[0].state + plan[0].activations +
                                        plan[0].step + plan[0].host);
    engine = make(hy_engine_params(.device = "ref"));
    hy_engine_desc desc = {.size = sizeof desc};
    ok(hy_engine_describe(engine, &desc));
    assert_int_equal(desc.bytes, plan[0].total - plan[0].host);
    assert_int_equal(desc.context, 256);
    assert_int_equal(desc.pages, 4);
    /* the embedding reads one row, everything else all of it; the frequencies [16, 2] are a constant */
    hy_model_desc about = {.size = sizeof about};
    ok(hy_model_describe(model, &about));
    assert_int_equal(desc.weight_bytes_per_token, about.bytes - 79 * 64 * 4 + 16 * 2 * 4);
    hy_engine_free(engine);
}

static void test_limits(void **state) {
    hy_engine *engine = make(hy_engine_params(.device = "ref", .context = 128, .max_sequences = 2));
    hy_sequence *a = sequence_of(engine, 0), *b = sequence_of(engine, 0), *c = NULL;
    const float *logits;
    float out[V];
    int32_t outside = V;
    (void)state;
    refused(hy_sequence_new(engine, &c), HY_E_LIMIT, "2 sequences");
    refused(hy_sequence_add(a, ids, 300, 0), HY_E_LIMIT,
            "prompt of 300 tokens does not fit a context of 128");
    assert_int_equal(hy_sequence_length(a), 0);
    refused(hy_sequence_add(a, &outside, 1, 0), HY_E_ARGUMENT, "token 0 is 80");
    refused(hy_sequence_logits(a, &logits), HY_E_STATE, "no token");
    ok(hy_sequence_add(a, ids, 100, 0));
    refused(hy_sequence_add(a, ids, 29, 0), HY_E_LIMIT, "29 more tokens after 100");
    refused(hy_sequence_logits(a, &logits), HY_E_STATE, "100 tokens");
    refused(hy_sequence_fork(a, &c), HY_E_STATE, "pending");
    finish(engine, a, out);
    ok(hy_sequence_add(b, ids, 3, 0));
    ok(hy_engine_step(engine, NULL, NULL));
    refused(hy_sequence_logits(a, &logits), HY_E_STATE, "gone");
    refused(hy_sequence_truncate(a, 101), HY_E_ARGUMENT, "cannot be cut to 101");
    ok(hy_sequence_truncate(a, 64));
    refused(hy_sequence_logits(a, &logits), HY_E_STATE, "cut");
    hy_step_result result = {.size = sizeof result};
    ok(hy_engine_step(engine, NULL, &result));
    assert_int_equal(result.tokens, 0);
    hy_sequence_free(a);
    hy_sequence_free(b);
    assert_int_equal(pages_free(engine), 4);
    hy_engine_free(engine);
    warning[0] = 0;
    engine = make(hy_engine_params(.device = "ref", .context = 512));
    assert_non_null(strstr(warning, "trained for 256"));
    hy_engine_free(engine);
}

static void test_full_cache(void **state) {
    hy_engine *engine = make(
        hy_engine_params(.device = "ref", .context = 256, .max_sequences = 2, .cache_tokens = 128));
    hy_sequence *a = sequence_of(engine, 60), *b = sequence_of(engine, 0);
    float out[V];
    (void)state;
    finish(engine, a, out);
    ok(hy_sequence_add(b, ids + 7, 100, 0));
    hy_step_result result = {.size = sizeof result};
    ok(hy_engine_step(engine, NULL, &result));
    assert_int_equal(result.tokens, 64); /* what the one page that is left can hold */
    assert_int_equal(result.rows, 0);
    refused(hy_engine_step(engine, NULL, NULL), HY_E_LIMIT, "2 pages of 64");
    assert_int_equal(hy_sequence_pending(b), 36);
    hy_sequence_free(a);
    finish(engine, b, out);
    hy_sequence_free(b);
    assert_int_equal(pages_free(engine), 2);
    hy_engine_free(engine);
}

static void test_order_and_rows(void **state) {
    hy_engine *engine =
        make(hy_engine_params(.device = "ref", .max_sequences = 3, .max_batch = 16, .max_rows = 4));
    hy_sequence *a = sequence_of(engine, 20), *b = sequence_of(engine, 1),
                *c = sequence_of(engine, 0);
    hy_step_result r = {.size = sizeof r};
    (void)state;
    ok(hy_engine_step(engine, NULL, &r)); /* b's one token, then 15 of a */
    assert_int_equal(r.tokens, 16);
    assert_int_equal(r.rows, 1);
    assert_ptr_equal(r.row[0].sequence, b);
    assert_int_equal(hy_sequence_pending(a), 5);
    ok(hy_sequence_add(c, ids, 6, HY_ADD_ALL_LOGITS));
    ok(hy_engine_step(engine, hy_step_params(.max_chunk = 4), &r)); /* 4 of a, 4 of c with rows */
    assert_int_equal(r.tokens, 8);
    assert_int_equal(r.rows, 4);
    assert_ptr_equal(r.row[3].sequence, c);
    assert_int_equal(r.row[3].position, 3);
    ok(hy_engine_step(engine, hy_step_params(.max_tokens = 2), &r)); /* a's last, one of c */
    assert_int_equal(r.tokens, 2);
    assert_ptr_equal(r.row[0].sequence, a);
    assert_int_equal(r.row[0].position, 19);
    assert_int_equal(r.row[1].position, 4);
    const float *logits;
    ok(hy_sequence_logits(a, &logits));
    assert_ptr_equal(logits, r.row[0].logits);
    hy_engine_free(engine); /* sequences go with it */
}

/* ---- the cache --------------------------------------------------------------------------------- */

static void test_prefix_reuse(void **state) {
    hy_engine *engine = make(hy_engine_params(.device = "ref", .max_sequences = 2));
    hy_engine *plain = make(hy_engine_params(.device = "ref", .no_prefix_cache = 1));
    float first[V], again[V];
    (void)state;
    hy_sequence *a = sequence_of(engine, 130);
    assert_int_equal(hy_sequence_cached(a), 0);
    finish(engine, a, first);
    hy_sequence *b = sequence_of(engine, 130); /* while a lives: shared */
    assert_int_equal(hy_sequence_cached(b), 128);
    assert_int_equal(hy_sequence_pending(b), 2);
    finish(engine, b, again);
    assert_memory_equal(first, again, sizeof first);
    assert_int_equal(pages_free(engine), 8 - 4);
    hy_sequence_free(a);
    hy_sequence_free(b);
    assert_int_equal(pages_free(engine), 8);
    a = sequence_of(engine, 128); /* after both are gone; one token must be left to compute */
    assert_int_equal(hy_sequence_cached(a), 64);
    finish(engine, a, first);
    hy_sequence *c = sequence_of(plain, 128);
    assert_int_equal(hy_sequence_cached(c), 0);
    finish(plain, c, again);
    assert_memory_equal(first, again, sizeof first);
    ok(hy_sequence_new(engine, &b));
    ok(hy_sequence_add(b, ids, 130, HY_ADD_ALL_LOGITS));
    assert_int_equal(hy_sequence_cached(b), 0);
    hy_engine_free(plain);
    hy_engine_free(engine);
}

/* A fork goes its own way without touching its parent's page, and cutting back into a shared page
 * neither. */
static void test_fork_and_truncate(void **state) {
    hy_engine *engine = make(hy_engine_params(.device = "ref", .max_sequences = 3));
    float parent[V], child[V], wanted[V], got[V];
    const float *logits;
    (void)state;
    hy_sequence *a = sequence_of(engine, 100), *b = NULL, *c = NULL;
    finish(engine, a, parent);
    ok(hy_sequence_fork(a, &b));
    ok(hy_sequence_logits(b, &logits)); /* the fork can be sampled from at once */
    assert_memory_equal(logits, parent, sizeof parent);
    assert_int_equal(pages_free(engine), 12 - 2);
    ok(hy_sequence_add(b, ids + 500, 10, 0));
    finish(engine, b, child);
    assert_int_equal(pages_free(engine), 12 - 3);
    ok(hy_sequence_add(a, ids + 100, 10, 0));
    finish(engine, a, parent);
    ok(hy_sequence_new(engine, &c));
    ok(hy_sequence_add(c, ids, 110, 0));
    finish(engine, c, wanted);
    assert_memory_equal(parent, wanted, sizeof parent);
    assert_memory_not_equal(parent, child, sizeof parent);
    /* cut into the first page, which a, b and c share */
    ok(hy_sequence_truncate(b, 30));
    ok(hy_sequence_add(b, ids + 700, 50, 0));
    finish(engine, b, got);
    ok(hy_sequence_truncate(a, 109));
    ok(hy_sequence_add(a, ids + 109, 1, 0));
    finish(engine, a, got);
    assert_memory_equal(got, wanted, sizeof got);
    hy_sequence_free(a);
    hy_sequence_free(b);
    hy_sequence_free(c);
    assert_int_equal(pages_free(engine), 12);
    hy_engine_free(engine);
}

static void run_once(const hy_engine_params *params, float *out) {
    hy_engine *engine = make(params);
    hy_sequence *s = sequence_of(engine, 90);
    finish(engine, s, out);
    for (int i = 0; i < 3; i++) {
        ok(hy_sequence_add(s, ids + 200 + i, 1, 0));
        finish(engine, s, out);
    }
    hy_engine_free(engine);
}

/* Two devices, split after the first layer, and every call checked. */
static void test_devices_together(void **state) {
    float one[V], two[V], checked[V];
    hy_plan_device plan[3];
    uint32_t count = 0;
    const hy_engine_params *split = hy_engine_params(.device = "ref=300K,ref", .validate = 1);
    (void)state;
    ok(hy_plan(model, split, plan, 3, &count));
    assert_int_equal(count, 2);
    assert_true(plan[0].weights > 0 && plan[1].weights > 0);
    assert_true(plan[0].state > 0 && plan[0].state == plan[1].state);
    run_once(hy_engine_params(.device = "ref"), one);
    run_once(split, two);
    run_once(hy_engine_params(.device = "ref", .validate = 1, .trace = 1), checked);
    assert_memory_equal(one, two, sizeof one);
    assert_memory_equal(one, checked, sizeof one);
}

static void test_trace(void **state) {
    char path[128], text[4096];
    (void)state;
    snprintf(path, sizeof path, "%s.json", tiny_model_path("trace"));
    hy_engine *engine = make(hy_engine_params(.device = "ref", .trace = 1));
    hy_sequence *s = sequence_of(engine, 5);
    ok(hy_engine_step(engine, NULL, NULL));
    assert_int_equal(hy_sequence_pending(s), 0);
    ok(hy_engine_trace(engine, path));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    unlink(path);
    assert_non_null(strstr(text, "ref."));
    hy_engine_free(engine);
    engine = make(hy_engine_params(.device = "ref"));
    refused(hy_engine_trace(engine, path), HY_E_STATE, "trace");
    hy_engine_free(engine);
}

/* Prefill, one page boundary of decode as warm-up, then decode over another boundary. */
static void check_no_allocation(const char *device) {
    hy_engine *engine = NULL;
    if (hy_engine_new(model, hy_engine_params(.device = device, .max_sequences = 4), &engine) !=
        HY_OK)
        return; /* this build has no such device */
    hy_sampler *sampler = NULL;
    ok(hy_sampler_new(
        model,
        hy_sampler_params(.temperature = 1, .top_k = 20, .top_p = 0.9f, .repetition_penalty = 1.1f),
        &sampler));
    hy_sequence *s[4];
    for (size_t i = 0; i < 4; i++)
        s[i] = sequence_of(engine, 40 + 20 * i);
    uint64_t before = 0;
    for (int step = 0; step < 150; step++) {
        if (step == 70) before = hy_count_alloc();
        ok(hy_engine_step(engine, NULL, NULL));
        for (size_t i = 0; i < 4; i++) {
            const float *logits;
            int32_t id;
            ok(hy_sequence_logits(s[i], &logits));
            ok(hy_sampler_sample(sampler, logits, &id));
            ok(hy_sequence_add(s[i], &id, 1, 0));
        }
    }
    assert_int_equal(hy_count_alloc() - before, 0);
    hy_sampler_free(sampler);
    hy_engine_free(engine);
}

static void test_decode_allocates_nothing(void **state) {
    (void)state;
    if (!hy_count_alloc_works()) skip();
    check_no_allocation("ref");
    check_no_allocation("cpu");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_device_sizes),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_engine_errors),
        cmocka_unit_test(test_memory_is_refused_before_loading),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_full_cache),
        cmocka_unit_test(test_order_and_rows),
        cmocka_unit_test(test_prefix_reuse),
        cmocka_unit_test(test_fork_and_truncate),
        cmocka_unit_test(test_devices_together),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_decode_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

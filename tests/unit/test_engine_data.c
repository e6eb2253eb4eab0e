/* Real and golden models from the test data folder: greedy text of tinystories-260k, logits of the
 * micro models of the architectures in this build against their float64 reference. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "halyard/halyard.h"

static hy_instance *instance;
static const char *data_folder;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

static const char *data_path(const char *name) {
    static char path[4][1024];
    static unsigned next;
    char *slot = path[next++ % 4];
    snprintf(slot, sizeof path[0], "%s/%s", data_folder, name);
    return slot;
}

static json_t *read_json(const char *path) {
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (!json) fail_msg("%s: %s", path, error.text);
    return json;
}

static float *read_floats(const char *path, size_t count) {
    float *values = malloc(count * sizeof *values);
    FILE *file = fopen(path, "rb");
    if (!file || !values) fail_msg("cannot read %s", path);
    assert_int_equal(fread(values, sizeof *values, count, file), count);
    fclose(file);
    return values;
}

static size_t read_ids(const json_t *array, int32_t *ids, size_t capacity) {
    const size_t count = json_array_size(array);
    assert_true(count <= capacity);
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return count;
}

static bool have_device(const char *id) {
    for (uint32_t i = 0; i < hy_device_count(instance); i++) {
        hy_device_desc desc = {.size = sizeof desc};
        ok(hy_device_get(instance, i, &desc));
        if (strcmp(desc.id, id) == 0) return true;
    }
    return false;
}

/* ---- text -------------------------------------------------------------------------------------- */

static void check_greedy(hy_engine *engine, hy_model *model, const json_t *item) {
    int32_t prompt[256], wanted[256], id;
    const size_t count = read_ids(json_object_get(item, "prompt_ids"), prompt, 256);
    const size_t steps = read_ids(json_object_get(item, "greedy_ids"), wanted, 256);
    hy_sequence *s = NULL;
    hy_sampler *sampler = NULL;
    ok(hy_sequence_new(engine, &s));
    ok(hy_sampler_new(model, NULL, &sampler));
    ok(hy_sequence_add(s, prompt, count, 0));
    for (size_t i = 0; i < steps; i++) {
        const float *logits;
        while (hy_sequence_pending(s))
            ok(hy_engine_step(engine, NULL, NULL));
        ok(hy_sequence_logits(s, &logits));
        ok(hy_sampler_sample(sampler, logits, &id));
        if (id != wanted[i]) fail_msg("token %zu is %d, expected %d", i, id, wanted[i]);
        ok(hy_sequence_add(s, &id, 1, 0));
    }
    hy_sampler_free(sampler);
    hy_sequence_free(s);
}

static void tinystories(const char *device) {
    hy_model *model = NULL;
    hy_engine *engine = NULL;
    ok(hy_model_open(instance, data_path("models/tinystories-260k/stories260K.gguf"), NULL,
                     &model));
    ok(hy_engine_new(model, hy_engine_params(.device = device, .context = 512), &engine));
    json_t *json = read_json(data_path("models/tinystories-260k/expected_greedy.json"));
    const json_t *cases = json_object_get(json, "cases");
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_greedy(engine, model, json_array_get(cases, i));
    json_decref(json);
    hy_engine_free(engine);
    hy_model_free(model);
}

static void test_tinystories_ref(void **state) {
    (void)state;
    tinystories("ref");
}

static void test_tinystories_cpu(void **state) {
    (void)state;
    if (!have_device("cpu:0")) skip();
    tinystories("cpu");
}

/* ---- logits ------------------------------------------------------------------------------------ */

/* Sums of sum (a - r)^2 and sum (r - row mean)^2. */
typedef struct error_sums {
    double error, spread;
} error_sums;

static void compare_row(const float *got, const float *wanted, size_t n, error_sums *sums) {
    double mean = 0;
    for (size_t i = 0; i < n; i++)
        mean += (double)wanted[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        const double e = (double)got[i] - (double)wanted[i], d = (double)wanted[i] - mean;
        sums->error += e * e;
        sums->spread += d * d;
    }
}

/* Queues one prompt of a case. */
static hy_sequence *queue_prompt(hy_engine *engine, const json_t *prompt) {
    int32_t ids[128];
    hy_sequence *s = NULL;
    const size_t count = read_ids(json_object_get(prompt, "tokens"), ids, 128);
    ok(hy_sequence_new(engine, &s));
    ok(hy_sequence_add(s, ids, count, HY_ADD_ALL_LOGITS));
    return s;
}

/* The row of ref.f32 for a position, or -1 when it is not stored. */
static long stored_row(const json_t *prompt, uint32_t position) {
    const json_t *stored = json_object_get(prompt, "stored_rows");
    for (size_t i = 0; i < json_array_size(stored); i++)
        if (json_integer_value(json_array_get(stored, i)) == (json_int_t)position)
            return (long)json_integer_value(json_object_get(prompt, "first_row")) + (long)i;
    return -1;
}

/* All prompts of a case as one ragged batch in chunks of 7. */
static double case_nmse(const char *name, const char *device) {
    char path[256];
    hy_model *model = NULL;
    hy_engine *engine = NULL;
    hy_sequence *sequence[8];
    error_sums sums = {0, 0};
    snprintf(path, sizeof path, "golden/%s/case.json", name);
    json_t *json = read_json(data_path(path));
    const json_t *prompts = json_object_get(json, "prompts");
    const size_t vocab = (size_t)json_integer_value(json_object_get(json, "n_vocab"));
    const size_t rows = (size_t)json_integer_value(json_object_get(json, "stored_rows_total"));
    snprintf(path, sizeof path, "golden/%s/ref.f32", name);
    float *wanted = read_floats(data_path(path), rows * vocab);
    snprintf(path, sizeof path, "golden/%s/model.gguf", name);
    ok(hy_model_open(instance, data_path(path), NULL, &model));
    ok(hy_engine_new(model,
                     hy_engine_params(.device = device, .kv_type = HY_KV_F32, .context = 512,
                                      .max_sequences = 3, .max_batch = 16, .max_rows = 16),
                     &engine));
    for (size_t i = 0; i < json_array_size(prompts); i++)
        sequence[i] = queue_prompt(engine, json_array_get(prompts, i));
    for (size_t compared = 0;;) {
        hy_step_result r = {.size = sizeof r};
        ok(hy_engine_step(engine, hy_step_params(.max_chunk = 7), &r));
        if (r.tokens == 0) {
            assert_int_equal(compared, rows);
            break;
        }
        for (uint32_t k = 0; k < r.rows; k++) {
            size_t p = 0;
            while (sequence[p] != r.row[k].sequence)
                p++;
            const long at = stored_row(json_array_get(prompts, p), r.row[k].position);
            if (at < 0) continue;
            compare_row(r.row[k].logits, wanted + (size_t)at * vocab, vocab, &sums);
            compared++;
        }
    }
    hy_engine_free(engine);
    hy_model_free(model);
    free(wanted);
    json_decref(json);
    return sums.error / sums.spread;
}

static void check_case(const char *name, const char *device, double limit) {
    const double nmse = case_nmse(name, device);
    print_message("%-24s %s NMSE %.2e\n", name, device, nmse);
    if (!(nmse <= limit)) fail_msg("%s on %s: NMSE %g above %g", name, device, nmse, limit);
}

static void test_golden_ref(void **state) {
    static const char *const names[] = {"llama-F32",
                                        "llama-linear-F32",
                                        "llama-yarn-F32",
                                        "llama3-ropefreqs-F32",
                                        "mixtral-F32",
                                        "qwen2-F32",
                                        "qwen3-F32",
                                        "qwen3moe-F32",
                                        "llama-bias-fused-F16",
                                        "llama-slim-Q4_0-pure",
                                        "qwen3moe-Q4_K_M"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_case(names[i], "ref", 1e-11);
}

static void test_golden_cpu(void **state) {
    static const char *const names[] = {
        "llama-F32",   "llama-linear-F32", "llama-yarn-F32", "llama3-ropefreqs-F32",
        "mixtral-F32", "qwen2-F32",        "qwen3-F32",      "qwen3moe-F32"};
    (void)state;
    if (!have_device("cpu:0")) skip();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_case(names[i], "cpu", 1e-9);
}

/* Cases of architectures and types that wait for their turn are refused by name. */
static void test_refused_by_name(void **state) {
    static const char *const cases[][2] = {{"gemma2-F32", "gemma2"},
                                           {"mamba-F16", "mamba"},
                                           {"llama-slim-IQ1_M-pure", "IQ1_M"},
                                           {"llama-slim-TQ1_0-pure", "TQ1_0"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[256];
        hy_model *model = NULL;
        snprintf(path, sizeof path, "golden/%s/model.gguf", cases[i][0]);
        assert_int_equal(hy_model_open(instance, data_path(path), NULL, &model), HY_E_UNSUPPORTED);
        const char *after_path = strstr(hy_error_text(), "model.gguf");
        if (!after_path || !strstr(after_path, cases[i][1]))
            fail_msg("'%s' does not name %s", hy_error_text(), cases[i][1]);
    }
}

static int set_up(void **state) {
    (void)state;
    return hy_instance_new(NULL, &instance) != HY_OK;
}

static int tear_down(void **state) {
    (void)state;
    hy_instance_free(instance);
    return 0;
}

static const char *named; /* the device of the command line */

static void test_tinystories_named(void **state) {
    (void)state;
    tinystories(named);
}

/* Without an argument on ref and cpu, else the greedy text on the device that it names. */
int main(int count, char **arguments) {
    const struct CMUnitTest one[] = {cmocka_unit_test(test_tinystories_named)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_ref),      cmocka_unit_test(test_golden_cpu),
        cmocka_unit_test(test_tinystories_cpu), cmocka_unit_test(test_tinystories_ref),
        cmocka_unit_test(test_refused_by_name),
    };
    data_folder = getenv("HALYARD_TEST_DATA");
    FILE *probe = data_folder ? fopen(data_path("golden/manifest.json"), "rb") : NULL;
    if (!probe) {
        printf("no test data at HALYARD_TEST_DATA=%s\n", data_folder ? data_folder : "");
        return 77;
    }
    fclose(probe);
    if (count < 2) return cmocka_run_group_tests(tests, set_up, tear_down);
    named = arguments[1];
    return cmocka_run_group_tests(one, set_up, tear_down);
}

/* Loading in pieces: logits do not depend on where weights, joined ones among them, are cut. The loader is
 * compiled here once more, with a piece size that can be changed. */
#include <stdint.h>

enum { WHOLE = 16 << 20 };
static uint64_t chunk_bytes;
#define HY_LOAD_CHUNK chunk_bytes
#include "src/engine/load.c"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/tiny_model.h"

static hy_instance *instance;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

/* Logits [80] after a few tokens. */
static void run(hy_model *model, const char *device, uint64_t chunk, float *out) {
    static const int32_t ids[] = {5, 71, 33, 2, 60, 5, 9};
    hy_engine *engine = NULL;
    hy_sequence *s = NULL;
    const float *logits;
    chunk_bytes = chunk;
    /* behind the checks a device is fed in pieces, where it would fetch rows by itself */
    ok(hy_engine_new(model, hy_engine_params(.device = device, .validate = chunk != WHOLE),
                     &engine));
    ok(hy_sequence_new(engine, &s));
    ok(hy_sequence_add(s, ids, 7, 0));
    ok(hy_engine_step(engine, NULL, NULL));
    ok(hy_sequence_logits(s, &logits));
    memcpy(out, logits, 80 * sizeof *out);
    hy_engine_free(engine);
}

static void check(const tiny_model *m, const char *device) {
    static const uint64_t chunks[] = {1, 700, 5000, 20000};
    const char *path = tiny_model_path("load");
    hy_model *model = NULL;
    float whole[80], pieces[80];
    tiny_model_write(path, m);
    hy_status status = hy_model_open(instance, path, NULL, &model);
    unlink(path);
    ok(status);
    run(model, device, WHOLE, whole);
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        run(model, device, chunks[i], pieces);
        if (memcmp(whole, pieces, sizeof whole) != 0)
            fail_msg("%s: pieces of %llu bytes give other logits", device,
                     (unsigned long long)chunks[i]);
    }
    hy_model_free(model);
}

static void check_all(const char *device) {
    check(&(tiny_model){.experts = 3, .seed = 1}, device);
    check(&(tiny_model){.experts = 3, .dtype = HY_DTYPE_Q4_0, .seed = 2}, device);
    check(&(tiny_model){.biases = true, .dtype = HY_DTYPE_Q8_0, .seed = 3}, device);
    check(&(tiny_model){.arch = "qwen3", .dtype = HY_DTYPE_F16, .vector_dtype = HY_DTYPE_F16},
          device);
    check(&(tiny_model){.dtype = HY_DTYPE_Q4_K, .embedding = 256, .ffn = 256, .heads = 8}, device);
}

static void test_ref(void **state) {
    (void)state;
    check_all("ref");
}

static void test_cpu(void **state) {
    bool found = false;
    (void)state;
    for (uint32_t i = 0; i < hy_device_count(instance); i++) {
        hy_device_desc desc = {.size = sizeof desc};
        ok(hy_device_get(instance, i, &desc));
        found = found || strcmp(desc.id, "cpu:0") == 0;
    }
    if (!found) skip();
    check_all("cpu");
}

/* A failure of the device stays, and nothing counts as computed. */
static hy_status failing_wait(hy_timeline *timeline, uint64_t value, uint64_t timeout_us) {
    (void)timeline, (void)value, (void)timeout_us;
    return hy_fail(HY_E_DEVICE, "the device fell off the bus");
}

static void test_device_failure_is_sticky(void **state) {
    const char *path = tiny_model_path("fail");
    const int32_t ids[] = {1, 2, 3};
    hy_model *model = NULL;
    hy_engine *engine = NULL;
    hy_sequence *s = NULL;
    (void)state;
    chunk_bytes = WHOLE;
    tiny_model_write(path, &(tiny_model){0});
    hy_status status = hy_model_open(instance, path, NULL, &model);
    unlink(path);
    ok(status);
    ok(hy_engine_new(model, hy_engine_params(.device = "ref"), &engine));
    ok(hy_sequence_new(engine, &s));
    ok(hy_sequence_add(s, ids, 3, 0));
    hy_device *device = engine->setup.device[0];
    const hy_backend *works = device->backend;
    hy_backend fails = *works;
    fails.timeline_wait = failing_wait;
    device->backend = &fails;
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_DEVICE);
    device->backend = works;
    assert_int_equal(hy_sequence_pending(s), 3);
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_DEVICE);
    assert_non_null(strstr(hy_error_text(), "ref:0"));
    hy_engine_free(engine);
    hy_model_free(model);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref),
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_device_failure_is_sticky),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* The Vulkan backend when calls fail, and what a decode step costs: through a libvulkan that counts and fails
 * (shim.h), named by the first argument. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/registry.h"
#include "backends/vulkan/vulkan.h"
#include "base/log.h"
#include "halyard/halyard.h"
#include "tests/gpu/job.h"
#include "tests/unit/count_alloc.h"
#include "tests/unit/tiny_model.h"
#include "tests/vulkan/shim.h"

static vulkan_shim_state *shim;

static void clear_faults(void) {
    shim->fail_at = 0;
    shim->fail_only = NULL;
    shim->lost = shim->hang = false;
    shim->no_addresses = shim->no_driver = false;
    shim->max_allocation = 0;
}

/* Every call that can fail does so once, with one error. */
static void sweep(VkResult failure, hy_status wanted) {
    int64_t failed = 0;
    for (int64_t at = 1;; at++) {
        float out = 0;
        clear_faults();
        shim->failure = failure;
        shim->fail_at = at;
        const hy_status status = job_whole("vulkan:0", NULL, &out);
        const bool reached = shim->fail_at == 0;
        clear_faults();
        assert_int_equal(shim->alive, 0);
        if (status == HY_OK) {
            assert_true(out == 3);
            if (!reached) break;
            continue; /* a call that one can do without: the pipeline cache */
        }
        assert_true(reached);
        failed++;
        if (status != wanted && status != HY_E_DEVICE)
            fail_msg("call %d: %s: %s", (int)at, hy_status_name(status), hy_error_text());
        assert_null(strchr(hy_error_text(), '\n'));
    }
    print_message("%d calls failed in turn\n", (int)failed);
    assert_true(failed > 20);
}

static void test_out_of_memory(void **state) {
    (void)state;
    sweep(VK_ERROR_OUT_OF_DEVICE_MEMORY, HY_E_MEMORY);
}

static void test_loss_everywhere(void **state) {
    (void)state;
    sweep(VK_ERROR_DEVICE_LOST, HY_E_DEVICE);
}

static void test_pipeline_fails(void **state) {
    float out;
    (void)state;
    clear_faults();
    shim->failure = VK_ERROR_INITIALIZATION_FAILED;
    shim->fail_only = "vkCreateComputePipelines";
    shim->fail_at = 1;
    assert_int_equal(job_whole("vulkan:0", NULL, &out), HY_E_DEVICE);
    assert_non_null(strstr(hy_error_text(), "vulkan.add"));
    assert_non_null(strstr(hy_error_text(), "VK_ERROR_INITIALIZATION_FAILED"));
    assert_int_equal(shim->alive, 0);
    clear_faults();
}

/* ---- devices that cannot be used ----------------------------------------------------------------- */

static void test_no_addresses(void **state) {
    hy_device *device = NULL;
    hy_device_info info;
    uint32_t count = 0;
    (void)state;
    clear_faults();
    shim->no_addresses = true;
    job_ok(hy_backend_by_name("vulkan")->devices(&info, 1, &count));
    assert_true(count > 0);
    assert_non_null(strstr(info.detail, "bufferDeviceAddress"));
    assert_int_equal(hy_device_open("vulkan:0", NULL, &device), HY_E_UNSUPPORTED);
    assert_non_null(strstr(hy_error_text(), "bufferDeviceAddress"));
    assert_int_equal(shim->alive, 0);
    clear_faults();
}

static void test_no_driver(void **state) {
    hy_device *device = NULL;
    uint32_t count;
    (void)state;
    clear_faults();
    shim->no_driver = true;
    assert_int_equal(hy_backend_by_name("vulkan")->devices(NULL, 0, &count), HY_E_UNAVAILABLE);
    assert_int_equal(hy_device_open("vulkan:0", NULL, &device), HY_E_UNAVAILABLE);
    assert_null(strchr(hy_error_text(), '\n'));
    clear_faults();
}

/* ---- loss ---------------------------------------------------------------------------------------- */

/* Sticky: every later call says so at once, and everything can still be freed. */
static void test_loss_is_sticky(void **state) {
    job j = {0};
    float out;
    uint64_t value;
    (void)state;
    clear_faults();
    job_ok(job_run(&j, "vulkan:0", NULL, &out));
    shim->failure = VK_ERROR_DEVICE_LOST;
    shim->fail_only = "vkQueueSubmit";
    shim->fail_at = 1;
    const hy_backend *b = j.device->backend;
    assert_int_equal(b->submit(j.device, j.cmd, j.timeline, 2), HY_E_DEVICE);
    clear_faults(); /* what the driver would say now is not asked any more */
    assert_int_equal(b->submit(j.device, j.cmd, j.timeline, 3), HY_E_DEVICE);
    assert_int_equal(b->timeline_wait(j.timeline, 2, UINT64_MAX), HY_E_DEVICE);
    assert_int_equal(b->timeline_value(j.timeline, &value), HY_E_DEVICE);
    assert_int_equal(b->read(j.operands, 0, &out, sizeof out), HY_E_DEVICE);
    assert_int_equal(b->write(j.operands, 0, &out, sizeof out), HY_E_DEVICE);
    job_end(&j);
    assert_int_equal(shim->alive, 0);
}

/* A device that never answers: a time-out first, then loss, never a hang. */
static void test_hang(void **state) {
    job j = {0};
    float out;
    (void)state;
    clear_faults();
    job_ok(job_run(&j, "vulkan:0", NULL, &out));
    const hy_backend *b = j.device->backend;
    shim->hang = true;
    job_ok(b->submit(j.device, j.cmd, j.timeline, 2));
    assert_int_equal(b->timeline_wait(j.timeline, 2, 1000), HY_E_TIMEOUT);
    ((vulkan_device *)j.device)->patience_us = 200000;
    assert_int_equal(b->timeline_wait(j.timeline, 2, UINT64_MAX), HY_E_DEVICE);
    assert_non_null(strstr(hy_error_text(), "no answer"));
    job_end(&j);
    clear_faults();
    assert_int_equal(shim->alive, 0);
}

/* A timeline waits for the value that a submission sets on it, not for another semaphore of that submission. */
static void test_late_signal(void **state) {
    job j = {0};
    float out;
    (void)state;
    clear_faults();
    job_ok(job_run(&j, "vulkan:0", NULL, &out));
    shim->late = true;
    shim->early = 0;
    job_ok(j.device->backend->submit(j.device, j.cmd, j.timeline, 2));
    job_end(&j);
    assert_int_equal(shim->early, 0);
    assert_int_equal(shim->alive, 0);
    shim->late = false;
}

/* ---- whole models -------------------------------------------------------------------------------- */

static hy_instance *instance;
static hy_model *model;

static int open_model(void **state) {
    const char *path = tiny_model_path("vulkan");
    (void)state;
    job_ok(hy_instance_new(NULL, &instance));
    tiny_model_write(path, &(tiny_model){0});
    job_ok(hy_model_open(instance, path, NULL, &model));
    unlink(path);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    hy_model_free(model);
    hy_instance_free(instance);
    return 0;
}

/* A decode step replays: no vkCmd*, one submission, no heap allocation of ours (drivers do as they like). */
static void test_decode_replays(void **state) {
    enum { STEPS = 40 };
    hy_engine *engine = NULL;
    hy_sequence *sequence = NULL;
    (void)state;
    clear_faults();
    shim->enter = hy_count_alloc_pause;
    shim->leave = hy_count_alloc_resume;
    job_ok(hy_engine_new(model, hy_engine_params(.device = "vulkan:0", .max_batch = 4), &engine));
    job_ok(hy_sequence_new(engine, &sequence));
    job_decode(engine, sequence, 70); /* over a page's end */
    const uint64_t commands = shim->commands, submits = shim->submits;
    const uint64_t allocations = hy_count_alloc_own();
    job_decode(engine, sequence, STEPS);
    print_message("%d steps: %d vkCmd calls, %d submissions, %d allocations\n", STEPS,
                  (int)(shim->commands - commands), (int)(shim->submits - submits),
                  (int)(hy_count_alloc_own() - allocations));
    assert_true(commands > 0);
    assert_int_equal(shim->commands - commands, 0);
    if (hy_count_alloc_works()) {
        assert_true(allocations > 0);
        assert_int_equal(hy_count_alloc_own() - allocations, 0);
    } else {
        print_message("allocations are not counted under sanitizers\n");
    }
    hy_sequence_free(sequence);
    hy_engine_free(engine);
    shim->enter = shim->leave = NULL;
    assert_int_equal(shim->alive, 0);
}

/* Device memory ends while an engine is made: each allocation in turn. */
static void test_engine_out_of_memory(void **state) {
    (void)state;
    for (int64_t at = 1;; at++) {
        hy_engine *engine = NULL;
        clear_faults();
        shim->failure = VK_ERROR_OUT_OF_DEVICE_MEMORY;
        shim->fail_only = "vkAllocateMemory";
        shim->fail_at = at;
        const hy_status status =
            hy_engine_new(model, hy_engine_params(.device = "vulkan:0", .max_batch = 1), &engine);
        hy_engine_free(engine);
        assert_int_equal(shim->alive, 0);
        if (status == HY_OK) {
            assert_true(shim->fail_at > 0);
            assert_true(at > 4);
            break;
        }
        assert_int_equal(status, HY_E_MEMORY);
        assert_non_null(strstr(hy_error_text(), "bytes"));
    }
    clear_faults();
}

/* The device is lost in the middle of a run: the step says so, the engine stays failed, nothing leaks. */
static void test_engine_loss(void **state) {
    hy_engine *engine = NULL;
    hy_sequence *sequence = NULL;
    const int32_t id = 7;
    (void)state;
    clear_faults();
    job_ok(hy_engine_new(model, hy_engine_params(.device = "vulkan:0", .max_batch = 1), &engine));
    job_ok(hy_sequence_new(engine, &sequence));
    job_decode(engine, sequence, 3);
    shim->lost = true;
    job_ok(hy_sequence_add(sequence, &id, 1, 0));
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_DEVICE);
    clear_faults();
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_DEVICE);
    hy_sequence_free(sequence);
    hy_engine_free(engine);
    assert_int_equal(shim->alive, 0);
}

/* Allocations so small that the KV cache lies in several segments: the same bits. */
static void test_segments(void **state) {
    float *want = NULL;
    int64_t objects[2];
    (void)state;
    for (int small = 0; small < 2; small++) {
        hy_engine *engine = NULL;
        hy_sequence *sequence = NULL;
        const float *logits;
        clear_faults();
        shim->max_allocation = small ? 16 << 20 : 0; /* a cache of 2 layers, K and V, 13 MB each */
        job_ok(hy_engine_new(
            model, hy_engine_params(.device = "vulkan:0", .max_batch = 2, .cache_tokens = 200000),
            &engine));
        print_message("%d objects\n", (int)shim->alive);
        objects[small] = shim->alive;
        job_ok(hy_sequence_new(engine, &sequence));
        job_decode(engine, sequence, 5);
        job_ok(hy_sequence_logits(sequence, &logits));
        if (!small) {
            want = malloc(80 * sizeof *want);
            assert_non_null(want);
            memcpy(want, logits, 80 * sizeof *want);
        } else {
            assert_memory_equal(want, logits, 80 * sizeof *want);
        }
        hy_sequence_free(sequence);
        hy_engine_free(engine);
    }
    free(want);
    assert_true(objects[1] >= objects[0] + 6); /* three more segments: a buffer and memory each */
    clear_faults();
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_driver),      cmocka_unit_test(test_no_addresses),
        cmocka_unit_test(test_out_of_memory),  cmocka_unit_test(test_loss_everywhere),
        cmocka_unit_test(test_pipeline_fails), cmocka_unit_test(test_loss_is_sticky),
        cmocka_unit_test(test_hang),           cmocka_unit_test(test_late_signal),
        cmocka_unit_test(test_decode_replays), cmocka_unit_test(test_segments),
        cmocka_unit_test(test_engine_loss),    cmocka_unit_test(test_engine_out_of_memory),
    };
    uint32_t devices;
    void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    shim = library ? dlsym(library, "vulkan_shim") : NULL;
    if (!shim) {
        fprintf(stderr, "usage: test_faults PATH/libvulkan_shim.so\n");
        return 2;
    }
    setenv("HALYARD_VULKAN_LIBRARY", arguments[1], 1);
    if (hy_backend_by_name("vulkan")->devices(NULL, 0, &devices) != HY_OK) {
        printf("skipped: %s\n", hy_error_text());
        return 77;
    }
    return cmocka_run_group_tests(tests, open_model, close_model);
}

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
#include "tests/gpu/faults.h"
#include "tests/vulkan/shim.h"

static vulkan_shim_state *shim;

static void clear_more(void) {
    shim->no_addresses = shim->no_driver = false;
    shim->max_allocation = 0;
}

static void hurry(hy_device *device) {
    ((vulkan_device *)device)->patience_us = 200000;
}

static void test_out_of_memory(void **state) {
    (void)state;
    faults_sweep(VK_ERROR_OUT_OF_DEVICE_MEMORY, HY_E_MEMORY, NULL);
}

static void test_loss_everywhere(void **state) {
    (void)state;
    faults_sweep(VK_ERROR_DEVICE_LOST, HY_E_DEVICE, NULL);
}

static void test_pipeline_fails(void **state) {
    float out;
    (void)state;
    faults_clear();
    faults_inject(VK_ERROR_INITIALIZATION_FAILED, "vkCreateComputePipelines", 1);
    assert_int_equal(job_whole(faults.device, NULL, &out), HY_E_DEVICE);
    assert_non_null(strstr(hy_error_text(), "vulkan.add"));
    assert_non_null(strstr(hy_error_text(), "VK_ERROR_INITIALIZATION_FAILED"));
    assert_int_equal(shim->faults.alive, 0);
    faults_clear();
}

/* ---- devices that cannot be used ----------------------------------------------------------------- */

static void test_no_addresses(void **state) {
    hy_device *device = NULL;
    hy_device_info info;
    uint32_t count = 0;
    (void)state;
    faults_clear();
    shim->no_addresses = true;
    job_ok(hy_backend_by_name("vulkan")->devices(&info, 1, &count));
    assert_true(count > 0);
    assert_non_null(strstr(info.detail, "bufferDeviceAddress"));
    assert_int_equal(hy_device_open(faults.device, NULL, &device), HY_E_UNSUPPORTED);
    assert_non_null(strstr(hy_error_text(), "bufferDeviceAddress"));
    assert_int_equal(shim->faults.alive, 0);
    faults_clear();
}

static void test_no_driver(void **state) {
    hy_device *device = NULL;
    uint32_t count;
    (void)state;
    faults_clear();
    shim->no_driver = true;
    assert_int_equal(hy_backend_by_name("vulkan")->devices(NULL, 0, &count), HY_E_UNAVAILABLE);
    assert_int_equal(hy_device_open(faults.device, NULL, &device), HY_E_UNAVAILABLE);
    assert_null(strchr(hy_error_text(), '\n'));
    faults_clear();
}

/* A timeline waits for the value that a submission sets on it, not for another semaphore of that submission. */
static void test_late_signal(void **state) {
    job j = {0};
    float out;
    (void)state;
    faults_clear();
    job_ok(job_run(&j, faults.device, NULL, &out));
    shim->late = true;
    shim->early = 0;
    job_ok(j.device->backend->submit(j.device, j.cmd, j.timeline, 2));
    job_end(&j);
    assert_int_equal(shim->early, 0);
    assert_int_equal(shim->faults.alive, 0);
    shim->late = false;
}

/* ---- whole models -------------------------------------------------------------------------------- */

static uint64_t commands, submits;

static void note(bool after) {
    commands = shim->commands - (after ? commands : 0);
    submits = shim->submits - (after ? submits : 0);
    if (after) print_message("%d vkCmd calls, %d submissions\n", (int)commands, (int)submits);
    if (!after) assert_true(commands > 0);
}

/* A decode step replays: no vkCmd*. (Drivers allocate as they like.) */
static void test_decode_replays(void **state) {
    (void)state;
    faults_replay(0, 40, note);
    assert_int_equal(commands, 0);
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
        faults_clear();
        shim->max_allocation = small ? 16 << 20 : 0; /* a cache of 2 layers, K and V, 13 MB each */
        job_ok(hy_engine_new(
            faults_model,
            hy_engine_params(.device = faults.device, .max_batch = 2, .cache_tokens = 200000),
            &engine));
        print_message("%d objects\n", (int)shim->faults.alive);
        objects[small] = shim->faults.alive;
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
    faults_clear();
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_driver),
        cmocka_unit_test(test_no_addresses),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_loss_everywhere),
        cmocka_unit_test(test_pipeline_fails),
        cmocka_unit_test(faults_test_loss_is_sticky),
        cmocka_unit_test(faults_test_hang),
        cmocka_unit_test(faults_test_probe),
        cmocka_unit_test(test_late_signal),
        cmocka_unit_test(test_decode_replays),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(faults_test_engine_loss),
        cmocka_unit_test(faults_test_engine_out_of_memory),
    };
    uint32_t devices;
    void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    shim = library ? dlsym(library, "vulkan_shim") : NULL;
    if (!shim) {
        fprintf(stderr, "usage: test_faults PATH/libvulkan_shim.so\n");
        return 2;
    }
    faults = (fault_driver){.state = &shim->faults,
                            .device = "vulkan:0",
                            .submit = "vkQueueSubmit",
                            .allocate = "vkAllocateMemory",
                            .out_of_memory = VK_ERROR_OUT_OF_DEVICE_MEMORY,
                            .loss = VK_ERROR_DEVICE_LOST,
                            .allocations = 4,
                            .clear = clear_more,
                            .hurry = hurry};
    setenv("HALYARD_VULKAN_LIBRARY", arguments[1], 1);
    if (hy_backend_by_name("vulkan")->devices(NULL, 0, &devices) != HY_OK) {
        printf("skipped: %s\n", hy_error_text());
        return 77;
    }
    return cmocka_run_group_tests(tests, faults_open_model, faults_close_model);
}

/* The CUDA or HIP backend when calls fail, and what a decode step costs: on a stand-in library that counts and fails
 * calls (emulator_state.h). Arguments: the backend's name, and the library that run.sh has it use. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/registry.h"
#include "backends/simt/simt.h"
#include "tests/emulator/emulator_state.h"
#include "tests/gpu/faults.h"

enum { OUT_OF_MEMORY = 2, NO_DEVICE = 100, LAUNCH_FAILED = 719 };

static emulator_state_of *emulator;
static bool is_cuda;
static const hy_device_params plain = {.no_graphs = true};

/* ---- every call in turn -------------------------------------------------------------------------- */

static void test_out_of_memory(void **state) {
    (void)state;
    faults_sweep(OUT_OF_MEMORY, HY_E_MEMORY, NULL);
    faults_sweep(OUT_OF_MEMORY, HY_E_MEMORY, &plain);
}

static void test_loss_everywhere(void **state) {
    (void)state;
    faults_sweep(LAUNCH_FAILED, HY_E_DEVICE, NULL);
    faults_sweep(LAUNCH_FAILED, HY_E_DEVICE, &plain);
}

static void test_no_device(void **state) {
    float out;
    (void)state;
    faults_clear();
    faults_inject(NO_DEVICE, is_cuda ? "cuDeviceGetCount" : "hipGetDeviceCount", 1);
    assert_int_equal(job_whole(faults.device, NULL, &out), HY_E_UNAVAILABLE);
    assert_null(strchr(hy_error_text(), '\n'));
    faults_clear();
    assert_int_equal(job_whole(is_cuda ? "cuda:7" : "hip:7", NULL, &out), HY_E_NOT_FOUND);
}

/* As the system writes it, whatever the vendor does. */
static void test_bus(void **state) {
    hy_device_info infos[2];
    hy_device *device;
    uint32_t count = 0;
    (void)state;
    faults_clear();
    job_ok(hy_device_open(faults.device, NULL, &device));
    job_ok(device->backend->devices(infos, 2, &count));
    assert_string_equal(infos[0].bus, "ffff:e0:00.0");
    device->backend->info(device, &infos[1]);
    assert_string_equal(infos[1].bus, "ffff:e0:00.0");
    hy_device_close(device);
}

/* More submissions than there are events, and values asked for out of order. */
static void test_many_submissions(void **state) {
    job j = {0};
    float out;
    uint64_t value;
    (void)state;
    faults_clear();
    job_ok(job_run(&j, faults.device, NULL, &out));
    const hy_backend *b = j.device->backend;
    for (uint64_t i = 2; i <= 5 * SIMT_EVENTS; i++) {
        job_ok(b->submit(j.device, j.cmd, j.timeline, 10 * i));
        if (i % 7 == 0) job_ok(b->timeline_wait(j.timeline, 10 * i - 25, UINT64_MAX));
    }
    job_ok(b->timeline_wait(j.timeline, 1, 0));
    job_ok(b->timeline_wait(j.timeline, 50 * SIMT_EVENTS, UINT64_MAX));
    job_ok(b->timeline_value(j.timeline, &value));
    assert_int_equal(value, 50 * SIMT_EVENTS);
    assert_int_equal(b->timeline_wait(j.timeline, 50 * SIMT_EVENTS + 1, 1000), HY_E_TIMEOUT);
    job_end(&j);
    assert_int_equal(emulator->faults.alive, 0);
}

/* ---- what a step costs --------------------------------------------------------------------------- */

enum { STEPS = 40 };
static uint64_t launches, graphs, nodes;

static void note(bool after) {
    launches = emulator->launches - (after ? launches : 0);
    graphs = emulator->graph_launches - (after ? graphs : 0);
    nodes = emulator->graph_nodes - (after ? nodes : 0);
    if (!after) return;
    print_message("%d steps: %d graphs of %d nodes, %d launches\n", STEPS, (int)graphs,
                  (int)(graphs ? nodes / graphs : 0), (int)launches);
}

/* A decode step replays one graph: no launch of its own; without graphs as many launches in each step. */
static void test_decode_replays(void **state) {
    (void)state;
    faults_replay(0, STEPS, note);
    assert_int_equal(graphs, STEPS);
    assert_int_equal(launches, 0);
    faults_replay(1, STEPS, note);
    assert_int_equal(graphs, 0);
    assert_true(launches > STEPS);
    assert_int_equal(launches % STEPS, 0);
}

static void hurry(hy_device *device) {
    ((simt_device *)device)->patience_us = 200000;
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_device),
        cmocka_unit_test(test_bus),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_loss_everywhere),
        cmocka_unit_test(faults_test_loss_is_sticky),
        cmocka_unit_test(faults_test_hang),
        cmocka_unit_test(faults_test_probe),
        cmocka_unit_test(test_many_submissions),
        cmocka_unit_test(test_decode_replays),
        cmocka_unit_test(faults_test_engine_out_of_memory),
        cmocka_unit_test(faults_test_engine_loss),
    };
    void *library = count == 3 ? dlopen(arguments[2], RTLD_NOW | RTLD_LOCAL) : NULL;
    emulator = library ? dlsym(library, "emulator_state") : NULL;
    if (!emulator) {
        fprintf(stderr, "usage: test_faults cuda|hip PATH/libcuda_emulated.so\n");
        return 2;
    }
    is_cuda = strcmp(arguments[1], "cuda") == 0;
    faults = (fault_driver){.state = &emulator->faults,
                            .device = is_cuda ? "cuda:0" : "hip:0",
                            .submit = is_cuda ? "cuGraphLaunch" : "hipGraphLaunch",
                            .allocate = is_cuda ? "cuMemAlloc_v2" : "hipMalloc",
                            .out_of_memory = OUT_OF_MEMORY,
                            .loss = LAUNCH_FAILED,
                            .allocations = 3,
                            .listing = true,
                            .hurry = hurry};
    return cmocka_run_group_tests(tests, faults_open_model, faults_close_model);
}

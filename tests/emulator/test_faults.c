/* The CUDA or HIP backend when calls fail, and what a decode step costs: on a stand-in library that counts and fails
 * calls (emulator_state.h). Arguments: the backend's name, and the library that run.sh has it use. */
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
#include "backends/simt/simt.h"
#include "tests/emulator/emulator_state.h"
#include "tests/gpu/job.h"
#include "tests/unit/count_alloc.h"
#include "tests/unit/tiny_model.h"

enum { OUT_OF_MEMORY = 2, NO_DEVICE = 100, LAUNCH_FAILED = 719 };

static emulator_state_of *emulator;
static const char *backend;
static char device[32]; /* "cuda:0" */
static bool is_cuda;
static const hy_device_params plain = {.no_graphs = true};

static void clear_faults(void) {
    emulator->fail_at = 0;
    emulator->fail_only = NULL;
    emulator->lost = emulator->hang = false;
}

static void inject(int32_t failure, const char *only, int64_t at) {
    emulator->failure = failure;
    emulator->fail_only = only;
    emulator->fail_at = at;
}

/* ---- every call in turn -------------------------------------------------------------------------- */

static void sweep(int32_t failure, hy_status wanted, const hy_device_params *params) {
    int64_t failed = 0;
    for (int64_t at = 1;; at++) {
        float out = 0;
        clear_faults();
        inject(failure, NULL, at);
        const hy_status status = job_whole(device, params, &out);
        const bool reached = emulator->fail_at == 0;
        clear_faults();
        if (emulator->alive) fail_msg("call %d: %d alive", (int)at, (int)emulator->alive);
        if (status == HY_OK) {
            assert_true(out == 3);
            if (!reached) break;
            continue; /* a call that one can do without: a clock rate */
        }
        assert_true(reached);
        failed++;
        /* What fails while devices are listed makes the device, or the backend, one that is not there. */
        if (status != wanted && status != HY_E_DEVICE && status != HY_E_UNAVAILABLE &&
            status != HY_E_UNSUPPORTED)
            fail_msg("call %d: %s: %s", (int)at, hy_status_name(status), hy_error_text());
        assert_null(strchr(hy_error_text(), '\n'));
    }
    print_message("%d calls failed in turn\n", (int)failed);
    assert_true(failed > 20);
}

static void test_out_of_memory(void **state) {
    (void)state;
    sweep(OUT_OF_MEMORY, HY_E_MEMORY, NULL);
    sweep(OUT_OF_MEMORY, HY_E_MEMORY, &plain);
}

static void test_loss_everywhere(void **state) {
    (void)state;
    sweep(LAUNCH_FAILED, HY_E_DEVICE, NULL);
    sweep(LAUNCH_FAILED, HY_E_DEVICE, &plain);
}

static void test_no_device(void **state) {
    float out;
    (void)state;
    clear_faults();
    inject(NO_DEVICE, is_cuda ? "cuDeviceGetCount" : "hipGetDeviceCount", 1);
    assert_int_equal(job_whole(device, NULL, &out), HY_E_UNAVAILABLE);
    assert_null(strchr(hy_error_text(), '\n'));
    clear_faults();
    assert_int_equal(job_whole(is_cuda ? "cuda:7" : "hip:7", NULL, &out), HY_E_NOT_FOUND);
}

/* ---- loss ---------------------------------------------------------------------------------------- */

/* Sticky: every later call says so at once, and everything can still be freed. */
static void test_loss_is_sticky(void **state) {
    job j = {0};
    float out;
    uint64_t value;
    (void)state;
    clear_faults();
    job_ok(job_run(&j, device, NULL, &out));
    inject(LAUNCH_FAILED, is_cuda ? "cuGraphLaunch" : "hipGraphLaunch", 1);
    const hy_backend *b = j.device->backend;
    assert_int_equal(b->submit(j.device, j.cmd, j.timeline, 2), HY_E_DEVICE);
    clear_faults(); /* what the driver would say now is not asked any more */
    assert_int_equal(b->submit(j.device, j.cmd, j.timeline, 3), HY_E_DEVICE);
    assert_int_equal(b->timeline_wait(j.timeline, 2, UINT64_MAX), HY_E_DEVICE);
    assert_int_equal(b->timeline_value(j.timeline, &value), HY_E_DEVICE);
    assert_int_equal(b->read(j.operands, 0, &out, sizeof out), HY_E_DEVICE);
    assert_int_equal(b->write(j.operands, 0, &out, sizeof out), HY_E_DEVICE);
    job_end(&j);
    assert_int_equal(emulator->alive, 0);
}

/* A device that never answers: a time-out first, then loss, never a hang. */
static void test_hang(void **state) {
    job j = {0};
    float out;
    (void)state;
    clear_faults();
    job_ok(job_run(&j, device, NULL, &out));
    const hy_backend *b = j.device->backend;
    emulator->hang = true;
    job_ok(b->submit(j.device, j.cmd, j.timeline, 2));
    assert_int_equal(b->timeline_wait(j.timeline, 2, 1000), HY_E_TIMEOUT);
    ((simt_device *)j.device)->patience_us = 200000;
    assert_int_equal(b->timeline_wait(j.timeline, 2, UINT64_MAX), HY_E_DEVICE);
    assert_non_null(strstr(hy_error_text(), "no answer"));
    job_end(&j);
    clear_faults();
    assert_int_equal(emulator->alive, 0);
}

/* More submissions than there are events, and values asked for out of order. */
static void test_many_submissions(void **state) {
    job j = {0};
    float out;
    uint64_t value;
    (void)state;
    clear_faults();
    job_ok(job_run(&j, device, NULL, &out));
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
    assert_int_equal(emulator->alive, 0);
}

/* ---- whole models -------------------------------------------------------------------------------- */

static hy_instance *instance;
static hy_model *model;

static int open_model(void **state) {
    const char *path = tiny_model_path(backend);
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

/* A decode step replays one graph: no launch of its own, no heap allocation of ours; without graphs as many launches
 * in each step, and no allocation either. */
static void replay(int no_graphs) {
    enum { STEPS = 40 };
    hy_engine *engine = NULL;
    hy_sequence *sequence = NULL;
    clear_faults();
    emulator->enter = hy_count_alloc_pause;
    emulator->leave = hy_count_alloc_resume;
    job_ok(hy_engine_new(model,
                         hy_engine_params(.device = device, .max_batch = 4, .no_graphs = no_graphs),
                         &engine));
    job_ok(hy_sequence_new(engine, &sequence));
    job_decode(engine, sequence, 70); /* over a page's end */
    const uint64_t launches = emulator->launches, graphs = emulator->graph_launches;
    const uint64_t nodes = emulator->graph_nodes, allocations = hy_count_alloc_own();
    job_decode(engine, sequence, STEPS);
    const uint64_t more_launches = emulator->launches - launches;
    const uint64_t more_graphs = emulator->graph_launches - graphs;
    const uint64_t more_nodes = emulator->graph_nodes - nodes;
    print_message("%d steps: %d graphs of %d nodes, %d launches, %d allocations\n", STEPS,
                  (int)more_graphs, (int)(more_graphs ? more_nodes / more_graphs : 0),
                  (int)more_launches, (int)(hy_count_alloc_own() - allocations));
    assert_int_equal(more_graphs, no_graphs ? 0 : STEPS);
    if (no_graphs) {
        assert_true(more_launches > STEPS);
        assert_int_equal(more_launches % STEPS, 0);
    } else {
        assert_int_equal(more_launches, 0);
    }
    if (hy_count_alloc_works()) {
        assert_true(allocations > 0);
        assert_int_equal(hy_count_alloc_own() - allocations, 0);
    } else {
        print_message("allocations are not counted under sanitizers\n");
    }
    hy_sequence_free(sequence);
    hy_engine_free(engine);
    emulator->enter = emulator->leave = NULL;
    assert_int_equal(emulator->alive, 0);
}

static void test_decode_replays(void **state) {
    (void)state;
    replay(0);
    replay(1);
}

/* Device memory ends while an engine is made: each allocation in turn. */
static void test_engine_out_of_memory(void **state) {
    (void)state;
    for (int64_t at = 1;; at++) {
        hy_engine *engine = NULL;
        clear_faults();
        inject(OUT_OF_MEMORY, is_cuda ? "cuMemAlloc_v2" : "hipMalloc", at);
        const hy_status status =
            hy_engine_new(model, hy_engine_params(.device = device, .max_batch = 1), &engine);
        hy_engine_free(engine);
        assert_int_equal(emulator->alive, 0);
        if (status == HY_OK) {
            assert_true(emulator->fail_at > 0);
            assert_true(at > 3);
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
    job_ok(hy_engine_new(model, hy_engine_params(.device = device, .max_batch = 1), &engine));
    job_ok(hy_sequence_new(engine, &sequence));
    job_decode(engine, sequence, 3);
    emulator->lost = true;
    job_ok(hy_sequence_add(sequence, &id, 1, 0));
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_DEVICE);
    clear_faults();
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_DEVICE);
    hy_sequence_free(sequence);
    hy_engine_free(engine);
    assert_int_equal(emulator->alive, 0);
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_device),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_loss_everywhere),
        cmocka_unit_test(test_loss_is_sticky),
        cmocka_unit_test(test_hang),
        cmocka_unit_test(test_many_submissions),
        cmocka_unit_test(test_decode_replays),
        cmocka_unit_test(test_engine_out_of_memory),
        cmocka_unit_test(test_engine_loss),
    };
    void *library = count == 3 ? dlopen(arguments[2], RTLD_NOW | RTLD_LOCAL) : NULL;
    emulator = library ? dlsym(library, "emulator_state") : NULL;
    if (!emulator) {
        fprintf(stderr, "usage: test_faults cuda|hip PATH/libcuda_emulated.so\n");
        return 2;
    }
    backend = arguments[1];
    is_cuda = strcmp(backend, "cuda") == 0;
    snprintf(device, sizeof device, "%s:0", backend);
    return cmocka_run_group_tests(tests, open_model, close_model);
}

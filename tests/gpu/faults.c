#include "tests/gpu/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/count_alloc.h"
#include "tests/unit/tiny_model.h"
#include "tools/probe.h"

fault_driver faults;
hy_model *faults_model;
static hy_instance *instance;

void faults_clear(void) {
    faults.state->fail_at = 0;
    faults.state->fail_only = NULL;
    faults.state->lost = faults.state->hang = false;
    if (faults.clear) faults.clear();
}

void faults_inject(int32_t failure, const char *only, int64_t at) {
    faults.state->failure = failure;
    faults.state->fail_only = only;
    faults.state->fail_at = at;
}

static bool may_be(hy_status status, hy_status wanted) {
    if (faults.listing && (status == HY_E_UNAVAILABLE || status == HY_E_UNSUPPORTED)) return true;
    return status == wanted || status == HY_E_DEVICE;
}

void faults_sweep(int32_t failure, hy_status wanted, const hy_device_params *params) {
    int64_t failed = 0;
    for (int64_t at = 1;; at++) {
        float out = 0;
        faults_clear();
        faults_inject(failure, NULL, at);
        const hy_status status = job_whole(faults.device, params, &out);
        const bool reached = faults.state->fail_at == 0;
        faults_clear();
        if (faults.state->alive) fail_msg("call %d: %d alive", (int)at, (int)faults.state->alive);
        if (status == HY_OK) {
            assert_true(out == 3);
            if (!reached) break;
            continue; /* a call that one can do without: a clock rate, the pipeline cache */
        }
        assert_true(reached);
        failed++;
        if (!may_be(status, wanted))
            fail_msg("call %d: %s: %s", (int)at, hy_status_name(status), hy_error_text());
        assert_null(strchr(hy_error_text(), '\n'));
    }
    print_message("%d calls failed in turn\n", (int)failed);
    assert_true(failed > 20);
}

/* ---- loss ---------------------------------------------------------------------------------------- */

/* Sticky: every later call says so at once, and everything can still be freed. */
void faults_test_loss_is_sticky(void **state) {
    job j = {0};
    float out;
    uint64_t value;
    (void)state;
    faults_clear();
    job_ok(job_run(&j, faults.device, NULL, &out));
    faults_inject(faults.loss, faults.submit, 1);
    const hy_backend *b = j.device->backend;
    assert_int_equal(b->submit(j.device, j.cmd, j.timeline, 2), HY_E_DEVICE);
    faults_clear(); /* what the driver would say now is not asked any more */
    assert_int_equal(b->submit(j.device, j.cmd, j.timeline, 3), HY_E_DEVICE);
    assert_int_equal(b->timeline_wait(j.timeline, 2, UINT64_MAX), HY_E_DEVICE);
    assert_int_equal(b->timeline_value(j.timeline, &value), HY_E_DEVICE);
    assert_int_equal(b->read(j.operands, 0, &out, sizeof out), HY_E_DEVICE);
    assert_int_equal(b->write(j.operands, 0, &out, sizeof out), HY_E_DEVICE);
    job_end(&j);
    assert_int_equal(faults.state->alive, 0);
}

/* A device that never answers: a time-out first, then loss, never a hang. */
void faults_test_hang(void **state) {
    job j = {0};
    float out;
    (void)state;
    faults_clear();
    job_ok(job_run(&j, faults.device, NULL, &out));
    const hy_backend *b = j.device->backend;
    faults.state->hang = true;
    job_ok(b->submit(j.device, j.cmd, j.timeline, 2));
    assert_int_equal(b->timeline_wait(j.timeline, 2, 1000), HY_E_TIMEOUT);
    faults.hurry(j.device);
    assert_int_equal(b->timeline_wait(j.timeline, 2, UINT64_MAX), HY_E_DEVICE);
    assert_non_null(strstr(hy_error_text(), "no answer"));
    job_end(&j);
    faults_clear();
    assert_int_equal(faults.state->alive, 0);
}

static probe *new_probe(void) {
    probe *p = NULL;
    faults_clear();
    job_ok(probe_new(faults.device, NULL, &p));
    assert_true(probe_pass(p, HY_PEAK_F32) > 0);
    return p;
}

static void end_probe(probe *p, hy_status wanted) {
    assert_int_equal(probe_status(p), wanted);
    assert_null(strchr(hy_error_text(), '\n'));
    faults_clear();
    assert_true(probe_best(p, HY_PEAK_F32) == 0);
    assert_int_equal(probe_status(p), wanted);
    probe_free(p);
    assert_int_equal(faults.state->alive, 0);
}

/* Passes that fail, for good or once: there are no more rates, the reason stays, everything can be freed. */
void faults_test_probe(void **state) {
    probe *p = NULL;
    (void)state;
    faults_clear();
    faults_inject(faults.out_of_memory, faults.allocate, 1);
    assert_true(probe_new(faults.device, NULL, &p) != HY_OK);
    assert_int_equal(faults.state->alive, 0);
    p = new_probe();
    faults.state->failure = faults.loss;
    faults.state->lost = true;
    assert_true(probe_pass(p, HY_PEAK_F32) == 0);
    end_probe(p, HY_E_DEVICE);
    p = new_probe();
    for (int64_t at = 1;; at++) { /* some calls one can do without */
        faults_inject(faults.out_of_memory, NULL, at);
        if (probe_pass(p, HY_PEAK_F32) == 0) break;
        assert_int_equal(faults.state->fail_at, 0);
    }
    end_probe(p, HY_E_MEMORY);
}

/* ---- whole models -------------------------------------------------------------------------------- */

int faults_open_model(void **state) {
    const char *path = tiny_model_path("faults");
    (void)state;
    job_ok(hy_instance_new(NULL, &instance));
    tiny_model_write(path, &(tiny_model){0});
    job_ok(hy_model_open(instance, path, NULL, &faults_model));
    unlink(path);
    return 0;
}

int faults_close_model(void **state) {
    (void)state;
    hy_model_free(faults_model);
    hy_instance_free(instance);
    return 0;
}

void faults_replay(int no_graphs, uint32_t steps, void (*note)(bool after)) {
    hy_engine *engine = NULL;
    hy_sequence *sequence = NULL;
    faults_clear();
    faults.state->enter = hy_count_alloc_pause;
    faults.state->leave = hy_count_alloc_resume;
    job_ok(hy_engine_new(
        faults_model,
        hy_engine_params(.device = faults.device, .max_batch = 4, .no_graphs = no_graphs),
        &engine));
    job_ok(hy_sequence_new(engine, &sequence));
    job_decode(engine, sequence, 70); /* over a page's end */
    note(false);
    const uint64_t allocations = hy_count_alloc_own();
    job_decode(engine, sequence, steps);
    const uint64_t more = hy_count_alloc_own() - allocations;
    note(true);
    if (hy_count_alloc_works()) {
        print_message("%d steps: %d allocations\n", (int)steps, (int)more);
        assert_true(allocations > 0);
        assert_int_equal(more, 0);
    } else {
        print_message("allocations are not counted under sanitizers\n");
    }
    hy_sequence_free(sequence);
    hy_engine_free(engine);
    faults.state->enter = faults.state->leave = NULL;
    assert_int_equal(faults.state->alive, 0);
}

/* Device memory ends while an engine is made: each allocation in turn. */
void faults_test_engine_out_of_memory(void **state) {
    (void)state;
    for (int64_t at = 1;; at++) {
        hy_engine *engine = NULL;
        faults_clear();
        faults_inject(faults.out_of_memory, faults.allocate, at);
        const hy_status status = hy_engine_new(
            faults_model, hy_engine_params(.device = faults.device, .max_batch = 1), &engine);
        hy_engine_free(engine);
        assert_int_equal(faults.state->alive, 0);
        if (status == HY_OK) {
            assert_true(faults.state->fail_at > 0);
            assert_true(at > faults.allocations);
            break;
        }
        assert_int_equal(status, HY_E_MEMORY);
        assert_non_null(strstr(hy_error_text(), "bytes"));
    }
    faults_clear();
}

/* The device is lost in the middle of a run: the step says so, the engine stays failed, nothing leaks. */
void faults_test_engine_loss(void **state) {
    hy_engine *engine = NULL;
    hy_sequence *sequence = NULL;
    const int32_t id = 7;
    (void)state;
    faults_clear();
    job_ok(hy_engine_new(faults_model, hy_engine_params(.device = faults.device, .max_batch = 1),
                         &engine));
    job_ok(hy_sequence_new(engine, &sequence));
    job_decode(engine, sequence, 3);
    faults.state->lost = true;
    job_ok(hy_sequence_add(sequence, &id, 1, 0));
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_DEVICE);
    faults_clear();
    assert_int_equal(hy_engine_step(engine, NULL, NULL), HY_E_DEVICE);
    hy_sequence_free(sequence);
    hy_engine_free(engine);
    assert_int_equal(faults.state->alive, 0);
}

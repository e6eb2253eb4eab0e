#include "tests/gpu/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/registry.h"

void job_ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

void job_end(job *j) {
    hy_timeline_free(j->timeline);
    hy_cmd_free(j->cmd);
    hy_buffer_free(j->operands);
    hy_buffer_free(j->counters);
    hy_device_close(j->device);
}

static hy_op add_op(void) {
    const uint32_t dim[2] = {4, 64};
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_ADD;
    op.operand[HY_ADD_a] = op.operand[HY_ADD_b] = hy_tensor_of(HY_DTYPE_F32, 2, dim, HY_COUNTER_T);
    job_ok(hy_op_infer(&op));
    return op;
}

hy_status job_run(job *j, const char *device, const hy_device_params *params, float *out) {
    const hy_op op = add_op();
    const uint64_t bytes = 4 * 64 * sizeof(float);
    const uint32_t counters[HY_COUNTER_COUNT] = {[HY_COUNTER_T] = 4};
    float values[2 * 4 * 64];
    hy_kernel kernel[HY_MAX_CANDIDATES];
    uint32_t count;
    for (int i = 0; i < 4 * 64; i++) {
        values[i] = 1;
        values[4 * 64 + i] = 2;
    }
    HY_TRY(hy_device_open(device, params, &j->device));
    const hy_backend *b = j->device->backend;
    HY_TRY(b->buffer_new(j->device, HY_HEAP_DEVICE, 3 * bytes, &j->operands));
    HY_TRY(b->buffer_new(j->device, HY_HEAP_HOST, sizeof counters, &j->counters));
    memcpy(j->counters->host, counters, sizeof counters);
    HY_TRY(b->write(j->operands, 0, values, sizeof values));
    HY_TRY(b->candidates(j->device, &op, kernel, &count));
    assert_true(count > 0);
    const hy_view views[HY_MAX_OPERANDS] = {
        {j->operands, 0, bytes}, {j->operands, bytes, bytes}, {j->operands, 2 * bytes, bytes}};
    HY_TRY(b->cmd_new(j->device, hy_view_of(j->counters), &j->cmd));
    HY_TRY(b->cmd_op(j->cmd, &op, kernel, views, (hy_view){0}));
    HY_TRY(b->cmd_barrier(j->cmd));
    HY_TRY(b->cmd_copy(j->cmd, views[0], views[2]));
    HY_TRY(b->cmd_seal(j->cmd));
    HY_TRY(b->timeline_new(j->device, &j->timeline));
    HY_TRY(b->submit(j->device, j->cmd, j->timeline, 1));
    HY_TRY(b->timeline_wait(j->timeline, 1, UINT64_MAX));
    return b->read(j->operands, 0, out, sizeof *out);
}

hy_status job_whole(const char *device, const hy_device_params *params, float *out) {
    job j = {0};
    const hy_status status = job_run(&j, device, params, out);
    char text[512];
    snprintf(text, sizeof text, "%s", status == HY_OK ? "" : hy_error_text());
    job_end(&j);
    if (status != HY_OK) return hy_fail(status, "%s", text);
    return HY_OK;
}

void job_decode(hy_engine *engine, hy_sequence *sequence, uint32_t count) {
    const int32_t id = 7;
    for (uint32_t i = 0; i < count; i++) {
        const float *logits;
        job_ok(hy_sequence_add(sequence, &id, 1, 0));
        job_ok(hy_engine_step(engine, NULL, NULL));
        job_ok(hy_sequence_logits(sequence, &logits));
    }
}

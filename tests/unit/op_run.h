/* tests/unit/op_run.h: runs one op on one device, operands in one host buffer. CMocka is included before. */
#ifndef HY_TEST_OP_RUN_H
#define HY_TEST_OP_RUN_H

#include <stdlib.h>

#include "backends/registry.h"
#include "base/num.h"
#include "tests/unit/op_build.h"

#ifndef RUN_BYTES
#define RUN_BYTES (1 << 20)
#endif
#define RUN_POISON 0xa5

typedef struct op_run {
    hy_device *device;
    hy_buffer *buffer;
    uint64_t used; /* bytes; the counters come first */
    hy_op op;
    hy_view view[HY_MAX_OPERANDS];
} op_run;

static inline void run_must(hy_status status) {
    if (status != HY_OK) fail_msg("%s", hy_error_text());
}

static inline hy_view run_space(op_run *run, uint64_t bytes) {
    hy_view view = {run->buffer, run->used, bytes};
    run->used = hy_align_up(run->used + bytes, HY_VIEW_ALIGN);
    assert_true(run->used <= RUN_BYTES);
    return view;
}

/* Opens `spec` and lays every operand of `op` out, filled with poison. */
static inline op_run run_open(const char *spec, const hy_op *op) {
    op_run run = {.op = *op};
    hy_device_params params = {.threads = 2};
    if (hy_op_check(op) != HY_OK) fail_msg("%s", hy_error_text());
    run_must(hy_device_open(spec, &params, &run.device));
    run_must(HY_FN(&(hy_buffer){.device = run.device})
                 ->buffer_new(run.device, HY_HEAP_HOST, RUN_BYTES, &run.buffer));
    memset(run.buffer->host, RUN_POISON, RUN_BYTES);
    run_space(&run, HY_COUNTER_COUNT * sizeof(uint32_t));
    for (uint32_t i = 0; i < hy_op_get((hy_op_kind)op->kind)->operands; i++) {
        if (op->operand[i].dtype != HY_DTYPE_NONE)
            run.view[i] = run_space(&run, hy_tensor_bytes(&op->operand[i]));
    }
    return run;
}

static inline void run_close(op_run *run) {
    hy_buffer_free(run->buffer);
    hy_device_close(run->device);
}

/* Address of an operand; run_f32 and run_i32 for those types. */
static inline void *run_at(const op_run *run, uint32_t operand) {
    return hy_view_host(run->view[operand]);
}
static inline float *run_f32(const op_run *run, uint32_t operand) {
    return run_at(run, operand);
}
static inline int32_t *run_i32(const op_run *run, uint32_t operand) {
    return run_at(run, operand);
}

/* Fills a dense operand of any type from float32 values (i32: whole numbers). */
static inline void run_put(const op_run *run, uint32_t operand, const float *values) {
    const hy_tensor *t = &run->op.operand[operand];
    const uint64_t count = hy_tensor_rows(t) * t->dim[t->rank - 1];
    if (t->dtype == HY_DTYPE_I32) {
        for (uint64_t i = 0; i < count; i++)
            run_i32(run, operand)[i] = (int32_t)values[i];
    } else {
        hy_quantize_row((hy_dtype)t->dtype, values, run_at(run, operand), count);
    }
}
#define RUN_PUT(run, operand, ...) run_put(run, operand, (const float[]){__VA_ARGS__})

static inline hy_view run_counters(const op_run *run, uint32_t t, uint32_t s, uint32_t r) {
    const uint32_t counters[HY_COUNTER_COUNT] = {
        [HY_COUNTER_T] = t, [HY_COUNTER_S] = s, [HY_COUNTER_R] = r};
    memcpy(run->buffer->host, counters, sizeof counters);
    return (hy_view){run->buffer, 0, sizeof counters};
}

/* Records the op with its first kernel and runs the list once. */
static inline void run_with(op_run *run, uint32_t t, uint32_t s, uint32_t r) {
    const hy_backend *b = run->device->backend;
    hy_kernel kernel[HY_MAX_CANDIDATES];
    hy_timeline *timeline;
    hy_cmd *cmd;
    uint32_t count;
    const uint64_t used = run->used;
    run_must(b->candidates(run->device, &run->op, kernel, &count));
    assert_true(count > 0);
    run_must(b->cmd_new(run->device, run_counters(run, t, s, r), &cmd));
    run_must(b->cmd_op(cmd, &run->op, kernel, run->view, run_space(run, kernel[0].workspace)));
    run_must(b->cmd_seal(cmd));
    run_must(b->timeline_new(run->device, &timeline));
    run_must(b->submit(run->device, cmd, timeline, 1));
    run_must(b->timeline_wait(timeline, 1, UINT64_MAX));
    hy_timeline_free(timeline);
    hy_cmd_free(cmd);
    run->used = used;
}
static inline void run_all(op_run *run) {
    run_with(run, UINT32_MAX, UINT32_MAX, UINT32_MAX);
}

#define RUN_NEAR(got, want)                                                                        \
    do {                                                                                           \
        const double got_ = (got), want_ = (want);                                                 \
        const double slack_ = 2e-7 * (want_ < 0 ? -want_ : want_) + 1e-7;                          \
        if (!(got_ - want_ <= slack_ && want_ - got_ <= slack_))                                   \
            fail_msg("%s is %.9g, not %.9g", #got, got_, want_);                                   \
    } while (0)

#endif

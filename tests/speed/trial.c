/* tests/speed/trial.c: one kernel on one case, recorded once, submitted again and again. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "tests/speed/speed.h"

enum {
    COPIES_BYTES = 192 << 20, /* of rotated operands: several times any last-level cache's share */
    MAX_COPIES = 64
};
/* Of a turn through all copies: what computes for so long, reading holds up little. */
static const double most_flops = 3e10;

struct speed_trial {
    hy_device *device;
    const speed_case *c;
    const hy_kernel *kernel;
    uint32_t copies;
    hy_buffer *buffer[HY_MAX_OPERANDS], *counters, *workspace;
    uint64_t bytes[HY_MAX_OPERANDS]; /* of one copy */
    hy_cmd *cmd;
    hy_timeline *timeline;
    uint64_t tick;
};

static bool rotated(const speed_trial *t, uint32_t operand) {
    return t->c->rotated >> operand & 1;
}

static bool packed(const speed_trial *t, uint32_t operand) {
    return t->c->op.operand[operand].constant && t->kernel->constant[operand].rows;
}

static void count_copies(speed_trial *t) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        if (rotated(t, i)) bytes += hy_tensor_bytes(&t->c->op.operand[i]);
    const uint64_t wanted = bytes ? hy_div_up(COPIES_BYTES, bytes) : 1;
    const double quick = HY_MAX(2, most_flops / t->c->flops);
    t->copies = (uint32_t)HY_MIN(HY_MIN((double)wanted, quick), MAX_COPIES);
}

static hy_status fill(speed_trial *t, uint32_t i) {
    const hy_tensor *tensor = &t->c->op.operand[i];
    const hy_backend *b = t->device->backend;
    const uint32_t copies = rotated(t, i) ? t->copies : 1;
    const uint64_t file_bytes = hy_tensor_bytes(tensor);
    t->bytes[i] = hy_align_up(packed(t, i) ? t->kernel->constant[i].bytes : file_bytes, 256);
    HY_TRY(b->buffer_new(t->device, HY_HEAP_DEVICE, t->bytes[i] * copies, &t->buffer[i]));
    if (hy_op_get((hy_op_kind)t->c->op.kind)->operand[i].role & HY_ROLE_OUT) return HY_OK;
    void *data = malloc(file_bytes);
    if (!data) return hy_fail(HY_E_MEMORY, "no memory for an operand of %s", t->c->shape);
    hy_status status = speed_fill(t->c, i, data);
    for (uint32_t k = 0; k < copies && status == HY_OK; k++) {
        const hy_view to = {t->buffer[i], k * t->bytes[i],
                            packed(t, i) ? t->kernel->constant[i].bytes : file_bytes};
        status = packed(t, i) ? b->pack(t->device, &t->c->op, t->kernel, i, 0,
                                        hy_tensor_rows(tensor), data, to)
                              : b->write(t->buffer[i], to.offset, data, file_bytes);
    }
    free(data);
    return status;
}

static hy_status record(speed_trial *t) {
    const hy_backend *b = t->device->backend;
    const hy_view workspace = t->workspace ? hy_view_of(t->workspace) : (hy_view){.buffer = NULL};
    HY_TRY(b->cmd_new(t->device, hy_view_of(t->counters), &t->cmd));
    for (uint32_t k = 0; k < t->copies; k++) {
        hy_view views[HY_MAX_OPERANDS] = {{NULL, 0, 0}};
        for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
            if (!t->buffer[i]) continue;
            views[i] = (hy_view){t->buffer[i], rotated(t, i) ? k * t->bytes[i] : 0,
                                 packed(t, i) ? t->kernel->constant[i].bytes
                                              : hy_tensor_bytes(&t->c->op.operand[i])};
        }
        HY_TRY(b->cmd_op(t->cmd, &t->c->op, t->kernel, views, workspace));
        HY_TRY(b->cmd_barrier(t->cmd));
    }
    return b->cmd_seal(t->cmd);
}

static hy_status prepare(speed_trial *t) {
    const hy_backend *b = t->device->backend;
    uint32_t counters[HY_COUNTER_COUNT] = {0};
    count_copies(t);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_tensor *tensor = &t->c->op.operand[i];
        if (tensor->dtype == HY_DTYPE_NONE) continue;
        if (tensor->counter) counters[tensor->counter] = tensor->dim[0];
        HY_TRY(fill(t, i));
    }
    HY_TRY(b->buffer_new(t->device, HY_HEAP_HOST, sizeof counters, &t->counters));
    HY_TRY(b->write(t->counters, 0, counters, sizeof counters));
    if (t->kernel->workspace)
        HY_TRY(b->buffer_new(t->device, HY_HEAP_DEVICE, t->kernel->workspace, &t->workspace));
    HY_TRY(b->timeline_new(t->device, &t->timeline));
    return record(t);
}

hy_status speed_trial_new(hy_device *device, const speed_case *c, const hy_kernel *kernel,
                          speed_trial **out) {
    speed_trial *t = calloc(1, sizeof *t);
    if (!t) return hy_fail(HY_E_MEMORY, "no memory for a trial");
    *t = (speed_trial){.device = device, .c = c, .kernel = kernel};
    hy_status status = prepare(t);
    double warm;
    if (status == HY_OK) status = speed_trial_run(t, 0, &warm);
    if (status != HY_OK) {
        speed_trial_free(t);
        return hy_fail_in(status, "%s, %s: ", kernel->name, c->shape);
    }
    *out = t;
    return HY_OK;
}

void speed_trial_free(speed_trial *t) {
    if (!t) return;
    hy_cmd_free(t->cmd);
    hy_timeline_free(t->timeline);
    hy_buffer_free(t->counters);
    hy_buffer_free(t->workspace);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        hy_buffer_free(t->buffer[i]);
    free(t);
}

hy_status speed_trial_run(speed_trial *t, uint64_t ns, double *seconds) {
    const hy_backend *b = t->device->backend;
    const uint64_t begin = hy_clock_ns();
    uint64_t runs = 0, spent;
    do {
        HY_TRY(b->submit(t->device, t->cmd, t->timeline, ++t->tick));
        HY_TRY(b->timeline_wait(t->timeline, t->tick, UINT64_MAX));
        runs += t->copies;
        spent = hy_clock_ns() - begin;
    } while (spent < ns);
    *seconds = (double)spent * 1e-9 / (double)runs;
    return HY_OK;
}

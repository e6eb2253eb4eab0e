/* tests/conform/onnx_run.c: one HAL op of an ONNX case on every candidate kernel. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "tests/conform/onnx.h"

enum { POISON = 0xa5 };

/* Everything one submission needs, in one buffer. */
typedef struct stage {
    hy_device *device;
    hy_buffer *buffer;
    hy_view view[HY_MAX_OPERANDS], workspace, counters;
    hy_cmd *cmd;
    hy_timeline *timeline;
} stage;

void onnx_set(onnx_run *run, uint32_t operand, hy_dtype dtype, const void *data, uint64_t a,
              uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t dims[HY_MAX_RANK] = {a, b, c, d};
    uint32_t dim[HY_MAX_RANK] = {1, 1, 1, 1}, rank = 0;
    for (; rank < HY_MAX_RANK && dims[rank]; rank++)
        dim[rank] = dims[rank] > UINT32_MAX ? UINT32_MAX : (uint32_t)dims[rank]; /* refused later */
    run->op.operand[operand] = hy_tensor_of(dtype, rank, dim, HY_COUNTER_NONE);
    run->in[operand] = data;
}

void onnx_expect(onnx_run *run, uint32_t operand, const double *want, bool exact) {
    run->want[operand] = want;
    run->exact[operand] = exact;
}

static uint32_t role_of(const onnx_run *run, uint32_t i) {
    return hy_op_get((hy_op_kind)run->op.kind)->operand[i].role;
}

static bool present(const onnx_run *run, uint32_t i) {
    return run->op.operand[i].dtype != HY_DTYPE_NONE;
}

/* ---- laying out ---- */

static bool packed(const onnx_run *run, const hy_kernel *kernel, uint32_t i) {
    return kernel && run->op.operand[i].constant && kernel->constant[i].rows;
}

static hy_view place(uint64_t *used, uint64_t bytes) {
    const hy_view view = {NULL, *used, bytes};
    *used = hy_align_up(*used + bytes, HY_VIEW_ALIGN);
    return view;
}

/* kernel NULL: every operand in the file's layout. */
static hy_status stage_open(stage *s, const onnx_run *run, const hy_kernel *kernel) {
    uint64_t used = 0;
    s->counters = place(&used, HY_COUNTER_COUNT * sizeof(uint32_t));
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (!present(run, i)) continue;
        s->view[i] = place(&used, packed(run, kernel, i) ? kernel->constant[i].bytes
                                                         : hy_tensor_bytes(&run->op.operand[i]));
    }
    if (kernel && kernel->workspace) s->workspace = place(&used, kernel->workspace);
    HY_TRY(s->device->backend->buffer_new(s->device, HY_HEAP_HOST, used, &s->buffer));
    s->counters.buffer = s->buffer;
    if (s->workspace.size) s->workspace.buffer = s->buffer;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (present(run, i)) s->view[i].buffer = s->buffer;
    }
    return HY_OK;
}

static void stage_close(stage *s) {
    hy_cmd_free(s->cmd);
    hy_timeline_free(s->timeline);
    hy_buffer_free(s->buffer);
}

/* Inputs and states as they are, outputs poisoned, constants packed. */
static hy_status stage_fill(onnx_case *c, stage *s, const onnx_run *run, const hy_kernel *kernel) {
    const hy_backend *b = s->device->backend;
    uint8_t *poison;
    HY_TRY(onnx_alloc(c, s->buffer->size, 1, &poison));
    memset(poison, POISON, s->buffer->size);
    HY_TRY(b->write(s->buffer, 0, poison, s->buffer->size));
    HY_TRY(
        b->write(s->buffer, s->counters.offset, (uint32_t[HY_COUNTER_COUNT]){0}, s->counters.size));
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (!run->in[i] || !present(run, i)) continue;
        if (packed(run, kernel, i)) {
            HY_TRY(b->pack(s->device, &run->op, kernel, i, 0, hy_tensor_rows(&run->op.operand[i]),
                           run->in[i], s->view[i]));
        } else {
            HY_TRY(b->write(s->buffer, s->view[i].offset, run->in[i], s->view[i].size));
        }
    }
    return HY_OK;
}

static hy_status stage_run(stage *s, const onnx_run *run, const hy_kernel *kernel) {
    const hy_backend *b = s->device->backend;
    HY_TRY(b->cmd_new(s->device, s->counters, &s->cmd));
    HY_TRY(b->cmd_op(s->cmd, &run->op, kernel, s->view, s->workspace));
    HY_TRY(b->cmd_seal(s->cmd));
    HY_TRY(b->timeline_new(s->device, &s->timeline));
    HY_TRY(b->submit(s->device, s->cmd, s->timeline, 1));
    return b->timeline_wait(s->timeline, 1, UINT64_MAX);
}

/* ---- comparing ---- */

static uint64_t elements(const hy_tensor *t) {
    return hy_tensor_rows(t) * t->dim[t->rank - 1];
}

static double value_at(hy_dtype dtype, const uint8_t *data, uint64_t i) {
    int32_t whole;
    uint16_t half;
    float f;
    if (dtype == HY_DTYPE_F32) {
        memcpy(&f, data + i * 4, 4);
        return (double)f;
    }
    if (dtype == HY_DTYPE_I32) {
        memcpy(&whole, data + i * 4, 4);
        return whole;
    }
    memcpy(&half, data + i * 2, 2);
    return (double)(dtype == HY_DTYPE_F16 ? hy_f16_to_f32(half) : hy_bf16_to_f32(half));
}

/* How far a result may be from ONNX's, which numpy computed in the tensors' own type: f32 want itself is
 * off by about the number of terms (at most 32 here) times 2^-24 of mag, the sum of |terms|; half of it
 * would still be seen if the result had lost one term or one bit of f32. f16 wants round every product
 * and every sum to f16. got's own error is far below both. A kernel that rounds activations to f16 or
 * bf16 adds their step. */
static double allowed(hy_dtype dtype, const hy_kernel *kernel, double want, double mag) {
    double relative = 1e-5, of_mag = 0x1p-20;
    if (dtype == HY_DTYPE_F16) {
        relative = 0x1p-10;
        of_mag = 0x1p-11;
    } else if (dtype == HY_DTYPE_BF16) {
        relative = 0x1p-7;
        of_mag = 0x1p-8;
    }
    if (kernel->flags & HY_KERNEL_ROUNDS) of_mag += 0x1p-8;
    return relative * fabs(want) + of_mag * mag + 0x1p-126;
}

static bool agrees(double got, double want, double bound) {
    if (isnan(want)) return isnan(got);
    return got == want || fabs(got - want) <= bound;
}

/* mag NULL: exact. */
static hy_status compare(const onnx_run *run, uint32_t i, const hy_kernel *kernel,
                         const uint8_t *data, const double *mag) {
    const hy_tensor *t = &run->op.operand[i];
    for (uint64_t e = 0; e < elements(t); e++) {
        const double got = value_at((hy_dtype)t->dtype, data, e), want = run->want[i][e];
        const double bound = mag ? allowed((hy_dtype)t->dtype, kernel, want, mag[e]) : 0;
        if (agrees(got, want, bound)) continue;
        return hy_fail(HY_E_INTERNAL, "%s: %s[%llu] is %.9g, expected %.9g +- %.3g", kernel->name,
                       hy_op_get((hy_op_kind)run->op.kind)->operand[i].name, (unsigned long long)e,
                       got, want, bound);
    }
    return HY_OK;
}

/* ---- magnitudes ---- */

static hy_status ask_oracle(onnx_case *c, const onnx_run *run, double **mag) {
    stage s = {.device = c->oracle};
    hy_status status = stage_open(&s, run, NULL);
    if (status == HY_OK) status = stage_fill(c, &s, run, NULL);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS && status == HY_OK; i++) {
        if (!run->want[i] || run->exact[i] || !present(run, i)) continue;
        double *want;
        const uint64_t n = elements(&run->op.operand[i]);
        HY_TRY_GOTO(status, onnx_alloc(c, n, sizeof *want, &want), done);
        HY_TRY_GOTO(status, onnx_alloc(c, n, sizeof *want, &mag[i]), done);
        HY_TRY_GOTO(
            status,
            s.device->backend->oracle(s.device, &run->op, s.view, s.counters, i, want, mag[i]),
            done);
    }
done:
    stage_close(&s);
    return status;
}

/* ---- all candidates ---- */

static void count_kernel(onnx_case *c, const char *name) {
    for (uint32_t i = 0; i < c->kernels; i++) {
        if (strcmp(c->kernel[i], name) == 0) return;
    }
    if (c->kernels < ONNX_MAX_KERNELS) c->kernel[c->kernels++] = name;
}

/* Reads what was written; keeps it as run->out unless there is one already. */
static hy_status read_back(onnx_case *c, stage *s, onnx_run *run, const hy_kernel *kernel,
                           double *const *mag) {
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (!present(run, i) || !(role_of(run, i) & (HY_ROLE_OUT | HY_ROLE_STATE))) continue;
        uint8_t *data;
        HY_TRY(onnx_alloc(c, s->view[i].size, 1, &data));
        HY_TRY(s->device->backend->read(s->buffer, s->view[i].offset, data, s->view[i].size));
        if (!run->out[i]) run->out[i] = data;
        if (run->want[i]) HY_TRY(compare(run, i, kernel, data, mag[i]));
    }
    return HY_OK;
}

static hy_status run_kernel(onnx_case *c, onnx_run *run, const hy_kernel *kernel,
                            double *const *mag) {
    stage s = {.device = c->device};
    hy_status status = stage_open(&s, run, kernel);
    if (status == HY_OK) status = stage_fill(c, &s, run, kernel);
    if (status == HY_OK) status = stage_run(&s, run, kernel);
    if (status == HY_OK) status = read_back(c, &s, run, kernel, mag);
    stage_close(&s);
    if (status == HY_OK) count_kernel(c, kernel->name);
    /* candidates() promised it, so that this is no reason to skip */
    if (status == HY_E_UNSUPPORTED)
        return hy_fail_in(HY_E_INTERNAL, "%s promised but refused", kernel->name);
    return status;
}

static hy_status run_candidates(onnx_case *c, onnx_run *run, double *const *mag, uint32_t *count) {
    hy_kernel kernels[HY_MAX_CANDIDATES];
    HY_TRY(hy_op_check(&run->op));
    HY_TRY(c->device->backend->candidates(c->device, &run->op, kernels, count));
    for (uint32_t k = 0; k < *count; k++)
        HY_TRY(run_kernel(c, run, &kernels[k], mag));
    return HY_OK;
}

hy_status onnx_run_op(onnx_case *c, onnx_run *run) {
    double *mag[HY_MAX_OPERANDS] = {0};
    uint32_t plain = 0, constant = 0;
    bool weights = false;
    HY_TRY(hy_op_infer(&run->op));
    HY_TRY(hy_op_check(&run->op));
    HY_TRY(ask_oracle(c, run, mag));
    HY_TRY(run_candidates(c, run, mag, &plain));
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (!present(run, i) || !(role_of(run, i) & HY_ROLE_WEIGHT)) continue;
        run->op.operand[i].constant = 1;
        weights = true;
    }
    if (weights) HY_TRY(run_candidates(c, run, mag, &constant));
    if (plain + constant > 0) return HY_OK;
    hy_text text = {0};
    hy_op_print(&run->op, &text);
    hy_status status = hy_fail(HY_E_UNSUPPORTED, "the device has no kernel for %s",
                               text.data ? text.data : "this op");
    hy_text_free(&text);
    return status;
}

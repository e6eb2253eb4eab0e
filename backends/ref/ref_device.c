/* The ref backend: ops run one after the other when a list is submitted, each over all workers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/ref/ref.h"
#include "backends/ref/ref_backend.h"
#include "base/arena.h"
#include "base/num.h"
#include "hal/host.h"

#define BIT(OPERAND) (1u << (OPERAND))

static const ref_entry ref_entries[HY_OP_KIND_COUNT] = {
    [HY_OP_EMBED] = {ref_embed, ref_rows_scratch, false, 0},
    [HY_OP_MATMUL] = {ref_matmul, ref_matmul_scratch, true, BIT(HY_MATMUL_residual)},
    [HY_OP_GROUPED_MATMUL] = {ref_grouped_matmul, ref_grouped_matmul_scratch, true, 0},
    [HY_OP_RMS_NORM] = {ref_rms_norm, ref_norm_scratch, false,
                        BIT(HY_RMS_NORM_x) | BIT(HY_RMS_NORM_residual)},
    [HY_OP_LAYER_NORM] = {ref_layer_norm, ref_norm_scratch, false,
                          BIT(HY_LAYER_NORM_x) | BIT(HY_LAYER_NORM_residual)},
    [HY_OP_ROPE_TABLE] = {ref_rope_table, ref_rope_scratch, false, 0},
    [HY_OP_ROPE] = {ref_rope, ref_rope_scratch, false, BIT(HY_ROPE_x)},
    [HY_OP_KV_WRITE] = {ref_kv_write, ref_kv_write_scratch, false, BIT(HY_KV_WRITE_q)},
    [HY_OP_ATTENTION] = {ref_attention, ref_attention_scratch, true, BIT(HY_ATTENTION_q)},
    [HY_OP_ADD] = {ref_add, ref_rows_scratch, false, BIT(HY_ADD_a) | BIT(HY_ADD_b)},
    [HY_OP_MUL] = {ref_multiply, ref_rows_scratch, false, BIT(HY_MUL_a) | BIT(HY_MUL_b)},
    [HY_OP_UNARY] = {ref_unary, ref_rows_scratch, false, BIT(HY_UNARY_x)},
    [HY_OP_GLU] = {ref_glu, ref_rows_scratch, false, BIT(HY_GLU_gate) | BIT(HY_GLU_up)},
    [HY_OP_SOFTMAX] = {ref_softmax_op, ref_rows_scratch, false, BIT(HY_SOFTMAX_x)},
    [HY_OP_TOPK_ROUTE] = {ref_topk_route, ref_rows_scratch, false, 0},
    [HY_OP_COMBINE] = {ref_combine, ref_rows_scratch, false, BIT(HY_COMBINE_residual)},
    [HY_OP_GATHER_ROWS] = {ref_gather_rows, ref_rows_scratch, false, 0},
    [HY_OP_ARGMAX] = {ref_argmax, ref_rows_scratch, false, 0},
    [HY_OP_TOPK] = {ref_topk, ref_rows_scratch, false, 0},
    [HY_OP_CAST] = {ref_move, ref_rows_scratch, false, BIT(HY_CAST_x)},
    [HY_OP_QUANTIZE_ROWS] = {ref_move, ref_rows_scratch, false, 0},
    [HY_OP_COPY] = {ref_move, ref_rows_scratch, false, 0},
};

typedef struct ref_device {
    hy_device base;
    hy_pool *pool;
} ref_device;

/* One recorded op, or a plain copy (bytes > 0 and no op). */
typedef struct ref_step {
    hy_op op;
    uint8_t *p[HY_MAX_OPERANDS];
    double *scratch;
    uint8_t *dst;
    const uint8_t *src;
    uint64_t bytes;
} ref_step;

typedef struct ref_cmd {
    hy_cmd base;
    const uint8_t *counters;
    ref_step *steps;
    size_t count, capacity;
    bool sealed;
} ref_cmd;

/* ---- device -------------------------------------------------------------------------------------- */

static void describe(uint32_t units, hy_device_info *out) {
    const long page = sysconf(_SC_PAGESIZE), total = sysconf(_SC_PHYS_PAGES);
    const long available = sysconf(_SC_AVPHYS_PAGES);
    *out = (hy_device_info){.units = units, .host_memory = true, .software = true};
    snprintf(out->name, sizeof out->name, "float64 reference");
    snprintf(out->arch, sizeof out->arch, "float64");
    snprintf(out->detail, sizeof out->detail, "the oracle: slow and obviously right");
    if (page > 0 && total > 0) out->memory_total = (uint64_t)total * (uint64_t)page;
    if (page > 0 && available > 0) out->memory_free = (uint64_t)available * (uint64_t)page;
}

static hy_status ref_devices(hy_device_info *infos, uint32_t capacity, uint32_t *count) {
    if (capacity) describe(hy_cpu_count(), infos);
    *count = 1;
    return HY_OK;
}

static hy_status ref_open(uint32_t index, const hy_device_params *params, hy_device **out) {
    if (index != 0) return hy_fail(HY_E_NOT_FOUND, "ref: device %u of 1", index);
    ref_device *device = calloc(1, sizeof *device);
    if (!device) return hy_fail(HY_E_MEMORY, "ref: out of memory for a device");
    device->base.backend = &hy_ref_backend;
    hy_status status =
        hy_pool_new(params ? params->threads : 0, params ? params->cpus : NULL, &device->pool);
    if (status != HY_OK) {
        free(device);
        return status;
    }
    *out = &device->base;
    return HY_OK;
}

static void ref_close(hy_device *device) {
    hy_pool_free(((ref_device *)device)->pool);
    free(device);
}

static void ref_info(hy_device *device, hy_device_info *out) {
    describe(hy_pool_size(((ref_device *)device)->pool), out);
}

static hy_status ref_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out) {
    return hy_host_buffer_new(device, true, heap, size, out);
}

/* ---- kernels ------------------------------------------------------------------------------------- */

static const char *const kernel_names[HY_OP_KIND_COUNT] = {
#define HY_OP(NAME, name) [HY_OP_##NAME] = "ref." #name,
#include "hal/op.def"
};

static uint64_t scratch_bytes(const hy_op *op, uint32_t workers) {
    const ref_entry *entry = &ref_entries[op->kind];
    return entry->scratch(op, entry->parallel ? workers : 1) * sizeof(double);
}

static hy_status ref_candidates(hy_device *base, const hy_op *op, hy_kernel *out, uint32_t *count) {
    const uint32_t workers = hy_pool_size(((ref_device *)base)->pool);
    out[0] =
        (hy_kernel){.name = kernel_names[op->kind],
                    .flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT,
                    .accuracy = 1};
    out[0].in_place = hy_host_in_place(op, ref_entries[op->kind].in_place);
    out[0].cost = (float)((hy_op_flops(op) + (double)hy_op_bytes(op)) * 1e-3); /* 1 GFLOP/s */
    out[0].workspace = hy_align_up(scratch_bytes(op, workers), HY_VIEW_ALIGN);
    hy_host_constants(op, &out[0]);
    *count = 1;
    return HY_OK;
}

/* What one op needs on every worker. */
static ref_call call_of(const hy_op *op, uint8_t *const *p, const uint8_t *counters) {
    ref_call call = {.op = op};
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_tensor *t = &op->operand[i];
        uint32_t count;
        if (t->dtype == HY_DTYPE_NONE) continue;
        call.o[i] = (ref_tensor){t, p[i], t->dim[0]};
        if (t->counter == HY_COUNTER_NONE || !counters) continue;
        memcpy(&count, counters + t->counter * sizeof count, sizeof count);
        call.o[i].n = HY_MIN(count, t->dim[0]);
    }
    return call;
}

static void run_worker(void *context, uint32_t worker, uint32_t workers) {
    const ref_call *call = context;
    ref_entries[call->op->kind].run(call, worker, workers);
}

static void run_step(ref_device *device, const ref_step *step, const uint8_t *counters) {
    if (step->bytes) {
        memcpy(step->dst, step->src, step->bytes);
        return;
    }
    ref_call call = call_of(&step->op, step->p, counters);
    call.scratch = step->scratch;
    call.pool = device->pool;
    if (ref_entries[step->op.kind].parallel)
        hy_pool_run(device->pool, run_worker, &call);
    else
        run_worker(&call, 0, 1);
}

/* ---- command lists ------------------------------------------------------------------------------- */

static hy_status ref_cmd_new(hy_device *device, hy_view counters, hy_cmd **out) {
    ref_cmd *cmd = calloc(1, sizeof *cmd);
    if (!cmd) return hy_fail(HY_E_MEMORY, "ref: out of memory for a command list");
    cmd->base.device = device;
    cmd->counters = hy_host_address(counters);
    *out = &cmd->base;
    return HY_OK;
}

static void ref_cmd_free(hy_cmd *base) {
    ref_cmd *cmd = (ref_cmd *)base;
    if (!cmd) return;
    free(cmd->steps);
    free(cmd);
}

static hy_status add_step(ref_cmd *cmd, ref_step **out) {
    if (cmd->sealed) return hy_fail(HY_E_STATE, "ref: the command list is sealed");
    HY_TRY(hy_grow(&cmd->steps, cmd->count, &cmd->capacity, sizeof *cmd->steps));
    *out = &cmd->steps[cmd->count++];
    memset(*out, 0, sizeof **out);
    return HY_OK;
}

static hy_status ref_cmd_op(hy_cmd *base, const hy_op *op, const hy_kernel *kernel,
                            const hy_view *views, hy_view workspace) {
    ref_step *step = NULL;
    if (workspace.size < kernel->workspace)
        return hy_fail(HY_E_ARGUMENT, "%s: workspace of %llu bytes, not %llu", kernel->name,
                       (unsigned long long)workspace.size, (unsigned long long)kernel->workspace);
    HY_TRY(add_step((ref_cmd *)base, &step));
    step->op = *op;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (op->operand[i].dtype != HY_DTYPE_NONE) step->p[i] = hy_host_address(views[i]);
    }
    step->scratch = hy_host_address(workspace);
    return HY_OK;
}

static hy_status ref_cmd_copy(hy_cmd *base, hy_view dst, hy_view src) {
    ref_step *step = NULL;
    if (dst.size == 0) return HY_OK;
    HY_TRY(add_step((ref_cmd *)base, &step));
    step->dst = hy_host_address(dst);
    step->src = hy_host_address(src);
    step->bytes = dst.size;
    return HY_OK;
}

/* Ops run in the order of recording, each after the one before: nothing to wait for. */
static hy_status ref_cmd_barrier(hy_cmd *base) {
    (void)base;
    return HY_OK;
}

static hy_status ref_cmd_seal(hy_cmd *base) {
    ((ref_cmd *)base)->sealed = true;
    return HY_OK;
}

static hy_status ref_submit(hy_device *device, hy_cmd *base, hy_timeline *timeline,
                            uint64_t value) {
    const ref_cmd *cmd = (const ref_cmd *)base;
    if (!cmd->sealed) return hy_fail(HY_E_STATE, "ref: the command list is not sealed");
    for (size_t i = 0; i < cmd->count; i++)
        run_step((ref_device *)device, &cmd->steps[i], cmd->counters);
    hy_host_timeline_set(timeline, value);
    return HY_OK;
}

/* ---- the oracle ---------------------------------------------------------------------------------- */

static hy_status ref_oracle(hy_device *device, const hy_op *op, const hy_view *views,
                            hy_view counters, uint32_t operand, double *want, double *mag) {
    uint8_t *p[HY_MAX_OPERANDS] = {0};
    (void)device;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (op->operand[i].dtype != HY_DTYPE_NONE) p[i] = hy_host_address(views[i]);
    }
    ref_call call = call_of(op, p, hy_host_address(counters));
    call.scratch = malloc((size_t)scratch_bytes(op, 1) + 1);
    if (!call.scratch) return hy_fail(HY_E_MEMORY, "ref: out of memory for an oracle");
    call.want = want;
    call.mag = mag;
    call.target = operand;
    run_worker(&call, 0, 1);
    free(call.scratch);
    return HY_OK;
}

const hy_backend hy_ref_backend = {
    .name = "ref",
    .devices = ref_devices,
    .open = ref_open,
    .close = ref_close,
    .info = ref_info,
    .buffer_new = ref_buffer_new,
    .buffer_import = hy_host_buffer_import,
    .buffer_free = hy_host_buffer_free,
    .write = hy_host_write,
    .read = hy_host_read,
    .candidates = ref_candidates,
    .pack = hy_host_pack,
    .unpack = hy_host_unpack,
    .cmd_new = ref_cmd_new,
    .cmd_free = ref_cmd_free,
    .cmd_op = ref_cmd_op,
    .cmd_copy = ref_cmd_copy,
    .cmd_barrier = ref_cmd_barrier,
    .cmd_seal = ref_cmd_seal,
    .submit = ref_submit,
    .timeline_new = hy_host_timeline_new,
    .timeline_free = hy_host_timeline_free,
    .timeline_value = hy_host_timeline_value,
    .timeline_wait = hy_host_timeline_wait,
    .oracle = ref_oracle,
};

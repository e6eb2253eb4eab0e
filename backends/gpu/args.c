/* backends/gpu/args.c: argument blocks, and what families say about grids, time and rounded activations. */
#include "backends/gpu/args.h"

#include <string.h>

#include "backends/gpu/layout.h"
#include "base/num.h"

static hy_arg_tensor describe(const hy_tensor *t, bool packed, uint64_t address) {
    hy_arg_tensor arg = {.address = address,
                         .kind = t->dtype | (uint32_t)t->rank << 8 | (uint32_t)t->counter << 16 |
                                 (uint32_t)packed << 24,
                         .columns = t->dim[t->rank - 1]};
    memcpy(arg.dim, t->dim, sizeof arg.dim);
    if (packed) {
        const gpu_layout layout = gpu_layout_of((hy_dtype)t->dtype, arg.columns);
        arg.stride[0] = layout.row_bytes;
        for (uint32_t p = 1; p < GPU_PLANES; p++)
            arg.stride[p] = layout.plane[p].offset;
    } else {
        for (uint32_t d = 0; d < HY_MAX_RANK; d++)
            arg.stride[d] = (uint32_t)t->stride[d];
    }
    return arg;
}

void gpu_args_fill(const hy_op *op, uint32_t packed, const hy_view *views, hy_view counters,
                   hy_view workspace, hy_args *out) {
    *out = (hy_args){.counters = gpu_address(counters)};
    if (workspace.buffer && workspace.size) out->workspace = gpu_address(workspace);
    memcpy(out->word, op->word, sizeof out->word);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_tensor *t = &op->operand[i];
        if (t->dtype == HY_DTYPE_NONE) continue;
        out->operand[i] = describe(t, (packed >> i & 1) && t->constant, gpu_address(views[i]));
    }
}

bool gpu_args_hold(const hy_op *op, uint32_t packed) {
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_tensor *t = &op->operand[i];
        if (t->dtype == HY_DTYPE_NONE) continue;
        if ((packed >> i & 1) && !t->constant) return false;
        for (uint32_t d = 0; d < HY_MAX_RANK; d++)
            if (t->stride[d] > UINT32_MAX / 4) return false;
        if (gpu_rows(op, i) > UINT32_MAX) return false;
    }
    return true;
}

/* ---- for families -------------------------------------------------------------------------------- */

uint64_t gpu_rows(const hy_op *op, uint32_t operand) {
    return hy_tensor_rows(&op->operand[operand]);
}

float gpu_time(const gpu_device *device, double bytes, double ops, uint32_t launches) {
    const gpu_limits *l = &device->limits;
    const double moving = bytes / l->bytes_per_us, computing = ops / l->ops_per_us;
    return (float)(HY_MAX(moving, computing) + launches * l->launch_us);
}

void gpu_grid(const gpu_device *device, uint64_t groups, gpu_launch *out) {
    const uint64_t x = HY_MIN(groups, device->limits.max_grid);
    out->grid[0] = (uint32_t)x;
    out->grid[1] = x ? (uint32_t)hy_div_up(groups, x) : 1;
    out->grid[2] = 1;
}

uint64_t gpu_a8_bytes(uint64_t rows, uint64_t k) {
    return hy_align_up(rows * (k / 32) * sizeof(hy_a8_block), HY_VIEW_ALIGN);
}

/* x as dense a8 rows at the workspace's begin. */
static hy_arg_tensor quantized(const hy_op *op, const gpu_launch *launch) {
    hy_tensor t = op->operand[0];
    t = hy_tensor_of(HY_DTYPE_A8, t.rank, t.dim, (hy_counter)t.counter);
    return describe(&t, false, launch->args.workspace);
}

void gpu_plan_quantize(const gpu_device *device, const hy_op *op, gpu_launch *out) {
    const hy_tensor *x = &op->operand[0];
    if (x->dtype == HY_DTYPE_A8) return;
    out->args.operand[HY_QUANTIZE_ROWS_out] = quantized(op, out);
    gpu_plan_quantize_rows(device, gpu_rows(op, 0), x->dim[x->rank - 1], out);
}

void gpu_use_quantized(const hy_op *op, gpu_launch *out) {
    if (op->operand[0].dtype != HY_DTYPE_A8) out->args.operand[0] = quantized(op, out);
}

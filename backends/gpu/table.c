/* backends/gpu/table.c: from an op to the variants that do it. */
#include "backends/gpu/args.h"
#include "backends/gpu/layout.h"
#include "base/num.h"
#include "hal/host.h"

/* Results of products are floats here. */
static bool writes_blocks(const hy_op *op) {
    return op->kind == HY_OP_MATMUL && op->operand[HY_MATMUL_out].dtype == HY_DTYPE_A8;
}

static bool fits(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const gpu_family *family = variant->family;
    return variant->kind == (hy_op_kind)op->kind &&
           (variant->needs & ~device->limits.features) == 0 && !writes_blocks(op) &&
           gpu_args_hold(op, family->packed) &&
           (!family->accepts || family->accepts(device, variant, op));
}

static void pack_constants(const gpu_family *family, const hy_op *op, hy_kernel *kernel) {
    hy_host_constants(op, kernel);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_tensor *t = &op->operand[i];
        if (!(family->packed >> i & 1) || t->dtype == HY_DTYPE_NONE) continue;
        const gpu_layout layout = gpu_layout_of((hy_dtype)t->dtype, t->dim[t->rank - 1]);
        kernel->constant[i].layout = GPU_LAYOUT_P16;
        kernel->constant[i].bytes = gpu_rows(op, i) * layout.row_bytes;
    }
}

static hy_kernel kernel_of(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const gpu_family *family = variant->family;
    hy_kernel kernel = {.name = variant->name,
                        .flags = variant->flags,
                        .rounded = variant->rounded,
                        .in_place = hy_host_in_place(op, variant->in_place),
                        .order = variant->order,
                        .accuracy = variant->accuracy,
                        .impl = (uint64_t)(uintptr_t)variant};
    kernel.cost = family->cost ? family->cost(device, variant, op)
                               : gpu_time(device, (double)hy_op_bytes(op), 0, 1);
    if (family->workspace)
        kernel.workspace = hy_align_up(family->workspace(device, variant, op), HY_VIEW_ALIGN);
    pack_constants(family, op, &kernel);
    return kernel;
}

hy_status gpu_candidates(hy_device *base, const hy_op *op, hy_kernel *out, uint32_t *count) {
    const gpu_device *device = (const gpu_device *)base;
    *count = 0;
    for (const gpu_variant *v = device->variants; v->name; v++) {
        if (!fits(device, v, op)) continue;
        const hy_kernel kernel = kernel_of(device, v, op);
        hy_candidate_add(out, count, &kernel);
    }
    return HY_OK;
}

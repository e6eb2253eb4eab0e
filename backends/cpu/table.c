/* backends/cpu/table.c: from an op to the variants that do it; packing of constants. */
#include <stdatomic.h>
#include <string.h>

#include "backends/cpu/device.h"
#include "base/num.h"
#include "hal/host.h"

enum {
    PACK_GRAIN = 256 << 10, /* bytes of the file's layout that one worker takes at a time */
    MOVED_A_US = 10000      /* bytes a microsecond: the default cost estimate */
};

static const cpu_variant *const tables[] = {
    cpu_matmul_variants,
    cpu_blas_variants,
    cpu_attention_variants,
    cpu_misc_variants,
};

static bool fits(const cpu_device *device, const cpu_variant *variant, const hy_op *op) {
    return variant->kind == (hy_op_kind)op->kind && (variant->isa & ~device->isa) == 0 &&
           (!variant->accepts || variant->accepts(op));
}

static hy_kernel kernel_of(const cpu_device *device, const cpu_variant *variant, const hy_op *op) {
    hy_kernel kernel = {.name = variant->name, .flags = variant->flags};
    kernel.in_place = hy_host_in_place(op, variant->in_place);
    kernel.accuracy = variant->accuracy;
    kernel.order = variant->order;
    kernel.rounded = variant->rounded;
    kernel.cost = variant->cost ? variant->cost(op) : (float)hy_op_bytes(op) / MOVED_A_US;
    if (variant->workspace)
        kernel.workspace =
            hy_align_up(variant->workspace(op, hy_pool_size(device->pool)), HY_VIEW_ALIGN);
    hy_host_constants(op, &kernel);
    if (variant->constants) variant->constants(op, kernel.constant);
    kernel.impl = (uint64_t)(uintptr_t)variant;
    return kernel;
}

hy_status cpu_candidates(hy_device *base, const hy_op *op, hy_kernel *out, uint32_t *count) {
    const cpu_device *device = (const cpu_device *)base;
    *count = 0;
    for (size_t t = 0; t < HY_COUNT_OF(tables); t++) {
        for (const cpu_variant *v = tables[t]; v->name; v++) {
            if (!fits(device, v, op)) continue;
            const hy_kernel kernel = kernel_of(device, v, op);
            hy_candidate_add(out, count, &kernel);
        }
    }
    return HY_OK;
}

/* ---- packing ---- */

typedef struct packing {
    const cpu_variant *variant;
    const hy_op *op;
    uint32_t operand;
    uint64_t row, rows; /* of the whole job */
    uint64_t grain;     /* rows taken at a time, a multiple of constant.rows */
    uint64_t row_bytes; /* in the file's layout */
    const char *src;
    char *dst;
    bool back;             /* unpack */
    _Atomic uint64_t next; /* rows handed out */
} packing;

static void pack_rows(packing *job, uint64_t begin, uint64_t rows) {
    const cpu_variant *variant = job->variant;
    const uint64_t file = begin * job->row_bytes;
    if (job->back && variant->unpack) /* file side: dst */
        variant->unpack(job->op, job->operand, job->row + begin, rows, job->src, job->dst + file);
    else if (!job->back && variant->pack)
        variant->pack(job->op, job->operand, job->row + begin, rows, job->src + file, job->dst);
    else
        memcpy(job->dst + (job->back ? 0 : job->row * job->row_bytes) + file, job->src + file,
               rows * job->row_bytes);
}

static void pack_worker(void *context, uint32_t worker, uint32_t workers) {
    (void)worker;
    (void)workers;
    packing *job = context;
    for (;;) {
        const uint64_t begin = atomic_fetch_add(&job->next, job->grain);
        if (begin >= job->rows) return;
        pack_rows(job, begin, HY_MIN(job->grain, job->rows - begin));
    }
}

static hy_status run_packing(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                             packing *job) {
    const hy_tensor *t = &op->operand[job->operand];
    const hy_constant_layout *layout = &kernel->constant[job->operand];
    if (!layout->rows)
        return hy_fail(HY_E_ARGUMENT, "cpu: %s: operand %u is not a constant", kernel->name,
                       job->operand);
    if (job->row % layout->rows)
        return hy_fail(HY_E_ARGUMENT, "cpu: %s: row %llu is not a multiple of %u", kernel->name,
                       (unsigned long long)job->row, layout->rows);
    job->op = op;
    job->variant = (const cpu_variant *)(uintptr_t)kernel->impl;
    /* A variant may leave some operands in the file's layout and pack others. */
    static const cpu_variant plain;
    if (layout->layout == 0) job->variant = &plain;
    job->row_bytes =
        hy_dtype_row_bytes(hy_dtype_get((hy_dtype)t->dtype), t->rank ? t->dim[t->rank - 1] : 1);
    const uint64_t grain = HY_MAX(PACK_GRAIN / HY_MAX(job->row_bytes, 1), 1);
    job->grain = hy_div_up(grain, layout->rows) * layout->rows;
    hy_pool_run(((cpu_device *)device)->pool, pack_worker, job);
    return HY_OK;
}

hy_status cpu_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                   uint64_t row, uint64_t rows, const void *src, hy_view dst) {
    packing job = {
        .operand = operand, .row = row, .rows = rows, .src = src, .dst = hy_view_host(dst)};
    return run_packing(device, op, kernel, &job);
}

hy_status cpu_unpack(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                     hy_view src, void *dst) {
    packing job = {.operand = operand,
                   .rows = hy_tensor_rows(&op->operand[operand]),
                   .src = hy_view_host(src),
                   .dst = dst,
                   .back = true};
    return run_packing(device, op, kernel, &job);
}

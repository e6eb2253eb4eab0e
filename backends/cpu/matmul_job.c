/* backends/cpu/matmul_job.c: one group of panels times one tile, and out. */
#include "backends/cpu/matmul_job.h"

#include "backends/cpu/kernel.h"

static const mm_kernels *const tables[] = {
    &cpu_mm_generic,
#if defined(__x86_64__)
    &cpu_mm_avx2,
    &cpu_mm_avx512,
#endif
};

static void read_matmul(mm_job *job, const cpu_call *call) {
    const hy_op *op = &call->op;
    job->epilogue.act = op->matmul.act;
    job->epilogue.scale = op->matmul.scale;
    job->epilogue.softcap = op->matmul.softcap;
    job->bias = call->p[HY_MATMUL_bias];
    job->out = call->p[HY_MATMUL_out];
    job->residual = call->p[HY_MATMUL_residual];
    job->pairs = 1;
    const hy_tensor *out = &op->operand[HY_MATMUL_out];
    const hy_tensor *residual = &op->operand[HY_MATMUL_residual];
    job->epilogue.out_dtype = out->dtype;
    job->epilogue.residual_dtype = residual->dtype;
    job->out_stride[0] = cpu_bytes(out->dtype, out->stride[0]);
    if (job->residual) job->residual_stride = cpu_bytes(residual->dtype, residual->stride[0]);
}

static void read_grouped(mm_job *job, const cpu_call *call) {
    const hy_op *op = &call->op;
    job->epilogue.act = op->grouped_matmul.act;
    job->bias = call->p[HY_GROUPED_MATMUL_bias];
    job->out = call->p[HY_GROUPED_MATMUL_out];
    const hy_tensor *out = &op->operand[HY_GROUPED_MATMUL_out];
    job->epilogue.out_dtype = out->dtype;
    job->pairs = out->dim[1];
    job->out_stride[0] = cpu_bytes(out->dtype, out->stride[0]);
    job->out_stride[1] = cpu_bytes(out->dtype, out->stride[1]);
}

mm_job cpu_mm_job_of(const cpu_call *call) {
    mm_job job = {.kernels = tables[call->variant->tag & MM_TAG_ISA],
                  .panels = cpu_panels_of(&call->op)};
    while (job.widest < MM_MAX_WIDTH) {
        const uint32_t width = job.kernels->width[cpu_mm_width_index(job.kernels, job.widest + 1)];
        if (width <= job.widest) break;
        job.widest = width;
    }
    job.column_bytes = mm_column_bytes(job.panels.dtype, job.panels.k);
    const uint32_t w = cpu_weight_operand(&call->op);
    job.weights = call->p[w];
    if (call->variant->tag & MM_TAG_ROWS) {
        const hy_tensor *t = &call->op.operand[w];
        const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
        job.row_stride = hy_dtype_row_bytes(info, t->stride[t->rank - 2]);
        job.expert_stride = t->rank > 2 ? hy_dtype_row_bytes(info, t->stride[0]) : 0;
    }
    job.epilogue.m = job.panels.m;
    if (call->op.kind == HY_OP_MATMUL)
        read_matmul(&job, call);
    else
        read_grouped(&job, call);
    return job;
}

uint32_t cpu_mm_width_index(const mm_kernels *kernels, uint32_t columns) {
    uint32_t i = 0;
    while (kernels->width[i] < columns && i + 1 < MM_WIDTHS && kernels->width[i + 1])
        i++;
    return i;
}

uint64_t cpu_mm_scratch_bytes(const cpu_panels *panels) {
    return hy_align_up(panels->units * panels->bytes, MM_ALIGN);
}

const uint8_t *cpu_mm_group_panels(const mm_job *job, uint32_t expert, uint32_t group) {
    if (!job->scratch) return job->weights + cpu_group_offset(&job->panels, expert, group);
    cpu_panel_pack_group(&job->panels, group, job->weights + expert * job->expert_stride,
                         job->row_stride, job->scratch);
    return job->scratch;
}

void cpu_mm_finish(const mm_job *job, const mm_kernels *kernels, const mm_epilogue *e,
                   const float *z, const float *up, uint32_t group, uint64_t row) {
    const uint32_t m = group * CPU_PANEL, outputs = HY_MIN(job->panels.m - m, (uint32_t)CPU_PANEL);
    const uint64_t pair = job->order ? job->order[row] : row;
    uint8_t *out = job->out + pair / job->pairs * job->out_stride[0] +
                   pair % job->pairs * job->out_stride[1] + cpu_bytes(e->out_dtype, m);
    const uint8_t *residual = job->residual;
    if (residual) residual += pair * job->residual_stride + cpu_bytes(e->residual_dtype, m);
    kernels->finish(e, z, up, m, outputs, out, residual);
}

void cpu_mm_multiply_panels(const mm_job *job, const uint8_t *panels, uint32_t expert,
                            uint32_t group, const uint8_t *tile, uint32_t first, uint32_t count) {
    _Alignas(64) float z[2][MM_MAX_WIDTH * CPU_PANEL];
    const cpu_panels *p = &job->panels;
    const mm_micro micro = job->kernels->micro[p->dtype][cpu_mm_width_index(job->kernels, count)];
    for (uint32_t unit = 0; unit < p->units; unit++)
        micro(panels + unit * p->bytes, tile, p->k, z[unit]);

    mm_epilogue e = job->epilogue;
    e.bias = job->bias ? job->bias + (uint64_t)expert * p->n : NULL;
    for (uint32_t c = 0; c < count; c++)
        cpu_mm_finish(job, job->kernels, &e, z[0] + c * CPU_PANEL,
                      p->units > 1 ? z[1] + c * CPU_PANEL : NULL, group, first + c);
}

void cpu_mm_multiply(const mm_job *job, uint32_t expert, uint32_t group, const uint8_t *tile,
                     uint32_t first, uint32_t count) {
    cpu_mm_multiply_panels(job, cpu_mm_group_panels(job, expert, group), expert, group, tile, first,
                           count);
}

/* backends/cpu/embed.c: rows of an embedding table, dequantized exactly; from the same panels as the
 * output layer's when the two are one tensor. */
#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul_job.h"

enum { CHUNK = 256 }; /* elements at a time: one block of every format */

/* Row `id` of the table, elements [k, k + count): a whole number of blocks. */
typedef void (*reader)(const cpu_call *call, const cpu_panels *p, uint32_t id, uint32_t k,
                       uint32_t count, float *out);

static void read_panels(const cpu_call *call, const cpu_panels *p, uint32_t id, uint32_t k,
                        uint32_t count, float *out) {
    uint8_t bytes[CHUNK * 4];
    const uint8_t *panel =
        (const uint8_t *)call->p[HY_EMBED_table] + cpu_group_offset(p, 0, id / CPU_PANEL);
    const uint32_t block = hy_dtype_get(p->dtype)->block;
    cpu_panel_lane(p->dtype, panel, id % CPU_PANEL, k / block, count / block, bytes);
    hy_dequantize_row(p->dtype, bytes, out, count);
}

static void read_rows(const cpu_call *call, const cpu_panels *p, uint32_t id, uint32_t k,
                      uint32_t count, float *out) {
    const hy_dtype_info *info = hy_dtype_get(p->dtype);
    const uint64_t stride = call->op.operand[HY_EMBED_table].stride[0];
    const uint8_t *row =
        (const uint8_t *)call->p[HY_EMBED_table] + hy_dtype_row_bytes(info, id * stride + k);
    hy_dequantize_row(p->dtype, row, out, count);
}

static void embed_row(const cpu_call *call, const cpu_panels *p, reader read, int32_t id,
                      uint8_t *out) {
    const uint32_t dtype = call->op.operand[HY_EMBED_out].dtype;
    const float scale = call->op.embed.scale;
    float lanes[CHUNK];
    for (uint32_t k = 0; k < p->k; k += CHUNK) {
        const uint32_t count = HY_MIN(p->k - k, (uint32_t)CHUNK);
        if ((uint32_t)id < p->n)
            read(call, p, (uint32_t)id, k, count, lanes);
        else
            memset(lanes, 0, sizeof lanes);
        if (scale != 0.0f)
            for (uint32_t i = 0; i < count; i++)
                lanes[i] *= scale;
        for (uint32_t i = 0; i < count; i += 16)
            cpu_put(dtype, out + cpu_bytes(dtype, k), i, count,
                    v16_load_n(lanes + i, HY_MIN(count - i, 16)));
    }
}

static void embed(cpu_call *call, reader read, uint32_t worker, uint32_t workers) {
    const cpu_panels p = cpu_panels_of(&call->op);
    const int32_t *ids = call->p[HY_EMBED_ids];
    const hy_tensor *out = &call->op.operand[HY_EMBED_out];
    uint64_t begin, end;
    cpu_share(cpu_rows(call, HY_EMBED_ids), worker, workers, &begin, &end);
    for (uint64_t t = begin; t < end; t++)
        embed_row(call, &p, read, ids[t],
                  (uint8_t *)call->p[HY_EMBED_out] + cpu_bytes(out->dtype, t * out->stride[0]));
}

void cpu_embed_panels(cpu_call *call, uint32_t worker, uint32_t workers) {
    embed(call, read_panels, worker, workers);
}

void cpu_embed_rows(cpu_call *call, uint32_t worker, uint32_t workers) {
    embed(call, read_rows, worker, workers);
}

/* backends/gpu/rope.c: rope_table, rope, kv_write. tile and extra unused.
 *
 * rope, kv_write   32 threads for each (token, head); constant: heads of a workgroup, columns of a head in
 *                  shared memory, where 32 sums of squares of each head follow.
 * rope_table       a thread for each (token, frequency). */
#include "backends/gpu/gpu.h"
#include "base/num.h"

enum {
    ROPE_LANES = 32,
    ROPE_HEADS = 4,                        /* of a workgroup at most */
    ROPE_FIXED = 2048 + 4 * 4 * ROPE_LANES /* bytes of shared memory besides heads: a8, squares */
};

/* Columns of the longest head of rope's or kv_write's. */
static uint32_t width_of(const hy_op *op) {
    const uint32_t columns = op->kind == HY_OP_ROPE ? op->operand[HY_ROPE_x].dim[2]
                                                    : HY_MAX(op->operand[HY_KV_WRITE_k].dim[2],
                                                             op->operand[HY_KV_WRITE_v].dim[2]);
    return (uint32_t)hy_align_up(columns, 4);
}

static uint32_t heads_of_group(const gpu_device *device, const hy_op *op) {
    const uint64_t bytes = 4ull * width_of(op);
    uint32_t heads = ROPE_HEADS;
    while (heads && heads * bytes + ROPE_FIXED > device->limits.shared_bytes)
        heads /= 2;
    return heads;
}

static bool heads_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    return heads_of_group(device, op) > 0;
}

static void plan_heads(const gpu_device *device, const hy_op *op, uint64_t items, gpu_launch *out) {
    const uint32_t heads = heads_of_group(device, op);
    out->threads = heads * ROPE_LANES;
    out->constant[0] = heads;
    out->constant[1] = width_of(op);
    out->shared = heads * (width_of(op) + ROPE_LANES) * (uint32_t)sizeof(float);
    gpu_grid(device, hy_div_up(items, heads), out);
}

static void rope_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    (void)variant;
    (void)phase;
    plan_heads(device, op, gpu_rows(op, HY_ROPE_x), out);
}

static uint64_t items_of_write(const hy_op *op) {
    const bool q = op->operand[HY_KV_WRITE_q].dtype != HY_DTYPE_NONE;
    return 2 * gpu_rows(op, HY_KV_WRITE_k) + (q ? gpu_rows(op, HY_KV_WRITE_q) : 0);
}

static bool kv_write_accepts(const gpu_device *device, const gpu_variant *variant,
                             const hy_op *op) {
    return heads_accepts(device, variant, op) && items_of_write(op) <= UINT32_MAX;
}

static void kv_write_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                          uint32_t phase, gpu_launch *out) {
    (void)variant;
    (void)phase;
    plan_heads(device, op, items_of_write(op), out);
}

static uint64_t angles(const hy_op *op) {
    return (uint64_t)op->operand[HY_ROPE_TABLE_pos].dim[0] * op->operand[HY_ROPE_TABLE_freq].dim[0];
}

static bool rope_table_accepts(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)device;
    (void)variant;
    return angles(op) <= UINT32_MAX;
}

static void rope_table_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                            uint32_t phase, gpu_launch *out) {
    (void)variant;
    (void)phase;
    out->threads = 64;
    gpu_grid(device, hy_div_up(angles(op), out->threads), out);
}

const gpu_family gpu_family_rope = {.accepts = heads_accepts, .plan = rope_plan};
const gpu_family gpu_family_kv_write = {.accepts = kv_write_accepts, .plan = kv_write_plan};
const gpu_family gpu_family_rope_table = {.accepts = rope_table_accepts, .plan = rope_table_plan};

/* backends/gpu/gemv.c: products for few tokens, products by weights that are not constant, and embedding.
 *
 * Variants of gpu_family_gemv: tile[0] = largest upper bound of T; tile[1] = 1 when four products of int8 are
 * one instruction. Of block formats entry[0] is quantize_rows and entry[1] the product, of float formats
 * entry[0] is the product. Constants of the product's launch: block formats LANES, ROWS, COLUMNS
 * (shaders/vulkan/gemv.comp), float formats LANES, COLUMNS (gemv_float.comp). None of the families has
 * args.extra. */
#include "backends/gpu/args.h"
#include "base/num.h"

enum {
    THREADS = 128,
    MIN_LANES = 16,    /* gemv.comp */
    FLOAT_CHUNK = 64,  /* k that one thread adds up */
    FLOAT_LANES = 32,  /* at most, times columns: what shared memory holds of x */
    FEW_GROUPS = 512,  /* workgroups below which a large GPU is not full */
    EMBED_ELEMENTS = 4 /* of one thread */
};

static const hy_tensor *weights_of(const hy_op *op) {
    return &op->operand[HY_MATMUL_w];
}

static bool quantized(const gpu_variant *variant) {
    return hy_dtype_get(variant->dtype)->quantized;
}

static bool gemv_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    return weights_of(op)->dtype == variant->dtype &&
           op->operand[HY_MATMUL_x].dim[0] <= variant->tile[0];
}

/* Operations of unpacking one weight, and of multiplying it with one token's activation and adding: counted
 * in the shaders, a fused multiply-add as two. */
static float gemv_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const hy_tensor *w = weights_of(op);
    const bool blocks = quantized(variant);
    const double unpack = blocks ? 4 : 12, multiply = !blocks ? 3 : variant->tile[1] ? 2 : 8;
    const double all = (double)w->dim[0] * w->dim[1];
    const uint32_t rounds = blocks && op->operand[HY_MATMUL_x].dtype != HY_DTYPE_A8;
    return gpu_time(device, (double)hy_op_bytes(op),
                    all * (unpack + multiply * op->operand[HY_MATMUL_x].dim[0]), 1 + rounds);
}

static uint64_t gemv_workspace(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)device;
    const hy_tensor *x = &op->operand[HY_MATMUL_x];
    return quantized(variant) && x->dtype != HY_DTYPE_A8 ? gpu_a8_bytes(x->dim[0], x->dim[1]) : 0;
}

/* Threads side by side on one row: many keep a pass over the row short, few leave fewer idle at its end. */
static uint32_t block_lanes(uint32_t blocks) {
    const uint32_t least = (uint32_t)hy_align_up(blocks, MIN_LANES);
    for (uint32_t lanes = THREADS; lanes > MIN_LANES; lanes /= 2)
        if (hy_align_up(blocks, lanes) * 10 <= (uint64_t)least * 11) return lanes;
    return MIN_LANES;
}

static uint64_t shape_blocks(const gpu_gemv *g, uint32_t columns, gpu_launch *out) {
    const uint32_t lanes = block_lanes(g->k / 32), groups = THREADS / lanes;
    /* more rows of a thread read activations less often, and need more registers and shared memory */
    const bool few = columns > 2 || g->products * hy_div_up(g->n, groups * 4) < FEW_GROUPS;
    const uint32_t rows = few ? 2 : 4;
    out->constant[0] = lanes;
    out->constant[1] = rows;
    out->constant[2] = columns;
    return hy_div_up(g->n, groups * rows);
}

static uint64_t shape_floats(const gpu_gemv *g, uint32_t columns, gpu_launch *out) {
    const uint64_t chunks = hy_div_up(g->k, FLOAT_CHUNK);
    uint32_t lanes = 1;
    while (lanes < chunks && 2 * lanes * columns <= FLOAT_LANES &&
           (lanes < 8 || g->products * hy_div_up(g->n, THREADS / lanes) < FEW_GROUPS))
        lanes *= 2;
    out->constant[0] = lanes;
    out->constant[1] = columns;
    return hy_div_up(g->n, THREADS / lanes);
}

uint64_t gpu_gemv_shape(const gpu_gemv *g, gpu_launch *out) {
    uint32_t columns = 1; /* the power of two that holds the upper bound of T */
    while (columns < g->columns)
        columns *= 2;
    out->threads = THREADS;
    return hy_dtype_get(g->weights)->quantized ? shape_blocks(g, columns, out)
                                               : shape_floats(g, columns, out);
}

static void gemv_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    if (quantized(variant) && phase == 0) {
        gpu_plan_quantize(device, op, out);
        return;
    }
    if (quantized(variant)) gpu_use_quantized(op, out);
    const hy_tensor *w = weights_of(op);
    const gpu_gemv g = {variant->dtype, w->dim[0], w->dim[1], op->operand[HY_MATMUL_x].dim[0], 1};
    gpu_grid(device, gpu_gemv_shape(&g, out), out);
}

const gpu_family gpu_family_gemv = {.accepts = gemv_accepts,
                                    .cost = gemv_cost,
                                    .workspace = gemv_workspace,
                                    .plan = gemv_plan,
                                    .packed = 1u << HY_MATMUL_w};

/* ---- weights that are not constant --------------------------------------------------------------- */

static bool float_rows_accepts(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)device;
    (void)variant;
    return !weights_of(op)->constant && !hy_dtype_get((hy_dtype)weights_of(op)->dtype)->quantized;
}

/* Every thread reads its own row, a few bytes at a time. */
static float float_rows_cost(const gpu_device *device, const gpu_variant *variant,
                             const hy_op *op) {
    (void)variant;
    return gpu_time(device, 8.0 * (double)hy_op_bytes(op), 10.0 * hy_op_flops(op), 1);
}

/* One thread for each of `columns` / `each` pieces of every row. */
static void plan_pieces(const gpu_device *device, uint64_t rows, uint32_t columns, uint32_t each,
                        gpu_launch *out) {
    out->threads = THREADS;
    gpu_grid(device, rows * hy_div_up(columns, THREADS * each), out);
}

static void float_rows_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                            uint32_t phase, gpu_launch *out) {
    (void)variant;
    (void)phase;
    plan_pieces(device, op->operand[HY_MATMUL_x].dim[0], op->operand[HY_MATMUL_out].dim[1], 1, out);
}

const gpu_family gpu_family_float_rows = {
    .accepts = float_rows_accepts, .cost = float_rows_cost, .plan = float_rows_plan};

/* ---- embed --------------------------------------------------------------------------------------- */

static bool embed_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    return op->operand[HY_EMBED_table].dtype == variant->dtype;
}

static void embed_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                       uint32_t phase, gpu_launch *out) {
    (void)variant;
    (void)phase;
    plan_pieces(device, op->operand[HY_EMBED_ids].dim[0], op->operand[HY_EMBED_out].dim[1],
                EMBED_ELEMENTS, out);
}

const gpu_family gpu_family_embed = {
    .accepts = embed_accepts, .plan = embed_plan, .packed = 1u << HY_EMBED_table};

/* backends/gpu/grouped.c: products by the weights of experts, and the choice of experts.
 *
 * gpu_family_grouped_gemv: a product for each pair (token, slot). tile[0] = 1 when four products of int8 are
 * one instruction. Of block formats entry[0] is quantize_rows and entry[1] the product, of float formats
 * entry[0] is the product. Constants as of gpu_family_gemv. No args.extra.
 *
 * gpu_family_grouped_gemm: pairs are sorted by expert, and each expert's are multiplied in tiles. tile[0]
 * likewise. Of block formats entry[0] is quantize_rows, then grouped_sort, then the product; of float formats
 * grouped_sort is entry[0]. Constant of grouped_sort: experts + 1, or more; of the product: WIDTH
 * (shaders/vulkan/gemm.glsl). args.extra of both: shaders/vulkan/grouped_work.glsl.
 *
 * gpu_family_route: topk_route, a workgroup for each token. No tile numbers. Constant: experts, or more. */
#include "backends/gpu/args.h"
#include "backends/gpu/layout.h"
#include "base/num.h"

enum {
    THREADS = 128,
    GEMM_ROWS = 64,   /* weight rows of a tile */
    GEMM_COLUMNS = 8, /* pairs of a tile, times WIDTH */
    MIN_WIDTH = 2,
    MAX_WIDTH = 8,
    EXPERT_STEP = 64,      /* counts of experts are rounded up, for fewer kernels */
    ROUTE_SHARED = 20,     /* bytes of shared memory that topk_route needs for each expert, */
    ROUTE_RESERVED = 5120, /* and besides */
    SORT_RESERVED = 1024   /* grouped_sort: 4 bytes for each expert, and these */
};

static const hy_tensor *x_of(const hy_op *op) {
    return &op->operand[HY_GROUPED_MATMUL_x];
}

static const hy_tensor *weights_of(const hy_op *op) {
    return &op->operand[HY_GROUPED_MATMUL_w];
}

static bool quantized(const gpu_variant *variant) {
    return hy_dtype_get(variant->dtype)->quantized;
}

/* Phase 0 makes a8 rows of x. */
static bool rounds(const gpu_variant *variant, const hy_op *op) {
    return quantized(variant) && x_of(op)->dtype != HY_DTYPE_A8;
}

static uint64_t pairs_of(const hy_op *op) {
    const hy_tensor *ids = &op->operand[HY_GROUPED_MATMUL_ids];
    return (uint64_t)ids->dim[0] * ids->dim[1];
}

static uint64_t a8_bytes(const gpu_variant *variant, const hy_op *op) {
    return rounds(variant, op) ? gpu_a8_bytes(gpu_rows(op, HY_GROUPED_MATMUL_x), x_of(op)->dim[2])
                               : 0;
}

double gpu_grouped_bytes(const hy_op *op, double experts) {
    const hy_tensor *w = weights_of(op);
    const gpu_layout layout = gpu_layout_of((hy_dtype)w->dtype, w->dim[2]);
    return experts * w->dim[1] * layout.row_bytes + (double)hy_tensor_bytes(x_of(op)) +
           (double)hy_tensor_bytes(&op->operand[HY_GROUPED_MATMUL_out]);
}

/* ---- one pair at a time -------------------------------------------------------------------------- */

static uint64_t gemv_shape(const gpu_variant *variant, const hy_op *op, gpu_launch *out) {
    const hy_tensor *w = weights_of(op);
    const gpu_gemv g = {variant->dtype, w->dim[1], w->dim[2], 1, pairs_of(op)};
    return gpu_gemv_shape(&g, out) * pairs_of(op);
}

static bool gemv_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    gpu_launch launch;
    return weights_of(op)->dtype == variant->dtype && pairs_of(op) <= UINT32_MAX &&
           gemv_shape(variant, op, &launch) <= UINT32_MAX;
}

/* Operations of unpacking a weight and of multiplying it, as in gemv.c. */
static float gemv_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const bool blocks = quantized(variant);
    const double unpack = blocks ? 4 : 12, multiply = !blocks ? 3 : variant->tile[0] ? 2 : 8;
    const double pairs = (double)pairs_of(op);
    const double all = pairs * weights_of(op)->dim[1] * weights_of(op)->dim[2];
    return gpu_time(device, gpu_grouped_bytes(op, pairs), all * (unpack + multiply),
                    1 + rounds(variant, op));
}

static uint64_t gemv_workspace(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)device;
    return a8_bytes(variant, op);
}

static void gemv_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    if (quantized(variant) && phase == 0) {
        gpu_plan_quantize(device, op, out);
        return;
    }
    if (quantized(variant)) gpu_use_quantized(op, out);
    gpu_grid(device, gemv_shape(variant, op, out), out);
}

const gpu_family gpu_family_grouped_gemv = {.accepts = gemv_accepts,
                                            .cost = gemv_cost,
                                            .workspace = gemv_workspace,
                                            .plan = gemv_plan,
                                            .packed = 1u << HY_GROUPED_MATMUL_w};

/* ---- all pairs of an expert together --------------------------------------------------------------- */

static gpu_sorted sort_of(const gpu_variant *variant, const hy_op *op, uint32_t columns) {
    const uint64_t pairs = pairs_of(op), experts = weights_of(op)->dim[0];
    gpu_sorted w = {.offset = a8_bytes(variant, op), .columns = columns};
    const uint64_t begun =
        HY_MIN(experts + 1, pairs); /* tiles that need no full tile before them */
    w.tiles = begun + (pairs - begun) / w.columns;
    w.end = w.offset + 16 + 16 * w.tiles + 4 * pairs;
    return w;
}

static uint32_t sort_experts(const hy_op *op) {
    return (uint32_t)hy_align_up((uint64_t)weights_of(op)->dim[0] + 1, EXPERT_STEP);
}

bool gpu_sort_pairs(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                    uint32_t columns, gpu_sorted *out) {
    *out = sort_of(variant, op, columns);
    return out->end <= UINT32_MAX &&
           4 * (uint64_t)sort_experts(op) + SORT_RESERVED <= device->limits.shared_bytes;
}

void gpu_plan_sorted(const gpu_device *device, const hy_op *op, const gpu_sorted *sorted, bool sort,
                     gpu_launch *out) {
    out->args.extra[0] = (uint32_t)sorted->offset;
    out->args.extra[1] = sorted->columns;
    out->args.extra[2] = (uint32_t)sorted->tiles;
    if (!sort) return;
    out->threads = THREADS;
    out->constant[0] = sort_experts(op);
    out->shared = sort_experts(op) * (uint32_t)sizeof(uint32_t);
    gpu_grid(device, (uint64_t)weights_of(op)->dim[0] + 1, out);
}

/* As few columns as hold an expert's share of the pairs. */
static gpu_sorted work_of(const gpu_variant *variant, const hy_op *op) {
    const uint64_t pairs = pairs_of(op), experts = weights_of(op)->dim[0];
    uint32_t width = MIN_WIDTH;
    while (width < MAX_WIDTH && width * GEMM_COLUMNS * experts < pairs)
        width *= 2;
    return sort_of(variant, op, width * GEMM_COLUMNS);
}

static uint64_t row_tiles(const hy_op *op) {
    const uint32_t glu = op->grouped_matmul.glu ? 2 : 1;
    return hy_div_up(weights_of(op)->dim[1] / glu, GEMM_ROWS / glu);
}

static bool gemm_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    if (weights_of(op)->dtype != variant->dtype) return false;
    gpu_sorted w;
    return gpu_sort_pairs(device, variant, op, work_of(variant, op).columns, &w) &&
           w.tiles * row_tiles(op) <= UINT32_MAX;
}

/* Tiles are computed whole; weights are read again by each tile, mostly from a cache. */
static float gemm_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const bool blocks = quantized(variant);
    const double unpack = blocks ? 4 : 6, multiply = !blocks ? 2.5 : variant->tile[0] ? 1 : 3.5;
    const gpu_sorted w = work_of(variant, op);
    const double experts = (double)HY_MIN(pairs_of(op), weights_of(op)->dim[0]);
    const double all = (double)weights_of(op)->dim[1] * weights_of(op)->dim[2] * (double)w.tiles;
    return gpu_time(device, 1.25 * gpu_grouped_bytes(op, experts),
                    all * (unpack + multiply * w.columns), 2 + rounds(variant, op));
}

static uint64_t gemm_workspace(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)device;
    return work_of(variant, op).end;
}

static void gemm_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    if (quantized(variant) && phase == 0) {
        gpu_plan_quantize(device, op, out);
        return;
    }
    if (quantized(variant)) gpu_use_quantized(op, out);
    const gpu_sorted w = work_of(variant, op);
    const bool sort = phase == (quantized(variant) ? 1u : 0u);
    gpu_plan_sorted(device, op, &w, sort, out);
    if (sort) return;
    out->threads = THREADS;
    out->constant[0] = w.columns / GEMM_COLUMNS;
    gpu_grid(device, w.tiles * row_tiles(op), out);
}

const gpu_family gpu_family_grouped_gemm = {.accepts = gemm_accepts,
                                            .cost = gemm_cost,
                                            .workspace = gemm_workspace,
                                            .plan = gemm_plan,
                                            .packed = 1u << HY_GROUPED_MATMUL_w};

/* ---- the choice of experts ------------------------------------------------------------------------- */

static uint32_t route_experts(const hy_op *op) {
    return (uint32_t)hy_align_up(op->operand[HY_TOPK_ROUTE_logits].dim[1], EXPERT_STEP);
}

static bool route_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    return ROUTE_SHARED * (uint64_t)route_experts(op) + ROUTE_RESERVED <=
           device->limits.shared_bytes;
}

static void route_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                       uint32_t phase, gpu_launch *out) {
    (void)variant;
    (void)phase;
    out->threads = route_experts(op) <= THREADS ? THREADS / 2 : THREADS;
    out->constant[0] = route_experts(op);
    out->shared = ROUTE_SHARED * route_experts(op);
    gpu_grid(device, op->operand[HY_TOPK_ROUTE_logits].dim[0], out);
}

const gpu_family gpu_family_route = {.accepts = route_accepts, .plan = route_plan};

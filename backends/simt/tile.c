/* backends/simt/tile.c: products on matrix tiles (shaders/simt/gemm_tile.h, few_tile.h, gemm_half.h).
 *
 * Variants of simt_family_tile: tile[0] = rows of x of a workgroup: FEW_TILE's, or GEMM_TILE_COLUMNS. entry[0] is
 * quantize_rows, entry[1] the product. simt_family_grouped_tile: the same for experts, with FEW_TILE's;
 * entry[0] is quantize_rows, entry[1] grouped_sort, entry[2] the product; args.extra as of
 * gpu_family_grouped_gemm. simt_family_half: no tile numbers; entry[0] is rows_to_f16, entry[1] the product;
 * args.extra[0], [1] as of gpu_family_coopmat. None has constants of its own. */
#include "backends/simt/families.h"
#include "base/num.h"
#include "shaders/simt/tile_shape.h"

static const hy_tensor *x_of(const hy_op *op) {
    return &op->operand[HY_MATMUL_x];
}

static const hy_tensor *weights_of(const hy_op *op) {
    return &op->operand[HY_MATMUL_w];
}

static bool is_few(const gpu_variant *variant) {
    return variant->tile[0] < GEMM_TILE_COLUMNS;
}

/* quant.h: SPLIT and HAS_MINIMA. */
static uint32_t parts_of(hy_dtype dtype) {
    return dtype == HY_DTYPE_Q2_K || dtype == HY_DTYPE_Q3_K || dtype == HY_DTYPE_Q6_K ? 2 : 1;
}

static uint32_t minima_of(hy_dtype dtype) {
    return dtype == HY_DTYPE_Q4_1 || dtype == HY_DTYPE_Q5_1 || dtype == HY_DTYPE_Q2_K ||
           dtype == HY_DTYPE_Q4_K || dtype == HY_DTYPE_Q5_K;
}

static uint32_t shared_bytes(const gpu_device *device, const gpu_variant *variant) {
    const uint32_t parts = parts_of(variant->dtype), minima = minima_of(variant->dtype);
    const uint32_t warps = FEW_TILE_THREADS / device->limits.subgroup;
    return is_few(variant) ? FEW_TILE_BYTES(warps, variant->tile[0], parts, minima)
                           : GEMM_TILE_BYTES(parts, minima);
}

static uint32_t rows_of(const gpu_variant *variant) {
    return is_few(variant) ? FEW_TILE_ROWS : GEMM_TILE_ROWS;
}

/* Tiles of `rows` weight rows and `columns` rows of x. */
static uint64_t tiles_of(const hy_op *op, uint32_t rows, uint32_t columns) {
    const uint32_t glu = op->matmul.glu ? 2 : 1;
    return hy_div_up(weights_of(op)->dim[0] / glu, rows / glu) *
           hy_div_up(x_of(op)->dim[0], columns);
}

static bool tile_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    return weights_of(op)->dtype == variant->dtype &&
           shared_bytes(device, variant) + 1024 <= device->limits.shared_bytes;
}

/* Operations of a weight's unpacking and of one product: of 32 products the tile's share, counted as one sixteenth
 * of the float rate, and three instructions (two more with minima) for each scale. `groups` workgroups, of which
 * so many keep a large device busy. */
static float tiled_time(const gpu_device *device, const gpu_variant *variant, double bytes,
                        double weights, double columns, double groups, uint32_t launches) {
    const uint32_t scales = parts_of(variant->dtype) * (3 + 2 * minima_of(variant->dtype));
    const double busy = is_few(variant) ? 512 : 128;
    const double idle = HY_MAX(1.0, busy / groups);
    return gpu_time(device, bytes, weights * (6 + columns * (0.125 + scales * 2 / 32.0)) * idle,
                    launches);
}

static float tile_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const uint32_t rounds = x_of(op)->dtype != HY_DTYPE_A8, columns = variant->tile[0];
    const double passes = (double)hy_div_up(x_of(op)->dim[0], columns);
    const double weights = (double)weights_of(op)->dim[0] * weights_of(op)->dim[1] * passes;
    return tiled_time(device, variant, 1.05 * (double)hy_op_bytes(op), weights, columns,
                      (double)tiles_of(op, rows_of(variant), columns), 1 + rounds);
}

static uint64_t tile_workspace(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)device;
    (void)variant;
    const hy_tensor *x = x_of(op);
    return x->dtype == HY_DTYPE_A8 ? 0 : gpu_a8_bytes(x->dim[0], x->dim[1]);
}

static void tile_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    if (phase == 0) {
        gpu_plan_quantize(device, op, out);
        return;
    }
    gpu_use_quantized(op, out);
    out->threads = is_few(variant) ? FEW_TILE_THREADS : GEMM_TILE_THREADS;
    out->shared = shared_bytes(device, variant);
    gpu_grid(device, tiles_of(op, rows_of(variant), variant->tile[0]), out);
}

const gpu_family simt_family_tile = {.accepts = tile_accepts,
                                     .cost = tile_cost,
                                     .workspace = tile_workspace,
                                     .plan = tile_plan,
                                     .packed = 1u << HY_MATMUL_w};

/* ---- experts ----------------------------------------------------------------------------------------- */

static const hy_tensor *expert_weights(const hy_op *op) {
    return &op->operand[HY_GROUPED_MATMUL_w];
}

/* Workgroups that make one tile of pairs. */
static uint64_t row_tiles(const hy_op *op) {
    const uint32_t glu = op->grouped_matmul.glu ? 2 : 1;
    return hy_div_up(expert_weights(op)->dim[1] / glu, FEW_TILE_ROWS / glu);
}

static bool grouped_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    gpu_sorted sorted;
    return expert_weights(op)->dtype == variant->dtype &&
           shared_bytes(device, variant) + 1024 <= device->limits.shared_bytes &&
           gpu_sort_pairs(device, variant, op, variant->tile[0], &sorted) &&
           sorted.tiles * row_tiles(op) <= UINT32_MAX;
}

static float grouped_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    gpu_sorted sorted;
    if (!gpu_sort_pairs(device, variant, op, variant->tile[0], &sorted)) return 0;
    const uint32_t rounds = op->operand[HY_GROUPED_MATMUL_x].dtype != HY_DTYPE_A8;
    const hy_tensor *w = expert_weights(op);
    const double weights = (double)w->dim[1] * w->dim[2] * (double)sorted.tiles;
    const double bytes = 1.05 * gpu_grouped_bytes(op, HY_MIN((double)sorted.tiles, w->dim[0]));
    return tiled_time(device, variant, bytes, weights, variant->tile[0],
                      (double)(sorted.tiles * row_tiles(op)), 2 + rounds);
}

static uint64_t grouped_workspace(const gpu_device *device, const gpu_variant *variant,
                                  const hy_op *op) {
    gpu_sorted sorted;
    return gpu_sort_pairs(device, variant, op, variant->tile[0], &sorted) ? sorted.end : 0;
}

static void grouped_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                         uint32_t phase, gpu_launch *out) {
    gpu_sorted sorted;
    if (!gpu_sort_pairs(device, variant, op, variant->tile[0], &sorted)) return;
    if (phase == 0) {
        gpu_plan_quantize(device, op, out);
        return;
    }
    gpu_use_quantized(op, out);
    gpu_plan_sorted(device, op, &sorted, phase == 1, out);
    if (phase == 1) return;
    out->threads = FEW_TILE_THREADS;
    out->shared = shared_bytes(device, variant);
    gpu_grid(device, sorted.tiles * row_tiles(op), out);
}

const gpu_family simt_family_grouped_tile = {.accepts = grouped_accepts,
                                             .cost = grouped_cost,
                                             .workspace = grouped_workspace,
                                             .plan = grouped_plan,
                                             .packed = 1u << HY_GROUPED_MATMUL_w};

/* ---- f16 --------------------------------------------------------------------------------------------- */

enum { HALF_ALIGN = 32, ROWS_TO_F16_THREADS = 128 };

/* Halves of a row in the workspace, and where the rows' scales begin there. */
static uint64_t half_row(const hy_op *op) {
    return hy_align_up(x_of(op)->dim[1], HALF_ALIGN);
}

static uint64_t scales_at(const hy_op *op) {
    return hy_align_up(x_of(op)->dim[0] * half_row(op) * 2, HY_VIEW_ALIGN);
}

static bool half_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    return weights_of(op)->dtype == variant->dtype && scales_at(op) <= UINT32_MAX &&
           HALF_TILE_BYTES <= device->limits.shared_bytes;
}

/* Unpacking to f16 costs more, a product one sixteenth, and there are no scales. */
static float half_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const double passes = (double)hy_div_up(x_of(op)->dim[0], HALF_TILE_COLUMNS);
    const double weights = (double)weights_of(op)->dim[0] * weights_of(op)->dim[1] * passes;
    const double unpack = hy_dtype_get(variant->dtype)->quantized ? 12 : 2;
    const double groups = (double)tiles_of(op, HALF_TILE_ROWS, HALF_TILE_COLUMNS);
    return gpu_time(device, 1.05 * (double)hy_op_bytes(op),
                    weights * (unpack + HALF_TILE_COLUMNS * 0.125) * HY_MAX(1.0, 128 / groups), 2);
}

static uint64_t half_workspace(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)device;
    (void)variant;
    return scales_at(op) + x_of(op)->dim[0] * sizeof(float);
}

static void half_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    (void)variant;
    out->args.extra[0] = (uint32_t)half_row(op);
    out->args.extra[1] = (uint32_t)scales_at(op);
    if (phase == 0) {
        out->threads = ROWS_TO_F16_THREADS;
        gpu_grid(device, x_of(op)->dim[0], out);
        return;
    }
    out->threads = HALF_TILE_THREADS;
    out->shared = HALF_TILE_BYTES;
    gpu_grid(device, tiles_of(op, HALF_TILE_ROWS, HALF_TILE_COLUMNS), out);
}

const gpu_family simt_family_half = {.accepts = half_accepts,
                                     .cost = half_cost,
                                     .workspace = half_workspace,
                                     .plan = half_plan,
                                     .packed = 1u << HY_MATMUL_w};

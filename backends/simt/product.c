/* backends/simt/product.c: products without matrix units (shaders/simt/gemv.h, gemv_float.h, gemm_int8.h,
 * gemm_float.h), for matmul and grouped_matmul alike.
 *
 * simt_family_gemv   tile[0] = largest upper bound of T. Constant: turns (gemv.h).
 * simt_family_gemm   tile[0] = WIDTH (gemm.h): a tile has 8 WIDTH rows of x.
 * simt_family_grouped_gemv, simt_family_grouped_gemm   the same for experts; a pair for each workgroup, and pairs
 *                    sorted by expert.
 *
 * Of block formats entry[0] is quantize_rows; of a sorted product grouped_sort comes next; the last entry is the
 * product. args.extra: as of gpu_family_grouped_gemm. */
#include "backends/simt/families.h"
#include "base/num.h"
#include "shaders/simt/gemv_shape.h"

enum {
    GEMM_THREADS = 128,
    GEMM_ROWS = 64,   /* weight rows of a tile */
    GEMM_COLUMNS = 8, /* rows of x of a tile, times WIDTH */
    BUSY_GEMV = 512,  /* workgroups below which a large device is not full */
    BUSY_GEMM = 256
};

/* ---- what matmul and grouped_matmul differ in ----------------------------------------------------- */

/* A product of [rows of x, k] by [n, k], `weights` of these. */
typedef struct product {
    uint64_t rows, n, k;
    bool glu, rounds; /* rounds: phase 0 makes a8 rows of x */
} product;

static product product_of(const gpu_variant *variant, const hy_op *op) {
    const bool grouped = op->kind == HY_OP_GROUPED_MATMUL;
    const hy_tensor *w = &op->operand[HY_MATMUL_w], *ids = &op->operand[HY_GROUPED_MATMUL_ids];
    return (product){.rows = grouped ? (uint64_t)ids->dim[0] * ids->dim[1]
                                     : op->operand[HY_MATMUL_x].dim[0],
                     .n = w->dim[w->rank - 2],
                     .k = w->dim[w->rank - 1],
                     .glu = grouped ? op->grouped_matmul.glu : op->matmul.glu,
                     .rounds = hy_dtype_get(variant->dtype)->quantized &&
                               op->operand[HY_MATMUL_x].dtype != HY_DTYPE_A8};
}

static bool quantized(const gpu_variant *variant) {
    return hy_dtype_get(variant->dtype)->quantized;
}

static bool is_weight(const gpu_variant *variant, const hy_op *op) {
    return op->operand[HY_MATMUL_w].dtype == variant->dtype;
}

static uint64_t a8_workspace(const gpu_device *device, const gpu_variant *variant,
                             const hy_op *op) {
    (void)device;
    const hy_tensor *x = &op->operand[HY_MATMUL_x];
    return product_of(variant, op).rounds ? gpu_a8_bytes(gpu_rows(op, 0), x->dim[x->rank - 1]) : 0;
}

/* Phase 0 of block formats; true: that was it. */
static bool quantize_first(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                           uint32_t phase, gpu_launch *out) {
    if (!quantized(variant)) return false;
    if (phase == 0) {
        gpu_plan_quantize(device, op, out);
        return true;
    }
    gpu_use_quantized(op, out);
    return false;
}

/* ---- few tokens ------------------------------------------------------------------------------------ */

/* Workgroups for one row of x or a few, and what they share. `products` side by side. */
static uint64_t gemv_groups(const gpu_variant *variant, const product *p, uint32_t columns,
                            uint64_t products, uint32_t *turns) {
    const uint32_t halves = p->glu ? 2 : 1;
    const uint64_t outputs = p->n / halves;
    *turns = 1;
    if (!quantized(variant)) {
        const uint32_t rows = GEMV_FLOAT_THREADS / GEMV_FLOAT_LANES;
        return hy_div_up(outputs, rows / halves);
    }
    const uint32_t groups = GEMV_THREADS / GEMV_LANES, rows = GEMV_ROWS(columns);
    const uint64_t passes = hy_div_up(p->k / 32, GEMV_LANES);
    while (*turns < groups && 2 * *turns <= passes &&
           products * hy_div_up(outputs, groups / *turns * rows / halves) < BUSY_GEMV)
        *turns *= 2;
    return hy_div_up(outputs, groups / *turns * rows / halves);
}

/* Operations of unpacking one weight, and of multiplying it with one token's activation and adding, counted in the
 * kernels, a fused multiply-add as two. */
static float gemv_time(const gpu_device *device, const gpu_variant *variant, const product *p,
                       double bytes, double products) {
    const bool blocks = quantized(variant);
    const double unpack = blocks ? 3 : 4, multiply = blocks ? 1.5 : 3;
    return gpu_time(device, bytes, (double)p->n * (double)p->k * (unpack + multiply * products),
                    1 + p->rounds);
}

static bool gemv_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    return is_weight(variant, op) && op->operand[HY_MATMUL_x].dim[0] <= variant->tile[0];
}

/* More columns than tokens cost registers and shared memory, though no operations. */
static float gemv_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const product p = product_of(variant, op);
    return gemv_time(device, variant, &p, (double)hy_op_bytes(op), (double)p.rows) *
           (1 + 0.02f * (float)variant->tile[0]);
}

static void gemv_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    if (quantize_first(device, variant, op, phase, out)) return;
    const product p = product_of(variant, op);
    uint32_t turns;
    const uint64_t groups = gemv_groups(variant, &p, variant->tile[0], 1, &turns);
    out->threads = GEMV_THREADS;
    out->constant[0] = turns;
    gpu_grid(device, groups, out);
}

const gpu_family simt_family_gemv = {.accepts = gemv_accepts,
                                     .cost = gemv_cost,
                                     .workspace = a8_workspace,
                                     .plan = gemv_plan,
                                     .packed = 1u << HY_MATMUL_w};

static bool grouped_gemv_accepts(const gpu_device *device, const gpu_variant *variant,
                                 const hy_op *op) {
    (void)device;
    const product p = product_of(variant, op);
    uint32_t turns;
    return is_weight(variant, op) && p.rows <= UINT32_MAX &&
           p.rows * gemv_groups(variant, &p, 1, p.rows, &turns) <= UINT32_MAX;
}

static float grouped_gemv_cost(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    const product p = product_of(variant, op);
    const double pairs = (double)p.rows;
    const product all = {.n = p.n * p.rows, .k = p.k, .rounds = p.rounds};
    return gemv_time(device, variant, &all, gpu_grouped_bytes(op, pairs), 1);
}

static void grouped_gemv_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                              uint32_t phase, gpu_launch *out) {
    if (quantize_first(device, variant, op, phase, out)) return;
    const product p = product_of(variant, op);
    uint32_t turns;
    const uint64_t groups = gemv_groups(variant, &p, 1, p.rows, &turns);
    out->threads = GEMV_THREADS;
    out->constant[0] = turns;
    gpu_grid(device, groups * p.rows, out);
}

const gpu_family simt_family_grouped_gemv = {.accepts = grouped_gemv_accepts,
                                             .cost = grouped_gemv_cost,
                                             .workspace = a8_workspace,
                                             .plan = grouped_gemv_plan,
                                             .packed = 1u << HY_GROUPED_MATMUL_w};

/* ---- many tokens ----------------------------------------------------------------------------------- */

static uint32_t columns_of(const gpu_variant *variant) {
    return variant->tile[0] * GEMM_COLUMNS;
}

/* Workgroups that make one tile of rows of x. */
static uint64_t row_tiles(const product *p) {
    const uint32_t halves = p->glu ? 2 : 1;
    return hy_div_up(p->n / halves, GEMM_ROWS / halves);
}

/* Every weight is unpacked once for a tile and multiplied with all of its columns, whether they are there or not.
 * Weights are read by each tile anew, mostly from a cache. */
static float gemm_time(const gpu_device *device, const gpu_variant *variant, const product *p,
                       double bytes, double tiles, uint32_t launches) {
    const bool blocks = quantized(variant);
    const double unpack = blocks ? 4 : 6, multiply = blocks ? 1 : 2.5;
    const double groups = tiles * (double)row_tiles(p);
    return gpu_time(device, 1.25 * bytes,
                    (double)p->n * (double)p->k * tiles *
                        (unpack + multiply * columns_of(variant)) * HY_MAX(1.0, BUSY_GEMM / groups),
                    launches);
}

static bool gemm_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    return is_weight(variant, op);
}

static float gemm_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const product p = product_of(variant, op);
    return gemm_time(device, variant, &p, (double)hy_op_bytes(op),
                     (double)hy_div_up(p.rows, columns_of(variant)), 1 + p.rounds);
}

static void gemm_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    if (quantize_first(device, variant, op, phase, out)) return;
    const product p = product_of(variant, op);
    out->threads = GEMM_THREADS;
    gpu_grid(device, row_tiles(&p) * hy_div_up(p.rows, columns_of(variant)), out);
}

const gpu_family simt_family_gemm = {.accepts = gemm_accepts,
                                     .cost = gemm_cost,
                                     .workspace = a8_workspace,
                                     .plan = gemm_plan,
                                     .packed = 1u << HY_MATMUL_w};

static bool grouped_gemm_accepts(const gpu_device *device, const gpu_variant *variant,
                                 const hy_op *op) {
    const product p = product_of(variant, op);
    gpu_sorted sorted;
    return is_weight(variant, op) &&
           gpu_sort_pairs(device, variant, op, columns_of(variant), &sorted) &&
           sorted.tiles * row_tiles(&p) <= UINT32_MAX;
}

static gpu_sorted sorted_of(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    gpu_sorted sorted;
    (void)gpu_sort_pairs(device, variant, op, columns_of(variant), &sorted); /* accepted */
    return sorted;
}

static float grouped_gemm_cost(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    const product p = product_of(variant, op);
    const double experts = HY_MIN((double)p.rows, op->operand[HY_GROUPED_MATMUL_w].dim[0]);
    return gemm_time(device, variant, &p, gpu_grouped_bytes(op, experts),
                     (double)sorted_of(device, variant, op).tiles, 2 + p.rounds);
}

static uint64_t grouped_gemm_workspace(const gpu_device *device, const gpu_variant *variant,
                                       const hy_op *op) {
    return sorted_of(device, variant, op).end;
}

static void grouped_gemm_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                              uint32_t phase, gpu_launch *out) {
    if (quantize_first(device, variant, op, phase, out)) return;
    const product p = product_of(variant, op);
    const gpu_sorted sorted = sorted_of(device, variant, op);
    const bool sort = phase == (quantized(variant) ? 1u : 0u);
    gpu_plan_sorted(device, op, &sorted, sort, out);
    if (sort) return;
    out->threads = GEMM_THREADS;
    gpu_grid(device, sorted.tiles * row_tiles(&p), out);
}

const gpu_family simt_family_grouped_gemm = {.accepts = grouped_gemm_accepts,
                                             .cost = grouped_gemm_cost,
                                             .workspace = grouped_gemm_workspace,
                                             .plan = grouped_gemm_plan,
                                             .packed = 1u << HY_GROUPED_MATMUL_w};

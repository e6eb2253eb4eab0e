/* backends/gpu/gemm.c: products for many rows of x.
 *
 * Variants of gpu_family_gemm: tile[0] = 1 when four products of int8 are one instruction. Of block
 * formats entry[0] is quantize_rows and entry[1] the product, of float formats entry[0] is the
 * product. Constant of the product's launch: WIDTH (shaders/vulkan/gemm.glsl). No args.extra.
 *
 * Variants of gpu_family_coopmat have no tile numbers: entry[0] is rows_to_f16, entry[1] the
 * product on the matrix tiles of gpu_limits. Constants of the product's launch: M, N, K, SHAPE
 * (shaders/vulkan/coopmat.comp). args.extra[0], [1]: halves of an f16 row in the workspace; where
 * the rows' scales begin there. */
#include "backends/gpu/gpu.h"
#include "base/num.h"

enum {
    THREADS = 128,
    GEMM_ROWS = 64,   /* weight rows of a tile */
    GEMM_COLUMNS = 8, /* rows of x of a tile, times WIDTH */
    MAX_WIDTH = 8,
    MIN_WIDTH = 2,
    FEW_GROUPS =
        128 /* workgroups below which a large GPU is not full, so that smaller tiles are better */
};

static const hy_tensor *x_of(const hy_op *op) {
    return &op->operand[HY_MATMUL_x];
}

static const hy_tensor *weights_of(const hy_op *op) {
    return &op->operand[HY_MATMUL_w];
}

static bool quantized(const gpu_variant *variant) {
    return hy_dtype_get(variant->dtype)->quantized;
}

static bool gemm_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    return weights_of(op)->dtype == variant->dtype;
}

/* Tiles of so many weight rows and rows of x. */
static uint64_t tiles_of(const hy_op *op, uint32_t rows, uint32_t columns) {
    const uint32_t glu = op->matmul.glu ? 2 : 1;
    return hy_div_up(weights_of(op)->dim[0] / glu, rows / glu) *
           hy_div_up(x_of(op)->dim[0], columns);
}

static uint32_t width_of(const hy_op *op) {
    uint32_t width = MIN_WIDTH;
    while (width < MAX_WIDTH && width * GEMM_COLUMNS < x_of(op)->dim[0] &&
           tiles_of(op, GEMM_ROWS, 2 * width * GEMM_COLUMNS) >= FEW_GROUPS)
        width *= 2;
    return width;
}

/* Every weight is unpacked once for a tile and multiplied with all of its columns, whether they are
 * there or not. Weights are read by each tile anew, mostly from a cache: between one and two times
 * the bytes. */
static float tiled_time(const gpu_device *device, const hy_op *op, uint32_t columns, double unpack,
                        double multiply, uint32_t launches) {
    const double tiles = (double)hy_div_up(x_of(op)->dim[0], columns);
    const double weights = (double)weights_of(op)->dim[0] * weights_of(op)->dim[1];
    return gpu_time(device, 1.25 * (double)hy_op_bytes(op),
                    weights * tiles * (unpack + multiply * columns), launches);
}

/* Operations of unpacking a weight and of multiplying it, counted in the shaders. */
static float gemm_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const bool blocks = quantized(variant);
    const double unpack = blocks ? 4 : 6, multiply = !blocks ? 2.5 : variant->tile[0] ? 1 : 3.5;
    const uint32_t rounds = blocks && x_of(op)->dtype != HY_DTYPE_A8;
    return tiled_time(device, op, width_of(op) * GEMM_COLUMNS, unpack, multiply, 1 + rounds);
}

static uint64_t gemm_workspace(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)device;
    const hy_tensor *x = x_of(op);
    return quantized(variant) && x->dtype != HY_DTYPE_A8 ? gpu_a8_bytes(x->dim[0], x->dim[1]) : 0;
}

static void gemm_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    if (quantized(variant)) {
        if (phase == 0) {
            gpu_plan_quantize(device, op, out);
            return;
        }
        gpu_use_quantized(op, out);
    }
    const uint32_t width = width_of(op);
    out->threads = THREADS;
    out->constant[0] = width;
    gpu_grid(device, tiles_of(op, GEMM_ROWS, width * GEMM_COLUMNS), out);
}

const gpu_family gpu_family_gemm = {.accepts = gemm_accepts,
                                    .cost = gemm_cost,
                                    .workspace = gemm_workspace,
                                    .plan = gemm_plan,
                                    .packed = 1u << HY_MATMUL_w};

/* ---- matrix tiles ---------------------------------------------------------------------------- */

enum {
    BLOCK = 32,     /* k that are unpacked together; K of a matrix tile divides it */
    PAD_BYTES = 16, /* behind each row in shared memory */
    SUBGROUPS = 4   /* of a workgroup: two by two */
};

/* How a workgroup is cut: matrix tiles of a subgroup, and sub-blocks of a step. */
typedef struct cut {
    uint32_t high, wide, blocks;
    uint32_t rows, columns; /* of the workgroup */
} cut;

static cut cut_of(const gpu_limits *limits, uint32_t rows, uint32_t columns, uint32_t blocks) {
    const uint32_t m = limits->coopmat[0], n = limits->coopmat[1];
    cut c = {HY_MAX(rows / 2 / m, 2u), HY_MAX(columns / 2 / n, 1u), blocks, 0, 0};
    c.rows = 2 * c.high * m;
    c.columns = 2 * c.wide * n;
    return c;
}

/* Shared memory of coopmat.comp. */
static uint32_t shared_bytes(const gpu_limits *limits, const cut *c) {
    const uint32_t row_bytes = 2 * BLOCK * c->blocks + PAD_BYTES;
    const uint32_t stage = SUBGROUPS * 2 * limits->coopmat[0] * limits->coopmat[1] * 4;
    return (c->rows + c->columns) * row_bytes + c->rows * 8 + stage;
}

/* The largest cut that fits the device and makes enough workgroups for it; the smallest when none
 * does. */
static cut choose_cut(const gpu_limits *limits, const hy_op *op) {
    static const struct {
        uint32_t rows, columns, blocks, groups; /* groups: at least, to be worth it */
    } sizes[] = {{128, 64, 1, 2 * FEW_GROUPS},
                 {64, 64, 2, FEW_GROUPS / 2},
                 {64, 64, 1, FEW_GROUPS / 2},
                 {32, 32, 1, 0}};
    cut c = {0};
    for (uint32_t i = 0; i < HY_COUNT_OF(sizes); i++) {
        c = cut_of(limits, sizes[i].rows, sizes[i].columns, sizes[i].blocks);
        if (tiles_of(op, c.rows, c.columns) >= sizes[i].groups &&
            shared_bytes(limits, &c) <= limits->shared_bytes)
            break;
    }
    return c;
}

/* Halves of a row in the workspace. */
static uint64_t half_row(const hy_op *op) {
    return hy_align_up(x_of(op)->dim[1], BLOCK);
}

/* Where the scales of the rows begin. */
static uint64_t scales_at(const hy_op *op) {
    return hy_align_up(x_of(op)->dim[0] * half_row(op) * 2, HY_VIEW_ALIGN);
}

static bool coopmat_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const gpu_limits *limits = &device->limits;
    if (weights_of(op)->dtype != variant->dtype || scales_at(op) > UINT32_MAX) return false;
    const uint32_t *shape = limits->coopmat, threads = SUBGROUPS * limits->subgroup;
    if (!shape[0] || !shape[1] || !shape[2] || BLOCK % shape[2] || shape[0] % 2) return false;
    const cut c = choose_cut(limits, op);
    return threads && threads <= limits->max_threads &&
           shared_bytes(limits, &c) <= limits->shared_bytes;
}

/* A matrix unit does about eight times the operations of the rest. */
static float coopmat_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    return tiled_time(device, op, choose_cut(&device->limits, op).columns, 8, 0.25, 2);
}

static uint64_t coopmat_workspace(const gpu_device *device, const gpu_variant *variant,
                                  const hy_op *op) {
    (void)device;
    (void)variant;
    return scales_at(op) + x_of(op)->dim[0] * sizeof(float);
}

static void coopmat_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                         uint32_t phase, gpu_launch *out) {
    (void)variant;
    const gpu_limits *limits = &device->limits;
    out->args.extra[0] = (uint32_t)half_row(op);
    out->args.extra[1] = (uint32_t)scales_at(op);
    if (phase == 0) {
        out->threads = THREADS;
        gpu_grid(device, x_of(op)->dim[0], out);
        return;
    }
    const cut c = choose_cut(limits, op);
    out->threads = SUBGROUPS * limits->subgroup;
    for (uint32_t i = 0; i < 3; i++)
        out->constant[i] = limits->coopmat[i];
    out->constant[3] = c.high | c.wide << 8 | c.blocks << 16;
    gpu_grid(device, tiles_of(op, c.rows, c.columns), out);
}

const gpu_family gpu_family_coopmat = {.accepts = coopmat_accepts,
                                       .cost = coopmat_cost,
                                       .workspace = coopmat_workspace,
                                       .plan = coopmat_plan,
                                       .packed = 1u << HY_MATMUL_w};

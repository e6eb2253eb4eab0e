/* backends/gpu/rows.c: kernels that go along rows: a workgroup for each, or a thread for each few elements.
 *
 * gpu_family_rows       tile[0]  threads of a workgroup, a power of two; ROW_FEW where every thread would have
 *                                fewer than four elements of the row, so that a row's sums depend on its
 *                                length alone
 *                       tile[1]  the operand whose rows, all dims but the innermost, get a workgroup each
 * gpu_family_elements   tile[0]  threads of a workgroup
 *                       tile[1]  the operand whose rows are gone through
 *                       tile[2]  neighbouring elements of a row for each thread; threads are numbered through
 *                                the rows, ceil(columns / tile[2]) for each
 *
 * Both halve the threads until the device has so many. No extra arguments. */
#include "backends/gpu/args.h"
#include "base/num.h"

enum { ROW_FEW = 64, ELEMENT_THREADS = 128, ELEMENTS = 4 };

static uint32_t columns_of(const hy_op *op, uint32_t operand) {
    const hy_tensor *t = &op->operand[operand];
    return t->dim[t->rank - 1];
}

static uint32_t threads_of(const gpu_device *device, uint32_t threads) {
    while (threads > device->limits.max_threads)
        threads /= 2;
    return threads;
}

static bool rows_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    return gpu_rows(op, variant->tile[1]) <= INT32_MAX;
}

static void rows_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    (void)phase;
    const bool few = columns_of(op, variant->tile[1]) <= ROW_FEW * ELEMENTS;
    out->threads = threads_of(device, few ? HY_MIN(variant->tile[0], ROW_FEW) : variant->tile[0]);
    gpu_grid(device, gpu_rows(op, variant->tile[1]), out);
}

const gpu_family gpu_family_rows = {.accepts = rows_accepts, .plan = rows_plan};

/* Threads numbered through `rows` rows of `columns`, `each` elements for one. */
static void plan_elements(const gpu_device *device, uint64_t rows, uint32_t columns, uint32_t each,
                          uint32_t threads, gpu_launch *out) {
    out->threads = threads_of(device, threads);
    gpu_grid(device, hy_div_up(rows * hy_div_up(columns, each), out->threads), out);
}

/* Kernels count threads in 32 bits, those past the last row too. */
static bool elements_accepts(const gpu_device *device, const gpu_variant *variant,
                             const hy_op *op) {
    const uint32_t operand = variant->tile[1], columns = columns_of(op, operand);
    const uint64_t rows = gpu_rows(op, operand);
    if (rows * hy_div_up(columns, variant->tile[2]) > UINT32_MAX) return false;
    gpu_launch launch;
    plan_elements(device, rows, columns, variant->tile[2], variant->tile[0], &launch);
    return (uint64_t)launch.grid[0] * launch.grid[1] * launch.threads <= UINT32_MAX;
}

static void elements_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                          uint32_t phase, gpu_launch *out) {
    (void)phase;
    const uint32_t operand = variant->tile[1];
    plan_elements(device, gpu_rows(op, operand), columns_of(op, operand), variant->tile[2],
                  variant->tile[0], out);
}

const gpu_family gpu_family_elements = {.accepts = elements_accepts, .plan = elements_plan};

void gpu_plan_quantize_rows(const gpu_device *device, uint64_t rows, uint32_t columns,
                            gpu_launch *out) {
    plan_elements(device, rows, columns, ELEMENTS, ELEMENT_THREADS, out);
}

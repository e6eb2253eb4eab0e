/* backends/gpu/args.h: from an op and its views to the argument block of shaders/args.h; inside
 * backends/gpu. Thread-safety: pure. */
#ifndef HY_GPU_ARGS_H
#define HY_GPU_ARGS_H

#include "backends/gpu/gpu.h"

/* packed: bit i says that operand i, if constant, is in P16. */
void gpu_args_fill(const hy_op *op, uint32_t packed, const hy_view *views, hy_view counters,
                   hy_view workspace, hy_args *out);
/* Every extent and stride fits the block's 32 bits, and the operands in `packed` are constant. */
bool gpu_args_hold(const hy_op *op, uint32_t packed);

/* Grid and threads of entry quantize_rows for that many rows of `columns`; rows.c. */
void gpu_plan_quantize_rows(const gpu_device *device, uint64_t rows, uint32_t columns,
                            gpu_launch *out);

/* One product of few rows of x by a matrix [n, k]; with glu, n counts gate and up rows. */
typedef struct gpu_gemv {
    hy_dtype weights;
    uint32_t n, k;
    uint32_t columns;  /* rows of x at most */
    uint64_t products; /* like this one, side by side */
} gpu_gemv;
/* Threads and constants of a launch for it, and its workgroups; gemv.c. */
uint64_t gpu_gemv_shape(const gpu_gemv *g, gpu_launch *out);

#endif

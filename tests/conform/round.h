/* tests/conform/round.h: what kernels with HY_KERNEL_ROUNDS make of their operands
 * (docs/numerics.md), in plain C. Products: their activations are operand 0 and their weights operand 1. Attention:
 * its queries, to f16 as they are; that its weights are rounded too is part of the kernel's accuracy.
 * Thread-safety: pure. */
#ifndef HY_CONFORM_ROUND_H
#define HY_CONFORM_ROUND_H

#include "hal/hal.h"

/* Whether the kernel rounds operand i: activations to a8 or bf16, activations and weights to f16, or queries to f16. */
bool conform_rounds(const hy_op *op, const hy_kernel *kernel, uint32_t operand);

/* The rounded values of such an operand: dense, float32. data: as in the operand's view.
 * HY_E_MEMORY. */
HY_NODISCARD hy_status conform_round(const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                                     const uint8_t *data, float *out);

/* How far the sum of x[i] w[i] over `count` may move by rounding; x and w exact. */
double conform_rounding(const hy_kernel *kernel, const float *x, const float *w, uint32_t count);

#endif

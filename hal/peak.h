/* hal/peak.h: one pass of hy_backend.peak, for the backends that have it, and which peak a kernel works against. */
#ifndef HY_HAL_PEAK_H
#define HY_HAL_PEAK_H

#include "hal/hal.h"

/* Does so many rounds of work, and waits for their end; *done: the bytes or operations of them all. */
typedef hy_status (*hy_peak_run)(void *context, uint32_t rounds, double *done);

/* As many rounds as take 10 ms, at most `most`; *rate: done per second. *work, kept from pass to pass and 0 before
 * the first, is the work of a pass in units of which a round has `step`: so what was learned with one size of
 * memory holds for another. Errors of `run`. */
HY_NODISCARD hy_status hy_peak_pass(hy_peak_run run, void *context, uint64_t step, uint32_t most,
                                    uint64_t *work, double *rate);

/* The peak of the arithmetic that a kernel does for `op`: INT8 where both factors are int8, whoever rounded the
 * activations. */
hy_peak hy_kernel_peak(const hy_op *op, const hy_kernel *kernel);

#endif

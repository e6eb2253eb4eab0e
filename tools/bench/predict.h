/* tools/bench/predict.h: how long a test should take, from kernels measured one by one on this machine: no model is
 * loaded, so it may be far too large for it.
 *
 * Every distinct product, attention and norm of the plan runs alone for a moment, by the plan's own kernel at its own
 * shape, on copies that no cache holds, between passes of the peaks: that tells what it takes beyond its limit. The
 * prediction is the sum over the plan of each op's limit, by the peaks of the test, and that excess; what is smaller
 * counts at its limit. */
#ifndef HY_TOOLS_BENCH_PREDICT_H
#define HY_TOOLS_BENCH_PREDICT_H

#include "tools/bench/limit.h"

/* Seconds of one repetition of the test that `l` holds the costs of, on its one device; 0 when they cannot be told:
 * several devices, no peaks, no memory for the largest operand. Takes a few seconds. */
double bench_predict_seconds(const bench_limit *l);

#endif

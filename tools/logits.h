/* tools/logits.h: two rows of logits against each other. Pure. */
#ifndef HY_TOOLS_LOGITS_H
#define HY_TOOLS_LOGITS_H

#include <stdint.h>

/* log(sum exp(x)) of x [n], and the index of the largest, ties to the lowest. */
double logits_log_sum(const float *x, uint32_t n, uint32_t *best);

/* KL divergence of got [n] from want [n], in nats; NaN when either has no distribution. The indices of their
 * largest. */
double logits_divergence(const float *got, const float *want, uint32_t n, uint32_t *best_got,
                         uint32_t *best_want);

#endif

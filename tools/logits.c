/* tools/logits.c: see logits.h. */
#include "tools/logits.h"

#include <math.h>

double logits_log_sum(const float *x, uint32_t n, uint32_t *best) {
    *best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[*best]) *best = i;
    double sum = 0, top = x[*best];
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)x[i] - top);
    return top + log(sum);
}

double logits_divergence(const float *got, const float *want, uint32_t n, uint32_t *best_got,
                         uint32_t *best_want) {
    const double got_norm = logits_log_sum(got, n, best_got);
    const double want_norm = logits_log_sum(want, n, best_want);
    double kl = 0;
    for (uint32_t i = 0; i < n; i++) {
        const double log_p = (double)want[i] - want_norm, log_q = (double)got[i] - got_norm;
        kl += exp(log_p) * (log_p - log_q);
    }
    return kl;
}

/* tools/bench/stats.h: the statistics of a benchmark: location, spread, intervals of a ratio.
 * Pure functions over arrays of double; nothing is allocated. Of an empty series every function returns
 * NaN unless it says otherwise. Thread-safety: any thread. */
#ifndef HY_TOOLS_BENCH_STATS_H
#define HY_TOOLS_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* Arithmetic mean of x [n]. */
double stats_mean(const double *x, size_t n);

/* Standard deviation of the sample x [n] (divisor n - 1); 0 for one value. */
double stats_sd(const double *x, size_t n);

/* Coefficient of variation: stats_sd / |stats_mean|, a fraction; NaN when the mean is 0. */
double stats_cv(const double *x, size_t n);

/* The value below which `percent` (0 to 100) of x [n] lie, interpolated between the two nearest ranks: type 7 of
 * Hyndman & Fan 1996, the default of R and of NumPy. scratch [n] is overwritten. */
double stats_percentile(const double *x, size_t n, double percent, double *scratch);

/* The same for a series in ascending order, which needs no scratch. */
double stats_percentile_sorted(const double *sorted, size_t n, double percent);

/* Median: the percentile of 50. scratch [n] is overwritten. */
double stats_median(const double *x, size_t n, double *scratch);

/* Sorts x [n] in ascending order. */
void stats_sort(double *x, size_t n);

/* Quantile of Student's t distribution: the t with P(T <= t) = p, for 0 < p < 1 and df > 0 degrees of freedom,
 * which need not be whole. Right to a relative 1e-8 for df to
 * 1e5; NaN outside that range. */
double stats_t_quantile(double p, double df);

/* The ratio of two series, b over a, with its interval of 95 %. */
typedef struct stats_ratio {
    double ratio;     /* geometric mean of b over that of a */
    double low, high; /* the interval's ends */
    double df;        /* degrees of freedom of the t distribution used */
    double scatter;   /* of pairs: standard deviation of the logs of their ratios; otherwise 0 */
} stats_ratio;

/* Pairs: a[i] and b[i] were measured side by side, so what both suffered cancels. t interval of the mean of
 * log(b[i] / a[i]). False when n < 2 or a value is not positive and finite. */
bool stats_ratio_paired(const double *a, const double *b, size_t n, stats_ratio *out);

/* Two series of their own, a [na] and b [nb]: Welch's t interval of the difference of the means of the logs,
 * degrees of freedom after Welch & Satterthwaite. False when either has fewer than 2 values or one that is not
 * positive and finite. */
bool stats_ratio_unpaired(const double *a, size_t na, const double *b, size_t nb, stats_ratio *out);

#endif

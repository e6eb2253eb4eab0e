/* tools/bench/stats.c: location, spread and intervals. */
#include "tools/bench/stats.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double CONFIDENCE = 0.95;

double stats_mean(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return n ? sum / (double)n : NAN;
}

/* What is averaged: a value, its logarithm, or the logarithm of a pair's ratio. */
typedef double (*term)(const double *a, const double *b, size_t i);

static double plain(const double *a, const double *b, size_t i) {
    (void)a;
    return b[i];
}

static double log_value(const double *a, const double *b, size_t i) {
    (void)a;
    return log(b[i]);
}

static double log_ratio(const double *a, const double *b, size_t i) {
    return log(b[i]) - log(a[i]);
}

/* Mean and variance (divisor n - 1) of n > 0 terms. In two passes: the one-pass form cancels. */
static double variance(term f, const double *a, const double *b, size_t n, double *mean) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += f(a, b, i);
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        const double d = f(a, b, i) - *mean;
        squares += d * d;
    }
    return n > 1 ? squares / (double)(n - 1) : 0;
}

double stats_sd(const double *x, size_t n) {
    double mean;
    return n ? sqrt(variance(plain, NULL, x, n, &mean)) : NAN;
}

double stats_cv(const double *x, size_t n) {
    const double mean = stats_mean(x, n);
    return mean != 0 ? stats_sd(x, n) / fabs(mean) : NAN;
}

/* ---- ranks ---- */

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stats_sort(double *x, size_t n) {
    if (n) qsort(x, n, sizeof *x, ascending);
}

double stats_percentile_sorted(const double *sorted, size_t n, double percent) {
    if (n == 0 || !(percent >= 0 && percent <= 100)) return NAN;
    const double at = percent / 100 * (double)(n - 1);
    const size_t below = (size_t)at;
    if (below + 1 >= n) return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

double stats_percentile(const double *x, size_t n, double percent, double *scratch) {
    if (n) memcpy(scratch, x, n * sizeof *x);
    stats_sort(scratch, n);
    return stats_percentile_sorted(scratch, n, percent);
}

double stats_median(const double *x, size_t n, double *scratch) {
    return stats_percentile(x, n, 50, scratch);
}

/* ---- Student's t ---- */

/* The continued fraction of the incomplete beta function, DLMF 8.17.22 (dlmf.nist.gov/8.17.E22), evaluated from
 * its front as Thompson & Barnett 1986 (J. Comput. Phys. 64) do. Converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b) {
    double value = 1, numerator = 1, denominator = 0; /* of 1 + d1/(1 + d2/(1 + ...)) */
    for (int i = 1; i < 10000; i++) {
        const double m = (double)(i / 2), am = a + 2 * m;
        const double d = i % 2 ? -(a + m) * (a + b + m) * x / (am * (am + 1))
                               : m * (b - m) * x / ((am - 1) * am);
        denominator = 1 / (1 + d * denominator);
        numerator = 1 + d / numerator;
        const double factor = numerator * denominator;
        value *= factor;
        if (fabs(factor - 1) < DBL_EPSILON) break;
    }
    return 1 / value;
}

/* Regularized incomplete beta function I_x(a, b); the symmetry I_x(a, b) = 1 - I_(1-x)(b, a) (DLMF 8.17.4) keeps x
 * where the fraction converges. */
static double beta_regularized(double x, double a, double b) {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - beta_regularized(1 - x, b, a);
    const double front =
        exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a;
    return front * beta_fraction(x, a, b);
}

/* P(T > t) for t >= 0 (Abramowitz & Stegun 26.7.1 in terms of the beta function). */
static double t_tail(double t, double df) {
    return 0.5 * beta_regularized(df / (df + t * t), df / 2, 0.5);
}

double stats_t_quantile(double p, double df) {
    if (!(p > 0 && p < 1 && df > 0)) return NAN;
    if (p < 0.5) return -stats_t_quantile(1 - p, df);
    if (p == 0.5) return 0;
    double low = 0, high = 1;
    while (t_tail(high, df) > 1 - p && high < 1e300)
        high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-10 * high; i++) {
        const double middle = low + (high - low) / 2;
        *(t_tail(middle, df) > 1 - p ? &low : &high) = middle;
    }
    return low + (high - low) / 2;
}

/* ---- ratios ---- */

static bool positive(const double *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(x[i] > 0 && isfinite(x[i]))) return false;
    return true;
}

static void interval(double mean, double error, double df, stats_ratio *out) {
    const double reach = error > 0 ? stats_t_quantile((1 + CONFIDENCE) / 2, df) * error : 0;
    *out = (stats_ratio){
        .ratio = exp(mean),
        .low = exp(mean - reach),
        .high = exp(mean + reach),
        .df = df,
    };
}

bool stats_ratio_paired(const double *a, const double *b, size_t n, stats_ratio *out) {
    if (n < 2 || !positive(a, n) || !positive(b, n)) return false;
    double mean;
    const double sd = sqrt(variance(log_ratio, a, b, n, &mean));
    interval(mean, sd / sqrt((double)n), (double)(n - 1), out);
    out->scatter = sd;
    return true;
}

bool stats_ratio_unpaired(const double *a, size_t na, const double *b, size_t nb,
                          stats_ratio *out) {
    if (na < 2 || nb < 2 || !positive(a, na) || !positive(b, nb)) return false;
    double mean_a, mean_b;
    const double va = variance(log_value, NULL, a, na, &mean_a) / (double)na;
    const double vb = variance(log_value, NULL, b, nb, &mean_b) / (double)nb;
    const double sum = va + vb;
    const double weights = va * va / (double)(na - 1) + vb * vb / (double)(nb - 1);
    interval(mean_b - mean_a, sqrt(sum), sum > 0 ? sum * sum / weights : (double)(na + nb - 2),
             out);
    return true;
}

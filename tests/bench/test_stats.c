/* The statistics of a benchmark against published tables, closed forms, plain numeric integration, and simulation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tools/bench/stats.h"

#define COUNT(x) (sizeof(x) / sizeof *(x))

static void near(double got, double want, double relative) {
    if (!(fabs(got - want) <= relative * fabs(want)))
        fail_msg("%.12g is not %.12g within %g", got, want, relative);
}

static void test_location(void **state) {
    (void)state;
    const double x[] = {2, 4, 4, 4, 5, 5, 7, 9};
    double scratch[8];
    near(stats_mean(x, 8), 5, 1e-15);
    near(stats_sd(x, 8), sqrt(32.0 / 7), 1e-15);
    near(stats_cv(x, 8), sqrt(32.0 / 7) / 5, 1e-15);
    near(stats_median(x, 8, scratch), 4.5, 1e-15);
    near(stats_median(x, 7, scratch), 4, 1e-15);
    assert_true(stats_sd(x, 1) == 0);
    assert_true(isnan(stats_mean(x, 0)) && isnan(stats_sd(x, 0)) && isnan(stats_cv(x, 0)));
    assert_true(isnan(stats_median(x, 0, scratch)));
    /* A large offset: the textbook's one-pass formula loses these digits. */
    const double far[] = {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16};
    near(stats_sd(far, 4), sqrt(30), 1e-12);
}

/* numpy.percentile([15, 20, 35, 40, 50], p) and R's quantile(type = 7). */
static void test_percentile(void **state) {
    (void)state;
    const double x[] = {40, 15, 50, 20, 35};
    const double want[][2] = {{0, 15},  {5, 16},  {25, 20},   {30, 23}, {40, 29},
                              {50, 35}, {90, 46}, {99, 49.6}, {100, 50}};
    double scratch[5];
    for (size_t i = 0; i < COUNT(want); i++)
        near(stats_percentile(x, 5, want[i][0], scratch), want[i][1], 1e-14);
    assert_true(x[0] == 40 && x[4] == 35);
    near(stats_percentile_sorted(scratch, 5, 30), 23, 1e-14);
    near(stats_percentile(x, 1, 99, scratch), 40, 1e-15);
    assert_true(isnan(stats_percentile(x, 5, -1, scratch)));
    assert_true(isnan(stats_percentile(x, 5, NAN, scratch)));
}

/* Fisher & Yates 1963, table III: five decimals. */
static void test_t_table(void **state) {
    (void)state;
    static const struct {
        double df, t95, t975, t995;
    } table[] = {
        {1, 6.31375, 12.70620, 63.65674}, {2, 2.91999, 4.30265, 9.92484},
        {3, 2.35336, 3.18245, 5.84091},   {4, 2.13185, 2.77645, 4.60409},
        {5, 2.01505, 2.57058, 4.03214},   {7, 1.89458, 2.36462, 3.49948},
        {10, 1.81246, 2.22814, 3.16927},  {30, 1.69726, 2.04227, 2.75000},
        {120, 1.65765, 1.97993, 2.61742},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        near(stats_t_quantile(0.95, table[i].df), table[i].t95, 3e-6);
        near(stats_t_quantile(0.975, table[i].df), table[i].t975, 3e-6);
        near(stats_t_quantile(0.995, table[i].df), table[i].t995, 3e-6);
        near(stats_t_quantile(0.025, table[i].df), -table[i].t975, 3e-6);
    }
    near(stats_t_quantile(0.975, 1e5), 1.959988, 1e-6);
    assert_true(stats_t_quantile(0.5, 3) == 0);
    assert_true(isnan(stats_t_quantile(0, 3)) && isnan(stats_t_quantile(1, 3)));
    assert_true(isnan(stats_t_quantile(0.9, 0)) && isnan(stats_t_quantile(0.9, NAN)));
}

/* P(0 <= T <= t) by Simpson's rule over the density. */
static double integrate(double t, double df) {
    enum { STEPS = 20000 };
    const double scale = exp(lgamma((df + 1) / 2) - lgamma(df / 2)) / sqrt(df * acos(-1));
    double sum = 0;
    for (int i = 0; i <= STEPS; i++) {
        const double x = t * i / STEPS, y = scale * pow(1 + x * x / df, -(df + 1) / 2);
        sum += y * (i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2);
    }
    return sum * t / STEPS / 3;
}

static void test_t_other_ways(void **state) {
    (void)state;
    const double pi = acos(-1);
    for (int i = 1; i < 20; i++) {
        const double p = 0.5 + i * 0.0249;
        near(stats_t_quantile(p, 1), tan(pi * (p - 0.5)), 1e-8);
        near(stats_t_quantile(p, 2), (2 * p - 1) / sqrt(2 * p * (1 - p)), 1e-8);
    }
    const double df[] = {1.5, 2.7, 6.03, 17.4, 250.5};
    for (size_t i = 0; i < COUNT(df); i++)
        near(integrate(stats_t_quantile(0.975, df[i]), df[i]), 0.475, 1e-8);
}

/* By hand: log ratios ln 2 and ln 8 have mean ln 4 and sd ln 4 / sqrt 2, so the error of the mean is ln 2. */
static void test_paired(void **state) {
    (void)state;
    stats_ratio r;
    assert_true(stats_ratio_paired((double[]){1, 2}, (double[]){2, 16}, 2, &r));
    near(r.ratio, 4, 1e-12);
    near(r.low, 4 * pow(2, -12.70620474), 1e-7);
    near(r.high, 4 * pow(2, 12.70620474), 1e-7);
    assert_true(r.df == 1);
    near(r.scatter, log(4) / sqrt(2), 1e-12);
    assert_true(stats_ratio_paired((double[]){1, 2, 3}, (double[]){3, 6, 9}, 3, &r));
    near(r.low, 3, 1e-12);
    near(r.high, 3, 1e-12);
    assert_false(stats_ratio_paired((double[]){1}, (double[]){2}, 1, &r));
    assert_false(stats_ratio_paired((double[]){1, 0}, (double[]){2, 1}, 2, &r));
    assert_false(stats_ratio_paired((double[]){1, 1}, (double[]){2, INFINITY}, 2, &r));
    assert_false(stats_ratio_paired((double[]){1, NAN}, (double[]){2, 1}, 2, &r));
}

/* Logs in units of ln 2: a = 0 1 2 (mean 1, variance 1), b = 3 5 (mean 4, variance 2): difference 3, error
 * sqrt(1/3 + 1), degrees of freedom (4/3)^2 / ((1/3)^2 / 2 + 1) = 1.68421. */
static void test_unpaired(void **state) {
    (void)state;
    stats_ratio r;
    const double a[] = {1, 2, 4}, b[] = {8, 32};
    assert_true(stats_ratio_unpaired(a, 3, b, 2, &r));
    near(r.ratio, 8, 1e-12);
    near(r.df, 16.0 / 9 / (1.0 / 18 + 1), 1e-12);
    const double reach = stats_t_quantile(0.975, r.df) * sqrt(4.0 / 3);
    near(r.low, pow(2, 3 - reach), 1e-9);
    near(r.high, pow(2, 3 + reach), 1e-9);
    assert_true(stats_ratio_unpaired((double[]){2, 2}, 2, (double[]){3, 3}, 2, &r));
    near(r.low, 1.5, 1e-12);
    near(r.high, 1.5, 1e-12);
    assert_false(stats_ratio_unpaired(a, 1, b, 2, &r));
    assert_false(stats_ratio_unpaired(a, 3, b, 1, &r));
    assert_false(stats_ratio_unpaired(a, 3, (double[]){1, -1}, 2, &r));
}

/* Intervals of 95 % hold the truth in 95 of 100 trials; drift common to both only harms the unpaired one. */
static void test_coverage(void **state) {
    (void)state;
    enum { TRIALS = 2000, N = 6 };
    hy_rng rng = hy_rng_seed(2026);
    int paired = 0, unpaired = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        double a[N], b[N], alone[N];
        for (int i = 0; i < N; i++) {
            const double drift = 0.2 * hy_rng_normal(&rng);
            a[i] = 100 * exp(drift + 0.01 * hy_rng_normal(&rng));
            b[i] = 105 * exp(drift + 0.01 * hy_rng_normal(&rng));
            alone[i] = 105 * exp(0.4 * hy_rng_normal(&rng));
        }
        stats_ratio r;
        assert_true(stats_ratio_paired(a, b, N, &r));
        paired += r.low <= 1.05 && r.high >= 1.05;
        assert_true(r.high / r.low < 1.15);
        assert_true(stats_ratio_unpaired(a, N, alone, N, &r));
        unpaired += r.low <= 1.05 && r.high >= 1.05;
    }
    assert_in_range(paired, TRIALS * 93 / 100, TRIALS * 97 / 100);
    assert_in_range(unpaired, TRIALS * 93 / 100, TRIALS * 97 / 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_location), cmocka_unit_test(test_percentile),
        cmocka_unit_test(test_t_table),  cmocka_unit_test(test_t_other_ways),
        cmocka_unit_test(test_paired),   cmocka_unit_test(test_unpaired),
        cmocka_unit_test(test_coverage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

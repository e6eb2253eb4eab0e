/* Samplers against distributions that are computed here in the plainest way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "halyard/halyard.h"
#include "tests/unit/tiny_model.h"

enum { V = 80, DRAWS = 40000 };

static hy_instance *instance;
static hy_model *model;
static float logits[V];

static int set_up(void **state) {
    const char *path = tiny_model_path("sampler");
    hy_rng rng = hy_rng_seed(11);
    (void)state;
    tiny_model_write(path, &(tiny_model){0});
    if (hy_instance_new(NULL, &instance) != HY_OK) return 1;
    hy_status status = hy_model_open(instance, path, NULL, &model);
    unlink(path);
    for (int i = 0; i < V; i++)
        logits[i] = 2.0f * hy_rng_normal(&rng);
    return status != HY_OK;
}

static int tear_down(void **state) {
    (void)state;
    hy_model_free(model);
    hy_instance_free(instance);
    return 0;
}

static hy_sampler *make(const hy_sampler_params *params) {
    hy_sampler *sampler = NULL;
    if (hy_sampler_new(model, params, &sampler) != HY_OK) fail_msg("%s", hy_error_text());
    return sampler;
}

/* ---- the plain way ----------------------------------------------------------------------------- */

typedef struct item {
    int id;
    double p, order;
} item;

static int by_order(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->order != y->order) return x->order > y->order ? -1 : 1;
    return x->id - y->id;
}

static void normalize(item *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i].p;
    for (int i = 0; i < n; i++)
        x[i].p /= sum;
}

static int take_share(item *x, int n, double share) {
    double reached = 0;
    int kept = 0;
    qsort(x, (size_t)n, sizeof *x, by_order);
    while (kept < n && reached < share)
        reached += x[kept++].p;
    normalize(x, kept);
    return kept;
}

/* Probability of every token under top-k, typical, top-p, min-p in this order. */
static void expected(const hy_sampler_params *p, const double *z, double *out) {
    item x[V];
    int n = V;
    for (int i = 0; i < V; i++) {
        x[i] = (item){i, exp(z[i] / (double)p->temperature), z[i]};
        out[i] = 0;
    }
    qsort(x, V, sizeof *x, by_order);
    if (p->top_k && (int)p->top_k < n) n = (int)p->top_k;
    normalize(x, n);
    if (p->typical_p > 0) {
        double entropy = 0;
        for (int i = 0; i < n; i++)
            entropy -= x[i].p * log(x[i].p);
        for (int i = 0; i < n; i++)
            x[i].order = -fabs(-log(x[i].p) - entropy);
        n = take_share(x, n, (double)p->typical_p);
        for (int i = 0; i < n; i++)
            x[i].order = x[i].p;
    }
    if (p->top_p > 0) n = take_share(x, n, (double)p->top_p);
    double largest = 0;
    for (int i = 0; i < n; i++)
        largest = x[i].p > largest ? x[i].p : largest;
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (x[i].p >= (double)p->min_p * largest) x[kept++] = x[i];
    normalize(x, kept);
    for (int i = 0; i < kept; i++)
        out[x[i].id] = x[i].p;
}

/* Draws, and compares by Pearson's statistic; nothing outside the support may appear. */
static void check_distribution(const hy_sampler_params *params) {
    double z[V], p[V], statistic = 0;
    int seen[V] = {0}, freedom = -1;
    hy_sampler *sampler = make(params);
    for (int i = 0; i < V; i++)
        z[i] = (double)logits[i];
    expected(params, z, p);
    for (int i = 0; i < DRAWS; i++) {
        int32_t id = -1;
        assert_int_equal(hy_sampler_sample(sampler, logits, &id), HY_OK);
        assert_true(id >= 0 && id < V);
        seen[id]++;
    }
    for (int i = 0; i < V; i++) {
        if (p[i] == 0) {
            if (seen[i]) fail_msg("token %d has probability 0 and was drawn %d times", i, seen[i]);
            continue;
        }
        const double want = p[i] * DRAWS;
        statistic += (seen[i] - want) * (seen[i] - want) / want;
        freedom++;
    }
    /* mean f, deviation sqrt(2 f): five deviations, and the seed is fixed */
    if (statistic > freedom + 5 * sqrt(2.0 * freedom) + 1)
        fail_msg("chi-square %g with %d degrees of freedom", statistic, freedom);
    hy_sampler_free(sampler);
}

static void test_distributions(void **state) {
    (void)state;
    check_distribution(hy_sampler_params(.temperature = 1, .seed = 1));
    check_distribution(hy_sampler_params(.temperature = 0.5f, .seed = 2));
    check_distribution(hy_sampler_params(.temperature = 1.5f, .top_k = 7, .seed = 3));
    check_distribution(hy_sampler_params(.temperature = 1, .top_p = 0.8f, .seed = 4));
    check_distribution(hy_sampler_params(.temperature = 1, .min_p = 0.1f, .seed = 5));
    check_distribution(hy_sampler_params(.temperature = 1, .typical_p = 0.6f, .seed = 6));
    check_distribution(hy_sampler_params(.temperature = 0.8f, .top_k = 40, .typical_p = 0.9f,
                                         .top_p = 0.9f, .min_p = 0.05f, .seed = 7));
    check_distribution(hy_sampler_params(.temperature = 1, .top_k = 1, .seed = 8));
    check_distribution(hy_sampler_params(.temperature = 1, .top_p = 1e-6f, .seed = 9));
}

/* ---- the rest ---------------------------------------------------------------------------------- */

static int32_t sample(hy_sampler *sampler, const float *values) {
    int32_t id = -1;
    if (hy_sampler_sample(sampler, values, &id) != HY_OK) fail_msg("%s", hy_error_text());
    return id;
}

static void test_greedy(void **state) {
    float z[V] = {0};
    hy_sampler *sampler = make(NULL);
    (void)state;
    z[17] = z[40] = 3.0f;
    assert_int_equal(sample(sampler, z), 17);
    z[3] = NAN;
    z[5] = INFINITY;
    z[6] = -INFINITY;
    assert_int_equal(sample(sampler, z), 17);
    for (int i = 0; i < V; i++)
        z[i] = i % 2 ? NAN : -INFINITY;
    int32_t id;
    assert_int_equal(hy_sampler_sample(sampler, z, &id), HY_E_ARGUMENT);
    hy_sampler_free(sampler);
}

static void test_seeds(void **state) {
    int32_t first[200];
    int different = 0;
    (void)state;
    for (uint64_t run = 0; run < 3; run++) {
        hy_sampler *sampler = make(hy_sampler_params(.temperature = 1, .seed = 99 + run / 2));
        for (int i = 0; i < 200; i++) {
            int32_t id = sample(sampler, logits);
            if (run == 0) first[i] = id;
            if (run == 1) assert_int_equal(id, first[i]);
            if (run == 2) different += id != first[i];
        }
        hy_sampler_free(sampler);
    }
    assert_true(different > 100);
}

static void test_bias(void **state) {
    const hy_logit_bias bias[] = {{12, -INFINITY}, {30, 100.0f}, {30, 1.0f}};
    float z[V] = {0};
    (void)state;
    z[12] = 1000.0f;
    hy_sampler *sampler = make(hy_sampler_params(.bias = bias, .biases = 3));
    assert_int_equal(sample(sampler, z), 30);
    hy_sampler_free(sampler);
    hy_sampler *refused = NULL;
    const hy_logit_bias outside = {V, 1.0f}, endless = {1, INFINITY};
    assert_int_equal(
        hy_sampler_new(model, hy_sampler_params(.bias = &outside, .biases = 1), &refused),
        HY_E_ARGUMENT);
    assert_int_equal(
        hy_sampler_new(model, hy_sampler_params(.bias = &endless, .biases = 1), &refused),
        HY_E_ARGUMENT);
    assert_int_equal(hy_sampler_new(model, hy_sampler_params(.temperature = -1), &refused),
                     HY_E_ARGUMENT);
    assert_int_equal(hy_sampler_new(model, hy_sampler_params(.top_p = 1.5f), &refused),
                     HY_E_ARGUMENT);
    assert_null(refused);
}

/* Greedy with penalties: which token wins shows the penalized value to within the step of `z`. */
static void test_penalties(void **state) {
    float z[V];
    (void)state;
    for (int i = 0; i < V; i++)
        z[i] = -10.0f;
    z[1] = 4.0f;
    z[2] = 3.0f;
    z[3] = 2.5f;
    hy_sampler *sampler = make(hy_sampler_params(.repetition_penalty = 1.5f));
    assert_int_equal(sample(sampler, z), 1); /* 4 -> 2.67 */
    assert_int_equal(sample(sampler, z), 2); /* 3 -> 2 */
    assert_int_equal(sample(sampler, z), 1); /* 2.67 is still above 2.5; dividing once only */
    hy_sampler_free(sampler);

    sampler = make(hy_sampler_params(.frequency_penalty = 0.4f));
    assert_int_equal(sample(sampler, z), 1); /* 3.6 */
    assert_int_equal(sample(sampler, z), 1); /* 3.2 */
    assert_int_equal(sample(sampler, z), 1); /* 2.8 */
    assert_int_equal(sample(sampler, z), 2);
    hy_sampler_free(sampler);

    sampler = make(hy_sampler_params(.presence_penalty = 1.2f, .penalty_window = 2));
    hy_sampler_accept(sampler, 1);
    assert_int_equal(sample(sampler, z), 2); /* 2.8, 3 */
    assert_int_equal(sample(sampler, z), 1); /* 2.8, 1.8, 2.5 */
    assert_int_equal(sample(sampler, z), 1); /* window 2, 1: 2.8 again */
    assert_int_equal(sample(sampler, z), 2); /* window 1, 1: 2.8, 3 */
    hy_sampler_free(sampler);

    for (int i = 0; i < V; i++)
        z[i] = -5.0f;
    z[9] = -2.0f;
    z[8] = -2.5f;
    sampler =
        make(hy_sampler_params(.repetition_penalty = 1.5f)); /* negative logits are multiplied */
    assert_int_equal(sample(sampler, z), 9);
    assert_int_equal(sample(sampler, z), 8);
    hy_sampler_free(sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distributions), cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_seeds),         cmocka_unit_test(test_bias),
        cmocka_unit_test(test_penalties),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

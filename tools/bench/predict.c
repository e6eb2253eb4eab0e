/* tools/bench/predict.c: see predict.h. */
#include "tools/bench/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "base/num.h"
#include "tests/speed/speed.h"
#include "tools/bench/call.h"
#include "tools/bench/stats.h"

enum {
    MOST_ROUNDS = 40,
    ROUND_NS = 25000000,
    BUDGET_NS = 2000000000, /* for all ops: each has its share of the test's time */
    LEAST_NS = 150000000
};

/* One op on its way through the cases of speed.h. */
typedef struct trial {
    const bench_limit *l;
    const limit_cost *cost;
    uint64_t budget;
    double excess; /* seconds that a run takes beyond its limit; 0: not measured */
} trial;

/* The peak is measured right before and behind each round: memory that is slower for others' sake makes both slower,
 * and leaves what a kernel takes besides reading as it is. */
static hy_status measure(void *user, const speed_case *c) {
    trial *t = user;
    hy_device *device = probe_device(t->l->probe[0]);
    hy_kernel kernels[HY_MAX_CANDIDATES];
    uint32_t count = 0, k = 0;
    HY_TRY(device->backend->candidates(device, &c->op, kernels, &count));
    while (k < count && strcmp(kernels[k].name, t->cost->op.kernel) != 0)
        k++;
    if (k == count || !speed_suits(c, &kernels[k])) return HY_OK;
    speed_trial *run;
    double excess[MOST_ROUNDS], scratch[MOST_ROUNDS], seconds;
    HY_TRY(speed_trial_new(device, c, &kernels[k], &run));
    double before = bench_limit_cost_now(t->l, t->cost);
    hy_status status = HY_OK;
    const uint64_t until = cli_now_ns() + t->budget;
    int rounds = 0;
    do {
        status = speed_trial_run(run, ROUND_NS, &seconds);
        if (status != HY_OK) break;
        const double after = bench_limit_cost_now(t->l, t->cost);
        excess[rounds++] = seconds - (before + after) / 2 / t->cost->runs;
        before = after;
        status = probe_status(t->l->probe[0]);
    } while (status == HY_OK && rounds < MOST_ROUNDS && cli_now_ns() < until);
    speed_trial_free(run);
    if (status == HY_OK) t->excess = stats_median(excess, (size_t)rounds, scratch);
    return status;
}

/* The op's shape as speed.h writes it; false for ops that are not worth a measurement. */
static bool shape_of(const limit_cost *c, char *out, size_t capacity) {
    const hy_op_cost *op = &c->op;
    const uint32_t *n = op->extent;
    if (strcmp(op->op, "matmul") == 0)
        snprintf(out, capacity, "%u,%u,%u", n[0], n[1], op->tokens);
    else if (strcmp(op->op, "grouped_matmul") == 0)
        snprintf(out, capacity, "%u,%u,%u,%u,%u", n[0], n[1], n[2], n[3], op->tokens);
    else if (strcmp(op->op, "attention") == 0 && c->sequences == 1)
        snprintf(out, capacity, "%u,%u,%u,%u,%u", n[0], n[1], n[2], n[3], op->tokens);
    else if (strcmp(op->op, "rms_norm") == 0)
        snprintf(out, capacity, "%u,%u", n[0], op->tokens);
    else
        return false;
    return true;
}

static bool alike(const limit_cost *a, const limit_cost *b) {
    return strcmp(a->op.kernel, b->op.kernel) == 0 && a->op.tokens == b->op.tokens &&
           a->sequences == b->sequences &&
           (a->op.type == b->op.type || strcmp(a->op.type, b->op.type) == 0) &&
           memcmp(a->op.extent, b->op.extent, sizeof a->op.extent) == 0;
}

/* The more of the test's time an op takes, the more rounds: on a machine that is not quiet a round scatters by 10 %. */
static uint64_t budget_for(const bench_limit *l, uint32_t at, const double *limit) {
    double all = 0, alikes = 0;
    for (uint32_t i = 0; i < l->costs; i++) {
        all += limit[i];
        if (alike(&l->cost[i], &l->cost[at])) alikes += limit[i];
    }
    return HY_MAX(LEAST_NS, (uint64_t)(BUDGET_NS * alikes / all));
}

/* excess[at] of l->cost[at], from those measured before where it is no new one; 0 for what is small. */
static bool find_excess(const bench_limit *l, uint32_t at, const double *limit, double *excess) {
    char shape[96];
    trial t = {.l = l, .cost = &l->cost[at], .excess = 0};
    excess[at] = 0;
    if (!shape_of(t.cost, shape, sizeof shape)) return true;
    for (uint32_t i = 0; i < at; i++)
        if (alike(&l->cost[i], t.cost)) {
            excess[at] = excess[i];
            return true;
        }
    t.budget = budget_for(l, at, limit);
    if (speed_cases(t.cost->op.op, t.cost->op.type, shape, measure, &t) != HY_OK) return false;
    excess[at] = t.excess;
    return true;
}

double bench_predict_seconds(const bench_limit *l) {
    double *limit = calloc(2 * (size_t)l->costs + 1, sizeof *limit), sum = 0;
    double *excess = limit ? limit + l->costs : NULL; /* seconds of all runs, and of one */
    bool ok = limit && l->devices == 1 && l->probe[0] && l->costs > 0;
    for (uint32_t i = 0; i < l->costs && ok; i++)
        limit[i] = bench_limit_cost_seconds(l, &l->cost[i]);
    for (uint32_t i = 0; i < l->costs && ok; i++) {
        ok = !bench_stopped() && find_excess(l, i, limit, excess);
        sum += limit[i] + l->cost[i].runs * excess[i];
    }
    free(limit);
    return ok ? sum : 0;
}

/* ---- bench --predict ---- */

static void predict_test(bench_call *c, bench_model *m, const cli_engine *e,
                         const bench_test *test) {
    bench_run r;
    if (!bench_run_plan(&r, &c->o, m, e, test)) {
        bench_call_row(c, bench_row(&r, c->record));
        bench_run_close(&r);
        return;
    }
    for (int i = 0; i < 5; i++)
        bench_limit_pass_all(&r.limit);
    r.predicted = bench_predict_seconds(&r.limit);
    if (r.predicted <= 0)
        snprintf(r.failure, sizeof r.failure, "%s",
                 r.limit.reason[0] ? r.limit.reason : hy_error_text());
    bench_call_row(c, bench_row(&r, c->record));
    bench_run_close(&r);
}

static void predict_all(bench_call *c, bench_model *m, const cli_engine *e) {
    for (uint32_t i = 0; i < c->o.tests && !bench_call_ends(c); i++) {
        bench_call_progress(c, e->device, &c->o.test[i], 0);
        predict_test(c, m, e, &c->o.test[i]);
    }
}

int bench_predict(bench_call *c) {
    bench_model m;
    const bool file = strchr(c->o.predict, '/') || strstr(c->o.predict, ".gguf");
    const int code = bench_model_open(c->o.predict, !file, !file, false, &c->o.e.verbose, &m);
    if (!code) bench_call_each(c, &m, predict_all);
    bench_model_close(&m);
    return code ? code : c->code;
}

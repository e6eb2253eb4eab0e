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

enum { ROUNDS = 3, ROUND_NS = 25000000 };

/* One op on its way through the cases of speed.h. */
typedef struct trial {
    hy_device *device;
    const char *kernel;
    double seconds; /* of one run; 0: not measured */
} trial;

static hy_status measure(void *user, const speed_case *c) {
    trial *t = user;
    hy_kernel kernels[HY_MAX_CANDIDATES];
    uint32_t count = 0, k = 0;
    HY_TRY(t->device->backend->candidates(t->device, &c->op, kernels, &count));
    while (k < count && strcmp(kernels[k].name, t->kernel) != 0)
        k++;
    if (k == count) return HY_OK;
    speed_trial *run;
    double seconds[ROUNDS], scratch[ROUNDS];
    HY_TRY(speed_trial_new(t->device, c, &kernels[k], &run));
    hy_status status = HY_OK;
    for (int i = 0; i < ROUNDS && status == HY_OK; i++)
        status = speed_trial_run(run, ROUND_NS, &seconds[i]);
    speed_trial_free(run);
    if (status == HY_OK) t->seconds = stats_median(seconds, ROUNDS, scratch);
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
    else
        return false;
    return true;
}

static bool alike(const limit_cost *a, const limit_cost *b) {
    return strcmp(a->op.kernel, b->op.kernel) == 0 && a->op.tokens == b->op.tokens &&
           a->sequences == b->sequences && strcmp(a->op.type, b->op.type) == 0 &&
           memcmp(a->op.extent, b->op.extent, sizeof a->op.extent) == 0;
}

/* Seconds of one run of l->cost[at], from those measured before where it is no new one. */
static bool seconds_of(const bench_limit *l, uint32_t at, hy_device *device, double *known) {
    const limit_cost *c = &l->cost[at];
    char shape[96];
    trial t = {.device = device, .kernel = c->op.kernel};
    known[at] = 0;
    if (!shape_of(c, shape, sizeof shape)) return true;
    for (uint32_t i = 0; i < at && !known[at]; i++)
        if (known[i] > 0 && alike(&l->cost[i], c)) known[at] = known[i];
    if (known[at] > 0) return true;
    if (speed_cases(c->op.op, c->op.type, shape, measure, &t) != HY_OK) return false;
    known[at] = t.seconds;
    return true;
}

double bench_predict_seconds(const bench_limit *l, const cli_engine *e) {
    const hy_device_params params = {.threads = e->threads, .cpus = e->cpu_mask, .isa = e->isa};
    hy_device *device = NULL;
    double *known = calloc(l->costs + 1, sizeof *known), sum = 0;
    bool ok = known && l->devices == 1 && l->probe[0] && l->costs > 0 &&
              hy_device_open(l->id[0], &params, &device) == HY_OK;
    for (uint32_t i = 0; i < l->costs && ok; i++) {
        ok = !bench_stopped() && seconds_of(l, i, device, known);
        sum += known[i] > 0 ? l->cost[i].runs * known[i] : bench_limit_cost_seconds(l, &l->cost[i]);
    }
    hy_device_close(device);
    free(known);
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
    r.predicted = bench_predict_seconds(&r.limit, e);
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

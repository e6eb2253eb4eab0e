/* tools/bench/run.c: see run.h. */
#include "tools/bench/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "tools/bench/predict.h"

enum {
    BREATH_NS = 250000000, /* between two measurements of the peaks, within a repetition */
    UNCACHED_BYTES =
        256 << 20, /* weights that no cache keeps: measuring between steps costs them nothing */
    CHECK_ROWS = BENCH_CHECK_TOKENS + 1
};

bool bench_run_failed(bench_run *r) {
    snprintf(r->failure, sizeof r->failure, "%s", hy_error_text());
    return false;
}

/* ---- an engine ---- */

static bool make_sequences(bench_run *r) {
    r->sequence = calloc(r->parallel, sizeof *r->sequence);
    r->ids = malloc(r->params.context * sizeof *r->ids);
    if (!r->sequence || !r->ids) {
        snprintf(r->failure, sizeof r->failure, "no memory for %u sequences", r->parallel);
        return false;
    }
    for (uint32_t i = 0; i < r->parallel; i++)
        if (hy_sequence_new(r->e.engine, &r->sequence[i]) != HY_OK) return bench_run_failed(r);
    return true;
}

/* Everything that engines are made with. */
static bool set_params(bench_run *r, const bench_options *o, bench_model *m, const cli_engine *e,
                       uint32_t parallel, uint32_t context) {
    *r = (bench_run){.o = o, .m = m, .e = *e, .parallel = parallel, .joules = -1};
    if (!cli_engine_params("bench", e, &r->params)) return false;
    hy_engine_params *p = &r->params;
    p->no_prefix_cache = 1;
    p->max_sequences = parallel;
    p->context = HY_MAX(HY_MAX(e->context, context), CHECK_ROWS);
    p->max_batch = HY_MAX(p->max_batch, parallel);
    p->max_rows = HY_MIN(HY_MAX(parallel, CHECK_ROWS), p->max_batch);
    return true;
}

static bool make_engine(bench_run *r) {
    r->desc.size = sizeof r->desc;
    if (hy_engine_new(r->m->model, &r->params, &r->e.engine) != HY_OK ||
        hy_engine_describe(r->e.engine, &r->desc) != HY_OK)
        return bench_run_failed(r);
    return true;
}

bool bench_run_open(bench_run *r, const bench_options *o, bench_model *m, const cli_engine *e,
                    uint32_t parallel, uint32_t context) {
    if (!set_params(r, o, m, e, parallel, context)) return false;
    if (!o->no_verify) (void)bench_reference_for(m, e->device, r->params.kv_type);
    machine_peak_reset();
    if (!make_engine(r) || !make_sequences(r)) return false;
    hy_device_desc device;
    (void)bench_device(m, r->desc.device, &device); /* none: no counter, no threads to tell */
    if (strncmp(r->desc.device, "cpu", 3) == 0) r->threads = e->threads ? e->threads : device.units;
    r->energy = energy_new(r->desc.device, device.bus);
    r->loading = machine_peak_bytes(); /* before the probes take memory of their own */
    bench_limit_open(&r->limit, &r->e, r->desc.device);
    machine_peak_reset();
    return true;
}

bool bench_run_plan(bench_run *r, const bench_options *o, bench_model *m, const cli_engine *e,
                    const bench_test *test) {
    if (!set_params(r, o, m, e, test->parallel, test->context)) return false;
    r->test = *test;
    r->params.plan_only = 1;
    if (!make_engine(r)) return false;
    bench_limit_open(&r->limit, &r->e, r->desc.device);
    if (bench_limit_begin(&r->limit, r->e.engine, test, r->desc.max_batch)) return true;
    return bench_run_failed(r);
}

void bench_run_close(bench_run *r) {
    for (uint32_t i = 0; i < r->parallel && r->sequence; i++)
        hy_sequence_free(r->sequence[i]);
    free(r->sequence);
    free(r->ids);
    hy_engine_free(r->e.engine);
    bench_limit_close(&r->limit);
    energy_free(r->energy);
    series_free(&r->seconds);
    series_free(&r->itl);
    series_free(&r->ttft);
    series_free(&r->served.total);
    series_free(&r->served.queued);
    memset(r, 0, sizeof *r);
}

/* ---- steps ---- */

void bench_run_breathe(bench_run *r) {
    const uint64_t begin = cli_now_ns();
    if (r->limit.weight_bytes < UNCACHED_BYTES || begin - r->breathed < BREATH_NS) return;
    bench_limit_pass(&r->limit);
    r->breathed = cli_now_ns();
    r->paused += r->breathed - begin;
}

bool bench_run_step(bench_run *r, hy_step_result *result) {
    if (hy_engine_step(r->e.engine, NULL, result) != HY_OK) return bench_run_failed(r);
    return true;
}

static uint32_t pending(const bench_run *r, uint32_t sequences) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < sequences; i++)
        sum += hy_sequence_pending(r->sequence[i]);
    return sum;
}

bool bench_run_add(bench_run *r, uint32_t sequence, uint32_t stream, uint32_t at, uint32_t count,
                   unsigned flags) {
    for (uint32_t t = 0; t < count; t++)
        r->ids[t] = bench_token(r->m, stream, at + t);
    return hy_sequence_add(r->sequence[sequence], r->ids, count, flags) == HY_OK ||
           bench_run_failed(r);
}

bool bench_run_queue(bench_run *r, uint32_t sequences, uint32_t at, uint32_t count,
                     unsigned flags) {
    for (uint32_t i = 0; i < sequences; i++)
        if (!bench_run_add(r, i, i, at, count, flags)) return false;
    return true;
}

bool bench_run_idle(bench_run *r, uint32_t sequences) {
    while (pending(r, sequences) && !bench_stopped())
        if (!bench_run_step(r, NULL)) return false;
    return true;
}

/* Every sequence as it is before a repetition: `depth` tokens. What an earlier test put there is used again. */
static bool rewind_to_depth(bench_run *r) {
    const uint32_t depth = r->test.depth, sequences = r->test.parallel;
    const uint32_t keep = r->filled < depth ? r->filled : depth;
    for (uint32_t i = 0; i < sequences; i++)
        if (hy_sequence_truncate(r->sequence[i], keep) != HY_OK) return bench_run_failed(r);
    if (keep == depth) return true;
    if (!bench_run_queue(r, sequences, keep, depth - keep, 0) || !bench_run_idle(r, sequences))
        return false;
    r->filled = bench_stopped() ? 0 : depth;
    return true;
}

/* Prompts of all sequences, queued together: each has its first token when its last chunk is done. */
static bool run_prompts(bench_run *r, bool counted) {
    const bench_test *t = &r->test;
    const uint64_t begin = cli_now_ns();
    uint32_t waiting = t->parallel;
    if (!bench_run_queue(r, t->parallel, t->depth, t->prompt, 0)) return false;
    while (waiting && !bench_stopped()) {
        if (!bench_run_step(r, NULL)) return false;
        const uint32_t before = waiting;
        waiting = 0;
        for (uint32_t i = 0; i < t->parallel; i++)
            waiting += hy_sequence_pending(r->sequence[i]) > 0;
        for (uint32_t i = waiting; i < before && counted; i++)
            series_add(&r->ttft, (double)(cli_now_ns() - begin - r->paused) * 1e-9);
        if (waiting) bench_run_breathe(r);
    }
    return true;
}

static bool run_decode(bench_run *r, bool counted) {
    const bench_test *t = &r->test;
    for (uint32_t i = 0; i < t->gen && !bench_stopped(); i++) {
        const uint64_t begin = cli_now_ns();
        if (!bench_run_queue(r, t->parallel, t->depth + t->prompt + i, 1, 0) ||
            !bench_run_idle(r, t->parallel))
            return false;
        if (counted) series_add(&r->itl, (double)(cli_now_ns() - begin) * 1e-9);
        bench_run_breathe(r);
    }
    return true;
}

static bool repeat(bench_run *r, bool counted) {
    double joules = 0;
    if (!rewind_to_depth(r)) return false;
    if (counted) bench_limit_pass(&r->limit);
    r->breathed = cli_now_ns();
    r->paused = 0;
    const bool metered = counted && energy_begin(r->energy);
    const uint64_t begin = cli_now_ns();
    const bool ok = r->test.kind == BENCH_SERVE ? bench_serve(r, counted)
                                                : (!r->test.prompt || run_prompts(r, counted)) &&
                                                      (!r->test.gen || run_decode(r, counted));
    const double seconds = (double)(cli_now_ns() - begin - r->paused) * 1e-9;
    const bool read = metered && energy_end(r->energy, &joules);
    if (!ok || !counted || bench_stopped()) return ok;
    series_add(&r->seconds, seconds);
    if (!read)
        r->joules = -1;
    else if (r->joules >= 0)
        r->joules += joules;
    return true;
}

/* ---- a test ---- */

static bool begin(bench_run *r, const bench_test *test) {
    r->test = *test;
    r->joules = r->predicted = 0;
    series_clear(&r->seconds);
    series_clear(&r->itl);
    series_clear(&r->ttft);
    series_clear(&r->served.total);
    series_clear(&r->served.queued);
    r->served = (bench_served){.total = r->served.total, .queued = r->served.queued};
    r->check = (bench_check){.done = false};
    if (test->kind != BENCH_SERVE &&
        !bench_limit_begin(&r->limit, r->e.engine, test, r->desc.max_batch))
        return bench_run_failed(r);
    if (!r->o->no_verify && !bench_check_run(r)) return false;
    bench_limit_pass_all(&r->limit);
    machine_peak_reset(); /* what the last test's prediction took is no part of this one */
    machine_busy_begin(&r->busy);
    return true;
}

/* Without the memory of probes, which is no part of what a model needs. */
static void note_resident(bench_run *r) {
    uint64_t peak = machine_peak_bytes();
    for (uint32_t d = 0; d < r->limit.devices; d++)
        if (r->limit.probe[d] && strncmp(r->limit.id[d], "cpu", 3) == 0)
            peak -= HY_MIN(peak, probe_bytes(r->limit.probe[d]));
    r->resident = HY_MAX(peak, r->loading);
}

static void end(bench_run *r) {
    if (!machine_busy_end(&r->busy, &r->share)) r->share = (machine_share){0};
    note_resident(r);
    if (r->seconds.count && r->test.kind != BENCH_SERVE && !bench_stopped() &&
        r->limit.weight_bytes >= UNCACHED_BYTES) /* kernels are predicted without caches */
        r->predicted = bench_predict_seconds(&r->limit);
    if (r->seconds.count == 0) r->joules = -1;
}

bool bench_run_test(bench_run *run, uint32_t count, const bench_test *test, uint64_t until) {
    const bench_options *o = run->o;
    bool ok = true;
    for (uint32_t i = 0; i < count; i++)
        if (!begin(&run[i], test)) return false;
    for (uint32_t i = 0; i < count; i++)
        if (run[i].check.done && !run[i].check.passed) return true;
    for (uint32_t i = o->no_warmup; i <= o->repeats && ok && !bench_stopped(); i++) {
        if (i > 1 && cli_now_ns() > until) break;
        for (uint32_t turn = 0; turn < count && ok; turn++) {
            bench_run *r = &run[(turn + i) % count];
            if (r->tick) r->tick(r->tick_user, r, i);
            ok = repeat(r, i > 0);
        }
    }
    for (uint32_t i = 0; i < count; i++)
        end(&run[i]);
    return ok;
}

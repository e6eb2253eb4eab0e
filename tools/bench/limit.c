/* tools/bench/limit.c: see limit.h. */
#include "tools/bench/limit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"

/* ---- probes ---- */

/* The CPU's probe stays from engine to engine: its memory is slow to come by and in nobody's way. */
static struct {
    probe *probe;
    char key[256];
} kept;

static void key_of(const char *id, const cli_engine *e, char key[256]) {
    snprintf(key, 256, "%s %u %s %s", id, e->threads, e->cpu_mask ? e->cpu_mask : "",
             e->isa ? e->isa : "");
}

static hy_status open_probe(const char *id, const cli_engine *e, probe **out) {
    const hy_device_params params = {.threads = e->threads, .cpus = e->cpu_mask, .isa = e->isa};
    char key[256];
    key_of(id, e, key);
    if (kept.probe && strcmp(kept.key, key) == 0) {
        *out = kept.probe;
        return HY_OK;
    }
    return probe_new(id, &params, out);
}

static void close_probe(const char *id, const cli_engine *e, probe *p) {
    if (!p || p == kept.probe) return;
    if (strncmp(id, "cpu", 3) != 0) {
        probe_free(p);
        return;
    }
    probe_free(kept.probe);
    kept.probe = p;
    key_of(id, e, kept.key);
}

void bench_limit_forget(void) {
    probe_free(kept.probe);
    kept.probe = NULL;
}

void bench_limit_open(bench_limit *l, const cli_engine *e, const char *devices) {
    *l = (bench_limit){.e = e};
    for (const char *at = devices; *at && l->devices < LIMIT_MAX_DEVICES;) {
        const size_t length = strcspn(at, ",");
        const uint32_t d = l->devices++;
        snprintf(l->id[d], sizeof l->id[d], "%.*s", (int)length, at);
        if (open_probe(l->id[d], e, &l->probe[d]) != HY_OK) {
            l->probe[d] = NULL;
            snprintf(l->reason, sizeof l->reason, "%s", hy_error_text());
        } else if (probe_pass(l->probe[d], HY_PEAK_READ) <= 0) {
            snprintf(l->reason, sizeof l->reason, "%s has no measure of its peaks", l->id[d]);
            if (l->probe[d] == kept.probe) kept.probe = NULL;
            probe_free(l->probe[d]);
            l->probe[d] = NULL;
        }
        at += length + (at[length] == ',');
    }
}

static void clear(bench_limit *l) {
    for (uint32_t d = 0; d < LIMIT_MAX_DEVICES; d++)
        for (int k = 0; k < HY_PEAKS; k++)
            series_clear(&l->pass[d][k]);
    l->costs = l->kernels = 0;
    l->status = HY_OK;
    l->weight_bytes = 0;
}

void bench_limit_close(bench_limit *l) {
    for (uint32_t d = 0; d < LIMIT_MAX_DEVICES; d++) {
        close_probe(l->id[d], l->e, l->probe[d]);
        for (int k = 0; k < HY_PEAKS; k++)
            series_free(&l->pass[d][k]);
    }
    free(l->cost);
    free(l->kernel);
    *l = (bench_limit){.devices = 0};
}

/* ---- costs ---- */

/* A visit of one step that runs `times` times. */
typedef struct visit {
    bench_limit *l;
    double times;
    uint32_t sequences;
} visit;

static uint32_t device_of(const bench_limit *l, const char *id) {
    uint32_t d = 0;
    while (d + 1 < l->devices && strcmp(l->id[d], id) != 0)
        d++;
    return d;
}

static hy_status note_kernel(bench_limit *l, const char *name) {
    for (uint32_t i = 0; i < l->kernels; i++)
        if (strcmp(l->kernel[i], name) == 0) return HY_OK;
    HY_TRY(hy_grow(&l->kernel, l->kernels, &l->kernel_room, sizeof *l->kernel));
    snprintf(l->kernel[l->kernels++], sizeof *l->kernel, "%s", name);
    return HY_OK;
}

static void note_op(void *user, const hy_op_cost *op) {
    const visit *v = user;
    bench_limit *l = v->l;
    if (l->status == HY_OK) l->status = note_kernel(l, op->kernel);
    if (l->status == HY_OK) l->status = hy_grow(&l->cost, l->costs, &l->room, sizeof *l->cost);
    if (l->status != HY_OK) return;
    l->cost[l->costs++] = (limit_cost){
        .op = *op,
        .device = device_of(l, op->device),
        .sequences = v->sequences,
        .runs = v->times,
        .weights = v->times * (double)op->weight_bytes,
        .kv = v->times * (double)(op->kv_read_bytes + op->kv_written_bytes),
        .activations = v->times * (double)op->activation_bytes,
        .flops = v->times * op->flops,
    };
    l->step_bytes += (double)op->weight_bytes;
}

static bool add_step(bench_limit *l, const hy_engine *engine, double times, uint32_t tokens,
                     uint32_t sequences, uint32_t past) {
    visit v = {l, times, sequences};
    l->step_bytes = 0;
    const hy_status status = hy_engine_costs(
        engine, hy_step_shape(.tokens = tokens, .sequences = sequences, .past = past), note_op, &v);
    l->weight_bytes = fmax(l->weight_bytes, l->step_bytes);
    return status == HY_OK && l->status == HY_OK;
}

/* A prompt in chunks as the engine cuts it: several sequences one behind the other. */
static bool add_prompt(bench_limit *l, const hy_engine *engine, const bench_test *t,
                       uint32_t max_batch) {
    for (uint32_t done = 0; done < t->prompt; done += max_batch) {
        const uint32_t left = t->prompt - done;
        if (!add_step(l, engine, t->parallel, left < max_batch ? left : max_batch, 1,
                      t->depth + done))
            return false;
    }
    return true;
}

/* Decode steps grow linearly with the position, so the middle one stands for all. */
static bool add_decode(bench_limit *l, const hy_engine *engine, const bench_test *t,
                       uint32_t max_batch) {
    const uint32_t past = t->depth + t->prompt + (t->gen - 1) / 2;
    const uint32_t most = t->parallel < max_batch ? t->parallel : max_batch;
    const uint32_t whole = t->parallel / most, rest = t->parallel % most;
    return add_step(l, engine, (double)t->gen * whole, most, most, past) &&
           (rest == 0 || add_step(l, engine, t->gen, rest, rest, past));
}

bool bench_limit_begin(bench_limit *l, const hy_engine *engine, const bench_test *t,
                       uint32_t max_batch) {
    clear(l);
    if (t->prompt && !add_prompt(l, engine, t, max_batch)) return false;
    if (t->gen && !add_decode(l, engine, t, max_batch)) return false;
    return true;
}

limit_cost bench_limit_total(const bench_limit *l) {
    limit_cost sum = {.device = 0};
    for (uint32_t i = 0; i < l->costs; i++) {
        sum.weights += l->cost[i].weights;
        sum.kv += l->cost[i].kv;
        sum.activations += l->cost[i].activations;
        sum.flops += l->cost[i].flops;
    }
    return sum;
}

/* ---- peaks ---- */

/* The peak that an arithmetic waits for; float32's where a device has no better. */
static hy_peak peak_of(const bench_limit *l, uint32_t device, hy_arithmetic arithmetic) {
    static const hy_peak kind[] = {HY_PEAK_F32, HY_PEAK_F16, HY_PEAK_BF16, HY_PEAK_INT8};
    return bench_limit_peak(l, device, kind[arithmetic]) > 0 ? kind[arithmetic] : HY_PEAK_F32;
}

static void pass(bench_limit *l, uint32_t d, hy_peak kind) {
    const double rate = probe_pass(l->probe[d], kind);
    if (rate > 0) (void)series_add(&l->pass[d][kind], rate); /* one pass less is no matter */
}

void bench_limit_pass_all(bench_limit *l) {
    for (uint32_t d = 0; d < l->devices; d++)
        for (int k = 0; k < HY_PEAKS && l->probe[d]; k++)
            pass(l, d, (hy_peak)k);
}

void bench_limit_pass(bench_limit *l) {
    bool wanted[LIMIT_MAX_DEVICES][HY_PEAKS] = {{false}};
    for (uint32_t i = 0; i < l->costs; i++)
        wanted[l->cost[i].device][peak_of(l, l->cost[i].device, l->cost[i].op.arithmetic)] = true;
    for (uint32_t d = 0; d < l->devices; d++) {
        wanted[d][HY_PEAK_READ] = true;
        for (int k = 0; k < HY_PEAKS && l->probe[d]; k++)
            if (wanted[d][k]) pass(l, d, (hy_peak)k);
    }
}

double bench_limit_peak(const bench_limit *l, uint32_t device, hy_peak kind) {
    const series *s = &l->pass[device][kind];
    return s->count ? series_median(s) : 0;
}

/* peak [HY_PEAKS] of an op's device, slow moments and all, as repetitions have them; the one of its arithmetic. */
static hy_peak peaks_of(const bench_limit *l, const limit_cost *c, double *peak) {
    for (int k = 0; k < HY_PEAKS; k++)
        peak[k] = series_harmonic_mean(&l->pass[c->device][k]);
    return peak_of(l, c->device, c->op.arithmetic);
}

/* The limit of one op's runs, and what it waits for. */
static double cost_seconds(const limit_cost *c, const double *peak, hy_peak arithmetic,
                           hy_peak *bound) {
    const double read = (c->weights + c->kv) / peak[HY_PEAK_READ];
    const double compute = c->flops / peak[arithmetic];
    *bound = read > compute ? HY_PEAK_READ : arithmetic;
    return fmax(read, compute);
}

double bench_limit_cost_seconds(const bench_limit *l, const limit_cost *c) {
    double peak[HY_PEAKS];
    hy_peak bound;
    return cost_seconds(c, peak, peaks_of(l, c, peak), &bound);
}

double bench_limit_cost_now(const bench_limit *l, const limit_cost *c) {
    double peak[HY_PEAKS];
    hy_peak bound;
    const hy_peak arithmetic = peaks_of(l, c, peak);
    (void)cost_seconds(c, peak, arithmetic, &bound);
    peak[bound] = probe_pass(l->probe[c->device], bound);
    return cost_seconds(c, peak, arithmetic, &bound);
}

double bench_limit_seconds(const bench_limit *l, hy_peak *bound) {
    double peak[LIMIT_MAX_DEVICES][HY_PEAKS], waits[HY_PEAKS] = {0}, seconds = 0;
    hy_peak kinds[LIMIT_MAX_DEVICES][4];
    for (uint32_t d = 0; d < l->devices; d++) {
        for (int k = 0; k < HY_PEAKS; k++)
            peak[d][k] = bench_limit_peak(l, d, (hy_peak)k);
        if (peak[d][HY_PEAK_READ] <= 0 || peak[d][HY_PEAK_F32] <= 0) return 0;
        for (int a = 0; a < 4; a++)
            kinds[d][a] = peak_of(l, d, (hy_arithmetic)a);
    }
    for (uint32_t i = 0; i < l->costs; i++) {
        const limit_cost *c = &l->cost[i];
        hy_peak kind;
        const double time =
            cost_seconds(c, peak[c->device], kinds[c->device][c->op.arithmetic], &kind);
        waits[kind] += time;
        seconds += time;
    }
    *bound = HY_PEAK_READ;
    for (int k = 0; k < HY_PEAKS; k++)
        if (waits[k] > waits[*bound]) *bound = (hy_peak)k;
    return seconds;
}

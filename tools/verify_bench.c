/* tools/verify_bench.c: see verify_bench.h. */
#include "tools/verify_bench.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/registry.h"
#include "base/num.h"
#include "hal/peak.h"
#include "tests/speed/speed.h"
#include "tools/bench/stats.h"
#include "tools/cli.h"
#include "tools/probe.h"

enum { ROUNDS = 5, ROUND_NS = 40000000 };

typedef struct state {
    const verify_bench_options *o;
    hy_device *device;
    probe *probe;
    double peak[HY_PEAKS]; /* best seen so far; 0: none */
    json_t *rows;
    uint32_t measured;
} state;

/* What one case did: medians over the rounds. */
typedef struct result {
    double seconds, share; /* share of the limit; 0: not known */
    const char *limit;     /* "read", "int8", ... */
} result;

static double pass(state *s, hy_peak kind) {
    const double rate = probe_pass(s->probe, kind);
    s->peak[kind] = HY_MAX(s->peak[kind], rate);
    return rate;
}

/* Float32's where the device has no better. */
static hy_peak arithmetic_of(const state *s, const hy_op *op, const hy_kernel *kernel) {
    const hy_peak kind = hy_kernel_peak(op, kernel);
    return s->peak[kind] > 0 ? kind : HY_PEAK_F32;
}

/* The limit of a round is the longer of reading and computing at the peaks seen just before. */
static hy_status measure(state *s, const speed_case *c, const hy_kernel *kernel, result *out) {
    const hy_peak arithmetic = arithmetic_of(s, &c->op, kernel);
    double seconds[ROUNDS], share[ROUNDS] = {0}, scratch[ROUNDS];
    speed_trial *trial;
    HY_TRY(speed_trial_new(s->device, c, kernel, &trial));
    hy_status status = HY_OK;
    *out = (result){.limit = NULL};
    for (int i = 0; i < ROUNDS && status == HY_OK; i++) {
        const double read = pass(s, HY_PEAK_READ), compute = pass(s, arithmetic);
        status = speed_trial_run(trial, ROUND_NS, &seconds[i]);
        if (status != HY_OK || read <= 0 || compute <= 0) continue;
        const double reading = c->bytes / read, computing = c->flops / compute;
        share[i] = HY_MAX(reading, computing) / seconds[i];
        out->limit = probe_name(reading > computing ? HY_PEAK_READ : arithmetic);
    }
    speed_trial_free(trial);
    HY_TRY(status);
    HY_TRY(probe_status(s->probe));
    out->seconds = stats_median(seconds, ROUNDS, scratch);
    out->share = stats_median(share, ROUNDS, scratch);
    return HY_OK;
}

static void add_row(state *s, const speed_case *c, const hy_kernel *kernel, const result *r) {
    const double gops = c->flops / r->seconds * 1e-9, gbps = c->bytes / r->seconds * 1e-9;
    if (!s->o->json) {
        printf("| %s | %s | %.1f | %.1f | %.1f | ", kernel->name, c->shape, r->seconds * 1e6, gops,
               gbps);
        if (r->limit)
            printf("%s | %.0f %% |\n", r->limit, r->share * 100);
        else
            printf("| |\n");
        fflush(stdout);
        return;
    }
    json_t *row = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f}", "op",
                            hy_op_get((hy_op_kind)c->op.kind)->name, "kernel", kernel->name,
                            "shape", c->shape, "us", r->seconds * 1e6, "flops", c->flops, "bytes",
                            c->bytes, "gops", gops, "gbps", gbps);
    if (r->limit) {
        json_object_set_new(row, "limit", json_string(r->limit));
        json_object_set_new(row, "share", json_real(r->share));
    }
    json_array_append_new(s->rows, row);
}

static hy_status visit(void *user, const speed_case *c) {
    state *s = user;
    hy_kernel kernels[HY_MAX_CANDIDATES];
    uint32_t count = 0, invariant = 0; /* which is the first that is */
    HY_TRY(s->device->backend->candidates(s->device, &c->op, kernels, &count));
    while (invariant < count && !(kernels[invariant].flags & HY_KERNEL_INVARIANT))
        invariant++;
    for (uint32_t i = 0; i < count; i++) {
        const bool chosen = !c->whole && (i == 0 || i == invariant);
        if (!speed_suits(c, &kernels[i])) continue;
        if (s->o->kernel ? !strstr(kernels[i].name, s->o->kernel) : !chosen) continue;
        result r;
        if (!s->o->json && isatty(2)) fprintf(stderr, "%s, %s\r", kernels[i].name, c->shape);
        const hy_status status = measure(s, c, &kernels[i], &r);
        if (!s->o->json && isatty(2)) fputs("\033[K", stderr);
        HY_TRY(status);
        add_row(s, c, &kernels[i], &r);
        s->measured++;
    }
    return HY_OK;
}

static void print_head(const state *s) {
    hy_device_info info;
    s->device->backend->info(s->device, &info);
    printf("%s, %s, %u units\n", info.name, info.arch, info.units);
    for (int i = 0, shown = 0; i < HY_PEAKS; i++) {
        if (s->peak[i] <= 0) continue;
        printf("%s%s %.*f G%s/s", shown++ ? ", " : "peaks: ", probe_name((hy_peak)i),
               i <= HY_PEAK_READ, s->peak[i] * 1e-9, i <= HY_PEAK_READ ? "B" : "OP");
    }
    if (probe_bytes(s->probe)) printf(" (measured again with each row)\n");
    printf("\n| kernel | shape | us | GOP/s | GB/s | limit | of limit |\n"
           "| --- | --- | ---: | ---: | ---: | --- | ---: |\n");
}

static json_t *peaks_json(const state *s) {
    json_t *peaks = json_object();
    for (int i = 0; i < HY_PEAKS; i++)
        if (s->peak[i] > 0)
            json_object_set_new(peaks, probe_name((hy_peak)i), json_real(s->peak[i]));
    return peaks;
}

static int run(state *s) {
    for (int i = 0; i < HY_PEAKS; i++)
        s->peak[i] = probe_best(s->probe, (hy_peak)i);
    if (probe_status(s->probe) != HY_OK) return cli_status("verify");
    if (!s->o->json) print_head(s);
    if (speed_cases(s->o->op, s->o->type, s->o->shape, visit, s) != HY_OK)
        return cli_status("verify");
    if (!s->measured) return cli_fail("verify", 1, "no kernel was tried");
    if (s->o->json) {
        json_t *root = json_pack("{s:o, s:O}", "peaks", peaks_json(s), "rows", s->rows);
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(root);
    }
    return cli_flush("verify");
}

int verify_bench(const verify_bench_options *o) {
    state s = {.o = o, .rows = json_array()};
    const hy_device_params params = {.threads = o->threads, .cpus = o->cpus, .isa = o->isa};
    hy_status status = hy_device_open(o->device, &params, &s.device);
    if (status == HY_OK) status = probe_new(o->device, &params, &s.probe);
    const int code = status == HY_OK ? run(&s) : cli_status("verify");
    probe_free(s.probe);
    hy_device_close(s.device);
    json_decref(s.rows);
    return code;
}

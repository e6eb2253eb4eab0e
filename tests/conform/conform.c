/* tests/conform/conform.c: every candidate of every op on one device, and the report. */
#include "tests/conform/conform.h"

#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "base/arena.h"

typedef struct walk {
    hy_device *device, *oracle;
    const conform_options *options;
    conform_report *report;
} walk;

static conform_result *result_of(conform_report *report, const hy_kernel *kernel, hy_op_kind op) {
    for (size_t i = 0; i < report->count; i++) {
        if (report->results[i].op == op && strcmp(report->results[i].kernel, kernel->name) == 0) {
            return &report->results[i];
        }
    }
    if (hy_grow(&report->results, report->count, &report->capacity, sizeof *report->results) !=
        HY_OK) {
        return NULL;
    }
    conform_result *r = &report->results[report->count++];
    memset(r, 0, sizeof *r);
    r->kernel = kernel->name;
    r->op = op;
    return r;
}

static hy_status run_kernel(walk *w, const conform_case *c, const conform_constants *constants,
                            const hy_kernel *kernel) {
    conform_result *r = result_of(w->report, kernel, (hy_op_kind)c->op.kind);
    if (!r) return hy_fail(HY_E_MEMORY, "no memory for a result");
    char failure[256];
    double worst = 0;
    HY_TRY(conform_kernel(w->device, w->oracle, c, constants, kernel, &worst, failure));
    r->cases++;
    if (worst > r->worst) r->worst = worst;
    FILE *log = w->options->log;
    if (log && w->options->verbose) {
        fprintf(log, "%s %s: %s (error / bound %.3f)\n", failure[0] ? "FAIL" : "ok", kernel->name,
                c->label, worst);
    }
    if (!failure[0]) return HY_OK;
    r->failures++;
    w->report->failures++;
    if (r->failures == 1) memcpy(r->first_failure, failure, sizeof failure);
    if (log && r->failures <= 3) fprintf(log, "FAIL %s: %s\n", kernel->name, failure);
    return HY_OK;
}

static hy_status visit(void *user, const conform_case *c) {
    walk *w = user;
    hy_kernel kernels[HY_MAX_CANDIDATES];
    uint32_t count = 0;
    HY_TRY(w->device->backend->candidates(w->device, &c->op, kernels, &count));
    w->report->cases++;
    if (count == 0) {
        w->report->unsupported++;
        if (w->options->log && w->options->verbose) fprintf(w->options->log, "none %s\n", c->label);
    }
    uint32_t asked = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (w->options->kernel && !strstr(kernels[i].name, w->options->kernel)) continue;
        kernels[asked++] = kernels[i];
    }
    if (asked == 0) return HY_OK;
    conform_constants constants;
    hy_status status = conform_constants_new(c, &constants);
    for (uint32_t i = 0; i < asked && status == HY_OK; i++)
        status = run_kernel(w, c, &constants, &kernels[i]);
    conform_constants_free(&constants);
    return status;
}

hy_status conform_run(hy_device *device, const conform_options *options, conform_report *report) {
    memset(report, 0, sizeof *report);
    walk w = {device, NULL, options, report};
    hy_op_kind kind = HY_OP_KIND_COUNT;
    if (options->op) {
        kind = hy_op_by_name(options->op);
        if (kind == HY_OP_KIND_COUNT) {
            hy_text names = {0};
            for (uint32_t i = 0; i < HY_OP_KIND_COUNT; i++) {
                hy_text_add(&names, " %s", hy_op_get((hy_op_kind)i)->name);
            }
            hy_status status = hy_fail(HY_E_NOT_FOUND, "no op '%s'; ops:%s", options->op,
                                       names.data ? names.data : "");
            hy_text_free(&names);
            return status;
        }
    }
    HY_TRY(hy_device_open("ref", &(hy_device_params){.threads = 1}, &w.oracle));
    hy_status status = conform_cases(kind, options->quick, visit, &w);
    hy_device_close(w.oracle);
    return status;
}

void conform_report_free(conform_report *report) {
    free(report->results);
    memset(report, 0, sizeof *report);
}

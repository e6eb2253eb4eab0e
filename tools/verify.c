/* tools/verify.c: `halyard verify`: does this machine compute what it should? The conformance runner over
 * every kernel of a device, or ONNX node cases from a folder. Looks inside the library. */
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "backends/registry.h"
#include "tests/conform/conform.h"
#include "tools/cli.h"
#include "tools/verify_bench.h"

typedef struct verify {
    const char *device, *op, *kernel, *isa, *cpus, *cases, *type, *shape;
    uint32_t threads;
    bool quick, verbose, json, table, bench, no_graphs;
} verify;

static int open_device(const verify *v, hy_device **out) {
    hy_device_params params = {.threads = v->threads,
                               .cpus = v->cpus,
                               .isa = v->isa,
                               .no_graphs = v->no_graphs,
                               .libraries = true};
    hy_device *inner;
    if (hy_device_open(v->device, &params, &inner) != HY_OK) return cli_status("verify");
    if (hy_validate_open(inner, out) != HY_OK) {
        hy_device_close(inner);
        return cli_status("verify");
    }
    return 0;
}

static json_t *report_json(const conform_report *report, const char *device) {
    json_t *kernels = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const conform_result *r = &report->results[i];
        json_t *o = json_pack("{s:s, s:s, s:i, s:i, s:f}", "kernel", r->kernel, "op",
                              hy_op_get(r->op)->name, "cases", (int)r->cases, "failures",
                              (int)r->failures, "worst", r->worst < 1e30 ? r->worst : 1e30);
        if (r->failures) json_object_set_new(o, "first_failure", json_string(r->first_failure));
        json_array_append_new(kernels, o);
    }
    return json_pack("{s:s, s:i, s:i, s:i, s:o}", "device", device, "cases", (int)report->cases,
                     "unsupported", (int)report->unsupported, "failures", (int)report->failures,
                     "kernels", kernels);
}

static void print_report(const verify *v, const conform_report *report) {
    if (v->table) printf("| op | kernel | cases | error / bound |\n| --- | --- | ---: | ---: |\n");
    for (size_t i = 0; i < report->count; i++) {
        const conform_result *r = &report->results[i];
        if (v->table) {
            printf("| %s | %s | %u | %.3f |\n", hy_op_get(r->op)->name, r->kernel, r->cases,
                   r->worst);
        } else {
            printf("%-4s %-36s %4u cases, error / bound %.3f%s%s\n", r->failures ? "FAIL" : "ok",
                   r->kernel, r->cases, r->worst, r->failures ? ": " : "", r->first_failure);
        }
    }
    printf("%s%zu kernels, %u cases, %u without a kernel, %u failures\n", v->table ? "\n" : "",
           report->count, report->cases, report->unsupported, report->failures);
}

static int run_cases(const verify *v, hy_device *device) {
    conform_onnx_report report;
    if (conform_onnx(device, v->cases, v->json ? NULL : stdout, &report) != HY_OK)
        return cli_status("verify");
    if (v->json) {
        printf("{\"passed\":%u,\"failed\":%u,\"skipped\":%u}\n", report.passed, report.failed,
               report.skipped);
    } else {
        printf("%u passed, %u failed, %u skipped\n", report.passed, report.failed, report.skipped);
    }
    return report.failed || report.passed == 0;
}

static int run_conformance(const verify *v, hy_device *device) {
    hy_device_info info;
    device->backend->info(device, &info);
    conform_report report;
    conform_options options = {
        .op = v->op, .kernel = v->kernel, .quick = v->quick, .verbose = v->verbose, .log = stderr};
    if (conform_run(device, &options, &report) != HY_OK) {
        conform_report_free(&report);
        return cli_status("verify");
    }
    if (v->json) {
        json_t *root = report_json(&report, info.name);
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(root);
    } else {
        print_report(v, &report);
    }
    bool empty = report.count == 0;
    int code = report.failures ? 1 : 0;
    conform_report_free(&report);
    return empty ? cli_fail("verify", 1, "no kernel was tried") : code;
}

static int verify_main(int argc, char **argv) {
    verify v = {.device = "cpu"};
    const cli_option options[] = {
        {"--device", CLI_TEXT, &v.device, "ID", "device to verify (default cpu)"},
        {"--op", CLI_TEXT, &v.op, "OP", "one op only"},
        {"--kernel", CLI_TEXT, &v.kernel, "TEXT", "kernels whose name contains TEXT"},
        {"--isa", CLI_TEXT, &v.isa, "NAME", "highest CPU instruction set to use"},
        {"-t, --threads", CLI_U32, &v.threads, "N", "CPU threads (default: fast physical cores)"},
        {"--cpu-mask", CLI_TEXT, &v.cpus, "CPUS", "pin CPU threads: mask (0xff) or list (0-3,8)"},
        {"--no-graphs", CLI_FLAG, &v.no_graphs, NULL,
         "CUDA, HIP: launch kernels one by one, no graphs"},
        {"--cases", CLI_TEXT, &v.cases, "DIR", "ONNX node cases (.safetensors) instead"},
        {"--bench", CLI_FLAG, &v.bench, NULL,
         "instead measure speed, as a share of the machine's peaks"},
        {"--type", CLI_TEXT, &v.type, "NAME", "--bench: weights or cache of this type only"},
        {"--shape", CLI_TEXT, &v.shape, "N,N,...", "--bench: this shape; with --op"},
        {"--quick", CLI_FLAG, &v.quick, NULL, "about a tenth of the cases"},
        {"--table", CLI_FLAG, &v.table, NULL, "markdown table of op and kernel"},
        {"-v, --verbose", CLI_FLAG, &v.verbose, NULL, "a line per kernel and case"},
        {"--json", CLI_FLAG, &v.json, NULL, "one JSON object"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code = cli_parse(argc, argv, "verify [--device ID] [--op OP] [options]", options, NULL,
                         NULL, 0, NULL);
    if (code >= 0) return code;
    if ((v.type || v.shape) && !v.bench)
        return cli_fail("verify", 2, "--type and --shape go with --bench");
    if (!cli_check_cpus("verify", v.cpus)) return 2;
    if (v.shape && !v.op) return cli_fail("verify", 2, "--shape without --op");
    if (v.bench && v.cases) return cli_fail("verify", 2, "give one of --bench and --cases");
    if (v.bench)
        return verify_bench(&(verify_bench_options){.device = v.device,
                                                    .op = v.op,
                                                    .kernel = v.kernel,
                                                    .isa = v.isa,
                                                    .cpus = v.cpus,
                                                    .type = v.type,
                                                    .shape = v.shape,
                                                    .threads = v.threads,
                                                    .json = v.json});
    hy_device *device;
    code = open_device(&v, &device);
    if (code) return code;
    code = v.cases ? run_cases(&v, device) : run_conformance(&v, device);
    hy_device_close(device);
    int flushed = cli_flush("verify");
    return code ? code : flushed;
}

const cli_command cli_verify = {"verify", "check every kernel of a device against float64",
                                verify_main};

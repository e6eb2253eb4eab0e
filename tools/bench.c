/* tools/bench.c: `halyard bench`: prefill and decode speed of a model on each device.
 * Measured: whole engine steps. Not included: loading, tokenizing, sampling. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/probe.h"

enum { MAX_REPEATS = 100, MAX_DEVICES = 64 };

typedef struct row {
    char test[32], device[64];
    uint32_t tokens, repeats;
    double tps[MAX_REPEATS];
    double mean, deviation;
    double gbps;    /* weights read per second; decode only, else 0 */
    double of_read; /* gbps / probed bandwidth; 0: not probed */
} row;

typedef struct bench {
    cli_engine e;
    const char *synth;
    uint32_t prompt, predict, repeats;
    bool json;
    char temporary[512]; /* synthetic model to remove, or "" */
    char device[MAX_DEVICES][32];
    uint32_t devices;
    uint32_t threads;
    hy_model_desc model;
    double read_bandwidth; /* bytes/s of the host; 0: not probed, for no device is a CPU */
    json_t *rows;
} bench;

static void progress(const bench *b, const char *text) {
    (void)b;
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K%s", text);
}

static bool is_cpu(const char *device) {
    return strncmp(device, "cpu", 3) == 0;
}

/* ---- measuring ---- */

static int run_until_idle(bench *b, hy_sequence *sequence) {
    do {
        if (hy_engine_step(b->e.engine, NULL, NULL) != HY_OK) return cli_status("bench");
    } while (hy_sequence_pending(sequence) > 0);
    return 0;
}

static int32_t token(const bench *b, uint32_t i) {
    return (int32_t)((i * 2654435761u >> 8) % b->model.vocab);
}

/* One repetition of pp (prompt tokens at once) or tg (one by one); seconds. */
static int measure(bench *b, hy_sequence *sequence, const row *r, bool prefill, double *seconds) {
    int32_t *ids = malloc(r->tokens * sizeof *ids);
    if (!ids) return cli_fail("bench", 1, "out of memory for %u ids", r->tokens);
    for (uint32_t i = 0; i < r->tokens; i++)
        ids[i] = token(b, i);
    int code = hy_sequence_truncate(sequence, 0) == HY_OK ? 0 : cli_status("bench");
    uint64_t start = cli_now_ns();
    if (prefill && !code) {
        code = hy_sequence_add(sequence, ids, r->tokens, 0) == HY_OK ? run_until_idle(b, sequence)
                                                                     : cli_status("bench");
    }
    for (uint32_t i = 0; i < r->tokens && !prefill && !code; i++) {
        code = hy_sequence_add(sequence, &ids[i], 1, 0) == HY_OK ? run_until_idle(b, sequence)
                                                                 : cli_status("bench");
    }
    *seconds = (double)(cli_now_ns() - start) * 1e-9;
    free(ids);
    return code;
}

static int measure_row(bench *b, hy_sequence *sequence, const hy_engine_desc *engine, bool prefill,
                       row *r) {
    r->tokens = prefill ? b->prompt : b->predict;
    r->repeats = b->repeats;
    snprintf(r->test, sizeof r->test, "%s%u", prefill ? "pp" : "tg", r->tokens);
    snprintf(r->device, sizeof r->device, "%s", engine->device);
    for (uint32_t i = 0; i <= b->repeats; i++) { /* the first one warms up */
        char line[128];
        snprintf(line, sizeof line, "%s %s: %u of %u", r->device, r->test, i, b->repeats);
        progress(b, line);
        double seconds = 0;
        int code = measure(b, sequence, r, prefill, &seconds);
        if (code) return code;
        if (i > 0) r->tps[i - 1] = r->tokens / seconds;
    }
    double squares = 0;
    for (uint32_t i = 0; i < r->repeats; i++)
        r->mean += r->tps[i] / r->repeats;
    for (uint32_t i = 0; i < r->repeats; i++)
        squares += pow(r->tps[i] - r->mean, 2);
    r->deviation = r->repeats > 1 ? sqrt(squares / (r->repeats - 1)) : 0;
    if (!prefill) {
        r->gbps = r->mean * (double)engine->weight_bytes_per_token * 1e-9;
        if (b->read_bandwidth > 0 && is_cpu(r->device)) {
            r->of_read = r->gbps * 1e9 / b->read_bandwidth;
        }
    }
    progress(b, "");
    return 0;
}

/* ---- printing ---- */

static void print_header(const bench *b) {
    if (b->read_bandwidth > 0) {
        printf("memory read: %.1f GB/s with %u threads\n\n", b->read_bandwidth * 1e-9, b->threads);
    }
    printf(
        "| model | size | params | device | threads | test | t/s | weights GB/s | %% of read |\n");
    printf("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n");
}

static int print_row(bench *b, const row *r, const hy_engine_desc *engine, uint64_t rss) {
    if (!b->json) {
        char speed[64] = "", share[32] = "";
        if (r->gbps > 0) snprintf(speed, sizeof speed, "%.1f", r->gbps);
        if (r->of_read > 0) snprintf(share, sizeof share, "%.0f %%", r->of_read * 100);
        printf("| %s %s | %.2f MiB | %.2f M | %s | %u | %s | %.2f ± %.2f | %s | %s |\n",
               b->model.name, b->model.type, (double)b->model.bytes / (1 << 20),
               (double)b->model.parameters * 1e-6, r->device, b->threads, r->test, r->mean,
               r->deviation, speed, share);
        return cli_flush("bench");
    }
    bool prefill = r->test[0] == 'p';
    json_t *samples = json_array();
    for (uint32_t i = 0; i < r->repeats; i++)
        json_array_append_new(samples, json_real(r->tps[i]));
    json_t *o = json_pack(
        "{s:s, s:s, s:I, s:I, s:s, s:i, s:s, s:i, s:i, s:f, s:f, s:o, s:f, s:f, s:f, s:f, s:I}",
        "model_name", b->model.name, "model_type", b->model.type, "model_size",
        (json_int_t)b->model.bytes, "model_n_params", (json_int_t)b->model.parameters, "device",
        r->device, "n_threads", (int)b->threads, "test", r->test, "n_prompt",
        prefill ? (int)r->tokens : 0, "n_gen", prefill ? 0 : (int)r->tokens, "avg_ts", r->mean,
        "stddev_ts", r->deviation, "samples_ts", samples, "weights_gbps", r->gbps, "read_gbps",
        b->read_bandwidth * 1e-9, "read_share", r->of_read, "load_ms",
        (double)engine->load_us * 1e-3, "peak_rss", (json_int_t)rss);
    if (!o) return cli_fail("bench", 1, "cannot write the result as JSON");
    json_array_append_new(b->rows, o);
    return 0;
}

/* The memory probe's buffer is no part of what a model needs: the peak counts from here on. */
static void reset_peak_rss(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}

static uint64_t peak_rss(void) {
    unsigned long long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %llu", &kib) == 1) break;
    }
    if (file) fclose(file);
    return kib * 1024;
}

static int bench_device(bench *b, const char *device) {
    b->e.device = device;
    hy_engine_params params;
    if (!cli_engine_params("bench", &b->e, &params)) return 2;
    params.no_prefix_cache = 1;
    uint32_t longest = b->prompt > b->predict ? b->prompt : b->predict;
    if (params.context == 0) params.context = longest < 512 ? 512 : longest;
    if (hy_engine_new(b->e.model, &params, &b->e.engine) != HY_OK) return cli_status("bench");
    hy_engine_desc engine = {.size = sizeof engine};
    hy_sequence *sequence;
    if (hy_engine_describe(b->e.engine, &engine) != HY_OK ||
        hy_sequence_new(b->e.engine, &sequence) != HY_OK) {
        return cli_status("bench");
    }
    int code = 0;
    for (int prefill = 1; prefill >= 0 && !code; prefill--) {
        row r = {.tokens = 0};
        if ((prefill ? b->prompt : b->predict) == 0) continue;
        code = measure_row(b, sequence, &engine, prefill, &r);
        if (!code) code = print_row(b, &r, &engine, peak_rss());
    }
    hy_sequence_free(sequence);
    hy_engine_free(b->e.engine);
    b->e.engine = NULL;
    return code;
}

/* ---- choosing ---- */

/* Devices named by --device (commas inside one entry mean one engine over several), or all
 * hardware. */
static int choose_devices(bench *b) {
    b->threads = b->e.threads;
    for (uint32_t i = 0; i < hy_device_count(b->e.instance) && b->devices < MAX_DEVICES; i++) {
        hy_device_desc d = {.size = sizeof d};
        if (hy_device_get(b->e.instance, i, &d) != HY_OK) return cli_status("bench");
        if (!d.available) continue;
        if (is_cpu(d.id) && b->threads == 0) b->threads = d.units;
        bool all = !b->e.device || strcmp(b->e.device, "all") == 0;
        if (all && !d.software) memcpy(b->device[b->devices++], d.id, sizeof d.id);
    }
    if (b->e.device && strcmp(b->e.device, "all") != 0) {
        snprintf(b->device[0], sizeof b->device[0], "%s", b->e.device);
        b->devices = 1;
    }
    return b->devices ? 0 : cli_fail("bench", 1, "no device to benchmark (see halyard devices)");
}

/* SHAPE:TYPE into a temporary file, removed as soon as it is mapped. */
static int make_synthetic(bench *b) {
    char shape[64];
    const char *spec = b->synth ? b->synth : "llama-3.2-1b:q4_0";
    const char *colon = strchr(spec, ':');
    size_t n = colon ? (size_t)(colon - spec) : strlen(spec);
    if (n >= sizeof shape) return cli_fail("bench", 2, "--synth %s: not a SHAPE:TYPE", spec);
    memcpy(shape, spec, n);
    shape[n] = 0;
    const char *directory = getenv("TMPDIR");
    snprintf(b->temporary, sizeof b->temporary, "%s/halyard-%s-%s-%ld.gguf",
             directory && *directory ? directory : "/tmp", shape, colon ? colon + 1 : "q4_0",
             (long)getpid());
    progress(b, "writing a synthetic model");
    if (synth_write(shape, colon ? colon + 1 : "q4_0", 1, b->temporary) != HY_OK) {
        b->temporary[0] = 0;
        return cli_status("bench");
    }
    progress(b, "");
    b->e.model_path = b->temporary;
    return 0;
}

static int bench_all(bench *b) {
    int code = b->e.model_path ? 0 : make_synthetic(b);
    if (!code) code = cli_engine_open("bench", &b->e, false);
    if (b->temporary[0]) unlink(b->temporary); /* the mapping keeps it while it is needed */
    if (code) return code;
    b->model.size = sizeof b->model;
    if (hy_model_describe(b->e.model, &b->model) != HY_OK) return cli_status("bench");
    code = choose_devices(b);
    if (code) return code;
    bool cpu = false;
    for (uint32_t i = 0; i < b->devices; i++)
        cpu |= is_cpu(b->device[i]);
    progress(b, "measuring memory");
    probe *p = cpu ? probe_new(b->threads, b->e.isa, 1u << 30) : NULL;
    if (p) b->read_bandwidth = probe_best(p, PROBE_READ);
    probe_free(p);
    reset_peak_rss();
    progress(b, "");
    if (!b->json) print_header(b);
    for (uint32_t i = 0; i < b->devices && !code; i++)
        code = bench_device(b, b->device[i]);
    if (b->json && !code) {
        json_dumpf(b->rows, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        code = cli_flush("bench");
    }
    return code;
}

static int bench_main(int argc, char **argv) {
    bench b = {.prompt = 512, .predict = 128, .repeats = 3};
    const cli_option options[] = {
        {"--synth", CLI_TEXT, &b.synth, "SHAPE:TYPE",
         "random weights, no file (default llama-3.2-1b:q4_0)"},
        {"-p, --n-prompt", CLI_U32, &b.prompt, "N", "prefill tokens (default 512, 0: leave out)"},
        {"-n, --n-gen", CLI_U32, &b.predict, "N", "decode tokens (default 128, 0: leave out)"},
        {"-r, --repetitions", CLI_U32, &b.repeats, "N", "after one warm-up (default 3)"},
        {"--json", CLI_FLAG, &b.json, NULL,
         "JSON array of rows (llama-bench's names where they exist)"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code =
        cli_parse(argc, argv, "bench [-m FILE | --synth SHAPE:TYPE] [--device ID|all] [options]",
                  options, cli_engine_options(&b.e), NULL, 0, NULL);
    if (code >= 0) return code;
    if (b.repeats < 1 || b.repeats > MAX_REPEATS) {
        return cli_fail("bench", 2, "-r %u is not between 1 and %d", b.repeats, MAX_REPEATS);
    }
    if (b.prompt == 0 && b.predict == 0)
        return cli_fail("bench", 2, "nothing to measure: -p 0 -n 0");
    if (b.e.model_path && b.synth) return cli_fail("bench", 2, "give one of -m and --synth");
    b.rows = json_array();
    code = bench_all(&b);
    json_decref(b.rows);
    return cli_engine_close("bench", &b.e, code);
}

const cli_command cli_bench = {"bench", "prefill and decode speed of a model on each device",
                               bench_main};

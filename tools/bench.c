/* tools/bench.c: `halyard bench`: prefill and decode speed of a model on each device.
 * Measured: whole engine steps. Not included: loading, tokenizing, sampling. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/probe.h"

enum { MAX_REPEATS = 100, MAX_DEVICES = 64, MAX_PARALLEL = 256 };

typedef struct row {
    char test[64], device[64];
    bool prefill;
    uint32_t tokens, sequences, repeats; /* tokens of one sequence */
    double tps[MAX_REPEATS];             /* of all sequences together */
    double read[MAX_REPEATS];            /* memory's bytes/s before each, or 0 */
    double mean, deviation;
    double gbps;    /* weights read per second; decode only, else 0 */
    double of_read; /* gbps / memory's rate in the same seconds; 0: not probed */
} row;

typedef struct bench {
    cli_engine e;
    const char *synth;
    uint32_t prompt, predict, repeats, depth, parallel;
    bool json;
    char temporary[512]; /* synthetic model to remove, or "" */
    char device[MAX_DEVICES][32];
    uint32_t devices;
    uint32_t threads;
    hy_model_desc model;
    hy_sequence *sequence[MAX_PARALLEL];
    probe *probe;          /* NULL: no device is a CPU */
    double read_bandwidth; /* bytes/s of the host, the best so far */
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

static int run_until_idle(bench *b, uint32_t sequences) {
    for (;;) {
        uint32_t pending = 0;
        for (uint32_t i = 0; i < sequences; i++)
            pending += hy_sequence_pending(b->sequence[i]);
        if (!pending) return 0;
        if (hy_engine_step(b->e.engine, NULL, NULL) != HY_OK) return cli_status("bench");
    }
}

static int32_t token(const bench *b, uint32_t i) {
    return (int32_t)((i * 2654435761u >> 8) % b->model.vocab);
}

/* The same ids for every sequence, from position `at` on. */
static int feed(bench *b, uint32_t sequences, uint32_t at, const int32_t *ids, uint32_t count) {
    for (uint32_t i = 0; i < sequences; i++)
        if (hy_sequence_add(b->sequence[i], ids + at, count, 0) != HY_OK)
            return cli_status("bench");
    return run_until_idle(b, sequences);
}

/* One repetition of pp (prompt tokens at once) or tg (one by one, of all sequences side by side), behind
 * `depth` tokens: seconds, and the bytes/s of memory just before (read: or NULL). */
static int measure(bench *b, const row *r, const int32_t *ids, double *read, double *seconds) {
    int code = 0;
    for (uint32_t i = 0; i < r->sequences && !code; i++)
        if (hy_sequence_truncate(b->sequence[i], 0) != HY_OK) code = cli_status("bench");
    if (b->depth && !code) code = feed(b, r->sequences, 0, ids, b->depth);
    if (b->probe && read) { /* memory's rate changes from minute to minute on a shared machine */
        *read = probe_best(b->probe, HY_PEAK_READ);
        b->read_bandwidth = fmax(b->read_bandwidth, *read);
    }
    const uint64_t start = cli_now_ns();
    if (r->prefill && !code) code = feed(b, 1, b->depth, ids, r->tokens);
    for (uint32_t t = 0; t < r->tokens && !r->prefill && !code; t++)
        code = feed(b, r->sequences, b->depth + t, ids, 1);
    *seconds = (double)(cli_now_ns() - start) * 1e-9;
    return code;
}

static void name_test(const bench *b, row *r) {
    int n = snprintf(r->test, sizeof r->test, "%s%u", r->prefill ? "pp" : "tg", r->tokens);
    if (b->depth) n += snprintf(r->test + n, sizeof r->test - (size_t)n, " @ d%u", b->depth);
    if (!r->prefill && b->parallel > 1)
        snprintf(r->test + n, sizeof r->test - (size_t)n, " x %u", b->parallel);
}

static void summarize(const hy_engine_desc *engine, row *r) {
    double squares = 0, read = 0;
    for (uint32_t i = 0; i < r->repeats; i++) {
        r->mean += r->tps[i] / r->repeats;
        read += r->read[i] / r->repeats;
    }
    for (uint32_t i = 0; i < r->repeats; i++)
        squares += pow(r->tps[i] - r->mean, 2);
    r->deviation = r->repeats > 1 ? sqrt(squares / (r->repeats - 1)) : 0;
    if (r->prefill) return;
    const double steps = r->mean / r->sequences; /* each reads the weights once */
    r->gbps = steps * (double)engine->weight_bytes_per_token * 1e-9;
    if (read > 0 && is_cpu(r->device)) r->of_read = r->gbps * 1e9 / read;
}

static int measure_row(bench *b, const hy_engine_desc *engine, row *r) {
    r->tokens = r->prefill ? b->prompt : b->predict;
    r->sequences = r->prefill ? 1 : b->parallel;
    r->repeats = b->repeats;
    name_test(b, r);
    snprintf(r->device, sizeof r->device, "%s", engine->device);
    int32_t *ids = malloc(((size_t)b->depth + r->tokens) * sizeof *ids);
    if (!ids) return cli_fail("bench", 1, "out of memory for %u ids", b->depth + r->tokens);
    for (uint32_t i = 0; i < b->depth + r->tokens; i++)
        ids[i] = token(b, i);
    int code = 0;
    for (uint32_t i = 0; i <= b->repeats && !code; i++) { /* the first one warms up */
        char line[192];
        snprintf(line, sizeof line, "%s %s: %u of %u", r->device, r->test, i, b->repeats);
        progress(b, line);
        double seconds = 0, read = 0;
        code = measure(b, r, ids, i > 0 ? &read : NULL, &seconds);
        if (i == 0 || code) continue;
        r->tps[i - 1] = r->tokens * r->sequences / seconds;
        r->read[i - 1] = read;
    }
    free(ids);
    summarize(engine, r);
    progress(b, "");
    return code;
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
    json_t *samples = json_array();
    for (uint32_t i = 0; i < r->repeats; i++)
        json_array_append_new(samples, json_real(r->tps[i]));
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:I, s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:o, s:f, "
                  "s:f, s:f, s:f, s:I}",
                  "model_name", b->model.name, "model_type", b->model.type, "model_size",
                  (json_int_t)b->model.bytes, "model_n_params", (json_int_t)b->model.parameters,
                  "device", r->device, "n_threads", (int)b->threads, "test", r->test, "n_prompt",
                  r->prefill ? (int)r->tokens : 0, "n_gen", r->prefill ? 0 : (int)r->tokens,
                  "n_depth", (int)b->depth, "n_parallel", (int)r->sequences, "avg_ts", r->mean,
                  "stddev_ts", r->deviation, "samples_ts", samples, "weights_gbps", r->gbps,
                  "read_gbps", b->read_bandwidth * 1e-9, "read_share", r->of_read, "load_ms",
                  (double)engine->load_us * 1e-3, "peak_rss", (json_int_t)rss);
    if (!o) return cli_fail("bench", 1, "cannot write the result as JSON");
    json_array_append_new(b->rows, o);
    return 0;
}

/* The peak counts from here on. */
static void reset_peak_rss(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}

/* Without the probe's memory, which is no part of what a model needs and resident all the time. */
static uint64_t peak_rss(const bench *b) {
    unsigned long long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %llu", &kib) == 1) break;
    }
    if (file) fclose(file);
    const uint64_t bytes = kib * 1024, own = b->probe ? probe_bytes(b->probe) : 0;
    return bytes > own ? bytes - own : 0;
}

static int bench_device(bench *b, const char *device) {
    b->e.device = device;
    hy_engine_params params;
    if (!cli_engine_params("bench", &b->e, &params)) return 2;
    params.no_prefix_cache = 1;
    const uint32_t longest = b->depth + (b->prompt > b->predict ? b->prompt : b->predict);
    if (params.context == 0) params.context = longest < 512 ? 512 : longest;
    params.max_sequences = b->parallel;
    if (hy_engine_new(b->e.model, &params, &b->e.engine) != HY_OK) return cli_status("bench");
    hy_engine_desc engine = {.size = sizeof engine};
    int code = hy_engine_describe(b->e.engine, &engine) == HY_OK ? 0 : cli_status("bench");
    for (uint32_t i = 0; i < b->parallel && !code; i++)
        if (hy_sequence_new(b->e.engine, &b->sequence[i]) != HY_OK) code = cli_status("bench");
    for (int prefill = 1; prefill >= 0 && !code; prefill--) {
        row r = {.prefill = prefill};
        if ((prefill ? b->prompt : b->predict) == 0) continue;
        code = measure_row(b, &engine, &r);
        if (!code) code = print_row(b, &r, &engine, peak_rss(b));
    }
    for (uint32_t i = 0; i < b->parallel; i++)
        hy_sequence_free(b->sequence[i]);
    memset(b->sequence, 0, sizeof b->sequence);
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
    if (!cli_check_cpus("bench", b->e.cpu_mask)) return 2;
    const hy_device_params own = {.threads = b->e.threads, .cpus = b->e.cpu_mask, .isa = b->e.isa};
    if (cpu && probe_new("cpu", &own, &b->probe) != HY_OK) return cli_status("bench");
    if (b->probe) b->threads = probe_units(b->probe);
    if (b->probe) b->read_bandwidth = probe_best(b->probe, HY_PEAK_READ);
    reset_peak_rss();
    progress(b, "");
    if (!b->json) print_header(b);
    for (uint32_t i = 0; i < b->devices && !code; i++)
        code = bench_device(b, b->device[i]);
    probe_free(b->probe);
    if (b->json && !code) {
        json_dumpf(b->rows, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        code = cli_flush("bench");
    }
    return code;
}

static int bench_main(int argc, char **argv) {
    bench b = {.prompt = 512, .predict = 128, .repeats = 3, .parallel = 1};
    const cli_option options[] = {
        {"--synth", CLI_TEXT, &b.synth, "SHAPE:TYPE",
         "random weights, no file (default llama-3.2-1b:q4_0)"},
        {"-p, --n-prompt", CLI_U32, &b.prompt, "N", "prefill tokens (default 512, 0: leave out)"},
        {"-n, --n-gen", CLI_U32, &b.predict, "N", "decode tokens (default 128, 0: leave out)"},
        {"-d, --n-depth", CLI_U32, &b.depth, "N", "tokens already there before (default 0)"},
        {"--parallel", CLI_U32, &b.parallel, "N", "sequences that decode side by side (default 1)"},
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
    if (b.parallel < 1 || b.parallel > MAX_PARALLEL)
        return cli_fail("bench", 2, "--parallel %u is not between 1 and %d", b.parallel,
                        MAX_PARALLEL);
    if (b.depth > 1 << 24) return cli_fail("bench", 2, "-d %u: more than 16777216", b.depth);
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

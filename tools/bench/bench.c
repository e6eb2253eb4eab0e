/* tools/bench/bench.c: `halyard bench`: what a machine does with a model, how far that is from what it could do, and
 * whether the answer was right.
 *
 * options.c   the command line: lists, tests            model.c      files, synthetic models, their digest
 * run.c       one engine: repetitions and steps         check.c      logits against another device, before timing
 * limit.c     the plan's bytes and operations over the peaks measured meanwhile
 * row.c       a result as JSON                          record.c     build, machine, call
 * report*.c, csv.c, html.c   rows in six formats        compare.c, import.c, replay.c   rows of other calls
 * serve.c     requests that arrive by themselves        versus.c     two devices or builds in turn
 * predict.c   models too large to try                   energy*.c, machine*.c   counters and the machine's record */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "tools/bench/call.h"
#include "tools/bench/compare.h"
#include "tools/bench/import.h"

/* ---- progress ---- */

/* How long a row should take, roughly: rates are corrected by the rows that are done. */
static double guess(const bench_call *c, const bench_model *m, const bench_test *t) {
    const double prompt =
        (double)t->parallel * (t->prompt + t->depth) * 2.0 * (double)m->desc.parameters / 4e11;
    const double decode = t->gen * ((double)m->desc.bytes / 3e10 +
                                    t->parallel * 2.0 * (double)m->desc.parameters / 4e11);
    return (prompt + decode) * (c->o.repeats + !c->o.no_warmup) + 2 + c->o.delay_s;
}

void bench_call_quiet(void) {
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

void bench_call_progress(const bench_call *c, const char *device, const bench_test *test,
                         uint32_t repetition) {
    char name[64], left[48] = "";
    if (!isatty(STDERR_FILENO)) return;
    bench_test_name(test, name, sizeof name);
    const double scale = c->guessed > 0 ? c->spent / c->guessed : 1;
    const double seconds = c->guessed_left * scale;
    if (c->done > 0 && seconds < 120) snprintf(left, sizeof left, ", about %.0f s left", seconds);
    if (c->done > 0 && seconds >= 120)
        snprintf(left, sizeof left, ", about %.0f min left", seconds / 60);
    fprintf(stderr, "\r\033[K[%u/%u] %s %s: %u of %u%s", c->done + 1, c->planned, device, name,
            repetition, c->o.repeats, left);
    fflush(stderr);
}

static void tick(void *user, const bench_run *r, uint32_t repetition) {
    bench_call_progress(user, r->desc.device, &r->test, repetition);
}

void bench_call_watch(bench_call *c, bench_run *r) {
    r->tick = tick;
    r->tick_user = c;
}

/* ---- rows ---- */

bool bench_call_ends(const bench_call *c) {
    return bench_stopped() || c->broken;
}

static void print(bench_call *c, const json_t *row) {
    if (c->broken ||
        (report_row(c->out, row) == 0 && (!c->second || report_row(c->second, row) == 0)))
        return;
    c->broken = true;
    c->code = cli_flush("bench");
    if (!c->code) c->code = cli_fail("bench", 1, "the report could not be written");
}

void bench_call_row(bench_call *c, json_t *row) {
    bench_call_quiet();
    if (!row) {
        c->code = cli_fail("bench", 1, "no memory for a row");
        return;
    }
    const char *status = json_string_value(json_object_get(row, "status"));
    const char *reason = json_string_value(json_object_get(row, "reason"));
    const bool bad = strcmp(status, "FAILED") == 0 || strcmp(status, "error") == 0;
    cli_log_show();
    print(c, row);
    if (bad && c->bad++ == 0 && !c->broken)
        c->code =
            cli_fail("bench", 1, "%s %s: %s", json_string_value(json_object_get(row, "device")),
                     json_string_value(json_object_get(row, "test")), reason ? reason : status);
    c->ok += strcmp(status, "ok") == 0 || strcmp(status, "predicted") == 0;
    c->done++;
    json_decref(row);
}

/* Tests that are not run any more, and why; nothing when the call was asked to end. */
static void skip(bench_call *c, bench_model *m, const cli_engine *e, const bench_test *test,
                 uint32_t count, const char *status, const char *reason) {
    for (uint32_t i = 0; i < count && !bench_call_ends(c); i++) {
        bench_call_row(c, bench_row_without(&c->o, m, e, &test[i], c->record, status, reason));
        status = "skipped"; /* the others of a group suffer from the first one's error */
    }
}

/* The first row is measured however little time there is. */
static bool late(const bench_call *c) {
    return c->done > 0 && cli_now_ns() > c->until;
}

static void rest(const bench_call *c, uint32_t seconds) {
    const uint64_t end = cli_now_ns() + seconds * 1000000000ull;
    while (cli_now_ns() < end && !bench_call_ends(c))
        usleep(50000);
}

/* ---- one configuration ---- */

static bool measure(bench_call *c, bench_run *r, const bench_test *test) {
    const double expected = guess(c, r->m, test);
    const uint64_t begin = cli_now_ns();
    rest(c, c->o.delay_s);
    bench_call_watch(c, r);
    const bool ok = bench_run_test(r, 1, test, c->until);
    if (bench_stopped() && r->seconds.count == 0) return true;
    c->guessed += expected;
    c->guessed_left -= expected;
    c->spent += (double)(cli_now_ns() - begin) * 1e-9;
    bench_call_row(c, bench_row(r, c->record));
    return ok;
}

/* Tests of one depth and number of sequences share an engine, so that its memory is what they need. */
static void measure_group(bench_call *c, bench_model *m, const cli_engine *e,
                          const bench_test *test, uint32_t count) {
    uint32_t context = 0, done = 0;
    bench_run run;
    for (uint32_t i = 0; i < count; i++)
        context = HY_MAX(context, test[i].context);
    if (late(c)) {
        skip(c, m, e, test, count, "skipped", "the time limit was reached");
        return;
    }
    bool ok = bench_run_open(&run, &c->o, m, e, test->parallel, context);
    if (!ok) skip(c, m, e, test, count, "error", run.failure);
    for (; ok && done < count && !bench_call_ends(c); done++) {
        if (late(c)) break;
        ok = measure(c, &run, &test[done]);
    }
    if (run.e.engine && e->profile_path && ok &&
        hy_engine_trace(run.e.engine, e->profile_path) != HY_OK)
        c->code = cli_status("bench");
    if (run.e.engine && done < count)
        skip(c, m, e, test + done, count - done, "skipped",
             ok ? "the time limit was reached" : "the device failed in an earlier row");
    bench_run_close(&run);
}

static void measure_all(bench_call *c, bench_model *m, const cli_engine *e) {
    for (uint32_t i = 0, n; i < c->o.tests && !bench_call_ends(c); i += n) {
        const bench_test *first = &c->o.test[i];
        for (n = 1; i + n < c->o.tests && first[n].depth == first->depth &&
                    first[n].parallel == first->parallel;)
            n++;
        measure_group(c, m, e, first, n);
    }
}

/* ---- all configurations ---- */

/* Devices named by --device, or all hardware. */
static int choose_devices(bench_call *c, hy_instance *instance, char (*id)[64], uint32_t *count) {
    enum { MOST = 64 };
    const cli_list *named = &c->o.devices;
    *count = 0;
    for (uint32_t i = 0; i < named->count && strcmp(named->item[i], "all") != 0; i++)
        snprintf(id[(*count)++], sizeof *id, "%s", named->item[i]);
    if (*count) return 0;
    for (uint32_t i = 0; i < hy_device_count(instance) && *count < MOST; i++) {
        hy_device_desc d = {.size = sizeof d};
        if (hy_device_get(instance, i, &d) != HY_OK) return cli_status("bench");
        if (d.available && !d.software) snprintf(id[(*count)++], sizeof *id, "%s", d.id);
    }
    return *count ? 0 : cli_fail("bench", 1, "no device to benchmark (see halyard devices)");
}

/* Everything but the device. */
static void each_setting(bench_call *c, bench_model *m, const char *device, bench_each_fn each) {
    const bench_options *o = &c->o;
    const uint32_t threads = o->threads.count ? o->threads.count : 1;
    const uint32_t batches = o->batches.count ? o->batches.count : 1;
    const uint32_t all = threads * batches * o->kv_types * o->numericses;
    for (uint32_t i = 0; i < all && !bench_call_ends(c); i++) {
        cli_engine e = o->e;
        uint32_t left = i;
        e.device = device;
        e.batch = o->batches.count ? o->batches.value[left % batches] : 0;
        left /= batches;
        e.kv_type = o->kv_type[left % o->kv_types];
        left /= o->kv_types;
        e.numerics = o->numerics[left % o->numericses];
        left /= o->numericses;
        e.threads = o->threads.count ? o->threads.value[left % threads] : 0;
        each(c, m, &e);
    }
}

static void plan_rows(bench_call *c, bench_model *m, const cli_engine *e) {
    (void)e;
    for (uint32_t i = 0; i < c->o.tests; i++)
        c->guessed_left += guess(c, m, &c->o.test[i]);
    c->planned += c->o.tests;
}

void bench_call_each(bench_call *c, bench_model *m, bench_each_fn each) {
    char id[64][64];
    uint32_t devices;
    if (choose_devices(c, m->instance, id, &devices) != 0) {
        c->code = 1;
        return;
    }
    c->planned = c->done;
    c->guessed_left = 0;
    for (uint32_t i = 0; i < devices; i++)
        each_setting(c, m, id[i], plan_rows);
    for (uint32_t i = 0; i < devices && !bench_call_ends(c); i++)
        each_setting(c, m, id[i], each);
}

static void each_model(bench_call *c, bench_each_fn each) {
    const cli_list *files = &c->o.models, *synths = &c->o.synths;
    static const cli_list standard = {{"llama-3.2-1b:q4_0"}, 1};
    if (files->count + synths->count == 0) synths = &standard;
    for (uint32_t i = 0; i < files->count + synths->count && !bench_call_ends(c); i++) {
        const bool synthetic = i >= files->count;
        const char *spec = synthetic ? synths->item[i - files->count] : files->item[i];
        bench_model m;
        if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K%s", spec);
        const int code =
            bench_model_open(spec, synthetic, false, !c->o.no_hash, &c->o.e.verbose, &m);
        if (code)
            c->code = code;
        else
            bench_call_each(c, &m, each);
        bench_model_close(&m);
    }
}

/* Extra columns of the table: what differs between configurations. */
static const char *const *columns(const bench_options *o) {
    static const char *names[8];
    uint32_t n = 0;
    if (o->batches.count > 1) names[n++] = "n_batch";
    if (o->threads.count > 1) names[n++] = "n_threads";
    if (o->kv_types > 1) names[n++] = "type_k";
    if (o->numericses > 1) names[n++] = "options_numerics";
    names[n] = NULL;
    return names;
}

static int run(bench_call *c) {
    c->until = c->o.time_limit_s ? cli_now_ns() + c->o.time_limit_s * 1000000000ull : UINT64_MAX;
    c->record = bench_record(&c->o);
    c->out = report_new(stdout, c->o.format, columns(&c->o));
    if (c->o.has_second) c->second = report_new(stderr, c->o.second, columns(&c->o));
    if (!c->record || !c->out || (c->o.has_second && !c->second))
        return cli_fail("bench", 1, "no memory for the report");
    if (c->o.trace && !bench_trace_open(&c->o)) return 2;
    if (c->o.predict)
        c->code = bench_predict(c);
    else if (c->o.versus_binary)
        c->code = bench_versus_binary(c);
    else
        each_model(c, c->o.versus ? bench_versus : measure_all);
    bench_call_quiet();
    if (c->broken) return c->code;
    if (report_end(c->out) != 0 || (c->second && report_end(c->second) != 0))
        return cli_flush("bench") ? 1 : cli_fail("bench", 1, "the report could not be written");
    if (cli_flush("bench")) return 1;
    if (bench_stopped()) return bench_stop_code();
    if (c->code == 0 && c->ok == 0) return cli_fail("bench", 1, "nothing was measured");
    return c->code;
}

static int bench_main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "compare") == 0) return bench_compare(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "import") == 0) return bench_import(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "replay") == 0) return bench_replay(argc - 1, argv + 1);
    bench_call c = {.code = 0};
    int code = bench_options_parse(argc, argv, &c.o);
    if (code < 0) {
        bench_catch_signals();
        code = run(&c);
    }
    bench_trace_close();
    bench_limit_forget();
    report_free(c.out);
    report_free(c.second);
    json_decref(c.record);
    bench_options_free(&c.o);
    return code;
}

const cli_command cli_bench = {"bench", "speed of a model, against what the machine could do",
                               bench_main};

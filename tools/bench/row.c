/* tools/bench/row.c: see row.h. */
#include "tools/bench/row.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "tools/bench/rows.h"
#include "tools/bench/stats.h"

/* A row under way: the run is NULL when the test was not run. */
typedef struct source {
    const bench_options *o;
    const bench_model *m;
    const cli_engine *e;
    const bench_test *test;
    const bench_run *run;
    const json_t *record;
    const char *status, *reason;
    json_t *row;
} source;

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *positive(double value) {
    return value > 0 ? number(value) : json_null();
}

static json_t *text(const char *value) {
    json_t *string = value && *value ? json_string(value) : json_null();
    return string ? string : json_string("?"); /* no UTF-8 */
}

static void put(source *s, const char *name, json_t *value) {
    json_object_set_new(s->row, name, value);
}

static bool measured(const source *s) {
    return s->run && strcmp(s->status, "ok") == 0 && s->run->seconds.count > 0;
}

/* ---- what it ran on ---- */

static const char *device_id(const source *s) {
    return s->run ? s->run->desc.device : s->e->device ? s->e->device : "";
}

static const char *kv_name(const source *s) {
    return s->e->kv_type ? s->e->kv_type : "f16";
}

static void put_model(source *s) {
    const hy_model_desc *d = &s->m->desc;
    char type[128];
    snprintf(type, sizeof type, "%s %.1fB %s", d->arch, (double)d->parameters * 1e-9, d->type);
    put(s, "model_filename", text(s->m->spec));
    put(s, "model_type", text(type));
    put(s, "model_size", json_integer((json_int_t)d->bytes));
    put(s, "model_n_params", json_integer((json_int_t)d->parameters));
}

static void put_device(source *s, const hy_device_desc *d) {
    char backend[32] = "";
    for (size_t i = 0; d->id[i] && d->id[i] != ':' && i + 1 < sizeof backend; i++)
        backend[i] = (char)toupper((unsigned char)d->id[i]);
    const bool cpu = strncmp(d->id, "cpu", 3) == 0 || strncmp(d->id, "ref", 3) == 0;
    put(s, "gpu_info", json_string(cpu ? "" : d->name));
    put(s, "backends", json_string(backend));
    put(s, "n_gpu_layers", json_integer(cpu ? 0 : s->m->desc.layers));
}

/* llama-bench's fields, in its order, as far as they are no results. Those that have no meaning here say what is
 * the case: everything of the model is on the device, attention is fused, files are mapped. */
static void put_settings(source *s, const hy_device_desc *device) {
    const json_t *build = json_object_get(s->record, "build");
    const uint32_t batch = s->run ? s->run->desc.max_batch : s->e->batch ? s->e->batch : 512;
    put(s, "build_commit", json_incref(json_object_get(build, "commit")));
    put(s, "build_number", json_incref(json_object_get(s->record, "build_number")));
    put(s, "cpu_info", json_incref(json_object_get(s->record, "cpu_info")));
    put_device(s, device);
    put_model(s);
    put(s, "n_batch", json_integer(batch));
    put(s, "n_ubatch", json_integer(batch));
    put(s, "n_threads", json_integer(s->run && s->run->threads ? s->run->threads : s->e->threads));
    put(s, "cpu_mask", json_string(s->e->cpu_mask ? s->e->cpu_mask : "0x0"));
    put(s, "cpu_strict", json_boolean(s->e->cpu_mask != NULL));
    put(s, "poll", json_integer(50));
    put(s, "type_k", json_string(kv_name(s)));
    put(s, "type_v", json_string(kv_name(s)));
    put(s, "n_cpu_moe", json_integer(0));
    put(s, "split_mode", json_string("layer"));
    put(s, "main_gpu", json_integer(0));
    put(s, "no_kv_offload", json_false());
    put(s, "flash_attn", json_true());
    put(s, "devices", json_string(device_id(s)));
    put(s, "tensor_split", json_string("0.00"));
    put(s, "tensor_buft_overrides", json_string("none"));
    put(s, "use_mmap", json_true());
    put(s, "use_direct_io", json_false());
    put(s, "embeddings", json_false());
    put(s, "no_op_offload", json_integer(0));
    put(s, "no_host", json_false());
    put(s, "n_prompt", json_integer(s->test->prompt));
    put(s, "n_gen", json_integer(s->test->gen));
    put(s, "n_depth", json_integer(s->test->depth));
    put(s, "test_time", json_incref(json_object_get(s->record, "test_time")));
}

/* ---- results ---- */

/* Tokens of one repetition, all sequences together. */
static double tokens_of(const source *s) {
    if (s->test->kind == BENCH_SERVE)
        return s->run ? (double)(s->run->served.tokens_in + s->run->served.tokens_out) : 0;
    return (double)s->test->parallel * (s->test->prompt + s->test->gen);
}

static void summarize(json_t *row) {
    size_t n, m;
    double *ns = row_samples(row, "samples_ns", &n), *ts = row_samples(row, "samples_ts", &m);
    double *scratch = malloc((n + 1) * sizeof *scratch);
    const bool any = ns && ts && scratch && n > 0 && n == m;
    const double per_sequence = row_number(row, "n_prompt") + row_number(row, "n_gen");
    const double mean = any ? stats_mean(ns, n) : NAN;
    row_set(row, "avg_ns", any ? json_integer((json_int_t)mean) : json_null());
    row_set(row, "stddev_ns", any ? json_integer((json_int_t)stats_sd(ns, n)) : json_null());
    row_set(row, "avg_ts", number(any ? stats_mean(ts, n) : NAN));
    row_set(row, "stddev_ts", number(any ? stats_sd(ts, n) : NAN));
    row_set(row, "median_ts", number(any ? stats_median(ts, n, scratch) : NAN));
    row_set(row, "cv", number(any ? stats_cv(ts, n) : NAN));
    row_set(row, "ms_per_token",
            number(any ? stats_median(ns, n, scratch) * 1e-6 / per_sequence : NAN));
    row_set(row, "repetitions", json_integer(any ? (json_int_t)n : 0));
    free(ns);
    free(ts);
    free(scratch);
}

/* What follows from the median speed, from the plan and from the limit. */
static void set_rates(json_t *row) {
    const double rate = row_number(row, "median_ts");
    json_t *roofline = row_get(row, "roofline");
    row_set(row, "gbps", number(row_number(row, "bytes_per_token.total") * rate * 1e-9));
    row_set(row, "gflops", number(row_number(row, "flops_per_token") * rate * 1e-9));
    if (roofline)
        row_set(roofline, "percent", number(100 * rate / row_number(roofline, "limit_ts")));
}

static void add_flag(json_t *row, const char *name) {
    if (!row_has(row, "flags", name))
        json_array_append_new(json_object_get(row, "flags"), json_string(name));
}

static void drop_flag(json_t *row, const char *name) {
    json_t *flags = json_object_get(row, "flags");
    for (size_t i = json_array_size(flags); i-- > 0;) {
        const char *flag = json_string_value(json_array_get(flags, i));
        if (flag && strcmp(flag, name) == 0) json_array_remove(flags, i);
    }
}

/* Of the samples that the row has now: two may scatter where three do not. */
static void flag_noise(json_t *row) {
    drop_flag(row, "noisy");
    if (row_number(row, "cv") > 0.03) add_flag(row, "noisy");
}

void bench_row_merge(json_t *row, const json_t *more) {
    static const char *const samples[] = {"samples_ns", "samples_ts", "samples_itl_ms"};
    const double n = row_number(row, "repetitions"), m = row_number(more, "repetitions");
    json_t *roofline = row_get(row, "roofline");
    const json_t *flags = json_object_get(more, "flags");
    if (!row_may_show_speed(row)) return; /* what failed once is no result */
    if (!row_may_show_speed(more)) {
        json_object_update(row, (json_t *)(uintptr_t)more);
        return;
    }
    for (size_t k = 0; k < HY_COUNT_OF(samples); k++)
        json_array_extend(json_object_get(row, samples[k]), json_object_get(more, samples[k]));
    for (size_t i = 0; i < json_array_size(flags); i++) {
        const char *flag = json_string_value(json_array_get(flags, i));
        if (flag) add_flag(row, flag);
    }
    if (roofline) {
        const double first = row_number(roofline, "limit_ts"),
                     other = row_number(more, "roofline.limit_ts");
        row_set(roofline, "limit_ts", number((n * first + m * other) / (n + m)));
    }
    summarize(row);
    set_rates(row);
    flag_noise(row);
}

static void put_speed(source *s) {
    json_t *ns = json_array(), *ts = json_array();
    for (uint32_t i = 0; measured(s) && i < s->run->seconds.count; i++) {
        const double seconds = s->run->seconds.value[i];
        json_array_append_new(ns, json_integer((json_int_t)(seconds * 1e9)));
        json_array_append_new(ts, json_real(tokens_of(s) / seconds));
    }
    put(s, "samples_ns", ns);
    put(s, "samples_ts", ts);
    summarize(s->row);
}

static json_t *percentiles(const series *s) {
    if (!s || s->count == 0) return json_null();
    return json_pack("{s:f, s:f, s:f, s:i}", "p50", series_percentile(s, 50) * 1e3, "p90",
                     series_percentile(s, 90) * 1e3, "p99", series_percentile(s, 99) * 1e3, "count",
                     (int)s->count);
}

enum { KEPT_LATENCIES = 512 };

static json_t *picked(const series *s) {
    json_t *list = json_array();
    const uint32_t count = s ? s->count : 0, kept = count < KEPT_LATENCIES ? count : KEPT_LATENCIES;
    for (uint32_t i = 0; i < kept; i++)
        json_array_append_new(list, json_real(s->value[(uint64_t)i * count / kept] * 1e3));
    return list;
}

static void put_latency(source *s) {
    const bool any = measured(s);
    put(s, "ttft_ms", percentiles(any ? &s->run->ttft : NULL));
    put(s, "itl_ms", percentiles(any ? &s->run->itl : NULL));
    put(s, "samples_itl_ms", picked(any ? &s->run->itl : NULL));
}

static void put_plan(source *s) {
    const limit_cost c = s->run ? bench_limit_total(&s->run->limit) : (limit_cost){.device = 0};
    const double tokens = tokens_of(s);
    const double bytes = c.weights + c.kv + c.activations;
    const bool known = bytes > 0 && tokens > 0;
    put(s, "bytes_per_token",
        known
            ? json_pack("{s:f, s:f, s:f, s:f}", "weights", c.weights / tokens, "kv", c.kv / tokens,
                        "activations", c.activations / tokens, "total", bytes / tokens)
            : json_pack("{s:n, s:n, s:n, s:n}", "weights", "kv", "activations", "total"));
    put(s, "flops_per_token", known ? number(c.flops / tokens) : json_null());
}

static void put_roofline(source *s) {
    static const char *const names[HY_PEAKS] = {
        [HY_PEAK_WRITE] = "write_gbps", [HY_PEAK_READ] = "read_gbps",
        [HY_PEAK_F32] = "f32_gflops",   [HY_PEAK_F16] = "f16_gflops",
        [HY_PEAK_BF16] = "bf16_gflops", [HY_PEAK_INT8] = "int8_gflops"};
    const bench_limit *l = s->run ? &s->run->limit : NULL;
    hy_peak bound;
    const double limit = l ? bench_limit_seconds(l, &bound) : 0;
    put(s, "roofline_reason",
        limit > 0 ? json_null() : text(l && l->reason[0] ? l->reason : "not run"));
    if (!(limit > 0)) {
        put(s, "roofline", json_null());
        return;
    }
    json_t *o = json_object();
    for (int k = 0; k < HY_PEAKS; k++)
        json_object_set_new(o, names[k], positive(bench_limit_peak(l, 0, (hy_peak)k) * 1e-9));
    json_object_set_new(o, "bound", json_string(probe_name(bound)));
    json_object_set_new(o, "limit_ts", number(tokens_of(s) / limit));
    put(s, "roofline", o);
}

static void put_memory(source *s) {
    hy_plan_device device[LIMIT_MAX_DEVICES];
    uint32_t count = 0;
    json_t *plan = json_array();
    uint64_t held = 0;
    if (s->run && s->run->e.engine &&
        hy_engine_memory(s->run->e.engine, device, LIMIT_MAX_DEVICES, &count) != HY_OK)
        count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const hy_plan_device *d = &device[i];
        json_array_append_new(plan, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "device", d->id,
                                              "weights", (json_int_t)d->weights, "state",
                                              (json_int_t)d->state, "activations",
                                              (json_int_t)d->activations, "step",
                                              (json_int_t)d->step, "host", (json_int_t)d->host));
        held += d->total - d->host;
    }
    const uint64_t resident = s->run ? s->run->resident : 0;
    put(s, "memory",
        json_pack("{s:o, s:o, s:o}", "resident_peak",
                  resident ? json_integer((json_int_t)resident) : json_null(), "device_peak",
                  held ? json_integer((json_int_t)held) : json_null(), "plan", plan));
    put(s, "load_ms", s->run ? number((double)s->run->desc.load_us * 1e-3) : json_null());
}

static void put_energy(source *s) {
    const bench_run *r = s->run;
    const bool known = measured(s) && r->joules >= 0 && r->energy && energy_source(r->energy);
    const double seconds =
        known ? stats_mean(r->seconds.value, r->seconds.count) * r->seconds.count : 0;
    const char *reason = r && r->energy ? energy_reason(r->energy) : "not run";
    put(s, "energy",
        json_pack("{s:o, s:o, s:o, s:o}", "joules_per_token",
                  known ? number(r->joules / (tokens_of(s) * r->seconds.count)) : json_null(),
                  "watts", known ? number(r->joules / seconds) : json_null(), "source",
                  text(r && r->energy ? energy_source(r->energy) : NULL), "reason",
                  known ? json_null() : text(*reason ? reason : "the counter did not answer")));
}

static void put_check(source *s) {
    const bench_check *c = s->run ? &s->run->check : NULL;
    if (!c || (s->o->no_verify && !c->done)) {
        put(s, "verify", json_null());
        return;
    }
    put(s, "verify",
        json_pack("{s:o, s:i, s:o, s:o, s:o, s:f, s:f, s:o, s:o}", "against", text(c->against),
                  "tokens", (int)c->tokens, "kl_mean", c->done ? number(c->kl_mean) : json_null(),
                  "kl_max", c->done ? number(c->kl_max) : json_null(), "top1",
                  c->done ? number(c->top1) : json_null(), "kl_limit", bench_kl_limit, "top1_limit",
                  bench_top1_limit, "passed", c->done ? json_boolean(c->passed) : json_null(),
                  "reason", text(c->reason)));
}

static void put_flags(source *s) {
    const bench_run *r = s->run;
    put(s, "flags", json_array());
    if (!measured(s)) return;
    const series *read = &r->limit.pass[0][HY_PEAK_READ];
    flag_noise(s->row);
    if (r->share.others > 0.02 || r->share.stolen > 0.02) add_flag(s->row, "busy");
    if (read->count >= 4 && series_percentile(read, 90) > 1.1 * series_percentile(read, 10))
        add_flag(s->row, "drift");
    if (r->seconds.count < s->o->repeats) add_flag(s->row, "cut");
    if (!s->o->no_verify && !r->check.done) add_flag(s->row, "unverified");
}

static void put_cost(source *s) {
    const double price = s->o->price,
                 rate = json_number_value(json_object_get(s->row, "median_ts"));
    const bool in = s->test->prompt > 0, out = s->test->gen > 0;
    if (price <= 0) {
        put(s, "cost", json_null());
        return;
    }
    const double million = rate > 0 ? price / 3600 / rate * 1e6 : NAN;
    put(s, "cost",
        json_pack("{s:f, s:o, s:o}", "price_per_hour", price, "usd_per_million_in",
                  in ? number(million) : json_null(), "usd_per_million_out",
                  out ? number(million) : json_null()));
}

static void put_prediction(source *s) {
    const double seconds = s->run ? s->run->predicted : 0, rate = tokens_of(s) / seconds;
    const double median = row_number(s->row, "median_ts");
    put(s, "prediction",
        seconds > 0 ? json_pack("{s:f, s:o}", "ts", rate, "ratio", number(median / rate))
                    : json_null());
}

static void put_served(source *s) {
    const bench_served *v = s->run ? &s->run->served : NULL;
    if (s->test->kind != BENCH_SERVE || !v) {
        put(s, "serve", json_null());
        return;
    }
    put(s, "serve",
        json_pack("{s:i, s:i, s:o, s:I, s:I, s:o, s:o, s:s}", "requests", (int)v->requests,
                  "finished", (int)v->finished, "rate",
                  positive(v->seconds > 0 ? v->finished / v->seconds : 0), "tokens_in",
                  (json_int_t)v->tokens_in, "tokens_out", (json_int_t)v->tokens_out, "e2e_ms",
                  percentiles(&v->total), "queue_ms", percentiles(&v->queued), "trace",
                  s->o->trace));
}

/* ---- the record ---- */

static void put_model_record(source *s) {
    const hy_model_desc *d = &s->m->desc;
    put(s, "model",
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "name",
                  d->name, "arch", d->arch, "type", d->type, "path",
                  s->m->synthetic ? json_null() : text(s->m->spec), "sha256", text(s->m->sha256),
                  "synth", s->m->synthetic ? text(s->m->spec) : json_null(), "layers",
                  (int)d->layers, "embedding", (int)d->embedding, "heads", (int)d->heads,
                  "kv_heads", (int)d->kv_heads, "head_dim", (int)d->head_dim, "vocab",
                  (int)d->vocab, "context", (int)d->context));
}

static void put_record(source *s, const hy_device_desc *d) {
    const cli_engine *e = s->e;
    json_t *kernels = json_array();
    for (uint32_t i = 0; s->run && i < s->run->limit.kernels; i++)
        json_array_append_new(kernels, json_string(s->run->limit.kernel[i]));
    put(s, "kernels", kernels);
    put_model_record(s);
    put(s, "machine", json_incref(json_object_get(s->record, "machine")));
    put(s, "gpu", d->bus[0] ? machine_gpu_json(d->bus) : json_null());
    put(s, "device_info",
        json_pack("{s:s, s:o, s:o, s:o, s:I, s:i, s:b}", "id", d->id, "name", text(d->name), "arch",
                  text(d->arch), "detail", text(d->detail), "memory_total",
                  (json_int_t)d->memory_total, "units", (int)d->units, "software", d->software));
    put(s, "build", json_incref(json_object_get(s->record, "build")));
    put(s, "options",
        json_pack("{s:s, s:s, s:o, s:i, s:o, s:o, s:i, s:b, s:b, s:b, s:b, s:b}", "numerics",
                  e->numerics ? e->numerics : "invariant", "kv_type", kv_name(s), "isa",
                  text(e->isa), "threads", (int)e->threads, "cpu_mask", text(e->cpu_mask), "batch",
                  json_incref(json_object_get(s->row, "n_batch")), "ctx",
                  s->run ? (int)s->run->desc.context : (int)e->context, "fallback", e->fallback,
                  "graphs", !e->no_graphs, "validate", e->validate, "profile",
                  e->profile_path != NULL, "warmup", !s->o->no_warmup));
    put(s, "argv", json_incref(json_object_get(s->record, "argv")));
}

static json_t *make(source *s) {
    char name[64];
    s->row = json_object();
    if (!s->row) return NULL;
    hy_device_desc device;
    (void)bench_device(s->m, device_id(s), &device);
    bench_test_name(s->test, name, sizeof name);
    put_settings(s, &device);
    put_speed(s);
    put(s, "schema", json_string("halyard-bench/1"));
    put(s, "engine", json_string("halyard"));
    put(s, "status", json_string(s->status));
    put(s, "reason", text(s->reason));
    put_flags(s);
    put(s, "test", json_string(name));
    put(s, "kind", json_string(bench_kind_name(s->test->kind)));
    put(s, "n_parallel", json_integer(s->test->parallel));
    const char *opened = s->run ? s->run->desc.device : "";
    put(s, "device", text(*opened ? opened : device.id[0] ? device.id : s->e->device));
    put_latency(s);
    put_plan(s);
    put_roofline(s);
    set_rates(s->row);
    put_memory(s);
    put_energy(s);
    put_check(s);
    put_cost(s);
    put_prediction(s);
    put_served(s);
    put_record(s, &device);
    put(s, "interleave", json_null());
    return s->row;
}

json_t *bench_row(const bench_run *r, const json_t *record) {
    source s = {.o = r->o,
                .m = r->m,
                .e = &r->e,
                .test = &r->test,
                .run = r,
                .record = record,
                .status = "ok"};
    if (r->failure[0]) {
        s.status = "error";
        s.reason = r->failure;
    } else if (r->check.done && !r->check.passed) {
        s.status = "FAILED";
        s.reason = r->check.reason;
    } else if (r->seconds.count == 0 && r->predicted > 0) {
        s.status = "predicted";
    } else if (r->seconds.count == 0) {
        s.status = "skipped";
        s.reason = "ended before the first repetition";
    }
    return make(&s);
}

json_t *bench_row_without(const bench_options *o, bench_model *m, const cli_engine *e,
                          const bench_test *test, const json_t *record, const char *status,
                          const char *reason) {
    source s = {
        .o = o, .m = m, .e = e, .test = test, .record = record, .status = status, .reason = reason};
    return make(&s);
}

/* tools/bench/fields.c: the table of a row's fields, and the text of one. */
#include "tools/bench/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/rows.h"

#define FLAT(name, type)                                                                           \
    { #name, NULL, #name, FIELD_##type, false }
#define BRIEF(name, brief, type)                                                                   \
    { #name, brief, #name, FIELD_##type, false }
#define SPEED(name, type)                                                                          \
    { #name, NULL, #name, FIELD_##type, true }
#define IN(outer, name, type)                                                                      \
    { #outer "_" #name, NULL, #outer "." #name, FIELD_##type, false }
#define SPEED_IN(outer, name, type)                                                                \
    { #outer "_" #name, NULL, #outer "." #name, FIELD_##type, true }
/* The percentiles of a latency, milliseconds. `in`: its path, `as`: its columns' beginning. */
#define LATENCY(as, in)                                                                            \
    {as "_p50", NULL, in ".p50", FIELD_REAL, true},                                                \
        {as "_p90", NULL, in ".p90", FIELD_REAL, true},                                            \
        {as "_p99", NULL, in ".p99", FIELD_REAL, true}, {                                          \
        as "_count", NULL, in ".count", FIELD_INTEGER, true                                        \
    }

const field bench_fields[] = {
    /* llama-bench's (docs/bench.md says where they are from) */
    FLAT(build_commit, TEXT),
    FLAT(build_number, INTEGER),
    FLAT(cpu_info, TEXT),
    FLAT(gpu_info, TEXT),
    FLAT(backends, TEXT),
    FLAT(model_filename, TEXT),
    FLAT(model_type, TEXT),
    FLAT(model_size, INTEGER),
    FLAT(model_n_params, INTEGER),
    FLAT(n_batch, INTEGER),
    FLAT(n_ubatch, INTEGER),
    BRIEF(n_threads, "threads", INTEGER),
    FLAT(cpu_mask, TEXT),
    FLAT(cpu_strict, BOOL),
    FLAT(poll, INTEGER),
    FLAT(type_k, TEXT),
    FLAT(type_v, TEXT),
    BRIEF(n_gpu_layers, "ngl", INTEGER),
    FLAT(n_cpu_moe, INTEGER),
    BRIEF(split_mode, "sm", TEXT),
    FLAT(main_gpu, INTEGER),
    BRIEF(no_kv_offload, "nkvo", BOOL),
    BRIEF(flash_attn, "fa", BOOL),
    BRIEF(devices, "dev", TEXT),
    BRIEF(tensor_split, "ts", TEXT),
    BRIEF(tensor_buft_overrides, "ot", TEXT),
    BRIEF(use_mmap, "mmap", BOOL),
    FLAT(use_direct_io, BOOL),
    BRIEF(embeddings, "embd", BOOL),
    BRIEF(no_op_offload, "nopo", BOOL),
    FLAT(no_host, BOOL),
    FLAT(n_prompt, INTEGER),
    FLAT(n_gen, INTEGER),
    FLAT(n_depth, INTEGER),
    FLAT(test_time, TEXT),
    SPEED(avg_ns, INTEGER),
    SPEED(stddev_ns, INTEGER),
    SPEED(avg_ts, REAL),
    SPEED(stddev_ts, REAL),
    {NULL, NULL, "samples_ns", FIELD_SAMPLES, true},
    {NULL, NULL, "samples_ts", FIELD_SAMPLES, true},
    /* ours */
    FLAT(schema, TEXT),
    FLAT(engine, TEXT),
    FLAT(status, TEXT),
    FLAT(reason, TEXT),
    FLAT(flags, LIST),
    FLAT(test, TEXT),
    FLAT(kind, TEXT),
    FLAT(n_parallel, INTEGER),
    FLAT(repetitions, INTEGER),
    FLAT(device, TEXT),
    SPEED(median_ts, REAL),
    SPEED(cv, REAL),
    SPEED(ms_per_token, REAL),
    LATENCY("ttft_ms", "ttft_ms"),
    LATENCY("itl_ms", "itl_ms"),
    {NULL, NULL, "samples_itl_ms", FIELD_SAMPLES, true},
    IN(bytes_per_token, weights, REAL),
    IN(bytes_per_token, kv, REAL),
    IN(bytes_per_token, activations, REAL),
    IN(bytes_per_token, total, REAL),
    FLAT(flops_per_token, REAL),
    SPEED(gbps, REAL),
    SPEED(gflops, REAL),
    IN(roofline, read_gbps, REAL),
    IN(roofline, write_gbps, REAL),
    IN(roofline, f32_gflops, REAL),
    IN(roofline, f16_gflops, REAL),
    IN(roofline, bf16_gflops, REAL),
    IN(roofline, int8_gflops, REAL),
    IN(roofline, bound, TEXT),
    IN(roofline, limit_ts, REAL),
    SPEED_IN(roofline, percent, REAL),
    FLAT(roofline_reason, TEXT),
    IN(memory, resident_peak, INTEGER),
    IN(memory, device_peak, INTEGER),
    IN(memory, plan, JSON),
    FLAT(load_ms, REAL),
    SPEED_IN(energy, joules_per_token, REAL),
    SPEED_IN(energy, watts, REAL),
    IN(energy, source, TEXT),
    IN(energy, reason, TEXT),
    IN(verify, against, TEXT),
    IN(verify, tokens, INTEGER),
    IN(verify, kl_mean, REAL),
    IN(verify, kl_max, REAL),
    IN(verify, top1, REAL),
    IN(verify, kl_limit, REAL),
    IN(verify, top1_limit, REAL),
    IN(verify, passed, BOOL),
    IN(verify, reason, TEXT),
    FLAT(kernels, LIST),
    IN(cost, price_per_hour, REAL),
    SPEED_IN(cost, usd_per_million_in, REAL),
    SPEED_IN(cost, usd_per_million_out, REAL),
    IN(prediction, ts, REAL),
    SPEED_IN(prediction, ratio, REAL),
    IN(serve, requests, INTEGER),
    IN(serve, finished, INTEGER),
    IN(serve, rate, REAL),
    IN(serve, tokens_in, INTEGER),
    IN(serve, tokens_out, INTEGER),
    LATENCY("serve_e2e_ms", "serve.e2e_ms"),
    LATENCY("serve_queue_ms", "serve.queue_ms"),
    IN(serve, trace, TEXT),
    IN(model, name, TEXT),
    IN(model, arch, TEXT),
    {"model_quantization", NULL, "model.type", FIELD_TEXT, false}, /* model_type is llama-bench's */
    IN(model, path, TEXT),
    IN(model, sha256, TEXT),
    IN(model, layers, INTEGER),
    IN(model, embedding, INTEGER),
    IN(model, heads, INTEGER),
    IN(model, kv_heads, INTEGER),
    IN(model, head_dim, INTEGER),
    IN(model, vocab, INTEGER),
    IN(model, context, INTEGER),
    IN(model, synth, TEXT),
    FLAT(machine, JSON),
    FLAT(gpu, JSON),
    IN(device_info, id, TEXT),
    {"device_info_name", "device name", "device_info.name", FIELD_TEXT, false},
    IN(device_info, arch, TEXT),
    IN(device_info, detail, TEXT),
    IN(device_info, memory_total, INTEGER),
    IN(device_info, units, INTEGER),
    IN(device_info, software, BOOL),
    IN(build, version, TEXT),
    {NULL, NULL, "build.commit", FIELD_TEXT, false}, /* the same as build_commit */
    IN(build, compiler, TEXT),
    IN(build, flags, TEXT),
    IN(build, backends, LIST),
    {"options_numerics", "numerics", "options.numerics", FIELD_TEXT, false},
    IN(options, kv_type, TEXT),
    IN(options, isa, TEXT),
    IN(options, threads, INTEGER),
    IN(options, cpu_mask, TEXT),
    IN(options, batch, INTEGER),
    IN(options, ctx, INTEGER),
    IN(options, fallback, BOOL),
    IN(options, graphs, BOOL),
    IN(options, validate, BOOL),
    IN(options, profile, BOOL),
    IN(options, warmup, BOOL),
    FLAT(argv, JSON),
    IN(interleave, id, TEXT),
    IN(interleave, index, INTEGER),
};
const size_t bench_field_count = sizeof bench_fields / sizeof *bench_fields;

const field *field_find(const char *name) {
    for (size_t i = 0; i < bench_field_count; i++)
        if (bench_fields[i].name && strcmp(bench_fields[i].name, name) == 0)
            return &bench_fields[i];
    return NULL;
}

/* True when every element is a text (with `number`: a number). */
static bool array_of(const json_t *value, bool number) {
    size_t i;
    json_t *element;
    if (!json_is_array(value)) return false;
    json_array_foreach((json_t *)value, i, element) {
        if (number ? !json_is_number(element) : !json_is_string(element)) return false;
    }
    return true;
}

bool field_accepts(field_type type, const json_t *value) {
    switch (type) {
    case FIELD_TEXT:
        return json_is_string(value);
    case FIELD_INTEGER:
        return json_is_integer(value);
    case FIELD_REAL:
        return json_is_number(value);
    case FIELD_BOOL:
        return json_is_boolean(value) || json_is_integer(value);
    case FIELD_LIST:
        return array_of(value, false);
    case FIELD_SAMPLES:
        return array_of(value, true);
    case FIELD_JSON:
        return json_is_object(value) || json_is_array(value);
    }
    return false;
}

const char *field_type_name(field_type type) {
    static const char *const name[] = {
        [FIELD_TEXT] = "a text",
        [FIELD_INTEGER] = "a whole number",
        [FIELD_REAL] = "a number",
        [FIELD_BOOL] = "true or false",
        [FIELD_LIST] = "an array of texts",
        [FIELD_SAMPLES] = "an array of numbers",
        [FIELD_JSON] = "an object or an array",
    };
    return name[type];
}

static char *join(const json_t *list) {
    size_t length = 1, i;
    json_t *element;
    json_array_foreach((json_t *)list, i, element) {
        length += json_string_length(element) + 1;
    }
    char *text = malloc(length), *at = text;
    if (!text) return NULL;
    json_array_foreach((json_t *)list, i, element) {
        const char *value = json_string_value(element);
        at += sprintf(at, "%s%s", i ? ";" : "", value ? value : "");
    }
    *at = 0;
    return text;
}

char *field_text(const field *f, const json_t *row) {
    const json_t *value = row_get(row, f->path);
    char number[64] = "";
    if (value && json_is_string(value)) return strdup(json_string_value(value));
    if (value && f->type == FIELD_LIST && json_is_array(value)) return join(value);
    if (json_is_object(value) || json_is_array(value)) return json_dumps(value, ROWS_JSON);
    if (json_is_integer(value)) {
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        snprintf(number, sizeof number, "%.*g", ROWS_DIGITS, json_real_value(value));
    } else if (json_is_boolean(value)) {
        snprintf(number, sizeof number, "%d", json_is_true(value));
    }
    return strdup(number);
}

/* From parameters to a program: defaults, devices, graph, compiled buckets, and whether it all fits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "base/log.h"
#include "src/engine/engine.h"

#define MAX_CONTEXT (1u << 24)
#define MAX_SEQUENCES 4096u
#define MAX_BATCH (1u << (HY_MAX_BUCKETS - 1))
#define DEFAULT_CONTEXT 4096u
#define DEFAULT_BATCH 512u

/* ---- parameters -------------------------------------------------------------------------------- */

static hy_status check_range(const char *name, uint32_t value, uint32_t low, uint32_t high) {
    if (value >= low && value <= high) return HY_OK;
    return hy_fail(HY_E_ARGUMENT, "hy_engine_params.%s: %u is outside [%u, %u]", name, value, low,
                   high);
}

static hy_status check_choices(const hy_engine_params *p) {
    if ((unsigned)p->kv_type > HY_KV_Q8_0)
        return hy_fail(HY_E_ARGUMENT, "hy_engine_params.kv_type: %d is not a type",
                       (int)p->kv_type);
    if ((unsigned)p->numerics > HY_NUMERICS_FAST)
        return hy_fail(HY_E_ARGUMENT, "hy_engine_params.numerics: %d is not a choice",
                       (int)p->numerics);
    return HY_OK;
}

hy_status hy_setup_resolve(const hy_model *model, const hy_engine_params *params, hy_setup *out) {
    hy_engine_params p = {0};
    if (!model) return hy_fail(HY_E_ARGUMENT, "model is NULL");
    HY_TRY(hy_params_copy(&p, sizeof p, params, "hy_engine_params"));
    if (model->vocabulary_only)
        return hy_fail(HY_E_UNSUPPORTED, "%s has a vocabulary but no tensors; it cannot be run",
                       hy_gguf_path(model->gguf));
    if (p.context == 0) p.context = HY_MIN(model->h.context, DEFAULT_CONTEXT);
    if (p.max_sequences == 0) p.max_sequences = 1;
    HY_TRY(check_range("context", p.context, 1, MAX_CONTEXT));
    HY_TRY(check_range("max_sequences", p.max_sequences, 1, MAX_SEQUENCES));
    const uint64_t all = (uint64_t)p.context * p.max_sequences;
    if (p.max_batch == 0) p.max_batch = (uint32_t)HY_MIN(all, DEFAULT_BATCH);
    HY_TRY(check_range("max_batch", p.max_batch, 1, MAX_BATCH));
    if (p.max_rows == 0) p.max_rows = HY_MIN(p.max_sequences, p.max_batch);
    HY_TRY(check_range("max_rows", p.max_rows, 1, p.max_batch));
    HY_TRY(check_choices(&p));
    out->page_row = (uint32_t)hy_div_up(p.context, HY_PAGE_LENGTH);
    uint64_t pages = p.cache_tokens ? hy_div_up(p.cache_tokens, HY_PAGE_LENGTH)
                                    : (uint64_t)out->page_row * p.max_sequences;
    if (pages * HY_PAGE_LENGTH > INT32_MAX)
        return hy_fail(HY_E_LIMIT, "a KV cache of %llu tokens; at most %d can be addressed",
                       (unsigned long long)(pages * HY_PAGE_LENGTH), INT32_MAX);
    out->pages = (uint32_t)pages;
    p.cache_tokens = (uint32_t)(pages * HY_PAGE_LENGTH);
    out->params = p;
    if (p.context > model->h.context)
        hy_log(HY_LOG_WARN, "context of %u tokens; the model was trained for %u", p.context,
               model->h.context);
    return HY_OK;
}

/* ---- devices ----------------------------------------------------------------------------------- */

/* What "auto" opens, by its name. Where there is none, "auto" itself: opening it says so. */
static void default_device(char *spec, size_t capacity) {
    const hy_backend *backend;
    uint32_t index;
    if (hy_default_device(&backend, &index) == HY_OK)
        snprintf(spec, capacity, "%s:%u", backend->name, index);
    else
        snprintf(spec, capacity, "auto");
}

/* "8G", "64M", "512K" or plain bytes. */
static hy_status parse_budget(const char *text, uint64_t *out) {
    char *end = NULL;
    const unsigned long long number = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (*end == 'K') shift = 10;
    if (*end == 'M') shift = 20;
    if (*end == 'G') shift = 30;
    if (end == text || *text == '-' || end[shift != 0] != 0 || number == 0 || number >> 32)
        return hy_fail(HY_E_ARGUMENT, "'%s' is not a number of bytes such as 8G, 64M or 512K",
                       text);
    *out = (uint64_t)number << shift;
    return HY_OK;
}

static hy_status wrap(const hy_engine_params *params, hy_device **device) {
    hy_device *outer = NULL;
    if (params->validate) {
        HY_TRY(hy_validate_open(*device, &outer));
        *device = outer;
    }
    if (params->trace) {
        HY_TRY(hy_trace_open(*device, &outer));
        *device = outer;
    }
    return HY_OK;
}

/* One element of the list, "name[:index][=bytes]". */
static hy_status open_one(hy_setup *setup, char *spec) {
    if (setup->devices == HY_MAX_DEVICES)
        return hy_fail(HY_E_LIMIT, "more than %d devices in one engine", HY_MAX_DEVICES);
    char mask[24];
    snprintf(mask, sizeof mask, "0x%llx", (unsigned long long)setup->params.cpu_mask);
    const hy_device_params choices = {.threads = setup->params.threads,
                                      .cpus = setup->params.cpus       ? setup->params.cpus
                                              : setup->params.cpu_mask ? mask
                                                                       : NULL,
                                      .isa = setup->params.isa,
                                      .no_graphs = setup->params.no_graphs != 0,
                                      .libraries = setup->params.numerics == HY_NUMERICS_FAST};
    const uint32_t d = setup->devices;
    char *budget = strchr(spec, '=');
    if (budget) {
        *budget = 0;
        HY_TRY(parse_budget(budget + 1, &setup->budget[d]));
    }
    HY_TRY(hy_device_open(spec, &choices, &setup->device[d]));
    setup->devices++;
    snprintf(setup->id[d], sizeof setup->id[d], "%.25s%s", spec, strchr(spec, ':') ? "" : ":0");
    HY_TRY(wrap(&setup->params, &setup->device[d]));
    setup->device[d]->backend->info(setup->device[d], &setup->info[d]);
    return HY_OK;
}

static hy_status open_devices(hy_setup *setup) {
    char list[256];
    const char *wanted = setup->params.device;
    if (!wanted || !*wanted || strcmp(wanted, "auto") == 0)
        default_device(list, sizeof list);
    else if (snprintf(list, sizeof list, "%s", wanted) >= (int)sizeof list)
        return hy_fail(HY_E_ARGUMENT, "the device list is longer than %zu bytes", sizeof list - 1);
    char *rest = list;
    while (rest) {
        char *comma = strchr(rest, ',');
        if (comma) *comma = 0;
        HY_TRY(open_one(setup, rest));
        rest = comma ? comma + 1 : NULL;
    }
    return HY_OK;
}

/* ---- compiling --------------------------------------------------------------------------------- */

/* Powers of two up to the largest batch. */
static uint32_t choose_buckets(uint32_t max_batch, uint32_t bucket[HY_MAX_BUCKETS]) {
    uint32_t count = 0;
    for (uint32_t t = 1; t < max_batch; t *= 2)
        bucket[count++] = t;
    bucket[count++] = max_batch;
    return count;
}

/* Several devices: each takes layers up to what it has free, with an eighth kept for activations. */
static void choose_budgets(const hy_setup *setup, hy_compile_params *params) {
    for (uint32_t d = 0; d < setup->devices; d++) {
        params->budget[d] = setup->budget[d];
        if (setup->devices > 1 && params->budget[d] == 0)
            params->budget[d] = setup->info[d].memory_free / 8 * 7;
    }
}

/* `bucket` must outlive the result. */
static hy_compile_params compile_params(const hy_setup *setup, uint32_t bucket[HY_MAX_BUCKETS]) {
    const hy_engine_params *p = &setup->params;
    hy_compile_params params = {.device = setup->device, .devices = setup->devices};
    params.bounds.of[HY_SYMBOL_NONE] = 1;
    params.bounds.of[HY_SYMBOL_T] = p->max_batch;
    params.bounds.of[HY_SYMBOL_S] = HY_MIN(p->max_sequences, p->max_batch);
    params.bounds.of[HY_SYMBOL_R] = p->max_rows;
    params.bounds.of[HY_SYMBOL_P] = setup->pages;
    params.bounds.of[HY_SYMBOL_L] = setup->page_row;
    params.buckets = choose_buckets(p->max_batch, bucket);
    params.bucket = bucket;
    params.fast = p->numerics == HY_NUMERICS_FAST;
    params.fallback = p->fallback != 0;
    choose_budgets(setup, &params);
    return params;
}

static hy_status build_graph(const hy_model *model, const hy_setup *setup, hy_graph **out) {
    static const hy_dtype kv_dtypes[] = {HY_DTYPE_F16, HY_DTYPE_F32, HY_DTYPE_Q8_0};
    const hy_model_graph_params choices = {kv_dtypes[setup->params.kv_type], setup->params.context};
    return hy_model_graph(model->gguf, &model->h, &choices, out);
}

static hy_status compile(const hy_model *model, hy_setup *setup) {
    uint32_t bucket[HY_MAX_BUCKETS];
    const hy_compile_params params = compile_params(setup, bucket);
    hy_graph *graph = NULL;
    HY_TRY(build_graph(model, setup, &graph));
    hy_status status = hy_compile(graph, &params, &setup->program);
    hy_graph_free(graph);
    return status;
}

hy_status hy_setup_print(const hy_model *model, const hy_setup *setup, hy_pass pass, bool dot,
                         hy_text *out) {
    uint32_t bucket[HY_MAX_BUCKETS];
    const hy_compile_params params = compile_params(setup, bucket);
    hy_graph *graph = NULL;
    if (dot && pass != HY_PASS_NONE) {
        hy_graph_dot(setup->program->graph, out);
        return HY_OK;
    }
    HY_TRY(build_graph(model, setup, &graph));
    hy_status status = HY_OK;
    if (dot)
        hy_graph_dot(graph, out);
    else
        status = hy_compile_print(graph, &params, pass, out);
    hy_graph_free(graph);
    return status;
}

/* The engine's own heap: loading, tables of pages and sequences, copies of logits, and a little for
 * recorded lists (about 2 KiB an op and bucket). */
static uint64_t host_bytes_of(const hy_model *model, const hy_setup *setup) {
    const hy_engine_params *p = &setup->params;
    uint64_t bytes = hy_load_chunk_bytes(setup->program) + hy_pages_bytes(setup->pages);
    bytes += (uint64_t)p->max_sequences * (sizeof(hy_sequence) + sizeof(hy_part) +
                                           5ull * p->context + 12ull * setup->page_row + 64);
    bytes += (uint64_t)p->max_rows * sizeof(hy_row);
    if (!setup->info[setup->program->output[0].place.device].host_memory)
        bytes += (uint64_t)p->max_rows * model->h.vocab * sizeof(float);
    for (uint32_t i = 0; i < setup->program->buckets; i++)
        bytes += 2048ull * setup->program->bucket[i].steps;
    return bytes;
}

hy_status hy_setup_make(const hy_model *model, const hy_engine_params *params, hy_setup *out) {
    hy_setup setup = {0};
    hy_status status;
    HY_TRY(hy_setup_resolve(model, params, &setup));
    HY_TRY_GOTO(status, open_devices(&setup), failed);
    HY_TRY_GOTO(status, compile(model, &setup), failed);
    setup.host_bytes = host_bytes_of(model, &setup);
    *out = setup;
    return HY_OK;
failed:
    hy_setup_free(&setup);
    return status;
}

void hy_setup_free(hy_setup *setup) {
    hy_program_free(setup->program);
    for (uint32_t d = HY_MAX_DEVICES; d-- > 0;)
        hy_device_close(setup->device[d]);
    memset(setup, 0, sizeof *setup);
}

/* ---- fitting ----------------------------------------------------------------------------------- */

static uint64_t device_bytes(const hy_setup *setup, uint32_t d) {
    uint64_t total = 0;
    for (int a = 0; a < HY_ARENA_COUNT; a++)
        total += setup->program->arena_bytes[d][a];
    return total;
}

/* Free memory of the host as the cpu backend sees it; 0 when it is not in this build. */
static uint64_t host_free(void) {
    const hy_backend *cpu = hy_backend_by_name("cpu");
    hy_device_info info;
    uint32_t count = 0;
    if (!cpu || cpu->devices(&info, 1, &count) != HY_OK || count == 0) return 0;
    return info.memory_free;
}

hy_status hy_setup_check(const hy_setup *setup) {
    uint64_t host_needed = setup->host_bytes, host_available = host_free();
    const uint64_t *arena = setup->program->arena_bytes[0];
    uint32_t host = 0;
    for (uint32_t d = 0; d < setup->devices; d++) {
        const uint64_t needed = device_bytes(setup, d), available = setup->info[d].memory_free;
        if (setup->info[d].host_memory) { /* devices of one memory add up */
            host_needed += needed;
            host = d;
            if (available > host_available) host_available = available;
        } else if (needed > available) {
            arena = setup->program->arena_bytes[d];
            return hy_fail(
                HY_E_MEMORY,
                "%s: needed %llu bytes (weights %llu, KV cache %llu), available %llu bytes",
                setup->id[d], (unsigned long long)needed,
                (unsigned long long)arena[HY_ARENA_WEIGHTS],
                (unsigned long long)arena[HY_ARENA_STATE], (unsigned long long)available);
        } else {
            host_needed += setup->program->arena_bytes[d][HY_ARENA_STEP];
        }
    }
    if (host_available == 0 || host_needed <= host_available) return HY_OK;
    arena = setup->program->arena_bytes[host];
    return hy_fail(HY_E_MEMORY,
                   "%s: needed %llu bytes (weights %llu, KV cache %llu), available %llu bytes",
                   setup->id[host], (unsigned long long)host_needed,
                   (unsigned long long)arena[HY_ARENA_WEIGHTS],
                   (unsigned long long)arena[HY_ARENA_STATE], (unsigned long long)host_available);
}

void hy_setup_memory(const hy_setup *setup, hy_plan_device *devices, uint32_t capacity,
                     uint32_t *count) {
    for (uint32_t d = 0; d < setup->devices && d < capacity; d++) {
        const uint64_t *arena = setup->program->arena_bytes[d];
        hy_plan_device *out = &devices[d];
        memset(out, 0, sizeof *out);
        memcpy(out->id, setup->id[d], sizeof out->id);
        out->weights = arena[HY_ARENA_WEIGHTS];
        out->state = arena[HY_ARENA_STATE];
        out->activations = arena[HY_ARENA_ACTIVATIONS];
        out->step = arena[HY_ARENA_STEP];
        out->host = d == 0 ? setup->host_bytes : 0;
        out->total = device_bytes(setup, d) + out->host;
        out->available = setup->info[d].memory_free;
    }
    *count = setup->devices;
}

hy_status hy_plan(const hy_model *model, const hy_engine_params *params, hy_plan_device *devices,
                  uint32_t capacity, uint32_t *count) {
    hy_setup setup;
    if (!count || (capacity && !devices))
        return hy_fail(HY_E_ARGUMENT, "hy_plan: an argument is NULL");
    HY_TRY(hy_setup_make(model, params, &setup));
    hy_setup_memory(&setup, devices, capacity, count);
    hy_status status = hy_setup_check(&setup);
    hy_setup_free(&setup);
    return status;
}

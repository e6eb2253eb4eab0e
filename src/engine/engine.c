/* An engine's life: arenas, recorded lists, weights; and what it says about itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "src/engine/engine.h"

hy_status hy_engine_note(hy_engine *engine, hy_status status) {
    if (status == HY_E_DEVICE) engine->failed = true;
    return status;
}

hy_status hy_engine_check_loaded(const hy_engine *engine) {
    if (!engine->setup.params.plan_only) return HY_OK;
    return hy_fail(HY_E_STATE, "the engine was made with hy_engine_params.plan_only");
}

/* ---- memory ------------------------------------------------------------------------------------ */

static hy_status new_buffer(hy_engine *engine, uint32_t d, hy_heap heap, uint64_t size,
                            hy_buffer **out) {
    hy_device *device = engine->setup.device[d];
    hy_status status = device->backend->buffer_new(device, heap, HY_MAX(size, HY_VIEW_ALIGN), out);
    if (status != HY_OK) return hy_fail_in(status, "%s", engine->setup.id[d]);
    engine->bytes += size;
    return HY_OK;
}

static hy_status new_arenas(hy_engine *engine) {
    for (uint32_t d = 0; d < engine->setup.devices; d++) {
        const uint64_t *bytes = engine->setup.program->arena_bytes[d];
        const bool host = engine->setup.info[d].host_memory;
        for (int a = 0; a < HY_ARENA_COUNT; a++) {
            const hy_heap heap = a == HY_ARENA_STEP && host ? HY_HEAP_HOST : HY_HEAP_DEVICE;
            HY_TRY(new_buffer(engine, d, heap, bytes[a], &engine->memory.buffer[d][a]));
        }
        if (!host) {
            const uint64_t results = hy_program_result_bytes(engine->setup.program, d);
            HY_TRY(new_buffer(engine, d, HY_HEAP_HOST, bytes[HY_ARENA_STEP],
                              &engine->memory.staging[d]));
            HY_TRY(new_buffer(engine, d, HY_HEAP_HOST, results, &engine->memory.result[d]));
        }
        hy_device *device = engine->setup.device[d];
        HY_TRY(device->backend->timeline_new(device, &engine->timeline[d]));
    }
    return HY_OK;
}

/* ---- the step block ---------------------------------------------------------------------------- */

static hy_status bind_input(const hy_engine *engine, const char *name, uint8_t *base,
                            int32_t **out) {
    const hy_program *program = engine->setup.program;
    for (uint32_t i = 0; i < program->inputs; i++) {
        if (strcmp(program->input[i].name, name) != 0) continue;
        *out = (int32_t *)(void *)(base + program->input[i].place.offset);
        return HY_OK;
    }
    return hy_fail(HY_E_INTERNAL, "the program has no input %s", name);
}

static hy_status bind_block(hy_engine *engine, uint32_t d) {
    hy_buffer *staging = engine->memory.staging[d];
    if (!staging) staging = engine->memory.buffer[d][HY_ARENA_STEP];
    uint8_t *base = staging->host;
    hy_step_block *block = &engine->block[d];
    if (!base)
        return hy_fail(HY_E_INTERNAL, "%s gave a host buffer without an address",
                       engine->setup.id[d]);
    memset(base, 0, engine->setup.program->arena_bytes[d][HY_ARENA_STEP]);
    block->counters = (uint32_t *)(void *)base;
    HY_TRY(bind_input(engine, "tokens", base, &block->tokens));
    HY_TRY(bind_input(engine, "pos", base, &block->pos));
    HY_TRY(bind_input(engine, "slot", base, &block->slot));
    HY_TRY(bind_input(engine, "row", base, &block->row));
    HY_TRY(bind_input(engine, "rows", base, &block->rows));
    HY_TRY(bind_input(engine, "len", base, &block->len));
    return bind_input(engine, "table", base, &block->table);
}

static const hy_program_binding *logits_binding(const hy_program *program) {
    for (uint32_t i = 0; i < program->outputs; i++)
        if (strcmp(program->output[i].name, "logits") == 0) return &program->output[i];
    return NULL;
}

static hy_status bind_logits(hy_engine *engine) {
    const hy_program_binding *b = logits_binding(engine->setup.program);
    if (!b) return hy_fail(HY_E_INTERNAL, "the program has no output logits");
    const uint32_t d = b->place.device;
    const hy_buffer *buffer = engine->memory.result[d];
    if (!buffer) buffer = engine->memory.buffer[d][b->place.arena];
    if (!buffer->host)
        return hy_fail(HY_E_INTERNAL, "%s gave a host buffer without an address",
                       engine->setup.id[d]);
    engine->logits = (const float *)(const void *)((char *)buffer->host + b->place.offset);
    engine->logits_stride = b->tensor.stride[0];
    return HY_OK;
}

/* ---- pages and sequences ----------------------------------------------------------------------- */

static hy_status bind_states(hy_engine *engine) {
    const hy_program *program = engine->setup.program;
    engine->state = calloc(program->states + 1, sizeof *engine->state);
    if (!engine->state) return hy_fail(HY_E_MEMORY, "no memory for the table of KV states");
    for (uint32_t i = 0; i < program->states; i++) {
        const hy_program_binding *b = &program->state[i];
        engine->state[i] =
            (hy_page_state){engine->memory.buffer[b->place.device][b->place.arena], b->place.offset,
                            hy_tensor_bytes(&b->tensor) / b->tensor.dim[0]};
        if (!engine->state[i].buffer->host)
            engine->bounce_bytes = HY_MAX(engine->bounce_bytes, engine->state[i].bytes);
    }
    return HY_OK;
}

static void widest_transfer(hy_engine *engine) {
    const hy_program *program = engine->setup.program;
    for (uint32_t b = 0; b < program->buckets; b++)
        for (uint32_t s = 0; s < program->bucket[b].steps; s++) {
            const hy_program_step *step = &program->bucket[b].step[s];
            if (step->transfer)
                engine->bounce_bytes = HY_MAX(engine->bounce_bytes, step->operand[0].size);
        }
}

static hy_status new_tables(hy_engine *engine) {
    const hy_engine_params *p = &engine->setup.params;
    HY_TRY(bind_states(engine));
    widest_transfer(engine);
    HY_TRY(hy_pages_new(engine->setup.pages, &engine->pages));
    engine->sequences = calloc(p->max_sequences, sizeof *engine->sequences);
    engine->part = calloc(p->max_sequences, sizeof *engine->part);
    engine->row = calloc(p->max_rows, sizeof *engine->row);
    engine->bounce = malloc(engine->bounce_bytes + 1);
    if (!engine->sequences || !engine->part || !engine->row || !engine->bounce)
        return hy_fail(HY_E_MEMORY, "no memory for %u sequences", p->max_sequences);
    for (uint32_t i = 0; i < p->max_sequences; i++)
        engine->sequences[i].engine = engine;
    return HY_OK;
}

/* ---- recording --------------------------------------------------------------------------------- */

static hy_status record_bucket(hy_engine *engine, uint32_t index) {
    const hy_program *program = engine->setup.program;
    const hy_program_bucket *bucket = &program->bucket[index];
    uint32_t capacity = program->devices;
    for (uint32_t i = 0; i < bucket->steps;
         i++) /* a transfer closes the lists of both its devices */
        capacity += bucket->step[i].transfer ? 3 : 0;
    hy_recorded *recorded = &engine->recorded[index];
    recorded->segment = calloc(capacity, sizeof *recorded->segment);
    if (!recorded->segment) return hy_fail(HY_E_MEMORY, "no memory for recorded lists");
    return hy_program_record(program, index, &engine->memory, recorded->segment, capacity,
                             &recorded->segments);
}

static void add_cost(void *user, const hy_op_cost *cost) {
    hy_engine *engine = user;
    engine->flops_per_token += cost->flops;
    engine->weight_bytes_per_token += cost->weight_bytes;
}

static hy_status engine_open(hy_engine *engine, const hy_engine_params *params) {
    const uint64_t begin = hy_clock_ns();
    HY_TRY(hy_setup_make(engine->model, params, &engine->setup));
    HY_TRY(hy_engine_costs(engine, NULL, add_cost, engine));
    if (engine->setup.params.plan_only) return HY_OK;
    HY_TRY(hy_setup_check(&engine->setup));
    HY_TRY(new_arenas(engine));
    HY_TRY(new_tables(engine));
    for (uint32_t d = 0; d < engine->setup.devices; d++)
        HY_TRY(bind_block(engine, d));
    HY_TRY(bind_logits(engine));
    for (uint32_t i = 0; i < engine->setup.program->buckets; i++)
        HY_TRY(record_bucket(engine, i));
    HY_TRY(hy_engine_load(engine));
    engine->load_us = (hy_clock_ns() - begin) / 1000;
    return HY_OK;
}

hy_status hy_engine_new(hy_model *model, const hy_engine_params *params, hy_engine **out) {
    if (!model || !out) return hy_fail(HY_E_ARGUMENT, "hy_engine_new: an argument is NULL");
    hy_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return hy_fail(HY_E_MEMORY, "no memory for an engine");
    engine->model = hy_model_retain(model);
    hy_status status = engine_open(engine, params);
    if (status != HY_OK) {
        status = hy_fail_in(status, "%s", hy_gguf_path(model->gguf));
        hy_engine_free(engine);
        return status;
    }
    *out = engine;
    return HY_OK;
}

static void free_device_objects(hy_engine *engine) {
    for (int i = 0; i < HY_MAX_BUCKETS; i++) {
        hy_recorded *recorded = &engine->recorded[i];
        for (uint32_t s = 0; s < recorded->segments; s++)
            hy_cmd_free(recorded->segment[s].cmd);
        free(recorded->segment);
    }
    for (uint32_t d = 0; d < HY_MAX_DEVICES; d++) {
        hy_timeline_free(engine->timeline[d]);
        hy_buffer_free(engine->memory.staging[d]);
        hy_buffer_free(engine->memory.result[d]);
        for (int a = 0; a < HY_ARENA_COUNT; a++)
            hy_buffer_free(engine->memory.buffer[d][a]);
    }
}

void hy_engine_free(hy_engine *engine) {
    if (!engine) return;
    free_device_objects(engine);
    for (uint32_t i = 0; engine->sequences && i < engine->setup.params.max_sequences; i++) {
        free(engine->sequences[i].ids);
        free(engine->sequences[i].want);
        free(engine->sequences[i].page);
        free(engine->sequences[i].past);
    }
    free(engine->sequences);
    free(engine->part);
    free(engine->row);
    free(engine->bounce);
    free(engine->state);
    hy_pages_free(engine->pages);
    hy_setup_free(&engine->setup);
    hy_model_free(engine->model);
    free(engine);
}

/* ---- what it says about itself ----------------------------------------------------------------- */

hy_status hy_engine_describe(const hy_engine *engine, hy_engine_desc *out) {
    if (!engine) return hy_fail(HY_E_ARGUMENT, "hy_engine_describe: engine is NULL");
    const hy_engine_params *p = &engine->setup.params;
    hy_engine_desc desc = {0};
    size_t used = 0;
    for (uint32_t d = 0; d < engine->setup.devices && used < sizeof desc.device; d++)
        used += (size_t)snprintf(desc.device + used, sizeof desc.device - used, "%s%s",
                                 d ? "," : "", engine->setup.id[d]);
    desc.context = p->context;
    desc.max_sequences = p->max_sequences;
    desc.max_batch = p->max_batch;
    desc.max_rows = p->max_rows;
    desc.page_tokens = HY_PAGE_LENGTH;
    desc.pages = engine->setup.pages;
    desc.pages_free = engine->pages ? hy_pages_available(engine->pages) : engine->setup.pages;
    desc.load_us = engine->load_us;
    desc.compile_us = engine->setup.program->compile_ns / 1000;
    desc.bytes = engine->bytes;
    desc.weight_bytes_per_token = engine->weight_bytes_per_token;
    desc.flops_per_token = engine->flops_per_token;
    return hy_info_copy(out, &desc, sizeof desc, "hy_engine_desc");
}

hy_status hy_engine_memory(const hy_engine *engine, hy_plan_device *devices, uint32_t capacity,
                           uint32_t *count) {
    if (!engine || !count || (capacity && !devices))
        return hy_fail(HY_E_ARGUMENT, "hy_engine_memory: an argument is NULL");
    hy_setup_memory(&engine->setup, devices, capacity, count);
    return HY_OK;
}

hy_status hy_engine_trace(hy_engine *engine, const char *path) {
    if (!engine || !path) return hy_fail(HY_E_ARGUMENT, "hy_engine_trace: an argument is NULL");
    if (!engine->setup.params.trace)
        return hy_fail(HY_E_STATE, "the engine was made without hy_engine_params.trace");
    for (uint32_t d = 0; d < engine->setup.devices; d++) {
        char name[4096];
        const int n = d ? snprintf(name, sizeof name, "%s.%u", path, d)
                        : snprintf(name, sizeof name, "%s", path);
        if (n < 0 || n >= (int)sizeof name)
            return hy_fail(HY_E_ARGUMENT, "hy_engine_trace: the path is too long");
        HY_TRY(hy_trace_write(engine->setup.device[d], name));
    }
    return HY_OK;
}

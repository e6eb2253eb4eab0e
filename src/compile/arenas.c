/* Places that are the same in every bucket: constants, state, the step block, outputs. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "src/compile/inner.h"

static uint64_t aligned(uint64_t bytes) {
    return hy_align_up(bytes, HY_VIEW_ALIGN);
}

static uint64_t *arena_of(hy_compiler *c, uint32_t device, hy_arena_kind arena) {
    return &c->program->arena_bytes[device][arena];
}

hy_status hy_segment_check(const hy_compiler *c, const hy_place *place, const char *name) {
    const uint64_t segment = c->segment[place->device];
    char device[64];
    if (!segment || place->size <= segment) return HY_OK;
    hy_query_device_name(c->params, place->device, device);
    return hy_fail(HY_E_LIMIT, "%s needs %llu bytes in one piece; %s allows %llu", name,
                   (unsigned long long)place->size, device, (unsigned long long)segment);
}

/* Takes room at the end of an arena. */
static hy_status take(hy_compiler *c, uint32_t device, hy_arena_kind arena, uint64_t size,
                      const char *name, hy_place *out) {
    uint64_t *bytes = arena_of(c, device, arena);
    *out = (hy_place){(uint8_t)device, (uint8_t)arena, 0, size};
    HY_TRY(hy_segment_check(c, out, name));
    out->offset = hy_segment_fit(*bytes, size, c->segment[device]);
    *bytes = out->offset + aligned(size);
    return HY_OK;
}

static hy_status place_constants(hy_compiler *c) {
    for (size_t i = 0; i < c->constants; i++) {
        hy_place *place = &c->constant[i].place;
        HY_TRY(take(c, place->device, HY_ARENA_WEIGHTS, place->size,
                    c->graph->value[c->constant[i].value].name, place));
    }
    return HY_OK;
}

static hy_status bind(hy_compiler *c, hy_program_binding *binding, const char *name, uint32_t value,
                      hy_place place) {
    hy_bounds bounds = hy_bucket_bounds(c->params, c->params->buckets - 1);
    hy_graph_tensor(c->graph, value, &bounds, &binding->tensor);
    binding->name = hy_arena_text(&c->program->memory, name, strlen(name));
    binding->value = value;
    binding->place = place;
    return binding->name ? HY_OK : HY_NO_MEMORY();
}

static uint64_t size_at(const hy_compiler *c, uint32_t value) {
    hy_bounds bounds = hy_bucket_bounds(c->params, c->params->buckets - 1);
    uint64_t bytes = 0;
    (void)hy_value_bytes(&c->graph->value[value], &bounds, &bytes); /* checked before */
    return bytes;
}

/* Devices that read each leaf, a bit each. */
static uint8_t *find_readers(const hy_compiler *c) {
    const hy_graph *graph = c->graph;
    uint8_t *readers = calloc(graph->values + 1, 1);
    for (uint32_t t = 0; readers && t < c->tasks; t++) {
        const hy_node *node = &graph->node[c->task[t].node];
        for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
            uint32_t id = node->operand[k];
            if ((hy_node_role(node->kind, k) & HY_ROLE_OUT) || id == HY_NO_ID) continue;
            id = hy_graph_root(graph, id);
            if (graph->value[id].state != HY_NO_ID) id = graph->value[id].state;
            readers[id] |= (uint8_t)(1u << node->device);
        }
    }
    return readers;
}

static hy_status place_states(hy_compiler *c, const uint8_t *readers) {
    hy_program *program = c->program;
    uint32_t count = 0;
    for (uint32_t id = 0; id < c->graph->values; id++)
        count += c->graph->value[id].kind == HY_VALUE_STATE;
    hy_program_binding *state = hy_arena_alloc(&program->memory, count, sizeof *state);
    if (!state) return HY_NO_MEMORY();
    program->state = state;
    for (uint32_t id = 0; id < c->graph->values; id++) {
        uint32_t device = 0;
        if (c->graph->value[id].kind != HY_VALUE_STATE) continue;
        while (readers[id] && !(readers[id] >> device & 1))
            device++;
        const char *name = c->graph->value[id].name;
        HY_TRY(take(c, device, HY_ARENA_STATE, size_at(c, id), name, &c->place[id]));
        HY_TRY(bind(c, &state[program->states++], name, id, c->place[id]));
    }
    return HY_OK;
}

/* The block begins with the counters; inputs have the same offset on every device, so that the caller
 * fills one image. One binding per device that reads the input, or one on device 0. */
static hy_status place_inputs(hy_compiler *c, const uint8_t *readers) {
    hy_program *program = c->program;
    uint32_t count = 0;
    uint64_t bytes = aligned(HY_COUNTER_COUNT * sizeof(uint32_t));
    for (uint32_t id = 0; id < c->graph->values; id++)
        count += c->graph->value[id].kind == HY_VALUE_INPUT;
    hy_program_binding *input =
        hy_arena_alloc(&program->memory, (size_t)count * c->params->devices, sizeof *input);
    if (!input) return HY_NO_MEMORY();
    program->input = input;
    for (uint32_t id = 0; id < c->graph->values; id++) {
        const hy_value *value = &c->graph->value[id];
        if (value->kind != HY_VALUE_INPUT) continue;
        hy_place place = {0, HY_ARENA_STEP, bytes, size_at(c, id)};
        c->place[id] = place;
        bytes += aligned(place.size);
        for (uint32_t d = 0; d < c->params->devices; d++) {
            if (!(readers[id] >> d & 1) && (readers[id] || d)) continue;
            place.device = (uint8_t)d;
            HY_TRY(bind(c, &input[program->inputs++], value->name, id, place));
        }
    }
    for (uint32_t d = 0; d < c->params->devices; d++)
        *arena_of(c, d, HY_ARENA_STEP) = bytes;
    return HY_OK;
}

/* Results that outputs need lie at the front of the activations, at one offset in all buckets; other
 * results may use that room until they are made. */
static hy_status place_outputs(hy_compiler *c) {
    hy_program *program = c->program;
    const hy_graph *graph = c->graph;
    hy_program_binding *output = hy_arena_alloc(&program->memory, graph->outputs, sizeof *output);
    if (!output) return HY_NO_MEMORY();
    program->output = output;
    for (size_t i = 0; i < graph->outputs; i++) {
        uint32_t id = graph->output[i].value, root = hy_graph_root(graph, id);
        const hy_value *value = &graph->value[root], *window = &graph->value[id];
        if (value->kind == HY_VALUE_WEIGHT || value->kind == HY_VALUE_LITERAL)
            return hy_fail(HY_E_UNSUPPORTED, "output \"%s\" is a constant", graph->output[i].name);
        if (value->state != HY_NO_ID) root = value->state;
        if (value->kind == HY_VALUE_NODE && value->state == HY_NO_ID && !c->is_output[root]) {
            uint32_t device = graph->node[value->node].device;
            uint64_t size = size_at(c, root), *base = &c->activation_base[device];
            c->is_output[root] = true;
            *base = hy_segment_fit(*base, size, c->segment[device]);
            c->place[root] = (hy_place){(uint8_t)device, HY_ARENA_ACTIVATIONS, *base, size};
            *base += aligned(size);
        }
        hy_place place = c->place[root];
        const hy_dtype_info *dtype = hy_dtype_get((hy_dtype)value->dtype);
        if (hy_value_is_window(window)) place.offset += hy_dtype_row_bytes(dtype, window->offset);
        HY_TRY(bind(c, &output[i], graph->output[i].name, id, place));
        output[i].place.size = hy_tensor_bytes(&output[i].tensor);
        program->outputs++;
    }
    return HY_OK;
}

hy_status hy_compile_arenas(hy_compiler *c) {
    uint8_t *readers = find_readers(c);
    if (!readers) return HY_NO_MEMORY();
    c->place = hy_arena_alloc(&c->scratch, c->graph->values, sizeof *c->place);
    c->is_output = hy_arena_alloc(&c->scratch, c->graph->values, sizeof *c->is_output);
    hy_status status = c->place && c->is_output ? HY_OK : HY_NO_MEMORY();
    for (uint32_t d = 0; d < c->params->devices; d++) {
        hy_device_info info;
        c->params->device[d]->backend->info(c->params->device[d], &info);
        c->segment[d] = info.segment;
    }
    if (status == HY_OK) status = place_constants(c);
    if (status == HY_OK) status = place_states(c, readers);
    if (status == HY_OK) status = place_inputs(c, readers);
    if (status == HY_OK) status = place_outputs(c);
    free(readers);
    return status;
}

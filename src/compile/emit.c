/* Pass emit: one bucket as sealed command lists. A transfer closes the lists of both its devices; other
 * lists stay open, so that a device has one list between two transfers that concern it. */
#include <string.h>

#include "base/num.h"
#include "src/compile/inner.h"

typedef struct emitter {
    const hy_program *program;
    const hy_program_memory *memory;
    hy_program_segment *segment;
    uint32_t capacity, count;
    hy_cmd *open[HY_MAX_DEVICES];  /* NULL: none */
    uint32_t wave[HY_MAX_DEVICES]; /* of the last op in the open list */
    bool started[HY_MAX_DEVICES];  /* the step block was copied in */
} emitter;

static hy_view view_of(const emitter *e, const hy_place *place) {
    if (!place->size) return (hy_view){NULL, 0, 0};
    return (hy_view){e->memory->buffer[place->device][place->arena], place->offset, place->size};
}

static hy_status push(emitter *e, hy_program_segment segment) {
    if (e->count == e->capacity)
        return hy_fail(HY_E_LIMIT, "more than %u segments in one bucket", e->capacity);
    e->segment[e->count++] = segment;
    return HY_OK;
}

static hy_status close_list(emitter *e, uint32_t device) {
    hy_cmd *cmd = e->open[device];
    if (!cmd) return HY_OK;
    HY_TRY(HY_FN(cmd)->cmd_seal(cmd));
    HY_TRY(push(e, (hy_program_segment){(uint8_t)device, cmd, NULL}));
    e->open[device] = NULL;
    return HY_OK;
}

/* The first list of a device begins by copying the step block in. */
static hy_status open_list(emitter *e, uint32_t device) {
    hy_buffer *step = e->memory->buffer[device][HY_ARENA_STEP];
    hy_buffer *staging = e->memory->staging[device];
    uint64_t bytes = e->program->arena_bytes[device][HY_ARENA_STEP];
    hy_view counters = {step, 0, HY_COUNTER_COUNT * sizeof(uint32_t)};
    HY_TRY(step->device->backend->cmd_new(step->device, counters, &e->open[device]));
    hy_cmd *cmd = e->open[device];
    e->wave[device] = HY_NO_ID;
    if (e->started[device]) return HY_OK;
    e->started[device] = true;
    if (!staging) return HY_OK;
    HY_TRY(HY_FN(cmd)->cmd_copy(cmd, (hy_view){step, 0, bytes}, (hy_view){staging, 0, bytes}));
    return HY_FN(cmd)->cmd_barrier(cmd);
}

static hy_status add_op(emitter *e, const hy_program_step *step) {
    hy_view views[HY_MAX_OPERANDS];
    uint32_t d = step->device;
    if (!e->open[d]) HY_TRY(open_list(e, d));
    hy_cmd *cmd = e->open[d];
    if (e->wave[d] != HY_NO_ID && e->wave[d] != step->wave) HY_TRY(HY_FN(cmd)->cmd_barrier(cmd));
    e->wave[d] = step->wave;
    for (uint32_t k = 0; k < HY_MAX_OPERANDS; k++)
        views[k] = view_of(e, &step->operand[k]);
    return HY_FN(cmd)->cmd_op(cmd, &step->op, &step->kernel, views, view_of(e, &step->workspace));
}

static hy_status add_transfer(emitter *e, const hy_program_step *step) {
    HY_TRY(close_list(e, step->operand[HY_COPY_x].device));
    HY_TRY(close_list(e, step->operand[HY_COPY_out].device));
    return push(e, (hy_program_segment){step->device, NULL, step});
}

uint64_t hy_program_result_bytes(const hy_program *program, uint32_t device) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < program->outputs; i++) {
        const hy_place *place = &program->output[i].place;
        if (place->device == device && place->arena == HY_ARENA_ACTIVATIONS)
            bytes = HY_MAX(bytes, place->offset + place->size);
    }
    return bytes;
}

/* Outputs go to the host as part of the list, as many rows as the bucket can have: a replay needs no other
 * call to read them. */
static hy_status copy_results(emitter *e, const hy_program_bucket *bucket) {
    bool first[HY_MAX_DEVICES] = {0};
    for (uint32_t i = 0; i < e->program->outputs; i++) {
        const hy_program_binding *output = &e->program->output[i];
        const uint32_t d = output->place.device;
        hy_tensor tensor;
        if (output->place.arena != HY_ARENA_ACTIVATIONS || !e->memory->result[d]) continue;
        if (!e->open[d]) HY_TRY(open_list(e, d));
        hy_cmd *cmd = e->open[d];
        if (!first[d]) HY_TRY(HY_FN(cmd)->cmd_barrier(cmd));
        first[d] = true;
        hy_graph_tensor(e->program->graph, output->value, &bucket->bounds, &tensor);
        hy_view src = view_of(e, &output->place);
        src.size = HY_MIN(src.size, hy_tensor_bytes(&tensor));
        const hy_view dst = {e->memory->result[d], src.offset, src.size};
        HY_TRY(HY_FN(cmd)->cmd_copy(cmd, dst, src));
    }
    return HY_OK;
}

static hy_status record(emitter *e, const hy_program_bucket *bucket) {
    for (uint32_t i = 0; i < bucket->steps; i++) {
        const hy_program_step *step = &bucket->step[i];
        hy_status status = step->transfer ? add_transfer(e, step) : add_op(e, step);
        if (status != HY_OK)
            return hy_fail_in(status, "recording %s", hy_node_kind_name(step->op.kind));
    }
    HY_TRY(copy_results(e, bucket));
    for (uint32_t d = 0; d < e->program->devices; d++)
        HY_TRY(close_list(e, d));
    return HY_OK;
}

hy_status hy_program_record(const hy_program *program, uint32_t index,
                            const hy_program_memory *memory, hy_program_segment *segments,
                            uint32_t capacity, uint32_t *count) {
    if (index >= program->buckets)
        return hy_fail(HY_E_ARGUMENT, "bucket %u of %u", index, program->buckets);
    emitter e = {.program = program, .memory = memory, .segment = segments, .capacity = capacity};
    hy_status status = record(&e, &program->bucket[index]);
    if (status == HY_OK) {
        *count = e.count;
        return HY_OK;
    }
    for (uint32_t d = 0; d < HY_MAX_DEVICES; d++)
        hy_cmd_free(e.open[d]);
    for (uint32_t i = 0; i < e.count; i++)
        hy_cmd_free(segments[i].cmd);
    return status;
}

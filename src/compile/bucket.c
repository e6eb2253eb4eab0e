/* Pass bucket: the steps of one upper bound of T. */
#include <string.h>

#include "base/num.h"
#include "src/compile/inner.h"

/* Where operand `k` of a step lies; results have their places by now. */
static hy_place operand_place(const hy_compiler *c, const hy_task *task, const hy_op *op,
                              uint32_t k) {
    const hy_graph *graph = c->graph;
    const hy_node *node = &graph->node[task->node];
    uint32_t id = node->operand[k], root = hy_graph_root(graph, id);
    const hy_value *value = &graph->value[id];
    hy_place place;
    if (task->constant[k] != HY_NO_ID) return c->constant[task->constant[k]].place;
    if (graph->value[root].state != HY_NO_ID) root = graph->value[root].state;
    place = c->place[root];
    if (graph->value[root].kind == HY_VALUE_INPUT) place.device = node->device;
    place.size = hy_tensor_bytes(&op->operand[k]);
    if (hy_value_is_window(value))
        place.offset += hy_dtype_row_bytes(hy_dtype_get((hy_dtype)value->dtype), value->offset);
    return place;
}

static void fill_step(const hy_compiler *c, uint32_t index, uint32_t at, const hy_bounds *bounds,
                      hy_program_step *step) {
    const hy_task *task = &c->task[c->order[at]];
    step->node = task->node;
    step->wave = c->wave[at];
    step->device = c->graph->node[task->node].device;
    step->transfer = task->transfer;
    hy_graph_op(c->graph, task->node, bounds, &step->op);
    if (task->transfer) return;
    step->kernel = *task->chosen->kernel[index];
    step->workspace.device = step->device;
    step->workspace.arena = HY_ARENA_ACTIVATIONS;
    step->workspace.size = step->kernel.workspace;
}

hy_status hy_compile_bucket(hy_compiler *c, uint32_t index) {
    hy_program_bucket *bucket = (hy_program_bucket *)&c->program->bucket[index];
    bucket->bounds = hy_bucket_bounds(c->params, index);
    bucket->steps = c->tasks;
    bucket->waves = c->waves;
    hy_program_step *step = hy_arena_alloc(&c->program->memory, c->tasks, sizeof *step);
    if (!step) return HY_NO_MEMORY();
    bucket->step = step;
    for (uint32_t i = 0; i < c->tasks; i++)
        fill_step(c, index, i, &bucket->bounds, &step[i]);
    HY_TRY(hy_compile_plan_memory(c, bucket, step));
    for (uint32_t i = 0; i < c->tasks; i++)
        for (uint32_t k = 0; k < HY_MAX_OPERANDS; k++)
            if (step[i].op.operand[k].dtype != HY_DTYPE_NONE)
                step[i].operand[k] = operand_place(c, &c->task[c->order[i]], &step[i].op, k);
    for (uint32_t d = 0; d < c->params->devices; d++) {
        uint64_t *bytes = &c->program->arena_bytes[d][HY_ARENA_ACTIVATIONS];
        *bytes = HY_MAX(*bytes, bucket->activation_bytes[d]);
    }
    return HY_OK;
}

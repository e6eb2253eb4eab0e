/* The driver: passes in order. */
#include "src/compile/compile.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "src/compile/inner.h"

static const char *const pass_names[HY_PASS_COUNT] = {
    "none", "canonicalize", "place", "fuse", "select", "bucket", "schedule", "plan_memory", "emit"};

const char *hy_pass_name(hy_pass pass) {
    return (unsigned)pass < HY_PASS_COUNT ? pass_names[pass] : "unknown";
}

hy_pass hy_pass_by_name(const char *name) {
    for (int i = 0; i < HY_PASS_COUNT; i++)
        if (!strcmp(pass_names[i], name)) return (hy_pass)i;
    return HY_PASS_COUNT;
}

/* ---- arguments ---------------------------------------------------------------------------------- */

static hy_status check_params(const hy_compile_params *p) {
    if (!p->devices || p->devices > HY_MAX_DEVICES)
        return hy_fail(HY_E_ARGUMENT, "%u devices; 1 to %d can be used", p->devices,
                       HY_MAX_DEVICES);
    if (!p->buckets || p->buckets > HY_MAX_BUCKETS)
        return hy_fail(HY_E_ARGUMENT, "%u buckets; 1 to %d can be planned", p->buckets,
                       HY_MAX_BUCKETS);
    for (uint32_t b = 0; b < p->buckets; b++)
        if (!p->bucket[b] || (b && p->bucket[b] <= p->bucket[b - 1]))
            return hy_fail(HY_E_ARGUMENT, "bucket %u of %u tokens does not rise", b, p->bucket[b]);
    if (p->bucket[p->buckets - 1] != p->bounds.of[HY_SYMBOL_T])
        return hy_fail(HY_E_ARGUMENT, "the last bucket has %u tokens, the bound is %u",
                       p->bucket[p->buckets - 1], p->bounds.of[HY_SYMBOL_T]);
    for (int s = HY_SYMBOL_T; s < HY_SYMBOL_COUNT; s++)
        if (!p->bounds.of[s] || p->bounds.of[s] > INT32_MAX)
            return hy_fail(HY_E_ARGUMENT, "bound of %c is %u", " TSRPL"[s], p -> bounds.of[s]);
    return HY_OK;
}

/* Sizes fit once the symbols are numbers. */
static hy_status check_sizes(const hy_graph *graph, const hy_compile_params *params) {
    hy_bounds bounds = hy_bucket_bounds(params, params->buckets - 1);
    for (uint32_t i = 0; i < graph->values; i++) {
        const hy_value *value = &graph->value[i];
        uint64_t bytes;
        bool large = hy_value_bytes(value, &bounds, &bytes) || bytes > (uint64_t)1 << 56;
        for (uint32_t k = 0; k < value->rank; k++)
            large |= hy_dim_at(value->dim[k], &bounds) > INT32_MAX;
        if (large)
            return hy_fail(HY_E_LIMIT, "%%%s is too large at T=%u P=%u L=%u", value->name,
                           bounds.of[HY_SYMBOL_T], bounds.of[HY_SYMBOL_P], bounds.of[HY_SYMBOL_L]);
    }
    return HY_OK;
}

hy_status hy_compile_graph(const hy_graph *source, const hy_compile_params *params, hy_pass last,
                           hy_query *query, hy_graph **out) {
    hy_graph *graph;
    HY_TRY(check_params(params));
    HY_TRY(hy_graph_verify(source));
    HY_TRY(check_sizes(source, params));
    HY_TRY(hy_graph_copy(source, &graph));
    hy_status status = HY_OK;
    if (last >= HY_PASS_CANONICALIZE) status = hy_pass_canonicalize(graph);
    if (status == HY_OK && last >= HY_PASS_PLACE) status = hy_place_run(graph, query);
    if (status == HY_OK && last >= HY_PASS_FUSE && !params->unfused)
        status = hy_fuse_run(graph, query);
    if (status != HY_OK) {
        hy_graph_free(graph);
        return status;
    }
    *out = graph;
    return HY_OK;
}

/* ---- from graph to program ---------------------------------------------------------------------- */

static hy_status list_tasks(hy_compiler *c) {
    const hy_graph *graph = c->graph;
    c->task = hy_arena_alloc(&c->scratch, graph->nodes, sizeof *c->task);
    c->task_of = hy_arena_alloc(&c->scratch, graph->nodes, sizeof *c->task_of);
    if (!c->task || !c->task_of) return HY_NO_MEMORY();
    for (uint32_t i = 0; i < graph->nodes; i++) {
        c->task_of[i] = HY_NO_ID;
        if (graph->node[i].dead) continue;
        hy_task *task = &c->task[c->task_of[i] = c->tasks++];
        task->node = i;
        task->transfer = hy_node_is_transfer(graph, &graph->node[i]);
        for (uint32_t k = 0; k < HY_MAX_OPERANDS; k++)
            task->constant[k] = HY_NO_ID;
    }
    return HY_OK;
}

static hy_status make_buckets(hy_compiler *c) {
    hy_program *program = c->program;
    hy_program_bucket *bucket =
        hy_arena_alloc(&program->memory, c->params->buckets, sizeof *bucket);
    if (!bucket) return HY_NO_MEMORY();
    program->bucket = bucket;
    for (uint32_t b = 0; b < c->params->buckets; b++) {
        HY_TRY(hy_compile_bucket(c, b));
        program->buckets++;
    }
    return HY_OK;
}

static hy_status keep_constants(hy_compiler *c) {
    hy_program_constant *kept = hy_arena_alloc(&c->program->memory, c->constants, sizeof *kept);
    if (!kept) return HY_NO_MEMORY();
    if (c->constants) memcpy(kept, c->constant, c->constants * sizeof *kept);
    c->program->constant = kept;
    c->program->constants = (uint32_t)c->constants;
    return HY_OK;
}

static hy_status lower(hy_compiler *c) {
    HY_TRY(list_tasks(c));
    HY_TRY(hy_compile_select(c));
    HY_TRY(hy_compile_schedule(c));
    HY_TRY(hy_compile_arenas(c));
    HY_TRY(make_buckets(c));
    return keep_constants(c);
}

hy_status hy_compile(const hy_graph *source, const hy_compile_params *params, hy_program **out) {
    uint64_t start = hy_clock_ns();
    hy_compiler c = {.params = params, .query = {.params = params}};
    c.program = calloc(1, sizeof *c.program);
    hy_status status =
        c.program ? hy_compile_graph(source, params, HY_PASS_FUSE, &c.query, &c.program->graph)
                  : HY_NO_MEMORY();
    if (status == HY_OK) {
        c.graph = c.program->graph;
        c.program->devices = params->devices;
        memcpy(c.program->device, params->device, params->devices * sizeof *params->device);
        status = lower(&c);
    }
    hy_query_free(&c.query);
    hy_arena_free(&c.scratch);
    free(c.constant);
    free(c.constant_next);
    if (status != HY_OK) {
        hy_program_free(c.program);
        return status;
    }
    c.program->compile_ns = hy_clock_ns() - start;
    *out = c.program;
    return HY_OK;
}

void hy_program_free(hy_program *program) {
    if (!program) return;
    hy_graph_free(program->graph);
    hy_arena_free(&program->memory);
    free(program);
}

hy_status hy_compile_print(const hy_graph *source, const hy_compile_params *params, hy_pass pass,
                           hy_text *out) {
    if ((unsigned)pass >= HY_PASS_COUNT) return hy_fail(HY_E_ARGUMENT, "pass %d", (int)pass);
    if (pass > HY_PASS_FUSE) {
        hy_program *program;
        HY_TRY(hy_compile(source, params, &program));
        hy_program_print_pass(program, pass, out);
        hy_program_free(program);
    } else {
        hy_query query = {.params = params};
        hy_graph *graph = NULL;
        hy_status status = hy_compile_graph(source, params, pass, &query, &graph);
        if (status == HY_OK) hy_graph_print(graph, out);
        hy_graph_free(graph);
        hy_query_free(&query);
        HY_TRY(status);
    }
    return out->failed ? HY_NO_MEMORY() : HY_OK;
}

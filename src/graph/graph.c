#include "src/graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "src/graph/edit.h"

enum { MAX_IDS = 1 << 24 };

/* ---- names ---- */

bool hy_graph_name_valid(const char *name) {
    static const char extra[] = "_.'/+-";
    if (!*name) return false;
    for (const char *c = name; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
        if (!letter && !(*c >= '0' && *c <= '9') && !strchr(extra, *c)) return false;
    }
    return true;
}

/* Slot of the name, or the free one where it belongs. The table is never full. */
static size_t name_slot(const hy_graph *graph, const char *name) {
    size_t mask = graph->name_slots - 1, slot = hy_hash(name, strlen(name), 0) & mask;
    for (uint32_t id; (id = graph->name_slot[slot]) != 0; slot = (slot + 1) & mask)
        if (!strcmp(graph->value[id - 1].name, name)) break;
    return slot;
}

uint32_t hy_graph_find(const hy_graph *graph, const char *name) {
    if (!graph->name_slots) return HY_NO_ID;
    uint32_t id = graph->name_slot[name_slot(graph, name)];
    return id ? id - 1 : HY_NO_ID;
}

/* Room for one more name at half load. */
static bool names_grow(hy_graph *graph) {
    if (graph->values * 2 + 2 <= graph->name_slots) return true;
    size_t slots = graph->name_slots ? graph->name_slots * 2 : 64;
    uint32_t *table = calloc(slots, sizeof *table);
    if (!table) return false;
    free(graph->name_slot);
    graph->name_slot = table;
    graph->name_slots = slots;
    for (size_t i = 0; i < graph->values; i++)
        table[name_slot(graph, graph->value[i].name)] = (uint32_t)i + 1;
    return true;
}

/* A name nobody has: the wanted one, or with .2, .3, ... after it. */
static const char *name_unique(hy_graph *graph, const char *wanted) {
    char made[160];
    if (hy_graph_find(graph, wanted) == HY_NO_ID)
        return hy_arena_text(&graph->arena, wanted, strlen(wanted));
    for (uint32_t n = 2;; n++) {
        snprintf(made, sizeof made, "%.140s.%u", wanted, n);
        if (hy_graph_find(graph, made) == HY_NO_ID)
            return hy_arena_text(&graph->arena, made, strlen(made));
    }
}

/* ---- life ---- */

hy_status hy_graph_new(const char *name, hy_graph **out) {
    hy_graph *graph = calloc(1, sizeof *graph);
    if (!graph) return hy_fail(HY_E_MEMORY, "out of memory for a graph");
    graph->layer = HY_NO_ID;
    graph->name = hy_arena_text(&graph->arena, name, strlen(name));
    if (!graph->name) {
        hy_graph_free(graph);
        return hy_fail(HY_E_MEMORY, "out of memory for a graph");
    }
    *out = graph;
    return HY_OK;
}

void hy_graph_free(hy_graph *graph) {
    if (!graph) return;
    free(graph->value);
    free(graph->node);
    free(graph->output);
    free(graph->name_slot);
    hy_arena_free(&graph->arena);
    free(graph);
}

static uint64_t literal_bytes(const hy_value *value) {
    return hy_value_elements(value, 0) * hy_dtype_get(value->dtype)->bytes;
}

/* What a value points to, in the copy's own arena. */
static bool copy_owned(hy_graph *copy, hy_value *value) {
    value->name = hy_arena_text(&copy->arena, value->name, strlen(value->name));
    if (!value->name) return false;
    if (value->parts) {
        hy_weight_part *part = hy_arena_alloc(&copy->arena, value->parts, sizeof *part);
        if (!part) return false;
        for (uint32_t i = 0; i < value->parts; i++) {
            const char *name = value->part[i].name;
            part[i] = value->part[i];
            part[i].name = hy_arena_text(&copy->arena, name, strlen(name));
            if (!part[i].name) return false;
        }
        value->part = part;
    }
    if (value->data) {
        uint64_t bytes = literal_bytes(value);
        void *data = hy_arena_alloc(&copy->arena, bytes, 1);
        if (!data) return false;
        memcpy(data, value->data, bytes);
        value->data = data;
    }
    return true;
}

static bool copy_arrays(hy_graph *copy, const hy_graph *from) {
    copy->value = malloc((from->values + 1) * sizeof *copy->value);
    copy->node = malloc((from->nodes + 1) * sizeof *copy->node);
    copy->output = malloc((from->outputs + 1) * sizeof *copy->output);
    copy->name_slot = malloc((from->name_slots + 1) * sizeof *copy->name_slot);
    if (!copy->value || !copy->node || !copy->output || !copy->name_slot) return false;
    copy->value_room = from->values + 1;
    copy->node_room = from->nodes + 1;
    copy->output_room = from->outputs + 1;
    copy->name_slots = from->name_slots;
    if (from->name_slots)
        memcpy(copy->name_slot, from->name_slot, from->name_slots * sizeof *copy->name_slot);
    if (from->nodes) memcpy(copy->node, from->node, from->nodes * sizeof *copy->node);
    copy->nodes = from->nodes;
    for (; copy->values < from->values; copy->values++) {
        copy->value[copy->values] = from->value[copy->values];
        if (!copy_owned(copy, &copy->value[copy->values])) return false;
    }
    for (; copy->outputs < from->outputs; copy->outputs++) {
        hy_graph_output *output = &copy->output[copy->outputs];
        *output = from->output[copy->outputs];
        output->name = hy_arena_text(&copy->arena, output->name, strlen(output->name));
        if (!output->name) return false;
    }
    return true;
}

hy_status hy_graph_copy(const hy_graph *graph, hy_graph **out) {
    hy_graph *copy;
    HY_TRY(hy_graph_new(graph->name, &copy));
    copy->layer = graph->layer;
    copy->status = graph->status;
    memcpy(copy->error, graph->error, sizeof copy->error);
    if (!copy_arrays(copy, graph)) {
        hy_graph_free(copy);
        return hy_fail(HY_E_MEMORY, "out of memory for a copy of graph %s", graph->name);
    }
    *out = copy;
    return HY_OK;
}

/* ---- first failure ---- */

uint32_t hy_graph_fail(hy_graph *graph, hy_status status, const char *format, ...) {
    if (graph->status != HY_OK) return HY_NO_ID;
    va_list args;
    va_start(args, format);
    vsnprintf(graph->error, sizeof graph->error, format, args);
    va_end(args);
    graph->status = status;
    return HY_NO_ID;
}

hy_status hy_graph_status(const hy_graph *graph) {
    if (graph->status == HY_OK) return HY_OK;
    return hy_fail(graph->status, "graph %s: %s", graph->name, graph->error);
}

/* ---- values and nodes ---- */

hy_value hy_value_of(hy_value_kind kind, hy_dtype dtype, uint32_t rank, const hy_dim *dim) {
    hy_value value = {.kind = (uint8_t)kind,
                      .dtype = (uint8_t)dtype,
                      .rank = (uint8_t)rank,
                      .node = HY_NO_ID,
                      .base = HY_NO_ID,
                      .state = HY_NO_ID};
    for (uint32_t i = 0; i < HY_MAX_RANK; i++)
        value.dim[i] = i < rank ? dim[i] : HY_DIM(0);
    return value;
}

uint32_t hy_graph_value_add(hy_graph *graph, const hy_value *proto, bool exact) {
    char made[16];
    if (graph->status != HY_OK) return HY_NO_ID;
    if (graph->values >= MAX_IDS)
        return hy_graph_fail(graph, HY_E_LIMIT, "more than %d values", MAX_IDS);
    uint32_t id = (uint32_t)graph->values;
    snprintf(made, sizeof made, "%u", id);
    const char *name = proto->name ? proto->name : made;
    if (!hy_graph_name_valid(name))
        return hy_graph_fail(graph, HY_E_ARGUMENT, "bad name \"%.80s\"", name);
    if (proto->name && exact && hy_graph_find(graph, name) != HY_NO_ID)
        return hy_graph_fail(graph, HY_E_ARGUMENT, "two values have the name %%%.80s", name);
    if (hy_grow(&graph->value, graph->values, &graph->value_room, sizeof *graph->value) != HY_OK ||
        !names_grow(graph))
        return hy_graph_fail(graph, HY_E_MEMORY, "out of memory for values");
    const char *unique = name_unique(graph, name);
    if (!unique) return hy_graph_fail(graph, HY_E_MEMORY, "out of memory for names");
    graph->value[id] = *proto;
    graph->value[id].name = unique;
    graph->name_slot[name_slot(graph, unique)] = id + 1;
    graph->values++;
    return id;
}

uint32_t hy_graph_node_new(hy_graph *graph, uint32_t kind) {
    if (graph->status != HY_OK) return HY_NO_ID;
    if (graph->nodes >= MAX_IDS)
        return hy_graph_fail(graph, HY_E_LIMIT, "more than %d nodes", MAX_IDS);
    if (hy_grow(&graph->node, graph->nodes, &graph->node_room, sizeof *graph->node) != HY_OK)
        return hy_graph_fail(graph, HY_E_MEMORY, "out of memory for nodes");
    hy_node *node = &graph->node[graph->nodes];
    memset(node, 0, sizeof *node);
    node->kind = kind;
    node->layer = graph->layer;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        node->operand[i] = node->written[i] = HY_NO_ID;
    return (uint32_t)graph->nodes++;
}

uint32_t hy_node_operands(uint32_t kind) {
    return kind < HY_OP_KIND_COUNT ? hy_op_get((hy_op_kind)kind)->operands : 2;
}

uint32_t hy_node_role(uint32_t kind, uint32_t operand) {
    if (kind < HY_OP_KIND_COUNT) return hy_op_get((hy_op_kind)kind)->operand[operand].role;
    return operand == 0 ? HY_ROLE_IN : HY_ROLE_OUT;
}

const char *hy_node_kind_name(uint32_t kind) {
    if (kind == HY_NODE_RESHAPE) return "reshape";
    if (kind == HY_NODE_SLICE) return "slice";
    return kind < HY_OP_KIND_COUNT ? hy_op_get((hy_op_kind)kind)->name : "unknown";
}

/* ---- reading ---- */

uint32_t hy_graph_root(const hy_graph *graph, uint32_t value) {
    uint32_t base = graph->value[value].base;
    return base == HY_NO_ID ? value : base;
}

bool hy_value_is_window(const hy_value *value) {
    return value->base != HY_NO_ID;
}

void hy_graph_tensor(const hy_graph *graph, uint32_t id, const hy_bounds *bounds, hy_tensor *out) {
    const hy_value *value = &graph->value[id];
    uint32_t dim[HY_MAX_RANK] = {1, 1, 1, 1};
    for (uint32_t i = 0; i < value->rank; i++)
        dim[i] = hy_dim_at(value->dim[i], bounds);
    uint8_t symbol = value->dim[0].symbol;
    hy_counter counter = symbol <= HY_SYMBOL_R ? (hy_counter)symbol : HY_COUNTER_NONE;
    *out = hy_tensor_of((hy_dtype)value->dtype, value->rank, dim, counter);
    out->constant = value->kind == HY_VALUE_WEIGHT || value->kind == HY_VALUE_LITERAL;
    if (!hy_value_is_window(value)) return;
    for (uint32_t i = 0; i < value->rank; i++)
        out->stride[i] = value->stride[i];
}

void hy_node_op(const hy_graph *graph, const hy_node *node, const hy_bounds *bounds, hy_op *out) {
    memset(out, 0, sizeof *out);
    out->kind = node->kind;
    memcpy(out->word, node->word, sizeof out->word);
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++)
        if (node->operand[i] != HY_NO_ID)
            hy_graph_tensor(graph, node->operand[i], bounds, &out->operand[i]);
}

void hy_graph_op(const hy_graph *graph, uint32_t node, const hy_bounds *bounds, hy_op *out) {
    hy_node_op(graph, &graph->node[node], bounds, out);
}

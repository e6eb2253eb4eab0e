/* The building calls of graph.h. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "src/graph/edit.h"

/* ---- leaves ------------------------------------------------------------------------------------- */

/* A leaf of checked extents; text of a failure names it. */
static uint32_t leaf_add(hy_graph *graph, const hy_value *proto, bool exact) {
    if (graph->status != HY_OK) return HY_NO_ID;
    hy_status status = hy_dims_check((hy_dtype)proto->dtype, proto->rank, proto->dim);
    if (status != HY_OK)
        return hy_graph_fail(graph, status, "%%%.80s: %.140s", proto->name ? proto->name : "?",
                             hy_error_text());
    return hy_graph_value_add(graph, proto, exact);
}

/* hy_value_of for ranks that were not checked yet. */
static hy_value proto_of(hy_value_kind kind, const char *name, hy_dtype dtype, uint32_t rank,
                         const hy_dim *dim) {
    hy_value proto = hy_value_of(kind, dtype, HY_MIN(rank, HY_MAX_RANK), dim);
    proto.rank = (uint8_t)HY_MIN(rank, HY_MAX_RANK + 1); /* too many stays too many */
    proto.name = name;
    return proto;
}

uint32_t hy_graph_input(hy_graph *graph, const char *name, hy_dtype dtype, uint32_t rank,
                        const hy_dim *dim) {
    hy_value proto = proto_of(HY_VALUE_INPUT, name, dtype, rank, dim);
    return leaf_add(graph, &proto, true);
}

uint32_t hy_graph_state(hy_graph *graph, const char *name, hy_dtype dtype, uint32_t rank,
                        const hy_dim *dim) {
    hy_value proto = proto_of(HY_VALUE_STATE, name, dtype, rank, dim);
    return leaf_add(graph, &proto, true);
}

static void plain_dims(hy_dim *out, uint32_t rank, const uint32_t *dim) {
    for (uint32_t i = 0; i < HY_MAX_RANK; i++)
        out[i] = HY_DIM(i < rank ? dim[i] : 0);
}

/* Copies the parts into the graph's arena; NULL after a failure. */
static hy_weight_part *copy_parts(hy_graph *graph, uint32_t parts, const hy_weight_part *part,
                                  uint64_t *rows) {
    hy_weight_part *copy = hy_arena_alloc(&graph->arena, parts, sizeof *copy);
    *rows = 0;
    for (uint32_t i = 0; copy && i < parts; i++) {
        copy[i].rows = part[i].rows;
        copy[i].name = hy_arena_text(&graph->arena, part[i].name, strlen(part[i].name));
        if (!copy[i].name) copy = NULL;
        *rows += part[i].rows;
    }
    if (!copy) hy_graph_fail(graph, HY_E_MEMORY, "out of memory for parts of a weight");
    return copy;
}

/* A value's name from a file tensor's: other letters become _. */
static void name_from(const char *tensor, char out[128]) {
    size_t n = 0;
    for (; tensor[n] && n < 120; n++) {
        char one[2] = {tensor[n], 0};
        out[n] = hy_graph_name_valid(one) ? tensor[n] : '_';
    }
    if (!n) out[n++] = '_';
    out[n] = 0;
}

uint32_t hy_graph_weight_named(hy_graph *graph, const char *name, hy_dtype dtype, uint32_t rank,
                               const uint32_t *dim, uint8_t axis, uint32_t parts,
                               const hy_weight_part *part) {
    hy_dim dims[HY_MAX_RANK];
    uint64_t rows;
    char made[128];
    if (graph->status != HY_OK) return HY_NO_ID;
    if (rank < 1 || rank > HY_MAX_RANK || !parts)
        return hy_graph_fail(graph, HY_E_ARGUMENT, "a weight of rank %u and %u parts", rank, parts);
    name_from(part[0].name, made);
    plain_dims(dims, rank, dim);
    hy_value proto = proto_of(HY_VALUE_WEIGHT, name ? name : made, dtype, rank, dims);
    if (dtype == HY_DTYPE_I32 || dtype == HY_DTYPE_A8)
        return hy_graph_fail(graph, HY_E_ARGUMENT, "weight %%%s cannot be %s", proto.name,
                             hy_dtype_get(dtype)->name);
    if (axis > 1 || (axis == 1 && rank != 3))
        return hy_graph_fail(graph, HY_E_ARGUMENT, "weight %%%s joins parts on axis %u of %u",
                             proto.name, axis, rank);
    proto.part = copy_parts(graph, parts, part, &rows);
    if (!proto.part) return HY_NO_ID;
    if (parts > 1 && rows != dim[axis])
        return hy_graph_fail(graph, HY_E_ARGUMENT,
                             "weight %%%s: parts have %llu rows, dim %u is %u", proto.name,
                             (unsigned long long)rows, axis, dim[axis]);
    if (parts == 1) ((hy_weight_part *)proto.part)->rows = dim[axis = 0];
    proto.parts = parts;
    proto.axis = axis;
    return leaf_add(graph, &proto, name != NULL);
}

uint32_t hy_graph_weight(hy_graph *graph, hy_dtype dtype, uint32_t rank, const uint32_t *dim,
                         uint8_t axis, uint32_t parts, const hy_weight_part *part) {
    return hy_graph_weight_named(graph, NULL, dtype, rank, dim, axis, parts, part);
}

uint32_t hy_graph_literal(hy_graph *graph, const char *name, hy_dtype dtype, uint32_t rank,
                          const uint32_t *dim, const void *data) {
    hy_dim dims[HY_MAX_RANK];
    if (graph->status != HY_OK) return HY_NO_ID;
    plain_dims(dims, HY_MIN(rank, HY_MAX_RANK), dim);
    hy_value proto = proto_of(HY_VALUE_LITERAL, name, dtype, rank, dims);
    hy_status status = hy_dims_check(dtype, rank, dims);
    if (status != HY_OK) return hy_graph_fail(graph, status, "literal: %.160s", hy_error_text());
    if (hy_dtype_get(dtype)->quantized)
        return hy_graph_fail(graph, HY_E_ARGUMENT, "a literal of %s", hy_dtype_get(dtype)->name);
    uint64_t bytes = hy_value_elements(&proto, 0) * hy_dtype_get(dtype)->bytes;
    void *copy = hy_arena_alloc(&graph->arena, bytes, 1);
    if (!copy) return hy_graph_fail(graph, HY_E_MEMORY, "out of memory for a literal");
    memcpy(copy, data, bytes);
    proto.data = copy;
    return hy_graph_value_add(graph, &proto, false);
}

/* ---- nodes -------------------------------------------------------------------------------------- */

hy_node_desc hy_node_desc_of(hy_op_kind kind) {
    hy_node_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.kind = kind;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        desc.operand[i] = HY_NO_ID;
    return desc;
}

/* Inputs present, in range, and state where state is meant. */
static bool operands_good(hy_graph *graph, const hy_node_desc *desc) {
    const hy_op_info *info = hy_op_get(desc->kind);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        uint32_t role = i < info->operands ? info->operand[i].role : (uint32_t)HY_ROLE_OPT;
        uint32_t id = desc->operand[i];
        if (id == HY_NO_ID && (role & (HY_ROLE_OUT | HY_ROLE_OPT))) continue;
        if (i >= info->operands || (role & HY_ROLE_OUT) || id >= graph->values) {
            hy_graph_fail(graph, HY_E_ARGUMENT, "%s: operand %s is not a value of the graph",
                          info->name, i < info->operands ? info->operand[i].name : "past the last");
            return false;
        }
        const hy_value *value = &graph->value[id];
        if ((role & HY_ROLE_STATE) && value->kind != HY_VALUE_STATE && value->state == HY_NO_ID) {
            hy_graph_fail(graph, HY_E_ARGUMENT, "%s: %s is %%%.80s, which is no state", info->name,
                          info->operand[i].name, value->name);
            return false;
        }
    }
    return true;
}

static uint32_t result_add(hy_graph *graph, uint32_t node, uint32_t operand, hy_value *type,
                           const char *name) {
    type->name = name;
    type->node = node;
    type->output = operand;
    return hy_graph_value_add(graph, type, name != NULL);
}

/* The next version of a state: its name is the old one's with ' after it. */
static uint32_t version_add(hy_graph *graph, uint32_t node, uint32_t operand, uint32_t old,
                            const char *name) {
    const hy_value *from = &graph->value[old];
    hy_value type = hy_value_of(HY_VALUE_NODE, (hy_dtype)from->dtype, from->rank, from->dim);
    char made[160];
    size_t length = HY_MIN(strlen(from->name), sizeof made - 2);
    memcpy(made, from->name, length);
    memcpy(made + length, "'", 2);
    type.state = from->state == HY_NO_ID ? old : from->state;
    type.name = name ? name : made;
    type.node = node;
    type.output = operand;
    return hy_graph_value_add(graph, &type, name != NULL);
}

uint32_t hy_graph_add_named(hy_graph *graph, const hy_node_desc *desc, const char *const *name) {
    hy_value type[HY_MAX_OPERANDS];
    if (graph->status != HY_OK) return HY_NO_ID;
    if (desc->kind >= HY_OP_KIND_COUNT)
        return hy_graph_fail(graph, HY_E_ARGUMENT, "op kind %u of %d", desc->kind,
                             HY_OP_KIND_COUNT);
    if (!operands_good(graph, desc)) return HY_NO_ID;
    uint32_t id = hy_graph_node_new(graph, desc->kind);
    if (id == HY_NO_ID) return id;
    memcpy(graph->node[id].word, desc->word, sizeof desc->word);
    memcpy(graph->node[id].operand, desc->operand, sizeof desc->operand);
    hy_status status = hy_graph_infer(graph, &graph->node[id], desc->out_dtype, type);
    if (status != HY_OK) {
        graph->nodes--;
        return hy_graph_fail(graph, status, "node %u: %.200s", id, hy_error_text());
    }
    for (uint32_t i = 0; i < hy_node_operands(desc->kind); i++) {
        uint32_t role = hy_node_role(desc->kind, i);
        const char *wanted = name ? name[i] : NULL;
        if (role & HY_ROLE_STATE)
            graph->node[id].written[i] = version_add(graph, id, i, desc->operand[i], wanted);
        else if ((role & HY_ROLE_OUT) && type[i].dtype)
            graph->node[id].operand[i] = result_add(graph, id, i, &type[i], wanted);
    }
    return graph->status == HY_OK ? id : HY_NO_ID;
}

uint32_t hy_graph_add(hy_graph *graph, const hy_node_desc *desc) {
    return hy_graph_add_named(graph, desc, NULL);
}

uint32_t hy_graph_result(const hy_graph *graph, uint32_t node, uint32_t operand) {
    if (node >= graph->nodes || operand >= HY_MAX_OPERANDS) return HY_NO_ID;
    const hy_node *n = &graph->node[node];
    if (operand >= hy_node_operands(n->kind)) return HY_NO_ID;
    uint32_t role = hy_node_role(n->kind, operand);
    if (role & HY_ROLE_STATE) return n->written[operand];
    return role & HY_ROLE_OUT ? n->operand[operand] : HY_NO_ID;
}

/* ---- reshape and slice -------------------------------------------------------------------------- */

static uint32_t view_add(hy_graph *graph, uint32_t kind, const char *name, uint32_t x,
                         uint32_t rank, const hy_dim *dim, const uint32_t word[2]) {
    uint32_t id = hy_graph_node_new(graph, kind);
    if (id == HY_NO_ID) return id;
    hy_value type = hy_value_of(HY_VALUE_NODE, (hy_dtype)graph->value[x].dtype, rank, dim);
    graph->node[id].operand[0] = x;
    graph->node[id].word[0] = word[0];
    graph->node[id].word[1] = word[1];
    uint32_t out = result_add(graph, id, 1, &type, name);
    graph->node[id].operand[1] = out;
    return out;
}

uint32_t hy_graph_reshape_named(hy_graph *graph, const char *name, uint32_t value, uint32_t rank,
                                const hy_dim *dim) {
    if (graph->status != HY_OK) return HY_NO_ID;
    if (value >= graph->values)
        return hy_graph_fail(graph, HY_E_ARGUMENT, "reshape of no value of the graph");
    hy_status status = hy_reshape_check(&graph->value[value], rank, dim);
    if (status != HY_OK) return hy_graph_fail(graph, status, "%.200s", hy_error_text());
    return view_add(graph, HY_NODE_RESHAPE, name, value, rank, dim, (uint32_t[2]){0, 0});
}

uint32_t hy_graph_slice_named(hy_graph *graph, const char *name, uint32_t value, uint32_t axis,
                              uint32_t begin, uint32_t extent) {
    hy_dim dim[HY_MAX_RANK];
    if (graph->status != HY_OK) return HY_NO_ID;
    if (value >= graph->values)
        return hy_graph_fail(graph, HY_E_ARGUMENT, "slice of no value of the graph");
    const hy_value *x = &graph->value[value];
    hy_status status = hy_slice_check(x, axis, begin, extent);
    if (status != HY_OK) return hy_graph_fail(graph, status, "%.200s", hy_error_text());
    memcpy(dim, x->dim, sizeof dim);
    dim[axis].factor = extent;
    return view_add(graph, HY_NODE_SLICE, name, value, x->rank, dim, (uint32_t[2]){axis, begin});
}

uint32_t hy_graph_reshape(hy_graph *graph, uint32_t value, uint32_t rank, const hy_dim *dim) {
    return hy_graph_reshape_named(graph, NULL, value, rank, dim);
}

uint32_t hy_graph_slice(hy_graph *graph, uint32_t value, uint32_t axis, uint32_t begin,
                        uint32_t extent) {
    return hy_graph_slice_named(graph, NULL, value, axis, begin, extent);
}

void hy_graph_output_add(hy_graph *graph, const char *name, uint32_t value) {
    if (graph->status != HY_OK) return;
    if (value >= graph->values) {
        hy_graph_fail(graph, HY_E_ARGUMENT, "output \"%.80s\" is not a value of the graph", name);
        return;
    }
    if (hy_grow(&graph->output, graph->outputs, &graph->output_room, sizeof *graph->output) !=
        HY_OK) {
        hy_graph_fail(graph, HY_E_MEMORY, "out of memory for outputs");
        return;
    }
    const char *copy = hy_arena_text(&graph->arena, name, strlen(name));
    if (!copy) {
        hy_graph_fail(graph, HY_E_MEMORY, "out of memory for outputs");
        return;
    }
    graph->output[graph->outputs++] = (hy_graph_output){copy, value};
}

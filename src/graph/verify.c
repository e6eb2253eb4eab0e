/* Every rule of a graph, in one pass over values and two over nodes. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "src/graph/edit.h"

typedef struct verifier {
    const hy_graph *graph;
    uint32_t *writer; /* [values] node that overwrites a state version, or HY_NO_ID */
} verifier;

static const char *operand_name(uint32_t kind, uint32_t operand) {
    if (kind < HY_OP_KIND_COUNT) return hy_op_get((hy_op_kind)kind)->operand[operand].name;
    return operand == 0 ? "x" : "out";
}

#define BAD(...) return hy_fail(HY_E_FORMAT, __VA_ARGS__)

/* ---- values ------------------------------------------------------------------------------------- */

static hy_status check_weight(const hy_value *value) {
    uint64_t rows = 0;
    if (!value->parts || !value->part) BAD("weight %%%s has no parts", value->name);
    if (value->axis > 1 || (value->axis == 1 && value->rank != 3))
        BAD("weight %%%s joins parts on axis %u of %u", value->name, value->axis, value->rank);
    for (uint32_t i = 0; i < value->parts; i++)
        rows += value->part[i].rows;
    if (rows != value->dim[value->axis].factor)
        BAD("weight %%%s: parts have %llu rows, dim %u is %u", value->name,
            (unsigned long long)rows, value->axis, value->dim[value->axis].factor);
    for (uint32_t i = 0; i < value->rank; i++)
        if (value->dim[i].symbol) BAD("weight %%%s has a symbol in dim %u", value->name, i);
    return HY_OK;
}

static hy_status check_window(const hy_graph *graph, const hy_value *value) {
    if (value->base >= graph->values) BAD("window %%%s: base is no value", value->name);
    const hy_value *base = &graph->value[value->base];
    hy_window window = hy_window_of(value), whole = hy_window_of(base);
    uint64_t last = value->offset, row = hy_value_elements(base, base->dim[0].symbol ? 1 : 0);
    if (hy_value_is_window(base))
        BAD("window %%%s: base %%%s is a window itself", value->name, base->name);
    if (value->kind != HY_VALUE_NODE || value->node != HY_NO_ID || value->state != HY_NO_ID)
        BAD("window %%%s has a producer", value->name);
    if (base->state != HY_NO_ID || (base->kind != HY_VALUE_NODE && base->kind != HY_VALUE_INPUT))
        BAD("window %%%s lies in state or constant %%%s", value->name, base->name);
    if (base->dtype != value->dtype) BAD("window %%%s: dtype differs from base", value->name);
    for (uint32_t i = 0; i < value->rank; i++) {
        uint64_t step;
        if (i == 0 && value->dim[0].symbol) {
            if (!hy_dim_equal(value->dim[0], base->dim[0]) || window.stride[0] != whole.stride[0])
                BAD("window %%%s: rows differ from those of base %%%s", value->name, base->name);
            continue;
        }
        if (value->dim[i].symbol) BAD("window %%%s has a symbol in dim %u", value->name, i);
        if (hy_mul_overflow(value->dim[i].factor - 1, value->stride[i], &step) ||
            hy_add_overflow(last, step, &last))
            BAD("window %%%s is not inside base %%%s", value->name, base->name);
    }
    if (value->stride[value->rank - 1] != 1 && value->rank > 1)
        BAD("window %%%s: innermost stride is not 1", value->name);
    for (uint32_t i = 1; i < base->rank; i++)
        if (base->dim[i].symbol) BAD("window %%%s: base has a symbol in dim %u", value->name, i);
    if (last >= row) BAD("window %%%s is not inside base %%%s", value->name, base->name);
    return HY_OK;
}

static hy_status check_value(const hy_graph *graph, uint32_t id) {
    const hy_value *value = &graph->value[id];
    if (!value->name || !hy_graph_name_valid(value->name)) BAD("value %u has a bad name", id);
    if (hy_graph_find(graph, value->name) != id) BAD("two values have the name %%%s", value->name);
    if (value->kind > HY_VALUE_NODE) BAD("value %%%s has an unknown kind", value->name);
    if (hy_dims_check((hy_dtype)value->dtype, value->rank, value->dim) != HY_OK)
        return hy_fail_in(HY_E_FORMAT, "value %%%s", value->name);
    if (value->kind == HY_VALUE_WEIGHT) HY_TRY(check_weight(value));
    if (value->kind == HY_VALUE_LITERAL && !value->data) BAD("literal %%%s is empty", value->name);
    if (hy_value_is_window(value)) HY_TRY(check_window(graph, value));
    if (value->kind != HY_VALUE_NODE && (value->node != HY_NO_ID || value->state != HY_NO_ID))
        BAD("value %%%s is not a node's and has a producer", value->name);
    return HY_OK;
}

/* ---- nodes -------------------------------------------------------------------------------------- */

/* The value can be read by node `at`: a leaf, or made before. */
static hy_status check_read(const verifier *v, uint32_t at, uint32_t operand, uint32_t id) {
    const hy_graph *graph = v->graph;
    const hy_node *node = &graph->node[at];
    const char *kind = hy_node_kind_name(node->kind), *name = operand_name(node->kind, operand);
    if (id >= graph->values) BAD("node %u %s: %s is no value", at, kind, name);
    const hy_value *value = &graph->value[hy_graph_root(graph, id)];
    if (value->kind == HY_VALUE_NODE) {
        if (value->node >= graph->nodes || graph->node[value->node].dead)
            BAD("node %u %s: %s reads %%%s, which no node makes", at, kind, name, value->name);
        if (value->node >= at)
            BAD("node %u %s: %s reads %%%s before node %u makes it", at, kind, name, value->name,
                value->node);
    }
    if ((value->kind == HY_VALUE_STATE || value->state != HY_NO_ID) && v->writer[id] < at)
        BAD("node %u %s: %s reads state version %%%s, which node %u has overwritten", at, kind,
            name, value->name, v->writer[id]);
    return HY_OK;
}

static hy_status check_state(const verifier *v, uint32_t at, uint32_t operand) {
    const hy_graph *graph = v->graph;
    const hy_node *node = &graph->node[at];
    const char *kind = hy_node_kind_name(node->kind), *name = operand_name(node->kind, operand);
    uint32_t old = node->operand[operand], now = node->written[operand];
    const hy_value *from = &graph->value[old];
    uint32_t state = from->kind == HY_VALUE_STATE ? old : from->state;
    if (state == HY_NO_ID) BAD("node %u %s: %s is %%%s, no state", at, kind, name, from->name);
    if (now >= graph->values) BAD("node %u %s: %s writes no value", at, kind, name);
    const hy_value *to = &graph->value[now];
    if (to->kind != HY_VALUE_NODE || to->node != at || to->output != operand || to->state != state)
        BAD("node %u %s: %%%s is not the version that %s writes", at, kind, to->name, name);
    if (!hy_dims_equal(from, to) || from->dtype != to->dtype || to->base != HY_NO_ID)
        BAD("node %u %s: versions of %s differ in shape", at, kind, name);
    if (v->writer[old] != HY_NO_ID)
        BAD("node %u %s: %s is overwritten by node %u already", at, kind, from->name,
            v->writer[old]);
    v->writer[old] = at;
    return HY_OK;
}

static hy_status check_made(const verifier *v, uint32_t at, uint32_t operand, uint32_t id) {
    const hy_graph *graph = v->graph;
    const hy_node *node = &graph->node[at];
    const char *kind = hy_node_kind_name(node->kind), *name = operand_name(node->kind, operand);
    if (id >= graph->values) BAD("node %u %s: %s is no value", at, kind, name);
    const hy_value *value = &graph->value[id];
    if (value->kind != HY_VALUE_NODE || value->node != at || value->output != operand ||
        value->base != HY_NO_ID || value->state != HY_NO_ID)
        BAD("node %u %s: %%%s is not made by its operand %s", at, kind, value->name, name);
    return HY_OK;
}

static hy_status check_operands(const verifier *v, uint32_t at) {
    const hy_node *node = &v->graph->node[at];
    uint32_t count = hy_node_operands(node->kind);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        uint32_t id = node->operand[i];
        if (i >= count) {
            if (id != HY_NO_ID || node->written[i] != HY_NO_ID)
                BAD("node %u %s has an operand past its last", at, hy_node_kind_name(node->kind));
            continue;
        }
        uint32_t role = hy_node_role(node->kind, i);
        if (!(role & HY_ROLE_STATE) && node->written[i] != HY_NO_ID)
            BAD("node %u %s writes %s", at, hy_node_kind_name(node->kind),
                operand_name(node->kind, i));
        if (id == HY_NO_ID) {
            if (role & HY_ROLE_OPT) continue;
            BAD("node %u %s: %s is missing", at, hy_node_kind_name(node->kind),
                operand_name(node->kind, i));
        }
        if (role & HY_ROLE_OUT)
            HY_TRY(check_made(v, at, i, id));
        else
            HY_TRY(check_read(v, at, i, id));
    }
    for (uint32_t i = 0; i < count; i++) /* after the reads: a node may read what it overwrites */
        if (hy_node_role(node->kind, i) & HY_ROLE_STATE) HY_TRY(check_state(v, at, i));
    return HY_OK;
}

static hy_status check_view_node(const hy_graph *graph, const hy_node *node) {
    const hy_value *x = &graph->value[node->operand[0]], *out = &graph->value[node->operand[1]];
    if (out->dtype != x->dtype)
        return hy_fail(HY_E_FORMAT, "dtype of %%%s differs from %%%s", out->name, x->name);
    if (node->kind == HY_NODE_RESHAPE) return hy_reshape_check(x, out->rank, out->dim);
    uint32_t axis = node->word[0];
    if (axis >= x->rank || out->rank != x->rank)
        return hy_fail(HY_E_FORMAT, "slice of %%%s on axis %u of %u", x->name, axis, x->rank);
    HY_TRY(hy_slice_check(x, axis, node->word[1], out->dim[axis].factor));
    for (uint32_t i = 0; i < x->rank; i++)
        if (i != axis && !hy_dim_equal(x->dim[i], out->dim[i]))
            return hy_fail(HY_E_FORMAT, "slice of %%%s changes dim %u", x->name, i);
    return HY_OK;
}

static hy_status check_node(const verifier *v, uint32_t at) {
    const hy_graph *graph = v->graph;
    const hy_node *node = &graph->node[at];
    hy_op op;
    if (node->kind >= HY_NODE_KIND_COUNT) BAD("node %u has unknown kind %u", at, node->kind);
    HY_TRY(check_operands(v, at));
    if (node->kind >= HY_OP_KIND_COUNT) {
        if (check_view_node(graph, node) != HY_OK) return hy_fail_in(HY_E_FORMAT, "node %u", at);
        return HY_OK;
    }
    for (int k = 0; k < 2; k++) {
        hy_graph_op(graph, at, &hy_probe_bounds[k], &op);
        if (hy_op_check(&op) != HY_OK) return hy_fail_in(HY_E_FORMAT, "node %u", at);
    }
    return HY_OK;
}

static hy_status check_outputs(const verifier *v) {
    const hy_graph *graph = v->graph;
    for (size_t i = 0; i < graph->outputs; i++) {
        const hy_graph_output *output = &graph->output[i];
        if (output->value >= graph->values) BAD("output \"%s\" is no value", output->name);
        const hy_value *value = &graph->value[hy_graph_root(graph, output->value)];
        if (value->kind == HY_VALUE_NODE &&
            (value->node >= graph->nodes || graph->node[value->node].dead))
            BAD("output \"%s\": no node makes %%%s", output->name, value->name);
        if (v->writer[output->value] != HY_NO_ID)
            BAD("output \"%s\" is state version %%%s, which node %u overwrites", output->name,
                value->name, v->writer[output->value]);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(graph->output[k].name, output->name))
                BAD("two outputs have the name \"%s\"", output->name);
    }
    return HY_OK;
}

hy_status hy_graph_verify(const hy_graph *graph) {
    verifier v = {graph, NULL};
    HY_TRY(hy_graph_status(graph));
    v.writer = malloc((graph->values + 1) * sizeof *v.writer);
    if (!v.writer) return hy_fail(HY_E_MEMORY, "out of memory to verify graph %s", graph->name);
    memset(v.writer, 0xff, (graph->values + 1) * sizeof *v.writer);
    hy_status status = HY_OK;
    for (uint32_t i = 0; status == HY_OK && i < graph->values; i++)
        status = check_value(graph, i);
    for (uint32_t i = 0; status == HY_OK && i < graph->nodes; i++)
        if (!graph->node[i].dead) status = check_node(&v, i);
    if (status == HY_OK) status = check_outputs(&v);
    free(v.writer);
    return status == HY_OK ? HY_OK : hy_fail_in(status, "graph %s", graph->name);
}

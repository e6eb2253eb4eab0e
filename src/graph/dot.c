/* Graphviz: one box per live node, one edge per operand, ellipses for inputs, states and outputs;
 * weights and literals are lines inside their user's box. */
#include <string.h>

#include "src/graph/edit.h"

/* Inside a quoted label. */
static void dot_text(hy_text *out, const char *text) {
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            hy_text_add(out, "\\%c", *text);
        else
            hy_text_add(out, "%c", (unsigned char)*text < 32 ? ' ' : *text);
}

static void dot_type(const hy_value *value, hy_text *out) {
    static const char symbols[] = " TSRPL";
    hy_text_add(out, "%s[", hy_dtype_get((hy_dtype)value->dtype)->name);
    for (uint32_t i = 0; i < value->rank; i++) {
        if (i) hy_text_add(out, ",");
        if (!value->dim[i].symbol || value->dim[i].factor != 1)
            hy_text_add(out, "%u", value->dim[i].factor);
        if (value->dim[i].symbol) hy_text_add(out, "%c", symbols[value->dim[i].symbol]);
    }
    hy_text_add(out, "]");
}

static bool is_constant(const hy_value *value) {
    return value->kind == HY_VALUE_WEIGHT || value->kind == HY_VALUE_LITERAL;
}

static void dot_constants(const hy_graph *graph, const hy_node *node, hy_text *out) {
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++) {
        if (node->operand[i] == HY_NO_ID) continue;
        const hy_value *value = &graph->value[node->operand[i]];
        if (!is_constant(value)) continue;
        hy_text_add(out, "\\n%s ", value->parts > 1 ? "joined" : "");
        dot_text(out, value->parts ? value->part[0].name : value->name);
        hy_text_add(out, " ");
        dot_type(value, out);
    }
}

static void dot_node(const hy_graph *graph, uint32_t id, hy_text *out) {
    const hy_node *node = &graph->node[id];
    hy_text_add(out, "  n%u [shape=box, label=\"%s", id, hy_node_kind_name(node->kind));
    dot_constants(graph, node, out);
    if (node->layer != HY_NO_ID) hy_text_add(out, "\\nlayer %u", node->layer);
    if (node->device) hy_text_add(out, "\\ndevice %u", node->device);
    hy_text_add(out, "\"];\n");
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++) {
        if ((hy_node_role(node->kind, i) & HY_ROLE_OUT) || node->operand[i] == HY_NO_ID) continue;
        const hy_value *value = &graph->value[node->operand[i]];
        uint32_t root = hy_graph_root(graph, node->operand[i]);
        if (is_constant(value)) continue;
        if (graph->value[root].node == HY_NO_ID)
            hy_text_add(out, "  v%u -> n%u", root, id);
        else
            hy_text_add(out, "  n%u -> n%u", graph->value[root].node, id);
        hy_text_add(out, " [label=\"");
        dot_type(value, out);
        hy_text_add(out, "\"];\n");
    }
}

void hy_graph_dot(const hy_graph *graph, hy_text *out) {
    hy_text_add(out, "digraph \"");
    dot_text(out, graph->name);
    hy_text_add(out, "\" {\n  node [fontname=\"monospace\"];\n");
    for (uint32_t i = 0; i < graph->values; i++) {
        const hy_value *value = &graph->value[i];
        if (value->kind != HY_VALUE_INPUT && value->kind != HY_VALUE_STATE) continue;
        hy_text_add(out, "  v%u [label=\"%s ", i,
                    value->kind == HY_VALUE_INPUT ? "input" : "state");
        dot_text(out, value->name);
        hy_text_add(out, "\\n");
        dot_type(value, out);
        hy_text_add(out, "\"];\n");
    }
    for (uint32_t i = 0; i < graph->nodes; i++)
        if (!graph->node[i].dead) dot_node(graph, i, out);
    for (size_t i = 0; i < graph->outputs; i++) {
        uint32_t root = hy_graph_root(graph, graph->output[i].value);
        bool leaf = graph->value[root].node == HY_NO_ID;
        hy_text_add(out, "  o%zu [label=\"output ", i);
        dot_text(out, graph->output[i].name);
        hy_text_add(out, "\"];\n  %c%u -> o%zu;\n", leaf ? 'v' : 'n',
                    leaf ? root : graph->value[root].node, i);
    }
    hy_text_add(out, "}\n");
}

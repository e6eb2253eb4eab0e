/* The text form. Order: inputs, states, then the nodes, each after the weights, literals and windows
 * that nothing before it used; then the outputs. Weights and literals that nothing uses do not appear. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/graph/edit.h"

typedef struct printer {
    const hy_graph *graph;
    hy_text *out;
    bool *done; /* [values] */
} printer;

static void print_dims(const printer *p, uint32_t rank, const hy_dim *dim) {
    static const char symbols[] = " TSRPL";
    hy_text_add(p->out, "[");
    for (uint32_t i = 0; i < rank; i++) {
        if (i) hy_text_add(p->out, ",");
        if (!dim[i].symbol)
            hy_text_add(p->out, "%u", dim[i].factor);
        else if (dim[i].factor == 1)
            hy_text_add(p->out, "%c", symbols[dim[i].symbol]);
        else
            hy_text_add(p->out, "%u%c", dim[i].factor, symbols[dim[i].symbol]);
    }
    hy_text_add(p->out, "]");
}

static void print_type(const printer *p, const hy_value *value) {
    hy_text_add(p->out, "%s ", hy_dtype_get((hy_dtype)value->dtype)->name);
    print_dims(p, value->rank, value->dim);
}

/* In double quotes; \" \\ and \xNN for bytes outside printable ASCII. */
static void print_string(hy_text *out, const char *text) {
    hy_text_add(out, "\"");
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            hy_text_add(out, "\\%c", *c);
        else if (*c < 32 || *c > 126)
            hy_text_add(out, "\\x%02x", *c);
        else
            hy_text_add(out, "%c", *c);
    }
    hy_text_add(out, "\"");
}

static void print_words(const printer *p, const hy_value *value) {
    uint64_t count = hy_value_elements(value, 0);
    uint32_t bytes = hy_dtype_get((hy_dtype)value->dtype)->bytes;
    hy_text_add(p->out, " {");
    for (uint64_t i = 0; i < count; i++) {
        uint32_t word = 0;
        uint16_t half;
        if (bytes == 2) {
            memcpy(&half, (const char *)value->data + 2 * i, 2);
            word = half;
        } else {
            memcpy(&word, (const char *)value->data + 4 * i, 4);
        }
        hy_text_add(p->out, " 0x%x", word);
    }
    hy_text_add(p->out, " }");
}

static void print_parts(const printer *p, const hy_value *value) {
    if (value->parts > 1) hy_text_add(p->out, " axis=%u", value->axis);
    for (uint32_t i = 0; i < value->parts; i++) {
        hy_text_add(p->out, " ");
        print_string(p->out, value->part[i].name);
        if (value->parts > 1) hy_text_add(p->out, ":%u", value->part[i].rows);
    }
}

static void print_leaf(printer *p, uint32_t id) {
    static const char *const kind[] = {"input", "weight", "literal", "state"};
    const hy_value *value = &p->graph->value[id];
    p->done[id] = true;
    hy_text_add(p->out, "  %%%s = %s ", value->name, kind[value->kind]);
    print_type(p, value);
    if (value->kind == HY_VALUE_WEIGHT) print_parts(p, value);
    if (value->kind == HY_VALUE_LITERAL) print_words(p, value);
    hy_text_add(p->out, "\n");
}

static void print_window(printer *p, uint32_t id) {
    const hy_value *value = &p->graph->value[id];
    p->done[id] = true;
    hy_text_add(p->out, "  %%%s = window %%%s offset=%llu stride=[", value->name,
                p->graph->value[value->base].name, (unsigned long long)value->offset);
    for (uint32_t i = 0; i < value->rank; i++)
        hy_text_add(p->out, "%s%llu", i ? "," : "", (unsigned long long)value->stride[i]);
    hy_text_add(p->out, "] : ");
    print_type(p, value);
    hy_text_add(p->out, "\n");
}

/* What must stand before a use of the value. */
static void print_needed(printer *p, uint32_t id) {
    const hy_value *value = &p->graph->value[id];
    if (p->done[id]) return;
    if (hy_value_is_window(value)) {
        print_needed(p, value->base);
        print_window(p, id);
    } else if (value->kind != HY_VALUE_NODE) {
        print_leaf(p, id);
    }
}

/* Decimal with all digits that matter; the locale's comma becomes a point. */
static void print_float(hy_text *out, uint32_t word) {
    char text[32];
    float real;
    memcpy(&real, &word, sizeof real);
    if ((word & 0x7f800000u) == 0x7f800000u) {
        hy_text_add(out, "0x%x", word);
        return;
    }
    snprintf(text, sizeof text, "%.9g", (double)real);
    char *comma = strchr(text, ',');
    if (comma) *comma = '.';
    hy_text_add(out, "%s", text);
}

static void print_attrs(const printer *p, const hy_node *node) {
    const hy_op_info *info = hy_op_get((hy_op_kind)node->kind);
    const char *before = " {";
    for (uint32_t i = 0; i < info->attrs; i++) {
        int32_t number;
        if (!node->word[i]) continue;
        memcpy(&number, &node->word[i], sizeof number);
        const char *name = hy_attr_value_name((hy_op_kind)node->kind, i, number);
        hy_text_add(p->out, "%s%s=", before, info->attr[i].name);
        before = " ";
        if (info->attr[i].is_float)
            print_float(p->out, node->word[i]);
        else if (name)
            hy_text_add(p->out, "%s", name);
        else
            hy_text_add(p->out, "%d", number);
    }
    if (*before && before[1] == 0) hy_text_add(p->out, "}");
}

static void print_results(const printer *p, const hy_node *node) {
    const char *before = "  ";
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++) {
        uint32_t role = hy_node_role(node->kind, i);
        uint32_t id = role & HY_ROLE_STATE ? node->written[i] : node->operand[i];
        if (!(role & (HY_ROLE_OUT | HY_ROLE_STATE)) || id == HY_NO_ID) continue;
        p->done[id] = true;
        hy_text_add(p->out, "%s%%%s", before, p->graph->value[id].name);
        before = " ";
    }
}

static void print_result_types(const printer *p, const hy_node *node) {
    const char *before = " : ";
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++) {
        uint32_t role = hy_node_role(node->kind, i), id = node->operand[i];
        if (!(role & (HY_ROLE_OUT | HY_ROLE_STATE)) || id == HY_NO_ID) continue;
        hy_text_add(p->out, "%s", before);
        before = ", ";
        if (role & HY_ROLE_STATE) {
            uint32_t state = p->graph->value[node->written[i]].state;
            hy_text_add(p->out, "state %%%s", p->graph->value[state].name);
            continue;
        }
        if (role & HY_ROLE_OPT)
            hy_text_add(p->out, "%s=", hy_op_get((hy_op_kind)node->kind)->operand[i].name);
        print_type(p, &p->graph->value[id]);
    }
}

static void print_node(printer *p, const hy_node *node) {
    bool op = node->kind < HY_OP_KIND_COUNT;
    uint32_t operands = hy_node_operands(node->kind);
    for (uint32_t i = 0; i < operands; i++)
        if (!(hy_node_role(node->kind, i) & HY_ROLE_OUT) && node->operand[i] != HY_NO_ID)
            print_needed(p, node->operand[i]);
    print_results(p, node);
    hy_text_add(p->out, " = %s", hy_node_kind_name(node->kind));
    for (uint32_t i = 0; i < operands; i++) {
        uint32_t id = node->operand[i];
        if ((hy_node_role(node->kind, i) & HY_ROLE_OUT) || id == HY_NO_ID) continue;
        if (op) hy_text_add(p->out, " %s=", hy_op_get((hy_op_kind)node->kind)->operand[i].name);
        hy_text_add(p->out, "%s%%%s", op ? "" : " ", p->graph->value[id].name);
    }
    if (op) print_attrs(p, node);
    if (node->kind == HY_NODE_SLICE)
        hy_text_add(p->out, " axis=%u begin=%u", node->word[0], node->word[1]);
    print_result_types(p, node);
    if (node->layer != HY_NO_ID) hy_text_add(p->out, " @L%u", node->layer);
    if (node->device) hy_text_add(p->out, " @D%u", node->device);
    hy_text_add(p->out, "\n");
}

void hy_graph_print(const hy_graph *graph, hy_text *out) {
    printer p = {graph, out, calloc(graph->values + 1, sizeof(bool))};
    if (!p.done) {
        out->failed = true;
        return;
    }
    hy_text_add(out, "graph ");
    print_string(out, graph->name);
    hy_text_add(out, " {\n");
    for (uint32_t i = 0; i < graph->values; i++)
        if (graph->value[i].kind == HY_VALUE_INPUT) print_leaf(&p, i);
    for (uint32_t i = 0; i < graph->values; i++)
        if (graph->value[i].kind == HY_VALUE_STATE) print_leaf(&p, i);
    for (size_t i = 0; i < graph->nodes; i++)
        if (!graph->node[i].dead) print_node(&p, &graph->node[i]);
    for (size_t i = 0; i < graph->outputs; i++) {
        print_needed(&p, graph->output[i].value);
        hy_text_add(out, "  output ");
        print_string(out, graph->output[i].name);
        hy_text_add(out, " %%%s\n", graph->value[graph->output[i].value].name);
    }
    hy_text_add(out, "}\n");
    free(p.done);
}

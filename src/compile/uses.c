#include <stdlib.h>
#include <string.h>

#include "src/compile/inner.h"

static void link_use(hy_uses *uses, uint32_t value, uint32_t use) {
    uses->next[use] = uses->first[value];
    uses->first[value] = use;
}

static void unlink_use(hy_uses *uses, uint32_t value, uint32_t use) {
    uint32_t *at = &uses->first[value];
    while (*at != HY_NO_ID && *at != use)
        at = &uses->next[*at];
    if (*at == use) *at = uses->next[use];
}

static void link_window(hy_uses *uses, uint32_t value) {
    uint32_t base = uses->graph->value[value].base;
    uses->window_next[value] = uses->window[base];
    uses->window[base] = value;
}

/* Links or unlinks every input of a node. */
static void link_node(hy_uses *uses, uint32_t node, bool add) {
    const hy_node *n = &uses->graph->node[node];
    for (uint32_t i = 0; i < hy_node_operands(n->kind); i++) {
        if ((hy_node_role(n->kind, i) & HY_ROLE_OUT) || n->operand[i] == HY_NO_ID) continue;
        if (add)
            link_use(uses, n->operand[i], node * HY_MAX_OPERANDS + i);
        else
            unlink_use(uses, n->operand[i], node * HY_MAX_OPERANDS + i);
    }
}

static bool room_for(hy_uses *uses, size_t values) {
    uint32_t *first = realloc(uses->first, values * sizeof *first);
    if (first) uses->first = first;
    uint32_t *window = realloc(uses->window, values * sizeof *window);
    if (window) uses->window = window;
    uint32_t *window_next = realloc(uses->window_next, values * sizeof *window_next);
    if (window_next) uses->window_next = window_next;
    bool *output = realloc(uses->output, values * sizeof *output);
    if (output) uses->output = output;
    if (!first || !window || !window_next || !output) return false;
    for (size_t i = uses->room; i < values; i++) {
        uses->first[i] = uses->window[i] = uses->window_next[i] = HY_NO_ID;
        uses->output[i] = false;
    }
    uses->room = values;
    return true;
}

hy_status hy_uses_new(hy_graph *graph, hy_uses *out) {
    memset(out, 0, sizeof *out);
    out->graph = graph;
    out->next = malloc((graph->nodes + 1) * HY_MAX_OPERANDS * sizeof *out->next);
    if (!out->next || !room_for(out, graph->values + graph->values / 2 + 16)) {
        hy_uses_free(out);
        return HY_NO_MEMORY();
    }
    for (uint32_t i = 0; i < graph->values; i++)
        if (graph->value[i].base != HY_NO_ID) link_window(out, i);
    for (uint32_t i = (uint32_t)graph->nodes;
         i-- > 0;) /* so that lists begin with the first node */
        if (!graph->node[i].dead) link_node(out, i, true);
    for (size_t i = 0; i < graph->outputs; i++)
        out->output[graph->output[i].value] = true;
    return HY_OK;
}

void hy_uses_free(hy_uses *uses) {
    free(uses->first);
    free(uses->next);
    free(uses->window);
    free(uses->window_next);
    free(uses->output);
    memset(uses, 0, sizeof *uses);
}

uint32_t hy_uses_value_add(hy_uses *uses, const hy_value *proto) {
    if (uses->graph->values >= uses->room && !room_for(uses, uses->room * 2)) return HY_NO_ID;
    return hy_graph_value_add(uses->graph, proto, false);
}

uint32_t hy_uses_count(const hy_uses *uses, uint32_t value) {
    uint32_t first = uses->first[value];
    if (first == HY_NO_ID) return 0;
    return uses->next[first] == HY_NO_ID ? 1 : 2;
}

uint32_t hy_uses_only(const hy_uses *uses, uint32_t value) {
    if (uses->output[value] || uses->window[value] != HY_NO_ID) return HY_NO_ID;
    return hy_uses_count(uses, value) == 1 ? uses->first[value] / HY_MAX_OPERANDS : HY_NO_ID;
}

void hy_uses_kill(hy_uses *uses, uint32_t node) {
    link_node(uses, node, false);
    uses->graph->node[node].dead = true;
}

void hy_uses_become(hy_uses *uses, uint32_t slot, const hy_node *node) {
    hy_graph *graph = uses->graph;
    if (!graph->node[slot].dead) link_node(uses, slot, false);
    graph->node[slot] = *node;
    graph->node[slot].dead = false;
    link_node(uses, slot, true);
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++) {
        uint32_t role = hy_node_role(node->kind, i);
        uint32_t made = role & HY_ROLE_STATE ? node->written[i] : node->operand[i];
        if (!(role & (HY_ROLE_STATE | HY_ROLE_OUT)) || made == HY_NO_ID) continue;
        graph->value[made].node = slot;
        graph->value[made].output = i;
    }
}

void hy_uses_set_window(hy_uses *uses, uint32_t value, uint32_t base, const hy_window *window) {
    hy_value *v = &uses->graph->value[value];
    if (v->base != HY_NO_ID) {
        uint32_t *at = &uses->window[v->base];
        while (*at != HY_NO_ID && *at != value)
            at = &uses->window_next[*at];
        if (*at == value) *at = uses->window_next[value];
    }
    hy_value_set_window(v, base, window);
    link_window(uses, value);
}

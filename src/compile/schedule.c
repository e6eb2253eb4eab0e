/* Pass schedule: waves of independent ops. Every op starts at its earliest wave; walking back from the
 * end, an op moves to its latest wave when that keeps less memory alive. So the number of waves is the
 * length of the longest chain, and what nothing needs yet (a rope table on a second device, say) waits. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "src/compile/inner.h"

typedef struct leveling {
    hy_compiler *c;
    hy_bounds bounds;
    uint32_t *readers; /* [values] forward: latest reader of a state version, + 1 */
    uint32_t *need;    /* [values] backward: earliest reader or overwriter; HY_NO_ID: none */
    uint32_t *over;    /* [values] backward: level of what overwrites a state version */
    uint32_t *last;    /* [values] backward: latest reader so far, + 1 */
} leveling;

static bool is_state(const hy_value *value) {
    return value->kind == HY_VALUE_STATE || value->state != HY_NO_ID;
}

static uint32_t earliest(const leveling *l, const hy_node *node) {
    const hy_compiler *c = l->c;
    uint32_t level = 0;
    for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
        uint32_t role = hy_node_role(node->kind, k), id = node->operand[k];
        if ((role & HY_ROLE_OUT) || id == HY_NO_ID) continue;
        uint32_t root = hy_graph_root(c->graph, id);
        const hy_value *value = &c->graph->value[root];
        if (value->kind == HY_VALUE_NODE)
            level = HY_MAX(level, c->task[c->task_of[value->node]].level + 1);
        if (role & HY_ROLE_STATE) level = HY_MAX(level, l->readers[root]);
    }
    return level;
}

static void forward(leveling *l) {
    hy_compiler *c = l->c;
    for (uint32_t t = 0; t < c->tasks; t++) {
        const hy_node *node = &c->graph->node[c->task[t].node];
        uint32_t level = c->task[t].level = earliest(l, node);
        for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
            uint32_t id = node->operand[k];
            if (id == HY_NO_ID || !is_state(&c->graph->value[id])) continue;
            if (!(hy_node_role(node->kind, k) & HY_ROLE_STATE))
                l->readers[id] = HY_MAX(l->readers[id], level + 1);
        }
    }
}

/* The latest level that its readers and the next versions of its states allow. */
static uint32_t latest(const leveling *l, const hy_node *node) {
    uint32_t need = HY_NO_ID;
    for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
        uint32_t role = hy_node_role(node->kind, k), id = node->operand[k];
        if (id == HY_NO_ID) continue;
        if (role & HY_ROLE_OUT) need = HY_MIN(need, l->need[id]);
        if (role & HY_ROLE_STATE) need = HY_MIN(need, l->need[node->written[k]]);
        if (!(role & (HY_ROLE_OUT | HY_ROLE_STATE)) && is_state(&l->c->graph->value[id]))
            need = HY_MIN(need, l->over[id]);
    }
    return need == HY_NO_ID ? HY_NO_ID : need - 1;
}

static uint64_t bytes_of(const leveling *l, uint32_t id) {
    uint64_t bytes = 0;
    (void)hy_value_bytes(&l->c->graph->value[id], &l->bounds, &bytes);
    return bytes;
}

/* Waiting until `level` keeps its operands alive longer and its results shorter. */
static bool waiting_pays(const leveling *l, const hy_node *node, uint32_t level) {
    const hy_graph *graph = l->c->graph;
    uint64_t kept = 0, saved = 0;
    for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
        uint32_t role = hy_node_role(node->kind, k), id = node->operand[k];
        if (id == HY_NO_ID || (role & HY_ROLE_STATE)) continue;
        uint32_t root = hy_graph_root(graph, id);
        if (role & HY_ROLE_OUT)
            saved += bytes_of(l, root);
        else if (graph->value[root].kind == HY_VALUE_NODE && !is_state(&graph->value[root]) &&
                 l->last[root] < level + 1)
            kept += bytes_of(l, root);
    }
    return kept < saved;
}

static void backward(leveling *l) {
    hy_compiler *c = l->c;
    for (uint32_t t = c->tasks; t-- > 0;) {
        const hy_node *node = &c->graph->node[c->task[t].node];
        uint32_t late = latest(l, node), level = c->task[t].level;
        if (late != HY_NO_ID && late > level && waiting_pays(l, node, late)) level = late;
        c->task[t].level = level;
        for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
            uint32_t id = node->operand[k];
            if ((hy_node_role(node->kind, k) & HY_ROLE_OUT) || id == HY_NO_ID) continue;
            uint32_t root = hy_graph_root(c->graph, id);
            l->last[root] = HY_MAX(l->last[root], level + 1);
            l->need[root] = HY_MIN(l->need[root], level);
            if (hy_node_role(node->kind, k) & HY_ROLE_STATE) l->over[root] = level;
        }
    }
}

/* Tasks by level; transfers first, then by device, then as in the graph. */
static hy_status order_tasks(hy_compiler *c) {
    uint32_t levels = 0, at = 0;
    for (uint32_t t = 0; t < c->tasks; t++)
        levels = HY_MAX(levels, c->task[t].level + 1);
    uint32_t *first = calloc(levels + 2, sizeof *first),
             *list = malloc((c->tasks + 1) * sizeof *list);
    c->order = hy_arena_alloc(&c->scratch, c->tasks, sizeof *c->order);
    c->wave = hy_arena_alloc(&c->scratch, c->tasks, sizeof *c->wave);
    if (!first || !list || !c->order || !c->wave) {
        free(first);
        free(list);
        return HY_NO_MEMORY();
    }
    for (uint32_t t = 0; t < c->tasks; t++)
        first[c->task[t].level + 2]++;
    for (uint32_t i = 2; i < levels + 2; i++)
        first[i] += first[i - 1];
    for (uint32_t t = 0; t < c->tasks; t++)
        list[first[c->task[t].level + 1]++] = t;
    c->waves = 0;
    for (uint32_t i = 0; i < levels; i++) {
        for (uint32_t group = 0; group <= c->params->devices; group++)
            for (uint32_t k = first[i]; k < first[i + 1]; k++) {
                const hy_task *task = &c->task[list[k]];
                uint32_t own = task->transfer ? 0 : 1u + c->graph->node[task->node].device;
                if (own != group) continue;
                c->wave[at] = c->waves;
                c->order[at++] = list[k];
            }
        c->waves += first[i] < first[i + 1];
    }
    free(first);
    free(list);
    return HY_OK;
}

hy_status hy_compile_schedule(hy_compiler *c) {
    leveling l = {.c = c, .bounds = hy_bucket_bounds(c->params, c->params->buckets - 1)};
    size_t values = c->graph->values + 1;
    l.readers = calloc(values, sizeof *l.readers);
    l.need = malloc(values * sizeof *l.need);
    l.over = malloc(values * sizeof *l.over);
    l.last = calloc(values, sizeof *l.last);
    hy_status status = l.readers && l.need && l.over && l.last ? HY_OK : HY_NO_MEMORY();
    if (status == HY_OK) {
        memset(l.need, 0xff, values * sizeof *l.need);
        memset(l.over, 0xff, values * sizeof *l.over);
        forward(&l);
        backward(&l);
        status = order_tasks(c);
    }
    free(l.readers);
    free(l.need);
    free(l.over);
    free(l.last);
    return status;
}

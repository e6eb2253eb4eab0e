/* Pass place: which device runs each node. Layers fill the devices in order, each up to its budget of
 * weights and state; what comes before the layers goes with the first, what comes after them with the
 * last. Then the borders: a value that another device needs is copied there once, but what follows from
 * inputs and literals alone is computed again instead. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "src/compile/inner.h"

bool hy_node_is_transfer(const hy_graph *graph, const hy_node *node) {
    if (node->kind != HY_OP_COPY) return false;
    const hy_value *x = &graph->value[node->operand[HY_COPY_x]];
    if (hy_value_is_window(x)) return false; /* bytes cross whole */
    return x->kind == HY_VALUE_NODE && graph->node[x->node].device != node->device;
}

/* ---- items: what is placed as one --------------------------------------------------------------- */

typedef struct placing {
    hy_graph *graph;
    const hy_compile_params *params;
    uint32_t *item_of; /* [nodes] */
    uint32_t items;
    uint32_t *first;  /* [items + 1] nodes of an item in `member` */
    uint32_t *member; /* [nodes] */
    uint8_t *held;    /* [values] devices that hold a weight or state, a bit each */
    uint32_t *seen;   /* [values] stamp of the last count that met it */
    uint32_t stamp;
} placing;

static bool is_state(const hy_value *value) {
    return value->kind == HY_VALUE_STATE || value->state != HY_NO_ID;
}

/* Item 0 begins with what has no layer and needs none; the last item is what follows the layers. */
static hy_status find_items(placing *p) {
    const hy_graph *graph = p->graph;
    uint32_t *item_of_layer = NULL, layers = 0, head = 0;
    for (size_t i = 0; i < graph->nodes; i++)
        if (graph->node[i].layer != HY_NO_ID) layers = HY_MAX(layers, graph->node[i].layer + 1);
    if (layers > graph->nodes + (1u << 20)) return hy_fail(HY_E_LIMIT, "layer numbers above 2^20");
    item_of_layer = malloc((layers + 1) * sizeof *item_of_layer);
    if (!item_of_layer) return HY_NO_MEMORY();
    memset(item_of_layer, 0xff, (layers + 1) * sizeof *item_of_layer);
    for (size_t i = 0; i < graph->nodes; i++) {
        uint32_t layer = graph->node[i].layer;
        if (graph->node[i].dead || layer == HY_NO_ID) continue;
        if (item_of_layer[layer] == HY_NO_ID) item_of_layer[layer] = head++;
        p->item_of[i] = item_of_layer[layer];
    }
    free(item_of_layer);
    p->items = HY_MAX(head, 1);
    for (size_t i = 0; i < graph->nodes; i++) {
        const hy_node *node = &graph->node[i];
        if (node->dead || node->layer != HY_NO_ID) continue;
        p->item_of[i] = 0;
        for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
            if ((hy_node_role(node->kind, k) & HY_ROLE_OUT) || node->operand[k] == HY_NO_ID)
                continue;
            const hy_value *x = &graph->value[hy_graph_root(graph, node->operand[k])];
            bool after = x->kind == HY_VALUE_NODE &&
                         (graph->node[x->node].layer != HY_NO_ID || p->item_of[x->node] == head);
            if (after && head) p->item_of[i] = head;
        }
        p->items = HY_MAX(p->items, p->item_of[i] + 1);
    }
    return HY_OK;
}

static hy_status group_items(placing *p) {
    p->first = calloc(p->items + 2, sizeof *p->first);
    p->member = malloc((p->graph->nodes + 1) * sizeof *p->member);
    if (!p->first || !p->member) return HY_NO_MEMORY();
    for (size_t i = 0; i < p->graph->nodes; i++)
        if (!p->graph->node[i].dead) p->first[p->item_of[i] + 2]++;
    for (uint32_t k = 2; k < p->items + 2; k++)
        p->first[k] += p->first[k - 1];
    for (uint32_t i = 0; i < p->graph->nodes; i++)
        if (!p->graph->node[i].dead) p->member[p->first[p->item_of[i] + 1]++] = i;
    return HY_OK;
}

/* Bytes that the item would add to a device; `take` marks them as held. */
static uint64_t item_bytes(placing *p, uint32_t item, uint32_t device, bool take) {
    uint64_t total = 0, bytes;
    uint8_t bit = (uint8_t)(1u << device);
    p->stamp++;
    for (uint32_t m = p->first[item]; m < p->first[item + 1]; m++) {
        const hy_node *node = &p->graph->node[p->member[m]];
        for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
            uint32_t id = node->operand[k];
            if ((hy_node_role(node->kind, k) & HY_ROLE_OUT) || id == HY_NO_ID) continue;
            const hy_value *x = &p->graph->value[id];
            if (x->state != HY_NO_ID) x = &p->graph->value[id = x->state];
            if (x->kind != HY_VALUE_WEIGHT && x->kind != HY_VALUE_STATE) continue;
            if ((p->held[id] & bit) || p->seen[id] == p->stamp) continue;
            p->seen[id] = p->stamp;
            if (take) p->held[id] |= bit;
            if (hy_value_bytes(x, &p->params->bounds, &bytes)) bytes = (uint64_t)1 << 62;
            if (hy_add_overflow(total, bytes, &total)) total = UINT64_MAX;
        }
    }
    return total;
}

static hy_status too_big(const placing *p, uint32_t item, uint64_t bytes, uint64_t used) {
    unsigned long long allowed = 0;
    for (uint32_t d = 0; d < p->params->devices; d++)
        allowed += p->params->budget[d];
    return hy_fail(
        HY_E_MEMORY,
        "weights and state do not fit: part %u of %u needs %llu bytes on the last device, "
        "which has %llu of %llu left (%llu on all devices)",
        item + 1, p->items, (unsigned long long)bytes,
        (unsigned long long)(p->params->budget[p->params->devices - 1] - used),
        (unsigned long long)p->params->budget[p->params->devices - 1], allowed);
}

static hy_status fill_devices(placing *p) {
    uint32_t device = 0;
    uint64_t used = 0;
    for (uint32_t item = 0; item < p->items; item++) {
        uint64_t bytes, budget;
        for (;; device++, used = 0) {
            bytes = item_bytes(p, item, device, false);
            budget = p->params->budget[device];
            if (!budget || (bytes <= budget && used <= budget - bytes)) break;
            if (device + 1 == p->params->devices) return too_big(p, item, bytes, used);
        }
        used += item_bytes(p, item, device, true);
        for (uint32_t m = p->first[item]; m < p->first[item + 1]; m++)
            p->graph->node[p->member[m]].device = (uint8_t)device;
    }
    return HY_OK;
}

/* ---- fallback ----------------------------------------------------------------------------------- */

static bool touches_state(const hy_graph *graph, const hy_node *node) {
    for (uint32_t k = 0; k < hy_node_operands(node->kind); k++)
        if (node->operand[k] != HY_NO_ID && is_state(&graph->value[node->operand[k]])) return true;
    return false;
}

/* A node whose device has no kernel moves to one that has; state stays where it is. */
static hy_status fall_back(hy_graph *graph, hy_query *query) {
    const hy_compile_params *params = query->params;
    hy_bounds small = hy_bucket_bounds(params, 0);
    hy_bounds large = hy_bucket_bounds(params, params->buckets - 1);
    for (uint32_t i = 0; i < graph->nodes; i++) {
        hy_node *node = &graph->node[i];
        hy_op op[2];
        if (node->dead || touches_state(graph, node)) continue;
        hy_graph_op(graph, i, &small, &op[0]);
        hy_graph_op(graph, i, &large, &op[1]);
        if (hy_query_both(query, node->device, op)) continue;
        for (uint32_t d = 0; d < params->devices; d++) {
            char from[64], to[64];
            if (d == node->device || !hy_query_both(query, d, op)) continue;
            hy_query_device_name(params, node->device, from);
            hy_query_device_name(params, d, to);
            hy_log(HY_LOG_WARN, "device %s has no kernel for %s of layer %d; it runs on %s", from,
                   hy_node_kind_name(node->kind), (int)node->layer, to);
            node->device = (uint8_t)d;
            break;
        }
    }
    return query->status;
}

/* ---- borders ------------------------------------------------------------------------------------ */

typedef struct borders {
    hy_graph *graph;
    hy_query *query;
    uint32_t devices;
    size_t values, nodes; /* before */
    hy_node *made;        /* the new list of nodes */
    size_t count, room;
    uint32_t *twin; /* [values * devices] the value on another device, HY_NO_ID: none yet */
    bool *cheap;    /* [nodes] computed from inputs and literals alone */
} borders;

static bool find_cheap(borders *b) {
    const hy_graph *graph = b->graph;
    b->cheap = calloc(b->nodes + 1, sizeof *b->cheap);
    for (size_t i = 0; b->cheap && i < b->nodes; i++) {
        const hy_node *node = &graph->node[i];
        bool cheap = !node->dead;
        for (uint32_t k = 0; cheap && k < hy_node_operands(node->kind); k++) {
            if ((hy_node_role(node->kind, k) & HY_ROLE_OUT) || node->operand[k] == HY_NO_ID)
                continue;
            const hy_value *x = &graph->value[hy_graph_root(graph, node->operand[k])];
            cheap = x->kind == HY_VALUE_INPUT || x->kind == HY_VALUE_LITERAL ||
                    (x->kind == HY_VALUE_NODE && x->state == HY_NO_ID && b->cheap[x->node]);
        }
        b->cheap[i] = cheap;
    }
    return b->cheap != NULL;
}

static hy_status push(borders *b, const hy_node *node, uint32_t *index) {
    HY_TRY(hy_grow(&b->made, b->count, &b->room, sizeof *b->made));
    *index = (uint32_t)b->count;
    b->made[b->count++] = *node;
    return HY_OK;
}

static hy_status cross(borders *b, uint32_t id, uint8_t device, uint32_t *out);

/* A new value like `id`, made by operand `output` of the new node `node`. */
static uint32_t twin_value(borders *b, uint32_t id, uint32_t node, uint32_t output) {
    const hy_value *value = &b->graph->value[id];
    hy_value proto = hy_value_of(HY_VALUE_NODE, (hy_dtype)value->dtype, value->rank, value->dim);
    proto.node = node;
    proto.output = output;
    proto.name = value->name;
    uint32_t twin = hy_graph_value_add(b->graph, &proto, false);
    return twin;
}

/* The node that makes `root` again, on another device. */
static hy_status clone(borders *b, const hy_node *from, uint8_t device) {
    hy_node node = *from;
    uint32_t index;
    node.device = device;
    for (uint32_t k = 0; k < hy_node_operands(node.kind); k++)
        if (!(hy_node_role(node.kind, k) & HY_ROLE_OUT) && node.operand[k] != HY_NO_ID)
            HY_TRY(cross(b, node.operand[k], device, &node.operand[k]));
    HY_TRY(push(b, &node, &index));
    for (uint32_t k = 0; k < hy_node_operands(node.kind); k++) {
        if (!(hy_node_role(node.kind, k) & HY_ROLE_OUT) || node.operand[k] == HY_NO_ID) continue;
        uint32_t twin = twin_value(b, node.operand[k], index, k);
        if (twin == HY_NO_ID) return HY_NO_MEMORY();
        b->twin[(size_t)node.operand[k] * b->devices + device] = twin;
        b->made[index].operand[k] = twin;
    }
    return HY_OK;
}

static hy_status transfer(borders *b, uint32_t root, uint8_t device, uint32_t layer) {
    hy_node node = {.kind = HY_OP_COPY, .device = device, .layer = layer};
    uint32_t index;
    for (uint32_t k = 0; k < HY_MAX_OPERANDS; k++)
        node.operand[k] = node.written[k] = HY_NO_ID;
    node.operand[HY_COPY_x] = root;
    HY_TRY(push(b, &node, &index));
    uint32_t twin = twin_value(b, root, index, HY_COPY_out);
    if (twin == HY_NO_ID) return HY_NO_MEMORY();
    b->made[index].operand[HY_COPY_out] = twin;
    b->twin[(size_t)root * b->devices + device] = twin;
    return HY_OK;
}

/* Without a kernel there, the result has to travel after all. */
static bool can_run(borders *b, uint32_t node, uint8_t device) {
    const hy_compile_params *params = b->query->params;
    hy_bounds small = hy_bucket_bounds(params, 0);
    hy_bounds large = hy_bucket_bounds(params, params->buckets - 1);
    hy_op op[2];
    hy_graph_op(b->graph, node, &small, &op[0]);
    hy_graph_op(b->graph, node, &large, &op[1]);
    return hy_query_both(b->query, device, op);
}

/* The value as `device` sees it. */
static hy_status cross(borders *b, uint32_t id, uint8_t device, uint32_t *out) {
    uint32_t root = hy_graph_root(b->graph, id);
    hy_value value = b->graph->value[root];
    *out = id;
    if (value.kind != HY_VALUE_NODE || value.state != HY_NO_ID || id >= b->values) return HY_OK;
    const hy_node *maker = &b->graph->node[value.node];
    if (maker->device == device) return HY_OK;
    uint32_t *twin = &b->twin[(size_t)root * b->devices + device];
    if (*twin == HY_NO_ID) {
        if (b->cheap[value.node] && can_run(b, value.node, device))
            HY_TRY(clone(b, maker, device));
        else
            HY_TRY(transfer(b, root, device, maker->layer));
    }
    *out = *twin;
    if (root == id) return HY_OK;
    uint32_t base = *twin;
    twin = &b->twin[(size_t)id * b->devices + device];
    if (*twin == HY_NO_ID) {
        hy_value proto = b->graph->value[id];
        proto.base = base;
        *twin = hy_graph_value_add(b->graph, &proto, false);
    }
    *out = *twin;
    return *twin == HY_NO_ID ? HY_NO_MEMORY() : HY_OK;
}

static hy_status rebuild(borders *b) {
    hy_graph *graph = b->graph;
    uint32_t index;
    for (size_t i = 0; i < b->nodes; i++) {
        hy_node node = graph->node[i];
        if (node.dead) continue;
        for (uint32_t k = 0; k < hy_node_operands(node.kind); k++)
            if (!(hy_node_role(node.kind, k) & HY_ROLE_OUT) && node.operand[k] != HY_NO_ID &&
                !hy_node_is_transfer(graph, &node))
                HY_TRY(cross(b, node.operand[k], node.device, &node.operand[k]));
        HY_TRY(push(b, &node, &index));
    }
    free(graph->node);
    graph->node = b->made;
    graph->nodes = b->count;
    graph->node_room = b->room;
    b->made = NULL;
    for (uint32_t i = 0; i < graph->nodes; i++)
        for (uint32_t k = 0; k < hy_node_operands(graph->node[i].kind); k++) {
            uint32_t role = hy_node_role(graph->node[i].kind, k);
            const hy_node *node = &graph->node[i];
            uint32_t id = role & HY_ROLE_STATE ? node->written[k] : node->operand[k];
            if ((role & (HY_ROLE_STATE | HY_ROLE_OUT)) && id != HY_NO_ID) graph->value[id].node = i;
        }
    return HY_OK;
}

static hy_status cross_borders(hy_graph *graph, hy_query *query, uint32_t devices) {
    borders b = {.graph = graph,
                 .query = query,
                 .devices = devices,
                 .values = graph->values,
                 .nodes = graph->nodes};
    size_t twins = (graph->values + 1) * devices;
    b.twin = malloc(twins * sizeof *b.twin);
    hy_status status = HY_NO_MEMORY();
    if (b.twin && find_cheap(&b)) {
        memset(b.twin, 0xff, twins * sizeof *b.twin);
        status = rebuild(&b);
        if (status == HY_OK) status = query->status;
    }
    free(b.twin);
    free(b.cheap);
    free(b.made);
    return status;
}

/* ---- state -------------------------------------------------------------------------------------- */

static hy_status check_states(const hy_graph *graph) {
    uint8_t *at = malloc(graph->values + 1);
    hy_status status = HY_OK;
    if (!at) return HY_NO_MEMORY();
    memset(at, 0xff, graph->values + 1);
    for (size_t i = 0; status == HY_OK && i < graph->nodes; i++) {
        const hy_node *node = &graph->node[i];
        for (uint32_t k = 0; !node->dead && k < hy_node_operands(node->kind); k++) {
            uint32_t id = node->operand[k];
            if (id == HY_NO_ID || !is_state(&graph->value[id])) continue;
            if (graph->value[id].state != HY_NO_ID) id = graph->value[id].state;
            if (at[id] != 0xff && at[id] != node->device)
                status = hy_fail(HY_E_UNSUPPORTED, "state %%%s is used on devices %u and %u",
                                 graph->value[id].name, at[id], node->device);
            at[id] = node->device;
        }
    }
    free(at);
    return status;
}

hy_status hy_place_run(hy_graph *graph, hy_query *query) {
    const hy_compile_params *params = query->params;
    placing p = {.graph = graph, .params = params};
    if (!params->devices || params->devices > HY_MAX_DEVICES)
        return hy_fail(HY_E_ARGUMENT, "%u devices; 1 to %d can be used", params->devices,
                       HY_MAX_DEVICES);
    p.item_of = calloc(graph->nodes + 1, sizeof *p.item_of);
    p.held = calloc(graph->values + 1, sizeof *p.held);
    p.seen = calloc(graph->values + 1, sizeof *p.seen);
    hy_status status = p.item_of && p.held && p.seen ? find_items(&p) : HY_NO_MEMORY();
    if (status == HY_OK) status = group_items(&p);
    if (status == HY_OK) status = fill_devices(&p);
    free(p.item_of);
    free(p.held);
    free(p.seen);
    free(p.first);
    free(p.member);
    HY_TRY(status);
    if (params->fallback && params->devices > 1) HY_TRY(fall_back(graph, query));
    if (params->devices > 1) HY_TRY(cross_borders(graph, query, params->devices));
    HY_TRY(check_states(graph));
    return hy_graph_verify(graph);
}

hy_status hy_pass_place(hy_graph *graph, const hy_compile_params *params) {
    hy_query query = {.params = params};
    hy_status status = hy_place_run(graph, &query);
    hy_query_free(&query);
    return status;
}

/* Pass canonicalize: one walk over the nodes in order. Each node first gets the values that its operands
 * were replaced by; a reshape or slice becomes a window (or a copy and a window), an op that changes
 * nothing gives way to its operand, an op on literals to a literal, and a node that was seen before to the
 * earlier one. Then what nothing needs is dropped. */
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/hash.h"
#include "src/compile/inner.h"

typedef struct canonical {
    hy_graph *graph;
    uint32_t *alias; /* [values at the start] what stands for a value now */
    size_t aliases;
    hy_map values, nodes;
} canonical;

/* ---- equal things ------------------------------------------------------------------------------- */

static bool same_parts(const hy_value *a, const hy_value *b) {
    if (a->parts != b->parts || a->axis != b->axis) return false;
    for (uint32_t i = 0; i < a->parts; i++)
        if (a->part[i].rows != b->part[i].rows || strcmp(a->part[i].name, b->part[i].name))
            return false;
    return true;
}

static uint64_t literal_bytes(const hy_value *value) {
    return hy_value_elements(value, 0) * hy_dtype_get((hy_dtype)value->dtype)->bytes;
}

/* Weights, literals and windows. */
static bool equal_values(const void *user, uint32_t ia, uint32_t ib) {
    const hy_graph *graph = user;
    const hy_value *a = &graph->value[ia], *b = &graph->value[ib];
    if (a->kind != b->kind || a->dtype != b->dtype || !hy_dims_equal(a, b)) return false;
    if (a->kind == HY_VALUE_WEIGHT) return same_parts(a, b);
    if (a->kind == HY_VALUE_LITERAL) return !memcmp(a->data, b->data, literal_bytes(a));
    hy_window wa = hy_window_of(a), wb = hy_window_of(b);
    return a->base == b->base && hy_window_equal(&wa, &wb);
}

static uint64_t hash_value(const hy_value *value) {
    uint64_t hash = hy_hash(value->dim, sizeof value->dim, value->kind * 64u + value->dtype);
    if (value->kind == HY_VALUE_WEIGHT) {
        for (uint32_t i = 0; i < value->parts; i++)
            hash = hy_hash(value->part[i].name, strlen(value->part[i].name), hash);
        return hash;
    }
    if (value->kind == HY_VALUE_LITERAL) return hy_hash(value->data, literal_bytes(value), hash);
    hash = hy_hash(value->stride, sizeof value->stride, hash);
    return hy_hash(&value->offset, sizeof value->offset, hash ^ value->base);
}

/* Everything that makes two nodes compute the same; results count by dtype. */
typedef struct node_key {
    uint32_t kind, word[8], operand[HY_MAX_OPERANDS];
} node_key;

static node_key key_of(const hy_graph *graph, const hy_node *node) {
    node_key key = {.kind = node->kind};
    memcpy(key.word, node->word, sizeof key.word);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        uint32_t id = node->operand[i];
        bool out = id != HY_NO_ID && (hy_node_role(node->kind, i) & HY_ROLE_OUT);
        key.operand[i] = out ? graph->value[id].dtype : id;
    }
    return key;
}

static bool equal_nodes(const void *user, uint32_t a, uint32_t b) {
    const hy_graph *graph = user;
    node_key ka = key_of(graph, &graph->node[a]), kb = key_of(graph, &graph->node[b]);
    return !memcmp(&ka, &kb, sizeof ka);
}

static bool writes_state(const hy_node *node) {
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++)
        if (hy_node_role(node->kind, i) & HY_ROLE_STATE) return true;
    return false;
}

/* ---- replacing ---------------------------------------------------------------------------------- */

static uint32_t resolved(const canonical *c, uint32_t id) {
    return id != HY_NO_ID && id < c->aliases ? c->alias[id] : id;
}

/* A window that the text brought along follows its base. */
static hy_status follow_base(const canonical *c, uint32_t id) {
    hy_value *value = &c->graph->value[id];
    uint32_t base = resolved(c, value->base);
    if (base == value->base) return HY_OK;
    hy_window inner = hy_window_of(value), outer = hy_window_of(&c->graph->value[base]), w;
    if (!hy_window_compose(&inner, &outer, &w))
        return hy_fail(HY_E_UNSUPPORTED, "window %%%s of window %%%s needs a copy", value->name,
                       c->graph->value[base].name);
    hy_value_set_window(value, hy_graph_root(c->graph, base), &w);
    return HY_OK;
}

/* The value that stands for all equal to `id`; HY_NO_ID without memory. */
static uint32_t first_equal(canonical *c, uint32_t id) {
    return hy_map_add(&c->values, hash_value(&c->graph->value[id]), id, equal_values, c->graph);
}

/* `node` goes; its result `from` is `to` from now on. */
static void give_way(canonical *c, hy_node *node, uint32_t from, uint32_t to) {
    node->dead = true;
    c->alias[from] = to;
}

/* Leaves that are equal, and windows that text brought along. */
static hy_status merge_values(canonical *c) {
    for (uint32_t i = 0; i < c->aliases; i++) {
        hy_value *value = &c->graph->value[i];
        c->alias[i] = i;
        bool constant = value->kind == HY_VALUE_WEIGHT || value->kind == HY_VALUE_LITERAL;
        if (!constant && !hy_value_is_window(value)) continue;
        c->alias[i] = first_equal(c, i);
        if (c->alias[i] == HY_NO_ID) return HY_E_MEMORY;
    }
    return HY_OK;
}

static hy_status merge_node(canonical *c, uint32_t id) {
    hy_node *node = &c->graph->node[id];
    if (writes_state(node)) return HY_OK;
    node_key key = key_of(c->graph, node);
    uint32_t first = hy_map_add(&c->nodes, hy_hash(&key, sizeof key, 0), id, equal_nodes, c->graph);
    if (first == HY_NO_ID) return HY_E_MEMORY;
    if (first == id) return HY_OK;
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++)
        if ((hy_node_role(node->kind, i) & HY_ROLE_OUT) && node->operand[i] != HY_NO_ID)
            give_way(c, node, node->operand[i], c->graph->node[first].operand[i]);
    return HY_OK;
}

/* ---- reshape and slice -------------------------------------------------------------------------- */

static uint32_t added(canonical *c, const hy_value *proto) {
    uint32_t id = hy_graph_value_add(c->graph, proto, false);
    return id == HY_NO_ID ? id : first_equal(c, id);
}

/* The rows of a literal that a window selects, dense. */
static void *gather(hy_graph *graph, const hy_value *from, const hy_window *w) {
    uint32_t bytes = hy_dtype_get((hy_dtype)from->dtype)->bytes;
    uint64_t count = 1, index[HY_MAX_RANK] = {0};
    for (uint32_t i = 0; i < w->rank; i++)
        count *= w->dim[i].factor;
    char *data = hy_arena_alloc(&graph->arena, count, bytes);
    for (uint64_t n = 0; data && n < count; n++) {
        uint64_t at = w->offset;
        for (uint32_t i = 0; i < w->rank; i++)
            at += index[i] * w->stride[i];
        memcpy(data + n * bytes, (const char *)from->data + at * bytes, bytes);
        for (uint32_t i = w->rank; i-- > 0 && ++index[i] == w->dim[i].factor;)
            index[i] = 0;
    }
    return data;
}

/* A constant under a view is another constant. */
static hy_status view_constant(canonical *c, hy_node *node, const hy_window *w) {
    const hy_value *x = &c->graph->value[node->operand[0]];
    hy_value proto = *x;
    proto.rank = (uint8_t)w->rank;
    for (uint32_t i = 0; i < HY_MAX_RANK; i++)
        proto.dim[i] = i < w->rank ? w->dim[i] : HY_DIM(0);
    if (x->kind == HY_VALUE_LITERAL && !(proto.data = gather(c->graph, x, w)))
        return HY_NO_MEMORY();
    if (x->kind == HY_VALUE_WEIGHT) {
        hy_weight_part *part = hy_arena_alloc(&c->graph->arena, 1, sizeof *part);
        if (!part) return HY_NO_MEMORY();
        *part = (hy_weight_part){x->part[0].name, w->dim[0].factor};
        proto.part = part;
        proto.axis = 0;
    }
    uint32_t id = added(c, &proto);
    if (id == HY_NO_ID) return HY_NO_MEMORY();
    give_way(c, node, node->operand[1], id);
    return HY_OK;
}

/* The node becomes a copy of its operand into dense storage; its old result will be a window of that. */
static hy_status make_dense(canonical *c, uint32_t id, uint32_t out, hy_window *w) {
    uint32_t x = c->graph->node[id].operand[0];
    hy_value proto = hy_value_of(HY_VALUE_NODE, (hy_dtype)c->graph->value[x].dtype,
                                 c->graph->value[x].rank, c->graph->value[x].dim);
    if (hy_dtype_get((hy_dtype)proto.dtype)->quantized)
        return hy_fail(HY_E_UNSUPPORTED, "%%%s: a view of %s that is not dense",
                       c->graph->value[out].name, hy_dtype_get((hy_dtype)proto.dtype)->name);
    proto.node = id;
    proto.output = HY_COPY_out;
    uint32_t dense = hy_graph_value_add(c->graph, &proto, false);
    if (dense == HY_NO_ID) return HY_NO_MEMORY();
    hy_node *node = &c->graph->node[id];
    node->kind = HY_OP_COPY;
    memset(node->word, 0, sizeof node->word);
    node->operand[HY_COPY_x] = x;
    node->operand[HY_COPY_out] = dense;
    *w = hy_window_of(&c->graph->value[dense]);
    return HY_OK;
}

static bool window_dense(const hy_window *w) {
    uint64_t stride = 1;
    for (uint32_t i = w->rank; i-- > 0;) {
        if (w->stride[i] != stride) return false;
        stride *= w->dim[i].factor;
    }
    return true;
}

static hy_status make_window(canonical *c, uint32_t id) {
    hy_node *node = &c->graph->node[id];
    uint32_t x = node->operand[0], out = node->operand[1], kind = node->kind;
    hy_value type = c->graph->value[out];
    hy_window w = hy_window_of(&c->graph->value[x]), to = w;
    bool copied = false;
    if (kind == HY_NODE_SLICE) {
        hy_window_slice(&to, node->word[0], node->word[1], type.dim[node->word[0]].factor);
    } else if (!hy_window_reshape(&w, type.rank, type.dim, &to)) {
        HY_TRY(make_dense(c, id, out, &w));
        copied = true;
        if (!hy_window_reshape(&w, type.rank, type.dim, &to))
            return hy_fail(HY_E_INTERNAL, "%%%s: reshape of a dense value failed", type.name);
    }
    node = &c->graph->node[id];
    const hy_value *from = &c->graph->value[x];
    if (!copied && (from->kind == HY_VALUE_LITERAL || from->kind == HY_VALUE_WEIGHT))
        return view_constant(c, node, &to);
    if (hy_dtype_get((hy_dtype)type.dtype)->quantized && !window_dense(&to))
        return hy_fail(HY_E_UNSUPPORTED, "%%%s: a view of %s that is not dense", type.name,
                       hy_dtype_get((hy_dtype)type.dtype)->name);
    uint32_t base = copied ? node->operand[HY_COPY_out] : hy_graph_root(c->graph, x);
    hy_window whole = hy_window_of(&c->graph->value[base]);
    if (hy_window_equal(&to, &whole)) { /* nothing changed at all */
        c->alias[out] = base;
        node->dead = !copied;
        return HY_OK;
    }
    if (!copied) node->dead = true;
    hy_value_set_window(&c->graph->value[out], base, &to);
    c->alias[out] = first_equal(c, out);
    return c->alias[out] == HY_NO_ID ? HY_E_MEMORY : HY_OK;
}

/* ---- folding ------------------------------------------------------------------------------------ */

/* Attributes where 1 and 0 mean the same. */
static void neutral_attrs(hy_node *node) {
    static const struct {
        uint32_t kind;
        const char *attr;
    } rows[] = {{HY_OP_EMBED, "scale"}, {HY_OP_MATMUL, "scale"},  {HY_OP_ROPE_TABLE, "magnitude"},
                {HY_OP_UNARY, "scale"}, {HY_OP_SOFTMAX, "scale"}, {HY_OP_TOPK_ROUTE, "scale"}};
    const hy_op_info *info = hy_op_get((hy_op_kind)node->kind);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (uint32_t i = 0; rows[r].kind == node->kind && i < info->attrs; i++)
            if (!strcmp(info->attr[i].name, rows[r].attr) && node->word[i] == hy_f32_bits(1.0f))
                node->word[i] = 0;
}

static bool is_state(const hy_value *value) {
    return value->kind == HY_VALUE_STATE || value->state != HY_NO_ID;
}

/* Operand that the result equals, element for element, or HY_NO_ID. */
static uint32_t identity_of(const hy_graph *graph, const hy_node *node) {
    bool neutral =
        node->kind == HY_OP_CAST || node->kind == HY_OP_COPY ||
        (node->kind == HY_OP_UNARY && !node->word[0] && !node->word[1] && !node->word[2]);
    if (!neutral) return HY_NO_ID;
    const hy_value *x = &graph->value[node->operand[0]], *out = &graph->value[node->operand[1]];
    hy_window w = hy_window_of(x);
    if (x->dtype != out->dtype || is_state(x)) return HY_NO_ID;
    if (node->kind == HY_OP_COPY && !window_dense(&w)) return HY_NO_ID; /* asked for: dense rows */
    return node->operand[0];
}

static float literal_at(const hy_value *value, uint64_t index) {
    return ((const float *)value->data)[index % hy_value_elements(value, 0)];
}

/* add and mul of f32 literals; b may be one row. */
static hy_status fold_literals(canonical *c, hy_node *node) {
    hy_graph *graph = c->graph;
    if (node->kind != HY_OP_ADD && node->kind != HY_OP_MUL) return HY_OK;
    const hy_value *a = &graph->value[node->operand[HY_ADD_a]];
    const hy_value *b = &graph->value[node->operand[HY_ADD_b]];
    uint32_t out = node->operand[HY_ADD_out];
    if (a->kind != HY_VALUE_LITERAL || b->kind != HY_VALUE_LITERAL) return HY_OK;
    if (a->dtype != HY_DTYPE_F32 || b->dtype != HY_DTYPE_F32) return HY_OK;
    if (graph->value[out].dtype != HY_DTYPE_F32) return HY_OK;
    uint64_t count = hy_value_elements(a, 0);
    hy_value proto = hy_value_of(HY_VALUE_LITERAL, HY_DTYPE_F32, a->rank, a->dim);
    float *data = hy_arena_alloc(&graph->arena, count, sizeof *data);
    if (!data) return HY_NO_MEMORY();
    for (uint64_t i = 0; i < count; i++) {
        float x = literal_at(a, i), y = literal_at(b, i);
        data[i] = node->kind == HY_OP_ADD ? x + y : x * y;
    }
    proto.data = data;
    proto.name = graph->value[out].name;
    uint32_t id = added(c, &proto);
    if (id == HY_NO_ID) return HY_NO_MEMORY();
    give_way(c, node, out, id);
    return HY_OK;
}

/* ---- the walk ----------------------------------------------------------------------------------- */

static hy_status visit(canonical *c, uint32_t id) {
    hy_node *node = &c->graph->node[id];
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++)
        if (!(hy_node_role(node->kind, i) & HY_ROLE_OUT) && node->operand[i] != HY_NO_ID) {
            node->operand[i] = resolved(c, node->operand[i]);
            if (hy_value_is_window(&c->graph->value[node->operand[i]]))
                HY_TRY(follow_base(c, node->operand[i]));
        }
    if (node->kind >= HY_OP_KIND_COUNT) return make_window(c, id);
    neutral_attrs(node);
    uint32_t same = identity_of(c->graph, node);
    if (same != HY_NO_ID) {
        give_way(c, node, node->operand[1], same);
        return HY_OK;
    }
    HY_TRY(fold_literals(c, node));
    return c->graph->node[id].dead ? HY_OK : merge_node(c, id);
}

/* Marks backwards what outputs and state need; the rest is dead. A residual sum that nothing reads is
 * not made. */
static hy_status drop_unneeded(hy_graph *graph) {
    bool *needed = calloc(graph->values + 1, sizeof *needed);
    if (!needed) return HY_NO_MEMORY();
    for (size_t i = 0; i < graph->outputs; i++)
        needed[hy_graph_root(graph, graph->output[i].value)] = true;
    for (size_t n = graph->nodes; n-- > 0;) {
        hy_node *node = &graph->node[n];
        if (node->dead) continue;
        bool live = writes_state(node);
        uint32_t operands = hy_node_operands(node->kind);
        for (uint32_t i = 0; i < operands; i++)
            if (hy_node_role(node->kind, i) & HY_ROLE_OUT)
                live |= node->operand[i] != HY_NO_ID && needed[node->operand[i]];
        node->dead = !live;
        uint32_t sum = node->kind == HY_OP_RMS_NORM     ? (uint32_t)HY_RMS_NORM_sum
                       : node->kind == HY_OP_LAYER_NORM ? (uint32_t)HY_LAYER_NORM_sum
                                                        : HY_NO_ID;
        if (sum != HY_NO_ID && node->operand[sum] != HY_NO_ID && !needed[node->operand[sum]] &&
            graph->value[node->operand[sum]].dtype == HY_DTYPE_F32)
            node->operand[sum] = HY_NO_ID;
        for (uint32_t i = 0; live && i < operands; i++)
            if (!(hy_node_role(node->kind, i) & HY_ROLE_OUT) && node->operand[i] != HY_NO_ID)
                needed[hy_graph_root(graph, node->operand[i])] = true;
    }
    free(needed);
    return HY_OK;
}

hy_status hy_pass_canonicalize(hy_graph *graph) {
    canonical c = {.graph = graph, .aliases = graph->values};
    c.alias = malloc((graph->values + 1) * sizeof *c.alias);
    hy_status status = c.alias ? merge_values(&c) : HY_NO_MEMORY();
    for (uint32_t i = 0; status == HY_OK && i < graph->nodes; i++)
        if (!graph->node[i].dead) status = visit(&c, i);
    for (size_t i = 0; status == HY_OK && i < graph->outputs; i++) {
        uint32_t id = graph->output[i].value = resolved(&c, graph->output[i].value);
        if (hy_value_is_window(&graph->value[id])) status = follow_base(&c, id);
    }
    if (status == HY_OK) status = hy_graph_status(graph);
    if (status == HY_OK) status = drop_unneeded(graph);
    free(c.alias);
    hy_map_free(&c.values);
    hy_map_free(&c.nodes);
    return status == HY_OK ? hy_graph_verify(graph) : status;
}

/* Patterns around matmul and grouped_matmul. */
#include <stdlib.h>
#include <string.h>

#include "src/compile/fuse.h"

/* Operand and attribute numbers of the two kinds; HY_NO_ID where a kind lacks one. */
typedef struct shape_of {
    uint32_t kind, x, w, bias, residual, out, ids, act, glu, scale, softcap;
} shape_of;

enum { MATMUL_ACT, MATMUL_GLU, MATMUL_SCALE, MATMUL_SOFTCAP };

static const shape_of kinds[] = {
    {HY_OP_MATMUL, HY_MATMUL_x, HY_MATMUL_w, HY_MATMUL_bias, HY_MATMUL_residual, HY_MATMUL_out,
     HY_NO_ID, MATMUL_ACT, MATMUL_GLU, MATMUL_SCALE, MATMUL_SOFTCAP},
    {HY_OP_GROUPED_MATMUL, HY_GROUPED_MATMUL_x, HY_GROUPED_MATMUL_w, HY_GROUPED_MATMUL_bias,
     HY_NO_ID, HY_GROUPED_MATMUL_out, HY_GROUPED_MATMUL_ids, MATMUL_ACT, MATMUL_GLU, HY_NO_ID,
     HY_NO_ID},
};

static const shape_of *shape(const hy_node *node) {
    for (size_t i = 0; node && i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].kind == node->kind) return &kinds[i];
    return NULL;
}

static bool no_attrs(const hy_node *node) {
    for (uint32_t i = 0; i < 8; i++)
        if (node->word[i]) return false;
    return true;
}

/* ---- joining constants -------------------------------------------------------------------------- */

enum { MAX_JOINED = 8 };

/* Constants of one operand of several nodes that may become one. */
static bool joinable(const hy_fuse *f, uint32_t count, const uint32_t *id, uint8_t axis) {
    const hy_value *first = &f->graph->value[id[0]];
    for (uint32_t i = 0; i < count; i++) {
        const hy_value *value = &f->graph->value[id[i]];
        if (value->kind != first->kind || value->dtype != first->dtype) return false;
        if (value->kind == HY_VALUE_LITERAL ? value->rank != 1 : value->kind != HY_VALUE_WEIGHT)
            return false;
        if (value->rank != first->rank || hy_uses_count(&f->uses, id[i]) != 1) return false;
        if (f->uses.output[id[i]]) return false;
        if (value->parts > 1 && value->axis != axis) return false;
        for (uint32_t k = 0; k < value->rank; k++)
            if (k != axis && !hy_dim_equal(value->dim[k], first->dim[k])) return false;
    }
    return true;
}

static bool join_parts(hy_fuse *f, uint32_t count, const uint32_t *id, hy_value *proto) {
    uint32_t parts = 0, at = 0;
    for (uint32_t i = 0; i < count; i++)
        parts += f->graph->value[id[i]].parts;
    hy_weight_part *part = hy_arena_alloc(&f->graph->arena, parts, sizeof *part);
    if (!part) return hy_fuse_fail(f, HY_NO_MEMORY());
    for (uint32_t i = 0; i < count; i++) {
        const hy_value *value = &f->graph->value[id[i]];
        for (uint32_t k = 0; k < value->parts; k++) {
            part[at] = value->part[k];
            if (value->parts == 1) part[at].rows = value->dim[proto->axis].factor;
            at++;
        }
    }
    proto->part = part;
    proto->parts = parts;
    return true;
}

static bool join_data(hy_fuse *f, uint32_t count, const uint32_t *id, hy_value *proto) {
    uint32_t bytes = hy_dtype_get((hy_dtype)proto->dtype)->bytes;
    char *data = hy_arena_alloc(&f->graph->arena, proto->dim[0].factor, bytes), *at = data;
    if (!data) return hy_fuse_fail(f, HY_NO_MEMORY());
    for (uint32_t i = 0; i < count; i++) {
        const hy_value *value = &f->graph->value[id[i]];
        memcpy(at, value->data, (size_t)value->dim[0].factor * bytes);
        at += (size_t)value->dim[0].factor * bytes;
    }
    proto->data = data;
    return true;
}

/* One constant of all rows; HY_NO_ID after a failure. */
static uint32_t join(hy_fuse *f, uint32_t count, const uint32_t *id, uint8_t axis) {
    hy_value proto = f->graph->value[id[0]];
    proto.axis = axis;
    proto.dim[axis].factor = 0;
    for (uint32_t i = 0; i < count; i++)
        proto.dim[axis].factor += f->graph->value[id[i]].dim[axis].factor;
    bool joined = proto.kind == HY_VALUE_WEIGHT ? join_parts(f, count, id, &proto)
                                                : join_data(f, count, id, &proto);
    if (!joined) return HY_NO_ID;
    uint32_t made = hy_uses_value_add(&f->uses, &proto);
    if (made == HY_NO_ID) hy_fuse_fail(f, HY_NO_MEMORY());
    return made;
}

/* What joining does to a tensor description: other rows on the axis, dense. */
static void widen(hy_tensor *tensor, uint32_t axis, uint32_t extent) {
    hy_tensor wide;
    uint32_t dim[HY_MAX_RANK];
    memcpy(dim, tensor->dim, sizeof dim);
    dim[axis] = extent;
    wide = hy_tensor_of((hy_dtype)tensor->dtype, tensor->rank, dim, (hy_counter)tensor->counter);
    wide.constant = tensor->constant;
    *tensor = wide;
}

/* Sums of rows stay below 2^31. */
static uint32_t total_rows(const hy_fuse *f, uint32_t count, const uint32_t *id, uint8_t axis) {
    uint64_t rows = 0;
    for (uint32_t i = 0; i < count; i++)
        rows += f->graph->value[id[i]].dim[axis].factor;
    return rows <= INT32_MAX ? (uint32_t)rows : 0;
}

/* ---- gate, up, glu ------------------------------------------------------------------------------ */

/* Both are plain matmuls of the same x with weights of one shape. */
static bool twins(const hy_fuse *f, const hy_node *a, const hy_node *b, const shape_of *s) {
    if (a->kind != b->kind || !no_attrs(a) || !no_attrs(b)) return false;
    if (a->operand[s->x] != b->operand[s->x]) return false;
    if (s->ids != HY_NO_ID && a->operand[s->ids] != b->operand[s->ids]) return false;
    if (s->residual != HY_NO_ID &&
        (a->operand[s->residual] != HY_NO_ID || b->operand[s->residual] != HY_NO_ID))
        return false;
    bool bias = a->operand[s->bias] != HY_NO_ID;
    if (bias != (b->operand[s->bias] != HY_NO_ID)) return false;
    if (bias && s->kind == HY_OP_GROUPED_MATMUL) return false; /* rows [E, N] join on no axis */
    return hy_dims_equal(&f->graph->value[a->operand[s->w]], &f->graph->value[b->operand[s->w]]);
}

bool hy_fuse_glu(hy_fuse *f, uint32_t id) {
    hy_graph *graph = f->graph;
    const hy_node *glu = &graph->node[id];
    if (glu->kind != HY_OP_GLU) return false;
    const hy_node *gate = hy_fuse_private(f, glu->operand[HY_GLU_gate], id);
    const hy_node *up = hy_fuse_private(f, glu->operand[HY_GLU_up], id);
    const shape_of *s = shape(gate);
    if (!s || !up || gate == up || !twins(f, gate, up, s)) return false;
    uint32_t w[2] = {gate->operand[s->w], up->operand[s->w]};
    uint32_t b[2] = {gate->operand[s->bias], up->operand[s->bias]};
    uint8_t axis = s->kind == HY_OP_GROUPED_MATMUL;
    uint32_t rows = total_rows(f, 2, w, axis);
    if (!rows || !joinable(f, 2, w, axis)) return false;
    if (b[0] != HY_NO_ID && !joinable(f, 2, b, 0)) return false;
    hy_node node = *gate;
    node.word[s->act] = glu->word[0];
    node.word[s->glu] = 1;
    node.operand[s->out] = glu->operand[HY_GLU_out];
    node.layer = glu->layer;
    hy_op op[2];
    hy_fuse_op(f, &node, op);
    for (int k = 0; k < 2; k++) {
        widen(&op[k].operand[s->w], axis, rows);
        if (b[0] != HY_NO_ID) widen(&op[k].operand[s->bias], 0, rows);
    }
    if (!hy_fuse_can_op(f, node.device, op)) return false;
    node.operand[s->w] = join(f, 2, w, axis);
    if (b[0] != HY_NO_ID) node.operand[s->bias] = join(f, 2, b, 0);
    if (f->status != HY_OK) return false;
    uint32_t gate_id = (uint32_t)(gate - graph->node), up_id = (uint32_t)(up - graph->node);
    hy_uses_kill(&f->uses, gate_id);
    hy_uses_kill(&f->uses, up_id);
    hy_uses_become(&f->uses, id, &node);
    return true;
}

/* ---- projections of one x ----------------------------------------------------------------------- */

/* `other` can become rows of the same matmul as `first`. */
static bool same_projection(const hy_fuse *f, const hy_node *first, const hy_node *other) {
    const hy_graph *graph = f->graph;
    if (other->dead || other->kind != HY_OP_MATMUL || other->device != first->device) return false;
    if (other->layer != first->layer || memcmp(other->word, first->word, sizeof first->word))
        return false;
    if (other->operand[HY_MATMUL_x] != first->operand[HY_MATMUL_x]) return false;
    if (other->operand[HY_MATMUL_residual] != HY_NO_ID || other->word[MATMUL_GLU]) return false;
    if (f->uses.output[other->operand[HY_MATMUL_out]]) return false;
    uint32_t a = first->operand[HY_MATMUL_bias], b = other->operand[HY_MATMUL_bias];
    if ((a == HY_NO_ID) != (b == HY_NO_ID)) return false;
    if (graph->value[first->operand[HY_MATMUL_out]].dtype !=
        graph->value[other->operand[HY_MATMUL_out]].dtype)
        return false;
    const hy_value *wa = &graph->value[first->operand[HY_MATMUL_w]];
    const hy_value *wb = &graph->value[other->operand[HY_MATMUL_w]];
    return wa->dtype == wb->dtype;
}

typedef struct projections {
    uint32_t count, node[MAX_JOINED], w[MAX_JOINED], bias[MAX_JOINED];
    bool biased;
} projections;

/* The matmuls that can be joined with `id`, when that is the first of them. */
static void find_projections(const hy_fuse *f, uint32_t id, projections *p) {
    const hy_graph *graph = f->graph;
    uint32_t x = graph->node[id].operand[HY_MATMUL_x], node[MAX_JOINED];
    uint32_t count = 0;
    for (uint32_t use = f->uses.first[x]; use != HY_NO_ID && count < MAX_JOINED;
         use = f->uses.next[use]) {
        uint32_t other = use / HY_MAX_OPERANDS, at = count;
        if (use % HY_MAX_OPERANDS != HY_MATMUL_x ||
            !same_projection(f, &graph->node[id], &graph->node[other]))
            continue;
        for (; at > 0 && node[at - 1] > other; at--)
            node[at] = node[at - 1];
        node[at] = other;
        count++;
    }
    p->count = 0;
    if (count < 2 || node[0] != id) return;
    p->biased = graph->node[id].operand[HY_MATMUL_bias] != HY_NO_ID;
    for (uint32_t i = 0; i < count; i++) { /* keep those whose constants join with the first's */
        const hy_node *n = &graph->node[node[i]];
        uint32_t k = p->count;
        p->node[k] = node[i];
        p->w[k] = n->operand[HY_MATMUL_w];
        p->bias[k] = n->operand[HY_MATMUL_bias];
        if (!joinable(f, k + 1, p->w, 0) || (p->biased && !joinable(f, k + 1, p->bias, 0))) {
            if (k == 0) return;
            continue;
        }
        p->count++;
    }
}

/* Values that turn into windows, as they were. */
typedef struct saved {
    uint32_t id;
    hy_window window;
    uint32_t base, node;
} saved;

static bool readers_can(hy_fuse *f, uint32_t value) {
    for (uint32_t use = f->uses.first[value]; use != HY_NO_ID; use = f->uses.next[use])
        if (!hy_fuse_can(f, &f->graph->node[use / HY_MAX_OPERANDS])) return false;
    return true;
}

/* Turns `out` and its windows into windows of `base` at column `column`, saving what they were. False
 * when one cannot or has a reader whose device cannot read it so. */
static bool move_windows(hy_fuse *f, uint32_t out, uint32_t base, uint32_t column, saved **list,
                         size_t *count, size_t *room) {
    hy_graph *graph = f->graph;
    hy_window outer = hy_window_of(&graph->value[out]);
    outer.stride[0] = graph->value[base].dim[1].factor;
    outer.offset = column;
    for (uint32_t id = out, next; id != HY_NO_ID; id = next) {
        hy_value *value = &graph->value[id];
        hy_window inner = hy_window_of(value), w;
        next = id == out ? f->uses.window[out] : f->uses.window_next[id];
        if (hy_grow(list, *count, room, sizeof **list) != HY_OK)
            return hy_fuse_fail(f, HY_E_MEMORY);
        if (!hy_window_compose(&inner, &outer, &w)) return false;
        (*list)[(*count)++] = (saved){id, inner, value->base, value->node};
        hy_uses_set_window(&f->uses, id, base, &w);
        if (!readers_can(f, id)) return false;
    }
    return true;
}

static void restore(hy_fuse *f, const saved *list, size_t count) {
    for (size_t i = count; i-- > 0;) {
        hy_value *value = &f->graph->value[list[i].id];
        if (list[i].base != HY_NO_ID) {
            hy_uses_set_window(&f->uses, list[i].id, list[i].base, &list[i].window);
            continue;
        }
        hy_uses_set_window(&f->uses, list[i].id, list[i].id, &list[i].window); /* unlinks it */
        f->uses.window[list[i].id] = f->uses.window_next[list[i].id];
        memset(value->stride, 0, sizeof value->stride);
        value->offset = 0;
        value->base = HY_NO_ID;
        value->node = list[i].node;
    }
}

/* Every result becomes columns of `out`; nothing changes when a reader cannot. */
static bool split_results(hy_fuse *f, const projections *p, uint32_t out) {
    saved *list = NULL;
    size_t count = 0, room = 0;
    bool good = true;
    uint32_t column = 0;
    for (uint32_t i = 0; good && i < p->count; i++) {
        uint32_t result = f->graph->node[p->node[i]].operand[HY_MATMUL_out];
        uint32_t columns = f->graph->value[result].dim[1].factor;
        good = move_windows(f, result, out, column, &list, &count, &room);
        column += columns;
    }
    if (!good) restore(f, list, count);
    free(list);
    return good;
}

bool hy_fuse_projections(hy_fuse *f, uint32_t id) {
    hy_graph *graph = f->graph;
    projections p;
    hy_op op[2];
    if (graph->node[id].kind != HY_OP_MATMUL) return false;
    if (!same_projection(f, &graph->node[id], &graph->node[id])) return false;
    find_projections(f, id, &p);
    uint32_t rows = p.count > 1 ? total_rows(f, p.count, p.w, 0) : 0;
    if (!rows) return false;
    hy_node node = graph->node[id];
    hy_fuse_op(f, &node, op);
    for (int k = 0; k < 2; k++) {
        widen(&op[k].operand[HY_MATMUL_w], 0, rows);
        widen(&op[k].operand[HY_MATMUL_out], 1, rows);
        if (p.biased) widen(&op[k].operand[HY_MATMUL_bias], 0, rows);
    }
    if (!hy_fuse_can_op(f, node.device, op)) return false;
    hy_value proto =
        hy_value_of(HY_VALUE_NODE, (hy_dtype)graph->value[node.operand[HY_MATMUL_out]].dtype, 2,
                    (hy_dim[]){graph->value[node.operand[HY_MATMUL_out]].dim[0], HY_DIM(rows)});
    uint32_t out = hy_uses_value_add(&f->uses, &proto);
    if (out == HY_NO_ID) return hy_fuse_fail(f, HY_NO_MEMORY());
    if (!split_results(f, &p, out)) return false;
    node.operand[HY_MATMUL_w] = join(f, p.count, p.w, 0);
    if (p.biased) node.operand[HY_MATMUL_bias] = join(f, p.count, p.bias, 0);
    if (f->status != HY_OK) return false;
    node.operand[HY_MATMUL_out] = out;
    for (uint32_t i = 1; i < p.count; i++)
        hy_uses_kill(&f->uses, p.node[i]);
    hy_uses_become(&f->uses, id, &node);
    return true;
}

/* ---- epilogues ---------------------------------------------------------------------------------- */

/* The matmul takes over what its only reader does; `node` is the matmul as it will be. */
static bool absorb(hy_fuse *f, uint32_t reader, uint32_t maker, hy_node *node, uint32_t out) {
    const shape_of *s = shape(node);
    node->operand[s->out] = out;
    if (!hy_fuse_can(f, node)) return false;
    hy_uses_kill(&f->uses, maker);
    hy_uses_become(&f->uses, reader, node);
    return true;
}

static bool absorb_unary(hy_fuse *f, uint32_t id, uint32_t maker) {
    const hy_node *unary = &f->graph->node[id];
    hy_node node = f->graph->node[maker];
    const shape_of *s = shape(&node);
    uint32_t act = unary->word[0], scale = hy_fuse_neutral(unary->word[1]), cap = unary->word[2];
    bool last = s->residual == HY_NO_ID || node.operand[s->residual] == HY_NO_ID;
    if (!last || node.word[s->glu]) return false;
    if (s->scale == HY_NO_ID ? (scale || cap || node.word[s->act])
                             : (node.word[s->softcap] || (scale && node.word[s->scale]) ||
                                (act && (node.word[s->act] || node.word[s->scale]))))
        return false;
    if (act) node.word[s->act] = act;
    if (scale) node.word[s->scale] = scale;
    if (cap) node.word[s->softcap] = cap;
    return absorb(f, id, maker, &node, unary->operand[HY_UNARY_out]);
}

/* The added value: one row of f32 is a bias, equal extents are a residual. */
static bool absorb_add(hy_fuse *f, uint32_t id, uint32_t maker, uint32_t added) {
    const hy_node *add = &f->graph->node[id];
    const hy_value *b = &f->graph->value[added];
    hy_node node = f->graph->node[maker];
    if (node.kind != HY_OP_MATMUL) return false;
    if (node.operand[HY_MATMUL_residual] != HY_NO_ID) return false;
    if (b->rank == 1 && added == add->operand[HY_ADD_b]) {
        if (!no_attrs(&node) || node.operand[HY_MATMUL_bias] != HY_NO_ID) return false;
        if (b->dtype != HY_DTYPE_F32 || !hy_fuse_is_constant(f, added)) return false;
        node.operand[HY_MATMUL_bias] = added;
    } else {
        if (!hy_dims_equal(b, &f->graph->value[node.operand[HY_MATMUL_out]])) return false;
        if (hy_fuse_is_constant(f, added)) return false;
        node.operand[HY_MATMUL_residual] = added;
    }
    return absorb(f, id, maker, &node, add->operand[HY_ADD_out]);
}

bool hy_fuse_epilogue(hy_fuse *f, uint32_t id) {
    const hy_node *node = &f->graph->node[id];
    if (node->kind == HY_OP_UNARY) {
        const hy_node *maker = hy_fuse_private(f, node->operand[HY_UNARY_x], id);
        return shape(maker) && absorb_unary(f, id, (uint32_t)(maker - f->graph->node));
    }
    if (node->kind != HY_OP_ADD) return false;
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t x = node->operand[k ? HY_ADD_b : HY_ADD_a];
        uint32_t other = node->operand[k ? HY_ADD_a : HY_ADD_b];
        const hy_node *maker = hy_fuse_private(f, x, id);
        if (shape(maker) && x != other &&
            absorb_add(f, id, (uint32_t)(maker - f->graph->node), other))
            return true;
    }
    return false;
}

bool hy_fuse_combine(hy_fuse *f, uint32_t id) {
    const hy_node *add = &f->graph->node[id];
    if (add->kind != HY_OP_ADD) return false;
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t x = add->operand[k ? HY_ADD_b : HY_ADD_a];
        uint32_t other = add->operand[k ? HY_ADD_a : HY_ADD_b];
        const hy_node *maker = hy_fuse_private(f, x, id);
        if (!maker || maker->kind != HY_OP_COMBINE || x == other) continue;
        hy_node node = *maker;
        if (node.operand[HY_COMBINE_residual] != HY_NO_ID || hy_fuse_is_constant(f, other) ||
            !hy_dims_equal(&f->graph->value[x], &f->graph->value[other]))
            continue;
        node.operand[HY_COMBINE_residual] = other;
        node.operand[HY_COMBINE_out] = add->operand[HY_ADD_out];
        if (!hy_fuse_can(f, &node)) continue;
        uint32_t maker_id = (uint32_t)(maker - f->graph->node);
        hy_uses_kill(&f->uses, maker_id);
        hy_uses_become(&f->uses, id, &node);
        return true;
    }
    return false;
}

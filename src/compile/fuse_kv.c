/* Pattern: rms_norm(q), rms_norm(k), rope(q), rope(k), kv_write -> one kv_write that also gives the
 * finished q. Where the device declines the whole, smaller forms are tried. */
#include <string.h>

#include "src/compile/fuse.h"

enum { KV_STYLE, KV_EPS };

/* One side (q or k) of the pattern: how it comes to be. */
typedef struct side {
    const hy_node *rope, *norm; /* NULL: not there */
    uint32_t raw;               /* the value before norm and rope */
    uint32_t weight;            /* of the norm */
} side;

/* A norm of heads without residual, by a constant weight. */
static bool plain_norm(const hy_fuse *f, const hy_node *norm) {
    return norm && norm->kind == HY_OP_RMS_NORM &&
           norm->operand[HY_RMS_NORM_residual] == HY_NO_ID &&
           norm->operand[HY_RMS_NORM_sum] == HY_NO_ID &&
           norm->operand[HY_RMS_NORM_weight] != HY_NO_ID &&
           hy_fuse_is_constant(f, norm->operand[HY_RMS_NORM_weight]);
}

static uint32_t number(const hy_fuse *f, const hy_node *node) {
    return (uint32_t)(node - f->graph->node);
}

/* Looks back from `value`, which `reader` alone reads. Without a rope nothing is taken. */
static side look_back(const hy_fuse *f, uint32_t value, uint32_t reader) {
    side s = {.raw = value, .weight = HY_NO_ID};
    const hy_node *rope = hy_fuse_private(f, value, reader);
    if (!rope || rope->kind != HY_OP_ROPE) return s;
    s.rope = rope;
    s.raw = rope->operand[HY_ROPE_x];
    const hy_node *norm = hy_fuse_private(f, s.raw, number(f, rope));
    if (!plain_norm(f, norm)) return s;
    s.norm = norm;
    s.raw = norm->operand[HY_RMS_NORM_x];
    s.weight = norm->operand[HY_RMS_NORM_weight];
    return s;
}

/* Without its norm: the rope alone is taken. */
static side without_norm(side s) {
    if (s.norm) s.raw = s.rope->operand[HY_ROPE_x];
    s.norm = NULL;
    s.weight = HY_NO_ID;
    return s;
}

static bool same_rope(const side *a, const side *b) {
    return a->rope->operand[HY_ROPE_table] == b->rope->operand[HY_ROPE_table] &&
           a->rope->word[0] == b->rope->word[0];
}

/* The attention that reads what this kv_write wrote; HY_NO_ID unless there is just one. */
static uint32_t attention_of(const hy_fuse *f, uint32_t id) {
    uint32_t written = f->graph->node[id].written[HY_KV_WRITE_k_cache];
    uint32_t found = HY_NO_ID;
    for (uint32_t use = f->uses.first[written]; use != HY_NO_ID; use = f->uses.next[use]) {
        if (f->graph->node[use / HY_MAX_OPERANDS].kind != HY_OP_ATTENTION) continue;
        if (found != HY_NO_ID) return HY_NO_ID;
        found = use / HY_MAX_OPERANDS;
    }
    return found;
}

/* Node `value` comes from, HY_NO_ID for a leaf. */
static uint32_t origin(const hy_fuse *f, uint32_t value) {
    const hy_value *root = &f->graph->value[hy_graph_root(f->graph, value)];
    return root->kind == HY_VALUE_NODE ? root->node : HY_NO_ID;
}

/* Applies the pattern with what `q` (or NULL) and `k` take over. */
static bool apply(hy_fuse *f, uint32_t id, const side *q, const side *k) {
    hy_graph *graph = f->graph;
    hy_node node = graph->node[id];
    uint32_t eps = k->norm ? k->norm->word[0] : q && q->norm ? q->norm->word[0] : 0;
    node.operand[HY_KV_WRITE_k] = k->raw;
    node.operand[HY_KV_WRITE_table] = k->rope->operand[HY_ROPE_table];
    node.operand[HY_KV_WRITE_k_norm] = k->weight;
    node.word[KV_STYLE] = k->rope->word[0];
    node.word[KV_EPS] = eps;
    if (q) {
        if (!same_rope(q, k) || (q->norm && q->norm->word[0] != eps)) return false;
        if (origin(f, q->raw) != HY_NO_ID && origin(f, q->raw) >= id) return false;
        node.operand[HY_KV_WRITE_q] = q->raw;
        node.operand[HY_KV_WRITE_q_norm] = q->weight;
        node.operand[HY_KV_WRITE_q_out] = q->rope->operand[HY_ROPE_out];
    }
    uint32_t table = origin(f, node.operand[HY_KV_WRITE_table]);
    if ((table != HY_NO_ID && table >= id) || !hy_fuse_can(f, &node)) return false;
    const hy_node *gone[4] = {k->rope, k->norm, q ? q->rope : NULL, q ? q->norm : NULL};
    for (int i = 0; i < 4; i++)
        if (gone[i]) hy_uses_kill(&f->uses, number(f, gone[i]));
    hy_uses_become(&f->uses, id, &node);
    return true;
}

bool hy_fuse_kv_write(hy_fuse *f, uint32_t id) {
    const hy_node *write = &f->graph->node[id];
    if (write->kind != HY_OP_KV_WRITE || write->operand[HY_KV_WRITE_q] != HY_NO_ID ||
        write->operand[HY_KV_WRITE_table] != HY_NO_ID ||
        write->operand[HY_KV_WRITE_k_norm] != HY_NO_ID)
        return false;
    side k = look_back(f, write->operand[HY_KV_WRITE_k], id);
    if (!k.rope) return false;
    uint32_t attention = attention_of(f, id);
    if (attention != HY_NO_ID && f->graph->node[attention].device == write->device) {
        side q = look_back(f, f->graph->node[attention].operand[HY_ATTENTION_q], attention);
        if (q.rope) {
            if (apply(f, id, &q, &k)) return true;
            side q_plain = without_norm(q), k_plain = without_norm(k);
            if ((q.norm || k.norm) && apply(f, id, &q_plain, &k_plain)) return true;
        }
    }
    if (apply(f, id, NULL, &k)) return true;
    side k_plain = without_norm(k);
    return k.norm && apply(f, id, NULL, &k_plain);
}

/* Patterns around norms: the residual add before one, and quantized results. */
#include <math.h>
#include <string.h>

#include "src/compile/fuse.h"

/* Operand numbers of the two norms. */
typedef struct norm_of {
    uint32_t kind, x, residual, sum, out;
} norm_of;

static const norm_of norms[] = {
    {HY_OP_RMS_NORM, HY_RMS_NORM_x, HY_RMS_NORM_residual, HY_RMS_NORM_sum, HY_RMS_NORM_out},
    {HY_OP_LAYER_NORM, HY_LAYER_NORM_x, HY_LAYER_NORM_residual, HY_LAYER_NORM_sum,
     HY_LAYER_NORM_out},
};

static const norm_of *norm_shape(const hy_node *node) {
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        if (norms[i].kind == node->kind) return &norms[i];
    return NULL;
}

/* Its weight and bias are there from the start, so that it can run where the add stood. */
static bool only_constants(const hy_fuse *f, const hy_node *node, const norm_of *s) {
    for (uint32_t i = 0; i < hy_node_operands(node->kind); i++) {
        bool other = i == s->x || i == s->residual || i == s->sum || i == s->out;
        if (!other && node->operand[i] != HY_NO_ID && !hy_fuse_is_constant(f, node->operand[i]))
            return false;
    }
    return true;
}

bool hy_fuse_add_norm(hy_fuse *f, uint32_t id) {
    hy_graph *graph = f->graph;
    const norm_of *s = norm_shape(&graph->node[id]);
    if (!s) return false;
    hy_node node = graph->node[id];
    uint32_t h = node.operand[s->x];
    const hy_node *add = hy_fuse_maker(f, h);
    if (!add || add->kind != HY_OP_ADD || add->device != node.device) return false;
    if (node.operand[s->residual] != HY_NO_ID || node.operand[s->sum] != HY_NO_ID) return false;
    uint32_t a = add->operand[HY_ADD_a], b = add->operand[HY_ADD_b];
    if (!hy_dims_equal(&graph->value[a], &graph->value[b]) || a == b) return false;
    if (hy_fuse_is_constant(f, a) || hy_fuse_is_constant(f, b)) return false;
    if (!only_constants(f, &node, s)) return false;
    bool alone = hy_uses_only(&f->uses, h) == id;
    if (alone && graph->value[h].dtype != HY_DTYPE_F32)
        return false; /* its rounding would vanish */
    node.operand[s->x] = a;
    node.operand[s->residual] = b;
    node.operand[s->sum] = alone ? HY_NO_ID : h;
    node.layer = add->layer;
    if (!hy_fuse_can(f, &node)) return false;
    uint32_t slot = (uint32_t)(add - graph->node);
    hy_uses_kill(&f->uses, id);
    hy_uses_become(&f->uses, slot, &node);
    return true;
}

/* ---- quantized results -------------------------------------------------------------------------- */

static uint32_t quantizable_out(const hy_node *node) {
    const norm_of *s = norm_shape(node);
    if (s) return node->operand[s->out];
    if (node->kind == HY_OP_GLU) return node->operand[HY_GLU_out];
    if (node->kind == HY_OP_MATMUL) return node->operand[HY_MATMUL_out];
    return node->kind == HY_OP_ATTENTION ? node->operand[HY_ATTENTION_out] : HY_NO_ID;
}

/* A matmul by a block format that reads the value as x. */
static bool reads_as_x(const hy_fuse *f, uint32_t use) {
    const hy_node *node = &f->graph->node[use / HY_MAX_OPERANDS];
    uint32_t operand = use % HY_MAX_OPERANDS, w;
    if (node->kind == HY_OP_MATMUL && operand == HY_MATMUL_x)
        w = HY_MATMUL_w;
    else if (node->kind == HY_OP_GROUPED_MATMUL && operand == HY_GROUPED_MATMUL_x)
        w = HY_GROUPED_MATMUL_w;
    else
        return false;
    return hy_dtype_get((hy_dtype)f->graph->value[node->operand[w]].dtype)->quantized;
}

/* The cheapest kernel that gives the bits of `like`; NULL: none. */
static const hy_kernel *cheapest(const hy_compile_params *params, const hy_answer *answer,
                                 const hy_kernel *like) {
    const hy_kernel *best = NULL;
    for (uint32_t i = 0; i < answer->count; i++) {
        const hy_kernel *k = &answer->kernel[i];
        if (hy_kernel_class(params, k) == hy_kernel_class(params, like) &&
            (!best || k->cost < best->cost))
            best = k;
    }
    return best;
}

static bool rounds_to_a8(const hy_kernel *kernel) {
    return (kernel->flags & HY_KERNEL_ROUNDS) &&
           (kernel->rounded == HY_DTYPE_NONE || kernel->rounded == HY_DTYPE_A8);
}

/* The kernels that would run now (of one class, with the least cost per token, as pass select has it) round x to
 * a8 inside anyway, so that rounding it earlier costs no accuracy. */
static bool rounds_anyway(hy_fuse *f, uint32_t node) {
    const hy_compile_params *params = f->query->params;
    hy_op op[2];
    hy_fuse_op(f, &f->graph->node[node], op);
    const hy_answer *small = hy_query_ask(f->query, f->graph->node[node].device, &op[0]);
    const hy_answer *large = hy_query_ask(f->query, f->graph->node[node].device, &op[1]);
    if (!small || !large) return hy_fuse_fail(f, f->query->status);
    bool rounds = false;
    float least = INFINITY;
    for (uint32_t i = 0; i < large->count; i++) {
        const hy_kernel *a = cheapest(params, small, &large->kernel[i]);
        const hy_kernel *b = cheapest(params, large, &large->kernel[i]);
        if (!a) continue;
        const float cost = a->cost / (float)params->bucket[0] +
                           b->cost / (float)params->bucket[params->buckets - 1];
        if (cost >= least) continue;
        least = cost;
        rounds = rounds_to_a8(a) && rounds_to_a8(b);
    }
    return rounds;
}

typedef bool (*use_test)(hy_fuse *f, uint32_t use);

/* Holds for every use of the value and of its windows; false when there is none. */
static bool every_use(hy_fuse *f, uint32_t value, use_test test) {
    bool any = false;
    for (uint32_t id = value, next; id != HY_NO_ID; id = next) {
        next = id == value ? f->uses.window[value] : f->uses.window_next[id];
        if (f->uses.output[id]) return false;
        for (uint32_t use = f->uses.first[id]; use != HY_NO_ID; use = f->uses.next[use]) {
            if (!test(f, use)) return false;
            any = true;
        }
    }
    return any;
}

static bool test_before(hy_fuse *f, uint32_t use) {
    return reads_as_x(f, use) && rounds_anyway(f, use / HY_MAX_OPERANDS);
}

static bool test_after(hy_fuse *f, uint32_t use) {
    return hy_fuse_can(f, &f->graph->node[use / HY_MAX_OPERANDS]);
}

static void set_dtype(hy_fuse *f, uint32_t value, hy_dtype dtype) {
    f->graph->value[value].dtype = (uint8_t)dtype;
    for (uint32_t id = f->uses.window[value]; id != HY_NO_ID; id = f->uses.window_next[id])
        f->graph->value[id].dtype = (uint8_t)dtype;
}

/* Rows of the value and of its windows are whole blocks. */
static bool whole_blocks(const hy_fuse *f, uint32_t value) {
    uint32_t block = hy_dtype_get(HY_DTYPE_A8)->block;
    for (uint32_t id = value; id != HY_NO_ID;
         id = id == value ? f->uses.window[value] : f->uses.window_next[id]) {
        const hy_value *v = &f->graph->value[id];
        hy_dim inner = v->dim[v->rank - 1];
        if (inner.symbol || inner.factor % block || v->offset % block) return false;
    }
    return true;
}

bool hy_fuse_quantize(hy_fuse *f, uint32_t id) {
    uint32_t value = quantizable_out(&f->graph->node[id]);
    if (value == HY_NO_ID || f->graph->value[value].dtype == HY_DTYPE_A8) return false;
    if (!whole_blocks(f, value) || !every_use(f, value, test_before)) return false;
    hy_dtype before = (hy_dtype)f->graph->value[value].dtype;
    set_dtype(f, value, HY_DTYPE_A8);
    if (hy_fuse_can(f, &f->graph->node[id]) && every_use(f, value, test_after)) return true;
    set_dtype(f, value, before);
    return false;
}

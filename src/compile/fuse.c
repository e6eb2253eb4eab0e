/* Pass fuse: a table of patterns, tried in order at every node. A pattern rewrites in place: the fused op
 * takes the slot of one node of the pattern, so that the order of nodes stays a legal order, and it is
 * applied only where the node's device has kernels for it at the smallest and the largest bounds. */
#include "src/compile/fuse.h"

#include "base/half.h"

static const hy_fuse_fn patterns[] = {
    hy_fuse_epilogue, /* biases first, so that joined matmuls join their biases */
    hy_fuse_combine,
    hy_fuse_glu, /* before projections: gate and up belong together with their glu */
    hy_fuse_projections,
    hy_fuse_add_norm, /* after epilogues: a residual is cheaper in the matmul */
    hy_fuse_kv_write,
    hy_fuse_quantize, /* last: its readers are final */
};

const hy_node *hy_fuse_maker(const hy_fuse *f, uint32_t value) {
    if (value == HY_NO_ID) return NULL;
    const hy_value *v = &f->graph->value[value];
    if (v->kind != HY_VALUE_NODE || v->node == HY_NO_ID || v->state != HY_NO_ID) return NULL;
    return &f->graph->node[v->node];
}

const hy_node *hy_fuse_private(const hy_fuse *f, uint32_t value, uint32_t reader) {
    const hy_node *maker = hy_fuse_maker(f, value);
    if (!maker || f->graph->value[value].dtype != HY_DTYPE_F32) return NULL;
    if (hy_uses_only(&f->uses, value) != reader) return NULL;
    return maker->device == f->graph->node[reader].device ? maker : NULL;
}

void hy_fuse_op(const hy_fuse *f, const hy_node *node, hy_op op[2]) {
    hy_node_op(f->graph, node, &f->bounds[0], &op[0]);
    hy_node_op(f->graph, node, &f->bounds[1], &op[1]);
}

bool hy_fuse_can_op(hy_fuse *f, uint32_t device, const hy_op op[2]) {
    bool can = hy_query_both(f->query, device, op);
    if (f->query->status != HY_OK) return hy_fuse_fail(f, f->query->status);
    return can;
}

bool hy_fuse_can(hy_fuse *f, const hy_node *node) {
    hy_op op[2];
    hy_fuse_op(f, node, op);
    return hy_fuse_can_op(f, node->device, op);
}

bool hy_fuse_fail(hy_fuse *f, hy_status status) {
    if (f->status == HY_OK) f->status = status;
    return false;
}

bool hy_fuse_is_constant(const hy_fuse *f, uint32_t value) {
    uint8_t kind = f->graph->value[value].kind;
    return kind == HY_VALUE_WEIGHT || kind == HY_VALUE_LITERAL;
}

uint32_t hy_fuse_neutral(uint32_t word) {
    return word == hy_f32_bits(1.0f) ? 0 : word;
}

hy_status hy_fuse_run(hy_graph *graph, hy_query *query) {
    const hy_compile_params *params = query->params;
    hy_fuse f = {.graph = graph, .query = query};
    f.bounds[0] = hy_bucket_bounds(params, 0);
    f.bounds[1] = hy_bucket_bounds(params, params->buckets - 1);
    HY_TRY(hy_uses_new(graph, &f.uses));
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
        for (uint32_t i = 0; f.status == HY_OK && i < graph->nodes; i++)
            while (!graph->node[i].dead && f.status == HY_OK && patterns[p](&f, i))
                continue;
    hy_uses_free(&f.uses);
    HY_TRY(f.status);
    return hy_graph_verify(graph);
}

hy_status hy_pass_fuse(hy_graph *graph, const hy_compile_params *params) {
    hy_query query = {.params = params};
    hy_status status = hy_fuse_run(graph, &query);
    hy_query_free(&query);
    return status;
}

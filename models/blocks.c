#include "models/blocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

uint32_t hy_block_fail(hy_builder *b, hy_status status) {
    if (b->status == HY_OK && status != HY_OK) {
        b->status = status;
        snprintf(b->error, sizeof b->error, "%s", hy_error_text());
    }
    return HY_NO_ID;
}

bool hy_block_has(const hy_builder *b, const char *name) {
    return hy_gguf_tensor_find(b->gguf, name) != NULL;
}

static void mark_used(hy_builder *b, const hy_gguf_tensor *tensor) {
    const hy_gguf_tensor *first = hy_gguf_tensor_at(b->gguf, 0);
    const size_t index = (size_t)(tensor - first);
    if (b->used && index < hy_gguf_tensor_count(b->gguf)) b->used[index] = true;
}

static void print_shape(hy_text *out, uint32_t rank, const uint64_t *dim) {
    hy_text_add(out, "[");
    for (uint32_t i = 0; i < rank; i++)
        hy_text_add(out, "%s%llu", i ? "," : "", (unsigned long long)dim[i]);
    hy_text_add(out, "]");
}

static hy_status wrong_shape(const hy_gguf_tensor *tensor, uint32_t rank, const uint32_t *dim) {
    uint64_t expected[HY_MAX_RANK];
    for (uint32_t i = 0; i < rank; i++)
        expected[i] = dim[i];
    hy_text text = {0};
    print_shape(&text, tensor->rank, tensor->dim);
    hy_text_add(&text, ", expected ");
    print_shape(&text, rank, expected);
    hy_status status = hy_fail(HY_E_FORMAT, "tensor %s: shape %s", tensor->name,
                               text.data ? text.data : "is wrong");
    hy_text_free(&text);
    return status;
}

/* The tensor when it is there, has this shape and a type that can be a weight. */
static hy_status find_tensor(hy_builder *b, const char *name, uint32_t rank, const uint32_t *dim,
                             const hy_gguf_tensor **out) {
    const hy_gguf_tensor *tensor = hy_gguf_tensor_find(b->gguf, name);
    if (!tensor) return hy_fail(HY_E_FORMAT, "tensor %s is missing", name);
    mark_used(b, tensor);
    bool equal = tensor->rank == rank;
    for (uint32_t i = 0; equal && i < rank; i++)
        equal = tensor->dim[i] == dim[i];
    if (!equal) return wrong_shape(tensor, rank, dim);
    if (tensor->dtype == HY_DTYPE_NONE || tensor->dtype == HY_DTYPE_I32)
        return hy_fail(HY_E_UNSUPPORTED,
                       "tensor %s has type %s (%u), which this build cannot compute "
                       "with",
                       name, hy_gguf_tensor_type_name(tensor->gguf_type), tensor->gguf_type);
    *out = tensor;
    return HY_OK;
}

uint32_t hy_block_weight(hy_builder *b, const char *name, uint32_t rank, const uint32_t *dim) {
    if (b->status != HY_OK) return HY_NO_ID;
    const hy_gguf_tensor *tensor = NULL;
    hy_status status = find_tensor(b, name, rank, dim, &tensor);
    if (status != HY_OK) return hy_block_fail(b, status);
    const hy_weight_part part = {name, dim[0]};
    return hy_graph_weight(b->graph, tensor->dtype, rank, dim, 0, 1, &part);
}

uint32_t hy_block_vector(hy_builder *b, const char *name, uint32_t n) {
    if (b->status != HY_OK) return HY_NO_ID;
    const hy_gguf_tensor *tensor = NULL;
    hy_status status = find_tensor(b, name, 1, &n, &tensor);
    if (status != HY_OK) return hy_block_fail(b, status);
    const hy_weight_part part = {name, n};
    if (tensor->dtype == HY_DTYPE_F32)
        return hy_graph_weight(b->graph, HY_DTYPE_F32, 1, &n, 0, 1, &part);
    if (hy_dtype_get(tensor->dtype)->quantized)
        return hy_block_fail(b, hy_fail(HY_E_UNSUPPORTED,
                                        "tensor %s has type %s; a vector must be "
                                        "f32, f16 or bf16",
                                        name, hy_dtype_get(tensor->dtype)->name));
    float *values = malloc(n * sizeof *values);
    if (!values) return hy_block_fail(b, hy_fail(HY_E_MEMORY, "no memory for tensor %s", name));
    hy_dequantize_row(tensor->dtype, tensor->data, values, n);
    uint32_t id = hy_graph_literal(b->graph, name, HY_DTYPE_F32, 1, &n, values);
    free(values);
    return id;
}

static uint32_t only_result(hy_builder *b, const hy_node_desc *desc, uint32_t operand) {
    if (b->status != HY_OK) return HY_NO_ID;
    return hy_graph_result(b->graph, hy_graph_add(b->graph, desc), operand);
}

uint32_t hy_block_add(hy_builder *b, uint32_t a, uint32_t c) {
    hy_node_desc desc = hy_node_desc_of(HY_OP_ADD);
    desc.operand[HY_ADD_a] = a;
    desc.operand[HY_ADD_b] = c;
    return only_result(b, &desc, HY_ADD_out);
}

uint32_t hy_block_reshape(hy_builder *b, uint32_t x, uint32_t rank, const hy_dim *dim) {
    if (b->status != HY_OK) return HY_NO_ID;
    return hy_graph_reshape(b->graph, x, rank, dim);
}

uint32_t hy_block_matmul(hy_builder *b, uint32_t x, uint32_t weight) {
    hy_node_desc desc = hy_node_desc_of(HY_OP_MATMUL);
    desc.operand[HY_MATMUL_x] = x;
    desc.operand[HY_MATMUL_w] = weight;
    return only_result(b, &desc, HY_MATMUL_out);
}

uint32_t hy_block_linear(hy_builder *b, uint32_t x, uint32_t n, uint32_t k, const char *prefix,
                         const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    uint32_t y = hy_block_matmul(b, x, hy_block_weight(b, full, 2, (uint32_t[]){n, k}));
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    return hy_block_has(b, full) ? hy_block_add(b, y, hy_block_vector(b, full, n)) : y;
}

uint32_t hy_block_norm(hy_builder *b, uint32_t x, uint32_t n, const char *prefix,
                       const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    hy_node_desc desc = hy_node_desc_of(HY_OP_RMS_NORM);
    desc.operand[HY_RMS_NORM_x] = x;
    desc.operand[HY_RMS_NORM_weight] = hy_block_vector(b, full, n);
    desc.rms_norm.eps = b->h->norm_eps;
    return only_result(b, &desc, HY_RMS_NORM_out);
}

static uint32_t rope(hy_builder *b, uint32_t x) {
    hy_node_desc desc = hy_node_desc_of(HY_OP_ROPE);
    desc.operand[HY_ROPE_x] = x;
    desc.operand[HY_ROPE_table] = b->rope;
    desc.rope.style = (int32_t)b->arch->rope_style;
    return only_result(b, &desc, HY_ROPE_out);
}

/* q, k, v: [T, heads * size] each. */
static void project(hy_builder *b, const char *prefix, uint32_t x, uint32_t out[3]) {
    static const char *const names[3] = {"attn_q", "attn_k", "attn_v"};
    const hy_hparams *h = b->h;
    const uint32_t rows[3] = {h->heads * h->head_dim, h->kv_heads * h->head_dim,
                              h->kv_heads * h->value_dim};
    char joined[128];
    snprintf(joined, sizeof joined, "%sattn_qkv.weight", prefix);
    if (!hy_block_has(b, joined)) {
        for (int i = 0; i < 3; i++)
            out[i] = hy_block_linear(b, x, rows[i], h->embedding, prefix, names[i]);
        return;
    }
    uint32_t all =
        hy_block_linear(b, x, rows[0] + rows[1] + rows[2], h->embedding, prefix, "attn_qkv");
    for (uint32_t i = 0, begin = 0; i < 3; begin += rows[i++])
        out[i] = b->status == HY_OK ? hy_graph_slice(b->graph, all, 1, begin, rows[i]) : HY_NO_ID;
}

/* Writes k and v into the pages of this layer and lets q [T, A, D] look at them: [T, A, C]. */
static uint32_t attend(hy_builder *b, uint32_t layer, uint32_t q, uint32_t k, uint32_t v) {
    if (b->status != HY_OK) return HY_NO_ID;
    const hy_hparams *h = b->h;
    char name[32];
    snprintf(name, sizeof name, "k.%u", layer);
    const hy_dim k_dim[] = {HY_DIM_P, HY_DIM(h->kv_heads), HY_DIM(HY_PAGE_TOKENS),
                            HY_DIM(h->head_dim)};
    const hy_dim v_dim[] = {HY_DIM_P, HY_DIM(h->kv_heads), HY_DIM(HY_PAGE_TOKENS),
                            HY_DIM(h->value_dim)};
    hy_node_desc write = hy_node_desc_of(HY_OP_KV_WRITE);
    write.operand[HY_KV_WRITE_k] = k;
    write.operand[HY_KV_WRITE_v] = v;
    write.operand[HY_KV_WRITE_slot] = b->slot;
    write.operand[HY_KV_WRITE_k_cache] = hy_graph_state(b->graph, name, b->kv_dtype, 4, k_dim);
    name[0] = 'v';
    write.operand[HY_KV_WRITE_v_cache] = hy_graph_state(b->graph, name, b->kv_dtype, 4, v_dim);
    uint32_t node = hy_graph_add(b->graph, &write);
    hy_node_desc desc = hy_node_desc_of(HY_OP_ATTENTION);
    desc.operand[HY_ATTENTION_q] = q;
    desc.operand[HY_ATTENTION_k_cache] = hy_graph_result(b->graph, node, HY_KV_WRITE_k_cache);
    desc.operand[HY_ATTENTION_v_cache] = hy_graph_result(b->graph, node, HY_KV_WRITE_v_cache);
    desc.operand[HY_ATTENTION_table] = b->table;
    desc.operand[HY_ATTENTION_row] = b->row;
    desc.operand[HY_ATTENTION_pos] = b->pos;
    desc.operand[HY_ATTENTION_len] = b->len;
    desc.attention.scale = h->attention_scale != 0
                               ? h->attention_scale
                               : (float)(1.0 / __builtin_sqrt((double)h->head_dim));
    desc.attention.causal = 1;
    return only_result(b, &desc, HY_ATTENTION_out);
}

uint32_t hy_block_attention(hy_builder *b, uint32_t layer, uint32_t x, bool head_norm) {
    const hy_hparams *h = b->h;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "blk.%u.", layer);
    uint32_t y[3];
    project(b, prefix, hy_block_norm(b, x, h->embedding, prefix, "attn_norm"), y);
    const uint32_t heads[3] = {h->heads, h->kv_heads, h->kv_heads};
    const uint32_t size[3] = {h->head_dim, h->head_dim, h->value_dim};
    for (int i = 0; i < 3; i++)
        y[i] =
            hy_block_reshape(b, y[i], 3, (hy_dim[]){HY_DIM_T, HY_DIM(heads[i]), HY_DIM(size[i])});
    if (head_norm) {
        y[0] = hy_block_norm(b, y[0], h->head_dim, prefix, "attn_q_norm");
        y[1] = hy_block_norm(b, y[1], h->head_dim, prefix, "attn_k_norm");
    }
    uint32_t out = attend(b, layer, rope(b, y[0]), rope(b, y[1]), y[2]);
    const uint32_t width = h->heads * h->value_dim;
    out = hy_block_reshape(b, out, 2, (hy_dim[]){HY_DIM_T, HY_DIM(width)});
    return hy_block_add(b, x, hy_block_linear(b, out, h->embedding, width, prefix, "attn_output"));
}

static uint32_t silu_glu(hy_builder *b, uint32_t gate, uint32_t up) {
    hy_node_desc desc = hy_node_desc_of(HY_OP_GLU);
    desc.operand[HY_GLU_gate] = gate;
    desc.operand[HY_GLU_up] = up;
    desc.glu.act = HY_ACT_SILU;
    return only_result(b, &desc, HY_GLU_out);
}

uint32_t hy_block_ffn(hy_builder *b, uint32_t layer, uint32_t x) {
    const uint32_t d = b->h->embedding, f = b->h->ffn;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "blk.%u.", layer);
    uint32_t n = hy_block_norm(b, x, d, prefix, "ffn_norm");
    uint32_t gate = hy_block_linear(b, n, f, d, prefix, "ffn_gate");
    uint32_t up = hy_block_linear(b, n, f, d, prefix, "ffn_up");
    uint32_t down = hy_block_linear(b, silu_glu(b, gate, up), d, f, prefix, "ffn_down");
    return hy_block_add(b, x, down);
}

/* x [T, Q, k] -> [T, P, n] by each chosen expert's rows of "<prefix><name>.weight" [E, n, k]. */
static uint32_t experts_linear(hy_builder *b, uint32_t x, uint32_t ids, uint32_t n, uint32_t k,
                               const char *prefix, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    hy_node_desc desc = hy_node_desc_of(HY_OP_GROUPED_MATMUL);
    desc.operand[HY_GROUPED_MATMUL_x] = x;
    desc.operand[HY_GROUPED_MATMUL_w] =
        hy_block_weight(b, full, 3, (uint32_t[]){b->h->experts, n, k});
    desc.operand[HY_GROUPED_MATMUL_ids] = ids;
    return only_result(b, &desc, HY_GROUPED_MATMUL_out);
}

/* Node of the router: ids and weights [T, experts_used]. HY_NO_ID on failure. */
static uint32_t route(hy_builder *b, uint32_t n, const char *prefix) {
    const hy_hparams *h = b->h;
    hy_node_desc desc = hy_node_desc_of(HY_OP_TOPK_ROUTE);
    desc.operand[HY_TOPK_ROUTE_logits] =
        hy_block_linear(b, n, h->experts, h->embedding, prefix, "ffn_gate_inp");
    desc.topk_route.k = (int32_t)h->experts_used;
    desc.topk_route.gate = HY_GATE_SOFTMAX;
    desc.topk_route.normalize = 1;
    return b->status == HY_OK ? hy_graph_add(b->graph, &desc) : HY_NO_ID;
}

uint32_t hy_block_moe(hy_builder *b, uint32_t layer, uint32_t x) {
    const uint32_t d = b->h->embedding, f = b->h->expert_ffn;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "blk.%u.", layer);
    uint32_t n = hy_block_norm(b, x, d, prefix, "ffn_norm");
    uint32_t router = route(b, n, prefix);
    if (b->status != HY_OK) return HY_NO_ID;
    uint32_t ids = hy_graph_result(b->graph, router, HY_TOPK_ROUTE_ids);
    uint32_t one = hy_block_reshape(b, n, 3, (hy_dim[]){HY_DIM_T, HY_DIM(1), HY_DIM(d)});
    uint32_t gate = experts_linear(b, one, ids, f, d, prefix, "ffn_gate_exps");
    uint32_t up = experts_linear(b, one, ids, f, d, prefix, "ffn_up_exps");
    uint32_t down = experts_linear(b, silu_glu(b, gate, up), ids, d, f, prefix, "ffn_down_exps");
    hy_node_desc desc = hy_node_desc_of(HY_OP_COMBINE);
    desc.operand[HY_COMBINE_x] = down;
    desc.operand[HY_COMBINE_weights] = hy_graph_result(b->graph, router, HY_TOPK_ROUTE_weights);
    return hy_block_add(b, x, only_result(b, &desc, HY_COMBINE_out));
}

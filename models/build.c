/* The graph of one step: inputs, embedding, layers, head. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "models/blocks.h"

static void add_inputs(hy_builder *b) {
    const hy_dim t = HY_DIM_T, s = HY_DIM_S, r = HY_DIM_R;
    const hy_dim table[] = {HY_DIM_S, HY_DIM_L};
    b->tokens = hy_graph_input(b->graph, "tokens", HY_DTYPE_I32, 1, &t);
    b->pos = hy_graph_input(b->graph, "pos", HY_DTYPE_I32, 1, &t);
    b->slot = hy_graph_input(b->graph, "slot", HY_DTYPE_I32, 1, &t);
    b->row = hy_graph_input(b->graph, "row", HY_DTYPE_I32, 1, &t);
    b->rows = hy_graph_input(b->graph, "rows", HY_DTYPE_I32, 1, &r);
    b->len = hy_graph_input(b->graph, "len", HY_DTYPE_I32, 1, &s);
    b->table = hy_graph_input(b->graph, "table", HY_DTYPE_I32, 2, table);
}

static uint32_t embedding(hy_builder *b) {
    hy_node_desc desc = hy_node_desc_of(HY_OP_EMBED);
    desc.operand[HY_EMBED_ids] = b->tokens;
    b->embedding_table =
        hy_block_weight(b, "token_embd.weight", 2, (uint32_t[]){b->h->vocab, b->h->embedding});
    desc.operand[HY_EMBED_table] = b->embedding_table;
    if (b->status != HY_OK) return HY_NO_ID;
    return hy_graph_result(b->graph, hy_graph_add(b->graph, &desc), HY_EMBED_out);
}

/* Only the rows that someone asked for go through the last norm and the widest matmul. */
static void head(hy_builder *b, uint32_t x) {
    if (b->status != HY_OK) return;
    hy_node_desc desc = hy_node_desc_of(HY_OP_GATHER_ROWS);
    desc.operand[HY_GATHER_ROWS_x] = x;
    desc.operand[HY_GATHER_ROWS_rows] = b->rows;
    x = hy_graph_result(b->graph, hy_graph_add(b->graph, &desc), HY_GATHER_ROWS_out);
    x = hy_block_norm(b, x, b->h->embedding, "", "output_norm");
    uint32_t logits = hy_block_has(b, "output.weight")
                          ? hy_block_linear(b, x, b->h->vocab, b->h->embedding, "", "output")
                          : hy_block_matmul(b, x, b->embedding_table);
    if (b->status == HY_OK) hy_graph_output_add(b->graph, "logits", logits);
}

/* A tensor that nothing reads is a feature that this build does not know; say so once. */
static void warn_unused(const hy_builder *b) {
    size_t unused = 0;
    const char *first = NULL;
    for (size_t i = 0; i < hy_gguf_tensor_count(b->gguf); i++) {
        const char *name = hy_gguf_tensor_at(b->gguf, i)->name;
        if (b->used[i] || strncmp(name, "rope_f", 6) == 0 || strstr(name, "rot_embd")) continue;
        if (unused++ == 0) first = name;
    }
    if (unused)
        hy_log(HY_LOG_WARN, "%s: %zu tensors are not used by architecture %s, the first is %s",
               hy_gguf_path(b->gguf) ? hy_gguf_path(b->gguf) : "model", unused, b->h->arch, first);
}

static hy_status build(hy_builder *b) {
    add_inputs(b);
    b->graph->layer = HY_NO_ID;
    b->rope = hy_block_rope_table(b);
    uint32_t x = embedding(b);
    for (uint32_t layer = 0; layer < b->h->layers && b->status == HY_OK; layer++) {
        b->graph->layer = layer;
        x = b->arch->layer(b, layer, x);
        if (b->graph->status != HY_OK) break;
    }
    b->graph->layer = HY_NO_ID;
    head(b, x);
    if (b->status != HY_OK) return hy_fail(b->status, "%s", b->error);
    HY_TRY(hy_graph_status(b->graph));
    return HY_OK;
}

static hy_status check_cache(const hy_hparams *h, hy_dtype dtype) {
    if (dtype != HY_DTYPE_F16 && dtype != HY_DTYPE_F32 && dtype != HY_DTYPE_Q8_0)
        return hy_fail(HY_E_UNSUPPORTED, "a KV cache cannot be %s; f16, f32 or q8_0 can",
                       hy_dtype_get(dtype)->name);
    if (dtype == HY_DTYPE_Q8_0 && (h->head_dim % 32 != 0 || h->value_dim % 32 != 0))
        return hy_fail(
            HY_E_UNSUPPORTED,
            "a q8_0 KV cache needs heads of a multiple of 32 elements; this model has %u",
            h->head_dim % 32 ? h->head_dim : h->value_dim);
    return HY_OK;
}

hy_status hy_model_graph(const hy_gguf *gguf, const hy_hparams *h,
                         const hy_model_graph_params *params, hy_graph **out) {
    HY_TRY(check_cache(h, params->kv_dtype));
    hy_builder b = {
        .gguf = gguf, .h = h, .arch = hy_arch_find(h->arch), .kv_dtype = params->kv_dtype};
    b.context = params->context ? params->context : h->context;
    if (!b.arch) return hy_fail(HY_E_UNSUPPORTED, "architecture '%s' is not known", h->arch);
    b.used = calloc(hy_gguf_tensor_count(gguf) + 1, sizeof *b.used);
    if (!b.used) return hy_fail(HY_E_MEMORY, "no memory to build a graph");
    hy_status status = hy_graph_new(h->arch, &b.graph);
    if (status == HY_OK) status = build(&b);
    if (status == HY_OK) warn_unused(&b);
    free(b.used);
    if (status != HY_OK) {
        hy_graph_free(b.graph);
        return status;
    }
    *out = b.graph;
    return HY_OK;
}

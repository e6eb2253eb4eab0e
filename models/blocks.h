/* models/blocks.h: what the layers of the architectures are made of.
 *
 * Everything here adds nodes to b->graph and returns a value id. The first failure is kept in the builder;
 * afterwards every call returns HY_NO_ID, so that a layer reads without error checks. Weights are looked
 * up by name and checked (present, shape, known type) when they are asked for. The graph is emitted plain;
 * fusing is the compiler's business. */
#ifndef HY_MODELS_BLOCKS_H
#define HY_MODELS_BLOCKS_H

#include "models/model.h"

struct hy_builder {
    const hy_gguf *gguf;
    const hy_hparams *h;
    const hy_arch *arch;
    hy_graph *graph;
    hy_dtype kv_dtype;
    uint32_t context;
    uint32_t tokens, pos, slot, row, rows, len, table; /* inputs of the step block */
    uint32_t rope;                                     /* f32 [T, rope_dims]: cos, then sin */
    uint32_t embedding_table; /* weight [vocab, embedding], also the head of tied models */
    bool *used;               /* [tensors of the file] asked for by the builder */
    hy_status status;
    char error[512]; /* of the first failure */
};

/* Keeps the thread's present error text with `status` unless there was a failure before. */
uint32_t hy_block_fail(hy_builder *b, hy_status status);
bool hy_block_has(const hy_builder *b, const char *name);

/* Tensor of exactly this shape, outermost first. */
uint32_t hy_block_weight(hy_builder *b, const char *name, uint32_t rank, const uint32_t *dim);
/* f32 [n]; a file's f16 or bf16 is converted here, block formats are refused. */
uint32_t hy_block_vector(hy_builder *b, const char *name, uint32_t n);

/* x [T, k] -> [T, n] by a weight [n, k]. */
uint32_t hy_block_matmul(hy_builder *b, uint32_t x, uint32_t weight);
/* x [T, k] -> [T, n] by "<prefix><name>.weight", and "<prefix><name>.bias" where the file has it. */
uint32_t hy_block_linear(hy_builder *b, uint32_t x, uint32_t n, uint32_t k, const char *prefix,
                         const char *name);
uint32_t hy_block_add(hy_builder *b, uint32_t a, uint32_t c);
uint32_t hy_block_reshape(hy_builder *b, uint32_t x, uint32_t rank, const hy_dim *dim);
/* rms_norm over the innermost extent n with weight "<prefix><name>.weight". */
uint32_t hy_block_norm(hy_builder *b, uint32_t x, uint32_t n, const char *prefix, const char *name);

/* x + attention(norm(x)): norm "attn_norm"; q, k, v from separate tensors or a joined attn_qkv; norms of
 * single heads "attn_q_norm", "attn_k_norm" if `head_norm`; rope; pages; "attn_output". */
uint32_t hy_block_attention(hy_builder *b, uint32_t layer, uint32_t x, bool head_norm);
/* x + down(silu(gate(n)) * up(n)), n = norm(x) by "ffn_norm". */
uint32_t hy_block_ffn(hy_builder *b, uint32_t layer, uint32_t x);
/* The same over experts: softmax over all, the best experts_used, weights divided by their sum. */
uint32_t hy_block_moe(hy_builder *b, uint32_t layer, uint32_t x);

/* The rope table of the step, from literal frequencies. */
uint32_t hy_block_rope_table(hy_builder *b);

#endif

/* Llama 1 to 3, Mistral, Mixtral, TinyLlama and their like: pre-norm, rope on neighbouring pairs, gated
 * SiLU, grouped heads. Biases and a joined attn_qkv are used where the file has them; a file with
 * ffn_gate_inp is a mixture of experts. Sources: Touvron et al. 2023 arXiv:2302.13971, Jiang et al. 2024
 * arXiv:2401.04088 (Mixtral). */
#include "models/archs.h"
#include "models/blocks.h"

static uint32_t layer_of(hy_builder *b, uint32_t layer, uint32_t x) {
    x = hy_block_attention(b, layer, x, false);
    return b->h->experts ? hy_block_moe(b, layer, x) : hy_block_ffn(b, layer, x);
}

const hy_arch hy_arch_llama = {
    .name = "llama",
    .layer = layer_of,
    .rope_style = HY_ROPE_PAIRS,
};

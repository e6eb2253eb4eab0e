/* Qwen3 (dense): as Qwen2 without biases, and each head of q and k is normed before it is rotated; the
 * head size is a key of its own. Source: Yang et al. 2025 arXiv:2505.09388. */
#include "models/archs.h"
#include "models/blocks.h"

static uint32_t layer_of(hy_builder *b, uint32_t layer, uint32_t x) {
    x = hy_block_attention(b, layer, x, true);
    return hy_block_ffn(b, layer, x);
}

const hy_arch hy_arch_qwen3 = {
    .name = "qwen3",
    .layer = layer_of,
    .rope_style = HY_ROPE_HALVES,
};

/* Qwen2 and Qwen2.5: llama's layer with rope on halves of a head and biases on q, k and v. Source: Yang
 * et al. 2024 arXiv:2407.10671. */
#include "models/archs.h"
#include "models/blocks.h"

static uint32_t layer_of(hy_builder *b, uint32_t layer, uint32_t x) {
    x = hy_block_attention(b, layer, x, false);
    return hy_block_ffn(b, layer, x);
}

const hy_arch hy_arch_qwen2 = {
    .name = "qwen2",
    .layer = layer_of,
    .rope_style = HY_ROPE_HALVES,
};

/* Qwen3 with a mixture of experts in every layer. Source: Yang et al. 2025 arXiv:2505.09388. */
#include "models/archs.h"
#include "models/blocks.h"

static hy_status check(const hy_gguf *gguf, hy_hparams *h) {
    if (h->experts == 0) return hy_fail(HY_E_FORMAT, "key qwen3moe.expert_count is missing or 0");
    return HY_OK;
}

static uint32_t layer_of(hy_builder *b, uint32_t layer, uint32_t x) {
    x = hy_block_attention(b, layer, x, true);
    return hy_block_moe(b, layer, x);
}

const hy_arch hy_arch_qwen3moe = {
    .name = "qwen3moe",
    .check = check,
    .layer = layer_of,
    .rope_style = HY_ROPE_HALVES,
};

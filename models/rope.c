/* The rope table: angles from frequencies that are computed here in double and given to the graph as
 * sums of two float32, so that a position of a million still has its phase.
 * Sources: Su et al. 2021 arXiv:2104.09864 (rotary embedding); Peng et al. 2023 arXiv:2309.00071 (YaRN);
 * the frequency factors of Llama 3.1 and LongRoPE arrive as tensors. */
#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "models/blocks.h"

/* Blend of interpolated and kept frequencies: pairs below `low` turn often enough to be kept, those
 * above `high` are interpolated. */
typedef struct yarn_range {
    double low, high;
} yarn_range;

/* The pair whose wave turns `rotations` times over the original context. */
static double yarn_pair(const hy_hparams *h, double rotations) {
    return h->rope_dims * log(h->rope_original_context / (rotations * 2.0 * M_PI)) /
           (2.0 * log((double)h->rope_base));
}

static yarn_range yarn_range_of(const hy_hparams *h) {
    yarn_range range = {floor(yarn_pair(h, h->yarn_beta_fast)),
                        ceil(yarn_pair(h, h->yarn_beta_slow))};
    range.low = HY_MAX(0.0, range.low);
    range.high = HY_MIN((double)h->rope_dims - 1.0, range.high);
    return range;
}

static double yarn_magnitude(double factor, double multiplier) {
    return factor <= 1 ? 1.0 : 0.1 * multiplier * log(factor) + 1.0;
}

static double magnitude(const hy_hparams *h) {
    double m = h->rope_attn_factor;
    if (h->rope_scaling != HY_ROPE_SCALING_YARN) return m;
    m *= yarn_magnitude(h->rope_factor, 1.0);
    if (h->rope_log_multiplier != 0) m /= yarn_magnitude(h->rope_factor, h->rope_log_multiplier);
    return m;
}

static double frequency(const hy_hparams *h, uint32_t j, double divisor) {
    double f = pow((double)h->rope_base, -2.0 * j / h->rope_dims) / divisor;
    if (h->rope_scaling != HY_ROPE_SCALING_YARN) return f / h->rope_factor;
    yarn_range range = yarn_range_of(h);
    double ramp = (j - range.low) / HY_MAX(0.001, range.high - range.low);
    double keep = 1.0 - HY_MIN(1.0, HY_MAX(0.0, ramp));
    return f / h->rope_factor * (1.0 - keep) + f * keep;
}

/* Divisors of the frequencies, or NULL: all 1. */
static const char *factors_name(const hy_builder *b) {
    if (hy_block_has(b, "rope_freqs.weight")) return "rope_freqs.weight";
    if (!hy_block_has(b, "rope_factors_long.weight")) return NULL;
    return b->context > b->h->rope_original_context ? "rope_factors_long.weight"
                                                    : "rope_factors_short.weight";
}

/* Fills divisor [n]. */
static hy_status read_factors(hy_builder *b, float *divisor, uint32_t n) {
    for (uint32_t j = 0; j < n; j++)
        divisor[j] = 1.0f;
    const char *name = factors_name(b);
    if (!name) return HY_OK;
    const hy_gguf_tensor *tensor = hy_gguf_tensor_find(b->gguf, name);
    if (!tensor) return hy_fail(HY_E_FORMAT, "tensor %s is missing", name);
    if (tensor->rank != 1 || tensor->dim[0] != n)
        return hy_fail(HY_E_FORMAT, "tensor %s: shape [%llu] of rank %u, expected [%u]", name,
                       (unsigned long long)tensor->dim[0], tensor->rank, n);
    if (tensor->dtype != HY_DTYPE_F32 && tensor->dtype != HY_DTYPE_F16 &&
        tensor->dtype != HY_DTYPE_BF16)
        return hy_fail(HY_E_UNSUPPORTED, "tensor %s has type %s; it must be f32, f16 or bf16", name,
                       hy_gguf_tensor_type_name(tensor->gguf_type));
    hy_dequantize_row(tensor->dtype, tensor->data, divisor, n);
    for (uint32_t j = 0; j < n; j++)
        if (!isfinite(divisor[j]) || divisor[j] == 0)
            return hy_fail(HY_E_FORMAT, "tensor %s: element %u is %g", name, j, (double)divisor[j]);
    return HY_OK;
}

uint32_t hy_block_rope_table(hy_builder *b) {
    if (b->status != HY_OK) return HY_NO_ID;
    const uint32_t pairs = b->h->rope_dims / 2;
    float divisor[512], freq[512][2]; /* rope_dims is at most 1024 */
    hy_status status = read_factors(b, divisor, pairs);
    if (status != HY_OK) return hy_block_fail(b, status);
    for (uint32_t j = 0; j < pairs; j++) {
        double f = frequency(b->h, j, divisor[j]);
        freq[j][0] = (float)f;
        freq[j][1] = (float)(f - (double)freq[j][0]);
    }
    hy_node_desc desc = hy_node_desc_of(HY_OP_ROPE_TABLE);
    desc.operand[HY_ROPE_TABLE_pos] = b->pos;
    desc.operand[HY_ROPE_TABLE_freq] =
        hy_graph_literal(b->graph, "rope.freq", HY_DTYPE_F32, 2, (uint32_t[]){pairs, 2}, freq);
    desc.rope_table.magnitude = (float)magnitude(b->h);
    return hy_graph_result(b->graph, hy_graph_add(b->graph, &desc), HY_ROPE_TABLE_out);
}

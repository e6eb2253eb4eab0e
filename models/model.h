/* models/model.h: from a GGUF file's metadata and tensor list to the graph of one step.
 *
 * An architecture is one row: its name, how its layers look (a builder over models/blocks.h) and what its
 * hyper-parameters need beyond the common ones. The graph is symbolic in T, S, R, P and L, so one graph
 * serves every engine but for two choices: the type of the KV cache, and the context length, which some
 * files use to choose between two sets of rope factors.
 *
 * Thread-safety: everything here is pure; a gguf may be shared. */
#ifndef HY_MODELS_MODEL_H
#define HY_MODELS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "src/format/gguf.h"
#include "src/graph/graph.h"

/* Tokens in one KV page. */
#define HY_PAGE_TOKENS 64

typedef enum hy_rope_scaling {
    HY_ROPE_SCALING_NONE = 0,
    HY_ROPE_SCALING_LINEAR,
    HY_ROPE_SCALING_YARN,
    HY_ROPE_SCALING_LONG /* factors come from tensors; else as linear */
} hy_rope_scaling;

/* The numbers of a model, all of them inside the limits of models/hparams.c. */
typedef struct hy_hparams {
    char arch[32];
    uint32_t layers, embedding, ffn, vocab, context;
    uint32_t heads, kv_heads, head_dim, value_dim;
    uint32_t experts, experts_used, expert_ffn; /* 0: dense */
    float norm_eps;
    float attention_scale; /* 0: 1 / sqrt(head_dim) */
    uint32_t rope_dims;    /* rotated elements of each head, even */
    float rope_base;
    hy_rope_scaling rope_scaling;
    float rope_factor;      /* positions are divided by it; 1: none */
    float rope_attn_factor; /* magnitude of the rotation */
    float rope_log_multiplier;
    float yarn_beta_fast, yarn_beta_slow;
    uint32_t rope_original_context;
} hy_hparams;

typedef struct hy_builder hy_builder;

/* One architecture. */
typedef struct hy_arch {
    const char *name;                                       /* general.architecture */
    hy_status (*check)(const hy_gguf *gguf, hy_hparams *h); /* NULL: nothing beyond the common */
    /* Adds layer `layer` to the residual stream x [T, D] and returns the new one. */
    uint32_t (*layer)(hy_builder *b, uint32_t layer, uint32_t x);
    hy_rope_style rope_style;
} hy_arch;

/* NULL when unknown. */
const hy_arch *hy_arch_find(const char *name);
/* NULL past the end. */
const hy_arch *hy_arch_at(uint32_t index);

/* HY_E_UNSUPPORTED with the known architectures; HY_E_FORMAT and HY_E_LIMIT with the key and its
 * value. */
HY_NODISCARD hy_status hy_hparams_read(const hy_gguf *gguf, hy_hparams *out);

/* Choices that change the graph. */
typedef struct hy_model_graph_params {
    hy_dtype kv_dtype; /* f32, f16 or q8_0 */
    uint32_t context;  /* positions one sequence may have; 0: the model's */
} hy_model_graph_params;

/* The graph of one step. Inputs of the step block, all i32: tokens [T], pos [T], slot [T], row [T],
 * rows [R] (which tokens give logits), len [S], table [S, L]. States k.N and v.N [P, kv_heads, 64, D].
 * Output "logits" f32 [R, vocab]. HY_E_FORMAT for a tensor that is missing or has another shape,
 * HY_E_UNSUPPORTED for one of a type that this build does not know, by name. */
HY_NODISCARD hy_status hy_model_graph(const hy_gguf *gguf, const hy_hparams *h,
                                      const hy_model_graph_params *params, hy_graph **out);

#endif

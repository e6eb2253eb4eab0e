/* Hyper-parameters from GGUF keys. Every number is checked against a limit before anything is computed
 * from it, so that products of them fit 64 bits and a hostile file is refused by the key's name. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "models/model.h"

/* The architecture's prefix and the first failure. */
typedef struct reader {
    const hy_gguf *gguf;
    const char *arch;
    char key[96];
} reader;

static const char *key_of(reader *r, const char *suffix) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, suffix);
    return r->key;
}

static bool has(reader *r, const char *suffix) {
    return hy_gguf_find(r->gguf, key_of(r, suffix)) != NULL;
}

static hy_status require(reader *r, const char *suffix) {
    if (has(r, suffix)) return HY_OK;
    return hy_fail(HY_E_FORMAT, "key %s is missing", r->key);
}

/* One integer in [low, high]; `fallback` itself is not checked. */
static hy_status whole(reader *r, const char *suffix, uint32_t fallback, uint32_t low,
                       uint32_t high, uint32_t *out) {
    const char *key = key_of(r, suffix);
    const bool present = hy_gguf_find(r->gguf, key) != NULL;
    uint32_t value;
    HY_TRY(hy_gguf_u32(r->gguf, key, fallback, &value));
    if (present && (value < low || value > high))
        return hy_fail(value < low ? HY_E_FORMAT : HY_E_LIMIT, "key %s: %u is outside [%u, %u]",
                       key, value, low, high);
    *out = value;
    return HY_OK;
}

static hy_status real(reader *r, const char *suffix, float fallback, float low, float high,
                      float *out) {
    const char *key = key_of(r, suffix);
    float value;
    HY_TRY(hy_gguf_f32(r->gguf, key, fallback, &value));
    if (!(value >= low && value <= high))
        return hy_fail(HY_E_FORMAT, "key %s: %g is outside [%g, %g]", key, (double)value,
                       (double)low, (double)high);
    *out = value;
    return HY_OK;
}

/* One row of the table of integers. */
typedef struct whole_rule {
    const char *suffix;
    size_t offset; /* in hy_hparams */
    uint32_t low, high;
    bool required;
} whole_rule;

#define FIELD(name) offsetof(hy_hparams, name)

// clang-format off
static const whole_rule whole_rules[] = {
    {"block_count",                          FIELD(layers),       1, 1024,     true},
    {"embedding_length",                     FIELD(embedding),    1, 1u << 17, true},
    {"feed_forward_length",                  FIELD(ffn),          1, 1u << 20, true},
    {"context_length",                       FIELD(context),      1, 1u << 26, true},
    {"attention.head_count",                 FIELD(heads),        1, 1024,     true},
    {"attention.head_count_kv",              FIELD(kv_heads),     1, 1024,     false},
    {"attention.key_length",                 FIELD(head_dim),     1, 1024,     false},
    {"attention.value_length",               FIELD(value_dim),    1, 1024,     false},
    {"expert_count",                         FIELD(experts),      0, 1024,     false},
    {"expert_used_count",                    FIELD(experts_used), 0, 64,       false},
    {"expert_feed_forward_length",           FIELD(expert_ffn),   0, 1u << 20, false},
    {"rope.dimension_count",                 FIELD(rope_dims),    2, 1024,     false},
    {"rope.scaling.original_context_length", FIELD(rope_original_context), 1, 1u << 26, false},
};
// clang-format on

static hy_status read_whole(reader *r, hy_hparams *h) {
    for (size_t i = 0; i < sizeof whole_rules / sizeof whole_rules[0]; i++) {
        const whole_rule *rule = &whole_rules[i];
        if (rule->required) HY_TRY(require(r, rule->suffix));
        HY_TRY(whole(r, rule->suffix, 0, rule->low, rule->high,
                     (uint32_t *)(void *)((char *)h + rule->offset)));
    }
    return HY_OK;
}

/* Head sizes, defaults and what must divide what. */
static hy_status settle_heads(hy_hparams *h) {
    if (h->kv_heads == 0) h->kv_heads = h->heads;
    if (h->kv_heads > h->heads || h->heads % h->kv_heads != 0)
        return hy_fail(HY_E_FORMAT,
                       "%s.attention.head_count %u is not a multiple of head_count_kv %u", h->arch,
                       h->heads, h->kv_heads);
    if ((h->head_dim == 0 || h->value_dim == 0) && h->embedding % h->heads != 0)
        return hy_fail(HY_E_FORMAT,
                       "%s.embedding_length %u is not a multiple of attention.head_count %u",
                       h->arch, h->embedding, h->heads);
    if (h->head_dim == 0) h->head_dim = h->embedding / h->heads;
    if (h->value_dim == 0) h->value_dim = h->embedding / h->heads;
    if (h->head_dim > 1024 || h->value_dim > 1024)
        return hy_fail(HY_E_LIMIT, "%s: heads of %u elements; at most 1024", h->arch, h->head_dim);
    if (h->rope_dims == 0) h->rope_dims = h->head_dim;
    if (h->rope_dims > h->head_dim || h->rope_dims % 2 != 0)
        return hy_fail(HY_E_FORMAT,
                       "%s.rope.dimension_count %u is not even or above the head size %u", h->arch,
                       h->rope_dims, h->head_dim);
    return HY_OK;
}

static hy_status settle_experts(hy_hparams *h) {
    if (h->experts == 0) return HY_OK;
    if (h->experts_used == 0 || h->experts_used > h->experts)
        return hy_fail(HY_E_FORMAT, "%s.expert_used_count %u does not fit expert_count %u", h->arch,
                       h->experts_used, h->experts);
    if (h->expert_ffn == 0) h->expert_ffn = h->ffn;
    return HY_OK;
}

static hy_status read_scaling_type(reader *r, hy_hparams *h) {
    static const struct {
        const char *name;
        hy_rope_scaling scaling;
    } kinds[] = {{"none", HY_ROPE_SCALING_NONE},
                 {"linear", HY_ROPE_SCALING_LINEAR},
                 {"yarn", HY_ROPE_SCALING_YARN},
                 {"longrope", HY_ROPE_SCALING_LONG}};
    const char *key = key_of(r, "rope.scaling.type");
    hy_span text;
    h->rope_scaling = HY_ROPE_SCALING_LINEAR;
    HY_TRY(hy_gguf_string(r->gguf, key, &text));
    if (text.length == 0) return HY_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strlen(kinds[i].name) == text.length &&
            memcmp(kinds[i].name, text.data, text.length) == 0) {
            h->rope_scaling = kinds[i].scaling;
            return HY_OK;
        }
    return hy_fail(HY_E_UNSUPPORTED,
                   "key %s: '%.*s' is not known; known: none, linear, yarn, longrope", key,
                   (int)(text.length < 64 ? text.length : 64), text.data);
}

static hy_status read_rope(reader *r, hy_hparams *h) {
    HY_TRY(real(r, "rope.freq_base", 10000.0f, 1e-3f, 1e30f, &h->rope_base));
    HY_TRY(read_scaling_type(r, h));
    float factor = 0, old_factor = 0;
    HY_TRY(real(r, "rope.scaling.factor", 0, 0, 1e9f, &factor));
    HY_TRY(real(r, "rope.scale_linear", 0, 0, 1e9f, &old_factor));
    if (factor == 0) factor = old_factor;
    h->rope_factor = factor == 0 || h->rope_scaling == HY_ROPE_SCALING_NONE ? 1.0f : factor;
    HY_TRY(real(r, "rope.scaling.attn_factor", 1.0f, 1e-6f, 1e6f, &h->rope_attn_factor));
    HY_TRY(real(r, "rope.scaling.yarn_log_multiplier", 0, -1e6f, 1e6f, &h->rope_log_multiplier));
    HY_TRY(real(r, "rope.scaling.yarn_beta_fast", 32.0f, 1e-6f, 1e9f, &h->yarn_beta_fast));
    HY_TRY(real(r, "rope.scaling.yarn_beta_slow", 1.0f, 1e-6f, 1e9f, &h->yarn_beta_slow));
    if (h->rope_scaling == HY_ROPE_SCALING_YARN && h->rope_base == 1.0f)
        return hy_fail(HY_E_FORMAT, "key %s.rope.freq_base: 1 has no logarithm for YaRN", r->arch);
    if (h->rope_original_context == 0) h->rope_original_context = h->context;
    return HY_OK;
}

/* Rows of the embedding are the vocabulary that the network knows. */
static hy_status read_vocab(const hy_gguf *gguf, hy_hparams *h) {
    const hy_gguf_tensor *table = hy_gguf_tensor_find(gguf, "token_embd.weight");
    if (!table) return hy_fail(HY_E_FORMAT, "tensor token_embd.weight is missing");
    if (table->rank != 2 || table->dim[0] > 1u << 22)
        return hy_fail(HY_E_FORMAT,
                       "tensor token_embd.weight: rank %u with %llu rows, expected rank 2 with at "
                       "most 4194304",
                       table->rank, (unsigned long long)table->dim[0]);
    h->vocab = (uint32_t)table->dim[0];
    return HY_OK;
}

static hy_status unknown_arch(const char *name) {
    hy_text known = {0};
    for (uint32_t i = 0; hy_arch_at(i); i++)
        hy_text_add(&known, "%s%s", i ? ", " : "", hy_arch_at(i)->name);
    hy_status status = hy_fail(HY_E_UNSUPPORTED, "architecture '%s' is not known; known: %s", name,
                               known.data ? known.data : "");
    hy_text_free(&known);
    return status;
}

static hy_status read_arch(const hy_gguf *gguf, hy_hparams *h) {
    hy_span arch;
    HY_TRY(hy_gguf_string(gguf, "general.architecture", &arch));
    if (arch.length == 0) return hy_fail(HY_E_FORMAT, "key general.architecture is missing");
    snprintf(h->arch, sizeof h->arch, "%.*s", (int)(arch.length < 31 ? arch.length : 31),
             arch.data);
    return HY_OK;
}

hy_status hy_hparams_read(const hy_gguf *gguf, hy_hparams *out) {
    hy_hparams h;
    memset(&h, 0, sizeof h);
    HY_TRY(read_arch(gguf, &h));
    const hy_arch *arch = hy_arch_find(h.arch);
    if (!arch) return unknown_arch(h.arch);
    reader r = {gguf, h.arch, ""};
    HY_TRY(read_whole(&r, &h));
    HY_TRY(settle_heads(&h));
    HY_TRY(settle_experts(&h));
    HY_TRY(require(&r, "attention.layer_norm_rms_epsilon"));
    HY_TRY(real(&r, "attention.layer_norm_rms_epsilon", 0, 0, 1, &h.norm_eps));
    HY_TRY(real(&r, "attention.scale", 0, 0, 1e6f, &h.attention_scale));
    HY_TRY(read_rope(&r, &h));
    HY_TRY(read_vocab(gguf, &h));
    if (arch->check) HY_TRY(arch->check(gguf, &h));
    *out = h;
    return HY_OK;
}

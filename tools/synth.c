/* tools/synth.c: `halyard synth`: random-weight models of public shapes, for benchmarks without a
 * download. Looks inside the library: it writes GGUF and quantizes blocks itself.
 *
 * Weights are normal with deviation 1/sqrt(fan-in). Each tensor draws its blocks from a bank of
 * quantized random blocks, so that writing runs at memory speed and the same seed gives the same
 * file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/text.h"
#include "src/format/gguf.h"
#include "src/format/quantize.h"
#include "src/text/vocab.h"
#include "tools/cli.h"

typedef struct shape {
    const char *name, *arch;
    uint32_t layers, embedding, ffn, heads, kv_heads, head_dim, vocab, context;
    float rope_base;
    bool tied, qkv_bias, qk_norm;
    uint32_t experts, experts_used; /* 0: dense; ffn is then one expert's */
} shape;

// clang-format off
static const shape shapes[] = {
    {"tiny",           "llama",     2,  256,   512,  4,  2,  64,    512,   2048,   10000, false, false, false, 0, 0},
    {"tiny-moe",       "qwen3moe",  2,  256,   256,  4,  2,  64,    512,   2048,   10000, false, false, true,  8, 2},
    {"qwen3-0.6b",     "qwen3",    28, 1024,  3072, 16,  8, 128, 151936,  40960, 1000000, true,  false, true,  0, 0},
    {"qwen2.5-0.5b",   "qwen2",    24,  896,  4864, 14,  2,  64, 151936,  32768, 1000000, true,  true,  false, 0, 0},
    {"tinyllama-1.1b", "llama",    22, 2048,  5632, 32,  4,  64,  32000,   2048,   10000, false, false, false, 0, 0},
    {"llama-3.2-1b",   "llama",    16, 2048,  8192, 32,  8,  64, 128256, 131072,  500000, true,  false, false, 0, 0},
    {"llama-3.2-3b",   "llama",    28, 3072,  8192, 24,  8, 128, 128256, 131072,  500000, true,  false, false, 0, 0},
    {"llama-3-8b",     "llama",    32, 4096, 14336, 32,  8, 128, 128256,   8192,  500000, false, false, false, 0, 0},
    {"mixtral-8x7b",   "llama",    32, 4096, 14336, 32,  8, 128,  32000,  32768, 1000000, false, false, false, 8, 2},
    {"llama-3-70b",    "llama",    80, 8192, 28672, 64,  8, 128, 128256,   8192,  500000, false, false, false, 0, 0},
    {"qwen3-8b",       "qwen3",    36, 4096, 12288, 32,  8, 128, 151936,  40960, 1000000, false, false, true,  0, 0},
    {"qwen3-30b-a3b",  "qwen3moe", 48, 2048,   768, 32,  4, 128, 151936,  40960, 1000000, false, false, true, 128, 8},
};
// clang-format on

/* ---- types ---- */

typedef struct plan {
    const shape *s;
    hy_dtype type;
    bool mixed; /* q4_k_m: q6_k where it matters most, as is the custom */
    hy_gguf_writer *w;
    hy_rng rng;
} plan;

static hy_status parse_type(const char *name, plan *p) {
    p->mixed = strcmp(name, "q4_k_m") == 0 || strcmp(name, "Q4_K_M") == 0;
    p->type = p->mixed ? HY_DTYPE_Q4_K : hy_dtype_by_name(name);
    if (p->type == HY_DTYPE_NONE || p->type == HY_DTYPE_I32 || p->type == HY_DTYPE_A8) {
        return hy_fail(
            HY_E_UNSUPPORTED,
            "type '%s' is not one of f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k "
            "q5_k q6_k iq4_nl iq4_xs mxfp4 q4_k_m",
            name);
    }
    return HY_OK;
}

/* Blocks of 256 do not fit every row: 8-bit blocks of 32 there, 16-bit numbers where even they do
 * not. */
static hy_dtype fitting(hy_dtype type, uint64_t columns) {
    if (columns % hy_dtype_get(type)->block == 0) return type;
    return columns % 32 == 0 ? HY_DTYPE_Q8_0 : HY_DTYPE_F16;
}

static hy_dtype weight_type(const plan *p, const char *name, uint32_t layer, uint64_t columns) {
    hy_dtype type = p->type;
    if (p->mixed) {
        bool deep = strstr(name, "attn_v") || strstr(name, "ffn_down");
        bool ends = strstr(name, "token_embd") || strcmp(name, "output.weight") == 0;
        if (ends || (deep && hy_quantize_more_bits(layer, p->s->layers))) type = HY_DTYPE_Q6_K;
    }
    return fitting(type, columns);
}

/* ---- tensors: every one is visited twice, to declare and to write ---- */

typedef enum content { RANDOM, ONES, SMALL } content; /* SMALL: biases around 0 */

typedef struct tensor {
    char name[64];
    hy_dtype type;
    content content;
    uint32_t rank;
    uint64_t dim[3];
} tensor;

typedef hy_status (*visit)(plan *p, const tensor *t);

static hy_status one(plan *p, visit fn, const char *name, uint32_t layer, content fill,
                     uint32_t rank, uint64_t a, uint64_t b, uint64_t c) {
    tensor t = {.content = fill, .rank = rank, .dim = {a, b, c}};
    if (layer == UINT32_MAX) {
        snprintf(t.name, sizeof t.name, "%s", name);
    } else {
        snprintf(t.name, sizeof t.name, "blk.%u.%s", layer, name);
    }
    bool router = strstr(name, "ffn_gate_inp") != NULL;
    t.type =
        fill == RANDOM && !router ? weight_type(p, t.name, layer, t.dim[rank - 1]) : HY_DTYPE_F32;
    return fn(p, &t);
}

static hy_status visit_layer(plan *p, visit fn, uint32_t i) {
    const shape *s = p->s;
    uint64_t d = s->embedding, q = (uint64_t)s->heads * s->head_dim,
             k = (uint64_t)s->kv_heads * s->head_dim;
    HY_TRY(one(p, fn, "attn_norm.weight", i, ONES, 1, d, 1, 1));
    HY_TRY(one(p, fn, "attn_q.weight", i, RANDOM, 2, q, d, 1));
    HY_TRY(one(p, fn, "attn_k.weight", i, RANDOM, 2, k, d, 1));
    HY_TRY(one(p, fn, "attn_v.weight", i, RANDOM, 2, k, d, 1));
    if (s->qkv_bias) {
        HY_TRY(one(p, fn, "attn_q.bias", i, SMALL, 1, q, 1, 1));
        HY_TRY(one(p, fn, "attn_k.bias", i, SMALL, 1, k, 1, 1));
        HY_TRY(one(p, fn, "attn_v.bias", i, SMALL, 1, k, 1, 1));
    }
    if (s->qk_norm) {
        HY_TRY(one(p, fn, "attn_q_norm.weight", i, ONES, 1, s->head_dim, 1, 1));
        HY_TRY(one(p, fn, "attn_k_norm.weight", i, ONES, 1, s->head_dim, 1, 1));
    }
    HY_TRY(one(p, fn, "attn_output.weight", i, RANDOM, 2, d, q, 1));
    HY_TRY(one(p, fn, "ffn_norm.weight", i, ONES, 1, d, 1, 1));
    if (s->experts) {
        HY_TRY(one(p, fn, "ffn_gate_inp.weight", i, RANDOM, 2, s->experts, d, 1));
        HY_TRY(one(p, fn, "ffn_gate_exps.weight", i, RANDOM, 3, s->experts, s->ffn, d));
        HY_TRY(one(p, fn, "ffn_up_exps.weight", i, RANDOM, 3, s->experts, s->ffn, d));
        return one(p, fn, "ffn_down_exps.weight", i, RANDOM, 3, s->experts, d, s->ffn);
    }
    HY_TRY(one(p, fn, "ffn_gate.weight", i, RANDOM, 2, s->ffn, d, 1));
    HY_TRY(one(p, fn, "ffn_up.weight", i, RANDOM, 2, s->ffn, d, 1));
    return one(p, fn, "ffn_down.weight", i, RANDOM, 2, d, s->ffn, 1);
}

static hy_status visit_all(plan *p, visit fn) {
    const shape *s = p->s;
    HY_TRY(one(p, fn, "token_embd.weight", UINT32_MAX, RANDOM, 2, s->vocab, s->embedding, 1));
    for (uint32_t i = 0; i < s->layers; i++)
        HY_TRY(visit_layer(p, fn, i));
    HY_TRY(one(p, fn, "output_norm.weight", UINT32_MAX, ONES, 1, s->embedding, 1, 1));
    if (s->tied) return HY_OK;
    return one(p, fn, "output.weight", UINT32_MAX, RANDOM, 2, s->vocab, s->embedding, 1);
}

static hy_status declare(plan *p, const tensor *t) {
    return hy_gguf_declare(p->w, t->name, t->type, t->rank, t->dim);
}

enum { BANK_VALUES = 1 << 16, CHUNK_BYTES = 1 << 20 };

/* Copies `bytes` made of units drawn from the bank; whole units only. */
static void draw(hy_rng *rng, const uint8_t *bank, uint32_t units, uint32_t unit, uint8_t *out,
                 uint64_t count) {
    uint64_t state = (uint64_t)hy_rng_u32(rng) << 32 | hy_rng_u32(rng);
    for (uint64_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t pick = (uint32_t)((state >> 33) * units >> 31);
        memcpy(out + i * unit, bank + (uint64_t)pick * unit, unit);
    }
}

static hy_status write_tensor(plan *p, const tensor *t) {
    const hy_dtype_info *info = hy_dtype_get(t->type);
    float *values = malloc(BANK_VALUES * sizeof *values);
    uint8_t *bank = malloc(BANK_VALUES * sizeof(float)), *chunk = malloc(CHUNK_BYTES);
    hy_status status =
        values && bank && chunk ? HY_OK : hy_fail(HY_E_MEMORY, "no memory for 1.5 MB");
    if (status == HY_OK) {
        float scale = t->content == SMALL ? 0.02f : 1.0f / sqrtf((float)t->dim[t->rank - 1]);
        for (uint32_t i = 0; i < BANK_VALUES; i++) {
            values[i] = t->content == ONES ? 1.0f : hy_rng_normal(&p->rng) * scale;
        }
        hy_quantize_row(t->type, values, bank, BANK_VALUES);
        uint64_t elements = t->dim[0] * t->dim[1] * t->dim[2];
        uint32_t unit_values = info->block > 1 ? info->block : (elements % 32 ? 1 : 32);
        uint32_t unit = unit_values / info->block * info->bytes;
        uint64_t left = elements / unit_values;
        while (left && status == HY_OK) {
            uint64_t now = CHUNK_BYTES / unit < left ? CHUNK_BYTES / unit : left;
            draw(&p->rng, bank, BANK_VALUES / unit_values, unit, chunk, now);
            status = hy_gguf_write_data(p->w, chunk, now * unit);
            left -= now;
        }
    }
    free(values);
    free(bank);
    free(chunk);
    return status;
}

/* ---- vocabulary: bytes, then all short words of a-z by merges, then three control tokens ---- */

typedef struct vocabulary {
    hy_arena arena;
    hy_span *token, *merge;
    int32_t *kind;
    uint32_t tokens, merges;
} vocabulary;

/* Word number i of length n, letters as digits of base 26. */
static hy_span word(vocabulary *v, uint32_t i, uint32_t n, bool split) {
    char text[16];
    uint32_t length = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t power = 1;
        for (uint32_t j = k + 1; j < n; j++)
            power *= 26;
        if (split && k == n - 1) text[length++] = ' ';
        text[length++] = (char)('a' + i / power % 26);
    }
    return (hy_span){hy_arena_text(&v->arena, text, length), length};
}

static bool make_vocabulary(vocabulary *v, uint32_t size) {
    static const char *const special[] = {"<|begin_of_text|>", "<|end_of_text|>", "<|padding|>"};
    v->token = hy_arena_alloc(&v->arena, size, sizeof *v->token);
    v->merge = hy_arena_alloc(&v->arena, size, sizeof *v->merge);
    v->kind = hy_arena_alloc(&v->arena, size, sizeof *v->kind);
    if (!v->token || !v->merge || !v->kind) return false;
    for (uint32_t b = 0; b < 256; b++) {
        char byte = (char)b, text[2];
        size_t n = hy_byte_level_spell(&byte, 1, text);
        v->token[v->tokens] = (hy_span){hy_arena_text(&v->arena, text, n), n};
        if (!v->token[v->tokens].data) return false;
        v->kind[v->tokens++] = 1;
    }
    uint32_t combinations = 26;
    for (uint32_t n = 2; v->tokens < size - 3; n++) {
        combinations *= 26;
        for (uint32_t i = 0; i < combinations && v->tokens < size - 3; i++) {
            v->merge[v->merges] = word(v, i, n, true);
            v->token[v->tokens] = word(v, i, n, false);
            if (!v->merge[v->merges++].data || !v->token[v->tokens].data) return false;
            v->kind[v->tokens++] = 1;
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        v->token[v->tokens] = (hy_span){special[i], strlen(special[i])};
        v->kind[v->tokens++] = 3;
    }
    return true;
}

static hy_span span(const char *text) {
    return (hy_span){text, strlen(text)};
}

static hy_status write_vocabulary(plan *p) {
    vocabulary v = {{0}, NULL, NULL, NULL, 0, 0};
    uint32_t size = p->s->vocab;
    hy_status status =
        make_vocabulary(&v, size) ? HY_OK : hy_fail(HY_E_MEMORY, "no memory for the vocabulary");
    hy_gguf_writer *w = p->w;
    const char *pre = strncmp(p->s->arch, "qwen", 4) == 0 ? "qwen2" : "llama-bpe";
    if (status == HY_OK) status = hy_gguf_write_string(w, "tokenizer.ggml.model", span("gpt2"));
    if (status == HY_OK) status = hy_gguf_write_string(w, "tokenizer.ggml.pre", span(pre));
    if (status == HY_OK)
        status = hy_gguf_write_strings(w, "tokenizer.ggml.tokens", v.token, v.tokens);
    if (status == HY_OK) {
        status = hy_gguf_write_array(w, "tokenizer.ggml.token_type", HY_GGUF_I32, v.kind, v.tokens);
    }
    if (status == HY_OK)
        status = hy_gguf_write_strings(w, "tokenizer.ggml.merges", v.merge, v.merges);
    if (status == HY_OK) status = hy_gguf_write_u32(w, "tokenizer.ggml.bos_token_id", size - 3);
    if (status == HY_OK) status = hy_gguf_write_u32(w, "tokenizer.ggml.eos_token_id", size - 2);
    if (status == HY_OK) status = hy_gguf_write_u32(w, "tokenizer.ggml.padding_token_id", size - 1);
    if (status == HY_OK) status = hy_gguf_write_bool(w, "tokenizer.ggml.add_bos_token", true);
    hy_arena_free(&v.arena);
    return status;
}

/* ---- the file ---- */

static hy_status write_u32(plan *p, const char *key, uint32_t value) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", p->s->arch, key);
    return hy_gguf_write_u32(p->w, full, value);
}

static hy_status write_f32(plan *p, const char *key, float value) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", p->s->arch, key);
    return hy_gguf_write_f32(p->w, full, value);
}

static hy_status write_metadata(plan *p) {
    const shape *s = p->s;
    char name[96];
    snprintf(name, sizeof name, "synthetic %s", s->name);
    HY_TRY(hy_gguf_write_string(p->w, "general.architecture", span(s->arch)));
    HY_TRY(hy_gguf_write_string(p->w, "general.name", span(name)));
    HY_TRY(write_u32(p, "context_length", s->context));
    HY_TRY(write_u32(p, "embedding_length", s->embedding));
    HY_TRY(write_u32(p, "block_count", s->layers));
    HY_TRY(write_u32(p, "feed_forward_length", s->ffn));
    HY_TRY(write_u32(p, "attention.head_count", s->heads));
    HY_TRY(write_u32(p, "attention.head_count_kv", s->kv_heads));
    HY_TRY(write_u32(p, "attention.key_length", s->head_dim));
    HY_TRY(write_u32(p, "attention.value_length", s->head_dim));
    HY_TRY(write_u32(p, "rope.dimension_count", s->head_dim));
    HY_TRY(write_u32(p, "vocab_size", s->vocab));
    HY_TRY(write_f32(p, "rope.freq_base", s->rope_base));
    HY_TRY(write_f32(p, "attention.layer_norm_rms_epsilon", 1e-5f));
    if (s->experts) {
        HY_TRY(write_u32(p, "expert_count", s->experts));
        HY_TRY(write_u32(p, "expert_used_count", s->experts_used));
        HY_TRY(write_u32(p, "expert_feed_forward_length", s->ffn));
    }
    return write_vocabulary(p);
}

static hy_status find_shape(const char *name, const shape **out) {
    hy_text list = {0};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            *out = &shapes[i];
            hy_text_free(&list);
            return HY_OK;
        }
        hy_text_add(&list, "%s%s", i ? ", " : "", shapes[i].name);
    }
    hy_status status = hy_fail(HY_E_NOT_FOUND, "shape '%s' is not known; known: %s", name,
                               list.data ? list.data : "");
    hy_text_free(&list);
    return status;
}

static hy_status leave_hole(plan *p, const tensor *t) {
    (void)t;
    return hy_gguf_write_hole(p->w);
}

static hy_status write_model(plan *p, const char *shape_name, const char *type, const char *path,
                             visit data) {
    HY_TRY(find_shape(shape_name, &p->s));
    HY_TRY(parse_type(type, p));
    HY_TRY(hy_gguf_writer_new(path, &p->w));
    hy_status status = write_metadata(p);
    if (status == HY_OK) status = visit_all(p, declare);
    if (status == HY_OK) status = visit_all(p, data);
    if (status == HY_OK) return hy_gguf_writer_finish(p->w);
    hy_gguf_writer_abandon(p->w);
    return status;
}

hy_status synth_write(const char *shape_name, const char *type, uint64_t seed, const char *path) {
    plan p = {.rng = hy_rng_seed(seed)};
    return write_model(&p, shape_name, type, path, write_tensor);
}

hy_status synth_write_sparse(const char *shape_name, const char *type, const char *path) {
    plan p = {.rng = hy_rng_seed(0)};
    return write_model(&p, shape_name, type, path, leave_hole);
}

static int synth_main(int argc, char **argv) {
    const char *shape_name = NULL, *output = NULL, *type = "q4_0";
    size_t count;
    uint64_t seed = 1;
    bool list = false;
    const cli_option options[] = {
        {"-o, --output", CLI_TEXT, &output, "FILE", "where to write"},
        {"--type", CLI_TEXT, &type, "T", "weight type (default q4_0; q4_k_m is a mix)"},
        {"-s, --seed", CLI_U64, &seed, "N", "same seed, same file"},
        {"--list", CLI_FLAG, &list, NULL, "print the shapes"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code = cli_parse(argc, argv, "synth SHAPE -o FILE [--type T] [--seed N]", options, NULL,
                         &shape_name, 1, &count);
    if (code >= 0) return code;
    if (list) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            puts(shapes[i].name);
        return cli_flush("synth");
    }
    if (count != 1 || !output)
        return cli_fail("synth", 2, "need SHAPE and -o FILE (--list names the shapes)");
    return synth_write(shape_name, type, seed, output) == HY_OK ? 0 : cli_status("synth");
}

const cli_command cli_synth = {"synth", "write a random-weight model of a public shape",
                               synth_main};

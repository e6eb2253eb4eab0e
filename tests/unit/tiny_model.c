#include "tests/unit/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "src/format/gguf.h"

typedef struct maker {
    tiny_model m;
    hy_gguf_writer *writer;
    hy_rng rng;
    bool declaring; /* first pass declares, second writes data */
} maker;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

static bool equal(const char *a, const char *b) {
    return a && strcmp(a, b) == 0;
}

static void key_u32(maker *k, const char *suffix, uint32_t value) {
    char key[96];
    if (equal(k->m.without_key, suffix)) return;
    if (equal(k->m.bad_key, suffix)) value = k->m.bad_value;
    snprintf(key, sizeof key, "%s.%s", k->m.arch, suffix);
    ok(hy_gguf_write_u32(k->writer, key, value));
}

static void key_f32(maker *k, const char *suffix, float value) {
    char key[96];
    if (equal(k->m.without_key, suffix)) return;
    snprintf(key, sizeof key, "%s.%s", k->m.arch, suffix);
    ok(hy_gguf_write_f32(k->writer, key, value));
}

/* Declares or writes one tensor of random rows; `scale` 0 makes a norm around 1. */
static void tensor(maker *k, const char *name, uint32_t rank, const uint64_t *dim, float scale) {
    uint64_t d[4] = {1, 1, 1, 1};
    if (equal(k->m.without_tensor, name)) return;
    memcpy(d, dim, rank * sizeof *d);
    if (equal(k->m.misshapen, name)) d[0]++;
    const hy_dtype dtype = rank == 1 ? k->m.vector_dtype : k->m.dtype;
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < rank; i++)
        rows *= d[i];
    const uint64_t columns = d[rank - 1];
    const uint64_t bytes = hy_dtype_row_bytes(hy_dtype_get(dtype), columns);
    if (k->declaring) {
        if (equal(k->m.unknown_type, name)) {
            hy_gguf_tensor copy = {.name = name,
                                   .gguf_type = 29,
                                   .rank = rank,
                                   .rows = rows,
                                   .columns = columns,
                                   .size = rows * bytes};
            memcpy(copy.dim, d, sizeof d);
            ok(hy_gguf_declare_copy(k->writer, &copy));
        } else {
            ok(hy_gguf_declare(k->writer, name, dtype, rank, d));
        }
        return;
    }
    float *row = malloc(columns * sizeof *row);
    void *packed = malloc(bytes);
    assert_true(row && packed);
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t i = 0; i < columns; i++)
            row[i] =
                scale == 0 ? 1.0f + 0.1f * hy_rng_normal(&k->rng) : scale * hy_rng_normal(&k->rng);
        hy_quantize_row(dtype, row, packed, columns);
        ok(hy_gguf_write_data(k->writer, packed, bytes));
    }
    free(row);
    free(packed);
}

static void matrix(maker *k, const char *prefix, const char *name, uint64_t n, uint64_t in) {
    char full[96];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    tensor(k, full, 2, (uint64_t[]){n, in}, 1.3f / sqrtf((float)in));
    if (!k->m.biases || strstr(name, "ffn") || !*prefix) return;
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    tensor(k, full, 1, &n, 0.1f);
}

static void norm(maker *k, const char *prefix, const char *name, uint64_t n) {
    char full[96];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    tensor(k, full, 1, &n, 0);
}

static void experts(maker *k, const char *prefix, const char *name, uint64_t n, uint64_t in) {
    char full[96];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    tensor(k, full, 3, (uint64_t[]){k->m.experts, n, in}, 1.3f / sqrtf((float)in));
}

static void layer_tensors(maker *k, uint32_t layer) {
    const tiny_model *m = &k->m;
    const uint64_t d = m->embedding, q = (uint64_t)m->heads * m->head_dim;
    const uint64_t kv = (uint64_t)m->kv_heads * m->head_dim;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "blk.%u.", layer);
    norm(k, prefix, "attn_norm", d);
    if (m->joined_qkv) {
        matrix(k, prefix, "attn_qkv", q + 2 * kv, d);
    } else {
        matrix(k, prefix, "attn_q", q, d);
        matrix(k, prefix, "attn_k", kv, d);
        matrix(k, prefix, "attn_v", kv, d);
    }
    if (strstr(m->arch, "qwen3")) {
        norm(k, prefix, "attn_q_norm", m->head_dim);
        norm(k, prefix, "attn_k_norm", m->head_dim);
    }
    matrix(k, prefix, "attn_output", d, q);
    norm(k, prefix, "ffn_norm", d);
    if (m->experts) {
        matrix(k, prefix, "ffn_gate_inp", m->experts, d);
        experts(k, prefix, "ffn_gate_exps", m->ffn, d);
        experts(k, prefix, "ffn_up_exps", m->ffn, d);
        experts(k, prefix, "ffn_down_exps", d, m->ffn);
    } else {
        matrix(k, prefix, "ffn_gate", m->ffn, d);
        matrix(k, prefix, "ffn_up", m->ffn, d);
        matrix(k, prefix, "ffn_down", d, m->ffn);
    }
}

static void tensors(maker *k) {
    const tiny_model *m = &k->m;
    tensor(k, "token_embd.weight", 2, (uint64_t[]){m->vocab, m->embedding}, 1.0f);
    for (uint32_t layer = 0; layer < m->layers; layer++)
        layer_tensors(k, layer);
    norm(k, "", "output_norm", m->embedding);
    if (!m->tied) matrix(k, "", "output", m->vocab, m->embedding);
}

static void keys(maker *k) {
    const tiny_model *m = &k->m;
    if (!equal(m->without_key, "general.architecture"))
        ok(hy_gguf_write_string(k->writer, "general.architecture",
                                (hy_span){m->arch, strlen(m->arch)}));
    key_u32(k, "block_count", m->layers);
    key_u32(k, "context_length", m->context);
    key_u32(k, "embedding_length", m->embedding);
    key_u32(k, "feed_forward_length", m->ffn);
    key_u32(k, "attention.head_count", m->heads);
    key_u32(k, "attention.head_count_kv", m->kv_heads);
    key_u32(k, "attention.key_length", m->head_dim);
    key_u32(k, "attention.value_length", m->head_dim);
    key_f32(k, "attention.layer_norm_rms_epsilon", m->eps);
    key_u32(k, "rope.dimension_count", m->head_dim);
    if (m->experts) {
        key_u32(k, "expert_count", m->experts);
        key_u32(k, "expert_used_count", m->experts_used);
    }
    if (m->scaling) {
        char key[96];
        snprintf(key, sizeof key, "%s.rope.scaling.type", m->arch);
        ok(hy_gguf_write_string(k->writer, key, (hy_span){m->scaling, strlen(m->scaling)}));
        key_f32(k, "rope.scaling.factor", 4.0f);
        key_u32(k, "rope.scaling.original_context_length", 64);
    }
}

/* <unk>, <s>, </s>, a space, then the 256 bytes: any text can be spelled. */
static void vocabulary(maker *k) {
    enum { COUNT = 260 };
    static char text[COUNT][8];
    hy_span spans[COUNT];
    float scores[COUNT];
    int32_t kinds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        static const char *const first[] = {"<unk>", "<s>", "</s>", "\xe2\x96\x81"};
        if (i < 4)
            snprintf(text[i], sizeof text[i], "%s", first[i]);
        else
            snprintf(text[i], sizeof text[i], "<0x%02X>", (unsigned)(i - 4) & 255u);
        spans[i] = (hy_span){text[i], strlen(text[i])};
        scores[i] = 0;
        kinds[i] = i == 0 ? 2 : i < 3 ? 3 : i == 3 ? 1 : 6;
    }
    ok(hy_gguf_write_string(k->writer, "tokenizer.ggml.model", (hy_span){"llama", 5}));
    ok(hy_gguf_write_strings(k->writer, "tokenizer.ggml.tokens", spans, COUNT));
    ok(hy_gguf_write_array(k->writer, "tokenizer.ggml.scores", HY_GGUF_F32, scores, COUNT));
    ok(hy_gguf_write_array(k->writer, "tokenizer.ggml.token_type", HY_GGUF_I32, kinds, COUNT));
    ok(hy_gguf_write_u32(k->writer, "tokenizer.ggml.bos_token_id", 1));
    ok(hy_gguf_write_u32(k->writer, "tokenizer.ggml.eos_token_id", 2));
}

static void defaults(tiny_model *m) {
    if (!m->arch) m->arch = "llama";
    if (!m->layers) m->layers = 2;
    if (!m->embedding) m->embedding = 64;
    if (!m->heads) m->heads = 2;
    if (!m->kv_heads) m->kv_heads = 1;
    if (!m->head_dim) m->head_dim = 32;
    if (!m->ffn) m->ffn = 96;
    if (!m->vocab) m->vocab = 80;
    if (m->vocabulary) m->vocab = 260;
    if (!m->context) m->context = 256;
    if (m->experts && !m->experts_used) m->experts_used = 2;
    if (!m->dtype) m->dtype = HY_DTYPE_F32;
    if (!m->vector_dtype) m->vector_dtype = HY_DTYPE_F32;
    if (m->eps == 0) m->eps = 1e-5f;
}

void tiny_model_write(const char *path, const tiny_model *model) {
    maker k = {.m = *model};
    defaults(&k.m);
    ok(hy_gguf_writer_new(path, &k.writer));
    keys(&k);
    if (k.m.vocabulary) vocabulary(&k);
    k.declaring = true;
    tensors(&k);
    k.declaring = false;
    k.rng = hy_rng_seed(k.m.seed + 1);
    tensors(&k);
    ok(hy_gguf_writer_finish(k.writer));
}

const char *tiny_model_path(const char *name) {
    static char path[8][128];
    static unsigned next;
    char *slot = path[next++ % 8];
    snprintf(slot, sizeof path[0], "/tmp/halyard-%ld-%s.gguf", (long)getpid(), name);
    return slot;
}

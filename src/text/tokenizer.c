#include "src/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "src/text/vocab.h"

static bool spells(hy_span span, const char *text) {
    return span.length == strlen(text) && !memcmp(span.data, text, span.length);
}

static hy_status read_family(hy_tokenizer *t, const hy_gguf *gguf) {
    hy_span model;
    HY_TRY(hy_gguf_string(gguf, "tokenizer.ggml.model", &model));
    if (model.length == 0 || spells(model, "none") || spells(model, "no_vocab"))
        return hy_fail(HY_E_NOT_FOUND, "the file has no vocabulary (tokenizer.ggml.model)");
    t->byte_level = spells(model, "gpt2");
    if (t->byte_level || spells(model, "llama")) return HY_OK;
    const char *what = spells(model, "bert") ? " (WordPiece)"
                       : spells(model, "t5") ? " (unigram)"
                                             : "";
    return hy_fail(HY_E_UNSUPPORTED,
                   "tokenizer model '%.*s'%s is not supported (known: llama gpt2)",
                   (int)HY_MIN(model.length, 64), model.data, what);
}

static hy_status read_pretokenizer(hy_tokenizer *t, const hy_gguf *gguf) {
    hy_span name;
    HY_TRY(hy_gguf_string(gguf, "tokenizer.ggml.pre", &name));
    if (name.length == 0) {
        hy_log(HY_LOG_WARN,
               "tokenizer.ggml.pre is missing: words are cut by the 'default' patterns, "
               "which may not be what the model was trained with");
        name = (hy_span){"default", 7};
    }
    return hy_pretokenizer_open(name, &t->pretokenizer);
}

static hy_status load(hy_tokenizer *t, const hy_gguf *gguf) {
    HY_TRY(read_family(t, gguf));
    if (t->byte_level) HY_TRY(read_pretokenizer(t, gguf));
    HY_TRY(hy_vocab_load_tokens(t, gguf));
    HY_TRY(hy_vocab_load_special(t, gguf));
    return t->byte_level ? hy_vocab_load_merges(t, gguf) : HY_OK;
}

hy_status hy_tokenizer_new(const hy_gguf *gguf, hy_tokenizer **out) {
    hy_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return hy_fail(HY_E_MEMORY, "no memory for a tokenizer");
    hy_status status = load(t, gguf);
    if (status != HY_OK) {
        hy_tokenizer_free(t);
        return status;
    }
    *out = t;
    return HY_OK;
}

void hy_tokenizer_free(hy_tokenizer *tokenizer) {
    if (!tokenizer) return;
    hy_pretokenizer_close(&tokenizer->pretokenizer);
    hy_arena_free(&tokenizer->arena);
    free(tokenizer);
}

static bool in_range(const hy_tokenizer *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->count;
}

uint32_t hy_tokenizer_size(const hy_tokenizer *tokenizer) {
    return tokenizer->count;
}

const hy_special_tokens *hy_tokenizer_special(const hy_tokenizer *tokenizer) {
    return &tokenizer->ids;
}

hy_token_kind hy_tokenizer_kind(const hy_tokenizer *tokenizer, int32_t id) {
    return in_range(tokenizer, id) ? (hy_token_kind)tokenizer->kind[id] : HY_TOKEN_UNUSED;
}

hy_span hy_tokenizer_spelling(const hy_tokenizer *tokenizer, int32_t id) {
    return in_range(tokenizer, id) ? tokenizer->spelling[id] : (hy_span){"", 0};
}

bool hy_tokenizer_is_end(const hy_tokenizer *tokenizer, int32_t id) {
    return in_range(tokenizer, id) && tokenizer->flags[id] & HY_VOCAB_END;
}

int32_t hy_tokenizer_find(const hy_tokenizer *tokenizer, const char *spelling, size_t length) {
    return hy_vocab_find(tokenizer, spelling, length);
}

size_t hy_tokenizer_longest(const hy_tokenizer *tokenizer) {
    return tokenizer->longest_text;
}

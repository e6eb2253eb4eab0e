/* Special tokens: the ids that the file names, those known by their spelling, and the list that is
 * looked for in text. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "src/text/vocab.h"

#define KEY(name) "tokenizer.ggml." name

enum { END = 1, TURN = 2, LITERAL = 4 };

/* Tokens known by spelling alone, because files often leave out what they are for. END: ends a
 * generation. TURN: also the end-of-turn token when the file names none, the first in this order.
 * LITERAL: part of the text (gpt-oss), matched and printed like other text. */
static const struct {
    const char *spelling;
    unsigned role;
} known_tokens[] = {
    {"<|eot_id|>", END | TURN},
    {"<|im_end|>", END | TURN},
    {"<|end|>", END | TURN},
    {"<end_of_turn>", END | TURN},
    {"<|endoftext|>", END | TURN},
    {"<|end_of_text|>", END | TURN},
    {"<EOT>", END | TURN},
    {"_<EOT>", END | TURN},
    {"[EOT]", END | TURN},
    {"<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     END | TURN}, /* deepseek */
    {"<end_of_utterance>", END | TURN},
    {"<|return|>", END},
    {"<|call|>", END},
    {"<|flush|>", END},
    {"<|calls|>", END},
    {"</s>", END},
    {"<|eom_id|>", END},
    {"[EOS]", END},
    {"<eos>", END},
    {"[e~[", END},
    {"<|fim_pad|>", END},
    {"<fim-pad>", END},
    {"<fim_pad>", END},
    {"<|fim_repo|>", END},
    {"<|repo_name|>", END},
    {"<fim-repo>", END},
    {"<reponame>", END},
    {"<|file_sep|>", END},
    {"<|channel|>", LITERAL},
    {"<|message|>", LITERAL},
    {"<|start|>", LITERAL},
    {"<|constrain|>", LITERAL},
};

static int32_t find_text(const hy_tokenizer *t, const char *spelling) {
    return hy_vocab_find(t, spelling, strlen(spelling));
}

/* The id under `key`; absent: `fallback` if the vocabulary is that large. 2^32 - 1 means none. */
static hy_status read_id(const hy_tokenizer *t, const hy_gguf *gguf, const char *key,
                         int32_t fallback, int32_t *out) {
    uint32_t none = UINT32_MAX, id;
    if (fallback >= 0 && (uint32_t)fallback < t->count) none = (uint32_t)fallback;
    HY_TRY(hy_gguf_u32(gguf, key, none, &id));
    if (id != UINT32_MAX && id >= t->count)
        return hy_fail(HY_E_FORMAT, "%s is %u, the vocabulary has %u tokens", key, id, t->count);
    *out = id == UINT32_MAX ? -1 : (int32_t)id;
    return HY_OK;
}

static hy_status read_ids(hy_tokenizer *t, const hy_gguf *gguf) {
    bool llama = !t->byte_level; /* whose defaults are <unk> <s> </s> */
    hy_special_tokens *ids = &t->ids;
    int32_t message_end = -1;
    HY_TRY(read_id(t, gguf, KEY("bos_token_id"), llama ? 1 : -1, &ids->bos));
    HY_TRY(read_id(t, gguf, KEY("eos_token_id"), llama ? 2 : -1, &ids->eos));
    HY_TRY(read_id(t, gguf, KEY("unknown_token_id"), llama ? 0 : -1, &ids->unknown));
    HY_TRY(read_id(t, gguf, KEY("eot_token_id"), -1, &ids->eot));
    HY_TRY(read_id(t, gguf, KEY("eom_token_id"), -1, &message_end));
    HY_TRY(read_id(t, gguf, KEY("padding_token_id"), -1, &ids->padding));
    HY_TRY(
        read_id(t, gguf, KEY("seperator_token_id"), -1, &ids->separator)); /* spelled so in files */
    HY_TRY(read_id(t, gguf, KEY("mask_token_id"), -1, &ids->mask));
    if (t->pretokenizer.no_bos && !hy_gguf_find(gguf, KEY("bos_token_id"))) ids->bos = -1;
    if (message_end >= 0) t->flags[message_end] |= HY_VOCAB_END;
    if (ids->eos >= 0) t->flags[ids->eos] |= HY_VOCAB_END;
    if (ids->eot >= 0) t->flags[ids->eot] |= HY_VOCAB_END;
    return HY_OK;
}

static hy_status read_additions(hy_tokenizer *t, const hy_gguf *gguf) {
    hy_special_tokens *ids = &t->ids;
    bool bos = t->byte_level ? t->pretokenizer.add_bos : true;
    HY_TRY(hy_gguf_bool(gguf, KEY("add_bos_token"), bos, &ids->add_bos));
    HY_TRY(hy_gguf_bool(gguf, KEY("add_eos_token"), false, &ids->add_eos));
    HY_TRY(hy_gguf_bool(gguf, KEY("add_space_prefix"), !t->byte_level, &t->add_space_prefix));
    if (t->byte_level) t->add_space_prefix = false;
    if (ids->add_bos && ids->bos < 0) {
        hy_log(HY_LOG_WARN, "add_bos_token is set, but the vocabulary has no bos token");
        ids->add_bos = false;
    }
    if (ids->add_eos && ids->eos < 0) {
        hy_log(HY_LOG_WARN, "add_eos_token is set, but the vocabulary has no eos token");
        ids->add_eos = false;
    }
    return HY_OK;
}

static void mark_known(hy_tokenizer *t) {
    for (size_t i = 0; i < HY_COUNT_OF(known_tokens); i++) {
        int32_t id = find_text(t, known_tokens[i].spelling);
        if (id < 0) continue;
        unsigned role = known_tokens[i].role;
        if (role & LITERAL) {
            t->kind[id] = HY_TOKEN_USER_DEFINED;
            continue;
        }
        t->flags[id] |= HY_VOCAB_END;
        t->kind[id] =
            HY_TOKEN_CONTROL; /* whatever the file says: it must not come from plain text */
        if (role & TURN && t->ids.eot < 0) t->ids.eot = id;
    }
    /* In the harmony format <|end|> closes a message, and the turn goes on. */
    int32_t end = find_text(t, "<|end|>");
    bool call = find_text(t, "<|call|>") >= 0 || find_text(t, "<|calls|>") >= 0;
    if (end >= 0 && call && (find_text(t, "<|return|>") >= 0 || find_text(t, "<|flush|>") >= 0)) {
        t->flags[end] &= (uint8_t)~HY_VOCAB_END;
        t->kind[end] = HY_TOKEN_USER_DEFINED;
    }
}

/* Phi-3 was trained with white space stripped after its special tokens; only the model's name
 * tells. */
static hy_status mark_strip_right(hy_tokenizer *t, const hy_gguf *gguf) {
    hy_span name;
    HY_TRY(hy_gguf_string(gguf, "general.name", &name));
    bool phi3 = false;
    for (size_t i = 0; i + 4 <= name.length && !phi3; i++)
        phi3 = !strncasecmp(name.data + i, "phi3", 4) ||
               (i + 5 <= name.length && !strncasecmp(name.data + i, "phi-3", 5));
    if (!phi3) return HY_OK;
    for (uint32_t i = 0; i < t->special_count; i++)
        t->flags[t->special[i].id] |= HY_VOCAB_STRIP_RIGHT;
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    for (size_t i = 0; i < HY_COUNT_OF(kept); i++) {
        int32_t id = find_text(t, kept[i]);
        if (id >= 0) t->flags[id] &= (uint8_t)~HY_VOCAB_STRIP_RIGHT;
    }
    return HY_OK;
}

static int by_length(const void *a, const void *b) {
    const hy_special *x = a, *y = b;
    if (x->text.length != y->text.length) return x->text.length < y->text.length ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int by_bytes(const void *a, const void *b) {
    const hy_special *x = a, *y = b;
    int order = memcmp(x->text.data, y->text.data, HY_MIN(x->text.length, y->text.length));
    if (order) return order;
    return x->text.length < y->text.length ? -1 : x->text.length > y->text.length;
}

static hy_status list_special(hy_tokenizer *t) {
    uint32_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        count = 0;
        for (uint32_t id = 0; id < t->count; id++) {
            uint8_t kind = t->kind[id];
            if (kind != HY_TOKEN_CONTROL && kind != HY_TOKEN_USER_DEFINED &&
                kind != HY_TOKEN_UNKNOWN)
                continue;
            if (t->spelling[id].length == 0) continue;
            if (pass) t->special[count] = (hy_special){t->spelling[id], (int32_t)id, 0};
            count++;
        }
        if (pass) break;
        t->special = hy_arena_alloc(&t->arena, count, sizeof *t->special);
        t->by_text = hy_arena_alloc(&t->arena, count, sizeof *t->by_text);
        if (!t->special || !t->by_text) return hy_fail(HY_E_MEMORY, "no memory for special tokens");
    }
    t->special_count = count;
    qsort(t->special, count, sizeof *t->special, by_length);
    for (uint32_t i = 0; i < count; i++)
        t->special[i].order = i;
    memcpy(t->by_text, t->special, count * sizeof *t->special);
    qsort(t->by_text, count, sizeof *t->by_text, by_bytes);
    uint32_t at = 0;
    for (unsigned byte = 0; byte <= 256; byte++) {
        while (at < count && (uint8_t)t->by_text[at].text.data[0] < byte)
            at++;
        t->by_first[byte] = at;
    }
    return HY_OK;
}

hy_status hy_vocab_load_special(hy_tokenizer *t, const hy_gguf *gguf) {
    HY_TRY(read_ids(t, gguf));
    HY_TRY(read_additions(t, gguf));
    mark_known(t);
    HY_TRY(list_special(t));
    return mark_strip_right(t, gguf);
}

/* Tokenizers under random text and random vocabularies.
 *
 * Byte 0 chooses: bits 0-1 the vocabulary (0, 1: good ones that have every byte, llama and gpt2; 2,
 * 3: one made from the input, llama and gpt2), bits 2-3 the flags of hy_tokenize. The rest is text;
 * of the made vocabularies, everything before the first 0 byte is their tokens, one per line, each
 * led by a byte that gives its type and score. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/text/tokenizer.h"
#include "src/text/utf8.h"
#include "tests/unit/gguf_blob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TOKENS = 512 };

typedef struct vocabulary {
    hy_span text[MAX_TOKENS];
    float score[MAX_TOKENS];
    int32_t kind[MAX_TOKENS];
    size_t count;
    char spelled[MAX_TOKENS][8]; /* of tokens made here */
} vocabulary;

static void add(vocabulary *v, const char *text, size_t length, int32_t kind, float score) {
    if (v->count == MAX_TOKENS) return;
    v->text[v->count] = (hy_span){text, length};
    v->kind[v->count] = kind;
    v->score[v->count++] = score;
}

static void add_words(vocabulary *v, const char *const *words, size_t count, int32_t kind) {
    for (size_t i = 0; i < count; i++)
        add(v, words[i], strlen(words[i]), kind, -1.0f - (float)(i % 5));
}

static void fill_llama(vocabulary *v) {
    static const char *const control[] = {"<unk>", "<s>", "</s>"};
    static const char *const user[] = {"<u>", "<uu>", "  "};
    static const char *const words[] = {"\xe2\x96\x81",
                                        "a",
                                        "b",
                                        "aa",
                                        "ab",
                                        "ba",
                                        "aaa",
                                        ("\xe2\x96\x81"
                                         "a"),
                                        "\xe2\x96\x81\xe2\x96\x81",
                                        "b\xe2\x96\x81",
                                        "<",
                                        "</",
                                        "s>",
                                        "\xc3\xa4",
                                        ("\xc3\xa4"
                                         "a"),
                                        "\xf0\x9f\x98\x80"};
    add_words(v, control, 3, HY_TOKEN_CONTROL);
    v->kind[0] = HY_TOKEN_UNKNOWN;
    for (unsigned byte = 0; byte < 256; byte++) {
        static const char digits[] = "0123456789ABCDEF";
        char *s = v->spelled[v->count];
        memcpy(s, "<0x00>", 6);
        s[3] = digits[byte >> 4];
        s[4] = digits[byte & 15];
        add(v, s, 6, HY_TOKEN_BYTE, 0);
    }
    add_words(v, words, sizeof words / sizeof *words, HY_TOKEN_NORMAL);
    add_words(v, user, 3, HY_TOKEN_USER_DEFINED);
}

/* Every byte in the byte-level alphabet, in the order of its code points' definition. */
static void fill_gpt2(vocabulary *v) {
    static const char *const words[] = {"aa",
                                        "ab",
                                        "aab",
                                        ("\xc4\xa0"
                                         "a"),
                                        "\xc4\xa0\xc4\xa0",
                                        "\xc3\x83\xc2\xa4",
                                        "12",
                                        "\xc4\x8a\xc4\x8a"};
    static const char *const control[] = {"<s>", "<|endoftext|>"};
    static const char *const user[] = {"<u>", "<uu>", "   "};
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        uint32_t code = printable ? byte : next++;
        char *s = v->spelled[v->count];
        size_t length = code < 128 ? 1 : 2;
        s[0] = (char)(code < 128 ? code : 0xc0 | code >> 6);
        s[1] = (char)(0x80 | (code & 63));
        add(v, s, length, HY_TOKEN_NORMAL, 0);
    }
    add_words(v, words, sizeof words / sizeof *words, HY_TOKEN_NORMAL);
    add_words(v, control, 2, HY_TOKEN_CONTROL);
    add_words(v, user, 3, HY_TOKEN_USER_DEFINED);
}

static void fill_from(vocabulary *v, const uint8_t *data, size_t size) {
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t length = end ? (size_t)(end - data) - at : size - at;
        if (length)
            add(v, (const char *)data + at + 1, length - 1, data[at] % 8, (float)(data[at] / 8));
        at += length + 1;
    }
}

/* All pairs of the first tokens whose texts joined are a token would be many: lines with a space
 * serve. */
static void put_merges(gguf_blob *b, const vocabulary *v, bool good) {
    static const char *const lines[] = {"a a",
                                        "a b",
                                        "a ab",
                                        "aa b",
                                        "\xc4\xa0 a",
                                        "\xc4\xa0 \xc4\xa0",
                                        "\xc3\x83 \xc2\xa4",
                                        "1 2",
                                        "\xc4\x8a \xc4\x8a"};
    hy_span merges[MAX_TOKENS];
    size_t count = 0;
    if (good) {
        for (; count < sizeof lines / sizeof *lines; count++)
            merges[count] = (hy_span){lines[count], strlen(lines[count])};
    } else {
        for (size_t i = 0; i < v->count; i++)
            if (v->text[i].length && memchr(v->text[i].data, ' ', v->text[i].length))
                merges[count++] = v->text[i];
    }
    blob_key_strings(b, "tokenizer.ggml.merges", merges, count);
}

static hy_tokenizer *open_vocabulary(const vocabulary *v, bool gpt2, bool good) {
    static const char *const pre[] = {"gpt-2",       "llama-bpe", "qwen2",  "deepseek-llm",
                                      "deepseek-v3", "gpt-4o",    "tekken", "kimi-k2",
                                      "bloom",       "default",   "jais-2", "none such"};
    gguf_blob b = blob_begin();
    hy_gguf *gguf = NULL;
    hy_tokenizer *t = NULL;
    blob_key_string(&b, "tokenizer.ggml.model", gpt2 ? "gpt2" : "llama");
    size_t name = v->count && v->text[0].length && !good ? (uint8_t)v->text[0].data[0] % 12 : 0;
    if (gpt2) blob_key_string(&b, "tokenizer.ggml.pre", pre[name]);
    blob_key_strings(&b, "tokenizer.ggml.tokens", v->text, v->count);
    blob_key_floats(&b, "tokenizer.ggml.scores", v->score, v->count);
    blob_key_ints(&b, "tokenizer.ggml.token_type", v->kind, v->count);
    if (gpt2) put_merges(&b, v, good);
    if (blob_open(&b, &gguf) == HY_OK && hy_tokenizer_new(gguf, &t) != HY_OK) t = NULL;
    hy_gguf_close(gguf);
    blob_free(&b);
    return t;
}

/* Everything that was wrong ends the process. */
static void must(bool condition) {
    if (!condition) abort();
}

/* Ids back to text, checked to come in whole characters. NULL when memory ran out. */
static char *decode(const hy_tokenizer *t, const int32_t *ids, size_t count, size_t *length) {
    size_t step = hy_tokenizer_longest(t) + 8;
    char *text = malloc(count * step + 24);
    hy_detokenizer d;
    *length = 0;
    if (!text) return NULL;
    hy_detokenizer_start(&d, t, true);
    for (size_t i = 0; i < count; i++) {
        size_t added = 0;
        must(hy_detokenize_next(&d, ids[i], text + *length, step, &added) == HY_OK);
        must(hy_utf8_check(text + *length, added) == added);
        *length += added;
    }
    *length += hy_detokenize_flush(&d, text + *length);
    return text;
}

static bool has_space_mark(const char *text, size_t length) {
    return length && memmem(text, length, "\xe2\x96\x81", 3);
}

static void run(const hy_tokenizer *t, const char *text, size_t length, unsigned flags,
                bool complete, bool llama) {
    size_t count = 0, again = 0, back_length;
    hy_status status = hy_tokenize(t, text, length, flags, NULL, 0, &count);
    bool valid = hy_utf8_check(text, length) == length;
    must(valid || status == HY_E_TEXT);
    must(status != HY_E_TEXT || !valid || !complete);
    if (status != HY_OK || count > 1 << 16) return;
    int32_t *ids = malloc((count + 1) * sizeof *ids);
    if (!ids) return;
    char *back = NULL;
    if (hy_tokenize(t, text, length, flags, ids, count, &again) == HY_OK) {
        must(again == count);
        back = decode(t, ids, count, &back_length);
    }
    if (back && complete && !(flags & HY_TOKENIZE_SPECIAL) &&
        !(llama && has_space_mark(text, length)))
        must(back_length == length && (length == 0 || !memcmp(back, text, length)));
    free(back);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 1 << 14) return 0;
    bool gpt2 = data[0] & 1, good = !(data[0] & 2);
    unsigned flags = data[0] >> 2 & 3;
    const uint8_t *text = data + 1, *end = data + size;
    vocabulary *v = calloc(1, sizeof *v);
    if (!v) return 0;
    if (good && gpt2) fill_gpt2(v);
    if (good && !gpt2) fill_llama(v);
    if (!good) {
        const uint8_t *zero = memchr(text, 0, (size_t)(end - text));
        fill_from(v, text, (size_t)((zero ? zero : end) - text));
        text = zero ? zero + 1 : end;
    }
    hy_tokenizer *t = open_vocabulary(v, gpt2, good);
    if (t) run(t, (const char *)text, (size_t)(end - text), flags, good, !gpt2);
    hy_tokenizer_free(t);
    free(v);
    return 0;
}

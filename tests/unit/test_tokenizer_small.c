/* The tokenizers on vocabularies made here: rules one by one, and vocabularies that must be
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/num.h"
#include "src/text/tokenizer.h"
#include "tests/unit/gguf_blob.h"

enum {
    N = HY_TOKEN_NORMAL,
    U = HY_TOKEN_UNKNOWN,
    C = HY_TOKEN_CONTROL,
    D = HY_TOKEN_USER_DEFINED,
    UNUSED = HY_TOKEN_UNUSED,
    B = HY_TOKEN_BYTE
};
#define S "\xe2\x96\x81" /* U+2581 */

typedef struct row {
    const char *text;
    float score;
    int32_t kind;
} row;

static void put_rows(gguf_blob *blob, const row *rows, size_t count) {
    hy_span text[64];
    float score[64];
    int32_t kind[64];
    assert_true(count <= 64);
    for (size_t i = 0; i < count; i++) {
        text[i] = (hy_span){rows[i].text, strlen(rows[i].text)};
        score[i] = rows[i].score;
        kind[i] = rows[i].kind;
    }
    blob_key_strings(blob, "tokenizer.ggml.tokens", text, count);
    blob_key_floats(blob, "tokenizer.ggml.scores", score, count);
    blob_key_ints(blob, "tokenizer.ggml.token_type", kind, count);
}

static void put_merges(gguf_blob *blob, const char *const *lines, size_t count) {
    hy_span text[16];
    for (size_t i = 0; i < count; i++)
        text[i] = (hy_span){lines[i], strlen(lines[i])};
    blob_key_strings(blob, "tokenizer.ggml.merges", text, count);
}

/* Takes the blob. */
static hy_status try_open(gguf_blob *blob, hy_tokenizer **out) {
    hy_gguf *gguf = NULL;
    *out = NULL;
    hy_status status = blob_open(blob, &gguf);
    if (status == HY_OK) status = hy_tokenizer_new(gguf, out);
    hy_gguf_close(gguf);
    blob_free(blob);
    return status;
}

static hy_tokenizer *open_blob(gguf_blob *blob) {
    hy_tokenizer *t;
    if (try_open(blob, &t) != HY_OK) fail_msg("%s", hy_error_text());
    return t;
}

static void assert_ids(const hy_tokenizer *t, const char *text, unsigned flags,
                       size_t expected_count, const int32_t *expected) {
    int32_t ids[64];
    size_t count = 0;
    hy_status status = hy_tokenize(t, text, strlen(text), flags, ids, 64, &count);
    if (status != HY_OK) fail_msg("'%s': %s", text, hy_error_text());
    for (size_t i = 0; i < HY_MIN(count, expected_count); i++)
        if (ids[i] != expected[i])
            fail_msg("'%s': id %zu is %d, not %d", text, i, ids[i], expected[i]);
    assert_int_equal(count, expected_count);
}
#define IDS(t, text, flags, ...)                                                                   \
    assert_ids(t, text, flags, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t),                 \
               (int32_t[]){__VA_ARGS__})

static void assert_text(const hy_tokenizer *t, bool special, size_t count, const int32_t *ids,
                        const char *expected) {
    char text[512];
    size_t length = 0;
    hy_detokenizer d;
    hy_detokenizer_start(&d, t, special);
    for (size_t i = 0; i < count; i++) {
        size_t added = 0;
        assert_int_equal(hy_detokenize_next(&d, ids[i], text + length, 512 - length, &added),
                         HY_OK);
        length += added;
    }
    length += hy_detokenize_flush(&d, text + length);
    text[length] = 0;
    assert_string_equal(text, expected);
}
#define TEXT(t, special, expected, ...)                                                            \
    assert_text(t, special, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t),                    \
                (int32_t[]){__VA_ARGS__}, expected)

/* ---- llama ---- */

static const row llama_rows[] = {
    {"<unk>", 0, U},  {"<s>", 0, C},       {"</s>", 0, C},   {"<0x0A>", 0, B}, /* 0..3 */
    {S, -9, N},       {"a", -9, N},        {"b", -9, N},     {"c", -9, N},     /* 4..7 */
    {"aa", -2, N},    {"ab", -1, N},       {"bc", -1, N},    {"abc", -5, N},   /* 8..11 */
    {S "a", -3, N},   {"<u>", 0, D},       {"<uu>", 0, D},   {"<", -9, N},     /* 12..15 */
    {"s", -9, N},     {">", -9, N},        {"</", -9, N},    {"s>", -4, N},    /* 16..19 */
    {"<0xE2>", 0, B}, {"<0x98>", 0, B},    {"<0x83>", 0, B}, {"/", -9, N},     /* 20..23 */
    {S S, -2.5f, N},  {"gone", 0, UNUSED}, {"u", -9, N},     {"<u><u>", 0, C}, /* 24..27 */
};

static hy_tokenizer *llama(bool prefix) {
    gguf_blob blob = blob_begin();
    blob_key_string(&blob, "tokenizer.ggml.model", "llama");
    put_rows(&blob, llama_rows, HY_COUNT_OF(llama_rows));
    if (!prefix) blob_key_bool(&blob, "tokenizer.ggml.add_space_prefix", false);
    return open_blob(&blob);
}

static void llama_merges(void **state) {
    hy_tokenizer *t = llama(false);
    IDS(t, "aaa", 0, 8, 5); /* the leftmost of equals */
    IDS(t, "aab", 0, 5, 9); /* the better score before the left one */
    IDS(t, "abc", 0, 11);   /* equal scores: ab first, then abc by it */
    IDS(t, "a b", 0, 5, 4, 6);
    IDS(t, " a", 0, 12);
    IDS(t, "\n", 0, 3); /* byte fallback */
    IDS(t, "\xe2\x98\x83", 0, 20, 21, 22);
    IDS(t,
        "\xe2\x98\x84"
        "a",
        0, 0, 5);              /* one byte has no token: the character is unknown */
    IDS(t, "</s>", 0, 18, 19); /* control tokens never come from plain text */
    assert_ids(t, "", 0, 0, NULL);
    hy_tokenizer_free(t);
}

static void llama_prefix(void **state) {
    hy_tokenizer *t = llama(true);
    IDS(t, "a", 0, 12);
    IDS(t, "a", HY_TOKENIZE_SPECIAL, 1, 12);
    IDS(t, "", HY_TOKENIZE_SPECIAL, 1);
    IDS(t, " a", 0, 24, 5); /* prefix and space: the pair scores better than S a */
    IDS(t, "b<s>b", HY_TOKENIZE_PARSE_SPECIAL, 4, 6, 1, 4, 6); /* a prefix after a special token */
    TEXT(t, false, "a", 12);
    TEXT(t, false, " a", 24, 5);
    TEXT(t, false, "a a", 12, 12);
    TEXT(t, true, "b<s>b", 4, 6, 1, 4, 6);
    TEXT(t, false, "bb", 4, 6, 1, 4, 6);
    TEXT(t, false, "a", 1, 12); /* still the first text after bos */
    TEXT(t, false, "a<u> a", 12, 13, 24, 5);
    TEXT(t, true, "a", 12, 25); /* unused tokens have no text */
    hy_tokenizer_free(t);
}

static void llama_special(void **state) {
    hy_tokenizer *t = llama(false);
    IDS(t, "a<s>a</s>", HY_TOKENIZE_PARSE_SPECIAL, 5, 1, 5, 2);
    IDS(t, "a<s>a", 0, 5, 15, 19, 5);
    IDS(t, "a<u>a<uu>", 0, 5, 13, 5, 14);                   /* user-defined tokens always */
    IDS(t, "<u><u><u>", HY_TOKENIZE_PARSE_SPECIAL, 27, 13); /* the longest first */
    IDS(t, "<u><u><u>", 0, 13, 13, 13);
    IDS(t, "<u", HY_TOKENIZE_PARSE_SPECIAL, 15, 26);
    IDS(t, "<s", HY_TOKENIZE_PARSE_SPECIAL | HY_TOKENIZE_SPECIAL, 1, 15, 16);
    IDS(t, "<unk>", HY_TOKENIZE_PARSE_SPECIAL, 0);
    const hy_special_tokens *ids = hy_tokenizer_special(t);
    assert_int_equal(ids->bos, 1);
    assert_int_equal(ids->eos, 2);
    assert_int_equal(ids->unknown, 0);
    assert_int_equal(ids->eot, -1);
    assert_true(ids->add_bos && !ids->add_eos);
    assert_true(hy_tokenizer_is_end(t, 2));
    assert_false(hy_tokenizer_is_end(t, 1));
    assert_false(hy_tokenizer_is_end(t, -1));
    assert_false(hy_tokenizer_is_end(t, 1000));
    assert_int_equal(hy_tokenizer_find(t, "abc", 3), 11);
    assert_int_equal(hy_tokenizer_find(t, "abd", 3), -1);
    assert_int_equal(hy_tokenizer_find(t, "", 0), -1);
    assert_int_equal(hy_tokenizer_spelling(t, 28).length, 0);
    assert_int_equal(hy_tokenizer_kind(t, 13), HY_TOKEN_USER_DEFINED);
    hy_tokenizer_free(t);
}

static void capacity_and_bad_text(void **state) {
    hy_tokenizer *t = llama(false);
    int32_t ids[3] = {-7, -7, -7};
    size_t count = 0;
    assert_int_equal(hy_tokenize(t, "abcbbb", 6, 0, ids, 2, &count), HY_OK);
    assert_int_equal(count, 4);
    assert_int_equal(ids[0], 11);
    assert_int_equal(ids[1], 6);
    assert_int_equal(ids[2], -7);
    static const struct {
        const char *text;
        size_t length;
        const char *where;
    } bad[] = {
        {"aaaaaaaaaaa\xff", 12, "byte 11 (0xff)"},
        {"a\xc3", 2, "byte 1 (0xc3)"},
        {"\xed\xa0\x80", 3, "byte 0 (0xed)"},
        {"a\xc0\xaf", 3, "byte 1 (0xc0)"},
        {"\xf4\x90\x80\x80", 4, "byte 0 (0xf4)"},
        {"\xe2\x96", 2, "byte 0 (0xe2)"},
        {"aaaaaaaaaa\xe2\x96\x81\x80", 14, "byte 13 (0x80)"},
    };
    for (size_t i = 0; i < HY_COUNT_OF(bad); i++) {
        count = 99;
        assert_int_equal(hy_tokenize(t, bad[i].text, bad[i].length, 0, ids, 3, &count), HY_E_TEXT);
        assert_int_equal(count, 99);
        if (!strstr(hy_error_text(), bad[i].where)) fail_msg("%s", hy_error_text());
    }
    /* A zero byte is text like any other; this vocabulary has no token for it. */
    assert_int_equal(hy_tokenize(t, "a\0a", 3, 0, ids, 3, &count), HY_OK);
    assert_int_equal(count, 3);
    assert_int_equal(ids[1], 0);
    hy_tokenizer_free(t);
}

static void no_unknown_token(void **state) {
    static const row rows[] = {{"a", 0, N}};
    gguf_blob blob = blob_begin();
    blob_key_string(&blob, "tokenizer.ggml.model", "llama");
    put_rows(&blob, rows, 1);
    blob_key_u32(&blob, "tokenizer.ggml.unknown_token_id", UINT32_MAX);
    blob_key_bool(&blob, "tokenizer.ggml.add_bos_token", false);
    blob_key_bool(&blob, "tokenizer.ggml.add_space_prefix", false);
    hy_tokenizer *t = open_blob(&blob);
    int32_t ids[4];
    size_t count;
    assert_int_equal(hy_tokenize(t, "ab", 2, 0, ids, 4, &count), HY_E_TEXT);
    assert_non_null(strstr(hy_error_text(), "'b'"));
    hy_tokenizer_free(t);
}

/* ---- gpt2 ---- */

#define G "\xc4\xa0" /* U+0120: a space in the byte-level alphabet */

static const row gpt2_rows[] = {
    {"a", 0, N},          {"b", 0, N},
    {"c", 0, N},          {G, 0, N}, /* 0..3 */
    {"ab", 0, N},         {"bc", 0, N},
    {"abc", 0, N},        {G "a", 0, N}, /* 4..7 */
    {"cab", 0, N},        {"<|endoftext|>", 0, N},
    {"<|im_end|>", 0, C}, /* 8..10 */
    {"\xc3\xb0", 0, N},   {"\xc5\x81", 0, N},
    {"  ", 0, D},         {"<|end|>", 0, C}, /* 11..14 */
};
static const char *const gpt2_merges[] = {"b c", "a b", "a bc", "\xc4\xa0 a"};

static hy_tokenizer *gpt2(const char *pre) {
    gguf_blob blob = blob_begin();
    blob_key_string(&blob, "tokenizer.ggml.model", "gpt2");
    if (pre) blob_key_string(&blob, "tokenizer.ggml.pre", pre);
    put_rows(&blob, gpt2_rows, HY_COUNT_OF(gpt2_rows));
    put_merges(&blob, gpt2_merges, HY_COUNT_OF(gpt2_merges));
    return open_blob(&blob);
}

static void gpt2_merging(void **state) {
    hy_tokenizer *t = gpt2("gpt-2");
    IDS(t, "abc", 0, 6);
    IDS(t, "abab", 0, 4, 4);
    IDS(t, "cab", 0, 2, 4);     /* no merge makes cab */
    IDS(t, "a ab", 0, 0, 3, 4); /* a b ranks before the space and a */
    IDS(t, "a a", 0, 0, 7);
    IDS(t, "ab  ab", 0, 4, 13, 4); /* the user-defined token comes before words are cut */
    IDS(t, "<|endoftext|>", HY_TOKENIZE_PARSE_SPECIAL, 9);
    assert_int_equal(hy_tokenizer_special(t)->bos, -1);
    assert_false(hy_tokenizer_special(t)->add_bos);
    int32_t ids[4];
    size_t count;
    assert_int_equal(hy_tokenize(t, "z", 1, 0, ids, 4, &count), HY_E_TEXT);
    assert_non_null(strstr(hy_error_text(), "0x7a"));
    hy_tokenizer_free(t);
    t = gpt2("llama-bpe"); /* whole words first; the pattern takes "  " before nothing else */
    IDS(t, "cab", 0, 8);
    hy_tokenizer_free(t);
}

static void gpt2_ends(void **state) {
    hy_tokenizer *t = gpt2("qwen2");
    assert_true(hy_tokenizer_is_end(t, 9));
    assert_true(hy_tokenizer_is_end(t, 10));
    assert_true(hy_tokenizer_is_end(t, 14));
    assert_int_equal(hy_tokenizer_special(t)->eot, 10);
    assert_int_equal(hy_tokenizer_kind(t, 9), HY_TOKEN_CONTROL); /* though the file says normal */
    hy_tokenizer_free(t);
}

static char warning[256];
static void keep_warning(void *user, hy_log_level level, const char *text) {
    snprintf(warning, sizeof warning, "%s", text);
}

static void gpt2_pre_names(void **state) {
    hy_log_set(keep_warning, NULL, HY_LOG_WARN);
    warning[0] = 0;
    hy_tokenizer_free(gpt2("default"));
    assert_string_equal(warning, "");
    hy_tokenizer_free(gpt2(NULL));
    assert_non_null(strstr(warning, "default"));
    hy_log_set(NULL, NULL, HY_LOG_WARN);
    static const char *const known[] = {
        "gpt-2",  "llama-bpe",   "qwen2",  "deepseek-llm", "deepseek-coder", "deepseek-v3",
        "falcon", "starcoder",   "refact", "command-r",    "olmo",           "stablelm2",
        "mpt",    "dbrx",        "smollm", "codeshell",    "bloom",          "gpt-4o",
        "tekken", "chatglm-bpe", "viking", "jais",         "kimi-k2"};
    for (size_t i = 0; i < HY_COUNT_OF(known); i++) {
        hy_tokenizer *t = gpt2(known[i]);
        IDS(t, "abc", 0, 6);
        hy_tokenizer_free(t);
    }
    gguf_blob blob = blob_begin();
    blob_key_string(&blob, "tokenizer.ggml.model", "gpt2");
    blob_key_string(&blob, "tokenizer.ggml.pre", "llama-bp");
    put_rows(&blob, gpt2_rows, HY_COUNT_OF(gpt2_rows));
    hy_tokenizer *t;
    assert_int_equal(try_open(&blob, &t), HY_E_UNSUPPORTED);
    assert_non_null(strstr(hy_error_text(), "'llama-bp'"));
    assert_non_null(strstr(hy_error_text(), "qwen2"));
}

/* ---- streaming ---- */

static void detokenizer_waits(void **state) {
    hy_tokenizer *t = llama(true);
    hy_detokenizer d;
    char text[64];
    size_t length = 9;
    hy_detokenizer_start(&d, t, false);
    assert_int_equal(hy_detokenize_next(&d, 20, text, 64, &length), HY_OK);
    assert_int_equal(length, 0);
    assert_int_equal(hy_detokenize_next(&d, 21, text, 64, &length), HY_OK);
    assert_int_equal(length, 0);
    assert_int_equal(hy_detokenize_next(&d, 22, text, 2, &length),
                     HY_E_LIMIT); /* nothing changed */
    assert_int_equal(hy_detokenize_next(&d, 22, text, 3, &length), HY_OK);
    assert_int_equal(length, 3);
    assert_memory_equal(text, "\xe2\x98\x83", 3);
    assert_int_equal(hy_detokenize_flush(&d, text), 0);
    TEXT(t, false, "\xef\xbf\xbd", 20); /* cut short: one replacement */
    TEXT(t, false, "\xef\xbf\xbd", 20, 21);
    TEXT(t, false,
         "\xef\xbf\xbd"
         "a",
         20, 21, 5);                                    /* broken off by a letter */
    TEXT(t, false, "\xef\xbf\xbd\xef\xbf\xbd", 21, 22); /* continuation bytes alone */
    TEXT(t, false, "\xef\xbf\xbd\xe2\x98\x83", 20, 20, 21, 22);
    assert_int_equal(hy_detokenize_next(&d, -1, text, 64, &length), HY_E_ARGUMENT);
    assert_int_equal(hy_detokenize_next(&d, 28, text, 64, &length), HY_E_ARGUMENT);
    assert_true(hy_tokenizer_longest(t) >= 6);
    hy_tokenizer_free(t);
    t = gpt2("gpt-2");
    TEXT(t, false, " a a", 7, 7); /* no dummy prefix to drop */
    TEXT(t, true, "a<|im_end|>  ", 0, 10, 13);
    TEXT(t, false, "a  ", 0, 10, 13);
    TEXT(t, false, "\xef\xbf\xbd", 11); /* byte 0xf0 */
    hy_tokenizer_free(t);
}

/* Phi-3, known by its name, strips white space after its special tokens. */
static void phi3_strips(void **state) {
    static const row rows[] = {
        {"<unk>", 0, U}, {"<s>", 0, C}, {"<|end|>", 0, C}, {"a", -1, N}, {S, -1, N}};
    for (unsigned named = 0; named < 2; named++) {
        gguf_blob blob = blob_begin();
        blob_key_string(&blob, "general.name", named ? "My Phi-3 mini" : "My Fhi-3");
        blob_key_string(&blob, "tokenizer.ggml.model", "llama");
        blob_key_bool(&blob, "tokenizer.ggml.add_space_prefix", false);
        put_rows(&blob, rows, HY_COUNT_OF(rows));
        hy_tokenizer *t = open_blob(&blob);
        if (named) {
            IDS(t, "<|end|> \n a<s> a", HY_TOKENIZE_PARSE_SPECIAL, 2, 3, 1, 4, 3);
            IDS(t, "<|end|> ", HY_TOKENIZE_PARSE_SPECIAL, 2);
        } else {
            IDS(t, "<|end|> a", HY_TOKENIZE_PARSE_SPECIAL, 2, 4, 3);
        }
        hy_tokenizer_free(t);
    }
}

/* ---- vocabularies that must be refused ---- */

/* A good llama or gpt2 vocabulary but for one thing. */
typedef enum fault {
    NONE,
    NO_MODEL,
    NO_TOKENS,
    TOKENS_NOT_STRINGS,
    TOKENS_NOT_ARRAY,
    TOKENS_EMPTY,
    SCORES_SHORT,
    SCORES_TEXT,
    SCORE_NAN,
    TYPES_LONG,
    TYPE_UNKNOWN,
    TYPE_NEGATIVE,
    DUPLICATE,
    BOS_RANGE,
    BOS_TEXT,
    MERGES_MISSING,
    MERGE_ONE_WORD,
    MERGE_EMPTY_SIDE,
    MERGES_NUMBERS,
    TOKEN_TOO_LONG,
    MODEL_T5,
    FAULTS
} fault;

static void put_tokens(gguf_blob *b, fault f) {
    static char large[(1 << 16) + 1];
    memset(large, 'x', sizeof large);
    hy_span tokens[] = {
        {"<unk>", 5}, {"a", 1}, {"b", 1}, {f == DUPLICATE ? "a" : "ab", f == DUPLICATE ? 1 : 2}};
    if (f == TOKEN_TOO_LONG) tokens[2] = (hy_span){large, sizeof large};
    const int32_t numbers[4] = {0, 1, 2, 3};
    if (f == NO_TOKENS) return;
    if (f == TOKENS_NOT_STRINGS)
        blob_key_ints(b, "tokenizer.ggml.tokens", numbers, 4);
    else if (f == TOKENS_NOT_ARRAY)
        blob_key_string(b, "tokenizer.ggml.tokens", "a");
    else
        blob_key_strings(b, "tokenizer.ggml.tokens", tokens, f == TOKENS_EMPTY ? 0 : 4);
}

static void put_numbers(gguf_blob *b, fault f) {
    float scores[4] = {0, -1, -2, -3};
    int32_t types[5] = {U, N, N, N, N};
    if (f == SCORE_NAN) scores[2] = 0.0f / 0.0f;
    if (f == TYPE_UNKNOWN) types[3] = 7;
    if (f == TYPE_NEGATIVE) types[3] = -1;
    if (f == SCORES_TEXT)
        blob_key_strings(b, "tokenizer.ggml.scores", (hy_span[4]){{"", 0}}, 4);
    else
        blob_key_floats(b, "tokenizer.ggml.scores", scores, f == SCORES_SHORT ? 3 : 4);
    blob_key_ints(b, "tokenizer.ggml.token_type", types, f == TYPES_LONG ? 5 : 4);
}

static void put_fault_merges(gguf_blob *b, fault f) {
    const char *merge = f == MERGE_ONE_WORD ? "ab" : f == MERGE_EMPTY_SIDE ? "a " : "a b";
    if (f == MERGES_MISSING) return;
    if (f == MERGES_NUMBERS)
        blob_key_ints(b, "tokenizer.ggml.merges", (int32_t[]){1, 2}, 2);
    else
        put_merges(b, &merge, 1);
}

static hy_status open_faulty(fault f, bool gpt) {
    gguf_blob b = blob_begin();
    if (f != NO_MODEL)
        blob_key_string(&b, "tokenizer.ggml.model", f == MODEL_T5 ? "t5" : gpt ? "gpt2" : "llama");
    if (gpt) blob_key_string(&b, "tokenizer.ggml.pre", "gpt-2");
    put_tokens(&b, f);
    put_numbers(&b, f);
    if (f == BOS_TEXT)
        blob_key_string(&b, "tokenizer.ggml.bos_token_id", "1");
    else
        blob_key_u32(&b, "tokenizer.ggml.bos_token_id", f == BOS_RANGE ? 4 : 1);
    if (gpt) put_fault_merges(&b, f);
    hy_tokenizer *t;
    hy_status status = try_open(&b, &t);
    assert_true((status == HY_OK) == (t != NULL));
    hy_tokenizer_free(t);
    return status;
}

static void faults_refused(void **state) {
    for (unsigned gpt = 0; gpt < 2; gpt++)
        for (fault f = NONE; f < FAULTS; f++) {
            hy_status expected = HY_E_FORMAT;
            bool only_gpt = f >= MERGES_MISSING && f <= MERGES_NUMBERS;
            bool only_llama =
                f == SCORES_SHORT || f == SCORES_TEXT || f == SCORE_NAN; /* not read by gpt2 */
            if (f == NONE || (only_gpt && !gpt) || (only_llama && gpt)) expected = HY_OK;
            if (f == NO_MODEL || f == NO_TOKENS || (f == MERGES_MISSING && gpt))
                expected = HY_E_NOT_FOUND;
            if (f == TOKEN_TOO_LONG) expected = HY_E_LIMIT;
            if (f == MODEL_T5) expected = HY_E_UNSUPPORTED;
            hy_status status = open_faulty(f, gpt);
            if (status != expected)
                fail_msg("fault %d of %s: status %d (%s), not %d", f, gpt ? "gpt2" : "llama",
                         status, hy_error_text(), expected);
        }
}

/* Padding in real files: an empty token is kept, has no text and is never found. */
static void empty_tokens(void **state) {
    static const row rows[] = {{"", 0, N}, {"a", 0, N}, {"", 0, C}, {S, 0, N}};
    gguf_blob blob = blob_begin();
    blob_key_string(&blob, "tokenizer.ggml.model", "llama");
    put_rows(&blob, rows, HY_COUNT_OF(rows));
    hy_tokenizer *t = open_blob(&blob);
    IDS(t, "a", HY_TOKENIZE_PARSE_SPECIAL, 3, 1);
    TEXT(t, true, "a", 0, 3, 1, 2);
    hy_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_merges),      cmocka_unit_test(llama_prefix),
        cmocka_unit_test(llama_special),     cmocka_unit_test(capacity_and_bad_text),
        cmocka_unit_test(no_unknown_token),  cmocka_unit_test(gpt2_merging),
        cmocka_unit_test(gpt2_ends),         cmocka_unit_test(gpt2_pre_names),
        cmocka_unit_test(detokenizer_waits), cmocka_unit_test(phi3_strips),
        cmocka_unit_test(faults_refused),    cmocka_unit_test(empty_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

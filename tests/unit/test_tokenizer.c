/* The tokenizers against real vocabularies and texts (HALYARD_TEST_DATA). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "base/rng.h"
#include "src/text/tokenizer.h"
#include "src/text/utf8.h"
#include "tests/unit/gguf_blob.h"

static const char *data_path;

static const char *path_of(const char *name) {
    static char path[4][1024];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", data_path, name);
    return out;
}

static hy_tokenizer *open_tokenizer(const char *name) {
    hy_gguf *gguf = NULL;
    hy_tokenizer *t = NULL;
    hy_status status = hy_gguf_open(path_of(name), &gguf);
    if (status == HY_OK) status = hy_tokenizer_new(gguf, &t);
    if (status != HY_OK) fail_msg("%s: %s", name, hy_error_text());
    hy_gguf_close(gguf); /* the tokenizer must not need it */
    return t;
}

__attribute__((noinline)) static char *read_text(const char *name, size_t *length) {
    uint8_t *data = NULL;
    if (hy_file_read(path_of(name), (size_t)1 << 30, &data, length) != HY_OK)
        fail_msg("%s: %s", name, hy_error_text());
    return (char *)data;
}

/* All ids of a text, on the heap. */
static int32_t *encode(const hy_tokenizer *t, const char *text, size_t length, unsigned flags,
                       size_t *count) {
    int32_t *ids = malloc((length * 4 + 16) * sizeof *ids);
    hy_status status = hy_tokenize(t, text, length, flags, ids, length * 4 + 16, count);
    if (status != HY_OK) fail_msg("%s", hy_error_text());
    assert_true(*count <= length * 4 + 16);
    return ids;
}

/* Token by token, each piece checked to be whole characters. */
static char *decode(const hy_tokenizer *t, const int32_t *ids, size_t count, bool special,
                    size_t *length) {
    size_t step = hy_tokenizer_longest(t) + 8, room = 4096;
    char *text = malloc(room);
    hy_detokenizer d;
    hy_detokenizer_start(&d, t, special);
    *length = 0;
    for (size_t i = 0; i < count; i++) {
        while (room - *length < step + 24)
            text = realloc(text, room *= 2);
        size_t added = 0;
        hy_status status = hy_detokenize_next(&d, ids[i], text + *length, step, &added);
        if (status != HY_OK) fail_msg("%s", hy_error_text());
        assert_int_equal(hy_utf8_check(text + *length, added), added);
        *length += added;
    }
    *length += hy_detokenize_flush(&d, text + *length);
    return text;
}

static void assert_round_trip(const hy_tokenizer *t, const char *text, size_t length) {
    size_t count, back_length;
    int32_t *ids = encode(t, text, length, 0, &count);
    char *back = decode(t, ids, count, true, &back_length);
    if (back_length != length || memcmp(back, text, length))
        fail_msg("'%.*s' came back as '%.*s'", (int)HY_MIN(length, 200), text,
                 (int)HY_MIN(back_length, 200), back);
    free(back);
    free(ids);
}

/* ---- llama.cpp's vectors ---- */

static void check_line(const hy_tokenizer *t, const char *text, size_t length, unsigned flags,
                       char *line, unsigned number) {
    size_t count;
    int32_t *ids = encode(t, text, length, flags, &count);
    size_t i = 0;
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "), i++)
        if (i >= count || ids[i] != atoi(word))
            fail_msg("case %u '%.*s': id %zu is %d, not %s", number, (int)length, text, i,
                     i < count ? ids[i] : -1, word);
    if (i != count)
        fail_msg("case %u '%.*s': %zu ids, not %zu", number, (int)length, text, count, i);
    free(ids);
}

static void check_vectors(const char *name, unsigned flags) {
    static const char gap[] = "\n__ggml_vocab_test__\n";
    char file[128];
    size_t input_length, output_length;
    snprintf(file, sizeof file, "%s.inp", name);
    char *input = read_text(file, &input_length);
    snprintf(file, sizeof file, "%s.out", name);
    char *output = read_text(file, &output_length), *line = output;
    hy_tokenizer *t = open_tokenizer(name);
    unsigned cases = 0;
    for (char *text = input; text < input + input_length; cases++) {
        char *end = strstr(text, gap), *line_end = strchr(line, '\n');
        assert_non_null(end);
        assert_non_null(line_end);
        *line_end = 0;
        check_line(t, text, (size_t)(end - text), flags, line, cases);
        text = end + sizeof gap - 1;
        line = line_end + 1;
    }
    assert_int_equal(cases, 46);
    assert_int_equal(line - output, output_length);
    hy_tokenizer_free(t);
    free(output);
    free(input);
}

static void vectors_gpt2(void **state) {
    check_vectors("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf", 0);
    check_vectors("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf", HY_TOKENIZE_PARSE_SPECIAL);
}

static void vectors_phi3(void **state) {
    check_vectors("tokenizers/llama.cpp-vocab/ggml-vocab-phi-3.gguf", 0);
    check_vectors("tokenizers/llama.cpp-vocab/ggml-vocab-phi-3.gguf", HY_TOKENIZE_PARSE_SPECIAL);
}

static void bert_refused_by_name(void **state) {
    hy_gguf *gguf = NULL;
    hy_tokenizer *t = NULL;
    assert_int_equal(
        hy_gguf_open(path_of("tokenizers/llama.cpp-vocab/ggml-vocab-bert-bge.gguf"), &gguf), HY_OK);
    assert_int_equal(hy_tokenizer_new(gguf, &t), HY_E_UNSUPPORTED);
    assert_non_null(strstr(hy_error_text(), "bert"));
    assert_non_null(strstr(hy_error_text(), "llama gpt2"));
    hy_gguf_close(gguf);
}

/* ---- prompts of the whole-model data ---- */

static json_t *read_json(const char *name) {
    json_error_t error;
    json_t *json = json_load_file(path_of(name), 0, &error);
    if (!json) fail_msg("%s: %s", name, error.text);
    return json;
}

static void check_ids(const hy_tokenizer *t, const char *text, size_t length,
                      const json_t *expected) {
    size_t count;
    int32_t *ids = encode(t, text, length, HY_TOKENIZE_SPECIAL | HY_TOKENIZE_PARSE_SPECIAL, &count);
    assert_int_equal(count, json_array_size(expected));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(expected, i)));
    free(ids);
}

/* Prompts by their ids; prompt and generated ids back to the text that the reference has. */
static void tinystories(void **state) {
    hy_tokenizer *t = open_tokenizer("models/tinystories-260k/stories260K.gguf");
    assert_int_equal(hy_tokenizer_size(t), 512);
    assert_true(hy_tokenizer_special(t)->add_bos);
    assert_int_equal(hy_tokenizer_special(t)->padding, -1); /* 2^32 - 1 in the file */
    assert_true(hy_tokenizer_is_end(t, 2));
    json_t *json = read_json("models/tinystories-260k/expected_greedy.json"), *item;
    size_t index;
    json_array_foreach(json_object_get(json, "cases"), index, item) {
        const json_t *prompt = json_object_get(item, "prompt"),
                     *full = json_object_get(item, "full_text");
        check_ids(t, json_string_value(prompt), json_string_length(prompt),
                  json_object_get(item, "prompt_ids"));
        int32_t ids[1024];
        size_t count = 0, length;
        for (unsigned part = 0; part < 2; part++) {
            const json_t *list = json_object_get(item, part ? "greedy_ids" : "prompt_ids");
            for (size_t i = 0; i < json_array_size(list); i++)
                ids[count++] = (int32_t)json_integer_value(json_array_get(list, i));
        }
        char *text = decode(t, ids, count, false, &length);
        assert_int_equal(length, json_string_length(full));
        assert_memory_equal(text, json_string_value(full), length);
        free(text);
    }
    assert_true(index >= 5);
    json_decref(json);
    hy_tokenizer_free(t);
}

static void golden_prompts(void **state) {
    static const char *const cases[] = {"llama-base-F32", "qwen2-F32", "gemma2-F32", "falcon-F16",
                                        "deepseek2-F32"};
    unsigned checked = 0;
    for (size_t i = 0; i < HY_COUNT_OF(cases); i++) {
        char name[128];
        snprintf(name, sizeof name, "golden/%s/case.json", cases[i]);
        json_t *json = read_json(name), *item;
        snprintf(name, sizeof name, "golden/%s/model.gguf", cases[i]);
        hy_tokenizer *t = open_tokenizer(name);
        size_t index;
        json_array_foreach(json_object_get(json, "prompts"), index, item) {
            const json_t *text = json_object_get(item, "text");
            if (!json_is_string(text)) continue; /* a bare id was chosen */
            check_ids(t, json_string_value(text), json_string_length(text),
                      json_object_get(item, "tokens"));
            checked++;
        }
        json_decref(json);
        hy_tokenizer_free(t);
    }
    assert_true(checked >= 10);
}

/* ---- vocabularies in their own formats ---- */

/* encoder.json and vocab.bpe of GPT-2 as a GGUF in memory. */
static hy_tokenizer *gpt2_from_json(void) {
    json_t *encoder = read_json("tokenizers/gpt2/encoder.json"), *value;
    size_t count = json_object_size(encoder), merges = 0, length;
    hy_span *tokens = calloc(count, sizeof *tokens), *lines = calloc(count, sizeof *lines);
    const char *key;
    json_object_foreach(encoder, key, value) {
        size_t id = (size_t)json_integer_value(value);
        assert_true(id < count);
        tokens[id] = (hy_span){key, strlen(key)};
    }
    char *text = read_text("tokenizers/gpt2/vocab.bpe", &length), *line = strchr(text, '\n') + 1;
    for (char *end; (end = strchr(line, '\n')) && merges < count; line = end + 1)
        lines[merges++] = (hy_span){line, (size_t)(end - line)};
    assert_int_equal(merges, 50000);
    gguf_blob blob = blob_begin();
    blob_key_string(&blob, "tokenizer.ggml.model", "gpt2");
    blob_key_string(&blob, "tokenizer.ggml.pre", "gpt-2");
    blob_key_strings(&blob, "tokenizer.ggml.tokens", tokens, count);
    blob_key_strings(&blob, "tokenizer.ggml.merges", lines, merges);
    hy_gguf *gguf = NULL;
    hy_tokenizer *t = NULL;
    assert_int_equal(blob_open(&blob, &gguf), HY_OK);
    assert_int_equal(hy_tokenizer_new(gguf, &t), HY_OK);
    hy_gguf_close(gguf);
    blob_free(&blob);
    free(text);
    free(lines);
    free(tokens);
    json_decref(encoder);
    return t;
}

typedef struct piece_list {
    hy_span *piece;
    float *score;
    int32_t *type;
    size_t count;
} piece_list;

static uint64_t read_varint(const uint8_t **p, const uint8_t *end) {
    uint64_t value = 0;
    for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t byte = *(*p)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) break;
    }
    return value;
}

/* SentencePiece{1: piece, 2: score, 3: type}, protobuf wire format. */
static void read_piece(const uint8_t *p, const uint8_t *end, piece_list *list) {
    size_t at = list->count++;
    list->type[at] = HY_TOKEN_NORMAL;
    while (p < end) {
        uint64_t tag = read_varint(&p, end);
        if (tag == (1 << 3 | 2)) {
            size_t length = (size_t)read_varint(&p, end);
            list->piece[at] = (hy_span){(const char *)p, length};
            p += length;
        } else if (tag == (2 << 3 | 5)) {
            memcpy(&list->score[at], p, 4);
            p += 4;
        } else {
            list->type[at] = (int32_t)read_varint(&p, end);
        }
    }
}

/* Mistral's tokenizer.model (SentencePiece BPE) as a GGUF in memory: ModelProto{1: piece, ...}. */
static hy_tokenizer *mistral_from_proto(void) {
    size_t length;
    uint8_t *data = (uint8_t *)read_text("tokenizers/mistral-spm/tokenizer.model.v1", &length);
    const uint8_t *p = data, *end = data + length;
    piece_list list = {calloc(length, sizeof(hy_span)), calloc(length, sizeof(float)),
                       calloc(length, sizeof(int32_t)), 0};
    while (p < end) {
        uint64_t tag = read_varint(&p, end);
        assert_int_equal(tag & 7, 2); /* every field of ModelProto has a length */
        size_t size = (size_t)read_varint(&p, end);
        if (tag >> 3 == 1) read_piece(p, p + size, &list);
        p += size;
    }
    assert_int_equal(list.count, 32000);
    gguf_blob blob = blob_begin();
    blob_key_string(&blob, "tokenizer.ggml.model", "llama");
    blob_key_strings(&blob, "tokenizer.ggml.tokens", list.piece, list.count);
    blob_key_floats(&blob, "tokenizer.ggml.scores", list.score, list.count);
    blob_key_ints(&blob, "tokenizer.ggml.token_type", list.type, list.count);
    hy_gguf *gguf = NULL;
    hy_tokenizer *t = NULL;
    assert_int_equal(blob_open(&blob, &gguf), HY_OK);
    assert_int_equal(hy_tokenizer_new(gguf, &t), HY_OK);
    hy_gguf_close(gguf);
    blob_free(&blob);
    free(list.piece);
    free(list.score);
    free(list.type);
    free(data);
    return t;
}

/* The same vocabulary from another source cuts a long text alike. */
static void gpt2_json_equals_gguf(void **state) {
    hy_tokenizer *a = gpt2_from_json(),
                 *b = open_tokenizer("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf");
    size_t length, a_count, b_count;
    char *text = read_text("text/tinyshakespeare.txt", &length);
    int32_t *a_ids = encode(a, text, length, 0, &a_count),
            *b_ids = encode(b, text, length, 0, &b_count);
    assert_int_equal(a_count, 338025); /* the well-known GPT-2 token count of this text */
    assert_int_equal(a_count, b_count);
    assert_memory_equal(a_ids, b_ids, a_count * sizeof *a_ids);
    free(a_ids);
    free(b_ids);
    free(text);
    hy_tokenizer_free(a);
    hy_tokenizer_free(b);
}

/* Ids by Google's sentencepiece 0.2 for this model. */
static void mistral_sentences(void **state) {
    static const struct {
        const char *text;
        int32_t ids[24];
    } cases[] = {
        {"Hello, my name is Ben.", {22557, 28725, 586, 1141, 349, 4121, 28723}},
        {"  two  spaces\n\nand lines\t", {259, 989, 28705, 10599, 13, 13, 391, 4715, 12}},
        {"na\xc3\xafve caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\x9f\x98\x80",
         {1879, 28920, 333, 28345, 28705, 29142, 29119, 30321, 28705, 30575}},
        {"3333333 apples", {28705, 28770, 28770, 28770, 28770, 28770, 28770, 28770, 979, 2815}},
        {"</s> is not <s>", {1867, 28713, 28767, 349, 459, 523, 28713, 28767}},
        {"aaaaaaaaaaaaaaaa", {264, 25332, 12648, 4474, 28708}},
        {" ", {259}},
    };
    hy_tokenizer *t = mistral_from_proto();
    for (size_t i = 0; i < HY_COUNT_OF(cases); i++) {
        size_t count;
        int32_t *ids = encode(t, cases[i].text, strlen(cases[i].text), 0, &count);
        for (size_t k = 0; k < count; k++)
            assert_int_equal(ids[k], cases[i].ids[k]);
        assert_int_equal(cases[i].ids[count], 0);
        free(ids);
    }
    hy_tokenizer_free(t);
}

/* ---- round trips ---- */

static void round_trip_texts(const hy_tokenizer *t) {
    static const char *const names[] = {"text/tinyshakespeare.txt", "text/war-and-peace.txt",
                                        "tokenizers/sentencepiece/botchan.txt"};
    hy_rng rng = hy_rng_seed(7);
    for (size_t i = 0; i < HY_COUNT_OF(names); i++) {
        size_t length;
        char *text = read_text(names[i], &length);
        for (unsigned n = 0; n < 40; n++) {
            size_t from = hy_rng_below(&rng, (uint32_t)length), size = 1 + hy_rng_below(&rng, 5000);
            while (from > 0 && ((uint8_t)text[from] & 0xc0) == 0x80)
                from--;
            size = HY_MIN(size, length - from);
            while (from + size < length && ((uint8_t)text[from + size] & 0xc0) == 0x80)
                size++;
            assert_round_trip(t, text + from, size);
        }
        free(text);
    }
}

static size_t put_code(uint32_t code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    unsigned width = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (unsigned i = width; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[width] | code);
    return width;
}

/* U+2581 stands for a space in llama vocabularies and cannot come back: it is left out. */
static uint32_t random_code(hy_rng *rng) {
    static const char common[] = "  \n\t.,!'abcdefgst019<|>_/";
    for (;;) {
        uint32_t kind = hy_rng_below(rng, 6), code;
        if (kind < 2)
            code = (uint8_t)common[hy_rng_below(rng, sizeof common - 1)];
        else
            code = hy_rng_below(rng, kind == 2   ? 0x80
                                     : kind == 3 ? 0x800
                                     : kind == 4 ? 0x10000
                                                 : 0x110000);
        if ((code < 0xd800 || code > 0xdfff) && code != 0x2581) return code;
    }
}

static void round_trip_random(const hy_tokenizer *t) {
    hy_rng rng = hy_rng_seed(11);
    for (unsigned n = 0; n < 2000; n++) {
        char text[4 * 64];
        size_t length = 0;
        for (uint32_t i = hy_rng_below(&rng, 64); i; i--)
            length += put_code(random_code(&rng), text + length);
        assert_round_trip(t, text, length);
    }
}

static void round_trips(void **state) {
    hy_tokenizer *tokenizers[] = {
        gpt2_from_json(),
        mistral_from_proto(),
        open_tokenizer("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf"),
        open_tokenizer("tokenizers/llama.cpp-vocab/ggml-vocab-phi-3.gguf"),
        open_tokenizer("models/tinystories-260k/stories260K.gguf"),
    };
    for (size_t i = 0; i < HY_COUNT_OF(tokenizers); i++) {
        round_trip_texts(tokenizers[i]);
        round_trip_random(tokenizers[i]);
        hy_tokenizer_free(tokenizers[i]);
    }
}

/* No assertion on time; what must hold is that no input is quadratic, or this would not end. */
static void speed(void **state) {
    const struct {
        const char *name;
        hy_tokenizer *t;
    } row[] = {{"gpt2", gpt2_from_json()}, {"llama", mistral_from_proto()}};
    size_t length;
    char *text = read_text("text/tinyshakespeare.txt", &length), *same = malloc(length);
    for (size_t i = 0; i < HY_COUNT_OF(row); i++)
        for (unsigned kind = 0; kind < 4; kind++) {
            static const char *const kinds[] = {"text", "one letter", "spaces", "digits"};
            if (kind) memset(same, " a 7"[kind], length);
            uint64_t start = hy_clock_ns();
            size_t count = 0;
            assert_int_equal(hy_tokenize(row[i].t, kind ? same : text, length, 0, NULL, 0, &count),
                             HY_OK);
            double seconds = (double)(hy_clock_ns() - start) * 1e-9;
            print_message("%-6s %-10s %7.1f MB/s, %zu tokens\n", row[i].name, kinds[kind],
                          (double)length * 1e-6 / seconds, count);
        }
    free(same);
    free(text);
    hy_tokenizer_free(row[0].t);
    hy_tokenizer_free(row[1].t);
}

int main(void) {
    data_path = getenv("HALYARD_TEST_DATA");
    if (!data_path) data_path = "../shared/data";
    FILE *probe = fopen(path_of("models/tinystories-260k/stories260K.gguf"), "rb");
    if (!probe) {
        printf("skipped: no test data at %s (HALYARD_TEST_DATA)\n", data_path);
        return 77;
    }
    fclose(probe);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_gpt2),
        cmocka_unit_test(vectors_phi3),
        cmocka_unit_test(bert_refused_by_name),
        cmocka_unit_test(tinystories),
        cmocka_unit_test(golden_prompts),
        cmocka_unit_test(gpt2_json_equals_gguf),
        cmocka_unit_test(mistral_sentences),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

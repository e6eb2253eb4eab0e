#include "src/text/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"

/* The patterns are those of the models' own tokenizer files (the "pre_tokenizer" of tokenizer.json,
 * or tiktoken's pattern string); names are those that GGUF converters write to tokenizer.ggml.pre.
 * \s is widened to Unicode White_Space when a pattern is compiled, see widen(). */
// clang-format off
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define NEWLINES    "\\s*[\\r\\n]+"
#define SPACES      "\\s+(?!\\S)|\\s+"
#define GPT2_WORDS  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACES
/* Words with an optional leading non-letter; `numbers` and `symbols` are what differs in the
 * family. */
#define LLAMA3_LIKE(numbers, symbols) \
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers "|" symbols "|" NEWLINES "|" SPACES
#define SYMBOLS     " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UPPER       "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER       "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
/* Words cut where case goes from lower to upper. */
#define CASED_WORDS(upper, lower, suffix) \
    "[^\\r\\n\\p{L}\\p{N}]?" upper "*" lower "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" upper "+" lower "*" suffix
#define NO_HAN(set) "(?:(?!\\p{Han})" set ")"
#define BLOOM_WORDS " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"
#define ASCII_WORD  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
#define CJK_RUN     "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
/* Cased letters as deepseek-llm lists them. */
#define DEEPSEEK_LETTERS "\\s?[" \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}" \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}" \
    "\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}" \
    "\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}" \
    "\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}" \
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}" \
    "\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}" \
    "\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}" \
    "\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}" \
    "\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}" \
    "\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}" \
    "\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}" \
    "\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}" \
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}" \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}" \
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}" \
    "]+"

enum { IGNORE_MERGES = 1, ADD_BOS = 2, NO_BOS = 4 };

typedef struct splitter {
    const char *names; /* separated by spaces */
    unsigned flags;
    const char *pattern[HY_PRETOKENIZER_PATTERNS];
} splitter;

static const splitter splitters[] = {
    {"gpt-2 phi-2 mpt olmo jais jina-es jina-de gigachat a.x-4.0 mellum exaone4 trillion granite-docling", 0,
     {GPT2_WORDS}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", IGNORE_MERGES | ADD_BOS,
     {LLAMA3_LIKE("\\p{N}{1,3}", SYMBOLS)}},
    {"dbrx smaug-bpe", 0,
     {LLAMA3_LIKE("\\p{N}{1,3}", SYMBOLS)}},
    {"chatglm-bpe glm4", NO_BOS,
     {LLAMA3_LIKE("\\p{N}{1,3}", SYMBOLS)}},
    {"qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan solar-open grok-2 kormo", 0,
     {LLAMA3_LIKE("\\p{N}", SYMBOLS)}},
    {"qwen35", 0,
     {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" NEWLINES "|" SPACES}},
    {"seed-coder", 0,
     {LLAMA3_LIKE("\\p{N}", " ?[^\\s\\p{L}\\p{N}\\r\\n]+")}},
    {"bailingmoe bailingmoe2 llada-moe", 0,
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|" SPACES}},
    {"jais-2", 0,
     {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" SYMBOLS "|" NEWLINES
      "|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)"
      "|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"}},
    {"gpt-4o llama4 kanana2 minimax-m2", 0,
     {CASED_WORDS(UPPER, LOWER, CONTRACTION "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" NEWLINES "|" SPACES}},
    {"tekken", IGNORE_MERGES | ADD_BOS,
     {CASED_WORDS(UPPER, LOWER, "") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" NEWLINES "|" SPACES}},
    {"kimi-k2", 0,
     {"\\p{Han}+|" CASED_WORDS(NO_HAN(UPPER), NO_HAN(LOWER), CONTRACTION "?") "|\\p{N}{1,3}|" SYMBOLS "|" NEWLINES "|" SPACES}},
    {"starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", 0,
     {"\\p{N}", GPT2_WORDS}},
    {"falcon", 0,
     {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2_WORDS, "[0-9][0-9][0-9]"}},
    {"deepseek-llm", 0,
     {"[\\r\\n]", DEEPSEEK_LETTERS,
      "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
      "(?<!\\s)\\s+$", /* the look-behind changes no match; without it a run of n spaces costs n * n */
      CJK_RUN, "\\p{N}+"}},
    {"deepseek-coder", 0,
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_RUN, "\\p{N}"}},
    {"deepseek-v3 hunyuan-dense joyai-llm", 0,
     {"\\p{N}{1,3}", "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+",
      ASCII_WORD "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" NEWLINES "|" SPACES}},
    {"bloom poro-chat gpt3-finnish", 0,
     {BLOOM_WORDS}},
    {"viking", 0,
     {BLOOM_WORDS, "\\p{N}"}},
    {"chameleon", ADD_BOS,
     {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}",
      "[\\p{P}!-/:-@\\[-`{-~]", GPT2_WORDS}},
    {"default", 0,
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_WORDS, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

/* Unicode White_Space. PCRE2's own \s differs from it by U+180E. */
static const char white_space[] = "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}"
                                  "\\x{202F}\\x{205F}\\x{3000}";
// clang-format on

/* Copies `pattern` with \s and \S replaced by the class above; inside [...] \s stands for its
 * ranges alone (\S does not occur there). */
static void widen(const char *pattern, hy_text *out) {
    bool in_class = false;
    for (const char *p = pattern; *p; p++) {
        if (*p == '\\' && (p[1] == 's' || p[1] == 'S')) {
            p++;
            hy_text_add(out, in_class ? "%s%s%s" : "[%s%s%s", *p == 'S' ? "^" : "", white_space,
                        in_class ? "" : "]");
        } else if (*p == '\\') {
            hy_text_bytes(out, p++, 2);
        } else {
            if (*p == '[') in_class = true;
            if (*p == ']') in_class = false;
            hy_text_bytes(out, p, 1);
        }
    }
}

static hy_status compile(const char *pattern, void **out) {
    hy_text wide = {0};
    widen(pattern, &wide);
    if (wide.failed) {
        hy_text_free(&wide);
        return hy_fail(HY_E_MEMORY, "no memory for a pre-tokenizer pattern");
    }
    int error = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *code = pcre2_compile(
        (PCRE2_SPTR)wide.data, wide.length,
        PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY | PCRE2_NO_UTF_CHECK, &error, &at, NULL);
    hy_text_free(&wide);
    if (!code) {
        PCRE2_UCHAR message[128] = {0};
        pcre2_get_error_message(error, message, sizeof message);
        bool memory = error == PCRE2_ERROR_HEAP_FAILED;
        return hy_fail(memory ? HY_E_MEMORY : HY_E_INTERNAL, "pre-tokenizer pattern: %s at %zu",
                       (const char *)message, (size_t)at);
    }
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without JIT it only runs slower */
    *out = code;
    return HY_OK;
}

/* True when `name` is one of the words of `names`. */
static bool listed(const char *names, hy_span name) {
    for (const char *p = names; *p;) {
        size_t length = strcspn(p, " ");
        if (length == name.length && !memcmp(p, name.data, length)) return true;
        p += length;
        p += *p == ' ';
    }
    return false;
}

static hy_status unknown_name(hy_span name) {
    hy_text known = {0};
    for (size_t i = 0; i < HY_COUNT_OF(splitters); i++)
        hy_text_add(&known, i ? " %s" : "%s", splitters[i].names);
    hy_status status =
        hy_fail(HY_E_UNSUPPORTED, "unknown pre-tokenizer '%.*s' (known: %s)",
                (int)HY_MIN(name.length, 64), name.data, known.failed ? "" : known.data);
    hy_text_free(&known);
    return status;
}

hy_status hy_pretokenizer_open(hy_span name, hy_pretokenizer *out) {
    const splitter *found = NULL;
    for (size_t i = 0; i < HY_COUNT_OF(splitters) && !found; i++)
        if (listed(splitters[i].names, name)) found = &splitters[i];
    if (!found) return unknown_name(name);
    hy_pretokenizer made = {.ignore_merges = found->flags & IGNORE_MERGES,
                            .add_bos = found->flags & ADD_BOS,
                            .no_bos = found->flags & NO_BOS};
    while (made.count < HY_PRETOKENIZER_PATTERNS && found->pattern[made.count]) {
        hy_status status = compile(found->pattern[made.count], &made.pattern[made.count]);
        if (status != HY_OK) {
            hy_pretokenizer_close(&made);
            return status;
        }
        made.count++;
    }
    *out = made;
    return HY_OK;
}

void hy_pretokenizer_close(hy_pretokenizer *pretokenizer) {
    for (unsigned i = 0; i < pretokenizer->count; i++)
        pcre2_code_free(pretokenizer->pattern[i]);
    pretokenizer->count = 0;
}

typedef struct split_state {
    const hy_pretokenizer *pretokenizer;
    pcre2_match_data *match; /* one pair of offsets, shared by all levels */
    hy_word_fn word;
    void *context;
} split_state;

/* One match at or after `at`: 1 and its bounds, 0 for none, negative for PCRE2's errors. */
static int find_match(const split_state *state, unsigned level, const char *text, size_t length,
                      size_t at, uint32_t options, size_t bounds[2]) {
    const pcre2_code *code = state->pretokenizer->pattern[level];
    options |= PCRE2_NO_UTF_CHECK;
    int found = pcre2_match(code, (PCRE2_SPTR)text, length, at, options, state->match, NULL);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(code, (PCRE2_SPTR)text, length, at, options | PCRE2_NO_JIT,
                            state->match, NULL);
    if (found == PCRE2_ERROR_NOMATCH) return 0;
    if (found < 0) return found;
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(state->match);
    bounds[0] = offsets[0];
    bounds[1] = offsets[1];
    return 1;
}

/* Depth: at most HY_PRETOKENIZER_PATTERNS calls. */
static hy_status split_level(const split_state *state, unsigned level, const char *text,
                             size_t length) {
    if (length == 0) return HY_OK;
    if (level == state->pretokenizer->count) return state->word(state->context, text, length);
    size_t done = 0, bounds[2];
    uint32_t options = 0;
    while (done < length) {
        int found = find_match(state, level, text, length, done, options, bounds);
        if (found < 0)
            return hy_fail(HY_E_LIMIT, "text cannot be cut into words: PCRE2 error %d", found);
        if (!found) break;
        HY_TRY(split_level(state, level + 1, text + done, bounds[0] - done));
        HY_TRY(split_level(state, level + 1, text + bounds[0], bounds[1] - bounds[0]));
        /* An empty match cuts; the next one must not be the same again. */
        options = bounds[0] == bounds[1] ? PCRE2_NOTEMPTY_ATSTART : 0;
        done = bounds[1];
    }
    return split_level(state, level + 1, text + done, length - done);
}

hy_status hy_pretokenizer_split(const hy_pretokenizer *pretokenizer, const char *text,
                                size_t length, hy_word_fn word, void *context) {
    split_state state = {pretokenizer, pcre2_match_data_create(1, NULL), word, context};
    if (!state.match) return hy_fail(HY_E_MEMORY, "no memory to match a pattern");
    hy_status status = split_level(&state, 0, text, length);
    pcre2_match_data_free(state.match);
    return status;
}

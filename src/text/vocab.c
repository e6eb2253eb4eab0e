#include "src/text/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/num.h"

#define TOKENS "tokenizer.ggml.tokens"
#define SCORES "tokenizer.ggml.scores"
#define TYPES "tokenizer.ggml.token_type"
#define MERGES "tokenizer.ggml.merges"

static hy_status no_memory(void) {
    return hy_fail(HY_E_MEMORY, "no memory for the vocabulary");
}

int32_t hy_vocab_find(const hy_tokenizer *t, const char *text, size_t length) {
    if (length == 0 || length > t->longest_spelling) return -1;
    uint64_t hash = hy_hash(text, length, 0);
    for (uint64_t at = hash & t->slot_mask; t->slot[at]; at = (at + 1) & t->slot_mask) {
        if (t->slot[at] >> 32 != hash >> 32) continue;
        uint32_t id = (uint32_t)t->slot[at] - 1;
        hy_span spelling = t->spelling[id];
        if (spelling.length == length && !memcmp(spelling.data, text, length)) return (int32_t)id;
    }
    return -1;
}

/* Adds a token that was not found. */
static void insert(hy_tokenizer *t, uint32_t id) {
    uint64_t hash = hy_hash(t->spelling[id].data, t->spelling[id].length, 0);
    uint64_t at = hash & t->slot_mask;
    while (t->slot[at])
        at = (at + 1) & t->slot_mask;
    t->slot[at] = hash >> 32 << 32 | (id + 1);
}

static uint64_t table_size(uint64_t items) {
    uint64_t size = 16;
    while (size < items * 2)
        size *= 2;
    return size;
}

static hy_status string_array(const hy_gguf *gguf, const char *key, const hy_gguf_value **out) {
    const hy_gguf_value *value = hy_gguf_find(gguf, key);
    if (!value) return hy_fail(HY_E_NOT_FOUND, "the file has no vocabulary: %s is missing", key);
    if (value->type != HY_GGUF_ARRAY || value->element_type != HY_GGUF_STRING)
        return hy_fail(HY_E_FORMAT, "%s is not an array of strings", key);
    if (value->count == 0) return hy_fail(HY_E_FORMAT, "%s is empty", key);
    if (value->count > HY_VOCAB_MAX_TOKENS)
        return hy_fail(HY_E_LIMIT, "%s has %llu entries, more than %d", key,
                       (unsigned long long)value->count, HY_VOCAB_MAX_TOKENS);
    *out = value;
    return HY_OK;
}

/* Copies the spellings out of the mapping and enters them into the table. */
static hy_status load_spellings(hy_tokenizer *t, const hy_gguf_value *value) {
    t->count = (uint32_t)value->count;
    t->slot_mask = table_size(t->count) - 1;
    t->spelling = hy_arena_alloc(&t->arena, t->count, sizeof *t->spelling);
    t->slot = hy_arena_alloc(&t->arena, (size_t)t->slot_mask + 1, sizeof *t->slot);
    if (!t->spelling || !t->slot) return no_memory();
    HY_TRY(hy_gguf_strings(value, t->spelling));
    size_t total = 0;
    for (uint32_t id = 0; id < t->count; id++) {
        size_t length = t->spelling[id].length;
        if (length > HY_VOCAB_MAX_SPELLING)
            return hy_fail(HY_E_LIMIT, "token %u has %zu bytes, more than %d", id, length,
                           HY_VOCAB_MAX_SPELLING);
        total += length;
        t->longest_spelling = HY_MAX(t->longest_spelling, length);
    }
    char *text = hy_arena_alloc(&t->arena, total + 1, 1);
    if (!text) return no_memory();
    for (uint32_t id = 0; id < t->count; id++) {
        hy_span *spelling = &t->spelling[id];
        if (spelling->length) memcpy(text, spelling->data, spelling->length);
        spelling->data = text;
        text += spelling->length;
    }
    return HY_OK;
}

/* Empty tokens exist in real files (padding); they are never matched. */
static hy_status index_spellings(hy_tokenizer *t) {
    uint32_t empty = 0;
    for (uint32_t id = 0; id < t->count; id++) {
        hy_span spelling = t->spelling[id];
        if (spelling.length == 0) {
            empty++;
            continue;
        }
        int32_t other = hy_vocab_find(t, spelling.data, spelling.length);
        if (other >= 0)
            return hy_fail(HY_E_FORMAT, "tokens %d and %u are both spelled '%.*s'", other, id,
                           (int)HY_MIN(spelling.length, 64), spelling.data);
        insert(t, id);
    }
    if (empty) hy_log(HY_LOG_WARN, "the vocabulary has %u empty tokens", empty);
    return HY_OK;
}

/* A companion array of the tokens: present, numeric, and of the same length. */
static hy_status numeric_array(const hy_tokenizer *t, const hy_gguf *gguf, const char *key,
                               const hy_gguf_value **out) {
    const hy_gguf_value *value = hy_gguf_find(gguf, key);
    *out = value;
    if (!value) return HY_OK;
    if (value->type != HY_GGUF_ARRAY || value->element_type == HY_GGUF_STRING ||
        value->element_type == HY_GGUF_ARRAY)
        return hy_fail(HY_E_FORMAT, "%s is not an array of numbers", key);
    if (value->count != t->count)
        return hy_fail(HY_E_FORMAT, "%s has %llu entries for %u tokens", key,
                       (unsigned long long)value->count, t->count);
    return HY_OK;
}

static hy_status load_kinds(hy_tokenizer *t, const hy_gguf *gguf) {
    const hy_gguf_value *value;
    HY_TRY(numeric_array(t, gguf, TYPES, &value));
    for (uint32_t id = 0; id < t->count; id++) {
        uint32_t kind = HY_TOKEN_NORMAL;
        if (value) HY_TRY(hy_gguf_element_u32(value, id, &kind));
        if (kind > HY_TOKEN_BYTE)
            return hy_fail(HY_E_FORMAT, "%s: token %u has the unknown type %u", TYPES, id, kind);
        t->kind[id] = (uint8_t)(kind ? kind : HY_TOKEN_UNUSED); /* 0: "undefined", never printed */
    }
    return HY_OK;
}

/* Orders floats as unsigned integers, the highest score first; -0 equals 0. */
static uint32_t score_priority(float score) {
    uint32_t bits = hy_f32_bits(score + 0.0f);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static hy_status load_scores(hy_tokenizer *t, const hy_gguf *gguf) {
    const hy_gguf_value *value;
    HY_TRY(numeric_array(t, gguf, SCORES, &value));
    if (!value) hy_log(HY_LOG_WARN, "%s is missing: all scores are 0", SCORES);
    t->priority = hy_arena_alloc(&t->arena, t->count, sizeof *t->priority);
    if (!t->priority) return no_memory();
    for (uint32_t id = 0; id < t->count; id++) {
        float score = 0;
        if (value) HY_TRY(hy_gguf_element_f32(value, id, &score));
        if (isnan(score))
            return hy_fail(HY_E_FORMAT, "%s: the score of token %u is NaN", SCORES, id);
        t->priority[id] = score_priority(score);
    }
    return HY_OK;
}

static void find_byte_tokens(hy_tokenizer *t) {
    static const char digits[] = "0123456789ABCDEF";
    for (unsigned byte = 0; byte < 256; byte++) {
        char raw = (char)byte, spelled[2];
        if (t->byte_level) {
            t->byte_id[byte] = hy_vocab_find(t, spelled, hy_byte_level_spell(&raw, 1, spelled));
            continue;
        }
        char token[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        t->byte_id[byte] = hy_vocab_find(t, token, sizeof token);
        if (t->byte_id[byte] < 0) t->byte_id[byte] = hy_vocab_find(t, &raw, 1);
    }
}

/* Which characters may be glued to a following space by some token; before all other spaces the
 * text can be cut without changing what is merged. */
static void find_joins(hy_tokenizer *t) {
    for (uint32_t id = 0; id < t->count; id++) {
        hy_span s = t->spelling[id];
        for (size_t i = 1; i + 3 <= s.length; i++)
            if (!memcmp(s.data + i, HY_SPACE_MARK, 3))
                t->joins_space[(uint8_t)s.data[i - 1]] = true;
    }
}

/* An upper bound of what one token can print: a byte that is not ASCII may come out as U+FFFD. */
static size_t printed_length(hy_span spelling) {
    size_t length = 0;
    for (size_t i = 0; i < spelling.length; i++)
        length += (uint8_t)spelling.data[i] < 0x80 ? 1 : 3;
    return HY_MAX(length, 3);
}

hy_status hy_vocab_load_tokens(hy_tokenizer *t, const hy_gguf *gguf) {
    const hy_gguf_value *value;
    HY_TRY(string_array(gguf, TOKENS, &value));
    HY_TRY(load_spellings(t, value));
    HY_TRY(index_spellings(t));
    t->kind = hy_arena_alloc(&t->arena, t->count, 1);
    t->flags = hy_arena_alloc(&t->arena, t->count, 1);
    if (!t->kind || !t->flags) return no_memory();
    HY_TRY(load_kinds(t, gguf));
    if (!t->byte_level) {
        HY_TRY(load_scores(t, gguf));
        find_joins(t);
    }
    find_byte_tokens(t);
    for (uint32_t id = 0; id < t->count; id++)
        t->longest_text = HY_MAX(t->longest_text, printed_length(t->spelling[id]));
    return HY_OK;
}

static uint64_t pair_hash(uint64_t pair) {
    pair *= 0x9e3779b97f4a7c15u; /* golden ratio; the upper half is well mixed */
    return pair ^ pair >> 32;
}

const hy_merge *hy_vocab_merge(const hy_tokenizer *t, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint64_t at = pair_hash(pair) & t->merge_mask;; at = (at + 1) & t->merge_mask) {
        const hy_merge *merge = &t->merge[at];
        if (merge->id < 0) return NULL;
        if (merge->pair == pair) return merge;
    }
}

/* Enters "left right" with its rank. A merge whose parts or result are not in the vocabulary is
 * left out: *skipped counts it. The first of equal merges counts. */
static hy_status add_merge(hy_tokenizer *t, hy_span line, uint32_t rank, char *joined,
                           uint32_t *skipped) {
    const char *gap = line.length > 1 ? memchr(line.data + 1, ' ', line.length - 1) : NULL;
    size_t first = gap ? (size_t)(gap - line.data) : 0;
    if (!gap || first + 1 == line.length)
        return hy_fail(HY_E_FORMAT, "%s: entry %u '%.*s' is not two tokens with a space between",
                       MERGES, rank, (int)HY_MIN(line.length, 64), line.data);
    size_t second = line.length - first - 1;
    int32_t left = hy_vocab_find(t, line.data, first), right = hy_vocab_find(t, gap + 1, second),
            id = -1;
    if (left >= 0 && right >= 0 && first + second <= t->longest_spelling) {
        memcpy(joined, line.data, first);
        memcpy(joined + first, gap + 1, second);
        id = hy_vocab_find(t, joined, first + second);
    }
    if (id < 0 || !hy_vocab_mergeable(t, id)) {
        *skipped += 1;
        return HY_OK;
    }
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t at = pair_hash(pair) & t->merge_mask;
    while (t->merge[at].id >= 0 && t->merge[at].pair != pair)
        at = (at + 1) & t->merge_mask;
    if (t->merge[at].id < 0) t->merge[at] = (hy_merge){pair, rank, id};
    return HY_OK;
}

hy_status hy_vocab_load_merges(hy_tokenizer *t, const hy_gguf *gguf) {
    const hy_gguf_value *value;
    HY_TRY(string_array(gguf, MERGES, &value));
    uint32_t count = (uint32_t)value->count, skipped = 0;
    t->merge_mask = table_size(count) - 1;
    t->merge = hy_arena_alloc(&t->arena, (size_t)t->merge_mask + 1, sizeof *t->merge);
    hy_span *lines = calloc(count, sizeof *lines);
    char *joined = malloc(t->longest_spelling + 1);
    hy_status status = t->merge && lines && joined ? hy_gguf_strings(value, lines) : no_memory();
    if (t->merge)
        for (uint64_t i = 0; i <= t->merge_mask; i++)
            t->merge[i].id = -1;
    for (uint32_t i = 0; i < count && status == HY_OK; i++)
        status = add_merge(t, lines[i], i, joined, &skipped);
    free(joined);
    free(lines);
    if (status == HY_OK && skipped)
        hy_log(HY_LOG_WARN, "%s: %u of %u name tokens that the vocabulary does not have", MERGES,
               skipped, count);
    return status;
}

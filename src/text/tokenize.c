#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "src/text/utf8.h"
#include "src/text/work.h"

/* A piece of the text: a special token, or text between special tokens. */
typedef struct fragment {
    uint32_t start, length; /* bytes */
    int32_t id;             /* -1: text */
} fragment;

typedef struct fragment_list {
    fragment *item;
    size_t count, capacity;
} fragment_list;

static hy_status add_fragment(fragment_list *list, uint32_t start, uint32_t length, int32_t id) {
    if (length == 0 && id < 0) return HY_OK;
    HY_TRY(hy_grow(&list->item, list->count, &list->capacity, sizeof *list->item));
    list->item[list->count++] = (fragment){start, length, id};
    return HY_OK;
}

/* Marks the special tokens that text[at, length) starts with, walking down the sorted list. */
static void mark_at(const hy_tokenizer *t, const char *text, size_t length, size_t at,
                    uint8_t *present) {
    uint32_t low = t->by_first[(uint8_t)text[at]], high = t->by_first[(uint8_t)text[at] + 1];
    for (size_t depth = 1; low < high;
         depth++) { /* [low, high) share `depth` bytes with the text */
        if (t->by_text[low].text.length == depth) present[t->by_text[low++].order] = 1;
        if (at + depth >= length) return;
        uint8_t byte = (uint8_t)text[at + depth];
        uint32_t bounds[2];
        for (unsigned side = 0; side < 2;
             side++) { /* first entry with a byte >= byte, then > byte */
            uint32_t from = side ? bounds[0] : low, to = high;
            while (from < to) {
                uint32_t middle = from + (to - from) / 2;
                if ((uint8_t)t->by_text[middle].text.data[depth] < byte + side)
                    from = middle + 1;
                else
                    to = middle;
            }
            bounds[side] = from;
        }
        low = bounds[0];
        high = bounds[1];
    }
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Cuts every occurrence of one special token out of the text fragments of `from`. */
static hy_status cut(const hy_tokenizer *t, const char *text, const hy_special *special,
                     const fragment_list *from, fragment_list *to) {
    to->count = 0;
    for (size_t i = 0; i < from->count; i++) {
        fragment f = from->item[i];
        uint32_t at = f.start, end = f.start + f.length;
        const char *hit;
        while (f.id < 0 &&
               (hit = memmem(text + at, end - at, special->text.data, special->text.length))) {
            uint32_t start = (uint32_t)(hit - text), after = start + (uint32_t)special->text.length;
            HY_TRY(add_fragment(to, at, start - at, -1));
            HY_TRY(add_fragment(to, start, after - start, special->id));
            if (t->flags[special->id] & HY_VOCAB_STRIP_RIGHT)
                while (after < end && is_space(text[after]))
                    after++;
            at = after;
        }
        HY_TRY(add_fragment(to, at, end - at, f.id));
    }
    return HY_OK;
}

/* Splits the text at special tokens: the longest first wherever they stand, as llama.cpp does.
 * Control tokens only with `parse`; user-defined tokens always. */
static hy_status partition(const hy_tokenizer *t, const char *text, size_t length, bool parse,
                           fragment_list *list) {
    HY_TRY(add_fragment(list, 0, (uint32_t)length, -1));
    if (t->special_count == 0) return HY_OK;
    uint8_t *present = calloc(t->special_count, 1);
    if (!present) return hy_fail(HY_E_MEMORY, "no memory to look for special tokens");
    for (size_t at = 0; at < length; at++)
        mark_at(t, text, length, at, present);
    fragment_list other = {0};
    hy_status status = HY_OK;
    for (uint32_t i = 0; i < t->special_count && status == HY_OK; i++) {
        const hy_special *special = &t->special[i];
        if (!present[i] || (!parse && t->kind[special->id] != HY_TOKEN_USER_DEFINED)) continue;
        status = cut(t, text, special, list, &other);
        fragment_list swap = *list;
        *list = other;
        other = swap;
    }
    free(other.item);
    free(present);
    return status;
}

/* Byte-level: one word of the pre-tokenizer. */
static hy_status encode_word(void *context, const char *word, size_t length) {
    hy_work *w = context;
    const hy_tokenizer *t = w->t;
    if (length == 1 && t->byte_id[(uint8_t)word[0]] >= 0) {
        hy_work_emit(w, t->byte_id[(uint8_t)word[0]]);
        return HY_OK;
    }
    if (t->pretokenizer.ignore_merges && length <= t->longest_spelling) {
        int32_t id = hy_vocab_find(t, w->spelled, hy_byte_level_spell(word, length, w->spelled));
        if (id >= 0 && hy_vocab_mergeable(t, id)) {
            hy_work_emit(w, id);
            return HY_OK;
        }
    }
    return hy_work_merge(w, word, length);
}

/* Writes text with every space as U+2581; `out` has room for 3 * (length + 1) bytes. */
static size_t mark_spaces(const char *text, size_t length, bool prefix, char *out) {
    size_t n = 0;
    if (prefix) {
        memcpy(out, HY_SPACE_MARK, 3);
        n = 3;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ') {
            memcpy(out + n, HY_SPACE_MARK, 3);
            n += 3;
        } else {
            out[n++] = text[i];
        }
    }
    return n;
}

/* SentencePiece-style: merges run over the whole fragment. It is cut before those spaces that no
 * token joins to what precedes them: nothing can merge across, and short pieces are much faster. */
static hy_status encode_marked(hy_work *w, const char *text, size_t length) {
    size_t start = 0;
    for (size_t i = 1; i + 3 <= length; i++) {
        if (text[i] != HY_SPACE_MARK[0] || memcmp(text + i, HY_SPACE_MARK, 3)) continue;
        if (w->t->joins_space[(uint8_t)text[i - 1]]) continue;
        HY_TRY(hy_work_merge(w, text + start, i - start));
        start = i;
    }
    return hy_work_merge(w, text + start, length - start);
}

static hy_status encode_text(hy_work *w, const char *text, size_t length, bool prefix) {
    if (w->t->byte_level)
        return hy_pretokenizer_split(&w->t->pretokenizer, text, length, encode_word, w);
    char *marked = malloc(3 * (length + 1));
    if (!marked) return hy_fail(HY_E_MEMORY, "no memory to tokenize %zu bytes", length);
    hy_status status = encode_marked(w, marked, mark_spaces(text, length, prefix, marked));
    free(marked);
    return status;
}

static hy_status encode_fragments(hy_work *w, const char *text, const fragment_list *list) {
    bool after_special = true;
    for (size_t i = 0; i < list->count; i++) {
        fragment f = list->item[i];
        if (f.id >= 0)
            hy_work_emit(w, f.id);
        else
            HY_TRY(
                encode_text(w, text + f.start, f.length, w->t->add_space_prefix && after_special));
        after_special = f.id >= 0;
    }
    return HY_OK;
}

static hy_status encode(hy_work *w, const char *text, size_t length, unsigned flags) {
    const hy_special_tokens *special = &w->t->ids;
    fragment_list list = {0};
    hy_status status = HY_OK;
    if (flags & HY_TOKENIZE_SPECIAL && special->add_bos) hy_work_emit(w, special->bos);
    if (length) {
        status = partition(w->t, text, length, flags & HY_TOKENIZE_PARSE_SPECIAL, &list);
        if (status == HY_OK) status = encode_fragments(w, text, &list);
        free(list.item);
    }
    if (flags & HY_TOKENIZE_SPECIAL && special->add_eos) hy_work_emit(w, special->eos);
    return status;
}

hy_status hy_tokenize(const hy_tokenizer *tokenizer, const char *text, size_t length,
                      unsigned flags, int32_t *ids, size_t capacity, size_t *count) {
    if (length > HY_TOKENIZE_MAX_BYTES)
        return hy_fail(HY_E_LIMIT, "text of %zu bytes, at most %zu at once", length,
                       HY_TOKENIZE_MAX_BYTES);
    size_t valid = hy_utf8_check(text, length);
    if (valid < length)
        return hy_fail(HY_E_TEXT, "invalid UTF-8 at byte %zu (0x%02x)", valid,
                       (uint8_t)text[valid]);
    hy_work w = {.t = tokenizer, .ids = ids, .capacity = ids ? capacity : 0};
    w.spelled = malloc(2 * tokenizer->longest_spelling + 1);
    if (!w.spelled) return hy_fail(HY_E_MEMORY, "no memory to tokenize");
    hy_status status = encode(&w, text, length, flags);
    free(w.spelled);
    free(w.symbol);
    free(w.heap);
    if (status == HY_OK) *count = w.count;
    return status;
}

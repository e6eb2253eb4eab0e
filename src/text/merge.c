/* Byte-pair merging by priority, for both families: O(n log n) for a word of n characters. */
#include <stdlib.h>

#include "src/text/utf8.h"
#include "src/text/work.h"

static bool before(const hy_candidate *a, const hy_candidate *b) {
    return a->key != b->key ? a->key < b->key : a->left < b->left;
}

static void push(hy_work *w, hy_candidate candidate) {
    size_t at = w->heap_count++;
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!before(&candidate, &w->heap[parent])) break;
        w->heap[at] = w->heap[parent];
        at = parent;
    }
    w->heap[at] = candidate;
}

static hy_candidate pop(hy_work *w) {
    hy_candidate top = w->heap[0], last = w->heap[--w->heap_count];
    size_t at = 0, count = w->heap_count;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && before(&w->heap[child + 1], &w->heap[child])) child++;
        if (!before(&w->heap[child], &last)) break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return top;
}

/* Queues the merge of symbol `left` with its right neighbour if there is one. */
static void consider(hy_work *w, const char *text, uint32_t left) {
    const hy_tokenizer *t = w->t;
    const hy_symbol *l = &w->symbol[left];
    if (l->next == HY_NO_SYMBOL) return;
    const hy_symbol *r = &w->symbol[l->next];
    hy_candidate found = {0, left, l->next, l->length + r->length, -1};
    if (t->byte_level) {
        const hy_merge *merge = l->id < 0 || r->id < 0 ? NULL : hy_vocab_merge(t, l->id, r->id);
        if (!merge) return;
        found.id = merge->id;
        found.key = merge->rank;
    } else {
        found.id = hy_vocab_find(t, text + l->start, found.length);
        if (found.id < 0 || !hy_vocab_mergeable(t, found.id)) return;
        found.key = t->priority[found.id];
    }
    push(w, found);
}

/* A merge adds at most two candidates, and there are fewer merges than symbols: 3n is room enough.
 * */
static hy_status reserve(hy_work *w, size_t symbols) {
    if (symbols <= w->room) return HY_OK;
    size_t room = w->room ? w->room : 256;
    while (room < symbols)
        room *= 2;
    free(w->symbol);
    free(w->heap);
    w->room = 0;
    w->symbol = malloc(room * sizeof *w->symbol);
    w->heap = malloc(3 * room * sizeof *w->heap);
    if (!w->symbol || !w->heap)
        return hy_fail(HY_E_MEMORY, "no memory to tokenize %zu bytes", symbols);
    w->room = room;
    return HY_OK;
}

/* One symbol for each byte (byte-level) or character. */
static uint32_t fill(hy_work *w, const char *text, size_t length) {
    const hy_tokenizer *t = w->t;
    uint32_t count = 0;
    for (size_t at = 0; at < length; count++) {
        uint8_t lead = (uint8_t)text[at];
        uint32_t width = t->byte_level ? 1 : hy_utf8_width(lead);
        int32_t id = t->byte_level ? t->byte_id[lead] : hy_vocab_find(t, text + at, width);
        if (!t->byte_level && id >= 0 && !hy_vocab_mergeable(t, id)) id = -1;
        w->symbol[count] = (hy_symbol){(uint32_t)at, width, count - 1, count + 1, id};
        at += width;
    }
    w->symbol[0].previous = HY_NO_SYMBOL;
    w->symbol[count - 1].next = HY_NO_SYMBOL;
    return count;
}

/* A character that is no token comes out as its bytes, or as the unknown token. */
static hy_status emit_bytes(hy_work *w, const char *text, const hy_symbol *symbol) {
    const hy_tokenizer *t = w->t;
    bool whole = !t->byte_level;
    for (uint32_t i = 0; i < symbol->length; i++)
        whole = whole && t->byte_id[(uint8_t)text[symbol->start + i]] >= 0;
    for (uint32_t i = 0; whole && i < symbol->length; i++)
        hy_work_emit(w, t->byte_id[(uint8_t)text[symbol->start + i]]);
    if (whole) return HY_OK;
    if (t->ids.unknown < 0 && t->byte_level)
        return hy_fail(HY_E_TEXT,
                       "the vocabulary has no token for byte 0x%02x and no unknown token",
                       (uint8_t)text[symbol->start]);
    if (t->ids.unknown < 0)
        return hy_fail(HY_E_TEXT, "the vocabulary has no token for '%.*s' and no unknown token",
                       (int)symbol->length, text + symbol->start);
    hy_work_emit(w, t->ids.unknown);
    return HY_OK;
}

hy_status hy_work_merge(hy_work *w, const char *text, size_t length) {
    if (length == 0) return HY_OK;
    HY_TRY(reserve(w, length));
    uint32_t count = fill(w, text, length);
    w->heap_count = 0;
    for (uint32_t i = 0; i < count; i++)
        consider(w, text, i);
    while (w->heap_count) {
        hy_candidate best = pop(w);
        hy_symbol *left = &w->symbol[best.left], *right = &w->symbol[best.right];
        if (!left->length || !right->length || left->length + right->length != best.length)
            continue;
        left->length = best.length;
        left->id = best.id;
        left->next = right->next;
        right->length = 0;
        if (left->next != HY_NO_SYMBOL) w->symbol[left->next].previous = best.left;
        if (left->previous != HY_NO_SYMBOL) consider(w, text, left->previous);
        consider(w, text, best.left);
    }
    for (uint32_t i = 0; i != HY_NO_SYMBOL; i = w->symbol[i].next) {
        if (w->symbol[i].id >= 0)
            hy_work_emit(w, w->symbol[i].id);
        else
            HY_TRY(emit_bytes(w, text, &w->symbol[i]));
    }
    return HY_OK;
}

/* src/text/work.h: one call of hy_tokenize: where ids go, and memory that its steps share. */
#ifndef HY_TEXT_WORK_H
#define HY_TEXT_WORK_H

#include "src/text/vocab.h"

/* A stretch of text that is, or may become, one token. */
typedef struct hy_symbol {
    uint32_t start, length;  /* bytes; length 0: merged into its left neighbour */
    uint32_t previous, next; /* indices; HY_NO_SYMBOL at the ends */
    int32_t id;              /* token, or -1 */
} hy_symbol;
#define HY_NO_SYMBOL UINT32_MAX

/* Two neighbours that may merge. */
typedef struct hy_candidate {
    uint32_t key;  /* smallest first: rank, or from the score */
    uint32_t left; /* index of the left symbol: the leftmost first among equals */
    uint32_t right;
    uint32_t length; /* of both together; differs from the symbols' when they have merged since */
    int32_t id;
} hy_candidate;

typedef struct hy_work {
    const hy_tokenizer *t;
    int32_t *ids; /* [capacity] */
    size_t capacity, count;
    hy_symbol *symbol;  /* [room] */
    hy_candidate *heap; /* [3 * room] */
    size_t room, heap_count;
    char *spelled; /* [2 * longest_spelling] */
} hy_work;

/* Appends an id, or counts it when `ids` is full. */
static inline void hy_work_emit(hy_work *w, int32_t id) {
    if (w->count < w->capacity) w->ids[w->count] = id;
    w->count++;
}

/* Merges neighbours in text[0, length) as long as the vocabulary can and emits the tokens. */
HY_NODISCARD hy_status hy_work_merge(hy_work *w, const char *text, size_t length);

#endif

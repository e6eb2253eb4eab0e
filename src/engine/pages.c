#include "src/engine/pages.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

typedef struct page {
    uint32_t references;
    uint32_t bucket_next;          /* chain of the hash table */
    uint32_t list_prev, list_next; /* free or cached list, when references is 0 */
    uint64_t past, id;             /* published: past before and after; id 0: not published */
    int32_t tokens[HY_PAGE_LENGTH];
} page;

/* Doubly linked through page numbers. */
typedef struct list {
    uint32_t head, tail, count;
} list;

struct hy_pages {
    uint32_t count;
    uint32_t buckets; /* a power of two */
    uint64_t last_id;
    list free, cached;
    page *page;
    uint32_t *bucket; /* [buckets] */
};

static uint32_t buckets_for(uint32_t count) {
    uint32_t n = 16;
    while (n < count && n < 1u << 30)
        n *= 2;
    return n;
}

uint64_t hy_pages_bytes(uint32_t count) {
    return sizeof(hy_pages) + (uint64_t)count * sizeof(page) +
           (uint64_t)buckets_for(count) * sizeof(uint32_t);
}

static void append(hy_pages *pages, list *to, uint32_t p) {
    pages->page[p].list_prev = to->tail;
    pages->page[p].list_next = HY_NO_PAGE;
    if (to->tail == HY_NO_PAGE)
        to->head = p;
    else
        pages->page[to->tail].list_next = p;
    to->tail = p;
    to->count++;
}

static void remove_from(hy_pages *pages, list *from, uint32_t p) {
    const uint32_t prev = pages->page[p].list_prev, next = pages->page[p].list_next;
    if (prev == HY_NO_PAGE)
        from->head = next;
    else
        pages->page[prev].list_next = next;
    if (next == HY_NO_PAGE)
        from->tail = prev;
    else
        pages->page[next].list_prev = prev;
    from->count--;
}

hy_status hy_pages_new(uint32_t count, hy_pages **out) {
    hy_pages *pages = calloc(1, sizeof *pages);
    if (pages) {
        pages->count = count;
        pages->buckets = buckets_for(count);
        pages->page = calloc(count, sizeof *pages->page);
        pages->bucket = malloc(pages->buckets * sizeof *pages->bucket);
    }
    if (!pages || !pages->page || !pages->bucket) {
        hy_pages_free(pages);
        return hy_fail(HY_E_MEMORY, "no memory for the table of %u KV pages", count);
    }
    pages->free = pages->cached = (list){HY_NO_PAGE, HY_NO_PAGE, 0};
    for (uint32_t i = 0; i < pages->buckets; i++)
        pages->bucket[i] = HY_NO_PAGE;
    for (uint32_t i = count; i > 0; i--)
        append(pages, &pages->free, i - 1);
    *out = pages;
    return HY_OK;
}

void hy_pages_free(hy_pages *pages) {
    if (!pages) return;
    free(pages->page);
    free(pages->bucket);
    free(pages);
}

uint32_t hy_pages_available(const hy_pages *pages) {
    return pages->free.count + pages->cached.count;
}

uint32_t hy_pages_references(const hy_pages *pages, uint32_t p) {
    return pages->page[p].references;
}

static uint32_t *bucket_of(hy_pages *pages, uint64_t past, const int32_t *tokens) {
    uint64_t hash = hy_hash(tokens, HY_PAGE_LENGTH * sizeof *tokens, past);
    return &pages->bucket[hash & (pages->buckets - 1)];
}

void hy_pages_unpublish(hy_pages *pages, uint32_t p) {
    page *gone = &pages->page[p];
    if (gone->id == 0) return;
    uint32_t *link = bucket_of(pages, gone->past, gone->tokens);
    while (*link != p)
        link = &pages->page[*link].bucket_next;
    *link = gone->bucket_next;
    gone->id = 0;
}

/* The free page that was given back last: the machine has memory for it already. Of cached ones the oldest. */
uint32_t hy_pages_take(hy_pages *pages) {
    uint32_t p = pages->free.tail;
    if (p != HY_NO_PAGE) {
        remove_from(pages, &pages->free, p);
    } else {
        p = pages->cached.head;
        if (p == HY_NO_PAGE) return HY_NO_PAGE;
        remove_from(pages, &pages->cached, p);
        hy_pages_unpublish(pages, p);
    }
    pages->page[p].references = 1;
    return p;
}

void hy_pages_retain(hy_pages *pages, uint32_t p) {
    if (pages->page[p].references++ == 0) remove_from(pages, &pages->cached, p);
}

void hy_pages_release(hy_pages *pages, uint32_t p) {
    if (--pages->page[p].references > 0) return;
    append(pages, pages->page[p].id ? &pages->cached : &pages->free, p);
}

/* The published page with these tokens, or HY_NO_PAGE. */
static uint32_t lookup(hy_pages *pages, uint64_t past, const int32_t *tokens) {
    uint32_t p = *bucket_of(pages, past, tokens);
    while (p != HY_NO_PAGE &&
           (pages->page[p].past != past ||
            memcmp(pages->page[p].tokens, tokens, sizeof pages->page[p].tokens) != 0))
        p = pages->page[p].bucket_next;
    return p;
}

uint64_t hy_pages_publish(hy_pages *pages, uint32_t p, uint64_t past, const int32_t *tokens) {
    const uint32_t equal = lookup(pages, past, tokens);
    if (equal != HY_NO_PAGE) return pages->page[equal].id;
    hy_pages_unpublish(pages, p);
    page *published = &pages->page[p];
    uint32_t *bucket = bucket_of(pages, past, tokens);
    published->past = past;
    published->id = ++pages->last_id;
    memcpy(published->tokens, tokens, sizeof published->tokens);
    published->bucket_next = *bucket;
    *bucket = p;
    return published->id;
}

uint32_t hy_pages_find(hy_pages *pages, uint64_t past, const int32_t *tokens, uint64_t *next) {
    const uint32_t p = lookup(pages, past, tokens);
    if (p == HY_NO_PAGE) return HY_NO_PAGE;
    hy_pages_retain(pages, p);
    *next = pages->page[p].id;
    return p;
}

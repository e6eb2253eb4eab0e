/* src/engine/pages.h: which KV page belongs to whom, and which one holds what.
 *
 * A page is free, in use (refs > 0), or cached: in use by nobody, but published with the 64 tokens that it
 * holds, to be found again by a sequence with the same past. A past is identified by a number that is
 * given out once per distinct (number of the pages before, 64 tokens), so that equal numbers mean equal
 * tokens from position 0 on: hashes only find candidates and never decide. Cached pages are evicted in the
 * order in which they were left. Allocates only in hy_pages_new. One owner. */
#ifndef HY_ENGINE_PAGES_H
#define HY_ENGINE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define HY_NO_PAGE UINT32_MAX
#define HY_PAST_EMPTY 0u /* the past of position 0 */

/* Tokens of one page; equal to HY_PAGE_TOKENS of models/model.h. */
enum { HY_PAGE_LENGTH = 64 };

typedef struct hy_pages hy_pages;

/* `count` free pages, numbered from 0. HY_E_MEMORY. */
HY_NODISCARD hy_status hy_pages_new(uint32_t count, hy_pages **out);
/* NULL is fine. */
void hy_pages_free(hy_pages *pages);
/* Bytes that hy_pages_new takes from the heap. */
uint64_t hy_pages_bytes(uint32_t count);

/* Pages that hy_pages_take can give: free and cached ones. */
uint32_t hy_pages_available(const hy_pages *pages);
/* An unpublished page with one reference; HY_NO_PAGE when none is available. */
uint32_t hy_pages_take(hy_pages *pages);
void hy_pages_retain(hy_pages *pages, uint32_t page);
void hy_pages_release(hy_pages *pages, uint32_t page);
uint32_t hy_pages_references(const hy_pages *pages, uint32_t page);

/* Publishes a page in use that holds tokens [HY_PAGE_LENGTH] after `past`, and returns the number of the
 * past that they make together. If an equal page is published already, this one stays private. */
uint64_t hy_pages_publish(hy_pages *pages, uint32_t page, uint64_t past, const int32_t *tokens);
/* The page is about to be overwritten. */
void hy_pages_unpublish(hy_pages *pages, uint32_t page);
/* The published page with these tokens after `past`, with one more reference, and *next, the past that
 * they make; HY_NO_PAGE when there is none. */
uint32_t hy_pages_find(hy_pages *pages, uint64_t past, const int32_t *tokens, uint64_t *next);

#endif

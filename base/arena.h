/* base/arena.h: bump allocation, freed all at once. Not thread-safe: one owner per arena. */
#ifndef HY_BASE_ARENA_H
#define HY_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct hy_arena_block hy_arena_block;

typedef struct hy_arena {
    hy_arena_block *head; /* newest block */
    size_t bytes;         /* reserved from the heap so far */
} hy_arena;               /* all zero is an empty arena */

/* Zeroed memory for `count` items of `size` bytes, aligned to 16; NULL when the size overflows or
 * the heap is exhausted (count or size 0 gives a valid pointer). Freed with the arena. */
void *hy_arena_alloc(hy_arena *arena, size_t count, size_t size);

/* Copy of text[0, length) with a terminating 0, or NULL. */
char *hy_arena_text(hy_arena *arena, const char *text, size_t length);

/* Frees every block and leaves an empty arena. */
void hy_arena_free(hy_arena *arena);

/* Appends room for one more item to a growable heap array: `items` is the address of a pointer,
 * `count` the number in use, `capacity` its room. Doubles; the array is freed with free().
 * HY_E_MEMORY on failure, the array untouched. Used as hy_grow(&list, n, &cap, sizeof *list). */
HY_NODISCARD hy_status hy_grow(void *items, size_t count, size_t *capacity, size_t size);

#endif

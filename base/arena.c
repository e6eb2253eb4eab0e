#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { ALIGNMENT = 16, FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

struct hy_arena_block {
    hy_arena_block *next; /* older block */
    size_t size, used;    /* bytes of `data` */
    _Alignas(ALIGNMENT) unsigned char data[];
};

/* Blocks double with the arena, so that a small arena stays small and a large one asks seldom. */
static size_t block_size(const hy_arena *arena, size_t wanted) {
    size_t size = FIRST_BLOCK;
    while (size < LARGEST_BLOCK && size < arena->bytes)
        size *= 2;
    return HY_MAX(size, wanted);
}

static void *from_new_block(hy_arena *arena, size_t bytes) {
    size_t size = block_size(arena, bytes), total;
    if (__builtin_add_overflow(size, sizeof(hy_arena_block), &total)) return NULL;
    hy_arena_block *block = calloc(1, total), *head = arena->head;
    if (!block) return NULL;
    block->size = size;
    block->used = bytes;
    arena->bytes += total;
    if (head &&
        head->size - head->used > size - bytes) { /* the old head has more room left: keep it */
        block->next = head->next;
        head->next = block;
    } else {
        block->next = head;
        arena->head = block;
    }
    return block->data;
}

void *hy_arena_alloc(hy_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    if (bytes > SIZE_MAX - ALIGNMENT) return NULL;
    bytes = (size_t)hy_align_up(HY_MAX(bytes, 1), ALIGNMENT); /* each pointer is distinct */
    hy_arena_block *head = arena->head;
    if (head && head->size - head->used >= bytes) {
        void *memory = head->data + head->used;
        head->used += bytes;
        return memory;
    }
    return from_new_block(arena, bytes);
}

char *hy_arena_text(hy_arena *arena, const char *text, size_t length) {
    if (length == SIZE_MAX) return NULL;
    char *copy = hy_arena_alloc(arena, length + 1, 1);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

void hy_arena_free(hy_arena *arena) {
    hy_arena_block *block = arena->head;
    while (block) {
        hy_arena_block *next = block->next;
        free(block);
        block = next;
    }
    *arena = (hy_arena){0};
}

hy_status hy_grow(void *items, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return HY_OK;
    size_t room, bytes;
    if (__builtin_mul_overflow(HY_MAX(count, 4), (size_t)2, &room) ||
        __builtin_mul_overflow(room, size, &bytes))
        return hy_fail(HY_E_MEMORY, "an array of %zu items of %zu bytes cannot grow", count, size);
    void *old;
    memcpy(&old, items, sizeof old); /* `items` points to a pointer of the caller's type */
    void *grown = realloc(old, bytes);
    if (!grown) return hy_fail(HY_E_MEMORY, "out of memory: %zu bytes for an array", bytes);
    memcpy(items, &grown, sizeof grown);
    *capacity = room;
    return HY_OK;
}

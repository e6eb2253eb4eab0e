#include "src/format/names.h"

#include <string.h>

#include "base/hash.h"
#include "base/num.h"

/* The table's own address in the seed: a file cannot know which names will collide. */
static size_t first_slot(const hy_name_index *index, const char *name, size_t length) {
    return (size_t)hy_hash(name, length, (uint64_t)(uintptr_t)index->slots) & index->mask;
}

static bool same(hy_span a, const char *name, size_t length) {
    return a.length == length && (length == 0 || memcmp(a.data, name, length) == 0);
}

hy_status hy_name_index_build(hy_name_index *index, hy_arena *arena, const void *items,
                              size_t count, hy_name_of name_of, const char *what) {
    size_t slots = 8;
    while (slots < 2 * count) /* count <= HY_GGUF_MAX_TENSORS times the shards: no overflow */
        slots *= 2;
    index->slots = hy_arena_alloc(arena, slots, sizeof *index->slots);
    index->mask = slots - 1;
    if (!index->slots) return hy_fail(HY_E_MEMORY, "out of memory: a table of %zu names", count);
    for (size_t i = 0; i < count; i++) {
        const hy_span name = name_of(items, i);
        size_t at = first_slot(index, name.data, name.length);
        for (; index->slots[at]; at = (at + 1) & index->mask) {
            if (same(name_of(items, index->slots[at] - 1), name.data, name.length))
                return hy_fail(HY_E_FORMAT, "%s '%.*s' occurs twice", what,
                               (int)HY_MIN(name.length, 200), name.data);
        }
        index->slots[at] = (uint32_t)(i + 1);
    }
    return HY_OK;
}

size_t hy_name_index_find(const hy_name_index *index, const void *items, hy_name_of name_of,
                          const char *name, size_t length) {
    if (!index->slots) return SIZE_MAX;
    for (size_t at = first_slot(index, name, length); index->slots[at];
         at = (at + 1) & index->mask) {
        if (same(name_of(items, index->slots[at] - 1), name, length)) return index->slots[at] - 1;
    }
    return SIZE_MAX;
}

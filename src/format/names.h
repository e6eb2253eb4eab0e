/* src/format/names.h: a table from names to indices, built once over an array; private to
 * src/format/. */
#ifndef HY_FORMAT_NAMES_H
#define HY_FORMAT_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "src/format/gguf.h" /* hy_span */

typedef struct hy_name_index {
    uint32_t *slots; /* index + 1; 0 is empty */
    size_t mask;     /* slots - 1, a power of two less one */
} hy_name_index;

/* The name of item `index` of `items`. */
typedef hy_span (*hy_name_of)(const void *items, size_t index);

/* Builds the table over items[0, count), count < 2^31. HY_E_FORMAT on a name that occurs twice;
 * `what` names the kind of thing in the message. */
HY_NODISCARD hy_status hy_name_index_build(hy_name_index *index, hy_arena *arena, const void *items,
                                           size_t count, hy_name_of name_of, const char *what);
/* The item's index, or SIZE_MAX. */
size_t hy_name_index_find(const hy_name_index *index, const void *items, hy_name_of name_of,
                          const char *name, size_t length);

#endif

/* base/text.h: a growable byte string for printers (IR text, JSON-free tables, error lists). */
#ifndef HY_BASE_TEXT_H
#define HY_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct hy_text {
    char *data;    /* 0-terminated once anything was added; NULL before */
    size_t length; /* bytes without the terminator */
    size_t capacity;
    bool failed; /* memory ran out; further additions are ignored */
} hy_text;       /* all zero is an empty text */

/* Appends formatted text. Running out of memory sets `failed` and changes nothing else. */
void hy_text_add(hy_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends bytes, which may include 0. */
void hy_text_bytes(hy_text *text, const void *bytes, size_t length);
/* Frees the bytes and leaves an empty text. */
void hy_text_free(hy_text *text);

#endif

#include "base/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for `length` more bytes and the terminator. */
static bool reserve(hy_text *text, size_t length) {
    if (text->failed) return false;
    if (length < text->capacity - text->length) return true;
    size_t wanted, size = text->capacity ? text->capacity : 128;
    text->failed = true; /* until it worked */
    if (__builtin_add_overflow(text->length, length, &wanted) || wanted >= SIZE_MAX / 2)
        return false;
    while (size <= wanted)
        size *= 2;
    char *data = realloc(text->data, size);
    if (!data) return false;
    text->data = data;
    text->capacity = size;
    text->failed = false;
    return true;
}

void hy_text_add(hy_text *text, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t room = text->capacity - text->length;
    int length = vsnprintf(room ? text->data + text->length : NULL, room, format, args);
    if (length < 0) {
        text->failed = true;
    } else if ((size_t)length >= room) {
        if (reserve(text, (size_t)length))
            vsnprintf(text->data + text->length, text->capacity - text->length, format, again);
        else if (room)
            text->data[text->length] = 0; /* takes back what the first attempt cut off */
    }
    if (!text->failed)
        text->length += (size_t)length;
    else if (room)
        text->data[text->length] = 0;
    va_end(again);
    va_end(args);
}

void hy_text_bytes(hy_text *text, const void *bytes, size_t length) {
    if (!reserve(text, length)) return;
    if (length) memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = 0;
}

void hy_text_free(hy_text *text) {
    free(text->data);
    *text = (hy_text){0};
}

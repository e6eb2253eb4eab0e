/* src/text/utf8.h: strict UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong forms). */
#ifndef HY_TEXT_UTF8_H
#define HY_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* How the bytes s[0, room) begin: the length 1..4 of a whole character; or 0 when they are the
 * start of one that `room` cuts short; or minus the length of the longest malformed prefix that one
 * U+FFFD stands for ("maximal subpart"). room > 0. */
int hy_utf8_next(const uint8_t *s, size_t room);

/* Bytes of the character that starts with `lead`, for text known to be valid. */
static inline unsigned hy_utf8_width(uint8_t lead) {
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Offset of the first byte that does not belong to a valid character; `length` when all is valid.
 * */
size_t hy_utf8_check(const char *text, size_t length);

/* The code point of a valid character of `width` bytes. */
uint32_t hy_utf8_value(const uint8_t *s, unsigned width);

#endif

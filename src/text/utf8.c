#include "src/text/utf8.h"

#include <string.h>

/* Range allowed for the second byte; the lead decides (0xe0, 0xed, 0xf0 and 0xf4 are narrower). */
static void second_range(uint8_t lead, uint8_t *low, uint8_t *high) {
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
}

int hy_utf8_next(const uint8_t *s, size_t room) {
    uint8_t lead = s[0], low, high;
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return -1;
    unsigned width = hy_utf8_width(lead);
    second_range(lead, &low, &high);
    for (unsigned i = 1; i < width; i++) {
        if (i == room) return 0;
        if (s[i] < low || s[i] > high) return -(int)i;
        low = 0x80;
        high = 0xbf;
    }
    return (int)width;
}

size_t hy_utf8_check(const char *text, size_t length) {
    const uint8_t *s = (const uint8_t *)text;
    size_t i = 0;
    while (i < length) {
        uint64_t word;
        if (length - i >= sizeof word) { /* eight ASCII bytes at once */
            memcpy(&word, s + i, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                i += sizeof word;
                continue;
            }
        }
        int width = hy_utf8_next(s + i, length - i);
        if (width <= 0) return i;
        i += (size_t)width;
    }
    return length;
}

uint32_t hy_utf8_value(const uint8_t *s, unsigned width) {
    if (width == 1) return s[0];
    uint32_t value = s[0] & (0x7fu >> width);
    for (unsigned i = 1; i < width; i++)
        value = value << 6 | (s[i] & 0x3fu);
    return value;
}

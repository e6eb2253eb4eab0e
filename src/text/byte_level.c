#include "src/text/utf8.h"
#include "src/text/vocab.h"

/* Printable bytes stand for themselves; the other 68 take the code points from 0x100 on, in order:
 * 0..32, 127..160, 173. */
uint32_t hy_byte_level_code(uint8_t byte) {
    if (byte <= 32) return 0x100u + byte;
    if (byte >= 127 && byte <= 160) return 0x121u + (byte - 127u);
    if (byte == 173) return 0x143u;
    return byte;
}

int hy_byte_level_byte(uint32_t code) {
    if (code >= 0x100 && code <= 0x120) return (int)(code - 0x100);
    if (code >= 0x121 && code <= 0x142) return (int)(code - 0x121 + 127);
    if (code == 0x143) return 173;
    if (code < 0x100 && hy_byte_level_code((uint8_t)code) == code) return (int)code;
    return -1;
}

size_t hy_byte_level_spell(const char *bytes, size_t length, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        uint32_t code = hy_byte_level_code((uint8_t)bytes[i]);
        if (code < 0x80) {
            out[n++] = (char)code;
        } else { /* below 0x800: two bytes */
            out[n++] = (char)(0xc0 | code >> 6);
            out[n++] = (char)(0x80 | (code & 0x3f));
        }
    }
    return n;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

int hy_byte_token_value(hy_span spelling) {
    const char *s = spelling.data;
    if (spelling.length != 6 || s[0] != '<' || s[1] != '0' || s[2] != 'x' || s[5] != '>') return -1;
    int high = hex_digit(s[3]), low = hex_digit(s[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

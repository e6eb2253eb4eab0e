#include <string.h>

#include "src/text/utf8.h"
#include "src/text/vocab.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

void hy_detokenizer_start(hy_detokenizer *detokenizer, const hy_tokenizer *tokenizer,
                          bool special) {
    *detokenizer = (hy_detokenizer){.tokenizer = tokenizer, .special = special};
}

/* Where the text of one token goes; `state` is a copy that is given up when the room is too small.
 * */
typedef struct sink {
    hy_detokenizer state;
    char *text;
    size_t capacity, length;
    bool full;
} sink;

static void put(sink *s, const void *bytes, size_t length) {
    if (s->full || length > s->capacity - s->length) {
        s->full = true;
        return;
    }
    memcpy(s->text + s->length, bytes, length);
    s->length += length;
}

/* Adds a byte to the pending ones and passes on what is whole or hopeless. */
static void put_byte(sink *s, uint8_t byte) {
    hy_detokenizer *d = &s->state;
    d->pending[d->pending_count++] = byte;
    while (d->pending_count) {
        int width = hy_utf8_next(d->pending, d->pending_count);
        if (width == 0) return;
        unsigned used = (unsigned)(width > 0 ? width : -width);
        if (width > 0)
            put(s, d->pending, used);
        else
            put(s, REPLACEMENT, 3);
        d->pending_count = (uint8_t)(d->pending_count - used);
        memmove(d->pending, d->pending + used, d->pending_count);
    }
}

static void put_literal(sink *s, hy_span text) {
    for (size_t i = 0; i < text.length; i++)
        put_byte(s, (uint8_t)text.data[i]);
}

/* llama: U+2581 is a space; the first one of a text may be the dummy prefix. */
static void put_marked(sink *s, hy_span text) {
    size_t i = 0;
    bool drop = !s->state.started && s->state.tokenizer->add_space_prefix;
    while (i < text.length) {
        if (i + 3 <= text.length && !memcmp(text.data + i, HY_SPACE_MARK, 3)) {
            if (!drop || i > 0) put_byte(s, ' ');
            i += 3;
        } else {
            put_byte(s, (uint8_t)text.data[i++]);
        }
    }
}

/* gpt2: each character of the spelling is a byte; one outside the alphabet stands for itself. */
static void put_byte_level(sink *s, hy_span text) {
    const uint8_t *bytes = (const uint8_t *)text.data;
    for (size_t i = 0; i < text.length;) {
        int width = hy_utf8_next(bytes + i, text.length - i);
        unsigned used = width > 0 ? (unsigned)width : 1;
        int byte = width > 0 ? hy_byte_level_byte(hy_utf8_value(bytes + i, used)) : -1;
        if (byte >= 0)
            put_byte(s, (uint8_t)byte);
        else
            put_literal(s, (hy_span){text.data + i, used});
        i += used;
    }
}

static void put_token(sink *s, int32_t id) {
    const hy_tokenizer *t = s->state.tokenizer;
    hy_span text = t->spelling[id];
    uint8_t kind = t->kind[id];
    int byte = kind == HY_TOKEN_BYTE ? hy_byte_token_value(text) : -1;
    bool printed = text.length > 0;
    if (kind == HY_TOKEN_CONTROL || kind == HY_TOKEN_UNKNOWN) {
        printed = printed && s->state.special;
        if (printed) put_literal(s, text);
    } else if (kind == HY_TOKEN_USER_DEFINED) {
        put_literal(s, text);
    } else if (kind == HY_TOKEN_UNUSED) {
        printed = false;
    } else if (byte >= 0) {
        put_byte(s, (uint8_t)byte);
    } else if (t->byte_level) {
        put_byte_level(s, text);
    } else {
        put_marked(s, text);
    }
    /* Encoding puts a new prefix after every special token found in the text. Where every byte has a
     * token, the unknown one is never made from plain text: it was found too. */
    bool found = kind == HY_TOKEN_CONTROL || kind == HY_TOKEN_USER_DEFINED;
    if (kind == HY_TOKEN_UNKNOWN) found = printed && t->byte_id[0] >= 0;
    if (found)
        s->state.started = false;
    else if (printed)
        s->state.started = true;
}

hy_status hy_detokenize_next(hy_detokenizer *detokenizer, int32_t id, char *text, size_t capacity,
                             size_t *length) {
    const hy_tokenizer *t = detokenizer->tokenizer;
    if (id < 0 || (uint32_t)id >= t->count)
        return hy_fail(HY_E_ARGUMENT, "token %d, the vocabulary has %u tokens", id, t->count);
    sink s = {.state = *detokenizer, .text = text, .capacity = capacity};
    put_token(&s, id);
    if (s.full)
        return hy_fail(HY_E_LIMIT, "token %d needs more than the %zu bytes given", id, capacity);
    *detokenizer = s.state;
    *length = s.length;
    return HY_OK;
}

size_t hy_detokenize_flush(hy_detokenizer *detokenizer, char text[24]) {
    if (detokenizer->pending_count == 0) return 0;
    detokenizer->pending_count = 0; /* the start of one character: one replacement */
    memcpy(text, REPLACEMENT, 3);
    return 3;
}

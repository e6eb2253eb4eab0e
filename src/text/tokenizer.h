/* src/text/tokenizer.h: text to token ids and back, from a GGUF vocabulary.
 *
 * Two families: "llama" (SentencePiece-style BPE by scores, byte fallback, dummy prefix) and "gpt2"
 * (byte-level BPE by merges, after a pre-tokenizer pattern named by tokenizer.ggml.pre).
 * Thread-safety: a tokenizer is immutable and shared; a detokenizer belongs to one caller. */
#ifndef HY_TEXT_TOKENIZER_H
#define HY_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "src/format/gguf.h"

typedef struct hy_tokenizer hy_tokenizer;

/* GGUF's token types (tokenizer.ggml.token_type). */
typedef enum hy_token_kind {
    HY_TOKEN_NORMAL = 1,
    HY_TOKEN_UNKNOWN = 2,
    HY_TOKEN_CONTROL = 3,
    HY_TOKEN_USER_DEFINED = 4,
    HY_TOKEN_UNUSED = 5,
    HY_TOKEN_BYTE = 6
} hy_token_kind;

/* Special tokens of the vocabulary; -1 where there is none. */
typedef struct hy_special_tokens {
    int32_t bos, eos, eot, unknown, padding, separator, mask;
    bool add_bos, add_eos; /* what the model was trained with */
} hy_special_tokens;

/* Reads the vocabulary; the gguf may be closed afterwards. HY_E_NOT_FOUND when the file has none,
 * HY_E_UNSUPPORTED naming an unknown tokenizer model or pre-tokenizer and the known ones. */
HY_NODISCARD hy_status hy_tokenizer_new(const hy_gguf *gguf, hy_tokenizer **out);
void hy_tokenizer_free(hy_tokenizer *tokenizer);

/* Number of tokens; ids are below it. */
uint32_t hy_tokenizer_size(const hy_tokenizer *tokenizer);
/* Owned by the tokenizer. */
const hy_special_tokens *hy_tokenizer_special(const hy_tokenizer *tokenizer);
/* HY_TOKEN_UNUSED for an id out of range. */
hy_token_kind hy_tokenizer_kind(const hy_tokenizer *tokenizer, int32_t id);
/* The token's text as the vocabulary spells it. Empty for an id out of range. */
hy_span hy_tokenizer_spelling(const hy_tokenizer *tokenizer, int32_t id);
/* True for ids that end a generation (eos, eot, end of message, ...). */
bool hy_tokenizer_is_end(const hy_tokenizer *tokenizer, int32_t id);
/* -1 when no token is spelled so. */
int32_t hy_tokenizer_find(const hy_tokenizer *tokenizer, const char *spelling, size_t length);

typedef enum hy_tokenize_flags {
    HY_TOKENIZE_SPECIAL = 1,      /* add bos / eos as the model wants them */
    HY_TOKENIZE_PARSE_SPECIAL = 2 /* "<s>" in the text is the control token, not five characters */
} hy_tokenize_flags;

/* text: UTF-8 [length], may contain 0 bytes. Writes at most `capacity` ids and the number needed to
 * *count, which may be larger than capacity. HY_E_TEXT for invalid UTF-8 (the offset is named). */
HY_NODISCARD hy_status hy_tokenize(const hy_tokenizer *tokenizer, const char *text, size_t length,
                                   unsigned flags, int32_t *ids, size_t capacity, size_t *count);

/* Streaming decode: bytes come out as soon as they are whole UTF-8 characters; an incomplete tail
 * waits for the next token. Plain struct, no heap. */
typedef struct hy_detokenizer {
    const hy_tokenizer *tokenizer;
    bool special; /* write control tokens' text too */
    /* The dummy prefix space was dropped already. Set it to true after hy_detokenizer_start to
     * decode a continuation, whose first space is a real one. */
    bool started;
    uint8_t pending[8];
    uint8_t pending_count;
} hy_detokenizer;

/* At the start of a text; `special` writes the text of control tokens too. */
void hy_detokenizer_start(hy_detokenizer *detokenizer, const hy_tokenizer *tokenizer, bool special);
/* Writes what id adds, at most `capacity` bytes, and the number written to *length (no terminator).
 * HY_E_LIMIT when capacity is too small (hy_tokenizer_longest() + 8 always suffices), nothing
 * changed. Malformed bytes come out as U+FFFD. */
HY_NODISCARD hy_status hy_detokenize_next(hy_detokenizer *detokenizer, int32_t id, char *text,
                                          size_t capacity, size_t *length);
/* What is still pending, as U+FFFD; at most 24 bytes. */
size_t hy_detokenize_flush(hy_detokenizer *detokenizer, char text[24]);
/* Longest text of one token in bytes. */
size_t hy_tokenizer_longest(const hy_tokenizer *tokenizer);

#endif

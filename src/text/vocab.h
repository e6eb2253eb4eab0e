/* src/text/vocab.h: the loaded vocabulary, shared by the files of src/text. */
#ifndef HY_TEXT_VOCAB_H
#define HY_TEXT_VOCAB_H

#include "base/arena.h"
#include "src/text/pretokenizer.h"
#include "src/text/tokenizer.h"

/* Limits on what a file may ask for. */
enum {
    HY_VOCAB_MAX_TOKENS = 1 << 24,  /* also merges */
    HY_VOCAB_MAX_SPELLING = 1 << 16 /* bytes of one token */
};
#define HY_TOKENIZE_MAX_BYTES ((size_t)1 << 30)

/* U+2581, which SentencePiece writes for a space. */
#define HY_SPACE_MARK "\xe2\x96\x81"

enum {
    HY_VOCAB_END = 1,        /* ends a generation */
    HY_VOCAB_STRIP_RIGHT = 2 /* white space after it in parsed text belongs to it */
};

/* A token that is looked for in the text before everything else. */
typedef struct hy_special {
    hy_span text;
    int32_t id;
    uint32_t order; /* place in `special`, longest first */
} hy_special;

/* One merge of byte-level BPE in an open-addressing table. */
typedef struct hy_merge {
    uint64_t pair; /* left id << 32 | right id */
    uint32_t rank; /* line in the merge list */
    int32_t id;    /* the merged token; -1 for a free slot */
} hy_merge;

struct hy_tokenizer {
    hy_arena arena; /* owns every array below */
    bool byte_level;
    bool add_space_prefix;
    uint32_t count;
    hy_span *spelling;  /* [count] */
    uint8_t *kind;      /* [count] hy_token_kind */
    uint8_t *flags;     /* [count] HY_VOCAB_* */
    uint32_t *priority; /* [count] llama: from the score, the lowest merges first; NULL for gpt2 */
    uint64_t *slot;     /* [slot_mask + 1] upper hash half << 32 | id + 1; 0 is free */
    uint64_t slot_mask;
    size_t longest_spelling, longest_text;
    int32_t byte_id[256]; /* the token of a single byte, or -1 */
    bool joins_space
        [256];       /* llama: some token has U+2581 after a character that ends in this byte */
    hy_merge *merge; /* [merge_mask + 1] */
    uint64_t merge_mask;
    hy_special *special; /* [special_count] longest first, then by id */
    hy_special *by_text; /* [special_count] the same, in byte order */
    uint32_t special_count;
    uint32_t by_first[257]; /* by_text[by_first[b], by_first[b + 1]) starts with byte b */
    hy_special_tokens ids;
    hy_pretokenizer pretokenizer;
};

/* The token spelled text[0, length), or -1. */
int32_t hy_vocab_find(const hy_tokenizer *t, const char *text, size_t length);
/* The merge of two adjacent tokens, or NULL. */
const hy_merge *hy_vocab_merge(const hy_tokenizer *t, int32_t left, int32_t right);
/* Text may become this token by merging: everything but control, unknown and byte tokens. */
static inline bool hy_vocab_mergeable(const hy_tokenizer *t, int32_t id) {
    uint8_t kind = t->kind[id];
    return kind != HY_TOKEN_CONTROL && kind != HY_TOKEN_UNKNOWN && kind != HY_TOKEN_BYTE;
}

/* The byte-level alphabet: each byte has a printable code point below 0x144 (GPT-2, encoder.py). */
uint32_t hy_byte_level_code(uint8_t byte);
/* The byte of a code point, or -1. */
int hy_byte_level_byte(uint32_t code);
/* Spells bytes in that alphabet; out has room for 2 * length bytes. Returns the bytes written. */
size_t hy_byte_level_spell(const char *bytes, size_t length, char *out);

/* Parses "<0xAB>": the byte, or -1. */
int hy_byte_token_value(hy_span spelling);

/* The steps of loading. Tokens first; then special tokens; then merges. */
HY_NODISCARD hy_status hy_vocab_load_tokens(hy_tokenizer *t, const hy_gguf *gguf);
HY_NODISCARD hy_status hy_vocab_load_special(hy_tokenizer *t, const hy_gguf *gguf);
HY_NODISCARD hy_status hy_vocab_load_merges(hy_tokenizer *t, const hy_gguf *gguf);

#endif

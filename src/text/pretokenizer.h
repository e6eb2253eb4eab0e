/* src/text/pretokenizer.h: cutting text into words before byte-level BPE, by the regular
 * expressions that tokenizer.ggml.pre names. Thread-safety: immutable after opening; splitting is
 * re-entrant. */
#ifndef HY_TEXT_PRETOKENIZER_H
#define HY_TEXT_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "src/format/gguf.h"

#define HY_PRETOKENIZER_PATTERNS 6

typedef struct hy_pretokenizer {
    void *pattern[HY_PRETOKENIZER_PATTERNS]; /* pcre2_code, applied one after the other */
    unsigned count;
    bool ignore_merges; /* a word that is a token as a whole is not merged from its bytes */
    bool add_bos;       /* default when the file does not say */
    bool no_bos;        /* the family has no bos, whatever the default id would be */
} hy_pretokenizer;

/* HY_E_UNSUPPORTED for an unknown name, listing the known ones. */
HY_NODISCARD hy_status hy_pretokenizer_open(hy_span name, hy_pretokenizer *out);
void hy_pretokenizer_close(hy_pretokenizer *pretokenizer);

/* Receives one word; the words in order concatenate to the text. */
typedef hy_status (*hy_word_fn)(void *context, const char *word, size_t length);

/* Each pattern cuts the pieces of the one before it into its matches and what lies between them;
 * the final pieces go to `word`. text: valid UTF-8. HY_E_LIMIT when a pattern needs too many steps.
 * */
HY_NODISCARD hy_status hy_pretokenizer_split(const hy_pretokenizer *pretokenizer, const char *text,
                                             size_t length, hy_word_fn word, void *context);

#endif

/* src/text/chat.h: chat templates. The common families (llama-2, llama-3, chatml, mistral, gemma,
 * phi-3, zephyr) are recognised in the model's Jinja text and rendered by built-in code; another
 * template gives HY_E_UNSUPPORTED naming what was recognised of it. */
#ifndef HY_TEXT_CHAT_H
#define HY_TEXT_CHAT_H

#include "base/status.h"
#include "base/text.h"
#include "src/format/gguf.h"

typedef struct hy_chat_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} hy_chat_message;

/* Appends the prompt for `messages` to `out`; with add_generation_prompt the opening of an
 * assistant turn. `template_text` is tokenizer.chat_template (empty: chatml). No bos token is
 * written: tokenize the prompt with HY_TOKENIZE_SPECIAL | HY_TOKENIZE_PARSE_SPECIAL. HY_E_ARGUMENT
 * for another role. */
HY_NODISCARD hy_status hy_chat_render(hy_span template_text, const hy_chat_message *messages,
                                      size_t count, int add_generation_prompt, hy_text *out);

#endif

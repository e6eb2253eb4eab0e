/* Text through the public API: tokenizing, streaming decode, chat prompts. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "src/engine/engine.h"
#include "src/text/chat.h"

static hy_status need_tokenizer(const hy_model *model, const char *function) {
    if (!model) return hy_fail(HY_E_ARGUMENT, "%s: model is NULL", function);
    if (!model->tokenizer)
        return hy_fail(HY_E_UNSUPPORTED, "%s has no vocabulary; only token ids can be used",
                       hy_gguf_path(model->gguf));
    return HY_OK;
}

hy_status hy_model_tokenize(const hy_model *model, const char *text, size_t length, unsigned flags,
                            int32_t *ids, size_t capacity, size_t *count) {
    HY_TRY(need_tokenizer(model, "hy_model_tokenize"));
    if ((!text && length) || (!ids && capacity) || !count)
        return hy_fail(HY_E_ARGUMENT, "hy_model_tokenize: an argument is NULL");
    unsigned inner = 0;
    if (flags & HY_TOKENIZE_ADD_SPECIAL) inner |= HY_TOKENIZE_SPECIAL;
    if (flags & HY_TOKENIZE_SPECIAL_TEXT) inner |= HY_TOKENIZE_PARSE_SPECIAL;
    return hy_tokenize(model->tokenizer, text ? text : "", length, inner, ids, capacity, count);
}

int hy_token_is_end(const hy_model *model, int32_t id) {
    return model && model->tokenizer && hy_tokenizer_is_end(model->tokenizer, id);
}

struct hy_decoder {
    hy_model *model;
    hy_detokenizer state;
    int special;
    size_t capacity;
    char *text;
};

hy_status hy_decoder_new(const hy_model *model, int special, hy_decoder **out) {
    HY_TRY(need_tokenizer(model, "hy_decoder_new"));
    if (!out) return hy_fail(HY_E_ARGUMENT, "hy_decoder_new: out is NULL");
    hy_decoder *decoder = calloc(1, sizeof *decoder);
    const size_t capacity = HY_MAX(hy_tokenizer_longest(model->tokenizer) + 8, 24);
    if (decoder) decoder->text = malloc(capacity + 1);
    if (!decoder || !decoder->text) {
        free(decoder);
        return hy_fail(HY_E_MEMORY, "no memory for a decoder");
    }
    /* The reference count is the one thing of a model that changes. */
    decoder->model = hy_model_retain((hy_model *)(uintptr_t)model);
    decoder->special = special;
    decoder->capacity = capacity;
    hy_detokenizer_start(&decoder->state, model->tokenizer, special != 0);
    *out = decoder;
    return HY_OK;
}

void hy_decoder_free(hy_decoder *decoder) {
    if (!decoder) return;
    hy_model_free(decoder->model);
    free(decoder->text);
    free(decoder);
}

hy_status hy_decoder_next(hy_decoder *decoder, int32_t id, const char **text, size_t *length) {
    if (!decoder || !text || !length)
        return hy_fail(HY_E_ARGUMENT, "hy_decoder_next: an argument is NULL");
    size_t n = 0;
    HY_TRY(hy_detokenize_next(&decoder->state, id, decoder->text, decoder->capacity, &n));
    decoder->text[n] = 0;
    *text = decoder->text;
    *length = n;
    return HY_OK;
}

hy_status hy_decoder_finish(hy_decoder *decoder, const char **text, size_t *length) {
    if (!decoder || !text || !length)
        return hy_fail(HY_E_ARGUMENT, "hy_decoder_finish: an argument is NULL");
    size_t n = hy_detokenize_flush(&decoder->state, decoder->text);
    decoder->text[n] = 0;
    hy_detokenizer_start(&decoder->state, decoder->model->tokenizer, decoder->special != 0);
    *text = decoder->text;
    *length = n;
    return HY_OK;
}

hy_status hy_chat_format(const hy_model *model, const hy_message *messages, size_t count,
                         int add_prompt, char *text, size_t capacity, size_t *length) {
    if (!model || (count && !messages) || (capacity && !text) || !length)
        return hy_fail(HY_E_ARGUMENT, "hy_chat_format: an argument is NULL");
    hy_span template_text = {0};
    HY_TRY(hy_gguf_string(model->gguf, "tokenizer.chat_template", &template_text));
    hy_chat_message *copy = malloc((count + 1) * sizeof *copy);
    if (!copy) return hy_fail(HY_E_MEMORY, "no memory for %zu messages", count);
    for (size_t i = 0; i < count; i++)
        copy[i] = (hy_chat_message){messages[i].role ? messages[i].role : "",
                                    messages[i].content ? messages[i].content : ""};
    hy_text out = {0};
    hy_status status = hy_chat_render(template_text, copy, count, add_prompt, &out);
    free(copy);
    if (status == HY_OK && out.failed) status = hy_fail(HY_E_MEMORY, "no memory for a chat prompt");
    if (status == HY_OK) {
        *length = out.length;
        if (capacity) {
            const size_t n = HY_MIN(out.length, capacity - 1);
            if (n) memcpy(text, out.data, n);
            text[n] = 0;
        }
    }
    hy_text_free(&out);
    return status;
}

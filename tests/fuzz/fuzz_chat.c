/* Chat rendering under random template text and contents: roles come from the input's bits, the
 * rest is split at its first 0 byte into the template and what is said. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/text/chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    if (size < 1 || size > 1 << 16) return 0;
    const uint8_t *text = data + 1, *zero = memchr(text, 0, size - 1);
    size_t template_length = zero ? (size_t)(zero - text) : size - 1;
    size_t said = zero ? size - 2 - template_length : 0;
    char *content = calloc(said + 1, 1);
    if (!content) return 0;
    if (said) memcpy(content, zero + 1, said);
    hy_chat_message messages[4];
    for (unsigned i = 0; i < 4; i++)
        messages[i] = (hy_chat_message){roles[data[0] >> 2 * i & 3], content};
    hy_text out = {0};
    hy_span template_text = {(const char *)text, template_length};
    if (hy_chat_render(template_text, messages, data[0] % 5, data[0] >> 7, &out) == HY_OK &&
        out.length)
        if (strlen(out.data) != out.length) abort();
    hy_text_free(&out);
    free(content);
    return 0;
}

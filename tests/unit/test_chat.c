/* Chat templates: what the built-in families render equals what Jinja2 renders from the template.
 * */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/num.h"
#include "src/text/chat.h"

static const hy_chat_message messages[] = {
    {"system", "Be kind."}, {"user", " Hi! "}, {"assistant", "Hello."}, {"user", "Bye"}};

static void assert_renders(const char *name, hy_span template_text, size_t from, int generate,
                           const char *expected) {
    hy_text out = {0};
    hy_status status = hy_chat_render(template_text, messages + from, HY_COUNT_OF(messages) - from,
                                      generate, &out);
    if (status != HY_OK) fail_msg("%s: %s", name, hy_error_text());
    if (strcmp(out.data, expected)) fail_msg("%s:\n%s\nnot\n%s", name, out.data, expected);
    hy_text_free(&out);
}

/* Templates written here for their families; expected texts are Jinja2's (bos_token empty). */
static const struct {
    const char *name, *text;
    size_t from;
    const char *expected; /* with the generation prompt */
} inline_cases[] = {
    {"chatml by default", "", 0,
     "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hi! "
     "<|im_end|>\n<|im_start|>assistant\n"
     "Hello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    {"llama-2",
     "{% if messages[0]['role'] == 'system' %}{% set sys = '<<SYS>>\\n' + messages[0]['content'] + "
     "'\\n<</SYS>>\\n\\n' %}{% set rest = messages[1:] %}{% else %}{% set sys = '' %}{% set rest = "
     "messages "
     "%}{% endif %}{% for m in rest %}{% set content = (sys if loop.first else '') + m['content'] "
     "%}{% if "
     "m['role'] == 'user' %}{{ ('<s>' if not loop.first else '') + '[INST] ' + content.strip() + ' "
     "[/INST]' "
     "}}{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
     0, "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n Hi! [/INST] Hello. </s><s>[INST] Bye [/INST]"},
    {"llama-2, no system", "<<SYS>> [INST] [/INST]", 1,
     "[INST] Hi! [/INST] Hello. </s><s>[INST] Bye [/INST]"},
    {"mistral of 2023",
     "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + "
     "message['content'] + ' "
     "[/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}",
     1, "[INST]  Hi!  [/INST]Hello.</s>[INST] Bye [/INST]"},
    {"mistral v3",
     "[AVAILABLE_TOOLS]{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' "
     "+ "
     "message['content'] + '[/INST]' }}{% else %}{{ ' ' + message['content']|trim + eos_token }}{% "
     "endif "
     "%}{% endfor %}",
     1, "[INST]  Hi! [/INST] Hello.</s>[INST] Bye[/INST]"},
    {"zephyr",
     "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + eos_token + '\\n' }}{% "
     "endfor "
     "%}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
     0,
     "<|system|>\nBe kind.</s>\n<|user|>\n Hi! </s>\n<|assistant|>\nHello.</s>\n<|user|>\nBye</s>\n"
     "<|assistant|>\n"},
};

static void built_in_families(void **state) {
    for (size_t i = 0; i < HY_COUNT_OF(inline_cases); i++)
        assert_renders(inline_cases[i].name,
                       (hy_span){inline_cases[i].text, strlen(inline_cases[i].text)},
                       inline_cases[i].from, 1, inline_cases[i].expected);
}

static const struct {
    const char *file;
    size_t from;
    const char *expected;
} file_cases[] = {
    {"Qwen-Qwen2.5-7B-Instruct", 0,
     "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hi! "
     "<|im_end|>\n<|im_start|>assistant\n"
     "Hello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    /* Less the dates that this template puts into the system text. */
    {"meta-llama-Llama-3.2-3B-Instruct", 1,
     "<|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>assistant<|end_"
     "header_id|>"
     "\n\nHello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"google-gemma-2-2b-it", 1,
     "<start_of_turn>user\nHi!<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n"
     "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"},
    {"microsoft-Phi-3.5-mini-instruct", 0,
     "<|system|>\nBe kind.<|end|>\n<|user|>\n Hi! "
     "<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nBye<|end|>\n"
     "<|assistant|>\n"},
    {"mistralai-Mistral-Nemo-Instruct-2407", 1, "[INST] Hi! [/INST]Hello.</s>[INST]Bye[/INST]"},
    {"Mistral-Small-3.2-24B-Instruct-2506", 0,
     "[SYSTEM_PROMPT]Be kind.[/SYSTEM_PROMPT][INST] Hi! [/INST]Hello.</s>[INST]Bye[/INST]"},
};

/* 1 when the file is not there. */
static int read_template(const char *name, uint8_t **data, size_t *size) {
    const char *root = getenv("HALYARD_TEST_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/chat-templates/llama.cpp/%s.jinja",
             root ? root : "../shared/data", name);
    return hy_file_read(path, 1 << 20, data, size) != HY_OK;
}

static void real_templates(void **state) {
    for (size_t i = 0; i < HY_COUNT_OF(file_cases); i++) {
        uint8_t *data = NULL;
        size_t size;
        if (read_template(file_cases[i].file, &data, &size)) {
            print_message("skipped: %s\n", hy_error_text());
            skip();
        }
        assert_renders(file_cases[i].file, (hy_span){(char *)data, size}, file_cases[i].from, 1,
                       file_cases[i].expected);
        free(data);
    }
}

/* Families that share markers with a known one, and are not it. */
static void unknown_templates(void **state) {
    static const char *const files[] = {"GLM-4.6", "llama-cpp-deepseek-r1", "openai-gpt-oss-120b"};
    hy_text out = {0};
    for (size_t i = 0; i < HY_COUNT_OF(files); i++) {
        uint8_t *data = NULL;
        size_t size;
        if (read_template(files[i], &data, &size)) skip();
        hy_status status = hy_chat_render((hy_span){(char *)data, size}, messages, 2, 1, &out);
        if (status != HY_E_UNSUPPORTED) fail_msg("%s: %s", files[i], hy_status_name(status));
        assert_non_null(strstr(hy_error_text(), "chatml mistral gemma"));
        free(data);
    }
    static const char odd[] = "{{ '<|turn|>' + x + '<|stop|>' }}";
    assert_int_equal(hy_chat_render((hy_span){odd, sizeof odd - 1}, messages, 2, 1, &out),
                     HY_E_UNSUPPORTED);
    assert_non_null(strstr(hy_error_text(), "<|turn|> <|stop|>"));
    hy_text_free(&out);
}

static void details(void **state) {
    static const char gemma[] = "<start_of_turn>";
    assert_renders("gemma puts the system text into the user's turn",
                   (hy_span){gemma, sizeof gemma - 1}, 0, 0,
                   "<start_of_turn>user\nBe kind.\n\nHi!<end_of_turn>\n<start_of_turn>model\nHello."
                   "<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n");
    hy_text out = {0};
    hy_chat_message bad = {"tool", "x"}, none = {"user", NULL};
    assert_int_equal(hy_chat_render((hy_span){0}, &bad, 1, 1, &out), HY_E_ARGUMENT);
    assert_non_null(strstr(hy_error_text(), "tool"));
    assert_int_equal(hy_chat_render((hy_span){0}, &none, 1, 1, &out), HY_E_ARGUMENT);
    assert_int_equal(hy_chat_render((hy_span){0}, NULL, 0, 1, &out), HY_OK);
    assert_string_equal(out.data, "<|im_start|>assistant\n");
    hy_text_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in_families), cmocka_unit_test(real_templates),
        cmocka_unit_test(unknown_templates), cmocka_unit_test(details)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

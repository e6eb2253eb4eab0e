#include "src/text/chat.h"

#include <stdbool.h>
#include <string.h>

#include "base/num.h"

enum { SYSTEM, USER, ASSISTANT, ROLES };
static const char *const role_names[ROLES] = {"system", "user", "assistant"};

/* Families that write every turn alike: before role after content close. */
typedef struct turn_format {
    const char *before, *after, *close;
    const char *assistant; /* what that role is called */
    bool trim;             /* white space around the content goes */
    bool system_in_user;   /* no system role: its text opens the next user turn */
} turn_format;

// clang-format off
static const turn_format llama3  = {"<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "assistant", true, false};
static const turn_format chatml  = {"<|im_start|>", "\n", "<|im_end|>\n", "assistant", false, false};
static const turn_format gemma   = {"<start_of_turn>", "\n", "<end_of_turn>\n", "model", true, true};
static const turn_format phi3    = {"<|", "|>\n", "<|end|>\n", "assistant", false, false};
static const turn_format zephyr  = {"<|", "|>\n", "</s>\n", "assistant", false, false};
static const turn_format stable  = {"<|", "|>\n", "<|endoftext|>\n", "assistant", false, false};
// clang-format on

/* Families with [INST] brackets (llama-2, mistral), which differ in spaces. */
typedef struct bracket_format {
    const char *open, *close;  /* around the user's text */
    const char *before_answer; /* after the closing bracket */
    const char *after_answer;  /* with the end of the turn */
    const char *next_turn;     /* before every turn but the first */
    const char *system_open;   /* around the system text inside the user's turn, */
    const char *system_close;  /* or before it when `system_apart` */
    bool system_apart, trim, trim_answer;
} bracket_format;

static bool has(hy_span text, const char *marker) {
    return text.length && memmem(text.data, text.length, marker, strlen(marker)) != NULL;
}

static const turn_format *find_turn_format(hy_span text) {
    if (text.length == 0 || has(text, "<|im_start|>")) return &chatml;
    if (has(text, "<|start_header_id|>") && has(text, "<|end_header_id|>")) return &llama3;
    if (has(text, "<start_of_turn>")) return &gemma;
    /* Templates may put the role between "<|" and "|>" by a variable, so only one name is sure. */
    if (!has(text, "<|assistant|>") && !has(text, "<|user|>")) return NULL;
    if (has(text, "<|end|>")) return &phi3;
    if (has(text, "[gMASK]")) return NULL; /* glm: same names, no end of turn */
    if (has(text, "<|endoftext|>")) return &stable;
    return has(text, "eos_token") || has(text, "</s>") ? &zephyr : NULL;
}

static const bracket_format llama2 = {
    .open = "[INST] ",
    .close = " [/INST]",
    .before_answer = " ",
    .after_answer = " </s>",
    .next_turn = "<s>",
    .system_open = "<<SYS>>\n",
    .system_close = "\n<</SYS>>\n\n",
    .trim = true,
    .trim_answer = true,
};

/* The mistral templates are alike but for spaces: they are read off the template's string literals.
 * */
static bool find_bracket_format(hy_span text, bracket_format *out) {
    if (!has(text, "[INST]") || !has(text, "[/INST]")) return false;
    if (has(text, "<<SYS>>")) {
        *out = llama2;
        return true;
    }
    bool leading = has(text, "' [INST]") || has(text, "\" [INST]"), spaced = has(text, "[INST] ");
    bool answer = has(text, "' ' + message") || has(text, "\" \" + message");
    *out = (bracket_format){
        .open = leading  ? " [INST] "
                : spaced ? "[INST] "
                         : "[INST]",
        .close = has(text, " [/INST]") ? " [/INST]" : "[/INST]",
        .before_answer = answer ? " " : "",
        .after_answer = "</s>",
        .next_turn = "",
        .system_open = "",
        .system_close = "\n\n",
        .trim_answer = has(text, "|trim") || has(text, "| trim"),
    };
    if (has(text, "[SYSTEM_PROMPT]")) {
        out->system_apart = true;
        out->system_open = has(text, "[SYSTEM_PROMPT] ") ? "[SYSTEM_PROMPT] " : "[SYSTEM_PROMPT]";
        out->system_close = "[/SYSTEM_PROMPT]";
    }
    return true;
}

static void add(hy_text *out, const char *text) {
    hy_text_bytes(out, text, strlen(text));
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Adds text, without the white space at its start and end where that is asked for. */
static void add_content(hy_text *out, const char *text, bool trim_start, bool trim_end) {
    size_t length = strlen(text);
    while (trim_end && length && is_space(text[length - 1]))
        length--;
    while (trim_start && length && is_space(*text)) {
        text++;
        length--;
    }
    hy_text_bytes(out, text, length);
}

static int role_of(const hy_chat_message *message) {
    for (int role = 0; role < ROLES; role++)
        if (!strcmp(message->role, role_names[role])) return role;
    return -1;
}

static hy_status check_messages(const hy_chat_message *messages, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!messages[i].role || !messages[i].content)
            return hy_fail(HY_E_ARGUMENT, "chat message %zu has no role or no content", i);
        if (role_of(&messages[i]) < 0)
            return hy_fail(
                HY_E_ARGUMENT,
                "chat message %zu has the unknown role '%.32s' (known: system user assistant)", i,
                messages[i].role);
    }
    return HY_OK;
}

static void render_turns(const turn_format *f, const hy_chat_message *messages, size_t count,
                         bool generate, hy_text *out) {
    const char *system = NULL; /* waiting for the next user turn */
    for (size_t i = 0; i < count; i++) {
        int role = role_of(&messages[i]);
        if (role == SYSTEM && f->system_in_user) {
            system = messages[i].content;
            continue;
        }
        add(out, f->before);
        add(out, role == ASSISTANT ? f->assistant : role_names[role]);
        add(out, f->after);
        if (system && role == USER) {
            add_content(out, system, f->trim, f->trim);
            add(out, "\n\n");
            system = NULL;
        }
        add_content(out, messages[i].content, f->trim, f->trim);
        add(out, f->close);
    }
    if (!generate) return;
    add(out, f->before);
    add(out, f->assistant);
    add(out, f->after);
}

static void render_system(const bracket_format *f, const char *content, hy_text *out) {
    add(out, f->system_open);
    add(out, content);
    add(out, f->system_close);
}

/* A generation continues after the closing bracket; nothing has to be opened for it. */
static void render_brackets(const bracket_format *f, const hy_chat_message *messages, size_t count,
                            hy_text *out) {
    const char *system = NULL;
    bool answered = false;
    for (size_t i = 0; i < count; i++) {
        const char *content = messages[i].content;
        switch (role_of(&messages[i])) {
        case SYSTEM:
            if (f->system_apart)
                render_system(f, content, out);
            else
                system = content;
            break;
        case USER:
            if (answered) add(out, f->next_turn);
            add(out, f->open);
            if (system) render_system(f, system, out);
            add_content(out, content, f->trim && !system, f->trim);
            system = NULL;
            add(out, f->close);
            break;
        default:
            add(out, f->before_answer);
            add_content(out, content, f->trim_answer, f->trim_answer);
            add(out, f->after_answer);
            answered = true;
        }
    }
}

/* Names the special tokens that the template writes, so that its reader knows what was asked for.
 * */
static hy_status unknown_template(hy_span text) {
    hy_text found = {0};
    unsigned named = 0;
    for (size_t i = 0; i < text.length && named < 8; i++) {
        if (text.data[i] != '<' && text.data[i] != '[') continue;
        size_t end = i + 1;
        while (end < text.length && end - i < 40 && text.data[end] > ' ' &&
               text.data[end] != '\'' && text.data[end] != '"' && text.data[end] != '>' &&
               text.data[end] != ']')
            end++;
        char last = text.data[i] == '<' ? '>' : ']';
        if (end >= text.length || text.data[end] != last || end < i + 4) continue;
        const char *marker = text.data + i;
        size_t length = end + 1 - i;
        if (!found.length || !memmem(found.data, found.length, marker, length)) {
            hy_text_add(&found, "%s%.*s", named ? " " : "", (int)length, marker);
            named++;
        }
        i = end;
    }
    hy_status status = hy_fail(HY_E_UNSUPPORTED,
                               "unknown chat template (known: llama-2 llama-3 chatml mistral gemma "
                               "phi-3 zephyr); it uses %s",
                               named && !found.failed ? found.data : "no markers");
    hy_text_free(&found);
    return status;
}

hy_status hy_chat_render(hy_span template_text, const hy_chat_message *messages, size_t count,
                         int add_generation_prompt, hy_text *out) {
    HY_TRY(check_messages(messages, count));
    const turn_format *turns = find_turn_format(template_text);
    bracket_format brackets;
    if (turns)
        render_turns(turns, messages, count, add_generation_prompt, out);
    else if (find_bracket_format(template_text, &brackets))
        render_brackets(&brackets, messages, count, out);
    else
        return unknown_template(template_text);
    return out->failed ? hy_fail(HY_E_MEMORY, "no memory for the chat prompt") : HY_OK;
}

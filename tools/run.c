/* tools/run.c: `halyard run`: text from a model, one prompt or a conversation. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"

typedef struct run {
    cli_engine e;
    const char *prompt, *file, *ids_text, *system;
    int32_t predict; /* tokens to generate; negative: until the end or the context is full */
    float temperature, top_p, min_p, typical_p, repeat, frequency, presence;
    uint32_t top_k, repeat_window;
    uint64_t seed;
    bool json, chat, interactive, ignore_end, special, no_bos, show_timings;

    hy_sequence *sequence;
    hy_sampler *sampler;
    hy_decoder *decoder;
    int32_t *prompt_ids; /* [prompts] */
    size_t prompts;
    int32_t *ids; /* [generated] */
    size_t generated, room;
    char *text; /* what was generated, [text_length] */
    size_t text_length, text_room;
    const char *stop_reason;
    uint64_t prefill_ns, decode_ns;
    uint32_t decode_steps;
} run;

static int generate_option(run *r, int argc, char **argv) {
    const cli_option options[] = {
        {"-p, --prompt", CLI_TEXT, &r->prompt, "TEXT", "prompt"},
        {"-f, --file", CLI_TEXT, &r->file, "FILE", "prompt from a file, - for standard input"},
        {"--ids", CLI_TEXT, &r->ids_text, "1,2,3", "prompt as token ids, taken as they are"},
        {"-n, --predict", CLI_I32, &r->predict, "N",
         "tokens to generate (default 128; -1: no limit)"},
        {"--temp", CLI_F32, &r->temperature, "T", "temperature (default 0: greedy)"},
        {"--top-k", CLI_U32, &r->top_k, "K", "keep the K likeliest"},
        {"--top-p", CLI_F32, &r->top_p, "P", "keep the likeliest that sum to P"},
        {"--min-p", CLI_F32, &r->min_p, "P", "keep those at least P times as likely as the best"},
        {"--typical", CLI_F32, &r->typical_p, "P", "locally typical sampling"},
        {"--repeat-penalty", CLI_F32, &r->repeat, "X", "divide logits of recent tokens"},
        {"--frequency-penalty", CLI_F32, &r->frequency, "X", "subtract per occurrence"},
        {"--presence-penalty", CLI_F32, &r->presence, "X", "subtract once per token seen"},
        {"--repeat-last-n", CLI_U32, &r->repeat_window, "N", "tokens the penalties look at (64)"},
        {"-s, --seed", CLI_U64, &r->seed, "N", "same seed, same text"},
        {"--ignore-eos", CLI_FLAG, &r->ignore_end, NULL, "go on after an end token"},
        {"--chat", CLI_FLAG, &r->chat, NULL, "the prompt is a user's message (chat template)"},
        {"--system", CLI_TEXT, &r->system, "TEXT", "system message for --chat"},
        {"-i, --interactive", CLI_FLAG, &r->interactive, NULL, "conversation on standard input"},
        {"--no-bos", CLI_FLAG, &r->no_bos, NULL, "add no special tokens to the prompt"},
        {"--special", CLI_FLAG, &r->special, NULL, "print control tokens too"},
        {"--timings", CLI_FLAG, &r->show_timings, NULL, "one line of timings on standard error"},
        {"--json", CLI_FLAG, &r->json, NULL, "print one JSON object at the end instead of text"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code = cli_parse(argc, argv, "run -m FILE [-p TEXT | -f FILE | --ids 1,2,3] [options]",
                         options, cli_engine_options(&r->e), NULL, 0, NULL);
    if (code >= 0) return code;
    if (!!r->prompt + !!r->file + !!r->ids_text > 1) {
        return cli_fail("run", 2, "give one of -p, -f and --ids");
    }
    return -1;
}

/* ---- output ---- */

static int emit(run *r, const char *text, size_t length) {
    if (r->text_length + length + 1 > r->text_room) {
        size_t room = (r->text_room + length + 64) * 2;
        char *grown = realloc(r->text, room);
        if (!grown) return cli_fail("run", 1, "out of memory for the text");
        r->text = grown;
        r->text_room = room;
    }
    memcpy(r->text + r->text_length, text, length);
    r->text_length += length;
    r->text[r->text_length] = 0;
    if (r->json || length == 0) return 0;
    fwrite(text, 1, length, stdout);
    return cli_flush("run");
}

static int emit_token(run *r, int32_t id) {
    if (r->generated == r->room) {
        size_t room = r->room ? r->room * 2 : 256;
        int32_t *grown = realloc(r->ids, room * sizeof *grown);
        if (!grown) return cli_fail("run", 1, "out of memory for %zu ids", room);
        r->ids = grown;
        r->room = room;
    }
    r->ids[r->generated++] = id;
    const char *text;
    size_t length;
    if (hy_decoder_next(r->decoder, id, &text, &length) != HY_OK) return cli_status("run");
    return emit(r, text, length);
}

/* ---- generation ---- */

static int step_until_ready(run *r, uint64_t *ns) {
    uint64_t start = cli_now_ns();
    do {
        if (hy_engine_step(r->e.engine, NULL, NULL) != HY_OK) return cli_status("run");
    } while (hy_sequence_pending(r->sequence) > 0);
    *ns += cli_now_ns() - start;
    return 0;
}

/* The decoder follows the prompt, so that the answer continues it: a leading space of the first token
 * stays, and a character that the prompt leaves unfinished is completed. */
static int decode_prompt(run *r) {
    const char *text;
    size_t length;
    for (size_t i = 0; i < r->prompts; i++) {
        if (hy_decoder_next(r->decoder, r->prompt_ids[i], &text, &length) != HY_OK)
            return cli_status("run");
    }
    return 0;
}

/* Generates after what the sequence holds; fills ids, text and stop_reason. */
static int generate(run *r, uint32_t context) {
    r->generated = 0;
    r->text_length = 0;
    r->stop_reason = "length";
    int failed = decode_prompt(r);
    if (failed) return failed;
    cli_log_show();
    uint64_t *ns = &r->prefill_ns;
    while (r->predict < 0 || r->generated < (size_t)r->predict) {
        const float *logits;
        int32_t id;
        int code = hy_sequence_pending(r->sequence) ? step_until_ready(r, ns) : 0;
        if (code) return code;
        if (ns == &r->decode_ns) r->decode_steps++;
        ns = &r->decode_ns;
        if (hy_sequence_logits(r->sequence, &logits) != HY_OK ||
            hy_sampler_sample(r->sampler, logits, &id) != HY_OK) {
            return cli_status("run");
        }
        bool end = hy_token_is_end(r->e.model, id) && !r->ignore_end;
        if (!end || r->special) code = emit_token(r, id);
        if (code) return code;
        if (end) {
            r->stop_reason = "stop";
            break;
        }
        if (hy_sequence_length(r->sequence) >= context) {
            r->stop_reason = "context";
            break;
        }
        if (r->predict >= 0 && r->generated == (size_t)r->predict) break;
        if (hy_sequence_add(r->sequence, &id, 1, 0) != HY_OK) return cli_status("run");
    }
    const char *text;
    size_t length;
    if (hy_decoder_finish(r->decoder, &text, &length) != HY_OK) return cli_status("run");
    return emit(r, text, length);
}

/* ---- prompts ---- */

static int format_chat(run *r, const hy_message *messages, size_t count, char **out,
                       size_t *length) {
    if (hy_chat_format(r->e.model, messages, count, 1, NULL, 0, length) != HY_OK) {
        return cli_status("run");
    }
    *out = malloc(*length + 1);
    if (!*out) return cli_fail("run", 1, "out of memory for the prompt");
    if (hy_chat_format(r->e.model, messages, count, 1, *out, *length + 1, length) != HY_OK) {
        free(*out);
        return cli_status("run");
    }
    return 0;
}

static int prompt_ids(run *r) {
    if (r->ids_text) {
        r->prompt_ids = cli_ids("run", r->ids_text, &r->prompts);
        if (!r->prompt_ids) return 2;
        return r->prompts ? 0 : cli_fail("run", 2, "--ids: the prompt is empty");
    }
    char *owned = NULL;
    const char *text = r->prompt ? r->prompt : "";
    size_t length = strlen(text);
    if (r->file) text = owned = cli_read("run", r->file, &length);
    if (!text) return 1;
    unsigned flags = r->no_bos ? 0 : HY_TOKENIZE_ADD_SPECIAL;
    if (r->chat) {
        hy_message message[2] = {{"system", r->system}, {"user", text}};
        char *formatted;
        int code = format_chat(r, r->system ? message : message + 1, r->system ? 2 : 1, &formatted,
                               &length);
        free(owned);
        if (code) return code;
        text = owned = formatted;
        flags |= HY_TOKENIZE_SPECIAL_TEXT;
    }
    r->prompt_ids = cli_tokenize_text("run", r->e.model, text, length, flags, &r->prompts);
    free(owned);
    if (!r->prompt_ids) return 1;
    if (r->prompts == 0)
        return cli_fail("run", 1, "the prompt is empty and the model has no BOS token");
    return 0;
}

static int print_json(const run *r, const hy_engine_desc *engine) {
    double prefill = (double)r->prefill_ns * 1e-6, decode = (double)r->decode_ns * 1e-6;
    json_t *prompt = json_array(), *ids = json_array();
    for (size_t i = 0; i < r->prompts; i++)
        json_array_append_new(prompt, json_integer(r->prompt_ids[i]));
    for (size_t i = 0; i < r->generated; i++)
        json_array_append_new(ids, json_integer(r->ids[i]));
    json_t *root = json_pack(
        "{s:s, s:s, s:o, s:o, s:s%, s:s, s:{s:f, s:f, s:f, s:f, s:f}}", "model", r->e.model_path,
        "device", engine->device, "prompt_ids", prompt, "ids", ids, "text", r->text ? r->text : "",
        r->text_length, "stop_reason", r->stop_reason, "timings", "load_ms",
        (double)engine->load_us * 1e-3, "prefill_ms", prefill, "decode_ms", decode, "prefill_tps",
        prefill > 0 ? (double)r->prompts * 1e3 / prefill : 0.0, "decode_tps",
        decode > 0 ? (double)r->decode_steps * 1e3 / decode : 0.0);
    if (!root)
        return cli_fail("run", 1, "cannot write the result as JSON (is the path valid UTF-8?)");
    json_dumpf(root, stdout, JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(root);
    return cli_flush("run");
}

static int one_prompt(run *r, const hy_engine_desc *engine) {
    int code = prompt_ids(r);
    if (code) return code;
    if (hy_sequence_add(r->sequence, r->prompt_ids, r->prompts, 0) != HY_OK)
        return cli_status("run");
    for (size_t i = 0; i < r->prompts; i++)
        hy_sampler_accept(r->sampler, r->prompt_ids[i]);
    code = generate(r, engine->context);
    if (code) return code;
    if (r->json) return print_json(r, engine);
    if (r->text_length == 0 || r->text[r->text_length - 1] != '\n') putchar('\n');
    return cli_flush("run");
}

/* ---- conversation ---- */

/* Brings the sequence to exactly `ids`, computing only what differs from what it holds. */
static int continue_with(run *r, int32_t *ids, size_t count) {
    size_t same = 0;
    while (same < r->prompts && same + 1 < count && r->prompt_ids[same] == ids[same])
        same++;
    if (hy_sequence_truncate(r->sequence, (uint32_t)same) != HY_OK ||
        hy_sequence_add(r->sequence, ids + same, count - same, 0) != HY_OK) {
        return cli_status("run");
    }
    free(r->prompt_ids);
    r->prompt_ids = ids;
    r->prompts = count;
    return 0;
}

/* After an answer the sequence holds prompt and answer: remember both for the next turn's
 * comparison. */
static int remember_answer(run *r) {
    uint32_t held = hy_sequence_length(r->sequence);
    size_t more = held > r->prompts ? held - r->prompts : 0;
    int32_t *grown = realloc(r->prompt_ids, (r->prompts + more + 1) * sizeof *grown);
    if (!grown) return cli_fail("run", 1, "out of memory for the conversation");
    r->prompt_ids = grown;
    for (size_t i = 0; i < more && i < r->generated; i++)
        grown[r->prompts + i] = r->ids[i];
    r->prompts += more < r->generated ? more : r->generated;
    return 0;
}

static int turn(run *r, hy_message *messages, size_t count, uint32_t context) {
    char *text;
    size_t length, n;
    int code = format_chat(r, messages, count, &text, &length);
    if (code) return code;
    int32_t *ids = cli_tokenize_text("run", r->e.model, text, length,
                                     HY_TOKENIZE_ADD_SPECIAL | HY_TOKENIZE_SPECIAL_TEXT, &n);
    free(text);
    if (!ids) return 1;
    code = continue_with(r, ids, n);
    if (!code) code = generate(r, context);
    if (!code) code = remember_answer(r);
    if (!code) putchar('\n');
    return code ? code : cli_flush("run");
}

static int converse(run *r, uint32_t context) {
    enum { MAX_MESSAGES = 2048 };
    hy_message *messages = calloc(MAX_MESSAGES, sizeof *messages);
    if (!messages) return cli_fail("run", 1, "out of memory for the conversation");
    size_t count = 0;
    int code = 0;
    bool terminal = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t room = 0;
    if (r->system) messages[count++] = (hy_message){"system", strdup(r->system)};
    while (!code && count + 2 <= MAX_MESSAGES) {
        if (terminal) fputs("> ", stderr);
        ssize_t n = getline(&line, &room, stdin);
        if (n < 0) break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = 0;
        if (n == 0) continue;
        messages[count++] = (hy_message){"user", strdup(line)};
        code = turn(r, messages, count, context);
        messages[count++] = (hy_message){"assistant", strdup(r->text ? r->text : "")};
    }
    for (size_t i = 0; i < count; i++)
        free((char *)messages[i].content);
    free(messages);
    free(line);
    return code;
}

/* ---- the command ---- */

static int run_engine(run *r) {
    int code = cli_engine_open("run", &r->e, true);
    if (code) return code;
    hy_engine_desc engine = {.size = sizeof engine};
    if (hy_engine_describe(r->e.engine, &engine) != HY_OK ||
        hy_sampler_new(r->e.model,
                       hy_sampler_params(.temperature = r->temperature, .top_k = r->top_k,
                                         .top_p = r->top_p, .min_p = r->min_p,
                                         .typical_p = r->typical_p, .repetition_penalty = r->repeat,
                                         .frequency_penalty = r->frequency,
                                         .presence_penalty = r->presence,
                                         .penalty_window = r->repeat_window, .seed = r->seed),
                       &r->sampler) != HY_OK ||
        hy_decoder_new(r->e.model, r->special, &r->decoder) != HY_OK ||
        hy_sequence_new(r->e.engine, &r->sequence) != HY_OK) {
        return cli_status("run");
    }
    code = r->interactive ? converse(r, engine.context) : one_prompt(r, &engine);
    if (!code && r->show_timings) {
        fprintf(
            stderr,
            "load %.0f ms, prefill %zu tokens in %.1f ms, decode %u tokens in %.1f ms (%.1f t/s)\n",
            (double)engine.load_us * 1e-3, r->prompts, (double)r->prefill_ns * 1e-6,
            r->decode_steps, (double)r->decode_ns * 1e-6,
            r->decode_ns ? r->decode_steps * 1e9 / (double)r->decode_ns : 0.0);
    }
    return code;
}

static int run_main(int argc, char **argv) {
    run r = {.predict = 128};
    int code = generate_option(&r, argc, argv);
    if (code >= 0) return code;
    code = run_engine(&r);
    hy_sequence_free(r.sequence);
    hy_sampler_free(r.sampler);
    hy_decoder_free(r.decoder);
    free(r.prompt_ids);
    free(r.ids);
    free(r.text);
    return cli_engine_close("run", &r.e, code);
}

const cli_command cli_run = {"run", "generate text from a prompt, or converse", run_main};

/* tools/tokenize.c: `halyard tokenize`: text to ids and back. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"

static int print_ids(const int32_t *ids, size_t count, bool json) {
    fputs(json ? "{\"ids\":[" : "", stdout);
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i ? (json ? "," : " ") : "", ids[i]);
    puts(json ? "]}" : "");
    return cli_flush("tokenize");
}

/* text: ids separated by commas or white space. */
static int decode(const hy_model *model, char *text, bool special, bool json) {
    for (char *c = text; *c; c++) {
        if (strchr(" \t\r\n[]", *c)) *c = ',';
    }
    char *to = text;
    for (const char *c = text; *c; c++) { /* one comma between numbers, none at the ends */
        if (*c != ',' || (to > text && c[1] && c[1] != ',')) *to++ = *c;
    }
    while (to > text && to[-1] == ',')
        to--;
    *to = 0;
    size_t count, length;
    int32_t *ids = cli_ids("tokenize", text, &count);
    if (!ids) return 2;
    hy_decoder *decoder = NULL;
    const char *piece;
    json_t *whole = json_string("");
    int code = hy_decoder_new(model, special, &decoder) == HY_OK ? 0 : cli_status("tokenize");
    for (size_t i = 0; i <= count && !code; i++) {
        hy_status status = i < count ? hy_decoder_next(decoder, ids[i], &piece, &length)
                                     : hy_decoder_finish(decoder, &piece, &length);
        if (status != HY_OK) {
            code = cli_status("tokenize");
        } else if (!json) {
            fwrite(piece, 1, length, stdout);
        } else {
            json_t *longer = json_pack("s#+%", json_string_value(whole),
                                       (int)json_string_length(whole), piece, length);
            json_decref(whole);
            whole = longer;
        }
    }
    if (!code && json) {
        json_t *root = json_pack("{s:O}", "text", whole);
        json_dumpf(root, stdout, 0);
        json_decref(root);
    }
    if (!code) putchar('\n');
    json_decref(whole);
    hy_decoder_free(decoder);
    free(ids);
    return code ? code : cli_flush("tokenize");
}

static int tokenize_main(int argc, char **argv) {
    cli_engine e = {0};
    const char *prompt = NULL, *file = NULL;
    bool no_bos = false, json = false, backwards = false, special = false;
    const cli_option options[] = {
        {"-m, --model", CLI_TEXT, &e.model_path, "FILE",
         "model file (vocabulary-only files work too)"},
        {"-p, --prompt", CLI_TEXT, &prompt, "TEXT", "text (default: standard input)"},
        {"-f, --file", CLI_TEXT, &file, "FILE", "text from a file"},
        {"--no-bos", CLI_FLAG, &no_bos, NULL, "add no special tokens"},
        {"--special", CLI_FLAG, &special, NULL,
         "spelled-out control tokens are tokens; --decode prints them"},
        {"--decode", CLI_FLAG, &backwards, NULL, "the input is ids (1,2,3); print their text"},
        {"--json", CLI_FLAG, &json, NULL, "{\"ids\":[...]} or {\"text\":...}"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code =
        cli_parse(argc, argv, "tokenize -m FILE [-p TEXT] [options]", options, NULL, NULL, 0, NULL);
    if (code >= 0) return code;
    code = cli_engine_open("tokenize", &e, false);
    size_t length = prompt ? strlen(prompt) : 0;
    char *text = NULL;
    if (!code) {
        text = prompt ? strdup(prompt) : cli_read("tokenize", file ? file : "-", &length);
        if (!text) code = 1;
    }
    if (!code && backwards) {
        code = decode(e.model, text, special, json);
    } else if (!code) {
        size_t count;
        unsigned flags =
            (no_bos ? 0 : HY_TOKENIZE_ADD_SPECIAL) | (special ? HY_TOKENIZE_SPECIAL_TEXT : 0);
        int32_t *ids = cli_tokenize_text("tokenize", e.model, text, length, flags, &count);
        code = ids ? print_ids(ids, count, json) : 1;
        free(ids);
    }
    free(text);
    return cli_engine_close("tokenize", &e, code);
}

const cli_command cli_tokenize = {"tokenize", "text to token ids, and back with --decode",
                                  tokenize_main};

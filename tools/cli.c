/* tools/cli.c: option tables and small helpers of the command line. */
#include "tools/cli.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the log ---- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_held[8192]; /* whole lines, [log_length] */
static size_t log_length;
static bool log_at_once;

/* Control characters that a file name or a model's text may contain must not break the line. */
static void clean_line(char *text) {
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 32 || *c == 127) *c = ' ';
    }
}

void cli_log_line(void *user, hy_log_level level, const char *text) {
    static const char *const name[] = {"error", "warning", "info", "debug"};
    char line[1200];
    snprintf(line, sizeof line, "halyard: %s: %s", name[level], text);
    clean_line(line);
    size_t length = strlen(line);
    pthread_mutex_lock(&log_lock);
    if (log_at_once || *(const bool *)user) {
        fprintf(stderr, "%s\n", line);
    } else if (log_length + length + 1 < sizeof log_held) {
        memcpy(log_held + log_length, line, length);
        log_held[log_length + length] = '\n';
        log_length += length + 1;
    }
    pthread_mutex_unlock(&log_lock);
}

static void log_release(bool print) {
    pthread_mutex_lock(&log_lock);
    if (print) fwrite(log_held, 1, log_length, stderr);
    log_length = 0;
    log_at_once = true;
    pthread_mutex_unlock(&log_lock);
}

void cli_log_show(void) {
    log_release(true);
}

int cli_fail(const char *command, int code, const char *format, ...) {
    char text[1024];
    log_release(false);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    clean_line(text);
    fflush(stdout);
    fprintf(stderr, "halyard%s%s: %s\n", *command ? " " : "", command, text);
    return code;
}

int cli_status(const char *command) {
    return cli_fail(command, 1, "%s", hy_error_text());
}

uint64_t cli_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int cli_flush(const char *command) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    return cli_fail(command, 1, "standard output: %s", strerror(errno ? errno : EIO));
}

/* ---- options ---- */

static void print_options(const cli_option *option) {
    for (; option && (option->names || option->kind == CLI_HEADING); option++) {
        if (option->kind == CLI_HEADING) {
            printf("\n%s\n", option->help);
            continue;
        }
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", option->names, option->value ? " " : "",
                 option->value ? option->value : "");
        printf("  %-30s %s\n", left, option->help);
    }
}

bool cli_names(const char *names, const char *word, size_t length) {
    while (*names) {
        size_t n = strcspn(names, ", ");
        if (n == length && memcmp(names, word, n) == 0) return true;
        names += n;
        names += strspn(names, ", ");
    }
    return false;
}

static const cli_option *find(const cli_option *option, const char *word, size_t length) {
    for (; option && (option->names || option->kind == CLI_HEADING); option++) {
        if (option->names && cli_names(option->names, word, length)) return option;
    }
    return NULL;
}

static bool unsigned_of(const char *text, uint64_t max, uint64_t *out) {
    char *end;
    errno = 0;
    if (text[0] == '-' || text[0] == '\0') return false;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno || *end || v > max) return false;
    *out = v;
    return true;
}

static bool store(const cli_option *option, const char *value) {
    uint64_t number;
    char *end;
    switch (option->kind) {
    case CLI_U32:
        if (!unsigned_of(value, UINT32_MAX, &number)) return false;
        *(uint32_t *)option->target = (uint32_t)number;
        return true;
    case CLI_I32: {
        errno = 0;
        long v = strtol(value, &end, 0);
        if (errno || !*value || *end || v < INT32_MIN || v > INT32_MAX) return false;
        *(int32_t *)option->target = (int32_t)v;
        return true;
    }
    case CLI_U64:
        if (!unsigned_of(value, UINT64_MAX, &number)) return false;
        *(uint64_t *)option->target = number;
        return true;
    case CLI_F32:
        errno = 0;
        *(float *)option->target = strtof(value, &end);
        return !errno && *value && !*end;
    case CLI_LIST: {
        cli_list *list = option->target;
        if (list->count == sizeof list->item / sizeof *list->item) return false;
        list->item[list->count++] = value;
        return true;
    }
    default:
        *(const char **)option->target = value;
        return true;
    }
}

/* Handles argv[*i]; returns -1 to go on or an exit code. */
static int parse_option(int argc, char **argv, int *i, const cli_option *options,
                        const cli_option *more) {
    const char *word = argv[*i];
    const char *equals = word[1] == '-' ? strchr(word, '=') : NULL;
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const cli_option *option = find(options, word, length);
    if (!option) option = find(more, word, length);
    if (!option)
        return cli_fail(argv[0], 2, "unknown option %s (see halyard %s --help)", word, argv[0]);
    if (option->kind == CLI_FLAG) {
        if (equals) return cli_fail(argv[0], 2, "option %.*s takes no value", (int)length, word);
        *(bool *)option->target = true;
        return -1;
    }
    const char *value = equals ? equals + 1 : NULL;
    if (!value) {
        if (*i + 1 >= argc) return cli_fail(argv[0], 2, "option %s needs a value", word);
        value = argv[++*i];
    }
    if (!store(option, value)) {
        return cli_fail(argv[0], 2, "option %.*s: '%s' is not a valid %s", (int)length, word, value,
                        option->kind == CLI_F32 ? "number" : "count");
    }
    return -1;
}

int cli_parse(int argc, char **argv, const char *usage, const cli_option *options,
              const cli_option *more, const char **positional, size_t capacity, size_t *count) {
    bool only_positional = false;
    size_t n = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!only_positional && strcmp(word, "--") == 0) {
            only_positional = true;
        } else if (!only_positional && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
            printf("usage: halyard %s\n", usage);
            print_options(options);
            print_options(more);
            return cli_flush(argv[0]);
        } else if (!only_positional && word[0] == '-' && word[1]) {
            int code = parse_option(argc, argv, &i, options, more);
            if (code >= 0) return code;
        } else {
            if (n >= capacity) {
                return cli_fail(argv[0], 2, "unexpected argument '%s' (see halyard %s --help)",
                                word, argv[0]);
            }
            positional[n++] = word;
        }
    }
    if (count) *count = n;
    return -1;
}

/* ---- inputs ---- */

int32_t *cli_ids(const char *command, const char *text, size_t *count) {
    size_t room = strlen(text) / 2 + 1, n = 0;
    int32_t *ids = malloc(room * sizeof *ids);
    if (!ids) {
        cli_fail(command, 1, "out of memory for token ids");
        return NULL;
    }
    for (const char *at = text; *at;) {
        char *end;
        errno = 0;
        long v = strtol(at, &end, 10);
        if (end == at || errno || v < 0 || v > INT32_MAX || (*end && *end != ',')) {
            cli_fail(command, 2, "'%s' is not a list of token ids like 1,2,3", text);
            free(ids);
            return NULL;
        }
        ids[n++] = (int32_t)v;
        at = *end ? end + 1 : end;
    }
    *count = n;
    return ids;
}

char *cli_read(const char *command, const char *path, size_t *length) {
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file) {
        cli_fail(command, 1, "%s: %s", path, strerror(errno));
        return NULL;
    }
    size_t capacity = 1 << 16, n = 0;
    char *data = malloc(capacity);
    while (data) {
        n += fread(data + n, 1, capacity - 1 - n, file);
        if (n < capacity - 1) break;
        char *grown = capacity < (size_t)1 << 33 ? realloc(data, capacity *= 2) : NULL;
        if (!grown) free(data);
        data = grown;
    }
    int error = ferror(file) ? (errno ? errno : EIO) : 0;
    if (!standard) fclose(file);
    if (!data || error) {
        cli_fail(command, 1, "%s: %s", path, data ? strerror(error) : "too large for memory");
        free(data);
        return NULL;
    }
    data[n] = 0;
    *length = n;
    return data;
}

int32_t *cli_tokenize_text(const char *command, const hy_model *model, const char *text,
                           size_t length, unsigned flags, size_t *count) {
    size_t room = length + 16, n = 0; /* one token per byte and a few special ones */
    int32_t *ids = malloc(room * sizeof *ids);
    if (!ids) {
        cli_fail(command, 1, "out of memory for %zu bytes of text", length);
        return NULL;
    }
    hy_status status = hy_model_tokenize(model, text, length, flags, ids, room, &n);
    if (status == HY_OK && n > room) { /* normalization made more tokens than bytes */
        int32_t *grown = realloc(ids, n * sizeof *ids);
        if (grown) {
            ids = grown;
            status = hy_model_tokenize(model, text, length, flags, ids, n, &n);
        }
    }
    if (status != HY_OK) {
        cli_status(command);
        free(ids);
        return NULL;
    }
    *count = n;
    return ids;
}

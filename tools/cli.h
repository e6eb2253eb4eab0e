/* tools/cli.h: what the subcommands of `halyard` share: option tables, error lines, engine options.
 */
#ifndef HY_TOOLS_CLI_H
#define HY_TOOLS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "halyard/halyard.h"

/* A subcommand: argv[0] is its name. Returns the exit code: 0 success, 1 failure, 2 wrong usage. */
typedef struct cli_command {
    const char *name;
    const char *summary; /* one line for `halyard --help` */
    int (*main)(int argc, char **argv);
} cli_command;

/* The subcommands, one file each. */
extern const cli_command cli_run, cli_bench, cli_devices, cli_inspect, cli_tokenize, cli_eval,
    cli_quantize, cli_synth, cli_verify;

typedef enum cli_kind {
    CLI_FLAG,   /* bool *: present */
    CLI_U32,    /* uint32_t * */
    CLI_I32,    /* int32_t * */
    CLI_U64,    /* uint64_t *, decimal or 0x */
    CLI_F32,    /* float * */
    CLI_TEXT,   /* const char ** */
    CLI_LIST,   /* cli_list *: may be given again and again */
    CLI_HEADING /* no option: a line in --help */
} cli_kind;

/* Texts in the order in which they were given. */
typedef struct cli_list {
    const char *item[64];
    uint32_t count;
} cli_list;

typedef struct cli_option {
    const char *names; /* "-n, --predict": as printed; each word is accepted */
    cli_kind kind;
    void *target;
    const char *value; /* placeholder in --help, "N"; NULL for flags */
    const char *help;
} cli_option;

/* Parses argv[1..argc) by the tables (each ended by a row with names NULL and kind not CLI_HEADING;
 * `more` may be NULL). Positional arguments go to positional[0, *count), at most `capacity`.
 * Understands
 * --name=value, --, --help. Returns -1 to go on, or an exit code (0 after --help, 2 after an error
 * line). */
int cli_parse(int argc, char **argv, const char *usage, const cli_option *options,
              const cli_option *more, const char **positional, size_t capacity, size_t *count);

/* True when `word` [length] is one of the words of `names`, "-n, --predict". */
bool cli_names(const char *names, const char *word, size_t length);

/* Prints "halyard NAME: text" (one line; "" for no name) to stderr and returns `code`. Warnings still held are
 * dropped: a failure is one line. */
int cli_fail(const char *command, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for the last failure of the library; returns 1. */
int cli_status(const char *command);

/* The log callback: `user` is a const bool *, true for everything at once (--verbose). Otherwise
 * lines are held until cli_log_show, after which they appear at once. Any thread. */
void cli_log_line(void *user, hy_log_level level, const char *text);
/* The work is under way or done: prints the warnings held so far. */
void cli_log_show(void);

/* "1,2,3" -> ids; NULL with an error line when it is not a list of numbers. Freed by the caller. */
int32_t *cli_ids(const char *command, const char *text, size_t *count);
/* Whole file (or standard input for "-") with a 0 behind it; NULL with an error line. */
char *cli_read(const char *command, const char *path, size_t *length);
/* Ids of text with the model's special tokens (flags of hy_model_tokenize); NULL with an error
 * line. */
int32_t *cli_tokenize_text(const char *command, const hy_model *model, const char *text,
                           size_t length, unsigned flags, size_t *count);
/* Flushes standard output; 1 with an error line when it could not be written. */
int cli_flush(const char *command);
/* Nanoseconds of a monotonic clock. */
uint64_t cli_now_ns(void);

/* ---- model and engine options, the same in every subcommand that runs a model ---- */

/* What the options say, and what was opened by them. */
typedef struct cli_engine {
    const char *model_path, *device, *kv_type, *numerics, *isa, *profile_path;
    uint32_t context, threads, batch, micro_batch, max_rows, max_sequences;
    const char *cpu_mask;
    bool validate, fallback, no_prefix_cache, no_graphs, verbose;
    hy_instance *instance;
    hy_model *model;
    hy_engine *engine;
} cli_engine;

/* Option rows that fill `e`; valid until the next call. */
const cli_option *cli_engine_options(cli_engine *e);
/* Creates the instance (log to stderr: warnings once the work is under way, with --verbose everything at
 * once) and opens the model. Both are the caller's, in any case. 0, or an exit code after an error line. */
int cli_model_open(const char *command, const char *path, bool *verbose, hy_instance **instance,
                   hy_model **model);
/* The same for `e`; with `engine` also the engine. */
int cli_engine_open(const char *command, cli_engine *e, bool engine);
/* Makes the engine of an opened model. */
int cli_engine_start(const char *command, cli_engine *e);
/* False after a line of error when `text` (NULL: none given) does not look like a set of cpus. */
bool cli_check_cpus(const char *command, const char *text);
/* Resolved engine parameters; HY error line and false for an unknown --kv-type or --numerics. */
bool cli_engine_params(const char *command, const cli_engine *e, hy_engine_params *out);
/* Writes the profile when asked for, frees everything. Returns `code`, or 1 when the profile failed. */
int cli_engine_close(const char *command, cli_engine *e, int code);

/* ---- synthetic models (synth.c), also used by bench ---- */

/* Writes a random-weight model of a public shape. HY_E_NOT_FOUND lists the shapes. */
HY_NODISCARD hy_status synth_write(const char *shape, const char *type, uint64_t seed,
                                   const char *path);
/* The same without weights: zeros that take no room on the disk. For planning. */
HY_NODISCARD hy_status synth_write_sparse(const char *shape, const char *type, const char *path);

#endif

/* tools/bench/options.h: the command line of `halyard bench`: lists, ranges, and the tests they ask for. */
#ifndef HY_TOOLS_BENCH_OPTIONS_H
#define HY_TOOLS_BENCH_OPTIONS_H

#include "tools/bench/report.h"
#include "tools/cli.h"

enum {
    BENCH_MAX_LIST = 64, /* values of one option */
    BENCH_MAX_REPEATS = 100,
    BENCH_MAX_PARALLEL = 4096
};

/* Values of "1,2,4", "1-4", "0-4096+1024" or "1-64*2", one behind the other. */
typedef struct bench_list {
    uint32_t value[BENCH_MAX_LIST];
    uint32_t count;
} bench_list;

typedef enum bench_kind {
    BENCH_PP,   /* a prompt at once */
    BENCH_TG,   /* tokens one by one */
    BENCH_PG,   /* a prompt, then tokens */
    BENCH_SERVE /* requests that arrive by themselves */
} bench_kind;

/* What one row measures. */
typedef struct bench_test {
    bench_kind kind;
    uint32_t prompt, gen; /* tokens of one sequence */
    uint32_t depth;       /* tokens of each sequence in the cache before */
    uint32_t parallel;    /* sequences side by side */
    uint32_t context;     /* positions that each needs */
} bench_test;

typedef struct bench_options {
    cli_engine e;                     /* what all configurations have in common */
    cli_list models, synths, devices; /* of synths each is a SHAPE:TYPE */
    bench_list threads, batches;      /* empty: the default */
    const char *kv_type[4], *numerics[4];
    uint32_t kv_types, numericses;
    bench_test *test; /* [tests]: those of one depth and number of sequences stand together */
    uint32_t tests;
    size_t room; /* of test */
    uint32_t repeats, delay_s, time_limit_s;
    float price, rate; /* per hour of the machine, requests per second; 0: not given */
    bool no_warmup, no_verify, no_hash;
    report_format format, second; /* on standard output, on standard error */
    bool has_second;
    const char *trace, *predict, *versus, *versus_binary;
    int argc;
    char **argv; /* the call as it was, for bench replay */
} bench_options;

/* Reads the command line and fills *out, to be freed by bench_options_free in any case. -1 to go on, or an
 * exit code after --help or an error line. */
int bench_options_parse(int argc, char **argv, bench_options *out);
void bench_options_free(bench_options *o);

/* False, without a word, when `text` is not a list of numbers or too long. */
bool bench_list_parse(const char *text, bench_list *out);

/* "pp512", "tg128 @ d4096 x 8". */
void bench_test_name(const bench_test *test, char *out, size_t capacity);
/* "pp", "tg", "pg", "serve". */
const char *bench_kind_name(bench_kind kind);

#endif

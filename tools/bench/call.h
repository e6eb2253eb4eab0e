/* tools/bench/call.h: one call of `halyard bench` under way: where rows go, how far it is. */
#ifndef HY_TOOLS_BENCH_CALL_H
#define HY_TOOLS_BENCH_CALL_H

#include "tools/bench/row.h"

typedef struct bench_call {
    bench_options o;
    json_t *record;
    report *out, *second;   /* standard output; standard error or NULL */
    uint64_t until;         /* cli_now_ns; UINT64_MAX: no limit */
    uint32_t planned, done; /* rows */
    uint32_t ok, bad;       /* rows measured, rows that are FAILED or in error */
    double guessed, spent;  /* seconds that finished rows should have taken, and took */
    double guessed_left;    /* of the others */
    int code;               /* 1 once something failed */
    bool broken;            /* rows cannot be written any more */
} bench_call;

/* A signal came, or rows cannot be written: nothing more is begun. */
bool bench_call_ends(const bench_call *c);
/* Prints a row and lets go of it. The first failure of a call is also a line on standard error. */
void bench_call_row(bench_call *c, json_t *row);
/* What is under way, on a terminal's last line: "[3/12] cpu:0 tg128: 2 of 5, about 40 s left". */
void bench_call_progress(const bench_call *c, const char *device, const bench_test *test,
                         uint32_t repetition);
/* Says so before each repetition of a run. */
void bench_call_watch(bench_call *c, bench_run *r);
/* Clears that line. */
void bench_call_quiet(void);

/* Configurations of one model: called for each device, threads, KV type, numerics and batch size. */
typedef void (*bench_each_fn)(bench_call *c, bench_model *m, const cli_engine *e);
void bench_call_each(bench_call *c, bench_model *m, bench_each_fn each);

/* versus.c: --vs and --vs-binary. Exit codes. */
void bench_versus(bench_call *c, bench_model *m, const cli_engine *e);
int bench_versus_binary(bench_call *c);
/* serve.c: reads --trace and sets its mean tokens and longest request in the tests; false after an error line. */
bool bench_trace_open(bench_options *o);
void bench_trace_close(void);
/* predict.c: --predict. */
int bench_predict(bench_call *c);
/* replay.c: `bench replay FILE`. */
int bench_replay(int argc, char **argv);

#endif

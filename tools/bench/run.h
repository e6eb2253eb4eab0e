/* tools/bench/run.h: one engine and the tests that run on it, one after the other.
 *
 * Times are of whole engine steps: computing, copies, submitting, waiting. Loading, tokenizing and sampling are not in
 * them, as in llama-bench. The device's peaks are measured between repetitions, and between steps where the model is
 * too large for caches to remember it. */
#ifndef HY_TOOLS_BENCH_RUN_H
#define HY_TOOLS_BENCH_RUN_H

#include "tools/bench/energy.h"
#include "tools/bench/limit.h"
#include "tools/bench/machine.h"
#include "tools/bench/model.h"
#include "tools/bench/options.h"
#include "tools/bench/series.h"

/* What verifying found. */
typedef struct bench_check {
    bool done, passed; /* not done: not asked for, or impossible for `reason` */
    char against[64];  /* "ref", "cpu, generic" */
    uint32_t tokens;
    double kl_mean, kl_max, top1; /* nats; share of the positions */
    char reason[256];
} bench_check;

/* Requests that were served. */
typedef struct bench_served {
    uint32_t requests, finished;
    uint64_t tokens_in, tokens_out;
    double seconds;
    series total, queued; /* seconds from arrival to the last token, to the first step */
} bench_served;

typedef struct bench_run {
    const bench_options *o;
    bench_model *m;
    cli_engine e; /* this configuration; e.engine is the engine */
    hy_engine_params params;
    hy_engine_desc desc;
    hy_sequence **sequence;    /* [parallel] */
    uint32_t parallel, filled; /* tokens of depth that every sequence holds */
    bench_limit limit;
    energy *energy;
    int32_t *ids;      /* [params.context] scratch */
    uint32_t threads;  /* of a CPU; 0: another device */
    char failure[512]; /* "": none; why the engine is of no use any more */
    /* Called before each repetition; 0 is the warm-up. */
    void (*tick)(void *user, const struct bench_run *r, uint32_t repetition);
    void *tick_user;

    /* of the test under way */
    bench_test test;
    series seconds;    /* of each repetition */
    series itl, ttft;  /* of each step, of each prompt: seconds */
    double predicted;  /* seconds of a repetition by predict.h; 0: not known */
    double joules;     /* of all repetitions; < 0: not known */
    uint64_t breathed; /* when peaks were last measured, ns */
    uint64_t paused;   /* ns that measuring them took since the repetition began */
    machine_busy busy;
    machine_share share; /* what others took */
    bench_check check;
    bench_served served;
    uint64_t loading, resident; /* peaks of memory, bytes: until the engine was there; at all */
} bench_run;

/* Makes an engine with `parallel` sequences of `context` tokens. On failure, false: run->failure says why, nothing was
 * printed. bench_run_close in any case. */
bool bench_run_open(bench_run *r, const bench_options *o, bench_model *m, const cli_engine *e,
                    uint32_t parallel, uint32_t context);
void bench_run_close(bench_run *r);

/* Only the plan of one test, with the device's peaks: nothing is loaded. As above. */
bool bench_run_plan(bench_run *r, const bench_options *o, bench_model *m, const cli_engine *e,
                    const bench_test *test);

/* Verifies, warms up and measures; `count` runs take turns, in another order each time. False: run->failure of one of
 * them. Ends early, with the repetitions there are, when bench_stopped() or after `until` (cli_now_ns). */
bool bench_run_test(bench_run *run, uint32_t count, const bench_test *test, uint64_t until);

/* For check.c and serve.c. Queues tokens [at, at + count) of a stream of random ids in a sequence. */
bool bench_run_add(bench_run *r, uint32_t sequence, uint32_t stream, uint32_t at, uint32_t count,
                   unsigned flags);
/* The same in each of the first sequences, each from a stream of its own. */
bool bench_run_queue(bench_run *r, uint32_t sequences, uint32_t at, uint32_t count, unsigned flags);
/* One step; steps until nothing is pending in the first sequences. */
bool bench_run_step(bench_run *r, hy_step_result *result);
bool bench_run_idle(bench_run *r, uint32_t sequences);
/* Copies the library's error; returns false. */
bool bench_run_failed(bench_run *r);
/* Peaks, if the last ones are old and caches are no matter. */
void bench_run_breathe(bench_run *r);

/* serve.c: one pass over the trace of requests. False: run->failure. */
bool bench_serve(bench_run *r, bool counted);
/* check.c: fills r->check for r->test. False: run->failure. */
bool bench_check_run(bench_run *r);
/* Of a row that passes: mean KL divergence in nats, share of equal first choices. */
extern const double bench_kl_limit, bench_top1_limit;

/* signals.c: SIGINT and SIGTERM end the call after the step under way; a second one at once. */
void bench_catch_signals(void);
bool bench_stopped(void);
/* 0, 130 or 143. */
int bench_stop_code(void);

#endif

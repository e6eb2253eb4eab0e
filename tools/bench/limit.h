/* tools/bench/limit.h: how fast a test could be: what its ops move and compute by the plan, over what the devices
 * do at their best, measured while the test runs.
 *
 * The limit of one op is the longer of reading its weights and its keys and values, and computing at the peak of its
 * arithmetic. Activations are left out: caches hold most of them, and a limit must not be too slow. */
#ifndef HY_TOOLS_BENCH_LIMIT_H
#define HY_TOOLS_BENCH_LIMIT_H

#include "halyard/halyard.h"
#include "tools/bench/options.h"
#include "tools/bench/series.h"
#include "tools/probe.h"

enum { LIMIT_MAX_DEVICES = 8 /* in one engine */ };

/* What an op costs in one repetition, or a sum of such. */
typedef struct limit_cost {
    hy_op_cost op;                   /* once; its text is the engine's */
    uint32_t device;                 /* of bench_limit.id */
    uint32_t sequences;              /* of its step */
    double runs;                     /* in one repetition; what follows is of all of them */
    double weights, kv, activations; /* bytes */
    double flops;
} limit_cost;

typedef struct bench_limit {
    const cli_engine *e; /* the choices that the probes were opened with */
    uint32_t devices;
    char id[LIMIT_MAX_DEVICES][32];
    probe *probe[LIMIT_MAX_DEVICES]; /* NULL: there is none, for `reason` */
    char reason[256];
    series pass[LIMIT_MAX_DEVICES][HY_PEAKS]; /* rates seen during this test */
    limit_cost *cost;                         /* [costs] */
    uint32_t costs;
    size_t room;        /* of cost */
    char (*kernel)[64]; /* [kernels] distinct names, in the order of the steps */
    uint32_t kernels;
    size_t kernel_room;
    double weight_bytes, step_bytes; /* of the largest step, of the step under way */
    hy_status status;                /* of gathering them: visitors cannot fail */
} bench_limit;

/* Opens the probes of an engine's devices ("cpu:0,vulkan:0"), with the engine's own threads and so on. */
void bench_limit_open(bench_limit *l, const cli_engine *e, const char *devices);
void bench_limit_close(bench_limit *l);
/* Frees what is kept for the next engine. */
void bench_limit_forget(void);

/* Forgets the last test and takes what one repetition of this one costs. False with hy_error_text(). */
bool bench_limit_begin(bench_limit *l, const hy_engine *engine, const bench_test *test,
                       uint32_t max_batch);
/* A pass of every peak, and one of memory and the arithmetic that the test does: 20 to 90 ms. */
void bench_limit_pass_all(bench_limit *l);
void bench_limit_pass(bench_limit *l);

/* Everything that one repetition costs. */
limit_cost bench_limit_total(const bench_limit *l);
/* Median of the passes; 0: none, or no such instructions. */
double bench_limit_peak(const bench_limit *l, uint32_t device, hy_peak kind);
/* Seconds of all runs of one op at its limit, by the passes there are; with what it waits for measured anew, apart from
 * those passes. Call them where there are probes. */
double bench_limit_cost_seconds(const bench_limit *l, const limit_cost *c);
double bench_limit_cost_now(const bench_limit *l, const limit_cost *c);
/* Seconds of one repetition if every op ran at its limit; 0 without probes. *bound: the peak that the longest part of
 * it waits for. */
double bench_limit_seconds(const bench_limit *l, hy_peak *bound);

#endif

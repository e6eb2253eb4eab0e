/* tools/bench/judge.h: what may be said of two rows that measured the same work. */
#ifndef HY_TOOLS_BENCH_JUDGE_H
#define HY_TOOLS_BENCH_JUDGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "tools/bench/match.h"

typedef enum judge_verdict {
    JUDGE_REFUSED, /* reason says why */
    JUDGE_FASTER,  /* b than a: the interval lies above 1 */
    JUDGE_SLOWER,  /* below 1 */
    JUDGE_SAME,    /* it holds 1 and lies within the threshold */
    JUDGE_UNCLEAR /* it holds 1 and reaches beyond the threshold, or the machine moved by as much: reason */
} judge_verdict;

typedef struct judgement {
    judge_verdict verdict;
    match_scope scope;
    bool paired; /* pair by pair, or two series of their own */
    size_t samples_a, samples_b;
    double ts_a, ts_b;       /* mean tokens/s of each; NaN: must not be shown */
    double ratio, low, high; /* of b over a with its 95 % interval; NaN: not known */
    char reason[256];        /* of a refusal, or of "unclear"; else "" */
    char note[256];          /* what to know beside the verdict; else "" */
} judgement;

/* Judges b against a; `threshold` is a fraction. False when memory ran out. */
bool judge(const match_key *a, const match_key *b, double threshold, judgement *out);

/* "faster" and so on. */
const char *judge_verdict_name(judge_verdict verdict);

#endif

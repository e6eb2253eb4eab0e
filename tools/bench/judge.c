/* tools/bench/judge.c: the ratio of two rows, and when none may be given. */
#include "tools/bench/judge.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/rows.h"
#include "tools/bench/stats.h"

enum { FEWEST_SAMPLES = 3 };
static const double MOST_SCATTER = 0.10, MOST_MOVED = 0.05;

typedef struct series {
    const match_key *key;
    char letter;
    double *ts; /* [n] tokens/s of the repetitions; NULL: none */
    size_t n;
} series;

const char *judge_verdict_name(judge_verdict verdict) {
    static const char *const name[] = {"refused", "faster", "slower", "same", "unclear"};
    return name[verdict];
}

/* Puts the reason there. Returns true, as every rule does that refuses. */
static bool refuse(judgement *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(judgement *j, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(j->reason, sizeof j->reason, format, arguments);
    va_end(arguments);
    return true;
}

/* ---- rules about one row ---- */

static bool no_speed(const series *s, judgement *j) {
    const char *status = row_text(s->key->row, "status"), *why = row_text(s->key->row, "reason");
    if (!row_may_show_speed(s->key->row))
        return refuse(j, "%c is %s%s%.160s", s->letter, status, why ? ": " : "", why ? why : "");
    if (!(row_number(s->key->row, "avg_ts") > 0)) return refuse(j, "%c has no speed", s->letter);
    return false;
}

static bool too_few(const series *s, judgement *j) {
    if (s->n >= FEWEST_SAMPLES) return false;
    if (s->n == 0) return refuse(j, "%c has no samples (CSV leaves them out)", s->letter);
    return refuse(j, "%c has %zu sample%s, a verdict needs %d", s->letter, s->n,
                  s->n == 1 ? "" : "s", FEWEST_SAMPLES);
}

static bool scatters(const series *s, judgement *j) {
    const double cv = stats_cv(s->ts, s->n);
    if (cv <= MOST_SCATTER) return false;
    return refuse(j, "%c scatters by %.1f %% (more than %.0f %%)", s->letter, cv * 100,
                  MOST_SCATTER * 100);
}

/* ---- rules about both ---- */

/* What disturbed both in turn cancels; what disturbed one alone, or runs apart, does not. */
static bool disturbed(const series *a, const series *b, judgement *j) {
    static const char *const flag[] = {"busy", "throttled"};
    for (size_t i = 0; i < 2; i++) {
        const bool in_a = row_has(a->key->row, "flags", flag[i]),
                   in_b = row_has(b->key->row, "flags", flag[i]);
        if (j->paired ? in_a == in_b : !in_a && !in_b) continue;
        const char *whose = in_a ? "A alone" : "B alone";
        return refuse(j, "the machine of %s was %s", in_a && in_b ? "both" : whose, flag[i]);
    }
    return false;
}

/* Of pairs it is their ratios that must not scatter. */
static bool pairs_scatter(const stats_ratio *r, judgement *j) {
    if (r->scatter <= MOST_SCATTER) return false;
    return refuse(j, "the pairs' ratios scatter by %.1f %% (more than %.0f %%)", r->scatter * 100,
                  MOST_SCATTER * 100);
}

static const char *governor(const series *s) {
    const char *name = row_text(s->key->row, "machine.cpu.frequency.governor");
    return name ? name : row_text(s->key->row, "machine.governor");
}

/* A probed peak, GB/s of "read" or GFLOP/s; NaN when not known. */
static double peak(const series *s, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "roofline.%.16s_%s", name,
             strcmp(name, "read") ? "gflops" : "gbps");
    return row_number(s->key->row, path);
}

/* The peak that counts beside memory: the one that A's plan is bound by, or else the highest that both know. */
static const char *compute_peak(const series *a, const series *b) {
    static const char *const name[] = {"f32", "f16", "bf16", "int8"};
    const char *bound = row_text(a->key->row, "roofline.bound"), *best = NULL;
    for (size_t i = 0; i < 4; i++) {
        if (isnan(peak(a, name[i])) || isnan(peak(b, name[i]))) continue;
        if (bound && strcmp(bound, name[i]) == 0) return name[i];
        if (!best || peak(a, name[i]) > peak(a, best)) best = name[i];
    }
    return best;
}

/* How far apart two probes of one machine are, as the log of their ratio; 0 when not known. */
static double moved(const series *a, const series *b, const char *name) {
    const double x = name ? peak(a, name) : NAN, y = name ? peak(b, name) : NAN;
    return x > 0 && y > 0 ? fabs(log(y / x)) : 0;
}

/* Two runs on one device: the machine must have been the same machine. */
static bool machine_moved(const series *a, const series *b, judgement *j) {
    const char *const peaks[] = {"read", compute_peak(a, b)};
    const char *ga = governor(a), *gb = governor(b);
    if (ga && gb && strcmp(ga, gb) != 0)
        return refuse(j, "the frequency governor changed from %.40s to %.40s", ga, gb);
    for (size_t i = 0; i < 2; i++) {
        if (moved(a, b, peaks[i]) <= log1p(MOST_MOVED)) continue;
        return refuse(j, "the machine moved: its %s peak was %.4g, then %.4g %s", peaks[i],
                      peak(a, peaks[i]), peak(b, peaks[i]), i ? "GFLOP/s" : "GB/s");
    }
    return false;
}

/* ---- the verdict ---- */

/* r: NULL when the samples make no ratio. */
static bool refused(const series *a, const series *b, const stats_ratio *r, judgement *j) {
    if (too_few(a, j) || too_few(b, j)) return true;
    if (!r) return refuse(j, "a sample is no speed");
    if (j->paired ? pairs_scatter(r, j) : scatters(a, j) || scatters(b, j)) return true;
    if (disturbed(a, b, j)) return true;
    return !j->paired && j->scope == MATCH_DEVICE && machine_moved(a, b, j);
}

/* By how much the machine itself changed between two runs on one device, as a log; 0: it did not, or took turns. */
static double own_movement(const series *a, const series *b, const judgement *j) {
    if (j->paired || j->scope != MATCH_DEVICE) return 0;
    return fmax(moved(a, b, "read"), moved(a, b, compute_peak(a, b)));
}

static judge_verdict conclude(const series *a, const series *b, double threshold, judgement *j) {
    const double own = own_movement(a, b, j);
    if (j->low <= 1 && j->high >= 1)
        return j->low >= 1 - threshold && j->high <= 1 + threshold ? JUDGE_SAME : JUDGE_UNCLEAR;
    if (log(j->low) <= own && log(j->high) >= -own) {
        snprintf(j->reason, sizeof j->reason, "the machine itself moved by %.1f %%",
                 expm1(own) * 100);
        return JUDGE_UNCLEAR;
    }
    return j->ratio > 1 ? JUDGE_FASTER : JUDGE_SLOWER;
}

static void add_note(judgement *j, const char *text) {
    const size_t n = strlen(j->note);
    snprintf(j->note + n, sizeof j->note - n, "%s%s", n ? "; " : "", text);
}

static void add_notes(const series *a, const series *b, judgement *j) {
    char text[128];
    const char *ea = a->key->engine, *eb = b->key->engine;
    if (j->scope == MATCH_MACHINES) add_note(j, "two machines are compared");
    if (j->scope == MATCH_DEVICES) add_note(j, "two devices of one machine are compared");
    if (ea && eb && strcmp(ea, eb) != 0) {
        snprintf(text, sizeof text, "A is %.40s, B %.40s", ea, eb);
        add_note(j, text);
    }
    if (j->scope == MATCH_DEVICE && !j->paired &&
        (!row_get(a->key->row, "roofline") || !row_get(b->key->row, "roofline")))
        add_note(j, "without a roofline of both nobody knows whether the machine moved");
    if (j->paired && row_has(a->key->row, "flags", "busy")) add_note(j, "busy in both");
    if (j->paired && row_has(a->key->row, "flags", "throttled")) add_note(j, "throttled in both");
}

static void weigh(const series *a, const series *b, double threshold, judgement *j) {
    stats_ratio r;
    j->samples_a = a->n;
    j->samples_b = b->n;
    if (no_speed(a, j) || no_speed(b, j)) return;
    j->ts_a = row_number(a->key->row, "avg_ts");
    j->ts_b = row_number(b->key->row, "avg_ts");
    j->ratio = j->ts_b / j->ts_a;
    const bool known = j->paired ? stats_ratio_paired(a->ts, b->ts, a->n, &r)
                                 : stats_ratio_unpaired(a->ts, a->n, b->ts, b->n, &r);
    if (known) {
        j->ratio = r.ratio;
        j->low = r.low;
        j->high = r.high;
    }
    add_notes(a, b, j);
    if (!refused(a, b, known ? &r : NULL, j)) j->verdict = conclude(a, b, threshold, j);
}

/* False when there are samples that nothing could hold. */
static bool has_memory(const series *s) {
    return s->ts || json_array_size(row_get(s->key->row, "samples_ts")) == 0;
}

bool judge(const match_key *a, const match_key *b, double threshold, judgement *out) {
    series sa = {.key = a, .letter = 'A'}, sb = {.key = b, .letter = 'B'};
    sa.ts = row_samples(a->row, "samples_ts", &sa.n);
    sb.ts = row_samples(b->row, "samples_ts", &sb.n);
    *out = (judgement){
        .verdict = JUDGE_REFUSED,
        .scope = match_where(a, b),
        .paired = match_interleaved(a, b) && sa.n == sb.n,
        .ts_a = NAN,
        .ts_b = NAN,
        .ratio = NAN,
        .low = NAN,
        .high = NAN,
    };
    const bool good = has_memory(&sa) && has_memory(&sb);
    if (good) weigh(&sa, &sb, threshold, out);
    free(sa.ts);
    free(sb.ts);
    return good;
}

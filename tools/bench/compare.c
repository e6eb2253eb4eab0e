/* tools/bench/compare.c: the result of comparing two sets of rows, and its table. */
#include "tools/bench/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/judge.h"
#include "tools/bench/match.h"
#include "tools/bench/rows.h"
#include "tools/bench/table.h"

static const char *const scope_name[] = {
    [MATCH_DEVICE] = "same device",
    [MATCH_DEVICES] = "devices of one machine",
    [MATCH_MACHINES] = "machines",
};

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text(const char *value) {
    return value && *value ? json_string(value) : json_null();
}

/* ---- the result ---- */

static json_t *compared_row(size_t at_a, const match_key *a, size_t at_b, const match_key *b,
                            const judgement *j) {
    json_t *row = json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:s, s:s}", "a", (json_int_t)at_a, "b",
                            (json_int_t)at_b, "model", text(a->type), "test", text(a->test),
                            "device_a", text(a->device), "device_b", text(b->device), "scope",
                            scope_name[j->scope], "method", j->paired ? "pairs" : "welch");
    json_t *figures =
        json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:s, s:o, s:o}", "ts_a", number(j->ts_a),
                  "ts_b", number(j->ts_b), "samples_a", (json_int_t)j->samples_a, "samples_b",
                  (json_int_t)j->samples_b, "ratio", number(j->ratio), "low", number(j->low),
                  "high", number(j->high), "verdict", judge_verdict_name(j->verdict), "reason",
                  text(j->reason), "note", text(j->note));
    const bool good = row && figures && json_object_update(row, figures) == 0;
    json_decref(figures);
    if (good) return row;
    json_decref(row);
    return NULL;
}

static json_t *unmatched_row(const char *file, size_t at, const match_key *one,
                             const match_key *others, size_t n, const bool *taken) {
    char reason[512];
    match_reason(one, others, n, taken, reason, sizeof reason);
    return json_pack("{s:s, s:I, s:o, s:o, s:o, s:o}", "file", file, "index", (json_int_t)at,
                     "model", text(one->type), "test", text(one->test), "device", text(one->device),
                     "reason", text(reason));
}

/* Both sets and who goes with whom. */
typedef struct matching {
    match_key *a, *b; /* [na] and [nb] */
    size_t na, nb;
    size_t *partner; /* [na]: index in b, or nb */
    bool *taken_a, *taken_b;
} matching;

static void matching_free(matching *m) {
    free(m->a);
    free(m->b);
    free(m->partner);
    free(m->taken_a);
    free(m->taken_b);
}

static match_key *keys(const json_t *rows) {
    match_key *key = calloc(json_array_size(rows) + 1, sizeof *key);
    size_t i;
    json_t *row;
    if (!key) return NULL;
    json_array_foreach((json_t *)rows, i, row) {
        key[i] = match_key_of(row);
    }
    return key;
}

static bool matching_new(const json_t *a, const json_t *b, matching *m) {
    *m = (matching){.a = keys(a), .b = keys(b), .na = json_array_size(a), .nb = json_array_size(b)};
    m->partner = calloc(m->na + 1, sizeof *m->partner);
    m->taken_a = calloc(m->na + 1, sizeof *m->taken_a);
    m->taken_b = calloc(m->nb + 1, sizeof *m->taken_b);
    if (!m->a || !m->b || !m->partner || !m->taken_a || !m->taken_b) return false;
    match_rows(m->a, m->na, m->b, m->nb, m->partner, m->taken_b);
    for (size_t i = 0; i < m->na; i++)
        m->taken_a[i] = m->partner[i] != m->nb;
    return true;
}

/* Fills the arrays and counts the verdicts; false when memory ran out. */
static bool judge_all(const matching *m, double threshold, json_t *rows, json_t *unmatched,
                      json_int_t count[JUDGE_UNCLEAR + 1]) {
    for (size_t i = 0; i < m->na; i++) {
        const size_t k = m->partner[i];
        judgement j;
        if (k == m->nb) {
            json_t *row = unmatched_row("a", i, &m->a[i], m->b, m->nb, m->taken_b);
            if (json_array_append_new(unmatched, row) < 0) return false;
            continue;
        }
        if (!judge(&m->a[i], &m->b[k], threshold, &j)) return false;
        count[j.verdict]++;
        if (json_array_append_new(rows, compared_row(i, &m->a[i], k, &m->b[k], &j)) < 0)
            return false;
    }
    for (size_t k = 0; k < m->nb; k++) {
        if (m->taken_b[k]) continue;
        json_t *row = unmatched_row("b", k, &m->b[k], m->a, m->na, m->taken_a);
        if (json_array_append_new(unmatched, row) < 0) return false;
    }
    return true;
}

json_t *bench_compare_rows(const json_t *a, const json_t *b, double threshold) {
    matching m = {0};
    json_t *rows = json_array(), *unmatched = json_array(), *result = NULL;
    json_int_t count[JUDGE_UNCLEAR + 1] = {0};
    if (rows && unmatched && matching_new(a, b, &m) &&
        judge_all(&m, threshold / 100, rows, unmatched, count))
        result = json_pack("{s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:O, s:O}", "schema",
                           "halyard-bench-compare/1", "threshold", threshold, "faster",
                           count[JUDGE_FASTER], "slower", count[JUDGE_SLOWER], "same",
                           count[JUDGE_SAME], "unclear", count[JUDGE_UNCLEAR], "refused",
                           count[JUDGE_REFUSED], "rows", rows, "unmatched", unmatched);
    json_decref(rows);
    json_decref(unmatched);
    matching_free(&m);
    return result;
}

/* ---- the table ---- */

static const table_column columns[] = {
    {"model", 20, false},        {"test", 13, true},   {"device", 16, false},
    {"A t/s", 9, true},          {"B t/s", 9, true},   {"B / A", 7, true},
    {"95 % interval", 14, true}, {"samples", 8, true}, {"verdict", 8, false},
};
enum { COLUMNS = sizeof columns / sizeof *columns, CELL = 320 };

static const char *shown(const json_t *row, const char *path) {
    const char *value = row_text(row, path);
    return value ? value : "?";
}

static void decimals(char cell[CELL], const json_t *row, const char *path, int count) {
    const double value = row_number(row, path);
    snprintf(cell, CELL, "-");
    if (isfinite(value)) snprintf(cell, CELL, "%.*f", count, value);
}

static void print_compared(FILE *out, const json_t *row) {
    char cell[COLUMNS][CELL];
    const char *device_a = shown(row, "device_a"), *device_b = shown(row, "device_b"),
               *reason = row_text(row, "reason");
    snprintf(cell[0], CELL, "%s", shown(row, "model"));
    snprintf(cell[1], CELL, "%s", shown(row, "test"));
    const bool same = strcmp(device_a, device_b) == 0;
    snprintf(cell[2], CELL, "%s%s%s", device_a, same ? "" : " -> ", same ? "" : device_b);
    decimals(cell[3], row, "ts_a", 2);
    decimals(cell[4], row, "ts_b", 2);
    decimals(cell[5], row, "ratio", 4);
    const double low = row_number(row, "low"), high = row_number(row, "high");
    snprintf(cell[6], CELL, "-");
    if (isfinite(low)) snprintf(cell[6], CELL, "%.4f-%.4f", low, high);
    const json_int_t na = row_integer(row, "samples_a", 0), nb = row_integer(row, "samples_b", 0);
    if (strcmp(shown(row, "method"), "pairs") == 0) {
        snprintf(cell[7], CELL, "%lld pairs", (long long)na);
    } else {
        snprintf(cell[7], CELL, "%lld, %lld", (long long)na, (long long)nb);
    }
    snprintf(cell[8], CELL, "%s%s%s", shown(row, "verdict"), reason ? ": " : "",
             reason ? reason : "");
    fputs("|", out);
    for (size_t i = 0; i < COLUMNS; i++)
        table_cell(out, &columns[i], cell[i]);
    fputs("\n", out);
}

/* The note of the row at `at` and in how many rows it stands, unless an earlier row had the same. */
static void print_note(FILE *out, const json_t *rows, size_t at) {
    const char *note = row_text(json_array_get(rows, at), "note");
    size_t i, count = 0;
    json_t *row;
    if (!note) return;
    json_array_foreach((json_t *)rows, i, row) {
        const char *its = row_text(row, "note");
        if (!its || strcmp(its, note) != 0) continue;
        if (i < at) return;
        count++;
    }
    fprintf(out, "in %zu of %zu rows: %s\n", count, json_array_size(rows), note);
}

void bench_compare_print(FILE *out, const json_t *result) {
    const json_t *rows = row_get(result, "rows"), *unmatched = row_get(result, "unmatched");
    size_t i;
    json_t *row;
    if (json_array_size(rows)) {
        fputs("|", out);
        for (size_t k = 0; k < COLUMNS; k++)
            table_cell(out, &columns[k], columns[k].heading);
        fputs("\n|", out);
        for (size_t k = 0; k < COLUMNS; k++)
            table_rule(out, &columns[k]);
        fputs("\n", out);
        json_array_foreach((json_t *)rows, i, row) {
            print_compared(out, row);
        }
        fprintf(out, "\nB / A: tokens/s of B over those of A; same: within %.4g %%\n",
                row_number(result, "threshold"));
        for (size_t k = 0; k < json_array_size(rows); k++)
            print_note(out, rows, k);
    }
    if (json_array_size(unmatched))
        fprintf(out, "%snot compared:\n", json_array_size(rows) ? "\n" : "");
    json_array_foreach((json_t *)unmatched, i, row) {
        fprintf(out, "  %s %s, %s, %s: %s\n", strcmp(shown(row, "file"), "a") ? "B" : "A",
                shown(row, "model"), shown(row, "test"), shown(row, "device"),
                shown(row, "reason"));
    }
}

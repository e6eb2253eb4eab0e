/* tools/bench/report_md.c: the Markdown table. Its first columns are llama-bench's, under its names and in its
 * number formats, so that what reads or compares such tables reads ours. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/report_inside.h"
#include "tools/bench/rows.h"
#include "tools/bench/table.h"

enum { CELL = 512 };

/* Fills a cell; leaves it as it is ("-") when nothing is known. */
typedef void (*cell_text)(const report *r, const json_t *row, char cell[CELL]);

typedef struct column {
    table_column frame;
    cell_text text; /* NULL: the number at path, with this many decimals */
    const char *path;
    int decimals;
} column;

/* ---- llama-bench's columns ---- */

static void copy_text(const json_t *row, const char *path, char *cell) {
    const char *text = row_text(row, path);
    if (text && *text) snprintf(cell, CELL, "%s", text);
}

static void model(const report *r, const json_t *row, char cell[CELL]) {
    (void)r;
    copy_text(row, row_text(row, "model_type") ? "model_type" : "model.name", cell);
}

static void size(const report *r, const json_t *row, char cell[CELL]) {
    const double bytes = row_number(row, "model_size"), gib = 1 << 30, mib = 1 << 20;
    (void)r;
    if (bytes >= 0)
        snprintf(cell, CELL, "%.2f %s", bytes / (bytes >= gib ? gib : mib),
                 bytes >= gib ? "GiB" : "MiB");
}

static void params(const report *r, const json_t *row, char cell[CELL]) {
    const double count = row_number(row, "model_n_params");
    (void)r;
    if (count >= 0)
        snprintf(cell, CELL, "%.2f %s", count * (count >= 1e9 ? 1e-9 : 1e-6),
                 count >= 1e9 ? "B" : "M");
}

static void backend(const report *r, const json_t *row, char cell[CELL]) {
    (void)r;
    copy_text(row, "backends", cell);
}

/* llama-bench shows what matters for the backend: the layers on the GPU, or the CPU's threads. */
static bool on_cpu(const report *r) {
    const char *backends = row_text(r->first, "backends");
    return !backends || strstr(backends, "CPU");
}

static void offload(const report *r, const json_t *row, char cell[CELL]) {
    const json_t *value = row_get(row, on_cpu(r) ? "n_threads" : "n_gpu_layers");
    if (json_is_integer(value))
        snprintf(cell, CELL, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
}

static void test(const report *r, const json_t *row, char cell[CELL]) {
    (void)r;
    copy_text(row, "test", cell);
}

static void speed(const report *r, const json_t *row, char cell[CELL]) {
    const char *status = row_text(row, "status"), *reason = row_text(row, "reason");
    const double mean = row_number(row, "avg_ts"), sd = row_number(row, "stddev_ts");
    (void)r;
    if (isfinite(row_number(row, "prediction.ts")) && status && strcmp(status, "predicted") == 0) {
        snprintf(cell, CELL, "about %.2f", row_number(row, "prediction.ts"));
    } else if (!row_may_show_speed(row)) {
        snprintf(cell, CELL, "%s%s%s", status, reason ? ": " : "", reason ? reason : "");
    } else if (isfinite(mean)) {
        const int n = snprintf(cell, CELL, "%.2f", mean);
        if (isfinite(sd)) snprintf(cell + n, (size_t)(CELL - n), " ± %.2f", sd);
    }
}

/* ---- ours ---- */

static void itl(const report *r, const json_t *row, char cell[CELL]) {
    const double p50 = row_number(row, "itl_ms.p50"), p99 = row_number(row, "itl_ms.p99");
    (void)r;
    if (isfinite(p50) && isfinite(p99)) snprintf(cell, CELL, "%.2f/%.2f", p50, p99);
}

static void roofline(const report *r, const json_t *row, char cell[CELL]) {
    const double percent = row_number(row, "roofline.percent");
    const char *bound = row_text(row, "roofline.bound");
    (void)r;
    if (isfinite(percent)) snprintf(cell, CELL, "%.1f (%s)", percent, bound ? bound : "?");
}

/* Of the host's and the device's, whichever is more: both hold what a model needs there. */
static void peak(const report *r, const json_t *row, char cell[CELL]) {
    const double resident = row_number(row, "memory.resident_peak"),
                 device = row_number(row, "memory.device_peak"), bytes = fmax(resident, device);
    (void)r;
    if (isfinite(bytes)) snprintf(cell, CELL, "%.0f", bytes / (1 << 20));
}

/* Flags of a row, the marks that stand for them, and what the legend says. */
static const struct mark {
    const char *flag, *sign, *meaning;
} marks[] = {
    {"noisy", "*", "noisy: the repetitions scatter by more than 3 %"},
    {"busy", "!", "busy: other work took more than 2 % of the cpus meanwhile"},
    {"drift", "~", "drift: the machine's own peak moved by more than 10 % meanwhile"},
    {"throttled", "^", "throttled: the clock was held down meanwhile"},
    {"cut", "-", "cut: the time limit came before the last repetition"},
    {"unverified", "?", "unverified: there was nothing to compare the output with"},
};
enum { MARKS = sizeof marks / sizeof *marks };

static void check(const report *r, const json_t *row, char cell[CELL]) {
    const char *status = row_text(row, "status");
    const json_t *passed = row_get(row, "verify.passed");
    (void)r;
    if (!row_may_show_speed(row)) {
        snprintf(cell, CELL, "%s", status);
    } else if (passed) {
        strcpy(cell, json_is_true(passed) ? "ok" : "FAILED");
    }
    for (size_t i = 0, n = 0; i < MARKS; i++) {
        if (!row_has(row, "flags", marks[i].flag)) continue;
        strcat(strcat(cell, n++ ? "" : " "), marks[i].sign);
    }
}

/* Of a prompt's tokens, or of those made. */
static void cost(const report *r, const json_t *row, char cell[CELL]) {
    const double in = row_number(row, "cost.usd_per_million_in"),
                 out = row_number(row, "cost.usd_per_million_out");
    int n = 0;
    (void)r;
    if (isfinite(in)) n = snprintf(cell, CELL, "%.4g in", in);
    if (isfinite(out)) snprintf(cell + n, (size_t)(CELL - n), "%s%.4g out", n ? ", " : "", out);
}

/* ---- the table ---- */

#define LEFT(heading, width, text)                                                                 \
    { {heading, width, false}, text, NULL, 0 }
#define RIGHT(heading, width, text)                                                                \
    { {heading, width, true}, text, NULL, 0 }
#define NUMBER(heading, width, path, decimals)                                                     \
    { {heading, width, true}, NULL, path, decimals }

static const column before[] = {
    LEFT("model", 26, model),
    RIGHT("size", 10, size),
    RIGHT("params", 8, params),
    LEFT("backend", 7, backend),
};
static const column threads = RIGHT("threads", 7, offload), layers = RIGHT("ngl", 3, offload);
static const column after[] = {
    RIGHT("test", 13, test),
    RIGHT("t/s", 16, speed),
    NUMBER("ms/token", 8, "ms_per_token", 2),
    NUMBER("TTFT p50 ms", 11, "ttft_ms.p50", 1),
    RIGHT("ITL p50/p99 ms", 14, itl),
    NUMBER("GB/s", 6, "gbps", 1),
    NUMBER("GFLOP/s", 7, "gflops", 1),
    RIGHT("% of roofline", 13, roofline),
    RIGHT("peak MiB", 8, peak),
    LEFT("check", 6, check),
};
/* Only where the first row has them: most machines have no counter of energy, most calls no price. */
static const column joules = NUMBER("J/token", 7, "energy.joules_per_token", 3);
static const column price = RIGHT("USD/Mtoken", 10, cost);

/* What a function for every column is told. */
typedef bool (*column_visit)(report *r, const json_t *row, const column *c, const field *f);

/* Visits every column; those of chosen fields with their field. False as soon as a visit fails. */
static bool each(report *r, const json_t *row, column_visit visit) {
    bool good = true;
    fputs("|", r->out);
    for (size_t i = 0; good && i < sizeof before / sizeof *before; i++)
        good = visit(r, row, &before[i], NULL);
    if (good) good = visit(r, row, on_cpu(r) ? &threads : &layers, NULL);
    for (size_t i = 0; good && i < r->extra_count; i++) {
        const field *f = r->extra[i];
        const bool text = f->type == FIELD_TEXT || f->type == FIELD_LIST || f->type == FIELD_JSON;
        good = visit(r, row,
                     &(column){.frame = {f->brief ? f->brief : f->name, text ? 9 : 6, !text}}, f);
    }
    for (size_t i = 0; good && i < sizeof after / sizeof *after; i++)
        good = visit(r, row, &after[i], NULL);
    if (good && row_get(r->first, "energy.joules_per_token")) good = visit(r, row, &joules, NULL);
    if (good && row_get(r->first, "cost")) good = visit(r, row, &price, NULL);
    fputs("\n", r->out);
    return good;
}

static bool heading(report *r, const json_t *row, const column *c, const field *f) {
    (void)row, (void)f;
    table_cell(r->out, &c->frame, c->frame.heading);
    return true;
}

static bool rule(report *r, const json_t *row, const column *c, const field *f) {
    (void)row, (void)f;
    table_rule(r->out, &c->frame);
    return true;
}

/* Cuts what snprintf left of a character at a cell's end. */
static void cut_whole(char *cell) {
    size_t n = strlen(cell);
    if (n < CELL - 1) return;
    while (n && ((unsigned char)cell[n - 1] & 0xc0) == 0x80)
        n--;
    cell[n ? n - 1 : 0] = 0;
}

static bool value(report *r, const json_t *row, const column *c, const field *f) {
    char cell[CELL] = "-";
    if (f) {
        char *text = field_text(f, row);
        if (!text) return false;
        if (*text) snprintf(cell, sizeof cell, "%s", text);
        free(text);
    } else if (c->text) {
        c->text(r, row, cell);
    } else {
        const double number = row_number(row, c->path);
        if (isfinite(number)) snprintf(cell, sizeof cell, "%.*f", c->decimals, number);
    }
    cut_whole(cell);
    table_cell(r->out, &c->frame, cell);
    return true;
}

/* Remembers the line of a row's build, if it is a new one. */
static void note_build(report *r, const json_t *row) {
    const char *commit = row_text(row, "build_commit"), *engine = row_text(row, "engine");
    const json_t *number = row_get(row, "build_number");
    char line[sizeof r->build[0]], count[24] = "?";
    if (!commit || r->builds == REPORT_BUILDS) return;
    if (json_is_integer(number))
        snprintf(count, sizeof count, "%" JSON_INTEGER_FORMAT, json_integer_value(number));
    const bool ours = !engine || strcmp(engine, "halyard") == 0;
    snprintf(line, sizeof line, "build: %.40s (%s)%s%.40s", commit, count, ours ? "" : " ",
             ours ? "" : engine);
    for (size_t i = 0; i < r->builds; i++)
        if (strcmp(r->build[i], line) == 0) return;
    memcpy(r->build[r->builds++], line, sizeof line);
}

void report_md_head(report *r) {
    each(r, NULL, heading);
    each(r, NULL, rule);
}

bool report_md_row(report *r, const json_t *row) {
    for (size_t i = 0; i < MARKS; i++)
        if (row_has(row, "flags", marks[i].flag)) r->marks |= 1u << i;
    note_build(r, row);
    return each(r, row, value);
}

void report_md_end(report *r) {
    for (size_t i = 0; i < MARKS; i++)
        if (r->marks >> i & 1)
            fprintf(r->out, "%s%s %s", r->marks & ((1u << i) - 1) ? "; " : "\n", marks[i].sign,
                    marks[i].meaning);
    if (r->marks) putc('\n', r->out);
    if (r->builds) putc('\n', r->out);
    for (size_t i = 0; i < r->builds; i++)
        fprintf(r->out, "%s\n", r->build[i]);
}

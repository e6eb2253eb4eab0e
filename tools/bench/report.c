/* tools/bench/report.c: the report's frame, and all formats but Markdown and HTML. */
#include "tools/bench/report.h"

#include <stdlib.h>
#include <string.h>

#include "tools/bench/html.h"
#include "tools/bench/report_inside.h"
#include "tools/bench/rows.h"

bool report_format_by_name(const char *name, report_format *out) {
    static const char *const names[] = {"md", "json", "jsonl", "csv", "sql", "html"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (report_format)i;
        return true;
    }
    return false;
}

report *report_new(FILE *out, report_format format, const char *const *columns) {
    report *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->out = out;
    r->format = format;
    r->kept = json_array();
    bool good = r->kept != NULL;
    for (; good && columns && *columns; columns++) {
        const field *f = field_find(*columns);
        good = f && r->extra_count < REPORT_EXTRA;
        if (good) r->extra[r->extra_count++] = f;
    }
    if (good) return r;
    report_free(r);
    return NULL;
}

void report_free(report *r) {
    if (!r) return;
    json_decref(r->kept);
    json_decref(r->first);
    free(r);
}

/* ---- cells ---- */

void report_quoted(FILE *out, const char *text, char quote) {
    putc(quote, out);
    for (; *text; text++) {
        if (*text == quote) putc(quote, out);
        putc(*text, out);
    }
    putc(quote, out);
}

/* Calls for each field that is a column; false when memory ran out. */
static bool each_column(report *r, const json_t *row,
                        bool (*print)(report *r, const json_t *row, const field *f)) {
    const char *between = "";
    for (size_t i = 0; i < bench_field_count; i++) {
        if (!bench_fields[i].name) continue;
        fputs(between, r->out);
        if (!print(r, row, &bench_fields[i])) return false;
        between = r->format == REPORT_SQL && !row ? ",\n  " : r->format == REPORT_SQL ? ", " : ",";
    }
    return true;
}

/* ---- CSV ---- */

static bool csv_name(report *r, const json_t *row, const field *f) {
    (void)row;
    return fputs(f->name, r->out) >= 0;
}

static bool csv_cell(report *r, const json_t *row, const field *f) {
    char *text = field_text(f, row);
    if (text) report_quoted(r->out, text, '"');
    free(text);
    return text != NULL;
}

/* ---- SQL ---- */

static bool sql_column(report *r, const json_t *row, const field *f) {
    static const char *const type[] = {
        [FIELD_TEXT] = "TEXT",    [FIELD_INTEGER] = "INTEGER", [FIELD_REAL] = "REAL",
        [FIELD_BOOL] = "INTEGER", [FIELD_LIST] = "TEXT",       [FIELD_JSON] = "TEXT",
    };
    (void)row;
    return fprintf(r->out, "%s %s", f->name, type[f->type]) > 0;
}

static bool sql_name(report *r, const json_t *row, const field *f) {
    (void)row;
    return fputs(f->name, r->out) >= 0;
}

static bool sql_cell(report *r, const json_t *row, const field *f) {
    const json_t *value = row_get(row, f->path);
    char *text = field_text(f, row);
    if (!value) {
        fputs("NULL", r->out);
    } else if (text && (json_is_number(value) || json_is_boolean(value))) {
        fputs(text, r->out);
    } else if (text) {
        report_quoted(r->out, text, '\'');
    }
    free(text);
    return text != NULL;
}

static bool sql_row(report *r, const json_t *row) {
    fputs("INSERT INTO llama_bench (", r->out);
    if (!each_column(r, row, sql_name)) return false;
    fputs(") VALUES (", r->out);
    const bool good = each_column(r, row, sql_cell);
    fputs(");\n", r->out);
    return good;
}

/* ---- JSON ---- */

/* One field a line, what it holds compact: samples would fill screens otherwise. */
static bool json_row(report *r, const json_t *row) {
    const char *between = "";
    const char *key;
    json_t *value;
    fputs("  {", r->out);
    json_object_foreach((json_t *)row, key, value) {
        json_t *name = json_string(key);
        fprintf(r->out, "%s\n    ", between);
        const bool good = name && json_dumpf(name, r->out, ROWS_JSON) == 0;
        json_decref(name);
        fputs(": ", r->out);
        if (!good || json_dumpf(value, r->out, ROWS_JSON) < 0) return false;
        between = ",";
    }
    fputs("\n  }", r->out);
    return true;
}

/* ---- rows ---- */

/* What comes before the first row. */
static bool begin(report *r) {
    bool good = true;
    switch (r->format) {
    case REPORT_MD:
        report_md_head(r);
        break;
    case REPORT_JSON:
        fputs("[\n", r->out);
        break;
    case REPORT_CSV:
        good = each_column(r, NULL, csv_name);
        fputs("\n", r->out);
        break;
    case REPORT_SQL:
        fputs("CREATE TABLE IF NOT EXISTS llama_bench (\n  ", r->out);
        good = each_column(r, NULL, sql_column);
        fputs("\n);\n\n", r->out);
        break;
    default:
        break;
    }
    return good;
}

static bool print(report *r, const json_t *row) {
    bool good = true;
    switch (r->format) {
    case REPORT_MD:
        return report_md_row(r, row);
    case REPORT_JSON:
        if (r->rows) fputs(",\n", r->out);
        return json_row(r, row);
    case REPORT_JSONL:
        good = json_dumpf(row, r->out, ROWS_JSON) == 0;
        break;
    case REPORT_CSV:
        good = each_column(r, row, csv_cell);
        break;
    case REPORT_SQL:
        return sql_row(r, row);
    case REPORT_HTML:
        return json_array_append(r->kept, (json_t *)row) == 0;
    }
    fputs("\n", r->out);
    return good;
}

/* A copy of a row whose speed must not be known: its output was wrong, or something broke. */
static json_t *without_speed(const json_t *row) {
    json_t *copy = json_deep_copy(row);
    for (size_t i = 0; copy && i < bench_field_count; i++) {
        const field *f = &bench_fields[i];
        if (!f->speed || !row_get(copy, f->path) || row_set(copy, f->path, json_null())) continue;
        json_decref(copy);
        copy = NULL;
    }
    return copy;
}

int report_row(report *r, const json_t *row) {
    json_t *shown = row_may_show_speed(row) ? json_incref((json_t *)row) : without_speed(row);
    bool good = shown != NULL;
    if (good && r->format == REPORT_MD && !r->first) r->first = json_incref(shown);
    if (good && r->rows == 0) good = begin(r);
    if (good) good = print(r, shown);
    json_decref(shown);
    r->rows++;
    return fflush(r->out) != 0 || ferror(r->out) || !good;
}

int report_end(report *r) {
    bool good = r->rows > 0 || begin(r);
    if (r->format == REPORT_JSON) fputs(r->rows ? "\n]\n" : "]\n", r->out);
    if (r->format == REPORT_MD) report_md_end(r);
    if (r->format == REPORT_HTML && bench_html(r->out, r->kept) != 0) good = false;
    return fflush(r->out) != 0 || ferror(r->out) || !good;
}

/* The row to compare with: the first one, of the same engine where engines count layers and batches each in its
 * own way. */
static const json_t *pivot(const json_t *rows, const json_t *row, const field *f) {
    const char *engine = row_text(row, "engine");
    size_t i;
    json_t *other;
    if (!engine || strcmp(f->path, "engine") == 0) return json_array_get(rows, 0);
    json_array_foreach((json_t *)rows, i, other) {
        const char *its = row_text(other, "engine");
        if (its && strcmp(its, engine) == 0) return other;
    }
    return row;
}

static bool varies(const json_t *rows, const field *f) {
    size_t i;
    json_t *row;
    json_array_foreach((json_t *)rows, i, row) {
        const json_t *value = row_get(row, f->path), *first = row_get(pivot(rows, row, f), f->path);
        if (value != first && !json_equal(value, first)) return true;
    }
    return false;
}

void report_varying(const json_t *rows, const char *const *names, const char **columns,
                    size_t capacity) {
    size_t n = 0;
    for (; *names && n + 1 < capacity; names++) {
        const field *f = field_find(*names);
        if (f && varies(rows, f)) columns[n++] = *names;
    }
    columns[n] = NULL;
}

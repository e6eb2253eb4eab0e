/* tools/bench/report.h: rows (docs/bench-schema.json) as text, one format each. */
#ifndef HY_TOOLS_BENCH_REPORT_H
#define HY_TOOLS_BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef enum report_format {
    REPORT_MD,    /* llama-bench's table with our columns behind it */
    REPORT_JSON,  /* an array, one field a line */
    REPORT_JSONL, /* a row a line */
    REPORT_CSV,   /* the columns of tools/bench/fields.h */
    REPORT_SQL,   /* the same as a table llama_bench */
    REPORT_HTML   /* tools/bench/html.h */
} report_format;

/* Their names, as -o takes them. */
#define REPORT_FORMATS "md, json, jsonl, csv, sql, html"

/* "md" -> REPORT_MD; false for an unknown name. */
bool report_format_by_name(const char *name, report_format *out);

/* A report under way. Thread-safety: one thread at a time. */
typedef struct report report;

/* Begins a report on `out`, which outlives it. `columns`: names of fields (tools/bench/fields.h) that Markdown
 * shows beside its own, ended by NULL; or NULL. What it points at outlives the report. NULL when memory ran out or
 * a name is no field's. */
report *report_new(FILE *out, report_format format, const char *const *columns);

/* Adds a row: printed and flushed at once in every format but HTML. Of a row whose status is not "ok" or
 * "imported" no speed is printed in any format. Returns 0, or 1 when it could not be written. */
int report_row(report *r, const json_t *row);

/* Prints what ends the report; without rows it is still a whole document. Returns 0 or 1, as report_row. */
int report_end(report *r);

/* Frees it; NULL is fine. */
void report_free(report *r);

/* Those of `names` (ended by NULL) whose fields differ among `rows` of one engine, for report_new: fills columns
 * [capacity] and ends it by NULL. */
void report_varying(const json_t *rows, const char *const *names, const char **columns,
                    size_t capacity);

#endif

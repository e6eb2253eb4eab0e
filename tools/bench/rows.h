/* tools/bench/rows.h: rows of results as they stand in files, and typed access to what a row holds. */
#ifndef HY_TOOLS_BENCH_ROWS_H
#define HY_TOOLS_BENCH_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The schema of our rows; grows only, so that a reader of "halyard-bench/1" reads all of them. */
#define ROWS_SCHEMA "halyard-bench/1"

enum {
    ROWS_DIGITS = 10, /* significant digits of every number printed */
    ROWS_PART = 64,   /* bytes of one part of a path, its 0 included */
    ROWS_JSON = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(ROWS_DIGITS)
};

/* What was wrong, in one line without the program's name. */
typedef struct rows_error {
    char text[512];
} rows_error;

/* Writes the line. Returns NULL, so that a function can fail with it. */
void *rows_fail(rows_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The rows of a text: a JSON array of objects, objects one after another (JSON lines), several of either, or CSV
 * with llama-bench's or our column names. Returns a new array of objects as they stand there, unchecked; NULL with
 * name, line and column in `error`. */
json_t *rows_parse(const char *name, const char *text, size_t length, rows_error *error);

/* The same of a whole file; "-" is standard input. At most 256 MiB. */
json_t *rows_read(const char *path, rows_error *error);

/* The CSV case of rows_parse. */
json_t *rows_parse_csv(const char *name, const char *text, size_t length, rows_error *error);

/* ---- access by path, as in "roofline.percent" ---- */

/* The value there, borrowed; NULL when a part of the path is absent, null or no object. */
json_t *row_get(const json_t *row, const char *path);

/* Copies the first part of a path to part [ROWS_PART] and returns what follows it; NULL when nothing does. */
const char *row_next_part(const char *path, char *part);

/* A number there; NaN when there is none. */
double row_number(const json_t *row, const char *path);

/* A whole number there; `otherwise` when there is none. */
json_int_t row_integer(const json_t *row, const char *path, json_int_t otherwise);

/* A text there, valid as long as the row; NULL when there is none. */
const char *row_text(const json_t *row, const char *path);

/* True when a speed may be said of the row: its status is ok or imported, or it has none. */
bool row_may_show_speed(const json_t *row);

/* True when the array of texts at `path` holds `text`. */
bool row_has(const json_t *row, const char *path, const char *text);

/* The numbers of the array there, allocated, and their count; NULL and 0 when there are none or when memory
 * ran out. */
double *row_samples(const json_t *row, const char *path, size_t *count);

/* Puts `value` there, making objects on the way, and takes it over in any case. False when it could not: out of
 * memory, `value` is NULL, or a part of the path is no object. */
bool row_set(json_t *row, const char *path, json_t *value);

#endif

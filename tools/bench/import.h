/* tools/bench/import.h: rows of other tools, and older ones of ours, as rows of today. */
#ifndef HY_TOOLS_BENCH_IMPORT_H
#define HY_TOOLS_BENCH_IMPORT_H

#include <jansson.h>

#include "tools/bench/rows.h"

/* A complete row of ours from `raw`, one of rows_parse: ours (it names its schema) with fields of later versions
 * added as null, or llama-bench's with the status "imported". Returns a new row; NULL with a reason in `error` when
 * `raw` is neither, or a field has a wrong type. */
json_t *import_row(const json_t *raw, rows_error *error);

/* import_row over the rows of a text; `name` and the number of the row lead the reason. */
json_t *import_text(const char *name, const char *text, size_t length, rows_error *error);

/* The same over a file ("-": standard input). NULL with a reason, also when it holds no row. */
json_t *import_file(const char *path, rows_error *error);

/* `halyard bench import FILE... [-o FORMAT]`: argv[0] is "import". Returns the exit code. */
int bench_import(int argc, char **argv);

#endif

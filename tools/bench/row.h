/* tools/bench/row.h: a result as JSON (docs/bench-schema.json): the one form in which results are printed, compared
 * and kept. */
#ifndef HY_TOOLS_BENCH_ROW_H
#define HY_TOOLS_BENCH_ROW_H

#include <jansson.h>

#include "tools/bench/run.h"

/* What all rows of a call have in common: the build, the machine, the call itself. Freed by json_decref; NULL without
 * memory. */
json_t *bench_record(const bench_options *o);

/* The row of a test that was run; its status follows from the run: ok, FAILED, error or skipped. */
json_t *bench_row(const bench_run *r, const json_t *record);
/* The row of a test that was not run; `status` is "error" or "skipped". */
json_t *bench_row_without(const bench_options *o, bench_model *m, const cli_engine *e,
                          const bench_test *test, const json_t *record, const char *status,
                          const char *reason);

/* Takes the repetitions of another run of the same test into a row: samples, flags, the limit. */
void bench_row_merge(json_t *row, const json_t *more);

#endif

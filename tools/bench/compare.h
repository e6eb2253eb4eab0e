/* tools/bench/compare.h: two sets of results, row against row. */
#ifndef HY_TOOLS_BENCH_COMPARE_H
#define HY_TOOLS_BENCH_COMPARE_H

#include <jansson.h>
#include <stdio.h>

/* What a result is said to be when nothing else is: differences up to this many percent do not matter. */
#define COMPARE_THRESHOLD 2.0

/* Matches the rows of `a` with those of `b` (complete rows, as import_row makes them) and judges each pair;
 * `threshold` in percent. docs/bench.md ("Comparing") has the rules and the members of the result. A new object; NULL
 * when memory ran out. */
json_t *bench_compare_rows(const json_t *a, const json_t *b, double threshold);

/* Prints the result as a Markdown table and what has to be said beside it. */
void bench_compare_print(FILE *out, const json_t *result);

/* `halyard bench compare A.json B.json [options]`: argv[0] is "compare". Returns the exit code: 0 something was
 * compared, 1 nothing could be, 2 wrong usage, 3 slower than --fail-if-slower allows. */
int bench_compare(int argc, char **argv);

#endif

/* tools/bench/html.h: `halyard bench -o html`: one file with charts that needs nothing else.
 */
#ifndef HY_TOOLS_BENCH_HTML_H
#define HY_TOOLS_BENCH_HTML_H

#include <jansson.h>
#include <stdio.h>

/* Writes a whole HTML document that shows `rows`, an array of rows of the schema halyard-bench/1, and
 * holds them as JSON in its element <script type="application/json" id="rows">. Returns 0, or -1
 * when `rows` is no array or `out` cannot be written. */
int bench_html(FILE *out, const json_t *rows);

#endif

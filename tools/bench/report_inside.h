/* tools/bench/report_inside.h: what the files of the report share. */
#ifndef HY_TOOLS_BENCH_REPORT_INSIDE_H
#define HY_TOOLS_BENCH_REPORT_INSIDE_H

#include "tools/bench/fields.h"
#include "tools/bench/report.h"

/* Most builds named below a table, and most columns a caller may choose. */
enum { REPORT_BUILDS = 8, REPORT_EXTRA = 24 };

struct report {
    FILE *out;
    report_format format;
    const field *extra[REPORT_EXTRA]; /* [extra_count] chosen columns of Markdown */
    size_t extra_count;
    size_t rows;                    /* printed so far */
    json_t *kept;                   /* HTML: all of them */
    json_t *first;                  /* Markdown: the row that decided the columns */
    unsigned marks;                 /* Markdown: bits of the marks that the legend must explain */
    char build[REPORT_BUILDS][128]; /* [builds] Markdown: the lines about builds, each once */
    size_t builds;
};

/* Text between the two quotes `quote`, each of which inside is doubled (CSV and SQL alike). */
void report_quoted(FILE *out, const char *text, char quote);

/* Markdown: the two lines above the rows, a row (false: out of memory), the lines below. */
void report_md_head(report *r);
bool report_md_row(report *r, const json_t *row);
void report_md_end(report *r);

#endif

/* tools/bench/table.h: cells of Markdown tables that are aligned in a terminal as well. */
#ifndef HY_TOOLS_BENCH_TABLE_H
#define HY_TOOLS_BENCH_TABLE_H

#include <stdbool.h>
#include <stdio.h>

typedef struct table_column {
    const char *heading;
    int width;  /* at least, in characters */
    bool right; /* aligned */
} table_column;

/* " text |", padded; what would end the cell or the line is escaped or made a blank. */
void table_cell(FILE *out, const table_column *column, const char *text);

/* " ---: |", as wide as the column's cells. */
void table_rule(FILE *out, const table_column *column);

#endif

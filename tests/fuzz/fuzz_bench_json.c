/* Any bytes as a file of benchmark results: imported, printed in every format, and compared with itself. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/compare.h"
#include "tools/bench/import.h"
#include "tools/bench/report.h"
#include "tools/bench/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_all(FILE *out, const json_t *rows) {
    static const char *const names[] = {"engine", "n_batch", "kernels", "machine", NULL};
    const char *columns[8];
    report_varying(rows, names, columns, 8);
    for (int format = REPORT_MD; format <= REPORT_SQL; format++) {
        report *r = report_new(out, (report_format)format, columns);
        for (size_t i = 0; r && i < json_array_size(rows); i++)
            (void)report_row(r, json_array_get(rows, i));
        if (r) (void)report_end(r);
        report_free(r);
    }
}

/* The imported rows, up to the first that is refused. */
static json_t *import_all(const json_t *raw) {
    json_t *rows = json_array();
    for (size_t i = 0; rows && i < json_array_size(raw); i++) {
        rows_error error = {""};
        json_t *row = import_row(json_array_get(raw, i), &error);
        if (!row && !error.text[0]) abort();
        if (!row) break;
        const char *schema = row_text(row, "schema"); /* what everything behind relies on */
        if (!schema || strcmp(schema, ROWS_SCHEMA) != 0) abort();
        if (!json_object_get(row, "roofline") || !json_object_get(row, "argv")) abort();
        json_array_append_new(rows, row);
    }
    return rows;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static FILE *out;
    rows_error error = {""};
    if (!out) out = fopen("/dev/null", "w");
    json_t *raw = rows_parse("fuzz", (const char *)data, size, &error);
    if (!raw && !error.text[0]) abort();
    if (!raw) return 0;
    /* From here on jansson's allocations may fail as well; its parser asserts that they do not. */
    json_malloc_t usual_malloc;
    json_free_t usual_free;
    json_get_alloc_funcs(&usual_malloc, &usual_free);
    json_set_alloc_funcs(malloc, free);
    json_t *rows = import_all(raw);
    if (out) print_all(out, rows);
    json_t *result = json_array_size(rows) < 64 ? bench_compare_rows(rows, rows, 2) : NULL;
    if (out && result) bench_compare_print(out, result);
    json_decref(result);
    json_decref(rows);
    json_set_alloc_funcs(usual_malloc, usual_free);
    json_decref(raw);
    return 0;
}

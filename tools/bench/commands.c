/* tools/bench/commands.c: `halyard bench compare` and `halyard bench import`. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tools/bench/compare.h"
#include "tools/bench/import.h"
#include "tools/bench/report.h"
#include "tools/bench/rows.h"
#include "tools/cli.h"

enum { MOST_FILES = 64, MOST_ROWS = 2000, MOST_COLUMNS = 16 };

/* The rows of a file, not too many to match each with each; NULL after an error line. */
static json_t *load(const char *command, const char *path) {
    rows_error error;
    json_t *rows = import_file(path, &error);
    if (rows && json_array_size(rows) > MOST_ROWS) {
        rows_fail(&error, "%s: more than %d rows", path, MOST_ROWS);
        json_decref(rows);
        rows = NULL;
    }
    if (!rows) cli_fail(command, 1, "%s", error.text);
    return rows;
}

/* ---- compare ---- */

/* True when a row is slower by more than `percent` with its whole interval. */
static bool any_slower(const json_t *result, double percent) {
    size_t i;
    json_t *row;
    json_array_foreach(row_get(result, "rows"), i, row) {
        const char *verdict = row_text(row, "verdict");
        if (verdict && strcmp(verdict, "slower") == 0 &&
            row_number(row, "high") < 1 - percent / 100)
            return true;
    }
    return false;
}

/* Prints the result and says what the exit code is. fail_percent: NaN without --fail-if-slower. */
static int conclude(const char *command, const json_t *result, bool json, double fail_percent) {
    if (json) {
        json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(ROWS_DIGITS));
        putchar('\n');
    } else {
        bench_compare_print(stdout, result);
    }
    const int code = cli_flush(command);
    if (code) return code;
    const size_t rows = json_array_size(row_get(result, "rows"));
    if (rows == 0) return cli_fail(command, 1, "no row of one file matches one of the other");
    if ((json_int_t)rows == row_integer(result, "refused", 0))
        return cli_fail(command, 1, "no verdict: every pair of rows was refused");
    if (!isnan(fail_percent) && any_slower(result, fail_percent))
        return cli_fail(command, 3, "slower by more than %.4g %%", fail_percent);
    return 0;
}

static int compare_files(const char *command, const char *const *path, bool json, double threshold,
                         double fail_percent) {
    json_t *a = load(command, path[0]), *b = a ? load(command, path[1]) : NULL, *result = NULL;
    int code = 1;
    if (a && b) {
        result = bench_compare_rows(a, b, threshold);
        code = result ? conclude(command, result, json, fail_percent)
                      : cli_fail(command, 1, "out of memory");
    }
    json_decref(a);
    json_decref(b);
    json_decref(result);
    return code;
}

int bench_compare(int argc, char **argv) {
    static char command[] = "bench compare";
    const char *format = "md", *path[2] = {NULL, NULL};
    float threshold = (float)COMPARE_THRESHOLD, fail_percent = FLT_MAX; /* not given */
    size_t count = 0;
    const cli_option options[] = {
        {"-o, --output", CLI_TEXT, &format, "FORMAT", "md or json (default md)"},
        {"--threshold", CLI_F32, &threshold, "PERCENT",
         "differences that do not matter (default 2)"},
        {"--fail-if-slower", CLI_F32, &fail_percent, "PERCENT",
         "exit code 3 when B is slower by more than that, with its whole interval"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    argv[0] = command;
    const int code =
        cli_parse(argc, argv, "bench compare A B   (files of halyard bench or llama-bench)",
                  options, NULL, path, 2, &count);
    if (code >= 0) return code;
    const bool json = strcmp(format, "json") == 0;
    if (count != 2) return cli_fail(command, 2, "two files, A and B, are to be given");
    if (!json && strcmp(format, "md") != 0)
        return cli_fail(command, 2, "-o %s: one of md, json", format);
    if (!(threshold >= 0 && threshold < 100))
        return cli_fail(command, 2, "--threshold %g is not between 0 and 100", (double)threshold);
    if (fail_percent != FLT_MAX && !(fail_percent >= 0 && fail_percent < 100))
        return cli_fail(command, 2, "--fail-if-slower %g is not between 0 and 100",
                        (double)fail_percent);
    if (strcmp(path[0], "-") == 0 && strcmp(path[1], "-") == 0)
        return cli_fail(command, 2, "only one of the files can be standard input");
    return compare_files(command, path, json, (double)threshold,
                         fail_percent != FLT_MAX ? (double)fail_percent : NAN);
}

/* ---- import ---- */

static int print_rows(const char *command, const json_t *rows, report_format format) {
    static const char *const may_vary[] = {
        "engine", "device_info_name", "n_batch",   "n_ubatch",   "n_threads",  "type_k",
        "type_v", "n_gpu_layers",     "n_cpu_moe", "split_mode", "flash_attn", "options_numerics",
        NULL};
    const char *columns[MOST_COLUMNS];
    size_t i;
    json_t *row;
    report_varying(rows, may_vary, columns, MOST_COLUMNS);
    report *r = report_new(stdout, format, columns);
    if (!r) return cli_fail(command, 1, "out of memory");
    int failed = 0;
    json_array_foreach((json_t *)rows, i, row) {
        failed |= report_row(r, row);
    }
    failed |= report_end(r);
    report_free(r);
    const int code = cli_flush(command);
    return code || !failed ? code : cli_fail(command, 1, "cannot write the rows");
}

int bench_import(int argc, char **argv) {
    static char command[] = "bench import";
    const char *name = "md", *path[MOST_FILES];
    size_t count = 0;
    report_format format;
    const cli_option options[] = {
        {"-o, --output", CLI_TEXT, &name, "FORMAT", "one of " REPORT_FORMATS " (default md)"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    argv[0] = command;
    int code = cli_parse(
        argc, argv, "bench import FILE...   (JSON, JSONL or CSV of llama-bench or halyard bench)",
        options, NULL, path, MOST_FILES, &count);
    if (code >= 0) return code;
    if (count == 0) return cli_fail(command, 2, "no file is given");
    if (!report_format_by_name(name, &format))
        return cli_fail(command, 2, "-o %s: one of %s", name, REPORT_FORMATS);
    json_t *all = json_array();
    code = 0;
    for (size_t i = 0; i < count && !code; i++) {
        json_t *rows = load(command, path[i]);
        code = !rows || json_array_extend(all, rows) < 0;
        json_decref(rows);
    }
    if (!code) code = print_rows(command, all, format);
    json_decref(all);
    return code;
}

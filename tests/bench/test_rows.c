/* Rows: access by path, the table of fields against the schema, and reports as a caller of the library makes them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/fields.h"
#include "tools/bench/import.h"
#include "tools/bench/report.h"
#include "tools/bench/rows.h"

static json_t *parse(const char *text) {
    json_error_t e;
    json_t *value = json_loads(text, 0, &e);
    if (!value) fail_msg("%s: %s", text, e.text);
    return value;
}

static void test_access(void **state) {
    (void)state;
    json_t *row =
        parse("{\"a\": {\"b\": {\"c\": 1.5}, \"n\": null, \"list\": [\"x\", \"y\"]}, \"i\": 7, "
              "\"t\": \"text\", \"s\": [1, 2.5, 4]}");
    assert_true(row_number(row, "a.b.c") == 1.5);
    assert_true(row_number(row, "i") == 7 && row_integer(row, "i", 0) == 7);
    assert_true(isnan(row_number(row, "t")) && isnan(row_number(row, "a.b")));
    assert_int_equal(row_integer(row, "a.b.c", -3), -3);
    assert_null(row_get(row, "a.n"));
    assert_null(row_get(row, "a.n.deeper"));
    assert_null(row_get(row, "i.deeper"));
    assert_null(row_get(row, "a.b.c.d"));
    assert_null(row_get(row, "missing.b"));
    assert_string_equal(row_text(row, "t"), "text");
    assert_null(row_text(row, "i"));
    assert_true(row_has(row, "a.list", "y") && !row_has(row, "a.list", "z") &&
                !row_has(row, "t", "text"));
    size_t count;
    double *samples = row_samples(row, "s", &count);
    assert_int_equal(count, 3);
    assert_true(samples[1] == 2.5 && samples[2] == 4);
    free(samples);
    assert_null(row_samples(row, "t", &count));
    assert_int_equal(count, 0);
    assert_true(row_set(row, "a.n.new", json_integer(1)) && row_integer(row, "a.n.new", 0) == 1);
    assert_true(row_set(row, "x.y.z", json_integer(2)) && row_integer(row, "x.y.z", 0) == 2);
    assert_false(row_set(row, "i.z", json_integer(2)));
    assert_false(row_set(row, "x.y.z", NULL));
    assert_int_equal(row_integer(row, "i", 0), 7);
    json_decref(row);
}

/* ---- the table of fields and docs/bench-schema.json say the same ---- */

static json_t *schema;

static int load_schema(void **state) {
    char path[4096];
    json_error_t e;
    (void)state;
    snprintf(path, sizeof path, "%s/docs/bench-schema.json", getenv("HALYARD_SOURCE"));
    schema = json_load_file(path, 0, &e);
    if (!schema) fprintf(stderr, "%s: line %d: %s\n", path, e.line, e.text);
    return schema == NULL;
}

static int drop_schema(void **state) {
    (void)state;
    json_decref(schema);
    return 0;
}

/* The schema of the member at `path` of a row. */
static const json_t *member(const char *path) {
    const json_t *at = row_get(schema, "items");
    char part[ROWS_PART];
    while (at && path) {
        path = row_next_part(path, part);
        if (json_object_get(at, "$ref")) at = row_get(schema, "$defs.percentiles");
        at = json_object_get(json_object_get(at, "properties"), part);
    }
    return at;
}

static bool allows(const json_t *of, const char *type) {
    const json_t *types = json_object_get(of, "type");
    size_t i;
    json_t *element;
    if (json_is_string(types)) return strcmp(json_string_value(types), type) == 0;
    json_array_foreach((json_t *)types, i, element) {
        if (strcmp(json_string_value(element), type) == 0) return true;
    }
    return false;
}

static void test_schema_has_fields(void **state) {
    static const char *const type[] = {
        [FIELD_TEXT] = "string",  [FIELD_INTEGER] = "integer", [FIELD_REAL] = "number",
        [FIELD_BOOL] = "boolean", [FIELD_LIST] = "array",      [FIELD_SAMPLES] = "array",
    };
    (void)state;
    for (size_t i = 0; i < bench_field_count; i++) {
        const field *f = &bench_fields[i];
        const json_t *of = member(f->path);
        if (!of) fail_msg("docs/bench-schema.json has no %s", f->path);
        if (f->type != FIELD_JSON && !allows(of, type[f->type]) && !json_object_get(of, "enum") &&
            !json_object_get(of, "const"))
            fail_msg("docs/bench-schema.json: %s is no %s", f->path, type[f->type]);
        const char *words = json_string_value(json_object_get(of, "description"));
        if (!words || !*words) fail_msg("docs/bench-schema.json does not describe %s", f->path);
        for (size_t k = 0; f->name && k < i; k++)
            if (bench_fields[k].name && strcmp(bench_fields[k].name, f->name) == 0)
                fail_msg("two columns are named %s", f->name);
    }
}

static bool in_table(const char *path) {
    for (size_t i = 0; i < bench_field_count; i++)
        if (strcmp(bench_fields[i].path, path) == 0) return true;
    return false;
}

/* Walks the members under `at`; what is an object with members of its own is walked, all else is a field. */
static void look_up(const json_t *at, const char *prefix) {
    const char *key;
    json_t *of;
    json_object_foreach(json_object_get(at, "properties"), key, of) {
        char path[256];
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key);
        const json_t *inner =
            json_object_get(of, "$ref") ? row_get(schema, "$defs.percentiles") : of;
        if (json_object_get(inner, "properties")) {
            look_up(inner, path);
        } else if (!in_table(path)) {
            fail_msg("no field %s in tools/bench/fields.c", path);
        }
    }
}

static void test_fields_have_schema(void **state) {
    (void)state;
    look_up(row_get(schema, "items"), "");
}

/* ---- reports ---- */

typedef struct written {
    char *text;
    size_t length;
    FILE *file;
} written;

static void print_all(written *w, report_format format, const char *const *columns, json_t *rows) {
    memset(w, 0, sizeof *w);
    w->file = open_memstream(&w->text, &w->length);
    report *r = report_new(w->file, format, columns);
    assert_non_null(r);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        assert_int_equal(report_row(r, row), 0);
    }
    assert_int_equal(report_end(r), 0);
    report_free(r);
    fclose(w->file);
}

static void test_no_rows(void **state) {
    json_t *none = json_array();
    written w;
    (void)state;
    print_all(&w, REPORT_JSON, NULL, none);
    json_t *back = parse(w.text);
    assert_true(json_is_array(back) && json_array_size(back) == 0);
    json_decref(back);
    free(w.text);
    print_all(&w, REPORT_JSONL, NULL, none);
    assert_string_equal(w.text, "");
    free(w.text);
    print_all(&w, REPORT_MD, NULL, none);
    assert_true(strncmp(w.text, "| model ", 8) == 0 && strstr(w.text, "\n| ---"));
    assert_null(strstr(w.text, "build:"));
    free(w.text);
    print_all(&w, REPORT_CSV, NULL, none);
    assert_true(strncmp(w.text, "build_commit,build_number,", 26) == 0);
    assert_ptr_equal(strchr(w.text, '\n'), w.text + w.length - 1);
    free(w.text);
    print_all(&w, REPORT_SQL, NULL, none);
    assert_non_null(strstr(w.text, "CREATE TABLE IF NOT EXISTS llama_bench"));
    assert_null(strstr(w.text, "INSERT"));
    free(w.text);
    print_all(&w, REPORT_HTML, NULL, none);
    assert_true(w.length > 0);
    free(w.text);
    json_decref(none);
}

/* Each row is there before the next one comes: an interrupted run keeps what is done. */
static void test_streams(void **state) {
    static const report_format formats[] = {REPORT_MD, REPORT_JSON, REPORT_JSONL, REPORT_CSV,
                                            REPORT_SQL};
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        written w = {0};
        w.file = open_memstream(&w.text, &w.length);
        report *r = report_new(w.file, formats[i], NULL);
        json_t *row = parse("{\"status\": \"ok\", \"model_type\": \"first one\"}");
        assert_int_equal(report_row(r, row), 0);
        assert_non_null(strstr(w.text, "first one"));
        json_object_set_new(row, "model_type", json_string("second one"));
        assert_int_equal(report_row(r, row), 0);
        assert_non_null(strstr(w.text, "second one"));
        json_decref(row);
        report_free(r);
        fclose(w.file);
        free(w.text);
    }
}

static void test_wrong_use(void **state) {
    report_format format;
    (void)state;
    assert_null(report_new(stdout, REPORT_MD, (const char *const[]){"n_batch", "no_such", NULL}));
    assert_true(report_format_by_name("html", &format) && format == REPORT_HTML);
    assert_true(report_format_by_name("sql", &format) && format == REPORT_SQL);
    assert_false(report_format_by_name("MD", &format));
    assert_false(report_format_by_name("", &format));
    FILE *full = fopen("/dev/full", "w");
    if (!full) {
        print_message("no /dev/full: failing writes are not tested\n");
        return;
    }
    json_t *row = parse("{\"status\": \"ok\"}");
    for (int i = REPORT_MD; i <= REPORT_SQL; i++) {
        report *r = report_new(full, (report_format)i, NULL);
        assert_int_equal(report_row(r, row), 1);
        report_free(r);
        clearerr(full);
    }
    json_decref(row);
    fclose(full);
}

/* Columns on request stand before the test, under llama-bench's short names. */
static void test_columns(void **state) {
    json_t *rows =
        parse("[{\"status\": \"ok\", \"n_batch\": 64, \"flash_attn\": true, \"type_k\": null}]");
    written w;
    (void)state;
    print_all(&w, REPORT_MD, (const char *const[]){"n_batch", "flash_attn", "type_k", NULL}, rows);
    const char *batch = strstr(w.text, "| n_batch |"), *fa = strstr(w.text, "|     fa |"),
               *k = strstr(w.text, "| type_k    |"), *test = strstr(w.text, " test |");
    assert_true(batch && fa && k && test && batch < fa && fa < k && k < test);
    assert_non_null(strstr(w.text, "|      64 |      1 | -         |"));
    free(w.text);
    json_decref(rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access),
        cmocka_unit_test_setup_teardown(test_schema_has_fields, load_schema, drop_schema),
        cmocka_unit_test_setup_teardown(test_fields_have_schema, load_schema, drop_schema),
        cmocka_unit_test(test_no_rows),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_wrong_use),
        cmocka_unit_test(test_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

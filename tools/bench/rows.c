/* tools/bench/rows.c: files of rows, and access by path. */
#include "tools/bench/rows.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_FILE = 256 << 20 };

void *rows_fail(rows_error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return NULL;
}

/* ---- files ---- */

static const char *skip_space(const char *at, const char *end, int *line) {
    for (; at < end && isspace((unsigned char)*at); at++)
        *line += *at == '\n';
    return at;
}

/* Adds an object, or the objects of an array, read from `line` on. */
static bool add_rows(const char *name, int line, json_t *rows, json_t *value, rows_error *error) {
    size_t i;
    json_t *element;
    if (json_is_object(value)) {
        if (json_array_append(rows, value) == 0) return true;
        return rows_fail(error, "%s: out of memory", name);
    }
    json_array_foreach(value, i, element) {
        if (!json_is_object(element))
            return rows_fail(error, "%s: element %zu of the array at line %d is no object", name,
                             i + 1, line);
        if (json_array_append(rows, element) < 0)
            return rows_fail(error, "%s: out of memory", name);
    }
    return true;
}

static bool parse_values(const char *name, const char *text, size_t length, json_t *rows,
                         rows_error *error) {
    const char *const end = text + length;
    int line = 1;
    for (const char *at = skip_space(text, end, &line); at < end;) {
        json_error_t e;
        json_t *value =
            json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, &e);
        if (!value) /* only the first line of several values begins in the middle of one */
            return rows_fail(error, "%s: line %d column %d: %s", name, line + e.line - 1, e.column,
                             e.text);
        const bool added = add_rows(name, line, rows, value, error);
        json_decref(value);
        if (!added) return false;
        const char *const next = at + e.position;
        for (; at < next; at++)
            line += *at == '\n';
        at = skip_space(at, end, &line);
    }
    return true;
}

json_t *rows_parse(const char *name, const char *text, size_t length, rows_error *error) {
    int line = 1;
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        text += 3;
        length -= 3;
    }
    const char *first = skip_space(text, text + length, &line);
    if (first == text + length) return rows_fail(error, "%s: empty: no rows", name);
    if (*first != '[' && *first != '{') return rows_parse_csv(name, text, length, error);
    json_t *rows = json_array();
    if (!rows) return rows_fail(error, "%s: out of memory", name);
    if (parse_values(name, text, length, rows, error)) return rows;
    json_decref(rows);
    return NULL;
}

/* The whole stream, allocated; NULL with an error. */
static char *slurp(const char *path, FILE *file, size_t *length, rows_error *error) {
    size_t capacity = 1 << 16, n = 0;
    char *text = malloc(capacity);
    while (text) {
        n += fread(text + n, 1, capacity - n, file);
        if (n < capacity) break;
        char *grown = capacity < LARGEST_FILE ? realloc(text, capacity *= 2) : NULL;
        if (!grown) free(text);
        text = grown;
    }
    if (!text)
        return rows_fail(error, "%s: more than %d MiB or than memory", path, LARGEST_FILE >> 20);
    if (ferror(file)) {
        free(text);
        return rows_fail(error, "%s: %s", path, strerror(errno ? errno : EIO));
    }
    *length = n;
    return text;
}

json_t *rows_read(const char *path, rows_error *error) {
    const bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file) return rows_fail(error, "%s: %s", path, strerror(errno));
    size_t length = 0;
    char *text = slurp(path, file, &length, error);
    if (!standard) fclose(file);
    if (!text) return NULL;
    json_t *rows = rows_parse(standard ? "standard input" : path, text, length, error);
    free(text);
    return rows;
}

/* ---- access ---- */

const char *row_next_part(const char *path, char *part) {
    const size_t n = strcspn(path, ".");
    part[0] = 0;
    if (n >= ROWS_PART) return NULL;
    memcpy(part, path, n);
    part[n] = 0;
    return path[n] ? path + n + 1 : NULL;
}

json_t *row_get(const json_t *row, const char *path) {
    char part[ROWS_PART];
    json_t *value = (json_t *)row;
    while (path && value) {
        path = row_next_part(path, part);
        value = json_object_get(value, part); /* NULL of what is no object */
    }
    return json_is_null(value) ? NULL : value;
}

double row_number(const json_t *row, const char *path) {
    const json_t *value = row_get(row, path);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

json_int_t row_integer(const json_t *row, const char *path, json_int_t otherwise) {
    const json_t *value = row_get(row, path);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

const char *row_text(const json_t *row, const char *path) {
    return json_string_value(row_get(row, path));
}

bool row_may_show_speed(const json_t *row) {
    const char *status = row_text(row, "status");
    return !status || strcmp(status, "ok") == 0 || strcmp(status, "imported") == 0;
}

bool row_has(const json_t *row, const char *path, const char *text) {
    size_t i;
    json_t *element;
    json_array_foreach(row_get(row, path), i, element) {
        const char *value = json_string_value(element);
        if (value && strcmp(value, text) == 0) return true;
    }
    return false;
}

double *row_samples(const json_t *row, const char *path, size_t *count) {
    const json_t *array = row_get(row, path);
    const size_t n = json_array_size(array);
    double *samples = n ? malloc(n * sizeof *samples) : NULL;
    *count = 0;
    for (size_t i = 0; samples && i < n; i++) {
        const json_t *element = json_array_get(array, i);
        if (json_is_number(element)) samples[(*count)++] = json_number_value(element);
    }
    return samples;
}

bool row_set(json_t *row, const char *path, json_t *value) {
    char part[ROWS_PART];
    for (path = row_next_part(path, part); path; path = row_next_part(path, part)) {
        json_t *inner = json_object_get(row, part);
        if (!inner || json_is_null(inner)) {
            inner = json_object();
            if (json_object_set_new(row, part, inner) < 0) inner = NULL;
        }
        row = inner;
    }
    return json_object_set_new(row, part, value) == 0; /* also drops `value` of a failure */
}

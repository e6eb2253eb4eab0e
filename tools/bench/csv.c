/* tools/bench/csv.c: rows from CSV (RFC 4180) with the column names of tools/bench/fields.h. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/fields.h"
#include "tools/bench/rows.h"

enum { MOST_COLUMNS = 1024 };

typedef struct csv {
    const char *name;
    char *at, *end; /* a copy of the text, decoded where it stands; *end is 0 */
    int line;       /* of `at` */
    rows_error *error;
    const field *column[MOST_COLUMNS]; /* [columns] NULL: not one of ours */
    size_t columns;
} csv;

/* A quoted cell that begins at c->at; c->at becomes what follows its closing quote. */
static char *quoted_cell(csv *c) {
    char *const begin = c->at + 1, *out = begin;
    const int line = c->line;
    for (c->at++; c->at < c->end; c->at++) {
        if (*c->at == '"' && *++c->at != '"') {
            *out = 0; /* at the closing quote at the latest */
            return begin;
        }
        c->line += *c->at == '\n';
        *out++ = *c->at;
    }
    return rows_fail(c->error, "%s: line %d: a quote is never closed", c->name, line);
}

/* The next cell of a record; *ends: its last one. */
static char *next_cell(csv *c, bool *ends) {
    char *cell = c->at;
    if (*c->at == '"') {
        cell = quoted_cell(c);
    } else {
        c->at += strcspn(c->at, ",\r\n");
    }
    if (!cell) return NULL;
    char *const stop = c->at;
    if (*stop && !strchr(",\r\n", *stop))
        return rows_fail(c->error, "%s: line %d: text after a closing quote", c->name, c->line);
    *ends = *stop != ',';
    if (*c->at == '\r' && c->at[1] == '\n') c->at++;
    c->line += *c->at == '\n';
    if (c->at < c->end) c->at++;
    *stop = 0;
    return cell;
}

static bool read_header(csv *c) {
    for (bool ends = false; !ends;) {
        const char *cell = next_cell(c, &ends);
        if (!cell) return false;
        if (c->columns == MOST_COLUMNS)
            return rows_fail(c->error, "%s: more than %d columns", c->name, MOST_COLUMNS);
        c->column[c->columns++] = field_find(cell);
    }
    for (size_t i = 0; i < c->columns; i++)
        if (c->column[i] && strcmp(c->column[i]->name, "avg_ts") == 0) return true;
    return rows_fail(c->error, "%s: neither JSON nor CSV with a column avg_ts", c->name);
}

static json_t *split(char *cell) {
    json_t *list = json_array();
    char *rest = NULL;
    for (char *part = strtok_r(cell, ";", &rest); part; part = strtok_r(NULL, ";", &rest))
        json_array_append_new(list, json_string(part));
    return list;
}

/* The value of a cell that is not empty; NULL when it is not of the type, or memory ran out. */
static json_t *value_of(field_type type, char *cell) {
    char *end = cell;
    errno = 0;
    switch (type) {
    case FIELD_TEXT:
        return json_string(cell);
    case FIELD_LIST:
        return split(cell);
    case FIELD_BOOL:
        if (!strcmp(cell, "true") || !strcmp(cell, "1")) return json_true();
        if (!strcmp(cell, "false") || !strcmp(cell, "0")) return json_false();
        /* fall through */
    case FIELD_INTEGER: {
        const long long number = strtoll(cell, &end, 10);
        return *end || errno ? NULL : json_integer(number);
    }
    case FIELD_REAL: {
        const double number = strtod(cell, &end);
        return *end || !isfinite(number) ? NULL : json_real(number);
    }
    default:
        return json_loads(cell, JSON_REJECT_DUPLICATES, NULL);
    }
}

/* The next record as a row. */
static json_t *read_record(csv *c) {
    json_t *row = json_object();
    const int line = c->line;
    size_t i = 0;
    bool good = row != NULL;
    for (bool ends = false; good && !ends; i++) {
        char *cell = next_cell(c, &ends);
        const field *f = i < c->columns ? c->column[i] : NULL;
        good = cell != NULL;
        if (!cell || !f || (!*cell && f->type != FIELD_LIST)) continue; /* empty: not known */
        good = row_set(row, f->path, value_of(f->type, cell));
        if (!good)
            rows_fail(c->error, "%s: line %d: %s '%.100s' is not %s", c->name, line, f->name, cell,
                      field_type_name(f->type));
    }
    if (good && i == c->columns) return row;
    if (good)
        rows_fail(c->error, "%s: line %d has %zu columns, the header %zu", c->name, line, i,
                  c->columns);
    json_decref(row);
    return NULL;
}

static json_t *read_records(csv *c) {
    json_t *rows = read_header(c) ? json_array() : NULL;
    while (rows) {
        for (; *c->at == '\r' || *c->at == '\n'; c->at++)
            c->line += *c->at == '\n';
        if (c->at >= c->end) break;
        json_t *row = read_record(c);
        if (row && json_array_append_new(rows, row) == 0) continue;
        json_decref(rows);
        rows = NULL;
    }
    return rows;
}

json_t *rows_parse_csv(const char *name, const char *text, size_t length, rows_error *error) {
    rows_fail(error, "%s: out of memory", name); /* unless a better reason is found */
    if (memchr(text, 0, length)) return rows_fail(error, "%s: neither JSON nor CSV", name);
    csv *c = calloc(1, sizeof *c);
    char *copy = malloc(length + 1);
    json_t *rows = NULL;
    if (c && copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
        *c = (csv){.name = name, .at = copy, .end = copy + length, .line = 1, .error = error};
        rows = read_records(c);
    }
    free(copy);
    free(c);
    return rows;
}

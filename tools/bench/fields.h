/* tools/bench/fields.h: the one table of what a row of `halyard bench` holds (docs/bench-schema.json says what each
 * means). CSV, SQL, extra columns of the Markdown table, imports and their checks are made from it. */
#ifndef HY_TOOLS_BENCH_FIELDS_H
#define HY_TOOLS_BENCH_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum field_type {
    FIELD_TEXT,
    FIELD_INTEGER,
    FIELD_REAL,
    FIELD_BOOL,    /* or a whole number: versions of llama-bench differ in how they write some */
    FIELD_LIST,    /* array of texts; joined by ';' in a cell */
    FIELD_SAMPLES, /* array of numbers; JSON only */
    FIELD_JSON     /* object or array; compact JSON in a cell */
} field_type;

typedef struct field {
    const char *name;  /* column of CSV and SQL; NULL: in no column */
    const char *brief; /* its heading in Markdown, llama-bench's where it has one; NULL: name */
    const char *path;  /* where it stands in a row: "roofline.percent" */
    field_type type;
    bool speed; /* says how fast it was: never printed of a row whose status forbids it */
} field;

/* The table: llama-bench's 39 columns in its order come first. */
extern const field bench_fields[];
/* Its length. */
extern const size_t bench_field_count;

/* The field of this column name; NULL when there is none. */
const field *field_find(const char *name);

/* True when `value` (not null) may stand in a field of this type. */
bool field_accepts(field_type type, const json_t *value);

/* What a reader would call the type: "a text", "a whole number". */
const char *field_type_name(field_type type);

/* The text of a field's cell, "" when it is null, allocated; NULL when memory ran out. */
char *field_text(const field *f, const json_t *row);

#endif

/* tools/bench/import.c: makes a complete row of ours out of what another tool wrote.
 *
 * llama-bench's fields: https://github.com/ggml-org/llama.cpp/tree/master/tools/llama-bench (README). They stand
 * in our rows under their own names, so only what we say beyond them has to be made. */
#include "tools/bench/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/fields.h"
#include "tools/bench/stats.h"

/* ---- checks ---- */

/* Null at the first part of the path that is absent. */
static bool complete(json_t *row, const char *path, rows_error *error) {
    char part[ROWS_PART] = "";
    for (const char *at = path; at && !json_is_null(row);) {
        if (!json_is_object(row)) return rows_fail(error, "%s: %s is no object", path, part);
        at = row_next_part(at, part);
        json_t *value = json_object_get(row, part);
        if (!value) return json_object_set_new(row, part, json_null()) == 0;
        row = value;
    }
    return true;
}

/* Every field of the table is there, null or of its type. */
static bool settle(json_t *row, rows_error *error) {
    for (size_t i = 0; i < bench_field_count; i++) {
        const field *f = &bench_fields[i];
        if (!complete(row, f->path, error)) return false;
        const json_t *value = row_get(row, f->path);
        if (value && !field_accepts(f->type, value))
            return rows_fail(error, "%s is not %s", f->path, field_type_name(f->type));
    }
    return true;
}

/* ---- llama-bench ---- */

/* "pp512", "tg128", "pp512+tg128", behind a depth "tg128 @ d4096". */
static bool name_test(json_t *row, rows_error *error) {
    const json_int_t prompt = row_integer(row, "n_prompt", 0), gen = row_integer(row, "n_gen", 0),
                     depth = row_integer(row, "n_depth", 0);
    if (prompt < 0 || gen < 0 || depth < 0 || (prompt == 0 && gen == 0))
        return rows_fail(error, "n_prompt, n_gen and n_depth make no test");
    char name[128] = "", part[64];
    if (prompt) snprintf(name, sizeof name, "pp%" JSON_INTEGER_FORMAT, prompt);
    snprintf(part, sizeof part, "%stg%" JSON_INTEGER_FORMAT, prompt ? "+" : "", gen);
    if (gen) strcat(name, part);
    snprintf(part, sizeof part, " @ d%" JSON_INTEGER_FORMAT, depth);
    if (depth) strcat(name, part);
    const char *kind = prompt ? "pp" : "tg";
    if (prompt && gen) kind = "pg";
    return row_set(row, "test", json_string(name)) && row_set(row, "kind", json_string(kind));
}

/* Median of the samples at `path`, or `otherwise` without any. */
static double median_of(const json_t *row, const char *path, double otherwise, size_t *count) {
    double *samples = row_samples(row, path, count);
    if (samples) {
        stats_sort(samples, *count);
        otherwise = stats_percentile_sorted(samples, *count, 50);
    }
    free(samples);
    return otherwise;
}

/* What follows from llama-bench's times. */
static bool add_speeds(json_t *row) {
    const double mean = row_number(row, "avg_ts"), sd = row_number(row, "stddev_ts");
    const double tokens =
        (double)row_integer(row, "n_prompt", 0) + (double)row_integer(row, "n_gen", 0);
    size_t count, unused;
    const double median = median_of(row, "samples_ts", NAN, &count);
    const double ns = median_of(row, "samples_ns", row_number(row, "avg_ns"), &unused);
    bool good = true;
    if (count) good = row_set(row, "repetitions", json_integer((json_int_t)count));
    if (good && isfinite(median)) good = row_set(row, "median_ts", json_real(median));
    if (good && isfinite(sd / mean)) good = row_set(row, "cv", json_real(sd / mean));
    if (good && isfinite(ns)) good = row_set(row, "ms_per_token", json_real(ns * 1e-6 / tokens));
    return good;
}

/* The name of the file without folders and ".gguf". */
static json_t *model_name(const json_t *row) {
    const char *path = row_text(row, "model_filename");
    if (!path) return json_null();
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t n = strlen(name);
    return json_stringn(name, n > 5 && strcmp(name + n - 5, ".gguf") == 0 ? n - 5 : n);
}

/* A new reference to what stands at `path`, or null. */
static json_t *same_as(const json_t *row, const char *path) {
    json_t *value = row_get(row, path);
    return value ? json_incref(value) : json_null();
}

/* Where it ran: the GPU, unless there was none or it got no layer. */
static const char *where(const json_t *row) {
    const char *gpu = row_text(row, "gpu_info");
    return gpu && *gpu && row_integer(row, "n_gpu_layers", -1) != 0 ? "gpu_info" : "cpu_info";
}

/* Of keys and values, where they have the same. */
static json_t *kv_type(const json_t *row) {
    const char *k = row_text(row, "type_k"), *v = row_text(row, "type_v");
    return k && v && strcmp(k, v) == 0 ? json_string(k) : json_null();
}

static bool add_context(json_t *row) {
    return row_set(row, "schema", json_string(ROWS_SCHEMA)) &&
           row_set(row, "engine", json_string("llama.cpp")) &&
           row_set(row, "status", json_string("imported")) &&
           row_set(row, "reason", json_string("measured by llama-bench, not verified here")) &&
           row_set(row, "flags", json_array()) && row_set(row, "n_parallel", json_integer(1)) &&
           row_set(row, "model.name", model_name(row)) &&
           row_set(row, "model.path", same_as(row, "model_filename")) &&
           row_set(row, "device_info.name", same_as(row, where(row))) &&
           row_set(row, "options.kv_type", kv_type(row)) &&
           row_set(row, "options.threads", same_as(row, "n_threads")) &&
           row_set(row, "options.batch", same_as(row, "n_batch")) &&
           row_set(row, "build.commit", same_as(row, "build_commit"));
}

/* llama-bench's fields alone: what else a file says under names of ours was not measured by us. */
static json_t *known_fields(const json_t *raw) {
    json_t *row = json_object();
    for (size_t i = 0; row && i < bench_field_count; i++) {
        const char *path = bench_fields[i].path;
        if (strcmp(path, "schema") == 0) break; /* ours follow */
        json_t *value = json_object_get(raw, path);
        if (value && json_object_set(row, path, value) < 0) {
            json_decref(row);
            row = NULL;
        }
    }
    return row;
}

static bool import_llama(json_t *row, rows_error *error) {
    const double speed = row_number(row, "avg_ts");
    if (!(speed > 0 && isfinite(speed)))
        return rows_fail(error, "neither a row of Halyard nor of llama-bench: no avg_ts above 0");
    if (!row_text(row, "model_type"))
        return rows_fail(error, "neither a row of Halyard nor of llama-bench: no model_type");
    return name_test(row, error) && add_speeds(row) && add_context(row);
}

/* ---- rows ---- */

json_t *import_row(const json_t *raw, rows_error *error) {
    const json_t *schema = json_object_get(raw, "schema");
    const char *name = json_string_value(schema);
    rows_fail(error, "out of memory"); /* unless a better reason is found */
    if (schema && (!name || strcmp(name, ROWS_SCHEMA) != 0))
        return rows_fail(error, "schema '%.64s': this version reads " ROWS_SCHEMA,
                         name ? name : "?");
    json_t *row = schema ? json_deep_copy(raw) : known_fields(raw);
    if (row && settle(row, error) && (schema || (import_llama(row, error) && settle(row, error))))
        return row;
    json_decref(row);
    return NULL;
}

/* Takes `raw` (may be NULL: an error is there already). */
static json_t *import_all(const char *name, json_t *raw, rows_error *error) {
    json_t *rows = raw ? json_array() : NULL, *element;
    size_t i;
    json_array_foreach(raw, i, element) {
        rows_error inner;
        json_t *row = rows ? import_row(element, &inner) : NULL;
        if (row && json_array_append_new(rows, row) == 0) continue;
        if (rows)
            rows_fail(error, "%s: row %zu: %s", name, i + 1, row ? "out of memory" : inner.text);
        json_decref(rows);
        rows = NULL;
        break;
    }
    json_decref(raw);
    if (rows && json_array_size(rows) == 0) {
        json_decref(rows);
        return rows_fail(error, "%s: no rows", name);
    }
    return rows;
}

json_t *import_text(const char *name, const char *text, size_t length, rows_error *error) {
    return import_all(name, rows_parse(name, text, length, error), error);
}

json_t *import_file(const char *path, rows_error *error) {
    return import_all(strcmp(path, "-") ? path : "standard input", rows_read(path, error), error);
}

/* tools/bench/machine.c: what the files of the machine's record share, and this process' peak memory. */
#include "tools/bench/machine.h"

#include <stdlib.h>
#include <string.h>

#include "tools/bench/machine_inner.h"
#include "tools/bench/sysfs.h"

/* ---- values ---- */

static void set(json_t *o, const char *key, json_t *value) {
    json_object_set_new(o, key, value ? value : json_null());
}

void machine_text(json_t *o, const char *key, const char *text) {
    set(o, key, text && *text ? json_string(text) : NULL);
}

void machine_number(json_t *o, const char *key, bool known, uint64_t value) {
    set(o, key, known ? json_integer((json_int_t)value) : NULL);
}

void machine_real(json_t *o, const char *key, bool known, double value) {
    set(o, key, known ? json_real(value) : NULL);
}

void machine_flag(json_t *o, const char *key, bool known, bool value) {
    set(o, key, known ? json_boolean(value) : NULL);
}

/* ---- files of lines ---- */

/* The text between two places without blanks and quotation marks around it. */
static char *trim(char *from, char *to) {
    while (from < to && strchr(" \t\"", *from))
        from++;
    while (to > from && strchr(" \t\r\n\"", to[-1]))
        to--;
    *to = 0;
    return from;
}

bool machine_next(machine_lines *lines) {
    ssize_t length;
    while (lines->file && (length = getline(&lines->line, &lines->capacity, lines->file)) > 0) {
        char *separator = memchr(lines->line, lines->separator, (size_t)length);
        if (!separator) continue;
        lines->value = trim(separator + 1, lines->line + length);
        lines->key = trim(lines->line, separator);
        return true;
    }
    if (lines->file) fclose(lines->file);
    free(lines->line);
    *lines = (machine_lines){.file = NULL};
    return false;
}

bool machine_value(const char *path, char separator, const char *key, char *out, size_t size) {
    machine_lines lines = {.file = sys_open("%s", path), .separator = separator};
    bool found = false;
    while (machine_next(&lines)) {
        if (found || strcmp(lines.key, key) != 0) continue;
        snprintf(out, size, "%s", lines.value);
        found = true;
    }
    return found;
}

/* ---- this process ---- */

bool machine_peak_reset(void) {
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (!file) return false;
    const bool written = fputs("5", file) >= 0;
    return fclose(file) == 0 && written;
}

/* HALYARD_SYSROOT does not stand before /proc/self: this process is what it is. */
uint64_t machine_peak_bytes(void) {
    unsigned long long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %llu", &kib) == 1) break;
    if (file) fclose(file);
    return kib * 1024;
}

/* tools/bench/machine_inner.h: what the files of the machine's record share. A value that is not known is null. */
#ifndef HY_TOOLS_BENCH_MACHINE_INNER_H
#define HY_TOOLS_BENCH_MACHINE_INNER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* NULL, "" and what is not UTF-8 are null. */
void machine_text(json_t *o, const char *key, const char *text);
void machine_number(json_t *o, const char *key, bool known, uint64_t value);
void machine_real(json_t *o, const char *key, bool known, double value);
void machine_flag(json_t *o, const char *key, bool known, bool value);

/* Lines "key : value" of a file, one after another. */
typedef struct machine_lines {
    FILE *file;        /* NULL: there are none; closed at the end */
    char separator;    /* ':' or '=' */
    char *key, *value; /* of the latest line, without blanks and quotation marks around them */
    char *line;        /* private */
    size_t capacity;
} machine_lines;

/* The next line that has a separator. False at the end, where everything is freed; not to be left before. */
bool machine_next(machine_lines *lines);
/* The value of the first line with this key. */
bool machine_value(const char *path, char separator, const char *key, char *out, size_t size);

/* "Neoverse-N1", or NULL: a core of AArch64 by the numbers in /proc/cpuinfo. */
const char *machine_arm_core(uint32_t implementer, uint32_t part);
/* "Ampere", or NULL. */
const char *machine_arm_vendor(uint32_t implementer);

/* Adds "hypervisor", "virtualization", "cloud", "vendor", "product", "container". */
void machine_virtual(json_t *o);

#endif

/* tools/bench/dynamic.h: a vendor's library at run time. */
#ifndef HY_TOOLS_BENCH_DYNAMIC_H
#define HY_TOOLS_BENCH_DYNAMIC_H

#include <stdbool.h>
#include <stddef.h>

/* One function of it. */
typedef struct dynamic_symbol {
    const char *name;
    void *function; /* address of the pointer that gets it */
    bool optional;  /* NULL when it is missing */
} dynamic_symbol;

/* Finds `symbols` (up to a row without name) in the file that the environment variable `variable` names, or in
 * the first of `names` (up to NULL) that opens. `what` is the library's name for people. The library stays: a
 * driver that has begun to start does not like to be unloaded. False: `reason` is one line. */
bool dynamic_open(const char *what, const char *variable, const char *const *names,
                  const dynamic_symbol *symbols, char *reason, size_t size);

#endif

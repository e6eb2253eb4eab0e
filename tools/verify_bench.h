/* tools/verify_bench.h: `halyard verify --bench`: the speed of a device's kernels (tests/speed). */
#ifndef HY_TOOLS_VERIFY_BENCH_H
#define HY_TOOLS_VERIFY_BENCH_H

#include <stdbool.h>
#include <stdint.h>

/* Strings may be NULL: all of them. */
typedef struct verify_bench_options {
    const char *device; /* an id, "cpu" */
    const char *op, *type, *shape;
    const char
        *kernel; /* every kernel whose name contains this; NULL: the one that would be chosen */
    const char *isa, *cpus;
    uint32_t threads;
    bool json;
} verify_bench_options;

/* Prints a table or JSON; the exit code. */
int verify_bench(const verify_bench_options *options);

#endif

/* tests/fuzz/replay.c: runs a fuzz target over stored inputs, as an ordinary test without
 * libFuzzer.
 *
 *   replay FOLDER...
 *
 * Each file of each folder runs as it is, cut short and with single bytes changed, and then with
 * its allocations failing: each of the first ones alone, and random ones by a few seeds. Nothing is
 * compared: what is looked for is a crash, a hang, or what the sanitizers report. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "tests/fuzz/alloc_fail.h"

enum {
    LARGEST_INPUT = 1 << 20,
    CUTS = 32,     /* shortened copies of an input */
    CHANGES = 64,  /* copies with a few bytes changed */
    SINGLE = 48,   /* first allocations that fail one at a time */
    SEEDS = 8,     /* runs with random failures */
    NOT_FOUND = 77 /* Meson: skipped */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly `size` bytes, so that a sanitizer sees a read past the end. */
static void run_exact(const uint8_t *data, size_t size) {
    uint8_t *copy = calloc(size ? size : 1, 1);
    if (!copy) return;
    if (size) memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_changed(uint8_t *data, size_t size, hy_rng *rng) {
    for (uint32_t i = 0; i < CUTS && size; i++)
        run_exact(data, i < CUTS / 2 ? hy_rng_below(rng, (uint32_t)size) : size - 1 - i % size);
    for (int i = 0; i < CHANGES && size; i++) {
        uint32_t at[3];
        uint8_t before[3];
        int n = 1 + i % 3;
        for (int k = 0; k < n; k++) {
            at[k] = hy_rng_below(rng, (uint32_t)size);
            before[k] = data[at[k]];
            static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, '"', '\n', '{'};
            bool random = hy_rng_below(rng, 2);
            data[at[k]] = random ? (uint8_t)hy_rng_u32(rng) : telling[hy_rng_below(rng, 8)];
        }
        run_exact(data, size);
        while (n--)
            data[at[n]] = before[n];
    }
}

static void run_failing(const uint8_t *data, size_t size) {
    hy_alloc_count_begin();
    LLVMFuzzerTestOneInput(data, size);
    uint64_t count = hy_alloc_stop();
    for (uint64_t n = 0; n < count && n < SINGLE; n++) {
        hy_alloc_fail_begin(n, 0, 0);
        LLVMFuzzerTestOneInput(data, size);
        hy_alloc_stop();
    }
    hy_rng rng = hy_rng_seed(count);
    for (uint64_t seed = 0; seed < SEEDS && count; seed++) {
        uint64_t first = hy_rng_u32(&rng) % count;
        hy_alloc_fail_begin(first, seed % 2 ? 4 : 64, seed);
        LLVMFuzzerTestOneInput(data, size);
        hy_alloc_stop();
    }
}

static bool run_file(const char *path) {
    uint8_t *data;
    size_t size;
    if (hy_file_read(path, LARGEST_INPUT, &data, &size) != HY_OK) {
        fprintf(stderr, "%s\n", hy_error_text());
        return false;
    }
    printf("%s: %zu bytes\n", path, size);
    fflush(stdout); /* names the culprit if the next call does not return */
    run_exact(data, size);
    run_failing(data, size);
    hy_rng rng = hy_rng_seed(size);
    run_changed(data, size, &rng);
    free(data);
    return true;
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(struct dirent *const *)a)->d_name, (*(struct dirent *const *)b)->d_name);
}

/* Number of files run, or -1. */
static int run_folder(const char *folder) {
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, NULL), run = 0;
    if (count < 0) return 0;
    qsort(entries, (size_t)count, sizeof *entries, compare_names);
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && run >= 0) run = run_file(path) ? run + 1 : -1;
        free(entries[i]);
    }
    free(entries);
    return run;
}

int main(int argc, char **argv) {
    int total = 0;
    run_exact((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        int run = run_folder(argv[i]);
        if (run < 0) return 1;
        total += run;
    }
    if (total) return 0;
    fprintf(stderr, "no corpus: nothing was replayed\n");
    return NOT_FOUND;
}

/* tests/speed/stream.c: what this machine's memory gives plain loops: a sum, a copy and a triad over 512 MiB, after
 * the manner of STREAM (McCalpin 1995), each thread on its own part. An independent reference for the read probe of
 * tools/probe.h: with --probe the two take turns, and how they compare is printed. Built with the tests, and none of
 * them. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tools/probe.h"

enum { MOST_THREADS = 1024, MOST_PASSES = 10000, HUGE_PAGE = 2 << 20 };

typedef enum loop { SUM, COPY, TRIAD, LOOPS, TOUCH, END } loop;

static const char *const loop_names[LOOPS] = {"sum", "copy", "triad"};

static double *memory; /* [elements] */
static size_t elements;
static unsigned threads = 1;
static loop running;
static pthread_barrier_t begin, end;
static volatile double sums[MOST_THREADS * 8]; /* read by nobody; a cache line each */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- the loops: memory is one array, two halves or three thirds ---------------------------------- */

/* Compiled for the widest vectors that the machine has, as STREAM is wont to be. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

/* Integers: without leave to reorder, a sum of doubles waits for itself and not for memory. */
WIDE static double sum(const double *from, size_t count) {
    const uint64_t *a = (const uint64_t *)(const void *)from;
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++)
        all += a[i];
    return (double)all;
}

WIDE static void copy(double *restrict a, const double *restrict b, size_t count) {
    for (size_t i = 0; i < count; i++)
        a[i] = b[i];
}

WIDE static void triad(double *restrict a, const double *restrict b, const double *restrict c,
                       double factor, size_t count) {
    for (size_t i = 0; i < count; i++)
        a[i] = b[i] + factor * c[i];
}

/* Elements of a thread's part: it touches first what it goes through. */
static size_t part(void) {
    return elements / threads / 6 * 6;
}

static void run_part(unsigned n) {
    const size_t each = part();
    double *a = memory + n * each;
    switch (running) {
    case SUM:
        sums[8 * n] = sum(a, each);
        break;
    case COPY:
        copy(a, a + each / 2, each / 2);
        break;
    case TRIAD:
        triad(a, a + each / 3, a + each / 3 * 2, 0.5, each / 3);
        break;
    default:
        for (size_t i = 0; i < each; i++)
            a[i] = 1;
    }
}

static void *work(void *number) {
    for (;;) {
        pthread_barrier_wait(&begin);
        if (running == END) return NULL;
        run_part((unsigned)(uintptr_t)number);
        pthread_barrier_wait(&end);
    }
}

/* Bytes per second. The clock starts before anyone does, and the caller has a part too: who only watches may be woken
 * late. */
static double pass(loop which) {
    running = which;
    const double start = now();
    pthread_barrier_wait(&begin);
    run_part(0);
    pthread_barrier_wait(&end);
    return (double)(part() * threads * sizeof *memory) / (now() - start);
}

/* ---- the program --------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *values, unsigned count) {
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void print(const char *name, double *rates, unsigned count) {
    const double middle = median(rates, count);
    printf("%-6s median %6.2f  best %6.2f  worst %6.2f GB/s\n", name, middle * 1e-9,
           rates[count - 1] * 1e-9, rates[0] * 1e-9);
}

/* Passes that take turns, first one first, then the other, with a line for each and for the ratio of neighbours. */
static void compare(probe *p, unsigned passes) {
    static double plain[MOST_PASSES], probed[MOST_PASSES], ratio[MOST_PASSES];
    for (unsigned i = 0; i < passes; i++) {
        if (i % 2) probed[i] = probe_pass(p, HY_PEAK_READ);
        plain[i] = pass(SUM);
        if (i % 2 == 0) probed[i] = probe_pass(p, HY_PEAK_READ);
        ratio[i] = probed[i] / plain[i];
    }
    print("sum", plain, passes);
    print("probe", probed, passes);
    printf("probe / sum: of medians %.3f, of bests %.3f, median of neighbours %.3f\n",
           median(probed, passes) / median(plain, passes), probed[passes - 1] / plain[passes - 1],
           median(ratio, passes));
}

static void run_loops(unsigned passes) {
    static double rates[MOST_PASSES];
    for (loop which = SUM; which < LOOPS; which++) {
        for (unsigned i = 0; i < passes; i++)
            rates[i] = pass(which);
        print(loop_names[which], rates, passes);
    }
}

static int usage(void) {
    fputs("usage: stream [--probe] [--threads N] [--passes N] [--mib N]\n", stderr);
    return 2;
}

static bool take_memory(size_t bytes) {
    void *p = NULL;
    if (posix_memalign(&p, HUGE_PAGE, bytes) != 0) return false;
#ifdef MADV_HUGEPAGE
    madvise(p, bytes, MADV_HUGEPAGE);
#endif
    memory = p;
    elements = bytes / sizeof *memory;
    return true;
}

int main(int count, char **arguments) {
    unsigned passes = 20, mib = 512, wanted = 0;
    bool probing = false;
    probe *p = NULL;
    for (int i = 1; i < count; i++) {
        unsigned *value = strcmp(arguments[i], "--threads") == 0  ? &wanted
                          : strcmp(arguments[i], "--passes") == 0 ? &passes
                          : strcmp(arguments[i], "--mib") == 0    ? &mib
                                                                  : NULL;
        if (strcmp(arguments[i], "--probe") == 0)
            probing = true;
        else if (!value || ++i == count || sscanf(arguments[i], "%u", value) != 1)
            return usage();
    }
    if (passes < 1 || passes > MOST_PASSES || mib < 1 || wanted > MOST_THREADS) return usage();
    const hy_device_params params = {.threads = wanted};
    if (probe_new("cpu", &params, &p) != HY_OK || !take_memory((size_t)mib << 20)) {
        fprintf(stderr, "stream: no memory\n");
        return 1;
    }
    threads = probe_units(p);
    pthread_barrier_init(&begin, NULL, threads);
    pthread_barrier_init(&end, NULL, threads);
    pthread_t thread[MOST_THREADS];
    for (unsigned i = 1; i < threads; i++)
        if (pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i) != 0) return 1;
    (void)pass(TOUCH);
    printf("%u threads, %u MiB\n", threads, mib);
    if (probing)
        compare(p, passes);
    else
        run_loops(passes);
    running = END;
    pthread_barrier_wait(&begin);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(thread[i], NULL);
    free(memory);
    probe_free(p);
    return 0;
}

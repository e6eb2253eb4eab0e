/* tools/probe.c: see probe.h. */
#include "tools/probe.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tools/cli.h"

enum { MAX_THREADS = 256, PASSES = 5 };

typedef struct slice {
    pthread_t thread;
    pthread_barrier_t *barrier;
    uint64_t *words;
    uint64_t count; /* words, a multiple of 8 */
    uint64_t sum;   /* keeps the reads alive */
} slice;

static void *reader(void *argument) {
    slice *s = argument;
    memset(s->words, 1, s->count * sizeof *s->words); /* first touch by the thread that reads */
    for (int pass = 0; pass < PASSES; pass++) {
        pthread_barrier_wait(s->barrier);
        uint64_t sum[8] = {0};
        for (uint64_t i = 0; i < s->count; i += 8) {
            for (int k = 0; k < 8; k++)
                sum[k] += s->words[i + (uint64_t)k];
        }
        for (int k = 0; k < 8; k++)
            s->sum += sum[k];
        pthread_barrier_wait(s->barrier);
    }
    return NULL;
}

double probe_read_bandwidth(uint32_t threads, uint64_t bytes) {
    if (threads < 1) threads = 1;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    uint64_t count = bytes / threads / 64 * 8;
    uint64_t *words =
        mmap(NULL, count * 8 * threads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED) return 0;
    madvise(words, count * 8 * threads, MADV_HUGEPAGE);
    static slice slices[MAX_THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, threads + 1);
    uint32_t started = 0;
    for (; started < threads; started++) {
        slices[started] =
            (slice){.barrier = &barrier, .words = words + started * count, .count = count};
        if (pthread_create(&slices[started].thread, NULL, reader, &slices[started]) != 0) break;
    }
    double best = 0;
    /* A machine that cannot start the threads cannot be measured; those waiting end with the
     * process. */
    if (started < threads) return 0;
    for (int pass = 0; pass < PASSES; pass++) {
        pthread_barrier_wait(&barrier);
        uint64_t start = cli_now_ns();
        pthread_barrier_wait(&barrier);
        double rate = (double)(count * 8 * threads) / ((double)(cli_now_ns() - start) * 1e-9);
        if (rate > best) best = rate;
    }
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(slices[i].thread, NULL);
    pthread_barrier_destroy(&barrier);
    munmap(words, count * 8 * threads);
    return best;
}

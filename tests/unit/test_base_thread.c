/* The pool: every worker runs, barriers order memory, sleepers wake, callers wait for each other.
 * The shared words are plain on purpose: ThreadSanitizer reports them if the pool does not order
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/thread.h"

enum { MOST = 20 }; /* more than two teams that meet */

typedef struct tally {
    hy_pool *pool;
    uint32_t steps;
    uint32_t workers_seen[MOST];
    uint32_t calls[MOST];
    uint32_t word[MOST];  /* each worker writes its own, reads the others' */
    uint32_t wrong[MOST]; /* reads that were not what the barrier promises */
} tally;

static void count_call(void *context, uint32_t worker, uint32_t workers) {
    tally *t = context;
    t->calls[worker]++;
    t->workers_seen[worker] = workers;
}

static void runs_everywhere(void **state) {
    for (uint32_t n = 1; n <= MOST; n += n < 4 ? 1 : 4) {
        tally t = {0};
        assert_int_equal(hy_pool_new(n, NULL, &t.pool), HY_OK);
        assert_int_equal(hy_pool_size(t.pool), n);
        for (int run = 0; run < 200; run++)
            hy_pool_run(t.pool, count_call, &t);
        for (uint32_t w = 0; w < MOST; w++) {
            assert_int_equal(t.calls[w], w < n ? 200 : 0);
            assert_int_equal(t.workers_seen[w], w < n ? n : 0);
        }
        hy_pool_free(t.pool);
    }
    hy_pool_free(NULL);
}

/* Step by step, each worker writes, all meet, each reads all, all meet again. */
static void step_together(void *context, uint32_t worker, uint32_t workers) {
    tally *t = context;
    for (uint32_t step = 1; step <= t->steps; step++) {
        t->word[worker] = step * 100 + worker;
        hy_pool_barrier(t->pool);
        for (uint32_t other = 0; other < workers; other++)
            t->wrong[worker] += t->word[other] != step * 100 + other;
        hy_pool_barrier(t->pool);
    }
}

static void barrier_visibility(void **state) {
    for (uint32_t n = 1; n <= MOST; n += n < 4 ? 1 : 5) {
        tally t = {.steps = n <= 2 ? 5000 : 300};
        assert_int_equal(hy_pool_new(n, NULL, &t.pool), HY_OK);
        for (int run = 0; run < 3; run++)
            hy_pool_run(t.pool, step_together, &t);
        for (uint32_t w = 0; w < n; w++)
            assert_int_equal(t.wrong[w], 0);
        hy_pool_free(t.pool);
    }
}

/* Who waits has time for something else; who is waited for has not. */
static void count_idle(void *context) {
    (*(uint32_t *)context)++;
}

static void nap(long us) {
    struct timespec time = {0, us * 1000};
    nanosleep(&time, NULL);
}

static void come_late(void *context, uint32_t worker, uint32_t workers) {
    tally *t = context;
    if (worker == 0) nap(2000);
    hy_pool_barrier_idle(t->pool, count_idle, &t->word[worker]);
    if (worker == 1) nap(2000);
    hy_pool_barrier_idle(t->pool, count_idle, &t->word[worker]);
}

static void idle_at_barriers(void **state) {
    tally t = {0};
    assert_int_equal(hy_pool_new(2, NULL, &t.pool), HY_OK);
    for (int run = 0; run < 20; run++)
        hy_pool_run(t.pool, come_late, &t);
    if (hy_cpu_threads() >= 2) {
        assert_true(t.word[0] > 0);
        assert_true(t.word[1] > 0);
    } else {
        assert_int_equal(t.word[0] + t.word[1], 0); /* to spin would be in the way */
    }
    hy_pool_free(t.pool);
}

/* The caller sees what workers wrote and the workers what the caller wrote between runs. */
static void add_one(void *context, uint32_t worker, uint32_t workers) {
    tally *t = context;
    t->word[worker] = t->steps + worker;
}

static void run_to_run(void **state) {
    tally t = {0};
    assert_int_equal(hy_pool_new(4, NULL, &t.pool), HY_OK);
    for (t.steps = 0; t.steps < 3000; t.steps++) {
        hy_pool_run(t.pool, add_one, &t);
        for (uint32_t w = 0; w < 4; w++)
            assert_int_equal(t.word[w], t.steps + w);
    }
    hy_pool_free(t.pool);
}

/* Pauses around the spin time: workers are found spinning, going to sleep and asleep. */
static void parking(void **state) {
    tally t = {0};
    assert_int_equal(hy_pool_new(4, NULL, &t.pool), HY_OK);
    const long pause_us[] = {0, 20, 45, 50, 55, 80, 200, 3000};
    for (int run = 0; run < 160; run++) {
        if (pause_us[run % 8]) nap(pause_us[run % 8]);
        hy_pool_run(t.pool, count_call, &t);
    }
    for (uint32_t w = 0; w < 4; w++)
        assert_int_equal(t.calls[w], 160);
    nap(3000); /* freed while asleep */
    hy_pool_free(t.pool);
    assert_int_equal(hy_pool_new(4, NULL, &t.pool), HY_OK); /* and at once */
    hy_pool_free(t.pool);
}

static void *run_often(void *argument) {
    tally *t = argument;
    for (int run = 0; run < 500; run++)
        hy_pool_run(t->pool, count_call, t);
    return NULL;
}

static void two_callers(void **state) {
    tally a = {0}, b = {0};
    pthread_t thread;
    assert_int_equal(hy_pool_new(3, NULL, &a.pool), HY_OK);
    b.pool = a.pool;
    assert_int_equal(pthread_create(&thread, NULL, run_often, &b), 0);
    run_often(&a);
    pthread_join(thread, NULL);
    for (uint32_t w = 0; w < 3; w++) {
        assert_int_equal(a.calls[w], 500);
        assert_int_equal(b.calls[w], 500);
    }
    hy_pool_free(a.pool);
}

typedef struct placement {
    int cpu[3];
} placement;

static void where(void *context, uint32_t worker, uint32_t workers) {
    placement *p = context;
    p->cpu[worker] = sched_getcpu();
}

static void pinning(void **state) {
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int cpu = 0;
    while (!CPU_ISSET((size_t)cpu, &before))
        cpu++;
    hy_pool *pool = NULL;
    placement p;
    char one[16];
    snprintf(one, sizeof one, "%d", cpu);
    assert_int_equal(hy_pool_new(3, one, &pool), HY_OK);
    for (int run = 0; run < 50; run++) {
        hy_pool_run(pool, where, &p);
        assert_int_equal(p.cpu[1], cpu);
        assert_int_equal(p.cpu[2], cpu);
    }
    hy_pool_free(pool);
    assert_int_equal(hy_pool_new(0, one, &pool), HY_OK);
    assert_int_equal(hy_pool_size(pool), 1); /* not more than the mask has */
    hy_pool_free(pool);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after)); /* the caller's own thread is not touched */
}

static void counts(void **state) {
    hy_pool *pool = NULL;
    assert_int_equal(hy_pool_new(1025, NULL, &pool), HY_E_ARGUMENT);
    assert_null(pool);
    assert_in_range(hy_cpu_count(), 1, 8192);
    assert_true(hy_cpu_count() <= hy_cpu_threads());
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(hy_cpu_count(), 1); /* the affinity mask is respected */
    assert_int_equal(hy_pool_new(0, NULL, &pool), HY_OK);
    assert_int_equal(hy_pool_size(pool), 1);
    hy_pool_free(pool);
    char other[16]; /* a cpu that the process has not */
    snprintf(other, sizeof other, "%zu", cpu + 1);
    assert_int_equal(hy_pool_new(1, other, &pool), HY_E_ARGUMENT);
    assert_int_equal(hy_pool_new(1, "0xyz", &pool), HY_E_ARGUMENT);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_everywhere),  cmocka_unit_test(barrier_visibility),
        cmocka_unit_test(idle_at_barriers), cmocka_unit_test(run_to_run),
        cmocka_unit_test(parking),          cmocka_unit_test(two_callers),
        cmocka_unit_test(pinning),          cmocka_unit_test(counts),
    };
    return cmocka_run_group_tests_name("base_thread", tests, NULL, NULL);
}

#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/clock.h"
#include "base/num.h"

enum {
    MAX_WORKERS = 1024,
    LINE = 64,          /* bytes between words that different threads write */
    SPIN_NS = 50000,    /* an idle worker looks for work this long before it sleeps */
    PAUSES_A_LOOK = 32, /* between looks at the clock */
    MIN_STACK = 1 << 20
};

typedef struct worker {
    hy_pool *pool;
    uint32_t index; /* from 1: the caller is 0 */
    pthread_t thread;
} worker;

struct hy_pool {
    uint32_t workers; /* the caller included */
    uint32_t started; /* threads that exist */
    uint64_t
        spin_ns; /* 0 where there are fewer cpus than workers: spinning would only be in the way */
    uint64_t cpu_mask;
    pthread_mutex_t run_lock;
    worker *team;  /* [workers]; 0 unused */
    hy_pool_fn fn; /* of the present run; NULL asks the workers to leave */
    void *context;
    _Alignas(LINE) _Atomic uint32_t epoch; /* runs begun; idle workers wait for it to change */
    _Atomic uint32_t parked;               /* workers asleep, or about to be */
#ifndef __linux__
    pthread_mutex_t park_lock;
    pthread_cond_t park;
#endif
    _Alignas(LINE) _Atomic uint32_t busy;    /* workers that have not returned from `fn` */
    _Alignas(LINE) _Atomic uint32_t arrived; /* at the barrier */
    _Alignas(LINE) _Atomic uint32_t phase;   /* barriers passed */
};

static inline void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory"); /* `yield` is a no-op on most cores */
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Waits a short while for `word` to differ from `old`; true when it did. */
static bool spin_while(_Atomic uint32_t *word, uint32_t old, uint64_t spin_ns) {
    if (atomic_load_explicit(word, memory_order_acquire) != old) return true;
    if (!spin_ns) return false;
    uint64_t begin = hy_clock_ns();
    do {
        for (int i = 0; i < PAUSES_A_LOOK; i++) {
            cpu_pause();
            if (atomic_load_explicit(word, memory_order_acquire) != old) return true;
        }
    } while (hy_clock_ns() - begin < spin_ns);
    return false;
}

/* For waits between workers in the middle of work: never sleeps, but lets others run. */
static void spin_then_yield(_Atomic uint32_t *word, uint32_t old, uint64_t spin_ns) {
    if (spin_while(word, old, spin_ns)) return;
    while (atomic_load_explicit(word, memory_order_acquire) == old)
        sched_yield();
}

/* Sleeps until `epoch` differs from `seen`. The waker changes `epoch` and then looks at `parked`;
 * the sleeper raises `parked` and then looks at `epoch`. Both are sequentially consistent, so that
 * one of them sees the other. */
#ifdef __linux__
static void park(hy_pool *pool, uint32_t seen) {
    atomic_fetch_add(&pool->parked, 1);
    while (atomic_load(&pool->epoch) == seen)
        syscall(SYS_futex, &pool->epoch, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&pool->parked, 1);
}

static void wake(hy_pool *pool) {
    if (atomic_load(&pool->parked))
        syscall(SYS_futex, &pool->epoch, FUTEX_WAKE_PRIVATE, MAX_WORKERS, NULL, NULL, 0);
}
#else
static void park(hy_pool *pool, uint32_t seen) {
    atomic_fetch_add(&pool->parked, 1);
    pthread_mutex_lock(&pool->park_lock);
    while (atomic_load(&pool->epoch) == seen)
        pthread_cond_wait(&pool->park, &pool->park_lock);
    pthread_mutex_unlock(&pool->park_lock);
    atomic_fetch_sub(&pool->parked, 1);
}

static void wake(hy_pool *pool) {
    if (!atomic_load(&pool->parked)) return;
    pthread_mutex_lock(&pool->park_lock);
    pthread_cond_broadcast(&pool->park);
    pthread_mutex_unlock(&pool->park_lock);
}
#endif

static void settle(const hy_pool *pool, uint32_t index) {
#ifdef __linux__
    char name[16];
    snprintf(name, sizeof name, "halyard/%u", index);
    pthread_setname_np(pthread_self(), name);
    uint32_t cpus = (uint32_t)__builtin_popcountll(pool->cpu_mask);
    if (!cpus) return;
    uint64_t mask = pool->cpu_mask;
    for (uint32_t skip = index % cpus; skip; skip--)
        mask &= mask - 1;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)__builtin_ctzll(mask), &set);
    pthread_setaffinity_np(pthread_self(), sizeof set,
                           &set); /* a cpu that is not there: unpinned */
#else
    (void)pool;
    (void)index;
#endif
}

static void *worker_main(void *argument) {
    worker *self = argument;
    hy_pool *pool = self->pool;
    settle(pool, self->index);
    uint32_t seen = 0;
    for (;;) {
        if (!spin_while(&pool->epoch, seen, pool->spin_ns)) park(pool, seen);
        seen++; /* the next run cannot begin before this one is done: no epoch is ever missed */
        if (!pool->fn) return NULL;
        pool->fn(pool->context, self->index, pool->workers);
        atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_release);
    }
}

static void begin(hy_pool *pool, hy_pool_fn fn, void *context) {
    pool->fn = fn;
    pool->context = context;
    atomic_store_explicit(&pool->busy, pool->started, memory_order_relaxed);
    atomic_fetch_add(&pool->epoch, 1);
    wake(pool);
}

static void wait_idle(hy_pool *pool) {
    uint32_t left;
    while ((left = atomic_load_explicit(&pool->busy, memory_order_acquire)) != 0)
        spin_then_yield(&pool->busy, left, pool->spin_ns);
}

static hy_status start_workers(hy_pool *pool) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return hy_fail(HY_E_MEMORY, "out of memory for a thread pool");
    size_t stack;
    if (pthread_attr_getstacksize(&attributes, &stack) == 0 && stack < MIN_STACK)
        pthread_attr_setstacksize(&attributes, MIN_STACK);
    sigset_t all, before; /* signals belong to the application's threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    for (uint32_t i = 1; i < pool->workers && !error; i++) {
        pool->team[i].pool = pool;
        pool->team[i].index = i;
        error = pthread_create(&pool->team[i].thread, &attributes, worker_main, &pool->team[i]);
        if (!error) pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (!error) return HY_OK;
    char buffer[128];
    return hy_fail(HY_E_MEMORY, "cannot start thread %u of %u: %s", pool->started + 1,
                   pool->workers, strerror_r(error, buffer, sizeof buffer));
}

hy_status hy_pool_new(uint32_t threads, uint64_t cpu_mask, hy_pool **out) {
    if (threads > MAX_WORKERS)
        return hy_fail(HY_E_ARGUMENT, "%u threads, more than %d", threads, MAX_WORKERS);
    if (cpu_mask && !(cpu_mask & hy_cpu_mask()))
        return hy_fail(HY_E_ARGUMENT, "cpu mask 0x%llx has no cpu of this process (0x%llx)",
                       (unsigned long long)cpu_mask, (unsigned long long)hy_cpu_mask());
    uint32_t allowed = cpu_mask ? (uint32_t)__builtin_popcountll(cpu_mask) : UINT32_MAX;
    uint32_t cores = hy_cpu_count(), cpus = hy_cpu_threads();
    uint32_t workers = threads ? threads : HY_MIN(HY_MIN(cores, allowed), MAX_WORKERS);
    hy_pool *pool = aligned_alloc(LINE, sizeof *pool);
    if (!pool) return hy_fail(HY_E_MEMORY, "out of memory for a thread pool");
    memset(pool, 0, sizeof *pool);
    pool->workers = workers;
    pool->cpu_mask = cpu_mask;
    pool->spin_ns = workers <= HY_MIN(cpus, allowed) ? SPIN_NS : 0;
    pool->team = calloc(workers, sizeof *pool->team);
    if (!pool->team) {
        free(pool);
        return hy_fail(HY_E_MEMORY, "out of memory for %u threads", workers);
    }
    pthread_mutex_init(&pool->run_lock, NULL);
#ifndef __linux__
    pthread_mutex_init(&pool->park_lock, NULL);
    pthread_cond_init(&pool->park, NULL);
#endif
    hy_status status = start_workers(pool);
    if (status != HY_OK) {
        hy_pool_free(pool);
        return status;
    }
    *out = pool;
    return HY_OK;
}

void hy_pool_free(hy_pool *pool) {
    if (!pool) return;
    begin(pool, NULL, NULL);
    for (uint32_t i = 1; i <= pool->started; i++)
        pthread_join(pool->team[i].thread, NULL);
    pthread_mutex_destroy(&pool->run_lock);
#ifndef __linux__
    pthread_mutex_destroy(&pool->park_lock);
    pthread_cond_destroy(&pool->park);
#endif
    free(pool->team);
    free(pool);
}

uint32_t hy_pool_size(const hy_pool *pool) {
    return pool->workers;
}

void hy_pool_run(hy_pool *pool, hy_pool_fn fn, void *context) {
    pthread_mutex_lock(&pool->run_lock);
    if (pool->workers > 1) begin(pool, fn, context);
    fn(context, 0, pool->workers);
    wait_idle(pool);
    pthread_mutex_unlock(&pool->run_lock);
}

void hy_pool_barrier(hy_pool *pool) {
    if (pool->workers == 1) return;
    uint32_t phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
    uint32_t before = atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel);
    if (before + 1 == pool->workers) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->phase, phase + 1, memory_order_release);
    } else {
        spin_then_yield(&pool->phase, phase, pool->spin_ns);
    }
}

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
#include "base/cpu.h"
#include "base/num.h"

enum {
    MAX_WORKERS = 1024,
    TEAM = 8,             /* workers that meet at one word: more would queue for its cache line */
    LINE = 64,            /* bytes between words that different threads write */
    IDLE_SPIN_NS = 50000, /* an idle worker looks for work this long before it sleeps */
    MEET_SPIN_NS =
        200000, /* a worker at a barrier: the others are at work, unless something else runs */
    PAUSES_A_LOOK = 32, /* between looks at the clock */
    MIN_STACK = 1 << 20
};

/* A number that only grows (and wraps), and threads that wait for it to change. */
typedef struct signal_word {
    _Alignas(LINE) _Atomic uint32_t value;
    _Atomic uint32_t sleepers; /* asleep, or about to be */
} signal_word;

/* Where up to TEAM workers wait for each other. */
typedef struct meeting {
    _Alignas(LINE) _Atomic uint32_t arrived;
    signal_word passed;
} meeting;

typedef struct worker {
    hy_pool *pool;
    uint32_t index; /* from 1: the caller is 0 */
    pthread_t thread;
} worker;

struct hy_pool {
    uint32_t workers; /* the caller included */
    uint32_t started; /* threads that exist */
    uint32_t teams;
    bool crowded; /* more workers than cpus: to spin would only be in the way of those waited for */
    uint32_t *pin; /* [pins] cpus that workers take in turn; NULL: no pinning */
    uint32_t pins;
    pthread_mutex_t run_lock;
    worker *crew;      /* [workers]; 0 unused */
    meeting *meetings; /* [teams], and one more for the teams' last ones */
    hy_pool_fn fn;     /* of the present run; NULL asks the workers to leave */
    void *context;
    signal_word epoch;                    /* runs begun */
    signal_word done;                     /* runs that all workers returned from */
    _Alignas(LINE) _Atomic uint32_t busy; /* workers that have not returned from `fn` */
#ifndef __linux__
    pthread_mutex_t sleep_lock;
    pthread_cond_t sleep;
#endif
};

static _Thread_local uint32_t own_index; /* in the run that this thread is in */

static inline void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory"); /* `yield` is a no-op on most cores */
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* What a worker does while it spins. */
typedef struct pastime {
    void (*idle)(void *context); /* NULL: nothing */
    void *context;
} pastime;

/* Waits a short while for `word` to differ from `old`; true when it did. */
static bool spin(_Atomic uint32_t *word, uint32_t old, uint64_t spin_ns, pastime p) {
    if (atomic_load_explicit(word, memory_order_acquire) != old) return true;
    if (!spin_ns) return false;
    uint64_t begin = hy_clock_ns();
    do {
        for (int i = 0; i < PAUSES_A_LOOK; i++) {
            if (p.idle) p.idle(p.context);
            cpu_pause();
            if (atomic_load_explicit(word, memory_order_acquire) != old) return true;
        }
    } while (hy_clock_ns() - begin < spin_ns);
    return false;
}

/* Sleeps until the value differs from `old`. The waker changes the value and then looks at `sleepers`;
 * the sleeper raises `sleepers` and then looks at the value. All are sequentially consistent, so that one
 * of them sees the other. Sleeping is better than sched_yield() here: that hands the cpu to whatever else
 * is runnable for a whole slice, even to what is niced. */
#ifdef __linux__
static void sleep_on(hy_pool *pool, signal_word *word, uint32_t old) {
    (void)pool;
    atomic_fetch_add(&word->sleepers, 1);
    while (atomic_load(&word->value) == old)
        syscall(SYS_futex, &word->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&word->sleepers, 1);
}

static void advance(hy_pool *pool, signal_word *word) {
    (void)pool;
    atomic_fetch_add(&word->value, 1);
    if (atomic_load(&word->sleepers))
        syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, MAX_WORKERS, NULL, NULL, 0);
}
#else
static void sleep_on(hy_pool *pool, signal_word *word, uint32_t old) {
    atomic_fetch_add(&word->sleepers, 1);
    pthread_mutex_lock(&pool->sleep_lock);
    while (atomic_load(&word->value) == old)
        pthread_cond_wait(&pool->sleep, &pool->sleep_lock);
    pthread_mutex_unlock(&pool->sleep_lock);
    atomic_fetch_sub(&word->sleepers, 1);
}

static void advance(hy_pool *pool, signal_word *word) {
    atomic_fetch_add(&word->value, 1);
    if (!atomic_load(&word->sleepers)) return;
    pthread_mutex_lock(&pool->sleep_lock);
    pthread_cond_broadcast(&pool->sleep);
    pthread_mutex_unlock(&pool->sleep_lock);
}
#endif

static void await(hy_pool *pool, signal_word *word, uint32_t old, uint64_t spin_ns, pastime p) {
    if (!spin(&word->value, old, pool->crowded ? 0 : spin_ns, p)) sleep_on(pool, word, old);
}

static void settle(const hy_pool *pool, uint32_t index) {
#ifdef __linux__
    char name[16];
    snprintf(name, sizeof name, "halyard/%u", index);
    pthread_setname_np(pthread_self(), name);
    if (!pool->pins) return;
    hy_cpu_set set = {{0}};
    hy_cpu_set_add(&set, pool->pin[index % pool->pins]);
    pthread_setaffinity_np(pthread_self(), sizeof set, (const cpu_set_t *)&set);
#else
    (void)pool;
    (void)index;
#endif
}

static void *worker_main(void *argument) {
    worker *self = argument;
    hy_pool *pool = self->pool;
    settle(pool, self->index);
    own_index = self->index;
    uint32_t seen = 0;
    for (;;) {
        await(pool, &pool->epoch, seen, IDLE_SPIN_NS, (pastime){0});
        seen++; /* the next run cannot begin before this one is done: no epoch is ever missed */
        if (!pool->fn) return NULL;
        pool->fn(pool->context, self->index, pool->workers);
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) == 1)
            advance(pool, &pool->done);
    }
}

static void begin(hy_pool *pool, hy_pool_fn fn, void *context) {
    pool->fn = fn;
    pool->context = context;
    atomic_store_explicit(&pool->busy, pool->started, memory_order_relaxed);
    advance(pool, &pool->epoch);
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
        pool->crew[i].pool = pool;
        pool->crew[i].index = i;
        error = pthread_create(&pool->crew[i].thread, &attributes, worker_main, &pool->crew[i]);
        if (!error) pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (!error) return HY_OK;
    char buffer[128];
    return hy_fail(HY_E_MEMORY, "cannot start thread %u of %u: %s", pool->started + 1,
                   pool->workers, strerror_r(error, buffer, sizeof buffer));
}

/* The cpus of `set` in the order in which workers take them: each core's first, then their siblings. */
static hy_status choose_pins(hy_pool *pool, const hy_cpu_set *set) {
    const uint32_t cpus = hy_cpu_set_count(set);
    pool->pin = malloc(cpus * sizeof *pool->pin);
    if (!pool->pin) return hy_fail(HY_E_MEMORY, "out of memory for %u cpus", cpus);
    hy_cpu_set taken = {{0}};
    pool->pins = HY_MIN(hy_cpu_cores("/sys", set, false, pool->pin, cpus), cpus);
    for (uint32_t i = 0; i < pool->pins; i++)
        hy_cpu_set_add(&taken, pool->pin[i]);
    for (uint32_t cpu = 0; cpu < HY_MAX_CPUS; cpu++)
        if (hy_cpu_set_has(set, cpu) && !hy_cpu_set_has(&taken, cpu)) pool->pin[pool->pins++] = cpu;
    return HY_OK;
}

/* Of `cpus`: those that the process has; and how many workers and cpus that makes. */
static hy_status resolve_cpus(const char *cpus, hy_cpu_set *set, uint32_t *cores, uint32_t *all) {
    hy_cpu_set allowed;
    *cores = hy_cpu_count();
    *all = hy_cpu_threads();
    if (!cpus) return HY_OK;
    HY_TRY(hy_cpu_set_parse(cpus, set));
    hy_cpu_allowed(&allowed);
    for (uint32_t i = 0; i < HY_MAX_CPUS / 64; i++)
        set->word[i] &= allowed.word[i];
    const uint32_t count = hy_cpu_set_count(set), quota = hy_cpu_quota();
    if (!count) return hy_fail(HY_E_ARGUMENT, "this process may not run on cpus %s", cpus);
    const uint32_t of_set = hy_cpu_cores("/sys", set, false, NULL, 0);
    *cores = HY_MIN(of_set, quota);
    *all = HY_MIN(count, quota);
    return HY_OK;
}

static hy_status allocate(uint32_t workers, hy_pool **out) {
    const uint32_t teams = (workers + TEAM - 1) / TEAM;
    const size_t meetings = (teams + 1) * sizeof(meeting);
    hy_pool *pool = aligned_alloc(LINE, sizeof *pool);
    if (pool) memset(pool, 0, sizeof *pool);
    if (pool) pool->crew = calloc(workers, sizeof *pool->crew);
    if (pool) pool->meetings = aligned_alloc(LINE, meetings);
    if (!pool || !pool->crew || !pool->meetings) {
        if (pool) free(pool->crew);
        if (pool) free(pool->meetings);
        free(pool);
        return hy_fail(HY_E_MEMORY, "out of memory for %u threads", workers);
    }
    memset(pool->meetings, 0, meetings);
    pool->workers = workers;
    pool->teams = teams;
    pthread_mutex_init(&pool->run_lock, NULL);
#ifndef __linux__
    pthread_mutex_init(&pool->sleep_lock, NULL);
    pthread_cond_init(&pool->sleep, NULL);
#endif
    *out = pool;
    return HY_OK;
}

hy_status hy_pool_new(uint32_t threads, const char *cpus, hy_pool **out) {
    hy_cpu_set set;
    uint32_t cores, all;
    hy_pool *pool = NULL;
    if (threads > MAX_WORKERS)
        return hy_fail(HY_E_ARGUMENT, "%u threads, more than %d", threads, MAX_WORKERS);
    HY_TRY(resolve_cpus(cpus, &set, &cores, &all));
    HY_TRY(allocate(threads ? threads : HY_MIN(cores, MAX_WORKERS), &pool));
    pool->crowded = pool->workers > all;
    hy_status status = cpus ? choose_pins(pool, &set) : HY_OK;
    if (status == HY_OK) status = start_workers(pool);
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
        pthread_join(pool->crew[i].thread, NULL);
    pthread_mutex_destroy(&pool->run_lock);
#ifndef __linux__
    pthread_mutex_destroy(&pool->sleep_lock);
    pthread_cond_destroy(&pool->sleep);
#endif
    free(pool->pin);
    free(pool->meetings);
    free(pool->crew);
    free(pool);
}

uint32_t hy_pool_size(const hy_pool *pool) {
    return pool->workers;
}

void hy_pool_run(hy_pool *pool, hy_pool_fn fn, void *context) {
    pthread_mutex_lock(&pool->run_lock);
    const uint32_t outer = own_index; /* the caller may be a worker of another pool */
    const uint32_t done = atomic_load_explicit(&pool->done.value, memory_order_relaxed);
    own_index = 0;
    if (pool->workers > 1) begin(pool, fn, context);
    fn(context, 0, pool->workers);
    if (pool->workers > 1) await(pool, &pool->done, done, MEET_SPIN_NS, (pastime){0});
    own_index = outer;
    pthread_mutex_unlock(&pool->run_lock);
}

/* True for the last of `members`, when all have arrived; the others wait until it passes on. What a worker
 * did before is visible to the last, and through `passed` to all. */
static bool arrive(hy_pool *pool, meeting *m, uint32_t members, pastime p) {
    const uint32_t passed = atomic_load_explicit(&m->passed.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&m->arrived, 1, memory_order_acq_rel) + 1 == members) {
        atomic_store_explicit(&m->arrived, 0, memory_order_relaxed);
        return true;
    }
    await(pool, &m->passed, passed, MEET_SPIN_NS, p);
    return false;
}

/* Teams of neighbours meet first, then the last of each team: with one word for all, 64 workers would take
 * its cache line from each other 64 times, one after another. */
void hy_pool_barrier_idle(hy_pool *pool, void (*idle)(void *context), void *context) {
    if (pool->workers == 1) return;
    const pastime p = {idle, context};
    const uint32_t team = own_index / TEAM;
    meeting *mine = &pool->meetings[team], *all = &pool->meetings[pool->teams];
    const uint32_t members = HY_MIN(pool->workers - team * TEAM, (uint32_t)TEAM);
    if (!arrive(pool, mine, members, p)) return;
    if (pool->teams > 1 && arrive(pool, all, pool->teams, p)) advance(pool, &all->passed);
    advance(pool, &mine->passed);
}

void hy_pool_barrier(hy_pool *pool) {
    hy_pool_barrier_idle(pool, NULL, NULL);
}

/* base/thread.h: one pool of workers that run the same function side by side, with a barrier
 * inside.
 *
 * The caller of hy_pool_run is worker 0. Idle workers spin for a short while (50 us) and then sleep, so
 * that a decode loop never pays for a wake-up and an idle process costs nothing. Where there are more workers
 * than cpus nobody spins. */
#ifndef HY_BASE_THREAD_H
#define HY_BASE_THREAD_H

#include <stdint.h>

#include "base/status.h"

typedef struct hy_pool hy_pool;

/* Runs on every worker; `worker` in [0, workers). */
typedef void (*hy_pool_fn)(void *context, uint32_t worker, uint32_t workers);

/* `threads` workers, the caller included; 0 means hy_cpu_count() of them, or with `cpus` one per physical
 * core of these (cgroup quota respected). `cpus`, a mask or list as hy_cpu_set_parse takes it, pins workers
 * to those of them that the process has, one after another, every core once before any twice (worker 0's is
 * left for the caller, whose thread is not touched); NULL: no pinning. HY_E_MEMORY, HY_E_ARGUMENT (more than
 * 1024, or no cpu of this process). */
HY_NODISCARD hy_status hy_pool_new(uint32_t threads, const char *cpus, hy_pool **out);
void hy_pool_free(hy_pool *pool);
uint32_t hy_pool_size(const hy_pool *pool);

/* Runs `fn` on all workers and returns when all have returned. One run at a time: calls from
 * several threads wait for each other. Must not be called from inside a run. Allocates nothing. */
void hy_pool_run(hy_pool *pool, hy_pool_fn fn, void *context);

/* Inside a run, reached by every worker the same number of times: waits for all of them; what was
 * written before it is visible after it. Spins, then sleeps. */
void hy_pool_barrier(hy_pool *pool);

/* The same; who spins calls `idle` meanwhile, again and again. It should take no longer than some dozen ns. */
void hy_pool_barrier_idle(hy_pool *pool, void (*idle)(void *context), void *context);

/* Workers that a pool should have: physical cores this process may use (affinity, cgroup quota), without
 * the slow ones of a machine that has both and enough of the others; at least 1. */
uint32_t hy_cpu_count(void);

/* Logical cpus (hardware threads) this process may use, at least 1. */
uint32_t hy_cpu_threads(void);

#endif

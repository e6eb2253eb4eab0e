/* backends/cpu/take.h: how workers share the items of a call when nobody knows who will be done first. */
#ifndef HY_CPU_TAKE_H
#define HY_CPU_TAKE_H

#include "backends/cpu/cpu.h"
#include "base/num.h"

/* A worker on its way through the items of a call; zeros behind `workers` to begin with. */
typedef struct cpu_taker {
    const cpu_call *call;
    uint32_t worker, workers;
    uint32_t distance; /* to the worker whose items it takes: 0, 1, 2, 4, 8 ... */
} cpu_taker;

/* The next of a worker's items that nobody has taken; `items`: none. A mark of a later turn says none, too: who set it
 * found none here before. Turns wrap, so they are compared by difference. */
static inline uint64_t cpu_take_of(cpu_taken *taken, uint64_t turn, uint64_t items) {
    const uint64_t first = turn << 32;
    uint64_t mark = atomic_load_explicit(&taken->mark, memory_order_relaxed), next;
    do {
        next = (int64_t)(mark - first) < 0 ? first : mark;
        if (next - first >= items) return items;
    } while (!atomic_compare_exchange_weak_explicit(&taken->mark, &mark, next + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return next - first;
}

/* True with an item in [0, items) that no other worker has had, as long as this worker finds one: its own are
 * worker, worker + workers ...; of the others it looks at few, so that many workers do not wait for each other's lines.
 * Every item is taken by its own worker at the latest. */
static inline bool cpu_take(cpu_taker *t, uint64_t items, uint64_t *item) {
    const uint64_t turn = *t->call->first + t->call->index;
    while (t->distance < t->workers) {
        const uint32_t owner = (t->worker + t->distance) % t->workers;
        const uint64_t own = items > owner ? (items - owner - 1) / t->workers + 1 : 0;
        const uint64_t i = cpu_take_of(&t->call->taken[owner], turn, own);
        if (i < own) {
            *item = i * t->workers + owner;
            return true;
        }
        t->distance = t->distance ? 2 * t->distance : 1;
    }
    return false;
}

/* Number of an item that cpu_take gave, as if every worker's own lay next to each other. */
static inline uint64_t cpu_in_a_row(uint64_t item, uint64_t items, uint32_t workers) {
    const uint64_t owner = item % workers, before = HY_MIN(owner, items % workers);
    return owner * (items / workers) + before + item / workers;
}

#endif

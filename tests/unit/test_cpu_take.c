/* Items that workers take from each other: every one by exactly one worker, through calls without a barrier between
 * them, replays, and the wrap of turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#include "backends/cpu/take.h"
#include "base/thread.h"

enum { MOST = 11, CALLS = 3, ITEMS = 70 };

typedef struct list {
    hy_pool *pool;
    cpu_taken taken[MOST];
    uint64_t first;
    cpu_call calls[CALLS];
    uint32_t items[CALLS];
    _Atomic uint32_t count[CALLS][ITEMS]; /* how often an item was taken */
} list;

/* The calls one after the other, as in a wave; workers stay some time with their items, more or less. */
static void take_all(void *context, uint32_t worker, uint32_t workers) {
    list *l = context;
    for (int c = 0; c < CALLS; c++) {
        cpu_taker taker = {&l->calls[c], worker, workers, 0};
        for (uint64_t i; cpu_take(&taker, l->items[c], &i);) {
            atomic_fetch_add(&l->count[c][i], 1);
            for (volatile uint64_t spin = 0; spin < (worker * 7 + i * 13) % 50; spin++) {
            }
        }
    }
}

static void check_replay(list *l, uint64_t replay, uint32_t workers) {
    l->first += CALLS;
    for (uint32_t c = 0; c < CALLS; c++)
        l->items[c] =
            (uint32_t)(replay * (c + 3) + c) % (ITEMS + 1); /* none, fewer than workers, many */
    hy_pool_run(l->pool, take_all, l);
    for (uint32_t c = 0; c < CALLS; c++)
        for (uint32_t i = 0; i < ITEMS; i++)
            if (atomic_exchange(&l->count[c][i], 0) != (i < l->items[c]))
                fail_msg("%u workers, replay %llu, call %u: item %u of %u", workers,
                         (unsigned long long)replay, c, i, l->items[c]);
}

static void every_item_once(void **state) {
    (void)state;
    static list l;
    for (uint32_t workers = 1; workers <= MOST; workers += workers < 4 ? 1 : 7) {
        l = (list){.first = 0};
        assert_int_equal(hy_pool_new(workers, NULL, &l.pool), HY_OK);
        for (uint32_t c = 0; c < CALLS; c++)
            l.calls[c] = (cpu_call){.taken = l.taken, .first = &l.first, .index = c};
        for (uint64_t replay = 0; replay < 500; replay++)
            check_replay(&l, replay, workers);
        /* as after months: turns are kept modulo 2^32 */
        for (uint32_t w = 0; w < workers; w++)
            atomic_store(&l.taken[w].mark, UINT64_C(0xfffffe00) << 32);
        l.first = UINT64_C(0xfffffe80);
        for (uint64_t replay = 0; replay < 500; replay++)
            check_replay(&l, replay, workers);
        assert_true(l.first > UINT64_C(1) << 32);
        hy_pool_free(l.pool);
    }
}

/* Numbers in a row: all of them, and each worker's own beside each other. */
static void numbers_in_a_row(void **state) {
    (void)state;
    for (uint32_t workers = 1; workers <= MOST; workers++) {
        for (uint64_t items = 0; items <= ITEMS; items++) {
            uint64_t next = 0;
            for (uint32_t owner = 0; owner < workers; owner++)
                for (uint64_t i = owner; i < items; i += workers)
                    assert_int_equal(cpu_in_a_row(i, items, workers), next++);
            assert_int_equal(next, items);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(numbers_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

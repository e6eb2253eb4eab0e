/* The counter that other tests rely on counts: our own calls, those inside the C library, other
 * threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/thread.h"
#include "tests/unit/count_alloc.h"

static int need_counter(void **state) {
    if (hy_count_alloc_works()) return 0;
    fputs("allocations cannot be counted under this sanitizer or C library\n", stderr);
    exit(77);
}

static void *volatile kept; /* keeps the compiler from removing pairs of malloc and free */

static void counts_each(void **state) {
    uint64_t before = hy_count_alloc(), freed = hy_count_free();
    kept = malloc(10);
    kept = realloc(kept, 100000);
    free(kept);
    kept = calloc(3, 5);
    free(kept);
    kept = aligned_alloc(64, 128);
    assert_int_equal((uintptr_t)kept % 64, 0);
    free(kept);
    void *aligned = NULL;
    assert_int_equal(posix_memalign(&aligned, 256, 10), 0);
    assert_int_equal((uintptr_t)aligned % 256, 0);
    free(aligned);
    free(NULL);
    assert_int_equal(hy_count_alloc() - before, 5);
    assert_int_equal(hy_count_free() - freed, 4);
    before = hy_count_alloc();
    kept = strdup("inside the C library");
    free(kept);
    assert_int_equal(hy_count_alloc() - before, 1);
}

static void allocate(void *context, uint32_t worker, uint32_t workers) {
    void **slot = context;
    if (worker == 1) slot[0] = malloc(1);
}

static void nothing(void *context, uint32_t worker, uint32_t workers) {}

static void counts_threads(void **state) {
    hy_pool *pool = NULL;
    void *slot[1] = {NULL};
    assert_int_equal(hy_pool_new(2, NULL, &pool), HY_OK);
    hy_pool_run(pool, nothing, NULL);
    uint64_t before = hy_count_alloc();
    for (int i = 0; i < 100; i++)
        hy_pool_run(pool, nothing, NULL);
    assert_int_equal(hy_count_alloc() - before, 0); /* a run allocates nothing */
    hy_pool_run(pool, allocate, slot);
    assert_int_equal(hy_count_alloc() - before, 1);
    free(slot[0]);
    hy_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_each),
        cmocka_unit_test(counts_threads),
    };
    return cmocka_run_group_tests_name("count_alloc", tests, need_counter, NULL);
}

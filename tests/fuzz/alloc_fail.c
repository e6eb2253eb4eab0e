#include "tests/fuzz/alloc_fail.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/rng.h"

/* The linker sends our objects' calls of malloc here and gives the real one under this name. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static atomic_bool armed;
static _Atomic uint64_t number;
static uint64_t first_failure, generator_seed;
static uint32_t failure_period;

void hy_alloc_fail_begin(uint64_t first, uint32_t period, uint64_t seed) {
    first_failure = first;
    failure_period = period;
    generator_seed = seed;
    atomic_store(&number, 0);
    atomic_store(&armed, true);
}

void hy_alloc_count_begin(void) {
    hy_alloc_fail_begin(UINT64_MAX, 0, 0);
}

uint64_t hy_alloc_stop(void) {
    atomic_store(&armed, false);
    return atomic_load(&number);
}

static bool fails(void) {
    if (!atomic_load_explicit(&armed, memory_order_relaxed)) return false;
    uint64_t n = atomic_fetch_add(&number, 1);
    uint32_t word[4];
    if (n < first_failure) return false;
    if (n > first_failure) {
        if (!failure_period) return false;
        hy_philox(generator_seed, n, 0, word);
        if (word[0] % failure_period) return false;
    }
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

/* tests/unit/count_alloc.h: counts heap allocations of the whole process, shared libraries
 * included.
 *
 * Linking count_alloc.c into a test executable replaces malloc and its like. Sanitizers bring their
 * own allocator, so there it counts nothing and hy_count_alloc_works() says so: the test then
 * skips. */
#ifndef HY_TESTS_COUNT_ALLOC_H
#define HY_TESTS_COUNT_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

/* False where allocations cannot be counted (sanitizers, a C library other than glibc). */
bool hy_count_alloc_works(void);

/* Calls of malloc, calloc, realloc, aligned_alloc, memalign and posix_memalign so far, by any
 * thread. */
uint64_t hy_count_alloc(void);

/* Those of this thread, but for what lies between pause and resume: calls into a driver that
 * allocates as it likes. Pauses nest. */
uint64_t hy_count_alloc_own(void);
void hy_count_alloc_pause(void);
void hy_count_alloc_resume(void);

/* Calls of free with a pointer other than NULL so far, by any thread. */
uint64_t hy_count_free(void);

#endif

#include "tests/unit/count_alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static _Atomic uint64_t allocations, frees;
static _Thread_local uint64_t own;
static _Thread_local uint32_t paused;

uint64_t hy_count_alloc(void) {
    return atomic_load(&allocations);
}

uint64_t hy_count_free(void) {
    return atomic_load(&frees);
}

uint64_t hy_count_alloc_own(void) {
    return own;
}

void hy_count_alloc_pause(void) {
    paused++;
}

void hy_count_alloc_resume(void) {
    paused--;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(__GLIBC__) && !defined(SANITIZED)

/* glibc's own names for what these definitions hide. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static void count(void) {
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    own += !paused;
}

void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    count();
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
    count();
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    count();
    void *memory = __libc_memalign(alignment, size);
    if (!memory) return ENOMEM;
    *out = memory;
    return 0;
}

void free(void *memory) {
    if (memory) atomic_fetch_add_explicit(&frees, 1, memory_order_relaxed);
    __libc_free(memory);
}

bool hy_count_alloc_works(void) {
    return true;
}

#else

bool hy_count_alloc_works(void) {
    return false;
}

#endif

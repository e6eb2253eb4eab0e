/* tests/gpu/fault_state.h: what a test sees and sets of a stand-in for a GPU's driver: the first member of the state that
 * each exports (vulkan_shim_state, emulator_state_of). C and C++; calls may come from several threads. */
#ifndef HY_TESTS_GPU_FAULT_STATE_H
#define HY_TESTS_GPU_FAULT_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct fault_state {
    int64_t alive; /* objects and pieces of memory not given back yet */
    /* The fail_at-th call from now that can fail does so with `failure`, and nothing else happens in it; 0: none. It
     * counts down to 0. A `failure` that means loss makes all later calls of the device fail so until `lost` is
     * cleared. */
    int64_t fail_at;
    int32_t failure;
    const char *fail_only; /* only calls of this name count; NULL: all */
    bool lost;
    bool hang;           /* what is submitted is never done */
    void (*enter)(void); /* called before and after each call; NULL: none */
    void (*leave)(void);
} fault_state;

static inline void fault_alive(fault_state *f, int64_t by) {
    __atomic_add_fetch(&f->alive, by, __ATOMIC_RELAXED);
}

/* Whether the call of that name fails with f->failure. `loss`: the code that means loss. */
static inline bool fault_hits(fault_state *f, const char *name, int32_t loss) {
    if (f->fail_only && strcmp(f->fail_only, name) != 0) return false;
    int64_t left = __atomic_load_n(&f->fail_at, __ATOMIC_RELAXED);
    do {
        if (left <= 0) return false;
    } while (!__atomic_compare_exchange_n(&f->fail_at, &left, left - 1, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    if (left == 1 && f->failure == loss) f->lost = true;
    return left == 1;
}

#endif

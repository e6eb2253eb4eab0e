/* tests/fuzz/alloc_fail.h: makes chosen heap allocations fail (linked with -Wl,--wrap=malloc and so
 * on). */
#ifndef HY_TESTS_ALLOC_FAIL_H
#define HY_TESTS_ALLOC_FAIL_H

#include <stdint.h>

/* From now on counts allocations from 0 and lets none fail. Returns nothing; ends with stop. */
void hy_alloc_count_begin(void);

/* From now on the allocation number `first` fails, and each later one with a chance of 1 in
 * `period` (0: no other), by a generator started from `seed`. */
void hy_alloc_fail_begin(uint64_t first, uint32_t period, uint64_t seed);

/* Nothing fails any more. Returns how many allocations there were since begin. */
uint64_t hy_alloc_stop(void);

#endif

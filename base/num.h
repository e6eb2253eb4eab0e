/* base/num.h: checked and rounding arithmetic. Sizes that come from a file, the network or the user
 * go through the checked forms; all of them return true when the result overflowed. */
#ifndef HY_BASE_NUM_H
#define HY_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HY_MIN(a, b) ((a) < (b) ? (a) : (b))
#define HY_MAX(a, b) ((a) > (b) ? (a) : (b))
#define HY_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* *out = a + b modulo 2^64. */
static inline bool hy_add_overflow(uint64_t a, uint64_t b, uint64_t *out) {
    return __builtin_add_overflow(a, b, out);
}

/* *out = a * b modulo 2^64. */
static inline bool hy_mul_overflow(uint64_t a, uint64_t b, uint64_t *out) {
    return __builtin_mul_overflow(a, b, out);
}

/* Rounds up to a power-of-two alignment; true on overflow. */
static inline bool hy_align_overflow(uint64_t value, uint64_t alignment, uint64_t *out) {
    uint64_t sum;
    if (__builtin_add_overflow(value, alignment - 1, &sum)) return true;
    *out = sum & ~(alignment - 1);
    return false;
}

/* For values already known to be small. */
static inline uint64_t hy_align_up(uint64_t value, uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

/* Quotient rounded up, for any value. */
static inline uint64_t hy_div_up(uint64_t value, uint64_t divisor) {
    return value / divisor + (value % divisor != 0);
}

#endif

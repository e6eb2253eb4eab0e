#include "base/hash.h"

#include <string.h>

/* Odd 64-bit constants with about half of their bits set; any such do (these are the golden ratio
 * and the fractional parts of the square roots of 3 and 5, made odd). */
#define STEP_A 0x9e3779b97f4a7c15u
#define STEP_B 0xbb67ae8584caa73bu
#define STEP_C 0x3c6ef372fe94f82bu

/* The 128-bit product folded to 64 bits: every input bit reaches every output bit. */
static uint64_t mix(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t read_tail(const unsigned char *bytes, size_t size) {
    uint64_t word = 0;
    memcpy(&word, bytes, size);
    return word;
}

uint64_t hy_hash(const void *data, size_t size, uint64_t seed) {
    const unsigned char *bytes = data;
    uint64_t state = mix(seed ^ STEP_A, STEP_B ^ size);
    size_t left = size;
    for (; left >= 16; left -= 16, bytes += 16)
        state = mix(read_tail(bytes, 8) ^ STEP_B, read_tail(bytes + 8, 8) ^ state);
    if (left >= 8) {
        state = mix(read_tail(bytes, 8) ^ STEP_C, state ^ STEP_A);
        bytes += 8;
        left -= 8;
    }
    if (left) state = mix(read_tail(bytes, left) ^ STEP_C, state ^ STEP_B);
    return mix(state ^ STEP_A, size ^ STEP_C);
}

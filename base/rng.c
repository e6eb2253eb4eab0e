#include "base/rng.h"

#include <math.h>

void hy_philox(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
    uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c0 * 0xd2511f53u, b = (uint64_t)c2 * 0xcd9e8d57u;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t hy_rng_u32(hy_rng *rng) {
    if (rng->used >= 4) {
        hy_philox(rng->key, rng->counter++, 0, rng->word);
        rng->used = 0;
    }
    return rng->word[rng->used++];
}

float hy_rng_f32(hy_rng *rng) {
    return (float)(hy_rng_u32(rng) >> 8) * 0x1p-24f;
}

double hy_rng_f64(hy_rng *rng) {
    uint64_t high = hy_rng_u32(rng) >> 5, low = hy_rng_u32(rng) >> 6; /* 27 and 26 bits */
    return (double)(high << 26 | low) * 0x1p-53;
}

/* The high half of word * n is uniform once the words whose low half falls below 2^32 mod n are
 * drawn again (Lemire 2019, "Fast random integer generation in an interval"). */
uint32_t hy_rng_below(hy_rng *rng, uint32_t n) {
    uint64_t product = (uint64_t)hy_rng_u32(rng) * n;
    uint32_t reject = (0u - n) % n;
    while ((uint32_t)product < reject)
        product = (uint64_t)hy_rng_u32(rng) * n;
    return (uint32_t)(product >> 32);
}

float hy_rng_normal(hy_rng *rng) {
    double radius = sqrt(-2.0 * log(1.0 - hy_rng_f64(rng))); /* 1 - u is in (0, 1] */
    return (float)(radius * cos(6.283185307179586 * hy_rng_f64(rng)));
}

/* base/rng.h: counter-based random numbers (Philox4x32-10): the same key and counter give the same
 * four words on every machine, so nothing has to be carried along and any position can be asked
 * for. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#ifndef HY_BASE_RNG_H
#define HY_BASE_RNG_H

#include <stdint.h>

/* Four words for a 64-bit key and a 128-bit counter. */
void hy_philox(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4]);

/* A small sequential face on it. */
typedef struct hy_rng {
    uint64_t key, counter;
    uint32_t word[4];
    uint32_t used; /* words of `word` handed out; 4 when new ones are due */
} hy_rng;

/* The sequence of a seed: words 0, 1, ... of counters 0, 1, ... under that key. */
static inline hy_rng hy_rng_seed(uint64_t seed) {
    hy_rng rng = {seed, 0, {0, 0, 0, 0}, 4};
    return rng;
}
/* Uniform over all 32-bit words. */
uint32_t hy_rng_u32(hy_rng *rng);
/* Uniform in [0, 1), 24 bits. */
float hy_rng_f32(hy_rng *rng);
/* Uniform in [0, 1), 53 bits. */
double hy_rng_f64(hy_rng *rng);
/* Uniform in [0, n), n > 0. */
uint32_t hy_rng_below(hy_rng *rng, uint32_t n);
/* Standard normal (Box-Muller). */
float hy_rng_normal(hy_rng *rng);

#endif

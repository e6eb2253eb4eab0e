/* backends/cpu/peak.h: loops that do nothing but arithmetic, or nothing but reading, as fast as one core of an
 * ISA can. What benchmarks call the machine's limit; no kernel. Any thread. */
#ifndef HY_CPU_PEAK_H
#define HY_CPU_PEAK_H

#include <stdint.h>

/* NULL: the ISA has no such instructions. Each returns the operations done, a product and a sum being two. */
typedef struct cpu_peak {
    uint64_t (*f32)(uint32_t rounds);  /* fused multiply-adds where there are any */
    uint64_t (*int8)(uint32_t rounds); /* products of unsigned and signed bytes, summed in int32 */
    uint64_t (*bf16)(uint32_t rounds); /* products of bfloat16 pairs, summed in float32 */
    /* Reads bytes, a multiple of 4096, once; returns something that depends on all of them. */
    uint64_t (*read)(const void *from, uint64_t bytes);
} cpu_peak;

/* The highest of the cpu_isa bits. */
const cpu_peak *cpu_peak_of(uint32_t isa);

#endif

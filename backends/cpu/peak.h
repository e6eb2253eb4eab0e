/* backends/cpu/peak.h: loops that do nothing but arithmetic, or nothing but reading or writing, as fast as one core
 * of an ISA can. What hy_backend.peak runs on every worker; no kernel. Any thread. */
#ifndef HY_CPU_PEAK_H
#define HY_CPU_PEAK_H

#include <stdint.h>

/* Bytes that the loops go through at once; what the writing one leaves in each. */
enum { CPU_PEAK_STEP = 4096, CPU_PEAK_BYTE = 1 };

/* NULL: the ISA has no such instructions. Those with rounds return the operations done, a product and a sum being
 * two. */
typedef struct cpu_peak {
    uint64_t (*f32)(uint32_t rounds);  /* fused multiply-adds where there are any */
    uint64_t (*int8)(uint32_t rounds); /* products of unsigned and signed bytes, summed in int32 */
    uint64_t (*bf16)(uint32_t rounds); /* products of bfloat16 pairs, summed in float32 */
    /* Makes every byte CPU_PEAK_BYTE. Here and below: whole CPU_PEAK_STEPs, at a multiple of 64. */
    void (*write)(void *to, uint64_t bytes);
    /* Reads each byte once; all words of 64 bits or-ed together. */
    uint64_t (*read)(const void *from, uint64_t bytes);
} cpu_peak;

/* The highest of the cpu_isa bits. */
const cpu_peak *cpu_peak_of(uint32_t isa);

#endif

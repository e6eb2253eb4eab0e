/* backends/cpu/peak.c: see peak.h. */
#include "backends/cpu/peak.h"

#include "backends/cpu/cpu.h"

extern const cpu_peak cpu_peak_generic;
#if defined(__x86_64__)
extern const cpu_peak cpu_peak_avx2, cpu_peak_avx512, cpu_peak_avx512bf16;
#endif

const cpu_peak *cpu_peak_of(uint32_t isa) {
#if defined(__x86_64__)
    if (isa & CPU_AVX512_BF16) return &cpu_peak_avx512bf16;
    if (isa & CPU_AVX512) return &cpu_peak_avx512;
    if (isa & CPU_AVX2) return &cpu_peak_avx2;
#endif
    return &cpu_peak_generic;
}

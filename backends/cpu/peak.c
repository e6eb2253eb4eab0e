/* backends/cpu/peak.c: see peak.h. */
#include "backends/cpu/peak.h"

#include "backends/cpu/cpu.h"

extern const cpu_peak cpu_peak_generic;
#if defined(__x86_64__)
extern const cpu_peak cpu_peak_avx2, cpu_peak_avx512, cpu_peak_avx512bf16;
#elif defined(__aarch64__)
extern const cpu_peak cpu_peak_dotprod, cpu_peak_i8mm, cpu_peak_sve256, cpu_peak_sve512;
#endif

const cpu_peak *cpu_peak_of(uint32_t isa) {
#if defined(__x86_64__)
    if (isa & CPU_AVX512_BF16) return &cpu_peak_avx512bf16;
    if (isa & CPU_AVX512) return &cpu_peak_avx512;
    if (isa & CPU_AVX2) return &cpu_peak_avx2;
#elif defined(__aarch64__)
    if (isa & CPU_SVE512) return &cpu_peak_sve512;
    if (isa & CPU_SVE256) return &cpu_peak_sve256;
    if (isa & CPU_I8MM) return &cpu_peak_i8mm;
    if (isa & CPU_DOTPROD) return &cpu_peak_dotprod;
#endif
    return &cpu_peak_generic;
}

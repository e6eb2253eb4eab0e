/* backends/cpu/isa.c: which instruction sets the machine has, and their names. */
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#endif

#include "backends/cpu/device.h"

typedef struct isa_level {
    const char *name; /* of hy_device_params.isa */
    const char *arch; /* of hy_device_info.arch */
    uint32_t bits;    /* that this level adds to those below */
} isa_level;

/* Lowest first. */
static const isa_level levels[] = {
#if defined(__x86_64__)
    {"generic", "x86-64", CPU_GENERIC},
    {"avx2", "avx2", CPU_AVX2},
    {"avx512", "avx512-vnni", CPU_AVX512},
    {"avx512-gfni", "avx512-gfni", CPU_AVX512_GFNI},
    {"avx512-bf16", "avx512-bf16", CPU_AVX512_BF16},
    {"amx", "amx", CPU_AMX},
#elif defined(__aarch64__)
    {"generic", "arm64", CPU_GENERIC}, {"dotprod", "dotprod", CPU_DOTPROD},
    {"i8mm", "i8mm", CPU_I8MM},        {"sve256", "sve256", CPU_SVE256},
    {"sve512", "sve512", CPU_SVE512},
#else
    {"generic", "generic", CPU_GENERIC},
#endif
};

enum { LEVELS = sizeof levels / sizeof levels[0] };

#if defined(__x86_64__)
/* clang 14's __builtin_cpu_supports does not know this one. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* Tile registers are large, so Linux wants to be asked before a process uses them; the answer is for all threads. */
static bool has_amx(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { BF16 = 1 << 22, TILE = 1 << 24, INT8 = 1 << 25, ALL = BF16 | TILE | INT8 };
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & ALL) == ALL &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}
#endif

#if defined(__aarch64__) && defined(__linux__)
/* Kernels for SVE are compiled for one length of vectors; at 128 bits NEON is as good. */
static uint32_t sve_of(unsigned long features, unsigned long more) {
    const int length = features & HWCAP_SVE ? prctl(PR_SVE_GET_VL) : -1;
    if (length < 0) return 0;
    switch (length & PR_SVE_VL_LEN_MASK) {
    case 32:
        return more & HWCAP2_SVEI8MM ? CPU_SVE256 : 0;
    case 64:
        return CPU_SVE512;
    default:
        return 0;
    }
}
#endif

uint32_t cpu_isa_detect(void) {
    uint32_t isa = CPU_GENERIC;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        isa |= CPU_AVX2;
    if ((isa & CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        isa |= CPU_AVX512;
    if ((isa & CPU_AVX512) && __builtin_cpu_supports("gfni")) isa |= CPU_AVX512_GFNI;
    if ((isa & CPU_AVX512) && __builtin_cpu_supports("avx512bf16")) isa |= CPU_AVX512_BF16;
    if ((isa & CPU_AVX512_BF16) && __builtin_cpu_supports("avx512vbmi") && has_amx())
        isa |= CPU_AMX;
#elif defined(__aarch64__) && defined(__linux__)
    const unsigned long features = getauxval(AT_HWCAP), more = getauxval(AT_HWCAP2);
    if (features & HWCAP_ASIMDDP) isa |= CPU_DOTPROD;
    if ((isa & CPU_DOTPROD) && (more & HWCAP2_I8MM)) isa |= CPU_I8MM;
    isa |= sve_of(features, more);
#endif
    return isa;
}

hy_status cpu_isa_mask(const char *name, uint32_t *out) {
    char list[128] = "";
    *out = 0;
    for (int i = 0; i < LEVELS; i++) {
        *out |= levels[i].bits;
        if (name && !strcmp(name, levels[i].name)) return HY_OK;
        if (i) strncat(list, ", ", sizeof list - strlen(list) - 1);
        strncat(list, levels[i].name, sizeof list - strlen(list) - 1);
    }
    if (!name) return HY_OK;
    return hy_fail(HY_E_ARGUMENT, "cpu: no instruction set \"%s\"; there are %s", name, list);
}

const char *cpu_isa_arch(uint32_t isa) {
    const char *arch = levels[0].arch;
    for (int i = 0; i < LEVELS; i++) {
        if ((isa & levels[i].bits) == levels[i].bits) arch = levels[i].arch;
    }
    return arch;
}

/* What the CPU's kernels share: elementary functions against libm in float64, and activations that every
 * instruction set quantizes to the same bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cpu/matmul.h"
#include "backends/cpu/vmath.h"
#include "base/num.h"
#include "base/rng.h"

static hy_rng rng;

static double exact(double x, int32_t act) {
    switch (act) {
    case HY_ACT_TANH:
        return tanh(x);
    case HY_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case HY_ACT_SILU:
        return x / (1 + exp(-x));
    case HY_ACT_GELU_TANH:
        return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case HY_ACT_GELU_ERF:
        return x / 2 * erfc(-x / sqrt(2));
    default:
        return exp(x);
    }
}

static void test_activations_are_quantized_alike(void **state) {
    (void)state;
    static const mm_kernels *const all[] = {
        &cpu_mm_generic,
#if defined(__x86_64__)
        &cpu_mm_avx2,
        &cpu_mm_avx512,
#elif defined(__aarch64__)
        &cpu_mm_dotprod,
        &cpu_mm_i8mm,
        &cpu_mm_sve256,
        &cpu_mm_sve512,
#endif
    };
#if defined(__aarch64__)
    const uint32_t isa[] = {0, CPU_DOTPROD, CPU_I8MM, CPU_SVE256, CPU_SVE512};
#else
    const uint32_t isa[] = {0, CPU_AVX2, CPU_AVX512};
#endif
    float x[64];
    for (int i = 0; i < 30000; i++) {
        for (int j = 0; j < 64; j++) {
            const uint32_t bits = hy_rng_u32(&rng);
            x[j] = i % 3 == 0   ? hy_f32_from_bits(bits)
                   : i % 3 == 1 ? (float)((int32_t)(bits % 511) - 255) /* ties */
                                : (float)(int32_t)bits * 1e-43f;
        }
        hy_a8_block want[2], got[2];
        hy_quantize_row(HY_DTYPE_A8, x, want, 64);
        for (size_t k = 0; k < HY_COUNT_OF(all); k++) {
            if (isa[k] & ~cpu_isa_detect()) continue;
            all[k]->quantize(HY_DTYPE_F32, x, 64, got);
            assert_memory_equal(want, got, sizeof want);
        }
    }
}

typedef struct elementary {
    const char *name;
    int32_t act; /* HY_ACT_NONE: exp */
    float low, high;
    double bound; /* |error| in units of 2^-24 |want| */
} elementary;

static void test_elementary_functions(void **state) {
    static const elementary all[] = {
        {"exp", HY_ACT_NONE, -103, 88.7f, 2},          {"tanh", HY_ACT_TANH, -100, 100, 3},
        {"sigmoid", HY_ACT_SIGMOID, -80, 100, 3},      {"silu", HY_ACT_SILU, -80, 1e6f, 3},
        {"gelu_tanh", HY_ACT_GELU_TANH, -3, 1e6f, 16}, {"gelu_erf", HY_ACT_GELU_ERF, -3, 1e6f, 16}};
    (void)state;
    for (size_t i = 0; i < HY_COUNT_OF(all); i++) {
        const elementary *f = &all[i];
        double worst = 0;
        for (uint64_t bits = 0; bits < 0xff800000u; bits += 40961) {
            const float x = hy_f32_from_bits((uint32_t)bits);
            if (!(x >= f->low && x <= f->high)) continue;
            const double want = exact(x, f->act);
            const double got = f->act ? vm_act(x, f->act) : vm_exp(x);
            const double unit = fmax(fabs(want) * 0x1p-24, 0x1p-150);
            worst = fmax(worst, fabs(got - want) / unit);
        }
        if (!(worst <= f->bound)) fail_msg("%s: %.2f u", f->name, worst);
    }
    assert_true(vm_exp(-INFINITY) == 0 && vm_exp(INFINITY) == INFINITY && isnan(vm_exp(NAN)));
    assert_true(vm_tanh(INFINITY) == 1 && vm_tanh(-INFINITY) == -1 && isnan(vm_tanh(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations_are_quantized_alike),
        cmocka_unit_test(test_elementary_functions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

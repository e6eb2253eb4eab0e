/* backends/cpu/attention.c: the table of attention kernels. The dtype in a name is that of k_cache; q, out
 * and v_cache may have any that op.def allows. */
#include "backends/cpu/attention.h"

#define FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)

static uint64_t workspace(const hy_op *op, uint32_t workers) {
    const att_shape shape = att_shape_of(op, workers);
    return (shape.scratch * workers + shape.partials) * sizeof(float);
}

#define KEYS(name, NAME)                                                                           \
    static bool keys_##name(const hy_op *op) {                                                     \
        return op->operand[HY_ATTENTION_k_cache].dtype == HY_DTYPE_##NAME;                         \
    }
KEYS(f32, F32)
KEYS(f16, F16)
KEYS(bf16, BF16)
KEYS(q8_0, Q8_0)

#define ROW(type, isa_bits, isa_name)                                                              \
    {.name = "cpu.attention." #type "." #isa_name,                                                 \
     .kind = HY_OP_ATTENTION,                                                                      \
     .isa = isa_bits,                                                                              \
     .flags = FLAGS,                                                                               \
     .in_place = 1u << HY_ATTENTION_q,                                                             \
     .accuracy = 16,                                                                               \
     .accepts = keys_##type,                                                                       \
     .phase = {cpu_attention_##isa_name, cpu_attention_join_##isa_name},                           \
     .workspace = workspace},

/* Not HY_KERNEL_INVARIANT: with numerics=invariant all ISAs give the same bits. None for a cache of float32, which is
 * kept by those who want every bit. */
#define BF16_ROW(type, isa_bits, isa_name, text)                                                   \
    {.name = "cpu.attention." #type "." text,                                                      \
     .kind = HY_OP_ATTENTION,                                                                      \
     .isa = isa_bits,                                                                              \
     .flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_ROUNDS,                   \
     .rounded = HY_DTYPE_BF16,                                                                     \
     .in_place = 1u << HY_ATTENTION_q,                                                             \
     .accuracy = 32768,                                                                            \
     .accepts = keys_##type,                                                                       \
     .phase = {cpu_attention_##isa_name, cpu_attention_join_##isa_name},                           \
     .workspace = workspace},

#if defined(__x86_64__)
#define BF16_ROWS_OF(...)                                                                          \
    BF16_ROW(f16, __VA_ARGS__) BF16_ROW(bf16, __VA_ARGS__) BF16_ROW(q8_0, __VA_ARGS__)
#define BF16_ROWS                                                                                  \
    BF16_ROWS_OF(CPU_AMX, amx, "amx")                                                              \
    BF16_ROWS_OF(CPU_AVX512 | CPU_AVX512_BF16, avx512bf16, "dot.avx512")
#define ROWS(type)                                                                                 \
    ROW(type, CPU_AVX2 | CPU_AVX512, avx512)                                                       \
    ROW(type, CPU_AVX2, avx2)                                                                      \
    ROW(type, CPU_GENERIC, generic)
#elif defined(__aarch64__)
#define BF16_ROWS
#define ROWS(type)                                                                                 \
    ROW(type, CPU_DOTPROD, dotprod)                                                                \
    ROW(type, CPU_GENERIC, generic)
#else
#define BF16_ROWS
#define ROWS(type) ROW(type, CPU_GENERIC, generic)
#endif

// clang-format off
const cpu_variant cpu_attention_variants[] = {
    BF16_ROWS
    ROWS(f32)
    ROWS(f16)
    ROWS(bf16)
    ROWS(q8_0)
    {.name = NULL},
};
// clang-format on

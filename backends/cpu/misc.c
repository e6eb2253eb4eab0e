/* backends/cpu/misc.c: the table of everything but matmul and attention. */
#include "backends/cpu/misc.h"

#define FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)

/* The dtype in a kernel's name is that of operand 0. */
static bool first_is_f32(const hy_op *op) {
    return op->operand[0].dtype == HY_DTYPE_F32;
}
static bool first_is_f16(const hy_op *op) {
    return op->operand[0].dtype == HY_DTYPE_F16;
}
static bool first_is_bf16(const hy_op *op) {
    return op->operand[0].dtype == HY_DTYPE_BF16;
}
static bool first_is_i32(const hy_op *op) {
    return op->operand[0].dtype == HY_DTYPE_I32;
}

static uint64_t scratch(const hy_op *op, uint32_t workers) {
    return (cpu_scratch_floats(op) + 31) / 32 * 32 * sizeof(float) * workers;
}

#define BIT(operand) (1u << (operand))

#define ROW(KIND, op, text, isa_bits, isa_name, accept, places, space)                             \
    {.name = "cpu." #op "." text "." #isa_name,                                                    \
     .kind = HY_OP_##KIND,                                                                         \
     .isa = isa_bits,                                                                              \
     .flags = FLAGS,                                                                               \
     .in_place = places,                                                                           \
     .accuracy = 8,                                                                                \
     .accepts = accept,                                                                            \
     .phase = {cpu_##op##_##isa_name},                                                             \
     .workspace = space},

/* One dtype, best ISA first. */
#if defined(__x86_64__)
#define ROWS(KIND, op, text, accept, places, space)                                                \
    ROW(KIND, op, text, CPU_AVX2 | CPU_AVX512, avx512, accept, places, space)                      \
    ROW(KIND, op, text, CPU_AVX2, avx2, accept, places, space)                                     \
    ROW(KIND, op, text, CPU_GENERIC, generic, accept, places, space)
#elif defined(__aarch64__)
#define ROWS(KIND, op, text, accept, places, space)                                                \
    ROW(KIND, op, text, CPU_DOTPROD, dotprod, accept, places, space)                               \
    ROW(KIND, op, text, CPU_GENERIC, generic, accept, places, space)
#else
#define ROWS(KIND, op, text, accept, places, space)                                                \
    ROW(KIND, op, text, CPU_GENERIC, generic, accept, places, space)
#endif

#define FLOAT_ROWS(KIND, op, places, space)                                                        \
    ROWS(KIND, op, "f32", first_is_f32, places, space)                                             \
    ROWS(KIND, op, "f16", first_is_f16, places, space)                                             \
    ROWS(KIND, op, "bf16", first_is_bf16, places, space)

// clang-format off
const cpu_variant cpu_misc_variants[] = {
    FLOAT_ROWS(RMS_NORM, rms_norm, BIT(HY_RMS_NORM_x) | BIT(HY_RMS_NORM_residual), NULL)
    FLOAT_ROWS(LAYER_NORM, layer_norm, BIT(HY_LAYER_NORM_x) | BIT(HY_LAYER_NORM_residual), NULL)
    ROWS(ROPE_TABLE, rope_table, "f32", NULL, 0, NULL)
    FLOAT_ROWS(ROPE, rope, BIT(HY_ROPE_x), scratch)
    FLOAT_ROWS(KV_WRITE, kv_write, BIT(HY_KV_WRITE_q), scratch)
    FLOAT_ROWS(ADD, add, BIT(HY_ADD_a) | BIT(HY_ADD_b), NULL)
    FLOAT_ROWS(MUL, mul, BIT(HY_MUL_a) | BIT(HY_MUL_b), NULL)
    FLOAT_ROWS(UNARY, unary, BIT(HY_UNARY_x), NULL)
    FLOAT_ROWS(GLU, glu, BIT(HY_GLU_gate) | BIT(HY_GLU_up), NULL)
    FLOAT_ROWS(SOFTMAX, softmax, BIT(HY_SOFTMAX_x), NULL)
    ROWS(TOPK_ROUTE, topk_route, "f32", NULL, 0, scratch)
    FLOAT_ROWS(COMBINE, combine, BIT(HY_COMBINE_residual), NULL)
    FLOAT_ROWS(GATHER_ROWS, gather_rows, 0, NULL)
    FLOAT_ROWS(ARGMAX, argmax, 0, NULL)
    FLOAT_ROWS(TOPK, topk, 0, NULL)
    FLOAT_ROWS(CAST, cast, BIT(HY_CAST_x), NULL)
    FLOAT_ROWS(QUANTIZE_ROWS, quantize_rows, 0, NULL)
    FLOAT_ROWS(COPY, copy, 0, NULL)
    ROWS(COPY, copy, "i32", first_is_i32, 0, NULL)
    {.name = NULL},
};
// clang-format on

/* backends/simt/rows_misc.h: rows of the table of variants: norms, softmax, elementwise ops, movement of rows, argmax,
 * topk, quantize_rows, rope and KV write, the choice of experts. One kernel for all dtypes. B: the backend's name. */
#ifndef HY_SIMT_ROWS_MISC_H
#define HY_SIMT_ROWS_MISC_H

#define SIMT_FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)
#define SIMT_BIT(operand) (1u << (operand))

// clang-format off
#define SIMT_MISC(B, KIND, op, of, threads, rows, each, places)                                    \
    {.name = B "." #op ".any", .kind = HY_OP_##KIND, .family = &of, .entry = {#op},                \
     .tile = {threads, rows, each}, .flags = SIMT_FLAGS, .in_place = places, .accuracy = 8},
#define SIMT_MISC_ROWS(B, KIND, op, rows, places)                                                  \
    SIMT_MISC(B, KIND, op, gpu_family_rows, 256, rows, 0, places)
#define SIMT_MISC_ELEMENTS(B, KIND, op, rows, places)                                              \
    SIMT_MISC(B, KIND, op, gpu_family_elements, 128, rows, 4, places)

#define SIMT_ROWS_MISC(B)                                                                          \
    SIMT_MISC_ROWS(B, RMS_NORM, rms_norm, HY_RMS_NORM_x,                                           \
                   SIMT_BIT(HY_RMS_NORM_x) | SIMT_BIT(HY_RMS_NORM_residual))                       \
    SIMT_MISC_ROWS(B, LAYER_NORM, layer_norm, HY_LAYER_NORM_x,                                     \
                   SIMT_BIT(HY_LAYER_NORM_x) | SIMT_BIT(HY_LAYER_NORM_residual))                   \
    SIMT_MISC_ROWS(B, SOFTMAX, softmax, HY_SOFTMAX_x, SIMT_BIT(HY_SOFTMAX_x))                      \
    SIMT_MISC_ROWS(B, ARGMAX, argmax, HY_ARGMAX_x, 0)                                              \
    SIMT_MISC_ROWS(B, TOPK, topk, HY_TOPK_x, 0)                                                    \
    SIMT_MISC_ELEMENTS(B, ADD, add, HY_ADD_a, SIMT_BIT(HY_ADD_a) | SIMT_BIT(HY_ADD_b))             \
    SIMT_MISC_ELEMENTS(B, MUL, mul, HY_MUL_a, SIMT_BIT(HY_MUL_a) | SIMT_BIT(HY_MUL_b))             \
    SIMT_MISC_ELEMENTS(B, UNARY, unary, HY_UNARY_x, SIMT_BIT(HY_UNARY_x))                          \
    SIMT_MISC_ELEMENTS(B, GLU, glu, HY_GLU_gate, SIMT_BIT(HY_GLU_gate) | SIMT_BIT(HY_GLU_up))      \
    SIMT_MISC_ELEMENTS(B, CAST, cast, HY_CAST_x, SIMT_BIT(HY_CAST_x))                              \
    SIMT_MISC_ELEMENTS(B, COPY, copy, HY_COPY_x, 0)                                                \
    SIMT_MISC_ELEMENTS(B, GATHER_ROWS, gather_rows, HY_GATHER_ROWS_out, 0)                         \
    SIMT_MISC_ELEMENTS(B, QUANTIZE_ROWS, quantize_rows, HY_QUANTIZE_ROWS_x, 0)                     \
    SIMT_MISC(B, KV_WRITE, kv_write, gpu_family_kv_write, 0, 0, 0, SIMT_BIT(HY_KV_WRITE_q))        \
    SIMT_MISC(B, ROPE, rope, gpu_family_rope, 0, 0, 0, SIMT_BIT(HY_ROPE_x))                        \
    SIMT_MISC(B, ROPE_TABLE, rope_table, gpu_family_rope_table, 0, 0, 0, 0)                        \
    {.name = B ".topk_route.f32", .kind = HY_OP_TOPK_ROUTE, .family = &gpu_family_route,           \
     .entry = {"topk_route"}, .flags = SIMT_FLAGS, .accuracy = 8},                                 \
    SIMT_MISC_ELEMENTS(B, COMBINE, combine, HY_COMBINE_out, SIMT_BIT(HY_COMBINE_residual))
// clang-format on

#endif

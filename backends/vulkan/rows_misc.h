/* backends/vulkan/rows_misc.h: rows of the table of variants: norms, softmax, elementwise ops, movement of
 * rows, argmax, topk, quantize_rows. One module for all dtypes. */
#ifndef HY_VULKAN_ROWS_MISC_H
#define HY_VULKAN_ROWS_MISC_H

#define VK_MISC_BIT(operand) (1u << (operand))

#define VK_MISC(KIND, op, of, threads, rows, each, places)                                         \
    {.name = "vulkan." #op ".any",                                                                 \
     .kind = HY_OP_##KIND,                                                                         \
     .family = &of,                                                                                \
     .entry = {#op},                                                                               \
     .tile = {threads, rows, each},                                                                \
     .flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT,                \
     .in_place = places,                                                                           \
     .accuracy = 8},

#define VK_MISC_ROWS(KIND, op, rows, places)                                                       \
    VK_MISC(KIND, op, gpu_family_rows, 256, rows, 0, places)
#define VK_MISC_ELEMENTS(KIND, op, rows, places)                                                   \
    VK_MISC(KIND, op, gpu_family_elements, 128, rows, 4, places)

// clang-format off
#define VK_ROWS_MISC                                                                               \
    VK_MISC_ROWS(RMS_NORM, rms_norm, HY_RMS_NORM_x,                                                \
                 VK_MISC_BIT(HY_RMS_NORM_x) | VK_MISC_BIT(HY_RMS_NORM_residual))                   \
    VK_MISC_ROWS(LAYER_NORM, layer_norm, HY_LAYER_NORM_x,                                          \
                 VK_MISC_BIT(HY_LAYER_NORM_x) | VK_MISC_BIT(HY_LAYER_NORM_residual))               \
    VK_MISC_ROWS(SOFTMAX, softmax, HY_SOFTMAX_x, VK_MISC_BIT(HY_SOFTMAX_x))                        \
    VK_MISC_ROWS(ARGMAX, argmax, HY_ARGMAX_x, 0)                                                   \
    VK_MISC_ROWS(TOPK, topk, HY_TOPK_x, 0)                                                         \
    VK_MISC_ELEMENTS(ADD, add, HY_ADD_a, VK_MISC_BIT(HY_ADD_a) | VK_MISC_BIT(HY_ADD_b))            \
    VK_MISC_ELEMENTS(MUL, mul, HY_MUL_a, VK_MISC_BIT(HY_MUL_a) | VK_MISC_BIT(HY_MUL_b))            \
    VK_MISC_ELEMENTS(UNARY, unary, HY_UNARY_x, VK_MISC_BIT(HY_UNARY_x))                            \
    VK_MISC_ELEMENTS(GLU, glu, HY_GLU_gate, VK_MISC_BIT(HY_GLU_gate) | VK_MISC_BIT(HY_GLU_up))     \
    VK_MISC_ELEMENTS(CAST, cast, HY_CAST_x, VK_MISC_BIT(HY_CAST_x))                                \
    VK_MISC_ELEMENTS(COPY, copy, HY_COPY_x, 0)                                                     \
    VK_MISC_ELEMENTS(GATHER_ROWS, gather_rows, HY_GATHER_ROWS_out, 0)                              \
    VK_MISC_ELEMENTS(QUANTIZE_ROWS, quantize_rows, HY_QUANTIZE_ROWS_x, 0)
// clang-format on

#endif

/* backends/vulkan/rows_grouped.h: rows of the table of variants: products by the weights of experts, the choice
 * of experts and the sum over them. Numbers of the families: backends/gpu/grouped.c, rows.c. Order 1 as of
 * matmul. */
#ifndef HY_VULKAN_ROWS_GROUPED_H
#define HY_VULKAN_ROWS_GROUPED_H

#define VK_GROUPED_FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)

// clang-format off
#define VK_GROUPED_PRODUCT(DTYPE, text, way)                                                       \
    .name = "vulkan.grouped_matmul." text "." way, .kind = HY_OP_GROUPED_MATMUL,                   \
    .dtype = HY_DTYPE_##DTYPE, .order = 1, .accuracy = 16
#define VK_GROUPED_GEMV(DTYPE, text, way, dot8, feature)                                           \
    {VK_GROUPED_PRODUCT(DTYPE, text, way), .family = &gpu_family_grouped_gemv,                     \
     .entry = {"quantize_rows", "grouped_matmul." text "." way}, .tile = {dot8},                   \
     .flags = VK_GROUPED_FLAGS | HY_KERNEL_ROUNDS, .needs = feature},
#define VK_GROUPED_GEMM(DTYPE, text, way, dot8, feature)                                           \
    {VK_GROUPED_PRODUCT(DTYPE, text, way), .family = &gpu_family_grouped_gemm,                     \
     .entry = {"quantize_rows", "grouped_sort", "grouped_matmul." text "." way}, .tile = {dot8},   \
     .flags = VK_GROUPED_FLAGS | HY_KERNEL_ROUNDS, .needs = feature},
#define VK_GROUPED_BLOCKS(DTYPE, text)                                                             \
    VK_GROUPED_GEMV(DTYPE, text, "gemv.dot8", 1, GPU_DOT8)                                         \
    VK_GROUPED_GEMV(DTYPE, text, "gemv", 0, 0)                                                     \
    VK_GROUPED_GEMM(DTYPE, text, "gemm.dot8", 1, GPU_DOT8)                                         \
    VK_GROUPED_GEMM(DTYPE, text, "gemm", 0, 0)
#define VK_GROUPED_FLOATS(DTYPE, text)                                                             \
    {VK_GROUPED_PRODUCT(DTYPE, text, "gemv"), .family = &gpu_family_grouped_gemv,                  \
     .entry = {"grouped_matmul." text ".gemv"}, .flags = VK_GROUPED_FLAGS},                        \
    {VK_GROUPED_PRODUCT(DTYPE, text, "gemm"), .family = &gpu_family_grouped_gemm,                  \
     .entry = {"grouped_sort", "grouped_matmul." text ".gemm"}, .flags = VK_GROUPED_FLAGS},

#define VK_ROWS_GROUPED                                                                            \
    VK_GROUPED_FLOATS(F32, "f32")                                                                  \
    VK_GROUPED_FLOATS(F16, "f16")                                                                  \
    VK_GROUPED_FLOATS(BF16, "bf16")                                                                \
    VK_GROUPED_BLOCKS(Q8_0, "q8_0")                                                                \
    VK_GROUPED_BLOCKS(Q4_0, "q4_0")                                                                \
    VK_GROUPED_BLOCKS(Q4_1, "q4_1")                                                                \
    VK_GROUPED_BLOCKS(Q5_0, "q5_0")                                                                \
    VK_GROUPED_BLOCKS(Q5_1, "q5_1")                                                                \
    VK_GROUPED_BLOCKS(Q2_K, "q2_k")                                                                \
    VK_GROUPED_BLOCKS(Q3_K, "q3_k")                                                                \
    VK_GROUPED_BLOCKS(Q4_K, "q4_k")                                                                \
    VK_GROUPED_BLOCKS(Q5_K, "q5_k")                                                                \
    VK_GROUPED_BLOCKS(Q6_K, "q6_k")                                                                \
    VK_GROUPED_BLOCKS(IQ4_NL, "iq4_nl")                                                            \
    VK_GROUPED_BLOCKS(IQ4_XS, "iq4_xs")                                                            \
    VK_GROUPED_BLOCKS(MXFP4, "mxfp4")                                                              \
    {.name = "vulkan.topk_route.f32", .kind = HY_OP_TOPK_ROUTE, .family = &gpu_family_route,       \
     .entry = {"topk_route"}, .flags = VK_GROUPED_FLAGS, .accuracy = 8},                           \
    {.name = "vulkan.combine.any", .kind = HY_OP_COMBINE, .family = &gpu_family_elements,          \
     .entry = {"combine"}, .tile = {128, HY_COMBINE_out, 4}, .flags = VK_GROUPED_FLAGS,            \
     .in_place = 1u << HY_COMBINE_residual, .accuracy = 8},
// clang-format on

#endif

/* backends/vulkan/rows_gemv.h: rows of the table of variants: products for few tokens, products by weights
 * that are not constant, embedding. Numbers of the families: backends/gpu/gemv.c. */
#ifndef HY_VULKAN_ROWS_GEMV_H
#define HY_VULKAN_ROWS_GEMV_H

#define VK_GEMV_FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)
#define VK_GEMV_TOKENS 8 /* upper bound of T */

// clang-format off
#define VK_GEMV_PRODUCT(DTYPE)                                                                     \
    .kind = HY_OP_MATMUL, .dtype = HY_DTYPE_##DTYPE, .in_place = 1u << HY_MATMUL_residual,         \
    .order = 1, .accuracy = 16
#define VK_GEMV_EMBED(DTYPE, text)                                                                 \
    {.name = "vulkan.embed." text, .kind = HY_OP_EMBED, .family = &gpu_family_embed,               \
     .entry = {"embed." text}, .dtype = HY_DTYPE_##DTYPE, .flags = VK_GEMV_FLAGS, .accuracy = 1},
#define VK_GEMV_BLOCKS(DTYPE, text)                                                                \
    {.name = "vulkan.matmul." text ".gemv.dot8", VK_GEMV_PRODUCT(DTYPE),                           \
     .family = &gpu_family_gemv, .flags = VK_GEMV_FLAGS | HY_KERNEL_ROUNDS,                        \
     .entry = {"quantize_rows", "matmul." text ".gemv.dot8"}, .tile = {VK_GEMV_TOKENS, 1},         \
     .needs = GPU_DOT8},                                                                           \
    {.name = "vulkan.matmul." text ".gemv", VK_GEMV_PRODUCT(DTYPE),                                \
     .family = &gpu_family_gemv, .flags = VK_GEMV_FLAGS | HY_KERNEL_ROUNDS,                        \
     .entry = {"quantize_rows", "matmul." text ".gemv"}, .tile = {VK_GEMV_TOKENS, 0}},             \
    VK_GEMV_EMBED(DTYPE, text)
#define VK_GEMV_FLOATS(DTYPE, text)                                                                \
    {.name = "vulkan.matmul." text ".gemv", VK_GEMV_PRODUCT(DTYPE), .family = &gpu_family_gemv,    \
     .flags = VK_GEMV_FLAGS, .entry = {"matmul." text ".gemv"}, .tile = {VK_GEMV_TOKENS, 0}},      \
    VK_GEMV_EMBED(DTYPE, text)

#define VK_ROWS_GEMV                                                                               \
    VK_GEMV_FLOATS(F32, "f32")                                                                     \
    VK_GEMV_FLOATS(F16, "f16")                                                                     \
    VK_GEMV_FLOATS(BF16, "bf16")                                                                   \
    VK_GEMV_BLOCKS(Q8_0, "q8_0")                                                                   \
    VK_GEMV_BLOCKS(Q4_0, "q4_0")                                                                   \
    VK_GEMV_BLOCKS(Q4_1, "q4_1")                                                                   \
    VK_GEMV_BLOCKS(Q5_0, "q5_0")                                                                   \
    VK_GEMV_BLOCKS(Q5_1, "q5_1")                                                                   \
    VK_GEMV_BLOCKS(Q2_K, "q2_k")                                                                   \
    VK_GEMV_BLOCKS(Q3_K, "q3_k")                                                                   \
    VK_GEMV_BLOCKS(Q4_K, "q4_k")                                                                   \
    VK_GEMV_BLOCKS(Q5_K, "q5_k")                                                                   \
    VK_GEMV_BLOCKS(Q6_K, "q6_k")                                                                   \
    VK_GEMV_BLOCKS(IQ4_NL, "iq4_nl")                                                               \
    VK_GEMV_BLOCKS(IQ4_XS, "iq4_xs")                                                               \
    VK_GEMV_BLOCKS(MXFP4, "mxfp4")                                                                 \
    {.name = "vulkan.matmul.float_rows", VK_GEMV_PRODUCT(NONE), .family = &gpu_family_float_rows,  \
     .flags = VK_GEMV_FLAGS, .entry = {"matmul.float_rows"}},
// clang-format on

#endif

/* backends/vulkan/rows_gemm.h: rows of the table of variants: products for many tokens. Numbers of
 * the families: backends/gpu/gemm.c. Order 1 is that of all products in float32 or by int8; order 2
 * that of matrix tiles, which round x and the weights to f16: no f32 weights, whose every bit
 * counts. */
#ifndef HY_VULKAN_ROWS_GEMM_H
#define HY_VULKAN_ROWS_GEMM_H

#define VK_GEMM_FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)

// clang-format off
#define VK_GEMM_PRODUCT(DTYPE)                                                                     \
    .kind = HY_OP_MATMUL, .dtype = HY_DTYPE_##DTYPE, .in_place = 1u << HY_MATMUL_residual,         \
    .accuracy = 16
#define VK_GEMM_COOPMAT(DTYPE, text)                                                               \
    {.name = "vulkan.matmul." text ".coopmat", VK_GEMM_PRODUCT(DTYPE), .order = 2,                 \
     .family = &gpu_family_coopmat, .flags = VK_GEMM_FLAGS | HY_KERNEL_ROUNDS,                     \
     .rounded = HY_DTYPE_F16, .entry = {"rows_to_f16", "matmul." text ".coopmat"},                 \
     .needs = GPU_COOPMAT},
#define VK_GEMM_BLOCKS(DTYPE, text)                                                                \
    {.name = "vulkan.matmul." text ".gemm.dot8", VK_GEMM_PRODUCT(DTYPE), .order = 1,               \
     .family = &gpu_family_gemm, .flags = VK_GEMM_FLAGS | HY_KERNEL_ROUNDS,                        \
     .entry = {"quantize_rows", "matmul." text ".gemm.dot8"}, .tile = {1}, .needs = GPU_DOT8},     \
    {.name = "vulkan.matmul." text ".gemm", VK_GEMM_PRODUCT(DTYPE), .order = 1,                    \
     .family = &gpu_family_gemm, .flags = VK_GEMM_FLAGS | HY_KERNEL_ROUNDS,                        \
     .entry = {"quantize_rows", "matmul." text ".gemm"}, .tile = {0}},                             \
    VK_GEMM_COOPMAT(DTYPE, text)
#define VK_GEMM_FLOATS(DTYPE, text)                                                                \
    {.name = "vulkan.matmul." text ".gemm", VK_GEMM_PRODUCT(DTYPE), .order = 1,                    \
     .family = &gpu_family_gemm, .flags = VK_GEMM_FLAGS, .entry = {"matmul." text ".gemm"}},

#define VK_ROWS_GEMM                                                                               \
    VK_GEMM_FLOATS(F32, "f32")                                                                     \
    VK_GEMM_FLOATS(F16, "f16")                                                                     \
    VK_GEMM_FLOATS(BF16, "bf16")                                                                   \
    VK_GEMM_COOPMAT(F16, "f16")                                                                    \
    VK_GEMM_COOPMAT(BF16, "bf16")                                                                  \
    VK_GEMM_BLOCKS(Q8_0, "q8_0")                                                                   \
    VK_GEMM_BLOCKS(Q4_0, "q4_0")                                                                   \
    VK_GEMM_BLOCKS(Q4_1, "q4_1")                                                                   \
    VK_GEMM_BLOCKS(Q5_0, "q5_0")                                                                   \
    VK_GEMM_BLOCKS(Q5_1, "q5_1")                                                                   \
    VK_GEMM_BLOCKS(Q2_K, "q2_k")                                                                   \
    VK_GEMM_BLOCKS(Q3_K, "q3_k")                                                                   \
    VK_GEMM_BLOCKS(Q4_K, "q4_k")                                                                   \
    VK_GEMM_BLOCKS(Q5_K, "q5_k")                                                                   \
    VK_GEMM_BLOCKS(Q6_K, "q6_k")                                                                   \
    VK_GEMM_BLOCKS(IQ4_NL, "iq4_nl")                                                               \
    VK_GEMM_BLOCKS(IQ4_XS, "iq4_xs")                                                               \
    VK_GEMM_BLOCKS(MXFP4, "mxfp4")
// clang-format on

#endif

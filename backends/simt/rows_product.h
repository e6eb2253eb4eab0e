/* backends/simt/rows_product.h: rows of the table of variants: products without matrix units, and embedding. Numbers of
 * the families: backends/simt/product.c. Order 1 is that of all products in float32 or by int8. B: the backend's
 * name. */
#ifndef HY_SIMT_ROWS_PRODUCT_H
#define HY_SIMT_ROWS_PRODUCT_H

#define SIMT_PRODUCT_FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)

// clang-format off
#define SIMT_PRODUCT(B, DTYPE, text, way)                                                          \
    .name = B ".matmul." text "." way, .kind = HY_OP_MATMUL, .dtype = HY_DTYPE_##DTYPE,            \
    .in_place = 1u << HY_MATMUL_residual, .order = 1, .accuracy = 16
#define SIMT_GROUPED(B, DTYPE, text, way)                                                          \
    .name = B ".grouped_matmul." text "." way, .kind = HY_OP_GROUPED_MATMUL,                       \
    .dtype = HY_DTYPE_##DTYPE, .order = 1, .accuracy = 16
#define SIMT_EMBED(B, DTYPE, text)                                                                 \
    {.name = B ".embed." text, .kind = HY_OP_EMBED, .family = &gpu_family_embed,                   \
     .entry = {"embed." text}, .dtype = HY_DTYPE_##DTYPE, .flags = SIMT_PRODUCT_FLAGS,             \
     .accuracy = 1},

#define SIMT_BLOCKS_OF(B, DTYPE, text, of, way, number)                                            \
    {SIMT_PRODUCT(B, DTYPE, text, way #number), .family = &of, .tile = {number},                   \
     .entry = {"quantize_rows", "matmul." text "." way #number},                                   \
     .flags = SIMT_PRODUCT_FLAGS | HY_KERNEL_ROUNDS},
#define SIMT_GROUPED_BLOCKS(B, DTYPE, text, number)                                                \
    {SIMT_GROUPED(B, DTYPE, text, "gemm" #number), .family = &simt_family_grouped_gemm,            \
     .tile = {number}, .flags = SIMT_PRODUCT_FLAGS | HY_KERNEL_ROUNDS,                             \
     .entry = {"quantize_rows", "grouped_sort", "grouped_matmul." text ".gemm" #number}},
#define SIMT_BLOCKS(B, DTYPE, text)                                                                \
    SIMT_EMBED(B, DTYPE, text)                                                                     \
    SIMT_BLOCKS_OF(B, DTYPE, text, simt_family_gemv, "gemv", 1)                                    \
    SIMT_BLOCKS_OF(B, DTYPE, text, simt_family_gemv, "gemv", 2)                                    \
    SIMT_BLOCKS_OF(B, DTYPE, text, simt_family_gemv, "gemv", 4)                                    \
    SIMT_BLOCKS_OF(B, DTYPE, text, simt_family_gemv, "gemv", 8)                                    \
    SIMT_BLOCKS_OF(B, DTYPE, text, simt_family_gemm, "gemm", 2)                                    \
    SIMT_BLOCKS_OF(B, DTYPE, text, simt_family_gemm, "gemm", 8)                                    \
    {SIMT_GROUPED(B, DTYPE, text, "gemv"), .family = &simt_family_grouped_gemv,                    \
     .entry = {"quantize_rows", "grouped_matmul." text ".gemv"},                                   \
     .flags = SIMT_PRODUCT_FLAGS | HY_KERNEL_ROUNDS},                                              \
    SIMT_GROUPED_BLOCKS(B, DTYPE, text, 2)                                                         \
    SIMT_GROUPED_BLOCKS(B, DTYPE, text, 8)

#define SIMT_FLOATS_OF(B, DTYPE, text, of, way, number)                                            \
    {SIMT_PRODUCT(B, DTYPE, text, way #number), .family = &of, .tile = {number},                   \
     .entry = {"matmul." text "." way #number}, .flags = SIMT_PRODUCT_FLAGS},
#define SIMT_GROUPED_FLOATS(B, DTYPE, text, number)                                                \
    {SIMT_GROUPED(B, DTYPE, text, "gemm" #number), .family = &simt_family_grouped_gemm,            \
     .tile = {number}, .flags = SIMT_PRODUCT_FLAGS,                                                \
     .entry = {"grouped_sort", "grouped_matmul." text ".gemm" #number}},
#define SIMT_FLOATS(B, DTYPE, text)                                                                \
    SIMT_EMBED(B, DTYPE, text)                                                                     \
    SIMT_FLOATS_OF(B, DTYPE, text, simt_family_gemv, "gemv", 1)                                    \
    SIMT_FLOATS_OF(B, DTYPE, text, simt_family_gemv, "gemv", 2)                                    \
    SIMT_FLOATS_OF(B, DTYPE, text, simt_family_gemv, "gemv", 4)                                    \
    SIMT_FLOATS_OF(B, DTYPE, text, simt_family_gemv, "gemv", 8)                                    \
    SIMT_FLOATS_OF(B, DTYPE, text, simt_family_gemm, "gemm", 2)                                    \
    SIMT_FLOATS_OF(B, DTYPE, text, simt_family_gemm, "gemm", 8)                                    \
    {SIMT_GROUPED(B, DTYPE, text, "gemv"), .family = &simt_family_grouped_gemv,                    \
     .entry = {"grouped_matmul." text ".gemv"}, .flags = SIMT_PRODUCT_FLAGS},                      \
    SIMT_GROUPED_FLOATS(B, DTYPE, text, 2)                                                         \
    SIMT_GROUPED_FLOATS(B, DTYPE, text, 8)

#define SIMT_ROWS_PRODUCT(B)                                                                       \
    SIMT_FLOATS(B, F32, "f32")                                                                     \
    SIMT_FLOATS(B, F16, "f16")                                                                     \
    SIMT_FLOATS(B, BF16, "bf16")                                                                   \
    SIMT_BLOCKS(B, Q8_0, "q8_0")                                                                   \
    SIMT_BLOCKS(B, Q4_0, "q4_0")                                                                   \
    SIMT_BLOCKS(B, Q4_1, "q4_1")                                                                   \
    SIMT_BLOCKS(B, Q5_0, "q5_0")                                                                   \
    SIMT_BLOCKS(B, Q5_1, "q5_1")                                                                   \
    SIMT_BLOCKS(B, Q2_K, "q2_k")                                                                   \
    SIMT_BLOCKS(B, Q3_K, "q3_k")                                                                   \
    SIMT_BLOCKS(B, Q4_K, "q4_k")                                                                   \
    SIMT_BLOCKS(B, Q5_K, "q5_k")                                                                   \
    SIMT_BLOCKS(B, Q6_K, "q6_k")                                                                   \
    SIMT_BLOCKS(B, IQ4_NL, "iq4_nl")                                                               \
    SIMT_BLOCKS(B, IQ4_XS, "iq4_xs")                                                               \
    SIMT_BLOCKS(B, MXFP4, "mxfp4")                                                                 \
    {SIMT_PRODUCT(B, NONE, "float_rows", "any"), .family = &gpu_family_float_rows,                 \
     .entry = {"matmul.float_rows"}, .flags = SIMT_PRODUCT_FLAGS},
// clang-format on

#endif

/* backends/simt/rows_tile.h: rows of the table of variants: products on matrix tiles. Numbers of the families:
 * backends/simt/tile.c. Order 1 is that of all products in float32 or by int8; order 2 that of tiles of f16,
 * which round x and the weights: no f32 weights, whose every bit counts. B: the backend's name. */
#ifndef HY_SIMT_ROWS_TILE_H
#define HY_SIMT_ROWS_TILE_H

#define SIMT_TILE_FLAGS                                                                            \
    (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT | HY_KERNEL_ROUNDS)

// clang-format off
#define SIMT_TILE(B, DTYPE, text, columns)                                                         \
    {.name = B ".matmul." text ".tile" #columns, .kind = HY_OP_MATMUL, .dtype = HY_DTYPE_##DTYPE,  \
     .family = &simt_family_tile, .entry = {"quantize_rows", "matmul." text ".tile" #columns},     \
     .tile = {columns}, .flags = SIMT_TILE_FLAGS, .order = 1, .accuracy = 16,                      \
     .in_place = 1u << HY_MATMUL_residual, .needs = GPU_TILES},
#define SIMT_GROUPED_TILE(B, DTYPE, text, columns)                                                 \
    {.name = B ".grouped_matmul." text ".tile" #columns, .kind = HY_OP_GROUPED_MATMUL,             \
     .dtype = HY_DTYPE_##DTYPE, .family = &simt_family_grouped_tile,                               \
     .entry = {"quantize_rows", "grouped_sort", "grouped_matmul." text ".tile" #columns},          \
     .tile = {columns}, .flags = SIMT_TILE_FLAGS, .order = 1, .accuracy = 16, .needs = GPU_TILES},
#define SIMT_HALF(B, DTYPE, text)                                                                  \
    {.name = B ".matmul." text ".half", .kind = HY_OP_MATMUL, .dtype = HY_DTYPE_##DTYPE,           \
     .family = &simt_family_half, .entry = {"rows_to_f16", "matmul." text ".half"},                \
     .flags = SIMT_TILE_FLAGS, .rounded = HY_DTYPE_F16, .order = 2, .accuracy = 32,                \
     .in_place = 1u << HY_MATMUL_residual, .needs = GPU_TILES},
#define SIMT_BLAS_OF(B, DTYPE, text)                                                               \
    {.name = B ".matmul." text ".blas", .kind = HY_OP_MATMUL, .dtype = HY_DTYPE_##DTYPE,           \
     .family = &simt_family_blas,                                                                  \
     .entry = {"rows_to_f16", "matmul." text ".halves", "blas", "matmul.finish"},                  \
     .flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_ROUNDS,                   \
     .rounded = HY_DTYPE_F16, .accuracy = 64, .in_place = 1u << HY_MATMUL_residual,                \
     .needs = GPU_BLAS},
#define SIMT_TILES(B, DTYPE, text)                                                                 \
    SIMT_TILE(B, DTYPE, text, 16)                                                                  \
    SIMT_TILE(B, DTYPE, text, 32)                                                                  \
    SIMT_TILE(B, DTYPE, text, 128)                                                                 \
    SIMT_HALF(B, DTYPE, text)                                                                      \
    SIMT_BLAS_OF(B, DTYPE, text)                                                                   \
    SIMT_GROUPED_TILE(B, DTYPE, text, 16)                                                          \
    SIMT_GROUPED_TILE(B, DTYPE, text, 32)

#define SIMT_ROWS_TILE(B)                                                                          \
    SIMT_HALF(B, F16, "f16")                                                                       \
    SIMT_HALF(B, BF16, "bf16")                                                                     \
    SIMT_BLAS_OF(B, F16, "f16")                                                                    \
    SIMT_BLAS_OF(B, BF16, "bf16")                                                                  \
    SIMT_TILES(B, Q8_0, "q8_0")                                                                    \
    SIMT_TILES(B, Q4_0, "q4_0")                                                                    \
    SIMT_TILES(B, Q4_1, "q4_1")                                                                    \
    SIMT_TILES(B, Q5_0, "q5_0")                                                                    \
    SIMT_TILES(B, Q5_1, "q5_1")                                                                    \
    SIMT_TILES(B, Q2_K, "q2_k")                                                                    \
    SIMT_TILES(B, Q3_K, "q3_k")                                                                    \
    SIMT_TILES(B, Q4_K, "q4_k")                                                                    \
    SIMT_TILES(B, Q5_K, "q5_k")                                                                    \
    SIMT_TILES(B, Q6_K, "q6_k")                                                                    \
    SIMT_TILES(B, IQ4_NL, "iq4_nl")                                                                \
    SIMT_TILES(B, IQ4_XS, "iq4_xs")                                                                \
    SIMT_TILES(B, MXFP4, "mxfp4")
// clang-format on

#endif

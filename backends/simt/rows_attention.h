/* backends/simt/rows_attention.h: rows of the table of variants: attention. The dtype in a name is that of the keys; q,
 * out and, but for tiles, values may have any. Order 1 is that of attention_float.h; order 2 that of matrix tiles, which
 * round queries and weights to f16: 2^14 units in the last place of float32. B: the backend's name. */
#ifndef HY_SIMT_ROWS_ATTENTION_H
#define HY_SIMT_ROWS_ATTENTION_H

#define SIMT_ATTENTION_FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)

// clang-format off
#define SIMT_ATTENTION(B, type, keys, way, split, second)                                          \
    {.name = B ".attention." #type "." way, .kind = HY_OP_ATTENTION,                               \
     .family = &simt_family_attention, .entry = {"attention." way, second}, .tile = {split},       \
     .dtype = keys, .flags = SIMT_ATTENTION_FLAGS, .in_place = 1u << HY_ATTENTION_q, .order = 1,   \
     .accuracy = 16},
#define SIMT_ATTENTION_OF(B, type, keys)                                                           \
    SIMT_ATTENTION(B, type, keys, "rows", 0, NULL)                                                 \
    SIMT_ATTENTION(B, type, keys, "split", 1, "attention.join")
/* C: weights of f16, off by 2^-12 above and below the bar, are 8192 of it. */
#define SIMT_ATTENTION_TILE(B, way, split, second)                                                 \
    {.name = B ".attention.f16." way, .kind = HY_OP_ATTENTION,                                     \
     .family = &simt_family_attention_tile, .entry = {"attention." way, second}, .tile = {split},  \
     .dtype = HY_DTYPE_F16,                                                                        \
     .flags = SIMT_ATTENTION_FLAGS | HY_KERNEL_ROUNDS, .rounded = HY_DTYPE_F16,                    \
     .in_place = 1u << HY_ATTENTION_q, .order = 2, .accuracy = 8400, .needs = GPU_TILES},

#define SIMT_ROWS_ATTENTION(B)                                                                     \
    SIMT_ATTENTION_OF(B, f32, HY_DTYPE_F32)                                                        \
    SIMT_ATTENTION_OF(B, f16, HY_DTYPE_F16)                                                        \
    SIMT_ATTENTION_OF(B, bf16, HY_DTYPE_BF16)                                                      \
    SIMT_ATTENTION_OF(B, q8_0, HY_DTYPE_Q8_0)                                                      \
    SIMT_ATTENTION_TILE(B, "tile", 0, NULL)                                                        \
    SIMT_ATTENTION_TILE(B, "tile_split", 1, "attention.join")
// clang-format on

#endif

/* backends/vulkan/rows_attention.h: rows of the table of variants: attention, kv_write, rope, rope_table. */
#ifndef HY_VULKAN_ROWS_ATTENTION_H
#define HY_VULKAN_ROWS_ATTENTION_H

#define VK_ATTENTION_FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)

/* The dtype in a name is that of the keys; q, out and values may have any. Order 1: attention.comp's. */
#define VK_ATTENTION(type, keys, variant, of, first, second, wide, places)                         \
    {.name = "vulkan.attention." #type "." #variant,                                               \
     .kind = HY_OP_ATTENTION,                                                                      \
     .family = &of,                                                                                \
     .entry = {first, second},                                                                     \
     .tile = {wide},                                                                               \
     .dtype = keys,                                                                                \
     .flags = VK_ATTENTION_FLAGS,                                                                  \
     .in_place = places,                                                                           \
     .order = 1,                                                                                   \
     .accuracy = 16},

#define VK_ATTENTION_OF(type, keys)                                                                \
    VK_ATTENTION(type, keys, split, gpu_family_attention_split, "attention.split",                 \
                 "attention.join", 0, 1u << HY_ATTENTION_q)                                        \
    VK_ATTENTION(type, keys, rows, gpu_family_attention_rows, "attention.rows", NULL, 0,           \
                 1u << HY_ATTENTION_q)                                                             \
    VK_ATTENTION(type, keys, wide, gpu_family_attention_rows, "attention.rows", NULL, 1, 0)

/* One module for all dtypes. */
#define VK_ROPE(KIND, op, places)                                                                  \
    {.name = "vulkan." #op ".any",                                                                 \
     .kind = HY_OP_##KIND,                                                                         \
     .family = &gpu_family_##op,                                                                   \
     .entry = {#op},                                                                               \
     .flags = VK_ATTENTION_FLAGS,                                                                  \
     .in_place = places,                                                                           \
     .accuracy = 8},

// clang-format off
#define VK_ROWS_ATTENTION                                                                          \
    VK_ATTENTION_OF(f32, HY_DTYPE_F32)                                                             \
    VK_ATTENTION_OF(f16, HY_DTYPE_F16)                                                             \
    VK_ATTENTION_OF(bf16, HY_DTYPE_BF16)                                                           \
    VK_ATTENTION_OF(q8_0, HY_DTYPE_Q8_0)                                                           \
    VK_ROPE(KV_WRITE, kv_write, 1u << HY_KV_WRITE_q)                                               \
    VK_ROPE(ROPE, rope, 1u << HY_ROPE_x)                                                           \
    VK_ROPE(ROPE_TABLE, rope_table, 0)
// clang-format on

#endif

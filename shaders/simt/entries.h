/* shaders/simt/entries.h: every kernel of shaders/simt, once. X(unit, name): HY_ENTRY(name, ...) stands in that
 * unit (units.txt). gpu_variant.entry "matmul.q4_0.gemv1" is name matmul_q4_0_gemv1. From this list come the
 * host's table (backends/simt/kernel.c) and the emulator's. Parts have a macro each. */
#ifndef HY_SIMT_ENTRIES_H
#define HY_SIMT_ENTRIES_H

#define SIMT_BLOCK_FORMATS(DO, X)                                                                  \
    DO(X, q8_0)                                                                                    \
    DO(X, q4_0)                                                                                    \
    DO(X, q4_1)                                                                                    \
    DO(X, q5_0)                                                                                    \
    DO(X, q5_1)                                                                                    \
    DO(X, q2_k)                                                                                    \
    DO(X, q3_k)                                                                                    \
    DO(X, q4_k)                                                                                    \
    DO(X, q5_k)                                                                                    \
    DO(X, q6_k)                                                                                    \
    DO(X, iq4_nl)                                                                                  \
    DO(X, iq4_xs)                                                                                  \
    DO(X, mxfp4)
#define SIMT_FLOAT_FORMATS(DO, X) DO(X, f32) DO(X, f16) DO(X, bf16)

/* Kernels that go along rows. */
#define SIMT_ENTRIES_ROWS(X)                                                                       \
    X(elementwise, add)                                                                            \
    X(elementwise, mul)                                                                            \
    X(elementwise, unary)                                                                          \
    X(elementwise, glu)                                                                            \
    X(elementwise, cast)                                                                           \
    X(elementwise, copy)                                                                           \
    X(elementwise, gather_rows)                                                                    \
    X(elementwise, quantize_rows)                                                                  \
    X(norm, rms_norm)                                                                              \
    X(norm, layer_norm)                                                                            \
    X(softmax, softmax)                                                                            \
    X(topk, topk)                                                                                  \
    X(topk, argmax)                                                                                \
    X(rope, rope)                                                                                  \
    X(rope, rope_table)                                                                            \
    X(rope, kv_write)                                                                              \
    X(pack, pack)                                                                                  \
    X(experts, combine)                                                                            \
    X(experts, topk_route)                                                                         \
    X(experts, grouped_sort)                                                                       \
    X(experts, rows_to_f16)                                                                        \
    X(float_rows, matmul_float_rows)                                                               \
    X(float_rows, matmul_finish)

#define SIMT_ENTRIES_ATTENTION(X)                                                                  \
    X(attention, attention_rows1)                                                                  \
    X(attention, attention_rows2)                                                                  \
    X(attention, attention_rows5)                                                                  \
    X(attention, attention_split1)                                                                 \
    X(attention, attention_split2)                                                                 \
    X(attention, attention_split5)                                                                 \
    X(attention, attention_join)                                                                   \
    X(attention_tile, attention_tile64)                                                            \
    X(attention_tile, attention_tile128)                                                           \
    X(attention_tile, attention_tile256)                                                           \
    X(attention_tile, attention_tile_split64)                                                      \
    X(attention_tile, attention_tile_split128)                                                     \
    X(attention_tile, attention_tile_split256)

/* No op's: they measure the device's limits. */
#define SIMT_ENTRIES_PEAK(X)                                                                       \
    X(peak, peak_write)                                                                            \
    X(peak, peak_read)                                                                             \
    X(peak, peak_f32)                                                                              \
    X(peak, peak_int8)                                                                             \
    X(peak, peak_int8_tile)                                                                        \
    X(peak, peak_f16_tile)

/* Kernels that read weights: of any format, of block formats, of those on matrix tiles. */
#define SIMT_ENTRIES_ANY(X, f)                                                                     \
    X(f, embed_##f)                                                                                \
    X(f, matmul_##f##_gemv1)                                                                       \
    X(f, matmul_##f##_gemv2)                                                                       \
    X(f, matmul_##f##_gemv4)                                                                       \
    X(f, matmul_##f##_gemv8)                                                                       \
    X(f, matmul_##f##_gemm2)                                                                       \
    X(f, matmul_##f##_gemm8)                                                                       \
    X(f, grouped_matmul_##f##_gemv)                                                                \
    X(f, grouped_matmul_##f##_gemm2)                                                               \
    X(f, grouped_matmul_##f##_gemm8)
#define SIMT_ENTRIES_BLOCKS(X, f)                                                                  \
    SIMT_ENTRIES_ANY(X, f)                                                                         \
    X(f, matmul_##f##_tile16)                                                                      \
    X(f, matmul_##f##_tile32)                                                                      \
    X(f, matmul_##f##_tile128)                                                                     \
    X(f, matmul_##f##_half)                                                                        \
    X(f, matmul_##f##_halves)                                                                      \
    X(f, grouped_matmul_##f##_tile16)                                                              \
    X(f, grouped_matmul_##f##_tile32)

#define SIMT_ENTRIES(X)                                                                            \
    SIMT_ENTRIES_ROWS(X)                                                                           \
    SIMT_ENTRIES_ATTENTION(X)                                                                      \
    SIMT_ENTRIES_PEAK(X)                                                                           \
    SIMT_BLOCK_FORMATS(SIMT_ENTRIES_BLOCKS, X)                                                     \
    SIMT_FLOAT_FORMATS(SIMT_ENTRIES_ANY, X)                                                        \
    X(f16, matmul_f16_half)                                                                        \
    X(bf16, matmul_bf16_half)                                                                      \
    X(bf16, matmul_bf16_halves)

#endif

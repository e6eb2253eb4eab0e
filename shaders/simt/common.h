/* shaders/simt/common.h: what every kernel starts with: the argument block, rows of operands, true extents,
 * loads and stores of any dtype. The names are those of shaders/vulkan/common.glsl and rows.glsl. */
#ifndef HY_SIMT_COMMON_H
#define HY_SIMT_COMMON_H

#include "op_numbers.h" /* made from op.def, ops.h and dtype.h: HY_MATMUL_x, HY_DTYPE_F16, HY_ACT_SILU, ... */
#include "shaders/simt/simt.h"

#define HY_A8_BYTES 40u /* of a block of 32: int8 [32], scale, sum */

/* ---- operands -------------------------------------------------------------------------------------- */

HY_DEVICE bool hy_present(const hy_args &args, u32 k) {
    return args.operand[k].kind != 0u;
}
HY_DEVICE u32 hy_dtype(const hy_args &args, u32 k) {
    return args.operand[k].kind & 0xffu;
}
HY_DEVICE u32 hy_rank(const hy_args &args, u32 k) {
    return args.operand[k].kind >> 8 & 0xffu;
}
HY_DEVICE u32 hy_columns(const hy_args &args, u32 k) {
    return args.operand[k].columns;
}
HY_DEVICE u8 *hy_address(const hy_args &args, u32 k) {
    return (u8 *)args.operand[k].address;
}
HY_DEVICE float hy_word_float(const hy_args &args, u32 attribute) {
    return hy_float(args.word[attribute]);
}

/* Bytes of one element of a plain dtype. */
HY_DEVICE u32 hy_size(u32 dtype) {
    return dtype == HY_DTYPE_F16 || dtype == HY_DTYPE_BF16 ? 2u : 4u;
}

/* Bytes of `elements`, whole blocks for a8. */
HY_DEVICE u64 hy_bytes(u32 dtype, u32 elements) {
    return dtype == HY_DTYPE_A8 ? (u64)(elements / 32u) * HY_A8_BYTES
                                : (u64)elements * hy_size(dtype);
}

/* True extent of dim 0. */
HY_DEVICE u32 hy_count(const hy_args &args, u32 k) {
    const u32 counter = args.operand[k].kind >> 16 & 0xffu;
    const u32 bound = args.operand[k].dim[0];
    return counter == 0u ? bound : hy_min(bound, ((const u32 *)args.counters)[counter]);
}

/* True number of rows: all dims but the innermost. A rank-1 operand is one row. */
HY_DEVICE u32 hy_rows(const hy_args &args, u32 k) {
    const u32 rank = hy_rank(args, k);
    if (rank == 1u) return 1u;
    u32 rows = hy_count(args, k);
    for (u32 d = 1; d + 1u < rank; d++)
        rows *= args.operand[k].dim[d];
    return rows;
}

/* Address of flattened row `row` of a plain or a8 operand. */
HY_DEVICE u8 *hy_row(const hy_args &args, u32 k, u32 row) {
    u8 *address = hy_address(args, k);
    const u32 dtype = hy_dtype(args, k), rank = hy_rank(args, k);
    for (u32 d = rank - 1u; d > 1u; d--) {
        const u32 dim = args.operand[k].dim[d - 1u];
        address += hy_bytes(dtype, row % dim * args.operand[k].stride[d - 1u]);
        row /= dim;
    }
    if (rank > 1u) address += row * hy_bytes(dtype, args.operand[k].stride[0]);
    return address;
}

/* ---- one element ----------------------------------------------------------------------------------- */

HY_DEVICE float hy_load(u32 dtype, const u8 *row, u32 i) {
    if (dtype == HY_DTYPE_F32) return ((const float *)row)[i];
    const u32 half_ = ((const u16 *)row)[i];
    return dtype == HY_DTYPE_F16 ? hy_from_f16(half_) : hy_from_bf16(half_);
}

/* The 16 bits of x in a half type. */
HY_DEVICE u32 hy_half_bits(u32 dtype, float x) {
    return dtype == HY_DTYPE_F16 ? hy_to_f16(x) : hy_to_bf16(x);
}

/* Two as f16 in a word; those past 65504 become +-65504. */
HY_DEVICE float hy_clamp_f16(float x) {
    x = x > 65504.0f ? 65504.0f : x;
    return x < -65504.0f ? -65504.0f : x;
}
HY_DEVICE u32 hy_clamp_f16x2(float low, float high) {
    return hy_to_f16x2(hy_clamp_f16(low), hy_clamp_f16(high));
}

HY_DEVICE void hy_store(u32 dtype, u8 *row, u32 i, float x) {
    if (dtype == HY_DTYPE_F32) {
        ((float *)row)[i] = x;
    } else {
        ((u16 *)row)[i] = (u16)hy_half_bits(dtype, x);
    }
}

/* As stored in `dtype` and read again. */
HY_DEVICE float hy_rounded(u32 dtype, float x) {
    if (dtype == HY_DTYPE_F16) return hy_from_f16(hy_to_f16(x));
    if (dtype == HY_DTYPE_BF16) return hy_from_bf16(hy_to_bf16(x));
    return x;
}

/* ---- four neighbours: one access wherever the row's address allows it ------------------------------- */

HY_DEVICE bool hy_aligned(const void *p, u32 bytes) {
    return ((u64)p & (bytes - 1u)) == 0u;
}

HY_DEVICE f32x4 hy_halves4(u32 dtype, u32x2 w) {
    if (dtype == HY_DTYPE_BF16)
        return {{hy_from_bf16(w.x & 0xffffu), hy_from_bf16(w.x >> 16), hy_from_bf16(w.y & 0xffffu),
                 hy_from_bf16(w.y >> 16)}};
    return {{hy_from_f16(w.x & 0xffffu), hy_from_f16(w.x >> 16), hy_from_f16(w.y & 0xffffu),
             hy_from_f16(w.y >> 16)}};
}

/* Elements i .. i + 3 of a row, i a multiple of 4; those at or past `columns` are 0 and not read. */
HY_DEVICE f32x4 hy_load4(u32 dtype, const u8 *row, u32 i, u32 columns) {
    const bool whole = i + 4u <= columns;
    if (dtype == HY_DTYPE_F32) {
        if (whole && hy_aligned(row, 16u)) return ((const f32x4 *)row)[i / 4u];
    } else if (whole && hy_aligned(row, 8u)) {
        return hy_halves4(dtype, ((const u32x2 *)row)[i / 4u]);
    }
    f32x4 v;
    HY_UNROLL for (u32 j = 0; j < 4u; j++) v.v[j] =
        i + j < columns ? hy_load(dtype, row, i + j) : 0.0f;
    return v;
}

/* Writes elements i .. i + 3 but those at or past `columns`; i a multiple of 4. */
HY_DEVICE void hy_store4(u32 dtype, u8 *row, u32 i, u32 columns, f32x4 v) {
    const bool whole = i + 4u <= columns;
    if (dtype == HY_DTYPE_F32) {
        if (whole && hy_aligned(row, 16u)) {
            ((f32x4 *)row)[i / 4u] = v;
            return;
        }
    } else if (whole && hy_aligned(row, 8u)) {
        const u32x2 w = {hy_half_bits(dtype, v.v[0]) | hy_half_bits(dtype, v.v[1]) << 16,
                         hy_half_bits(dtype, v.v[2]) | hy_half_bits(dtype, v.v[3]) << 16};
        ((u32x2 *)row)[i / 4u] = w;
        return;
    }
    HY_UNROLL for (u32 j = 0; j < 4u; j++) if (i + j < columns) hy_store(dtype, row, i + j, v.v[j]);
}

/* The same four elements as bits: rows of one dtype, i32 too. */
HY_DEVICE void hy_move4(u32 dtype, const u8 *from, u8 *to, u32 i, u32 columns) {
    const bool whole = i + 4u <= columns;
    const u32 end = hy_min(i + 4u, columns);
    if (hy_size(dtype) == 4u) {
        if (whole && hy_aligned(from, 16u) && hy_aligned(to, 16u)) {
            ((u32x4 *)to)[i / 4u] = ((const u32x4 *)from)[i / 4u];
            return;
        }
        for (; i < end; i++)
            ((u32 *)to)[i] = ((const u32 *)from)[i];
        return;
    }
    if (whole && hy_aligned(from, 8u) && hy_aligned(to, 8u)) {
        ((u32x2 *)to)[i / 4u] = ((const u32x2 *)from)[i / 4u];
        return;
    }
    for (; i < end; i++)
        ((u16 *)to)[i] = ((const u16 *)from)[i];
}

/* As stored in `dtype` and read again. */
HY_DEVICE f32x4 hy_rounded4(u32 dtype, f32x4 v) {
    HY_UNROLL for (u32 j = 0; j < 4u; j++) v.v[j] = hy_rounded(dtype, v.v[j]);
    return v;
}

#endif

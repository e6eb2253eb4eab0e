/* shaders/vulkan/common.glsl: what every compute shader starts with: the argument block, addresses, loads and
 * stores of any dtype, true extents.
 *
 * No descriptors: everything is reached by address. No 8- or 16-bit storage, no shaderFloat16, no 64-bit
 * integers, no subgroup size: memory is read and written in whole 32-bit words, halves are converted by bits,
 * addresses are two words. That runs on every device with buffer addresses, and costs nothing where it
 * matters: hot loops read 16 bytes at a time.
 *
 * Specialization constant 0 is the workgroup's threads (x). Arithmetic whose bits count is `precise`, and a
 * fused multiply-add is written fma. */
#ifndef HY_COMMON_GLSL
#define HY_COMMON_GLSL

#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require

#include "op_numbers.h" /* made from op.def, ops.h and dtype.h: HY_MATMUL_x, HY_DTYPE_F16, HY_ACT_SILU, ... */
#include "shaders/args.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words {
    uint v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats {
    float v[];
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Pairs {
    uvec2 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Quads {
    uvec4 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Args {
    hy_args a;
};

layout(push_constant) uniform Push {
    uvec2 args;
}
push;

#define ARGS Args(push.args).a
#define OPERAND(k) ARGS.operand[k]

/* ---- addresses ------------------------------------------------------------------------------------ */

uvec2 hy_add(uvec2 address, uint bytes) {
    uint carry;
    address.x = uaddCarry(address.x, bytes, carry);
    address.y += carry;
    return address;
}

/* address + count * bytes, the product in 64 bits. */
uvec2 hy_advance(uvec2 address, uint count, uint bytes) {
    uint high, low;
    umulExtended(count, bytes, high, low);
    address = hy_add(address, low);
    address.y += high;
    return address;
}

bool hy_present(uint k) {
    return OPERAND(k).kind != 0;
}
uint hy_dtype(uint k) {
    return OPERAND(k).kind & 0xffu;
}
uint hy_rank(uint k) {
    return OPERAND(k).kind >> 8 & 0xffu;
}
uint hy_columns(uint k) {
    return OPERAND(k).columns;
}

/* Bytes of one element of a plain dtype. */
uint hy_size(uint dtype) {
    return dtype == HY_DTYPE_F16 || dtype == HY_DTYPE_BF16 ? 2u : 4u;
}

/* address + elements * size: whole blocks for a8 (40 bytes each 32). */
uvec2 hy_element(uvec2 address, uint dtype, uint elements) {
    return dtype == HY_DTYPE_A8 ? hy_advance(address, elements / 32u, 40u)
                                : hy_advance(address, elements, hy_size(dtype));
}

/* True extent of dim 0. */
uint hy_count(uint k) {
    const uint counter = OPERAND(k).kind >> 16 & 0xffu;
    const uint bound = OPERAND(k).dim[0];
    return counter == 0u ? bound : min(bound, Words(ARGS.counters).v[counter]);
}

/* True number of rows: all dims but the innermost. A rank-1 operand is one row. */
uint hy_rows(uint k) {
    const uint rank = hy_rank(k);
    if (rank == 1u) return 1u;
    uint rows = hy_count(k);
    for (uint d = 1u; d + 1u < rank; d++)
        rows *= OPERAND(k).dim[d];
    return rows;
}

/* Address of flattened row `row` of a plain or a8 operand. */
uvec2 hy_row(uint k, uint row) {
    uvec2 address = OPERAND(k).address;
    const uint dtype = hy_dtype(k);
    const uint rank = hy_rank(k);
    for (uint d = rank - 1u; d-- > 1u;) {
        const uint dim = OPERAND(k).dim[d];
        address = hy_element(address, dtype, row % dim * OPERAND(k).stride[d]);
        row /= dim;
    }
    if (rank > 1u) { /* row * stride may pass 32 bits */
        const uint stride = OPERAND(k).stride[0];
        address = dtype == HY_DTYPE_A8 ? hy_advance(address, row, stride / 32u * 40u)
                                       : hy_advance(address, row, stride * hy_size(dtype));
    }
    return address;
}

/* Number of this workgroup in a grid made by gpu_grid. */
uint hy_group() {
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

/* ---- halves --------------------------------------------------------------------------------------- */

/* Exact, subnormals, infinities and NaN included, whatever the device does with subnormals. */
float hy_from_f16(uint h) {
    const uint sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3ffu;
    if (exponent == 0u) {
        const float small = float(fraction) * 5.9604644775390625e-8; /* 2^-24 */
        return sign == 0u ? small : -small;
    }
    const uint bits = exponent == 31u ? 0x7f800000u | fraction << 13
                                      : (exponent + 112u) << 23 | fraction << 13;
    return uintBitsToFloat(sign | bits);
}

/* Rounds to nearest, ties to even. */
uint hy_to_f16(float x) {
    const uint bits = floatBitsToUint(x), sign = bits >> 16 & 0x8000u, a = bits & 0x7fffffffu;
    if (a > 0x7f800000u) return sign | 0x7e00u;
    if (a >= 0x477ff000u) return sign | 0x7c00u; /* 65520 and above */
    if (a < 0x33000001u) return sign;            /* 2^-25 and below */
    if (a < 0x38800000u) {                       /* subnormal: in units of 2^-24 */
        const uint shift = 126u - (a >> 23), m = a & 0x7fffffu | 0x800000u;
        const uint q = m >> shift, rest = m & (1u << shift) - 1u, tie = 1u << shift - 1u;
        return sign | q + uint(rest > tie || rest == tie && (q & 1u) != 0u);
    }
    return sign | (a + 0xfffu + (a >> 13 & 1u) >> 13) - 0x1c000u;
}

float hy_from_bf16(uint h) {
    return uintBitsToFloat(h << 16);
}

uint hy_to_bf16(float x) {
    const uint bits = floatBitsToUint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
    return bits + 0x7fffu + (bits >> 16 & 1u) >> 16;
}

/* As stored in `dtype` and read again. */
float hy_rounded(uint dtype, float x) {
    if (dtype == HY_DTYPE_F16) return hy_from_f16(hy_to_f16(x));
    if (dtype == HY_DTYPE_BF16) return hy_from_bf16(hy_to_bf16(x));
    return x;
}

/* ---- loads and stores ----------------------------------------------------------------------------- */

uint hy_load_byte(uvec2 address) {
    return Words(uvec2(address.x & ~3u, address.y)).v[0] >> (address.x & 3u) * 8u & 0xffu;
}

/* 16 bits at a multiple of 2. */
uint hy_load_half(uvec2 address) {
    return Words(uvec2(address.x & ~3u, address.y)).v[0] >> (address.x & 2u) * 8u & 0xffffu;
}

/* Atomic, because the other half of the word may be another thread's. Prefer whole words in hot loops. */
void hy_store_half(uvec2 address, uint half_) {
    const uint shift = (address.x & 2u) * 8u;
    Words word = Words(uvec2(address.x & ~3u, address.y));
    atomicAnd(word.v[0], ~(0xffffu << shift));
    atomicOr(word.v[0], half_ << shift);
}

/* Element i of a row of floats. */
float hy_load(uint dtype, uvec2 row, uint i) {
    if (dtype == HY_DTYPE_F32) return Floats(row).v[i];
    const uint half_ = hy_load_half(hy_add(row, 2u * i));
    return dtype == HY_DTYPE_F16 ? hy_from_f16(half_) : hy_from_bf16(half_);
}

void hy_store(uint dtype, uvec2 row, uint i, float x) {
    if (dtype == HY_DTYPE_F32) {
        Floats(row).v[i] = x;
        return;
    }
    hy_store_half(hy_add(row, 2u * i), dtype == HY_DTYPE_F16 ? hy_to_f16(x) : hy_to_bf16(x));
}

#endif

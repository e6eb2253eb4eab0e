/* shaders/vulkan/rows.glsl: four neighbouring elements at a time, a8 output. What the
 * kernels that go along rows share. Four elements are one load wherever the row's address allows it. */
#ifndef HY_ROWS_GLSL
#define HY_ROWS_GLSL

#include "common.glsl"
#include "math.glsl"

#define HY_ROW_THREADS 256u /* at most, of every kernel that includes this file; a multiple of 16 */

/* Elements i .. i + 3 of a row of floats, i a multiple of 4; those at or past `columns` are 0 and not read. */
vec4 hy_load4(uint dtype, uvec2 row, uint i, uint columns) {
    const bool whole = i + 4u <= columns;
    if (dtype == HY_DTYPE_F32) {
        if (whole && (row.x & 15u) == 0u) return uintBitsToFloat(Quads(row).v[i / 4u]);
    } else if (whole && (row.x & 7u) == 0u) {
        const uvec2 w = Pairs(row).v[i / 4u];
        if (dtype == HY_DTYPE_BF16)
            return uintBitsToFloat(w.xxyy << uvec4(16u, 0u, 16u, 0u) & 0xffff0000u);
        return vec4(hy_from_f16(w.x & 0xffffu), hy_from_f16(w.x >> 16), hy_from_f16(w.y & 0xffffu),
                    hy_from_f16(w.y >> 16));
    }
    vec4 v = vec4(0.0);
    [[dont_unroll]] for (uint j = 0u; j < min(4u, columns - i); j++)
        v[j] = hy_load(dtype, row, i + j);
    return v;
}

/* The 16 bits of x in a half type. */
uint hy_half_bits(uint dtype, float x) {
    return dtype == HY_DTYPE_F16 ? hy_to_f16(x) : hy_to_bf16(x);
}

/* Writes elements i .. i + 3 but those at or past `columns`; i a multiple of 4. */
void hy_store4(uint dtype, uvec2 row, uint i, uint columns, vec4 v) {
    const bool whole = i + 4u <= columns;
    if (dtype == HY_DTYPE_F32) {
        if (whole && (row.x & 15u) == 0u) {
            Quads(row).v[i / 4u] = floatBitsToUint(v);
            return;
        }
    } else if (whole && (row.x & 7u) == 0u) {
        Pairs(row).v[i / 4u] = uvec2(hy_half_bits(dtype, v.x) | hy_half_bits(dtype, v.y) << 16,
                                     hy_half_bits(dtype, v.z) | hy_half_bits(dtype, v.w) << 16);
        return;
    }
    [[dont_unroll]] for (uint j = 0u; j < min(4u, columns - i); j++)
        hy_store(dtype, row, i + j, v[j]);
}

/* As stored in `dtype` and read again. */
vec4 hy_rounded4(uint dtype, vec4 v) {
    if (dtype == HY_DTYPE_F32) return v;
    return vec4(hy_rounded(dtype, v.x), hy_rounded(dtype, v.y), hy_rounded(dtype, v.z),
                hy_rounded(dtype, v.w));
}

/* Bit j: element i + j is one of the row's. */
bvec4 hy_inside(uint i, uint columns) {
    return lessThan(uvec4(i) + uvec4(0u, 1u, 2u, 3u), uvec4(columns));
}

/* The same four elements as bits: rows of one dtype, i32 too. */
void hy_move4(uint dtype, uvec2 from, uvec2 to, uint i, uint columns) {
    const bool whole = i + 4u <= columns;
    const uint end = min(i + 4u, columns), both = from.x | to.x;
    if (hy_size(dtype) == 4u) {
        if (whole && (both & 15u) == 0u) {
            Quads(to).v[i / 4u] = Quads(from).v[i / 4u];
            return;
        }
        [[dont_unroll]] for (; i < end; i++)
            Words(to).v[i] = Words(from).v[i];
        return;
    }
    if (whole && (both & 7u) == 0u) {
        Pairs(to).v[i / 4u] = Pairs(from).v[i / 4u];
        return;
    }
    [[dont_unroll]] for (; i < end; i++)
        hy_store_half(hy_add(to, 2u * i), hy_load_half(hy_add(from, 2u * i)));
}

/* ---- a8 ------------------------------------------------------------------------------------------- */

shared uint a8_most[HY_ROW_THREADS];
shared int a8_sum[HY_ROW_THREADS];

/* Eight threads make one block, thread t the elements 4 (t % 8) .. + 3 of it. All threads of the workgroup
 * call it together; `live` false: no block here. block: the first byte of this thread's block. */
void hy_store_a8(bool live, uvec2 block, vec4 v) {
    const uint t = gl_LocalInvocationID.x, first = t & ~7u;
    a8_most[t] = max(max(hy_a8_magnitude(v.x), hy_a8_magnitude(v.y)),
                     max(hy_a8_magnitude(v.z), hy_a8_magnitude(v.w)));
    barrier();
    uint most = a8_most[first];
    [[dont_unroll]] for (uint j = 1u; j < 8u; j++)
        most = max(most, a8_most[first + j]);
    const float scale = hy_a8_scale(uintBitsToFloat(most));
    uint word = 0u;
    int sum = 0;
    [[dont_unroll]] for (uint j = 0u; j < 4u; j++) {
        const int q = hy_a8_quantize(v[j], scale);
        sum += q;
        word |= (uint(q) & 0xffu) << 8u * j;
    }
    a8_sum[t] = sum;
    barrier();
    if (!live) return;
    Words(block).v[t - first] = word;
    if (t != first) return;
    [[dont_unroll]] for (uint j = 1u; j < 8u; j++)
        sum += a8_sum[first + j];
    Words(block).v[HY_A8_SCALE] = floatBitsToUint(scale);
    Words(block).v[HY_A8_SUM] = uint(sum);
}

#endif

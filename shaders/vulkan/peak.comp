/* shaders/vulkan/peak.comp: loops that do nothing but move memory or make products: what benchmarks call a device's
 * limits. As shaders/simt/peak.cu, which says how sums count; shaders/peak_shape.h says what is read. Compiled with one
 * of WRITE, READ, F32, INT8 (and DOT8), COOPMAT. */
#version 460
#extension GL_GOOGLE_include_directive : require
#ifdef COOPMAT
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif
#include "common.glsl"
#include "dot8.glsl"
#include "shaders/peak_shape.h"

#define ROUNDS ARGS.extra[0]
#define ONE ARGS.extra[3]
#define EACH_CHAIN [[unroll]] for (uint i = 0u; i < PEAK_CHAINS; i++)

shared uint counts[PEAK_THREADS];

/* All threads of a workgroup: the sum of their counts is its word. */
void leave(uint count) {
    const uint thread = gl_LocalInvocationID.x;
    counts[thread] = count;
    barrier();
    if (thread != 0u) return;
    uint all_ = 0u;
    [[dont_unroll]] for (uint t = 0u; t < PEAK_THREADS; t++)
        all_ += counts[t];
    Words(OPERAND(1).address).v[hy_group()] = all_;
}

#if defined(WRITE) || defined(READ)

uint go_through() {
    const uint thread = gl_LocalInvocationID.x, one = ONE;
    uint sum = 0u;
    [[dont_unroll]] for (uint r = 0u; r < ROUNDS; r++) {
        [[dont_unroll]] for (uint p = hy_group(); p < ARGS.extra[1]; p += ARGS.extra[2]) {
            Quads piece = Quads(hy_advance(OPERAND(0).address, p, PEAK_PIECE));
#ifdef WRITE
            [[unroll]] for (uint q = 0u; q < PEAK_QUADS; q++)
                piece.v[q * PEAK_THREADS + thread] = uvec4(one);
            sum += 4u * PEAK_QUADS;
#else
            uvec4 v[PEAK_QUADS];
            [[unroll]] for (uint q = 0u; q < PEAK_QUADS; q++)
                v[q] = piece.v[q * PEAK_THREADS + thread];
            [[unroll]] for (uint q = 0u; q < PEAK_QUADS; q++)
                sum += v[q].x + v[q].y + v[q].z + v[q].w;
#endif
        }
    }
    return sum;
}

#elif defined(F32)

uint go_through() {
    const uint first = PEAK_CHAINS * gl_LocalInvocationID.x;
    float sum[PEAK_CHAINS], a[2], b[2];
    [[unroll]] for (uint i = 0u; i < 2u; i++) {
        const uint power = (gl_LocalInvocationID.x % 8u + i) << 23;
        a[i] = uintBitsToFloat(ONE + power);
        b[i] = uintBitsToFloat(ONE - power);
    }
    EACH_CHAIN sum[i] = float(first + i);
    [[dont_unroll]] for (uint r = 0u; r < ROUNDS; r++) {
        [[unroll]] for (uint s = 0u; s < PEAK_STEPS; s++) {
            EACH_CHAIN {
                precise const float next = fma(a[i % 2u], b[i % 2u], sum[i]); /* one instruction */
                sum[i] = next;
            }
        }
    }
    uint products = 0u;
    EACH_CHAIN products += uint(sum[i]) - first - i;
    return products;
}

#elif defined(INT8)

uint go_through() {
    const uint one = ONE, first = PEAK_CHAINS * gl_LocalInvocationID.x + PEAK_DOT_ONE;
    uint sum[PEAK_CHAINS];
    EACH_CHAIN sum[i] = first + i;
    [[dont_unroll]] for (uint r = 0u; r < ROUNDS; r++) {
        [[unroll]] for (uint s = 0u; s < PEAK_STEPS; s++)
            EACH_CHAIN sum[i] += uint(hy_dot4(sum[i], one));
    }
    uint products = 0u;
    EACH_CHAIN products += 4u * (sum[i] - first - i);
    return products;
}

#elif defined(COOPMAT)

layout(constant_id = 1) const uint M = 16; /* the device's matrix tile */
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;

#define SUMS coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>

uint go_through() {
    const float16_t one = float16_t(unpackHalf2x16(ONE).x);
    const coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a =
        coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>(one);
    const coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b =
        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>(one);
    SUMS sum[PEAK_CHAINS];
    EACH_CHAIN sum[i] = SUMS(float(i));
    [[dont_unroll]] for (uint r = 0u; r < ROUNDS; r++) {
        [[unroll]] for (uint s = 0u; s < PEAK_TILE_STEPS; s++)
            EACH_CHAIN sum[i] = coopMatMulAdd(a, b, sum[i]);
    }
    uint products = 0u;
    EACH_CHAIN {
        [[dont_unroll]] for (uint e = 0u; e < sum[i].length(); e++)
            products += uint(sum[i][e]) - i;
    }
    return products;
}

#endif

void main() {
    leave(go_through());
}

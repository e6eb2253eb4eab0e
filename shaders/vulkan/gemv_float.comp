/* shaders/vulkan/gemv_float.comp: matmul of few tokens by weights that are plain numbers.
 *
 * One thread makes the sum of one chunk of 64 k of one row, in order of k, for all tokens; a workgroup has
 * LANES chunks side by side of 128 / LANES rows. So that memory is read in order, all threads together bring a
 * piece of every chunk (16 words of each, and as many k of the activations) to shared memory, from where each
 * takes its own. One thread for each (row, token) then adds the chunks in order: the order of additions of all
 * GPU products, for any LANES.
 *
 * args.extra: none. Specialization constants: 128 threads, LANES, COLUMNS. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

#define THREADS 128u
layout(constant_id = 1) const uint LANES = 8u;   /* chunks of a row: a power of two, 1 .. 64 */
layout(constant_id = 2) const uint COLUMNS = 1u; /* upper bound of T */
#define ROWS (THREADS / LANES)
#define GEMV_SUMS (ROWS * COLUMNS)

#include "gemv.glsl"
#include "quant.glsl"

#define CHUNK 64u
#define QUADS 4u                        /* of a piece: 16 words */
#define PIECE (QUADS * HY_QUAD_WEIGHTS) /* k of a piece */
/* Strides that give the threads of a row of 8 different banks. */
#define W_STRIDE (QUADS + 1u)      /* uvec4 */
#define X_STRIDE (PIECE / 4u + 1u) /* vec4 */

shared uvec4 gemv_w[THREADS * W_STRIDE];
shared vec4 gemv_x[COLUMNS * LANES * X_STRIDE];
shared float gemv_part[COLUMNS * THREADS];

/* A piece of every chunk to shared memory: chunks from number `chunk` on, their k from `from` on. Past K both
 * are zeros, the weights from a row's padding: they add nothing to a sum that begins with zero. */
void load(gemv_rows r, uint chunk, uint from, uint columns, uint thread) {
    const uint end = hy_columns(HY_MATMUL_x), x_type = hy_dtype(HY_MATMUL_x);
    [[unroll]] for (uint i = 0u; i < QUADS; i++) {
        const uint at = i * THREADS + thread, item = at / QUADS, quad = at % QUADS;
        const uint k = (chunk + item % LANES) * CHUNK + from + quad * HY_QUAD_WEIGHTS;
        uvec4 w = uvec4(0u);
        if (k < end)
            w = Quads(hy_add(gemv_row(r, item / LANES), k / HY_QUAD_WEIGHTS * 16u)).v[0];
        gemv_w[item * W_STRIDE + quad] = w;
    }
    [[dont_unroll]] for (uint column = 0u; column < columns; column++) {
        const uvec2 row = product_x(r.token + column);
        [[dont_unroll]] for (uint i = thread; i < LANES * PIECE; i += THREADS) {
            const uint lane = i / PIECE, j = i % PIECE, k = (chunk + lane) * CHUNK + from + j;
            const float x = k < end ? hy_load(x_type, row, k) : 0.0;
            gemv_x[(column * LANES + lane) * X_STRIDE + j / 4u][j % 4u] = x;
        }
    }
}

/* What a thread's piece adds to the sums of its chunk. */
void multiply(uint thread, inout float p[COLUMNS]) {
    const uint lane = thread % LANES;
    [[dont_unroll]] for (uint quad = 0u; quad < QUADS; quad++) {
        const uvec4 bits = gemv_w[thread * W_STRIDE + quad];
        [[unroll]] for (uint half_ = 0u; half_ < HY_QUAD_WEIGHTS / 4u; half_++) {
#ifdef FORMAT_f32
            const vec4 w = uintBitsToFloat(bits);
#else
            const vec4 w = hy_weights_of(half_ == 0u ? bits.xy : bits.zw);
#endif
            const uint at = lane * X_STRIDE + quad * (HY_QUAD_WEIGHTS / 4u) + half_;
            [[unroll]] for (uint column = 0u; column < COLUMNS; column++) {
                const vec4 x = gemv_x[column * LANES * X_STRIDE + at];
                precise float sum = p[column];
                sum = fma(w.x, x.x, sum);
                sum = fma(w.y, x.y, sum);
                sum = fma(w.z, x.z, sum);
                sum = fma(w.w, x.w, sum);
                p[column] = sum;
            }
        }
    }
}

/* Chunks from number `chunk` on, of `chunks`, added to their rows. */
void add_up(uint chunk, uint chunks, uint columns, uint thread) {
    const uint count = min(LANES, chunks - chunk);
    [[dont_unroll]] for (uint i = thread; i < ROWS * columns; i += THREADS) {
        const uint from = i / ROWS * THREADS + i % ROWS * LANES;
        precise float z = gemv_z[i];
        [[dont_unroll]] for (uint j = 0u; j < count; j++)
            z = z + gemv_part[from + j];
        gemv_z[i] = z;
    }
}

void main() {
    const gemv_rows r = gemv_rows_of(ROWS);
    if (r.first >= r.outputs || r.tokens == 0u) return;
    const uint thread = gl_LocalInvocationID.x, columns = min(r.tokens, COLUMNS);
    const uint chunks = (hy_columns(HY_MATMUL_x) + CHUNK - 1u) / CHUNK;
    gemv_clear(thread, THREADS);
    [[dont_unroll]] for (uint chunk = 0u; chunk < chunks; chunk += LANES) {
        float p[COLUMNS];
        [[unroll]] for (uint column = 0u; column < COLUMNS; column++)
            p[column] = 0.0;
        [[dont_unroll]] for (uint from = 0u; from < CHUNK; from += PIECE) {
            barrier();
            load(r, chunk, from, columns, thread);
            barrier();
            multiply(thread, p);
        }
        [[unroll]] for (uint column = 0u; column < COLUMNS; column++)
            gemv_part[column * THREADS + thread] = p[column];
        barrier();
        add_up(chunk, chunks, columns, thread);
    }
    barrier();
    gemv_store(r, ROWS, columns, thread, THREADS);
}

/* shaders/vulkan/gemv.comp: matmul of few tokens by weights in a block format. Phase 1; activations are a8.
 *
 * A workgroup takes GROUPS * ROWS rows; a row is walked by LANES threads side by side, each with one
 * sub-block of 32 k at a time, so that neighbours read neighbouring 16 bytes. Weights are read and unpacked
 * once and stay in registers for all tokens. Integer dot products, exact in any order, go to shared memory;
 * there one thread for each (row, token, chunk of 256 k) makes the chunk's float32 sum in order of k, and one
 * for each (row, token) adds the chunks in order: the order of additions of all GPU products, for any LANES.
 *
 * args.extra: none. Specialization constants: 128 threads, LANES, ROWS, COLUMNS. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

#define THREADS 128u
layout(constant_id = 1) const uint LANES = 32u;  /* of a row: a power of two, 16 .. THREADS */
layout(constant_id = 2) const uint ROWS = 4u;    /* of a thread: even */
layout(constant_id = 3) const uint COLUMNS = 1u; /* upper bound of T */
#define GROUPS (THREADS / LANES)
#define GEMV_SUMS (GROUPS * ROWS * COLUMNS)

#include "dot8.glsl"
#include "gemv.glsl"
#include "quant.glsl"

#define HALVES (SPLIT + 1u)
#define CHUNKS (THREADS / 8u) /* at a time */
/* Places of threads in shared memory: those of one chunk 9 apart from the next chunk's, so that threads that
 * sum up chunks meet different banks. */
#define PLACES (THREADS + CHUNKS)
#define PLACE(thread) ((thread) + (thread) / 8u)

shared int gemv_dot[ROWS * COLUMNS * HALVES * PLACES];
shared float gemv_a[ROWS * HALVES * PLACES];
#if HAS_MINIMA
shared float gemv_b[ROWS * HALVES * PLACES];
#if SPLIT
shared int gemv_xsum[COLUMNS * PLACES]; /* of the first 16 k */
#endif
#endif
shared float gemv_part[ROWS * COLUMNS * CHUNKS];

/* The a8 block of token `column`, 32 k number s. */
uvec2 x_block(uint column, uint s) {
#ifdef GROUPED
    const uvec2 row = gemv_pair_x;
#else
    const uvec2 row =
        hy_advance(OPERAND(HY_MATMUL_x).address, column, OPERAND(HY_MATMUL_x).stride[0] / 32u * 40u);
#endif
    return hy_add(row, 40u * s);
}

/* Products of the sub-block s of ROWS rows by all tokens. */
void multiply(gemv_rows r, uint group, uint s, uint columns, uint place) {
    const uint plane1 = OPERAND(HY_MATMUL_w).stride[1], plane2 = OPERAND(HY_MATMUL_w).stride[2],
               plane3 = OPERAND(HY_MATMUL_w).stride[3];
    hy_weights w[ROWS];
    [[unroll]] for (uint i = 0u; i < ROWS; i++) {
        w[i] = hy_load_weights(gemv_row(r, group * ROWS + i), plane1, plane2, plane3, s);
        [[unroll]] for (uint h = 0u; h < HALVES; h++) {
            gemv_a[(i * HALVES + h) * PLACES + place] = w[i].a[h];
#if HAS_MINIMA
            gemv_b[(i * HALVES + h) * PLACES + place] = w[i].b[h];
#endif
        }
    }
    [[dont_unroll]] for (uint column = 0u; column < columns; column++) {
        Pairs x = Pairs(x_block(column, s));
        const uvec2 x0 = x.v[0], x1 = x.v[1], x2 = x.v[2], x3 = x.v[3];
#if HAS_MINIMA && SPLIT
        gemv_xsum[column * PLACES + place] =
            hy_sum4(x0.x) + hy_sum4(x0.y) + hy_sum4(x1.x) + hy_sum4(x1.y);
#endif
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
            const int low = hy_dot4(w[i].q[0], x0.x) + hy_dot4(w[i].q[1], x0.y) +
                            hy_dot4(w[i].q[2], x1.x) + hy_dot4(w[i].q[3], x1.y);
            const int high = hy_dot4(w[i].q[4], x2.x) + hy_dot4(w[i].q[5], x2.y) +
                             hy_dot4(w[i].q[6], x3.x) + hy_dot4(w[i].q[7], x3.y);
            const uint at = (i * COLUMNS + column) * HALVES * PLACES + place;
#if SPLIT
            gemv_dot[at] = low;
            gemv_dot[at + PLACES] = high;
#else
            gemv_dot[at] = low + high;
#endif
        }
    }
}

/* One chunk's sum: `blocks` sub-blocks from s on, whose first is at `place`. */
float chunk(uint row, uint column, uint s, uint blocks, uint place) {
    precise float p = 0.0;
    [[dont_unroll]] for (uint i = 0u; i < blocks; i++) {
        const uvec2 x = x_block(column, s + i);
        const float scale = Floats(x).v[8];
#if HAS_MINIMA
        const int sum = int(Words(x).v[9]);
#endif
        [[unroll]] for (uint h = 0u; h < HALVES; h++) {
            const uint at = (row * HALVES + h) * PLACES + place + i;
            const int dot = gemv_dot[((row * COLUMNS + column) * HALVES + h) * PLACES + place + i];
            precise const float a = gemv_a[at] * scale;
            p = fma(float(dot), a, p);
#if HAS_MINIMA
#if SPLIT
            const int first = gemv_xsum[column * PLACES + place + i];
            const int xsum = h == 0u ? first : sum - first;
#else
            const int xsum = sum;
#endif
            precise const float offset = scale * float(xsum);
            p = fma(gemv_b[at], offset, p);
#endif
        }
    }
    return p;
}

/* The sums of all chunks at hand, whose first sub-block is number s. */
void add_up(uint s, uint blocks, uint columns, uint thread) {
    [[dont_unroll]] for (uint i = thread; i < CHUNKS * ROWS * columns; i += THREADS) {
        const uint slot = i % CHUNKS, row = i / CHUNKS % ROWS, column = i / CHUNKS / ROWS;
        const uint first = s + slot % (LANES / 8u) * 8u;
        if (first < blocks)
            gemv_part[(row * COLUMNS + column) * CHUNKS + slot] =
                chunk(row, column, first, min(8u, blocks - first), slot * 9u);
    }
    barrier();
    const uint rows = GROUPS * ROWS, chunks = min(LANES / 8u, (blocks - s + 7u) / 8u);
    [[dont_unroll]] for (uint i = thread; i < rows * columns; i += THREADS) {
        const uint row = i % rows, column = i / rows;
        const uint from = (row % ROWS * COLUMNS + column) * CHUNKS + row / ROWS * (LANES / 8u);
        precise float z = gemv_z[i];
        [[dont_unroll]] for (uint j = 0u; j < chunks; j++)
            z = z + gemv_part[from + j];
        gemv_z[i] = z;
    }
}

void main() {
    const gemv_rows r = gemv_rows_of(GROUPS * ROWS);
    if (r.first >= r.outputs || r.tokens == 0u) return;
    const uint thread = gl_LocalInvocationID.x, columns = min(r.tokens, COLUMNS);
    const uint blocks = hy_columns(HY_MATMUL_x) / 32u;
    gemv_clear(thread, THREADS);
    [[dont_unroll]] for (uint s = 0u; s < blocks; s += LANES) {
        const uint mine = s + thread % LANES;
        if (mine < blocks) multiply(r, thread / LANES, mine, columns, PLACE(thread));
        barrier();
        add_up(s, blocks, columns, thread);
    }
    barrier();
    gemv_store(r, GROUPS * ROWS, columns, thread, THREADS);
}

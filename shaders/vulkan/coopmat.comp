/* shaders/vulkan/coopmat.comp: matmul of many rows on matrix units (VK_KHR_cooperative_matrix):
 * weights and x rounded to f16, products and sums in float32. x comes from rows_to_f16.comp, each
 * row scaled by a power of two; weights are a v + b in float32 as everywhere, then rounded to f16
 * unscaled: those past 65504 become +-65504 (no model that runs in f16 has such). The device's own
 * conversion rounds them: Vulkan lets it choose the direction, all known ones round to nearest, and
 * one that did not would fail the conformance runs.
 *
 * Four subgroups, two by two, make a tile of ROWS weight rows by COLUMNS rows of x. In steps of 32
 * k the tile's weights and rows of x go to shared memory as f16. Chunks of 256 k are summed up
 * apart and then added, in order (docs/numerics.md); with glu the first half of each subgroup's
 * rows are gate rows, the second half the up rows of the same outputs.
 *
 * Reads as in shaders/args.h, and extra[0], extra[1] as in rows_to_f16.comp. Grid: tiles, those of
 * the same weights following each other. Compiled per format (quant.glsl). */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "quant.glsl"
#include "store_pair.glsl"

layout(constant_id = 1) const uint M = 16; /* the device's matrix tile: weight rows, */
layout(constant_id = 2) const uint N = 16; /* rows of x, */
layout(constant_id = 3) const uint K = 16; /* and k; a divisor of 32 */
/* Matrix tiles of a subgroup along rows (even), along columns << 8; sub-blocks of a step << 16. */
layout(constant_id = 4) const uint SHAPE = 0x10202;

const uint HIGH = SHAPE & 255u, WIDE = SHAPE >> 8 & 255u, BLOCKS = SHAPE >> 16;
const uint SUMS = HIGH * WIDE;
const uint ROWS = 2u * HIGH * M, COLUMNS = 2u * WIDE * N;
const uint STEP = 32u * BLOCKS, CHUNK = 256u;
/* Of a row in shared memory, in units of four: 8 more than a step keeps neighbouring rows in other
 * banks. */
const uint PITCH = (STEP + 8u) / 4u;
const uint STAGE = M * N;

shared f16vec4 tile_w[ROWS * PITCH];
shared f16vec4 tile_x[COLUMNS * PITCH];
shared uvec2 row_w[ROWS];            /* addresses of the weight rows; 0: past the last */
shared float stage[4u * 2u * STAGE]; /* [subgroup]: matrix tile of sums, that of the up half */

f16vec4 as_halves(uvec2 words) {
    return f16vec4(unpackFloat2x16(words.x), unpackFloat2x16(words.y));
}

f16vec4 to_halves(vec4 v) {
    return f16vec4(clamp(v, -65504.0, 65504.0));
}

/* ---- weights ---- */

#ifdef FORMAT_FLOAT

/* Weights k .. k + 3; those at or past `columns` are 0. */
f16vec4 weights4(uvec2 address, uint k, uint columns) {
    if (k >= columns) return f16vec4(0.0);
#ifdef FORMAT_f16
    uvec2 words = Pairs(hy_add(address, 2u * k)).v[0];
    if (k + 4u > columns) {
        words.x &= k + 2u > columns ? 0xffffu : 0xffffffffu;
        words.y &= k + 2u >= columns ? 0u : 0xffffu;
    }
    return as_halves(words);
#else
    const bvec4 there = lessThan(uvec4(k) + uvec4(0u, 1u, 2u, 3u), uvec4(columns));
    return to_halves(mix(vec4(0.0), hy_load_weight4(address, k), there));
#endif
}

/* 32 weights from k on to tile_w[at] and the next; address 0: zeros. */
void put_weights(uvec2 address, uint k, uint columns, uint at) {
    if (address == uvec2(0u)) columns = 0u;
    [[dont_unroll]] for (uint i = 0u; i < 8u; i++)
        tile_w[at + i] = weights4(address, k + 4u * i, columns);
}

#else

void put_weights(uvec2 address, uint k, uint columns, uint at) {
    if (address == uvec2(0u) || k >= columns) {
        [[dont_unroll]] for (uint i = 0u; i < 8u; i++)
            tile_w[at + i] = f16vec4(0.0);
        return;
    }
    const hy_weights w =
        hy_load_weights(address, OPERAND(HY_MATMUL_w).stride[1], OPERAND(HY_MATMUL_w).stride[2],
                        OPERAND(HY_MATMUL_w).stride[3], k / 32u);
    for (uint i = 0u; i < 8u; i++) {
        const int q = int(w.q[i]);
        const uint part = SPLIT * (i / 4u);
        const vec4 v = vec4(bitfieldExtract(q, 0, 8), bitfieldExtract(q, 8, 8),
                            bitfieldExtract(q, 16, 8), q >> 24);
#if HAS_MINIMA
        precise const vec4 value = fma(v, vec4(w.a[part]), vec4(w.b[part]));
#else
        precise const vec4 value = v * w.a[part];
#endif
        tile_w[at + i] = to_halves(value);
    }
}

#endif

/* ---- the tile ---- */

struct coopmat_tile {
    uint output_; /* the first one */
    uint outputs; /* M of the op */
    uint column;  /* the first row of x */
    uint columns; /* rows of x that there are */
    bool glu;
};

bool coopmat_tile_of(out coopmat_tile t) {
    t.glu = ARGS.word[HY_MATMUL_ATTR_glu] != 0u;
    t.outputs = hy_columns(HY_MATMUL_out);
    t.columns = hy_count(HY_MATMUL_x);
    const uint tiles = (OPERAND(HY_MATMUL_x).dim[0] + COLUMNS - 1u) / COLUMNS;
    t.column = hy_group() % tiles * COLUMNS;
    t.output_ = hy_group() / tiles * (t.glu ? ROWS / 2u : ROWS);
    return t.output_ < t.outputs && t.column < t.columns;
}

/* Address of row `row` of the tile in the packed weights; 0: past the last. */
uvec2 weight_row(coopmat_tile t, uint row) {
    uint m = row;
    bool up = false;
    if (t.glu) {
        const uint part = row / (HIGH * M), within = row % (HIGH * M), half_ = HIGH * M / 2u;
        up = within >= half_;
        m = part * half_ + within % half_;
    }
    m += t.output_;
    if (m >= t.outputs) return uvec2(0u);
    return hy_advance(OPERAND(HY_MATMUL_w).address, up ? m + t.outputs : m,
                      OPERAND(HY_MATMUL_w).stride[0]);
}

/* The step from k on. */
void put_tiles(coopmat_tile t, uint k, uint columns) {
    const uint thread = gl_LocalInvocationID.x, threads = gl_WorkGroupSize.x;
    const uint width = ARGS.extra[0];
    [[dont_unroll]] for (uint i = thread; i < ROWS * BLOCKS; i += threads) {
        const uint row = i / BLOCKS, block = i % BLOCKS;
        put_weights(row_w[row], k + 32u * block, columns, row * PITCH + 8u * block);
    }
    [[dont_unroll]] for (uint i = thread; i < COLUMNS * 4u * BLOCKS; i += threads) {
        const uint column = i / (4u * BLOCKS), part = i % (4u * BLOCKS);
        uvec4 words = uvec4(0u);
        if (t.column + column < t.columns && k + 8u * part < width) {
            const uvec2 row = hy_advance(ARGS.workspace, t.column + column, 2u * width);
            words = Quads(hy_add(row, 2u * k)).v[part];
        }
        tile_x[column * PITCH + 2u * part] = as_halves(words.xy);
        tile_x[column * PITCH + 2u * part + 1u] = as_halves(words.zw);
    }
}

/* Stores outputs m and m + 1 of row x, whose sums are at stage[at] and the next. */
void store(coopmat_tile t, hy_epilogue_of e, uint m, uint x, uint at) {
    if (m >= t.outputs || x >= t.columns) return;
    const float scale = Floats(hy_add(ARGS.workspace, ARGS.extra[1])).v[x];
    const uint up = t.glu ? at + STAGE : at;
    precise const vec2 sums = vec2(stage[at], stage[at + 1u]) * scale;
    precise const vec2 ups = vec2(stage[up], stage[up + 1u]) * scale;
    hy_store_pair(e, x, m, sums, ups);
}

coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> z[SUMS], p[SUMS];

/* p += the products of one step. */
void multiply(uint first_row, uint first_column) {
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> w[HIGH];
    coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> x;
    [[dont_unroll]] for (uint k = 0u; k < STEP; k += K) {
        [[unroll]] for (uint i = 0u; i < HIGH; i++)
            coopMatLoad(w[i], tile_w, (first_row + i * M) * PITCH + k / 4u, PITCH,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0u; j < WIDE; j++) {
            coopMatLoad(x, tile_x, (first_column + j * N) * PITCH + k / 4u, PITCH,
                        gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0u; i < HIGH; i++)
                p[i * WIDE + j] = coopMatMulAdd(w[i], x, p[i * WIDE + j]);
        }
    }
}

void add_chunk() {
    [[unroll]] for (uint i = 0u; i < SUMS; i++) {
        z[i] += p[i];
        p[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
    }
}

/* Sums of matrix tile `index` of this subgroup to stage[base] and following, by columns. Registers
 * have no index: the one that is meant is picked. */
void stage_sums(uint index, uint base) {
    [[unroll]] for (uint i = 0u; i < SUMS; i++) {
        if (i == index) coopMatStore(z[i], stage, base, M, gl_CooperativeMatrixLayoutColumnMajor);
    }
}

/* One matrix tile after the other goes through shared memory. */
void store_tile(coopmat_tile t, uint part_row, uint part_column) {
    const hy_epilogue_of e = hy_matmul_epilogue();
    const uint base = gl_SubgroupID * 2u * STAGE, high = t.glu ? HIGH / 2u : HIGH;
    [[dont_unroll]] for (uint index = 0u; index < high * WIDE; index++) {
        stage_sums(index, base);
        if (t.glu) stage_sums(index + high * WIDE, base + STAGE);
        barrier();
        const uint m = t.output_ + (part_row * high + index / WIDE) * M;
        const uint x = t.column + (part_column * WIDE + index % WIDE) * N;
        [[dont_unroll]] for (uint at = 2u * gl_SubgroupInvocationID; at < STAGE;
                             at += 2u * gl_SubgroupSize)
            store(t, e, m + at % M, x + at / M, base + at);
        barrier();
    }
}

void main() {
    coopmat_tile t;
    if (!coopmat_tile_of(t)) return;
    const uint columns = hy_columns(HY_MATMUL_x);
    const uint part_row = gl_SubgroupID / 2u, part_column = gl_SubgroupID % 2u;
    [[dont_unroll]] for (uint row = gl_LocalInvocationID.x; row < ROWS; row += gl_WorkGroupSize.x)
        row_w[row] = weight_row(t, row);
    barrier();
    [[unroll]] for (uint i = 0u; i < SUMS; i++)
        z[i] = p[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
    [[dont_unroll]] for (uint k = 0u; k < columns; k += STEP) {
        put_tiles(t, k, columns);
        barrier();
        multiply(part_row * HIGH * M, part_column * WIDE * N);
        barrier();
        if ((k + STEP) % CHUNK == 0u || k + STEP >= columns) add_chunk();
    }
    store_tile(t, part_row, part_column);
}

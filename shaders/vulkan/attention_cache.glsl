/* shaders/vulkan/attention_cache.glsl: pages of keys or values of any cache dtype, and part of a tile of them in
 * shared memory (att_stage): att_fill puts it there, att_key and att_value read four columns of it as float32.
 *
 * Where many rows read each element (`rows`) it is converted when it is put there. Where few do (SPLIT) it stays
 * as it is: twice to four times as much fits, and a whole tile of f16 is under way at once, which is what a single
 * stream needs. Pages of q8_0 are planar: per (page, head) int8 [L, D], then f16 scales [L, D / 32]. */
#ifndef HY_ATTENTION_CACHE_GLSL
#define HY_ATTENTION_CACHE_GLSL

#define ATT_TILE 64u

/* Keys or values of one page and kv head. */
struct att_page {
    uvec2 rows;   /* address of row 0; int8 for q8_0 */
    uvec2 scales; /* q8_0: of row 0 */
    uint dtype, columns;
    uint step; /* bytes between rows */
    bool wide; /* rows begin at multiples of 16 bytes and consist of such */
};

att_page att_open(uint operand, uint dtype, bool wide, uint page, uint kv_head) {
    att_page p;
    const uvec2 address = OPERAND(operand).address;
    const uint length = OPERAND(operand).dim[2];
    p.dtype = dtype;
    p.wide = wide;
    p.columns = hy_columns(operand);
    if (dtype == HY_DTYPE_Q8_0) {
        const uint numbers = length * p.columns;
        p.step = p.columns;
        p.rows = hy_advance(address, page * OPERAND(operand).dim[1] + kv_head, numbers + numbers / 16u);
        p.scales = hy_add(p.rows, numbers);
    } else {
        const uint size = hy_size(dtype);
        p.step = OPERAND(operand).stride[2] * size;
        p.rows = hy_advance(hy_advance(address, page, OPERAND(operand).stride[0] * size), kv_head,
                            OPERAND(operand).stride[1] * size);
        p.scales = uvec2(0u);
    }
    return p;
}

/* ---- conversions ----------------------------------------------------------------------------------- */

/* Whether unpackHalf2x16 keeps subnormals here, which Vulkan leaves open. Asked of the device with a number that
 * no compiler knows: a rank that is 1. */
bool att_exact;
void att_ask_exact() {
    att_exact = unpackHalf2x16(hy_rank(HY_ATTENTION_row)).x == 5.9604644775390625e-8; /* 2^-24 */
}

vec4 att_halves(uint dtype, uvec2 w) {
    if (dtype == HY_DTYPE_BF16)
        return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
    if (att_exact) return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
    return vec4(hy_from_f16(w.x & 0xffffu), hy_from_f16(w.x >> 16), hy_from_f16(w.y & 0xffffu),
                hy_from_f16(w.y >> 16));
}

vec4 att_bytes(uint word, float scale) {
    const int w = int(word);
    precise const vec4 v = vec4(bitfieldExtract(w, 0, 8), bitfieldExtract(w, 8, 8),
                                bitfieldExtract(w, 16, 8), bitfieldExtract(w, 24, 8)) *
                           scale;
    return v;
}

float att_row_scale(att_page p, uint row, uint column) {
    const uint at = row * (p.columns / 32u) + column / 32u;
    return hy_from_f16(hy_load_half(hy_add(p.scales, 2u * at)));
}

/* Columns [i, i + 4) of a row, wherever it begins. */
vec4 att_four(att_page p, uint row, uint i) {
    const uvec2 address = hy_advance(p.rows, row, p.step);
    if (p.dtype != HY_DTYPE_Q8_0) return hy_load4(p.dtype, address, i, p.columns);
    const uint low = hy_load_half(hy_add(address, i)), high = hy_load_half(hy_add(address, i + 2u));
    return att_bytes(low | high << 16, att_row_scale(p, row, i));
}

/* 16 bytes of a row from column i; as float32 where rows do not consist of such. */
uvec4 att_load(att_page p, uint row, uint i) {
    if (!p.wide) return floatBitsToUint(att_four(p, row, i));
    const uint bytes = p.dtype == HY_DTYPE_F32 ? 4u * i : p.dtype == HY_DTYPE_Q8_0 ? i : 2u * i;
    return Quads(hy_add(hy_advance(p.rows, row, p.step), bytes)).v[0];
}

/* The dtype of what att_load gives, and how many columns it has. */
uint att_loaded(att_page p) {
    return p.wide ? p.dtype : HY_DTYPE_F32;
}
uint att_width(uint loaded) {
    return loaded == HY_DTYPE_F32 ? 4u : loaded == HY_DTYPE_Q8_0 ? 16u : 8u;
}

/* ---- part of a tile in shared memory --------------------------------------------------------------- */

#ifdef SPLIT

/* 16 bytes each that fit of every key of a tile; of memory 8 bytes, odd so that neighbouring keys meet other
 * banks. */
#define STAGE_UNITS (16u >> ATT_SMALL)
#define STAGE_STRIDE (2u * STAGE_UNITS + 1u)
shared uvec2 att_stage[ATT_TILE * STAGE_STRIDE];

#define SCALES 8u /* blocks of 32 that STAGE_UNITS hold of q8_0 */
shared float att_scales[ATT_TILE * SCALES];

/* Rows first + [keys.x, keys.y), columns from `column`, `units` times 16 bytes, to place key - base; `stride` apart.
 * Keys outside of `inside` are zeros and not read; what is past the row is left alone. */
void att_fill(att_page p, uint first, uvec2 keys, uvec2 inside, uint column, uint units, uint stride,
              uint base) {
    const uint loaded = att_loaded(p), width = att_width(loaded), count = (keys.y - keys.x) * units;
    const uint thread = gl_LocalInvocationID.x, threads = gl_WorkGroupSize.x;
    [[dont_unroll]] for (uint begin = thread; begin < count; begin += ATT_LOADS * threads) {
        uvec4 w[ATT_LOADS];
        [[unroll]] for (uint j = 0u; j < ATT_LOADS; j++) {
            const uint u = begin + j * threads, key = keys.x + u / units, i = column + u % units * width;
            w[j] = uvec4(0u);
            if (u < count && key >= inside.x && key < inside.y && i < p.columns)
                w[j] = att_load(p, first + key, i);
        }
        [[unroll]] for (uint j = 0u; j < ATT_LOADS; j++) {
            const uint u = begin + j * threads;
            const uint at = (keys.x + u / units - base) * stride + 2u * (u % units);
            if (u < count) {
                att_stage[at] = w[j].xy;
                att_stage[at + 1u] = w[j].zw;
            }
        }
    }
    if (loaded != HY_DTYPE_Q8_0) return;
    const uint blocks = (units + 1u) / 2u;
    [[dont_unroll]] for (uint u = thread; u < (keys.y - keys.x) * blocks; u += threads) {
        const uint key = keys.x + u / blocks, i = column + u % blocks * 32u;
        const bool there = key >= inside.x && key < inside.y && i < p.columns;
        att_scales[(key - base) * SCALES + u % blocks] = there ? att_row_scale(p, first + key, i) : 0.0;
    }
}

/* Four columns of what is staged from `at`; those of place `place`, if that matters. */
vec4 att_quad(uint loaded, uint at, uint place, uint quad) {
    if (loaded == HY_DTYPE_F32)
        return uintBitsToFloat(uvec4(att_stage[at + 2u * quad], att_stage[at + 2u * quad + 1u]));
    if (loaded != HY_DTYPE_Q8_0) return att_halves(loaded, att_stage[at + quad]);
    const uvec2 w = att_stage[at + quad / 2u];
    return att_bytes((quad & 1u) == 0u ? w.x : w.y, att_scales[place * SCALES + quad / 8u]);
}

#else

/* vec4s between keys: 32 columns, and 4 so that neighbouring keys meet other banks. */
#define STAGE_STRIDE 9u
shared vec4 att_stage[ATT_TILE * STAGE_STRIDE];

/* As above, as float32; key k to place (k % spread) * (ATT_TILE / spread) + k / spread when spread is not 0.
 * `quads` columns by four: a power of two, at least 8. */
void att_fill(att_page p, uint first, uvec2 keys, uvec2 inside, uint column, uint quads, uint stride,
              uint spread, uint base) {
    const uint loaded = att_loaded(p), width = att_width(loaded), units = quads * 4u / width;
    const uint count = (keys.y - keys.x) * units;
    const uint thread = gl_LocalInvocationID.x, threads = gl_WorkGroupSize.x;
    [[dont_unroll]] for (uint begin = thread; begin < count; begin += ATT_LOADS * threads) {
        uvec4 w[ATT_LOADS];
        float scale[ATT_LOADS];
        [[unroll]] for (uint j = 0u; j < ATT_LOADS; j++) {
            const uint u = begin + j * threads, key = keys.x + u / units, i = column + u % units * width;
            w[j] = uvec4(0u);
            scale[j] = 0.0;
            if (u < count && key >= inside.x && key < inside.y && i < p.columns) {
                w[j] = att_load(p, first + key, i);
                if (loaded == HY_DTYPE_Q8_0) scale[j] = att_row_scale(p, first + key, i);
            }
        }
        [[unroll]] for (uint j = 0u; j < ATT_LOADS; j++) {
            const uint u = begin + j * threads, key = keys.x + u / units;
            const uint place =
                spread != 0u ? key % spread * (ATT_TILE / spread) + key / spread : key - base;
            const uint at = place * stride + u % units * (width / 4u);
            if (u >= count) continue;
            if (loaded == HY_DTYPE_F32) {
                att_stage[at] = uintBitsToFloat(w[j]);
            } else if (loaded == HY_DTYPE_Q8_0) {
                att_stage[at] = att_bytes(w[j].x, scale[j]);
                att_stage[at + 1u] = att_bytes(w[j].y, scale[j]);
                att_stage[at + 2u] = att_bytes(w[j].z, scale[j]);
                att_stage[at + 3u] = att_bytes(w[j].w, scale[j]);
            } else {
                att_stage[at] = att_halves(loaded, w[j].xy);
                att_stage[at + 1u] = att_halves(loaded, w[j].zw);
            }
        }
    }
}

#endif

#endif

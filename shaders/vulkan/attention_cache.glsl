/* shaders/vulkan/attention_cache.glsl: pages of keys or values of any cache dtype into shared memory as float32.
 * Pages of q8_0 are planar: per (page, head) int8 [L, D], then f16 scales [L, D / 32]. */
#ifndef HY_ATTENTION_CACHE_GLSL
#define HY_ATTENTION_CACHE_GLSL

#define ATT_TILE 64u
/* vec4s between keys: 32 columns, and 4 so that neighbouring keys meet other banks. */
#define STAGE_STRIDE 9u

shared vec4 att_stage[ATT_TILE * STAGE_STRIDE];

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

/* Whether unpackHalf2x16 keeps subnormals here, which Vulkan leaves open. Asked of the device with a number that
 * no compiler knows: a rank that is 1. */
bool att_half_exact() {
    return unpackHalf2x16(hy_rank(HY_ATTENTION_row)).x == 5.9604644775390625e-8; /* 2^-24 */
}

vec2 att_halves(uint dtype, bool exact, uint word) {
    if (dtype == HY_DTYPE_BF16) return uintBitsToFloat(uvec2(word << 16, word & 0xffff0000u));
    if (exact) return unpackHalf2x16(word);
    return vec2(hy_from_f16(word & 0xffffu), hy_from_f16(word >> 16));
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

/* Rows first + [keys.x, keys.y), columns [column, column + 4 * quads), to att_stage: key k to place
 * (k % spread) * (ATT_TILE / spread) + k / spread when spread is not 0, else k - base; `stride` vec4s apart.
 * Keys outside of `inside` are zeros and not read; columns past the row are left alone. quads: a power of two,
 * at least 8. */
void att_fill(att_page p, bool exact, uint first, uvec2 keys, uvec2 inside, uint column, uint quads,
              uint stride, uint spread, uint base) {
    const uint unit = !p.wide || p.dtype == HY_DTYPE_F32 ? 1u : p.dtype == HY_DTYPE_Q8_0 ? 4u : 2u;
    const uint units = quads / unit, count = (keys.y - keys.x) * units;
    [[dont_unroll]] for (uint u = gl_LocalInvocationID.x; u < count; u += gl_WorkGroupSize.x) {
        const uint key = keys.x + u / units, quad = u % units * unit, i = column + 4u * quad;
        const uint place = spread != 0u ? key % spread * (ATT_TILE / spread) + key / spread : key - base;
        const uint at = place * stride + quad, row = first + key;
        if (i >= p.columns) continue;
        uvec4 w = uvec4(0u);
        const bool there = key >= inside.x && key < inside.y;
        if (!p.wide) {
            att_stage[at] = there ? att_four(p, row, i) : vec4(0.0);
            continue;
        }
        const uint bytes = p.dtype == HY_DTYPE_F32 ? 4u * i : p.dtype == HY_DTYPE_Q8_0 ? i : 2u * i;
        if (there) w = Quads(hy_add(hy_advance(p.rows, row, p.step), bytes)).v[0];
        if (p.dtype == HY_DTYPE_F32) {
            att_stage[at] = uintBitsToFloat(w);
        } else if (p.dtype == HY_DTYPE_Q8_0) {
            const float scale = there ? att_row_scale(p, row, i) : 0.0;
            att_stage[at] = att_bytes(w.x, scale);
            att_stage[at + 1u] = att_bytes(w.y, scale);
            att_stage[at + 2u] = att_bytes(w.z, scale);
            att_stage[at + 3u] = att_bytes(w.w, scale);
        } else {
            att_stage[at] =
                vec4(att_halves(p.dtype, exact, w.x), att_halves(p.dtype, exact, w.y));
            att_stage[at + 1u] =
                vec4(att_halves(p.dtype, exact, w.z), att_halves(p.dtype, exact, w.w));
        }
    }
}

#endif

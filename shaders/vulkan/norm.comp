/* shaders/vulkan/norm.comp: rms_norm, or layer_norm where LAYER is defined. One workgroup a row; thread t takes
 * columns 4 t .. 4 t + 3, and so on by 4 * threads. Passes over the row: 0 the mean, of layer_norm alone; 1 the
 * squares; 2 the output; one body for all of them, so that it is compiled once. Each pass reads s = x + residual
 * again: in the thread that wrote it, so that output and sum may lie over x or residual. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "total.glsl"

#ifdef LAYER
#define X HY_LAYER_NORM_x
#define RESIDUAL HY_LAYER_NORM_residual
#define WEIGHT HY_LAYER_NORM_weight
#define SUM HY_LAYER_NORM_sum
#define OUT HY_LAYER_NORM_out
#define EPS HY_LAYER_NORM_ATTR_eps
#define FIRST 0u
#else
#define X HY_RMS_NORM_x
#define RESIDUAL HY_RMS_NORM_residual
#define WEIGHT HY_RMS_NORM_weight
#define SUM HY_RMS_NORM_sum
#define OUT HY_RMS_NORM_out
#define EPS HY_RMS_NORM_ATTR_eps
#define FIRST 1u
#endif

#define STEP (4u * gl_WorkGroupSize.x)

struct row_in {
    uvec2 x, residual, sum;
    uint x_dtype, residual_dtype, sum_dtype, columns; /* dtype 0: absent */
};

row_in open_row(uint row) {
    row_in r;
    r.columns = hy_columns(X);
    r.x_dtype = hy_dtype(X);
    r.residual_dtype = hy_dtype(RESIDUAL);
    r.sum_dtype = hy_dtype(SUM);
    r.x = hy_row(X, row);
    if (r.residual_dtype != 0u) r.residual = hy_row(RESIDUAL, row);
    if (r.sum_dtype != 0u) r.sum = hy_row(SUM, row);
    return r;
}

/* Elements i .. i + 3 of s, 0 past the row. The first time x + residual, stored in `sum`; later `sum`, which may
 * have been written over x. They are as stored. */
vec4 load_s(row_in r, uint i, bool first) {
    const bool stored = !first && r.sum_dtype != 0u;
    precise vec4 s = hy_load4(stored ? r.sum_dtype : r.x_dtype, stored ? r.sum : r.x, i, r.columns);
    if (r.residual_dtype != 0u && !stored)
        s = s + hy_load4(r.residual_dtype, r.residual, i, r.columns);
    if (!first || r.sum_dtype == 0u) return s;
    hy_store4(r.sum_dtype, r.sum, i, r.columns, s);
    return hy_rounded4(r.sum_dtype, s);
}

/* What is taken from s, one after the other, and what the rest is multiplied by. */
struct moments {
    float mean, correction, scale;
};

/* After the pass over s: the mean. After that over s - mean: the correction, which is the mean of the
 * differences, so that a large common offset does not cost digits, and the scale. */
void measure(inout moments m, uint pass_, vec4 sum, vec4 squares, float n, float eps) {
#ifdef LAYER
    const float mean = hy_divide(hy_total4(sum), n);
    if (pass_ == 0u) {
        m.mean = mean;
        return;
    }
    m.correction = mean;
#endif
    precise const float square = m.correction * m.correction;
    precise const float var = hy_divide(hy_total4(squares), n) - square;
    precise const float shifted = (var < 0.0 ? 0.0 : var) + eps;
    m.scale = hy_rsqrt(shifted);
}

vec4 finish(moments m, vec4 d, uint i, uint columns) {
    precise vec4 y = d;
#ifdef LAYER
    y = y - vec4(m.correction);
#endif
    y = y * m.scale;
    if (hy_present(WEIGHT)) y = y * hy_load4(HY_DTYPE_F32, OPERAND(WEIGHT).address, i, columns);
#ifdef LAYER
    if (hy_present(HY_LAYER_NORM_bias))
        y = y + hy_load4(HY_DTYPE_F32, OPERAND(HY_LAYER_NORM_bias).address, i, columns);
#endif
    return y;
}

void store(uint dtype, uvec2 row, uint i, uint columns, vec4 y) {
    if (dtype == HY_DTYPE_A8)
        hy_store_a8(i < columns, hy_advance(row, i / 32u, HY_A8_BYTES), y);
    else if (i < columns)
        hy_store4(dtype, row, i, columns, y);
}

void main() {
    const uint row = hy_group();
    if (row >= hy_rows(X)) return;
    const row_in r = open_row(row);
    const uvec2 to = hy_row(OUT, row);
    moments m = moments(0.0, 0.0, 0.0);
    [[dont_unroll]] for (uint pass_ = FIRST; pass_ <= 2u; pass_++) {
        precise vec4 sum = vec4(0.0), squares = vec4(0.0);
        [[dont_unroll]] for (uint begin = 0u; begin < r.columns; begin += STEP) {
            const uint i = begin + 4u * gl_LocalInvocationID.x;
            precise vec4 d = vec4(0.0);
            if (i < r.columns) d = load_s(r, i, pass_ == FIRST);
#ifdef LAYER
            d = mix(vec4(0.0), d - vec4(m.mean), hy_inside(i, r.columns));
#endif
            if (pass_ == 2u) {
                if (i < r.columns) d = finish(m, d, i, r.columns);
                store(hy_dtype(OUT), to, i, r.columns, d);
                continue;
            }
            sum = sum + d;
            squares = fma(d, d, squares);
        }
        if (pass_ < 2u)
            measure(m, pass_, sum, squares, float(r.columns), uintBitsToFloat(ARGS.word[EPS]));
    }
}

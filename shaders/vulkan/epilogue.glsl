/* shaders/vulkan/epilogue.glsl: what every product does to its sums on the way out, one rounding each:
 * + bias, act, * up, * scale, softcap, + residual. */
#ifndef HY_EPILOGUE_GLSL
#define HY_EPILOGUE_GLSL

#include "common.glsl"
#include "math.glsl"

struct hy_epilogue_of {
    uvec2 bias;   /* float32 [N] of this expert; 0: none */
    uint outputs; /* M; with glu the bias of the up half begins there */
    uint act;     /* HY_ACT_x */
    bool glu;
    float scale;   /* 0: none */
    float softcap; /* 0: none */
};

/* Of a matmul. */
hy_epilogue_of hy_matmul_epilogue() {
    hy_epilogue_of e;
    e.bias = OPERAND(HY_MATMUL_bias).address;
    e.outputs = hy_columns(HY_MATMUL_out);
    e.act = ARGS.word[HY_MATMUL_ATTR_act];
    e.glu = ARGS.word[HY_MATMUL_ATTR_glu] != 0u;
    e.scale = uintBitsToFloat(ARGS.word[HY_MATMUL_ATTR_scale]);
    e.softcap = uintBitsToFloat(ARGS.word[HY_MATMUL_ATTR_softcap]);
    return e;
}

/* Of a grouped_matmul's expert. */
hy_epilogue_of hy_grouped_epilogue(uint expert) {
    hy_epilogue_of e;
    e.bias = OPERAND(HY_GROUPED_MATMUL_bias).address;
    e.outputs = hy_columns(HY_GROUPED_MATMUL_out);
    e.act = ARGS.word[HY_GROUPED_MATMUL_ATTR_act];
    e.glu = ARGS.word[HY_GROUPED_MATMUL_ATTR_glu] != 0u;
    e.scale = 0.0;
    e.softcap = 0.0;
    if (e.bias != uvec2(0u))
        e.bias = hy_advance(e.bias, expert, 4u * OPERAND(HY_GROUPED_MATMUL_bias).stride[0]);
    return e;
}

/* Output m from its sum and, with glu, the sum of row M + m; all but the residual. */
float hy_epilogue(hy_epilogue_of e, uint m, float z, float up) {
    precise float y = z, factor = up;
    if (e.bias != uvec2(0u)) {
        y = y + Floats(e.bias).v[m];
        if (e.glu) factor = factor + Floats(e.bias).v[e.outputs + m];
    }
    y = hy_act(e.act, y);
    if (e.glu) y = y * factor;
    if (e.scale != 0.0) y = y * e.scale;
    if (e.softcap > 0.0) y = hy_softcap(y, e.softcap);
    return y;
}

/* Finishes and stores output m of row t of a matmul. */
void hy_matmul_store(hy_epilogue_of e, uint t, uint m, float z, float up) {
    precise float y = hy_epilogue(e, m, z, up);
    if (hy_present(HY_MATMUL_residual))
        y = y + hy_load(hy_dtype(HY_MATMUL_residual), hy_row(HY_MATMUL_residual, t), m);
    hy_store(hy_dtype(HY_MATMUL_out), hy_row(HY_MATMUL_out, t), m, y);
}

#endif

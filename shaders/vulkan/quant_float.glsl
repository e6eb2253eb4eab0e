/* shaders/vulkan/quant_float.glsl: weights that are plain numbers; included by quant.glsl. */

#ifdef FORMAT_f32

#define HY_QUAD_WEIGHTS 4u /* weights in 16 bytes */

float hy_load_weight(uvec2 row, uint k) {
    return Floats(row).v[k];
}

vec4 hy_load_weight4(uvec2 row, uint k) {
    return uintBitsToFloat(Quads(hy_add(row, 4u * k)).v[0]);
}

void hy_load_weight8(uvec2 row, uint k, out vec4 low, out vec4 high) {
    low = hy_load_weight4(row, k);
    high = hy_load_weight4(row, k + 4u);
}

#else

#define HY_QUAD_WEIGHTS 8u

float hy_weight_of(uint half_) {
#ifdef FORMAT_f16
    return hy_from_f16(half_);
#else
    return hy_from_bf16(half_);
#endif
}

/* Those of two words. */
vec4 hy_weights_of(uvec2 words) {
    return vec4(hy_weight_of(words.x & 0xffffu), hy_weight_of(words.x >> 16),
                hy_weight_of(words.y & 0xffffu), hy_weight_of(words.y >> 16));
}

float hy_load_weight(uvec2 row, uint k) {
    return hy_weight_of(hy_load_half(hy_add(row, 2u * k)));
}

vec4 hy_load_weight4(uvec2 row, uint k) {
    return hy_weights_of(Pairs(hy_add(row, 2u * k)).v[0]);
}

void hy_load_weight8(uvec2 row, uint k, out vec4 low, out vec4 high) {
    const uvec4 words = Quads(hy_add(row, 2u * k)).v[0];
    low = hy_weights_of(words.xy);
    high = hy_weights_of(words.zw);
}

#endif

/* shaders/vulkan/keys.glsl: floats in order, as integers, so that no device's way with NaN, -0 or subnormals
 * matters. A place in a row is {key, ~column}: of two, the larger is the larger float or, of equals, the lower
 * column. No place is {0, 0}. */
#ifndef HY_KEYS_GLSL
#define HY_KEYS_GLSL

#include "rows.glsl"

/* Larger floats have larger keys; -0 has that of 0, NaN the least, 0. */
uint hy_key(float x) {
    const uint bits = floatBitsToUint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0u;
    if (bits == 0x80000000u) return 0x80000000u;
    return (bits >> 31) != 0u ? ~bits : bits | 0x80000000u;
}

bool hy_above(uvec2 a, uvec2 b) {
    return a.x > b.x || a.x == b.x && a.y > b.y;
}

#endif

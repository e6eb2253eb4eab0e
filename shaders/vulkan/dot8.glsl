/* shaders/vulkan/dot8.glsl: four products of int8 and their sum, exact either way. With DOT8 it is one
 * instruction (GL_EXT_integer_dot_product), else shifts and multiplications. */
#ifndef HY_DOT8_GLSL
#define HY_DOT8_GLSL

#ifdef DOT8
#extension GL_EXT_integer_dot_product : require

int hy_dot4(uint a, uint b) {
    return dotPacked4x8EXT(int(a), int(b));
}

#else

int hy_dot4(uint a, uint b) {
    const int x = int(a), y = int(b);
    return bitfieldExtract(x, 0, 8) * bitfieldExtract(y, 0, 8) +
           bitfieldExtract(x, 8, 8) * bitfieldExtract(y, 8, 8) +
           bitfieldExtract(x, 16, 8) * bitfieldExtract(y, 16, 8) + (x >> 24) * (y >> 24);
}

#endif

/* Sum of the four int8 of a word. */
int hy_sum4(uint a) {
    const int x = int(a);
    return bitfieldExtract(x, 0, 8) + bitfieldExtract(x, 8, 8) + bitfieldExtract(x, 16, 8) +
           (x >> 24);
}

#endif

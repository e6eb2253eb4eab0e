/* shaders/vulkan/probe/dot.comp: compiles where GL_EXT_integer_dot_product is known. */
#version 460
#extension GL_EXT_integer_dot_product : require
layout(local_size_x = 1) in;
layout(binding = 0) buffer Out {
    int v;
};
void main() {
    v = dotPacked4x8EXT(v, v);
}

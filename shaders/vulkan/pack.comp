/* shaders/vulkan/pack.comp: rows of blocks as a file has them -> rows in P16 (backends/gpu/layout.h). One
 * thread makes 16 bytes of a packed row, of any format; the cuts come as numbers (backends/gpu/pack.c):
 *
 *   operand[0]  file rows, at any byte: columns = bytes of a row; plane p takes stride[p] bytes of each block,
 *               from byte dim[p] on
 *   operand[1]  packed rows: columns = bytes of a row; plane p has dim[p] pieces of 16 bytes from byte
 *               stride[p] of the row on; those past its bytes are zero
 *   extra       rows; pieces of a row; blocks of a row; bytes of a block */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

/* Four bytes at any address. Reads only words that hold some of them. */
uint load_word(uvec2 address) {
    const uint shift = (address.x & 3u) * 8u;
    Words words = Words(uvec2(address.x & ~3u, address.y));
    const uint low = words.v[0];
    return shift == 0u ? low : low >> shift | words.v[1] << 32u - shift;
}

/* `unit` bytes (1, 2 or 4) at any address. */
uint load_unit(uvec2 address, uint unit) {
    if (unit == 4u) return load_word(address);
    const uint low = hy_load_byte(address);
    return unit == 1u ? low : low | hy_load_byte(hy_add(address, 1u)) << 8u;
}

/* Four bytes of plane p of the row at `source`, `at` (a multiple of 4) bytes from the plane's begin. */
uint plane_word(uvec2 source, uint p, uint at) {
    const uint blocks = ARGS.extra[2], block_bytes = ARGS.extra[3];
    const uint from = OPERAND(0).dim[p], bytes = OPERAND(0).stride[p];
    const uint unit = (bytes & 3u) == 0u ? 4u : (bytes & 1u) == 0u ? 2u : 1u;
    uint word = 0u;
    [[dont_unroll]] for (uint i = 0u; i < 4u; i += unit) {
        const uint block = (at + i) / bytes, in_block = (at + i) % bytes;
        if (block >= blocks) break;
        word |= load_unit(hy_add(source, block * block_bytes + from + in_block), unit) << i * 8u;
    }
    return word;
}

void main() {
    const uint pieces = ARGS.extra[1];
    const uint piece = hy_group() * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
    const uint row = piece / pieces;
    if (row >= ARGS.extra[0]) return;
    uint p = 0u, at = piece % pieces;
    while (at >= OPERAND(1).dim[p])
        at -= OPERAND(1).dim[p++];
    at *= 16u;
    const uvec2 source = hy_advance(OPERAND(0).address, row, OPERAND(0).columns);
    uvec4 words;
    [[dont_unroll]] for (uint i = 0u; i < 4u; i++)
        words[i] = plane_word(source, p, at + 4u * i);
    uvec2 to = hy_advance(OPERAND(1).address, row, OPERAND(1).columns);
    to = hy_add(to, OPERAND(1).stride[p] + at);
    Quads(to).v[0] = words;
}

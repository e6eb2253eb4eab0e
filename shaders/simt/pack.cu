/* shaders/simt/pack.cu: rows of blocks as a file has them -> rows in P16 (backends/gpu/layout.h). One thread makes 16
 * bytes of a packed row, of any format; the cuts come as numbers (backends/gpu/pack.c):
 *
 *   operand[0]  file rows, at any byte: columns = bytes of a row; plane p takes stride[p] bytes of each block, from
 *               byte dim[p] on
 *   operand[1]  packed rows: columns = bytes of a row; plane p has dim[p] pieces of 16 bytes from byte stride[p] of the
 *               row on; those past its bytes are zero
 *   extra       rows; pieces of a row; blocks of a row; bytes of a block */
#include "shaders/simt/common.h"

/* `unit` bytes (1, 2 or 4) at any address. */
HY_DEVICE u32 load_unit(const u8 *p, u32 unit) {
    if (unit == 4u && hy_aligned(p, 4u)) return *(const u32 *)p;
    if (unit == 4u && hy_aligned(p, 2u))
        return ((const u16 *)p)[0] | (u32)((const u16 *)p)[1] << 16;
    u32 word = 0;
    for (u32 i = 0; i < unit; i++)
        word |= (u32)p[i] << 8u * i;
    return word;
}

/* Four bytes of plane p of the row at `source`, `at` (a multiple of 4) bytes from the plane's begin. */
HY_DEVICE u32 plane_word(const hy_args &args, const u8 *source, u32 p, u32 at) {
    const u32 blocks = args.extra[2], block_bytes = args.extra[3];
    const u32 from = args.operand[0].dim[p], bytes = args.operand[0].stride[p];
    const u32 unit = (bytes & 3u) == 0u ? 4u : (bytes & 1u) == 0u ? 2u : 1u;
    u32 word = 0;
    for (u32 i = 0; i < 4u; i += unit) {
        const u32 block = (at + i) / bytes, in_block = (at + i) % bytes;
        if (block >= blocks) break;
        word |= load_unit(source + (u64)block * block_bytes + from + in_block, unit) << i * 8u;
    }
    return word;
}

HY_ENTRY(pack, 128) {
    const u32 pieces = args.extra[1], piece = hy_group() * hy_threads() + hy_thread();
    const u32 row = piece / pieces;
    if (row >= args.extra[0]) return;
    u32 p = 0, at = piece % pieces;
    while (at >= args.operand[1].dim[p])
        at -= args.operand[1].dim[p++];
    at *= 16u;
    const u8 *source = hy_address(args, 0) + (u64)row * args.operand[0].columns;
    const u32x4 words = {plane_word(args, source, p, at), plane_word(args, source, p, at + 4u),
                         plane_word(args, source, p, at + 8u),
                         plane_word(args, source, p, at + 12u)};
    u8 *to = hy_address(args, 1) + (u64)row * args.operand[1].columns;
    *(u32x4 *)(to + args.operand[1].stride[p] + at) = words;
}

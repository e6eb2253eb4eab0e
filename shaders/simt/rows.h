/* shaders/simt/rows.h: a8 blocks made by eight neighbouring threads, four elements each. */
#ifndef HY_SIMT_ROWS_H
#define HY_SIMT_ROWS_H

#include "shaders/simt/math.h"

#define HY_ROW_THREADS 256 /* at most, of kernels that give a row to a workgroup */

/* max |x| of a block, by its bits. All threads of the warp call together. */
HY_DEVICE u32 hy_block_most(f32x4 v) {
    u32 most = hy_max(hy_max(hy_a8_magnitude(v.v[0]), hy_a8_magnitude(v.v[1])),
                      hy_max(hy_a8_magnitude(v.v[2]), hy_a8_magnitude(v.v[3])));
    HY_UNROLL for (u32 mask = 1; mask < 8u; mask *= 2u) most =
        hy_max(most, hy_shuffle_xor(most, mask));
    return most;
}

/* Four int8 of a block with that scale, as a word; their sum is added to `sum`. */
HY_DEVICE u32 hy_block_word(f32x4 v, float scale, i32 &sum) {
    u32 word = 0;
    HY_UNROLL for (u32 j = 0; j < 4u; j++) {
        const i32 q = hy_a8_quantize(v.v[j], scale);
        sum += q;
        word |= ((u32)q & 0xffu) << 8u * j;
    }
    return word;
}

/* Thread t makes the elements 4 (t % 8) .. + 3 of a block. All threads of the warp call together; `live` false: no
 * block here, the same for all eight. block: the first byte of this thread's block. */
HY_DEVICE void hy_store_a8(bool live, u8 *block, f32x4 v) {
    const u32 t = hy_thread() % 8u;
    const float scale = hy_a8_scale(hy_float(hy_block_most(v)));
    i32 sum = 0;
    const u32 word = hy_block_word(v, scale, sum);
    HY_UNROLL for (u32 mask = 1; mask < 8u; mask *= 2u) sum += hy_shuffle_xor(sum, mask);
    if (!live) return;
    ((u32 *)block)[t] = word;
    if (t == 0u) {
        const u32x2 last = {hy_bits(scale), (u32)sum};
        ((u32x2 *)block)[HY_A8_SCALE / 2u] = last;
    }
}

#endif

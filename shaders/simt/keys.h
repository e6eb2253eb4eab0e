/* shaders/simt/keys.h: floats in order, as integers. A place in a row is {key, ~column}, key above: of two, the larger
 * is the larger float or, of equals, the lower column. No place is 0. */
#ifndef HY_SIMT_KEYS_H
#define HY_SIMT_KEYS_H

#include "shaders/simt/rows.h"

/* Larger floats have larger keys; -0 has that of 0, NaN the least, 0. */
HY_DEVICE u32 hy_key(float x) {
    const u32 bits = hy_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0u;
    if (bits == 0x80000000u) return 0x80000000u;
    return (bits >> 31) != 0u ? ~bits : bits | 0x80000000u;
}

HY_DEVICE u64 hy_place(float x, u32 column) {
    return (u64)hy_key(x) << 32 | (u32)~column;
}
HY_DEVICE u32 hy_place_column(u64 place) {
    return ~(u32)place;
}

#endif

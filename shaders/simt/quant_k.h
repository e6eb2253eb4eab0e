/* shaders/simt/quant_k.h: formats whose blocks are 256 k, of which s is one eighth; included by quant.h.
 * Planes as in backends/gpu/layout.c. */

#if defined(FORMAT_q2_k) || defined(FORMAT_q3_k)

/* Two bits of each of 32 k: 128 k share 32 bytes, each byte holding one k of each quarter. */
HY_DEVICE void hy_load_pairs(const u8 *address, u32 i, u32 (&w)[8]) {
    hy_load_words(address + i / 4u * 32u, w);
    HY_UNROLL for (u32 j = 0; j < 8; j++) w[j] = w[j] >> i % 4u * 2u & 0x03030303u;
}

#endif
#if defined(FORMAT_q4_k) || defined(FORMAT_q5_k)

/* Header of 16 bytes: d, dmin, and 6-bit scales and minima of eight sub-blocks in 12 bytes: the low 6 bits
 * of bytes 0..3 and 4..7 are those of the first four; their top pairs with the nibbles of bytes 8..11 those
 * of the last four. */
HY_DEVICE void hy_scale_min(u32x4 header, u32 i, float &a, float &b) {
    const u32 shift = i % 4u * 8u;
    const u32 x = header.y >> shift, y = header.z >> shift, z = header.w >> shift;
    const u32 scale = i < 4u ? x & 63u : (z & 15u) | (x >> 2 & 48u);
    const u32 minimum = i < 4u ? y & 63u : (z >> 4 & 15u) | (y >> 2 & 48u);
    a = hy_from_f16(header.x & 0xffffu) * (float)scale;
    b = -(hy_from_f16(header.x >> 16) * (float)minimum);
}

/* Nibbles of sub-block i: pairs of sub-blocks share 32 bytes, the first in the low nibbles. */
HY_DEVICE void hy_load_k_nibbles(const u8 *address, u32 i, u32 (&w)[8]) {
    hy_load_words(address + i / 2u * 32u, w);
    HY_UNROLL for (u32 j = 0; j < 8; j++) w[j] = w[j] >> i % 2u * 4u & 0x0f0f0f0fu;
}

#endif

#if defined(FORMAT_q2_k)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    const u32 block = s / 8u, i = s % 8u;
    hy_load_pairs(row + 64u * block, i, w.q);
    const u32 scales = *(const u16 *)(row + plane1 + 16u * block + 2u * i);
    const u32 dm = *(const u32 *)(row + plane2 + 4u * block);
    const float d = hy_from_f16(dm & 0xffffu), dmin = hy_from_f16(dm >> 16);
    HY_UNROLL for (u32 h = 0; h < 2u; h++) {
        w.a[h] = d * (float)(scales >> 8u * h & 15u);
        w.b[h] = -(dmin * (float)(scales >> (8u * h + 4u) & 15u));
    }
    return w;
}

#elif defined(FORMAT_q3_k)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    const u32 block = s / 8u, i = s % 8u;
    u32 high[8];
    hy_load_pairs(row + 64u * block, i, w.q);
    hy_load_words(row + plane1 + 32u * block, high);
    HY_UNROLL for (u32 j = 0; j < 8; j++) w.q[j] =
        hy_minus(w.q[j] | (high[j] >> i & 0x01010101u) << 2, 4u);
    /* 16 scales: nibbles in bytes 0..7, top pairs in bytes 8..11; these are the even one and the next */
    const u32 *scales = (const u32 *)(row + plane2 + 12u * block);
    const u32 low = scales[i / 2u % 2u] >> (i % 2u * 16u + i / 4u * 4u);
    const u32 top = scales[2] >> (i % 2u * 16u + i / 2u * 2u);
    const float d = hy_from_f16(*(const u16 *)(row + plane3 + 2u * block));
    HY_UNROLL for (u32 h = 0; h < 2u; h++) {
        const u32 scale = (low >> 8u * h & 15u) | (top >> 8u * h & 3u) << 4;
        w.a[h] = d * (float)((i32)scale - 32);
    }
    return w;
}

#elif defined(FORMAT_q4_k)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    const u32 block = s / 8u, i = s % 8u;
    hy_load_k_nibbles(row + 128u * block, i, w.q);
    hy_scale_min(*(const u32x4 *)(row + plane1 + 16u * block), i, w.a[0], w.b[0]);
    return w;
}

#elif defined(FORMAT_q5_k)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    const u32 block = s / 8u, i = s % 8u;
    u32 high[8];
    hy_load_k_nibbles(row + 128u * block, i, w.q);
    hy_load_words(row + plane1 + 32u * block, high);
    HY_UNROLL for (u32 j = 0; j < 8; j++) w.q[j] |= (high[j] >> i & 0x01010101u) << 4;
    hy_scale_min(*(const u32x4 *)(row + plane2 + 16u * block), i, w.a[0], w.b[0]);
    return w;
}

#elif defined(FORMAT_q6_k)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    const u32 block = s / 8u, i = s % 8u;
    u32 high[8];
    hy_load_words(row + 128u * block + i / 4u * 64u + i % 2u * 32u, w.q);
    hy_load_words(row + plane1 + 64u * block + i / 4u * 32u, high);
    HY_UNROLL for (u32 j = 0; j < 8; j++) {
        const u32 nibbles = w.q[j] >> i % 4u / 2u * 4u & 0x0f0f0f0fu;
        w.q[j] = hy_minus(nibbles | (high[j] >> i % 4u * 2u & 0x03030303u) << 4, 32u);
    }
    const i32 scales = *(const u16 *)(row + plane2 + 16u * block + 2u * i);
    const float d = hy_from_f16(*(const u16 *)(row + plane3 + 2u * block));
    w.a[0] = d * (float)hy_int8(scales, 0);
    w.a[1] = d * (float)hy_int8(scales, 8);
    return w;
}

#elif defined(FORMAT_iq4_xs)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    const u32 block = s / 8u, i = s % 8u;
    hy_load_iq4(row + 16u * s, w.q);
    const u32x2 header = *(const u32x2 *)(row + plane1 + 8u * block);
    const u32 scale = (header.y >> 4u * i & 15u) | (header.x >> (16u + 2u * i) & 3u) << 4;
    w.a[0] = hy_from_f16(header.x & 0xffffu) * (float)((i32)scale - 32);
    return w;
}

#endif

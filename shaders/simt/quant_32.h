/* shaders/simt/quant_32.h: formats whose blocks are 32 k; included by quant.h. Planes: quants of 16
 * bytes (q8_0: 32), five-bit formats their high bits, then d (and m). */

#if defined(FORMAT_q8_0)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    hy_load_words(row + 32u * s, w.q);
    w.a[0] = hy_from_f16(*(const u16 *)(row + plane1 + 2u * s));
    return w;
}

#elif defined(FORMAT_q4_0)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    hy_load_nibbles(row + 16u * s, w.q);
    HY_UNROLL for (u32 i = 0; i < 8; i++) w.q[i] = hy_minus(w.q[i], 8u);
    w.a[0] = hy_from_f16(*(const u16 *)(row + plane1 + 2u * s));
    return w;
}

#elif defined(FORMAT_q4_1)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    hy_load_nibbles(row + 16u * s, w.q);
    const u32 dm = *(const u32 *)(row + plane1 + 4u * s);
    w.a[0] = hy_from_f16(dm & 0xffffu);
    w.b[0] = hy_from_f16(dm >> 16);
    return w;
}

#elif defined(FORMAT_q5_0)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    hy_load_nibbles(row + 16u * s, w.q);
    const u32 high = *(const u32 *)(row + plane1 + 4u * s);
    HY_UNROLL for (u32 i = 0; i < 8; i++) w.q[i] =
        hy_minus(w.q[i] | hy_spread(high >> 4 * i) << 4, 16u);
    w.a[0] = hy_from_f16(*(const u16 *)(row + plane2 + 2u * s));
    return w;
}

#elif defined(FORMAT_q5_1)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    hy_load_nibbles(row + 16u * s, w.q);
    const u32 high = *(const u32 *)(row + plane1 + 4u * s);
    HY_UNROLL for (u32 i = 0; i < 8; i++) w.q[i] |= hy_spread(high >> 4 * i) << 4;
    const u32 dm = *(const u32 *)(row + plane2 + 4u * s);
    w.a[0] = hy_from_f16(dm & 0xffffu);
    w.b[0] = hy_from_f16(dm >> 16);
    return w;
}

#elif defined(FORMAT_iq4_nl)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    hy_load_iq4(row + 16u * s, w.q);
    w.a[0] = hy_from_f16(*(const u16 *)(row + plane1 + 2u * s));
    return w;
}

#elif defined(FORMAT_mxfp4)

HY_DEVICE hy_weights hy_load_weights(const u8 *row, u32 plane1, u32 plane2, u32 plane3, u32 s) {
    hy_weights w;
    /* doubled e2m1: 0 1 2 3 4 6 8 12, then their negatives */
    hy_load_codes(row + 16u * s, 0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu, w.q);
    const u32 e = *(row + plane1 + s);
    w.a[0] = hy_float(e < 2u ? 0x00200000u << e : (e - 1u) << 23); /* 2^(e - 128) */
    return w;
}

#endif

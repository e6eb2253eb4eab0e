/* shaders/vulkan/quant_32.glsl: formats whose blocks are 32 k; included by quant.glsl. Planes: quants of 16
 * bytes (q8_0: 32), five-bit formats their high bits, then d (and m). */

#if defined(FORMAT_q8_0)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    hy_load_words(hy_add(row, 32u * s), w.q);
    w.a[0] = hy_from_f16(hy_load_half(hy_add(row, plane1 + 2u * s)));
    return w;
}

#elif defined(FORMAT_q4_0)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    hy_load_nibbles(hy_add(row, 16u * s), w.q);
    for (int i = 0; i < 8; i++)
        w.q[i] = hy_minus(w.q[i], 8u);
    w.a[0] = hy_from_f16(hy_load_half(hy_add(row, plane1 + 2u * s)));
    return w;
}

#elif defined(FORMAT_q4_1)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    hy_load_nibbles(hy_add(row, 16u * s), w.q);
    const uint dm = Words(hy_add(row, plane1 + 4u * s)).v[0];
    w.a[0] = hy_from_f16(dm & 0xffffu);
    w.b[0] = hy_from_f16(dm >> 16);
    return w;
}

#elif defined(FORMAT_q5_0)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    hy_load_nibbles(hy_add(row, 16u * s), w.q);
    const uint high = Words(hy_add(row, plane1 + 4u * s)).v[0];
    for (int i = 0; i < 8; i++)
        w.q[i] = hy_minus(w.q[i] | hy_spread(high >> 4 * i) << 4, 16u);
    w.a[0] = hy_from_f16(hy_load_half(hy_add(row, plane2 + 2u * s)));
    return w;
}

#elif defined(FORMAT_q5_1)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    hy_load_nibbles(hy_add(row, 16u * s), w.q);
    const uint high = Words(hy_add(row, plane1 + 4u * s)).v[0];
    for (int i = 0; i < 8; i++)
        w.q[i] |= hy_spread(high >> 4 * i) << 4;
    const uint dm = Words(hy_add(row, plane2 + 4u * s)).v[0];
    w.a[0] = hy_from_f16(dm & 0xffffu);
    w.b[0] = hy_from_f16(dm >> 16);
    return w;
}

#elif defined(FORMAT_iq4_nl)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    hy_load_nibbles(hy_add(row, 16u * s), w.q);
    for (int i = 0; i < 8; i++)
        w.q[i] = hy_iq4x4(w.q[i]);
    w.a[0] = hy_from_f16(hy_load_half(hy_add(row, plane1 + 2u * s)));
    return w;
}

#elif defined(FORMAT_mxfp4)

/* Doubled e2m1 of four nibbles: 0 1 2 3 4 6 8 12 by the low three bits, bit 3 is the sign. */
uint hy_e2m1x4(uint w) {
    const uint one = 0x01010101u;
    const uint b0 = w & one, b1 = w >> 1 & one, b2 = w >> 2 & one, n2 = b2 ^ one;
    const uint magnitude = b0 & n2 | (b1 & n2 | b2 & b0 & ~b1) << 1 | (b2 & (~b1 | b0)) << 2 |
                           (b2 & b1) << 3;
    const uint sign = w >> 3 & (b0 | b1 | b2); /* zero has none: its complement would carry */
    return (magnitude ^ sign * 0xffu) + sign;
}

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    hy_load_nibbles(hy_add(row, 16u * s), w.q);
    for (int i = 0; i < 8; i++)
        w.q[i] = hy_e2m1x4(w.q[i]);
    const uint e = hy_load_byte(hy_add(row, plane1 + s));
    w.a[0] = uintBitsToFloat(e < 2u ? 0x00200000u << e : e - 1u << 23); /* 2^(e - 128) */
    return w;
}

#endif

/* shaders/vulkan/quant_k.glsl: formats whose blocks are 256 k, of which s is one eighth; included by
 * quant.glsl. Planes as in backends/gpu/layout.c. */

#if defined(FORMAT_q2_k) || defined(FORMAT_q3_k)

/* Two bits of each of 32 k: 128 k share 32 bytes, each byte holding one k of each quarter. */
void hy_load_pairs(uvec2 address, uint i, out uint w[8]) {
    hy_load_words(hy_add(address, i / 4u * 32u), w);
    for (int j = 0; j < 8; j++)
        w[j] = w[j] >> i % 4u * 2u & 0x03030303u;
}

#endif
#if defined(FORMAT_q4_k) || defined(FORMAT_q5_k)

/* Header of 16 bytes: d, dmin, and 6-bit scales and minima of eight sub-blocks in 12 bytes: the low 6 bits
 * of bytes 0..3 and 4..7 are those of the first four; their top pairs with the nibbles of bytes 8..11 those
 * of the last four. */
void hy_scale_min(uvec4 header, uint i, out float a, out float b) {
    const uint shift = i % 4u * 8u;
    const uint x = header.y >> shift, y = header.z >> shift, z = header.w >> shift;
    const uint scale = i < 4u ? x & 63u : z & 15u | x >> 2 & 48u;
    const uint minimum = i < 4u ? y & 63u : z >> 4 & 15u | y >> 2 & 48u;
    a = hy_from_f16(header.x & 0xffffu) * float(scale);
    b = -(hy_from_f16(header.x >> 16) * float(minimum));
}

/* Nibbles of sub-block i: pairs of sub-blocks share 32 bytes, the first in the low nibbles. */
void hy_load_k_nibbles(uvec2 address, uint i, out uint w[8]) {
    hy_load_words(hy_add(address, i / 2u * 32u), w);
    for (int j = 0; j < 8; j++)
        w[j] = w[j] >> i % 2u * 4u & 0x0f0f0f0fu;
}

#endif

#if defined(FORMAT_q2_k)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    const uint block = s / 8u, i = s % 8u;
    hy_load_pairs(hy_add(row, 64u * block), i, w.q);
    const uint scales = hy_load_half(hy_add(row, plane1 + 16u * block + 2u * i));
    const uint dm = Words(hy_add(row, plane2 + 4u * block)).v[0];
    const float d = hy_from_f16(dm & 0xffffu), dmin = hy_from_f16(dm >> 16);
    for (uint h = 0u; h < 2u; h++) {
        w.a[h] = d * float(scales >> 8u * h & 15u);
        w.b[h] = -(dmin * float(scales >> 8u * h + 4u & 15u));
    }
    return w;
}

#elif defined(FORMAT_q3_k)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    const uint block = s / 8u, i = s % 8u;
    uint high[8];
    hy_load_pairs(hy_add(row, 64u * block), i, w.q);
    hy_load_words(hy_add(row, plane1 + 32u * block), high);
    for (int j = 0; j < 8; j++)
        w.q[j] = hy_minus(w.q[j] | (high[j] >> i & 0x01010101u) << 2, 4u);
    /* 16 scales: nibbles in bytes 0..7, top pairs in bytes 8..11; these are the even one and the next */
    Words scales = Words(hy_add(row, plane2 + 12u * block));
    const uint low = scales.v[i / 2u % 2u] >> i % 2u * 16u + i / 4u * 4u;
    const uint top = scales.v[2] >> i % 2u * 16u + i / 2u * 2u;
    const float d = hy_from_f16(hy_load_half(hy_add(row, plane3 + 2u * block)));
    for (uint h = 0u; h < 2u; h++) {
        const uint scale = low >> 8u * h & 15u | (top >> 8u * h & 3u) << 4;
        w.a[h] = d * float(int(scale) - 32);
    }
    return w;
}

#elif defined(FORMAT_q4_k)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    const uint block = s / 8u, i = s % 8u;
    hy_load_k_nibbles(hy_add(row, 128u * block), i, w.q);
    hy_scale_min(hy_quad(hy_add(row, plane1 + 16u * block)), i, w.a[0], w.b[0]);
    return w;
}

#elif defined(FORMAT_q5_k)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    const uint block = s / 8u, i = s % 8u;
    uint high[8];
    hy_load_k_nibbles(hy_add(row, 128u * block), i, w.q);
    hy_load_words(hy_add(row, plane1 + 32u * block), high);
    for (int j = 0; j < 8; j++)
        w.q[j] |= (high[j] >> i & 0x01010101u) << 4;
    hy_scale_min(hy_quad(hy_add(row, plane2 + 16u * block)), i, w.a[0], w.b[0]);
    return w;
}

#elif defined(FORMAT_q6_k)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    const uint block = s / 8u, i = s % 8u;
    uint high[8];
    hy_load_words(hy_add(row, 128u * block + i / 4u * 64u + i % 2u * 32u), w.q);
    hy_load_words(hy_add(row, plane1 + 64u * block + i / 4u * 32u), high);
    for (int j = 0; j < 8; j++) {
        const uint nibbles = w.q[j] >> i % 4u / 2u * 4u & 0x0f0f0f0fu;
        w.q[j] = hy_minus(nibbles | (high[j] >> i % 4u * 2u & 0x03030303u) << 4, 32u);
    }
    const int scales = int(hy_load_half(hy_add(row, plane2 + 16u * block + 2u * i)));
    const float d = hy_from_f16(hy_load_half(hy_add(row, plane3 + 2u * block)));
    w.a[0] = d * float(bitfieldExtract(scales, 0, 8));
    w.a[1] = d * float(bitfieldExtract(scales, 8, 8));
    return w;
}

#elif defined(FORMAT_iq4_xs)

hy_weights hy_load_weights(uvec2 row, uint plane1, uint plane2, uint plane3, uint s) {
    hy_weights w;
    const uint block = s / 8u, i = s % 8u;
    hy_load_nibbles(hy_add(row, 16u * s), w.q);
    for (int j = 0; j < 8; j++)
        w.q[j] = hy_iq4x4(w.q[j]);
    const uvec2 header = Pairs(hy_add(row, plane1 + 8u * block)).v[0];
    const uint scale = header.y >> 4u * i & 15u | (header.x >> 16u + 2u * i & 3u) << 4;
    w.a[0] = hy_from_f16(header.x & 0xffffu) * float(int(scale) - 32);
    return w;
}

#endif

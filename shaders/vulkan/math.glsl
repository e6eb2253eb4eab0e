/* shaders/vulkan/math.glsl: division, square root, elementary functions, a8 rounding: the bits of
 * backends/cpu/vmath.h.
 *
 * Vulkan lets a device miss a quotient by 2.5 units in the last place, a root by more, and drop subnormals.
 * So the device's quotient is only a first guess here: mantissas are integers, the remainder is exact in 32
 * bits, and the guess is moved until it is right. That needs neither a fused multiply-add nor subnormals,
 * and gives IEEE 754's result, round to nearest even, on every device. Sums and products are correctly
 * rounded by Vulkan. fma() may be two roundings where a device has no such instruction: then hy_exp and what
 * is built on it stay within their bounds, but may differ from the CPU in the last bit. */
#ifndef HY_MATH_GLSL
#define HY_MATH_GLSL

#define HY_INFINITY uintBitsToFloat(0x7f800000u)
#define HY_NAN uintBitsToFloat(0x7fc00000u)

/* A finite positive number by its bits, as fraction * 2^(exponent - 150), 2^23 <= fraction < 2^24. */
void hy_split(uint bits, out uint fraction, out int exponent) {
    exponent = int(bits >> 23);
    fraction = bits & 0x7fffffu;
    if (exponent == 0) {
        const int shift = 23 - findMSB(fraction);
        fraction <<= shift;
        exponent = 1 - shift;
    } else {
        fraction |= 0x800000u;
    }
}

/* The bits of (q + rest) * 2^(exponent - 150), 2^23 <= q < 2^24: `above` when rest > 1/2 (it is never just
 * that), `sticky` when rest > 0. */
uint hy_join(uint q, int exponent, bool above, bool sticky) {
    if (exponent >= 255) return 0x7f800000u;
    if (exponent >= 1) return (uint(exponent) << 23) + (q - 0x800000u) + uint(above);
    if (exponent < -23) return 0u; /* below half of the smallest subnormal */
    const uint shift = uint(1 - exponent), kept = q >> shift;
    const uint cut = q & (1u << shift) - 1u, tie = 1u << shift - 1u;
    return kept + uint(cut > tie || cut == tie && (sticky || (kept & 1u) != 0u));
}

/* x / s as IEEE 754 has it. */
float hy_divide(float x, float s) {
    const uint a = floatBitsToUint(x) & 0x7fffffffu, b = floatBitsToUint(s) & 0x7fffffffu;
    const uint sign = (floatBitsToUint(x) ^ floatBitsToUint(s)) & 0x80000000u;
    if (a > 0x7f800000u || b > 0x7f800000u) return HY_NAN;
    if (a == 0u || b == 0x7f800000u) return a == b ? HY_NAN : uintBitsToFloat(sign);
    if (b == 0u || a == 0x7f800000u) return uintBitsToFloat(sign | 0x7f800000u);
    uint m, d;
    int ea, eb;
    hy_split(a, m, ea);
    hy_split(b, d, eb);
    if (m < d) {
        m <<= 1;
        ea--;
    }
    precise const float guess = float(m) / float(d); /* 1 <= m / d < 2 */
    uint q = uint(guess * 8388608.0);
    int rest = int((m << 23) - q * d); /* |rest| < 4 d < 2^26, so that its low word is all of it */
    [[dont_unroll]] for (int i = 0; i < 8 && rest < 0; i++) {
        q--;
        rest += int(d);
    }
    [[dont_unroll]] for (int i = 0; i < 8 && rest >= int(d); i++) {
        q++;
        rest -= int(d);
    }
    return uintBitsToFloat(sign | hy_join(q, ea - eb + 127, 2 * rest > int(d), rest > 0));
}

/* Square root as IEEE 754 has it. */
float hy_sqrt(float x) {
    const uint bits = floatBitsToUint(x);
    if ((bits & 0x7fffffffu) == 0u || bits == 0x7f800000u) return x;
    if (bits > 0x7f800000u) return HY_NAN;
    uint m;
    int exponent;
    hy_split(bits, m, exponent);
    /* n = m << 23 or m << 24, 2^46 <= n < 2^48, and an even power of two beside it; q^2 <= n < (q + 1)^2 */
    const bool even = (exponent & 1) == 0;
    precise const float guess = even ? sqrt(float(m)) * 4096.0 : sqrt(float(m + m)) * 2048.0;
    uint q = uint(guess);
    int rest = int((even ? m << 24 : m << 23) - q * q); /* the low word is all of it */
    [[dont_unroll]] for (int i = 0; i < 12 && rest < 0; i++) {
        q--;
        rest += int(2u * q + 1u);
    }
    [[dont_unroll]] for (int i = 0; i < 12 && rest > int(2u * q); i++) {
        rest -= int(2u * q + 1u);
        q++;
    }
    exponent = 150 + (exponent - (even ? 174 : 173)) / 2;
    return uintBitsToFloat(hy_join(q, exponent, rest > int(q), rest > 0));
}

/* 1 / sqrt(x), each of the two rounded. */
float hy_rsqrt(float x) {
    return hy_divide(1.0, hy_sqrt(x));
}

/* ---- elementary functions ------------------------------------------------------------------------- */

/* 2^n for -126 <= n <= 127. */
float hy_pow2(int n) {
    return uintBitsToFloat(uint(n + 127) << 23);
}

/* e^x, within 1.5 ulp; 0 below -104, infinity above 88.73; NaN stays NaN. */
float hy_exp(float x) {
    const float low = x < -104.0 ? -104.0 : x;
    const float v = low > 89.0 ? 89.0 : low;
    precise const float shifted = fma(v, 1.442695, 12582912.0); /* log2(e); 1.5 * 2^23 */
    precise const float n = shifted - 12582912.0;
    /* Exact, for these are ln 2's top 16 bits; and no fma, as some compilers make one of two that share n. */
    precise const float tail = n * 0.69314575;
    precise const float head = v - tail;
    precise const float r = fma(n, -1.4286068e-06, head);
    precise float p = 0.001392625;
    p = fma(p, r, 0.008363233);
    p = fma(p, r, 0.041666552);
    p = fma(p, r, 0.16666576);
    p = fma(p, r, 0.5);
    precise const float square = p * r;
    p = fma(square, r, r);
    /* 2^n in two factors, so that neither overflows and a subnormal result rounds once. */
    const int i = int(floatBitsToUint(shifted) - 0x4b400000u), half_ = i >> 1;
    precise const float once = (p + 1.0) * hy_pow2(half_);
    precise const float result = once * hy_pow2(i - half_);
    return result;
}

/* w * w - square, where square = w * w as rounded: exact without a fused multiply-add. */
float hy_square_error(float w, float square) {
    const float high = uintBitsToFloat(floatBitsToUint(w) & 0xfffff000u);
    precise const float low = w - high;
    precise const float cross_ = high * low;
    precise const float first = high * high - square;
    precise const float rest = first + cross_ + cross_ + low * low;
    return rest;
}

/* `act` is a hy_act. What they share is written once, so that it is compiled once: each has one quotient and
 * one exponential. silu x / (1 + e^-x), 3 ulp; sigmoid 1 / (1 + e^-x), 2.5 ulp; tanh 1 - 2 / (1 + e^2|x|), or a
 * polynomial near 0, 2 ulp; gelu_tanh x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3); gelu_erf
 * x / 2 (1 + erf(x / sqrt 2)): h = erfc(|x| / sqrt 2) / 2 is a polynomial in t = 1 / (1 + z / 2) times
 * e^(-z^2), z^2 in two words. */
float hy_act(uint act, float x) {
    if (act == HY_ACT_NONE || x != x) return x;
    if (act == HY_ACT_RELU) return x > 0.0 ? x : 0.0;
    if (act == HY_ACT_RELU2) {
        precise const float square = x * x;
        return x > 0.0 ? square : 0.0;
    }
    const float a = abs(x);
    precise const float z = a * 0.70710677; /* sqrt(1 / 2) */
    const float w = z < 16.0 ? z : 16.0;    /* e^-256 is 0; keeps the low word finite */
    precise const float square = w * w;
    precise float exponent = -x, numerator = x;
    if (act == HY_ACT_GELU_TANH) {
        precise const float xx = x * x;
        precise const float cube = xx * x;
        precise const float inner = fma(cube, 0.044715, x);
        exponent = -1.59576912 * inner; /* 2 sqrt(2 / pi) */
    } else if (act == HY_ACT_GELU_ERF) {
        exponent = -square;
        numerator = 1.0;
    } else if (act == HY_ACT_TANH) {
        exponent = a + a;
        numerator = 2.0;
    } else if (act == HY_ACT_SIGMOID) {
        numerator = 1.0;
    }
    const float e = hy_exp(exponent);
    precise float denominator = 1.0 + e;
    if (act == HY_ACT_GELU_ERF) denominator = fma(z, 0.5, 1.0);
    const float t = hy_divide(numerator, denominator);
    if (act == HY_ACT_TANH) {
        precise const float u = x * x;
        precise float p = -0.006045165;
        p = fma(p, u, 0.02096133);
        p = fma(p, u, -0.053843264);
        p = fma(p, u, 0.13332719);
        p = fma(p, u, -0.33333328);
        precise const float xu = x * u;
        precise const float small = fma(xu, p, x);
        precise const float large = 1.0 - t;
        return a < 0.625 ? small : x < 0.0 ? -large : large;
    }
    if (act != HY_ACT_GELU_ERF) return t;
    precise float p = 0.032398652;
    p = fma(p, t, -0.1716289);
    p = fma(p, t, 0.33256868);
    p = fma(p, t, -0.21899329);
    p = fma(p, t, -0.08664944);
    p = fma(p, t, 0.074567944);
    p = fma(p, t, 0.03905752);
    p = fma(p, t, 0.18979546);
    p = fma(p, t, 0.2444791);
    p = fma(p, t, 0.2823184);
    p = fma(p, t, 0.28208584);
    precise const float gauss = fma(-hy_square_error(w, square), e, e);
    precise const float h = 0.5 * t * p * gauss;
    precise const float positive = fma(-x, h, x);
    precise const float negative = x * h;
    return x > 0.0 ? positive : negative;
}

float hy_sigmoid(float x) {
    return hy_act(HY_ACT_SIGMOID, x);
}
float hy_tanh(float x) {
    return hy_act(HY_ACT_TANH, x);
}
float hy_silu(float x) {
    return hy_act(HY_ACT_SILU, x);
}
float hy_gelu_tanh(float x) {
    return hy_act(HY_ACT_GELU_TANH, x);
}
float hy_gelu_erf(float x) {
    return hy_act(HY_ACT_GELU_ERF, x);
}

/* cap * tanh(x / cap), cap > 0. */
float hy_softcap(float x, float cap) {
    precise const float y = cap * hy_tanh(hy_divide(x, cap));
    return y;
}

/* ---- a8: 32 int8, then a float32 scale and the int32 sum of the int8 ------------------------------- */

#define HY_A8_BYTES 40u
#define HY_A8_SCALE 8u /* words into the block */
#define HY_A8_SUM 9u

/* |x| by its bits, NaN as 0: the largest of these, as integers, is max|x| of a block. */
uint hy_a8_magnitude(float x) {
    const uint bits = floatBitsToUint(x) & 0x7fffffffu;
    return bits > 0x7f800000u ? 0u : bits;
}

/* The scale of a block whose max|x| is `most`: most / 127, magnitudes above 2^127 as 2^127. */
float hy_a8_scale(float most) {
    return hy_divide(uintBitsToFloat(min(floatBitsToUint(most), 0x7f000000u)), 127.0);
}

/* One element: x / scale to the nearest integer, ties to even; NaN and blocks of zeros give 0. */
int hy_a8_quantize(float x, float scale) {
    const uint s = floatBitsToUint(scale);
    if (s == 0u || (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u) return 0;
    const float v = hy_divide(x, scale);
    const float low = v > -127.0 ? v : -127.0;
    const float both = low < 127.0 ? low : 127.0;
    precise const float shifted = both + 12582912.0;
    return int(floatBitsToUint(shifted) - 0x4b400000u);
}

#endif

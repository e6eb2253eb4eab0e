/* shaders/vulkan/rope_table.comp: HY_OP_ROPE_TABLE: cosines and sines of pos * (hi + lo). A thread for each
 * (token, frequency). args.extra: none.
 *
 * No float64 here: the product of position and mantissa is exact in two words, and times 1 / (2 pi) as a fixed
 * point number it gives the turns; of these only the fraction counts, known to 2^-40 for any position and
 * any frequency. What is left is at most an eighth of a turn, for two polynomials. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

/* Bits of 1 / (2 pi) behind the point, first the highest. */
const uint PER_TURN[8] = uint[8](0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u, 0x36d8a566u, 0x4f10e410u,
                                 0x7f9458eau, 0xf7aef158u);

uint word_at(int i) {
    return i < 0 || i > 7 ? 0u : PER_TURN[i];
}

/* 32 bits of it, from bit `from` behind the point on. */
uint bits_at(int from) {
    const int word = from >> 5, rest = from & 31;
    if (rest == 0) return word_at(word);
    return word_at(word) << rest | word_at(word + 1) >> 32 - rest;
}

/* The fraction of position * |x| / (2 pi): x 2^-32 + y 2^-64. */
uvec2 turns_of(uint position, float x) {
    const uint bits = floatBitsToUint(x), field = bits >> 23 & 0xffu;
    const uint mantissa = bits & 0x7fffffu | (field == 0u ? 0u : 0x800000u);
    const int exponent = int(max(field, 1u)) - 150; /* x = mantissa 2^exponent */
    uint n1, n0;
    umulExtended(position, mantissa, n1, n0);
    /* 2^exponent / (2 pi), its whole part dropped; 96 bits: n has 55, so the fraction is good to 2^-41 */
    const uint w0 = bits_at(exponent), w1 = bits_at(exponent + 32), w2 = bits_at(exponent + 64);
    uint high, low, carry;
    uvec2 turns = uvec2(n0 * w0 + n1 * w1, 0u);
    umulExtended(n0, w1, high, low);
    turns.x += high;
    turns.y = low;
    umulExtended(n0, w2, high, low);
    turns.y = uaddCarry(turns.y, high, carry);
    turns.x += carry;
    umulExtended(n1, w2, high, low);
    turns.x += high;
    turns.y = uaddCarry(turns.y, low, carry);
    turns.x += carry;
    return turns;
}

/* Adds, or subtracts, modulo one turn. */
uvec2 add_turns(uvec2 a, uvec2 b, bool negative) {
    uint carry;
    if (negative) { /* two's complement */
        b.y = uaddCarry(~b.y, 1u, carry);
        b.x = ~b.x + carry;
    }
    a.y = uaddCarry(a.y, b.y, carry);
    a.x += b.x + carry;
    return a;
}

void main() {
    const uint pairs = OPERAND(HY_ROPE_TABLE_freq).dim[0];
    const uint i = hy_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    const uint t = i / pairs, j = i % pairs;
    if (t >= hy_count(HY_ROPE_TABLE_out)) return;
    const int pos = int(Words(OPERAND(HY_ROPE_TABLE_pos).address).v[t]);
    const uvec2 row = hy_row(HY_ROPE_TABLE_freq, j);
    uvec2 turns = uvec2(0u);
    [[dont_unroll]] for (uint x = 0u; x < 2u; x++) {
        const float f = Floats(row).v[x];
        const bool negative = floatBitsToUint(f) >> 31 != uint(pos) >> 31;
        turns = add_turns(turns, turns_of(uint(abs(pos)), f), negative);
    }
    /* The nearest quarter turn, and what is left of it: within +-2^29 2^-32 turns. */
    const uint quarter = turns.x + 0x20000000u >> 30;
    const int rest = int(turns.x - (quarter << 30));
    precise const float fine = float(turns.y) * 2.3283064365386963e-10; /* 2^-32 */
    precise const float near = float(rest) + fine;
    precise const float x = near * 1.4629181e-9; /* 2 pi 2^-32 */
    precise const float u = x * x;
    precise float s = 2.7249896e-06;
    s = fma(s, u, -0.00019840087);
    s = fma(s, u, 0.008333332);
    s = fma(s, u, -0.16666667);
    precise const float xu = x * u;
    s = fma(xu, s, x);
    precise float c = 2.4547917e-05;
    c = fma(c, u, -0.0013888302);
    c = fma(c, u, 0.041666664);
    c = fma(c, u, -0.5);
    c = fma(c, u, 1.0);
    const bool odd = (quarter & 1u) != 0u;
    const float word = uintBitsToFloat(ARGS.word[HY_ROPE_TABLE_ATTR_magnitude]);
    const float magnitude = word == 0.0 ? 1.0 : word;
    precise const float cosine = (odd ? s : c) * ((quarter + 1u & 2u) != 0u ? -magnitude : magnitude);
    precise const float sine = (odd ? c : s) * ((quarter & 2u) != 0u ? -magnitude : magnitude);
    const uvec2 out_row = hy_row(HY_ROPE_TABLE_out, t);
    Floats(out_row).v[j] = cosine;
    Floats(out_row).v[pairs + j] = sine;
}

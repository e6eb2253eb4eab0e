/* shaders/vulkan/topk_route.comp: HY_OP_TOPK_ROUTE, one workgroup for each token.
 *
 * The k largest of p + bias have to be float64's. Without a bias they are those of the logits, for gates keep
 * the order. With one, p and p + bias are held in two floats (46 bits) and compared as integers. An expert's
 * place is the number of experts before it, so that no order of threads matters.
 * Specialization constant 1: experts or more. Two-float arithmetic: Dekker 1971; Knuth, TAOCP 2, 4.2.2. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "keys.glsl"
#include "total.glsl"

layout(constant_id = 1) const uint EXPERTS = 64;

shared vec2 prob[EXPERTS];
shared uvec2 keys[EXPERTS];
shared uint chosen[EXPERTS]; /* by place */
shared vec2 parts[gl_WorkGroupSize.x];

/* ---- numbers in two floats: x is the number as rounded, y what is left ------------------------------ */

vec2 two_sum(float a, float b) {
    precise const float s = a + b;
    precise const float t = s - a;
    precise const float rest = (a - (s - t)) + (b - t);
    return vec2(s, rest);
}

vec2 add(vec2 a, vec2 b) {
    const vec2 s = two_sum(a.x, b.x);
    precise const float rest = s.y + (a.y + b.y);
    return two_sum(s.x, rest);
}

/* The first 12 bits, rounded, and the rest: products of such are exact. */
vec2 halves(float a) {
    const float high = uintBitsToFloat(floatBitsToUint(a) + 0x800u & 0xfffff000u);
    precise const float low = a - high;
    return vec2(high, low);
}

vec2 multiply(vec2 a, vec2 b) { /* fma() would do, if it rounded once everywhere */
    const vec2 u = halves(a.x), v = halves(b.x);
    precise const float p = a.x * b.x;
    precise const float lost = (u.x * v.x - p) + u.x * v.y + u.y * v.x + u.y * v.y;
    precise const float rest = lost + (a.x * b.y + a.y * b.x);
    return two_sum(p, rest);
}

/* A quotient of what each quotient leaves. */
vec2 divide(vec2 a, vec2 b) {
    vec2 q = vec2(0.0);
    [[dont_unroll]] for (int i = 0; i < 3; i++) {
        precise const float next = a.x / b.x;
        q = add(q, vec2(next, 0.0));
        a = add(a, multiply(b, vec2(-next, 0.0)));
    }
    return q;
}

/* 1 / n! from n = 7 down. */
const vec2 FACTORS[8] =
    vec2[](vec2(0.000198412701, -2.72559687e-12), vec2(0.00138888892, -3.36310944e-11),
           vec2(0.00833333377, -4.34617203e-10), vec2(0.0416666679, -1.24176347e-09),
           vec2(0.166666672, -4.96705388e-09), vec2(0.5, 0.0), vec2(1.0, 0.0), vec2(1.0, 0.0));

/* e^x for x <= 0, to 2^-45; what is below 2^-126 may be 0. */
vec2 exponential(vec2 x) {
    if (x.x < -104.0) return vec2(0.0);
    precise const float n = roundEven(x.x * 1.44269502); /* x / ln 2 */
    vec2 r = add(x, vec2(n * -0.693145752, 0.0)); /* ln 2 in three parts, the products of two exact */
    r = add(r, vec2(n * -1.428416e-06, 0.0));
    r = add(r, vec2(n * -1.90821493e-10, 0.0));
    precise float tail = 2.08767559e-09; /* 1 / 12! ... 1 / 8!: a float's bits suffice */
    tail = fma(tail, r.x, 2.50521079e-08);
    tail = fma(tail, r.x, 2.755732e-07);
    tail = fma(tail, r.x, 2.75573188e-06);
    tail = fma(tail, r.x, 2.48015876e-05);
    vec2 e = vec2(tail, 0.0);
    [[dont_unroll]] for (int i = 0; i < 8; i++)
        e = add(multiply(e, r), FACTORS[i]);
    const int half_ = int(n) >> 1;
    return e * hy_pow2(half_) * hy_pow2(int(n) - half_);
}

/* ---- order ---------------------------------------------------------------------------------------- */

/* The sum as float64 has it: what of y is below 2^-52 of x goes. */
uvec2 key_of(vec2 sum) {
    const uint exponent = floatBitsToUint(sum.x) >> 23 & 255u;
    if (exponent > 60u && exponent < 255u && abs(sum.y) < hy_pow2(int(exponent) - 157)) {
        const float unit = 1.5 * hy_pow2(int(exponent) - 156); /* its last bit is 2^-52 of x's first */
        precise const float rounded = sum.y + unit;
        precise const float back = rounded - unit;
        sum.y = back;
    }
    return uvec2(hy_key(sum.x), hy_key(sum.y));
}

/* ---- the gates ------------------------------------------------------------------------------------- */

/* The sum of one number from each thread; the tree depends on nothing. */
vec2 workgroup_sum(vec2 mine) {
    const uint t = gl_LocalInvocationIndex;
    parts[t] = mine;
    [[dont_unroll]] for (uint step = gl_WorkGroupSize.x / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t < step) parts[t] = add(parts[t], parts[t + step]);
    }
    barrier();
    return parts[0];
}

/* prob of every expert whose number is this thread's, modulo the threads. */
void softmax(uvec2 logits, uint experts) {
    const uint t = gl_LocalInvocationIndex, threads = gl_WorkGroupSize.x;
    float most = -HY_INFINITY;
    [[dont_unroll]] for (uint e = t; e < experts; e += threads) {
        const float x = Floats(logits).v[e];
        most = x > most ? x : most;
    }
    most = hy_largest(most);
    vec2 sum = vec2(0.0);
    [[dont_unroll]] for (uint e = t; e < experts; e += threads) {
        prob[e] = exponential(two_sum(Floats(logits).v[e], -most));
        sum = add(sum, prob[e]);
    }
    sum = workgroup_sum(sum);
    [[dont_unroll]] for (uint e = t; e < experts; e += threads)
        prob[e] = divide(prob[e], sum);
}

vec2 sigmoid(float x) {
    const vec2 e = exponential(vec2(-abs(x), 0.0));
    return divide(x < 0.0 ? e : vec2(1.0, 0.0), add(e, vec2(1.0, 0.0)));
}

void gates(uvec2 logits, uint experts) {
    const uint gate = ARGS.word[HY_TOPK_ROUTE_ATTR_gate];
    if (gate == HY_GATE_SOFTMAX) {
        softmax(logits, experts);
        return;
    }
    [[dont_unroll]] for (uint e = gl_LocalInvocationIndex; e < experts; e += gl_WorkGroupSize.x) {
        const float x = Floats(logits).v[e];
        prob[e] = gate == HY_GATE_SIGMOID ? sigmoid(x) : vec2(x, 0.0);
    }
}

/* ---- the op ---------------------------------------------------------------------------------------- */

/* Experts before e: those with a larger key, and of equal keys those with a lower number. */
uint place_of(uint e, uint experts) {
    const uvec2 mine = keys[e];
    uint place = 0u;
    [[dont_unroll]] for (uint i = 0u; i < experts; i++)
        place += uint(hy_above(keys[i], mine) || i < e && keys[i] == mine);
    return place;
}

/* The weight of place i of k. */
float weight_of(uint i, uint k) {
    const uint how = ARGS.word[HY_TOPK_ROUTE_ATTR_normalize];
    const float scale = uintBitsToFloat(ARGS.word[HY_TOPK_ROUTE_ATTR_scale]);
    precise float w = prob[chosen[i]].x;
    if (how != 0u) {
        float most = prob[chosen[0]].x;
        [[dont_unroll]] for (uint j = 1u; j < k; j++)
            most = max(most, prob[chosen[j]].x);
        vec2 sum = vec2(0.0);
        [[dont_unroll]] for (uint j = 0u; j < k; j++) {
            const vec2 p = prob[chosen[j]];
            sum = add(sum, how == 2u ? vec2(hy_exp(p.x - most), 0.0) : p);
        }
        w = hy_divide(how == 2u ? hy_exp(w - most) : w, sum.x);
    }
    if (scale != 0.0) w = w * scale;
    return w;
}

void main() {
    const uint row = hy_group(), t = gl_LocalInvocationIndex, threads = gl_WorkGroupSize.x;
    if (row >= hy_count(HY_TOPK_ROUTE_logits)) return;
    const uint experts = hy_columns(HY_TOPK_ROUTE_logits), k = ARGS.word[HY_TOPK_ROUTE_ATTR_k];
    const uvec2 logits = hy_row(HY_TOPK_ROUTE_logits, row);
    const uvec2 ids = hy_row(HY_TOPK_ROUTE_ids, row), weights = hy_row(HY_TOPK_ROUTE_weights, row);
    const uvec2 bias = OPERAND(HY_TOPK_ROUTE_bias).address;
    gates(logits, experts);
    [[dont_unroll]] for (uint e = t; e < experts; e += threads) {
        vec2 key = vec2(Floats(logits).v[e], 0.0);
        if (hy_present(HY_TOPK_ROUTE_bias)) key = add(prob[e], vec2(Floats(bias).v[e], 0.0));
        keys[e] = key_of(key);
    }
    barrier();
    [[dont_unroll]] for (uint e = t; e < experts; e += threads) {
        const uint place = place_of(e, experts);
        if (place >= k) continue;
        chosen[place] = e;
        Words(ids).v[place] = e;
    }
    barrier();
    [[dont_unroll]] for (uint i = t; i < k; i += threads)
        Floats(weights).v[i] = weight_of(i, k);
}

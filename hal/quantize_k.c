/* Quantizers of the 256-element block formats and of the IQ4 codebook formats.
 *
 * One idea for all of them: for each sub-block try a handful of trial scales around the obvious
 * one, round the elements to levels, and keep the scale (and offset) that weighted least squares
 * gives for the best of these roundings. Then quantize the sub-blocks' scales against the block's
 * binary16 scale, and round the elements once more with what is stored. Source of the method:
 * llama.cpp PR 1684 (k-quants). Sums have one fixed order: the result is the same everywhere. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "hal/dtype_inner.h"

#define TINY 1e-30f /* below it a block is zero: binary16 scales end at 6e-8 */

/* Nearest integer, ties to even, for |x| < 2^22. */
static inline float nearest(float x) {
    return (x + 12582912.0f) - 12582912.0f;
}

static inline float clamp(float x, float low, float high) {
    x = x > low ? x : low; /* two steps: each is one instruction, of a vector too */
    return x < high ? x : high;
}

/* Trial levels per sub-block: the range is divided by `top + first + step * k` levels. */
typedef struct search {
    float first, step;
    int tries;
} search;

typedef struct affine {
    float scale, offset; /* x ~ scale * q + offset, scale >= 0, offset <= 0 */
} affine;

/* Weighted sums over one sub-block for given levels q. */
typedef struct sums {
    double w, x, xx, q, qq, xq;
} sums;

/* Sums go to four float32 lanes first, then together in one order: fast, and the same everywhere. */
typedef float lanes __attribute__((vector_size(16)));

static lanes load_lanes(const float *p) {
    lanes v;
    memcpy(&v, p, sizeof v);
    return v;
}

static double lane_sum(lanes v) {
    return (double)((v[0] + v[1]) + (v[2] + v[3]));
}

/* sum of w q, w q q and w x q; n is a multiple of 4. */
static void level_sums(const float *w, const float *wx, const float *q, int n, double *out_q,
                       double *out_qq, double *out_xq) {
    lanes a = {0}, b = {0}, c = {0};
    for (int i = 0; i < n; i += 4) {
        const lanes level = load_lanes(q + i), wq = load_lanes(w + i) * level;
        a += wq;
        b += wq * level;
        c += load_lanes(wx + i) * level;
    }
    *out_q = lane_sum(a);
    *out_qq = lane_sum(b);
    *out_xq = lane_sum(c);
}

static affine solve(const sums *s) {
    const double det = s->w * s->qq - s->q * s->q;
    affine fit = {0, 0};
    if (det > 0) {
        const double offset = (s->qq * s->x - s->q * s->xq) / det;
        if (offset <= 0) {
            fit.scale = (float)((s->w * s->xq - s->x * s->q) / det);
            fit.offset = (float)offset;
            return fit;
        }
    }
    if (s->qq > 0) fit.scale = (float)(s->xq / s->qq);
    return fit;
}

static double error_of(const sums *s, affine fit) {
    const double a = fit.scale, b = fit.offset;
    return s->xx - 2 * a * s->xq - 2 * b * s->x + a * a * s->qq + 2 * a * b * s->q + b * b * s->w;
}

/* The best scale and offset for levels 0 .. top. */
static affine fit_affine(const float *x, const float *w, int n, int top, search how) {
    float low = 0, high = x[0], wx[32], q[32];
    sums s = {0};
    for (int i = 0; i < n; i++) {
        low = HY_MIN(low, x[i]);
        high = HY_MAX(high, x[i]);
        wx[i] = w[i] * x[i];
        s.w += w[i];
        s.x += wx[i];
        s.xx += (double)wx[i] * x[i];
    }
    affine best = {0, low};
    if (!(high - low > TINY)) return best;
    double best_error = INFINITY;
    for (int k = 0; k <= how.tries; k++) {
        const float inverse = ((float)top + how.first + how.step * (float)k) / (high - low);
        for (int i = 0; i < n; i++)
            q[i] = clamp(nearest(inverse * (x[i] - low)), 0, (float)top);
        level_sums(w, wx, q, n, &s.q, &s.qq, &s.xq);
        const affine fit = solve(&s);
        const double error = error_of(&s, fit);
        if (fit.scale > 0 && error < best_error) {
            best_error = error;
            best = fit;
        }
    }
    return best;
}

static float extreme(const float *x, int n) {
    float best = 0;
    for (int i = 0; i < n; i++) {
        if (fabsf(x[i]) > fabsf(best)) best = x[i];
    }
    return best;
}

/* Weights x^2, relative to the largest so that they neither vanish nor overflow. */
static void weigh(const float *x, int n, float *w, float *wx) {
    const float inverse = 1.0f / extreme(x, n);
    for (int i = 0; i < n; i++) {
        const float r = x[i] * inverse;
        w[i] = r * r;
        wx[i] = w[i] * x[i];
    }
}

/* The best signed scale for levels -half .. half - 1, weights x^2. */
static float fit_symmetric(const float *x, int n, int half) {
    const float largest = extreme(x, n);
    if (!(fabsf(largest) > TINY)) return 0;
    double best = 0;
    float scale = 0, w[16], wx[16], q[16];
    weigh(x, n, w, wx);
    for (int k = -9; k <= 9; k++) {
        const float inverse = -((float)half + 0.1f * (float)k) / largest;
        double unused, xq, qq;
        for (int i = 0; i < n; i++)
            q[i] = clamp(nearest(inverse * x[i]), (float)-half, (float)(half - 1));
        level_sums(w, wx, q, n, &unused, &qq, &xq);
        if (qq > 0 && xq * xq > best * qq) {
            best = xq * xq / qq;
            scale = (float)(xq / qq);
        }
    }
    return scale;
}

/* Rounds `values` to integers low .. high times a common binary16 scale, which is stored at `dst`;
 * the value of largest magnitude goes to `anchor`. Returns the stored scale. */
static float quantize_scales(const float *values, int n, int anchor, int low, int high, int *out,
                             uint8_t *dst) {
    const uint16_t half = hy_f32_to_f16(extreme(values, n) / (float)anchor);
    const float d = hy_f16_to_f32(half);
    hy_store_u16(dst, half);
    for (int i = 0; i < n; i++) {
        const float q = d != 0 ? clamp(values[i] / d, (float)low, (float)high) : 0.0f;
        out[i] = (int)nearest(q);
    }
    return d;
}

/* Level of x on the stored grid `scale * q + offset`, q in low .. high. A sub-block without scale
 * gets level 0, which every format can store. */
static int level(float x, float scale, float offset, int low, int high) {
    if (scale == 0) return 0;
    return (int)nearest(clamp((x - offset) / scale, (float)low, (float)high));
}

/* ---- scale and minimum: Q2_K, Q4_K, Q5_K ---- */

typedef struct affine_block {
    int scale[16], min[16]; /* as stored */
    uint8_t q[256];
} affine_block;

/* Fits 256 elements in sub-blocks of `n`, levels 0 .. top, scales and mins 0 .. scale_top; stores d
 * and dmin at `d` and `d + 2`. */
static void quantize_affine(const float *x, int n, int top, int scale_top, search how,
                            affine_block *out, uint8_t *d) {
    float scale[16], min[16], w[32];
    const int parts = 256 / n;
    for (int s = 0; s < parts; s++) {
        double square = 0;
        for (int i = 0; i < n; i++)
            square += (double)x[s * n + i] * x[s * n + i];
        const float rms = (float)sqrt(square / n);
        for (int i = 0; i < n; i++)
            w[i] = rms + fabsf(x[s * n + i]);
        const affine fit = fit_affine(x + s * n, w, n, top, how);
        scale[s] = fit.scale;
        min[s] = -fit.offset;
    }
    const float dd = quantize_scales(scale, parts, scale_top, 0, scale_top, out->scale, d);
    const float dm = quantize_scales(min, parts, scale_top, 0, scale_top, out->min, d + 2);
    for (int i = 0; i < 256; i++) {
        const float step = dd * (float)out->scale[i / n], offset = -(dm * (float)out->min[i / n]);
        out->q[i] = (uint8_t)level(x[i], step, offset, 0, top);
    }
}

void hy_quantize_q2_k(const float *src, uint8_t *dst) {
    affine_block block;
    quantize_affine(src, 16, 3, 15, (search){-0.5f, 0.1f, 15}, &block, dst + 80);
    for (int s = 0; s < 16; s++)
        dst[s] = (uint8_t)(block.scale[s] | block.min[s] << 4);
    memset(dst + 16, 0, 64);
    for (int i = 0; i < 256; i++)
        dst[16 + i / 128 * 32 + i % 32] |= (uint8_t)(block.q[i] << (i % 128 / 32 * 2));
}

/* The inverse of hy_q4_k_scale_min. */
static void pack_scale_min(const affine_block *block, uint8_t dst[12]) {
    for (int s = 0; s < 4; s++) {
        dst[s] = (uint8_t)(block->scale[s] | block->scale[s + 4] >> 4 << 6);
        dst[s + 4] = (uint8_t)(block->min[s] | block->min[s + 4] >> 4 << 6);
        dst[s + 8] = (uint8_t)((block->scale[s + 4] & 15) | (block->min[s + 4] & 15) << 4);
    }
}

/* 64 elements share 32 bytes: the first half in the low nibbles, the second in the high ones. */
static void pack_nibbles_64(const uint8_t q[256], uint8_t dst[128]) {
    for (int i = 0; i < 128; i++) {
        const int from = i / 32 * 64 + i % 32;
        dst[i] = (uint8_t)((q[from] & 15) | (q[from + 32] & 15) << 4);
    }
}

void hy_quantize_q4_k(const float *src, uint8_t *dst) {
    affine_block block;
    quantize_affine(src, 32, 15, 63, (search){-1.0f, 0.1f, 20}, &block, dst);
    pack_scale_min(&block, dst + 4);
    pack_nibbles_64(block.q, dst + 16);
}

void hy_quantize_q5_k(const float *src, uint8_t *dst) {
    affine_block block;
    quantize_affine(src, 32, 31, 63, (search){-0.5f, 0.1f, 15}, &block, dst);
    pack_scale_min(&block, dst + 4);
    memset(dst + 16, 0, 32);
    for (int i = 0; i < 256; i++)
        dst[16 + i % 32] |= (uint8_t)(block.q[i] >> 4 << i / 32);
    pack_nibbles_64(block.q, dst + 48);
}

/* ---- signed scale: Q3_K, Q6_K ---- */

/* Fits sub-blocks of 16, levels -half .. half - 1, scales -scale_half .. scale_half - 1; stores d.
 * Levels come out from 0 (= -half). */
static void quantize_symmetric(const float *x, int half, int scale_half, int scale[16],
                               uint8_t q[256], uint8_t *d) {
    float fit[16];
    for (int s = 0; s < 16; s++)
        fit[s] = fit_symmetric(x + s * 16, 16, half);
    const float dd = quantize_scales(fit, 16, -scale_half, -scale_half, scale_half - 1, scale, d);
    for (int i = 0; i < 256; i++) {
        const float step = dd * (float)scale[i / 16];
        q[i] = (uint8_t)(level(x[i], step, 0, -half, half - 1) + half);
    }
}

void hy_quantize_q3_k(const float *src, uint8_t *dst) {
    int scale[16];
    uint8_t q[256];
    memset(dst, 0, 110);
    quantize_symmetric(src, 4, 32, scale, q, dst + 108);
    for (int s = 0; s < 16; s++) {
        const int u = scale[s] + 32;
        dst[96 + s % 8] |= (uint8_t)((u & 15) << s / 8 * 4);
        dst[104 + s % 4] |= (uint8_t)(u >> 4 << s / 4 * 2);
    }
    for (int i = 0; i < 256;
         i++) { /* the top bit of the three is the one stored as "do not subtract 4" */
        dst[i % 32] |= (uint8_t)(q[i] >> 2 << i / 32);
        dst[32 + i / 128 * 32 + i % 32] |= (uint8_t)((q[i] & 3) << (i % 128 / 32 * 2));
    }
}

void hy_quantize_q6_k(const float *src, uint8_t *dst) {
    int scale[16];
    uint8_t q[256];
    memset(dst, 0, 192);
    quantize_symmetric(src, 32, 128, scale, q, dst + 208);
    for (int s = 0; s < 16; s++)
        dst[192 + s] = (uint8_t)(int8_t)scale[s];
    for (int i = 0; i < 256; i++) {
        const int half = i / 128, quarter = i % 128 / 32, l = i % 32;
        dst[half * 64 + (quarter & 1) * 32 + l] |= (uint8_t)((q[i] & 15) << quarter / 2 * 4);
        dst[128 + half * 32 + l] |= (uint8_t)(q[i] >> 4 << quarter * 2);
    }
}

/* ---- codebook: IQ4_NL, IQ4_XS ---- */

/* Index of the codebook value nearest to x; of two equally near the lower. */
static int nearest_code(float x) {
    int index = 0;
    for (int k = 0; k < 15; k++)
        index += x > 0.5f * (float)(hy_iq4_values[k] + hy_iq4_values[k + 1]);
    return index;
}

/* The codebook value nearest to each whole number -127 .. 113, at +127: one look per trial. */
typedef struct near_table {
    float value[241];
} near_table;

static void fill_near(near_table *table) {
    for (int v = -127, k = 0; v <= 113; v++) {
        while (k < 15 && 2 * v > hy_iq4_values[k] + hy_iq4_values[k + 1])
            k++;
        table->value[v + 127] = (float)hy_iq4_values[k];
    }
}

/* The best signed scale for 32 elements, weights x^2: trials put the extreme element near either end
 * of the codebook. */
static float fit_codebook(const float *x, const near_table *table) {
    const float largest = extreme(x, 32);
    if (!(fabsf(largest) > TINY)) return 0;
    double best = 0;
    float scale = 0, w[32], wx[32], q[32];
    weigh(x, 32, w, wx);
    for (int k = -7; k <= 7; k++) {
        const float inverse = (float)(hy_iq4_values[0] + k) / largest;
        double unused, xq, qq;
        for (int i = 0; i < 32; i++)
            q[i] = table->value[(int)nearest(clamp(inverse * x[i], -127, 113)) + 127];
        level_sums(w, wx, q, 32, &unused, &qq, &xq);
        if (qq > 0 && xq * xq > best * qq) {
            best = xq * xq / qq;
            scale = (float)(xq / qq);
        }
    }
    return scale;
}

static void pack_codes(const float *src, float scale, uint8_t dst[16]) {
    const float inverse = fabsf(scale) > TINY ? 1.0f / scale : 0.0f;
    for (int i = 0; i < 16; i++)
        dst[i] =
            (uint8_t)(nearest_code(src[i] * inverse) | nearest_code(src[16 + i] * inverse) << 4);
}

void hy_quantize_iq4_nl(const float *src, uint8_t *dst) {
    near_table table;
    fill_near(&table);
    const uint16_t half = hy_f32_to_f16(fit_codebook(src, &table));
    hy_store_u16(dst, half);
    pack_codes(src, hy_f16_to_f32(half), dst + 2);
}

void hy_quantize_iq4_xs(const float *src, uint8_t *dst) {
    float fit[8];
    int scale[8];
    unsigned high = 0;
    near_table table;
    fill_near(&table);
    memset(dst, 0, 8);
    for (int s = 0; s < 8; s++)
        fit[s] = fit_codebook(src + s * 32, &table);
    const float d = quantize_scales(fit, 8, -32, -32, 31, scale, dst);
    for (int s = 0; s < 8; s++) {
        const unsigned u = (unsigned)(scale[s] + 32);
        high |= u >> 4 << 2 * s;
        dst[4 + s / 2] |= (uint8_t)((u & 15) << (s & 1) * 4);
        pack_codes(src + s * 32, d * (float)scale[s], dst + 8 + s * 16);
    }
    hy_store_u16(dst + 2, (uint16_t)high);
}

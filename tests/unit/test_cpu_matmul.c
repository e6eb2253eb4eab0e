/* The CPU's matrix products from the inside: every weight format on every instruction set of this machine.
 * Packing loses nothing; results are those of float64 on the same int8 activations; the bits depend neither
 * on the ISA, nor on the batch, nor on the number of workers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cpu/matmul.h"
#include "backends/cpu/vmath.h"
#include "base/num.h"
#include "base/rng.h"
#include "tests/qemu.h"

static const hy_dtype formats[] = {HY_DTYPE_F32,  HY_DTYPE_F16,    HY_DTYPE_BF16,   HY_DTYPE_Q8_0,
                                   HY_DTYPE_Q4_0, HY_DTYPE_Q4_1,   HY_DTYPE_Q5_0,   HY_DTYPE_Q5_1,
                                   HY_DTYPE_Q2_K, HY_DTYPE_Q3_K,   HY_DTYPE_Q4_K,   HY_DTYPE_Q5_K,
                                   HY_DTYPE_Q6_K, HY_DTYPE_IQ4_NL, HY_DTYPE_IQ4_XS, HY_DTYPE_MXFP4};

static hy_rng rng;

static void *room(uint64_t bytes) {
    void *p = aligned_alloc(HY_VIEW_ALIGN, hy_align_up(bytes + 1, HY_VIEW_ALIGN));
    assert_non_null(p);
    return p;
}

/* Filled with a pattern that no correct result holds. */
static void *poisoned(uint64_t bytes, int pattern) {
    void *p = room(bytes);
    memset(p, pattern, bytes);
    return p;
}

static float *random_floats(uint64_t n) {
    float *x = room(4 * n);
    for (uint64_t i = 0; i < n; i++)
        x[i] = hy_rng_normal(&rng) * (hy_rng_below(&rng, 100) ? 1.0f : 20.0f);
    return x;
}

static uint64_t bytes_of(hy_dtype dtype, uint64_t elements) {
    return hy_dtype_row_bytes(hy_dtype_get(dtype), elements);
}

/* rows x k random values in `dtype`. */
static void *random_rows(hy_dtype dtype, uint64_t rows, uint32_t k) {
    float *x = random_floats(rows * k);
    void *out = room(bytes_of(dtype, rows * k));
    hy_quantize_row(dtype, x, out, rows * k);
    free(x);
    return out;
}

/* ---- running one op on one variant, phase by phase ------------------------------------------------- */

static uint32_t counters[HY_COUNTER_COUNT];

static void run(const cpu_variant *variant, const hy_op *op, void *const *p, uint32_t workers) {
    const uint64_t first = 1;
    cpu_taken taken[64] = {0};
    assert_true(workers <= HY_COUNT_OF(taken));
    cpu_call call = {
        .variant = variant, .op = *op, .counters = counters, .taken = taken, .first = &first};
    memcpy(call.p, p, sizeof call.p);
    const uint64_t bytes = variant->workspace ? variant->workspace(op, workers) : 0;
    uint8_t *workspace = poisoned(bytes + 64, 0xff);
    call.workspace = workspace;
    for (int phase = 0; phase < 3 && variant->phase[phase]; phase++)
        for (uint32_t w = 0; w < workers; w++)
            variant->phase[phase](&call, w, workers);
    qemu_settle();
    for (uint64_t i = bytes; i < bytes + 64; i++)
        assert_int_equal(workspace[i], 0xff);
    free(workspace);
}

/* The class under test: as hy_kernel.rounded, and whether it is that of tile registers. */
static uint32_t rounded;
static bool tiles;

static bool usable(const cpu_variant *v, const hy_op *op) {
    return (v->rounded == rounded || op->kind == HY_OP_EMBED) &&
           (strstr(v->name, ".tile.") != NULL) == tiles && v->kind == (hy_op_kind)op->kind &&
           !(v->isa & ~cpu_isa_detect()) && (!v->accepts || v->accepts(op));
}

/* The plainest variant of the class: generic C where it has any, packed weights, tiles. */
static const cpu_variant *plain_variant(const hy_op *op) {
    for (const cpu_variant *v = cpu_matmul_variants; v->name; v++)
        if (usable(v, op) && (rounded || strstr(v->name, ".generic")) && !strstr(v->name, ".small"))
            return v;
    fail_msg("no generic variant");
    return NULL;
}

/* Weights as the variant wants them, from the file's bytes; free() it. */
static void *pack(const cpu_variant *v, const hy_op *op, const void *file) {
    const uint32_t w = cpu_weight_operand(op);
    const hy_tensor *t = &op->operand[w];
    const uint64_t row_bytes = bytes_of((hy_dtype)t->dtype, t->dim[t->rank - 1]);
    const uint64_t rows = hy_tensor_rows(t);
    hy_constant_layout layout[HY_MAX_OPERANDS] = {0};
    v->constants(op, layout);
    assert_true(layout[w].bytes >= rows * row_bytes);
    uint8_t *packed = poisoned(layout[w].bytes + 64, 0xa5);
    const uint64_t step = layout[w].rows * (uint64_t)(1 + hy_rng_below(&rng, 2));
    const uint64_t chunks = hy_div_up(rows, step);
    for (uint64_t c = chunks; c-- > 0;) /* in another order than the file's */
        v->pack(op, w, c * step, HY_MIN(step, rows - c * step),
                (const uint8_t *)file + c * step * row_bytes, packed);
    for (int i = 0; i < 64; i++)
        assert_int_equal(packed[layout[w].bytes + i], 0xa5);
    return packed;
}

/* ---- ops ------------------------------------------------------------------------------------------- */

static void set(hy_op *op, uint32_t operand, hy_dtype dtype, uint32_t rank, const uint32_t *dim) {
    op->operand[operand] = hy_tensor_of(dtype, rank, dim, HY_COUNTER_NONE);
}

static hy_op matmul_op(hy_dtype dtype, uint32_t t, uint32_t n, uint32_t k, bool glu) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_MATMUL;
    op.matmul.glu = glu;
    set(&op, HY_MATMUL_x, HY_DTYPE_F32, 2, (uint32_t[]){t, k});
    set(&op, HY_MATMUL_w, dtype, 2, (uint32_t[]){n, k});
    op.operand[HY_MATMUL_w].constant = 1;
    set(&op, HY_MATMUL_out, HY_DTYPE_F32, 2, (uint32_t[]){t, glu ? n / 2 : n});
    return op;
}

static hy_op grouped_op(hy_dtype dtype, uint32_t t, uint32_t q, uint32_t p, uint32_t e, uint32_t n,
                        uint32_t k, bool glu) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_GROUPED_MATMUL;
    op.grouped_matmul.glu = glu;
    set(&op, HY_GROUPED_MATMUL_x, HY_DTYPE_F32, 3, (uint32_t[]){t, q, k});
    set(&op, HY_GROUPED_MATMUL_w, dtype, 3, (uint32_t[]){e, n, k});
    op.operand[HY_GROUPED_MATMUL_w].constant = 1;
    set(&op, HY_GROUPED_MATMUL_ids, HY_DTYPE_I32, 2, (uint32_t[]){t, p});
    set(&op, HY_GROUPED_MATMUL_out, HY_DTYPE_F32, 3, (uint32_t[]){t, p, glu ? n / 2 : n});
    return op;
}

static void check_bits(const float *got, const float *want, uint64_t n, const char *name,
                       uint32_t t) {
    for (uint64_t i = 0; i < n; i++)
        if (memcmp(got + i, want + i, 4))
            fail_msg("%s, %u rows: element %llu is %a, not %a", name, t, (unsigned long long)i,
                     (double)got[i], (double)want[i]);
}

/* ---- packing --------------------------------------------------------------------------------------- */

static void check_packing(const hy_op *op) {
    const cpu_variant *v = plain_variant(op);
    const uint32_t w = cpu_weight_operand(op);
    const hy_tensor *t = &op->operand[w];
    const uint64_t row_bytes = bytes_of((hy_dtype)t->dtype, t->dim[t->rank - 1]);
    const uint64_t rows = hy_tensor_rows(t);
    uint8_t *file = room(rows * row_bytes), *back = poisoned(rows * row_bytes, 0x5a);
    for (uint64_t i = 0; i < rows * row_bytes; i++)
        file[i] = (uint8_t)hy_rng_u32(&rng);
    void *packed = pack(v, op, file);
    for (uint64_t r = 0; r < rows; r += 7) {
        const uint64_t count = HY_MIN(7, rows - r);
        v->unpack(op, w, r, count, packed, back + r * row_bytes);
    }
    assert_memory_equal(file, back, rows * row_bytes);
    free(packed);
    free(file);
    free(back);
}

/* Any bytes, NaN scales included, come back. */
static void test_unpack_gives_the_files_bytes(void **state) {
    static const uint32_t rows[] = {1, 15, 16, 17, 33, 64}, blocks[] = {1, 2, 3};
    (void)state;
    for (size_t f = 0; f < HY_COUNT_OF(formats); f++) {
        const uint32_t block = hy_dtype_get(formats[f])->block;
        for (size_t i = 0; i < HY_COUNT_OF(rows) * HY_COUNT_OF(blocks); i++) {
            const uint32_t n = rows[i / HY_COUNT_OF(blocks)],
                           k = block * blocks[i % HY_COUNT_OF(blocks)];
            hy_op op = matmul_op(formats[f], 1, n, k, false);
            check_packing(&op);
            op = matmul_op(formats[f], 1, 2 * n, k, true);
            check_packing(&op);
            op = grouped_op(formats[f], 1, 1, 1, 3, n, k, false);
            check_packing(&op);
            op = grouped_op(formats[f], 1, 1, 1, 3, 2 * n, k, true);
            check_packing(&op);
        }
    }
}

/* ---- one order of additions ------------------------------------------------------------------------ */

/* Every row alone, generic C: what all others must give. */
static float *rows_alone(const hy_op *op, void *const *operands, void *packed) {
    const uint32_t t = op->operand[HY_MATMUL_x].dim[0], k = op->operand[HY_MATMUL_x].dim[1];
    const uint32_t m = op->operand[HY_MATMUL_out].dim[1];
    float *want = poisoned(4 * (uint64_t)t * m, 0xa5);
    for (uint32_t i = 0; i < t; i++) {
        hy_op one = *op;
        one.operand[HY_MATMUL_x].dim[0] = one.operand[HY_MATMUL_out].dim[0] = 1;
        void *p[HY_MAX_OPERANDS];
        memcpy(p, operands, sizeof p);
        p[HY_MATMUL_x] = (char *)operands[HY_MATMUL_x] +
                         bytes_of((hy_dtype)op->operand[HY_MATMUL_x].dtype, (uint64_t)i * k);
        p[HY_MATMUL_w] = packed;
        p[HY_MATMUL_out] = want + (uint64_t)i * m;
        run(plain_variant(&one), &one, p, 1);
    }
    return want;
}

/* out: float32, or a8: those quantized. */
static void check_results(hy_dtype dtype, hy_dtype x, hy_dtype out, uint32_t most, uint32_t n,
                          uint32_t k, bool glu) {
    const hy_op all = matmul_op(dtype, most, n, k, glu);
    const uint32_t m = all.operand[HY_MATMUL_out].dim[1];
    void *file = random_rows(dtype, n, k), *packed = pack(plain_variant(&all), &all, file);
    void *p[HY_MAX_OPERANDS] = {[HY_MATMUL_x] = random_rows(x, most, k), [HY_MATMUL_w] = packed};
    hy_op op = all;
    op.operand[HY_MATMUL_x].dtype = (uint8_t)x;
    float *want = rows_alone(&op, p, packed);
    const uint64_t row = bytes_of(out, m);
    void *blocks = room(most * row);
    hy_quantize_row(out, want, blocks, (uint64_t)most * m);
    op.operand[HY_MATMUL_out].dtype = (uint8_t)out;
    assert_non_null(plain_variant(&op));
    for (uint32_t t = 1; t <= most; t += t < 16 ? 1 : 7) {
        op.operand[HY_MATMUL_x].dim[0] = op.operand[HY_MATMUL_out].dim[0] = t;
        for (const cpu_variant *v = cpu_matmul_variants; v->name; v++) {
            if (!usable(v, &op) || (strstr(v->name, "generic") && t > 5)) continue;
            uint8_t *got = p[HY_MATMUL_out] = poisoned((t + 1) * row, 0xa5);
            run(v, &op, p, 1 + t % 3);
            if (out == HY_DTYPE_F32)
                check_bits(p[HY_MATMUL_out], want, (uint64_t)t * m, v->name, t);
            if (memcmp(got, blocks, t * row)) fail_msg("%s, %u rows: other blocks", v->name, t);
            for (uint64_t i = 0; i < row; i++)
                assert_int_equal(got[t * row + i], 0xa5);
            free(got);
        }
    }
    free(want);
    free(blocks);
    free(file);
    free(packed);
    free(p[HY_MATMUL_x]);
}

static void check_invariance(hy_dtype dtype, hy_dtype x, uint32_t most, uint32_t n, uint32_t k,
                             bool glu) {
    check_results(dtype, x, HY_DTYPE_F32, most, n, k, glu);
}

static void test_bits_depend_on_the_row_alone(void **state) {
    (void)state;
    for (size_t f = 0; f < HY_COUNT_OF(formats); f++) {
        const uint32_t block = hy_dtype_get(formats[f])->block;
        const uint32_t base = block == 1 ? 96 : block;
        check_invariance(formats[f], HY_DTYPE_F32, 33, 33, 3 * base, false);
        check_invariance(formats[f], HY_DTYPE_A8, 26, 17, HY_MAX(base, 32), false);
        check_invariance(formats[f], HY_DTYPE_BF16, 13, 34, 2 * base, true);
        check_invariance(formats[f], HY_DTYPE_F16, 13, 64, 1280, true);
    }
    check_invariance(HY_DTYPE_F32, HY_DTYPE_F32, 5, 3, 1, false);
    check_invariance(HY_DTYPE_F16, HY_DTYPE_F32, 14, 19, 1031, false);
    check_invariance(HY_DTYPE_BF16, HY_DTYPE_F32, 14, 19, 2100, false);
}

/* More rows than a block, more k than a part. */
static void test_bits_of_many_rows(void **state) {
    (void)state;
    check_invariance(HY_DTYPE_F32, HY_DTYPE_F32, 170, 34, 530, true);
    check_invariance(HY_DTYPE_F16, HY_DTYPE_F32, 100, 19, 531, false); /* made float32 first */
    check_invariance(HY_DTYPE_BF16, HY_DTYPE_F32, 100, 34, 530, true);
    check_results(HY_DTYPE_Q4_0, HY_DTYPE_F32, HY_DTYPE_A8, 200, 192, 64, true);
}

static void test_blocks_of_results(void **state) {
    (void)state;
    for (size_t f = 0; f < HY_COUNT_OF(formats); f++) {
        const uint32_t k = HY_MAX(hy_dtype_get(formats[f])->block, 64);
        if (!hy_dtype_get(formats[f])->quantized) continue;
        check_results(formats[f], HY_DTYPE_F32, HY_DTYPE_A8, 26, 192, k, true);
        check_results(formats[f], HY_DTYPE_A8, HY_DTYPE_A8, 5, 32, 2 * k, false);
    }
    check_results(HY_DTYPE_Q8_0, HY_DTYPE_F32, HY_DTYPE_A8, 6, 64 * 97, 512,
                  true); /* shares of 1 MB */
}

/* ---- float64 --------------------------------------------------------------------------------------- */

static void to_bfloat(const float *x, float *out, uint32_t k) {
    for (uint32_t i = 0; i < k; i++)
        out[i] = fabsf(x[i]) < 0x1p-126f ? 0 : hy_bf16_to_f32(hy_f32_to_bf16(x[i]));
}

/* Row of activations as the kernel sees it: through a8 for block formats. */
static void seen(hy_dtype weights, const float *x, float *out, uint32_t k) {
    if (rounded == HY_DTYPE_BF16) {
        to_bfloat(x, out, k);
        return;
    }
    if (!hy_dtype_get(weights)->quantized) {
        memcpy(out, x, 4 * (size_t)k);
        return;
    }
    void *blocks = room(bytes_of(HY_DTYPE_A8, k));
    hy_quantize_row(HY_DTYPE_A8, x, blocks, k);
    hy_dequantize_row(HY_DTYPE_A8, blocks, out, k);
    free(blocks);
}

/* The worst |got - want| in units of 2^-24 * sum |w x| over all outputs. */
static double worst_error(hy_dtype dtype, uint32_t t, uint32_t n, uint32_t k, const float *x,
                          const void *file, const float *got) {
    float *row = room(4 * (uint64_t)k), *w = room(4 * (uint64_t)k);
    double worst = 0;
    for (uint32_t i = 0; i < t; i++) {
        seen(dtype, x + (uint64_t)i * k, row, k);
        for (uint32_t j = 0; j < n; j++) {
            double sum = 0, mag = 0;
            hy_dequantize_row(dtype, (const char *)file + j * bytes_of(dtype, k), w, k);
            if (rounded == HY_DTYPE_BF16) to_bfloat(w, w, k);
            for (uint32_t l = 0; l < k; l++) {
                sum += (double)w[l] * row[l];
                mag += fabs((double)w[l] * row[l]);
            }
            worst = fmax(worst, fabs(got[(uint64_t)i * n + j] - sum) / (mag * 0x1p-24));
        }
    }
    free(row);
    free(w);
    return worst;
}

/* All-positive data are the hard case for plain sums. */
static void check_accuracy(hy_dtype dtype, uint32_t t, uint32_t n, uint32_t k, bool positive) {
    const hy_op op = matmul_op(dtype, t, n, k, false);
    float *x = random_floats((uint64_t)t * k), *values = random_floats((uint64_t)n * k);
    for (uint64_t i = 0; positive && i < (uint64_t)t * k; i++)
        x[i] = fabsf(x[i]);
    for (uint64_t i = 0; positive && i < (uint64_t)n * k; i++)
        values[i] = fabsf(values[i]);
    void *file = room(bytes_of(dtype, (uint64_t)n * k));
    hy_quantize_row(dtype, values, file, (uint64_t)n * k);
    void *packed = pack(plain_variant(&op), &op, file);
    float *out = poisoned(4 * (uint64_t)t * n, 0xa5);
    void *p[HY_MAX_OPERANDS] = {[HY_MATMUL_x] = x, [HY_MATMUL_w] = packed, [HY_MATMUL_out] = out};
    for (const cpu_variant *v = cpu_matmul_variants; v->name; v++) {
        if (!usable(v, &op)) continue;
        run(v, &op, p, 2);
        const double worst = worst_error(dtype, t, n, k, x, file, out);
        if (!(worst <= (tiles && dtype != HY_DTYPE_BF16 ? 16 : 8)))
            fail_msg("%s: error %.2f u sum |w x|", v->name, worst);
    }
    free(x);
    free(values);
    free(file);
    free(packed);
    free(out);
}

static void test_results_are_float64s_rounded(void **state) {
    (void)state;
    for (size_t f = 0; f < HY_COUNT_OF(formats); f++) {
        const uint32_t block = hy_dtype_get(formats[f])->block;
        check_accuracy(formats[f], 5, 35, block == 1 ? 50 : block, false);
        check_accuracy(formats[f], 3, 16, 1280, false);
        check_accuracy(formats[f], 2, 18, 4096, true);
    }
}

/* ---- the way out ----------------------------------------------------------------------------------- */

static double act64(double x, int32_t act) {
    switch (act) {
    case HY_ACT_SILU:
        return x / (1 + exp(-x));
    case HY_ACT_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case HY_ACT_GELU_ERF:
        return x / 2 * erfc(-x / sqrt(2));
    case HY_ACT_RELU:
        return fmax(x, 0);
    case HY_ACT_RELU2:
        return fmax(x, 0) * fmax(x, 0);
    case HY_ACT_TANH:
        return tanh(x);
    case HY_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    default:
        return x;
    }
}

enum { T = 7, K = 96, BIAS_PAD = 8 };

typedef struct epilogue_case {
    hy_op op;
    float *x, *w, *bias;
    float residual[T][64];
} epilogue_case;

static double expected(const epilogue_case *c, uint32_t t, uint32_t m) {
    const hy_op *op = &c->op;
    const uint32_t half = op->operand[HY_MATMUL_out].dim[1];
    double z[2];
    for (uint32_t u = 0; u <= (uint32_t)op->matmul.glu; u++) {
        z[u] = c->bias[u * half + m];
        for (uint32_t k = 0; k < K; k++)
            z[u] += (double)c->x[t * K + k] * c->w[(u * half + m) * K + k];
    }
    double y = act64(z[0], op->matmul.act);
    if (op->matmul.glu) y *= z[1];
    if (op->matmul.scale != 0) y *= op->matmul.scale;
    if (op->matmul.softcap > 0) y = op->matmul.softcap * tanh(y / op->matmul.softcap);
    return y + c->residual[t][m];
}

static float read_as(hy_dtype dtype, const uint8_t *p) {
    float out;
    hy_dequantize_row(dtype, p, &out, 1);
    return out;
}

/* One variant; out (and the residual in it when in_place) has rows `stride` apart, T true rows of 2 T. */
static void check_epilogue(const epilogue_case *c, const cpu_variant *v, void *packed,
                           bool in_place, uint8_t *got) {
    const hy_tensor *o = &c->op.operand[HY_MATMUL_out];
    const hy_dtype dtype = (hy_dtype)o->dtype;
    const uint64_t row = bytes_of(dtype, o->stride[0]), bytes = 2 * T * row,
                   used = bytes_of(dtype, o->dim[1]);
    uint8_t *residual = poisoned(bytes, 0x7f), *out = in_place ? residual : got;
    for (uint32_t t = 0; t < T; t++)
        hy_quantize_row(dtype, c->residual[t], residual + t * row, o->dim[1]);
    if (!in_place) memset(got, 0x7f, bytes);
    void *p[HY_MAX_OPERANDS] = {[HY_MATMUL_x] = c->x,
                                [HY_MATMUL_w] = packed,
                                [HY_MATMUL_bias] = c->bias,
                                [HY_MATMUL_residual] = residual,
                                [HY_MATMUL_out] = out};
    run(v, &c->op, p, 2);
    if (in_place) memcpy(got, residual, bytes);
    const double u = dtype == HY_DTYPE_F32 ? 0x1p-24 : dtype == HY_DTYPE_F16 ? 0x1p-11 : 0x1p-8;
    for (uint32_t t = 0; t < 2 * T; t++) {
        for (uint64_t b = t < T ? used : 0; b < row; b++)
            assert_int_equal(got[t * row + b], 0x7f); /* nothing past the row or the count */
        for (uint32_t m = 0; t < T && m < o->dim[1]; m++) {
            const double want = expected(c, t, m);
            const double have = read_as(dtype, got + t * row + bytes_of(dtype, m));
            if (!(fabs(have - want) <= 2e-5 * (1 + fabs(want)) + u * fabs(want)))
                fail_msg("%s: act %d: row %u, output %u is %g, not %g", v->name, c->op.matmul.act,
                         t, m, have, want);
        }
    }
    free(residual);
}

static void epilogue_with(int32_t act, bool glu, hy_dtype dtype, float scale, float softcap,
                          uint32_t m) {
    const uint32_t n = glu ? 2 * m : m;
    epilogue_case c = {.op = matmul_op(HY_DTYPE_F32, 2 * T, n, K, glu)};
    c.op.matmul.act = act;
    c.op.matmul.scale = scale;
    c.op.matmul.softcap = softcap;
    set(&c.op, HY_MATMUL_bias, HY_DTYPE_F32, 1, (uint32_t[]){n});
    set(&c.op, HY_MATMUL_out, dtype, 2, (uint32_t[]){2 * T, m});
    c.op.operand[HY_MATMUL_out].stride[0] = m + BIAS_PAD;
    c.op.operand[HY_MATMUL_residual] = c.op.operand[HY_MATMUL_out];
    c.op.operand[HY_MATMUL_x].counter = c.op.operand[HY_MATMUL_out].counter = HY_COUNTER_T;
    c.op.operand[HY_MATMUL_residual].counter = HY_COUNTER_T;
    counters[HY_COUNTER_T] = T;
    c.x = random_floats(2 * T * K);
    for (uint32_t i = T * K; i < 2 * T * K; i++)
        c.x[i] = NAN; /* never read */
    c.w = random_floats((uint64_t)n * K);
    for (uint64_t i = 0; i < (uint64_t)n * K; i++)
        c.w[i] *= 0.1f;
    c.bias = random_floats(n);
    for (uint32_t i = 0; i < T * 64; i++)
        c.residual[i / 64][i % 64] =
            (float)hy_rng_below(&rng, 17) - 8; /* the same in every dtype */
    void *packed = pack(plain_variant(&c.op), &c.op, c.w);
    const uint64_t bytes = 2 * T * bytes_of(dtype, m + BIAS_PAD);
    uint8_t *first = room(bytes), *other = room(bytes);
    check_epilogue(&c, plain_variant(&c.op), packed, false, first);
    for (const cpu_variant *v = cpu_matmul_variants; v->name; v++) {
        if (!usable(v, &c.op)) continue;
        check_epilogue(&c, v, packed, v->in_place >> HY_MATMUL_residual & 1, other);
        if (memcmp(first, other, bytes)) fail_msg("%s: other bits than generic C", v->name);
    }
    for (const cpu_variant *v = cpu_blas_variants; v->name; v++)
        if (usable(v, &c.op)) check_epilogue(&c, v, packed, false, other);
    free(c.x);
    free(c.w);
    free(c.bias);
    free(packed);
    free(first);
    free(other);
}

static void test_epilogue(void **state) {
    static const hy_dtype out[] = {HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_BF16};
    (void)state;
    for (int32_t act = 0; act < HY_ACT_COUNT; act++)
        for (int i = 0; i < 6; i++)
            epilogue_with(act, i % 2, out[i / 2], i % 3 ? 0.75f : 0.0f, i == 4 ? 5.0f : 0.0f,
                          i < 3 ? 33 : 16);
    counters[HY_COUNTER_T] = 0;
}

static void test_blas_agrees(void **state) {
    static const uint32_t shape[][3] = {{32, 40, 100}, {45, 300, 2100}};
    (void)state;
    uint32_t found = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t *s = shape[i / 2], t = s[0], n = s[1], k = s[2];
        const hy_dtype dtype = i % 2 ? HY_DTYPE_F16 : HY_DTYPE_F32;
        const hy_op op = matmul_op(dtype, t, n, k, false);
        for (const cpu_variant *v = cpu_blas_variants; v->name; v++) {
            if (!usable(v, &op)) continue;
            float *x = random_floats((uint64_t)t * k), *out = poisoned(4 * (uint64_t)t * n, 0xa5);
            void *file = random_rows(dtype, n, k), *packed = pack(v, &op, file);
            void *p[HY_MAX_OPERANDS] = {
                [HY_MATMUL_x] = x, [HY_MATMUL_w] = packed, [HY_MATMUL_out] = out};
            run(v, &op, p, 2);
            const double worst = worst_error(dtype, t, n, k, x, file, out);
            if (!(worst <= 16)) fail_msg("%s: error %.2f u sum |w x|", v->name, worst);
            free(x);
            free(out);
            free(file);
            free(packed);
            found++;
        }
    }
    if (!found) print_message("no BLAS library here\n");
}

/* ---- experts --------------------------------------------------------------------------------------- */

/* Every pair on its own through matmul. */
static void check_grouped(const hy_op *op, const float *x, const int32_t *ids, const void *file,
                          const float *bias, uint32_t true_rows) {
    const hy_tensor *xt = &op->operand[HY_GROUPED_MATMUL_x],
                    *wt = &op->operand[HY_GROUPED_MATMUL_w];
    const uint32_t p_count = op->operand[HY_GROUPED_MATMUL_ids].dim[1], n = wt->dim[1],
                   k = wt->dim[2];
    const uint32_t m = op->operand[HY_GROUPED_MATMUL_out].dim[2], q_count = xt->dim[1];
    const uint64_t pairs = (uint64_t)true_rows * p_count;
    hy_op one = matmul_op((hy_dtype)wt->dtype, 1, n, k, op->grouped_matmul.glu);
    one.matmul.act = op->grouped_matmul.act;
    set(&one, HY_MATMUL_bias, HY_DTYPE_F32, 1, (uint32_t[]){n});
    float *want = room(4 * pairs * m);
    memset(want, 0, 4 * pairs * m);
    for (uint64_t i = 0; i < pairs; i++) {
        if (ids[i] < 0) continue;
        const uint8_t *rows =
            (const uint8_t *)file + (uint64_t)ids[i] * n * bytes_of((hy_dtype)wt->dtype, k);
        void *packed = pack(plain_variant(&one), &one, rows);
        const uint64_t row = i / p_count * q_count + (q_count == 1 ? 0 : i % p_count);
        void *p[HY_MAX_OPERANDS] = {[HY_MATMUL_x] = (void *)(uintptr_t)(x + row * k),
                                    [HY_MATMUL_w] = packed,
                                    [HY_MATMUL_bias] =
                                        (void *)(uintptr_t)(bias + (uint64_t)ids[i] * n),
                                    [HY_MATMUL_out] = want + i * m};
        run(plain_variant(&one), &one, p, 1);
        free(packed);
    }
    void *packed = pack(plain_variant(op), op, file);
    for (const cpu_variant *v = cpu_matmul_variants; v->name; v++) {
        if (!usable(v, op)) continue;
        float *out = poisoned(4 * (pairs + 1) * m, 0xa5);
        void *p[HY_MAX_OPERANDS] = {[HY_GROUPED_MATMUL_x] = (void *)(uintptr_t)x,
                                    [HY_GROUPED_MATMUL_w] = packed,
                                    [HY_GROUPED_MATMUL_ids] = (void *)(uintptr_t)ids,
                                    [HY_GROUPED_MATMUL_bias] = (void *)(uintptr_t)bias,
                                    [HY_GROUPED_MATMUL_out] = out};
        run(v, op, p, 3);
        check_bits(out, want, pairs * m, v->name, true_rows);
        for (uint32_t i = 0; i < 4 * m; i++)
            assert_int_equal(((uint8_t *)out)[4 * pairs * m + i], 0xa5);
        free(out);
    }
    free(packed);
    free(want);
}

static void check_experts(hy_dtype dtype) {
    static const uint32_t counts[] = {0, 1, 3, 41};
    enum { E = 5, P = 3, N = 34 };
    for (size_t i = 0; i < HY_COUNT_OF(counts); i++) {
        const uint32_t t = counts[i], q = i % 2 ? P : 1;
        const uint32_t block = hy_dtype_get(dtype)->block, k = block == 1 ? 70 : block;
        hy_op op = grouped_op(dtype, t + 2, q, P, E, N, k, i % 3 == 0);
        op.grouped_matmul.act = HY_ACT_SILU;
        set(&op, HY_GROUPED_MATMUL_bias, HY_DTYPE_F32, 2, (uint32_t[]){E, N});
        op.operand[HY_GROUPED_MATMUL_x].counter = op.operand[HY_GROUPED_MATMUL_ids].counter = 1;
        op.operand[HY_GROUPED_MATMUL_out].counter = counters[0] = 1;
        counters[HY_COUNTER_T] = t;
        float *x = random_floats((uint64_t)(t + 2) * q * k), *bias = random_floats(E * N);
        void *file = random_rows(dtype, E * N, k);
        int32_t *ids = room(4 * (uint64_t)(t + 2) * P);
        for (uint32_t j = 0; j < (t + 2) * P;
             j++) /* expert 3 has no rows, one in five pairs no expert */
            ids[j] = hy_rng_below(&rng, 5) ? (int32_t)(hy_rng_below(&rng, 4) * 4 / 3) : -1;
        check_grouped(&op, x, ids, file, bias, t);
        free(x);
        free(bias);
        free(file);
        free(ids);
    }
    counters[HY_COUNTER_T] = 0;
}

static void test_experts_equal_single_products(void **state) {
    (void)state;
    for (size_t f = 0; f < HY_COUNT_OF(formats); f++)
        check_experts(formats[f]);
}

/* ---- the classes that round to bf16 ----------------------------------------------------------------- */

/* Rows of tiny, huge and ordinary values. Subnormals count as zeros, in products and sums too. */
static void check_extremes(uint32_t length) {
    enum { ROWS = 3, N = 16, LONG = 96 };
    static const float scale[ROWS] = {1e-38f, 3e34f, 1};
    const hy_op op = matmul_op(HY_DTYPE_BF16, ROWS, N, length, false);
    float x[ROWS * LONG], row[LONG], w[LONG], out[ROWS * N];
    for (uint32_t i = 0; i < ROWS * length; i++)
        x[i] = hy_rng_normal(&rng) * scale[i / length] * (i % 5 ? 1 : 1e-2f);
    void *file = random_rows(HY_DTYPE_BF16, N, length);
    void *packed = pack(plain_variant(&op), &op, file);
    void *p[HY_MAX_OPERANDS] = {[HY_MATMUL_x] = x, [HY_MATMUL_w] = packed, [HY_MATMUL_out] = out};
    run(plain_variant(&op), &op, p, 2);
    for (uint32_t i = 0; i < ROWS * N; i++) {
        double sum = 0, mag = 0;
        seen(HY_DTYPE_BF16, x + i / N * length, row, length);
        hy_dequantize_row(HY_DTYPE_BF16, (char *)file + i % N * 2 * length, w, length);
        for (uint32_t k = 0; k < length; k++) {
            sum += (double)w[k] * row[k];
            mag += fabs((double)w[k] * row[k]);
        }
        if (!(fabs(out[i] - sum) <= 8 * 0x1p-24 * mag + length * 0x1p-126))
            fail_msg("row %u, output %u is %g, not %g", i / N, i % N, (double)out[i], sum);
    }
    free(file);
    free(packed);
}

static void test_products_of_bf16(void **state) {
    (void)state;
    rounded = HY_DTYPE_BF16;
    if (cpu_isa_detect() & CPU_AVX512_BF16) {
        check_invariance(HY_DTYPE_BF16, HY_DTYPE_F32, 33, 33, 288, false);
        check_invariance(HY_DTYPE_BF16, HY_DTYPE_F32, 5, 3, 1, false);
        check_invariance(HY_DTYPE_BF16, HY_DTYPE_F16, 170, 19, 1031, false);
        check_invariance(HY_DTYPE_BF16, HY_DTYPE_BF16, 13, 64, 2101, true);
        check_accuracy(HY_DTYPE_BF16, 5, 35, 51, false);
        check_accuracy(HY_DTYPE_BF16, 2, 18, 4096, true);
        check_experts(HY_DTYPE_BF16);
        check_extremes(70);
    }
    tiles = true;
    if (cpu_isa_detect() & CPU_AMX) {
        for (size_t f = 0; f < HY_COUNT_OF(formats); f++) {
            if (formats[f] == HY_DTYPE_F32) continue;
            const uint32_t block = HY_MAX(hy_dtype_get(formats[f])->block, 32);
            check_invariance(formats[f], HY_DTYPE_F32, 70, 67, 3 * block, false);
            check_invariance(formats[f], HY_DTYPE_BF16, 13, 96, 2304, true);
            check_accuracy(formats[f], 5, 35, 2 * block, false);
            check_accuracy(formats[f], 34, 18, 4096, true);
        }
        check_invariance(HY_DTYPE_BF16, HY_DTYPE_F32, 70, 33, 288, false);
        check_invariance(HY_DTYPE_BF16, HY_DTYPE_F16, 540, 19, 1056, false); /* blocks of rows */
        check_invariance(HY_DTYPE_Q4_0, HY_DTYPE_F16, 540, 19, 1056, false);
        check_extremes(96);
    }
    tiles = false;
    rounded = HY_DTYPE_NONE;
}

/* ---- weights that are not constants, embed --------------------------------------------------------- */

static void test_weights_in_the_files_layout(void **state) {
    (void)state;
    for (size_t f = 0; f < HY_COUNT_OF(formats); f++) {
        const uint32_t n = 37, t = 14, k = HY_MAX(hy_dtype_get(formats[f])->block, 64);
        hy_op op = matmul_op(formats[f], t, n, k, false);
        float *x = random_floats((uint64_t)t * k), *want = room(4 * (uint64_t)t * n);
        void *file = random_rows(formats[f], 2 * n, k); /* every other row */
        uint8_t *dense = room(n * bytes_of(formats[f], k));
        for (uint32_t r = 0; r < n; r++)
            memcpy(dense + r * bytes_of(formats[f], k),
                   (uint8_t *)file + 2 * r * bytes_of(formats[f], k), bytes_of(formats[f], k));
        void *packed = pack(plain_variant(&op), &op, dense);
        void *p[HY_MAX_OPERANDS] = {
            [HY_MATMUL_x] = x, [HY_MATMUL_w] = packed, [HY_MATMUL_out] = want};
        run(plain_variant(&op), &op, p, 1);
        op.operand[HY_MATMUL_w].constant = 0;
        op.operand[HY_MATMUL_w].stride[0] = 2 * k;
        p[HY_MATMUL_w] = file;
        uint32_t found = 0;
        for (const cpu_variant *v = cpu_matmul_variants; v->name; v++) {
            if (!usable(v, &op)) continue;
            p[HY_MATMUL_out] = poisoned(4 * (uint64_t)t * n, 0xa5);
            run(v, &op, p, 2);
            check_bits(p[HY_MATMUL_out], want, (uint64_t)t * n, v->name, t);
            free(p[HY_MATMUL_out]);
            found++;
        }
        assert_true(found >= 1);
        free(x);
        free(want);
        free(file);
        free(dense);
        free(packed);
    }
}

static void check_embed(hy_dtype dtype, uint32_t d, float scale) {
    enum { V = 37, IDS = 4 };
    static const int32_t ids[IDS] = {36, 0, 17, 36};
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_EMBED;
    op.embed.scale = scale;
    set(&op, HY_EMBED_ids, HY_DTYPE_I32, 1, (uint32_t[]){IDS});
    set(&op, HY_EMBED_table, dtype, 2, (uint32_t[]){V, d});
    set(&op, HY_EMBED_out, HY_DTYPE_F32, 2, (uint32_t[]){IDS, d});
    op.operand[HY_EMBED_table].constant = 1;
    void *file = random_rows(dtype, V, d);
    float *want = room(4 * (uint64_t)d), *out = room(4 * (uint64_t)IDS * d);
    const hy_op product = matmul_op(dtype, 1, V, d, false); /* tied: the same packed bytes */
    for (const cpu_variant *v = cpu_matmul_variants; v->name; v++) {
        if (!usable(v, &op)) continue;
        void *table = v->pack ? pack(plain_variant(&product), &product, file) : file;
        if (v->pack) {
            hy_constant_layout a[HY_MAX_OPERANDS] = {0}, b[HY_MAX_OPERANDS] = {0};
            v->constants(&op, a);
            plain_variant(&product)->constants(&product, b);
            assert_memory_equal(&a[HY_EMBED_table], &b[HY_MATMUL_w], sizeof a[0]);
        }
        void *p[HY_MAX_OPERANDS] = {[HY_EMBED_ids] = (void *)(uintptr_t)ids,
                                    [HY_EMBED_table] = table,
                                    [HY_EMBED_out] = out};
        run(v, &op, p, 3);
        for (uint32_t t = 0; t < IDS; t++) {
            hy_dequantize_row(dtype, (char *)file + (uint64_t)ids[t] * bytes_of(dtype, d), want, d);
            for (uint32_t i = 0; scale != 0 && i < d; i++)
                want[i] *= scale;
            check_bits(out + (uint64_t)t * d, want, d, v->name, t);
        }
        if (table != file) free(table);
    }
    free(file);
    free(want);
    free(out);
}

static void test_embed_is_exact(void **state) {
    (void)state;
    for (size_t f = 0; f < HY_COUNT_OF(formats); f++) {
        const uint32_t block = hy_dtype_get(formats[f])->block;
        check_embed(formats[f], block == 1 ? 300 : 3 * block, 0);
        check_embed(formats[f], block == 1 ? 19 : block, 45.25f);
    }
}

int main(void) {
    rng = hy_rng_seed(20261123);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unpack_gives_the_files_bytes),
        cmocka_unit_test(test_bits_depend_on_the_row_alone),
        cmocka_unit_test(test_results_are_float64s_rounded),
        cmocka_unit_test(test_epilogue),
        cmocka_unit_test(test_blas_agrees),
        cmocka_unit_test(test_experts_equal_single_products),
        cmocka_unit_test(test_products_of_bf16),
        cmocka_unit_test(test_weights_in_the_files_layout),
        cmocka_unit_test(test_embed_is_exact),
        cmocka_unit_test(test_bits_of_many_rows),
        cmocka_unit_test(test_blocks_of_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

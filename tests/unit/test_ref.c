/* The reference backend against values worked out by hand or by another formula: all ops but attention and
 * kv_write (test_ref_attention.c). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "tests/unit/op_run.h"

static hy_tensor shape(hy_dtype dtype, hy_counter counter, uint32_t rank, uint32_t a, uint32_t b,
                       uint32_t c) {
    const uint32_t dim[] = {a, b, c};
    return hy_tensor_of(dtype, rank, dim, counter);
}
#define F32(...) shape(HY_DTYPE_F32, HY_COUNTER_NONE, __VA_ARGS__)
#define I32(...) shape(HY_DTYPE_I32, HY_COUNTER_NONE, __VA_ARGS__)

static hy_op op_of(hy_op_kind kind) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = kind;
    return op;
}

static double silu(double x) {
    return x / (1 + exp(-x));
}

static bool poisoned(const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++) {
        if (p[i] != RUN_POISON) return false;
    }
    return true;
}

/* ---- matmul -------------------------------------------------------------------------------------- */

/* x [2,3], w [4,3]; glu, bias, scale, softcap, residual: all of the epilogue. */
static void matmul_epilogue(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x] = F32(2, 2, 3, 0);
    op.operand[HY_MATMUL_w] = F32(2, 4, 3, 0);
    op.operand[HY_MATMUL_bias] = F32(1, 4, 0, 0);
    op.operand[HY_MATMUL_residual] = F32(2, 2, 2, 0);
    op.operand[HY_MATMUL_out] = F32(2, 2, 2, 0);
    op.matmul.act = HY_ACT_SILU;
    op.matmul.glu = 1;
    op.matmul.scale = 0.5f;
    op.matmul.softcap = 2;
    op_run run = run_open("ref", &op);
    const float x[] = {1, 2, -1, 0.5f, -2, 3}, w[] = {1, 0, 2, -1, 1, 1, 3, 2, 1, 0, 1, -2};
    const float bias[] = {0.25f, -0.5f, 1, 2}, residual[] = {10, 20, 30, 40};
    run_put(&run, HY_MATMUL_x, x);
    run_put(&run, HY_MATMUL_w, w);
    run_put(&run, HY_MATMUL_bias, bias);
    run_put(&run, HY_MATMUL_residual, residual);
    run_all(&run);
    for (int t = 0; t < 2; t++) {
        double z[4];
        for (int n = 0; n < 4; n++)
            z[n] = x[3 * t] * w[3 * n] + x[3 * t + 1] * w[3 * n + 1] + x[3 * t + 2] * w[3 * n + 2] +
                   bias[n];
        for (int m = 0; m < 2; m++)
            RUN_NEAR(run_f32(&run, HY_MATMUL_out)[2 * t + m],
                     2 * tanh(0.5 * silu(z[m]) * z[2 + m] / 2) + residual[2 * t + m]);
    }
    run_close(&run);
}

/* Every weight format, activations in a8, rows that are not all there. */
static void matmul_formats(void **state) {
    (void)state;
    hy_rng rng = hy_rng_seed(7);
    for (int dtype = HY_DTYPE_F32; dtype <= HY_DTYPE_MXFP4; dtype++) {
        enum { K = 256, N = 5, T = 3 };
        float w[N * K], x[T * K], exact_w[K], exact_x[K];
        hy_op op = op_of(HY_OP_MATMUL);
        op.operand[HY_MATMUL_x] = shape(HY_DTYPE_A8, HY_COUNTER_T, 2, T, K, 0);
        op.operand[HY_MATMUL_w] = shape((hy_dtype)dtype, HY_COUNTER_NONE, 2, N, K, 0);
        op.operand[HY_MATMUL_out] = shape(HY_DTYPE_F32, HY_COUNTER_T, 2, T, N, 0);
        op_run run = run_open("ref", &op);
        for (int i = 0; i < N * K; i++)
            w[i] = hy_rng_normal(&rng);
        for (int i = 0; i < T * K; i++)
            x[i] = hy_rng_normal(&rng);
        run_put(&run, HY_MATMUL_x, x);
        run_put(&run, HY_MATMUL_w, w);
        run_with(&run, T - 1, 0, 0);
        const uint64_t row_bytes = hy_dtype_row_bytes(hy_dtype_get((hy_dtype)dtype), K);
        for (int t = 0; t < T - 1; t++) {
            hy_dequantize_row(HY_DTYPE_A8, (char *)run_at(&run, HY_MATMUL_x) + t * K / 32 * 40,
                              exact_x, K);
            for (int n = 0; n < N; n++) {
                double sum = 0;
                hy_dequantize_row((hy_dtype)dtype,
                                  (char *)run_at(&run, HY_MATMUL_w) + n * row_bytes, exact_w, K);
                for (int k = K; k-- > 0;)
                    sum += (double)exact_x[k] * exact_w[k];
                assert_true(fabs(run_f32(&run, HY_MATMUL_out)[t * N + n] - sum) < 1e-4);
            }
        }
        assert_true(poisoned(run_f32(&run, HY_MATMUL_out) + (T - 1) * N, N * 4));
        run_close(&run);
    }
}

/* Experts 2, -1 | 0, 2 over slots that share x (Q = 1) or not (Q = P). */
static void grouped(void **state) {
    (void)state;
    for (uint32_t q = 1; q <= 2; q++) {
        hy_op op = op_of(HY_OP_GROUPED_MATMUL);
        op.operand[HY_GROUPED_MATMUL_x] = F32(3, 2, q, 2);
        op.operand[HY_GROUPED_MATMUL_w] = F32(3, 3, 2, 2);
        op.operand[HY_GROUPED_MATMUL_ids] = I32(2, 2, 2, 0);
        op.operand[HY_GROUPED_MATMUL_bias] = F32(2, 3, 2, 0);
        op.operand[HY_GROUPED_MATMUL_out] = F32(3, 2, 2, 2);
        op_run run = run_open("ref", &op);
        const float x[] = {1, 2, 3, 4, 5, 6, 7, 8};
        const float w[] = {1, 0, 0, 1, 9, 9, 9, 9, 1, 1, 1, -1};
        const float bias[] = {100, 200, 9, 9, 1000, 2000};
        const int32_t ids[] = {2, -1, 0, 2};
        run_put(&run, HY_GROUPED_MATMUL_x, x);
        run_put(&run, HY_GROUPED_MATMUL_w, w);
        run_put(&run, HY_GROUPED_MATMUL_bias, bias);
        memcpy(run_at(&run, HY_GROUPED_MATMUL_ids), ids, sizeof ids);
        run_all(&run);
        const float *out = run_f32(&run, HY_GROUPED_MATMUL_out);
        const float shared[] = {1003, 1999, 0, 0, 103, 204, 1007, 1999};
        const float own[] = {1003, 1999, 0, 0, 105, 206, 1015, 1999};
        for (int i = 0; i < 8; i++)
            RUN_NEAR(out[i], q == 1 ? shared[i] : own[i]);
        run_close(&run);
    }
}

/* ---- norms and rope ------------------------------------------------------------------------------ */

static void rms_norm(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_RMS_NORM);
    op.operand[HY_RMS_NORM_x] = F32(2, 1, 2, 0);
    op.operand[HY_RMS_NORM_residual] = F32(2, 1, 2, 0);
    op.operand[HY_RMS_NORM_weight] = F32(1, 2, 0, 0);
    op.operand[HY_RMS_NORM_sum] = shape(HY_DTYPE_F16, HY_COUNTER_NONE, 2, 1, 2, 0);
    op.operand[HY_RMS_NORM_out] = F32(2, 1, 2, 0);
    op.rms_norm.eps = 0.5f;
    op_run run = run_open("ref", &op);
    RUN_PUT(&run, HY_RMS_NORM_x, 2048, 1);
    RUN_PUT(&run, HY_RMS_NORM_residual, 1, 1); /* 2049 is 2048 in f16, ties to even */
    RUN_PUT(&run, HY_RMS_NORM_weight, 1, 3);
    run_all(&run);
    const uint16_t *sum = run_at(&run, HY_RMS_NORM_sum);
    assert_true(hy_f16_to_f32(sum[0]) == 2048 && hy_f16_to_f32(sum[1]) == 2);
    const double r = sqrt((2048.0 * 2048 + 4) / 2 + 0.5);
    RUN_NEAR(run_f32(&run, HY_RMS_NORM_out)[0], 2048 / r);
    RUN_NEAR(run_f32(&run, HY_RMS_NORM_out)[1], 2 / r * 3);
    run_close(&run);
}

static void layer_norm(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_LAYER_NORM);
    op.operand[HY_LAYER_NORM_x] = F32(1, 4, 0, 0);
    op.operand[HY_LAYER_NORM_weight] = F32(1, 4, 0, 0);
    op.operand[HY_LAYER_NORM_bias] = F32(1, 4, 0, 0);
    op.operand[HY_LAYER_NORM_out] = F32(1, 4, 0, 0);
    op.layer_norm.eps = 0.75f;
    op_run run = run_open("ref", &op);
    RUN_PUT(&run, HY_LAYER_NORM_x, 1, 2, 3, 6); /* mean 3, variance 3.5 */
    RUN_PUT(&run, HY_LAYER_NORM_weight, 1, 1, 1, 2);
    RUN_PUT(&run, HY_LAYER_NORM_bias, 0, 5, 0, 0);
    run_all(&run);
    const float *out = run_f32(&run, HY_LAYER_NORM_out);
    const double r = sqrt(4.25);
    RUN_NEAR(out[0], -2 / r);
    RUN_NEAR(out[1], -1 / r + 5);
    RUN_NEAR(out[2], 0);
    RUN_NEAR(out[3], 6 / r);
    run_close(&run);
}

static void rope(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_ROPE_TABLE);
    op.operand[HY_ROPE_TABLE_pos] = I32(1, 2, 0, 0);
    op.operand[HY_ROPE_TABLE_freq] = F32(2, 2, 2, 0);
    op.operand[HY_ROPE_TABLE_out] = F32(2, 2, 4, 0);
    op.rope_table.magnitude = 2;
    op_run run = run_open("ref", &op);
    const float low = 0x1p-26f; /* lost if the two parts were added in float32 */
    RUN_PUT(&run, HY_ROPE_TABLE_freq, 1, low, 0.25f, 0);
    RUN_PUT(&run, HY_ROPE_TABLE_pos, 3, 1 << 20);
    run_all(&run);
    const float *table = run_f32(&run, HY_ROPE_TABLE_out);
    RUN_NEAR(table[0], 2 * cos(3 * (1 + 0x1p-26)));
    RUN_NEAR(table[1], 2 * cos(0.75));
    RUN_NEAR(table[2], 2 * sin(3 * (1 + 0x1p-26)));
    RUN_NEAR(table[4], 2 * cos(0x1p20 * (1 + 0x1p-26)));
    run_close(&run);

    for (int style = 0; style < 2; style++) {
        op = op_of(HY_OP_ROPE);
        op.operand[HY_ROPE_x] = op.operand[HY_ROPE_out] = F32(3, 1, 1, 6);
        op.operand[HY_ROPE_table] = F32(2, 1, 4, 0);
        op.rope.style = style;
        run = run_open("ref", &op);
        RUN_PUT(&run, HY_ROPE_x, 1, 2, 3, 4, 5, 6);
        RUN_PUT(&run, HY_ROPE_table, 0, 0.5f, 1, 0.25f); /* cos 0, 0.5; sin 1, 0.25 */
        run_all(&run);
        const float pairs[] = {-2, 1, 0.5f, 2.75f, 5, 6}, halves[] = {-3, 0, 1, 2.5f, 5, 6};
        for (int i = 0; i < 6; i++)
            RUN_NEAR(run_f32(&run, HY_ROPE_out)[i], style ? halves[i] : pairs[i]);
        run_close(&run);
    }
}

/* ---- elementwise and moves ----------------------------------------------------------------------- */

static void activations(void **state) {
    (void)state;
    const double x = -0.7, e = exp(0.7);
    const double want[] = {x,
                           x / (1 + e),
                           x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))),
                           x / 2 * (1 + erf(x / sqrt(2))),
                           0,
                           0,
                           tanh(x),
                           1 / (1 + e)};
    for (int act = 0; act < HY_ACT_COUNT; act++) {
        hy_op op = op_of(HY_OP_UNARY);
        op.operand[HY_UNARY_x] = op.operand[HY_UNARY_out] = F32(1, 2, 0, 0);
        op.unary.act = act;
        op.unary.scale = 4;
        op.unary.softcap = 3;
        op_run run = run_open("ref", &op);
        RUN_PUT(&run, HY_UNARY_x, -0.7f, 2);
        run_all(&run);
        RUN_NEAR(run_f32(&run, HY_UNARY_out)[0] * 0.99999999, 3 * tanh(4 * want[act] / 3));
        if (act == HY_ACT_RELU2) RUN_NEAR(run_f32(&run, HY_UNARY_out)[1], 3 * tanh(16.0 / 3));
        run_close(&run);
    }
}

static void add_mul_glu(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_ADD);
    op.operand[HY_ADD_a] = op.operand[HY_ADD_out] = F32(2, 2, 2, 0);
    op.operand[HY_ADD_b] = F32(1, 2, 0, 0); /* one row for all */
    op_run run = run_open("ref", &op);
    RUN_PUT(&run, HY_ADD_a, 1, 2, 3, 4);
    RUN_PUT(&run, HY_ADD_b, 10, 20);
    run.view[HY_ADD_out] = run.view[HY_ADD_a]; /* in place */
    run_all(&run);
    assert_true(run_f32(&run, HY_ADD_out)[1] == 22 && run_f32(&run, HY_ADD_out)[2] == 13);
    run_close(&run);
    op.kind = HY_OP_MUL;
    op.operand[HY_MUL_b] = F32(2, 2, 2, 0);
    run = run_open("ref", &op);
    RUN_PUT(&run, HY_MUL_a, 1, 2, 3, 4);
    RUN_PUT(&run, HY_MUL_b, 5, 6, 7, 8);
    run_all(&run);
    assert_true(run_f32(&run, HY_MUL_out)[1] == 12 && run_f32(&run, HY_MUL_out)[3] == 32);
    run_close(&run);
    op.kind = HY_OP_GLU;
    op.glu.act = HY_ACT_SILU;
    run = run_open("ref", &op);
    RUN_PUT(&run, HY_GLU_gate, 1, 2, 3, 4);
    RUN_PUT(&run, HY_GLU_up, 5, 6, 7, 8);
    run_all(&run);
    RUN_NEAR(run_f32(&run, HY_GLU_out)[2], silu(3) * 7);
    run_close(&run);
}

static void embed_gather_softmax(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_EMBED);
    op.operand[HY_EMBED_ids] = I32(1, 2, 0, 0);
    op.operand[HY_EMBED_table] = F32(2, 3, 2, 0);
    op.operand[HY_EMBED_out] = F32(2, 2, 2, 0);
    op.embed.scale = 3;
    op_run run = run_open("ref", &op);
    RUN_PUT(&run, HY_EMBED_ids, 2, 0);
    RUN_PUT(&run, HY_EMBED_table, 1, 2, 3, 4, 5, 6);
    run_all(&run);
    assert_true(run_f32(&run, HY_EMBED_out)[0] == 15 && run_f32(&run, HY_EMBED_out)[3] == 6);
    run_close(&run);

    op = op_of(HY_OP_GATHER_ROWS);
    op.operand[HY_GATHER_ROWS_x] = F32(2, 3, 2, 0);
    op.operand[HY_GATHER_ROWS_rows] = I32(1, 2, 0, 0);
    op.operand[HY_GATHER_ROWS_out] = F32(2, 2, 2, 0);
    run = run_open("ref", &op);
    RUN_PUT(&run, HY_GATHER_ROWS_rows, 2, 1);
    RUN_PUT(&run, HY_GATHER_ROWS_x, 1, 2, 3, 4, 5, 6);
    run_all(&run);
    assert_true(run_f32(&run, HY_GATHER_ROWS_out)[0] == 5);
    assert_true(run_f32(&run, HY_GATHER_ROWS_out)[3] == 4);
    run_close(&run);

    op = op_of(HY_OP_SOFTMAX);
    op.operand[HY_SOFTMAX_x] = op.operand[HY_SOFTMAX_out] = F32(2, 1, 3, 0);
    op.softmax.scale = 2;
    run = run_open("ref", &op);
    RUN_PUT(&run, HY_SOFTMAX_x, 500, 501, 499); /* exp(1000) would overflow */
    run_all(&run);
    RUN_NEAR(run_f32(&run, HY_SOFTMAX_out)[0], 1 / (1 + exp(2) + exp(-2)));
    RUN_NEAR(run_f32(&run, HY_SOFTMAX_out)[2], exp(-2) / (1 + exp(2) + exp(-2)));
    run_close(&run);
}

static void combine(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_COMBINE);
    op.operand[HY_COMBINE_x] = F32(3, 2, 2, 2);
    op.operand[HY_COMBINE_weights] = F32(2, 2, 2, 0);
    op.operand[HY_COMBINE_residual] = op.operand[HY_COMBINE_out] = F32(2, 2, 2, 0);
    op_run run = run_open("ref", &op);
    RUN_PUT(&run, HY_COMBINE_x, 1, 2, 3, 4, 5, 6, 7, 8);
    RUN_PUT(&run, HY_COMBINE_weights, 1, 10, 2, 0.5f);
    RUN_PUT(&run, HY_COMBINE_residual, 100, 200, 300, 400);
    run_all(&run);
    const float want[] = {131, 242, 313.5f, 416};
    assert_memory_equal(run_f32(&run, HY_COMBINE_out), want, sizeof want);
    run_close(&run);
}

static void choosing(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_ARGMAX);
    op.operand[HY_ARGMAX_x] = shape(HY_DTYPE_F32, HY_COUNTER_R, 2, 3, 4, 0);
    op.operand[HY_ARGMAX_out] = shape(HY_DTYPE_I32, HY_COUNTER_R, 1, 3, 0, 0);
    op_run run = run_open("ref", &op);
    RUN_PUT(&run, HY_ARGMAX_x, NAN, 2, 3, 3, -INFINITY, NAN, -INFINITY, NAN, 9, 9, 9, 9);
    run_with(&run, 0, 0, 2);
    assert_int_equal(run_i32(&run, HY_ARGMAX_out)[0], 2);
    assert_int_equal(run_i32(&run, HY_ARGMAX_out)[1], 0);
    assert_true(poisoned(run_i32(&run, HY_ARGMAX_out) + 2, 4));
    run_close(&run);

    op = op_of(HY_OP_TOPK);
    op.operand[HY_TOPK_x] = F32(2, 1, 5, 0);
    op.operand[HY_TOPK_values] = F32(2, 1, 4, 0);
    op.operand[HY_TOPK_ids] = I32(2, 1, 4, 0);
    op.topk.k = 4;
    run = run_open("ref", &op);
    RUN_PUT(&run, HY_TOPK_x, 1, 5, NAN, 5, 7);
    run_all(&run);
    const int32_t ids[] = {4, 1, 3, 0};
    const float values[] = {7, 5, 5, 1};
    assert_memory_equal(run_at(&run, HY_TOPK_ids), ids, sizeof ids);
    assert_memory_equal(run_at(&run, HY_TOPK_values), values, sizeof values);
    run_close(&run);
}

/* Logits 1, 3, 2, 0 with a bias that lifts the last above all but one. */
static void routing(void **state) {
    (void)state;
    const double e[] = {exp(1), exp(3), exp(2), exp(0)}, sum = e[0] + e[1] + e[2] + e[3];
    for (int normalize = 0; normalize < 3; normalize++) {
        hy_op op = op_of(HY_OP_TOPK_ROUTE);
        op.operand[HY_TOPK_ROUTE_logits] = F32(2, 1, 4, 0);
        op.operand[HY_TOPK_ROUTE_bias] = F32(1, 4, 0, 0);
        op.operand[HY_TOPK_ROUTE_ids] = I32(2, 1, 2, 0);
        op.operand[HY_TOPK_ROUTE_weights] = F32(2, 1, 2, 0);
        op.topk_route.k = 2;
        op.topk_route.normalize = normalize;
        op.topk_route.scale = 2;
        op_run run = run_open("ref", &op);
        RUN_PUT(&run, HY_TOPK_ROUTE_logits, 1, 3, 2, 0);
        RUN_PUT(&run, HY_TOPK_ROUTE_bias, 0, 0, 0, 0.5f);
        run_all(&run);
        assert_int_equal(run_i32(&run, HY_TOPK_ROUTE_ids)[0], 1);
        assert_int_equal(run_i32(&run, HY_TOPK_ROUTE_ids)[1], 3);
        double a = e[1] / sum, b = e[3] / sum; /* without the bias */
        const double both = a + b, softmax = exp(a) / (exp(a) + exp(b));
        if (normalize == 1) a /= both, b /= both;
        if (normalize == 2) a = softmax, b = 1 - softmax;
        RUN_NEAR(run_f32(&run, HY_TOPK_ROUTE_weights)[0], 2 * a);
        RUN_NEAR(run_f32(&run, HY_TOPK_ROUTE_weights)[1], 2 * b);
        run_close(&run);
    }
}

static void moves(void **state) {
    (void)state;
    hy_op op = op_of(HY_OP_CAST);
    op.operand[HY_CAST_x] = F32(1, 5, 0, 0);
    op.operand[HY_CAST_out] = shape(HY_DTYPE_F16, HY_COUNTER_NONE, 1, 5, 0, 0);
    op_run run = run_open("ref", &op);
    RUN_PUT(&run, HY_CAST_x, 2049, 2051, 65519.99f, 65520, 0x1.8p-25f);
    run_all(&run);
    const uint16_t want[] = {hy_f32_to_f16(2048), hy_f32_to_f16(2052), 0x7bff, 0x7c00, 1};
    assert_memory_equal(run_at(&run, HY_CAST_out), want, sizeof want);
    run_close(&run);

    op = op_of(HY_OP_QUANTIZE_ROWS);
    op.operand[HY_QUANTIZE_ROWS_x] = shape(HY_DTYPE_BF16, HY_COUNTER_NONE, 2, 2, 32, 0);
    op.operand[HY_QUANTIZE_ROWS_out] = shape(HY_DTYPE_A8, HY_COUNTER_NONE, 2, 2, 32, 0);
    run = run_open("ref", &op);
    float x[64];
    hy_a8_block block;
    for (int i = 0; i < 64; i++)
        x[i] = hy_bf16_to_f32(hy_f32_to_bf16(sinf((float)i)));
    run_put(&run, HY_QUANTIZE_ROWS_x, x);
    run_all(&run);
    hy_quantize_row(HY_DTYPE_A8, x + 32, &block, 32);
    assert_memory_equal((hy_a8_block *)run_at(&run, HY_QUANTIZE_ROWS_out) + 1, &block,
                        sizeof block);
    run_close(&run);

    op = op_of(HY_OP_COPY); /* [2,3,1] out of [3,2,1]: a transposition by strides */
    op.operand[HY_COPY_x] = F32(3, 2, 3, 1);
    op.operand[HY_COPY_x].stride[0] = 1;
    op.operand[HY_COPY_x].stride[1] = 2;
    op.operand[HY_COPY_out] = F32(3, 2, 3, 1);
    run = run_open("ref", &op);
    const float source[] = {1, 2, 3, 4, 5, 6}, turned[] = {1, 3, 5, 2, 4, 6};
    memcpy(run_at(&run, HY_COPY_x), source, sizeof source);
    run_all(&run);
    assert_memory_equal(run_at(&run, HY_COPY_out), turned, sizeof turned);
    run_close(&run);
}

/* ---- all ops ------------------------------------------------------------------------------------- */

/* Legal contents for every operand: small indices, positive floats, an increasing slot. */
static void fill(op_run *run) {
    hy_rng rng = hy_rng_seed(run->op.kind + 1);
    float values[4096];
    for (uint32_t i = 0; i < hy_op_get((hy_op_kind)run->op.kind)->operands; i++) {
        const hy_tensor *t = &run->op.operand[i];
        const uint32_t role = hy_op_get((hy_op_kind)run->op.kind)->operand[i].role;
        if (role & (HY_ROLE_OUT | HY_ROLE_STATE)) continue;
        const uint64_t count = hy_tensor_rows(t) * t->dim[t->rank - 1];
        assert_true(count <= HY_COUNT_OF(values));
        for (uint64_t n = 0; n < count; n++)
            values[n] = t->dtype == HY_DTYPE_I32 ? (float)(n % 2) : hy_rng_f32(&rng) + 0.1f;
        run_put(run, i, values);
    }
}

static uint32_t is_output(const hy_op *op, uint32_t i) {
    return hy_op_get((hy_op_kind)op->kind)->operand[i].role & (HY_ROLE_OUT | HY_ROLE_STATE);
}

/* With counters 0 nothing is written; with 1 only row 0 of an output that has the counter. */
static void counters(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < HY_OP_KIND_COUNT; kind++) {
        const hy_op op = op_sample((hy_op_kind)kind);
        for (uint32_t n = 0; n < 2; n++) {
            op_run run = run_open("ref", &op);
            fill(&run);
            run_with(&run, n, n, n);
            for (uint32_t i = 0; i < hy_op_get((hy_op_kind)kind)->operands; i++) {
                const hy_tensor *t = &op.operand[i];
                const uint64_t bytes = hy_tensor_bytes(t);
                if (!is_output(&op, i) || (n && !t->counter)) continue;
                const uint64_t written = n * (bytes / t->dim[0]);
                assert_true(poisoned((char *)run_at(&run, i) + written, bytes - written));
                if (n) assert_false(poisoned(run_at(&run, i), written));
            }
            run_close(&run);
        }
    }
}

/* What the oracle wants is what the run stores, rounded; magnitudes are finite and not less than 0. */
static void oracle_agrees(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < HY_OP_KIND_COUNT; kind++) {
        const hy_op op = op_sample((hy_op_kind)kind);
        op_run run = run_open("ref", &op);
        double want[2048], mag[2048];
        fill(&run);
        run_with(&run, 2, 2, 2);
        const hy_view counts = run_counters(&run, 2, 2, 2);
        for (uint32_t i = 0; i < hy_op_get((hy_op_kind)kind)->operands; i++) {
            const hy_tensor *t = &op.operand[i];
            const uint64_t count = hy_tensor_rows(t) * t->dim[t->rank - 1];
            if (!is_output(&op, i) || t->dtype == HY_DTYPE_A8) continue;
            assert_true(count <= HY_COUNT_OF(want));
            for (uint64_t n = 0; n < count; n++)
                want[n] = mag[n] = -1e30;
            run_must(run.device->backend->oracle(run.device, &op, run.view, counts, i, want, mag));
            uint64_t seen = 0;
            for (uint64_t n = 0; n < count; n++) {
                if (mag[n] == -1e30) continue;
                seen++;
                assert_true(mag[n] >= 0 && isfinite(mag[n]));
                if (t->dtype == HY_DTYPE_I32)
                    assert_true(run_i32(&run, i)[n] == want[n]);
                else
                    assert_true(run_f32(&run, i)[n] == (float)want[n]);
            }
            assert_true(seen > 0 &&
                        (t->counter == HY_COUNTER_NONE || seen == count / t->dim[0] * 2));
        }
        run_close(&run);
    }
}

/* A float32 implementation stays within the bound that mag gives, with C = 4: plain loops in float. */
static void magnitudes(void **state) {
    (void)state;
    enum { K = 300, N = 16 };
    hy_rng rng = hy_rng_seed(3);
    float x[K], w[N * K];
    double want[N], mag[N];
    hy_op op = op_of(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x] = F32(2, 1, K, 0);
    op.operand[HY_MATMUL_w] = F32(2, N, K, 0);
    op.operand[HY_MATMUL_out] = F32(2, 1, N, 0);
    op.matmul.act = HY_ACT_SILU;
    op_run run = run_open("ref", &op);
    for (int i = 0; i < K; i++)
        x[i] = hy_rng_normal(&rng) * (i % 7 == 0 ? 100.0f : 1.0f);
    for (int i = 0; i < N * K; i++)
        w[i] = hy_rng_normal(&rng);
    run_put(&run, HY_MATMUL_x, x);
    run_put(&run, HY_MATMUL_w, w);
    run_must(run.device->backend->oracle(run.device, &op, run.view, run_counters(&run, 1, 1, 1),
                                         HY_MATMUL_out, want, mag));
    for (int n = 0; n < N; n++) {
        float z = 0;
        for (int k = 0; k < K; k++)
            z += x[k] * w[n * K + k];
        const double got = z / (1 + expf(-z));
        assert_true(fabs(got - want[n]) <= 0x1p-24 * (4 * mag[n] + fabs(want[n])));
        if (want[n] < 100) continue; /* silu is flat there */
        z -= x[7] * w[n * K + 7];    /* a dropped k is seen */
        assert_true(fabs(z / (1 + expf(-z)) - want[n]) > 0x1p-24 * (4 * mag[n] + fabs(want[n])));
    }
    run_close(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_epilogue),
        cmocka_unit_test(matmul_formats),
        cmocka_unit_test(grouped),
        cmocka_unit_test(rms_norm),
        cmocka_unit_test(layer_norm),
        cmocka_unit_test(rope),
        cmocka_unit_test(activations),
        cmocka_unit_test(add_mul_glu),
        cmocka_unit_test(embed_gather_softmax),
        cmocka_unit_test(combine),
        cmocka_unit_test(choosing),
        cmocka_unit_test(routing),
        cmocka_unit_test(moves),
        cmocka_unit_test(counters),
        cmocka_unit_test(oracle_agrees),
        cmocka_unit_test(magnitudes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

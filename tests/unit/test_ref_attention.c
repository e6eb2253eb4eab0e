/* The reference backend's kv_write and attention, against plain softmax over contiguous keys and values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "tests/unit/op_run.h"

enum {
    TOKENS = 5,
    SEQUENCES = 2,
    HEADS = 4,
    KV_HEADS = 2,
    WIDTH = 32, /* of q and k */
    VALUE = 64, /* of v */
    PAGES = 7,
    LENGTH = 4, /* positions of a page */
    TABLE = 3   /* pages of a sequence */
};

static const int32_t table[SEQUENCES][TABLE] = {{5, 0, -1}, {3, 6, 1}};
static const int32_t lengths[SEQUENCES] = {6, 11};
static const int32_t row[TOKENS] = {0, 0, 1, -1, 1};
static const int32_t position[TOKENS] = {4, 5, 3, 0, 10};

static hy_op attention_op(hy_dtype cache, bool extras) {
    const uint32_t q[] = {TOKENS, HEADS, WIDTH}, k[] = {PAGES, KV_HEADS, LENGTH, WIDTH};
    const uint32_t v[] = {PAGES, KV_HEADS, LENGTH, VALUE}, pages[] = {SEQUENCES, TABLE};
    const uint32_t tokens[] = {TOKENS}, out[] = {TOKENS, HEADS, VALUE}, heads[] = {HEADS};
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_ATTENTION;
    op.operand[HY_ATTENTION_q] = hy_tensor_of(HY_DTYPE_F32, 3, q, HY_COUNTER_T);
    op.operand[HY_ATTENTION_k_cache] = hy_tensor_of(cache, 4, k, HY_COUNTER_NONE);
    op.operand[HY_ATTENTION_v_cache] = hy_tensor_of(cache, 4, v, HY_COUNTER_NONE);
    op.operand[HY_ATTENTION_table] = hy_tensor_of(HY_DTYPE_I32, 2, pages, HY_COUNTER_S);
    op.operand[HY_ATTENTION_row] = hy_tensor_of(HY_DTYPE_I32, 1, tokens, HY_COUNTER_T);
    op.operand[HY_ATTENTION_pos] = op.operand[HY_ATTENTION_row];
    op.operand[HY_ATTENTION_len] = hy_tensor_of(HY_DTYPE_I32, 1, pages, HY_COUNTER_S);
    op.operand[HY_ATTENTION_out] = hy_tensor_of(HY_DTYPE_F32, 3, out, HY_COUNTER_T);
    if (extras) {
        op.operand[HY_ATTENTION_sinks] = hy_tensor_of(HY_DTYPE_F32, 1, heads, HY_COUNTER_NONE);
        op.operand[HY_ATTENTION_slopes] = op.operand[HY_ATTENTION_sinks];
    }
    op.attention.scale = 0.2f;
    op.attention.causal = 1;
    return op;
}

/* Everything about positions of a sequence, as a person would write it. */
static float keys[SEQUENCES][TABLE * LENGTH][KV_HEADS][WIDTH];
static float values[SEQUENCES][TABLE * LENGTH][KV_HEADS][VALUE];
static float queries[TOKENS][HEADS][WIDTH];
static const float sinks[HEADS] = {0.5f, -1, 3, 0}, slopes[HEADS] = {0.5f, 0.25f, 0, 0.125f};

/* Stores one row in a page, in the cache's type, and reads back what the cache then holds. */
static void put_row(uint8_t *cache, hy_dtype dtype, int32_t page, int h, int i, uint32_t width,
                    float *x) {
    const uint64_t head = (uint64_t)page * KV_HEADS + h;
    if (dtype != HY_DTYPE_Q8_0) {
        const uint64_t bytes = width * hy_dtype_get(dtype)->bytes;
        hy_quantize_row(dtype, x, cache + (head * LENGTH + i) * bytes, width);
        hy_dequantize_row(dtype, cache + (head * LENGTH + i) * bytes, x, width);
        return;
    }
    uint8_t *start = cache + head * LENGTH * width / 32 * 34; /* planar: all q, then all scales */
    for (uint32_t j = 0; j < width; j++) {
        const uint16_t scale = hy_f32_to_f16(0.0625f * (float)(1 + j / 32));
        const int8_t q = (int8_t)lrintf(x[j] * 16);
        start[i * width + j] = (uint8_t)q;
        memcpy(start + LENGTH * width + (i * (width / 32) + j / 32) * 2, &scale, 2);
        x[j] = hy_f16_to_f32(scale) * q;
    }
}

static void fill(op_run *run) {
    const hy_dtype dtype = (hy_dtype)run->op.operand[HY_ATTENTION_k_cache].dtype;
    hy_rng rng = hy_rng_seed(11);
    for (size_t i = 0; i < sizeof queries / sizeof(float); i++)
        (&queries[0][0][0])[i] = hy_rng_normal(&rng);
    memcpy(run_at(run, HY_ATTENTION_q), queries, sizeof queries);
    for (int s = 0; s < SEQUENCES; s++) {
        for (int p = 0; p < TABLE * LENGTH; p++) {
            if (table[s][p / LENGTH] < 0) continue;
            for (int h = 0; h < KV_HEADS; h++) {
                for (int i = 0; i < WIDTH; i++)
                    keys[s][p][h][i] = hy_rng_normal(&rng);
                for (int i = 0; i < VALUE; i++)
                    values[s][p][h][i] = hy_rng_normal(&rng);
                put_row(run_at(run, HY_ATTENTION_k_cache), dtype, table[s][p / LENGTH], h,
                        p % LENGTH, WIDTH, keys[s][p][h]);
                put_row(run_at(run, HY_ATTENTION_v_cache), dtype, table[s][p / LENGTH], h,
                        p % LENGTH, VALUE, values[s][p][h]);
            }
        }
    }
    memcpy(run_at(run, HY_ATTENTION_table), table, sizeof table);
    memcpy(run_at(run, HY_ATTENTION_row), row, sizeof row);
    memcpy(run_at(run, HY_ATTENTION_pos), position, sizeof position);
    memcpy(run_at(run, HY_ATTENTION_len), lengths, sizeof lengths);
    if (!run->op.operand[HY_ATTENTION_sinks].dtype) return;
    memcpy(run_at(run, HY_ATTENTION_sinks), sinks, sizeof sinks);
    memcpy(run_at(run, HY_ATTENTION_slopes), slopes, sizeof slopes);
}

static bool sees(const hy_op *op, int t, int p) {
    if (op->attention.causal && p > position[t]) return false;
    return op->attention.window == 0 || p > position[t] - op->attention.window;
}

/* out [VALUE] of one query by the textbook. */
static void plain(const hy_op *op, int t, int a, double *out) {
    const int s = row[t], h = a / (HEADS / KV_HEADS);
    const bool extras = op->operand[HY_ATTENTION_sinks].dtype != HY_DTYPE_NONE;
    double total = extras ? exp(sinks[a]) : 0;
    memset(out, 0, VALUE * sizeof *out);
    if (s < 0) return;
    for (int p = 0; p < lengths[s]; p++) {
        double score = 0;
        if (!sees(op, t, p)) continue;
        for (int i = 0; i < WIDTH; i++)
            score += (double)queries[t][a][i] * keys[s][p][h][i];
        score *= op->attention.scale;
        if (op->attention.softcap > 0)
            score = op->attention.softcap * tanh(score / op->attention.softcap);
        if (extras) score += slopes[a] * (p - position[t]);
        total += exp(score);
        for (int i = 0; i < VALUE; i++)
            out[i] += exp(score) * values[s][p][h][i];
    }
    for (int i = 0; i < VALUE; i++)
        out[i] = total > 0 ? out[i] / total : 0;
}

static void compare(const hy_op *op, const op_run *run, int tokens) {
    const float *out = run_f32(run, HY_ATTENTION_out);
    for (int t = 0; t < tokens; t++) {
        for (int a = 0; a < HEADS; a++) {
            double want[VALUE];
            plain(op, t, a, want);
            for (int i = 0; i < VALUE; i++)
                RUN_NEAR(out[(t * HEADS + a) * VALUE + i], want[i]);
        }
    }
}

static void attention(void **state) {
    (void)state;
    const hy_dtype dtypes[] = {HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_Q8_0};
    for (int variant = 0; variant < 12; variant++) {
        hy_op op = attention_op(dtypes[variant % 3], variant / 3 == 3);
        if (variant / 3 == 1) op.attention.causal = 0;
        if (variant / 3 >= 2) op.attention.window = 3;
        if (variant / 3 == 3) op.attention.softcap = 1.5f;
        op_run run = run_open("ref", &op);
        fill(&run);
        run_all(&run);
        compare(&op, &run, TOKENS);
        run_close(&run);
    }
}

/* Fewer tokens: the rest is neither read nor written. No position in sight: zeros, even with a sink. */
static void attention_edges(void **state) {
    (void)state;
    hy_op op = attention_op(HY_DTYPE_F32, true);
    op_run run = run_open("ref", &op);
    fill(&run);
    run_i32(&run, HY_ATTENTION_row)[4] = 1 << 30;
    run_with(&run, 4, 2, 0);
    compare(&op, &run, 4);
    assert_int_equal(*(uint8_t *)(run_f32(&run, HY_ATTENTION_out) + 4 * HEADS * VALUE), RUN_POISON);
    run_i32(&run, HY_ATTENTION_len)[0] = 0;
    run_with(&run, 1, 2, 0);
    for (int i = 0; i < HEADS * VALUE; i++)
        assert_true(run_f32(&run, HY_ATTENTION_out)[i] == 0);
    run_close(&run);
}

/* The bound of ref.h holds for float32 arithmetic with large scores, and the order of pages matters. */
static void attention_magnitude(void **state) {
    (void)state;
    hy_op op = attention_op(HY_DTYPE_F32, false);
    static double want[TOKENS * HEADS * VALUE], mag[TOKENS * HEADS * VALUE];
    op.attention.scale = 2;
    op_run run = run_open("ref", &op);
    fill(&run);
    run_must(run.device->backend->oracle(run.device, &op, run.view, run_counters(&run, 5, 2, 1),
                                         HY_ATTENTION_out, want, mag));
    for (int a = 0; a < HEADS; a++) {
        float score[11], total = 0, max = -INFINITY;
        for (int p = 0; p < 11; p++) {
            score[p] = 0;
            for (int i = 0; i < WIDTH; i++)
                score[p] += queries[4][a][i] * keys[1][p][a / 2][i];
            score[p] *= 2;
            max = fmaxf(max, score[p]);
        }
        for (int p = 0; p < 11; p++)
            total += score[p] = expf(score[p] - max);
        for (int i = 0; i < VALUE; i++) {
            const int at = (4 * HEADS + a) * VALUE + i;
            float out = 0;
            for (int p = 0; p < 11; p++)
                out += score[p] * values[1][p][a / 2][i];
            const double bound = 0x1p-24 * (4 * mag[at] + fabs(want[at]));
            assert_true(fabs(out / total - want[at]) <= bound);
            assert_true(bound < 1e-3); /* and says something */
        }
    }
    run_close(&run);
}

/* ---- kv_write ------------------------------------------------------------------------------------ */

/* Two tokens, one skipped; pages of 4, so that slot 6 is page 1, index 2. Planar q8_0, as bytes. */
static void pages_of_q8(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_KV_WRITE);
    for (uint32_t i = HY_KV_WRITE_q; i <= HY_KV_WRITE_k_norm; i++)
        memset(&op.operand[i], 0, sizeof(hy_tensor));
    memset(&op.operand[HY_KV_WRITE_q_out], 0, sizeof(hy_tensor));
    op.operand[HY_KV_WRITE_k_cache].dtype = op.operand[HY_KV_WRITE_v_cache].dtype = HY_DTYPE_Q8_0;
    op_run run = run_open("ref", &op);
    float *k = run_f32(&run, HY_KV_WRITE_k), *v = run_f32(&run, HY_KV_WRITE_v);
    for (int i = 0; i < 2 * 2 * 32; i++) {
        k[i] = (float)(i % 32 - 10);
        v[i] = 0;
    }
    RUN_PUT(&run, HY_KV_WRITE_slot, -1, 6, 0);
    run_with(&run, 2, 0, 0);
    const uint8_t *cache = run_at(&run, HY_KV_WRITE_k_cache),
                  *zeros = run_at(&run, HY_KV_WRITE_v_cache);
    enum { HEAD = 4 * 34 }; /* bytes of one head of a page */
    const float scale = 21.0f / 127.0f;
    for (int h = 0; h < 2; h++) {
        const uint8_t *head = cache + (1 * 2 + h) * HEAD;
        uint16_t stored;
        memcpy(&stored, head + 4 * 32 + 2 * 2, 2);
        assert_int_equal(stored, hy_f32_to_f16(scale));
        for (int i = 0; i < 32; i++)
            assert_int_equal((int8_t)head[2 * 32 + i], (int8_t)lrintf((float)(i - 10) / scale));
        assert_int_equal(head[1 * 32], RUN_POISON); /* its neighbours are left alone */
        assert_int_equal(head[3 * 32], RUN_POISON);
        assert_int_equal(head[4 * 32 + 2], RUN_POISON);
        memcpy(&stored, zeros + (1 * 2 + h) * HEAD + 4 * 32 + 2 * 2, 2);
        assert_int_equal(stored, 0); /* a row of zeros */
    }
    for (int i = 0; i < 2 * HEAD; i++)
        assert_int_equal(cache[i], RUN_POISON); /* page 0: slot -1 went nowhere */
    run_close(&run);
}

/* rope(norm(x)) into f32 pages and into q_out; v as it is. */
static void norm_and_rope(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_KV_WRITE);
    op.kv_write.style = HY_ROPE_HALVES;
    op.kv_write.eps = 0.25f;
    op_run run = run_open("ref", &op);
    float weights[32], *k = run_f32(&run, HY_KV_WRITE_k), *v = run_f32(&run, HY_KV_WRITE_v);
    float *q = run_f32(&run, HY_KV_WRITE_q), *angles = run_f32(&run, HY_KV_WRITE_table);
    for (int i = 0; i < 3 * 2 * 32; i++) {
        k[i] = (float)sin(i);
        v[i] = (float)i;
    }
    for (int i = 0; i < 3 * 4 * 32; i++)
        q[i] = (float)cos(3 * i);
    for (int i = 0; i < 3 * 8; i++)
        angles[i] = (float)sin(i + 0.5);
    for (int i = 0; i < 32; i++)
        weights[i] = 1 + (float)i / 32;
    run_put(&run, HY_KV_WRITE_q_norm, weights);
    run_put(&run, HY_KV_WRITE_k_norm, weights);
    RUN_PUT(&run, HY_KV_WRITE_slot, 9, -1, 0);
    run_all(&run);
    for (int which = 0; which < 2; which++) { /* k of token 0, head 1; q of token 1, head 3 */
        const float *x = which ? q + (1 * 4 + 3) * 32 : k + 1 * 32;
        const float *turn = angles + (which ? 8 : 0);
        const float *got = which ? run_f32(&run, HY_KV_WRITE_q_out) + (1 * 4 + 3) * 32
                                 : run_f32(&run, HY_KV_WRITE_k_cache) + ((2 * 2 + 1) * 4 + 1) * 32;
        double y[32], square = 0;
        for (int i = 0; i < 32; i++)
            square += (double)x[i] * x[i] / 32;
        for (int i = 0; i < 32; i++)
            y[i] = x[i] / sqrt(square + 0.25) * weights[i];
        for (int j = 0; j < 4; j++) {
            RUN_NEAR(got[j], y[j] * turn[j] - y[j + 4] * turn[4 + j]);
            RUN_NEAR(got[j + 4], y[j] * turn[4 + j] + y[j + 4] * turn[j]);
        }
        for (int i = 8; i < 32; i++)
            RUN_NEAR(got[i], y[i]);
    }
    const float *v_row = run_f32(&run, HY_KV_WRITE_v_cache) + ((2 * 2 + 1) * 4 + 1) * 32;
    assert_memory_equal(v_row, v + 32, 32 * sizeof *v);
    run_close(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention),           cmocka_unit_test(attention_edges),
        cmocka_unit_test(attention_magnitude), cmocka_unit_test(pages_of_q8),
        cmocka_unit_test(norm_and_rope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

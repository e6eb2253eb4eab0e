/* Attention on the CPU: a ragged batch over shuffled pages against a naive double, on every ISA and for every
 * cache type; and the same bits however a batch is cut. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/num.h"
#include "tests/unit/cpu_task.h"

typedef struct att_case {
    uint32_t heads, kv_heads, d, c, length;
    hy_dtype q, k, v, out;
    float softcap;
    int32_t window, causal;
    bool sinks, slopes;
} att_case;

enum { SEQUENCES = 6, ROWS = 48, TRUE_ROWS = 45 };
static const int32_t lengths[SEQUENCES] = {1, 63, 64, 65, 200, 1300};
/* Rows by sequence: decode rows and prompt chunks side by side, one of no sequence. */
static const int32_t row_counts[SEQUENCES] = {1, 1, 2, 20, 17, 3};

/* One (page, head, index) row of a cache as truth, stored in the cache's dtype. */
static void put_cache(ct_task *k, uint32_t operand, uint64_t page, uint32_t head, uint32_t index) {
    const hy_tensor *t = &k->op.operand[operand];
    const uint32_t kv_heads = t->dim[1], length = t->dim[2], columns = t->dim[3];
    if (t->dtype != HY_DTYPE_Q8_0) {
        ct_fill(k, operand, ((page * kv_heads + head) * length + index) * columns, columns);
        return;
    }
    uint8_t *base =
        (uint8_t *)k->data[operand] + (page * kv_heads + head) * length * columns / 32 * 34;
    for (uint32_t i = 0; i < columns; i++)
        base[(size_t)index * columns + i] = (uint8_t)(ct_random_bits() % 255 + 129);
    uint16_t *scales = (uint16_t *)(base + (size_t)length * columns) + (size_t)index * columns / 32;
    for (uint32_t i = 0; i < columns / 32; i++)
        scales[i] = hy_f32_to_f16(0.01f + 0.00002f * (float)(ct_random_bits() % 256));
}

static double cache_value(const ct_task *k, uint32_t operand, uint64_t page, uint32_t head,
                          uint32_t index, uint32_t i) {
    const hy_tensor *t = &k->op.operand[operand];
    const uint32_t kv_heads = t->dim[1], length = t->dim[2], columns = t->dim[3];
    if (t->dtype != HY_DTYPE_Q8_0)
        return ct_element(k, operand, ((page * kv_heads + head) * length + index) * columns + i);
    const uint8_t *base =
        (const uint8_t *)k->data[operand] + (page * kv_heads + head) * length * columns / 32 * 34;
    const uint16_t *scales =
        (const uint16_t *)(base + (size_t)length * columns) + (size_t)index * columns / 32;
    return (double)(int8_t)base[(size_t)index * columns + i] * hy_f16_to_f32(scales[i / 32]);
}

/* Pages in random order, and everything past a sequence's length NaN. */
static void fill_caches(ct_task *k, uint32_t pages) {
    const hy_tensor *kc = &k->op.operand[HY_ATTENTION_k_cache];
    int32_t *table = k->data[HY_ATTENTION_table];
    const uint32_t each = k->op.operand[HY_ATTENTION_table].dim[1], length = kc->dim[2];
    uint32_t *order = ct_allocate(pages * sizeof *order), used = 0;
    for (uint32_t i = 0; i < pages; i++) {
        const uint32_t j = ct_random_bits() % (i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        ((int32_t *)k->data[HY_ATTENTION_len])[s] = lengths[s];
        for (uint32_t p = 0; p < each; p++)
            table[s * each + p] = p * length < (uint32_t)lengths[s] ? (int32_t)order[used++] : -1;
        for (uint32_t p = 0; p < (uint32_t)lengths[s]; p++) {
            for (uint32_t h = 0; h < kc->dim[1]; h++) {
                const uint64_t page = (uint64_t)table[s * each + p / length];
                put_cache(k, HY_ATTENTION_k_cache, page, h, p % length);
                put_cache(k, HY_ATTENTION_v_cache, page, h, p % length);
            }
        }
    }
    free(order);
}

static ct_task make_attention(const att_case *a) {
    ct_task k = {.op.kind = HY_OP_ATTENTION};
    const uint32_t each = (uint32_t)hy_div_up(1400, a->length), pages = each * 4;
    ct_set_operand(&k, HY_ATTENTION_q, a->q, HY_COUNTER_T, 3, ROWS, a->heads, a->d, 1);
    ct_set_operand(&k, HY_ATTENTION_k_cache, a->k, 0, 4, pages, a->kv_heads, a->length, a->d);
    ct_set_operand(&k, HY_ATTENTION_v_cache, a->v, 0, 4, pages, a->kv_heads, a->length, a->c);
    ct_set_operand(&k, HY_ATTENTION_table, HY_DTYPE_I32, HY_COUNTER_S, 2, SEQUENCES, each, 1, 1);
    ct_set_operand(&k, HY_ATTENTION_row, HY_DTYPE_I32, HY_COUNTER_T, 1, ROWS, 1, 1, 1);
    ct_set_operand(&k, HY_ATTENTION_pos, HY_DTYPE_I32, HY_COUNTER_T, 1, ROWS, 1, 1, 1);
    ct_set_operand(&k, HY_ATTENTION_len, HY_DTYPE_I32, HY_COUNTER_S, 1, SEQUENCES, 1, 1, 1);
    if (a->sinks) ct_set_operand(&k, HY_ATTENTION_sinks, HY_DTYPE_F32, 0, 1, a->heads, 1, 1, 1);
    if (a->slopes) ct_set_operand(&k, HY_ATTENTION_slopes, HY_DTYPE_F32, 0, 1, a->heads, 1, 1, 1);
    ct_set_operand(&k, HY_ATTENTION_out, a->out, HY_COUNTER_T, 3, ROWS, a->heads, a->c, 1);
    k.op.attention.scale = 1 / sqrtf((float)a->d);
    k.op.attention.softcap = a->softcap;
    k.op.attention.window = a->window;
    k.op.attention.causal = a->causal;
    k.counters[HY_COUNTER_T] = TRUE_ROWS;
    k.counters[HY_COUNTER_S] = SEQUENCES;
    ct_fill(&k, HY_ATTENTION_q, 0, (size_t)TRUE_ROWS * a->heads * a->d);
    if (a->sinks) ct_fill(&k, HY_ATTENTION_sinks, 0, a->heads);
    for (uint32_t i = 0; a->slopes && i < a->heads; i++)
        ((float *)k.data[HY_ATTENTION_slopes])[i] = ldexpf(1, -(int)i - 1);
    fill_caches(&k, pages);
    int32_t *row = k.data[HY_ATTENTION_row], *pos = k.data[HY_ATTENTION_pos];
    uint32_t t = 0;
    for (int32_t s = 0; s < SEQUENCES; s++) {
        for (int32_t i = 0; i < row_counts[s]; i++, t++) {
            row[t] = s;
            pos[t] = lengths[s] - row_counts[s] + i;
        }
    }
    row[t] = -1;
    assert_int_equal(t + 1, TRUE_ROWS);
    return k;
}

static void naive_row(const ct_task *k, uint32_t t, uint32_t head, double *out) {
    const hy_tensor *q = &k->op.operand[HY_ATTENTION_q];
    const hy_attention_attr *attr = &k->op.attention;
    const uint32_t d = q->dim[2], c = k->op.operand[HY_ATTENTION_v_cache].dim[3];
    const uint32_t kv_heads = k->op.operand[HY_ATTENTION_k_cache].dim[1];
    const uint32_t length = k->op.operand[HY_ATTENTION_k_cache].dim[2];
    const uint32_t each = k->op.operand[HY_ATTENTION_table].dim[1];
    const uint32_t kv_head = head / (q->dim[1] / kv_heads);
    const int32_t s = ((int32_t *)k->data[HY_ATTENTION_row])[t];
    const int32_t pos = ((int32_t *)k->data[HY_ATTENTION_pos])[t];
    double sum = 0, score[1400];
    for (uint32_t i = 0; i < c; i++)
        out[i] = 0;
    if (s < 0) return;
    const int32_t *table = (int32_t *)k->data[HY_ATTENTION_table] + (uint32_t)s * each;
    for (int32_t p = 0; p < lengths[s]; p++) {
        score[p] = -INFINITY;
        if (attr->causal && p > pos) continue;
        if (attr->window > 0 && p <= pos - attr->window) continue;
        score[p] = 0;
        for (uint32_t i = 0; i < d; i++)
            score[p] += ct_element(k, HY_ATTENTION_q, ((size_t)t * q->dim[1] + head) * d + i) *
                        cache_value(k, HY_ATTENTION_k_cache, (uint64_t)table[(uint32_t)p / length],
                                    kv_head, (uint32_t)p % length, i);
        score[p] *= attr->scale;
        if (attr->softcap > 0) score[p] = attr->softcap * tanh(score[p] / attr->softcap);
        if (k->data[HY_ATTENTION_slopes])
            score[p] += ((float *)k->data[HY_ATTENTION_slopes])[head] * (double)(p - pos);
        sum += exp(score[p]);
    }
    if (k->data[HY_ATTENTION_sinks]) sum += exp(((float *)k->data[HY_ATTENTION_sinks])[head]);
    for (int32_t p = 0; p < lengths[s]; p++) {
        if (score[p] == -INFINITY) continue;
        for (uint32_t i = 0; i < c; i++)
            out[i] += exp(score[p]) / sum *
                      cache_value(k, HY_ATTENTION_v_cache, (uint64_t)table[(uint32_t)p / length],
                                  kv_head, (uint32_t)p % length, i);
    }
}

static void check_attention(const ct_task *k, const double *want) {
    const hy_tensor *out = &k->op.operand[HY_ATTENTION_out];
    const uint32_t columns = out->dim[1] * out->dim[2];
    const double ulp = out->dtype == HY_DTYPE_F32   ? 0
                       : out->dtype == HY_DTYPE_F16 ? 0x1p-11
                                                    : 0x1p-8;
    float *row = ct_allocate(columns * sizeof *row);
    for (uint32_t t = 0; t < ROWS; t++) {
        const uint64_t bytes = hy_dtype_row_bytes(hy_dtype_get(out->dtype), columns);
        const uint8_t *from = (uint8_t *)k->data[HY_ATTENTION_out] + t * bytes;
        if (t >= TRUE_ROWS) {
            for (uint64_t i = 0; i < bytes; i++)
                assert_int_equal(from[i], 0xff);
            continue;
        }
        hy_dequantize_row(out->dtype, from, row, columns);
        for (uint32_t i = 0; i < columns; i++) {
            const double w = want[(size_t)t * columns + i];
            double bound = 3e-6 + ulp * fabs(w);
            if (out->dtype == HY_DTYPE_A8) {
                double largest = 0;
                for (uint32_t j = i / 32 * 32; j < i / 32 * 32 + 32; j++)
                    largest = fmax(largest, fabs(want[(size_t)t * columns + j]));
                bound += largest / 127 * 0.501;
            }
            if (!(fabs(row[i] - w) <= bound))
                fail_msg("row %u column %u: %g, not %g", t, i, (double)row[i], w);
        }
    }
    free(row);
}

static const att_case att_cases[] = {
    {4, 2, 64, 64, 64, HY_DTYPE_F32, HY_DTYPE_F32, HY_DTYPE_F32, HY_DTYPE_F32, 0, 0, 1, 0, 0},
    {8, 2, 128, 128, 64, HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_F16, HY_DTYPE_F32, 0, 0, 1, 0, 0},
    {6, 2, 64, 32, 64, HY_DTYPE_F16, HY_DTYPE_BF16, HY_DTYPE_BF16, HY_DTYPE_BF16, 0, 100, 1, 1, 0},
    {8, 8, 32, 160, 64, HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_F16, HY_DTYPE_F32, 0, 0, 1, 1, 0},
    {9, 3, 32, 64, 64, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_Q8_0, HY_DTYPE_A8, 0, 0, 1, 0, 0},
    {4, 1, 64, 96, 64, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_Q8_0, HY_DTYPE_A8, 0, 0, 1, 0, 0},
    {2, 2, 40, 24, 64, HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_F16, HY_DTYPE_F16, 20, 0, 1, 1, 1},
    {3, 1, 7, 5, 48, HY_DTYPE_BF16, HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_F32, 0, 0, 0, 0, 1},
    {40, 2, 32, 33, 100, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_F16, HY_DTYPE_F32, 5, 70, 0, 0, 0},
    {4, 4, 16, 16, 3, HY_DTYPE_F32, HY_DTYPE_F32, HY_DTYPE_F32, HY_DTYPE_F32, 0, 0, 1, 0, 0},
};

static double *naive_attention(const ct_task *k) {
    const hy_tensor *out = &k->op.operand[HY_ATTENTION_out];
    double *want = ct_allocate((size_t)TRUE_ROWS * out->dim[1] * out->dim[2] * sizeof *want);
    for (uint32_t t = 0; t < TRUE_ROWS; t++) {
        for (uint32_t a = 0; a < out->dim[1]; a++)
            naive_row(k, t, a, want + ((size_t)t * out->dim[1] + a) * out->dim[2]);
    }
    return want;
}

static void test_attention(void **state) {
    (void)state;
    for (size_t i = 0; i < HY_COUNT_OF(att_cases); i++) {
        ct_task k = make_attention(&att_cases[i]);
        double *want = naive_attention(&k);
        const uint64_t bytes = hy_tensor_bytes(&k.op.operand[HY_ATTENTION_out]);
        for (size_t isa = 0; isa < HY_COUNT_OF(ct_isas); isa++) {
            if (!ct_machine_has(ct_isas[isa])) continue;
            void *first = NULL;
            for (uint32_t threads = 1; threads <= 8;
                 threads = threads < 3 ? threads + 1 : threads + 5) {
                memset(k.data[HY_ATTENTION_out], 0xff, bytes);
                ct_run(ct_isas[isa], threads, &k);
                check_attention(&k, want);
                if (!first) {
                    first = ct_allocate(bytes);
                    memcpy(first, k.data[HY_ATTENTION_out], bytes);
                }
                assert_memory_equal(first, k.data[HY_ATTENTION_out], bytes);
            }
            free(first);
        }
        free(want);
        ct_free_task(&k);
    }
}

/* The given rows of a batch as a batch of their own. Extents at upper bounds stay. */
static void rows_alone(ct_task *k, const ct_task *whole, const uint32_t *rows, uint32_t count) {
    static const uint32_t per_row[] = {HY_ATTENTION_q, HY_ATTENTION_row, HY_ATTENTION_pos};
    for (size_t i = 0; i < HY_COUNT_OF(per_row); i++) {
        const hy_tensor *t = &whole->op.operand[per_row[i]];
        const uint64_t bytes = hy_tensor_bytes(t) / ROWS;
        uint8_t *to = k->data[per_row[i]];
        memset(to, 0xff, ROWS * bytes);
        for (uint32_t r = 0; r < count; r++)
            memcpy(to + r * bytes, (uint8_t *)whole->data[per_row[i]] + rows[r] * bytes, bytes);
    }
    k->counters[HY_COUNTER_T] = count;
}

/* Runs them, and finds the same bits. */
static void check_rows(ct_recording *r, ct_task *part, const ct_task *whole, const uint32_t *rows,
                       uint32_t count) {
    const uint64_t bytes = hy_tensor_bytes(&whole->op.operand[HY_ATTENTION_out]) / ROWS;
    rows_alone(part, whole, rows, count);
    ct_replay(r);
    for (uint32_t i = 0; i < count; i++)
        assert_memory_equal((uint8_t *)part->data[HY_ATTENTION_out] + i * bytes,
                            (uint8_t *)whole->data[HY_ATTENTION_out] + rows[i] * bytes, bytes);
}

/* Chunks of the batch, and one row of each sequence: kv heads then go together, spans apart, or both, by the
 * number of workers. */
static void check_parts(ct_task *part, const ct_task *whole, const char *isa, uint32_t workers) {
    static const uint32_t chunks[] = {1, 7, 16};
    uint32_t rows[ROWS], last[SEQUENCES], end = 0;
    hy_device *device = ct_open_cpu(isa, workers);
    ct_recording r = ct_record(device, part);
    for (uint32_t t = 0; t < ROWS; t++)
        rows[t] = t;
    for (size_t n = 0; n < HY_COUNT_OF(chunks); n++) {
        for (uint32_t t = 0; t < TRUE_ROWS; t += chunks[n])
            check_rows(&r, part, whole, rows + t, HY_MIN(chunks[n], TRUE_ROWS - t));
    }
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        end += (uint32_t)row_counts[s];
        last[s] = end - 1;
    }
    check_rows(&r, part, whole, last, SEQUENCES);
    check_rows(&r, part, whole, last + SEQUENCES - 2, 2);
    ct_free_recording(&r);
    hy_device_close(device);
}

static void test_attention_invariance(void **state) {
    (void)state;
    static const uint32_t own[] = {HY_ATTENTION_q, HY_ATTENTION_row, HY_ATTENTION_pos,
                                   HY_ATTENTION_out};
    for (size_t i = 0; i < HY_COUNT_OF(att_cases); i++) {
        for (size_t isa = 0; isa < HY_COUNT_OF(ct_isas); isa++) {
            if (!ct_machine_has(ct_isas[isa])) continue;
            ct_task whole = make_attention(&att_cases[i]), part = whole;
            ct_run(ct_isas[isa], 2, &whole);
            for (size_t n = 0; n < HY_COUNT_OF(own); n++)
                part.data[own[n]] = ct_allocate(hy_tensor_bytes(&whole.op.operand[own[n]]));
            for (uint32_t workers = 1; workers <= 8; workers = workers < 2 ? 2 : workers + 6)
                check_parts(&part, &whole, ct_isas[isa], workers);
            for (size_t n = 0; n < HY_COUNT_OF(own); n++)
                free(part.data[own[n]]);
            ct_free_task(&whole);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_invariance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Attention, kv_write and rope_table on Vulkan, where the conformance cases are too small or the bound too wide:
 * both kernels of attention give a row the same bits, in a ragged batch and alone, over long contexts, odd
 * pages and wide heads, and what a float64 loop gives; kv_write gives the CPU's bytes; angles hold at any
 * position. On vulkan:0, a software device too; says so where there is none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/gpu/gpu.h"
#include "backends/registry.h"
#include "base/half.h"
#include "base/num.h"
#include "base/rng.h"

enum { ROOM = 24 << 20, POISON = 0xa5 };

static hy_rng rng;
static hy_device *gpu, *cpu;

static void must(hy_status status) {
    if (status != HY_OK) fail_msg("%s", hy_error_text());
}

static void need_device(void) {
    if (!gpu) skip();
}

/* ---- one op on one device ------------------------------------------------------------------------ */

/* An op with its memory, all in one buffer that the host sees; the counters come first. */
typedef struct task {
    hy_device *device;
    hy_buffer *buffer;
    uint64_t used;
    hy_op op;
    hy_view view[HY_MAX_OPERANDS];
} task;

static hy_view take(task *k, uint64_t bytes) {
    const hy_view view = {k->buffer, k->used, bytes};
    k->used = hy_align_up(k->used + bytes, HY_VIEW_ALIGN);
    assert_true(k->used <= ROOM);
    return view;
}

static task open_task(hy_device *device, const hy_op *op) {
    task k = {.device = device, .op = *op};
    must(hy_op_check(op));
    must(device->backend->buffer_new(device, HY_HEAP_HOST, ROOM, &k.buffer));
    memset(k.buffer->host, POISON, ROOM);
    take(&k, HY_COUNTER_COUNT * sizeof(uint32_t));
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        if (op->operand[i].dtype) k.view[i] = take(&k, hy_tensor_bytes(&op->operand[i]));
    return k;
}

static void close_task(task *k) {
    hy_buffer_free(k->buffer);
}

static void *at(const task *k, uint32_t operand) {
    return hy_view_host(k->view[operand]);
}

static uint32_t kernels_of(const task *k, const hy_op *op, hy_kernel *out) {
    uint32_t count;
    must(hy_op_check(op));
    must(k->device->backend->candidates(k->device, op, out, &count));
    assert_true(count > 0);
    return count;
}

/* Runs `op` with `views` and true counts. */
static void run(task *k, const hy_op *op, const hy_kernel *kernel, const hy_view *views, uint32_t t,
                uint32_t s) {
    const hy_backend *b = k->device->backend;
    const uint32_t counters[HY_COUNTER_COUNT] = {[HY_COUNTER_T] = t, [HY_COUNTER_S] = s};
    const hy_view step = {k->buffer, 0, sizeof counters};
    const uint64_t used = k->used;
    hy_timeline *timeline;
    hy_cmd *cmd;
    memcpy(k->buffer->host, counters, sizeof counters);
    must(b->cmd_new(k->device, step, &cmd));
    must(b->cmd_op(cmd, op, kernel, views, take(k, kernel->workspace)));
    must(b->cmd_seal(cmd));
    must(b->timeline_new(k->device, &timeline));
    must(b->submit(k->device, cmd, timeline, 1));
    must(b->timeline_wait(timeline, 1, UINT64_MAX));
    hy_timeline_free(timeline);
    hy_cmd_free(cmd);
    k->used = used;
}

static void put(hy_tensor *t, hy_dtype dtype, hy_counter counter, uint32_t a, uint32_t b,
                uint32_t c, uint32_t d) {
    *t = hy_tensor_of(dtype, d ? 4 : c ? 3 : b ? 2 : 1, (const uint32_t[]){a, b, c, d}, counter);
}

/* Random floats in elements [first, first + count). */
static void fill(const task *k, uint32_t operand, uint64_t first, uint64_t count) {
    const hy_dtype dtype = (hy_dtype)k->op.operand[operand].dtype;
    char *to = (char *)at(k, operand) + first * hy_dtype_get(dtype)->bytes;
    for (uint64_t i = 0; i < count; i++) {
        const float x = hy_rng_normal(&rng);
        hy_quantize_row(dtype, &x, to + i * hy_dtype_get(dtype)->bytes, 1);
    }
}

/* ---- attention ----------------------------------------------------------------------------------- */

typedef struct att_case {
    uint32_t heads, kv_heads, d, c, length;
    hy_dtype q, k, v, out;
    float softcap;
    int32_t window, causal;
    bool sinks, slopes;
} att_case;

enum { SEQUENCES = 5, ROWS = 19, TRUE_ROWS = 18 };
static const int32_t lengths[SEQUENCES] = {1, 64, 65, 515, 1500};
/* Rows by sequence: decode rows and prompt chunks side by side; behind them one of no sequence. */
static const int32_t row_counts[SEQUENCES] = {1, 2, 2, 9, 3};

// clang-format off
static const att_case cases[] = {
    {4, 2, 64, 64, 64, HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_F16, HY_DTYPE_F32, 0, 0, 1, 0, 0},
    {6, 2, 32, 96, 100, HY_DTYPE_F16, HY_DTYPE_BF16, HY_DTYPE_F32, HY_DTYPE_F32, 0, 150, 1, 1, 0},
    {4, 1, 64, 32, 64, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_Q8_0, HY_DTYPE_A8, 0, 0, 1, 0, 0},
    {2, 2, 40, 24, 16, HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_F16, HY_DTYPE_BF16, 20, 0, 1, 1, 1},
    {3, 1, 7, 5, 48, HY_DTYPE_BF16, HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_F32, 0, 0, 0, 0, 1},
    {40, 2, 32, 33, 100, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_F16, HY_DTYPE_F32, 5, 70, 0, 0, 0},
    {1, 1, 32, 32, 3, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_Q8_0, HY_DTYPE_F32, 0, 0, 1, 0, 0},
    {2, 1, 24, 320, 600, HY_DTYPE_F32, HY_DTYPE_F32, HY_DTYPE_BF16, HY_DTYPE_F32, 0, 0, 1, 1, 0},
};
// clang-format on

static char *cache_row(const task *k, uint32_t operand, uint64_t page, uint32_t head,
                       uint32_t index, uint16_t **scales) {
    const hy_tensor *t = &k->op.operand[operand];
    const uint64_t length = t->dim[2], columns = t->dim[3], block = page * t->dim[1] + head;
    *scales = NULL;
    if (t->dtype != HY_DTYPE_Q8_0)
        return (char *)at(k, operand) +
               (block * length + index) * columns * hy_dtype_get((hy_dtype)t->dtype)->bytes;
    char *base = (char *)at(k, operand) + block * (length * columns / 32 * 34);
    *scales = (uint16_t *)(void *)(base + length * columns) + index * (columns / 32);
    return base + index * columns;
}

static void fill_row(const task *k, uint32_t operand, uint64_t page, uint32_t head,
                     uint32_t index) {
    const hy_tensor *t = &k->op.operand[operand];
    uint16_t *scales;
    char *row = cache_row(k, operand, page, head, index, &scales);
    if (!scales) {
        fill(k, operand, ((page * t->dim[1] + head) * t->dim[2] + index) * t->dim[3], t->dim[3]);
        return;
    }
    for (uint32_t i = 0; i < t->dim[3]; i++)
        row[i] = (char)((int32_t)hy_rng_below(&rng, 255) - 127);
    for (uint32_t i = 0; i < t->dim[3] / 32; i++)
        scales[i] = hy_f32_to_f16(0.01f + 0.01f * hy_rng_f32(&rng));
}

static double cache_value(const task *k, uint32_t operand, uint64_t page, uint32_t head,
                          uint32_t index, uint32_t i) {
    const hy_dtype dtype = (hy_dtype)k->op.operand[operand].dtype;
    uint16_t *scales;
    float value;
    const char *row = cache_row(k, operand, page, head, index, &scales);
    if (scales) return (double)(int8_t)row[i] * (double)hy_f16_to_f32(scales[i / 32]);
    hy_dequantize_row(dtype, row + (uint64_t)i * hy_dtype_get(dtype)->bytes, &value, 1);
    return (double)value;
}

/* Pages in random order; what is past a sequence's length is NaN. */
static void fill_caches(const task *k) {
    const hy_tensor *kc = &k->op.operand[HY_ATTENTION_k_cache];
    int32_t *table = at(k, HY_ATTENTION_table);
    const uint32_t each = k->op.operand[HY_ATTENTION_table].dim[1], length = kc->dim[2];
    uint32_t order[2048], used = 0;
    assert_true(kc->dim[0] <= HY_COUNT_OF(order));
    for (uint32_t i = 0; i < kc->dim[0]; i++) {
        const uint32_t j = hy_rng_below(&rng, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    memset(at(k, HY_ATTENTION_k_cache), 0xff, hy_tensor_bytes(kc));
    memset(at(k, HY_ATTENTION_v_cache), 0xff,
           hy_tensor_bytes(&k->op.operand[HY_ATTENTION_v_cache]));
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        ((int32_t *)at(k, HY_ATTENTION_len))[s] = lengths[s];
        for (uint32_t p = 0; p < each; p++)
            table[s * each + p] = p * length < (uint32_t)lengths[s] ? (int32_t)order[used++] : -1;
        for (uint32_t p = 0; p < (uint32_t)lengths[s]; p++) {
            const uint64_t page = (uint64_t)table[s * each + p / length];
            for (uint32_t h = 0; h < kc->dim[1]; h++) {
                fill_row(k, HY_ATTENTION_k_cache, page, h, p % length);
                fill_row(k, HY_ATTENTION_v_cache, page, h, p % length);
            }
        }
    }
}

static hy_op attention_op(const att_case *a, uint32_t rows) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_ATTENTION;
    const uint32_t each = (uint32_t)hy_div_up(1600, a->length);
    const uint32_t pages = 2145 / a->length + SEQUENCES + 1;
    put(&op.operand[HY_ATTENTION_q], a->q, HY_COUNTER_T, rows, a->heads, a->d, 0);
    put(&op.operand[HY_ATTENTION_k_cache], a->k, 0, pages, a->kv_heads, a->length, a->d);
    put(&op.operand[HY_ATTENTION_v_cache], a->v, 0, pages, a->kv_heads, a->length, a->c);
    put(&op.operand[HY_ATTENTION_table], HY_DTYPE_I32, HY_COUNTER_S, SEQUENCES, each, 0, 0);
    put(&op.operand[HY_ATTENTION_row], HY_DTYPE_I32, HY_COUNTER_T, rows, 0, 0, 0);
    put(&op.operand[HY_ATTENTION_pos], HY_DTYPE_I32, HY_COUNTER_T, rows, 0, 0, 0);
    put(&op.operand[HY_ATTENTION_len], HY_DTYPE_I32, HY_COUNTER_S, SEQUENCES, 0, 0, 0);
    if (a->sinks) put(&op.operand[HY_ATTENTION_sinks], HY_DTYPE_F32, 0, a->heads, 0, 0, 0);
    if (a->slopes) put(&op.operand[HY_ATTENTION_slopes], HY_DTYPE_F32, 0, a->heads, 0, 0, 0);
    put(&op.operand[HY_ATTENTION_out], a->out, HY_COUNTER_T, rows, a->heads, a->c, 0);
    op.attention.scale = 1 / sqrtf((float)a->d);
    op.attention.softcap = a->softcap;
    op.attention.window = a->window;
    op.attention.causal = a->causal;
    return op;
}

static task attention_task(const att_case *a) {
    const hy_op op = attention_op(a, ROWS);
    task k = open_task(gpu, &op);
    fill(&k, HY_ATTENTION_q, 0, (uint64_t)TRUE_ROWS * a->heads * a->d);
    if (a->sinks) fill(&k, HY_ATTENTION_sinks, 0, a->heads);
    for (uint32_t i = 0; a->slopes && i < a->heads; i++)
        ((float *)at(&k, HY_ATTENTION_slopes))[i] = ldexpf(1, -(int)i - 1);
    fill_caches(&k);
    int32_t *row = at(&k, HY_ATTENTION_row), *pos = at(&k, HY_ATTENTION_pos);
    uint32_t t = 0;
    for (int32_t s = 0; s < SEQUENCES; s++) {
        for (int32_t i = 0; i < row_counts[s]; i++, t++) {
            row[t] = s;
            pos[t] = lengths[s] - row_counts[s] + i;
        }
    }
    row[t] = -1;
    pos[t] = 0;
    assert_int_equal(t + 1, TRUE_ROWS);
    return k;
}

/* Score of one key, -infinity where it is not visible. */
static double score_of(const task *k, const double *q, uint32_t head, uint32_t kv_head, int32_t pos,
                       int32_t p, uint64_t page, uint32_t index) {
    const hy_attention_attr *attr = &k->op.attention;
    double z = 0;
    if ((attr->causal && p > pos) || (attr->window > 0 && p <= pos - attr->window))
        return -INFINITY;
    for (uint32_t i = 0; i < k->op.operand[HY_ATTENTION_q].dim[2]; i++)
        z += q[i] * cache_value(k, HY_ATTENTION_k_cache, page, kv_head, index, i);
    z *= (double)attr->scale;
    if (attr->softcap > 0) z = (double)attr->softcap * tanh(z / (double)attr->softcap);
    if (k->op.operand[HY_ATTENTION_slopes].dtype)
        z += (double)((float *)at(k, HY_ATTENTION_slopes))[head] * (p - pos);
    return z;
}

static void naive_row(const task *k, uint32_t t, uint32_t head, double *out) {
    const hy_tensor *q = &k->op.operand[HY_ATTENTION_q];
    const hy_tensor *keys = &k->op.operand[HY_ATTENTION_k_cache];
    const uint32_t c = k->op.operand[HY_ATTENTION_v_cache].dim[3], length = keys->dim[2];
    const uint32_t each = k->op.operand[HY_ATTENTION_table].dim[1];
    const uint32_t kv_head = head / (q->dim[1] / keys->dim[1]);
    const int32_t s = ((int32_t *)at(k, HY_ATTENTION_row))[t];
    const int32_t pos = ((int32_t *)at(k, HY_ATTENTION_pos))[t];
    const uint32_t bytes = hy_dtype_get((hy_dtype)q->dtype)->bytes;
    double sum = 0, weight[1600], query[64];
    float x;
    memset(out, 0, c * sizeof *out);
    if (s < 0) return;
    const int32_t *table = (int32_t *)at(k, HY_ATTENTION_table) + (uint32_t)s * each;
    for (uint32_t i = 0; i < q->dim[2]; i++) {
        const uint64_t e = ((uint64_t)t * q->dim[1] + head) * q->dim[2] + i;
        hy_dequantize_row((hy_dtype)q->dtype, (char *)at(k, HY_ATTENTION_q) + e * bytes, &x, 1);
        query[i] = (double)x;
    }
    for (int32_t p = 0; p < lengths[s]; p++) {
        weight[p] = exp(score_of(k, query, head, kv_head, pos, p,
                                 (uint64_t)table[(uint32_t)p / length], (uint32_t)p % length));
        sum += weight[p];
    }
    if (k->op.operand[HY_ATTENTION_sinks].dtype)
        sum += exp((double)((float *)at(k, HY_ATTENTION_sinks))[head]);
    for (int32_t p = 0; p < lengths[s]; p++) {
        for (uint32_t i = 0; weight[p] != 0 && i < c; i++)
            out[i] += weight[p] / sum *
                      cache_value(k, HY_ATTENTION_v_cache, (uint64_t)table[(uint32_t)p / length],
                                  kv_head, (uint32_t)p % length, i);
    }
}

static uint64_t row_bytes(const task *k, uint32_t operand) {
    return hy_tensor_bytes(&k->op.operand[operand]) / ROWS;
}

/* A few of the rows against the naive loop: the last of each sequence, and the one of none. */
static void check_values(const task *k) {
    const hy_tensor *out = &k->op.operand[HY_ATTENTION_out];
    const uint32_t c = out->dim[2];
    const double ulp = out->dtype == HY_DTYPE_F32   ? 0
                       : out->dtype == HY_DTYPE_F16 ? 0x1p-11
                                                    : 0x1p-8;
    double want[320];
    float got[320];
    for (uint32_t s = 0, t = 0; s <= SEQUENCES; s++, t++) {
        t += s < SEQUENCES ? (uint32_t)row_counts[s] - 1 : 0;
        for (uint32_t head = 0; head < out->dim[1]; head += HY_MAX(out->dim[1] - 1, 1u)) {
            const uint64_t bytes = row_bytes(k, HY_ATTENTION_out) / out->dim[1];
            naive_row(k, t, head, want);
            hy_dequantize_row((hy_dtype)out->dtype,
                              (char *)at(k, HY_ATTENTION_out) + (t * out->dim[1] + head) * bytes,
                              got, c);
            for (uint32_t i = 0; i < c; i++) {
                double bound = 3e-6 + ulp * fabs(want[i]), most = 0;
                for (uint32_t j = i / 32 * 32; j < HY_MIN(i / 32 * 32 + 32, c); j++)
                    most = fmax(most, fabs(want[j]));
                if (out->dtype == HY_DTYPE_A8) bound += most / 127 * 0.501;
                if (!(fabs((double)got[i] - want[i]) <= bound))
                    fail_msg("row %u head %u column %u: %g, not %g", t, head, i, (double)got[i],
                             want[i]);
            }
        }
    }
}

/* Rows [begin, begin + count) as a batch of their own, by every kernel: the bits of `whole`, and nothing
 * else written. */
static void check_alone(task *k, const att_case *a, const uint8_t *whole, uint32_t begin,
                        uint32_t count) {
    static const uint32_t by_row[] = {HY_ATTENTION_q, HY_ATTENTION_row, HY_ATTENTION_pos,
                                      HY_ATTENTION_out};
    const hy_op op = attention_op(a, count);
    const uint64_t bytes = hy_tensor_bytes(&k->op.operand[HY_ATTENTION_out]);
    const uint64_t each = row_bytes(k, HY_ATTENTION_out);
    hy_kernel kernel[HY_MAX_CANDIDATES];
    hy_view view[HY_MAX_OPERANDS];
    memcpy(view, k->view, sizeof view);
    for (size_t i = 0; i < HY_COUNT_OF(by_row); i++) {
        view[by_row[i]].offset += begin * row_bytes(k, by_row[i]);
        view[by_row[i]].size = count * row_bytes(k, by_row[i]);
    }
    const uint32_t kernels = kernels_of(k, &op, kernel);
    uint8_t *out = at(k, HY_ATTENTION_out);
    for (uint32_t i = 0; i < kernels; i++) {
        memset(out, POISON, bytes);
        run(k, &op, &kernel[i], view, count, SEQUENCES);
        if (memcmp(out + begin * each, whole + begin * each, count * each))
            fail_msg("%s: rows %u to %u have other bits alone", kernel[i].name, begin,
                     begin + count - 1);
        for (uint64_t b = 0; b < bytes; b++)
            if (b < begin * each || b >= (begin + count) * each) assert_int_equal(out[b], POISON);
    }
}

/* The whole batch by every kernel as for another device: the bits of `whole`. */
static void check_limits(task *k, const uint8_t *whole, uint32_t max_grid, uint32_t shared_bytes,
                         float rate) {
    gpu_limits *limits = &((gpu_device *)gpu)->limits;
    const gpu_limits before = *limits;
    limits->max_grid = max_grid;
    limits->shared_bytes = HY_MIN(limits->shared_bytes, shared_bytes);
    limits->ops_per_us = rate;
    hy_kernel kernel[HY_MAX_CANDIDATES];
    const uint32_t kernels = kernels_of(k, &k->op, kernel);
    const uint64_t bytes = hy_tensor_bytes(&k->op.operand[HY_ATTENTION_out]);
    for (uint32_t i = 0; i < kernels; i++) {
        memset(at(k, HY_ATTENTION_out), POISON, bytes);
        run(k, &k->op, &kernel[i], k->view, TRUE_ROWS, SEQUENCES);
        if (memcmp(at(k, HY_ATTENTION_out), whole, bytes))
            fail_msg("%s has other bits on a device of %u workgroups, %u bytes, rate %g",
                     kernel[i].name, max_grid, shared_bytes, (double)rate);
    }
    *limits = before;
}

static void test_attention(void **state) {
    (void)state;
    need_device();
    for (size_t n = 0; n < HY_COUNT_OF(cases); n++) {
        task k = attention_task(&cases[n]);
        const uint64_t bytes = hy_tensor_bytes(&k.op.operand[HY_ATTENTION_out]);
        hy_kernel kernel[HY_MAX_CANDIDATES];
        const uint32_t kernels = kernels_of(&k, &k.op, kernel);
        uint8_t *out = at(&k, HY_ATTENTION_out), *first = malloc(bytes);
        assert_non_null(first);
        assert_int_equal(kernels, 2); /* spans, and rows or wide rows */
        for (uint32_t i = 0; i < kernels; i++) {
            memset(out, POISON, bytes);
            run(&k, &k.op, &kernel[i], k.view, TRUE_ROWS, SEQUENCES);
            assert_int_equal(kernel[i].order, 1);
            if (i == 0) {
                check_values(&k);
                memcpy(first, out, bytes);
            } else if (memcmp(first, out, bytes)) {
                fail_msg("case %zu: %s and %s differ", n, kernel[0].name, kernel[i].name);
            }
        }
        for (uint32_t t = n % 3; t < TRUE_ROWS; t += 4)
            check_alone(&k, &cases[n], first, t, 1);
        check_alone(&k, &cases[n], first, 4, 7);
        /* a small device, and a fast one; some cases, for every kernel is compiled anew */
        if (n == 1 || n == 5) check_limits(&k, first, 7, 16 << 10, 2e3F);
        if (n == 0 || n == 2) check_limits(&k, first, 65535, 32 << 10, 10e6F);
        free(first);
        close_task(&k);
    }
}

/* What lies behind a token never reaches it, infinities and NaN too, though a neighbour in its tile sees it. */
static void test_behind(void **state) {
    (void)state;
    need_device();
    enum { SEQUENCE = 3, BEHIND = 510 };
    const att_case *a = &cases[0];
    task k = attention_task(a);
    const uint64_t each = row_bytes(&k, HY_ATTENTION_out);
    const int32_t *table = at(&k, HY_ATTENTION_table), *row = at(&k, HY_ATTENTION_row);
    const int32_t *pos = at(&k, HY_ATTENTION_pos);
    const uint32_t pages = k.op.operand[HY_ATTENTION_table].dim[1];
    const uint64_t page = (uint64_t)table[SEQUENCE * pages + BEHIND / a->length];
    hy_kernel kernel[HY_MAX_CANDIDATES];
    const uint32_t kernels = kernels_of(&k, &k.op, kernel);
    uint8_t *out = at(&k, HY_ATTENTION_out), *before = malloc(ROWS * each);
    assert_non_null(before);
    run(&k, &k.op, &kernel[0], k.view, TRUE_ROWS, SEQUENCES);
    memcpy(before, out, ROWS * each);
    for (uint32_t h = 0; h < a->kv_heads; h++) {
        const uint32_t index = BEHIND % a->length;
        uint16_t *scales;
        memset(cache_row(&k, HY_ATTENTION_k_cache, page, h, index, &scales), 0x7e,
               a->d * 2); /* NaN */
        for (uint32_t i = 0; i < a->c; i++)
            ((uint16_t *)(void *)cache_row(&k, HY_ATTENTION_v_cache, page, h, index, &scales))[i] =
                0x7c00;
    }
    for (uint32_t i = 0; i < kernels; i++) {
        run(&k, &k.op, &kernel[i], k.view, TRUE_ROWS, SEQUENCES);
        for (uint32_t t = 0; t < TRUE_ROWS; t++) {
            const bool sees = row[t] == SEQUENCE && pos[t] >= BEHIND;
            if (sees == !memcmp(out + t * each, before + t * each, each))
                fail_msg("%s: row %u %s", kernel[i].name, t, sees ? "is as before" : "changed");
        }
    }
    free(before);
    close_task(&k);
}

/* Which kernel is taken for what, and what each promises. */
static void test_choice(void **state) {
    (void)state;
    need_device();
    static const struct {
        uint32_t rows, c, pages;
        const char *first, *second;
    } want[] = {{1, 128, 128, "vulkan.attention.f16.split", "vulkan.attention.f16.rows"},
                {512, 128, 32, "vulkan.attention.f16.rows", "vulkan.attention.f16.split"},
                {512, 128, 512, "vulkan.attention.f16.rows", NULL}, /* 128 MiB of partials */
                {1, 512, 128, "vulkan.attention.f16.split", "vulkan.attention.f16.wide"}};
    gpu_limits *limits = &((gpu_device *)gpu)->limits;
    const gpu_limits before = *limits;
    limits->ops_per_us = 10e6F; /* a card's */
    limits->bytes_per_us = 5e5F;
    limits->launch_us = 4;
    for (size_t i = 0; i < HY_COUNT_OF(want); i++) {
        hy_op op;
        hy_kernel kernel[HY_MAX_CANDIDATES];
        uint32_t count;
        const att_case a = {
            32, 8, want[i].c, want[i].c, 64, HY_DTYPE_F16, HY_DTYPE_F16, HY_DTYPE_F16, HY_DTYPE_F16,
            0,  0, 1,         0,         0};
        op = attention_op(&a, want[i].rows);
        op.operand[HY_ATTENTION_table] = hy_tensor_of(
            HY_DTYPE_I32, 2, (const uint32_t[]){SEQUENCES, want[i].pages}, HY_COUNTER_S);
        must(hy_op_check(&op));
        must(gpu->backend->candidates(gpu, &op, kernel, &count));
        assert_int_equal(count, want[i].second ? 2 : 1);
        assert_string_equal(kernel[0].name, want[i].first);
        if (want[i].second) assert_string_equal(kernel[1].name, want[i].second);
        for (uint32_t j = 0; j < count; j++) {
            assert_true(kernel[j].workspace <= 64 << 20);
            /* several workgroups read a query of wide rows */
            assert_int_equal(kernel[j].in_place,
                             strstr(kernel[j].name, "wide") ? 0 : 1u << HY_ATTENTION_q);
        }
    }
    *limits = before;
}

/* ---- kv_write ------------------------------------------------------------------------------------ */

typedef struct write_case {
    uint32_t kv_heads, heads, d, c, length, turned;
    hy_dtype in, k, v;
    int32_t style;
} write_case;

// clang-format off
static const write_case writes[] = {
    {2, 0, 64, 96, 64, 0, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_Q8_0, 0},
    {3, 0, 32, 32, 3, 0, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_Q8_0, 0}, /* pages at odd halves */
    {2, 4, 128, 33, 16, 96, HY_DTYPE_F32, HY_DTYPE_Q8_0, HY_DTYPE_F16, HY_ROPE_HALVES},
    {1, 3, 7, 5, 5, 6, HY_DTYPE_BF16, HY_DTYPE_F16, HY_DTYPE_BF16, HY_ROPE_PAIRS},
    {2, 2, 160, 160, 64, 160, HY_DTYPE_F16, HY_DTYPE_F32, HY_DTYPE_F16, HY_ROPE_PAIRS},
};
// clang-format on

enum { WRITES = 13, TRUE_WRITES = 11 };

static hy_op write_op(const write_case *w) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_KV_WRITE;
    hy_tensor *t = op.operand;
    put(&t[HY_KV_WRITE_k], w->in, HY_COUNTER_T, WRITES, w->kv_heads, w->d, 0);
    put(&t[HY_KV_WRITE_v], w->in, HY_COUNTER_T, WRITES, w->kv_heads, w->c, 0);
    put(&t[HY_KV_WRITE_slot], HY_DTYPE_I32, HY_COUNTER_T, WRITES, 0, 0, 0);
    if (w->heads) {
        put(&t[HY_KV_WRITE_q], w->in, HY_COUNTER_T, WRITES, w->heads, w->d, 0);
        put(&t[HY_KV_WRITE_q_out], w->in, HY_COUNTER_T, WRITES, w->heads, w->d, 0);
    }
    if (w->turned) put(&t[HY_KV_WRITE_table], HY_DTYPE_F32, HY_COUNTER_T, WRITES, w->turned, 0, 0);
    put(&t[HY_KV_WRITE_k_cache], w->k, 0, 6, w->kv_heads, w->length, w->d);
    put(&t[HY_KV_WRITE_v_cache], w->v, 0, 6, w->kv_heads, w->length, w->c);
    op.kv_write.style = w->style;
    return op;
}

/* Heads with outliers, ties, zeros and numbers whose scale is subnormal as f16. */
static void fill_heads(const task *k, uint32_t operand) {
    const hy_tensor *t = &k->op.operand[operand];
    const hy_dtype dtype = (hy_dtype)t->dtype;
    const uint64_t rows = hy_tensor_rows(t);
    float x[160];
    for (uint64_t row = 0; row < rows; row++) {
        for (uint32_t i = 0; i < t->dim[2]; i++) {
            const float normal = hy_rng_normal(&rng);
            const float half = 0.5f * (float)((int32_t)hy_rng_below(&rng, 509) - 254);
            x[i] = row % 5 == 1   ? normal * (hy_rng_below(&rng, 20) ? 1.0f : 1000.0f)
                   : row % 5 == 2 ? (i % 32 == 7 ? 127.0f : half)
                   : row % 5 == 3 ? (i / 32 % 2 ? normal : 0.0f)
                   : row % 5 == 4 ? normal * 1e-4f
                                  : normal;
        }
        hy_quantize_row(dtype, x,
                        (char *)at(k, operand) + row * t->dim[2] * hy_dtype_get(dtype)->bytes,
                        t->dim[2]);
    }
}

static void test_kv_write(void **state) {
    (void)state;
    need_device();
    for (size_t n = 0; n < HY_COUNT_OF(writes); n++) {
        const write_case *w = &writes[n];
        const hy_op op = write_op(w);
        task mine = open_task(gpu, &op), theirs = open_task(cpu, &op);
        hy_kernel kernel[HY_MAX_CANDIDATES];
        fill_heads(&mine, HY_KV_WRITE_k);
        fill_heads(&mine, HY_KV_WRITE_v);
        if (w->heads) fill_heads(&mine, HY_KV_WRITE_q);
        if (w->turned) fill(&mine, HY_KV_WRITE_table, 0, (uint64_t)WRITES * w->turned);
        int32_t *slot = at(&mine, HY_KV_WRITE_slot);
        for (uint32_t t = 0; t < WRITES; t++)
            slot[t] = t == 4 ? -1 : (int32_t)((t * 7 + 2) % (6 * w->length));
        memcpy(theirs.buffer->host, mine.buffer->host, mine.used); /* caches are poison in both */
        kernels_of(&theirs, &op, kernel);
        run(&theirs, &op, &kernel[0], theirs.view, TRUE_WRITES, 0);
        assert_int_equal(kernels_of(&mine, &op, kernel), 1);
        run(&mine, &op, &kernel[0], mine.view, TRUE_WRITES, 0);
        for (uint32_t i = HY_KV_WRITE_k_cache; i <= HY_KV_WRITE_q_out; i++) {
            const uint8_t *a = at(&mine, i), *b = at(&theirs, i);
            for (uint64_t j = 0; j < mine.view[i].size; j++)
                if (a[j] != b[j])
                    fail_msg("case %zu: byte %llu of %s is %02x, not %02x", n,
                             (unsigned long long)j, hy_op_get(HY_OP_KV_WRITE)->operand[i].name,
                             a[j], b[j]);
        }
        close_task(&mine);
        close_task(&theirs);
    }
}

/* ---- rope_table ---------------------------------------------------------------------------------- */

static void test_rope_table(void **state) {
    (void)state;
    need_device();
    static const int32_t positions[] = {0,         1, 2, 1000, 131071, 1 << 24, (1 << 24) + 1,
                                        INT32_MAX, -7};
    enum { COUNT = HY_COUNT_OF(positions), PAIRS = 40 };
    hy_op op;
    hy_kernel kernel[HY_MAX_CANDIDATES];
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_ROPE_TABLE;
    put(&op.operand[HY_ROPE_TABLE_pos], HY_DTYPE_I32, HY_COUNTER_T, COUNT, 0, 0, 0);
    put(&op.operand[HY_ROPE_TABLE_freq], HY_DTYPE_F32, 0, PAIRS, 2, 0, 0);
    put(&op.operand[HY_ROPE_TABLE_out], HY_DTYPE_F32, HY_COUNTER_T, COUNT, 2 * PAIRS, 0, 0);
    task k = open_task(gpu, &op);
    float *freq = at(&k, HY_ROPE_TABLE_freq), *out = at(&k, HY_ROPE_TABLE_out);
    memcpy(at(&k, HY_ROPE_TABLE_pos), positions, sizeof positions);
    for (uint32_t j = 0; j < PAIRS; j++) {
        const double f = pow(10000, -(double)j / (PAIRS / 2)) * (j % 7 == 6 ? -300 : 1);
        freq[2 * j] = (float)f;
        freq[2 * j + 1] = (float)(f - (double)freq[2 * j]);
    }
    kernels_of(&k, &op, kernel);
    run(&k, &op, &kernel[0], k.view, COUNT, 0);
    for (uint32_t t = 0; t < COUNT; t++) {
        for (uint32_t j = 0; j < PAIRS; j++) {
            /* exact but for the last of 64 bits */
            const long double f = (long double)freq[2 * j] + (long double)freq[2 * j + 1];
            const long double angle = positions[t] * f;
            const double want[2] = {(double)cosl(angle), (double)sinl(angle)};
            for (uint32_t i = 0; i < 2; i++) {
                const double got = (double)out[t * 2 * PAIRS + i * PAIRS + j];
                /* small sines keep their digits */
                if (!(fabs(got - want[i]) <= 1.5e-7 &&
                      fabs(got - want[i]) <= 4e-7 * fabs(want[i]) + 1e-11))
                    fail_msg("%s of position %d, frequency %u: %.9g, not %.9g",
                             i ? "sine" : "cosine", positions[t], j, got, want[i]);
            }
        }
    }
    close_task(&k);
}

/* ---- the device ---------------------------------------------------------------------------------- */

static int open_devices(void **state) {
    (void)state;
    rng = hy_rng_seed(11);
    const hy_device_params params = {.threads = 1};
    if (hy_device_open("vulkan:0", NULL, &gpu) != HY_OK) {
        print_message("skipped: %s\n", hy_error_text());
        gpu = NULL;
    }
    return hy_device_open("cpu", &params, &cpu) == HY_OK ? 0 : -1;
}

static int close_devices(void **state) {
    (void)state;
    hy_device_close(gpu);
    hy_device_close(cpu);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),  cmocka_unit_test(test_behind),
        cmocka_unit_test(test_choice),     cmocka_unit_test(test_kv_write),
        cmocka_unit_test(test_rope_table),
    };
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}

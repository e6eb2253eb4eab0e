/* Products for few tokens and embedding on Vulkan, where the conformance runner's bound is too wide: kernels
 * of order 1 give the bits of the order of additions as written down, at any bound of T and over many chunks
 * of k; embedding gives hal/dtype.c's numbers. On vulkan:0, a software device too; says so where
 * there is none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/registry.h"
#include "base/half.h"
#include "base/num.h"
#include "base/rng.h"

static hy_rng rng;
static hy_device *gpu;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

static void *space(size_t bytes) {
    void *p = calloc(1, bytes);
    assert_non_null(p);
    return p;
}

static hy_tensor matrix(hy_dtype dtype, uint32_t rows, uint32_t columns, hy_counter counter) {
    return hy_tensor_of(dtype, 2, (const uint32_t[]){rows, columns}, counter);
}

/* ---- one op on one device ------------------------------------------------------------------------ */

/* Runs `op` by `kernel` with a count of T; data[i]: dense bytes of operand i in the file's layout (NULL:
 * absent), read back for output `out`. */
static void run_op(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t t,
                   void *const *data, uint32_t out) {
    const hy_backend *b = device->backend;
    const uint32_t counters[HY_COUNTER_COUNT] = {[HY_COUNTER_T] = t};
    hy_buffer *buffer[HY_MAX_OPERANDS + 2] = {NULL};
    hy_view view[HY_MAX_OPERANDS] = {{NULL, 0, 0}};
    hy_timeline *timeline;
    hy_cmd *cmd;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (!data[i]) continue;
        const hy_constant_layout *layout = &kernel->constant[i];
        const uint64_t bytes = hy_tensor_bytes(&op->operand[i]);
        ok(b->buffer_new(device, HY_HEAP_DEVICE, layout->rows ? layout->bytes : bytes, &buffer[i]));
        view[i] = hy_view_of(buffer[i]);
        if (layout->rows)
            ok(b->pack(device, op, kernel, i, 0, hy_tensor_rows(&op->operand[i]), data[i],
                       view[i]));
        else
            ok(b->write(buffer[i], 0, data[i], bytes));
    }
    hy_buffer **step = &buffer[HY_MAX_OPERANDS], **workspace = step + 1;
    ok(b->buffer_new(device, HY_HEAP_DEVICE, sizeof counters, step));
    ok(b->write(*step, 0, counters, sizeof counters));
    ok(b->buffer_new(device, HY_HEAP_DEVICE, HY_MAX(kernel->workspace, 1), workspace));
    ok(b->cmd_new(device, hy_view_of(*step), &cmd));
    ok(b->cmd_op(cmd, op, kernel, view, hy_view_of(*workspace)));
    ok(b->cmd_seal(cmd));
    ok(b->timeline_new(device, &timeline));
    ok(b->submit(device, cmd, timeline, 1));
    ok(b->timeline_wait(timeline, 1, UINT64_MAX));
    ok(b->read(buffer[out], 0, data[out], hy_tensor_bytes(&op->operand[out])));
    hy_timeline_free(timeline);
    hy_cmd_free(cmd);
    for (uint32_t i = 0; i < HY_COUNT_OF(buffer); i++)
        hy_buffer_free(buffer[i]);
}

static uint32_t candidates(hy_device *device, const hy_op *op, hy_kernel *kernel) {
    uint32_t count;
    ok(hy_op_check(op));
    ok(device->backend->candidates(device, op, kernel, &count));
    return count;
}

static bool same(float a, float b) {
    return (a != a && b != b) || hy_f32_bits(a) == hy_f32_bits(b);
}

/* Vulkan lets a device take subnormal numbers for zeros: mxfp4's scales 2^-128 and 2^-127, times at most 12.
 * No other format gets there. */
static bool dropped(float got, float want) {
    return fabsf(want) <= 0x1.8p-124f && got == 0 && signbit(got) == signbit(want);
}

/* ---- products ------------------------------------------------------------------------------------ */

enum { TOKENS = 8, ROWS = 10, BLOCK = 256 };

/* Where a block keeps what: quants that stand for v = 1, scales that stand for 1. */
typedef struct sort {
    hy_dtype dtype;
    uint32_t part; /* k that share a and b */
    struct {
        uint32_t first, bytes;
        uint8_t one;
    } quants, high, scales; /* bytes 0: none */
    uint32_t d, m;          /* of f16; m 0: none */
} sort;

/* By what differs in the arithmetic: a alone, with b, for each 16 k, both; plain numbers. */
static const sort sorts[] = {
    {HY_DTYPE_Q4_0, 32, {2, 16, 0x99}, {0, 0, 0}, {0, 0, 0}, 0, 0},
    {HY_DTYPE_Q5_1, 32, {8, 16, 0x11}, {4, 4, 0}, {0, 0, 0}, 0, 2},
    {HY_DTYPE_Q6_K, 16, {0, 128, 0x11}, {128, 64, 0xaa}, {192, 16, 1}, 208, 0},
    {HY_DTYPE_Q2_K, 16, {16, 64, 0x55}, {0, 0, 0}, {0, 16, 1}, 80, 82},
    {HY_DTYPE_F16, 1, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, 0, 0},
    {HY_DTYPE_F32, 1, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, 0, 0},
};

/* A device without a fused multiply-add rounds fma() twice; which of the two it is, test_fma asks. */
static bool fused;

static float mul_add(float a, float b, float c) {
    if (fused) return fmaf(a, b, c);
    const volatile float product = a * b;
    return product + c;
}

/* 256 k of a row in the parts of its formula. */
typedef struct parts {
    float v[BLOCK], a[BLOCK], b[BLOCK];
} parts;

static void put_f16(uint8_t *block, uint32_t at, uint16_t bits) {
    memcpy(block + at, &bits, sizeof bits);
}

/* hy_dequantize_row takes them apart: v where a = 1 and b = 0, a where v = 1 and b = 0, b where a = 0. */
static void take_apart(const sort *s, const uint8_t *row, parts *out) {
    const hy_dtype_info *info = hy_dtype_get(s->dtype);
    uint8_t one[BLOCK];
    for (uint32_t k = 0; k < BLOCK; k += info->block, row += info->bytes) {
        memcpy(one, row, info->bytes);
        memset(one + s->scales.first, s->scales.one, s->scales.bytes);
        if (s->m) put_f16(one, s->m, 0);
        put_f16(one, s->d, 0x3c00);
        hy_dequantize_row(s->dtype, one, out->v + k, info->block);
        memcpy(one, row, info->bytes);
        memset(one + s->quants.first, s->quants.one, s->quants.bytes);
        memset(one + s->high.first, s->high.one, s->high.bytes);
        if (s->m) put_f16(one, s->m, 0);
        hy_dequantize_row(s->dtype, one, out->a + k, info->block);
        memcpy(one, row, info->bytes);
        put_f16(one, s->d, 0);
        hy_dequantize_row(s->dtype, one, out->b + k, info->block);
    }
}

/* docs/numerics.md, with chunks of 256 k. */
static float block_dot(const sort *s, const uint8_t *w, const hy_a8_block *x, uint32_t k) {
    const size_t bytes = hy_dtype_row_bytes(hy_dtype_get(s->dtype), BLOCK);
    float z = 0;
    parts p;
    for (uint32_t from = 0; from < k; from += BLOCK, w += bytes) {
        float sum = 0;
        take_apart(s, w, &p);
        for (uint32_t at = 0; at < BLOCK; at += s->part) {
            const hy_a8_block *block = &x[(from + at) / 32];
            int32_t dot = 0, total = 0;
            for (uint32_t i = at; i < at + s->part; i++) {
                dot += (int32_t)p.v[i] * block->q[i % 32];
                total += block->q[i % 32];
            }
            sum = mul_add((float)dot, p.a[at] * block->scale, sum);
            if (s->m) sum = mul_add(p.b[at], block->scale * (float)total, sum);
        }
        z += sum;
    }
    return z;
}

static float float_dot(const float *w, const float *x, uint32_t k) {
    float z = 0;
    for (uint32_t from = 0; from < k; from += 64) {
        float p = 0;
        for (uint32_t i = from; i < HY_MIN(k, from + 64); i++)
            p = mul_add(w[i], x[i], p);
        z += p;
    }
    return z;
}

typedef struct product {
    const sort *sort;
    uint32_t k;
    float *x;    /* [TOKENS, k] */
    uint8_t *w;  /* [ROWS, k] in the file's layout */
    float *want; /* [TOKENS, ROWS] */
} product;

static hy_op product_op(hy_dtype dtype, uint32_t t, uint32_t n, uint32_t k) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_MATMUL;
    op.operand[HY_MATMUL_x] = matrix(HY_DTYPE_F32, t, k, HY_COUNTER_T);
    op.operand[HY_MATMUL_w] = matrix(dtype, n, k, HY_COUNTER_NONE);
    op.operand[HY_MATMUL_w].constant = 1;
    ok(hy_op_infer(&op));
    return op;
}

static void make_want(product *p) {
    const hy_dtype_info *info = hy_dtype_get(p->sort->dtype);
    const size_t row = hy_dtype_row_bytes(info, p->k);
    hy_a8_block *rounded = space(p->k / 32 * sizeof *rounded);
    float *values = space(sizeof(float) * p->k);
    for (uint32_t o = 0; o < TOKENS * ROWS; o++) {
        const float *x = p->x + o / ROWS * p->k;
        const uint8_t *w = p->w + o % ROWS * row;
        hy_quantize_row(HY_DTYPE_A8, x, rounded, p->k / 32 * 32);
        if (!info->quantized) hy_dequantize_row(p->sort->dtype, w, values, p->k);
        p->want[o] =
            info->quantized ? block_dot(p->sort, w, rounded, p->k) : float_dot(values, x, p->k);
    }
    free(rounded);
    free(values);
}

static product make_product(const sort *s, uint32_t k) {
    product p = {.sort = s, .k = k};
    const size_t row = hy_dtype_row_bytes(hy_dtype_get(s->dtype), k);
    float *values = space(sizeof(float) * k);
    p.x = space(sizeof(float) * TOKENS * k);
    p.w = space(ROWS * row);
    p.want = space(sizeof(float) * TOKENS * ROWS);
    for (uint32_t i = 0; i < TOKENS * k; i++)
        p.x[i] = hy_rng_normal(&rng);
    for (uint32_t n = 0; n < ROWS; n++) {
        for (uint32_t i = 0; i < k; i++)
            values[i] = hy_rng_normal(&rng);
        hy_quantize_row(s->dtype, values, p.w + n * row, k);
    }
    free(values);
    make_want(&p);
    return p;
}

static void free_product(product *p) {
    free(p->x);
    free(p->w);
    free(p->want);
}

/* Every kernel at that bound of T, all tokens but one present if there are more. */
static void check_product(const product *p, uint32_t bound) {
    const hy_op op = product_op(p->sort->dtype, bound, ROWS, p->k);
    const uint32_t t = bound > 1 ? bound - 1 : 1;
    hy_kernel kernel[HY_MAX_CANDIDATES];
    float out[TOKENS * ROWS];
    void *data[HY_MAX_OPERANDS] = {
        [HY_MATMUL_x] = p->x, [HY_MATMUL_w] = p->w, [HY_MATMUL_out] = out};
    uint32_t checked = 0;
    for (uint32_t i = 0, count = candidates(gpu, &op, kernel); i < count; i++) {
        if (kernel[i].order != 1) continue;
        for (uint32_t o = 0; o < bound * ROWS; o++)
            out[o] = -77;
        run_op(gpu, &op, &kernel[i], t, data, HY_MATMUL_out);
        for (uint32_t o = 0; o < bound * ROWS; o++) {
            const float want = o < t * ROWS ? p->want[o] : -77;
            if (!same(out[o], want))
                fail_msg("%s, k %u, T %u of %u: token %u, row %u is %a, not %a", kernel[i].name,
                         p->k, t, bound, o / ROWS, o % ROWS, out[o], want);
        }
        checked++;
    }
    assert_true(checked > 0);
}

/* (1 + 2^-12)^2 - (1 + 2^-11): 2^-24, or 0 where the square was rounded. */
static void test_fma(void **state) {
    (void)state;
    if (!gpu) skip();
    float x[2] = {1, 1 + 0x1p-12f}, w[2] = {-(1 + 0x1p-11f), 1 + 0x1p-12f}, out[1];
    const hy_op op = product_op(HY_DTYPE_F32, 1, 1, 2);
    hy_kernel kernel[HY_MAX_CANDIDATES];
    assert_true(candidates(gpu, &op, kernel) > 0);
    void *data[HY_MAX_OPERANDS] = {[HY_MATMUL_x] = x, [HY_MATMUL_w] = w, [HY_MATMUL_out] = out};
    run_op(gpu, &op, kernel, 1, data, HY_MATMUL_out);
    fused = out[0] != 0;
    assert_true(out[0] == (fused ? 0x1p-24f : 0));
    print_message("fma() rounds %s here\n", fused ? "once" : "twice");
}

static void check_products(uint32_t k, uint32_t bound) {
    if (!gpu) skip();
    for (uint32_t i = 0; i < HY_COUNT_OF(sorts); i++) {
        product p = make_product(&sorts[i], k);
        check_product(&p, bound);
        free_product(&p);
    }
}

/* Several passes of a workgroup over a row, the last one short. */
static void test_long_rows_of_one_token(void **state) {
    (void)state;
    check_products(16384 + 768, 1);
}
static void test_long_rows_of_many_tokens(void **state) {
    (void)state;
    check_products(16384 + 768, TOKENS);
}
static void test_short_rows(void **state) {
    (void)state;
    check_products(256, 3);
}

/* ---- embed --------------------------------------------------------------------------------------- */

enum { ENTRIES = 37, WIDTH = 512, IDS = ENTRIES + 2 };

/* Any bytes make a row: every scale, subnormal and infinite ones too. */
static void check_embed(hy_dtype dtype) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_EMBED;
    op.operand[HY_EMBED_ids] = hy_tensor_of(HY_DTYPE_I32, 1, (const uint32_t[]){IDS}, HY_COUNTER_T);
    op.operand[HY_EMBED_table] = matrix(dtype, ENTRIES, WIDTH, HY_COUNTER_NONE);
    op.operand[HY_EMBED_table].constant = 1;
    ok(hy_op_infer(&op));
    const size_t row = hy_dtype_row_bytes(hy_dtype_get(dtype), WIDTH);
    int32_t ids[IDS];
    uint8_t *table = space(ENTRIES * row);
    float *out = space(sizeof(float) * IDS * WIDTH), want[WIDTH];
    for (int32_t i = 0; i < IDS; i++)
        ids[i] = i < ENTRIES ? ENTRIES - 1 - i : i == ENTRIES ? -1 : ENTRIES;
    for (size_t i = 0; i < ENTRIES * row; i++)
        table[i] = (uint8_t)hy_rng_u32(&rng);
    hy_kernel kernel[HY_MAX_CANDIDATES];
    assert_true(candidates(gpu, &op, kernel) > 0);
    void *data[HY_MAX_OPERANDS] = {
        [HY_EMBED_ids] = ids, [HY_EMBED_table] = table, [HY_EMBED_out] = out};
    run_op(gpu, &op, kernel, IDS, data, HY_EMBED_out);
    for (uint32_t t = 0; t < IDS; t++) {
        memset(want, 0, sizeof want);
        if (t < ENTRIES) hy_dequantize_row(dtype, table + (size_t)ids[t] * row, want, WIDTH);
        for (uint32_t i = 0; i < WIDTH; i++) {
            const float got = out[t * WIDTH + i];
            if (!same(got, want[i]) && !dropped(got, want[i]))
                fail_msg("%s: id %d, element %u is %a, not %a", kernel->name, ids[t], i, got,
                         want[i]);
        }
    }
    free(table);
    free(out);
}

static void test_embed_is_exact(void **state) {
    (void)state;
    if (!gpu) skip();
    for (hy_dtype dtype = HY_DTYPE_F32; dtype <= HY_DTYPE_MXFP4; dtype++)
        check_embed(dtype);
}

int main(void) {
    rng = hy_rng_seed(20261124);
    if (hy_device_open("vulkan:0", NULL, &gpu) != HY_OK) {
        print_message("skipped: %s\n", hy_error_text());
        gpu = NULL;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed_is_exact),
        cmocka_unit_test(test_fma), /* before those that need to know */
        cmocka_unit_test(test_short_rows),
        cmocka_unit_test(test_long_rows_of_one_token),
        cmocka_unit_test(test_long_rows_of_many_tokens),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hy_device_close(gpu);
    return failed;
}

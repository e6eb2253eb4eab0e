/* Products on Vulkan: every kernel of one hy_kernel.order gives a row the same bits, whatever the
 * number of rows, the tile that is chosen for them, and the part of the grid that a tile falls
 * into. On vulkan:0, a software device too; says so where there is none. What the values must be is
 * the conformance runner's matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/gpu/gpu.h"
#include "backends/registry.h"
#include "base/num.h"
#include "base/rng.h"

enum { ORDERS = 2 }; /* 1: float32 and int8; 2: f16 on matrix tiles */

static hy_device *device;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

/* One product: y = x w, all of it in host memory. */
typedef struct product {
    hy_op op;
    uint32_t rows;        /* of x there are */
    float *x;             /* [rows, K] */
    uint8_t *w;           /* in the file's layout */
    int32_t *ids;         /* [rows]; grouped_matmul */
    float *y[ORDERS + 1]; /* [rows, M] by order, once some kernel made it */
    uint32_t kernels;     /* that were compared with it */
} product;

static uint64_t w_bytes(const product *p) {
    return hy_tensor_bytes(&p->op.operand[HY_MATMUL_w]);
}

static void *allocate(uint64_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    assert_non_null(memory);
    return memory;
}

static float *random_floats(uint64_t count, uint64_t seed) {
    float *values = allocate(count * sizeof *values);
    hy_rng rng = hy_rng_seed(seed);
    for (uint64_t i = 0; i < count; i++)
        values[i] = hy_rng_normal(&rng);
    return values;
}

/* experts 0: a matmul. */
static product product_of(hy_dtype dtype, uint32_t rows, uint32_t n, uint32_t k, bool glu,
                          uint32_t experts) {
    product p = {.rows = rows};
    memset(&p.op, 0, sizeof p.op);
    p.op.kind = experts ? HY_OP_GROUPED_MATMUL : HY_OP_MATMUL;
    const uint32_t w[] = {experts ? experts : n, experts ? n : k, k};
    p.op.operand[HY_MATMUL_w] = hy_tensor_of(dtype, experts ? 3 : 2, w, HY_COUNTER_NONE);
    p.op.operand[HY_MATMUL_w].constant = 1;
    if (experts)
        p.op.grouped_matmul.glu = glu;
    else
        p.op.matmul.glu = glu;
    const uint64_t all = (uint64_t)HY_MAX(experts, 1u) * n * k;
    float *weights = random_floats(all, 3);
    p.x = random_floats((uint64_t)rows * k, 5);
    p.w = allocate(w_bytes(&p));
    hy_quantize_row(dtype, weights, p.w, all);
    free(weights);
    p.ids = allocate(rows * sizeof *p.ids);
    for (uint32_t r = 0; r < rows; r++)
        p.ids[r] = experts ? (int32_t)(r % experts) : 0;
    return p;
}

static void product_free(product *p) {
    for (uint32_t i = 0; i <= ORDERS; i++)
        free(p->y[i]);
    free(p->x);
    free(p->w);
    free(p->ids);
}

/* The op for `rows` rows. */
static hy_op op_of(const product *p, uint32_t rows) {
    hy_op op = p->op;
    const hy_tensor *w = &op.operand[HY_MATMUL_w];
    const uint32_t k = w->dim[w->rank - 1], n = w->dim[w->rank - 2];
    if (op.kind == HY_OP_MATMUL) {
        const uint32_t x[] = {rows, k}, y[] = {rows, op.matmul.glu ? n / 2 : n};
        op.operand[HY_MATMUL_x] = hy_tensor_of(HY_DTYPE_F32, 2, x, HY_COUNTER_NONE);
        op.operand[HY_MATMUL_out] = hy_tensor_of(HY_DTYPE_F32, 2, y, HY_COUNTER_NONE);
    } else {
        const uint32_t x[] = {rows, 1, k}, ids[] = {rows, 1},
                       y[] = {rows, 1, op.grouped_matmul.glu ? n / 2 : n};
        op.operand[HY_GROUPED_MATMUL_x] = hy_tensor_of(HY_DTYPE_F32, 3, x, HY_COUNTER_NONE);
        op.operand[HY_GROUPED_MATMUL_ids] = hy_tensor_of(HY_DTYPE_I32, 2, ids, HY_COUNTER_NONE);
        op.operand[HY_GROUPED_MATMUL_out] = hy_tensor_of(HY_DTYPE_F32, 3, y, HY_COUNTER_NONE);
    }
    ok(hy_op_check(&op));
    return op;
}

static uint32_t out_of(const hy_op *op) {
    return op->kind == HY_OP_MATMUL ? HY_MATMUL_out : (uint32_t)HY_GROUPED_MATMUL_out;
}

static hy_view new_view(uint64_t bytes) {
    hy_buffer *buffer;
    ok(device->backend->buffer_new(device, HY_HEAP_DEVICE, bytes, &buffer));
    return hy_view_of(buffer);
}

/* What belongs to rows first, ... of operand i; NULL: nothing is to be written there. */
static const void *data_of(const product *p, const hy_op *op, uint32_t i, uint32_t first) {
    const hy_tensor *t = &op->operand[i];
    if (i == HY_MATMUL_x) return p->x + (uint64_t)first * t->dim[t->rank - 1];
    return t->dtype == HY_DTYPE_I32 ? p->ids + first : NULL;
}

/* Rows first .. first + rows - 1 with one kernel. */
static void run(const product *p, const hy_op *op, const hy_kernel *kernel, uint32_t first,
                float *y) {
    const hy_backend *b = device->backend;
    hy_view view[HY_MAX_OPERANDS] = {{0}}, counters = new_view(HY_COUNTER_COUNT * 4);
    const uint32_t zeros[HY_COUNTER_COUNT] = {0};
    hy_view workspace = {0};
    hy_timeline *timeline;
    hy_cmd *cmd;
    ok(b->write(counters.buffer, 0, zeros, sizeof zeros));
    if (kernel->workspace) workspace = new_view(kernel->workspace);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_tensor *t = &op->operand[i];
        if (t->dtype == HY_DTYPE_NONE) continue;
        view[i] = new_view(t->constant ? kernel->constant[i].bytes : hy_tensor_bytes(t));
        const void *data = data_of(p, op, i, first);
        if (t->constant)
            ok(b->pack(device, op, kernel, i, 0, hy_tensor_rows(t), p->w, view[i]));
        else if (data)
            ok(b->write(view[i].buffer, 0, data, view[i].size));
    }
    ok(b->cmd_new(device, counters, &cmd));
    ok(b->cmd_op(cmd, op, kernel, view, workspace));
    ok(b->cmd_seal(cmd));
    ok(b->timeline_new(device, &timeline));
    ok(b->submit(device, cmd, timeline, 1));
    ok(b->timeline_wait(timeline, 1, UINT64_MAX));
    ok(b->read(view[out_of(op)].buffer, 0, y, view[out_of(op)].size));
    hy_timeline_free(timeline);
    hy_cmd_free(cmd);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        hy_buffer_free(view[i].buffer);
    hy_buffer_free(workspace.buffer);
    hy_buffer_free(counters.buffer);
}

/* y, rows first, ... of some kernel, against the first one's of that order. */
static void compare(product *p, const hy_kernel *kernel, uint32_t first, uint32_t rows, uint32_t m,
                    const float *y) {
    for (uint32_t r = 0; r < rows; r++) {
        const float *want = p->y[kernel->order] + (uint64_t)(first + r) * m,
                    *got = y + (uint64_t)r * m;
        for (uint32_t i = 0; i < m; i++)
            if (memcmp(&got[i], &want[i], sizeof *got) != 0)
                fail_msg("%s, %u rows from row %u: [%u, %u] is %a, not %a", kernel->name, rows,
                         first, first + r, i, (double)got[i], (double)want[i]);
    }
}

/* Runs the first `rows` rows, the last ones and those in the middle with every kernel of an order.
 * The first kernel that does all rows at once says what the bits are. */
static void run_all(product *p, uint32_t rows) {
    const hy_op op = op_of(p, rows);
    const hy_tensor *out = &op.operand[out_of(&op)];
    const uint32_t m = out->dim[out->rank - 1];
    hy_kernel kernel[HY_MAX_CANDIDATES];
    uint32_t count;
    ok(device->backend->candidates(device, &op, kernel, &count));
    for (uint32_t k = 0; k < count; k++) {
        const uint32_t order = kernel[k].order;
        if (!order) continue;
        assert_in_range(order, 1, ORDERS);
        float *y = allocate(hy_tensor_bytes(out));
        const uint32_t rest = p->rows - rows, places = rest ? 3 : 1;
        for (uint32_t place = 0; place < places; place++) {
            const uint32_t first = rest * place / 2;
            run(p, &op, &kernel[k], first, y);
            if (!p->y[order]) {
                assert_int_equal(rows, p->rows);
                p->y[order] = y;
                y = allocate(hy_tensor_bytes(out));
            } else {
                compare(p, &kernel[k], first, rows, m, y);
                p->kernels++;
            }
        }
        free(y);
    }
}

/* ---- few rows and many ----------------------------------------------------------------------- */

static void check_format(hy_dtype dtype, bool glu, uint32_t experts) {
    const uint32_t block = hy_dtype_get(dtype)->block; /* K: whole chunks and a part of one */
    const uint32_t k = block == 1 ? 150 : block == 32 ? 11 * 32 : 3 * 256;
    product p = product_of(dtype, 33, 70, k, glu, experts);
    run_all(&p, 33);
    run_all(&p, 5);
    run_all(&p, 1);
    assert_true(p.y[1] != NULL && p.kernels >= 2 * 3 + 2 * 3);
    product_free(&p);
}

/* One format of each kind: plain numbers, blocks of 32, with minima, scales of 16, both. */
static void test_rows(void **state) {
    (void)state;
    if (!device) skip();
    check_format(HY_DTYPE_F16, true, 0);
    check_format(HY_DTYPE_Q4_0, true, 0);
    check_format(HY_DTYPE_Q5_1, false, 0);
    check_format(HY_DTYPE_Q6_K, true, 0);
    check_format(HY_DTYPE_Q2_K, false, 0);
}

static void test_rows_of_experts(void **state) {
    (void)state;
    if (!device) skip();
    check_format(HY_DTYPE_BF16, false, 2);
    check_format(HY_DTYPE_Q4_1, true, 3);
}

/* An expert's rows are those of a matmul by its weights. */
static void test_experts_are_matmuls(void **state) {
    (void)state;
    if (!device) skip();
    product p = product_of(HY_DTYPE_Q4_0, 9, 48, 320, true, 1);
    product q = product_of(HY_DTYPE_Q4_0, 9, 48, 320, true, 0);
    run_all(&p, 9);
    run_all(&q, 9);
    assert_memory_equal(p.y[1], q.y[1], 9 * 24 * sizeof(float));
    product_free(&p);
    product_free(&q);
}

/* ---- large tiles ----------------------------------------------------------------------------- */

/* Matrices with work for many workgroups get larger tiles; so many rows at a time have smaller
 * ones. */
static void check_tiles(hy_dtype dtype, uint32_t n, uint32_t k, bool glu) {
    product p = product_of(dtype, 144, n, k, glu, 0);
    run_all(&p, 144);
    run_all(&p, 48);
    run_all(&p, 8);
    assert_true(p.y[1] != NULL && p.kernels >= 3 + 2 * 3);
    product_free(&p);
}

static void test_large_tiles(void **state) {
    (void)state;
    if (!device) skip();
    check_tiles(HY_DTYPE_Q4_0, 5002, 352, false);
    check_tiles(HY_DTYPE_F16, 4100, 299, true);
}

/* Fewer rows and less shared memory make smaller matrix tiles, fewer workgroups in x more in y. */
static void test_limits(void **state) {
    (void)state;
    if (!device) skip();
    gpu_limits *limits = &((gpu_device *)device)->limits;
    const gpu_limits before = *limits;
    product p = product_of(HY_DTYPE_Q5_1, 80, 16400, 352, false, 0);
    run_all(&p, 80);
    run_all(&p, 40);
    limits->max_grid = 7;
    limits->shared_bytes = 16 << 10;
    run_all(&p, 80);
    limits->shared_bytes = 8 << 10;
    run_all(&p, 80);
    *limits = before;
    assert_true(p.y[1] != NULL && p.kernels >= 3 + 2);
    product_free(&p);
}

static int open_device(void **state) {
    (void)state;
    if (hy_device_open("vulkan:0", NULL, &device) != HY_OK) {
        device = NULL;
        printf("no Vulkan device: %s\n", hy_error_text());
    } else if (!(((gpu_device *)device)->limits.features & GPU_COOPMAT)) {
        printf("no matrix tiles on this device: kernels of order 2 are not run\n");
    }
    return 0;
}

static int close_device(void **state) {
    (void)state;
    hy_device_close(device);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rows_of_experts),
        cmocka_unit_test(test_experts_are_matmuls),
        cmocka_unit_test(test_large_tiles),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}

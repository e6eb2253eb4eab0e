/* A constant read and packed by all workers: the same bytes as in one piece, every row read once, failures
 * of the source handed on; and the shares of loading are those of the matrix-vector product. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cpu/panel.h"
#include "base/num.h"
#include "tests/unit/cpu_task.h"

typedef struct file {
    uint8_t *bytes;        /* [rows, row_bytes] */
    _Atomic uint8_t *read; /* [rows] times */
    uint64_t fails_at;     /* a row that cannot be read */
} file;

static hy_status read_file(const hy_row_source *source, uint64_t row, uint64_t rows, void *buffer) {
    const file *f = source->context;
    assert_true(row + rows <= source->rows);
    for (uint64_t r = row; r < row + rows; r++) {
        if (r == f->fails_at) return hy_fail(HY_E_IO, "row %llu is lost", (unsigned long long)r);
        atomic_fetch_add(&f->read[r], 1);
    }
    memcpy(buffer, f->bytes + row * source->row_bytes, rows * source->row_bytes);
    return HY_OK;
}

static hy_row_source make_file(file *f, uint64_t rows, uint64_t row_bytes) {
    f->bytes = ct_allocate(rows * row_bytes);
    f->read = calloc(rows, sizeof *f->read);
    f->fails_at = UINT64_MAX;
    for (uint64_t i = 0; i < rows * row_bytes; i++)
        f->bytes[i] = (uint8_t)(ct_random_bits() >> 24);
    return (hy_row_source){read_file, f, rows, row_bytes};
}

static void free_file(file *f) {
    free(f->bytes);
    free((void *)(uintptr_t)f->read);
}

/* [n, k] times a vector, or with experts [e, n, k]. */
static ct_task task_of(hy_dtype dtype, uint32_t e, uint32_t n, uint32_t k, bool glu) {
    ct_task t = {.op.kind = e ? HY_OP_GROUPED_MATMUL : HY_OP_MATMUL};
    const uint32_t out = glu ? n / 2 : n;
    if (e) {
        t.op.grouped_matmul.glu = glu;
        ct_set_operand(&t, HY_GROUPED_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_NONE, 3, 1, 1, k, 1);
        ct_set_operand(&t, HY_GROUPED_MATMUL_w, dtype, HY_COUNTER_NONE, 3, e, n, k, 1);
        ct_set_operand(&t, HY_GROUPED_MATMUL_ids, HY_DTYPE_I32, HY_COUNTER_NONE, 2, 1, 2, 1, 1);
        ct_set_operand(&t, HY_GROUPED_MATMUL_out, HY_DTYPE_F32, HY_COUNTER_NONE, 3, 1, 2, out, 1);
        t.op.operand[HY_GROUPED_MATMUL_w].constant = 1;
        return t;
    }
    t.op.matmul.glu = glu;
    ct_set_operand(&t, HY_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_NONE, 2, 1, k, 1, 1);
    ct_set_operand(&t, HY_MATMUL_w, dtype, HY_COUNTER_NONE, 2, n, k, 1, 1);
    ct_set_operand(&t, HY_MATMUL_out, HY_DTYPE_F32, HY_COUNTER_NONE, 2, 1, out, 1, 1);
    t.op.operand[HY_MATMUL_w].constant = 1;
    return t;
}

static void check_stream(hy_device *device, const ct_task *t) {
    const hy_backend *b = device->backend;
    const uint32_t w = cpu_weight_operand(&t->op);
    const hy_tensor *tensor = &t->op.operand[w];
    hy_kernel kernels[HY_MAX_CANDIDATES];
    uint32_t count = 0;
    assert_int_equal(b->candidates(device, &t->op, kernels, &count), HY_OK);
    assert_true(count > 0);
    file f;
    const uint64_t row_bytes =
        hy_dtype_row_bytes(hy_dtype_get((hy_dtype)tensor->dtype), tensor->dim[tensor->rank - 1]);
    const hy_row_source source = make_file(&f, hy_tensor_rows(tensor), row_bytes);
    const uint64_t bytes = kernels[0].constant[w].bytes;
    hy_buffer *whole, *streamed;
    assert_int_equal(b->buffer_new(device, HY_HEAP_DEVICE, bytes, &whole), HY_OK);
    assert_int_equal(b->buffer_new(device, HY_HEAP_DEVICE, bytes + 64, &streamed), HY_OK);
    memset((uint8_t *)streamed->host + bytes, 0xa5, 64);
    hy_view view = hy_view_of(streamed);
    view.size = bytes;
    assert_int_equal(
        b->pack(device, &t->op, &kernels[0], w, 0, source.rows, f.bytes, hy_view_of(whole)), HY_OK);
    assert_int_equal(b->pack_from(device, &t->op, &kernels[0], w, &source, view), HY_OK);
    assert_memory_equal(whole->host, streamed->host, bytes);
    for (uint64_t r = 0; r < source.rows; r++)
        assert_int_equal(f.read[r], 1);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(((uint8_t *)streamed->host)[bytes + i], 0xa5);
    f.fails_at = source.rows / 3;
    assert_int_equal(b->pack_from(device, &t->op, &kernels[0], w, &source, view), HY_E_IO);
    assert_non_null(strstr(hy_error_text(), "is lost"));
    hy_buffer_free(whole);
    hy_buffer_free(streamed);
    free_file(&f);
}

static void packs_as_in_one_piece(void **state) {
    static const uint32_t threads[] = {1, 2, 5, 19};
    (void)state;
    for (size_t i = 0; i < HY_COUNT_OF(threads); i++) {
        hy_device *device = ct_open_cpu(NULL, threads[i]);
        const ct_task tasks[] = {
            task_of(HY_DTYPE_Q4_0, 0, 1000, 512, false), /* a tail panel */
            task_of(HY_DTYPE_Q6_K, 0, 992, 1024, true),
            task_of(HY_DTYPE_Q8_0, 0, 1000, 512, true), /* panels that end inside: one unit */
            task_of(HY_DTYPE_F16, 3, 96, 800, true),
            task_of(HY_DTYPE_F32, 3, 40, 400, false),
            task_of(HY_DTYPE_Q3_K, 0, 16, 256, false),   /* too small for more than one */
            task_of(HY_DTYPE_F16, 0, 4096, 2048, false), /* several huge pages */
        };
        for (size_t k = 0; k < HY_COUNT_OF(tasks); k++) {
            ct_task t = tasks[k];
            check_stream(device, &t);
            ct_free_task(&t);
        }
        hy_device_close(device);
    }
}

/* Without a kernel the file's bytes come as they are. */
static void copies_without_a_kernel(void **state) {
    (void)state;
    hy_device *device = ct_open_cpu(NULL, 3);
    static const uint64_t rows[] = {1, 15, 16, 1001};
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        file f;
        const hy_row_source source = make_file(&f, rows[i], 300);
        hy_buffer *buffer;
        assert_int_equal(
            device->backend->buffer_new(device, HY_HEAP_DEVICE, rows[i] * 300, &buffer), HY_OK);
        assert_int_equal(
            device->backend->pack_from(device, NULL, NULL, 0, &source, hy_view_of(buffer)), HY_OK);
        assert_memory_equal(buffer->host, f.bytes, rows[i] * 300);
        hy_buffer_free(buffer);
        free_file(&f);
    }
    hy_device_close(device);
}

/* Whether worker w alone computes group g: its share, and what is left of those 1, 2, 4 ... behind it. */
static bool computes(const cpu_panels *p, uint32_t w, uint32_t workers, uint64_t g) {
    uint64_t begin, end;
    for (uint32_t other = 0; other < workers; other++) {
        cpu_group_share(p, other, workers, &begin, &end);
        const uint32_t distance = (other + workers - w) % workers;
        if (g >= begin && g < end)
            return !distance || ((distance & (distance - 1)) == 0 &&
                                 g >= end - cpu_groups_left(p, workers, begin, end));
    }
    return false;
}

/* In every variant for one row. */
static void check_shares(uint32_t n) {
    enum { K = 64, WORKERS = 4 };
    ct_task t = task_of(HY_DTYPE_F32, 0, n, K, false);
    const cpu_panels p = cpu_panels_of(&t.op);
    uint32_t checked = 0;
    void *packed = ct_allocate(cpu_group_offset(&p, 1, 0));
    memset(packed, 0, cpu_group_offset(&p, 1, 0));
    for (const cpu_variant *v = cpu_matmul_variants; v->name; v++) {
        if (v->kind != HY_OP_MATMUL || (v->isa & ~cpu_isa_detect()) || !v->accepts(&t.op)) continue;
        for (uint32_t w = 0; w < WORKERS; w++) {
            const uint64_t first = 1;
            cpu_taken taken[WORKERS] = {0};
            cpu_call call = {
                .variant = v, .op = t.op, .counters = t.counters, .taken = taken, .first = &first};
            float *out = t.data[HY_MATMUL_out];
            call.p[HY_MATMUL_x] = t.data[HY_MATMUL_x];
            call.p[HY_MATMUL_w] = packed;
            call.p[HY_MATMUL_out] = out;
            call.workspace = ct_allocate(v->workspace(&t.op, WORKERS));
            memset(t.data[HY_MATMUL_x], 0, K * 4);
            memset(out, 0xff, n * 4);
            const bool fills = v->phase[1] != NULL;
            for (uint32_t other = 0; fills && other < WORKERS; other++)
                v->phase[0](&call, other, WORKERS);
            v->phase[fills](&call, w, WORKERS);
            for (uint32_t i = 0; i < n; i++)
                if ((out[i] == 0) != computes(&p, w, WORKERS, i / CPU_PANEL))
                    fail_msg("%s: worker %u, output %u", v->name, w, i);
            free(call.workspace);
            checked++;
        }
    }
    assert_true(checked >= 2 * WORKERS);
    free(packed);
    ct_free_task(&t);
}

static void shares_are_those_of_the_product(void **state) {
    (void)state;
    check_shares(16 * 11 + 5);
    check_shares(16 * 90 + 5);
    check_shares(16 * 1040 + 5); /* 32 groups of each are left */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_as_in_one_piece),
        cmocka_unit_test(copies_without_a_kernel),
        cmocka_unit_test(shares_are_those_of_the_product),
    };
    return cmocka_run_group_tests_name("cpu_stream", tests, NULL, NULL);
}

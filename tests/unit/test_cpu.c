/* The CPU backend's device, buffers, command lists and timelines. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cpu/cpu_backend.h"
#include "base/half.h"
#include "base/num.h"
#include "tests/unit/count_alloc.h"
#include "tests/unit/cpu_task.h"

static void test_device(void **state) {
    (void)state;
    hy_device_info infos[2];
    uint32_t count = 0;
    assert_int_equal(hy_cpu_backend.devices(infos, 2, &count), HY_OK);
    assert_int_equal(count, 1);
    assert_true(infos[0].name[0] && infos[0].arch[0] && infos[0].units > 0);
    assert_true(infos[0].memory_free > 0 && infos[0].memory_free <= infos[0].memory_total);
    hy_device *device;
    hy_device_params params = {.isa = "mmx"};
    assert_int_equal(hy_cpu_backend.open(0, &params, &device), HY_E_ARGUMENT);
    assert_non_null(strstr(hy_error_text(), "mmx"));
    assert_non_null(strstr(hy_error_text(), "generic"));
    assert_int_equal(hy_cpu_backend.open(1, NULL, &device), HY_E_NOT_FOUND);
    device = ct_open_cpu(NULL, 3);
    hy_cpu_backend.info(device, &infos[1]);
    assert_int_equal(infos[1].units, 3);
    hy_device_close(device);
}

static void test_isa_mask(void **state) {
    (void)state;
    ct_task k = {.op.kind = HY_OP_ADD};
    for (uint32_t i = 0; i < 3; i++)
        ct_set_operand(&k, i, HY_DTYPE_F32, HY_COUNTER_T, 2, 4, 8, 1, 1);
    for (size_t i = 0; i < HY_COUNT_OF(ct_isas); i++) {
        if (!ct_machine_has(ct_isas[i])) continue;
        hy_device *device = ct_open_cpu(ct_isas[i], 1);
        hy_kernel kernels[HY_MAX_CANDIDATES];
        uint32_t count;
        assert_int_equal(hy_cpu_backend.candidates(device, &k.op, kernels, &count), HY_OK);
        assert_int_equal(count, i + 1); /* this ISA and those below it */
        const char *dot = strrchr(kernels[0].name, '.');
        assert_string_equal(dot + 1, ct_isas[i]);
        assert_string_equal(kernels[i].name, "cpu.add.f32.generic");
        assert_int_equal(kernels[0].in_place, 3);
        hy_device_close(device);
    }
    ct_free_task(&k);
}

static void test_buffers(void **state) {
    (void)state;
    hy_device *device = ct_open_cpu(NULL, 1);
    const uint64_t sizes[] = {0, 1, 4097, (4 << 20) + 5};
    for (size_t i = 0; i < HY_COUNT_OF(sizes); i++) {
        hy_buffer *buffer;
        assert_int_equal(hy_cpu_backend.buffer_new(device, HY_HEAP_DEVICE, sizes[i], &buffer),
                         HY_OK);
        assert_true((uintptr_t)buffer->host % HY_VIEW_ALIGN == 0);
        assert_int_equal(buffer->size, sizes[i]);
        char got = 0;
        if (sizes[i]) {
            assert_int_equal(hy_cpu_backend.write(buffer, sizes[i] - 1, "x", 1), HY_OK);
            assert_int_equal(hy_cpu_backend.read(buffer, sizes[i] - 1, &got, 1), HY_OK);
            assert_int_equal(got, 'x');
        }
        hy_buffer_free(buffer);
    }
    hy_buffer *buffer;
    assert_int_equal(hy_cpu_backend.buffer_new(device, HY_HEAP_DEVICE, UINT64_MAX - 5, &buffer),
                     HY_E_MEMORY);
    assert_int_equal(hy_cpu_backend.buffer_new(device, HY_HEAP_DEVICE, UINT64_C(1) << 60, &buffer),
                     HY_E_MEMORY);
    hy_device_close(device);
}

/* y = x + x, z = y * y, copy of z: three waves over a count that changes from replay to replay. */
static void test_replay(void **state) {
    (void)state;
    enum { ROWS = 9, COLUMNS = 700 };
    for (uint32_t threads = 1; threads <= 3; threads++) {
        hy_device *device = ct_open_cpu(NULL, threads);
        const hy_backend *b = device->backend;
        ct_task add = {.op.kind = HY_OP_ADD}, mul = {.op.kind = HY_OP_MUL};
        for (uint32_t i = 0; i < 3; i++) {
            ct_set_operand(&add, i, HY_DTYPE_F32, HY_COUNTER_T, 2, ROWS, COLUMNS, 1, 1);
            mul.op.operand[i] = add.op.operand[i];
        }
        float *x = add.data[0], *z = ct_allocate(ROWS * COLUMNS * 4), *w = ct_allocate(300000 * 4);
        ct_fill(&add, 0, 0, ROWS * COLUMNS);
        hy_buffer *bx, *by, *bz, *bw, *bc;
        uint32_t counters[HY_COUNTER_COUNT] = {0};
        assert_int_equal(b->buffer_import(device, x, ROWS * COLUMNS * 4, &bx), HY_OK);
        assert_int_equal(b->buffer_import(device, add.data[2], ROWS * COLUMNS * 4, &by), HY_OK);
        assert_int_equal(b->buffer_import(device, z, ROWS * COLUMNS * 4, &bz), HY_OK);
        assert_int_equal(b->buffer_import(device, w, ROWS * COLUMNS * 4, &bw), HY_OK);
        assert_int_equal(b->buffer_import(device, counters, sizeof counters, &bc), HY_OK);
        hy_kernel ka[HY_MAX_CANDIDATES], km[HY_MAX_CANDIDATES];
        uint32_t count;
        assert_int_equal(b->candidates(device, &add.op, ka, &count), HY_OK);
        assert_int_equal(b->candidates(device, &mul.op, km, &count), HY_OK);
        const hy_view vx = hy_view_of(bx), vy = hy_view_of(by), vz = hy_view_of(bz), none = {0};
        hy_cmd *cmd;
        hy_timeline *timeline;
        assert_int_equal(b->timeline_new(device, &timeline), HY_OK);
        assert_int_equal(b->cmd_new(device, hy_view_of(bc), &cmd), HY_OK);
        assert_int_equal(b->cmd_op(cmd, &add.op, ka, (hy_view[]){vx, vx, vy}, none), HY_OK);
        assert_int_equal(b->submit(device, cmd, timeline, 1), HY_E_STATE);
        assert_int_equal(b->cmd_barrier(cmd), HY_OK);
        assert_int_equal(b->cmd_op(cmd, &mul.op, km, (hy_view[]){vy, vy, vz}, none), HY_OK);
        assert_int_equal(b->cmd_barrier(cmd), HY_OK);
        assert_int_equal(b->cmd_copy(cmd, hy_view_of(bw), vz), HY_OK);
        assert_int_equal(b->cmd_seal(cmd), HY_OK);
        assert_int_equal(b->cmd_barrier(cmd), HY_E_STATE);
        for (uint32_t n = 0; n <= ROWS + 1; n++) { /* past the bound: clamped */
            memset(z, 0xff, ROWS * COLUMNS * 4);
            counters[HY_COUNTER_T] = n;
            const uint64_t before = hy_count_alloc();
            assert_int_equal(b->submit(device, cmd, timeline, n + 1), HY_OK);
            assert_int_equal(hy_count_alloc(), before);
            uint64_t value = 0;
            assert_int_equal(b->timeline_value(timeline, &value), HY_OK);
            assert_int_equal(value, n + 1);
            for (size_t i = 0; i < ROWS * COLUMNS; i++) {
                if (i < (size_t)n * COLUMNS)
                    assert_true(z[i] == 4 * x[i] * x[i]);
                else
                    assert_int_equal(hy_f32_bits(z[i]), 0xffffffff);
            }
            assert_memory_equal(z, w, ROWS * COLUMNS * 4);
        }
        hy_cmd_free(cmd);
        hy_timeline_free(timeline);
        hy_buffer *all[] = {bx, by, bz, bw, bc};
        for (size_t i = 0; i < HY_COUNT_OF(all); i++)
            hy_buffer_free(all[i]);
        hy_device_close(device);
        ct_free_task(&add);
        free(z);
        free(w);
    }
}

typedef struct waiter {
    hy_timeline *timeline;
    hy_status status;
} waiter;

static void *wait_for_seven(void *context) {
    waiter *w = context;
    w->status = w->timeline->device->backend->timeline_wait(w->timeline, 7, UINT64_MAX);
    return NULL;
}

static void test_timeline(void **state) {
    (void)state;
    hy_device *device = ct_open_cpu(NULL, 2);
    const hy_backend *b = device->backend;
    uint32_t counters[HY_COUNTER_COUNT] = {0};
    hy_buffer *buffer;
    hy_cmd *cmd;
    waiter w = {.status = HY_E_INTERNAL};
    assert_int_equal(b->buffer_import(device, counters, sizeof counters, &buffer), HY_OK);
    assert_int_equal(b->cmd_new(device, hy_view_of(buffer), &cmd), HY_OK);
    assert_int_equal(b->cmd_seal(cmd), HY_OK);
    assert_int_equal(b->timeline_new(device, &w.timeline), HY_OK);
    assert_int_equal(b->timeline_wait(w.timeline, 0, 0), HY_OK);
    assert_int_equal(b->timeline_wait(w.timeline, 7, 1000), HY_E_TIMEOUT);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_seven, &w), 0);
    assert_int_equal(b->submit(device, cmd, w.timeline, 3), HY_OK);
    assert_int_equal(b->submit(device, cmd, w.timeline, 9), HY_OK);
    pthread_join(thread, NULL);
    assert_int_equal(w.status, HY_OK);
    hy_timeline_free(w.timeline);
    hy_cmd_free(cmd);
    hy_buffer_free(buffer);
    hy_device_close(device);
}

static void test_plain_pack(void **state) {
    (void)state;
    enum { ROWS = 1, COLUMNS = 4096 };
    hy_device *device = ct_open_cpu(NULL, 2);
    const hy_backend *b = device->backend;
    ct_task k = {.op.kind = HY_OP_RMS_NORM};
    ct_set_operand(&k, HY_RMS_NORM_x, HY_DTYPE_F32, HY_COUNTER_T, 2, 2, COLUMNS, 1, 1);
    ct_set_operand(&k, HY_RMS_NORM_weight, HY_DTYPE_F32, HY_COUNTER_NONE, 1, COLUMNS, 1, 1, 1);
    ct_set_operand(&k, HY_RMS_NORM_out, HY_DTYPE_F32, HY_COUNTER_T, 2, 2, COLUMNS, 1, 1);
    k.op.operand[HY_RMS_NORM_weight].constant = 1;
    ct_fill(&k, HY_RMS_NORM_weight, 0, COLUMNS);
    hy_kernel kernels[HY_MAX_CANDIDATES];
    uint32_t count;
    assert_int_equal(b->candidates(device, &k.op, kernels, &count), HY_OK);
    const hy_constant_layout *layout = &kernels[0].constant[HY_RMS_NORM_weight];
    assert_int_equal(layout->bytes, COLUMNS * 4);
    assert_int_equal(kernels[0].constant[HY_RMS_NORM_x].rows, 0);
    hy_buffer *packed;
    assert_int_equal(b->buffer_new(device, HY_HEAP_DEVICE, layout->bytes, &packed), HY_OK);
    assert_int_equal(b->pack(device, &k.op, &kernels[0], HY_RMS_NORM_weight, 0, ROWS,
                             k.data[HY_RMS_NORM_weight], hy_view_of(packed)),
                     HY_OK);
    void *back = ct_allocate(COLUMNS * 4);
    assert_int_equal(
        b->unpack(device, &k.op, &kernels[0], HY_RMS_NORM_weight, hy_view_of(packed), back), HY_OK);
    assert_memory_equal(back, k.data[HY_RMS_NORM_weight], COLUMNS * 4);
    free(back);
    hy_buffer_free(packed);
    hy_device_close(device);
    ct_free_task(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device),   cmocka_unit_test(test_isa_mask),
        cmocka_unit_test(test_buffers),  cmocka_unit_test(test_replay),
        cmocka_unit_test(test_timeline), cmocka_unit_test(test_plain_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

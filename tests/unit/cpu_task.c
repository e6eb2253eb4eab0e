/* tests/unit/cpu_task.c: see cpu_task.h. */
#include "tests/unit/cpu_task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cpu/cpu_backend.h"
#include "base/half.h"
#include "base/num.h"

#if defined(__aarch64__)
const char *const ct_isas[CT_ISAS] = {"generic", "dotprod"};
#else
const char *const ct_isas[CT_ISAS] = {"generic", "avx2", "avx512"};
#endif

static uint64_t seed_state = 1;

uint32_t ct_random_bits(void) {
    seed_state = seed_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed_state >> 32);
}

/* The sum of four uniforms. */
float ct_random_float(void) {
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)(ct_random_bits() >> 8) * 0x1p-24f - 0.5f;
    return sum * 1.7f;
}

void *ct_allocate(size_t bytes) {
    void *p = aligned_alloc(256, hy_align_up(HY_MAX(bytes, 1), 256));
    assert_non_null(p);
    memset(p, 0xff, bytes); /* NaN in every float type */
    return p;
}

bool ct_machine_has(const char *isa) {
    hy_device *device;
    const hy_device_params params = {.threads = 1, .isa = isa};
    assert_int_equal(hy_cpu_backend.open(0, &params, &device), HY_OK);
    hy_device_info info;
    hy_cpu_backend.info(device, &info);
    hy_device_close(device);
    return !strncmp(isa, "generic", 7) || !strncmp(info.arch, isa, strlen(isa));
}

hy_device *ct_open_cpu(const char *isa, uint32_t threads) {
    hy_device *device = NULL;
    const hy_device_params params = {.threads = threads, .isa = isa};
    assert_int_equal(hy_cpu_backend.open(0, &params, &device), HY_OK);
    return device;
}

void ct_set_operand(ct_task *k, uint32_t i, hy_dtype dtype, hy_counter counter, uint32_t rank,
                    uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    const uint32_t dim[4] = {a, b, c, d};
    k->op.operand[i] = hy_tensor_of(dtype, rank, dim, counter);
    k->data[i] = ct_allocate(hy_tensor_bytes(&k->op.operand[i]));
}

void ct_fill(const ct_task *k, uint32_t i, size_t first, size_t count) {
    for (size_t e = first; e < first + count; e++) {
        const float x = ct_random_float();
        switch (k->op.operand[i].dtype) {
        case HY_DTYPE_F32:
            ((float *)k->data[i])[e] = x;
            break;
        case HY_DTYPE_F16:
            ((uint16_t *)k->data[i])[e] = hy_f32_to_f16(x);
            break;
        default:
            ((uint16_t *)k->data[i])[e] = hy_f32_to_bf16(x);
        }
    }
}

double ct_element(const ct_task *k, uint32_t i, size_t e) {
    switch (k->op.operand[i].dtype) {
    case HY_DTYPE_F32:
        return ((const float *)k->data[i])[e];
    case HY_DTYPE_F16:
        return hy_f16_to_f32(((const uint16_t *)k->data[i])[e]);
    default:
        return hy_bf16_to_f32(((const uint16_t *)k->data[i])[e]);
    }
}

void ct_free_task(ct_task *k) {
    for (int i = 0; i < HY_MAX_OPERANDS; i++)
        free(k->data[i]);
    memset(k, 0, sizeof *k);
}

ct_recording ct_record(hy_device *device, const ct_task *k) {
    const hy_backend *b = device->backend;
    ct_recording r = {.device = device};
    hy_kernel kernels[HY_MAX_CANDIDATES];
    uint32_t count;
    assert_int_equal(hy_op_check(&k->op), HY_OK);
    assert_int_equal(b->candidates(device, &k->op, kernels, &count), HY_OK);
    assert_true(count > 0);
    hy_view views[HY_MAX_OPERANDS] = {{0}};
    for (int i = 0; i < HY_MAX_OPERANDS; i++) {
        if (!k->data[i]) continue;
        assert_int_equal(
            b->buffer_import(device, k->data[i], hy_tensor_bytes(&k->op.operand[i]), &r.buffers[i]),
            HY_OK);
        views[i] = hy_view_of(r.buffers[i]);
    }
    assert_int_equal(b->buffer_import(device, (void *)k->counters, sizeof k->counters, &r.counters),
                     HY_OK);
    assert_int_equal(b->buffer_new(device, HY_HEAP_DEVICE, kernels[0].workspace + 1, &r.workspace),
                     HY_OK);
    memset(r.workspace->host, 0xff, kernels[0].workspace);
    assert_int_equal(b->cmd_new(device, hy_view_of(r.counters), &r.cmd), HY_OK);
    assert_int_equal(b->cmd_op(r.cmd, &k->op, &kernels[0], views, hy_view_of(r.workspace)), HY_OK);
    assert_int_equal(b->cmd_seal(r.cmd), HY_OK);
    assert_int_equal(b->timeline_new(device, &r.timeline), HY_OK);
    return r;
}

void ct_replay(ct_recording *r) {
    const hy_backend *b = r->device->backend;
    assert_int_equal(b->submit(r->device, r->cmd, r->timeline, ++r->value), HY_OK);
    assert_int_equal(b->timeline_wait(r->timeline, r->value, 0), HY_OK);
}

void ct_free_recording(ct_recording *r) {
    hy_cmd_free(r->cmd);
    hy_timeline_free(r->timeline);
    for (int i = 0; i < HY_MAX_OPERANDS; i++)
        hy_buffer_free(r->buffers[i]);
    hy_buffer_free(r->counters);
    hy_buffer_free(r->workspace);
}

void ct_run(const char *isa, uint32_t threads, const ct_task *k) {
    hy_device *device = ct_open_cpu(isa, threads);
    ct_recording r = ct_record(device, k);
    ct_replay(&r);
    ct_free_recording(&r);
    hy_device_close(device);
}

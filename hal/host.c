/* Buffers, packing and timelines in host memory. */
#include "hal/host.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/num.h"

/* ---- buffers ---- */

typedef struct host_buffer {
    hy_buffer base;
    void *memory;
    uint64_t mapped; /* bytes of our own mapping; 0 for imported memory */
} host_buffer;

static hy_status wrap_memory(hy_device *device, void *memory, uint64_t size, uint64_t mapped,
                             bool visible, hy_buffer **out) {
    host_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) return hy_fail(HY_E_MEMORY, "out of memory for a buffer object");
    buffer->base.device = device;
    buffer->base.size = size;
    buffer->base.host = visible ? memory : NULL;
    buffer->memory = memory;
    buffer->mapped = mapped;
    *out = &buffer->base;
    return HY_OK;
}

hy_status hy_host_buffer_new(hy_device *device, bool visible, hy_heap heap, uint64_t size,
                             hy_buffer **out) {
    uint64_t mapped;
    if (hy_align_overflow(size ? size : 1, 4096, &mapped) || mapped > SIZE_MAX / 2)
        return hy_fail(HY_E_MEMORY, "%s: no buffer of %llu bytes", device->backend->name,
                       (unsigned long long)size);
    void *memory = mmap(NULL, (size_t)mapped, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return hy_fail(HY_E_MEMORY, "%s: no memory for a buffer of %llu bytes",
                       device->backend->name, (unsigned long long)size);
    hy_status status =
        wrap_memory(device, memory, size, mapped, visible || heap == HY_HEAP_HOST, out);
    if (status != HY_OK) munmap(memory, (size_t)mapped);
    return status;
}

hy_status hy_host_buffer_import(hy_device *device, void *host, uint64_t size, hy_buffer **out) {
    return wrap_memory(device, host, size, 0, true, out);
}

void hy_host_buffer_free(hy_buffer *base) {
    host_buffer *buffer = (host_buffer *)base;
    if (!buffer) return;
    if (buffer->mapped) munmap(buffer->memory, (size_t)buffer->mapped);
    free(buffer);
}

hy_status hy_host_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size) {
    if (size) memcpy((char *)((host_buffer *)buffer)->memory + offset, src, (size_t)size);
    return HY_OK;
}

hy_status hy_host_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size) {
    if (size) memcpy(dst, (char *)((host_buffer *)buffer)->memory + offset, (size_t)size);
    return HY_OK;
}

void *hy_host_address(hy_view view) {
    return view.buffer ? (char *)((host_buffer *)view.buffer)->memory + view.offset : NULL;
}

/* ---- packing ---- */

void hy_host_constants(const hy_op *op, hy_kernel *kernel) {
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (op->operand[i].dtype == HY_DTYPE_NONE || !op->operand[i].constant) continue;
        kernel->constant[i].rows = 1;
        kernel->constant[i].bytes = hy_tensor_bytes(&op->operand[i]);
    }
}

static uint64_t constant_row_bytes(const hy_tensor *tensor) {
    return hy_dtype_row_bytes(hy_dtype_get((hy_dtype)tensor->dtype), tensor->dim[tensor->rank - 1]);
}

hy_status hy_host_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                       uint32_t operand, uint64_t row, uint64_t rows, const void *src,
                       hy_view dst) {
    (void)device;
    (void)kernel;
    const uint64_t bytes = constant_row_bytes(&op->operand[operand]);
    memcpy((char *)hy_host_address(dst) + row * bytes, src, (size_t)(rows * bytes));
    return HY_OK;
}

hy_status hy_host_unpack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                         uint32_t operand, hy_view src, void *dst) {
    (void)device;
    (void)kernel;
    memcpy(dst, hy_host_address(src), (size_t)hy_tensor_bytes(&op->operand[operand]));
    return HY_OK;
}

uint32_t hy_host_in_place(const hy_op *op, uint32_t mask) {
    const hy_op_info *info = hy_op_get((hy_op_kind)op->kind);
    const hy_tensor *out = NULL;
    uint32_t bits = 0;
    for (uint32_t i = 0; i < info->operands && !out; i++) {
        if ((info->operand[i].role & HY_ROLE_OUT) && op->operand[i].dtype != HY_DTYPE_NONE)
            out = &op->operand[i];
    }
    for (uint32_t i = 0; i < info->operands && out; i++) {
        const hy_tensor *t = &op->operand[i];
        if ((mask >> i & 1u) && t != out && t->dtype == out->dtype && t->rank == out->rank &&
            !t->constant && !memcmp(t->dim, out->dim, sizeof t->dim) &&
            !memcmp(t->stride, out->stride, sizeof t->stride))
            bits |= 1u << i;
    }
    return bits;
}

/* ---- timelines ---- */

typedef struct host_timeline {
    hy_timeline base;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t value;
} host_timeline;

hy_status hy_host_timeline_new(hy_device *device, hy_timeline **out) {
    host_timeline *timeline = calloc(1, sizeof *timeline);
    if (!timeline) return hy_fail(HY_E_MEMORY, "out of memory for a timeline");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&timeline->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&timeline->mutex, NULL);
    timeline->base.device = device;
    *out = &timeline->base;
    return HY_OK;
}

void hy_host_timeline_free(hy_timeline *base) {
    host_timeline *timeline = (host_timeline *)base;
    if (!timeline) return;
    pthread_cond_destroy(&timeline->changed);
    pthread_mutex_destroy(&timeline->mutex);
    free(timeline);
}

hy_status hy_host_timeline_value(hy_timeline *base, uint64_t *value) {
    host_timeline *timeline = (host_timeline *)base;
    pthread_mutex_lock(&timeline->mutex);
    *value = timeline->value;
    pthread_mutex_unlock(&timeline->mutex);
    return HY_OK;
}

void hy_host_timeline_set(hy_timeline *base, uint64_t value) {
    host_timeline *timeline = (host_timeline *)base;
    pthread_mutex_lock(&timeline->mutex);
    timeline->value = value;
    pthread_cond_broadcast(&timeline->changed);
    pthread_mutex_unlock(&timeline->mutex);
}

static struct timespec deadline_of(uint64_t timeout_us) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const uint64_t ns = (uint64_t)t.tv_nsec + timeout_us % 1000000 * 1000;
    t.tv_sec += (time_t)(timeout_us / 1000000 + ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    return t;
}

hy_status hy_host_timeline_wait(hy_timeline *base, uint64_t value, uint64_t timeout_us) {
    host_timeline *timeline = (host_timeline *)base;
    const bool for_ever = timeout_us > UINT64_C(1000000) * 86400 * 36500; /* a century */
    const struct timespec deadline = deadline_of(for_ever ? 0 : timeout_us);
    int error = 0;
    pthread_mutex_lock(&timeline->mutex);
    while (timeline->value < value && error != ETIMEDOUT) {
        error = for_ever ? pthread_cond_wait(&timeline->changed, &timeline->mutex)
                         : pthread_cond_timedwait(&timeline->changed, &timeline->mutex, &deadline);
    }
    const uint64_t reached = timeline->value;
    pthread_mutex_unlock(&timeline->mutex);
    if (reached >= value) return HY_OK;
    return hy_fail(HY_E_TIMEOUT, "timeline is at %llu, not %llu, after %llu us",
                   (unsigned long long)reached, (unsigned long long)value,
                   (unsigned long long)timeout_us);
}

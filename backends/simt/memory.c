/* backends/simt/memory.c: buffers, and staging: pinned slots that go round. A write returns when its source is in a
 * slot; whoever looks at its effect is behind it on the stream. Kernels that pack read a slot where it is. */
#include <stdlib.h>
#include <string.h>

#include "backends/simt/simt.h"
#include "base/num.h"

enum { SLOTS = 3, NONE = UINT32_MAX };

typedef struct slot {
    uint8_t *host;   /* [GPU_STAGE], at the same address for the device */
    uint64_t number; /* of the submission that used it last */
} slot;

struct simt_staging {
    slot slot[SLOTS]; /* host to device */
    slot back;        /* device to host */
    uint32_t next;    /* slot */
    uint32_t held;    /* by stage(); NONE */
};

typedef struct simt_buffer {
    gpu_buffer gpu;
    uint64_t address; /* gpu.address points here */
    uint64_t written; /* the submission that wrote to it last from a slot */
    bool host;
} simt_buffer;

/* ---- buffers ------------------------------------------------------------------------------------- */

static hy_status no_memory(simt_device *device, uint64_t size, bool host, hy_status status) {
    size_t free_bytes = 0, total = 0;
    if (status != HY_E_MEMORY) return status;
    device->api->memory_info(&free_bytes, &total);
    return hy_fail(HY_E_MEMORY,
                   "%s: %s: no %smemory for a buffer of %llu bytes (%llu MiB are free)",
                   device->vendor->backend->name, device->info.name, host ? "pinned " : "",
                   (unsigned long long)size, (unsigned long long)(free_bytes >> 20));
}

hy_status simt_buffer_new(hy_device *base, hy_heap heap, uint64_t size, hy_buffer **out) {
    simt_device *device = (simt_device *)base;
    const bool host = heap == HY_HEAP_HOST;
    const uint64_t bytes = HY_MAX(size, 1);
    void *memory = NULL;
    HY_TRY(simt_enter(device));
    simt_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        return hy_fail(HY_E_MEMORY, "%s: no memory for a buffer object", base->backend->name);
    const int code =
        host ? device->api->pinned_new(&memory, bytes) : device->api->memory_new(&memory, bytes);
    const hy_status status = simt_check(device, code, "allocating memory");
    if (status != HY_OK) {
        free(buffer);
        return no_memory(device, size, host, status);
    }
    buffer->host = host;
    buffer->address = (uint64_t)(uintptr_t)memory;
    buffer->gpu = (gpu_buffer){.base = {base, size, host ? memory : NULL},
                               .segment = UINT64_MAX,
                               .address = &buffer->address};
    *out = &buffer->gpu.base;
    return HY_OK;
}

hy_status simt_buffer_import(hy_device *base, void *host, uint64_t size, hy_buffer **out) {
    (void)host, (void)size, (void)out;
    return hy_fail(HY_E_UNSUPPORTED, "%s: %s: host memory is copied, not used in place",
                   base->backend->name, ((simt_device *)base)->info.name);
}

void simt_buffer_free(hy_buffer *base) {
    if (!base) return;
    simt_device *device = (simt_device *)base->device;
    simt_buffer *buffer = (simt_buffer *)base;
    void *memory = (void *)(uintptr_t)buffer->address;
    if (buffer->written) simt_quiesce(device, buffer->written);
    device->api->bind(device->ordinal, device->context);
    if (buffer->host)
        device->api->pinned_free(memory);
    else
        device->api->memory_free(memory);
    free(buffer);
}

static void *at(const hy_buffer *buffer, uint64_t offset) {
    return (void *)(uintptr_t)(((const simt_buffer *)buffer)->address + offset);
}

/* ---- staging ------------------------------------------------------------------------------------- */

hy_status simt_staging_open(simt_device *device) {
    simt_staging *staging = calloc(1, sizeof *staging);
    if (!staging) return hy_fail(HY_E_MEMORY, "no memory for staging");
    device->staging = staging;
    staging->held = NONE;
    for (uint32_t i = 0; i <= SLOTS; i++) {
        slot *s = i < SLOTS ? &staging->slot[i] : &staging->back;
        void *memory = NULL;
        const hy_status status =
            simt_check(device, device->api->pinned_new(&memory, GPU_STAGE), "allocating staging");
        if (status != HY_OK) {
            simt_staging_close(device);
            return status;
        }
        s->host = memory;
    }
    return HY_OK;
}

void simt_staging_close(simt_device *device) {
    simt_staging *staging = device->staging;
    if (!staging) return;
    for (uint32_t i = 0; i <= SLOTS; i++) {
        const slot *s = i < SLOTS ? &staging->slot[i] : &staging->back;
        if (s->host) device->api->pinned_free(s->host);
    }
    free(staging);
    device->staging = NULL;
}

/* The next slot that stage() does not hold, once it is free. */
static hy_status take_slot(simt_device *device, uint32_t *out) {
    simt_staging *staging = device->staging;
    if (staging->next == staging->held) staging->next = (staging->next + 1) % SLOTS;
    HY_TRY(simt_settle(device, staging->slot[staging->next].number));
    *out = staging->next;
    staging->next = (staging->next + 1) % SLOTS;
    return HY_OK;
}

hy_status simt_stage(gpu_device *base, uint64_t bytes, void **host, uint64_t *address) {
    simt_device *device = (simt_device *)base;
    simt_staging *staging = device->staging;
    if (bytes > GPU_STAGE)
        return hy_fail(HY_E_INTERNAL, "%llu bytes to stage", (unsigned long long)bytes);
    staging->held = NONE;
    HY_TRY(take_slot(device, &staging->held));
    *host = staging->slot[staging->held].host;
    *address = (uint64_t)(uintptr_t)*host;
    return HY_OK;
}

hy_status simt_run(gpu_device *base, const gpu_launch *launch) {
    simt_device *device = (simt_device *)base;
    simt_staging *staging = device->staging;
    hy_args args = launch->args;
    uint64_t function, number;
    HY_TRY(simt_enter(device));
    HY_TRY(simt_kernel(base, launch, &function));
    memcpy(args.constant, launch->constant, sizeof args.constant);
    HY_TRY(simt_launch(device, function, launch->grid, launch->threads, launch->shared, &args));
    HY_TRY(simt_submitted(device, &number));
    if (staging->held != NONE) staging->slot[staging->held].number = number;
    return HY_OK;
}

/* ---- copies -------------------------------------------------------------------------------------- */

hy_status simt_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size) {
    simt_device *device = (simt_device *)buffer->device;
    HY_TRY(simt_enter(device));
    if (buffer->host) {
        memcpy((char *)buffer->host + offset, src, size);
        return HY_OK;
    }
    for (uint64_t done = 0; done < size;) {
        const uint64_t bytes = HY_MIN((uint64_t)GPU_STAGE, size - done);
        uint32_t i;
        HY_TRY(take_slot(device, &i));
        slot *s = &device->staging->slot[i];
        memcpy(s->host, (const char *)src + done, bytes);
        HY_TRY(simt_check(
            device, device->api->copy(at(buffer, offset + done), s->host, bytes, device->stream),
            "copying to the device"));
        HY_TRY(simt_submitted(device, &s->number));
        ((simt_buffer *)buffer)->written = s->number;
        done += bytes;
    }
    return HY_OK;
}

hy_status simt_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size) {
    simt_device *device = (simt_device *)buffer->device;
    slot *s = &device->staging->back;
    HY_TRY(simt_enter(device));
    if (buffer->host) {
        HY_TRY(simt_settle(device, atomic_load(&device->submitted)));
        memcpy(dst, (const char *)buffer->host + offset, size);
        return HY_OK;
    }
    for (uint64_t done = 0; done < size;) {
        const uint64_t bytes = HY_MIN((uint64_t)GPU_STAGE, size - done);
        HY_TRY(simt_check(
            device, device->api->copy(s->host, at(buffer, offset + done), bytes, device->stream),
            "copying from the device"));
        HY_TRY(simt_submitted(device, &s->number));
        HY_TRY(simt_settle(device, s->number));
        memcpy((char *)dst + done, s->host, bytes);
        done += bytes;
    }
    return HY_OK;
}

/* The Vulkan driver: buffers and their segments, staging, lists, timelines, loss, the cache on disk. Needs a
 * device that can be opened (vulkan:0; a software one will do) and says so where there is none. Failures are
 * made by other functions in the device's table (vulkan_device.vk). */
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/gpu/layout.h"
#include "backends/vulkan/vulkan.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "base/rng.h"

enum { MIB = 1 << 20, GUARD = 0xa5 };

static char cache_home[] = "/tmp/halyard-vulkan-XXXXXX";
static bool have_device;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

/* Fails unless `status` is `want` and the line says `text`. */
static void fails(hy_status status, hy_status want, const char *text) {
    if (status != want || !strstr(hy_error_text(), text))
        fail_msg("%s: \"%s\", not %s: \"%s\"", hy_status_name(status), hy_error_text(),
                 hy_status_name(want), text);
    assert_null(strchr(hy_error_text(), '\n'));
}

static vulkan_device *open_device(void) {
    hy_device *device;
    if (!have_device) skip();
    ok(vulkan_open(0, NULL, &device));
    return (vulkan_device *)device;
}

static hy_buffer *new_buffer(vulkan_device *device, hy_heap heap, uint64_t size) {
    hy_buffer *buffer;
    ok(vulkan_buffer_new(&device->gpu.base, heap, size, &buffer));
    assert_int_equal(buffer->size, size);
    return buffer;
}

static uint8_t *random_bytes(uint64_t size, uint64_t seed) {
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    hy_rng rng = hy_rng_seed(seed);
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)hy_rng_u32(&rng);
    return bytes;
}

/* ---- memory types -------------------------------------------------------------------------------- */

enum {
    L = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    M = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    C = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    U = 0xc0 /* VK_AMD_device_coherent_memory: needs a feature */
};

typedef struct machine {
    const char *name;
    uint32_t type[8][2]; /* flags, heap */
    uint32_t types, heap_mib[3];
    bool discrete;
    uint32_t allowed, want[3]; /* device, host, host for reading */
} machine;

static const machine machines[] = {
    {"window",
     {{0, 1}, {L, 0}, {M, 1}, {M | C, 1}, {L | M, 2}},
     5,
     {8192, 16384, 256},
     true,
     31,
     {1, 2, 3}},
    {"whole",
     {{L, 0}, {M, 1}, {L | M, 0}, {M | C, 1}, {L | U, 0}, {M | U, 1}},
     6,
     {8192, 16384},
     true,
     63,
     {0, 1, 3}},
    {"no bare local", {{M, 1}, {M | C, 1}, {L | M, 0}}, 3, {8192, 16384}, true, 7, {2, 0, 1}},
    {"integrated", {{L, 0}, {L | M, 0}, {L | M | C, 0}}, 3, {16384}, false, 7, {0, 1, 2}},
    {"carve-out", {{L, 0}, {M, 1}, {L | M, 0}, {M | C, 1}}, 4, {512, 8192}, false, 15, {0, 1, 3}},
    {"one type", {{L | M | C, 0}}, 1, {2048}, false, 1, {0, 0, 0}},
    {"not allowed", {{L, 0}, {L, 0}, {M, 1}, {M | C, 1}}, 4, {8192, 16384}, true, 14, {1, 2, 3}},
    {"uncached only", {{L, 0}, {M, 1}}, 2, {8192, 16384}, true, 3, {0, 1, 1}},
};

static void memory_types(void **state) {
    (void)state;
    vulkan_device *device = calloc(1, sizeof *device);
    assert_non_null(device);
    for (size_t i = 0; i < HY_COUNT_OF(machines); i++) {
        const machine *m = &machines[i];
        memset(&device->memory, 0, sizeof device->memory);
        device->memory.memoryTypeCount = m->types;
        for (uint32_t t = 0; t < m->types; t++)
            device->memory.memoryTypes[t] = (VkMemoryType){m->type[t][0], m->type[t][1]};
        for (uint32_t h = 0; h < 3; h++)
            device->memory.memoryHeaps[h].size = (uint64_t)m->heap_mib[h] << 20;
        ok(vulkan_choose_types(device, m->allowed, m->discrete));
        if (device->device_type != m->want[0] || device->host_type != m->want[1] ||
            device->host_read_type != m->want[2])
            fail_msg("%s: %u, %u, %u", m->name, device->device_type, device->host_type,
                     device->host_read_type);
    }
    fails(vulkan_choose_types(device, 1, true), HY_E_DEVICE,
          "host buffers"); /* type 0 is not mapped */
    free(device);
}

/* ---- buffers ------------------------------------------------------------------------------------- */

/* The whole buffer against what it must hold. */
static void check_contents(hy_buffer *buffer, const uint8_t *want) {
    uint8_t *got = malloc(buffer->size);
    assert_non_null(got);
    memset(got, GUARD, buffer->size);
    ok(vulkan_read(buffer, 0, got, buffer->size));
    for (uint64_t i = 0; i < buffer->size; i++) {
        if (got[i] != want[i])
            fail_msg("byte %llu of %llu is %02x, not %02x", (unsigned long long)i,
                     (unsigned long long)buffer->size, got[i], want[i]);
    }
    free(got);
}

/* Overwrites parts of a buffer, reads parts, and compares all of it at the end. */
static void round_trips(vulkan_device *device, hy_heap heap, uint64_t size, uint32_t tries) {
    hy_buffer *buffer = new_buffer(device, heap, size);
    uint8_t *shadow = random_bytes(size, size), *other = random_bytes(size, size + 1);
    uint8_t *part = malloc(size);
    hy_rng rng = hy_rng_seed(7);
    assert_non_null(part);
    ok(vulkan_write(buffer, 0, shadow, size));
    check_contents(buffer, shadow);
    for (uint32_t i = 0; i < tries; i++) {
        const uint64_t offset = hy_rng_u32(&rng) % size;
        const uint64_t most = i % 2 ? 100 : size; /* short ones, and long ones */
        const uint64_t bytes = hy_rng_u32(&rng) % HY_MIN(most, size - offset) + 1;
        memcpy(part, other + size - bytes, bytes);
        memcpy(shadow + offset, part, bytes);
        ok(vulkan_write(buffer, offset, part, bytes));
        memset(part, GUARD, bytes); /* the source is the caller's again */
        const uint64_t from = hy_rng_u32(&rng) % size;
        const uint64_t count = hy_rng_u32(&rng) % HY_MIN(most, size - from) + 1;
        ok(vulkan_read(buffer, from, part, count));
        assert_memory_equal(part, shadow + from, count);
    }
    ok(vulkan_write(buffer, 0, NULL, 0));
    ok(vulkan_read(buffer, size, NULL, 0));
    check_contents(buffer, shadow);
    free(part);
    free(other);
    free(shadow);
    hy_buffer_free(buffer);
}

static void buffers(void **state) {
    (void)state;
    vulkan_device *device = open_device();
    const uint64_t sizes[] = {1, 3, 255, 256, 257, 65537, 3 * MIB + 5};
    for (size_t i = 0; i < HY_COUNT_OF(sizes); i++) {
        round_trips(device, HY_HEAP_DEVICE, sizes[i], 6);
        round_trips(device, HY_HEAP_HOST, sizes[i], 6);
    }
    hy_buffer *host = new_buffer(device, HY_HEAP_HOST, 1000);
    const gpu_buffer *gpu = (const gpu_buffer *)host;
    assert_non_null(host->host);
    assert_int_equal((uintptr_t)host->host % HY_VIEW_ALIGN, 0);
    assert_int_equal(gpu->address[0] % HY_VIEW_ALIGN, 0);
    assert_int_equal(gpu_address((hy_view){host, 700, 1}), gpu->address[0] + 700);
    hy_buffer_free(host);
    char memory[64];
    fails(vulkan_buffer_import(&device->gpu.base, memory, sizeof memory, &host), HY_E_UNSUPPORTED,
          "vulkan: ");
    vulkan_close(&device->gpu.base);
}

static void segments(void **state) {
    (void)state;
    vulkan_device *device = open_device();
    device->max_allocation = MIB;
    hy_buffer *buffer = new_buffer(device, HY_HEAP_DEVICE, 5 * MIB + 300);
    const gpu_buffer *gpu = (const gpu_buffer *)buffer;
    assert_int_equal(((vulkan_buffer *)buffer)->segments, 6);
    assert_int_equal(gpu->segment, MIB);
    for (uint64_t i = 0; i < 6; i++) {
        assert_int_equal(gpu->address[i] % HY_VIEW_ALIGN, 0);
        assert_int_equal(gpu_address((hy_view){buffer, i * MIB + 256, 1}), gpu->address[i] + 256);
    }
    hy_buffer_free(buffer);
    round_trips(device, HY_HEAP_DEVICE, MIB, 8);
    round_trips(device, HY_HEAP_DEVICE, MIB + 1, 8);
    round_trips(device, HY_HEAP_DEVICE, 5 * MIB + 300, 30);
    device->max_allocation = 256;
    round_trips(device, HY_HEAP_DEVICE, 1031, 30);
    device->max_allocation = 5 * MIB + 256; /* neither divides the other */
    round_trips(device, HY_HEAP_DEVICE, 3 * (uint64_t)GPU_STAGE + 777, 8);
    fails(vulkan_buffer_new(&device->gpu.base, HY_HEAP_HOST, 6 * MIB, &buffer), HY_E_MEMORY,
          "6291456 bytes");
    vulkan_close(&device->gpu.base);
}

/* ---- failing and odd drivers --------------------------------------------------------------------- */

static vulkan_functions real;
static uint32_t allocations, allocations_left; /* alive; that succeed yet */

static VkResult VKAPI_CALL few_allocations(VkDevice device, const VkMemoryAllocateInfo *info,
                                           const VkAllocationCallbacks *callbacks,
                                           VkDeviceMemory *out) {
    if (!allocations_left) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    allocations_left--;
    allocations++;
    return real.AllocateMemory(device, info, callbacks, out);
}

static void VKAPI_CALL free_counted(VkDevice device, VkDeviceMemory memory,
                                    const VkAllocationCallbacks *callbacks) {
    if (memory) allocations--;
    real.FreeMemory(device, memory, callbacks);
}

enum { ODD = 64 };

static VkResult VKAPI_CALL roomy_allocation(VkDevice device, const VkMemoryAllocateInfo *info,
                                            const VkAllocationCallbacks *callbacks,
                                            VkDeviceMemory *out) {
    VkMemoryAllocateInfo larger = *info;
    larger.allocationSize += ODD;
    return few_allocations(device, &larger, callbacks, out);
}

static VkResult VKAPI_CALL bind_odd(VkDevice device, VkBuffer buffer, VkDeviceMemory memory,
                                    VkDeviceSize offset) {
    return real.BindBufferMemory(device, buffer, memory, offset + ODD);
}

static void out_of_memory(void **state) {
    (void)state;
    vulkan_device *device = open_device();
    hy_device *base = &device->gpu.base;
    hy_buffer *buffer = NULL;
    fails(vulkan_buffer_new(base, HY_HEAP_DEVICE, UINT64_C(1) << 60, &buffer), HY_E_MEMORY,
          "1152921504606846976 bytes");
    fails(vulkan_buffer_new(base, HY_HEAP_DEVICE, UINT64_MAX, &buffer), HY_E_MEMORY,
          "18446744073709551615 bytes");
    fails(vulkan_buffer_new(base, HY_HEAP_HOST, UINT64_MAX - 255, &buffer), HY_E_MEMORY, "heap");
    real = device->vk;
    allocations = 0;
    device->vk.AllocateMemory = few_allocations;
    device->vk.FreeMemory = free_counted;
    device->max_allocation = 4096;
    for (allocations_left = 0; allocations_left < 4;) {
        const uint32_t succeed = allocations_left;
        fails(vulkan_buffer_new(base, HY_HEAP_DEVICE, 5 * 4096, &buffer), HY_E_MEMORY,
              "20480 bytes");
        assert_int_equal(allocations, 0);
        allocations_left = succeed + 1;
    }
    assert_null(buffer);
    allocations_left = 5;
    round_trips(device, HY_HEAP_DEVICE, 5 * 4096, 4); /* none of it sticks */
    device->vk = real;
    vulkan_close(base);
}

/* Packs rows of q4_0 by a kernel, which goes by addresses, and reads them by copies. */
static void pack_and_unpack(vulkan_device *device, uint32_t rows, uint32_t columns,
                            hy_buffer *other, const uint8_t *noise) {
    const hy_dtype_info *info = hy_dtype_get(HY_DTYPE_Q4_0);
    const uint64_t row = hy_dtype_row_bytes(info, columns);
    const uint64_t bytes = (uint64_t)rows * gpu_layout_of(HY_DTYPE_Q4_0, columns).row_bytes;
    const hy_kernel kernel = {.constant[1] = {GPU_LAYOUT_P16, 1, bytes}};
    const uint32_t dim[2] = {rows, columns};
    hy_op op = {.kind = HY_OP_MATMUL};
    op.operand[1] = hy_tensor_of(HY_DTYPE_Q4_0, 2, dim, HY_COUNTER_NONE);
    uint8_t *file = random_bytes(rows * row, 3), *back = malloc(rows * row);
    hy_buffer *packed = new_buffer(device, HY_HEAP_DEVICE, bytes);
    assert_non_null(back);
    for (uint32_t half = 0; half < 2; half++) { /* the second one first */
        const uint32_t first = half ? 0 : rows / 2, count = half ? rows / 2 : rows - rows / 2;
        ok(gpu_pack(&device->gpu.base, &op, &kernel, 1, first, count, file + first * row,
                    hy_view_of(packed)));
        for (uint32_t i = 0; i < 5 && other; i++)
            ok(vulkan_write(other, 0, noise, other->size));
    }
    ok(gpu_unpack(&device->gpu.base, &op, &kernel, 1, hy_view_of(packed), back));
    assert_memory_equal(back, file, rows * row);
    free(file);
    free(back);
    hy_buffer_free(packed);
}

/* Addresses that are not aligned are moved up, and copies follow them. */
static void odd_addresses(void **state) {
    (void)state;
    vulkan_device *device = open_device();
    VkMemoryRequirements needs;
    hy_buffer *buffer = new_buffer(device, HY_HEAP_DEVICE, 20000);
    device->vk.GetBufferMemoryRequirements(device->handle, ((vulkan_buffer *)buffer)->buffer[0],
                                           &needs);
    hy_buffer_free(buffer);
    if (needs.alignment > ODD) { /* then this driver's addresses are as they should */
        print_message("skipped: this driver binds at multiples of %u\n", (uint32_t)needs.alignment);
        vulkan_close(&device->gpu.base);
        skip();
    }
    real = device->vk;
    allocations = 0;
    allocations_left = UINT32_MAX;
    device->vk.AllocateMemory = roomy_allocation;
    device->vk.FreeMemory = free_counted;
    device->vk.BindBufferMemory = bind_odd;
    pack_and_unpack(device, 37, 256, NULL, NULL);
    device->max_allocation = 8192;
    buffer = new_buffer(device, HY_HEAP_DEVICE, 20000);
    assert_int_equal(gpu_address((hy_view){buffer, 8192, 1}) % HY_VIEW_ALIGN, 0);
    assert_int_equal(((vulkan_buffer *)buffer)->skew[1], HY_VIEW_ALIGN - ODD);
    hy_buffer_free(buffer);
    round_trips(device, HY_HEAP_DEVICE, 20000, 10);
    fails(vulkan_buffer_new(&device->gpu.base, HY_HEAP_HOST, 100, &buffer), HY_E_DEVICE, "aligned");
    assert_int_equal(allocations, 0);
    device->vk = real;
    vulkan_close(&device->gpu.base);
}

/* ---- lists --------------------------------------------------------------------------------------- */

typedef struct lists {
    vulkan_device *device;
    hy_buffer *in, *middle, *out, *counters;
    hy_cmd *cmd;
    hy_timeline *timeline;
} lists;

/* One list: in -> middle, a barrier, middle -> out shifted by 5 bytes; middle has segments. */
static lists record_copies(uint64_t size) {
    lists l = {.device = open_device()};
    hy_device *base = &l.device->gpu.base;
    l.in = new_buffer(l.device, HY_HEAP_HOST, size);
    l.out = new_buffer(l.device, HY_HEAP_HOST, size + 5);
    l.counters = new_buffer(l.device, HY_HEAP_DEVICE, 256);
    l.device->max_allocation = 4096;
    l.middle = new_buffer(l.device, HY_HEAP_DEVICE, size);
    ok(vulkan_timeline_new(base, &l.timeline));
    ok(vulkan_cmd_new(base, hy_view_of(l.counters), &l.cmd));
    fails(vulkan_submit(base, l.cmd, l.timeline, 1), HY_E_STATE, "not sealed");
    ok(gpu_cmd_copy(l.cmd, hy_view_of(l.middle), hy_view_of(l.in)));
    ok(gpu_cmd_barrier(l.cmd));
    ok(gpu_cmd_copy(l.cmd, (hy_view){l.out, 5, size}, hy_view_of(l.middle)));
    ok(gpu_cmd_seal(l.cmd));
    return l;
}

static void free_lists(lists *l) {
    hy_timeline_free(l->timeline);
    hy_cmd_free(l->cmd);
    hy_buffer_free(l->in);
    hy_buffer_free(l->middle);
    hy_buffer_free(l->out);
    hy_buffer_free(l->counters);
    vulkan_close(&l->device->gpu.base);
}

static void replays(void **state) {
    (void)state;
    enum { SIZE = 30001 };
    lists l = record_copies(SIZE);
    hy_device *base = &l.device->gpu.base;
    uint64_t value;
    memset(l.out->host, GUARD, 5);
    ok(vulkan_timeline_value(l.timeline, &value));
    assert_int_equal(value, 0);
    for (uint32_t round = 1; round <= 4; round++) {
        uint8_t *bytes = random_bytes(SIZE, round);
        memcpy(l.in->host, bytes, SIZE);
        ok(vulkan_submit(base, l.cmd, l.timeline, 10 * round));
        ok(vulkan_timeline_wait(l.timeline, 10 * round, UINT64_MAX));
        assert_memory_equal((char *)l.out->host + 5, bytes, SIZE);
        assert_int_equal(*(uint8_t *)l.out->host, GUARD);
        ok(vulkan_timeline_value(l.timeline, &value));
        assert_int_equal(value, 10 * round);
        free(bytes);
    }
    for (uint32_t i = 1; i <= 20; i++) /* many at a time, some without a timeline */
        ok(vulkan_submit(base, l.cmd, i % 3 ? l.timeline : NULL, 100 + i));
    ok(vulkan_timeline_wait(l.timeline, 120, UINT64_MAX));
    ok(vulkan_submit(base, l.cmd, NULL, 0));
    free_lists(&l); /* pending lists are waited for */
}

/* A list sees what was written before it was submitted, and a read sees what the list wrote. */
static void writes_and_lists(void **state) {
    (void)state;
    enum { SIZE = 100000 };
    vulkan_device *device = open_device();
    hy_device *base = &device->gpu.base;
    hy_buffer *a = new_buffer(device, HY_HEAP_DEVICE, SIZE),
              *b = new_buffer(device, HY_HEAP_DEVICE, SIZE);
    hy_timeline *timeline;
    hy_cmd *cmd;
    ok(vulkan_timeline_new(base, &timeline));
    ok(vulkan_cmd_new(base, (hy_view){a, 0, 256}, &cmd));
    ok(gpu_cmd_copy(cmd, hy_view_of(b), hy_view_of(a)));
    ok(gpu_cmd_seal(cmd));
    for (uint32_t round = 1; round <= 5; round++) {
        uint8_t *bytes = random_bytes(SIZE, round);
        ok(vulkan_write(a, 0, bytes, SIZE));
        ok(vulkan_write(b, 0, bytes + 1, SIZE - 1)); /* to be overwritten */
        ok(vulkan_submit(base, cmd, timeline, round));
        ok(vulkan_timeline_wait(timeline, round, UINT64_MAX));
        check_contents(b, bytes);
        free(bytes);
    }
    hy_cmd_free(cmd);
    hy_timeline_free(timeline);
    hy_buffer_free(a);
    hy_buffer_free(b);
    vulkan_close(base);
}

/* ---- timelines ----------------------------------------------------------------------------------- */

typedef struct waiter {
    pthread_t thread;
    hy_timeline *timeline;
    uint64_t value, timeout_us;
    hy_status status;
} waiter;

static void *wait_for(void *context) {
    waiter *w = context;
    uint64_t value = 0;
    w->status = vulkan_timeline_wait(w->timeline, w->value, w->timeout_us);
    if (w->status == HY_OK) w->status = vulkan_timeline_value(w->timeline, &value);
    if (w->status == HY_OK && value < w->value) w->status = HY_E_INTERNAL;
    return NULL;
}

static void start(waiter *w, hy_timeline *timeline, uint64_t value) {
    *w = (waiter){.timeline = timeline, .value = value, .timeout_us = UINT64_MAX};
    assert_int_equal(pthread_create(&w->thread, NULL, wait_for, w), 0);
}

static void timelines(void **state) {
    (void)state;
    lists l = record_copies(5000);
    waiter waiters[4];
    for (uint32_t i = 0; i < 4; i++)
        start(&waiters[i], l.timeline, 3 * (i + 1));
    const uint64_t before = hy_clock_ns();
    fails(vulkan_timeline_wait(l.timeline, 1, 0), HY_E_TIMEOUT, "vulkan: ");
    fails(vulkan_timeline_wait(l.timeline, 1, 30000), HY_E_TIMEOUT, "30000 us");
    assert_true(hy_clock_ns() - before >= 30000000);
    for (uint32_t value = 1; value <= 12; value++)
        ok(vulkan_submit(&l.device->gpu.base, l.cmd, l.timeline, value));
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(waiters[i].thread, NULL), 0);
        assert_int_equal(waiters[i].status, HY_OK);
    }
    ok(vulkan_timeline_wait(l.timeline, 12, 0));
    free_lists(&l);
}

/* Waiting for what nobody has submitted is no sign of loss. */
static void patience_while_idle(void **state) {
    (void)state;
    lists l = record_copies(5000);
    const uint64_t patience_us = l.device->patience_us;
    l.device->patience_us = 20000;
    fails(vulkan_timeline_wait(l.timeline, 1, 150000), HY_E_TIMEOUT, "vulkan: ");
    l.device->patience_us = patience_us;
    ok(vulkan_submit(&l.device->gpu.base, l.cmd, l.timeline, 1));
    ok(vulkan_timeline_wait(l.timeline, 1, UINT64_MAX));
    free_lists(&l);
}

static VkResult VKAPI_CALL submit_nothing(VkQueue queue, uint32_t count, const VkSubmitInfo *info,
                                          VkFence fence) {
    (void)queue, (void)count, (void)info, (void)fence;
    return VK_SUCCESS;
}

static VkResult VKAPI_CALL submit_lost(VkQueue queue, uint32_t count, const VkSubmitInfo *info,
                                       VkFence fence) {
    (void)queue, (void)count, (void)info, (void)fence;
    return VK_ERROR_DEVICE_LOST;
}

/* Every call says so, and nothing waits for the device. */
static void check_lost(lists *l) {
    hy_device *base = &l->device->gpu.base;
    hy_buffer *buffer;
    hy_cmd *cmd;
    hy_timeline *timeline;
    uint64_t value;
    char byte = 0;
    fails(vulkan_submit(base, l->cmd, l->timeline, 9), HY_E_DEVICE, "lost");
    fails(vulkan_timeline_value(l->timeline, &value), HY_E_DEVICE, "lost");
    fails(vulkan_timeline_wait(l->timeline, 0, 0), HY_E_DEVICE, "lost");
    fails(vulkan_write(l->middle, 0, &byte, 1), HY_E_DEVICE, "lost");
    fails(vulkan_read(l->middle, 0, &byte, 1), HY_E_DEVICE, "lost");
    fails(vulkan_write(l->in, 0, &byte, 1), HY_E_DEVICE, "lost");
    fails(vulkan_buffer_new(base, HY_HEAP_DEVICE, 1, &buffer), HY_E_DEVICE, "lost");
    fails(vulkan_cmd_new(base, hy_view_of(l->counters), &cmd), HY_E_DEVICE, "lost");
    fails(vulkan_timeline_new(base, &timeline), HY_E_DEVICE, "lost");
}

static void hang(void **state) {
    (void)state;
    lists l = record_copies(5000);
    waiter other;
    ok(vulkan_submit(&l.device->gpu.base, l.cmd, l.timeline, 1));
    ok(vulkan_timeline_wait(l.timeline, 1, UINT64_MAX));
    l.device->patience_us = 1000000;
    l.device->vk.QueueSubmit = submit_nothing;
    start(&other, l.timeline, 77);
    ok(vulkan_submit(&l.device->gpu.base, l.cmd, l.timeline, 2));
    fails(vulkan_timeline_wait(l.timeline, 2, 1000), HY_E_TIMEOUT, "1000 us"); /* not yet */
    const hy_status status = vulkan_timeline_wait(l.timeline, 2, UINT64_MAX);
    assert_int_equal(status, HY_E_DEVICE); /* whichever thread noticed */
    assert_int_equal(pthread_join(other.thread, NULL), 0);
    assert_int_equal(other.status, HY_E_DEVICE);
    check_lost(&l);
    free_lists(&l);
}

static void loss(void **state) {
    (void)state;
    lists l = record_copies(5000);
    waiter other;
    start(&other, l.timeline, 77);
    l.device->vk.QueueSubmit = submit_lost;
    fails(vulkan_submit(&l.device->gpu.base, l.cmd, l.timeline, 1), HY_E_DEVICE,
          "vkQueueSubmit: VK_ERROR_DEVICE_LOST");
    assert_int_equal(pthread_join(other.thread, NULL), 0);
    assert_int_equal(other.status, HY_E_DEVICE);
    check_lost(&l);
    free_lists(&l);
}

/* ---- staged launches ----------------------------------------------------------------------------- */

/* Several slots' bytes, while other writes go on. */
static void staged_launches(void **state) {
    (void)state;
    enum { NOISE = 70000 };
    vulkan_device *device = open_device();
    uint8_t *noise = random_bytes(NOISE, 4);
    hy_buffer *other = new_buffer(device, HY_HEAP_DEVICE, NOISE);
    pack_and_unpack(device, 4099, 8192, other, noise);
    check_contents(other, noise);
    free(noise);
    hy_buffer_free(other);
    vulkan_close(&device->gpu.base);
}

/* stage() keeps its slot through any number of writes and launches. */
static void stage_holds(void **state) {
    (void)state;
    vulkan_device *device = open_device();
    gpu_device *gpu = &device->gpu;
    hy_buffer *other = new_buffer(device, HY_HEAP_DEVICE, 4096);
    uint8_t *noise = random_bytes(4096, 4), *bytes = random_bytes(GPU_STAGE, 5);
    void *host, *next;
    uint64_t address, second;
    ok(vulkan_stage(gpu, GPU_STAGE, &host, &address));
    memcpy(host, bytes, GPU_STAGE);
    for (uint32_t i = 0; i < 9; i++)
        ok(vulkan_write(other, 0, noise, 4096));
    assert_memory_equal(host, bytes, GPU_STAGE);
    ok(vulkan_stage(gpu, 1, &next, &second));
    assert_true(second != address);
    fails(vulkan_stage(gpu, GPU_STAGE + 1, &next, &second), HY_E_INTERNAL, "staging");
    free(noise);
    free(bytes);
    hy_buffer_free(other);
    vulkan_close(&gpu->base);
}

/* ---- kernels and their cache --------------------------------------------------------------------- */

static VkResult VKAPI_CALL no_pipeline(VkDevice device, VkPipelineCache cache, uint32_t count,
                                       const VkComputePipelineCreateInfo *info,
                                       const VkAllocationCallbacks *callbacks, VkPipeline *out) {
    (void)device, (void)cache, (void)count, (void)info, (void)callbacks, (void)out;
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static void kernels(void **state) {
    (void)state;
    vulkan_device *device = open_device();
    gpu_launch launch = {.entry = "pack", .threads = 64, .grid = {1, 1, 1}};
    uint64_t first, again, other;
    real = device->vk;
    device->vk.CreateComputePipelines = no_pipeline;
    fails(vulkan_kernel(&device->gpu, &launch, &first), HY_E_MEMORY, "kernel pack");
    device->vk = real;
    ok(vulkan_kernel(&device->gpu, &launch, &first));
    ok(vulkan_kernel(&device->gpu, &launch, &again));
    assert_int_equal(first, again);
    char copy[] = "pack"; /* by text, not by address */
    launch.entry = copy;
    ok(vulkan_kernel(&device->gpu, &launch, &again));
    assert_int_equal(first, again);
    launch.entry = "pack";
    launch.constant[GPU_CONSTANTS - 1] = 1;
    ok(vulkan_kernel(&device->gpu, &launch, &other));
    assert_true(other != first);
    assert_int_equal(device->pipeline_count, 2);
    launch.entry = "no.such.module";
    fails(vulkan_kernel(&device->gpu, &launch, &other), HY_E_UNSUPPORTED, "no.such.module");
    vulkan_close(&device->gpu.base);
}

/* Opens, makes one pipeline and closes. Returns the bytes taken from disk. */
static size_t use_cache(char *path, size_t capacity) {
    vulkan_device *device = open_device();
    const gpu_launch launch = {.entry = "pack", .threads = 64};
    const size_t bytes = device->cache_bytes;
    uint64_t kernel;
    snprintf(path, capacity, "%s", device->cache_path);
    ok(vulkan_kernel(&device->gpu, &launch, &kernel));
    vulkan_close(&device->gpu.base);
    return bytes;
}

static void write_file(const char *path, const uint8_t *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

/* As in kernel.c: FNV-1a of all but the last 8 bytes, into those. */
static void sign(uint8_t *data, size_t size) {
    uint64_t sum = 0xcbf29ce484222325;
    for (size_t i = 0; i < size - 8; i++)
        sum = (sum ^ data[i]) * 0x100000001b3;
    for (int i = 0; i < 8; i++)
        data[size - 8 + i] = (uint8_t)(sum >> 8 * i);
}

static void cache_on_disk(void **state) {
    (void)state;
    char path[512], again[512];
    uint8_t *data;
    size_t size;
    use_cache(path, sizeof path); /* writes it, unless an earlier test has */
    assert_int_equal(strncmp(path, cache_home, strlen(cache_home)), 0);
    ok(hy_file_read(path, 1 << 30, &data, &size));
    assert_true(size >= 40);
    assert_int_equal(use_cache(again, sizeof again), size - 8);
    assert_string_equal(path, again);
    /* Damage: cut short, one bit in the middle, another device's though rightly signed, empty. */
    for (uint32_t damage = 0; damage < 5; damage++) {
        uint8_t *bad = malloc(size);
        assert_non_null(bad);
        memcpy(bad, data, size);
        if (damage == 1) bad[size / 2] ^= 1;
        if (damage == 2) bad[16] ^= 1; /* the driver's build */
        if (damage == 3) bad[12] ^= 1; /* device */
        if (damage > 1) sign(bad, size);
        const size_t bytes[] = {size - 3, size, size, size, 0};
        write_file(path, bad, bytes[damage]);
        assert_int_equal(use_cache(again, sizeof again), 0);
        assert_int_equal(use_cache(again, sizeof again), size - 8); /* written anew */
        free(bad);
    }
    free(data);
    unlink(path);
}

static void cache_unwritable(void **state) {
    (void)state;
    char path[512], file[64];
    if (!have_device) skip();
    snprintf(file, sizeof file, "%s/file", cache_home);
    write_file(file, (const uint8_t *)"", 0);
    setenv("XDG_CACHE_HOME", file, 1); /* a file is no folder */
    use_cache(path, sizeof path);
    assert_true(access(path, F_OK) != 0);
    unsetenv("XDG_CACHE_HOME");
    char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    unsetenv("HOME");
    use_cache(path, sizeof path);
    assert_string_equal(path, "");
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", cache_home, 1);
    use_cache(path, sizeof path);
    assert_non_null(strstr(path, "/.cache/halyard/vulkan-"));
    assert_int_equal(strncmp(path, cache_home, strlen(cache_home)), 0);
    assert_int_equal(access(path, R_OK), 0);
    unlink(path);
    if (home) setenv("HOME", home, 1);
    free(home);
    setenv("XDG_CACHE_HOME", cache_home, 1);
    unlink(file);
}

/* ---- set-up -------------------------------------------------------------------------------------- */

static int set_up(void **state) {
    (void)state;
    const vulkan_loader
        *loader; /* never closed: a driver that is unloaded seems to leak its globals */
    hy_device_info infos[8];
    uint32_t count = 0;
    if (!mkdtemp(cache_home) || chdir(cache_home) != 0) return -1;
    setenv("XDG_CACHE_HOME", cache_home, 1);
    if (vulkan_loader_open(&loader) != HY_OK ||
        vulkan_devices(infos, HY_COUNT_OF(infos), &count) != HY_OK)
        print_message("skipped: %s\n", hy_error_text());
    else if (!count || infos[0].unusable)
        print_message("skipped: no usable Vulkan device%s%s\n", count ? ": " : "",
                      count ? infos[0].detail : "");
    else
        have_device = true;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk) {
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

/* Drivers keep files of their own there. */
static int tear_down(void **state) {
    (void)state;
    return nftw(cache_home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_types),
        cmocka_unit_test(buffers),
        cmocka_unit_test(segments),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(odd_addresses),
        cmocka_unit_test(replays),
        cmocka_unit_test(writes_and_lists),
        cmocka_unit_test(timelines),
        cmocka_unit_test(patience_while_idle),
        cmocka_unit_test(hang),
        cmocka_unit_test(loss),
        cmocka_unit_test(staged_launches),
        cmocka_unit_test(stage_holds),
        cmocka_unit_test(kernels),
        cmocka_unit_test(cache_on_disk),
        cmocka_unit_test(cache_unwritable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

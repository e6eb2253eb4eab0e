/* backends/vulkan/memory.c: memory types, buffers and their segments, and staging.
 *
 * A buffer larger than what the driver allocates at once consists of equal segments, each a VkBuffer with
 * memory of its own. Device memory is written and read through staging slots: host-visible buffers that go
 * round, each with a command buffer. A write returns when its source is copied into a slot; everything that
 * looks at its effect is on the same queue, behind a barrier. */
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan.h"
#include "base/num.h"

enum {
    SLOTS = 3,
    NONE = UINT32_MAX,
    ARGS_ROOM = 1 << 10 /* bytes behind a slot's GPU_STAGE */
};
_Static_assert(sizeof(hy_args) <= ARGS_ROOM, "a slot has room for an argument block");

typedef struct slot {
    vulkan_buffer *buffer;
    VkCommandBuffer commands;
    uint64_t number; /* of the submission that used it last */
} slot;

struct vulkan_staging {
    slot slot[SLOTS]; /* host to device */
    slot back;        /* device to host */
    uint32_t next;    /* slot */
    uint32_t held;    /* by stage(); NONE */
    uint64_t number;  /* of our last submission that no flush has waited for; 0: none */
};

/* ---- memory types -------------------------------------------------------------------------------- */

#define USAGE                                                                                      \
    (VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |                       \
     VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT)
#define LOCAL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define CACHED VK_MEMORY_PROPERTY_HOST_CACHED_BIT
#define MAPPED (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)

static hy_status create_buffer(vulkan_device *device, uint64_t size, VkBuffer *out,
                               VkMemoryRequirements *needs) {
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = size, .usage = USAGE};
    HY_TRY(vulkan_check(device, device->vk.CreateBuffer(device->handle, &info, NULL, out),
                        "vkCreateBuffer"));
    device->vk.GetBufferMemoryRequirements(device->handle, *out, needs);
    return HY_OK;
}

static uint64_t heap_bytes(const vulkan_device *device, uint32_t type) {
    return device->memory.memoryHeaps[device->memory.memoryTypes[type].heapIndex].size;
}

/* Among the types of `allowed` that have all of `must`: most of `want`, then fewest of `avoid`, then the
 * largest heap, then the first (drivers list faster ones first). NONE if there is none. Types with properties
 * that need a feature or suit no buffer (protected, lazily allocated, uncached) are left out. */
static uint32_t choose_type(const vulkan_device *device, uint32_t allowed,
                            VkMemoryPropertyFlags must, VkMemoryPropertyFlags want,
                            VkMemoryPropertyFlags avoid) {
    const VkMemoryPropertyFlags usual = LOCAL | MAPPED | CACHED;
    uint32_t best = NONE;
    int best_score = 0;
    for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
        const VkMemoryPropertyFlags flags = device->memory.memoryTypes[i].propertyFlags;
        if (!(allowed >> i & 1) || (flags & must) != must || flags & ~usual) continue;
        const int score = 8 * __builtin_popcount(flags & want) - __builtin_popcount(flags & avoid);
        const bool better =
            best == NONE || score > best_score ||
            (score == best_score && heap_bytes(device, i) > heap_bytes(device, best));
        if (!better) continue;
        best = i;
        best_score = score;
    }
    return best;
}

hy_status vulkan_choose_types(vulkan_device *device, uint32_t allowed, bool discrete) {
    /* On a discrete device what the host sees of its memory is a window, often a small one. */
    device->device_type = choose_type(device, allowed, 0, LOCAL, discrete ? MAPPED | CACHED : 0);
    device->host_type = choose_type(device, allowed, MAPPED, 0, discrete ? CACHED | LOCAL : CACHED);
    device->host_read_type = choose_type(device, allowed, MAPPED, CACHED, discrete ? LOCAL : 0);
    if (device->device_type == NONE || device->host_type == NONE)
        return hy_fail(HY_E_DEVICE, "vulkan: %s: no memory type for %s", device->info.name,
                       device->device_type == NONE ? "buffers" : "host buffers");
    return HY_OK;
}

/* The types that a buffer may have do not depend on its size. */
static hy_status choose_types(vulkan_device *device, bool discrete) {
    VkBuffer probe;
    VkMemoryRequirements needs;
    HY_TRY(create_buffer(device, HY_VIEW_ALIGN, &probe, &needs));
    device->vk.DestroyBuffer(device->handle, probe, NULL);
    return vulkan_choose_types(device, needs.memoryTypeBits, discrete);
}

/* ---- buffers ------------------------------------------------------------------------------------- */

static void destroy_segments(vulkan_device *device, vulkan_buffer *buffer) {
    for (uint32_t i = 0; i < buffer->segments; i++) {
        device->vk.DestroyBuffer(device->handle, buffer->buffer[i], NULL);
        device->vk.FreeMemory(device->handle, buffer->memory[i], NULL); /* unmaps */
    }
}

/* One object with the arrays of its segments behind it. */
static hy_status new_object(hy_device *device, uint64_t segments, uint64_t segment, uint64_t size,
                            vulkan_buffer **out) {
    const size_t item = sizeof(VkBuffer) + sizeof(VkDeviceMemory) + 2 * sizeof(uint64_t);
    vulkan_buffer *buffer =
        segments <= UINT32_MAX ? calloc(1, sizeof *buffer + segments * item) : NULL;
    if (!buffer) return hy_fail(HY_E_MEMORY, "vulkan: no memory for a buffer object");
    uint64_t *address = (uint64_t *)(buffer + 1);
    buffer->gpu = (gpu_buffer){.base = {.device = device, .size = size},
                               .segment = segments > 1 ? segment : UINT64_MAX,
                               .address = address};
    buffer->segments = (uint32_t)segments;
    buffer->skew = address + segments;
    buffer->buffer = (VkBuffer *)(buffer->skew + segments);
    buffer->memory = (VkDeviceMemory *)(buffer->buffer + segments);
    *out = buffer;
    return HY_OK;
}

static hy_status fill_segment(vulkan_device *device, vulkan_buffer *buffer, uint32_t i,
                              uint32_t type, uint64_t size) {
    VkMemoryRequirements needs;
    HY_TRY(create_buffer(device, size, &buffer->buffer[i], &needs));
    const VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                             .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    const VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .pNext = &flags,
                                       .allocationSize = needs.size,
                                       .memoryTypeIndex = type};
    HY_TRY(vulkan_check(device,
                        device->vk.AllocateMemory(device->handle, &info, NULL, &buffer->memory[i]),
                        "vkAllocateMemory"));
    return vulkan_check(
        device,
        device->vk.BindBufferMemory(device->handle, buffer->buffer[i], buffer->memory[i], 0),
        "vkBindBufferMemory");
}

/* A segment whose address is aligned: if the driver's is not, once more with room to move in. */
static hy_status make_segment(vulkan_device *device, vulkan_buffer *buffer, uint32_t i,
                              uint32_t type, uint64_t size) {
    uint64_t address = 0, aligned = 0;
    for (uint64_t room = 0; room <= HY_VIEW_ALIGN; room += HY_VIEW_ALIGN) {
        if (room) {
            device->vk.DestroyBuffer(device->handle, buffer->buffer[i], NULL);
            device->vk.FreeMemory(device->handle, buffer->memory[i], NULL);
            buffer->buffer[i] = VK_NULL_HANDLE;
            buffer->memory[i] = VK_NULL_HANDLE;
        }
        HY_TRY(fill_segment(device, buffer, i, type, size + room));
        const VkBufferDeviceAddressInfo info = {
            .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = buffer->buffer[i]};
        address = device->vk.GetBufferDeviceAddress(device->handle, &info);
        if (!address)
            return hy_fail(HY_E_DEVICE, "vulkan: %s: a buffer without an address",
                           device->info.name);
        aligned = hy_align_up(address, HY_VIEW_ALIGN);
        if (aligned == address) break;
    }
    buffer->skew[i] = aligned - address;
    ((uint64_t *)buffer->gpu.address)[i] = aligned;
    return HY_OK;
}

static hy_status map_buffer(vulkan_device *device, vulkan_buffer *buffer) {
    void *host;
    HY_TRY(vulkan_check(
        device, device->vk.MapMemory(device->handle, buffer->memory[0], 0, VK_WHOLE_SIZE, 0, &host),
        "vkMapMemory"));
    host = (char *)host + buffer->skew[0];
    if ((uintptr_t)host % HY_VIEW_ALIGN)
        return hy_fail(HY_E_DEVICE, "vulkan: %s: mapped memory is not aligned to %d bytes",
                       device->info.name, HY_VIEW_ALIGN);
    buffer->gpu.base.host = host;
    return HY_OK;
}

static hy_status fail_size(const vulkan_device *device, uint64_t size, uint32_t type,
                           const char *why) {
    return hy_fail(
        HY_E_MEMORY, "vulkan: %s: no memory for a buffer of %llu bytes (heap %u of %llu MiB%s%s)",
        device->info.name, (unsigned long long)size, device->memory.memoryTypes[type].heapIndex,
        (unsigned long long)(heap_bytes(device, type) >> 20), *why ? "; " : "", why);
}

static hy_status make_buffer(vulkan_device *device, uint32_t type, bool mapped, uint64_t size,
                             vulkan_buffer **out) {
    const uint64_t segment = device->max_allocation;
    uint64_t bytes;
    if (hy_align_overflow(HY_MAX(size, 1), HY_VIEW_ALIGN, &bytes) ||
        bytes > heap_bytes(device, type))
        return fail_size(device, size, type, "");
    const uint64_t segments = hy_div_up(bytes, segment);
    if (mapped && segments > 1)
        return fail_size(device, size, type, "larger than one allocation may be");
    vulkan_buffer *buffer;
    HY_TRY(new_object(&device->gpu.base, segments, segment, size, &buffer));
    hy_status status = HY_OK;
    for (uint32_t i = 0; i < segments && status == HY_OK; i++)
        status = make_segment(device, buffer, i, type, HY_MIN(segment, bytes - i * segment));
    if (status == HY_OK && mapped) status = map_buffer(device, buffer);
    if (status == HY_OK) {
        *out = buffer;
        return HY_OK;
    }
    destroy_segments(device, buffer);
    free(buffer);
    return status == HY_E_MEMORY ? fail_size(device, size, type, "") : status;
}

hy_status vulkan_buffer_new(hy_device *base, hy_heap heap, uint64_t size, hy_buffer **out) {
    vulkan_device *device = (vulkan_device *)base;
    const bool host = heap == HY_HEAP_HOST;
    vulkan_buffer *buffer;
    HY_TRY(vulkan_alive(device));
    HY_TRY(make_buffer(device, host ? device->host_read_type : device->device_type, host, size,
                       &buffer));
    *out = &buffer->gpu.base;
    return HY_OK;
}

hy_status vulkan_buffer_import(hy_device *base, void *host, uint64_t size, hy_buffer **out) {
    (void)host, (void)size, (void)out;
    return hy_fail(HY_E_UNSUPPORTED, "vulkan: %s: host memory is copied, not used in place",
                   ((vulkan_device *)base)->info.name);
}

static void free_buffer(vulkan_buffer *buffer) {
    if (!buffer) return;
    destroy_segments((vulkan_device *)buffer->gpu.base.device, buffer);
    free(buffer);
}

void vulkan_buffer_free(hy_buffer *base) {
    if (!base) return;
    vulkan_device *device = (vulkan_device *)base->device;
    if (device->staging->number) vulkan_quiesce(device, device->staging->number);
    free_buffer((vulkan_buffer *)base);
}

/* ---- copies -------------------------------------------------------------------------------------- */

/* Where `offset` is: the VkBuffer, the place in it, and the bytes up to the segment's end. */
static VkBuffer locate(const vulkan_buffer *buffer, uint64_t offset, uint64_t *place,
                       uint64_t *left) {
    const uint64_t segment = buffer->gpu.segment, i = offset / segment;
    *place = buffer->skew[i] + offset % segment;
    *left = segment - offset % segment;
    return buffer->buffer[i];
}

void vulkan_record_copy(vulkan_device *device, VkCommandBuffer to, hy_view dst, hy_view src) {
    for (uint64_t done = 0; done < src.size;) {
        VkBufferCopy region;
        uint64_t src_left, dst_left;
        const VkBuffer from = locate((const vulkan_buffer *)src.buffer, src.offset + done,
                                     &region.srcOffset, &src_left);
        const VkBuffer into = locate((const vulkan_buffer *)dst.buffer, dst.offset + done,
                                     &region.dstOffset, &dst_left);
        region.size = HY_MIN(HY_MIN(src_left, dst_left), src.size - done);
        device->vk.CmdCopyBuffer(to, from, into, 1, &region);
        done += region.size;
    }
}

/* ---- staging ------------------------------------------------------------------------------------- */

static hy_status slot_open(vulkan_device *device, slot *s, uint32_t type) {
    const VkCommandBufferAllocateInfo info = {.sType =
                                                  VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                              .commandPool = device->pool,
                                              .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                              .commandBufferCount = 1};
    HY_TRY(make_buffer(device, type, true, GPU_STAGE + ARGS_ROOM, &s->buffer));
    return vulkan_check(device,
                        device->vk.AllocateCommandBuffers(device->handle, &info, &s->commands),
                        "vkAllocateCommandBuffers");
}

/* Waits for the slot and starts its command buffer. */
static hy_status slot_begin(vulkan_device *device, slot *s) {
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                           .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    HY_TRY(vulkan_settle(device, s->number));
    HY_TRY(vulkan_check(device, device->vk.BeginCommandBuffer(s->commands, &info),
                        "vkBeginCommandBuffer"));
    vulkan_record_barrier(device, s->commands);
    return HY_OK;
}

static hy_status slot_submit(vulkan_device *device, slot *s) {
    vulkan_record_barrier(device, s->commands);
    HY_TRY(vulkan_check(device, device->vk.EndCommandBuffer(s->commands), "vkEndCommandBuffer"));
    HY_TRY(vulkan_queue_submit(device, s->commands, VK_NULL_HANDLE, 0));
    s->number = device->staging->number = atomic_load(&device->submitted);
    return HY_OK;
}

/* The next slot that stage() does not hold, once it is free. */
static hy_status take_slot(vulkan_device *device, slot **out) {
    vulkan_staging *staging = device->staging;
    if (staging->next == staging->held) staging->next = (staging->next + 1) % SLOTS;
    slot *s = &staging->slot[staging->next];
    HY_TRY(vulkan_settle(device, s->number));
    staging->next = (staging->next + 1) % SLOTS;
    *out = s;
    return HY_OK;
}

hy_status vulkan_staging_flush(vulkan_device *device) {
    vulkan_staging *staging = device->staging;
    if (!staging->number) return HY_OK;
    HY_TRY(vulkan_settle(device, staging->number));
    staging->number = 0;
    return HY_OK;
}

hy_status vulkan_stage(gpu_device *base, uint64_t bytes, void **host, uint64_t *address) {
    vulkan_device *device = (vulkan_device *)base;
    vulkan_staging *staging = device->staging;
    slot *s;
    if (bytes > GPU_STAGE)
        return hy_fail(HY_E_INTERNAL, "vulkan: %llu bytes do not fit the staging memory",
                       (unsigned long long)bytes);
    staging->held = NONE;
    HY_TRY(take_slot(device, &s));
    staging->held = (uint32_t)(s - staging->slot);
    *host = s->buffer->gpu.base.host;
    *address = s->buffer->gpu.address[0];
    return HY_OK;
}

hy_status vulkan_run(gpu_device *base, const gpu_launch *launch) {
    vulkan_device *device = (vulkan_device *)base;
    vulkan_staging *staging = device->staging;
    uint64_t kernel;
    if (launch->grid[0] == 0) return HY_OK;
    HY_TRY(vulkan_kernel(base, launch, &kernel));
    slot *s = staging->held == NONE ? NULL : &staging->slot[staging->held];
    if (!s) HY_TRY(take_slot(device, &s));
    HY_TRY(slot_begin(device, s));
    memcpy((char *)s->buffer->gpu.base.host + GPU_STAGE, &launch->args, sizeof launch->args);
    vulkan_record_launch(device, s->commands, kernel, s->buffer->gpu.address[0] + GPU_STAGE,
                         launch->grid);
    return slot_submit(device, s);
}

hy_status vulkan_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size) {
    vulkan_device *device = (vulkan_device *)buffer->device;
    HY_TRY(vulkan_alive(device));
    if (buffer->host) {
        HY_TRY(vulkan_staging_flush(device));
        if (size) memcpy((char *)buffer->host + offset, src, size);
        return HY_OK;
    }
    for (uint64_t done = 0; done < size;) {
        const uint64_t part = HY_MIN(size - done, GPU_STAGE);
        slot *s;
        HY_TRY(take_slot(device, &s));
        memcpy(s->buffer->gpu.base.host, (const char *)src + done, part);
        HY_TRY(slot_begin(device, s));
        vulkan_record_copy(device, s->commands, (hy_view){buffer, offset + done, part},
                           (hy_view){&s->buffer->gpu.base, 0, part});
        HY_TRY(slot_submit(device, s));
        done += part;
    }
    return HY_OK;
}

hy_status vulkan_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size) {
    vulkan_device *device = (vulkan_device *)buffer->device;
    slot *back = &device->staging->back;
    HY_TRY(vulkan_alive(device));
    HY_TRY(vulkan_staging_flush(device));
    if (buffer->host) {
        if (size) memcpy(dst, (const char *)buffer->host + offset, size);
        return HY_OK;
    }
    for (uint64_t done = 0; done < size;) {
        const uint64_t part = HY_MIN(size - done, GPU_STAGE);
        HY_TRY(slot_begin(device, back));
        vulkan_record_copy(device, back->commands, (hy_view){&back->buffer->gpu.base, 0, part},
                           (hy_view){buffer, offset + done, part});
        HY_TRY(slot_submit(device, back));
        HY_TRY(vulkan_staging_flush(device));
        memcpy((char *)dst + done, back->buffer->gpu.base.host, part);
        done += part;
    }
    return HY_OK;
}

static hy_status open_staging(vulkan_device *device) {
    vulkan_staging *staging = calloc(1, sizeof *staging);
    if (!staging) return hy_fail(HY_E_MEMORY, "vulkan: no memory for staging");
    device->staging = staging;
    staging->held = NONE;
    for (uint32_t i = 0; i < SLOTS; i++)
        HY_TRY(slot_open(device, &staging->slot[i], device->host_type));
    return slot_open(device, &staging->back, device->host_read_type);
}

hy_status vulkan_memory_open(vulkan_device *device) {
    VkPhysicalDeviceProperties2 properties = {.sType =
                                                  VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    device->loader->GetPhysicalDeviceProperties2(device->physical, &properties);
    device->loader->GetPhysicalDeviceMemoryProperties2(device->physical, &memory);
    device->memory = memory.memoryProperties;
    const bool discrete = properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    hy_status status = choose_types(device, discrete);
    if (status == HY_OK) status = vulkan_commands_open(device);
    if (status == HY_OK) status = open_staging(device);
    if (status != HY_OK) vulkan_memory_close(device);
    return status;
}

void vulkan_memory_close(vulkan_device *device) {
    vulkan_staging *staging = device->staging;
    if (staging) {
        if (staging->number) vulkan_quiesce(device, staging->number);
        for (uint32_t i = 0; i < SLOTS; i++)
            free_buffer(staging->slot[i].buffer);
        free_buffer(staging->back.buffer);
        free(staging);
        device->staging = NULL;
    }
    vulkan_commands_close(device); /* the slots' command buffers go with the pool */
}

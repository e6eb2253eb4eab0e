/* tests/vulkan/mistake.c: uses the first Vulkan device wrongly, for tests/vulkan/run.sh --validate to notice:
 *
 *   mistake none     nothing wrong
 *   mistake object   leaves a buffer behind when the device goes
 *   mistake hazard   two copies to one place without a barrier between */
#include <stdio.h>
#include <string.h>

#include "backends/registry.h"
#include "backends/vulkan/vulkan.h"

static hy_status leave_buffer(vulkan_device *device) {
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .size = 256,
                                     .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VkBuffer buffer;
    return vulkan_check(device, device->vk.CreateBuffer(device->handle, &info, NULL, &buffer),
                        "vkCreateBuffer");
}

/* Recorded only: that is where the layer looks. */
static hy_status copy_twice(vulkan_device *device, hy_buffer *src, hy_buffer *dst) {
    const VkCommandBufferAllocateInfo info = {.sType =
                                                  VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                              .commandPool = device->pool,
                                              .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                              .commandBufferCount = 1};
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    const VkBufferCopy region = {.size = 256};
    VkCommandBuffer commands;
    HY_TRY(vulkan_check(device, device->vk.AllocateCommandBuffers(device->handle, &info, &commands),
                        "vkAllocateCommandBuffers"));
    HY_TRY(vulkan_check(device, device->vk.BeginCommandBuffer(commands, &begin), "vkBegin"));
    for (uint32_t i = 0; i < 2; i++)
        device->vk.CmdCopyBuffer(commands, ((vulkan_buffer *)src)->buffer[0],
                                 ((vulkan_buffer *)dst)->buffer[0], 1, &region);
    hy_status status = vulkan_check(device, device->vk.EndCommandBuffer(commands), "vkEnd");
    device->vk.FreeCommandBuffers(device->handle, device->pool, 1, &commands);
    return status;
}

static hy_status make(const char *mistake, hy_device *device) {
    hy_buffer *src = NULL, *dst = NULL;
    hy_status status = device->backend->buffer_new(device, HY_HEAP_DEVICE, 4096, &src);
    if (status == HY_OK) status = device->backend->buffer_new(device, HY_HEAP_DEVICE, 4096, &dst);
    if (status == HY_OK && strcmp(mistake, "hazard") == 0)
        status = copy_twice((vulkan_device *)device, src, dst);
    if (status == HY_OK && strcmp(mistake, "object") == 0)
        status = leave_buffer((vulkan_device *)device);
    if (src) device->backend->buffer_free(src);
    if (dst) device->backend->buffer_free(dst);
    return status;
}

int main(int argc, char **argv) {
    hy_device *device;
    if (hy_device_open("vulkan:0", NULL, &device) != HY_OK) {
        printf("%s\n", hy_error_text());
        return 1;
    }
    const hy_status status = make(argc > 1 ? argv[1] : "none", device);
    if (status != HY_OK) printf("%s\n", hy_error_text());
    hy_device_close(device);
    return status != HY_OK;
}

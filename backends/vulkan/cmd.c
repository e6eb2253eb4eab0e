/* backends/vulkan/cmd.c: command buffers, recorded once and submitted again and again.
 *
 * One queue. Every command buffer begins and ends with a full barrier, so that submissions see each other's
 * writes in the order in which they were made, and the host sees them when it has waited. */
#include <stdlib.h>

#include "backends/vulkan/vulkan.h"
#include "base/clock.h"

typedef struct vulkan_cmd {
    gpu_cmd gpu;
    VkCommandBuffer commands;
    uint64_t number; /* of its last submission; 0: none */
} vulkan_cmd;

hy_status vulkan_commands_open(vulkan_device *device) {
    const VkCommandPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT, /* for staging */
        .queueFamilyIndex = device->queue_family};
    HY_TRY(vulkan_semaphore_new(device, &device->progress));
    return vulkan_check(device,
                        device->vk.CreateCommandPool(device->handle, &info, NULL, &device->pool),
                        "vkCreateCommandPool");
}

void vulkan_commands_close(vulkan_device *device) {
    device->vk.DestroyCommandPool(device->handle, device->pool, NULL);
    device->vk.DestroySemaphore(device->handle, device->progress, NULL);
    device->pool = VK_NULL_HANDLE;
    device->progress = VK_NULL_HANDLE;
}

/* ---- recording ----------------------------------------------------------------------------------- */

#define ON_DEVICE (VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT)

static void barrier(vulkan_device *device, VkCommandBuffer to, VkPipelineStageFlags host_stage,
                    VkAccessFlags host_write, VkAccessFlags host_access) {
    const VkAccessFlags writes = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
    const VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                    .srcAccessMask = writes | host_write,
                                    .dstAccessMask = writes | VK_ACCESS_SHADER_READ_BIT |
                                                     VK_ACCESS_TRANSFER_READ_BIT | host_access};
    device->vk.CmdPipelineBarrier(to, ON_DEVICE | host_stage, ON_DEVICE | host_stage, 0, 1, &memory,
                                  0, NULL, 0, NULL);
}

void vulkan_record_barrier(vulkan_device *device, VkCommandBuffer to) {
    barrier(device, to, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_WRITE_BIT,
            VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
}

void vulkan_record_launch(vulkan_device *device, VkCommandBuffer to, uint64_t pipeline,
                          uint64_t args, const uint32_t grid[3]) {
    const uint32_t words[2] = {(uint32_t)args, (uint32_t)(args >> 32)};
    if (pipeline)
        device->vk.CmdBindPipeline(to, VK_PIPELINE_BIND_POINT_COMPUTE, (VkPipeline)pipeline);
    device->vk.CmdPushConstants(to, device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof words,
                                words);
    device->vk.CmdDispatch(to, grid[0], grid[1], grid[2]);
}

static void record_commands(vulkan_device *device, const gpu_cmd *cmd, VkCommandBuffer to) {
    uint64_t bound = 0;
    for (size_t i = 0; i < cmd->commands; i++) {
        const gpu_command *command = &cmd->command[i];
        switch ((gpu_command_kind)command->kind) {
        case GPU_LAUNCH:
            vulkan_record_launch(device, to, command->kernel == bound ? 0 : command->kernel,
                                 gpu_args_address(cmd, command->args), command->grid);
            bound = command->kernel;
            break;
        case GPU_COPY:
            vulkan_record_copy(device, to, command->dst, command->src);
            break;
        case GPU_BARRIER:
            if (i + 1 < cmd->commands) barrier(device, to, 0, 0, 0); /* a full one ends the list */
            break;
        }
    }
}

hy_status vulkan_record(gpu_cmd *base) {
    vulkan_cmd *cmd = (vulkan_cmd *)base;
    vulkan_device *device = (vulkan_device *)base->base.device;
    HY_TRY(vulkan_alive(device));
    const VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = device->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1};
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT}; /* replayed before it has ended */
    VkCommandBuffer to;
    hy_status status;
    HY_TRY(vulkan_check(device, device->vk.AllocateCommandBuffers(device->handle, &allocate, &to),
                        "vkAllocateCommandBuffers"));
    HY_TRY_GOTO(
        status,
        vulkan_check(device, device->vk.BeginCommandBuffer(to, &begin), "vkBeginCommandBuffer"),
        fail);
    vulkan_record_barrier(device, to);
    record_commands(device, base, to);
    vulkan_record_barrier(device, to);
    HY_TRY_GOTO(status, vulkan_check(device, device->vk.EndCommandBuffer(to), "vkEndCommandBuffer"),
                fail);
    cmd->commands = to;
    return HY_OK;
fail:
    device->vk.FreeCommandBuffers(device->handle, device->pool, 1, &to);
    return status;
}

/* ---- lists --------------------------------------------------------------------------------------- */

hy_status vulkan_cmd_new(hy_device *device, hy_view counters, hy_cmd **out) {
    HY_TRY(vulkan_alive((vulkan_device *)device));
    vulkan_cmd *cmd = calloc(1, sizeof *cmd);
    if (!cmd) return hy_fail(HY_E_MEMORY, "vulkan: no memory for a command list");
    gpu_cmd_init(&cmd->gpu, device, counters);
    *out = &cmd->gpu.base;
    return HY_OK;
}

void vulkan_cmd_free(hy_cmd *base) {
    if (!base) return;
    vulkan_cmd *cmd = (vulkan_cmd *)base;
    vulkan_device *device = (vulkan_device *)base->device;
    if (cmd->number) vulkan_quiesce(device, cmd->number);
    if (cmd->commands)
        device->vk.FreeCommandBuffers(device->handle, device->pool, 1, &cmd->commands);
    gpu_cmd_clear(&cmd->gpu);
    free(cmd);
}

hy_status vulkan_queue_submit(vulkan_device *device, VkCommandBuffer commands, VkSemaphore timeline,
                              uint64_t value) {
    const uint64_t number = atomic_load(&device->submitted) + 1;
    const VkSemaphore semaphores[2] = {device->progress, timeline};
    const uint64_t values[2] = {number, value};
    const uint32_t count = timeline ? 2 : 1;
    const VkTimelineSemaphoreSubmitInfo signal = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = count,
        .pSignalSemaphoreValues = values};
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .pNext = &signal,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &commands,
                               .signalSemaphoreCount = count,
                               .pSignalSemaphores = semaphores};
    HY_TRY(vulkan_alive(device));
    atomic_store(&device->stirred_us, hy_clock_ns() / 1000);
    HY_TRY(vulkan_check(device, device->vk.QueueSubmit(device->queue, 1, &info, VK_NULL_HANDLE),
                        "vkQueueSubmit"));
    atomic_store(&device->submitted, number);
    return HY_OK;
}

hy_status vulkan_submit(hy_device *base, hy_cmd *list, hy_timeline *timeline, uint64_t value) {
    vulkan_device *device = (vulkan_device *)base;
    vulkan_cmd *cmd = (vulkan_cmd *)list;
    if (!cmd->commands) return hy_fail(HY_E_STATE, "vulkan: submit of a list that is not sealed");
    HY_TRY(vulkan_staging_flush(device));
    HY_TRY(vulkan_queue_submit(device, cmd->commands,
                               timeline ? ((vulkan_timeline *)timeline)->semaphore : VK_NULL_HANDLE,
                               value));
    if (timeline) ((vulkan_timeline *)timeline)->last = value;
    cmd->number = atomic_load(&device->submitted);
    return HY_OK;
}

/* backends/vulkan/backend.c: the backend's table of functions. */
#include "backends/vulkan/vulkan.h"

const hy_backend hy_vulkan_backend = {
    .name = "vulkan",
    .devices = vk_devices,
    .open = vk_open,
    .close = vk_close,
    .info = vk_info,
    .buffer_new = vk_buffer_new,
    .buffer_import = vk_buffer_import,
    .buffer_free = vk_buffer_free,
    .write = vk_write,
    .read = vk_read,
    .candidates = gpu_candidates,
    .pack = gpu_pack,
    .unpack = gpu_unpack,
    .cmd_new = vk_cmd_new,
    .cmd_free = vk_cmd_free,
    .cmd_op = gpu_cmd_op,
    .cmd_copy = gpu_cmd_copy,
    .cmd_barrier = gpu_cmd_barrier,
    .cmd_seal = gpu_cmd_seal,
    .submit = vk_submit,
    .timeline_new = vk_timeline_new,
    .timeline_free = vk_timeline_free,
    .timeline_value = vk_timeline_value,
    .timeline_wait = vk_timeline_wait,
};

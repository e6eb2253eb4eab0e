/* backends/vulkan/backend.c: the backend's table of functions. */
#include "backends/vulkan/vulkan.h"

const hy_backend hy_vulkan_backend = {
    .name = "vulkan",
    .devices = vulkan_devices,
    .open = vulkan_open,
    .close = vulkan_close,
    .info = vulkan_info,
    .buffer_new = vulkan_buffer_new,
    .buffer_import = vulkan_buffer_import,
    .buffer_free = vulkan_buffer_free,
    .write = vulkan_write,
    .read = vulkan_read,
    .candidates = gpu_candidates,
    .pack = gpu_pack,
    .unpack = gpu_unpack,
    .cmd_new = vulkan_cmd_new,
    .cmd_free = vulkan_cmd_free,
    .cmd_op = gpu_cmd_op,
    .cmd_copy = gpu_cmd_copy,
    .cmd_barrier = gpu_cmd_barrier,
    .cmd_seal = gpu_cmd_seal,
    .submit = vulkan_submit,
    .timeline_new = vulkan_timeline_new,
    .timeline_free = vulkan_timeline_free,
    .timeline_value = vulkan_timeline_value,
    .timeline_wait = vulkan_timeline_wait,
};

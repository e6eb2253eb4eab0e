/* backends/vulkan/stub.c: the backend of a build that has none. VK_MISSING: what configuring did not find. */
#include "backends/vulkan/vulkan_backend.h"

static hy_status no_devices(hy_device_info *infos, uint32_t capacity, uint32_t *count) {
    (void)infos, (void)capacity;
    *count = 0;
    return hy_fail(HY_E_UNAVAILABLE, "this build has no Vulkan backend: %s", VK_MISSING);
}

static hy_status no_open(uint32_t index, const hy_device_params *params, hy_device **out) {
    uint32_t count;
    (void)index, (void)params, (void)out;
    return no_devices(NULL, 0, &count);
}

/* No device, so nothing else is ever called. */
const hy_backend hy_vulkan_backend = {.name = "vulkan", .devices = no_devices, .open = no_open};

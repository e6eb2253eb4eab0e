/* backends/vulkan/probe.h: what one physical device is and can do, found out without opening it. */
#ifndef HY_VULKAN_PROBE_H
#define HY_VULKAN_PROBE_H

#include "backends/vulkan/vulkan.h"

typedef struct vulkan_probe {
    VkPhysicalDevice physical;
    VkPhysicalDeviceType type;
    uint32_t api; /* version of the device or of the instance, the lower one */
    uint32_t queue_family;
    uint64_t max_allocation; /* bytes */
    gpu_limits limits;
    hy_device_info info; /* .unusable: .detail says why */
    /* What open() turns on. */
    bool dot8, coopmat, size_control;
    bool dot8_extension, size_control_extension; /* not part of `api` */
    bool portability_subset;
    bool budget;        /* VK_EXT_memory_budget */
    bool bus_extension; /* VK_EXT_pci_bus_info */
} vulkan_probe;

/* Every physical device in the order of preference: those that can be used first; discrete, integrated,
 * virtual, other, software. *out is freed by the caller. HY_E_UNAVAILABLE when there is none. */
HY_NODISCARD hy_status vulkan_probe_all(const vulkan_loader *loader, vulkan_probe **out,
                                        uint32_t *count);

/* Bytes of the device's largest heap, and how many of them are free, as far as it tells. */
void vulkan_probe_memory(const vulkan_loader *loader, VkPhysicalDevice physical, bool budget,
                         uint64_t *total, uint64_t *free_bytes);

#endif

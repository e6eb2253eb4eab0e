/* backends/vulkan/device.c: listing, opening and closing devices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/coopmat.h"
#include "backends/vulkan/probe.h"
#include "base/log.h"
#include "base/num.h"

enum { MAX_EXTENSIONS = 8 };

/* A software device may take minutes for one list. */
static const uint64_t patience_hardware_us = UINT64_C(120000000),
                      patience_software_us = UINT64_C(3600000000);

static const gpu_driver driver = {
    .kernel = vulkan_kernel, .record = vulkan_record, .stage = vulkan_stage, .run = vulkan_run};

hy_status vulkan_devices(hy_device_info *infos, uint32_t capacity, uint32_t *count) {
    const vulkan_loader *loader;
    vulkan_probe *probes;
    HY_TRY(vulkan_loader_open(&loader));
    hy_status status = vulkan_probe_all(loader, &probes, count);
    if (status == HY_OK) {
        for (uint32_t i = 0; i < *count && i < capacity; i++)
            infos[i] = probes[i].info;
        free(probes);
    }
    vulkan_loader_close();
    return status;
}

/* ---- the logical device -------------------------------------------------------------------------- */

/* Features to turn on, chained, and extensions to name. */
typedef struct wishes {
    VkPhysicalDeviceFeatures2 features;
    VkPhysicalDeviceVulkan12Features features12;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot;
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coopmat;
    const char *extension[MAX_EXTENSIONS];
    uint32_t extensions;
} wishes;

static void add_extension(wishes *w, bool wanted, const char *name) {
    if (wanted) w->extension[w->extensions++] = name;
}

static void chain(wishes *w, bool wanted, void *link, VkStructureType type) {
    VkBaseInStructure *l = link;
    if (!wanted) return;
    l->sType = type;
    l->pNext = w->features.pNext;
    w->features.pNext = l;
}

/* Robust access stays off: kernels keep within their views. */
static void wish(const vulkan_probe *p, wishes *w) {
    *w = (wishes){.features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    chain(w, true, &w->features12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    chain(w, p->dot8, &w->dot,
          VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    chain(w, p->size_control, &w->size_control,
          VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    chain(w, p->coopmat, &w->coopmat,
          VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
    w->features12.bufferDeviceAddress = VK_TRUE;
    w->features12.timelineSemaphore = VK_TRUE;
    w->features12.shaderFloat16 = p->coopmat;
    w->features12.vulkanMemoryModel = p->coopmat;
    /* Where the model is on, atomic operations of other modules have a scope that needs this. */
    w->features12.vulkanMemoryModelDeviceScope = p->coopmat;
    w->dot.shaderIntegerDotProduct = VK_TRUE;
    w->size_control.subgroupSizeControl = VK_TRUE;
    w->size_control.computeFullSubgroups = VK_TRUE;
    w->coopmat.cooperativeMatrix = VK_TRUE;
    add_extension(w, p->dot8 && p->dot8_extension,
                  VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    add_extension(w, p->size_control && p->size_control_extension,
                  VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    add_extension(w, p->coopmat, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
    add_extension(w, p->portability_subset, "VK_KHR_portability_subset");
}

static hy_status load_functions(vulkan_device *device) {
    const char *missing = NULL;
#define GET(name)                                                                                  \
    device->vk.name = (PFN_vk##name)device->loader->GetDeviceProcAddr(device->handle, "vk" #name); \
    if (!device->vk.name) missing = "vk" #name;
    VK_DEVICE_FUNCTIONS(GET)
#undef GET
    return missing ? hy_fail(HY_E_UNSUPPORTED, "vulkan: %s: the driver lacks %s", device->info.name,
                             missing)
                   : HY_OK;
}

static hy_status create_device(vulkan_device *device, const vulkan_probe *p) {
    wishes w;
    wish(p, &w);
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = p->queue_family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = &w.features,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = w.extensions,
                                     .ppEnabledExtensionNames = w.extension};
    const VkResult result = device->loader->CreateDevice(p->physical, &info, NULL, &device->handle);
    if (result != VK_SUCCESS) {
        device->handle = VK_NULL_HANDLE;
        return vulkan_check(device, result, "vkCreateDevice");
    }
    HY_TRY(load_functions(device));
    device->vk.GetDeviceQueue(device->handle, p->queue_family, 0, &device->queue);
    return HY_OK;
}

/* ---- open and close ------------------------------------------------------------------------------ */

static void set_up(vulkan_device *device, const vulkan_loader *loader, const vulkan_probe *p) {
    device->gpu = (gpu_device){.base = {&hy_vulkan_backend},
                               .driver = &driver,
                               .variants = vulkan_variants,
                               .limits = p->limits};
    device->loader = loader;
    device->physical = p->physical;
    device->queue_family = p->queue_family;
    device->info = p->info;
    device->software = p->info.software;
    device->budget = p->budget;
    device->size_control = p->size_control;
    device->max_allocation = p->max_allocation;
    device->patience_us = device->software ? patience_software_us : patience_hardware_us;
}

static hy_status open_probed(const vulkan_loader *loader, const vulkan_probe *p, hy_device **out) {
    if (p->info.unusable)
        return hy_fail(HY_E_UNSUPPORTED, "vulkan: %s: %s", p->info.name, p->info.detail);
    vulkan_device *device = calloc(1, sizeof *device);
    if (!device) return hy_fail(HY_E_MEMORY, "vulkan: no memory for a device");
    set_up(device, loader, p);
    hy_status status;
    HY_TRY_GOTO(status, create_device(device, p), no_device);
    HY_TRY_GOTO(status, vulkan_memory_open(device), no_memory);
    HY_TRY_GOTO(status, vulkan_kernels_open(device), no_kernels);
    *out = &device->gpu.base;
    return HY_OK;
no_kernels:
    vulkan_memory_close(device);
no_memory:
no_device:
    if (device->handle && device->vk.DestroyDevice) device->vk.DestroyDevice(device->handle, NULL);
    free(device);
    return status;
}

hy_status vulkan_open(uint32_t index, const hy_device_params *params, hy_device **out) {
    const vulkan_loader *loader;
    vulkan_probe *probes;
    uint32_t count;
    HY_TRY(vulkan_loader_open(&loader));
    hy_status status = vulkan_probe_all(loader, &probes, &count);
    if (status == HY_OK) {
        status = index < count ? open_probed(loader, &probes[index], out)
                               : hy_fail(HY_E_NOT_FOUND, "vulkan:%u does not exist; there are %u",
                                         index, count);
        free(probes);
    }
    if (status != HY_OK) vulkan_loader_close();
    return status;
}

void vulkan_close(hy_device *base) {
    if (!base) return;
    vulkan_device *device = (vulkan_device *)base;
    /* A lost device is not waited for: it may hang. */
    if (vulkan_alive(device) == HY_OK) (void)device->vk.DeviceWaitIdle(device->handle);
    vulkan_memory_close(device);
    vulkan_kernels_close(device);
    device->vk.DestroyDevice(device->handle, NULL);
    free(device);
    vulkan_loader_close();
}

void vulkan_info(hy_device *base, hy_device_info *out) {
    const vulkan_device *device = (const vulkan_device *)base;
    *out = device->info;
    vulkan_probe_memory(device->loader, device->physical, device->budget, &out->memory_total,
                        &out->memory_free);
}

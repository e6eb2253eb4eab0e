/* backends/vulkan/probe.c: what the physical devices are and can do. */
#include "backends/vulkan/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/coopmat.h"
#include "base/num.h"
#include "base/text.h"

#define ALLOCATION_STEP                                                                            \
    65536 /* max_allocation is a multiple: no driver rounds a buffer up beyond it */
#define MAX_QUEUE_FAMILIES 32

/* What a driver answers, in its structs. The chains hang on .properties and .features. */
typedef struct answers {
    VkPhysicalDeviceProperties2 properties;
    VkPhysicalDeviceVulkan11Properties properties11;
    VkPhysicalDeviceVulkan12Properties properties12;
    VkPhysicalDeviceMaintenance4Properties maintenance4;
    VkPhysicalDeviceSubgroupSizeControlProperties subgroups;
    VkPhysicalDeviceShaderIntegerDotProductProperties dot_properties;
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia;
    VkPhysicalDeviceShaderCoreProperties2AMD amd;
    VkPhysicalDevicePCIBusInfoPropertiesEXT pci;
    VkPhysicalDeviceFeatures2 features;
    VkPhysicalDeviceVulkan12Features features12;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot;
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coopmat;
} answers;

/* ---- asking -------------------------------------------------------------------------------------- */

/* Hangs `link`, a struct that begins as Vulkan's do, behind `head`. */
static void chain(void *head, void *link, VkStructureType type) {
    VkBaseOutStructure *h = head, *l = link;
    l->sType = type;
    l->pNext = h->pNext;
    h->pNext = l;
}

typedef struct extensions {
    VkExtensionProperties *list;
    uint32_t count;
} extensions;

static hy_status list_extensions(const vulkan_loader *loader, VkPhysicalDevice physical,
                                 extensions *out) {
    VkResult result;
    *out = (extensions){0};
    do { /* the list may grow between the two calls */
        free(out->list);
        out->list = NULL;
        out->count = 0;
        result = loader->EnumerateDeviceExtensionProperties(physical, NULL, &out->count, NULL);
        if (result != VK_SUCCESS) break;
        out->list = calloc(out->count + 1, sizeof *out->list);
        if (!out->list) return hy_fail(HY_E_MEMORY, "vulkan: no memory for a list of extensions");
        result = loader->EnumerateDeviceExtensionProperties(physical, NULL, &out->count, out->list);
    } while (result == VK_INCOMPLETE);
    if (result == VK_SUCCESS) return HY_OK;
    free(out->list);
    return hy_fail(HY_E_DEVICE, "vulkan: vkEnumerateDeviceExtensionProperties: %s",
                   vulkan_result_name(result));
}

static bool has(const extensions *e, const char *name) {
    for (uint32_t i = 0; i < e->count; i++) {
        if (strcmp(e->list[i].extensionName, name) == 0) return true;
    }
    return false;
}

static void ask_properties(const vulkan_loader *loader, const extensions *e, const vulkan_probe *p,
                           answers *a) {
    VkPhysicalDeviceProperties2 *head = &a->properties;
    const bool v13 = p->api >= VK_API_VERSION_1_3;
    head->sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    chain(head, &a->properties11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
    chain(head, &a->properties12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
    if (v13)
        chain(head, &a->maintenance4, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
    if (v13 || p->size_control_extension)
        chain(head, &a->subgroups,
              VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
    if (v13 || p->dot8_extension)
        chain(head, &a->dot_properties,
              VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES);
    if (has(e, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME))
        chain(head, &a->nvidia, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV);
    if (has(e, VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME))
        chain(head, &a->amd, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD);
    if (p->bus_extension)
        chain(head, &a->pci, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT);
    loader->GetPhysicalDeviceProperties2(p->physical, head);
}

static void ask_features(const vulkan_loader *loader, const extensions *e, const vulkan_probe *p,
                         answers *a) {
    VkPhysicalDeviceFeatures2 *head = &a->features;
    const bool v13 = p->api >= VK_API_VERSION_1_3;
    head->sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    chain(head, &a->features12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    if (v13 || p->size_control_extension)
        chain(head, &a->size_control,
              VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    if (v13 || p->dot8_extension)
        chain(head, &a->dot, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    if (has(e, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME))
        chain(head, &a->coopmat, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
    loader->GetPhysicalDeviceFeatures2(p->physical, head);
}

/* A family that computes and does not draw leaves the screen alone and has longer time-outs on most
 * drivers. */
static bool find_queue_family(const vulkan_loader *loader, VkPhysicalDevice physical,
                              uint32_t *out) {
    VkQueueFamilyProperties list[MAX_QUEUE_FAMILIES];
    uint32_t count = MAX_QUEUE_FAMILIES;
    bool found = false;
    loader->GetPhysicalDeviceQueueFamilyProperties(physical, &count, list);
    for (uint32_t i = 0; i < count; i++) {
        if (!(list[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
        const bool draws = list[i].queueFlags & VK_QUEUE_GRAPHICS_BIT;
        if (found && draws) continue;
        *out = i;
        found = true;
        if (!draws) break;
    }
    return found;
}

void vulkan_probe_memory(const vulkan_loader *loader, VkPhysicalDevice physical, bool budget,
                         uint64_t *total, uint64_t *free_bytes) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT b = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 m = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = budget ? &b : NULL};
    loader->GetPhysicalDeviceMemoryProperties2(physical, &m);
    *total = *free_bytes = 0;
    for (uint32_t i = 0; i < m.memoryProperties.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &m.memoryProperties.memoryHeaps[i];
        if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) || heap->size <= *total) continue;
        *total = *free_bytes = heap->size;
        if (!budget) continue;
        const uint64_t left = b.heapBudget[i] - HY_MIN(b.heapUsage[i], b.heapBudget[i]);
        *free_bytes = HY_MIN(left, heap->size);
    }
}

/* ---- choosing what to use ------------------------------------------------------------------------ */

/* Drivers whose word on cooperative matrices does not count, unless even their smallest subgroup is of at
 * least so many threads. */
static const struct {
    VkDriverId driver;
    uint32_t subgroup;
} distrusted[] = {
    /* Both report shapes on cards without matrix units, and on some integrated ones the call that lists them
     * crashes (llama.cpp #11074, #22750; AMDVLK #422). */
    {VK_DRIVER_ID_AMD_PROPRIETARY, UINT32_MAX},
    {VK_DRIVER_ID_AMD_OPEN_SOURCE, UINT32_MAX},
    /* Cards before Xe2, whose subgroups begin at 8, gain nothing or give wrong results (llama.cpp #12690,
     * #14001); the other driver loses the device on some (IGCIT #1487). */
    {VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA, 16},
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS, UINT32_MAX},
};

static bool trusted(const answers *a) {
    for (size_t i = 0; i < HY_COUNT_OF(distrusted); i++) {
        if (distrusted[i].driver == a->properties12.driverID)
            return a->subgroups.minSubgroupSize >= distrusted[i].subgroup;
    }
    return true;
}

/* Kernels cut 32 into tiles. */
static bool good_side(uint32_t side) {
    return side == 8 || side == 16 || side == 32;
}

static bool fits(const VkCooperativeMatrixPropertiesKHR *c) {
    return c->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && c->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
           c->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
           c->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && c->scope == VK_SCOPE_SUBGROUP_KHR &&
           good_side(c->MSize) && good_side(c->NSize) && good_side(c->KSize);
}

/* The shape with most work, into shape[]; all 0 when there is none. */
static void choose_shape(const vulkan_loader *loader, VkPhysicalDevice physical,
                         uint32_t shape[3]) {
    VkCooperativeMatrixPropertiesKHR list[64];
    uint32_t count = HY_COUNT_OF(list);
    const PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)
            loader->GetPhysicalDeviceCooperativeMatrixPropertiesKHR;
    if (!get) return;
    memset(list, 0, sizeof list);
    for (uint32_t i = 0; i < count; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    const VkResult result = get(physical, &count, list);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) return;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *c = &list[i];
        if (!fits(c) || c->MSize * c->NSize * c->KSize <= shape[0] * shape[1] * shape[2]) continue;
        shape[0] = c->MSize;
        shape[1] = c->NSize;
        shape[2] = c->KSize;
    }
}

/* Each returns what is lacking, or NULL when the feature is used. */
static const char *choose_dot8(vulkan_probe *p, const answers *a) {
    if (!a->dot.shaderIntegerDotProduct) return "integer dot product";
    if (!vulkan_module_find("matmul.q4_0.gemv.dot8"))
        return "integer dot product (not in this build)";
    p->dot8 = true;
    p->limits.features |= GPU_DOT8;
    return NULL;
}

static const char *choose_coopmat(const vulkan_loader *loader, vulkan_probe *p, const answers *a) {
    if (!a->coopmat.cooperativeMatrix || !a->features12.shaderFloat16 ||
        !a->features12.vulkanMemoryModel || !a->features12.vulkanMemoryModelDeviceScope)
        return "cooperative matrices";
    if (!vulkan_module_find("matmul.q4_0.coopmat"))
        return "cooperative matrices (not in this build)";
    if (!trusted(a)) return "cooperative matrices (this driver's do not work)";
    choose_shape(loader, p->physical, p->limits.coopmat);
    if (!p->limits.coopmat[0]) return "cooperative matrices f16->f32";
    p->coopmat = true;
    p->limits.features |= GPU_COOPMAT;
    return NULL;
}

/* Bandwidth, rate and launch for choosing between kernels only; no device is measured. */
static void set_costs(vulkan_probe *p) {
    gpu_limits *l = &p->limits;
    switch (p->type) {
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        l->bytes_per_us = 5e3F, l->ops_per_us = 2e3F, l->launch_us = 20;
        break;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        l->bytes_per_us = 50e3F, l->ops_per_us = 1e6F, l->launch_us = 5;
        break;
    default:
        l->bytes_per_us = 500e3F, l->ops_per_us = 10e6F, l->launch_us = 4;
    }
}

static void set_limits(vulkan_probe *p, const answers *a) {
    const VkPhysicalDeviceLimits *limits = &a->properties.properties.limits;
    p->limits.max_grid = limits->maxComputeWorkGroupCount[0];
    p->limits.max_threads =
        HY_MIN(limits->maxComputeWorkGroupInvocations, limits->maxComputeWorkGroupSize[0]);
    p->limits.shared_bytes = limits->maxComputeSharedMemorySize;
    p->limits.subgroup = a->properties11.subgroupSize;
    p->max_allocation = a->properties11.maxMemoryAllocationSize;
    if (a->maintenance4.maxBufferSize)
        p->max_allocation = HY_MIN(p->max_allocation, a->maintenance4.maxBufferSize);
    p->max_allocation -= p->max_allocation % ALLOCATION_STEP;
    p->size_control = a->size_control.subgroupSizeControl && a->size_control.computeFullSubgroups &&
                      a->subgroups.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    set_costs(p);
}

/* ---- describing ---------------------------------------------------------------------------------- */

static const char *driver_name(const answers *a) {
    switch (a->properties12.driverID) {
    case VK_DRIVER_ID_AMD_PROPRIETARY:
        return "amd";
    case VK_DRIVER_ID_AMD_OPEN_SOURCE:
        return "amdvlk";
    case VK_DRIVER_ID_NVIDIA_PROPRIETARY:
        return "nvidia";
    case VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS:
        return "intel";
    case VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA:
        return "anv";
    case VK_DRIVER_ID_QUALCOMM_PROPRIETARY:
        return "qualcomm";
    case VK_DRIVER_ID_ARM_PROPRIETARY:
        return "arm";
    case VK_DRIVER_ID_GOOGLE_SWIFTSHADER:
        return "swiftshader";
    default:
        return a->properties12.driverName; /* "radv", "llvmpipe", "NVK", "turnip Mesa driver" */
    }
}

static hy_status unusable(vulkan_probe *p, const char *reason) {
    p->info.unusable = true;
    snprintf(p->info.detail, sizeof p->info.detail, "%s", reason);
    return HY_OK;
}

/* What the backend cannot do without; NULL when all is there. */
static const char *lacking(const vulkan_probe *p, const answers *a) {
    const VkPhysicalDeviceLimits *limits = &a->properties.properties.limits;
    if (!a->features12.bufferDeviceAddress)
        return "the driver lacks buffer addresses (bufferDeviceAddress)";
    if (!a->features12.timelineSemaphore)
        return "the driver lacks timeline semaphores (timelineSemaphore)";
    if (limits->maxPushConstantsSize < 8) return "the driver lacks push constants of 8 bytes";
    if (limits->maxComputeWorkGroupInvocations < 128 || limits->maxComputeWorkGroupSize[0] < 128)
        return "workgroups of 128 threads do not fit";
    if (limits->maxComputeSharedMemorySize < 16384) return "less than 16 KiB of shared memory";
    if (!p->max_allocation) return "the driver allows no allocation of 64 KiB";
    return NULL;
}

static void describe_features(vulkan_probe *p, const answers *a, const char *no_dot8,
                              const char *no_coopmat) {
    hy_text text = {0};
    const uint32_t *shape = p->limits.coopmat;
    hy_text_add(&text, "%.30s %.50s; uses buffer addresses, timeline semaphores",
                a->properties12.driverName, a->properties12.driverInfo);
    if (p->dot8)
        hy_text_add(
            &text, ", integer dot product%s",
            a->dot_properties.integerDotProduct4x8BitPackedSignedAccelerated ? "" : " (emulated)");
    if (p->coopmat)
        hy_text_add(&text, ", cooperative matrices %ux%ux%u f16->f32", shape[0], shape[1],
                    shape[2]);
    if (no_dot8) hy_text_add(&text, "; lacks %s", no_dot8);
    if (no_coopmat) hy_text_add(&text, "%s %s", no_dot8 ? "," : "; lacks", no_coopmat);
    hy_text_add(&text, "; subgroups of %u", p->limits.subgroup);
    snprintf(p->info.detail, sizeof p->info.detail, "%.*s", (int)sizeof p->info.detail - 1,
             text.data ? text.data : "");
    hy_text_free(&text);
}

static void describe(const vulkan_loader *loader, vulkan_probe *p, const answers *a) {
    hy_device_info *info = &p->info;
    snprintf(info->arch, sizeof info->arch, "vulkan %u.%u %.40s", VK_API_VERSION_MAJOR(p->api),
             VK_API_VERSION_MINOR(p->api), driver_name(a));
    info->units = a->nvidia.shaderSMCount ? a->nvidia.shaderSMCount : a->amd.activeComputeUnitCount;
    if (!info->units) info->units = 1;
    if (p->bus_extension)
        snprintf(info->bus, sizeof info->bus, "%04x:%02x:%02x.%x", a->pci.pciDomain, a->pci.pciBus,
                 a->pci.pciDevice, a->pci.pciFunction);
    vulkan_probe_memory(loader, p->physical, p->budget, &info->memory_total, &info->memory_free);
    if (info->memory_total > p->max_allocation) info->segment = p->max_allocation;
}

/* ---- one and all --------------------------------------------------------------------------------- */

static hy_status probe_modern(const vulkan_loader *loader, const extensions *e, answers *a,
                              vulkan_probe *p) {
    const bool v13 = p->api >= VK_API_VERSION_1_3;
    p->dot8_extension = !v13 && has(e, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    p->size_control_extension = !v13 && has(e, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    p->portability_subset = has(e, "VK_KHR_portability_subset");
    p->budget = has(e, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    p->bus_extension = has(e, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);
    ask_properties(loader, e, p, a);
    ask_features(loader, e, p, a);
    set_limits(p, a);
    describe(loader, p, a);
    const char *reason = lacking(p, a);
    if (!reason && !find_queue_family(loader, p->physical, &p->queue_family))
        reason = "no queue that computes";
    if (reason) return unusable(p, reason);
    const char *no_dot8 = choose_dot8(p, a);
    const char *no_coopmat = choose_coopmat(loader, p, a);
    describe_features(p, a, no_dot8, no_coopmat);
    return HY_OK;
}

static hy_status probe_one(const vulkan_loader *loader, VkPhysicalDevice physical,
                           vulkan_probe *p) {
    VkPhysicalDeviceProperties properties;
    loader->GetPhysicalDeviceProperties(physical, &properties);
    *p = (vulkan_probe){
        .physical = physical,
        .type = properties.deviceType,
        .api = HY_MIN(properties.apiVersion, loader->api),
        .info = {.units = 1, .software = properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU}};
    snprintf(p->info.name, sizeof p->info.name, "%.*s", (int)sizeof p->info.name - 1,
             properties.deviceName);
    if (p->api < VK_API_VERSION_1_2) {
        snprintf(p->info.arch, sizeof p->info.arch, "vulkan %u.%u", VK_API_VERSION_MAJOR(p->api),
                 VK_API_VERSION_MINOR(p->api));
        return unusable(p, "the driver is older than Vulkan 1.2");
    }
    answers *a = calloc(1, sizeof *a);
    if (!a) return hy_fail(HY_E_MEMORY, "vulkan: no memory for the answers of a driver");
    extensions e;
    hy_status status = list_extensions(loader, physical, &e);
    if (status == HY_OK) {
        status = probe_modern(loader, &e, a, p);
        free(e.list);
    }
    free(a);
    return status;
}

/* Lower is better. */
static int rank(const vulkan_probe *p) {
    static const int of_type[] = {
        [VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = 0, [VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = 1,
        [VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = 2,  [VK_PHYSICAL_DEVICE_TYPE_OTHER] = 3,
        [VK_PHYSICAL_DEVICE_TYPE_CPU] = 4,
    };
    const uint32_t type = (uint32_t)p->type;
    return (type < HY_COUNT_OF(of_type) ? of_type[type] : 3) + (p->info.unusable ? 8 : 0);
}

static void sort(vulkan_probe *list, uint32_t count) { /* stable, for a handful */
    for (uint32_t i = 1; i < count; i++) {
        const vulkan_probe p = list[i];
        uint32_t at = i;
        for (; at > 0 && rank(&list[at - 1]) > rank(&p); at--)
            list[at] = list[at - 1];
        list[at] = p;
    }
}

hy_status vulkan_probe_all(const vulkan_loader *loader, vulkan_probe **out, uint32_t *count) {
    VkPhysicalDevice physical[64];
    uint32_t found = HY_COUNT_OF(physical);
    const VkResult result = loader->EnumeratePhysicalDevices(loader->instance, &found, physical);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return hy_fail(HY_E_UNAVAILABLE, "no Vulkan device: vkEnumeratePhysicalDevices: %s",
                       vulkan_result_name(result));
    if (found == 0) return hy_fail(HY_E_UNAVAILABLE, "no Vulkan device: the drivers found none");
    vulkan_probe *list = calloc(found, sizeof *list);
    if (!list) return hy_fail(HY_E_MEMORY, "vulkan: no memory for the list of devices");
    for (uint32_t i = 0; i < found; i++) {
        hy_status status = probe_one(loader, physical[i], &list[i]);
        if (status != HY_OK) {
            free(list);
            return status;
        }
    }
    sort(list, found);
    *out = list;
    *count = found;
    return HY_OK;
}

#include "tests/vulkan/shim.h"

#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <string.h>
#include <vulkan/vulkan.h>

__attribute__((visibility("default"))) vulkan_shim_state vulkan_shim;

static PFN_vkGetInstanceProcAddr next_instance;
static PFN_vkGetDeviceProcAddr next_device;

static void enter(void) {
    if (vulkan_shim.faults.enter) vulkan_shim.faults.enter();
}
static void leave(void) {
    if (vulkan_shim.faults.leave) vulkan_shim.faults.leave();
}

static bool fails(const char *name) {
    return fault_hits(&vulkan_shim.faults, name, VK_ERROR_DEVICE_LOST);
}

/* ---- functions that can fail --------------------------------------------------------------------- */

/* X(name, change of `alive` on success, parameters, arguments) */
#define FALLIBLE(X)                                                                                \
    X(AllocateMemory, 1,                                                                           \
      (VkDevice d, const VkMemoryAllocateInfo *i, const VkAllocationCallbacks *a,                  \
       VkDeviceMemory *o),                                                                         \
      (d, i, a, o))                                                                                \
    X(MapMemory, 0,                                                                                \
      (VkDevice d, VkDeviceMemory m, VkDeviceSize f, VkDeviceSize s, VkMemoryMapFlags g,           \
       void **o),                                                                                  \
      (d, m, f, s, g, o))                                                                          \
    X(CreateBuffer, 1,                                                                             \
      (VkDevice d, const VkBufferCreateInfo *i, const VkAllocationCallbacks *a, VkBuffer *o),      \
      (d, i, a, o))                                                                                \
    X(BindBufferMemory, 0, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize f),             \
      (d, b, m, f))                                                                                \
    X(CreateShaderModule, 1,                                                                       \
      (VkDevice d, const VkShaderModuleCreateInfo *i, const VkAllocationCallbacks *a,              \
       VkShaderModule *o),                                                                         \
      (d, i, a, o))                                                                                \
    X(CreatePipelineLayout, 1,                                                                     \
      (VkDevice d, const VkPipelineLayoutCreateInfo *i, const VkAllocationCallbacks *a,            \
       VkPipelineLayout *o),                                                                       \
      (d, i, a, o))                                                                                \
    X(CreatePipelineCache, 1,                                                                      \
      (VkDevice d, const VkPipelineCacheCreateInfo *i, const VkAllocationCallbacks *a,             \
       VkPipelineCache *o),                                                                        \
      (d, i, a, o))                                                                                \
    X(CreateComputePipelines, 1,                                                                   \
      (VkDevice d, VkPipelineCache c, uint32_t n, const VkComputePipelineCreateInfo *i,            \
       const VkAllocationCallbacks *a, VkPipeline *o),                                             \
      (d, c, n, i, a, o))                                                                          \
    X(CreateCommandPool, 1,                                                                        \
      (VkDevice d, const VkCommandPoolCreateInfo *i, const VkAllocationCallbacks *a,               \
       VkCommandPool *o),                                                                          \
      (d, i, a, o))                                                                                \
    X(AllocateCommandBuffers, 0,                                                                   \
      (VkDevice d, const VkCommandBufferAllocateInfo *i, VkCommandBuffer *o), (d, i, o))           \
    X(BeginCommandBuffer, 0, (VkCommandBuffer c, const VkCommandBufferBeginInfo *i), (c, i))       \
    X(EndCommandBuffer, 0, (VkCommandBuffer c), (c))                                               \
    X(CreateSemaphore, 1,                                                                          \
      (VkDevice d, const VkSemaphoreCreateInfo *i, const VkAllocationCallbacks *a,                 \
       VkSemaphore *o),                                                                            \
      (d, i, a, o))

#define FALLIBLE_WRAPPER(name, change, parameters, arguments)                                      \
    static PFN_vk##name next_##name;                                                               \
    static VKAPI_ATTR VkResult VKAPI_CALL my_##name parameters {                                   \
        if (fails("vk" #name)) return (VkResult)vulkan_shim.faults.failure;                        \
        enter();                                                                                   \
        const VkResult result = next_##name arguments;                                             \
        leave();                                                                                   \
        if (result == VK_SUCCESS) fault_alive(&vulkan_shim.faults, change);                        \
        return result;                                                                             \
    }
FALLIBLE(FALLIBLE_WRAPPER)

/* Those that a lost device fails. */
#define LOSABLE(X)                                                                                 \
    X(GetSemaphoreCounterValue, (VkDevice d, VkSemaphore s, uint64_t * o), (d, s, o))              \
    X(DeviceWaitIdle, (VkDevice d), (d))

#define LOSABLE_WRAPPER(name, parameters, arguments)                                               \
    static PFN_vk##name next_##name;                                                               \
    static VKAPI_ATTR VkResult VKAPI_CALL my_##name parameters {                                   \
        if (vulkan_shim.faults.lost) return VK_ERROR_DEVICE_LOST;                                  \
        if (fails("vk" #name)) return (VkResult)vulkan_shim.faults.failure;                        \
        enter();                                                                                   \
        const VkResult result = next_##name arguments;                                             \
        leave();                                                                                   \
        return result;                                                                             \
    }
LOSABLE(LOSABLE_WRAPPER)

/* The struct of that type in a chain. */
static const void *in_chain(const void *chain, VkStructureType type) {
    for (const VkBaseInStructure *s = chain; s; s = s->pNext)
        if (s->sType == type) return s;
    return NULL;
}

/* Set by a submission, but not yet. */
static VkSemaphore withheld;
static uint64_t withheld_value;

static VkSubmitInfo withhold(const VkSubmitInfo *info, VkTimelineSemaphoreSubmitInfo *values) {
    VkSubmitInfo first = *info;
    *values = *(const VkTimelineSemaphoreSubmitInfo *)in_chain(
        info->pNext, VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO);
    withheld = info->pSignalSemaphores[1];
    withheld_value = values->pSignalSemaphoreValues[1];
    first.pNext = values;
    first.signalSemaphoreCount = values->signalSemaphoreValueCount = 1;
    return first;
}

static void set_withheld(VkDevice d) {
    const VkSemaphoreSignalInfo set = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO,
                                       .semaphore = withheld,
                                       .value = withheld_value};
    withheld = VK_NULL_HANDLE;
    ((PFN_vkSignalSemaphore)next_device(d, "vkSignalSemaphore"))(d, &set);
}

static PFN_vkWaitSemaphores next_WaitSemaphores;
static VKAPI_ATTR VkResult VKAPI_CALL my_WaitSemaphores(VkDevice d, const VkSemaphoreWaitInfo *i,
                                                        uint64_t t) {
    if (vulkan_shim.faults.lost) return VK_ERROR_DEVICE_LOST;
    if (fails("vkWaitSemaphores")) return (VkResult)vulkan_shim.faults.failure;
    if (withheld && i->pSemaphores[0] == withheld) set_withheld(d);
    enter();
    const VkResult result = next_WaitSemaphores(d, i, t);
    leave();
    return result;
}

static PFN_vkQueueSubmit next_QueueSubmit;
static VKAPI_ATTR VkResult VKAPI_CALL my_QueueSubmit(VkQueue q, uint32_t n, const VkSubmitInfo *i,
                                                     VkFence f) {
    vulkan_shim.submits++;
    if (vulkan_shim.faults.lost) return VK_ERROR_DEVICE_LOST;
    if (fails("vkQueueSubmit")) return (VkResult)vulkan_shim.faults.failure;
    if (vulkan_shim.faults.hang) return VK_SUCCESS;
    VkTimelineSemaphoreSubmitInfo values;
    VkSubmitInfo first;
    if (vulkan_shim.late && i->signalSemaphoreCount == 2) {
        first = withhold(i, &values);
        i = &first;
    }
    enter();
    const VkResult result = next_QueueSubmit(q, n, i, f);
    leave();
    return result;
}

/* What a lost device was doing has ended before anything of it goes: this one is only said to be lost. */
static void drain(VkDevice d) {
    if (vulkan_shim.faults.lost && next_DeviceWaitIdle) next_DeviceWaitIdle(d);
}

/* ---- functions that end objects ------------------------------------------------------------------ */

#define ENDING(X)                                                                                  \
    X(FreeMemory, VkDeviceMemory)                                                                  \
    X(DestroyBuffer, VkBuffer)                                                                     \
    X(DestroyShaderModule, VkShaderModule)                                                         \
    X(DestroyPipelineLayout, VkPipelineLayout)                                                     \
    X(DestroyPipelineCache, VkPipelineCache)                                                       \
    X(DestroyPipeline, VkPipeline)                                                                 \
    X(DestroyCommandPool, VkCommandPool)                                                           \
    X(DestroySemaphore, VkSemaphore)

#define ENDING_WRAPPER(name, type)                                                                 \
    static PFN_vk##name next_##name;                                                               \
    static VKAPI_ATTR void VKAPI_CALL my_##name(VkDevice d, type o,                                \
                                                const VkAllocationCallbacks *a) {                  \
        if (o != VK_NULL_HANDLE) fault_alive(&vulkan_shim.faults, -1);                             \
        if (o != VK_NULL_HANDLE && (uintptr_t)o == (uintptr_t)withheld) vulkan_shim.early++;       \
        drain(d);                                                                                  \
        next_##name(d, o, a);                                                                      \
    }
ENDING(ENDING_WRAPPER)

static PFN_vkFreeCommandBuffers next_FreeCommandBuffers;
static VKAPI_ATTR void VKAPI_CALL my_FreeCommandBuffers(VkDevice d, VkCommandPool p, uint32_t n,
                                                        const VkCommandBuffer *c) {
    drain(d);
    next_FreeCommandBuffers(d, p, n, c);
}

static PFN_vkCreateDevice next_CreateDevice;
static VKAPI_ATTR VkResult VKAPI_CALL my_CreateDevice(VkPhysicalDevice p,
                                                      const VkDeviceCreateInfo *i,
                                                      const VkAllocationCallbacks *a, VkDevice *o) {
    if (fails("vkCreateDevice")) return (VkResult)vulkan_shim.faults.failure;
    const VkResult result = next_CreateDevice(p, i, a, o);
    if (result == VK_SUCCESS) fault_alive(&vulkan_shim.faults, 1);
    return result;
}

static PFN_vkDestroyDevice next_DestroyDevice;
static VKAPI_ATTR void VKAPI_CALL my_DestroyDevice(VkDevice d, const VkAllocationCallbacks *a) {
    if (d) fault_alive(&vulkan_shim.faults, -1);
    next_DestroyDevice(d, a);
}

/* ---- recording ----------------------------------------------------------------------------------- */

#define COMMANDS(X)                                                                                \
    X(CmdBindPipeline, (VkCommandBuffer c, VkPipelineBindPoint b, VkPipeline p), (c, b, p))        \
    X(CmdPushConstants,                                                                            \
      (VkCommandBuffer c, VkPipelineLayout l, VkShaderStageFlags s, uint32_t f, uint32_t n,        \
       const void *v),                                                                             \
      (c, l, s, f, n, v))                                                                          \
    X(CmdDispatch, (VkCommandBuffer c, uint32_t x, uint32_t y, uint32_t z), (c, x, y, z))          \
    X(CmdCopyBuffer,                                                                               \
      (VkCommandBuffer c, VkBuffer s, VkBuffer d, uint32_t n, const VkBufferCopy *r),              \
      (c, s, d, n, r))                                                                             \
    X(CmdPipelineBarrier,                                                                          \
      (VkCommandBuffer c, VkPipelineStageFlags s, VkPipelineStageFlags d, VkDependencyFlags f,     \
       uint32_t m, const VkMemoryBarrier *mb, uint32_t b, const VkBufferMemoryBarrier *bb,         \
       uint32_t i, const VkImageMemoryBarrier *ib),                                                \
      (c, s, d, f, m, mb, b, bb, i, ib))

#define COMMAND_WRAPPER(name, parameters, arguments)                                               \
    static PFN_vk##name next_##name;                                                               \
    static VKAPI_ATTR void VKAPI_CALL my_##name parameters {                                       \
        vulkan_shim.commands++;                                                                    \
        next_##name arguments;                                                                     \
    }
COMMANDS(COMMAND_WRAPPER)

/* ---- what devices are ---------------------------------------------------------------------------- */

static PFN_vkEnumeratePhysicalDevices next_EnumeratePhysicalDevices;
static VKAPI_ATTR VkResult VKAPI_CALL my_EnumeratePhysicalDevices(VkInstance i, uint32_t *n,
                                                                  VkPhysicalDevice *o) {
    if (vulkan_shim.no_driver) {
        *n = 0;
        return VK_SUCCESS;
    }
    return next_EnumeratePhysicalDevices(i, n, o);
}

static PFN_vkGetPhysicalDeviceFeatures2 next_GetPhysicalDeviceFeatures2;
static VKAPI_ATTR void VKAPI_CALL my_GetPhysicalDeviceFeatures2(VkPhysicalDevice p,
                                                                VkPhysicalDeviceFeatures2 *o) {
    next_GetPhysicalDeviceFeatures2(p, o);
    if (!vulkan_shim.no_addresses) return;
    VkPhysicalDeviceVulkan12Features *v12 =
        (void *)in_chain(o->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    VkPhysicalDeviceBufferDeviceAddressFeatures *address = (void *)in_chain(
        o->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES);
    if (v12) v12->bufferDeviceAddress = VK_FALSE;
    if (address) address->bufferDeviceAddress = VK_FALSE;
}

static PFN_vkGetPhysicalDeviceProperties2 next_GetPhysicalDeviceProperties2;
static VKAPI_ATTR void VKAPI_CALL my_GetPhysicalDeviceProperties2(VkPhysicalDevice p,
                                                                  VkPhysicalDeviceProperties2 *o) {
    next_GetPhysicalDeviceProperties2(p, o);
    if (!vulkan_shim.max_allocation) return;
    VkPhysicalDeviceVulkan11Properties *v11 =
        (void *)in_chain(o->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
    VkPhysicalDeviceMaintenance3Properties *m3 =
        (void *)in_chain(o->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES);
    if (v11) v11->maxMemoryAllocationSize = vulkan_shim.max_allocation;
    if (m3) m3->maxMemoryAllocationSize = vulkan_shim.max_allocation;
}

/* ---- looking functions up ------------------------------------------------------------------------ */

static PFN_vkVoidFunction find(const char *name, PFN_vkVoidFunction next);

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL my_GetDeviceProcAddr(VkDevice d, const char *name) {
    return find(name, next_device(d, name));
}

#define FIND(NAME)                                                                                 \
    if (strcmp(name, "vk" #NAME) == 0) {                                                           \
        next_##NAME = (PFN_vk##NAME)next;                                                          \
        return (PFN_vkVoidFunction)my_##NAME;                                                      \
    }
#define FIND_FIRST(NAME, ...) FIND(NAME)

/* Our function in front of `next`, or `next` itself. */
static PFN_vkVoidFunction find(const char *name, PFN_vkVoidFunction next) {
    if (!next) return NULL;
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) {
        next_device = (PFN_vkGetDeviceProcAddr)next;
        return (PFN_vkVoidFunction)my_GetDeviceProcAddr;
    }
    FALLIBLE(FIND_FIRST)
    LOSABLE(FIND_FIRST)
    ENDING(FIND_FIRST)
    COMMANDS(FIND_FIRST)
    FIND(WaitSemaphores)
    FIND(QueueSubmit)
    FIND(FreeCommandBuffers)
    FIND(CreateDevice)
    FIND(DestroyDevice)
    FIND(EnumeratePhysicalDevices)
    FIND(GetPhysicalDeviceFeatures2)
    FIND(GetPhysicalDeviceProperties2)
    return next;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetInstanceProcAddr(VkInstance instance,
                                                               const char *name);

__attribute__((visibility("default"))) VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL
vkGetInstanceProcAddr(VkInstance instance, const char *name) {
    if (!next_instance) {
        void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) return NULL;
        next_instance = (PFN_vkGetInstanceProcAddr)dlsym(library, "vkGetInstanceProcAddr");
        if (!next_instance) return NULL;
    }
    return find(name, next_instance(instance, name));
}

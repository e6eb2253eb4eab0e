/* backends/vulkan/vulkan.h: the Vulkan driver's structs and what its files give each other.
 *
 *   loader.c    libvulkan at run time, and every function that is used
 *   probe.c     which devices there are and what they can do
 *   device.c    open and close
 *   memory.c    buffers and their segments, staging, write and read
 *   kernel.c    modules and pipelines, the cache on disk
 *   cmd.c       command buffers: recorded once, submitted again and again
 *   timeline.c  timeline semaphores, waiting with time-outs, device loss
 *   table.c     the table of variants
 *
 * Thread-safety: as in hal/hal.h; what waiting threads touch (timeline, loss) is atomic. */
#ifndef HY_VULKAN_VULKAN_H
#define HY_VULKAN_VULKAN_H

#define VK_NO_PROTOTYPES
#include <stdatomic.h>
#include <vulkan/vulkan.h>

#include "backends/gpu/gpu.h"
#include "backends/vulkan/vulkan_backend.h"

/* ---- functions: X(name) is vkName ---------------------------------------------------------------- */

#define VK_GLOBAL_FUNCTIONS(X)                                                                     \
    X(CreateInstance)                                                                              \
    X(EnumerateInstanceVersion)                                                                    \
    X(EnumerateInstanceExtensionProperties)

#define VK_INSTANCE_FUNCTIONS(X)                                                                   \
    X(DestroyInstance)                                                                             \
    X(EnumeratePhysicalDevices)                                                                    \
    X(EnumerateDeviceExtensionProperties)                                                          \
    X(GetPhysicalDeviceProperties)                                                                 \
    X(GetPhysicalDeviceProperties2)                                                                \
    X(GetPhysicalDeviceFeatures2)                                                                  \
    X(GetPhysicalDeviceMemoryProperties2)                                                          \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                      \
    X(CreateDevice)                                                                                \
    X(GetDeviceProcAddr)

#define VK_DEVICE_FUNCTIONS(X)                                                                     \
    X(DestroyDevice)                                                                               \
    X(GetDeviceQueue)                                                                              \
    X(DeviceWaitIdle)                                                                              \
    X(AllocateMemory)                                                                              \
    X(FreeMemory)                                                                                  \
    X(MapMemory)                                                                                   \
    X(CreateBuffer)                                                                                \
    X(DestroyBuffer)                                                                               \
    X(GetBufferMemoryRequirements)                                                                 \
    X(BindBufferMemory)                                                                            \
    X(GetBufferDeviceAddress)                                                                      \
    X(CreateShaderModule)                                                                          \
    X(DestroyShaderModule)                                                                         \
    X(CreatePipelineLayout)                                                                        \
    X(DestroyPipelineLayout)                                                                       \
    X(CreatePipelineCache)                                                                         \
    X(DestroyPipelineCache)                                                                        \
    X(GetPipelineCacheData)                                                                        \
    X(CreateComputePipelines)                                                                      \
    X(DestroyPipeline)                                                                             \
    X(CreateCommandPool)                                                                           \
    X(DestroyCommandPool)                                                                          \
    X(AllocateCommandBuffers)                                                                      \
    X(FreeCommandBuffers)                                                                          \
    X(BeginCommandBuffer)                                                                          \
    X(EndCommandBuffer)                                                                            \
    X(CmdBindPipeline)                                                                             \
    X(CmdPushConstants)                                                                            \
    X(CmdDispatch)                                                                                 \
    X(CmdCopyBuffer)                                                                               \
    X(CmdPipelineBarrier)                                                                          \
    X(QueueSubmit)                                                                                 \
    X(CreateSemaphore)                                                                             \
    X(DestroySemaphore)                                                                            \
    X(GetSemaphoreCounterValue)                                                                    \
    X(WaitSemaphores)

#define VK_FIELD(name) PFN_vk##name name;

/* What the loader gives; vk_loader_open makes it once per process and keeps it. */
typedef struct vk_loader {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
    VK_GLOBAL_FUNCTIONS(VK_FIELD)
    VkInstance instance;
    uint32_t api; /* version of the instance, at most 1.3 */
    VK_INSTANCE_FUNCTIONS(VK_FIELD)
    /* Absent before VK_KHR_cooperative_matrix. Declared in coopmat.h. */
    PFN_vkVoidFunction GetPhysicalDeviceCooperativeMatrixPropertiesKHR;
} vk_loader;

/* Opens libvulkan.so.1 (or the file that HALYARD_VULKAN_LIBRARY names) and an instance of Vulkan 1.2 or
 * newer. HY_E_UNAVAILABLE says what was looked for. Each call adds a user; vk_loader_close takes it away and
 * the last one destroys the instance (the library stays). */
HY_NODISCARD hy_status vk_loader_open(const vk_loader **out);
void vk_loader_close(void);

/* ---- device -------------------------------------------------------------------------------------- */

/* Of one device. */
typedef struct vk_functions {
    VK_DEVICE_FUNCTIONS(VK_FIELD)
} vk_functions;

typedef struct vk_pipeline vk_pipeline; /* kernel.c */
typedef struct vk_staging vk_staging;   /* memory.c */

typedef struct vk_device {
    gpu_device gpu; /* .base.backend, .driver, .variants, .limits */
    const vk_loader *loader;
    vk_functions vk;
    VkPhysicalDevice physical;
    VkDevice handle;
    VkQueue queue;
    uint32_t queue_family;
    hy_device_info info;
    bool software, budget; /* budget: the driver tells how much memory is free */
    /* memory.c */
    VkPhysicalDeviceMemoryProperties memory;
    uint64_t max_allocation;                         /* bytes of one allocation and buffer */
    uint32_t device_type, host_type, host_read_type; /* memory type indices */
    vk_staging *staging;
    /* kernel.c */
    bool size_control;       /* subgroupSizeControl and computeFullSubgroups are on (device.c) */
    VkPipelineLayout layout; /* push constants: one address */
    VkPipelineCache cache;
    bool cache_grew;      /* pipelines were made: maybe worth writing at close */
    size_t cache_bytes;   /* that came from disk */
    char cache_path[512]; /* "": no cache on disk */
    uint8_t cache_uuid[VK_UUID_SIZE];
    vk_pipeline *pipelines; /* [pipeline_count] */
    size_t pipeline_count, pipeline_room;
    /* cmd.c */
    VkCommandPool pool;
    /* timeline.c */
    VkSemaphore progress;        /* timeline: number of the latest submission that is done */
    _Atomic uint64_t submitted;  /* number of the latest submission, from 1 */
    _Atomic uint64_t seen;       /* of `progress` when a wait last looked */
    _Atomic uint64_t stirred_us; /* when it last grew or work was added */
    uint64_t patience_us;        /* without progress for so long the device is lost; 0: never */
    _Atomic bool lost;           /* sticky */
} vk_device;

/* Text of a VkResult: "VK_ERROR_DEVICE_LOST". */
const char *vk_result_name(VkResult result);
/* VK_SUCCESS -> HY_OK; out of memory -> HY_E_MEMORY, device loss -> HY_E_DEVICE and the device is lost from
 * then on; else HY_E_DEVICE. `what` is the function's name. */
HY_NODISCARD hy_status vk_check(vk_device *device, VkResult result, const char *what);
/* HY_E_DEVICE once the device is lost. */
HY_NODISCARD hy_status vk_alive(vk_device *device);

/* device.c: as in hy_backend. */
hy_status vk_devices(hy_device_info *infos, uint32_t capacity, uint32_t *count);
hy_status vk_open(uint32_t index, const hy_device_params *params, hy_device **out);
void vk_close(hy_device *device);
void vk_info(hy_device *device, hy_device_info *out);

/* memory.c: as in hy_backend, and set-up by open. */
hy_status vk_memory_open(vk_device *device); /* memory types, the queue's objects, staging */
void vk_memory_close(vk_device *device);
/* Sets the three memory types from device->memory; `allowed`: a bit for each type that buffers may have. */
hy_status vk_choose_types(vk_device *device, uint32_t allowed, bool discrete);
hy_status vk_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out);
hy_status vk_buffer_import(hy_device *device, void *host, uint64_t size, hy_buffer **out);
void vk_buffer_free(hy_buffer *buffer);
hy_status vk_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size);
hy_status vk_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size);
/* As in gpu_driver. */
hy_status vk_stage(gpu_device *device, uint64_t bytes, void **host, uint64_t *address);
hy_status vk_run(gpu_device *device, const gpu_launch *launch);
/* Waits for what run() started; submit and read call it. Nothing in steady state. */
hy_status vk_staging_flush(vk_device *device);
/* Records a copy of src.size bytes, segment by segment; views may cross segments here. */
void vk_record_copy(vk_device *device, VkCommandBuffer to, hy_view dst, hy_view src);

typedef struct vk_buffer {
    gpu_buffer gpu;
    uint32_t segments;
    VkBuffer *buffer;       /* [segments] */
    VkDeviceMemory *memory; /* [segments] */
    uint64_t *skew;         /* [segments] bytes of `buffer` before the first of `address` */
} vk_buffer;

/* kernel.c: set-up, and as in gpu_driver. The handle is the VkPipeline. */
hy_status vk_kernels_open(vk_device *device);
void vk_kernels_close(vk_device *device); /* writes the cache if it grew; that failing is fine */
hy_status vk_kernel(gpu_device *device, const gpu_launch *launch, uint64_t *out);

/* A compiled shader; the array is made by the build (shaders/vulkan/meson.build), sorted by name. */
typedef struct vk_module {
    const char *name; /* "matmul.q4_0.gemv": gpu_variant.entry */
    const uint32_t *words;
    size_t bytes;
} vk_module;
extern const vk_module vk_modules[];
extern const size_t vk_module_count;
/* NULL: not part of this build. */
const vk_module *vk_module_find(const char *name);

/* cmd.c: as in hy_backend and gpu_driver. */
hy_status vk_cmd_new(hy_device *device, hy_view counters, hy_cmd **out);
void vk_cmd_free(hy_cmd *cmd);
hy_status vk_record(gpu_cmd *cmd);
hy_status vk_submit(hy_device *device, hy_cmd *cmd, hy_timeline *timeline, uint64_t value);
/* Records a dispatch of `pipeline` (0: the one bound before) with that argument block; a full barrier. */
void vk_record_launch(vk_device *device, VkCommandBuffer to, uint64_t pipeline, uint64_t args,
                      const uint32_t grid[3]);
void vk_record_barrier(vk_device *device, VkCommandBuffer to);
/* The pool; called by memory.c. */
hy_status vk_commands_open(vk_device *device);
void vk_commands_close(vk_device *device);
/* Puts recorded commands on the queue; device->submitted is their number. timeline: VK_NULL_HANDLE or set to
 * `value` when they are done. */
hy_status vk_queue_submit(vk_device *device, VkCommandBuffer commands, VkSemaphore timeline,
                          uint64_t value);

/* timeline.c: as in hy_backend. */
typedef struct vk_timeline {
    hy_timeline base;
    VkSemaphore semaphore;
} vk_timeline;
hy_status vk_timeline_new(hy_device *device, hy_timeline **out);
void vk_timeline_free(hy_timeline *timeline);
hy_status vk_timeline_value(hy_timeline *timeline, uint64_t *value);
hy_status vk_timeline_wait(hy_timeline *timeline, uint64_t value, uint64_t timeout_us);
/* Waits for a semaphore with the device's patience; HY_E_TIMEOUT after timeout_us, HY_E_DEVICE on loss. */
hy_status vk_wait(vk_device *device, VkSemaphore semaphore, uint64_t value, uint64_t timeout_us);
/* Waits until submission `number` is done. vk_quiesce: before something is freed; returns on loss too. */
hy_status vk_settle(vk_device *device, uint64_t number);
void vk_quiesce(vk_device *device, uint64_t number);
/* A timeline semaphore at 0. */
hy_status vk_semaphore_new(vk_device *device, VkSemaphore *out);

/* table.c */
extern const gpu_variant vk_variants[];

#endif

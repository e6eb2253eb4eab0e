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

/* What the loader gives; vulkan_loader_open makes it once per process and keeps it. */
typedef struct vulkan_loader {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
    VK_GLOBAL_FUNCTIONS(VK_FIELD)
    VkInstance instance;
    uint32_t api; /* version of the instance, at most 1.3 */
    VK_INSTANCE_FUNCTIONS(VK_FIELD)
    /* Absent before VK_KHR_cooperative_matrix. Declared in coopmat.h. */
    PFN_vkVoidFunction GetPhysicalDeviceCooperativeMatrixPropertiesKHR;
} vulkan_loader;

/* Opens libvulkan.so.1 (or the file that HALYARD_VULKAN_LIBRARY names) and an instance of Vulkan 1.2 or
 * newer. HY_E_UNAVAILABLE says what was looked for. Each call adds a user; vulkan_loader_close takes it away and
 * the last one destroys the instance (the library stays). */
HY_NODISCARD hy_status vulkan_loader_open(const vulkan_loader **out);
void vulkan_loader_close(void);

/* ---- device -------------------------------------------------------------------------------------- */

/* Of one device. */
typedef struct vulkan_functions {
    VK_DEVICE_FUNCTIONS(VK_FIELD)
} vulkan_functions;

typedef struct vulkan_pipeline vulkan_pipeline; /* kernel.c */
typedef struct vulkan_staging vulkan_staging;   /* memory.c */

typedef struct vulkan_device {
    gpu_device gpu; /* .base.backend, .driver, .variants, .limits */
    const vulkan_loader *loader;
    vulkan_functions vk;
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
    vulkan_staging *staging;
    /* kernel.c */
    bool size_control;       /* subgroupSizeControl and computeFullSubgroups are on (device.c) */
    VkPipelineLayout layout; /* push constants: one address */
    VkPipelineCache cache;
    bool cache_grew;      /* pipelines were made: maybe worth writing at close */
    size_t cache_bytes;   /* that came from disk */
    char cache_path[512]; /* "": no cache on disk */
    uint8_t cache_uuid[VK_UUID_SIZE];
    vulkan_pipeline *pipelines; /* [pipeline_count] */
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
} vulkan_device;

/* Text of a VkResult: "VK_ERROR_DEVICE_LOST". */
const char *vulkan_result_name(VkResult result);
/* VK_SUCCESS -> HY_OK; out of memory -> HY_E_MEMORY, device loss -> HY_E_DEVICE and the device is lost from
 * then on; else HY_E_DEVICE. `what` is the function's name. */
HY_NODISCARD hy_status vulkan_check(vulkan_device *device, VkResult result, const char *what);
/* HY_E_DEVICE once the device is lost. */
HY_NODISCARD hy_status vulkan_alive(vulkan_device *device);

/* device.c: as in hy_backend. */
hy_status vulkan_devices(hy_device_info *infos, uint32_t capacity, uint32_t *count);
hy_status vulkan_open(uint32_t index, const hy_device_params *params, hy_device **out);
void vulkan_close(hy_device *device);
void vulkan_info(hy_device *device, hy_device_info *out);

/* memory.c: as in hy_backend, and set-up by open. */
hy_status
vulkan_memory_open(vulkan_device *device); /* memory types, the queue's objects, staging */
void vulkan_memory_close(vulkan_device *device);
/* Sets the three memory types from device->memory; `allowed`: a bit for each type that buffers may have. */
hy_status vulkan_choose_types(vulkan_device *device, uint32_t allowed, bool discrete);
hy_status vulkan_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out);
hy_status vulkan_buffer_import(hy_device *device, void *host, uint64_t size, hy_buffer **out);
void vulkan_buffer_free(hy_buffer *buffer);
hy_status vulkan_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size);
hy_status vulkan_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size);
/* As in gpu_driver. */
hy_status vulkan_stage(gpu_device *device, uint64_t bytes, void **host, uint64_t *address);
hy_status vulkan_run(gpu_device *device, const gpu_launch *launch);
/* Waits for what run() started; submit and read call it. Nothing in steady state. */
hy_status vulkan_staging_flush(vulkan_device *device);
/* Records a copy of src.size bytes, segment by segment; views may cross segments here. */
void vulkan_record_copy(vulkan_device *device, VkCommandBuffer to, hy_view dst, hy_view src);

typedef struct vulkan_buffer {
    gpu_buffer gpu;
    uint32_t segments;
    VkBuffer *buffer;       /* [segments] */
    VkDeviceMemory *memory; /* [segments] */
    uint64_t *skew;         /* [segments] bytes of `buffer` before the first of `address` */
} vulkan_buffer;

/* kernel.c: set-up, and as in gpu_driver. The handle is the VkPipeline. */
hy_status vulkan_kernels_open(vulkan_device *device);
void vulkan_kernels_close(
    vulkan_device *device); /* writes the cache if it grew; that failing is fine */
hy_status vulkan_kernel(gpu_device *device, const gpu_launch *launch, uint64_t *out);

/* A compiled shader; the array is made by the build (shaders/vulkan/meson.build), sorted by name. */
typedef struct vulkan_module {
    const char *name; /* "matmul.q4_0.gemv": gpu_variant.entry */
    const uint32_t *words;
    size_t bytes;
} vulkan_module;
extern const vulkan_module vulkan_modules[];
extern const size_t vulkan_module_count;
/* NULL: not part of this build. */
const vulkan_module *vulkan_module_find(const char *name);

/* cmd.c: as in hy_backend and gpu_driver. */
hy_status vulkan_cmd_new(hy_device *device, hy_view counters, hy_cmd **out);
void vulkan_cmd_free(hy_cmd *cmd);
hy_status vulkan_record(gpu_cmd *cmd);
hy_status vulkan_submit(hy_device *device, hy_cmd *cmd, hy_timeline *timeline, uint64_t value);
/* Records a dispatch of `pipeline` (0: the one bound before) with that argument block; a full barrier. */
void vulkan_record_launch(vulkan_device *device, VkCommandBuffer to, uint64_t pipeline,
                          uint64_t args, const uint32_t grid[3]);
void vulkan_record_barrier(vulkan_device *device, VkCommandBuffer to);
/* The pool; called by memory.c. */
hy_status vulkan_commands_open(vulkan_device *device);
void vulkan_commands_close(vulkan_device *device);
/* Puts recorded commands on the queue; device->submitted is their number. timeline: VK_NULL_HANDLE or set to
 * `value` when they are done. */
hy_status vulkan_queue_submit(vulkan_device *device, VkCommandBuffer commands, VkSemaphore timeline,
                              uint64_t value);

/* timeline.c: as in hy_backend. */
typedef struct vulkan_timeline {
    hy_timeline base;
    VkSemaphore semaphore;
    uint64_t last; /* the highest value that a submission sets */
} vulkan_timeline;
hy_status vulkan_timeline_new(hy_device *device, hy_timeline **out);
void vulkan_timeline_free(hy_timeline *timeline);
hy_status vulkan_timeline_value(hy_timeline *timeline, uint64_t *value);
hy_status vulkan_timeline_wait(hy_timeline *timeline, uint64_t value, uint64_t timeout_us);
/* Waits for a semaphore with the device's patience; HY_E_TIMEOUT after timeout_us, HY_E_DEVICE on loss. */
hy_status vulkan_wait(vulkan_device *device, VkSemaphore semaphore, uint64_t value,
                      uint64_t timeout_us);
/* Waits until submission `number` is done. vulkan_quiesce: before something is freed; returns on loss too. */
hy_status vulkan_settle(vulkan_device *device, uint64_t number);
void vulkan_quiesce(vulkan_device *device, uint64_t number);
/* A timeline semaphore at 0. */
hy_status vulkan_semaphore_new(vulkan_device *device, VkSemaphore *out);

/* table.c */
extern const gpu_variant vulkan_variants[];

#endif

/* backends/vulkan/kernel.c: modules become pipelines on first use; the driver's pipeline cache is kept on disk.
 *
 * The cache file is $XDG_CACHE_HOME/halyard/vulkan-<vendor>-<device>-<driver>.bin ($HOME/.cache without
 * XDG_CACHE_HOME; these two variables are read here and nowhere else). It is the driver's bytes and a checksum
 * of them. A file that is missing, damaged or another driver's is left out, and one that cannot be written is
 * not: the cache saves time and nothing else. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/vulkan/vulkan.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"

enum {
    HEADER_BYTES = 16 + VK_UUID_SIZE, /* of a driver's cache: size, version, vendor, device, uuid */
    SUM_BYTES = 8,
    CACHE_MOST = 256 << 20 /* bytes of a cache file that is read */
};

struct vulkan_pipeline {
    const char *entry;
    uint32_t threads;
    uint32_t constant[GPU_CONSTANTS];
    VkPipeline pipeline;
};

/* ---- cache on disk ------------------------------------------------------------------------------- */

static void choose_path(vulkan_device *device, const VkPhysicalDeviceProperties *properties,
                        const uint8_t *driver) {
    char uuid[2 * VK_UUID_SIZE + 1];
    const char *folder = getenv("XDG_CACHE_HOME"), *below = "";
    if (!folder || *folder != '/') { /* XDG: relative ones are ignored */
        folder = getenv("HOME");
        below = "/.cache";
    }
    device->cache_path[0] = 0;
    if (!folder || *folder != '/') return;
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++)
        sprintf(uuid + 2 * i, "%02x", driver[i]);
    const int length = snprintf(device->cache_path, sizeof device->cache_path,
                                "%s%s/halyard/vulkan-%04x-%04x-%s.bin", folder, below,
                                properties->vendorID, properties->deviceID, uuid);
    if (length < 0 || (size_t)length >= sizeof device->cache_path) device->cache_path[0] = 0;
}

/* FNV-1a. */
static uint64_t sum_of(const uint8_t *data, size_t size) {
    uint64_t sum = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ data[i]) * 0x100000001b3;
    return sum;
}

static uint64_t load_le(const uint8_t *data, int bytes) {
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | data[i];
    return value;
}

/* Whether `size` bytes of a driver's cache, with our sum behind them, are for this device and driver. */
static bool fits(const vulkan_device *device, const VkPhysicalDeviceProperties *properties,
                 const uint8_t *data, size_t size) {
    if (size < HEADER_BYTES + SUM_BYTES) return false;
    size -= SUM_BYTES;
    return load_le(data + size, SUM_BYTES) == sum_of(data, size) &&
           load_le(data, 4) >= HEADER_BYTES && load_le(data, 4) <= size &&
           load_le(data + 4, 4) == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           load_le(data + 8, 4) == properties->vendorID &&
           load_le(data + 12, 4) == properties->deviceID &&
           memcmp(data + 16, device->cache_uuid, VK_UUID_SIZE) == 0;
}

static hy_status create_cache(vulkan_device *device, const void *data, size_t size) {
    const VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                            .initialDataSize = size,
                                            .pInitialData = data};
    return vulkan_check(device,
                        device->vk.CreatePipelineCache(device->handle, &info, NULL, &device->cache),
                        "vkCreatePipelineCache");
}

static hy_status open_cache(vulkan_device *device, const VkPhysicalDeviceProperties *properties) {
    uint8_t *data = NULL;
    size_t size = 0;
    const bool found = device->cache_path[0] &&
                       hy_file_read(device->cache_path, CACHE_MOST, &data, &size) == HY_OK;
    const bool good = found && fits(device, properties, data, size);
    if (found && !good) hy_log(HY_LOG_DEBUG, "vulkan: %s is not used", device->cache_path);
    hy_status status = good ? create_cache(device, data, size - SUM_BYTES) : HY_E_NOT_FOUND;
    if (found) free(data);
    device->cache_bytes = status == HY_OK ? size - SUM_BYTES : 0;
    return status == HY_OK ? HY_OK : create_cache(device, NULL, 0);
}

/* Makes the folders of `path`, which are the user's alone (XDG). */
static void make_folders(const char *path) {
    char folder[sizeof((vulkan_device *)NULL)->cache_path];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(folder, 0700) != 0 && errno != EEXIST) return; /* opening the file will fail */
        *slash = '/';
    }
}

static hy_status write_file(const char *path, const uint8_t *data, size_t size) {
    uint8_t sum[SUM_BYTES];
    const uint64_t value = sum_of(data, size);
    for (int i = 0; i < SUM_BYTES; i++)
        sum[i] = (uint8_t)(value >> 8 * i);
    hy_writer *writer;
    make_folders(path);
    HY_TRY(hy_writer_open(path, &writer));
    hy_status status = hy_writer_write(writer, data, size);
    if (status == HY_OK) status = hy_writer_write(writer, sum, sizeof sum);
    if (status == HY_OK) return hy_writer_commit(writer);
    hy_writer_abandon(writer);
    return status;
}

static void save_cache(vulkan_device *device) {
    size_t size = 0;
    if (!device->cache_grew || !device->cache_path[0] || atomic_load(&device->lost)) return;
    if (device->vk.GetPipelineCacheData(device->handle, device->cache, &size, NULL) != VK_SUCCESS ||
        size < HEADER_BYTES || size > CACHE_MOST - SUM_BYTES || size == device->cache_bytes)
        return;
    uint8_t *data = malloc(size);
    if (!data) return;
    if (device->vk.GetPipelineCacheData(device->handle, device->cache, &size, data) == VK_SUCCESS &&
        write_file(device->cache_path, data, size) != HY_OK)
        hy_log(HY_LOG_DEBUG, "vulkan: the pipeline cache is not kept: %s", hy_error_text());
    free(data);
}

/* ---- set-up -------------------------------------------------------------------------------------- */

hy_status vulkan_kernels_open(vulkan_device *device) {
    VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &id};
    device->loader->GetPhysicalDeviceProperties2(device->physical, &properties);
    memcpy(device->cache_uuid, properties.properties.pipelineCacheUUID, VK_UUID_SIZE);
    const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                       .size = sizeof(uint64_t)};
    const VkPipelineLayoutCreateInfo layout = {.sType =
                                                   VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                               .pushConstantRangeCount = 1,
                                               .pPushConstantRanges = &range};
    HY_TRY(vulkan_check(
        device, device->vk.CreatePipelineLayout(device->handle, &layout, NULL, &device->layout),
        "vkCreatePipelineLayout"));
    choose_path(device, &properties.properties, id.driverUUID);
    const hy_status status = open_cache(device, &properties.properties);
    if (status != HY_OK) vulkan_kernels_close(device);
    return status;
}

void vulkan_kernels_close(vulkan_device *device) {
    if (device->cache) save_cache(device);
    for (size_t i = 0; i < device->pipeline_count; i++)
        device->vk.DestroyPipeline(device->handle, device->pipelines[i].pipeline, NULL);
    free(device->pipelines);
    device->pipelines = NULL;
    device->pipeline_count = device->pipeline_room = 0;
    device->vk.DestroyPipelineCache(device->handle, device->cache, NULL);
    device->vk.DestroyPipelineLayout(device->handle, device->layout, NULL);
    device->cache = VK_NULL_HANDLE;
    device->layout = VK_NULL_HANDLE;
}

/* ---- pipelines ----------------------------------------------------------------------------------- */

static int compare_name(const void *name, const void *module) {
    return strcmp(name, ((const vulkan_module *)module)->name);
}

const vulkan_module *vulkan_module_find(const char *name) {
    return bsearch(name, vulkan_modules, vulkan_module_count, sizeof *vulkan_modules, compare_name);
}

static hy_status create_pipeline(vulkan_device *device, const gpu_launch *launch,
                                 VkShaderModule module, VkPipeline *out) {
    uint32_t data[1 + GPU_CONSTANTS] = {launch->threads};
    VkSpecializationMapEntry entries[1 + GPU_CONSTANTS];
    memcpy(data + 1, launch->constant, sizeof launch->constant);
    for (uint32_t i = 0; i < HY_COUNT_OF(entries); i++)
        entries[i] = (VkSpecializationMapEntry){i, i * sizeof *data, sizeof *data};
    const VkSpecializationInfo special = {HY_COUNT_OF(entries), entries, sizeof data, data};
    const uint32_t subgroup = device->gpu.limits.subgroup;
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = subgroup};
    /* Matrix tiles belong to subgroups of a known size; nothing else asks for one. */
    const bool sized = device->size_control && subgroup && launch->threads % subgroup == 0 &&
                       strstr(launch->entry, ".coopmat");
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = sized ? &size : NULL,
                  .flags = sized ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &special},
        .layout = device->layout};
    return vulkan_check(
        device,
        device->vk.CreateComputePipelines(device->handle, device->cache, 1, &info, NULL, out),
        "vkCreateComputePipelines");
}

static hy_status make_pipeline(vulkan_device *device, const gpu_launch *launch, VkPipeline *out) {
    const vulkan_module *module = vulkan_module_find(launch->entry);
    if (!module)
        return hy_fail(HY_E_UNSUPPORTED, "vulkan: this build has no shader \"%s\"", launch->entry);
    const VkShaderModuleCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                           .codeSize = module->bytes,
                                           .pCode = module->words};
    VkShaderModule shader;
    hy_status status =
        vulkan_check(device, device->vk.CreateShaderModule(device->handle, &info, NULL, &shader),
                     "vkCreateShaderModule");
    if (status == HY_OK) {
        status = create_pipeline(device, launch, shader, out);
        device->vk.DestroyShaderModule(device->handle, shader, NULL);
    }
    return status == HY_OK ? HY_OK : hy_fail_in(status, "kernel %s", launch->entry);
}

static bool same(const vulkan_pipeline *pipeline, const gpu_launch *launch) {
    return pipeline->threads == launch->threads &&
           memcmp(pipeline->constant, launch->constant, sizeof launch->constant) == 0 &&
           strcmp(pipeline->entry, launch->entry) == 0;
}

hy_status vulkan_kernel(gpu_device *base, const gpu_launch *launch, uint64_t *out) {
    vulkan_device *device = (vulkan_device *)base;
    HY_TRY(vulkan_alive(device));
    for (size_t i = 0; i < device->pipeline_count; i++) {
        if (!same(&device->pipelines[i], launch)) continue;
        *out = (uint64_t)device->pipelines[i].pipeline;
        return HY_OK;
    }
    HY_TRY(hy_grow(&device->pipelines, device->pipeline_count, &device->pipeline_room,
                   sizeof *device->pipelines));
    vulkan_pipeline *made = &device->pipelines[device->pipeline_count];
    *made = (vulkan_pipeline){.entry = launch->entry, .threads = launch->threads};
    memcpy(made->constant, launch->constant, sizeof launch->constant);
    HY_TRY(make_pipeline(device, launch, &made->pipeline));
    device->pipeline_count++;
    device->cache_grew = true;
    *out = (uint64_t)made->pipeline;
    return HY_OK;
}

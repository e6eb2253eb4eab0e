/* backends/cuda/probe.c: what an NVIDIA device is and can do. */
#include <stdio.h>
#include <string.h>

#include "backends/cuda/cuda.h"
#include "base/num.h"

enum {
    OLDEST = 75,              /* compute capability of the intrinsics in shaders/simt/nvidia.h */
    RESERVED_SHARED = 1 << 10 /* bytes of a workgroup's shared memory that the system takes */
};

/* What the driver does not tell is 0. */
static int attribute_of(const cuda_functions *cuda, int device, int attribute) {
    int value = 0;
    return cuda->device_attribute(&value, attribute, device) == SIMT_OK ? value : 0;
}

/* The same where nothing works without. */
static uint32_t needed(const cuda_functions *cuda, int device, int attribute, int *code) {
    int value = 0;
    const int result = cuda->device_attribute(&value, attribute, device);
    if (*code == SIMT_OK) *code = result;
    return (uint32_t)value;
}

/* float32 operations of a multiprocessor per clock, a fused multiply-add as two. */
static uint32_t operations(uint32_t capability) {
    return capability == 80 || capability < 80 ? 128 : 256;
}

static int find_limits(const cuda_functions *cuda, int device, uint32_t capability,
                       simt_probe *out) {
    int code = SIMT_OK;
    const double clock_mhz = attribute_of(cuda, device, CUDA_CLOCK_KHZ) / 1e3;
    const double memory_mhz = attribute_of(cuda, device, CUDA_MEMORY_CLOCK_KHZ) / 1e3;
    const double bus_bytes = attribute_of(cuda, device, CUDA_BUS_BITS) / 8.0;
    const uint32_t shared = needed(cuda, device, CUDA_SHARED_OPTIN, &code);
    out->info.units = needed(cuda, device, CUDA_UNITS, &code);
    out->limits = (gpu_limits){
        .features = GPU_DOT8 | GPU_TILES,
        .max_grid = needed(cuda, device, CUDA_MAX_GRID_X, &code),
        .max_threads = needed(cuda, device, CUDA_MAX_THREADS, &code),
        .shared_bytes = shared > RESERVED_SHARED ? shared - RESERVED_SHARED : 0,
        .subgroup = 32,
        /* two transfers a clock; recent drivers no longer tell the clocks */
        .bytes_per_us = (float)(memory_mhz > 0 ? 2 * memory_mhz * bus_bytes * 0.9 : 500000),
        .ops_per_us =
            (float)(out->info.units * operations(capability) * (clock_mhz > 0 ? clock_mhz : 1500)),
        .launch_us = 2};
    return code;
}

static void unusable(simt_probe *out, const char *reason) {
    out->info.unusable = true;
    snprintf(out->info.detail, sizeof out->info.detail, "%s", reason);
}

static void describe(const cuda_functions *cuda, simt_probe *out) {
    int version = 0;
    const char *folder = simt_folder(&cuda_vendor);
    cuda->driver_version(&version);
    snprintf(out->info.detail, sizeof out->info.detail,
             "driver for CUDA %d.%d; uses %sint8 dot products, matrix tiles; kernels %s%.120s: %s",
             version / 1000, version % 1000 / 10, cuda_api.capture_begin ? "graphs, " : "",
             folder ? "from " : "of this build", folder ? folder : "", simt_tried(out));
}

void cuda_probe(const cuda_functions *cuda, int ordinal, simt_probe *out) {
    hy_device_info *info = &out->info;
    char bus[64] = "";
    int device;
    size_t bytes = 0;
    *out = (simt_probe){.ordinal = ordinal, .info = {.name = "NVIDIA device"}};
    int code = cuda->device_get(&device, ordinal);
    if (code == SIMT_OK) code = cuda->device_name(info->name, sizeof info->name, device);
    if (code == SIMT_OK) code = cuda->device_memory(&bytes, device);
    if (code == SIMT_OK) code = cuda->device_bus(bus, sizeof bus, device);
    if (code != SIMT_OK) {
        unusable(out, cuda_error_name(code));
        return;
    }
    const uint32_t major = needed(cuda, device, CUDA_MAJOR, &code);
    const uint32_t minor = needed(cuda, device, CUDA_MINOR, &code);
    simt_set_bus(info, bus);
    info->memory_total = info->memory_free = bytes;
    info->software = strncmp(info->name, "emulated ", 9) == 0;
    snprintf(info->arch, sizeof info->arch, "sm_%u%u", major, minor);
    const uint32_t capability = 10 * major + minor;
    if (code == SIMT_OK) code = find_limits(cuda, device, capability, out);
    if (code != SIMT_OK) {
        unusable(out, cuda_error_name(code));
        return;
    }
    if (capability < OLDEST)
        unusable(out, "its compute capability is below 7.5");
    else if (!simt_folder(&cuda_vendor) && !simt_any_image(&cuda_vendor, ""))
        unusable(out, "this build has no CUDA kernels: nvcc was not found when it was configured "
                      "(HALYARD_CUDA_KERNELS names a folder of others)");
    else
        describe(cuda, out);
}

/* backends/hip/backend.c: the backend's table of functions. */
#include "backends/hip/hip.h"
#include "base/num.h"

static hy_status hip_devices(hy_device_info *infos, uint32_t capacity, uint32_t *count) {
    const hip_functions *hip;
    int found = 0;
    HY_TRY(hip_load(&hip));
    const int code = hip->device_count(&found);
    if (code != SIMT_OK)
        return hy_fail(HY_E_UNAVAILABLE, "no HIP device: hipGetDeviceCount: %s",
                       hip_error_name(code));
    if (found == 0) return hy_fail(HY_E_UNAVAILABLE, "no HIP device: the runtime found none");
    *count = (uint32_t)found;
    for (uint32_t i = 0; i < *count && i < capacity; i++) {
        simt_probe probe;
        hip_probe(hip, (int)i, &probe);
        infos[i] = probe.info;
    }
    return HY_OK;
}

static hy_status hip_open(uint32_t index, const hy_device_params *params, hy_device **out) {
    const hip_functions *hip;
    uint32_t count;
    simt_probe probe;
    HY_TRY(hip_devices(NULL, 0, &count));
    HY_TRY(hip_load(&hip));
    if (index >= count)
        return hy_fail(HY_E_NOT_FOUND, "hip:%u does not exist; there are %u", index, count);
    hip_probe(hip, (int)index, &probe);
    return simt_open(&hip_vendor, &probe, params, out);
}

const hy_backend hy_hip_backend = {
    .name = "hip", .devices = hip_devices, .open = hip_open, SIMT_BACKEND};

static const char *const blas_libraries[] = {"libhipblaslt.so.1", "libhipblaslt.so.0", NULL};

static const simt_blas_facts blas = {.libraries = blas_libraries,
                                     .variable = "HALYARD_HIPBLASLT_LIBRARY",
                                     .prefix = "hipblasLt",
                                     .compute_f32 = 2,
                                     .turn_a = 0,
                                     .turned = 112};

const simt_vendor hip_vendor = {.backend = &hy_hip_backend,
                                .variants = hip_variants,
                                .api = &hip_api,
                                .images = hip_images,
                                .image_count = &hip_image_count,
                                .blas = &blas,
                                .folder_name = "HALYARD_HIP_KERNELS",
                                .suffix = "co"};

/* backends/cuda/backend.c: the backend's table of functions. */
#include "backends/cuda/cuda.h"
#include "base/num.h"

static hy_status cuda_devices(hy_device_info *infos, uint32_t capacity, uint32_t *count) {
    const cuda_functions *cuda;
    int found = 0;
    HY_TRY(cuda_load(&cuda));
    const int code = cuda->device_count(&found);
    if (code != SIMT_OK)
        return hy_fail(HY_E_UNAVAILABLE, "no CUDA device: cuDeviceGetCount: %s",
                       cuda_error_name(code));
    if (found == 0) return hy_fail(HY_E_UNAVAILABLE, "no CUDA device: the driver found none");
    *count = (uint32_t)found;
    for (uint32_t i = 0; i < *count && i < capacity; i++) {
        simt_probe probe;
        cuda_probe(cuda, (int)i, &probe);
        infos[i] = probe.info;
    }
    return HY_OK;
}

static hy_status cuda_open(uint32_t index, const hy_device_params *params, hy_device **out) {
    const cuda_functions *cuda;
    uint32_t count;
    simt_probe probe;
    HY_TRY(cuda_devices(NULL, 0, &count));
    HY_TRY(cuda_load(&cuda));
    if (index >= count)
        return hy_fail(HY_E_NOT_FOUND, "cuda:%u does not exist; there are %u", index, count);
    cuda_probe(cuda, (int)index, &probe);
    return simt_open(&cuda_vendor, &probe, params, out);
}

const hy_backend hy_cuda_backend = {
    .name = "cuda", .devices = cuda_devices, .open = cuda_open, SIMT_BACKEND};

static const char *const blas_libraries[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};

static const simt_blas_facts blas = {.libraries = blas_libraries,
                                     .variable = "HALYARD_CUBLASLT_LIBRARY",
                                     .prefix = "cublasLt",
                                     .compute_f32 = 68,
                                     .turn_a = 3,
                                     .turned = 1};

const simt_vendor cuda_vendor = {.backend = &hy_cuda_backend,
                                 .variants = cuda_variants,
                                 .api = &cuda_api,
                                 .images = cuda_images,
                                 .image_count = &cuda_image_count,
                                 .blas = &blas,
                                 .folder_name = "HALYARD_CUDA_KERNELS",
                                 .suffix = "fatbin"};

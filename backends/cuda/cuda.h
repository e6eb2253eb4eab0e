/* backends/cuda/cuda.h: CUDA's driver API as far as it is used, declared here: no header of CUDA's is needed.
 *
 *   loader.c    libcuda at run time, and its functions by neutral names
 *   probe.c     which devices there are and what they can do
 *   backend.c   hy_backend
 *   table.c     the table of variants
 *
 * Thread-safety: pure, but for cuda_load. */
#ifndef HY_CUDA_CUDA_H
#define HY_CUDA_CUDA_H

#include "backends/cuda/cuda_backend.h"
#include "backends/simt/simt.h"

/* X(field, symbol, result of the function and parameters); handles are pointers, CUdeviceptr is 64 bits. */
#define CUDA_FUNCTIONS(X)                                                                          \
    X(init, "cuInit", (unsigned flags))                                                            \
    X(driver_version, "cuDriverGetVersion", (int *version))                                        \
    X(error_name, "cuGetErrorName", (int code, const char **name))                                 \
    X(device_count, "cuDeviceGetCount", (int *count))                                              \
    X(device_get, "cuDeviceGet", (int *device, int ordinal))                                       \
    X(device_name, "cuDeviceGetName", (char *name, int length, int device))                        \
    X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))           \
    X(device_memory, "cuDeviceTotalMem_v2", (size_t * bytes, int device))                          \
    X(device_bus, "cuDeviceGetPCIBusId", (char *id, int length, int device))                       \
    X(context_retain, "cuDevicePrimaryCtxRetain", (void **context, int device))                    \
    X(context_release, "cuDevicePrimaryCtxRelease_v2", (int device))                               \
    X(context_set, "cuCtxSetCurrent", (void *context))                                             \
    X(memory_info, "cuMemGetInfo_v2", (size_t * free_bytes, size_t * total))                       \
    X(memory_new, "cuMemAlloc_v2", (void **out, size_t bytes))                                     \
    X(memory_free, "cuMemFree_v2", (void *memory))                                                 \
    X(pinned_new, "cuMemHostAlloc", (void **out, size_t bytes, unsigned flags))                    \
    X(pinned_free, "cuMemFreeHost", (void *memory))                                                \
    X(copy, "cuMemcpyAsync", (void *to, const void *from, size_t bytes, void *stream))             \
    X(stream_new, "cuStreamCreate", (void **out, unsigned flags))                                  \
    X(stream_free, "cuStreamDestroy_v2", (void *stream))                                           \
    X(stream_wait, "cuStreamSynchronize", (void *stream))                                          \
    X(event_new, "cuEventCreate", (void **out, unsigned flags))                                    \
    X(event_free, "cuEventDestroy_v2", (void *event))                                              \
    X(event_record, "cuEventRecord", (void *event, void *stream))                                  \
    X(event_query, "cuEventQuery", (void *event))                                                  \
    X(module_new, "cuModuleLoadData", (void **out, const void *image))                             \
    X(module_free, "cuModuleUnload", (void *module))                                               \
    X(function, "cuModuleGetFunction", (void **out, void *module, const char *name))               \
    X(function_attribute, "cuFuncSetAttribute", (void *function, int attribute, int value))        \
    X(launch, "cuLaunchKernel",                                                                    \
      (void *function, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t block_x,        \
       uint32_t block_y, uint32_t block_z, uint32_t shared_bytes, void *stream, void **params,     \
       void **extra))

/* May be absent: then lists are launched one by one. */
#define CUDA_GRAPH_FUNCTIONS(X)                                                                    \
    X(capture_begin, "cuStreamBeginCapture_v2", (void *stream, int mode))                          \
    X(capture_end, "cuStreamEndCapture", (void *stream, void **graph))                             \
    X(graph_free, "cuGraphDestroy", (void *graph))                                                 \
    X(program_new, "cuGraphInstantiateWithFlags",                                                  \
      (void **out, void *graph, unsigned long long flags))                                         \
    X(program_free, "cuGraphExecDestroy", (void *program))                                         \
    X(program_launch, "cuGraphLaunch", (void *program, void *stream))

#define CUDA_FIELD(field, symbol, parameters) int(*field) parameters;
/* What was found in the library. */
typedef struct cuda_functions {
    CUDA_FUNCTIONS(CUDA_FIELD)
    CUDA_GRAPH_FUNCTIONS(CUDA_FIELD)
} cuda_functions;
#undef CUDA_FIELD

/* Attributes of a device. */
enum {
    CUDA_MAX_THREADS = 1,
    CUDA_MAX_GRID_X = 5,
    CUDA_CLOCK_KHZ = 13,
    CUDA_UNITS = 16,
    CUDA_MEMORY_CLOCK_KHZ = 36,
    CUDA_BUS_BITS = 37,
    CUDA_MAJOR = 75,
    CUDA_MINOR = 76,
    CUDA_SHARED_OPTIN = 97
};

/* Opens libcuda.so.1 (or the file that HALYARD_CUDA_LIBRARY names) once per process; it stays. HY_E_UNAVAILABLE says
 * what was looked for. Any thread. */
HY_NODISCARD hy_status cuda_load(const cuda_functions **out);
/* "CUDA_ERROR_OUT_OF_MEMORY". */
const char *cuda_error_name(int code);
/* What the driver of backends/simt calls; filled in by cuda_load. */
extern simt_api cuda_api;

/* Device number `ordinal`. */
void cuda_probe(const cuda_functions *cuda, int ordinal, simt_probe *out);

/* table.c */
extern const gpu_variant cuda_variants[];
/* backend.c */
extern const simt_vendor cuda_vendor;
/* Made by the build (shaders/simt); no image when there was no nvcc. */
extern const simt_image cuda_images[];
extern const size_t cuda_image_count;

#endif

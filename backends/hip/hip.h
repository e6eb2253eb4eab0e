/* backends/hip/hip.h: HIP's module API as far as it is used, declared here: no header of ROCm's is needed, and
 * nothing whose layout or numbers changed between its releases (hipDeviceProp_t, device attributes).
 *
 *   loader.c    libamdhip64 at run time, and its functions by neutral names
 *   topology.c  what the kernel driver says of a device
 *   probe.c     which devices there are and what they can do
 *   backend.c   hy_backend
 *   table.c     the table of variants
 *
 * Thread-safety: pure, but for hip_load. */
#ifndef HY_HIP_HIP_H
#define HY_HIP_HIP_H

#include "backends/hip/hip_backend.h"
#include "backends/simt/simt.h"

/* X(field, symbol, parameters); handles are pointers. */
#define HIP_FUNCTIONS(X)                                                                           \
    X(init, "hipInit", (unsigned flags))                                                           \
    X(runtime_version, "hipRuntimeGetVersion", (int *version))                                     \
    X(device_count, "hipGetDeviceCount", (int *count))                                             \
    X(device_get, "hipDeviceGet", (int *device, int ordinal))                                      \
    X(device_name, "hipDeviceGetName", (char *name, int length, int device))                       \
    X(device_memory, "hipDeviceTotalMem", (size_t * bytes, int device))                            \
    X(device_bus, "hipDeviceGetPCIBusId", (char *id, int length, int ordinal))                     \
    X(device_set, "hipSetDevice", (int ordinal))                                                   \
    X(memory_info, "hipMemGetInfo", (size_t * free_bytes, size_t * total))                         \
    X(memory_new, "hipMalloc", (void **out, size_t bytes))                                         \
    X(memory_free, "hipFree", (void *memory))                                                      \
    X(pinned_new, "hipHostMalloc", (void **out, size_t bytes, unsigned flags))                     \
    X(pinned_free, "hipHostFree", (void *memory))                                                  \
    X(copy, "hipMemcpyAsync", (void *to, const void *from, size_t bytes, int kind, void *stream))  \
    X(stream_new, "hipStreamCreateWithFlags", (void **out, unsigned flags))                        \
    X(stream_free, "hipStreamDestroy", (void *stream))                                             \
    X(stream_wait, "hipStreamSynchronize", (void *stream))                                         \
    X(event_new, "hipEventCreateWithFlags", (void **out, unsigned flags))                          \
    X(event_free, "hipEventDestroy", (void *event))                                                \
    X(event_record, "hipEventRecord", (void *event, void *stream))                                 \
    X(event_query, "hipEventQuery", (void *event))                                                 \
    X(module_new, "hipModuleLoadData", (void **out, const void *image))                            \
    X(module_free, "hipModuleUnload", (void *module))                                              \
    X(function, "hipModuleGetFunction", (void **out, void *module, const char *name))              \
    X(launch, "hipModuleLaunchKernel",                                                             \
      (void *function, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t block_x,        \
       uint32_t block_y, uint32_t block_z, uint32_t shared_bytes, void *stream, void **params,     \
       void **extra))

/* May be absent: then lists are launched one by one. */
#define HIP_GRAPH_FUNCTIONS(X)                                                                     \
    X(capture_begin, "hipStreamBeginCapture", (void *stream, int mode))                            \
    X(capture_end, "hipStreamEndCapture", (void *stream, void **graph))                            \
    X(graph_free, "hipGraphDestroy", (void *graph))                                                \
    X(program_new, "hipGraphInstantiate",                                                          \
      (void **out, void *graph, void **node, char *log, size_t log_bytes))                         \
    X(program_free, "hipGraphExecDestroy", (void *program))                                        \
    X(program_launch, "hipGraphLaunch", (void *program, void *stream))

#define HIP_FIELD(field, symbol, parameters) int(*field) parameters;
/* What was found in the library. */
typedef struct hip_functions {
    HIP_FUNCTIONS(HIP_FIELD)
    HIP_GRAPH_FUNCTIONS(HIP_FIELD)
    const char *(*error_name)(int code);
} hip_functions;
#undef HIP_FIELD

/* Opens libamdhip64.so (or the file that HALYARD_HIP_LIBRARY names) once per process; it stays. HY_E_UNAVAILABLE says
 * what was looked for. Any thread. */
HY_NODISCARD hy_status hip_load(const hip_functions **out);
/* "hipErrorOutOfMemory". */
const char *hip_error_name(int code);
/* What the driver of backends/simt calls; filled in by hip_load. */
extern simt_api hip_api;

/* What the kernel driver (amdkfd) tells of a device. Zero: not told. */
typedef struct hip_topology {
    char arch[16];      /* "gfx942" */
    uint32_t units;     /* compute units */
    uint32_t clock_mhz; /* highest */
    uint64_t bytes_per_us;
} hip_topology;
/* bus: "0000:c1:00.0". False: nothing is known of it. */
bool hip_topology_of(const char *bus, hip_topology *out);

/* Device number `ordinal`. */
void hip_probe(const hip_functions *hip, int ordinal, simt_probe *out);

/* table.c */
extern const gpu_variant hip_variants[];
/* backend.c */
extern const simt_vendor hip_vendor;
/* Made by the build (shaders/simt); no image when there was no clang for AMD. */
extern const simt_image hip_images[];
extern const size_t hip_image_count;

#endif

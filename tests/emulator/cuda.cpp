/* tests/emulator/cuda.cpp: a libcuda that runs kernels on the CPU: the functions of CUDA's driver API that
 * backends/cuda uses, with the types of its own declarations. */
#include <stdio.h>
#include <string.h>

#include "tests/emulator/device.h"

namespace {

const int DRIVER_VERSION = 12040;

int attribute_of(int attribute) {
    switch (attribute) {
    case 1: /* MAX_THREADS_PER_BLOCK */
        return 1024;
    case 5: /* MAX_GRID_DIM_X */
        return 0x7fffffff;
    case 13: /* CLOCK_RATE, kHz */
        return 1000000;
    case 16: /* MULTIPROCESSOR_COUNT */
        return 4;
    case 36: /* MEMORY_CLOCK_RATE, kHz */
        return 1000000;
    case 37: /* GLOBAL_MEMORY_BUS_WIDTH, bits */
        return 256;
    case 41: /* UNIFIED_ADDRESSING */
        return 1;
    case 75: /* COMPUTE_CAPABILITY_MAJOR */
        return 8;
    case 76: /* ..._MINOR */
        return 0;
    case 97: /* MAX_SHARED_MEMORY_PER_BLOCK_OPTIN */
        return 100 << 10;
    default:
        return 0;
    }
}

} // namespace

#define CUDA(name, parameters, in_capture, ...)                                                    \
    EMU_EXPORT int name parameters {                                                               \
        const emu_guard inside;                                                                    \
        const int code = emu_call(#name, in_capture);                                              \
        if (code) return code;                                                                     \
        __VA_ARGS__                                                                                \
    }

CUDA(cuInit, (unsigned), true, { return EMU_OK; })
CUDA(cuDriverGetVersion, (int *version), true, {
    *version = DRIVER_VERSION;
    return EMU_OK;
})
EMU_EXPORT int cuGetErrorName(int code, const char **out) {
    static char name[64];
    const char *text = emu_error_name(code);
    if (!text) return EMU_INVALID_VALUE;
    snprintf(name, sizeof name, "CUDA_ERROR_%s", text);
    *out = name;
    return EMU_OK;
}
EMU_EXPORT int cuGetErrorString(int code, const char **out) {
    return cuGetErrorName(code, out);
}

CUDA(cuDeviceGetCount, (int *count), true, {
    *count = emu_device_count();
    return EMU_OK;
})
CUDA(cuDeviceGet, (int *device, int ordinal), true, {
    *device = ordinal;
    return ordinal < emu_device_count() ? EMU_OK : EMU_INVALID_VALUE;
})
CUDA(cuDeviceGetName, (char *name, int length, int), true, {
    snprintf(name, (size_t)length, "emulated NVIDIA device");
    return EMU_OK;
})
CUDA(cuDeviceGetAttribute, (int *value, int attribute, int), true, {
    *value = attribute_of(attribute);
    return EMU_OK;
})
CUDA(cuDeviceTotalMem_v2, (size_t * bytes, int), true, {
    *bytes = EMU_MEMORY;
    return EMU_OK;
})
CUDA(cuDeviceGetPCIBusId, (char *id, int length, int device), true, {
    snprintf(id, (size_t)length, "FFFF:%02X:00.0", 0xe0 + device); /* where no device is */
    return EMU_OK;
})
CUDA(cuDevicePrimaryCtxRetain, (void **context, int), false, {
    *context = (void *)&attribute_of;
    return emu_retain(1);
})
EMU_EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
    const emu_guard inside;
    return emu_retain(-1);
}

CUDA(cuCtxSetCurrent, (void *), true, { return EMU_OK; })
CUDA(cuMemGetInfo_v2, (size_t * left, size_t *all), true, {
    *left = emu_free_bytes();
    *all = EMU_MEMORY;
    return EMU_OK;
})
CUDA(cuMemAlloc_v2, (void **out, size_t bytes), false, { return emu_alloc(out, bytes, false); })
EMU_EXPORT int cuMemFree_v2(void *p) {
    const emu_guard inside;
    return emu_free(p);
}

CUDA(cuMemHostAlloc, (void **out, size_t bytes, unsigned), false,
     { return emu_alloc(out, bytes, true); })
EMU_EXPORT int cuMemFreeHost(void *p) {
    const emu_guard inside;
    return emu_free(p);
}

CUDA(cuMemcpyAsync, (void *to, const void *from, size_t bytes, emu_stream *stream), true,
     { return emu_copy(to, from, bytes, stream); })
CUDA(cuStreamCreate, (emu_stream * *out, unsigned), false, { return emu_stream_new(out); })
EMU_EXPORT int cuStreamDestroy_v2(emu_stream *stream) {
    const emu_guard inside;
    return emu_stream_free(stream);
}

CUDA(cuStreamSynchronize, (emu_stream *), false, { return EMU_OK; })
CUDA(cuStreamBeginCapture_v2, (emu_stream * stream, int), false,
     { return emu_capture_begin(stream); })
EMU_EXPORT int cuStreamEndCapture(emu_stream *stream, emu_graph **out) {
    const emu_guard inside;
    *out = nullptr;
    const int ended = emu_capture_end(stream, out), code = emu_call(__func__, true);
    return ended ? ended : code;
}

CUDA(cuGraphInstantiateWithFlags, (emu_graph * *out, emu_graph *graph, unsigned long long), false,
     { return emu_graph_copy(out, graph); })
CUDA(cuGraphLaunch, (emu_graph * graph, emu_stream *), false, { return emu_graph_launch(graph); })
EMU_EXPORT int cuGraphExecDestroy(emu_graph *graph) {
    const emu_guard inside;
    return emu_graph_free(graph);
}
EMU_EXPORT int cuGraphDestroy(emu_graph *graph) {
    const emu_guard inside;
    return emu_graph_free(graph);
}

CUDA(cuEventCreate, (emu_event * *out, unsigned), false, { return emu_event_new(out); })
EMU_EXPORT int cuEventDestroy_v2(emu_event *event) {
    const emu_guard inside;
    return emu_event_free(event);
}

CUDA(cuEventRecord, (emu_event * event, emu_stream *stream), false,
     { return emu_event_record(event, stream); })
CUDA(cuEventQuery, (emu_event * event), false, { return emu_event_query(event); })
CUDA(cuEventSynchronize, (emu_event * event), false, { return emu_event_query(event); })
CUDA(cuModuleLoadData, (emu_module * *out, const void *image), false,
     { return emu_module_new(out, image); })
EMU_EXPORT int cuModuleUnload(emu_module *module) {
    const emu_guard inside;
    return emu_module_free(module);
}

CUDA(cuModuleGetFunction, (emu_function * *out, emu_module *module, const char *name), false,
     { return emu_function_find(out, module, name); })
CUDA(cuFuncSetAttribute, (emu_function * function, int attribute, int value), false,
     { return attribute == 8 ? emu_function_shared(function, value) : EMU_INVALID_VALUE; })
CUDA(cuLaunchKernel,
     (emu_function * function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
      unsigned bz, unsigned shared_bytes, emu_stream *stream, void **params, void **),
     true, {
         const uint32_t grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
         return emu_launch(function, grid, block, shared_bytes, stream, params);
     })

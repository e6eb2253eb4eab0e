/* tests/emulator/hip.cpp: a libamdhip64 that runs kernels on the CPU: the functions of HIP that backends/hip uses,
 * with the types of its own declarations. */
#include <stdio.h>
#include <string.h>

#include "tests/emulator/device.h"

namespace {

const int VERSION = 60000000;

} // namespace

#define HIP(name, parameters, in_capture, ...)                                                     \
    EMU_EXPORT int name parameters {                                                               \
        const emu_guard inside;                                                                    \
        const int code = emu_call(#name, in_capture);                                              \
        if (code) return code;                                                                     \
        __VA_ARGS__                                                                                \
    }

HIP(hipInit, (unsigned), true, { return EMU_OK; })
HIP(hipDriverGetVersion, (int *version), true, {
    *version = VERSION;
    return EMU_OK;
})
HIP(hipRuntimeGetVersion, (int *version), true, {
    *version = VERSION;
    return EMU_OK;
})
EMU_EXPORT const char *hipGetErrorName(int code) {
    static char name[64];
    const char *text = emu_error_name(code);
    snprintf(name, sizeof name, "hipError%s", text ? text : "Unknown");
    return name;
}

HIP(hipGetDeviceCount, (int *count), true, {
    *count = emu_device_count();
    return EMU_OK;
})
HIP(hipDeviceGet, (int *device, int ordinal), true, {
    *device = ordinal;
    return ordinal < emu_device_count() ? EMU_OK : EMU_INVALID_VALUE;
})
HIP(hipDeviceGetName, (char *name, int length, int), true, {
    snprintf(name, (size_t)length, "emulated AMD device");
    return EMU_OK;
})
HIP(hipDeviceTotalMem, (size_t * bytes, int), true, {
    *bytes = EMU_MEMORY;
    return EMU_OK;
})
HIP(hipDeviceGetPCIBusId, (char *id, int length, int device), true, {
    snprintf(id, (size_t)length, "ffff:%02x:00.0", 0xe0 + device); /* where no device is */
    return EMU_OK;
})
HIP(hipSetDevice, (int), true, { return EMU_OK; })
HIP(hipMemGetInfo, (size_t * left, size_t *all), true, {
    *left = emu_free_bytes();
    *all = EMU_MEMORY;
    return EMU_OK;
})
HIP(hipMalloc, (void **out, size_t bytes), false, { return emu_alloc(out, bytes, false); })
EMU_EXPORT int hipFree(void *p) {
    const emu_guard inside;
    return emu_free(p);
}

HIP(hipHostMalloc, (void **out, size_t bytes, unsigned), false,
    { return emu_alloc(out, bytes, true); })
EMU_EXPORT int hipHostFree(void *p) {
    const emu_guard inside;
    return emu_free(p);
}

HIP(hipMemcpyAsync, (void *to, const void *from, size_t bytes, int, emu_stream *stream), true,
    { return emu_copy(to, from, bytes, stream); })
HIP(hipStreamCreateWithFlags, (emu_stream * *out, unsigned), false, { return emu_stream_new(out); })
EMU_EXPORT int hipStreamDestroy(emu_stream *stream) {
    const emu_guard inside;
    return emu_stream_free(stream);
}

HIP(hipStreamSynchronize, (emu_stream *), false, { return EMU_OK; })
HIP(hipStreamBeginCapture, (emu_stream * stream, int), false, { return emu_capture_begin(stream); })
EMU_EXPORT int hipStreamEndCapture(emu_stream *stream, emu_graph **out) {
    const emu_guard inside;
    *out = nullptr;
    const int ended = emu_capture_end(stream, out), code = emu_call(__func__, true);
    return ended ? ended : code;
}

HIP(hipGraphInstantiate, (emu_graph * *out, emu_graph *graph, void **, char *, size_t), false,
    { return emu_graph_copy(out, graph); })
HIP(hipGraphLaunch, (emu_graph * graph, emu_stream *), false, { return emu_graph_launch(graph); })
EMU_EXPORT int hipGraphExecDestroy(emu_graph *graph) {
    const emu_guard inside;
    return emu_graph_free(graph);
}
EMU_EXPORT int hipGraphDestroy(emu_graph *graph) {
    const emu_guard inside;
    return emu_graph_free(graph);
}

HIP(hipEventCreateWithFlags, (emu_event * *out, unsigned), false, { return emu_event_new(out); })
EMU_EXPORT int hipEventDestroy(emu_event *event) {
    const emu_guard inside;
    return emu_event_free(event);
}

HIP(hipEventRecord, (emu_event * event, emu_stream *stream), false,
    { return emu_event_record(event, stream); })
HIP(hipEventQuery, (emu_event * event), false, { return emu_event_query(event); })
HIP(hipModuleLoadData, (emu_module * *out, const void *image), false,
    { return emu_module_new(out, image); })
EMU_EXPORT int hipModuleUnload(emu_module *module) {
    const emu_guard inside;
    return emu_module_free(module);
}

HIP(hipModuleGetFunction, (emu_function * *out, emu_module *module, const char *name), false,
    { return emu_function_find(out, module, name); })
HIP(hipModuleLaunchKernel,
    (emu_function * function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
     unsigned bz, unsigned shared_bytes, emu_stream *stream, void **params, void **),
    true, {
        const uint32_t grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
        return emu_launch(function, grid, block, shared_bytes, stream, params);
    })

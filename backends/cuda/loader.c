/* backends/cuda/loader.c: libcuda at run time. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/cuda.h"

enum {
    STREAM_NON_BLOCKING = 1,
    EVENT_DISABLE_TIMING = 2,
    CAPTURE_THREAD_LOCAL = 1,
    PINNED_PORTABLE = 1,
    FUNCTION_DYNAMIC_SHARED = 8
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards loading */
static cuda_functions cuda;
simt_api cuda_api;
static bool loaded;

const char *cuda_error_name(int code) {
    const char *name = NULL;
    return cuda.error_name && cuda.error_name(code, &name) == SIMT_OK && name ? name
                                                                              : "an unknown error";
}

/* ---- simt_api ------------------------------------------------------------------------------------ */

static int bind_context(int ordinal, void *context) {
    (void)ordinal;
    return cuda.context_set(context);
}

/* A CUdevice is the device's ordinal. */
static int context_new(int ordinal, void **out) {
    return cuda.context_retain(out, ordinal);
}

static int context_free(int ordinal) {
    return cuda.context_release(ordinal);
}

static int pinned_new(void **out, size_t bytes) {
    return cuda.pinned_new(out, bytes, PINNED_PORTABLE);
}

static int stream_new(void **out) {
    return cuda.stream_new(out, STREAM_NON_BLOCKING);
}

static int event_new(void **out) {
    return cuda.event_new(out, EVENT_DISABLE_TIMING);
}

static int capture_begin(void *stream) {
    return cuda.capture_begin(stream, CAPTURE_THREAD_LOCAL);
}

static int program_new(void **out, void *graph) {
    return cuda.program_new(out, graph, 0);
}

static int function_shared(void *function, uint32_t bytes) {
    return cuda.function_attribute(function, FUNCTION_DYNAMIC_SHARED, (int)bytes);
}

static void fill_api(bool graphs) {
    cuda_api = (simt_api){.error_name = cuda_error_name,
                          .bind = bind_context,
                          .context_new = context_new,
                          .context_free = context_free,
                          .memory_info = cuda.memory_info,
                          .memory_new = cuda.memory_new,
                          .memory_free = cuda.memory_free,
                          .pinned_new = pinned_new,
                          .pinned_free = cuda.pinned_free,
                          .copy = cuda.copy,
                          .stream_new = stream_new,
                          .stream_free = cuda.stream_free,
                          .stream_wait = cuda.stream_wait,
                          .event_new = event_new,
                          .event_free = cuda.event_free,
                          .event_record = cuda.event_record,
                          .event_query = cuda.event_query,
                          .module_new = cuda.module_new,
                          .module_free = cuda.module_free,
                          .function = cuda.function,
                          .function_shared = function_shared,
                          .launch = cuda.launch};
    if (!graphs) return;
    cuda_api.capture_begin = capture_begin;
    cuda_api.capture_end = cuda.capture_end;
    cuda_api.graph_free = cuda.graph_free;
    cuda_api.program_new = program_new;
    cuda_api.program_free = cuda.program_free;
    cuda_api.program_launch = cuda.program_launch;
}

/* ---- loading ------------------------------------------------------------------------------------- */

static hy_status open_library(void **out) {
    const char *named = getenv("HALYARD_CUDA_LIBRARY");
    const bool is_named = named && *named;
    *out = dlopen(is_named ? named : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (*out) return HY_OK;
    if (is_named)
        return hy_fail(HY_E_UNAVAILABLE, "no CUDA driver: HALYARD_CUDA_LIBRARY=%s cannot be opened",
                       named);
    return hy_fail(HY_E_UNAVAILABLE, "no CUDA driver: libcuda.so.1 is not there");
}

static void *symbol_of(void *library, const char *name, const char **missing) {
    void *symbol = dlsym(library, name);
    if (!symbol && !*missing) *missing = name;
    return symbol;
}

static hy_status load_locked(void) {
    void *library, *symbol;
    const char *missing = NULL, *no_graphs = NULL;
    if (loaded) return HY_OK;
    HY_TRY(open_library(&library));
#define GET(field, name, parameters)                                                               \
    symbol = symbol_of(library, name, &missing);                                                   \
    memcpy(&cuda.field, &symbol, sizeof symbol);
    CUDA_FUNCTIONS(GET)
#undef GET
#define GET(field, name, parameters)                                                               \
    symbol = symbol_of(library, name, &no_graphs);                                                 \
    memcpy(&cuda.field, &symbol, sizeof symbol);
    CUDA_GRAPH_FUNCTIONS(GET)
#undef GET
    if (missing) {
        dlclose(library);
        return hy_fail(HY_E_UNAVAILABLE, "the CUDA driver is too old: it lacks %s", missing);
    }
    const int code = cuda.init(0);
    if (code !=
        SIMT_OK) /* the library stays: a driver that has begun to start does not like to be unloaded */
        return hy_fail(HY_E_UNAVAILABLE, "the CUDA driver does not start: cuInit: %s",
                       cuda_error_name(code));
    fill_api(!no_graphs);
    loaded = true;
    return HY_OK;
}

hy_status cuda_load(const cuda_functions **out) {
    pthread_mutex_lock(&mutex);
    const hy_status status = load_locked();
    pthread_mutex_unlock(&mutex);
    *out = &cuda;
    return status;
}

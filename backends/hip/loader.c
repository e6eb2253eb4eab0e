/* backends/hip/loader.c: libamdhip64 at run time. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backends/hip/hip.h"
#include "base/num.h"

enum {
    STREAM_NON_BLOCKING = 1,
    EVENT_DISABLE_TIMING = 2,
    CAPTURE_THREAD_LOCAL = 1,
    COPY_DEFAULT = 4
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards loading */
static hip_functions hip;
simt_api hip_api;
static bool loaded;

const char *hip_error_name(int code) {
    const char *name = hip.error_name ? hip.error_name(code) : NULL;
    return name ? name : "an unknown error";
}

/* ---- simt_api ------------------------------------------------------------------------------------ */

static int bind_device(int ordinal, void *context) {
    (void)context;
    return hip.device_set(ordinal);
}

/* HIP makes contexts by itself. */
static int context_new(int ordinal, void **out) {
    *out = NULL;
    return hip.device_set(ordinal);
}

static int context_free(int ordinal) {
    (void)ordinal;
    return SIMT_OK;
}

static int pinned_new(void **out, size_t bytes) {
    return hip.pinned_new(out, bytes, 0);
}

static int copy(void *to, const void *from, size_t bytes, void *stream) {
    return hip.copy(to, from, bytes, COPY_DEFAULT, stream);
}

static int stream_new(void **out) {
    return hip.stream_new(out, STREAM_NON_BLOCKING);
}

static int event_new(void **out) {
    return hip.event_new(out, EVENT_DISABLE_TIMING);
}

static int capture_begin(void *stream) {
    return hip.capture_begin(stream, CAPTURE_THREAD_LOCAL);
}

static int program_new(void **out, void *graph) {
    return hip.program_new(out, graph, NULL, NULL, 0);
}

/* All of a workgroup's shared memory may be dynamic without asking. */
static int function_shared(void *function, uint32_t bytes) {
    (void)function, (void)bytes;
    return SIMT_OK;
}

static void fill_api(bool graphs) {
    hip_api = (simt_api){.error_name = hip_error_name,
                         .bind = bind_device,
                         .context_new = context_new,
                         .context_free = context_free,
                         .memory_info = hip.memory_info,
                         .memory_new = hip.memory_new,
                         .memory_free = hip.memory_free,
                         .pinned_new = pinned_new,
                         .pinned_free = hip.pinned_free,
                         .copy = copy,
                         .stream_new = stream_new,
                         .stream_free = hip.stream_free,
                         .stream_wait = hip.stream_wait,
                         .event_new = event_new,
                         .event_free = hip.event_free,
                         .event_record = hip.event_record,
                         .event_query = hip.event_query,
                         .module_new = hip.module_new,
                         .module_free = hip.module_free,
                         .function = hip.function,
                         .function_shared = function_shared,
                         .launch = hip.launch};
    if (!graphs) return;
    hip_api.capture_begin = capture_begin;
    hip_api.capture_end = hip.capture_end;
    hip_api.graph_free = hip.graph_free;
    hip_api.program_new = program_new;
    hip_api.program_free = hip.program_free;
    hip_api.program_launch = hip.program_launch;
}

/* ---- loading ------------------------------------------------------------------------------------- */

static hy_status open_library(void **out) {
    static const char *const names[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5",
                                        "libamdhip64.so"};
    const char *named = getenv("HALYARD_HIP_LIBRARY");
    if (named && *named) {
        *out = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        return *out ? HY_OK
                    : hy_fail(HY_E_UNAVAILABLE,
                              "no HIP runtime: HALYARD_HIP_LIBRARY=%s cannot be opened", named);
    }
    *out = NULL;
    for (size_t i = 0; i < HY_COUNT_OF(names) && !*out; i++)
        *out = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return *out ? HY_OK
                : hy_fail(HY_E_UNAVAILABLE,
                          "no HIP runtime: none of libamdhip64.so.7, .6, .5 and .so is there");
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
    memcpy(&hip.field, &symbol, sizeof symbol);
    HIP_FUNCTIONS(GET)
    symbol = symbol_of(library, "hipGetErrorName", &missing);
    memcpy(&hip.error_name, &symbol, sizeof symbol);
#undef GET
#define GET(field, name, parameters)                                                               \
    symbol = symbol_of(library, name, &no_graphs);                                                 \
    memcpy(&hip.field, &symbol, sizeof symbol);
    HIP_GRAPH_FUNCTIONS(GET)
#undef GET
    if (missing) {
        dlclose(library);
        return hy_fail(HY_E_UNAVAILABLE, "the HIP runtime is too old: it lacks %s", missing);
    }
    const int code = hip.init(0);
    if (code !=
        SIMT_OK) /* the library stays: a driver that has begun to start does not like to be unloaded */
        return hy_fail(HY_E_UNAVAILABLE, "the HIP runtime does not start: hipInit: %s",
                       hip_error_name(code));
    fill_api(!no_graphs);
    loaded = true;
    return HY_OK;
}

hy_status hip_load(const hip_functions **out) {
    pthread_mutex_lock(&mutex);
    const hy_status status = load_locked();
    pthread_mutex_unlock(&mutex);
    *out = &hip;
    return status;
}

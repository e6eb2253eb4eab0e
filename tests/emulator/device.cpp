/* tests/emulator/device.cpp: see device.h. */
#include "tests/emulator/device.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <string>
#include <vector>

#include "base/half.h"

emulator_state_of emulator_state;

namespace {

enum {
    PLAIN_SHARED = (HY_EMULATOR_WARP == 64 ? 64 : 48) << 10,
    MOST_SHARED = (HY_EMULATOR_WARP == 64 ? 64 : 99) << 10,
    ALIGN = 256,
    FRESH = 0xcd
};

struct work {               /* of a graph */
    emu_function *function; /* NULL: a copy */
    hy_args args;
    uint32_t grid[2], threads, shared_bytes;
    void *to; /* NULL: a product */
    const void *from;
    size_t bytes;
    emu_product product;
};

struct allocation {
    size_t bytes;
    bool host;
};

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
std::map<void *, allocation> memory;
size_t used; /* of the device */
std::map<emu_function *, uint32_t> shared_limit;
int capturing; /* streams */

struct locked {
    locked() { pthread_mutex_lock(&mutex); }
    ~locked() { pthread_mutex_unlock(&mutex); }
};

void count(int by) {
    fault_alive(&emulator_state.faults, by);
}

hy_emulator_order order_wanted() {
    const char *order = getenv("HALYARD_EMULATOR_ORDER");
    if (order && strcmp(order, "forward") == 0) return HY_ORDER_FORWARD;
    if (order && strcmp(order, "reverse") == 0) return HY_ORDER_REVERSE;
    return HY_ORDER_BOTH;
}

/* HALYARD_EMULATOR_WRONG: kernels whose name contains it do nothing, as if they were wrong. */
void run(const work &w) {
    const char *wrong = getenv("HALYARD_EMULATOR_WRONG");
    if (wrong && *wrong && strstr(w.function->name, wrong)) return;
    hy_emulator_launch(w.function, &w.args, w.grid[0], w.grid[1], w.threads, w.shared_bytes,
                       order_wanted());
}

/* HALYARD_EMULATOR_LOST: the launch of this number, of a graph or a kernel, loses the device. */
bool lose(void) {
    static const char *const number = getenv("HALYARD_EMULATOR_LOST");
    static long left = number ? atol(number) : 0;
    if (left <= 0 || --left > 0) return emulator_state.faults.lost;
    return emulator_state.faults.lost = true;
}

} // namespace

struct emu_stream {
    bool capturing;
    std::vector<work> kept;
};
struct emu_graph {
    std::vector<work> work_;
};
struct emu_event {
    bool recorded;
};
struct emu_module {
    int unused;
};

int emu_call(const char *name, bool in_capture) {
    locked lock;
    fault_state *faults = &emulator_state.faults;
    if (faults->lost) return EMU_LAUNCH_FAILED;
    if (fault_hits(faults, name, EMU_LAUNCH_FAILED)) return faults->failure;
    return capturing && !in_capture ? EMU_CAPTURE_UNSUPPORTED : EMU_OK;
}

const char *emu_error_name(int code) {
    switch (code) {
    case EMU_OK:
        return "SUCCESS";
    case EMU_INVALID_VALUE:
        return "INVALID_VALUE";
    case EMU_OUT_OF_MEMORY:
        return "OUT_OF_MEMORY";
    case EMU_INVALID_HANDLE:
        return "INVALID_HANDLE";
    case EMU_NOT_FOUND:
        return "NOT_FOUND";
    case EMU_NOT_READY:
        return "NOT_READY";
    case EMU_LAUNCH_FAILED:
        return "LAUNCH_FAILED";
    case EMU_CAPTURE_UNSUPPORTED:
        return "STREAM_CAPTURE_UNSUPPORTED";
    default:
        return nullptr;
    }
}

int emu_device_count(void) {
    const char *count = getenv("HALYARD_EMULATOR_DEVICES");
    return count ? atoi(count) : 1;
}

/* ---- memory ------------------------------------------------------------------------------------------ */

int emu_alloc(void **out, size_t bytes, bool host) {
    locked lock;
    if (bytes == 0) return EMU_INVALID_VALUE;
    if (!host && bytes > EMU_MEMORY - used) return EMU_OUT_OF_MEMORY;
    if (posix_memalign(out, ALIGN, bytes)) return EMU_OUT_OF_MEMORY;
    if (bytes < 64u << 20) memset(*out, FRESH, bytes); /* more would take long */
    memory[*out] = {bytes, host};
    if (!host) used += bytes;
    count(1);
    return EMU_OK;
}

int emu_free(void *p) {
    locked lock;
    const auto found = memory.find(p);
    if (found == memory.end()) return EMU_INVALID_VALUE;
    if (!found->second.host) used -= found->second.bytes;
    memory.erase(found);
    free(p);
    count(-1);
    return EMU_OK;
}

size_t emu_free_bytes(void) {
    locked lock;
    return EMU_MEMORY - used;
}

int emu_copy(void *to, const void *from, size_t bytes, emu_stream *stream) {
    if (stream && stream->capturing) {
        work w = {};
        w.to = to;
        w.from = from;
        w.bytes = bytes;
        stream->kept.push_back(w);
        return EMU_OK;
    }
    memmove(to, from, bytes);
    return EMU_OK;
}

/* ---- streams, graphs, events -------------------------------------------------------------------------- */

int emu_stream_new(emu_stream **out) {
    *out = new emu_stream();
    count(1);
    return EMU_OK;
}

int emu_stream_free(emu_stream *stream) {
    if (!stream) return EMU_INVALID_HANDLE;
    delete stream;
    count(-1);
    return EMU_OK;
}

int emu_capture_begin(emu_stream *stream) {
    locked lock;
    if (stream->capturing) return EMU_INVALID_VALUE;
    stream->capturing = true;
    capturing++;
    return EMU_OK;
}

int emu_capture_end(emu_stream *stream, emu_graph **out) {
    locked lock;
    if (!stream->capturing) return EMU_INVALID_VALUE;
    stream->capturing = false;
    capturing--;
    *out = new emu_graph();
    (*out)->work_.swap(stream->kept);
    count(1);
    return EMU_OK;
}

int emu_graph_copy(emu_graph **out, const emu_graph *graph) {
    *out = new emu_graph(*graph);
    count(1);
    return EMU_OK;
}

static void multiply(const emu_product &p) {
    std::vector<float> row(p.k);
    for (uint64_t i = 0; i < p.n; i++) {
        for (uint64_t k = 0; k < p.k; k++)
            row[k] = hy_f16_to_f32(p.a[i * (uint64_t)p.a_step + k]);
        for (uint64_t j = 0; j < p.t; j++) {
            float sum = 0;
            for (uint64_t k = 0; k < p.k; k++)
                sum += row[k] * hy_f16_to_f32(p.b[j * (uint64_t)p.b_step + k]);
            p.d[j * (uint64_t)p.d_step + i] = sum;
        }
    }
}

int emu_multiply(const emu_product *product, emu_stream *stream) {
    if (stream && stream->capturing) {
        work w = {};
        w.product = *product;
        stream->kept.push_back(w);
        return EMU_OK;
    }
    emulator_state.launches++;
    multiply(*product);
    return EMU_OK;
}

int emu_graph_launch(const emu_graph *graph) {
    if (lose()) return EMU_LAUNCH_FAILED;
    emulator_state.graph_launches++;
    for (const work &w : graph->work_) {
        emulator_state.graph_nodes++;
        if (!w.function && !w.to)
            multiply(w.product);
        else if (w.function)
            run(w);
        else
            memmove(w.to, w.from, w.bytes);
    }
    return EMU_OK;
}

int emu_graph_free(emu_graph *graph) {
    if (!graph) return EMU_INVALID_HANDLE;
    delete graph;
    count(-1);
    return EMU_OK;
}

int emu_event_new(emu_event **out) {
    *out = new emu_event();
    count(1);
    return EMU_OK;
}

int emu_event_record(emu_event *event, emu_stream *) {
    event->recorded = true;
    return EMU_OK;
}

int emu_event_query(const emu_event *event) {
    return event->recorded && emulator_state.faults.hang ? EMU_NOT_READY : EMU_OK;
}

int emu_event_free(emu_event *event) {
    if (!event) return EMU_INVALID_HANDLE;
    delete event;
    count(-1);
    return EMU_OK;
}

/* ---- kernels ----------------------------------------------------------------------------------------- */

int emu_module_new(emu_module **out, const void *image) {
    if (!image) return EMU_INVALID_VALUE;
    *out = new emu_module();
    count(1);
    return EMU_OK;
}

int emu_module_free(emu_module *module) {
    if (!module) return EMU_INVALID_HANDLE;
    delete module;
    count(-1);
    return EMU_OK;
}

int emu_function_find(emu_function **out, emu_module *module, const char *name) {
    if (!module) return EMU_INVALID_HANDLE;
    for (emu_function *f = hy_emulator_entries; f->name; f++)
        if (strcmp(f->name, name) == 0) {
            *out = f;
            return EMU_OK;
        }
    return EMU_NOT_FOUND;
}

int emu_function_shared(emu_function *function, int bytes) {
    locked lock;
    if (bytes < 0 || bytes > MOST_SHARED) return EMU_INVALID_VALUE;
    shared_limit[function] = (uint32_t)bytes;
    return EMU_OK;
}

static bool fits(emu_function *function, const uint32_t grid[3], const uint32_t block[3],
                 uint32_t shared_bytes) {
    locked lock;
    const auto found = shared_limit.find(function);
    const uint32_t most = found == shared_limit.end() ? (uint32_t)PLAIN_SHARED : found->second;
    return grid[0] && grid[1] && grid[2] == 1 && grid[1] <= 65535 && block[0] &&
           block[0] <= function->threads && block[1] == 1 && block[2] == 1 && shared_bytes <= most;
}

int emu_launch(emu_function *function, const uint32_t grid[3], const uint32_t block[3],
               uint32_t shared_bytes, emu_stream *stream, void **params) {
    if (!function || !params || !fits(function, grid, block, shared_bytes))
        return EMU_INVALID_VALUE;
    work w = {};
    w.function = function;
    memcpy(&w.args, params[0], sizeof w.args);
    memcpy(w.grid, grid, sizeof w.grid);
    w.threads = block[0];
    w.shared_bytes = shared_bytes;
    if (stream && stream->capturing) {
        stream->kept.push_back(w);
        return EMU_OK;
    }
    if (lose()) return EMU_LAUNCH_FAILED;
    emulator_state.launches++;
    run(w);
    return EMU_OK;
}

int emu_retain(int by) {
    count(by);
    return EMU_OK;
}

/* tools/probe.c: see probe.h. */
#include "tools/probe.h"

#include <stdlib.h>

#include "backends/registry.h"
#include "base/cpu.h"
#include "base/num.h"

enum {
    PASSES = 5,
    CPU_BYTES = 512 << 20,
    CACHES = 4, /* as many times a CPU's caches, where that is more */
    GPU_BYTES = 1 << 30,
    SOFTWARE_BYTES = 64 << 20 /* an emulated device takes long for more */
};

struct probe {
    hy_device *device;
    hy_buffer *memory; /* NULL: the backend has no peaks */
    uint32_t units;
    hy_status status;
};

const char *probe_name(hy_peak kind) {
    static const char *const names[HY_PEAKS] = {"write", "read", "f32", "f16", "bf16", "int8"};
    return names[kind];
}

/* Of servers with gigabytes of caches STREAM's rule holds. */
static uint64_t cpu_bytes(void) {
    hy_cpu_set cpus;
    hy_cpu_allowed(&cpus);
    return HY_MAX(CPU_BYTES, CACHES * hy_cpu_cache_bytes("/sys", &cpus));
}

/* In one segment, though the buffer may have more. */
static uint64_t bytes_of(const hy_device_info *info) {
    const uint64_t wanted = info->software      ? SOFTWARE_BYTES
                            : info->host_memory ? cpu_bytes()
                                                : GPU_BYTES;
    uint64_t bytes = HY_MIN(wanted, info->memory_free / 8);
    if (info->segment) bytes = HY_MIN(bytes, info->segment);
    return HY_MAX(bytes / HY_PEAK_LEAST * HY_PEAK_LEAST, HY_PEAK_LEAST);
}

static hy_status start(probe *p, const char *device_id, const hy_device_params *params) {
    hy_device_info info;
    double rate;
    HY_TRY(hy_device_open(device_id, params, &p->device));
    const hy_backend *b = p->device->backend;
    b->info(p->device, &info);
    p->units = info.units;
    if (!b->peak) return HY_OK;
    HY_TRY(b->buffer_new(p->device, HY_HEAP_DEVICE, bytes_of(&info), &p->memory));
    return b->peak(p->device, HY_PEAK_WRITE, hy_view_of(p->memory), &rate);
}

hy_status probe_new(const char *device_id, const hy_device_params *params, probe **out) {
    probe *p = calloc(1, sizeof *p);
    if (!p) return hy_fail(HY_E_MEMORY, "no memory for a probe");
    const hy_status status = start(p, device_id, params);
    if (status != HY_OK) {
        probe_free(p);
        return status;
    }
    *out = p;
    return HY_OK;
}

void probe_free(probe *p) {
    if (!p) return;
    hy_buffer_free(p->memory);
    hy_device_close(p->device);
    free(p);
}

double probe_pass(probe *p, hy_peak kind) {
    double rate = 0;
    if (!p->memory || p->status != HY_OK) return 0;
    p->status = p->device->backend->peak(p->device, kind, hy_view_of(p->memory), &rate);
    return p->status == HY_OK ? rate : 0;
}

double probe_best(probe *p, hy_peak kind) {
    double best = 0;
    for (int i = 0; i < PASSES; i++) {
        const double rate = probe_pass(p, kind);
        best = HY_MAX(best, rate);
    }
    return best;
}

hy_status probe_status(const probe *p) {
    return p->status;
}

hy_device *probe_device(probe *p) {
    return p->device;
}

uint64_t probe_bytes(const probe *p) {
    return p->memory ? p->memory->size : 0;
}

uint32_t probe_units(const probe *p) {
    return p->units;
}

/* backends/cpu/device.c: the device and the backend's table of functions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/device.h"
#include "base/num.h"
#include "hal/host.h"

/* The value after the colon of the first line that begins with `key`, spaces trimmed. */
static bool line_value(const char *path, const char *key, char *out, size_t size) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = out[0] != 0;
    }
    fclose(file);
    return found;
}

static uint64_t meminfo_bytes(const char *key) {
    char text[64];
    return line_value("/proc/meminfo", key, text, sizeof text) ? strtoull(text, NULL, 10) * 1024
                                                               : 0;
}

/* One number of a control group's file; UINT64_MAX when it is missing or "max". */
static uint64_t number_in(const char *folder, const char *name) {
    char path[768], text[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (!file) return UINT64_MAX;
    uint64_t value = UINT64_MAX;
    if (fgets(text, sizeof text, file) && text[0] >= '0' && text[0] <= '9')
        value = strtoull(text, NULL, 10);
    fclose(file);
    return value;
}

typedef struct memory {
    uint64_t total, available; /* bytes */
} memory;

/* Lowers `memory` to what one group allows. */
static void apply_group(memory *m, const char *folder, const char *limit, const char *usage) {
    uint64_t most = number_in(folder, limit), used = number_in(folder, usage);
    if (most >= UINT64_MAX / 2 || used == UINT64_MAX) return;
    m->total = HY_MIN(m->total, most);
    m->available = HY_MIN(m->available, most > used ? most - used : 0);
}

/* The group of this process and those around it; in a container often only the mount point exists. */
static void apply_groups(memory *m, const char *mount, const char *group, bool second) {
    char folder[512];
    const size_t root = strlen(mount);
    if (snprintf(folder, sizeof folder, "%s%s", mount, group) >= (int)sizeof folder) return;
    for (;;) {
        apply_group(m, folder, second ? "memory.max" : "memory.limit_in_bytes",
                    second ? "memory.current" : "memory.usage_in_bytes");
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= root || !slash || slash < folder + root) return;
        *slash = 0;
    }
}

static memory find_memory(void) {
    memory m = {meminfo_bytes("MemTotal"), meminfo_bytes("MemAvailable")};
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return m;
    char line[512];
    while (fgets(line, sizeof line, file)) { /* "0::/path" or "9:memory:/path" */
        line[strcspn(line, "\n")] = 0;
        const char *path = strrchr(line, ':');
        if (!path) continue;
        if (!strncmp(line, "0::", 3)) apply_groups(&m, "/sys/fs/cgroup", path + 1, true);
        if (strstr(line, ":memory:")) apply_groups(&m, "/sys/fs/cgroup/memory", path + 1, false);
    }
    fclose(file);
    return m;
}

static void describe(hy_device_info *info, uint32_t isa, uint32_t cores) {
    memset(info, 0, sizeof *info);
    if (!line_value("/proc/cpuinfo", "model name", info->name, sizeof info->name))
        snprintf(info->name, sizeof info->name, "CPU");
    snprintf(info->arch, sizeof info->arch, "%s", cpu_isa_arch(isa));
#if defined(__aarch64__)
    snprintf(info->detail, sizeof info->detail, "sdot %s, smmla %s, SVE of 256 bits %s, of 512 %s",
             isa & CPU_DOTPROD ? "yes" : "no", isa & CPU_I8MM ? "yes" : "no",
             isa & CPU_SVE256 ? "yes" : "no", isa & CPU_SVE512 ? "yes" : "no");
#else
    snprintf(info->detail, sizeof info->detail, "AVX2 %s, AVX-512 VNNI %s, AVX-512 BF16 %s, AMX %s",
             isa & CPU_AVX2 ? "yes" : "no", isa & CPU_AVX512 ? "yes" : "no",
             isa & CPU_AVX512_BF16 ? "yes" : "no", isa & CPU_AMX ? "yes" : "no");
#endif
    const memory m = find_memory();
    info->memory_total = m.total;
    info->memory_free = m.available;
    info->units = cores;
    info->host_memory = true;
}

static hy_status devices(hy_device_info *infos, uint32_t capacity, uint32_t *count) {
    if (capacity) describe(&infos[0], cpu_isa_detect(), hy_cpu_count());
    *count = 1;
    return HY_OK;
}

static hy_status open_device(uint32_t index, const hy_device_params *params, hy_device **out) {
    static const hy_device_params defaults;
    if (!params) params = &defaults;
    if (index != 0) return hy_fail(HY_E_NOT_FOUND, "cpu:%u does not exist; there is cpu:0", index);
    uint32_t mask;
    HY_TRY(cpu_isa_mask(params->isa, &mask));
    cpu_device *device = calloc(1, sizeof *device);
    if (!device) return hy_fail(HY_E_MEMORY, "cpu: out of memory for a device");
    device->base.backend = &hy_cpu_backend;
    device->isa = cpu_isa_detect() & mask;
    hy_status status = hy_pool_new(params->threads, params->cpus, &device->pool);
    if (status != HY_OK) {
        free(device);
        return status;
    }
    *out = &device->base;
    return HY_OK;
}

static void close_device(hy_device *base) {
    if (!base) return;
    cpu_device *device = (cpu_device *)base;
    hy_pool_free(device->pool);
    free(device);
}

static void device_info(hy_device *base, hy_device_info *out) {
    const cpu_device *device = (const cpu_device *)base;
    describe(out, device->isa, hy_pool_size(device->pool));
}

const hy_backend hy_cpu_backend = {
    .name = "cpu",
    .devices = devices,
    .open = open_device,
    .close = close_device,
    .info = device_info,
    .buffer_new = cpu_buffer_new,
    .buffer_import = cpu_buffer_import,
    .buffer_free = cpu_buffer_free,
    .write = cpu_buffer_write,
    .read = cpu_buffer_read,
    .candidates = cpu_candidates,
    .pack = cpu_pack,
    .pack_from = cpu_pack_from,
    .unpack = cpu_unpack,
    .cmd_new = cpu_cmd_new,
    .cmd_free = cpu_cmd_free,
    .cmd_op = cpu_cmd_op,
    .cmd_copy = cpu_cmd_copy,
    .cmd_barrier = cpu_cmd_barrier,
    .cmd_seal = cpu_cmd_seal,
    .submit = cpu_submit,
    .timeline_new = hy_host_timeline_new,
    .timeline_free = hy_host_timeline_free,
    .timeline_value = hy_host_timeline_value,
    .timeline_wait = hy_host_timeline_wait,
    .peak = cpu_measure_peak,
};

/* backends/hip/probe.c: what an AMD device is and can do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/hip/hip.h"
#include "base/num.h"

enum { SHARED_BYTES = 64 << 10, MAX_GRID = 0x7fffffff / 1024, MAX_THREADS = 1024 };

/* What follows from the target. Rates: float32 operations of a compute unit per clock, a fused multiply-add as
 * two; bandwidth in bytes a microsecond where the kernel's driver does not tell. */
typedef struct target {
    const char *arch;
    uint32_t warp;
    bool tiles;
    uint32_t operations, clock_mhz, bytes_per_us;
} target;

static const target targets[] = {
    {"gfx906", 64, false, 128, 1700, 900000},  {"gfx908", 64, true, 128, 1500, 1100000},
    {"gfx90a", 64, true, 256, 1700, 1400000},  {"gfx942", 64, true, 256, 2100, 4300000},
    {"gfx1030", 32, false, 128, 2200, 450000}, {"gfx1031", 32, false, 128, 2400, 350000},
    {"gfx1032", 32, false, 128, 2400, 220000}, {"gfx1100", 32, true, 256, 2400, 850000},
    {"gfx1101", 32, true, 256, 2400, 550000},  {"gfx1102", 32, true, 256, 2400, 260000},
    {"gfx1150", 32, true, 256, 2700, 100000},  {"gfx1151", 32, true, 256, 2800, 220000},
    {"gfx1200", 32, true, 256, 2900, 300000},  {"gfx1201", 32, true, 256, 2900, 580000},
};

static const target *target_of(const char *arch) {
    for (size_t i = 0; i < HY_COUNT_OF(targets); i++)
        if (strcmp(targets[i].arch, arch) == 0) return &targets[i];
    return NULL;
}

static void unusable(simt_probe *out, const char *reason) {
    out->info.unusable = true;
    snprintf(out->info.detail, sizeof out->info.detail, "%s", reason);
}

/* The target in the name of the folder of other kernels: ".../gfx942". */
static bool arch_of_folder(char *out, size_t size) {
    const char *folder = simt_folder(&hip_vendor), *at = folder ? strrchr(folder, '/') : NULL;
    const char *name = at ? at + 1 : folder;
    if (!name || !target_of(name)) return false;
    snprintf(out, size, "%s", name);
    return true;
}

/* The target whose kernels the runtime takes. */
static bool arch_by_trial(const hip_functions *hip, int ordinal, char *out, size_t size) {
    if (hip->device_set(ordinal) != SIMT_OK) return false;
    for (size_t i = 0; i < HY_COUNT_OF(targets); i++) {
        const simt_image *image = simt_any_image(&hip_vendor, targets[i].arch);
        void *module;
        if (!image || hip->module_new(&module, image->bytes) != SIMT_OK) continue;
        hip->module_free(module);
        snprintf(out, size, "%s", targets[i].arch);
        return true;
    }
    return false;
}

static void find_limits(const target *t, const hip_topology *topology, simt_probe *out) {
    const uint32_t clock_mhz = topology->clock_mhz ? topology->clock_mhz : t->clock_mhz;
    const uint64_t bandwidth =
        topology->bytes_per_us ? topology->bytes_per_us * 9 / 10 : t->bytes_per_us;
    out->limits =
        (gpu_limits){.features = GPU_DOT8 | (t->tiles ? GPU_TILES : 0),
                     .max_grid = MAX_GRID,
                     .max_threads = MAX_THREADS,
                     .shared_bytes = SHARED_BYTES,
                     .subgroup = t->warp,
                     .bytes_per_us = (float)bandwidth,
                     .ops_per_us = (float)out->info.units * (float)t->operations * (float)clock_mhz,
                     .launch_us = 4};
}

static void describe(const hip_functions *hip, const target *t, simt_probe *out) {
    int version = 0;
    const char *folder = simt_folder(&hip_vendor);
    hip->runtime_version(&version);
    snprintf(out->info.detail, sizeof out->info.detail,
             "HIP %d.%d; warps of %u; uses %sint8 dot products%s; kernels %s%.120s: %s",
             version / 10000000, version / 100000 % 100, t->warp,
             hip_api.capture_begin ? "graphs, " : "",
             t->tiles ? ", matrix tiles" : "; lacks matrix tiles",
             folder ? "from " : "of this build", folder ? folder : "", simt_tried(out));
}

void hip_probe(const hip_functions *hip, int ordinal, simt_probe *out) {
    hy_device_info *info = &out->info;
    hip_topology topology = {.arch = ""};
    char bus[64] = "";
    int device;
    size_t bytes = 0;
    *out = (simt_probe){.ordinal = ordinal, .info = {.name = "AMD device", .units = 1}};
    int code = hip->device_get(&device, ordinal);
    if (code == SIMT_OK) code = hip->device_name(info->name, sizeof info->name, device);
    if (code == SIMT_OK) code = hip->device_memory(&bytes, device);
    if (code == SIMT_OK) code = hip->device_bus(bus, sizeof bus, ordinal);
    if (code != SIMT_OK) {
        unusable(out, hip_error_name(code));
        return;
    }
    simt_set_bus(info, bus);
    info->memory_total = info->memory_free = bytes;
    info->software = strncmp(info->name, "emulated ", 9) == 0;
    if (!hip_topology_of(bus, &topology) && !arch_of_folder(topology.arch, sizeof topology.arch) &&
        !arch_by_trial(hip, ordinal, topology.arch, sizeof topology.arch)) {
        unusable(out, "nobody tells which target it is, and none of this build's kernels load");
        return;
    }
    snprintf(info->arch, sizeof info->arch, "%s", topology.arch);
    if (topology.units) info->units = topology.units;
    const target *t = target_of(topology.arch);
    if (!t) {
        unusable(out, "kernels are not written for this target");
        return;
    }
    find_limits(t, &topology, out);
    if (!simt_folder(&hip_vendor) && !simt_any_image(&hip_vendor, topology.arch))
        unusable(out, hip_image_count
                          ? "this build has no kernels for this target (-Damd_archs)"
                          : "this build has no HIP kernels: no clang for AMD was found "
                            "when it was configured (HALYARD_HIP_KERNELS names a folder "
                            "of others)");
    else
        describe(hip, t, out);
}

/* backends/gpu/peak.c: hy_backend.peak: one launch that keeps every unit busy, long enough that the host's clock may
 * measure it: from before the launch to when its counts are read back, some 20 us more than the kernel of 10 ms takes.
 * Every count is compared with what was asked for, so that no rate is that of work left out. */
#include <stdlib.h>
#include <string.h>

#include "backends/gpu/gpu.h"
#include "base/num.h"
#include "hal/peak.h"
#include "shaders/peak_shape.h"

enum {
    RESULTS = 64 << 10,     /* bytes at the view's begin: a word for each workgroup */
    GROUPS_OF_UNIT = 32,    /* two waves of 2048 threads: what is left at the end is little */
    GROUPS_OF_SOFTWARE = 2, /* emulated units have nothing to hide */
    GROUPS_LEAST = 1024,    /* where nobody tells the units */
    ROUNDS = 1 << 18        /* at most: sums in float32 count to 2^24 */
};

typedef enum unit_of_work { OF_PIECE, OF_THREAD, OF_TILE, OF_COOPMAT } unit_of_work;

typedef struct kernel {
    hy_peak kind;
    const char *entry;
    uint32_t needs; /* gpu_feature bits */
    uint32_t one;   /* args.extra[3] */
    unit_of_work unit;
    uint32_t count; /* of a unit in a round: words, products; of matrix tiles: tiles */
} kernel;

static const kernel kernels[GPU_PEAK_KERNELS] = {
    {HY_PEAK_WRITE, "peak.write", 0, 1, OF_PIECE, PEAK_PIECE / 4},
    {HY_PEAK_READ, "peak.read", 0, 1, OF_PIECE, PEAK_PIECE / 4},
    {HY_PEAK_F32, "peak.f32", 0, 0x3f800000, OF_THREAD, PEAK_CHAINS *PEAK_STEPS},
    {HY_PEAK_INT8, "peak.int8", GPU_DOT8, PEAK_DOT_ONE, OF_THREAD, 4 * PEAK_CHAINS *PEAK_STEPS},
    {HY_PEAK_INT8, "peak.int8.tile", GPU_TILES, 0x01010101, OF_TILE,
     32 * PEAK_CHAINS *PEAK_TILE_STEPS},
    {HY_PEAK_F16, "peak.f16.tile", GPU_TILES, 0x3c003c00, OF_TILE,
     16 * PEAK_CHAINS *PEAK_TILE_STEPS},
    {HY_PEAK_F16, "peak.f16.coopmat", GPU_COOPMAT, 0x3c003c00, OF_COOPMAT,
     PEAK_CHAINS *PEAK_TILE_STEPS},
};

typedef struct job {
    gpu_device *device;
    const kernel *kernel;
    hy_view memory;
    gpu_launch launch;
    uint64_t count;   /* of all workgroups in a round */
    uint32_t *counts; /* [workgroups], as they come back */
} job;

static uint32_t groups_of(const gpu_device *device) {
    hy_device_info info;
    device->base.backend->info((hy_device *)(uintptr_t)&device->base, &info);
    if (info.software) return HY_MIN(GROUPS_OF_SOFTWARE * info.units, RESULTS / 4);
    return HY_MIN(HY_MAX(GROUPS_OF_UNIT * info.units, GROUPS_LEAST), RESULTS / 4);
}

/* Words or products in a round of the whole launch. */
static uint64_t count_of(const gpu_limits *limits, const kernel *k, uint64_t pieces,
                         uint64_t groups) {
    if (k->unit == OF_PIECE) return pieces * k->count;
    if (k->unit == OF_THREAD) return groups * PEAK_THREADS * k->count;
    const uint64_t tiles = groups * (PEAK_THREADS / limits->subgroup);
    const uint32_t *shape = limits->coopmat;
    if (k->unit == OF_TILE) return tiles * 16 * 16 * k->count;
    return tiles * shape[0] * shape[1] * shape[2] * k->count;
}

static void set_up(job *j) {
    const uint32_t groups = groups_of(j->device);
    const uint64_t pieces = HY_MIN((j->memory.size - RESULTS) / PEAK_PIECE, UINT32_MAX / 2);
    hy_args *args = &j->launch.args;
    j->launch = (gpu_launch){.entry = j->kernel->entry, .threads = PEAK_THREADS};
    if (j->kernel->unit == OF_COOPMAT)
        memcpy(j->launch.constant, j->device->limits.coopmat, sizeof j->device->limits.coopmat);
    args->operand[1].address = gpu_address(j->memory);
    args->operand[0].address = args->operand[1].address + RESULTS;
    args->extra[1] = (uint32_t)pieces;
    args->extra[2] = groups;
    args->extra[3] = j->kernel->one;
    gpu_grid(j->device, groups, &j->launch);
    j->count = count_of(&j->device->limits, j->kernel, pieces, groups);
}

static hy_status run(void *context, uint32_t rounds, double *done) {
    job *j = context;
    const hy_backend *b = j->device->base.backend;
    const uint32_t groups = j->launch.args.extra[2];
    uint32_t all = 0;
    j->launch.args.extra[0] = rounds;
    HY_TRY(j->device->driver->run(j->device, &j->launch));
    HY_TRY(b->read(j->memory.buffer, j->memory.offset, j->counts, groups * sizeof *j->counts));
    for (uint32_t g = 0; g < groups; g++)
        all += j->counts[g];
    const uint64_t count = j->count * rounds;
    if (all != (uint32_t)count && j->kernel->kind == HY_PEAK_READ)
        return hy_fail(HY_E_STATE, "%s: the memory to read was not written by a pass before",
                       b->name);
    if (all != (uint32_t)count)
        return hy_fail(HY_E_DEVICE, "%s: %s counts to %u, not to %u (modulo 2^32)", b->name,
                       j->kernel->entry, all, (uint32_t)count);
    *done = (double)count * (j->kernel->unit == OF_PIECE ? 4 : 2);
    return HY_OK;
}

/* Whether the device can run it. */
static bool can(const gpu_device *device, const kernel *k) {
    const uint32_t subgroup = device->limits.subgroup;
    if (k->needs & ~device->limits.features) return false;
    return k->unit < OF_TILE || (subgroup && PEAK_THREADS % subgroup == 0);
}

static hy_status measure(gpu_device *device, uint32_t i, hy_view memory, double *rate) {
    job j = {.device = device, .kernel = &kernels[i], .memory = memory};
    set_up(&j);
    const uint64_t step = j.kernel->unit == OF_PIECE ? j.launch.args.extra[1] : 1;
    j.counts = malloc(j.launch.args.extra[2] * sizeof *j.counts);
    if (!j.counts) return hy_fail(HY_E_MEMORY, "no memory for the counts of a pass");
    const hy_status status = hy_peak_pass(run, &j, step, ROUNDS, &device->peaks.work[i], rate);
    free(j.counts);
    return status;
}

/* The first pass tries every kernel for the kind, the others the one that was fastest. */
hy_status gpu_measure_peak(hy_device *base, hy_peak kind, hy_view memory, double *rate) {
    gpu_device *device = (gpu_device *)base;
    uint32_t *known = &device->peaks.fastest[kind], fastest = 0;
    *rate = 0;
    for (uint32_t i = 0; i < GPU_PEAK_KERNELS; i++) {
        double got;
        if (kernels[i].kind != kind || !can(device, &kernels[i])) continue;
        if (*known && *known != i + 1) continue;
        HY_TRY(measure(device, i, memory, &got));
        if (got <= *rate) continue;
        *rate = got;
        fastest = i + 1;
    }
    *known = fastest;
    return HY_OK;
}

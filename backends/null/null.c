/* The null backend: accepts every op, runs nothing, and has memory without end. It serves tests of the
 * compiler and planner, and is the template for a new backend: copy this folder, then replace each
 * function from the top down (docs/add-a-backend.md).
 *
 * It behaves like a discrete device on purpose: buffers of the device heap have no host address, so code
 * above that forgets hy_backend.write/read fails here first. */
#include "backends/null/null_backend.h"

#include <stdio.h>
#include <stdlib.h>

#include "hal/host.h"

#define NULL_DEVICES 2                  /* enough to try placement */
#define NULL_MEMORY (UINT64_C(1) << 50) /* bytes reported; nothing is reserved until touched */

/* A backend's structs begin with the HAL's. A real one keeps its context, queues and loaded kernels
 * here. */
typedef struct null_device {
    hy_device base;
    uint32_t index;
} null_device;

/* A real one keeps the recorded commands here: a captured graph, a command buffer, an array of calls. */
typedef struct null_cmd {
    hy_cmd base;
} null_cmd;

/* ---- devices ---- */

static void describe(uint32_t index, hy_device_info *out) {
    *out = (hy_device_info){.memory_total = NULL_MEMORY, .memory_free = NULL_MEMORY, .units = 1};
    snprintf(out->name, sizeof out->name, "null %u", index);
    snprintf(out->arch, sizeof out->arch, "none");
    snprintf(out->detail, sizeof out->detail, "accepts every op and runs nothing");
    out->software = true; /* "auto" must not pick it */
}

/* A real backend loads its library here, and returns HY_E_UNAVAILABLE with what it looked for when the
 * machine lacks it. */
static hy_status null_devices(hy_device_info *infos, uint32_t capacity, uint32_t *count) {
    for (uint32_t i = 0; i < NULL_DEVICES && i < capacity; i++)
        describe(i, &infos[i]);
    *count = NULL_DEVICES;
    return HY_OK;
}

static hy_status null_open(uint32_t index, const hy_device_params *params, hy_device **out) {
    (void)params;
    if (index >= NULL_DEVICES)
        return hy_fail(HY_E_NOT_FOUND, "null: device %u of %d", index, NULL_DEVICES);
    null_device *device = calloc(1, sizeof *device);
    if (!device) return hy_fail(HY_E_MEMORY, "null: out of memory for a device");
    device->base.backend = &hy_null_backend;
    device->index = index;
    *out = &device->base;
    return HY_OK;
}

static void null_close(hy_device *device) {
    free(device);
}

static void null_info(hy_device *device, hy_device_info *out) {
    describe(((null_device *)device)->index, out);
}

/* ---- memory ---- */

/* Writes and reads go to memory that the system gives page by page when touched, so that a plan for a
 * model of 100 GB costs nothing. */
static hy_status null_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out) {
    return hy_host_buffer_new(device, false, heap, size, out);
}

/* ---- kernels ---- */

/* Stable names "null.<op>", made from the table of ops like everything else about ops. */
static const char *const kernel_names[HY_OP_KIND_COUNT] = {
#define HY_OP(NAME, name) [HY_OP_##NAME] = "null." #name,
#include "hal/op.def"
};

/* A real backend walks its table of variants, keeps those that can do `op` at this shape, fills in
 * workspace, cost and packed layouts, and sorts by cost. An op that none can do gives *count 0: the
 * compiler then says so by the op's name and shape. */
static hy_status null_candidates(hy_device *device, const hy_op *op, hy_kernel *out,
                                 uint32_t *count) {
    (void)device;
    out[0] =
        (hy_kernel){.name = kernel_names[op->kind],
                    .flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT,
                    .accuracy = 1};
    hy_host_constants(op, &out[0]);
    *count = 1;
    return HY_OK;
}

/* ---- commands ---- */

static hy_status null_cmd_new(hy_device *device, hy_view counters, hy_cmd **out) {
    (void)counters; /* every op reads its true extents here, each time the list runs */
    null_cmd *cmd = calloc(1, sizeof *cmd);
    if (!cmd) return hy_fail(HY_E_MEMORY, "null: out of memory for a command list");
    cmd->base.device = device;
    *out = &cmd->base;
    return HY_OK;
}

static void null_cmd_free(hy_cmd *cmd) {
    free(cmd);
}

/* A real backend resolves addresses now and stores kernel, arguments and grid: views, op and kernel may
 * be gone when the list runs. What candidates() promised must work here. */
static hy_status null_cmd_op(hy_cmd *cmd, const hy_op *op, const hy_kernel *kernel,
                             const hy_view *views, hy_view workspace) {
    (void)cmd, (void)op, (void)kernel, (void)views, (void)workspace;
    return HY_OK;
}

static hy_status null_cmd_copy(hy_cmd *cmd, hy_view dst, hy_view src) {
    (void)cmd, (void)dst, (void)src;
    return HY_OK;
}

/* Everything recorded before is visible to everything recorded after. */
static hy_status null_cmd_barrier(hy_cmd *cmd) {
    (void)cmd;
    return HY_OK;
}

/* The last chance to do work that a replay should not repeat: build the graph, end the buffer. */
static hy_status null_cmd_seal(hy_cmd *cmd) {
    (void)cmd;
    return HY_OK;
}

/* Runs the list, then lets the timeline reach `value`. Nothing is allocated here. */
static hy_status null_submit(hy_device *device, hy_cmd *cmd, hy_timeline *timeline,
                             uint64_t value) {
    (void)device, (void)cmd;
    hy_host_timeline_set(timeline, value);
    return HY_OK;
}

const hy_backend hy_null_backend = {
    .name = "null",
    .devices = null_devices,
    .open = null_open,
    .close = null_close,
    .info = null_info,
    .buffer_new = null_buffer_new,
    .buffer_import = hy_host_buffer_import,
    .buffer_free = hy_host_buffer_free,
    .write = hy_host_write,
    .read = hy_host_read,
    .candidates = null_candidates,
    .pack = hy_host_pack,
    .unpack = hy_host_unpack,
    .cmd_new = null_cmd_new,
    .cmd_free = null_cmd_free,
    .cmd_op = null_cmd_op,
    .cmd_copy = null_cmd_copy,
    .cmd_barrier = null_cmd_barrier,
    .cmd_seal = null_cmd_seal,
    .submit = null_submit,
    .timeline_new = hy_host_timeline_new,
    .timeline_free = hy_host_timeline_free,
    .timeline_value = hy_host_timeline_value,
    .timeline_wait = hy_host_timeline_wait,
};

/* backends/simt/cmd.c: command lists. Sealing captures the list into a graph, which is instantiated once and
 * launched again and again; nothing in it ever changes. Without graphs a submission launches what the list holds,
 * one after the other. */
#include <stdlib.h>

#include "backends/simt/simt.h"
#include "base/num.h"

typedef struct simt_cmd {
    gpu_cmd gpu;
    void *program;   /* NULL: launched one by one */
    uint64_t number; /* of its last submission; 0: none */
} simt_cmd;

hy_status simt_cmd_new(hy_device *device, hy_view counters, hy_cmd **out) {
    HY_TRY(simt_enter((simt_device *)device));
    simt_cmd *cmd = calloc(1, sizeof *cmd);
    if (!cmd) return hy_fail(HY_E_MEMORY, "%s: no memory for a list", device->backend->name);
    gpu_cmd_init(&cmd->gpu, device, counters);
    *out = &cmd->gpu.base;
    return HY_OK;
}

void simt_cmd_free(hy_cmd *base) {
    if (!base) return;
    simt_cmd *cmd = (simt_cmd *)base;
    simt_device *device = (simt_device *)base->device;
    if (cmd->number) simt_quiesce(device, cmd->number);
    device->api->bind(device->ordinal, device->context);
    if (cmd->program) device->api->program_free(cmd->program);
    gpu_cmd_clear(&cmd->gpu);
    free(cmd);
}

hy_status simt_launch(simt_device *device, uint64_t function, const uint32_t grid[3],
                      uint32_t threads, uint32_t shared_bytes, const hy_args *args) {
    if (function == SIMT_BLAS) return simt_blas_launch(device, args);
    void *params[1] = {(void *)(uintptr_t)args};
    return simt_check(device,
                      device->api->launch((void *)(uintptr_t)function, grid[0], grid[1], grid[2],
                                          threads, 1, 1, shared_bytes, device->stream, params,
                                          NULL),
                      "launching a kernel");
}

static hy_status put_command(simt_device *device, const gpu_cmd *cmd, const gpu_command *c) {
    switch ((gpu_command_kind)c->kind) {
    case GPU_LAUNCH:
        return simt_launch(device, c->kernel, c->grid, c->threads, c->shared, &cmd->args[c->args]);
    case GPU_COPY:
        return simt_check(device,
                          device->api->copy((void *)(uintptr_t)gpu_address(c->dst),
                                            (const void *)(uintptr_t)gpu_address(c->src),
                                            c->src.size, device->stream),
                          "copying");
    case GPU_BARRIER:
        break;
    }
    return HY_OK;
}

static hy_status put_commands(simt_device *device, const gpu_cmd *cmd) {
    for (size_t i = 0; i < cmd->commands; i++)
        HY_TRY(put_command(device, cmd, &cmd->command[i]));
    return HY_OK;
}

/* The vendor's BLAS loads its kernels when it first needs them, which a capture may not survive: so products are made
 * once before, of whatever is in the workspace. */
static hy_status warm_blas(simt_device *device, const gpu_cmd *cmd) {
    for (size_t i = 0; i < cmd->commands; i++) {
        const gpu_command *c = &cmd->command[i];
        if (c->kind == GPU_LAUNCH && c->kernel == SIMT_BLAS) HY_TRY(put_command(device, cmd, c));
    }
    return HY_OK;
}

hy_status simt_record(gpu_cmd *base) {
    simt_cmd *cmd = (simt_cmd *)base;
    simt_device *device = (simt_device *)base->base.device;
    const simt_api *api = device->api;
    void *graph = NULL;
    HY_TRY(simt_enter(device));
    if (!device->graphs) return HY_OK;
    HY_TRY(warm_blas(device, base));
    HY_TRY(simt_check(device, api->capture_begin(device->stream), "beginning a capture"));
    hy_status status = put_commands(device, base);
    const int code = api->capture_end(device->stream, &graph); /* also of one that failed */
    if (status == HY_OK) status = simt_check(device, code, "ending a capture");
    if (status == HY_OK)
        status = simt_check(device, api->program_new(&cmd->program, graph), "making a graph");
    if (graph) api->graph_free(graph);
    return status;
}

hy_status simt_submit(hy_device *base, hy_cmd *list, hy_timeline *timeline, uint64_t value) {
    simt_device *device = (simt_device *)base;
    simt_cmd *cmd = (simt_cmd *)list;
    if (!cmd->gpu.sealed)
        return hy_fail(HY_E_STATE, "%s: submit of a list that is not sealed", base->backend->name);
    HY_TRY(simt_enter(device));
    if (cmd->program)
        HY_TRY(simt_check(device, device->api->program_launch(cmd->program, device->stream),
                          "launching a graph"));
    else
        HY_TRY(put_commands(device, &cmd->gpu));
    HY_TRY(simt_submitted(device, &cmd->number));
    if (timeline) simt_timeline_set(timeline, cmd->number, value);
    return HY_OK;
}

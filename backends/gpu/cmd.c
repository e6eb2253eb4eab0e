/* backends/gpu/cmd.c: command lists: ops become launches, waves become phases between barriers. */
#include <stdlib.h>
#include <string.h>

#include "backends/gpu/args.h"
#include "base/arena.h"
#include "base/num.h"

void gpu_cmd_init(gpu_cmd *cmd, hy_device *device, hy_view counters) {
    *cmd = (gpu_cmd){.base = {device}, .counters = counters};
}

void gpu_cmd_clear(gpu_cmd *cmd) {
    hy_buffer_free(cmd->arg_buffer);
    free(cmd->command);
    free(cmd->args);
}

uint64_t gpu_args_address(const gpu_cmd *cmd, uint32_t i) {
    return gpu_address((hy_view){cmd->arg_buffer, 0, 0}) + (uint64_t)i * sizeof(hy_args);
}

static hy_status add_command(gpu_cmd *cmd, const gpu_command *command) {
    if (cmd->sealed) return hy_fail(HY_E_STATE, "the command list is sealed");
    HY_TRY(hy_grow(&cmd->command, cmd->commands, &cmd->command_room, sizeof *cmd->command));
    cmd->command[cmd->commands++] = *command;
    return HY_OK;
}

static hy_status add_launch(gpu_cmd *cmd, const gpu_launch *launch, uint32_t phase) {
    gpu_device *device = (gpu_device *)cmd->base.device;
    gpu_command command = {.kind = GPU_LAUNCH,
                           .phase = phase,
                           .args = (uint32_t)cmd->arg_count,
                           .threads = launch->threads,
                           .shared = launch->shared};
    memcpy(command.grid, launch->grid, sizeof command.grid);
    HY_TRY(device->driver->kernel(device, launch, &command.kernel));
    HY_TRY(hy_grow(&cmd->args, cmd->arg_count, &cmd->arg_room, sizeof *cmd->args));
    HY_TRY(add_command(cmd, &command));
    hy_args *args = &cmd->args[cmd->arg_count++];
    *args = launch->args;
    memcpy(args->constant, launch->constant, sizeof args->constant);
    return HY_OK;
}

hy_status gpu_cmd_op(hy_cmd *base, const hy_op *op, const hy_kernel *kernel, const hy_view *views,
                     hy_view workspace) {
    gpu_cmd *cmd = (gpu_cmd *)base;
    const gpu_device *device = (const gpu_device *)base->device;
    const gpu_variant *variant = (const gpu_variant *)(uintptr_t)kernel->impl;
    if (workspace.size < kernel->workspace)
        return hy_fail(HY_E_ARGUMENT, "%s needs %llu bytes of workspace, not %llu", variant->name,
                       (unsigned long long)kernel->workspace, (unsigned long long)workspace.size);
    gpu_launch first = {.grid = {0, 1, 1}}; /* 2 KiB with `launch`: on the stack */
    gpu_args_fill(op, variant->family->packed, views, cmd->counters, workspace, &first.args);
    for (uint32_t phase = 0; phase < GPU_PHASES && variant->entry[phase]; phase++) {
        gpu_launch launch = first;
        launch.entry = variant->entry[phase];
        variant->family->plan(device, variant, op, phase, &launch);
        if (launch.grid[0] == 0) continue;
        hy_status status = add_launch(cmd, &launch, phase);
        if (status != HY_OK) return hy_fail_in(status, "%s: ", variant->name);
    }
    return HY_OK;
}

hy_status gpu_cmd_copy(hy_cmd *base, hy_view dst, hy_view src) {
    const gpu_command command = {.kind = GPU_COPY, .dst = dst, .src = src};
    return add_command((gpu_cmd *)base, &command);
}

/* Place in a wave: launches and copies of a phase, the barrier behind it, the next phase. */
static uint32_t place_of(const gpu_command *command) {
    return 2 * command->phase + (command->kind == GPU_BARRIER);
}

/* Closes the wave: a barrier behind each phase, and the commands in their order. Waves are short. */
hy_status gpu_cmd_barrier(hy_cmd *base) {
    gpu_cmd *cmd = (gpu_cmd *)base;
    uint32_t phases = 0, seen = 0;
    for (size_t i = cmd->wave; i < cmd->commands; i++)
        seen |= 1u << cmd->command[i].phase;
    for (uint32_t phase = 0; phase < GPU_PHASES; phase++) {
        if (!(seen >> phase & 1)) continue;
        const gpu_command barrier = {.kind = GPU_BARRIER, .phase = phase};
        HY_TRY(add_command(cmd, &barrier));
        phases++;
    }
    for (size_t i = cmd->wave + 1; phases > 1 && i < cmd->commands; i++) {
        const gpu_command command = cmd->command[i];
        size_t at = i;
        for (; at > cmd->wave && place_of(&cmd->command[at - 1]) > place_of(&command); at--)
            cmd->command[at] = cmd->command[at - 1];
        cmd->command[at] = command;
    }
    cmd->wave = cmd->commands;
    return HY_OK;
}

hy_status gpu_cmd_seal(hy_cmd *base) {
    gpu_cmd *cmd = (gpu_cmd *)base;
    const hy_backend *backend = base->device->backend;
    const gpu_driver *driver = ((const gpu_device *)base->device)->driver;
    if (cmd->sealed) return hy_fail(HY_E_STATE, "the command list is sealed already");
    HY_TRY(gpu_cmd_barrier(base));
    if (cmd->arg_count && !driver->args_by_value) {
        const uint64_t bytes = cmd->arg_count * sizeof *cmd->args;
        hy_buffer_free(cmd->arg_buffer); /* of a seal that failed */
        cmd->arg_buffer = NULL;
        HY_TRY(backend->buffer_new(base->device, HY_HEAP_DEVICE, bytes, &cmd->arg_buffer));
        HY_TRY(backend->write(cmd->arg_buffer, 0, cmd->args, bytes));
    }
    HY_TRY(driver->record(cmd));
    cmd->sealed = true;
    return HY_OK;
}

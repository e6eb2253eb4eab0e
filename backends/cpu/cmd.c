/* backends/cpu/cmd.c: a command list is waves of calls, replayed by one run of the pool. */
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/device.h"
#include "base/arena.h"
#include "base/num.h"
#include "hal/host.h"

enum {
    LINE = 64,
    PHASES = 3,
    AHEAD_BYTES = 64 << 10, /* of what is streamed next: stay in the second-level cache */
    AHEAD_LINES = 8,        /* a look */
    COPY_GRAIN = 64 << 10   /* bytes; a smaller share is not worth another worker */
};

typedef struct wave {
    uint32_t begin, end;  /* calls */
    uint32_t phases;      /* that any of them has */
    const cpu_call *soon; /* the next behind them that streams constants; NULL: none */
} wave;

typedef struct cpu_cmd {
    hy_cmd base;
    cpu_call **calls;
    wave *waves;
    size_t call_count, call_room, wave_count, wave_room;
    const uint32_t *counters;
    cpu_taken *taken; /* [workers] */
    uint64_t first;   /* as cpu_call.first */
    hy_pool *pool;
    bool open; /* the last wave takes more calls */
    bool sealed;
} cpu_cmd;

hy_status cpu_cmd_new(hy_device *device, hy_view counters, hy_cmd **out) {
    hy_pool *pool = ((cpu_device *)device)->pool;
    const size_t bytes = hy_pool_size(pool) * sizeof(cpu_taken);
    cpu_cmd *cmd = calloc(1, sizeof *cmd);
    if (cmd) cmd->taken = aligned_alloc(LINE, bytes);
    if (!cmd || !cmd->taken) {
        free(cmd);
        return hy_fail(HY_E_MEMORY, "cpu: out of memory for a command list");
    }
    memset(cmd->taken, 0, bytes);
    cmd->base.device = device;
    cmd->counters = hy_view_host(counters);
    cmd->pool = pool;
    *out = &cmd->base;
    return HY_OK;
}

void cpu_cmd_free(hy_cmd *base) {
    if (!base) return;
    cpu_cmd *cmd = (cpu_cmd *)base;
    for (size_t i = 0; i < cmd->call_count; i++)
        free(cmd->calls[i]);
    free(cmd->calls);
    free(cmd->waves);
    free(cmd->taken);
    free(cmd);
}

static uint32_t phases_of(const cpu_variant *variant) {
    uint32_t n = 0;
    while (n < PHASES && variant->phase[n])
        n++;
    return n;
}

/* Appends an empty call of `variant` to the present wave. */
static hy_status add_call(cpu_cmd *cmd, const cpu_variant *variant, cpu_call **out) {
    if (cmd->sealed) return hy_fail(HY_E_STATE, "cpu: the command list is sealed");
    HY_TRY(hy_grow(&cmd->calls, cmd->call_count, &cmd->call_room, sizeof *cmd->calls));
    if (!cmd->open) {
        HY_TRY(hy_grow(&cmd->waves, cmd->wave_count, &cmd->wave_room, sizeof *cmd->waves));
        cmd->waves[cmd->wave_count++] =
            (wave){(uint32_t)cmd->call_count, (uint32_t)cmd->call_count, 0, NULL};
        cmd->open = true;
    }
    const size_t bytes = hy_align_up(sizeof(cpu_call), LINE);
    cpu_call *call = aligned_alloc(LINE, bytes);
    if (!call) return hy_fail(HY_E_MEMORY, "cpu: out of memory for a recorded op");
    memset(call, 0, bytes);
    call->variant = variant;
    call->counters = cmd->counters;
    call->taken = cmd->taken;
    call->first = &cmd->first;
    call->index = cmd->call_count;
    wave *last = &cmd->waves[cmd->wave_count - 1];
    const uint32_t phases = phases_of(variant);
    last->phases = HY_MAX(last->phases, phases);
    last->end++;
    cmd->calls[cmd->call_count++] = call;
    *out = call;
    return HY_OK;
}

hy_status cpu_cmd_op(hy_cmd *base, const hy_op *op, const hy_kernel *kernel, const hy_view *views,
                     hy_view workspace) {
    const cpu_variant *variant = (const cpu_variant *)(uintptr_t)kernel->impl;
    if (workspace.size < kernel->workspace)
        return hy_fail(HY_E_ARGUMENT, "cpu: %s needs %llu bytes of workspace, not %llu",
                       variant->name, (unsigned long long)kernel->workspace,
                       (unsigned long long)workspace.size);
    cpu_call *call;
    HY_TRY(add_call((cpu_cmd *)base, variant, &call));
    call->op = *op;
    const uint32_t operands = hy_op_get((hy_op_kind)op->kind)->operands;
    for (uint32_t i = 0; i < operands; i++) {
        if (op->operand[i].dtype != HY_DTYPE_NONE) call->p[i] = hy_view_host(views[i]);
    }
    if (kernel->workspace) call->workspace = hy_view_host(workspace);
    return HY_OK;
}

/* op.operand[0].stride[0] holds the bytes. */
static void copy_bytes(cpu_call *call, uint32_t worker, uint32_t workers) {
    const uint64_t bytes = call->op.operand[0].stride[0];
    const uint64_t grains = hy_div_up(bytes, COPY_GRAIN);
    const uint64_t begin = grains * worker / workers * COPY_GRAIN;
    const uint64_t end = HY_MIN(grains * (worker + 1) / workers * COPY_GRAIN, bytes);
    if (begin < end)
        memcpy((char *)call->p[1] + begin, (const char *)call->p[0] + begin, end - begin);
}

static const cpu_variant copy_variant = {
    .name = "cpu.copy.bytes", .kind = HY_OP_COPY, .phase = {copy_bytes}};

hy_status cpu_cmd_copy(hy_cmd *base, hy_view dst, hy_view src) {
    cpu_call *call;
    HY_TRY(add_call((cpu_cmd *)base, &copy_variant, &call));
    call->p[0] = hy_view_host(src);
    call->p[1] = hy_view_host(dst);
    call->op.operand[0].stride[0] = HY_MIN(src.size, dst.size);
    return HY_OK;
}

hy_status cpu_cmd_barrier(hy_cmd *base) {
    cpu_cmd *cmd = (cpu_cmd *)base;
    if (cmd->sealed) return hy_fail(HY_E_STATE, "cpu: the command list is sealed");
    cmd->open = false;
    return HY_OK;
}

hy_status cpu_cmd_seal(hy_cmd *base) {
    cpu_cmd *cmd = (cpu_cmd *)base;
    if (cmd->sealed) return hy_fail(HY_E_STATE, "cpu: the command list is sealed already");
    cmd->sealed = true;
    const cpu_call *soon = NULL;
    for (size_t i = cmd->wave_count; i-- > 0;) {
        wave *w = &cmd->waves[i];
        w->soon = soon;
        for (uint32_t c = w->end; c-- > w->begin;) {
            if (!cmd->calls[c]->variant->streams) continue;
            cmd->calls[c]->then = soon;
            soon = cmd->calls[c];
        }
    }
    return HY_OK;
}

static void run_phase(const cpu_cmd *cmd, const wave *w, uint32_t phase, uint32_t worker,
                      uint32_t workers) {
    for (uint32_t i = w->begin; i < w->end; i++) {
        cpu_call *call = cmd->calls[i];
        const cpu_fn fn = call->variant->phase[phase];
        if (fn) fn(call, worker, workers);
    }
}

/* Asks for the calls of a wave: the weights that went by since the last replay have taken their place in the caches. */
static void ask_for_calls(const cpu_cmd *cmd, const wave *w) {
    for (uint32_t i = w->begin; i < w->end; i++)
        for (size_t at = 0; at < sizeof(cpu_call); at += LINE)
            __builtin_prefetch((const char *)cmd->calls[i] + at);
}

/* What a worker will stream next, asked for while it waits for the others. */
typedef struct ahead {
    const cpu_call *call; /* NULL: none */
    const char *at, *end;
} ahead;

static void look_ahead(const cpu_call *call, uint32_t worker, uint32_t workers, ahead *a) {
    if (!call || a->call == call) return;
    uint64_t bytes;
    a->call = call;
    a->at = call->variant->streams(call, worker, workers, &bytes);
    a->end = a->at + HY_MIN(bytes, (uint64_t)AHEAD_BYTES);
}

static void ask_ahead(void *context) {
    ahead *a = context;
    for (int i = 0; i < AHEAD_LINES && a->at < a->end; i++, a->at += LINE)
        __builtin_prefetch(a->at, 0, 2);
}

/* What every worker does. The return from the run stands for the last barrier. */
static void replay(void *context, uint32_t worker, uint32_t workers) {
    const cpu_cmd *cmd = context;
    ahead a = {NULL, NULL, NULL};
    for (size_t i = 0; i < cmd->wave_count; i++) {
        const wave *w = &cmd->waves[i];
        for (uint32_t phase = 0; phase < w->phases; phase++) {
            run_phase(cmd, w, phase, worker, workers);
            const bool last = i + 1 == cmd->wave_count && phase + 1 == w->phases;
            if (!last && phase + 1 == w->phases) ask_for_calls(cmd, w + 1);
            if (workers == 1 || last) continue;
            look_ahead(w->soon, worker, workers, &a);
            hy_pool_barrier_idle(cmd->pool, ask_ahead, &a);
        }
    }
}

hy_status cpu_submit(hy_device *device, hy_cmd *base, hy_timeline *timeline, uint64_t value) {
    cpu_cmd *cmd = (cpu_cmd *)base;
    (void)device;
    if (!cmd->sealed) return hy_fail(HY_E_STATE, "cpu: submit of a list that is not sealed");
    cmd->first += cmd->call_count;
    hy_pool_run(cmd->pool, replay, cmd);
    if (timeline) hy_host_timeline_set(timeline, value);
    return HY_OK;
}

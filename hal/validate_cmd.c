/* The validating wrapper: command lists, submission and timelines. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "hal/validate.h"

static valid_cmd *cmd_of(hy_cmd *cmd) {
    return (valid_cmd *)cmd;
}

static const hy_wrap_device *wrap_of(const hy_device *device) {
    return (const hy_wrap_device *)device;
}

/* ---- regions ------------------------------------------------------------------------------------- */

static valid_region plain_region(const hy_device *device, hy_view view, uint64_t bytes) {
    valid_region region = {0};
    if (!view.buffer || bytes == 0) return region;
    region.buffer = hy_wrap_id(wrap_of(device), view.buffer);
    region.begin = view.offset;
    region.end = view.offset + bytes;
    return region;
}

static valid_region operand_region(const hy_device *device, const hy_op *op,
                                   const hy_kernel *kernel, const hy_view *views, uint32_t i) {
    const hy_tensor *t = &op->operand[i];
    const bool packed = kernel->constant[i].rows && kernel->constant[i].layout;
    const uint64_t bytes = packed ? kernel->constant[i].bytes : hy_tensor_bytes(t);
    valid_region region = plain_region(device, views[i], bytes);
    if (packed || t->rank < 2 || t->dim[0] < 2 || hy_tensor_dense(t)) return region;
    hy_tensor row = *t;
    row.dim[0] = 1;
    region.width = hy_tensor_bytes(&row);
    region.pitch = t->stride[0] * hy_dtype_get((hy_dtype)t->dtype)->bytes;
    return region;
}

/* Two regions of one pitch may lie side by side, as q, k and v do in one buffer. */
static bool overlap(const valid_region *a, const valid_region *b) {
    if (!a->buffer || a->buffer != b->buffer || a->begin >= b->end || b->begin >= a->end)
        return false;
    if (!a->pitch || a->pitch != b->pitch) return true;
    const uint64_t ahead = b->begin >= a->begin
                               ? (b->begin - a->begin) % a->pitch
                               : (a->pitch - (a->begin - b->begin) % a->pitch) % a->pitch;
    return ahead < a->width || a->pitch - ahead < b->width;
}

/* ---- waves --------------------------------------------------------------------------------------- */

/* Adds what one op touches, after comparing with the other ops of the wave. */
static hy_status touch(valid_cmd *cmd, valid_region region, bool write, const char *op,
                       const char *operand) {
    if (!region.buffer) return HY_OK;
    for (size_t i = 0; i < cmd->wave_count; i++) {
        const valid_touch *t = &cmd->wave[i];
        if (t->number == cmd->ops || (!write && !t->write) || !overlap(&t->region, &region))
            continue;
        return hy_valid_breach(
            "%s (op %u) %s %s, which overlaps %s of %s (op %u) %s in the same wave: "
            "a barrier is missing",
            op, cmd->ops, write ? "writes" : "reads", operand, t->operand, t->op, t->number,
            t->write ? "written" : "read");
    }
    HY_TRY(hy_grow(&cmd->wave, cmd->wave_count, &cmd->wave_capacity, sizeof *cmd->wave));
    cmd->wave[cmd->wave_count++] = (valid_touch){region, write, cmd->ops, op, operand};
    return HY_OK;
}

static hy_status use(valid_cmd *cmd, const hy_buffer *buffer) {
    if (!buffer) return HY_OK;
    const uint64_t id = hy_wrap_id(wrap_of(cmd->wrap.base.device), buffer);
    for (size_t i = 0; i < cmd->used_count; i++) {
        if (cmd->used[i].id == id) return HY_OK;
    }
    HY_TRY(hy_grow(&cmd->used, cmd->used_count, &cmd->used_capacity, sizeof *cmd->used));
    cmd->used[cmd->used_count++] = (valid_used){buffer, id};
    return HY_OK;
}

/* ---- recording ----------------------------------------------------------------------------------- */

static hy_status open_list(const valid_cmd *cmd, const char *where) {
    if (!cmd->sealed) return HY_OK;
    return hy_valid_breach("%s: the list is sealed", where);
}

static hy_status valid_cmd_new(hy_device *device, hy_view counters, hy_cmd **out) {
    if (!out) return hy_valid_breach("cmd_new: out is NULL");
    HY_TRY(hy_valid_view(device, "cmd_new", "counters", counters,
                         HY_COUNTER_COUNT * sizeof(uint32_t), sizeof(uint32_t)));
    hy_cmd *cmd;
    HY_TRY(hy_wrap_forward()->cmd_new(device, counters, &cmd));
    cmd_of(cmd)->counters = counters;
    hy_status status = use(cmd_of(cmd), counters.buffer);
    if (status == HY_OK)
        *out = cmd;
    else
        hy_cmd_free(cmd);
    return status;
}

static void valid_cmd_free(hy_cmd *base) {
    valid_cmd *cmd = cmd_of(base);
    const hy_wrap_device *wrap = wrap_of(base->device);
    if (!hy_wrap_id(wrap, base)) {
        hy_valid_complain("cmd_free: not a list of this device");
        return;
    }
    if (cmd->last && hy_wrap_id(wrap, cmd->last) == cmd->last_id) {
        uint64_t value = 0;
        hy_timeline *last = (hy_timeline *)cmd->last;
        if (hy_wrap_forward()->timeline_value(last, &value) == HY_OK && value < cmd->last_value)
            hy_valid_complain("cmd_free: the list is still running");
    }
    free(cmd->wave);
    free(cmd->used);
    hy_wrap_forward()->cmd_free(base);
}

static bool same_view(hy_view a, hy_view b) {
    return a.buffer == b.buffer && a.offset == b.offset;
}

/* Outputs overlap nothing of their own op, but for what in_place allows output 0. */
static hy_status check_overlap(const hy_op *op, const hy_kernel *kernel, const hy_view *views,
                               const valid_region *region, const valid_region *workspace) {
    const hy_op_info *info = hy_op_get((hy_op_kind)op->kind);
    uint32_t first = HY_MAX_OPERANDS; /* output 0 */
    for (uint32_t i = 0; i < info->operands; i++) {
        const bool out = info->operand[i].role & HY_ROLE_OUT;
        if (overlap(&region[i], workspace))
            return hy_valid_breach("%s: the workspace overlaps %s", info->name,
                                   info->operand[i].name);
        if (!(info->operand[i].role & (HY_ROLE_OUT | HY_ROLE_STATE)) || !region[i].buffer) continue;
        if (out && first == HY_MAX_OPERANDS) first = i;
        for (uint32_t j = 0; j < info->operands; j++) {
            if (j == i || !overlap(&region[i], &region[j])) continue;
            const bool allowed =
                i == first && (kernel->in_place >> j & 1u) && same_view(views[i], views[j]);
            if (!allowed)
                return hy_valid_breach("%s: %s overlaps %s%s", info->name, info->operand[i].name,
                                       info->operand[j].name,
                                       kernel->in_place >> j & 1u ? " but is not the same view"
                                                                  : "");
        }
    }
    return HY_OK;
}

/* The touches of one op in its wave: operands, workspace, counters. */
static hy_status touch_all(valid_cmd *cmd, const hy_op *op, const valid_region *region,
                           valid_region workspace) {
    const hy_op_info *info = hy_op_get((hy_op_kind)op->kind);
    bool dynamic = false;
    for (uint32_t i = 0; i < info->operands; i++) {
        const uint32_t role = info->operand[i].role;
        const bool write = role & (HY_ROLE_OUT | HY_ROLE_STATE);
        HY_TRY(touch(cmd, region[i], write, info->name, info->operand[i].name));
        dynamic = dynamic || op->operand[i].counter != HY_COUNTER_NONE;
    }
    HY_TRY(touch(cmd, workspace, true, info->name, "workspace"));
    if (!dynamic) return HY_OK;
    const valid_region counters =
        plain_region(cmd->wrap.base.device, cmd->counters, HY_COUNTER_COUNT * sizeof(uint32_t));
    return touch(cmd, counters, false, info->name, "counters");
}

/* All that is checked before an op is passed on. */
static hy_status check_cmd_op(valid_cmd *cmd, const hy_op *op, const hy_kernel *kernel,
                              const hy_view *views, hy_view workspace) {
    hy_device *device = cmd->wrap.base.device;
    valid_region region[HY_MAX_OPERANDS], space = {0};
    HY_TRY(open_list(cmd, "cmd_op"));
    HY_TRY(hy_valid_kernel(device, "cmd_op", op, kernel));
    if (!views) return hy_valid_breach("cmd_op: views is NULL");
    HY_TRY(hy_valid_operands(device, op, kernel, views));
    const char *name = hy_op_get((hy_op_kind)op->kind)->name;
    if (kernel->workspace) {
        HY_TRY(
            hy_valid_view(device, name, "workspace", workspace, kernel->workspace, HY_VIEW_ALIGN));
        space = plain_region(device, workspace, kernel->workspace);
    }
    for (uint32_t i = 0; i < hy_op_get((hy_op_kind)op->kind)->operands; i++) {
        memset(&region[i], 0, sizeof region[i]);
        if (op->operand[i].dtype == HY_DTYPE_NONE) continue;
        region[i] = operand_region(device, op, kernel, views, i);
        HY_TRY(use(cmd, views[i].buffer));
    }
    if (kernel->workspace) HY_TRY(use(cmd, workspace.buffer));
    HY_TRY(check_overlap(op, kernel, views, region, &space));
    return touch_all(cmd, op, region, space);
}

/* Recording keeps what candidates() promised, so a refusal is a breach, unless memory or device failed. */
static hy_status kept(hy_status status, const char *what) {
    if (status == HY_OK || status == HY_E_MEMORY || status == HY_E_DEVICE) return status;
    char text[400];
    snprintf(text, sizeof text, "%s", hy_error_text());
    return hy_valid_breach("%s was refused: %s", what, text);
}

static hy_status valid_cmd_op(hy_cmd *base, const hy_op *op, const hy_kernel *kernel,
                              const hy_view *views, hy_view workspace) {
    valid_cmd *cmd = cmd_of(base);
    HY_TRY(check_cmd_op(cmd, op, kernel, views, workspace));
    HY_TRY(kept(hy_wrap_forward()->cmd_op(base, op, kernel, views, workspace), kernel->name));
    cmd->ops++;
    if (!(kernel->flags & HY_KERNEL_REPLAYABLE)) cmd->once = true;
    return HY_OK;
}

static hy_status valid_cmd_copy(hy_cmd *base, hy_view dst, hy_view src) {
    valid_cmd *cmd = cmd_of(base);
    HY_TRY(open_list(cmd, "cmd_copy"));
    HY_TRY(hy_valid_view(base->device, "cmd_copy", "dst", dst, 0, 1));
    HY_TRY(hy_valid_view(base->device, "cmd_copy", "src", src, 0, 1));
    if (dst.size != src.size)
        return hy_valid_breach("cmd_copy: %" PRIu64 " bytes to %" PRIu64, src.size, dst.size);
    const valid_region to = plain_region(base->device, dst, dst.size);
    const valid_region from = plain_region(base->device, src, src.size);
    if (overlap(&to, &from)) return hy_valid_breach("cmd_copy: dst overlaps src");
    HY_TRY(use(cmd, dst.buffer));
    HY_TRY(use(cmd, src.buffer));
    HY_TRY(touch(cmd, from, false, "cmd_copy", "src"));
    HY_TRY(touch(cmd, to, true, "cmd_copy", "dst"));
    HY_TRY(kept(hy_wrap_forward()->cmd_copy(base, dst, src), "cmd_copy"));
    cmd->ops++;
    return HY_OK;
}

static hy_status valid_cmd_barrier(hy_cmd *base) {
    HY_TRY(open_list(cmd_of(base), "cmd_barrier"));
    cmd_of(base)->wave_count = 0;
    return kept(hy_wrap_forward()->cmd_barrier(base), "cmd_barrier");
}

static hy_status valid_cmd_seal(hy_cmd *base) {
    HY_TRY(open_list(cmd_of(base), "cmd_seal"));
    HY_TRY(kept(hy_wrap_forward()->cmd_seal(base), "cmd_seal"));
    cmd_of(base)->sealed = true;
    return HY_OK;
}

/* ---- submission ---------------------------------------------------------------------------------- */

static hy_status check_submit(const hy_device *device, const valid_cmd *cmd,
                              const valid_timeline *timeline, uint64_t value) {
    const hy_wrap_device *wrap = wrap_of(device);
    if (!hy_wrap_id(wrap, cmd))
        return hy_valid_breach("submit: the list is freed or of another device");
    if (!hy_wrap_id(wrap, timeline))
        return hy_valid_breach("submit: the timeline is freed or of another device");
    if (!cmd->sealed) return hy_valid_breach("submit: the list is not sealed");
    if (cmd->once && cmd->runs)
        return hy_valid_breach(
            "submit: the list has a kernel that cannot be replayed, and ran before");
    if (value <= timeline->submitted)
        return hy_valid_breach("submit: value %" PRIu64 " does not grow from %" PRIu64, value,
                               timeline->submitted);
    for (size_t i = 0; i < cmd->used_count; i++) {
        if (hy_wrap_id(wrap, cmd->used[i].buffer) != cmd->used[i].id)
            return hy_valid_breach("submit: the list uses a buffer that is freed");
    }
    return HY_OK;
}

static hy_status valid_submit(hy_device *device, hy_cmd *base, hy_timeline *timeline,
                              uint64_t value) {
    valid_cmd *cmd = cmd_of(base);
    valid_timeline *line = (valid_timeline *)timeline;
    HY_TRY(check_submit(device, cmd, line, value));
    HY_TRY(hy_wrap_forward()->submit(device, base, timeline, value));
    cmd->runs++;
    cmd->last = timeline;
    cmd->last_id = hy_wrap_id(wrap_of(device), timeline);
    cmd->last_value = value;
    line->submitted = value;
    return HY_OK;
}

static void valid_timeline_free(hy_timeline *timeline) {
    const valid_timeline *line = (const valid_timeline *)timeline;
    uint64_t value = 0;
    if (!hy_wrap_id(wrap_of(timeline->device), timeline)) {
        hy_valid_complain("timeline_free: not a timeline of this device");
        return;
    }
    if (hy_wrap_forward()->timeline_value(timeline, &value) == HY_OK && value < line->submitted)
        hy_valid_complain("timeline_free: at %" PRIu64 ", submitted up to %" PRIu64, value,
                          line->submitted);
    hy_wrap_forward()->timeline_free(timeline);
}

static hy_status valid_timeline_value(hy_timeline *timeline, uint64_t *value) {
    if (!value) return hy_valid_breach("timeline_value: value is NULL");
    return hy_wrap_forward()->timeline_value(timeline, value);
}

void hy_valid_cmd_functions(hy_backend *table) {
    table->cmd_new = valid_cmd_new;
    table->cmd_free = valid_cmd_free;
    table->cmd_op = valid_cmd_op;
    table->cmd_copy = valid_cmd_copy;
    table->cmd_barrier = valid_cmd_barrier;
    table->cmd_seal = valid_cmd_seal;
    table->submit = valid_submit;
    table->timeline_free = valid_timeline_free;
    table->timeline_value = valid_timeline_value;
}

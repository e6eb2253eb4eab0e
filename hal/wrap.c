/* Passing calls on to an inner device. */
#include "hal/wrap.h"

#include <stdlib.h>

#include "base/arena.h"

/* ---- live objects -------------------------------------------------------------------------------- */

static hy_wrap_device *of(hy_device *device) {
    return (hy_wrap_device *)device;
}

static hy_device *inner_of(hy_device *device) {
    return of(device)->inner;
}

uint64_t hy_wrap_id(const hy_wrap_device *device, const void *object) {
    for (size_t i = 0; i < device->live_count; i++) {
        if (device->live[i].object == object) return device->live[i].id;
    }
    return 0;
}

hy_status hy_wrap_list(hy_wrap_device *device, hy_wrap_kind kind, void *object) {
    HY_TRY(
        hy_grow(&device->live, device->live_count, &device->live_capacity, sizeof *device->live));
    device->live[device->live_count++] = (hy_wrap_entry){object, kind, ++device->last_id};
    return HY_OK;
}

void hy_wrap_unlist(hy_wrap_device *device, const void *object) {
    for (size_t i = 0; i < device->live_count; i++) {
        if (device->live[i].object != object) continue;
        device->live[i] = device->live[--device->live_count];
        return;
    }
}

/* Frees an object by the wrapper's own function, which takes it off the list. */
static void free_entry(hy_wrap_device *device, hy_wrap_entry entry) {
    if (entry.kind == HY_WRAP_BUFFER)
        device->table.buffer_free(entry.object);
    else if (entry.kind == HY_WRAP_CMD)
        device->table.cmd_free(entry.object);
    else
        device->table.timeline_free(entry.object);
}

void hy_wrap_close(hy_device *base) {
    hy_wrap_device *device = of(base);
    const hy_wrap_kind order[] = {HY_WRAP_CMD, HY_WRAP_TIMELINE, HY_WRAP_BUFFER};
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = device->live_count; i-- > 0;) {
            if (device->live[i].kind == order[k]) free_entry(device, device->live[i]);
        }
    }
    hy_device_close(device->inner);
    free(device->live);
    free(device);
}

/* ---- devices and memory -------------------------------------------------------------------------- */

static void wrap_info(hy_device *device, hy_device_info *out) {
    inner_of(device)->backend->info(inner_of(device), out);
}

/* A new wrapper object of `size` bytes on the list; NULL without memory. */
static void *new_object(hy_device *device, hy_wrap_kind kind, size_t size) {
    void *object = calloc(1, size);
    if (object && hy_wrap_list(of(device), kind, object) == HY_OK) return object;
    free(object);
    return NULL;
}

static void free_object(hy_device *device, void *object) {
    hy_wrap_unlist(of(device), object);
    free(object);
}

static hy_status no_memory(void) {
    return hy_fail(HY_E_MEMORY, "out of memory for a wrapper's object");
}

static hy_status take_buffer(hy_device *device, hy_buffer *inner, hy_buffer **out) {
    hy_wrap_buffer *buffer = new_object(device, HY_WRAP_BUFFER, sizeof *buffer);
    if (!buffer) {
        hy_buffer_free(inner);
        return no_memory();
    }
    buffer->base = (hy_buffer){device, inner->size, inner->host};
    buffer->inner = inner;
    *out = &buffer->base;
    return HY_OK;
}

static hy_status wrap_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out) {
    hy_buffer *inner;
    HY_TRY(inner_of(device)->backend->buffer_new(inner_of(device), heap, size, &inner));
    return take_buffer(device, inner, out);
}

static hy_status wrap_buffer_import(hy_device *device, void *host, uint64_t size, hy_buffer **out) {
    hy_buffer *inner;
    HY_TRY(inner_of(device)->backend->buffer_import(inner_of(device), host, size, &inner));
    return take_buffer(device, inner, out);
}

static void wrap_buffer_free(hy_buffer *buffer) {
    hy_buffer_free(((hy_wrap_buffer *)buffer)->inner);
    free_object(buffer->device, buffer);
}

static hy_status wrap_write(hy_buffer *base, uint64_t offset, const void *src, uint64_t size) {
    hy_buffer *inner = ((hy_wrap_buffer *)base)->inner;
    return HY_FN(inner)->write(inner, offset, src, size);
}

static hy_status wrap_read(hy_buffer *base, uint64_t offset, void *dst, uint64_t size) {
    hy_buffer *inner = ((hy_wrap_buffer *)base)->inner;
    return HY_FN(inner)->read(inner, offset, dst, size);
}

hy_view hy_wrap_view(hy_view view) {
    if (view.buffer) view.buffer = ((hy_wrap_buffer *)view.buffer)->inner;
    return view;
}

/* ---- kernels ------------------------------------------------------------------------------------- */

static hy_status wrap_candidates(hy_device *device, const hy_op *op, hy_kernel *out,
                                 uint32_t *count) {
    return inner_of(device)->backend->candidates(inner_of(device), op, out, count);
}

static hy_status wrap_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                           uint32_t operand, uint64_t row, uint64_t rows, const void *src,
                           hy_view dst) {
    return inner_of(device)->backend->pack(inner_of(device), op, kernel, operand, row, rows, src,
                                           hy_wrap_view(dst));
}

static hy_status wrap_unpack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                             uint32_t operand, hy_view src, void *dst) {
    return inner_of(device)->backend->unpack(inner_of(device), op, kernel, operand,
                                             hy_wrap_view(src), dst);
}

/* Views of the operands that are present; the others stay zero. */
static void inner_views(const hy_op *op, const hy_view *views, hy_view inner[HY_MAX_OPERANDS]) {
    const hy_view none = {NULL, 0, 0};
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        inner[i] = op->operand[i].dtype == HY_DTYPE_NONE ? none : hy_wrap_view(views[i]);
}

static hy_status wrap_oracle(hy_device *device, const hy_op *op, const hy_view *views,
                             hy_view counters, uint32_t operand, double *want, double *mag) {
    hy_view inner[HY_MAX_OPERANDS];
    inner_views(op, views, inner);
    return inner_of(device)->backend->oracle(inner_of(device), op, inner, hy_wrap_view(counters),
                                             operand, want, mag);
}

static hy_status wrap_peak(hy_device *device, hy_peak kind, hy_view memory, double *rate) {
    return inner_of(device)->backend->peak(inner_of(device), kind, hy_wrap_view(memory), rate);
}

/* ---- command lists ------------------------------------------------------------------------------- */

static hy_status wrap_cmd_new(hy_device *device, hy_view counters, hy_cmd **out) {
    hy_wrap_cmd *cmd = new_object(device, HY_WRAP_CMD, of(device)->cmd_size);
    if (!cmd) return no_memory();
    cmd->base.device = device;
    hy_status status =
        inner_of(device)->backend->cmd_new(inner_of(device), hy_wrap_view(counters), &cmd->inner);
    if (status != HY_OK) {
        free_object(device, cmd);
        return status;
    }
    *out = &cmd->base;
    return HY_OK;
}

static void wrap_cmd_free(hy_cmd *cmd) {
    hy_cmd_free(((hy_wrap_cmd *)cmd)->inner);
    free_object(cmd->device, cmd);
}

static hy_status wrap_cmd_op(hy_cmd *base, const hy_op *op, const hy_kernel *kernel,
                             const hy_view *views, hy_view workspace) {
    hy_cmd *inner = ((hy_wrap_cmd *)base)->inner;
    hy_view list[HY_MAX_OPERANDS];
    inner_views(op, views, list);
    return HY_FN(inner)->cmd_op(inner, op, kernel, list, hy_wrap_view(workspace));
}

static hy_status wrap_cmd_copy(hy_cmd *base, hy_view dst, hy_view src) {
    hy_cmd *inner = ((hy_wrap_cmd *)base)->inner;
    return HY_FN(inner)->cmd_copy(inner, hy_wrap_view(dst), hy_wrap_view(src));
}

static hy_status wrap_cmd_barrier(hy_cmd *base) {
    hy_cmd *inner = ((hy_wrap_cmd *)base)->inner;
    return HY_FN(inner)->cmd_barrier(inner);
}

static hy_status wrap_cmd_seal(hy_cmd *base) {
    hy_cmd *inner = ((hy_wrap_cmd *)base)->inner;
    return HY_FN(inner)->cmd_seal(inner);
}

static hy_status wrap_submit(hy_device *device, hy_cmd *cmd, hy_timeline *timeline,
                             uint64_t value) {
    return inner_of(device)->backend->submit(inner_of(device), ((hy_wrap_cmd *)cmd)->inner,
                                             ((hy_wrap_timeline *)timeline)->inner, value);
}

/* ---- timelines ----------------------------------------------------------------------------------- */

static hy_status wrap_timeline_new(hy_device *device, hy_timeline **out) {
    hy_wrap_timeline *timeline = new_object(device, HY_WRAP_TIMELINE, of(device)->timeline_size);
    if (!timeline) return no_memory();
    timeline->base.device = device;
    hy_status status = inner_of(device)->backend->timeline_new(inner_of(device), &timeline->inner);
    if (status != HY_OK) {
        free_object(device, timeline);
        return status;
    }
    *out = &timeline->base;
    return HY_OK;
}

static void wrap_timeline_free(hy_timeline *timeline) {
    hy_timeline_free(((hy_wrap_timeline *)timeline)->inner);
    free_object(timeline->device, timeline);
}

static hy_status wrap_timeline_value(hy_timeline *base, uint64_t *value) {
    hy_timeline *inner = ((hy_wrap_timeline *)base)->inner;
    return HY_FN(inner)->timeline_value(inner, value);
}

static hy_status wrap_timeline_wait(hy_timeline *base, uint64_t value, uint64_t timeout_us) {
    hy_timeline *inner = ((hy_wrap_timeline *)base)->inner;
    return HY_FN(inner)->timeline_wait(inner, value, timeout_us);
}

static const hy_backend forward = {
    .close = hy_wrap_close,
    .info = wrap_info,
    .buffer_new = wrap_buffer_new,
    .buffer_import = wrap_buffer_import,
    .buffer_free = wrap_buffer_free,
    .write = wrap_write,
    .read = wrap_read,
    .candidates = wrap_candidates,
    .pack = wrap_pack,
    .unpack = wrap_unpack,
    .cmd_new = wrap_cmd_new,
    .cmd_free = wrap_cmd_free,
    .cmd_op = wrap_cmd_op,
    .cmd_copy = wrap_cmd_copy,
    .cmd_barrier = wrap_cmd_barrier,
    .cmd_seal = wrap_cmd_seal,
    .submit = wrap_submit,
    .timeline_new = wrap_timeline_new,
    .timeline_free = wrap_timeline_free,
    .timeline_value = wrap_timeline_value,
    .timeline_wait = wrap_timeline_wait,
    .oracle = wrap_oracle,
    .peak = wrap_peak,
};

const hy_backend *hy_wrap_forward(void) {
    return &forward;
}

hy_status hy_wrap_new(hy_device *inner, size_t size, size_t cmd_size, size_t timeline_size,
                      hy_wrap_device **out) {
    hy_wrap_device *device = calloc(1, size);
    if (!device) return no_memory();
    device->table = forward;
    device->table.name = inner->backend->name;
    device->table.devices = inner->backend->devices;
    device->table.open = inner->backend->open;
    if (!inner->backend->oracle) device->table.oracle = NULL;
    if (!inner->backend->peak) device->table.peak = NULL;
    device->base.backend = &device->table;
    device->inner = inner;
    device->cmd_size = cmd_size;
    device->timeline_size = timeline_size;
    *out = device;
    return HY_OK;
}

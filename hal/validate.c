/* The validating wrapper: devices, buffers, kernels and packing. Lists are in validate_cmd.c. */
#include "hal/validate.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "hal/host.h"

#define ALL_FLAGS                                                                                  \
    (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT | HY_KERNEL_ROUNDS)

static const hy_wrap_device *wrap_of(const hy_device *device) {
    return (const hy_wrap_device *)device;
}

hy_status hy_valid_breach(const char *format, ...) {
    char text[480];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return hy_fail(HY_E_INTERNAL, "validate: %s", text);
}

void hy_valid_complain(const char *format, ...) {
    char text[480];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    hy_status status = hy_fail(HY_E_INTERNAL, "validate: %s", text);
    (void)status;
    hy_log(HY_LOG_ERROR, "validate: %s", text);
}

/* ---- views --------------------------------------------------------------------------------------- */

hy_status hy_valid_view(const hy_device *device, const char *where, const char *name, hy_view view,
                        uint64_t bytes, uint64_t align) {
    uint64_t end;
    if (!view.buffer) return hy_valid_breach("%s: %s has no buffer", where, name);
    if (!hy_wrap_id(wrap_of(device), view.buffer))
        return hy_valid_breach("%s: %s is in a buffer that is freed or of another device", where,
                               name);
    if (hy_add_overflow(view.offset, view.size, &end) || end > view.buffer->size)
        return hy_valid_breach("%s: %s is [%" PRIu64 ", +%" PRIu64 ") of a buffer of %" PRIu64
                               " bytes",
                               where, name, view.offset, view.size, view.buffer->size);
    if (view.size < bytes)
        return hy_valid_breach("%s: %s has %" PRIu64 " bytes, not %" PRIu64, where, name, view.size,
                               bytes);
    if (view.offset % align)
        return hy_valid_breach("%s: %s starts at %" PRIu64 ", not a multiple of %" PRIu64, where,
                               name, view.offset, align);
    return HY_OK;
}

/* Blocks of files start at any byte: a mapped file is imported as it is. */
static uint64_t alignment_of(const hy_tensor *tensor) {
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)tensor->dtype);
    if (tensor->dtype == HY_DTYPE_A8) return sizeof(float);
    return info->quantized ? 1 : info->bytes;
}

/* The first `bytes` of a view that is in order otherwise. */
static hy_status check_segment(const hy_device_info *about, const char *where, const char *name,
                               hy_view view, uint64_t bytes) {
    const uint64_t last = view.offset + HY_MAX(bytes, 1) - 1;
    if (!about->segment || view.offset / about->segment == last / about->segment) return HY_OK;
    return hy_valid_breach("%s: %s crosses a segment of %" PRIu64 " bytes", where, name,
                           about->segment);
}

hy_status hy_valid_operands(const hy_device *device, const hy_op *op, const hy_kernel *kernel,
                            const hy_view *views) {
    const hy_op_info *info = hy_op_get((hy_op_kind)op->kind);
    hy_device_info about;
    device->backend->info((hy_device *)(uintptr_t)device, &about);
    for (uint32_t i = 0; i < info->operands; i++) {
        const hy_tensor *t = &op->operand[i];
        const char *name = info->operand[i].name;
        if (t->dtype == HY_DTYPE_NONE) {
            if (views[i].buffer)
                return hy_valid_breach("%s: %s is absent but has a view", info->name, name);
            continue;
        }
        const bool packed = kernel && kernel->constant[i].rows && kernel->constant[i].layout;
        const uint64_t bytes = packed ? kernel->constant[i].bytes : hy_tensor_bytes(t);
        const uint64_t align = packed ? HY_VIEW_ALIGN : alignment_of(t);
        HY_TRY(hy_valid_view(device, info->name, name, views[i], bytes, align));
        HY_TRY(check_segment(&about, info->name, name, views[i], bytes));
    }
    return HY_OK;
}

/* ---- devices and buffers ------------------------------------------------------------------------- */

static void valid_close(hy_device *device) {
    static const char *const kind[] = {"buffer", "cmd", "timeline"};
    const hy_wrap_device *wrap = wrap_of(device);
    uint32_t left[3] = {0, 0, 0};
    for (size_t i = 0; i < wrap->live_count; i++)
        left[wrap->live[i].kind]++;
    for (int k = 0; k < 3; k++) {
        if (left[k])
            hy_valid_complain("close: %u %s%s not freed", left[k], kind[k], left[k] > 1 ? "s" : "");
    }
    hy_wrap_close(device);
}

static hy_status check_buffer(const hy_device *device, hy_heap heap, uint64_t size,
                              hy_buffer *buffer) {
    hy_device_info info;
    device->backend->info((hy_device *)device, &info);
    if (buffer->size < size)
        return hy_valid_breach("buffer_new: got %" PRIu64 " bytes of %" PRIu64, buffer->size, size);
    if (!buffer->host && (heap == HY_HEAP_HOST || info.host_memory))
        return hy_valid_breach("buffer_new: no host address");
    if (buffer->host && (uintptr_t)buffer->host % HY_VIEW_ALIGN)
        return hy_valid_breach("buffer_new: base is not aligned to %d", HY_VIEW_ALIGN);
    return HY_OK;
}

static hy_status valid_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out) {
    if (!out) return hy_valid_breach("buffer_new: out is NULL");
    if (heap != HY_HEAP_DEVICE && heap != HY_HEAP_HOST)
        return hy_valid_breach("buffer_new: heap %d", (int)heap);
    if (size == 0) return hy_valid_breach("buffer_new: 0 bytes");
    hy_buffer *buffer;
    HY_TRY(hy_wrap_forward()->buffer_new(device, heap, size, &buffer));
    hy_status status = check_buffer(device, heap, size, buffer);
    if (status == HY_OK)
        *out = buffer;
    else
        hy_buffer_free(buffer);
    return status;
}

static hy_status valid_buffer_import(hy_device *device, void *host, uint64_t size,
                                     hy_buffer **out) {
    if (!out || !host || size == 0)
        return hy_valid_breach("buffer_import: %s", !out ? "out is NULL" : "no memory");
    if ((uintptr_t)host % HY_VIEW_ALIGN)
        return hy_valid_breach("buffer_import: base is not aligned to %d", HY_VIEW_ALIGN);
    return hy_wrap_forward()->buffer_import(device, host, size, out);
}

static void valid_buffer_free(hy_buffer *buffer) {
    if (!hy_wrap_id(wrap_of(buffer->device), buffer)) {
        hy_valid_complain("buffer_free: not a buffer of this device");
        return;
    }
    hy_wrap_forward()->buffer_free(buffer);
}

static hy_status check_copy(hy_buffer *buffer, const char *where, uint64_t offset, const void *host,
                            uint64_t size) {
    if (!host && size) return hy_valid_breach("%s: %" PRIu64 " bytes at NULL", where, size);
    const hy_view view = {buffer, offset, size};
    return hy_valid_view(buffer->device, where, "range", view, size, 1);
}

static hy_status valid_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size) {
    HY_TRY(check_copy(buffer, "write", offset, src, size));
    return hy_wrap_forward()->write(buffer, offset, src, size);
}

static hy_status valid_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size) {
    HY_TRY(check_copy(buffer, "read", offset, dst, size));
    return hy_wrap_forward()->read(buffer, offset, dst, size);
}

/* ---- kernels ------------------------------------------------------------------------------------- */

static hy_status check_op(const char *where, const hy_op *op) {
    if (!op) return hy_valid_breach("%s: no op", where);
    if (hy_op_check(op) == HY_OK) return HY_OK;
    char text[400];
    snprintf(text, sizeof text, "%s", hy_error_text());
    return hy_valid_breach("%s: %s", where, text);
}

/* What a backend says about its own kernel. */
static hy_status check_promise(const hy_op *op, const hy_kernel *kernel) {
    const hy_op_info *info = hy_op_get((hy_op_kind)op->kind);
    if (!kernel->name || !kernel->name[0])
        return hy_valid_breach("candidates: a kernel for %s has no name", info->name);
    if (kernel->flags & ~(uint32_t)ALL_FLAGS)
        return hy_valid_breach("candidates: %s has flags 0x%x", kernel->name, kernel->flags);
    const bool rounds = kernel->flags & HY_KERNEL_ROUNDS;
    const bool known = kernel->rounded == HY_DTYPE_A8 || kernel->rounded == HY_DTYPE_F16 ||
                       kernel->rounded == HY_DTYPE_BF16;
    if (kernel->rounded && !(rounds && known))
        return hy_valid_breach("candidates: %s %s dtype %u", kernel->name,
                               rounds ? "rounds to" : "does not round and names", kernel->rounded);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_constant_layout *c = &kernel->constant[i];
        const char *name = i < info->operands ? info->operand[i].name : "?";
        const bool constant = op->operand[i].dtype != HY_DTYPE_NONE && op->operand[i].constant;
        if (constant != (c->rows > 0))
            return hy_valid_breach("candidates: %s %s a layout for %s", kernel->name,
                                   constant ? "lacks" : "has", name);
        if (constant &&
            (c->layout == 0 ? c->bytes != hy_tensor_bytes(&op->operand[i]) : c->bytes == 0))
            return hy_valid_breach("candidates: %s packs %s in %" PRIu64 " bytes", kernel->name,
                                   name, c->bytes);
        if ((kernel->in_place >> i & 1u) && !hy_host_in_place(op, 1u << i))
            return hy_valid_breach("candidates: %s cannot run in place of %s", kernel->name, name);
    }
    return HY_OK;
}

static hy_status valid_candidates(hy_device *device, const hy_op *op, hy_kernel *out,
                                  uint32_t *count) {
    if (!out || !count) return hy_valid_breach("candidates: out or count is NULL");
    HY_TRY(check_op("candidates", op));
    HY_TRY(hy_wrap_forward()->candidates(device, op, out, count));
    if (*count > HY_MAX_CANDIDATES)
        return hy_valid_breach("candidates: %u of at most %d", *count, HY_MAX_CANDIDATES);
    for (uint32_t i = 0; i < *count; i++) {
        HY_TRY(check_promise(op, &out[i]));
        if (i && out[i].cost < out[i - 1].cost)
            return hy_valid_breach("candidates: %s is cheaper than %s before it", out[i].name,
                                   out[i - 1].name);
    }
    return HY_OK;
}

hy_status hy_valid_kernel(hy_device *device, const char *where, const hy_op *op,
                          const hy_kernel *kernel) {
    hy_kernel list[HY_MAX_CANDIDATES];
    uint32_t count = 0;
    HY_TRY(check_op(where, op));
    if (!kernel || !kernel->name) return hy_valid_breach("%s: no kernel", where);
    HY_TRY(valid_candidates(device, op, list, &count));
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, kernel->name) == 0 && list[i].impl == kernel->impl &&
            list[i].flags == kernel->flags && list[i].workspace == kernel->workspace)
            return HY_OK;
    }
    return hy_valid_breach("%s: %s is not among the candidates for this %s", where, kernel->name,
                           hy_op_get((hy_op_kind)op->kind)->name);
}

static hy_status check_constant(hy_device *device, const char *where, const hy_op *op,
                                const hy_kernel *kernel, uint32_t operand, hy_view packed) {
    HY_TRY(hy_valid_kernel(device, where, op, kernel));
    const hy_op_info *info = hy_op_get((hy_op_kind)op->kind);
    if (operand >= info->operands || kernel->constant[operand].rows == 0)
        return hy_valid_breach("%s: operand %u of %s is not a constant", where, operand,
                               info->name);
    return hy_valid_view(device, where, info->operand[operand].name, packed,
                         kernel->constant[operand].bytes,
                         kernel->constant[operand].layout ? HY_VIEW_ALIGN : 1);
}

static hy_status valid_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                            uint32_t operand, uint64_t row, uint64_t rows, const void *src,
                            hy_view dst) {
    HY_TRY(check_constant(device, "pack", op, kernel, operand, dst));
    const uint64_t all = hy_tensor_rows(&op->operand[operand]);
    const uint64_t unit = kernel->constant[operand].rows;
    if (!src) return hy_valid_breach("pack: src is NULL");
    if (row > all || rows > all - row || rows == 0)
        return hy_valid_breach("pack: rows [%" PRIu64 ", +%" PRIu64 ") of %" PRIu64, row, rows,
                               all);
    if (row % unit || (rows % unit && row + rows != all))
        return hy_valid_breach("pack: rows [%" PRIu64 ", +%" PRIu64
                               ") are not multiples of %" PRIu64,
                               row, rows, unit);
    return hy_wrap_forward()->pack(device, op, kernel, operand, row, rows, src, dst);
}

static hy_status valid_unpack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                              uint32_t operand, hy_view src, void *dst) {
    HY_TRY(check_constant(device, "unpack", op, kernel, operand, src));
    if (!dst) return hy_valid_breach("unpack: dst is NULL");
    return hy_wrap_forward()->unpack(device, op, kernel, operand, src, dst);
}

static hy_status valid_oracle(hy_device *device, const hy_op *op, const hy_view *views,
                              hy_view counters, uint32_t operand, double *want, double *mag) {
    HY_TRY(check_op("oracle", op));
    HY_TRY(hy_valid_operands(device, op, NULL, views));
    HY_TRY(hy_valid_view(device, "oracle", "counters", counters,
                         HY_COUNTER_COUNT * sizeof(uint32_t), sizeof(uint32_t)));
    const hy_op_info *info = hy_op_get((hy_op_kind)op->kind);
    if (operand >= info->operands || op->operand[operand].dtype == HY_DTYPE_NONE ||
        !(info->operand[operand].role & (HY_ROLE_OUT | HY_ROLE_STATE)))
        return hy_valid_breach("oracle: operand %u of %s is not an output", operand, info->name);
    if (!want || !mag) return hy_valid_breach("oracle: want or mag is NULL");
    return hy_wrap_forward()->oracle(device, op, views, counters, operand, want, mag);
}

static hy_status valid_peak(hy_device *device, hy_peak kind, hy_view memory, double *rate) {
    hy_device_info about;
    if ((uint32_t)kind >= HY_PEAKS) return hy_valid_breach("peak: kind %d", (int)kind);
    if (!rate) return hy_valid_breach("peak: rate is NULL");
    HY_TRY(hy_valid_view(device, "peak", "memory", memory, HY_PEAK_LEAST, HY_VIEW_ALIGN));
    device->backend->info(device, &about);
    HY_TRY(check_segment(&about, "peak", "memory", memory, memory.size));
    HY_TRY(hy_wrap_forward()->peak(device, kind, memory, rate));
    if (!(*rate >= 0 && *rate < HUGE_VAL))
        return hy_valid_breach("peak: a rate of %g a second", *rate);
    return HY_OK;
}

hy_status hy_validate_open(hy_device *inner, hy_device **out) {
    hy_wrap_device *device;
    HY_TRY(hy_wrap_new(inner, sizeof *device, sizeof(valid_cmd), sizeof(valid_timeline), &device));
    hy_backend *table = &device->table;
    table->close = valid_close;
    table->buffer_new = valid_buffer_new;
    table->buffer_import = valid_buffer_import;
    table->buffer_free = valid_buffer_free;
    table->write = valid_write;
    table->read = valid_read;
    table->candidates = valid_candidates;
    table->pack = valid_pack;
    table->unpack = valid_unpack;
    if (table->oracle) table->oracle = valid_oracle;
    if (table->peak) table->peak = valid_peak;
    hy_valid_cmd_functions(table);
    *out = &device->base;
    return HY_OK;
}

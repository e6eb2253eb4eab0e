/* The tracing wrapper: each op of a list becomes a list of its own, timed from submit to done. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "hal/wrap.h"

/* One recorded op; lives as long as the device, since events outlive their list. */
typedef struct trace_site {
    const char *kernel; /* static; "copy" for copies between buffers */
    const char *op;     /* static */
    char *shape;        /* in the arena: the op printed */
    uint64_t bytes, calls, ns;
    double flops;
} trace_site;

typedef struct trace_event {
    uint64_t start, ns; /* start by hy_clock_ns */
    size_t site;
} trace_event;

typedef struct trace_device {
    hy_wrap_device wrap;
    hy_timeline *timeline; /* of the inner device; counts submissions */
    uint64_t submitted, opened;
    hy_arena arena;
    trace_site *sites;
    size_t site_count, site_capacity;
    trace_event *events;
    size_t event_count, event_capacity;
} trace_device;

typedef struct trace_part {
    hy_cmd *cmd; /* inner list with one op */
    size_t site;
} trace_part;

/* wrap.inner is an empty list that tells the caller's timeline. */
typedef struct trace_cmd {
    hy_wrap_cmd wrap;
    hy_view counters; /* inner */
    trace_part *parts;
    size_t count, capacity;
} trace_cmd;

static trace_device *device_of(hy_cmd *cmd) {
    return (trace_device *)cmd->device;
}

/* ---- recording ----------------------------------------------------------------------------------- */

/* `shape` is freed here. */
static hy_status add_site(trace_device *device, trace_site site, hy_text *shape, size_t *out) {
    hy_status status = shape->failed ? hy_fail(HY_E_MEMORY, "out of memory for a trace")
                                     : hy_grow(&device->sites, device->site_count,
                                               &device->site_capacity, sizeof *device->sites);
    if (status == HY_OK) {
        site.shape = hy_arena_text(&device->arena, shape->data ? shape->data : "", shape->length);
        if (!site.shape) status = hy_fail(HY_E_MEMORY, "out of memory for a trace");
    }
    hy_text_free(shape);
    if (status != HY_OK) return status;
    *out = device->site_count;
    device->sites[device->site_count++] = site;
    return HY_OK;
}

/* A new inner list for one op, kept in `base`. */
static hy_status add_part(hy_cmd *base, size_t site, hy_cmd **out) {
    trace_cmd *cmd = (trace_cmd *)base;
    hy_device *inner = device_of(base)->wrap.inner;
    HY_TRY(hy_grow(&cmd->parts, cmd->count, &cmd->capacity, sizeof *cmd->parts));
    HY_TRY(inner->backend->cmd_new(inner, cmd->counters, out));
    cmd->parts[cmd->count++] = (trace_part){*out, site};
    return HY_OK;
}

static hy_status trace_cmd_new(hy_device *device, hy_view counters, hy_cmd **out) {
    HY_TRY(hy_wrap_forward()->cmd_new(device, counters, out));
    ((trace_cmd *)*out)->counters = hy_wrap_view(counters);
    return HY_OK;
}

static void trace_cmd_free(hy_cmd *base) {
    trace_cmd *cmd = (trace_cmd *)base;
    for (size_t i = 0; i < cmd->count; i++)
        hy_cmd_free(cmd->parts[i].cmd);
    free(cmd->parts);
    hy_wrap_forward()->cmd_free(base);
}

static hy_status trace_cmd_op(hy_cmd *base, const hy_op *op, const hy_kernel *kernel,
                              const hy_view *views, hy_view workspace) {
    hy_view inner[HY_MAX_OPERANDS];
    hy_text shape = {0};
    hy_cmd *part;
    size_t site;
    const trace_site made = {.kernel = kernel->name,
                             .op = hy_op_get((hy_op_kind)op->kind)->name,
                             .bytes = hy_op_bytes(op),
                             .flops = hy_op_flops(op)};
    hy_op_print(op, &shape);
    HY_TRY(add_site(device_of(base), made, &shape, &site));
    HY_TRY(add_part(base, site, &part));
    memset(inner, 0, sizeof inner);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (op->operand[i].dtype != HY_DTYPE_NONE) inner[i] = hy_wrap_view(views[i]);
    }
    return HY_FN(part)->cmd_op(part, op, kernel, inner, hy_wrap_view(workspace));
}

static hy_status trace_cmd_copy(hy_cmd *base, hy_view dst, hy_view src) {
    hy_text shape = {0};
    hy_cmd *part;
    size_t site;
    const trace_site made = {.kernel = "copy", .op = "copy", .bytes = 2 * dst.size};
    hy_text_add(&shape, "copy of %llu bytes", (unsigned long long)dst.size);
    HY_TRY(add_site(device_of(base), made, &shape, &site));
    HY_TRY(add_part(base, site, &part));
    return HY_FN(part)->cmd_copy(part, hy_wrap_view(dst), hy_wrap_view(src));
}

/* Every op waits for the one before: barriers have nothing left to do. */
static hy_status trace_cmd_barrier(hy_cmd *base) {
    (void)base;
    return HY_OK;
}

static hy_status trace_cmd_seal(hy_cmd *base) {
    trace_cmd *cmd = (trace_cmd *)base;
    for (size_t i = 0; i < cmd->count; i++)
        HY_TRY(HY_FN(cmd->parts[i].cmd)->cmd_seal(cmd->parts[i].cmd));
    return hy_wrap_forward()->cmd_seal(base);
}

/* ---- running ------------------------------------------------------------------------------------- */

static hy_status run_part(trace_device *device, const trace_part *part) {
    hy_device *inner = device->wrap.inner;
    HY_TRY(hy_grow(&device->events, device->event_count, &device->event_capacity,
                   sizeof *device->events));
    const uint64_t start = hy_clock_ns();
    HY_TRY(inner->backend->submit(inner, part->cmd, device->timeline, ++device->submitted));
    HY_TRY(inner->backend->timeline_wait(device->timeline, device->submitted, UINT64_MAX));
    const uint64_t ns = hy_clock_ns() - start;
    device->events[device->event_count++] = (trace_event){start, ns, part->site};
    device->sites[part->site].calls++;
    device->sites[part->site].ns += ns;
    return HY_OK;
}

static hy_status trace_submit(hy_device *base, hy_cmd *list, hy_timeline *timeline,
                              uint64_t value) {
    const trace_cmd *cmd = (const trace_cmd *)list;
    for (size_t i = 0; i < cmd->count; i++)
        HY_TRY(run_part((trace_device *)base, &cmd->parts[i]));
    return hy_wrap_forward()->submit(base, list, timeline, value);
}

static void trace_close(hy_device *base) {
    trace_device *device = (trace_device *)base;
    hy_timeline_free(device->timeline);
    hy_arena_free(&device->arena);
    free(device->sites);
    free(device->events);
    hy_wrap_close(base);
}

hy_status hy_trace_open(hy_device *inner, hy_device **out) {
    hy_wrap_device *wrap;
    hy_timeline *timeline;
    HY_TRY(inner->backend->timeline_new(inner, &timeline));
    hy_status status = hy_wrap_new(inner, sizeof(trace_device), sizeof(trace_cmd),
                                   sizeof(hy_wrap_timeline), &wrap);
    if (status != HY_OK) {
        hy_timeline_free(timeline);
        return status;
    }
    trace_device *device = (trace_device *)wrap;
    device->timeline = timeline;
    device->opened = hy_clock_ns();
    wrap->table.close = trace_close;
    wrap->table.cmd_new = trace_cmd_new;
    wrap->table.cmd_free = trace_cmd_free;
    wrap->table.cmd_op = trace_cmd_op;
    wrap->table.cmd_copy = trace_cmd_copy;
    wrap->table.cmd_barrier = trace_cmd_barrier;
    wrap->table.cmd_seal = trace_cmd_seal;
    wrap->table.submit = trace_submit;
    *out = &wrap->base;
    return HY_OK;
}

/* ---- reports ------------------------------------------------------------------------------------- */

static hy_status traced(hy_device *device) {
    if (device && device->backend->close == trace_close) return HY_OK;
    return hy_fail(HY_E_ARGUMENT, "the device is not from hy_trace_open");
}

/* The texts come from op.def, dtype names and kernel names: nothing in them needs escaping. */
static void print_event(const trace_device *device, size_t i, hy_text *out) {
    const trace_event *event = &device->events[i];
    const trace_site *site = &device->sites[event->site];
    hy_text_add(
        out,
        "%s{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
        "\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"op\":\"%s\",\"bytes\":%" PRIu64 ",\"flops\":%.0f}}",
        i ? ",\n" : "", site->kernel, site->op, (double)(event->start - device->opened) * 1e-3,
        (double)event->ns * 1e-3, site->shape, site->bytes, site->flops);
}

static hy_status write_events(const trace_device *device, hy_writer *writer) {
    const char *const head = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", *const tail =
                                                                                    "\n]}\n";
    HY_TRY(hy_writer_write(writer, head, strlen(head)));
    for (size_t i = 0; i < device->event_count; i++) {
        hy_text line = {0};
        print_event(device, i, &line);
        hy_status status = line.failed ? hy_fail(HY_E_MEMORY, "out of memory for a trace")
                                       : hy_writer_write(writer, line.data, line.length);
        hy_text_free(&line);
        if (status != HY_OK) return status;
    }
    return hy_writer_write(writer, tail, strlen(tail));
}

hy_status hy_trace_write(hy_device *base, const char *path) {
    trace_device *device = (trace_device *)base;
    hy_writer *writer;
    HY_TRY(traced(base));
    HY_TRY(hy_writer_open(path, &writer));
    hy_status status = write_events(device, writer);
    if (status != HY_OK) {
        hy_writer_abandon(writer);
        return status;
    }
    HY_TRY(hy_writer_commit(writer));
    device->event_count = 0;
    return HY_OK;
}

static int by_kernel(const void *a, const void *b) {
    return strcmp(((const trace_site *)a)->kernel, ((const trace_site *)b)->kernel);
}

static int by_time(const void *a, const void *b) {
    const uint64_t x = ((const trace_site *)a)->ns, y = ((const trace_site *)b)->ns;
    return x < y ? 1 : x > y ? -1 : by_kernel(a, b);
}

hy_status hy_trace_totals(hy_device *base, hy_trace_visit visit, void *user) {
    const trace_device *device = (const trace_device *)base;
    HY_TRY(traced(base));
    size_t kernels = 0;
    trace_site *total = malloc((device->site_count + 1) * sizeof *total);
    if (!total) return hy_fail(HY_E_MEMORY, "out of memory for the totals of a trace");
    if (device->site_count) memcpy(total, device->sites, device->site_count * sizeof *total);
    qsort(total, device->site_count, sizeof *total, by_kernel);
    for (size_t i = 0; i < device->site_count; i++) {
        const trace_site site = total[i];
        if (site.calls == 0) continue;
        if (kernels == 0 || strcmp(total[kernels - 1].kernel, site.kernel) != 0) {
            total[kernels] = site;
            total[kernels].calls = total[kernels].ns = total[kernels].bytes = 0;
            total[kernels++].flops = 0;
        }
        trace_site *t = &total[kernels - 1];
        t->calls += site.calls;
        t->ns += site.ns;
        t->bytes += site.bytes * site.calls;
        t->flops += site.flops * (double)site.calls;
    }
    qsort(total, kernels, sizeof *total, by_time);
    for (size_t i = 0; i < kernels; i++)
        visit(user, total[i].kernel, total[i].calls, total[i].ns, total[i].bytes, total[i].flops);
    free(total);
    return HY_OK;
}

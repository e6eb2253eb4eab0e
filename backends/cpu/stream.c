/* backends/cpu/stream.c: a whole constant from its source into memory, by all workers.
 *
 * A worker reads a few rows into a buffer that stays in its second-level cache and packs them from there: the
 * file's bytes cross the memory bus once, and no page of the file is mapped. It begins with the groups that
 * it will stream in a matrix-vector product (cpu_group_share), so that on a machine of several nodes it is
 * the first to touch what it will read; who is done early takes over what others have left. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/device.h"
#include "backends/cpu/panel.h"
#include "base/num.h"
#include "hal/host.h"

enum {
    STAGE = 128 << 10, /* bytes of the file's layout that a worker takes at a time */
    SMALL = 64 << 10,  /* bytes that are not worth waking anyone for */
    LINE = 64
};

/* Where in a worker's share the next groups are, on a cache line of its own. */
typedef struct cursor {
    _Alignas(LINE) _Atomic uint64_t next;
} cursor;

typedef struct stream {
    const hy_op *op;
    const cpu_variant *variant; /* NULL: the file's layout */
    uint32_t operand;
    const hy_row_source *source;
    char *dst;
    uint64_t bytes; /* at dst */
    cpu_panels panels;
    uint64_t group_bytes, grain; /* at dst; groups taken at a time */
    hy_pool *pool;
    cursor *cursors; /* [workers] */
    uint8_t *stage;  /* [workers, stage_bytes] */
    uint64_t stage_bytes;
    _Atomic uint32_t failures;
    hy_status status; /* of the first failure */
    char text[256];
} stream;

static void note(stream *s, hy_status status) {
    if (status == HY_OK || atomic_fetch_add(&s->failures, 1) != 0) return;
    s->status = status;
    snprintf(s->text, sizeof s->text, "%s", hy_error_text());
}

/* `groups` groups from number `group` of all experts' on, no more than one expert has left. */
static hy_status move(stream *s, uint64_t group, uint64_t groups, uint8_t *stage) {
    const cpu_panels *p = &s->panels;
    const uint64_t expert = group / p->groups, first = group % p->groups * CPU_PANEL;
    const uint64_t rows = HY_MIN(groups * CPU_PANEL, p->m - first);
    for (uint32_t unit = 0; unit < p->units; unit++) {
        const uint64_t row = expert * p->n + unit * (uint64_t)p->m + first;
        if (!s->variant) {
            HY_TRY(s->source->read(s->source, row, rows, s->dst + row * s->source->row_bytes));
            continue;
        }
        HY_TRY(s->source->read(s->source, row, rows, stage));
        s->variant->pack(s->op, s->operand, row, rows, stage, s->dst);
    }
    return HY_OK;
}

/* What is left of a worker's share. */
static void take(stream *s, uint32_t owner, uint32_t workers, uint8_t *stage) {
    uint64_t begin, end;
    cpu_group_share(&s->panels, owner, workers, &begin, &end);
    while (!atomic_load_explicit(&s->failures, memory_order_relaxed)) {
        uint64_t at = atomic_fetch_add(&s->cursors[owner].next, s->grain);
        const uint64_t stop = HY_MIN(at + s->grain, end);
        while (at < stop) {
            const uint64_t left = s->panels.groups - at % s->panels.groups;
            const uint64_t now = HY_MIN(left, stop - at);
            note(s, move(s, at, now, stage));
            at += now;
        }
        if (stop == end) return;
    }
}

/* A huge page that several shares have bytes of: its memory is found before they all fault on it, for each
 * of them would fill a huge page with zeros and all but one throw theirs away. The page is the share's with
 * its first byte. A neighbour's constant may have bytes there, so that its contents stay. */
static void touch_edges(const stream *s, uint32_t worker, uint32_t workers) {
    uint64_t begin, end;
    cpu_group_share(&s->panels, worker, workers, &begin, &end);
    const uintptr_t base = (uintptr_t)s->dst;
    const uintptr_t from = base + begin * s->group_bytes;
    const uintptr_t to = base + HY_MIN(end * s->group_bytes, s->bytes);
    const uintptr_t page = to / CPU_HUGE_PAGE * CPU_HUGE_PAGE;
    if (worker == 0 && s->bytes) __atomic_fetch_or((uint8_t *)base, 0, __ATOMIC_RELAXED);
    if (page >= from && page < to) __atomic_fetch_or((uint8_t *)page, 0, __ATOMIC_RELAXED);
}

static void stream_worker(void *context, uint32_t worker, uint32_t workers) {
    stream *s = context;
    uint8_t *stage = s->stage + worker * s->stage_bytes;
    if (workers > 1) {
        touch_edges(s, worker, workers);
        hy_pool_barrier(s->pool);
    }
    for (uint32_t i = 0; i < workers; i++)
        take(s, (worker + i) % workers, workers, stage);
}

/* The file's layout as groups of rows. */
static cpu_panels plain_groups(const hy_row_source *source) {
    cpu_panels p = {
        .experts = 1, .units = 1, .together = 1, .bytes = source->row_bytes * CPU_PANEL};
    p.n = p.m = (uint32_t)source->rows;
    p.groups = (uint32_t)hy_div_up(source->rows, CPU_PANEL);
    return p;
}

static hy_status run_stream(stream *s) {
    const uint32_t workers = hy_pool_size(s->pool);
    const uint64_t group_rows = s->source->row_bytes * CPU_PANEL;
    s->grain = HY_MAX(STAGE / group_rows, 1);
    s->stage_bytes = s->variant ? hy_align_up(s->grain * group_rows, 4096) : 0;
    s->group_bytes = s->panels.units * s->panels.bytes;
    s->cursors = aligned_alloc(LINE, workers * sizeof *s->cursors);
    s->stage = aligned_alloc(4096, workers * s->stage_bytes + 4096);
    hy_status status = HY_OK;
    if (!s->cursors || !s->stage) {
        status = hy_fail(HY_E_MEMORY, "cpu: no memory for %llu bytes of weights in transit",
                         (unsigned long long)(workers * s->stage_bytes));
    } else {
        for (uint32_t w = 0; w < workers; w++) {
            uint64_t begin, end;
            cpu_group_share(&s->panels, w, workers, &begin, &end);
            atomic_init(&s->cursors[w].next, begin);
        }
        hy_pool_run(s->pool, stream_worker, s);
        if (atomic_load(&s->failures)) status = hy_fail(s->status, "%s", s->text);
    }
    free(s->cursors);
    free(s->stage);
    return status;
}

/* Few rows, or units of rows that are not panels: read here, then packed as any others. */
static hy_status read_then_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                                uint32_t operand, const hy_row_source *source, hy_view dst) {
    void *rows = malloc(source->rows * source->row_bytes + 1);
    if (!rows)
        return hy_fail(HY_E_MEMORY, "cpu: no memory for %llu bytes of weights in transit",
                       (unsigned long long)(source->rows * source->row_bytes));
    hy_status status = source->read(source, 0, source->rows, rows);
    if (status == HY_OK) status = cpu_pack(device, op, kernel, operand, 0, source->rows, rows, dst);
    free(rows);
    return status;
}

hy_status cpu_pack_from(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                        uint32_t operand, const hy_row_source *source, hy_view dst) {
    const uint64_t bytes = source->rows * source->row_bytes;
    stream s = {.op = op, .operand = operand, .source = source, .dst = hy_view_host(dst)};
    const hy_constant_layout *layout = kernel ? &kernel->constant[operand] : NULL;
    const bool packed = layout && layout->layout != 0;
    if (!bytes) return HY_OK;
    if (!packed && bytes <= SMALL) return source->read(source, 0, source->rows, s.dst);
    if (packed && (bytes <= SMALL || layout->rows != CPU_PANEL))
        return read_then_pack(device, op, kernel, operand, source, dst);
    if (source->rows > UINT32_MAX)
        return hy_fail(HY_E_LIMIT, "cpu: a constant of %llu rows",
                       (unsigned long long)source->rows);
    s.variant = packed ? (const cpu_variant *)(uintptr_t)kernel->impl : NULL;
    s.panels = packed ? cpu_panels_of(op) : plain_groups(source);
    s.bytes = packed ? layout->bytes : bytes;
    s.pool = ((cpu_device *)device)->pool;
    return run_stream(&s);
}

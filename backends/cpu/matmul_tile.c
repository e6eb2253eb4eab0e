/* backends/cpu/matmul_tile.c: many rows times weights rounded to bf16, for ISAs that multiply whole registers of
 * them (mm_kernels.add).
 *
 * A work item is a few panels x up to 512 rows. k comes in parts: the panels' are rounded, to the second-level
 * cache, then each tile meets them two by two while its part is in the first-level cache. So a register of either
 * is loaded once for two products, a weight is rounded once for up to 512 rows, and what a part of rows and weights
 * takes stays in the second-level cache. Sums wait in the workspace meanwhile.
 *
 * Tiles are [part of k][tile], so that what is used together is in one piece: whole rows are as far from each other as
 * a cache's sets repeat. */
#include <string.h>

#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul_job.h"

enum {
    PART = 256, /* k: 32 rows of a tile and two panels are in the first-level cache; whole blocks */
    PANELS = 16,                        /* of a work item at most */
    ROWS = 512,                         /* the same */
    PANEL_BYTES = PART * CPU_PANEL * 2, /* of a part of a rounded panel */
    SUMS = ROWS * CPU_PANEL,            /* of a panel */
    FINISHED = 16                       /* rows whose outputs are written together */
};

/* Where a work item's parts of k are. */
typedef struct item {
    const mm_job *job;
    const uint8_t *panels; /* the first */
    uint8_t *tiles;
    uint8_t *rounded;           /* [PANELS][PANEL_BYTES] */
    float *sums;                /* [PANELS][ROWS][16] */
    uint32_t count;             /* panels */
    uint32_t rows, first, last; /* of the op, of the item */
} item;

uint8_t *cpu_mm_tile_at(const mm_job *job, uint8_t *tiles, uint32_t rows, uint32_t first,
                        uint32_t at) {
    const mm_kernels *m = job->kernels;
    const uint32_t width = m->width[cpu_mm_width_index(m, HY_MIN(rows - first, job->widest))];
    const uint32_t last = m->width[cpu_mm_width_index(m, (rows - 1) % job->widest + 1)];
    const uint64_t columns = (rows - 1) / job->widest * job->widest + last;
    const uint32_t part = at / PART * PART, length = HY_MIN((uint32_t)PART, job->panels.k - part);
    return tiles + 2 * (part * columns + (uint64_t)length * first - (uint64_t)part * width);
}

uint64_t cpu_mm_tile_bytes(void) {
    return PANELS * (PANEL_BYTES + SUMS * sizeof(float));
}

/* Rounds panels' k [at, at + length), where they are not bf16 already; where they are then, and the bytes from one to
 * the next. */
static const uint8_t *rounded_part(const item *it, uint32_t at, uint32_t length, uint64_t *step) {
    const cpu_panels *p = &it->job->panels;
    const uint8_t *from = it->panels + p->bytes * at / p->k;
    *step = p->bytes;
    if (!it->job->kernels->round[p->dtype]) return from;
    for (uint32_t i = 0; i < it->count; i++)
        it->job->kernels->round[p->dtype](from + i * p->bytes, length,
                                          it->rounded + (size_t)i * PANEL_BYTES);
    *step = PANEL_BYTES;
    return it->rounded;
}

/* Adds products of k [at, at + length). Meanwhile the panels' next part is asked for. */
static void add_part(const item *it, uint32_t at, uint32_t length) {
    const mm_job *job = it->job;
    const cpu_panels *p = &job->panels;
    const uint64_t bytes = p->bytes * length / p->k;
    const uint8_t *next = it->panels + p->bytes * (at + length) / p->k;
    uint64_t step;
    const uint8_t *w = rounded_part(it, at, length, &step);
    for (uint32_t t = it->first; t < it->last; t += job->widest) {
        const uint32_t index = cpu_mm_width_index(job->kernels, HY_MIN(it->last - t, job->widest));
        const uint32_t width = job->kernels->width[index];
        const uint8_t *tile =
            cpu_mm_tile_at(job, it->tiles, it->rows, t, at) + (size_t)at * width * 2;
        float *z = it->sums + (size_t)(t - it->first) * CPU_PANEL;
        for (uint32_t i = 0; i < it->count; i++)
            cpu_mm_ask(next + i * p->bytes, bytes, t - it->first, width, it->last - it->first);
        for (uint32_t i = 0; i < it->count; i += 2) {
            job->kernels->add(HY_MIN(it->count - i, 2u), w + i * step, step, tile, width, length,
                              z + (size_t)i * SUMS, SUMS);
        }
    }
}

static void run_item(item *it, uint64_t begin, uint64_t end) {
    const cpu_panels *p = &it->job->panels;
    it->panels = it->job->weights + cpu_group_offset(p, 0, (uint32_t)begin);
    it->count = (uint32_t)(end - begin) * p->units;
    for (uint32_t i = 0; i < it->count; i++)
        memset(it->sums + (size_t)i * SUMS, 0,
               hy_align_up(it->last - it->first, MM_MAX_WIDTH) * CPU_PANEL * sizeof *it->sums);
    for (uint32_t at = 0; at < p->k; at += PART)
        add_part(it, at, HY_MIN((uint32_t)PART, p->k - at));
    for (uint32_t t = it->first; t < it->last; t += FINISHED) {
        const float *z = it->sums + (size_t)(t - it->first) * CPU_PANEL;
        for (uint64_t g = begin; g < end; g++, z += p->units * SUMS)
            cpu_mm_finish(it->job, it->job->kernels, 0, z, z + SUMS, (uint32_t)g, t,
                          HY_MIN(it->last - t, (uint32_t)FINISHED));
    }
}

void cpu_mm_tile_run(cpu_taker *taker, const mm_job *job, uint32_t rows, uint8_t *own) {
    if (rows == 0) return;
    const uint64_t blocks = hy_div_up(rows, ROWS), groups = job->panels.groups;
    const uint64_t per_block = hy_align_up(hy_div_up(rows, blocks), job->widest);
    const uint64_t most = PANELS / job->panels.units;
    const uint64_t wanted =
        groups * blocks / (4 * (uint64_t)taker->workers); /* groups an item: 4 each */
    const uint64_t step = wanted < 1 ? 1 : HY_MIN(wanted, most), steps = hy_div_up(groups, step);
    item it = {.job = job,
               .tiles = taker->call->workspace,
               .rows = rows,
               .rounded = own,
               .sums = (float *)(void *)(own + PANELS * PANEL_BYTES)};
    for (uint64_t i; cpu_take(taker, steps * blocks, &i);) {
        it.first = (uint32_t)(i / steps * per_block);
        it.last = (uint32_t)HY_MIN(it.first + per_block, rows);
        if (it.first < it.last)
            run_item(&it, i % steps * step, HY_MIN((i % steps + 1) * step, groups));
    }
}

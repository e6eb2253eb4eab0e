/* backends/cpu/matmul_job.h: what matmul.c and matmul_grouped.c share: one matrix product under way, on
 * one worker. */
#ifndef HY_CPU_MATMUL_JOB_H
#define HY_CPU_MATMUL_JOB_H

#include "backends/cpu/matmul.h"
#include "backends/cpu/take.h"
#include "base/num.h"

enum {
    MM_ALIGN = 256,  /* of every part of a workspace */
    MM_TAG_ISA = 7,  /* cpu_variant.tag: index of the function table */
    MM_TAG_TILE = 6, /* those that round to bf16: in AMX's tiles, and by dot products; x86-64 */
    MM_TAG_DOT = 7,
    MM_TAG_ROWS = 8,              /* and: weights in the file's layout */
    MM_X_BLOCK_BYTES = 384 << 10, /* activations that stay in the second-level cache */
    MM_MIN_TILES = 8, /* more than fit where rows are long: unpacking for less costs too much */
    MM_TILES = 16,    /* that share an unpacked chunk at most */
    MM_GROUPS = 8     /* that a worker takes at once at most */
};

/* Built afresh by every phase of a call; small. */
typedef struct mm_job {
    const mm_kernels *kernels;
    cpu_panels panels;
    uint32_t widest;       /* columns of a full tile */
    uint64_t column_bytes; /* of a tile */
    const uint8_t *weights;
    uint64_t row_stride, expert_stride; /* bytes; weights in the file's layout only */
    mm_ahead ahead;                     /* no end to begin with */
    uint8_t *scratch;                   /* one group's panels; NULL: weights are packed */
    mm_epilogue epilogue;
    const float *bias; /* [E, N] or NULL */
    uint8_t *out;
    float *
        floats; /* where outputs are a8: one tile's, of the groups of a block, until all are there; else NULL */
    const uint8_t *residual;
    /* Output row i is pair order[i] (or i) = (t, p) of [T, P]: bytes between rows and within one. */
    const uint32_t *order;
    uint32_t pairs; /* P */
    uint64_t out_stride[2], residual_stride;
} mm_job;

/* Reads the op of the call. rows: how many there are at once, for tiles that suit them. scratch, room for one
 * group's panels where weights are in the file's layout, is the caller's to set. */
mm_job cpu_mm_job_of(const cpu_call *call, uint32_t rows);

/* Around what a worker multiplies. */
static inline void cpu_mm_enter(const mm_job *job) {
    if (job->kernels->enter) job->kernels->enter(job->panels.dtype);
}

/* See cpu_mm_enter. */
static inline void cpu_mm_leave(const mm_job *job) {
    if (job->kernels->leave) job->kernels->leave();
}

/* Smallest tile of the ISA for `columns` (at most the widest): index into width[]. */
uint32_t cpu_mm_width_index(const mm_kernels *kernels, uint32_t columns);

/* Outputs of `group` (16 of an expert), and of those together with it, for output rows [first, first + count): the
 * columns of one tile. */
void cpu_mm_multiply(const mm_job *job, uint32_t expert, uint32_t group, const uint8_t *tile,
                     uint32_t first, uint32_t count);

/* Where the group's panels are; packs them first when they are not. */
const uint8_t *cpu_mm_group_panels(const mm_job *job, uint32_t expert, uint32_t group);

/* Groups that a worker takes at once, of `blocks` times `groups`: few enough for 8 items each; an even number of them
 * where there are more than one, for panels go in pairs; as many as are together at least. */
static inline uint64_t cpu_mm_groups_at_once(const cpu_panels *p, uint64_t blocks,
                                             uint32_t workers) {
    const uint64_t wanted = p->groups * blocks / (8 * (uint64_t)workers);
    return wanted < 2 ? p->together : HY_MIN(wanted & ~1ull, (uint64_t)MM_GROUPS);
}

/* Outputs of an expert's groups [begin, end) for output rows [first, last); tiles: theirs. */
void cpu_mm_multiply_groups(const mm_job *job, uint32_t expert, uint32_t begin, uint32_t end,
                            const uint8_t *tiles, uint32_t first, uint32_t last);

/* Finishes outputs of `group` of an expert, of `rows` output rows: z and, with glu, up (else ignored): 16 sums for
 * each. Groups that are together are finished one after the other for the rows of one tile. */
void cpu_mm_finish(const mm_job *job, const mm_kernels *kernels, uint32_t expert, const float *z,
                   const float *up, uint32_t group, uint64_t row, uint32_t rows);

/* The tile for rows from `first` on where what belongs to k `at` is filled, in the layout of matmul_tile.c: k is
 * counted from 0. */
uint8_t *cpu_mm_tile_at(const mm_job *job, uint8_t *tiles, uint32_t rows, uint32_t first,
                        uint32_t at);
/* All groups times `rows` output rows in work items (matmul_tile.c): tiles at the workspace of the taker's call; own: this
 * worker's cpu_mm_tile_bytes(). */
void cpu_mm_tile_run(cpu_taker *taker, const mm_job *job, uint32_t rows, uint8_t *own);
/* Multiple of MM_ALIGN. */
uint64_t cpu_mm_tile_bytes(void);

/* Asks for lines: the share of columns [column, column + count) of `columns`. May go past what there is. */
static inline void cpu_mm_ask(const uint8_t *from, uint64_t bytes, uint64_t column, uint64_t count,
                              uint64_t columns) {
    const uint64_t end = hy_align_up(bytes * (column + count) / columns, 64);
    for (uint64_t b = bytes * column / columns; b < end; b += 64)
        __builtin_prefetch(from + b, 0, 2);
}

/* Room for one group's panels, rounded up. */
uint64_t cpu_mm_scratch_bytes(const cpu_panels *panels);

/* grouped_matmul's phases and workspace (matmul_grouped.c). */
void cpu_mm_grouped_sort(cpu_call *call, uint32_t worker, uint32_t workers);
/* As cpu_fn. */
void cpu_mm_grouped_fill(cpu_call *call, uint32_t worker, uint32_t workers);
/* As cpu_fn. */
void cpu_mm_grouped_run(cpu_call *call, uint32_t worker, uint32_t workers);
/* As cpu_variant.workspace. */
uint64_t cpu_mm_grouped_workspace(const hy_op *op, uint32_t workers);

/* embed (embed.c): from panels, and from rows in the file's layout. */
void cpu_embed_panels(cpu_call *call, uint32_t worker, uint32_t workers);
/* As cpu_fn. */
void cpu_embed_rows(cpu_call *call, uint32_t worker, uint32_t workers);

#endif

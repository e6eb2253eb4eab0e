/* backends/cpu/matmul_grouped.c: grouped_matmul, every expert's weights read once.
 *
 * Phase 0: worker 0 sorts the (t, p) pairs by expert (stable, so the order is a function of ids alone) and
 * lists the tiles; all workers quantize activations, each row once. Phase 1: tiles are filled, rows of
 * pairs without an expert are zeroed. Phase 2: chunks of (expert, a few groups of panels); the expert's
 * tiles inside. */
#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul_job.h"

/* Consecutive tiles of one expert. */
typedef struct run {
    uint32_t expert;
    uint32_t first, count; /* in the sorted order of pairs */
    uint32_t column;       /* of the tiles' memory where its first tile begins */
} run;

/* The parts of the workspace. */
typedef struct plan {
    uint32_t *head;     /* number of runs, of pairs with an expert, of tiles */
    uint32_t *order;    /* [T P] sorted pairs; those without an expert last */
    uint32_t *begin;    /* [E + 2] while sorting */
    run *runs;          /* [min(E, T P)] */
    uint32_t *tile_run; /* [T P] the run of each tile */
    uint8_t *rows;      /* [T Q] a8 rows, when x is float and the weights are blocks */
    uint8_t *tiles;     /* room for 2 T P columns: no tile is over half padding */
    uint8_t *scratch;
    uint64_t bytes;
} plan;

static bool quantizes(const hy_op *op) {
    return op->operand[HY_GROUPED_MATMUL_x].dtype != HY_DTYPE_A8 &&
           hy_dtype_get((hy_dtype)op->operand[HY_GROUPED_MATMUL_w].dtype)->quantized;
}

static uint8_t *take(uint8_t *base, uint64_t *at, uint64_t bytes) {
    uint8_t *part = base ? base + *at : NULL;
    *at += hy_align_up(bytes, MM_ALIGN);
    return part;
}

static plan plan_of(const hy_op *op, void *workspace, uint32_t workers, uint32_t worker) {
    const cpu_panels p = cpu_panels_of(op);
    const hy_tensor *x = &op->operand[HY_GROUPED_MATMUL_x];
    const uint64_t pairs = (uint64_t)x->dim[0] * op->operand[HY_GROUPED_MATMUL_ids].dim[1];
    uint8_t *base = workspace;
    uint64_t at = 0;
    plan out = {0};
    out.head = (uint32_t *)(void *)take(base, &at, 16);
    out.order = (uint32_t *)(void *)take(base, &at, 4 * pairs);
    out.begin = (uint32_t *)(void *)take(base, &at, 4 * ((uint64_t)p.experts + 2));
    out.runs = (run *)(void *)take(base, &at, sizeof(run) * HY_MIN(pairs, p.experts));
    out.tile_run = (uint32_t *)(void *)take(base, &at, 4 * pairs);
    if (quantizes(op))
        out.rows = take(base, &at, (uint64_t)x->dim[0] * x->dim[1] * cpu_bytes(HY_DTYPE_A8, p.k));
    out.tiles = take(base, &at, 2 * pairs * mm_column_bytes(p.dtype, p.k));
    out.scratch = take(base, &at, workers * cpu_mm_scratch_bytes(&p));
    if (out.scratch) out.scratch += worker * cpu_mm_scratch_bytes(&p);
    out.bytes = at;
    return out;
}

uint64_t cpu_mm_grouped_workspace(const hy_op *op, uint32_t workers) {
    return plan_of(op, NULL, workers, 0).bytes;
}

/* Expert of a pair; E for none. */
static uint32_t expert_of(const cpu_call *call, uint32_t pair, uint32_t experts) {
    const hy_tensor *ids = &call->op.operand[HY_GROUPED_MATMUL_ids];
    const int32_t *at = call->p[HY_GROUPED_MATMUL_ids];
    const int32_t id = at[pair / ids->dim[1] * ids->stride[0] + pair % ids->dim[1]];
    return (uint32_t)id < experts ? (uint32_t)id : experts;
}

static void list_runs(const mm_job *job, const plan *w, uint32_t experts) {
    uint32_t runs = 0, tiles = 0, column = 0;
    for (uint32_t e = 0; e < experts; e++) {
        const uint32_t first = w->begin[e], count = w->begin[e + 1] - first;
        if (!count) continue;
        w->runs[runs] = (run){e, first, count, column};
        for (uint32_t done = 0; done < count; done += job->widest) {
            const uint32_t here = HY_MIN(count - done, job->widest);
            w->tile_run[tiles++] = runs;
            column += job->kernels->width[cpu_mm_width_index(job->kernels, here)];
        }
        runs++;
    }
    w->head[0] = runs;
    w->head[1] = w->begin[experts];
    w->head[2] = tiles;
}

/* Counting sort. begin[e + 1] counts, then becomes where expert e's next pair goes. */
static void sort_pairs(const cpu_call *call, const plan *w, uint32_t pairs, uint32_t experts) {
    memset(w->begin, 0, 4 * ((size_t)experts + 2));
    for (uint32_t i = 0; i < pairs; i++) {
        const uint32_t e = expert_of(call, i, experts);
        if (e < experts) w->begin[e + 1]++;
    }
    for (uint32_t e = 0; e < experts; e++)
        w->begin[e + 1] += w->begin[e];
    uint32_t last = w->begin[experts];
    for (uint32_t i = 0; i < pairs; i++) {
        const uint32_t e = expert_of(call, i, experts);
        w->order[e < experts ? w->begin[e]++ : last++] = i;
    }
    for (uint32_t e = experts; e > 0; e--) /* back to where each begins */
        w->begin[e] = w->begin[e - 1];
    w->begin[0] = 0;
}

void cpu_mm_grouped_sort(cpu_call *call, uint32_t worker, uint32_t workers) {
    const mm_job job = cpu_mm_job_of(call, UINT32_MAX);
    const hy_tensor *x = &call->op.operand[HY_GROUPED_MATMUL_x];
    const plan w = plan_of(&call->op, call->workspace, workers, worker);
    const uint32_t rows = cpu_rows(call, HY_GROUPED_MATMUL_x);
    if (worker == 0) {
        sort_pairs(call, &w, rows * job.pairs, job.panels.experts);
        list_runs(&job, &w, job.panels.experts);
    }
    if (!w.rows) return;
    uint64_t begin, end;
    cpu_share((uint64_t)rows * x->dim[1], worker, workers, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        job.kernels->quantize((hy_dtype)x->dtype,
                              cpu_at(call, HY_GROUPED_MATMUL_x, i / x->dim[1], i % x->dim[1]),
                              job.panels.k, w.rows + i * cpu_bytes(HY_DTYPE_A8, job.panels.k));
}

/* Activations of a pair, quantized already if they have to be. */
static const void *row_of(const cpu_call *call, const mm_job *job, const plan *w, uint32_t pair) {
    const uint32_t per_token = call->op.operand[HY_GROUPED_MATMUL_x].dim[1];
    const uint32_t t = pair / job->pairs, q = per_token == 1 ? 0 : pair % job->pairs;
    if (!w->rows) return cpu_at(call, HY_GROUPED_MATMUL_x, t, q);
    return w->rows + ((uint64_t)t * per_token + q) * cpu_bytes(HY_DTYPE_A8, job->panels.k);
}

static void fill_tile(const cpu_call *call, const mm_job *job, const plan *w, uint32_t first,
                      uint32_t count, uint8_t *tile) {
    const uint32_t width = job->kernels->width[cpu_mm_width_index(job->kernels, count)];
    const hy_dtype x =
        w->rows ? HY_DTYPE_A8 : (hy_dtype)call->op.operand[HY_GROUPED_MATMUL_x].dtype;
    for (uint32_t c = 0; c < width; c++)
        job->kernels->fill(job->panels.dtype, x,
                           c < count ? row_of(call, job, w, w->order[first + c]) : NULL, 0,
                           job->panels.k, width, c, tile);
}

/* First pair (in sorted order), pairs and memory of tile `i`. */
static uint32_t tile_at(const mm_job *job, const plan *w, uint32_t i, uint32_t *count,
                        uint8_t **tile) {
    const run *r = &w->runs[w->tile_run[i]];
    uint32_t first_tile = i;
    while (first_tile && w->tile_run[first_tile - 1] == w->tile_run[i])
        first_tile--;
    const uint32_t done = (i - first_tile) * job->widest;
    *count = HY_MIN(r->count - done, job->widest);
    *tile = w->tiles + (r->column + done) * job->column_bytes;
    return r->first + done;
}

void cpu_mm_grouped_fill(cpu_call *call, uint32_t worker, uint32_t workers) {
    const mm_job job = cpu_mm_job_of(call, UINT32_MAX);
    const plan w = plan_of(&call->op, call->workspace, workers, worker);
    const uint32_t pairs = cpu_rows(call, HY_GROUPED_MATMUL_x) * job.pairs;
    uint64_t begin, end;
    cpu_share(w.head[2], worker, workers, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        uint32_t count;
        uint8_t *tile;
        const uint32_t first = tile_at(&job, &w, (uint32_t)i, &count, &tile);
        fill_tile(call, &job, &w, first, count, tile);
    }
    cpu_share(pairs - w.head[1], worker, workers, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        const uint32_t pair = w.order[w.head[1] + i];
        memset(job.out + pair / job.pairs * job.out_stride[0] +
                   pair % job.pairs * job.out_stride[1],
               0, cpu_bytes(job.epilogue.out_dtype, job.panels.m));
    }
}

void cpu_mm_grouped_run(cpu_call *call, uint32_t worker, uint32_t workers) {
    mm_job job = cpu_mm_job_of(call, UINT32_MAX);
    const plan w = plan_of(&call->op, call->workspace, workers, worker);
    job.order = w.order;
    if (call->variant->tag & MM_TAG_ROWS) job.scratch = w.scratch;
    const uint64_t groups = job.panels.groups, runs = w.head[0];
    const uint64_t step = cpu_mm_groups_at_once(&job.panels, runs, workers),
                   steps = hy_div_up(groups, step);
    cpu_mm_enter(&job);
    cpu_taker taker = {call, worker, workers, 0};
    for (uint64_t i; cpu_take(&taker, steps * runs, &i);) {
        const run *r = &w.runs[i / steps];
        const uint64_t begin = i % steps * step, end = HY_MIN(begin + step, groups);
        cpu_mm_multiply_groups(&job, r->expert, (uint32_t)begin, (uint32_t)end,
                               w.tiles + r->column * job.column_bytes, r->first,
                               r->first + r->count);
    }
    cpu_mm_leave(&job);
}

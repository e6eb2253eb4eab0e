/* backends/cpu/matmul.c: matmul over packed panels, and the table of matmul, grouped_matmul and embed.
 *
 * Ways for a matrix:
 *   small (at most 4 rows): one phase; every worker quantizes the rows for itself into its part of the
 *     workspace, then streams its share of the panels once;
 *   tiles: phase 0 fills tiles of up to 12 activation rows together; phase 1 takes chunks of (block of
 *     tiles that fits the second-level cache) x (few groups of panels), panels outside, tiles inside. Tiles of
 *     float weights are three times those of blocks or more; they take k in parts, the sums waiting in the
 *     workspace, so that as many rows share what is read of a panel;
 *   rounded to bf16 (AMX, numerics=fast): matmul_tile.c. */
#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul_job.h"

enum {
    SMALL_ROWS = 4,
    MAX_TOGETHER = 2, /* groups */
    FILL_K = 256, /* elements of a tile that one worker fills at a time: in the first-level cache */
    PART_BYTES = 1024, /* of a tile's column: a part of k */
    WIDEN_TILES = 6,   /* up to so many wait for memory: halves are multiplied as they are */
    WIDEST_PART = PART_BYTES / (int)sizeof(float), /* k of a part, where x is float32 */
    SUM_COLUMNS =
        MM_X_BLOCK_BYTES / PART_BYTES + MM_MAX_WIDTH /* rows of a block, with a tile's padding */
};

static const uint8_t *row_of(const cpu_call *call, uint32_t t) {
    const hy_tensor *x = &call->op.operand[HY_MATMUL_x];
    return (const uint8_t *)call->p[HY_MATMUL_x] + cpu_bytes(x->dtype, t * x->stride[0]);
}

/* Columns [first, first + count) of k in [begin, end) -> a tile. */
static void fill_tile(const cpu_call *call, const mm_job *job, uint32_t first, uint32_t count,
                      uint32_t begin, uint32_t end, uint8_t *tile) {
    const hy_dtype x = (hy_dtype)call->op.operand[HY_MATMUL_x].dtype;
    const uint32_t width = job->kernels->width[cpu_mm_width_index(job->kernels, count)];
    for (uint32_t c = 0; c < width; c++)
        job->kernels->fill(job->panels.dtype, x, c < count ? row_of(call, first + c) : NULL, begin,
                           end, width, c, tile);
}

/* ---- few rows --------------------------------------------------------------------------------------- */

static uint64_t small_stride(const hy_op *op) {
    const cpu_panels p = cpu_panels_of(op);
    return hy_align_up(SMALL_ROWS * mm_column_bytes(p.dtype, p.k), MM_ALIGN);
}

static uint64_t small_workspace(const hy_op *op, uint32_t workers) {
    return small_stride(op) * workers;
}

/* What a worker streams, one range after the other: its share but for the last groups, then parts of what is left
 * of everybody's. */
typedef struct stream {
    const cpu_panels *panels;
    cpu_taker taker; /* of parts */
    bool own;        /* behind it */
    uint64_t end;    /* of what it reads in one go: of the share, with its last groups */
} stream;

enum { LEFT_PARTS = 4 };

static bool stream_next(stream *s, uint64_t *begin, uint64_t *end) {
    const uint32_t workers = s->taker.workers;
    if (!s->own) {
        s->own = true;
        cpu_group_share(s->panels, s->taker.worker, workers, begin, end);
        s->end = *end;
        *end -= cpu_groups_left(s->panels, workers, *begin, *end);
        if (*begin < *end) return true;
    }
    if (!cpu_leaves_groups(s->panels, workers)) return false;
    for (uint64_t i; cpu_take(&s->taker, LEFT_PARTS * workers, &i);) {
        uint64_t from, to;
        cpu_group_share(s->panels, (uint32_t)(i % workers), workers, &from, &to);
        const uint64_t left = cpu_groups_left(s->panels, workers, from, to), part = i / workers;
        const uint64_t together = s->panels->together, blocks = left / together;
        *begin = to - left + blocks * part / LEFT_PARTS * together;
        *end = to - left + blocks * (part + 1) / LEFT_PARTS * together;
        if (i % workers != s->taker.worker) s->end = *end;
        if (*begin < *end) return true;
    }
    return false;
}

static const void *small_streams(const cpu_call *call, uint32_t worker, uint32_t workers,
                                 uint64_t *bytes) {
    const cpu_panels p = cpu_panels_of(&call->op);
    uint64_t begin, end;
    cpu_group_share(&p, worker, workers, &begin, &end);
    *bytes = (end - begin) * p.units * p.bytes;
    return (const uint8_t *)call->p[HY_MATMUL_w] + cpu_group_offset(&p, 0, (uint32_t)begin);
}

/* Asking goes on at `then` behind group `end`. If nothing follows, at what was just read, which costs nothing. */
static void ask_on(mm_job *job, uint64_t end, const uint8_t *then) {
    job->ahead.end = job->weights + cpu_group_offset(&job->panels, 0, (uint32_t)end);
    job->ahead.jump = then ? then - job->ahead.end : -MM_BLOCK_CHUNK * CPU_PANEL;
}

static void run_small(cpu_call *call, uint32_t worker, uint32_t workers) {
    const uint32_t rows = cpu_rows(call, HY_MATMUL_x);
    mm_job job = cpu_mm_job_of(call, rows);
    uint8_t *tile = (uint8_t *)call->workspace + worker * small_stride(&call->op);
    _Alignas(64) float floats[SMALL_ROWS * MAX_TOGETHER * CPU_PANEL];
    if (job.panels.together > 1) job.floats = floats;
    if (rows == 0) return;
    fill_tile(call, &job, 0, rows, 0, job.panels.k, tile); /* SMALL_ROWS are one tile */
    const uint8_t *then = NULL;
    uint64_t bytes;
    if (call->then) then = call->then->variant->streams(call->then, worker, workers, &bytes);
    stream s = {&job.panels, {call, worker, workers, 0}, false, 0};
    for (uint64_t g, end; stream_next(&s, &g, &end);) {
        ask_on(&job, s.end, then);
        for (; g < end; g += job.panels.together)
            cpu_mm_multiply(&job, 0, (uint32_t)g, tile, 0, rows);
    }
}

/* ---- tiles ------------------------------------------------------------------------------------------ */

static uint64_t tiles_bytes(const hy_op *op) {
    const cpu_panels p = cpu_panels_of(op);
    const uint64_t rows = op->operand[HY_MATMUL_x].dim[0];
    return hy_align_up((rows + MM_MAX_WIDTH) * mm_column_bytes(p.dtype, p.k), MM_ALIGN);
}

static bool takes_parts(hy_dtype weights) {
    return !hy_dtype_get(weights)->quantized;
}

/* Sums between parts, from one panel's to the next. */
static uint64_t sums_step(uint64_t rows) {
    return hy_align_up(rows, MM_MAX_WIDTH) * CPU_PANEL;
}

/* One worker's, of an op of `rows` rows. */
static uint64_t sums_bytes(const cpu_panels *p, uint64_t rows) {
    return sums_step(HY_MIN(rows, (uint64_t)SUM_COLUMNS)) * MM_GROUPS * p->units * sizeof(float);
}

static uint64_t tiles_workspace(const hy_op *op, uint32_t workers) {
    const cpu_panels p = cpu_panels_of(op);
    const uint64_t rows = op->operand[HY_MATMUL_x].dim[0];
    return tiles_bytes(op) + (takes_parts(p.dtype) ? workers * sums_bytes(&p, rows) : 0);
}

static uint64_t rows_workspace(const hy_op *op, uint32_t workers) {
    const cpu_panels p = cpu_panels_of(op);
    return tiles_bytes(op) + workers * cpu_mm_scratch_bytes(&p);
}

/* The class of rounded weights (matmul_tile.c): tiles of bf16, then each worker's own. */
static uint64_t tile_offset(const hy_op *op) {
    const cpu_panels p = cpu_panels_of(op);
    const uint64_t rows = op->operand[HY_MATMUL_x].dim[0];
    return hy_align_up(hy_align_up(rows, MM_MAX_WIDTH) * 2 * p.k, MM_ALIGN);
}

static uint64_t tile_workspace(const hy_op *op, uint32_t workers) {
    return tile_offset(op) + workers * cpu_mm_tile_bytes();
}

static void fill_tiles(cpu_call *call, uint32_t worker, uint32_t workers) {
    const uint32_t rows = cpu_rows(call, HY_MATMUL_x);
    const mm_job job = cpu_mm_job_of(call, rows);
    const uint32_t k = job.panels.k;
    const uint64_t parts = hy_div_up(k, FILL_K);
    uint64_t begin, end;
    cpu_share(hy_div_up(rows, job.widest) * parts, worker, workers, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        const uint32_t first = (uint32_t)(i / parts) * job.widest;
        const uint32_t from = (uint32_t)(i % parts) * FILL_K;
        const uint32_t count = HY_MIN(rows - first, job.widest);
        uint8_t *tile = job.kernels->add ? cpu_mm_tile_at(&job, call->workspace, rows, first, from)
                                         : (uint8_t *)call->workspace + first * job.column_bytes;
        fill_tile(call, &job, first, count, from, HY_MIN(k, from + FILL_K), tile);
    }
}

/* Groups [g, g_end) times output rows [first, last). */
static void run_block(const mm_job *job, const uint8_t *tiles, uint64_t g, uint64_t g_end,
                      uint32_t first, uint32_t last) {
    cpu_mm_multiply_groups(job, 0, (uint32_t)g, (uint32_t)g_end, tiles + first * job->column_bytes,
                           first, last);
}

/* k [k, k + length) of rows [first, last); their sums are `step` floats apart from panel to panel. */
typedef struct k_part {
    const mm_job *job;
    const uint8_t *tiles;
    uint32_t k, length, first, last;
    uint64_t step;
} k_part;

/* One or two panels, step bytes apart. */
typedef struct part_weights {
    hy_dtype dtype;
    const uint8_t *panel;
    uint64_t step;
} part_weights;

/* One or two panels times that. Meanwhile the next are asked for. */
static void add_part(const k_part *part, const uint8_t *panel, uint32_t panels, float *sums) {
    const mm_kernels *kernels = part->job->kernels;
    const cpu_panels *p = &part->job->panels;
    const uint32_t widest = part->job->widest;
    const uint64_t x_bytes =
        part->job->column_bytes / p->k; /* half a pair behind an odd k is no matter */
    const uint64_t bytes = part->length * cpu_bytes(p->dtype, CPU_PANEL);
    _Alignas(64) float wide[2][WIDEST_PART * CPU_PANEL];
    part_weights w = {p->dtype, panel, p->bytes};
    if (kernels->widen[p->dtype] && part->last - part->first > WIDEN_TILES * widest) {
        for (uint32_t i = 0; i < panels; i++)
            kernels->widen[p->dtype](panel + i * p->bytes, part->length, wide[i]);
        w = (part_weights){HY_DTYPE_F32, (const uint8_t *)wide, sizeof wide[0]};
    }
    for (uint32_t t = part->first; t < part->last; t += widest, sums += widest * CPU_PANEL) {
        const uint32_t width = cpu_mm_width_index(kernels, HY_MIN(part->last - t, widest));
        const uint8_t *tile =
            part->tiles + t * part->job->column_bytes + part->k * x_bytes * kernels->width[width];
        for (uint32_t i = 0; i < panels; i++)
            cpu_mm_ask(panel + (panels + i) * p->bytes, bytes, t - part->first, widest,
                       part->last - part->first);
        if (panels == 2 && kernels->width[width] == widest) {
            kernels->pair[w.dtype](w.panel, w.step, tile, part->length, sums, part->step);
            continue;
        }
        for (uint32_t i = 0; i < panels; i++)
            kernels->micro[w.dtype][width](w.panel + i * w.step, tile, part->length,
                                           &part->job->ahead, sums + i * part->step);
    }
}

/* The same, k in parts of whole tiles; sums: sums_bytes(), [group][unit][row][16]. */
static void run_parts(const mm_job *job, const uint8_t *tiles, float *sums, uint64_t begin,
                      uint64_t end, uint32_t first, uint32_t last) {
    const cpu_panels *p = &job->panels;
    const uint32_t length = (uint32_t)(PART_BYTES / (job->column_bytes / p->k));
    const uint32_t panels = (uint32_t)(end - begin) * p->units;
    const uint32_t at_once = job->kernels->pair[p->dtype] ? 2 : 1;
    const uint8_t *from = job->weights + cpu_group_offset(p, 0, (uint32_t)begin);
    k_part part = {job, tiles, 0, 0, first, last, sums_step(last - first)};
    memset(sums, 0, panels * part.step * sizeof *sums);
    for (; part.k < p->k; part.k += length) {
        part.length = HY_MIN(length, p->k - part.k);
        for (uint32_t i = 0; i < panels; i += at_once)
            add_part(&part, from + i * p->bytes + part.k * cpu_bytes(p->dtype, CPU_PANEL),
                     HY_MIN(panels - i, at_once), sums + i * part.step);
    }
    for (uint64_t g = begin; g < end; g++, sums += p->units * part.step)
        cpu_mm_finish(job, job->kernels, 0, sums, sums + part.step, (uint32_t)g, first,
                      last - first);
}

/* Chunks of blocks of tiles x groups of panels; own: this worker's part of the workspace. */
static void run_chunks(cpu_taker *taker, const mm_job *job, uint32_t rows, uint8_t *own) {
    const uint8_t *tiles = taker->call->workspace;
    const bool parts = takes_parts(job->panels.dtype) && !job->scratch;
    const uint64_t count = hy_div_up(rows, job->widest), groups = job->panels.groups;
    const uint64_t column = parts ? PART_BYTES : job->column_bytes;
    const uint64_t fit =
        HY_MAX(MM_X_BLOCK_BYTES / (job->widest * column), parts ? 1u : MM_MIN_TILES);
    const uint64_t blocks = hy_div_up(count, fit),
                   per_block = hy_div_up(count, blocks) * job->widest;
    const uint64_t step = cpu_mm_groups_at_once(&job->panels, blocks, taker->workers),
                   steps = hy_div_up(groups, step);
    for (uint64_t i; cpu_take(taker, steps * blocks, &i);) {
        const uint64_t first = i / steps * per_block, g = i % steps * step;
        if (first >= rows) continue;
        const uint64_t g_end = HY_MIN(g + step, groups);
        const uint32_t last = (uint32_t)HY_MIN(first + per_block, rows);
        if (parts)
            run_parts(job, tiles, (float *)(void *)own, g, g_end, (uint32_t)first, last);
        else
            run_block(job, tiles, g, g_end, (uint32_t)first, last);
    }
}

static void run_tiles(cpu_call *call, uint32_t worker, uint32_t workers) {
    const uint32_t rows = cpu_rows(call, HY_MATMUL_x);
    mm_job job = cpu_mm_job_of(call, rows);
    uint8_t *own = (uint8_t *)call->workspace + tiles_bytes(&call->op);
    _Alignas(64) float floats[MM_MAX_WIDTH * MAX_TOGETHER * CPU_PANEL];
    if (job.panels.together > 1) job.floats = floats;
    if (call->variant->tag & MM_TAG_ROWS)
        job.scratch = own + worker * cpu_mm_scratch_bytes(&job.panels);
    cpu_taker taker = {call, worker, workers, 0};
    cpu_mm_enter(&job);
    if (rows <= job.widest && job.kernels->micro[job.panels.dtype][0]) { /* streams the weights */
        stream s = {&job.panels, taker, false, 0};
        for (uint64_t begin, end; stream_next(&s, &begin, &end);)
            run_block(&job, call->workspace, begin, end, 0, rows);
    } else if (job.kernels->add) {
        cpu_mm_tile_run(&taker, &job, rows,
                        (uint8_t *)call->workspace + tile_offset(&call->op) +
                            worker * cpu_mm_tile_bytes());
    } else {
        run_chunks(&taker, &job, rows, own + worker * sums_bytes(&job.panels, rows));
    }
    cpu_mm_leave(&job);
}

/* ---- the table -------------------------------------------------------------------------------------- */

/* Microseconds on one worker: whichever takes longer, arithmetic (operations a microsecond) or reading. */
static float cost_at(const hy_op *op, float per_us) {
    const float work = (float)hy_op_flops(op) / per_us, moved = (float)hy_op_bytes(op) / 20e3f;
    return work > moved ? work + 0.1f * moved : moved + 0.1f * work;
}

static float cost(const hy_op *op, float rate) {
    const hy_dtype w = (hy_dtype)op->operand[cpu_weight_operand(op)].dtype;
    return cost_at(op, hy_dtype_get(w)->quantized ? rate : rate * 0.35f);
}

/* A barrier and the wait for the slowest in it. */
#define BARRIER_US 1.0f
static float cost_generic(const hy_op *op) {
    return cost(op, 8e3f) + BARRIER_US;
}
static float cost_generic_small(const hy_op *op) {
    return cost(op, 8e3f);
}
#if defined(__x86_64__)
static float cost_avx2(const hy_op *op) {
    return cost(op, 110e3f) + BARRIER_US;
}
static float cost_avx2_small(const hy_op *op) {
    return cost(op, 110e3f);
}
static float cost_avx512(const hy_op *op) {
    return cost(op, 280e3f) + BARRIER_US;
}
static float cost_avx512_small(const hy_op *op) {
    return cost(op, 280e3f);
}
static float cost_gfni_small(const hy_op *op) { /* less than without */
    return cost(op, 300e3f);
}
/* Few rows are AVX-512's. */
static float cost_amx(const hy_op *op) {
    const hy_tensor *x = &op->operand[op->kind == HY_OP_MATMUL ? HY_MATMUL_x : HY_GROUPED_MATMUL_x];
    return x->dim[0] <= cpu_mm_amx.few ? cost_avx512(op) : cost(op, 450e3f) + BARRIER_US;
}
static float cost_dot(const hy_op *op) {
    return cost_at(op, 190e3f) + BARRIER_US;
}
/* What is not bf16 is rounded once for up to 512 rows: 5.6 thousand weights a microsecond. */
static float cost_tile(const hy_op *op) {
    const hy_tensor *w = &op->operand[HY_MATMUL_w];
    const float weights = (float)w->dim[0] * (float)w->dim[1];
    return cost_at(op, 1200e3f) + BARRIER_US + (w->dtype == HY_DTYPE_BF16 ? 0 : weights / 5.6e3f);
}
static float cost_dot_small(const hy_op *op) {
    return cost_at(op, 190e3f);
}
#elif defined(__aarch64__)
/* Not measured: a core of 3 GHz with two units at half of its peak. Right in order, which is what counts. */
#define ARM_COST(isa, rate)                                                                        \
    static float cost_##isa(const hy_op *op) {                                                     \
        return cost(op, rate) + BARRIER_US;                                                        \
    }                                                                                              \
    static float cost_##isa##_small(const hy_op *op) {                                             \
        return cost(op, rate);                                                                     \
    }
ARM_COST(dotprod, 100e3f)
ARM_COST(i8mm, 170e3f)
ARM_COST(sve256, 180e3f)
ARM_COST(sve512, 250e3f)
#endif

static float cost_embed(const hy_op *op) {
    return (float)hy_op_bytes(op) / 2e3f;
}
static float cost_embed_rows(const hy_op *op) {
    return (float)hy_op_bytes(op) / 4e3f;
}

static bool writes_blocks(const hy_op *op) {
    return op->kind == HY_OP_MATMUL && op->operand[HY_MATMUL_out].dtype == HY_DTYPE_A8;
}

/* Float weights take k in parts, and do not write a8: there is no use for it. */
static bool packed(const hy_op *op, hy_dtype dtype) {
    const hy_tensor *w = &op->operand[cpu_weight_operand(op)];
    return w->dtype == dtype && w->constant && !(takes_parts(dtype) && writes_blocks(op));
}

/* Weights that are activations of another op, or constants left in the file's layout. */
static bool accepts_block_rows(const hy_op *op) {
    const hy_tensor *w = &op->operand[cpu_weight_operand(op)];
    return !w->constant && hy_dtype_get((hy_dtype)w->dtype)->quantized && !writes_blocks(op);
}

static bool accepts_float_rows(const hy_op *op) {
    const hy_tensor *w = &op->operand[cpu_weight_operand(op)];
    return !w->constant && !hy_dtype_get((hy_dtype)w->dtype)->quantized && !writes_blocks(op);
}

static bool accepts_embed(const hy_op *op) {
    return op->operand[HY_EMBED_table].constant;
}

#define MM_FLOAT_DTYPES(X)                                                                         \
    X(F32, f32, 0)                                                                                 \
    X(F16, f16, 0)                                                                                 \
    X(BF16, bf16, 0)
#define MM_BLOCK_DTYPES(X)                                                                         \
    X(Q8_0, q8_0, HY_KERNEL_ROUNDS)                                                                \
    X(Q4_0, q4_0, HY_KERNEL_ROUNDS)                                                                \
    X(Q4_1, q4_1, HY_KERNEL_ROUNDS)                                                                \
    X(Q5_0, q5_0, HY_KERNEL_ROUNDS)                                                                \
    X(Q5_1, q5_1, HY_KERNEL_ROUNDS)                                                                \
    X(Q2_K, q2_k, HY_KERNEL_ROUNDS)                                                                \
    X(Q3_K, q3_k, HY_KERNEL_ROUNDS)                                                                \
    X(Q4_K, q4_k, HY_KERNEL_ROUNDS)                                                                \
    X(Q5_K, q5_k, HY_KERNEL_ROUNDS)                                                                \
    X(Q6_K, q6_k, HY_KERNEL_ROUNDS)                                                                \
    X(IQ4_NL, iq4_nl, HY_KERNEL_ROUNDS)                                                            \
    X(IQ4_XS, iq4_xs, HY_KERNEL_ROUNDS)                                                            \
    X(MXFP4, mxfp4, HY_KERNEL_ROUNDS)
/* Those that may be rounded to bf16: not f32, whose every bit may count. */
#define MM_TILE_DTYPES(X)                                                                          \
    X(F16, f16, 0)                                                                                 \
    X(BF16, bf16, 0)                                                                               \
    MM_BLOCK_DTYPES(X)
#define MM_WEIGHT_DTYPES(X) MM_FLOAT_DTYPES(X) MM_BLOCK_DTYPES(X)

#define ACCEPTS(NAME, text, rounds)                                                                \
    static bool accepts_##text(const hy_op *op) {                                                  \
        return packed(op, HY_DTYPE_##NAME);                                                        \
    }                                                                                              \
    static bool accepts_small_##text(const hy_op *op) {                                            \
        return packed(op, HY_DTYPE_##NAME) && op->operand[HY_MATMUL_x].dim[0] <= SMALL_ROWS;       \
    }
MM_WEIGHT_DTYPES(ACCEPTS)

#if defined(__x86_64__)
static bool accepts_dot(const hy_op *op) { /* x is operand 0 of both products */
    return accepts_bf16(op) && op->operand[HY_MATMUL_x].dtype != HY_DTYPE_A8;
}
static bool tiled(const hy_op *op) {
    const hy_tensor *x = &op->operand[HY_MATMUL_x];
    return x->dtype != HY_DTYPE_A8 && x->dim[x->rank - 1] % 32 == 0 && !writes_blocks(op);
}
static bool accepts_small_dot(const hy_op *op) {
    return accepts_small_bf16(op) && accepts_dot(op);
}
#define ACCEPTS_TILE(NAME, text, rounds)                                                           \
    static bool accepts_tile_##text(const hy_op *op) {                                             \
        return accepts_##text(op) && tiled(op);                                                    \
    }
MM_TILE_DTYPES(ACCEPTS_TILE)
#endif

#define FLAGS (HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT)
#define COMMON(KIND, NEEDS, INDEX, C)                                                              \
    .kind = HY_OP_##KIND, .isa = NEEDS, .accuracy = C, .tag = INDEX
#define PANEL_CONSTANTS                                                                            \
    .constants = cpu_panel_constants, .pack = cpu_panel_pack, .unpack = cpu_panel_unpack

#define ORDERED(ORDER) .order = ORDER, .in_place = 1u << HY_MATMUL_residual

// clang-format off
#define MATMUL_ROWS(text, isa_name, NEEDS, INDEX, rounds)                                          \
    {.name = "cpu.matmul." #text ".small." #isa_name, COMMON(MATMUL, NEEDS, INDEX, 16),            \
     .flags = FLAGS | (rounds), ORDERED(1),                                                        \
     .accepts = accepts_small_##text, .phase = {run_small}, .streams = small_streams, .workspace = small_workspace,          \
     .cost = cost_##isa_name##_small, PANEL_CONSTANTS},                                            \
    TILE_ROWS(text, isa_name, NEEDS, INDEX, rounds)
#define TILE_ROWS(text, isa_name, NEEDS, INDEX, rounds)                                            \
    {.name = "cpu.matmul." #text "." #isa_name, COMMON(MATMUL, NEEDS, INDEX, 16),                  \
     .flags = FLAGS | (rounds), ORDERED(1),                                                        \
     .accepts = accepts_##text, .phase = {fill_tiles, run_tiles}, .workspace = tiles_workspace,    \
     .cost = cost_##isa_name, PANEL_CONSTANTS},                                                    \
    {.name = "cpu.grouped_matmul." #text "." #isa_name, COMMON(GROUPED_MATMUL, NEEDS, INDEX, 16),  \
     .flags = FLAGS | (rounds), .accepts = accepts_##text,                                         \
     .phase = {cpu_mm_grouped_sort, cpu_mm_grouped_fill, cpu_mm_grouped_run},                                  \
     .workspace = cpu_mm_grouped_workspace, .cost = cost_##isa_name, PANEL_CONSTANTS},
#define ANY_ROWS(sort, isa_name, NEEDS, INDEX, rounds)                                             \
    {.name = "cpu.matmul." #sort "." #isa_name, COMMON(MATMUL, NEEDS, (INDEX) | MM_TAG_ROWS, 16),  \
     .flags = FLAGS | (rounds), ORDERED(1),                                                        \
     .accepts = accepts_##sort, .phase = {fill_tiles, run_tiles}, .workspace = rows_workspace,     \
     .cost = cost_##isa_name},                                                                     \
    {.name = "cpu.grouped_matmul." #sort "." #isa_name,                                            \
     COMMON(GROUPED_MATMUL, NEEDS, (INDEX) | MM_TAG_ROWS, 16),                                     \
     .flags = FLAGS | (rounds), .accepts = accepts_##sort,                                         \
     .phase = {cpu_mm_grouped_sort, cpu_mm_grouped_fill, cpu_mm_grouped_run},                      \
     .workspace = cpu_mm_grouped_workspace, .cost = cost_##isa_name},
#define BOTH_ROWS(isa_name, NEEDS, INDEX)                                                          \
    ANY_ROWS(block_rows, isa_name, NEEDS, INDEX, HY_KERNEL_ROUNDS)                                 \
    ANY_ROWS(float_rows, isa_name, NEEDS, INDEX, 0)
#define GENERIC(NAME, text, rounds) MATMUL_ROWS(text, generic, CPU_GENERIC, 0, rounds)
#define AVX2(NAME, text, rounds) MATMUL_ROWS(text, avx2, CPU_AVX2, 1, rounds)
#define AVX512(NAME, text, rounds) MATMUL_ROWS(text, avx512, CPU_AVX512, 2, rounds)
#define AMX(NAME, text, rounds) TILE_ROWS(text, amx, CPU_AMX, 3, rounds)
#define DOTPROD(NAME, text, rounds) MATMUL_ROWS(text, dotprod, CPU_DOTPROD, 1, rounds)
#define I8MM(NAME, text, rounds) MATMUL_ROWS(text, i8mm, CPU_I8MM, 2, rounds)
#define SVE256(NAME, text, rounds) MATMUL_ROWS(text, sve256, CPU_SVE256, 3, rounds)
#define SVE512(NAME, text, rounds) MATMUL_ROWS(text, sve512, CPU_SVE512, 4, rounds)

/* Not HY_KERNEL_INVARIANT, though their bits do not depend on the batch: with numerics=invariant all ISAs give
 * the same bits, and most have no such instruction. */
#define DOT(KIND) COMMON(KIND, CPU_AVX512 | CPU_AVX512_BF16, MM_TAG_DOT, 16), TO_BF16
#define TO_BF16                                                                                    \
     .rounded = HY_DTYPE_BF16,                                                                     \
     .flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_ROUNDS, PANEL_CONSTANTS
#define TILE(NAME, text, rounds)                                                                   \
    {.name = "cpu.matmul." #text ".tile.amx", COMMON(MATMUL, CPU_AMX, MM_TAG_TILE, 16), TO_BF16,   \
     ORDERED(3), .accepts = accepts_tile_##text, .phase = {fill_tiles, run_tiles},                 \
     .workspace = tile_workspace, .cost = cost_tile},
#define BF16_DOT                                                                                   \
    {.name = "cpu.matmul.bf16.dot.small.avx512", DOT(MATMUL), ORDERED(2),                          \
     .accepts = accepts_small_dot, .phase = {run_small}, .streams = small_streams,                                           \
     .workspace = small_workspace, .cost = cost_dot_small},                                        \
    {.name = "cpu.matmul.bf16.dot.avx512", DOT(MATMUL), ORDERED(2), .accepts = accepts_dot,        \
     .phase = {fill_tiles, run_tiles}, .workspace = tiles_workspace, .cost = cost_dot},            \
    {.name = "cpu.grouped_matmul.bf16.dot.avx512", DOT(GROUPED_MATMUL), .accepts = accepts_dot,    \
     .phase = {cpu_mm_grouped_sort, cpu_mm_grouped_fill, cpu_mm_grouped_run},                      \
     .workspace = cpu_mm_grouped_workspace, .cost = cost_dot},

#define GFNI_SMALL(text)                                                                           \
    {.name = "cpu.matmul." #text ".small.gfni",                                                    \
     COMMON(MATMUL, CPU_AVX512 | CPU_AVX512_GFNI, 4, 16), .flags = FLAGS | HY_KERNEL_ROUNDS,       \
     ORDERED(1), .accepts = accepts_small_##text, .phase = {run_small}, .streams = small_streams,  \
     .workspace = small_workspace, .cost = cost_gfni_small, PANEL_CONSTANTS},

const cpu_variant cpu_matmul_variants[] = {
#if defined(__x86_64__)
    MM_TILE_DTYPES(TILE)
    BF16_DOT
    MM_BLOCK_DTYPES(AMX)
    GFNI_SMALL(q2_k)
    GFNI_SMALL(q3_k)
    MM_WEIGHT_DTYPES(AVX512)
    BOTH_ROWS(avx512, CPU_AVX512, 2)
    MM_WEIGHT_DTYPES(AVX2)
    BOTH_ROWS(avx2, CPU_AVX2, 1)
#elif defined(__aarch64__)
    MM_WEIGHT_DTYPES(SVE512)
    BOTH_ROWS(sve512, CPU_SVE512, 4)
    MM_WEIGHT_DTYPES(SVE256)
    BOTH_ROWS(sve256, CPU_SVE256, 3)
    MM_WEIGHT_DTYPES(I8MM)
    BOTH_ROWS(i8mm, CPU_I8MM, 2)
    MM_WEIGHT_DTYPES(DOTPROD)
    BOTH_ROWS(dotprod, CPU_DOTPROD, 1)
#endif
    MM_WEIGHT_DTYPES(GENERIC)
    BOTH_ROWS(generic, CPU_GENERIC, 0)
    {.name = "cpu.embed.rows", COMMON(EMBED, CPU_GENERIC, 0, 1), .flags = FLAGS,
     .phase = {cpu_embed_rows}, .cost = cost_embed_rows},
    {.name = "cpu.embed.panels", COMMON(EMBED, CPU_GENERIC, 0, 1), .flags = FLAGS,
     .accepts = accepts_embed, .phase = {cpu_embed_panels}, .cost = cost_embed, PANEL_CONSTANTS},
    {0},
};
// clang-format on

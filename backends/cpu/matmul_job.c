/* backends/cpu/matmul_job.c: one group of panels times one tile, and out. */
#include "backends/cpu/matmul_job.h"

#include "backends/cpu/kernel.h"

static const mm_kernels *const tables[] = {
    &cpu_mm_generic,
#if defined(__x86_64__)
    &cpu_mm_avx2,
    &cpu_mm_avx512,
    &cpu_mm_amx,
    &cpu_mm_avx512_gfni,
    [MM_TAG_TILE] = &cpu_mm_amx_bf16,
    [MM_TAG_DOT] = &cpu_mm_avx512bf16,
#elif defined(__aarch64__)
    &cpu_mm_dotprod, &cpu_mm_i8mm, &cpu_mm_sve256, &cpu_mm_sve512,
#endif
};

static void read_matmul(mm_job *job, const cpu_call *call) {
    const hy_op *op = &call->op;
    job->epilogue.act = op->matmul.act;
    job->epilogue.scale = op->matmul.scale;
    job->epilogue.softcap = op->matmul.softcap;
    job->bias = call->p[HY_MATMUL_bias];
    job->out = call->p[HY_MATMUL_out];
    job->residual = call->p[HY_MATMUL_residual];
    job->pairs = 1;
    const hy_tensor *out = &op->operand[HY_MATMUL_out];
    const hy_tensor *residual = &op->operand[HY_MATMUL_residual];
    job->epilogue.out_dtype = out->dtype == HY_DTYPE_A8 ? HY_DTYPE_F32 : out->dtype;
    job->epilogue.residual_dtype = residual->dtype;
    job->out_stride[0] = cpu_bytes(out->dtype, out->stride[0]);
    if (job->residual) job->residual_stride = cpu_bytes(residual->dtype, residual->stride[0]);
}

static void read_grouped(mm_job *job, const cpu_call *call) {
    const hy_op *op = &call->op;
    job->epilogue.act = op->grouped_matmul.act;
    job->bias = call->p[HY_GROUPED_MATMUL_bias];
    job->out = call->p[HY_GROUPED_MATMUL_out];
    const hy_tensor *out = &op->operand[HY_GROUPED_MATMUL_out];
    job->epilogue.out_dtype = out->dtype;
    job->pairs = out->dim[1];
    job->out_stride[0] = cpu_bytes(out->dtype, out->stride[0]);
    job->out_stride[1] = cpu_bytes(out->dtype, out->stride[1]);
}

/* A line that is asked for to the first-level cache of an Intel core holds one of its 16 line buffers until memory
 * answers, and loads wait for one; AMD's have enough. So such a core asks to the second-level cache, and again to the
 * first once the line is there: arithmetic that waits for the second-level cache does not ask meanwhile. */
static bool asks_to_second(void) {
#if defined(__x86_64__)
    return __builtin_cpu_is("intel");
#else
    return false;
#endif
}

mm_job cpu_mm_job_of(const cpu_call *call, uint32_t rows) {
    mm_job job = {.kernels = tables[call->variant->tag & MM_TAG_ISA],
                  .panels = cpu_panels_of(&call->op),
                  .ahead = {(const uint8_t *)UINTPTR_MAX, 0, asks_to_second()}};
    while (job.widest < MM_MAX_WIDTH) {
        const uint32_t width = job.kernels->width[cpu_mm_width_index(job.kernels, job.widest + 1)];
        if (width <= job.widest) break;
        job.widest = width;
    }
    if (rows <= job.kernels->few && job.kernels->unpack[job.panels.dtype])
        job.widest = HY_MIN(job.widest, job.kernels->few_width);
    job.column_bytes = (call->variant->tag & MM_TAG_ISA) >= MM_TAG_TILE
                           ? hy_align_up(job.panels.k, 2) * 2
                           : mm_column_bytes(job.panels.dtype, job.panels.k);
    const uint32_t w = cpu_weight_operand(&call->op);
    job.weights = call->p[w];
    if (call->variant->tag & MM_TAG_ROWS) {
        const hy_tensor *t = &call->op.operand[w];
        const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
        job.row_stride = hy_dtype_row_bytes(info, t->stride[t->rank - 2]);
        job.expert_stride = t->rank > 2 ? hy_dtype_row_bytes(info, t->stride[0]) : 0;
    }
    job.epilogue.m = job.panels.m;
    if (call->op.kind == HY_OP_MATMUL)
        read_matmul(&job, call);
    else
        read_grouped(&job, call);
    return job;
}

uint32_t cpu_mm_width_index(const mm_kernels *kernels, uint32_t columns) {
    uint32_t i = 0;
    while (kernels->width[i] < columns && i + 1 < MM_WIDTHS && kernels->width[i + 1])
        i++;
    return i;
}

uint64_t cpu_mm_scratch_bytes(const cpu_panels *panels) {
    return hy_align_up(panels->units * panels->bytes, MM_ALIGN);
}

const uint8_t *cpu_mm_group_panels(const mm_job *job, uint32_t expert, uint32_t group) {
    if (!job->scratch) return job->weights + cpu_group_offset(&job->panels, expert, group);
    cpu_panel_pack_group(&job->panels, group, job->weights + expert * job->expert_stride,
                         job->row_stride, job->scratch);
    return job->scratch;
}

/* a8: where a group's outputs wait for the others of their block. */
static void place_floats(const mm_job *job, uint32_t group, mm_place *to) {
    to->out = job->floats + group % job->panels.together * CPU_PANEL;
    to->out_stride = job->panels.together * CPU_PANEL * sizeof *job->floats;
}

/* a8: of `rows` rows the block that the group completes, if it does. */
static void put_blocks(const mm_job *job, uint32_t group, uint64_t row, uint32_t rows) {
    const uint32_t together = job->panels.together, width = together * CPU_PANEL;
    if ((group + 1) % together) return;
    uint8_t *out = job->out + row * job->out_stride[0] +
                   cpu_bytes(HY_DTYPE_A8, (uint64_t)(group / together) * width);
    for (uint32_t i = 0; i < rows; i++, out += job->out_stride[0])
        job->kernels->quantize(HY_DTYPE_F32, job->floats + i * width, width, out);
}

void cpu_mm_finish(const mm_job *job, const mm_kernels *kernels, uint32_t expert, const float *z,
                   const float *up, uint32_t group, uint64_t row, uint32_t rows) {
    mm_epilogue epilogue = job->epilogue;
    const mm_epilogue *e = &epilogue;
    if (job->bias) epilogue.bias = job->bias + (uint64_t)expert * job->panels.n;
    if (job->panels.units == 1) up = NULL;
    const uint32_t m = group * CPU_PANEL, outputs = HY_MIN(job->panels.m - m, (uint32_t)CPU_PANEL);
    const uint64_t in_row = cpu_bytes(e->out_dtype, m);
    mm_place to = {.out_stride = job->out_stride[0], .residual_stride = job->residual_stride};
    if (!job->order && job->pairs == 1) {
        to.out = job->out + row * to.out_stride + in_row;
        if (job->residual)
            to.residual =
                job->residual + row * to.residual_stride + cpu_bytes(e->residual_dtype, m);
        if (job->floats) place_floats(job, group, &to);
        kernels->finish(e, z, up, m, outputs, rows, &to);
        if (job->floats) put_blocks(job, group, row, rows);
        return;
    }
    for (uint32_t i = 0; i < rows; i++, z += CPU_PANEL) { /* of a grouped_matmul: no residual */
        const uint64_t pair = job->order ? job->order[row + i] : row + i;
        to.out = job->out + pair / job->pairs * job->out_stride[0] +
                 pair % job->pairs * job->out_stride[1] + in_row;
        kernels->finish(e, z, up, m, outputs, 1, &to);
        if (up) up += CPU_PANEL;
    }
}

static void multiply_tile(const mm_job *job, const uint8_t *panels, uint32_t expert, uint32_t group,
                          const uint8_t *tile, uint32_t first, uint32_t count) {
    _Alignas(64) float z[2][MM_MAX_WIDTH * CPU_PANEL];
    const cpu_panels *p = &job->panels;
    const mm_micro micro = job->kernels->micro[p->dtype][cpu_mm_width_index(job->kernels, count)];
    if (!hy_dtype_get(p->dtype)->quantized) memset(z, 0, sizeof z);
    for (uint32_t unit = 0; unit < p->units; unit++)
        micro(panels + unit * p->bytes, tile, p->k, &job->ahead, z[unit]);
    cpu_mm_finish(job, job->kernels, expert, z[0], z[1], group, first, count);
}

void cpu_mm_multiply(const mm_job *job, uint32_t expert, uint32_t group, const uint8_t *tile,
                     uint32_t first, uint32_t count) {
    for (uint32_t g = group; g < group + job->panels.together; g++)
        multiply_tile(job, cpu_mm_group_panels(job, expert, g), expert, g, tile, first, count);
}

/* ---- tiles over chunks that are unpacked once ---- */

enum { Z_STEP = MM_TILES * MM_MAX_WIDTH * CPU_PANEL };

/* Rows [first, last) as tiles, and the groups of an expert that they are multiplied with: one, or two of one panel
 * each, or those that are together. */
typedef struct tile_list {
    const uint8_t *tiles;
    uint32_t first, last;
    uint32_t expert, group, groups;
} tile_list;

static uint32_t columns_at(const mm_job *job, const tile_list *list, uint32_t t) {
    return HY_MIN(list->last - t, job->widest);
}

/* Outputs of the tile at row t are needed next. */
static void expect_outputs(const mm_job *job, const tile_list *list, uint32_t t, mm_next *next) {
    if (job->order || job->pairs != 1) return;
    const hy_dtype dtype = job->floats ? HY_DTYPE_A8 : (hy_dtype)job->epilogue.out_dtype;
    next->out =
        job->out + t * job->out_stride[0] + cpu_bytes(dtype, (uint64_t)list->group * CPU_PANEL);
    next->out_step = job->out_stride[0];
    next->out_bytes = (uint32_t)cpu_bytes(dtype, list->groups * CPU_PANEL);
}

/* One or two chunks times tile i of the list, whose part for k begins at `at`. */
static void multiply_chunks(const mm_job *job, const mm_unpacked *chunk, uint32_t panels,
                            const tile_list *list, uint32_t i, uint32_t at, uint32_t k,
                            const mm_next *next, float *z) {
    const mm_kernels *kernels = job->kernels;
    const hy_dtype dtype = job->panels.dtype;
    const uint32_t t = list->first + i * job->widest;
    const uint32_t index = cpu_mm_width_index(kernels, columns_at(job, list, t));
    const uint32_t width = kernels->width[index];
    const uint8_t *tile =
        list->tiles + (t - list->first) * job->column_bytes + width * mm_column_bytes(dtype, at);
    z += (uint64_t)i * job->widest * CPU_PANEL;
    if (panels == 2 && width == job->widest) {
        kernels->wide_pair[dtype](chunk, tile, k, next, z, Z_STEP);
        return;
    }
    mm_next own = *next; /* the first panel asks for all outputs */
    for (uint32_t p = 0; p < panels; p++, own.panel[0] = own.panel[1], own.out_bytes = 0)
        kernels->wide[dtype][index](&chunk[p], tile, k, &own, z + p * Z_STEP);
}

/* Sums of one or two panels for all tiles: z [panel][tile][widest][16], Z_STEP to a panel, zeros before.
 * Meanwhile the panels' next bytes are asked for: a chunk is read in one go, too fast for hardware to see it
 * coming. */
static void multiply_panels(const mm_job *job, const uint8_t *panel, uint32_t panels,
                            const tile_list *list, float *z) {
    const cpu_panels *p = &job->panels;
    const uint32_t tiles = (uint32_t)hy_div_up(list->last - list->first, job->widest);
    mm_unpacked chunk[2];
    for (uint32_t at = 0; at < p->k; at += MM_BLOCK_CHUNK) {
        const uint32_t k = HY_MIN(p->k - at, MM_BLOCK_CHUNK);
        const uint64_t bytes = p->bytes * k / p->k;
        for (uint32_t i = 0; i < panels; i++)
            job->kernels->unpack[p->dtype](panel + i * p->bytes, k, &chunk[i]);
        panel += bytes;
        if (at + k == p->k) panel += (panels - 1) * p->bytes; /* next are others */
        for (uint32_t i = 0; i < tiles; i++) {
            const uint8_t *from = panel + bytes * i / tiles;
            mm_next next = {.panel = {from, from + p->bytes},
                            .bytes = (uint32_t)hy_div_up(bytes, (uint64_t)tiles * (k / 32))};
            if (at + k == p->k) expect_outputs(job, list, list->first + i * job->widest, &next);
            multiply_chunks(job, chunk, panels, list, i, at, k, &next, z);
        }
    }
}

static void multiply_wide(const mm_job *job, const uint8_t *panels, const tile_list *list) {
    _Alignas(64) float z[4][Z_STEP];
    const uint32_t columns = list->last - list->first, units = job->panels.units;
    const uint32_t count = list->groups * units; /* panels: 1, 2 or 4 */
    const uint32_t at_once = job->kernels->wide_pair[job->panels.dtype] ? HY_MIN(count, 2) : 1;
    const size_t bytes = hy_div_up(columns, job->widest) * job->widest * CPU_PANEL * sizeof **z;
    for (uint32_t i = 0; i < count; i++)
        memset(z[i], 0, bytes);
    for (uint32_t i = 0; i < count; i += at_once)
        multiply_panels(job, panels + i * job->panels.bytes, at_once, list, z[i]);
    for (uint32_t t = list->first, at = 0; t < list->last;
         t += job->widest, at += job->widest * CPU_PANEL)
        for (uint32_t g = 0; g < list->groups; g++)
            cpu_mm_finish(job, job->kernels, list->expert, z[g * units] + at,
                          z[g * units + units - 1] + at, list->group + g, t,
                          columns_at(job, list, t));
}

/* Groups whose panels are at hand: tiles of the ISA's greatest width, the last as wide as the rest needs, one
 * after the other. */
static void multiply_tiles(const mm_job *job, const uint8_t *panels, tile_list list,
                           uint32_t last) {
    const mm_kernels *kernels = job->kernels;
    const hy_dtype dtype = job->panels.dtype;
    const bool few = last - list.first <= kernels->few;
    for (; list.first < last; list.first = list.last) {
        const uint32_t count = HY_MIN(last - list.first, job->widest);
        const uint32_t index = cpu_mm_width_index(kernels, count);
        if (kernels->micro[dtype][index] && (few || !kernels->wide[dtype][index])) {
            list.last = list.first + count;
            for (uint32_t g = 0; g < list.groups; g++)
                multiply_tile(job, panels + g * job->panels.units * job->panels.bytes, list.expert,
                              list.group + g, list.tiles, list.first, count);
        } else {
            list.last = HY_MIN(last, list.first + MM_TILES * job->widest);
            const uint32_t rest = (list.last - list.first) % job->widest;
            if (rest && !kernels->wide[dtype][cpu_mm_width_index(kernels, rest)]) list.last -= rest;
            multiply_wide(job, panels, &list);
        }
        list.tiles += (list.last - list.first) * job->column_bytes;
    }
}

void cpu_mm_multiply_groups(const mm_job *job, uint32_t expert, uint32_t begin, uint32_t end,
                            const uint8_t *tiles, uint32_t first, uint32_t last) {
    const bool pairs =
        !job->scratch && job->panels.units == 1 && job->kernels->wide_pair[job->panels.dtype];
    tile_list list = {tiles, first, last, expert, begin, 1};
    for (; list.group < end; list.group += list.groups) {
        list.groups = pairs ? HY_MIN(end - list.group, 2) : job->panels.together;
        multiply_tiles(job, cpu_mm_group_panels(job, expert, list.group), list, last);
    }
}

/* Weights: file rows -> pack() -> their place in the arena, in pieces, so that what is resident at once
 * is the arena and one piece. */
#include <stdlib.h>
#include <string.h>

#include "src/engine/engine.h"

/* A constant as a list of runs of rows in the file. */
typedef struct source {
    const hy_gguf *gguf;
    const hy_value *value;
    uint64_t rows;  /* all dims but the innermost */
    uint64_t inner; /* rows of one index of dim 0 with axis 1, else all rows */
    uint64_t row_bytes;
} source;

static uint64_t row_bytes_of(const hy_value *value) {
    return hy_dtype_row_bytes(hy_dtype_get((hy_dtype)value->dtype),
                              value->dim[value->rank - 1].factor);
}

static source source_of(const hy_gguf *gguf, const hy_value *value) {
    source s = {gguf, value, 1, 0, row_bytes_of(value)};
    for (int i = 0; i + 1 < value->rank; i++)
        s.rows *= value->dim[i].factor;
    s.inner = value->axis == 1 && value->rank > 1 ? s.rows / value->dim[0].factor : s.rows;
    return s;
}

/* Rows of part `p` within one block of `inner` rows. */
static uint64_t part_rows(const source *s, uint32_t p) {
    const hy_value *v = s->value;
    uint64_t rows = v->part[p].rows;
    if (v->parts == 1) return s->inner;
    for (int i = v->axis + 1; i + 1 < v->rank; i++)
        rows *= v->dim[i].factor;
    return rows;
}

/* Where row `row` is: *run rows from there on follow each other in the file. */
static hy_status locate(const source *s, uint64_t row, const hy_gguf_tensor **tensor,
                        uint64_t *file_row, uint64_t *run) {
    const uint64_t block = row / s->inner;
    uint64_t in_block = row % s->inner;
    for (uint32_t p = 0; p < s->value->parts; p++) {
        const uint64_t rows = part_rows(s, p);
        if (in_block >= rows) {
            in_block -= rows;
            continue;
        }
        const char *name = s->value->part[p].name;
        *tensor = hy_gguf_tensor_find(s->gguf, name);
        *file_row = block * rows + in_block;
        *run = rows - in_block;
        if (!*tensor || (*file_row + *run) * s->row_bytes > (*tensor)->size)
            return hy_fail(HY_E_INTERNAL, "tensor %s has no row %llu", name,
                           (unsigned long long)(*file_row + *run));
        return HY_OK;
    }
    return hy_fail(HY_E_INTERNAL, "weight %s has no row %llu", s->value->name,
                   (unsigned long long)row);
}

/* Vectors joined end to end (biases of q, k and v): one row, whole parts. */
static hy_status gather_vector(const source *s, uint8_t *scratch) {
    const hy_dtype_info *dtype = hy_dtype_get((hy_dtype)s->value->dtype);
    for (uint32_t p = 0; p < s->value->parts; p++) {
        const hy_weight_part *part = &s->value->part[p];
        const hy_gguf_tensor *tensor = hy_gguf_tensor_find(s->gguf, part->name);
        const uint64_t bytes = hy_dtype_row_bytes(dtype, part->rows);
        if (!tensor || tensor->size != bytes)
            return hy_fail(HY_E_INTERNAL, "tensor %s has not %u elements", part->name, part->rows);
        memcpy(scratch, tensor->data, bytes);
        scratch += bytes;
    }
    return HY_OK;
}

/* Rows [row, row + rows) to `out`. Any thread. */
static hy_status read_rows(const source *s, uint64_t row, uint64_t rows, uint8_t *out) {
    if (s->value->kind == HY_VALUE_LITERAL) {
        memcpy(out, (const uint8_t *)s->value->data + row * s->row_bytes, rows * s->row_bytes);
        return HY_OK;
    }
    if (s->value->rank == 1 && s->value->parts > 1) return gather_vector(s, out);
    while (rows) {
        const hy_gguf_tensor *tensor;
        uint64_t file_row, run;
        HY_TRY(locate(s, row, &tensor, &file_row, &run));
        run = HY_MIN(run, rows);
        HY_TRY(
            hy_gguf_tensor_read(s->gguf, tensor, file_row * s->row_bytes, run * s->row_bytes, out));
        out += run * s->row_bytes;
        row += run;
        rows -= run;
    }
    return HY_OK;
}

/* Address of rows [row, row + rows): in the mapping when they lie together there, else gathered. */
static hy_status fetch(const source *s, uint64_t row, uint64_t rows, uint8_t *scratch,
                       const void **out) {
    const bool joined = s->value->rank == 1 && s->value->parts > 1;
    if (s->value->kind == HY_VALUE_LITERAL) {
        *out = (const uint8_t *)s->value->data + row * s->row_bytes;
        return HY_OK;
    }
    if (rows && !joined) {
        const hy_gguf_tensor *tensor;
        uint64_t file_row, run;
        HY_TRY(locate(s, row, &tensor, &file_row, &run));
        *out = tensor->data + file_row * s->row_bytes;
        if (run >= rows) return HY_OK;
    }
    *out = scratch;
    return read_rows(s, row, rows, scratch);
}

/* Tells the system that these rows are wanted soon, or that they were read. */
static void advise(const source *s, uint64_t row, uint64_t rows, bool will_need) {
    if (s->value->kind == HY_VALUE_LITERAL || s->value->rank == 1) return;
    for (uint64_t done = 0; done < rows;) {
        const hy_gguf_tensor *tensor;
        uint64_t file_row, run;
        if (locate(s, row + done, &tensor, &file_row, &run) != HY_OK) return;
        run = HY_MIN(run, rows - done);
        hy_gguf_tensor_advise(s->gguf, tensor, file_row * s->row_bytes, run * s->row_bytes,
                              will_need);
        done += run;
    }
}

/* Pieces are whole multiples of this many rows. */
static uint32_t unit_rows(const hy_program_constant *c) {
    return c->packed ? HY_MAX(c->kernel.constant[c->operand].rows, 1) : 1;
}

static uint64_t chunk_rows(const hy_program_constant *c, uint64_t rows, uint64_t row_bytes) {
    const uint32_t step = unit_rows(c);
    uint64_t n = HY_MAX(HY_LOAD_CHUNK / HY_MAX(row_bytes, 1), 1);
    n = HY_MAX(n / step, 1) * step;
    return HY_MIN(n, rows);
}

/* Several parts mean that pieces may have to be gathered. */
static bool gathers(const hy_value *value) {
    return value->kind == HY_VALUE_WEIGHT && value->parts > 1;
}

uint64_t hy_load_chunk_bytes(const hy_program *program) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < program->constants; i++) {
        const hy_program_constant *c = &program->constant[i];
        const source s = source_of(NULL, &program->graph->value[c->value]);
        most = HY_MAX(most, chunk_rows(c, s.rows, s.row_bytes) * s.row_bytes *
                                (gathers(s.value) ? 2 : 1));
    }
    return most;
}

static hy_status store(hy_engine *engine, const hy_program_constant *c, uint64_t row, uint64_t rows,
                       uint64_t row_bytes, const void *data) {
    hy_device *device = engine->setup.device[c->place.device];
    hy_buffer *buffer = engine->memory.buffer[c->place.device][c->place.arena];
    if (c->packed) {
        const hy_view dst = {buffer, c->place.offset, c->place.size};
        return device->backend->pack(device, &c->op, &c->kernel, c->operand, row, rows, data, dst);
    }
    return HY_FN(buffer)->write(buffer, c->place.offset + row * row_bytes, data, rows * row_bytes);
}

/* How many of `most` rows from `row` on make the next piece: rather fewer that lie together in the file
 * than more that one thread would have to gather. */
static uint64_t piece_rows(const hy_program_constant *c, const source *s, uint64_t row,
                           uint64_t most) {
    const hy_gguf_tensor *tensor;
    uint64_t file_row, run;
    const uint64_t rows = HY_MIN(most, s->rows - row);
    if (!gathers(s->value) || s->value->rank == 1 ||
        locate(s, row, &tensor, &file_row, &run) != HY_OK)
        return rows;
    return run < rows && run % unit_rows(c) == 0 ? run : rows;
}

/* The system reads a constant's first piece while the one before is packed. */
static void expect_constant(const hy_engine *engine, uint32_t i) {
    const hy_program *program = engine->setup.program;
    if (i >= program->constants) return;
    const hy_program_constant *c = &program->constant[i];
    const source s = source_of(engine->model->gguf, &program->graph->value[c->value]);
    advise(&s, 0, chunk_rows(c, s.rows, s.row_bytes), true);
}

/* As hy_row_source.read; the context is a source. */
static hy_status read_source(const hy_row_source *from, uint64_t row, uint64_t rows, void *buffer) {
    return read_rows(from->context, row, rows, buffer);
}

/* Where the device's threads can read for themselves. */
static hy_status stream_constant(hy_engine *engine, const hy_program_constant *c, const source *s) {
    hy_device *device = engine->setup.device[c->place.device];
    const hy_row_source from = {read_source, s, s->rows, s->row_bytes};
    const hy_view dst = {engine->memory.buffer[c->place.device][c->place.arena], c->place.offset,
                         c->place.size};
    return device->backend->pack_from(device, c->packed ? &c->op : NULL,
                                      c->packed ? &c->kernel : NULL, c->operand, &from, dst);
}

static hy_status load_constant(hy_engine *engine, uint32_t i, uint8_t *scratch) {
    const hy_program_constant *c = &engine->setup.program->constant[i];
    const hy_value *value = &engine->setup.program->graph->value[c->value];
    const source s = source_of(engine->model->gguf, value);
    const hy_device *device = engine->setup.device[c->place.device];
    if (device->backend->pack_from) {
        expect_constant(engine, i + 1);
        return stream_constant(engine, c, &s);
    }
    const uint64_t step = chunk_rows(c, s.rows, s.row_bytes);
    uint64_t rows = 0;
    for (uint64_t row = 0; row < s.rows; row += rows) {
        const void *data = NULL;
        rows = piece_rows(c, &s, row, step);
        if (row + rows < s.rows)
            advise(&s, row + rows, HY_MIN(step, s.rows - row - rows), true);
        else
            expect_constant(engine, i + 1);
        HY_TRY(fetch(&s, row, rows, scratch, &data));
        HY_TRY(store(engine, c, row, rows, s.row_bytes, data));
        advise(&s, row, rows, false);
    }
    return HY_OK;
}

hy_status hy_engine_load(hy_engine *engine) {
    const hy_program *program = engine->setup.program;
    uint64_t scratch_bytes = 0;
    for (uint32_t i = 0; i < program->constants; i++) {
        const hy_program_constant *c = &program->constant[i];
        const source s = source_of(NULL, &program->graph->value[c->value]);
        if (gathers(s.value))
            scratch_bytes = HY_MAX(scratch_bytes, chunk_rows(c, s.rows, s.row_bytes) * s.row_bytes);
    }
    uint8_t *scratch = malloc(scratch_bytes + 1);
    if (!scratch)
        return hy_fail(HY_E_MEMORY, "no memory for %llu bytes of weights in transit",
                       (unsigned long long)scratch_bytes);
    hy_status status = HY_OK;
    for (uint32_t i = 0; i < program->constants && status == HY_OK; i++) {
        status = load_constant(engine, i, scratch);
        if (status != HY_OK)
            status = hy_fail_in(status, "loading %s",
                                program->graph->value[program->constant[i].value].name);
    }
    free(scratch);
    return status;
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/null/null_backend.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/rng.h"
#include "tests/unit/program_task.h"

#define BACKEND(device) ((device)->backend)
#define POISON 0x7f /* as float32 3.4e38: shows in any sum */

void must(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

/* ---- the stub backend --------------------------------------------------------------------------- */

stub_settings stub;
static hy_backend stub_backend;

static bool has_a8(const hy_op *op) {
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        if (op->operand[i].dtype == HY_DTYPE_A8) return true;
    return false;
}

static bool is_matmul(const hy_op *op) {
    return op->kind == HY_OP_MATMUL || op->kind == HY_OP_GROUPED_MATMUL;
}

static bool stub_declines(const hy_op *op) {
    int32_t glu = op->kind == HY_OP_MATMUL           ? op->matmul.glu
                  : op->kind == HY_OP_GROUPED_MATMUL ? op->grouped_matmul.glu
                                                     : 0;
    bool dense = hy_tensor_dense(&op->operand[0]);
    if (stub.declined >> op->kind & 1) return true;
    if (glu && (stub.declined_glu >> op->kind & 1)) return true;
    if (stub.large_only && op->operand[0].counter == HY_COUNTER_T && op->operand[0].dim[0] == 1)
        return true;
    if (has_a8(op) && !stub.rounds) return true;
    return !stub.strided && !dense && (is_matmul(op) || op->kind == HY_OP_ATTENTION);
}

static void stub_info(hy_device *device, hy_device_info *out) {
    hy_null_backend.info(device, out);
    out->segment = stub.segment;
}

static hy_status stub_candidates(hy_device *device, const hy_op *op, hy_kernel *out,
                                 uint32_t *count) {
    static const char *const packed[] = {"stub.packed1", "stub.packed2", "stub.packed3"};
    *count = 0;
    if (stub_declines(op)) return HY_OK;
    must(hy_null_backend.candidates(device, op, out, count));
    bool quantized = is_matmul(op) && hy_dtype_get((hy_dtype)op->operand[1].dtype)->quantized;
    if (quantized && stub.rounds) out[0].flags |= HY_KERNEL_ROUNDS;
    if (quantized && stub.rounds == 2) out[0].rounded = HY_DTYPE_F16;
    if (stub.variant) out[0].flags &= ~(uint32_t)HY_KERNEL_INVARIANT;
    if (is_matmul(op)) out[0].workspace = stub.workspace;
    if (op->kind == HY_OP_ADD || op->kind == HY_OP_MUL || op->kind == HY_OP_UNARY)
        out[0].in_place = stub.in_place;
    uint32_t layouts = op->kind == HY_OP_MATMUL  ? stub.layouts
                       : op->kind == HY_OP_EMBED ? stub.embed_layouts
                                                 : 0;
    out[0].cost = 10;
    for (uint32_t i = 1; i <= layouts; i++) {
        out[i] = out[0];
        out[i].name = packed[i - 1];
        out[i].constant[1].layout = i;
        out[i].cost = 10 - (float)i;
    }
    *count += layouts;
    return HY_OK;
}

hy_device *task_device(const char *name, bool validate) {
    hy_device *device, *outer;
    if (!strcmp(name, "stub")) {
        stub_backend = hy_null_backend;
        stub_backend.name = "stub";
        stub_backend.candidates = stub_candidates;
        stub_backend.info = stub_info;
        must(hy_device_open("null", NULL, &device));
        device->backend = &stub_backend;
    } else {
        must(hy_device_open(name, &(hy_device_params){.threads = 2}, &device));
    }
    if (!validate) return device;
    must(hy_validate_open(device, &outer));
    return outer;
}

/* ---- a small llama ------------------------------------------------------------------------------ */

static void llama_layer(hy_text *t, uint32_t l, uint32_t dim, uint32_t head, const char *dtype) {
#define ADD(...) hy_text_add(t, __VA_ARGS__)
    ADD("%%n%u.w = weight f32 [%u] \"blk.%u.attn_norm\"\n", l, dim, l);
    ADD("%%n%u = rms_norm x=%%x%u weight=%%n%u.w {eps=1e-05} : f32 [T,%u] @L%u\n", l, l, l, dim, l);
    for (int i = 0; i < 3; i++) {
        uint32_t rows = i ? head : 2 * head;
        ADD("%%w%c%u = weight %s [%u,%u] \"blk.%u.%c\"\n", "qkv"[i], l, dtype, rows, dim, l,
            "qkv"[i]);
        ADD("%%%c%u = matmul x=%%n%u w=%%w%c%u : f32 [T,%u] @L%u\n", "qkv"[i], l, l, "qkv"[i], l,
            rows, l);
        ADD("%%%ch%u = reshape %%%c%u : f32 [T,%u,%u] @L%u\n", "qkv"[i], l, "qkv"[i], l, i ? 1 : 2,
            head, l);
    }
    for (int i = 0; i < 2; i++) {
        ADD("%%%cn%u.w = weight f32 [%u] \"blk.%u.%c_norm\"\n", "qk"[i], l, head, l, "qk"[i]);
        ADD("%%%cn%u = rms_norm x=%%%ch%u weight=%%%cn%u.w {eps=1e-05} : f32 [T,%u,%u] @L%u\n",
            "qk"[i], l, "qk"[i], l, "qk"[i], l, i ? 1 : 2, head, l);
        ADD("%%%cr%u = rope x=%%%cn%u table=%%rt {style=halves} : f32 [T,%u,%u] @L%u\n", "qk"[i], l,
            "qk"[i], l, i ? 1 : 2, head, l);
    }
    ADD("%%k.%u' %%v.%u' = kv_write k=%%kr%u v=%%vh%u slot=%%slot k_cache=%%k.%u v_cache=%%v.%u : "
        "state %%k.%u, state %%v.%u @L%u\n",
        l, l, l, l, l, l, l, l, l);
    ADD("%%o%u = attention q=%%qr%u k_cache=%%k.%u' v_cache=%%v.%u' table=%%table row=%%row "
        "pos=%%pos len=%%len {scale=0.25 causal=1} : f32 [T,2,%u] @L%u\n",
        l, l, l, l, head, l);
    ADD("%%of%u = reshape %%o%u : f32 [T,%u] @L%u\n", l, l, 2 * head, l);
    ADD("%%wo%u = weight %s [%u,%u] \"blk.%u.o\"\n", l, dtype, dim, 2 * head, l);
    ADD("%%p%u = matmul x=%%of%u w=%%wo%u : f32 [T,%u] @L%u\n", l, l, l, dim, l);
    ADD("%%h%u = add a=%%x%u b=%%p%u : f32 [T,%u] @L%u\n", l, l, l, dim, l);
    ADD("%%f%u.w = weight f32 [%u] \"blk.%u.ffn_norm\"\n", l, dim, l);
    ADD("%%f%u = rms_norm x=%%h%u weight=%%f%u.w {eps=1e-05} : f32 [T,%u] @L%u\n", l, l, l, dim, l);
    for (int i = 0; i < 2; i++)
        ADD("%%w%c%u = weight %s [%u,%u] \"blk.%u.%s\"\n"
            "%%%c%u = matmul x=%%f%u w=%%w%c%u : f32 [T,%u] @L%u\n",
            "gu"[i], l, dtype, 2 * dim, dim, l, i ? "up" : "gate", "gu"[i], l, l, "gu"[i], l,
            2 * dim, l);
    ADD("%%a%u = glu gate=%%g%u up=%%u%u {act=silu} : f32 [T,%u] @L%u\n", l, l, l, 2 * dim, l);
    ADD("%%wd%u = weight %s [%u,%u] \"blk.%u.down\"\n", l, dtype, dim, 2 * dim, l);
    ADD("%%d%u = matmul x=%%a%u w=%%wd%u : f32 [T,%u] @L%u\n", l, l, l, dim, l);
    ADD("%%x%u = add a=%%h%u b=%%d%u : f32 [T,%u] @L%u\n", l + 1, l, l, dim, l);
}

char *llama_text(uint32_t layers, uint32_t dim, uint32_t head, const char *dtype) {
    hy_text text = {0}, *t = &text;
    ADD("graph \"llama\" {\n%%tokens = input i32 [T]\n%%pos = input i32 [T]\n");
    ADD("%%slot = input i32 [T]\n%%row = input i32 [T]\n%%table = input i32 [S,L]\n");
    ADD("%%len = input i32 [S]\n%%rows = input i32 [R]\n");
    for (uint32_t l = 0; l < layers; l++)
        ADD("%%k.%u = state f32 [P,1,64,%u]\n%%v.%u = state f32 [P,1,64,%u]\n", l, head, l, head);
    ADD("%%emb = weight %s [80,%u] \"emb\"\n", dtype, dim);
    ADD("%%x0 = embed ids=%%tokens table=%%emb : f32 [T,%u]\n%%freq = literal f32 [%u,2] {", dim,
        head / 2);
    for (uint32_t i = 0; i < head / 2; i++) {
        float f = 1.0f / (float)(1u << (i % 16));
        uint32_t bits;
        memcpy(&bits, &f, 4);
        ADD(" 0x%x 0x0", bits);
    }
    ADD(" }\n%%rt = rope_table pos=%%pos freq=%%freq : f32 [T,%u]\n", head);
    for (uint32_t l = 0; l < layers; l++)
        llama_layer(t, l, dim, head, dtype);
    ADD("%%last = gather_rows x=%%x%u rows=%%rows : f32 [R,%u]\n", layers, dim);
    ADD("%%on.w = weight f32 [%u] \"out_norm\"\n", dim);
    ADD("%%on = rms_norm x=%%last weight=%%on.w {eps=1e-05} : f32 [R,%u]\n", dim);
    ADD("%%logits = matmul x=%%on w=%%emb : f32 [R,80]\noutput \"logits\" %%logits\n}\n");
#undef ADD
    assert_false(text.failed);
    return text.data;
}

/* ---- loading ------------------------------------------------------------------------------------ */

/* Row `row` of a file tensor: small numbers that follow from its name. */
static void part_row(const char *name, uint64_t row, hy_dtype dtype, uint32_t columns, void *out) {
    hy_rng rng = hy_rng_seed(hy_hash(name, strlen(name), 7 + row));
    float *values = malloc(columns * sizeof *values);
    assert_non_null(values);
    for (uint32_t i = 0; i < columns; i++)
        values[i] = columns > 1 || !strstr(name, "norm") ? hy_rng_normal(&rng) * 0.2f : 1.0f;
    hy_quantize_row(dtype, values, out, columns);
    free(values);
}

/* A vector's elements are its rows, so that joined biases keep their values. */
static void vector_part(const hy_weight_part *part, hy_dtype dtype, char *out) {
    uint32_t bytes = hy_dtype_get(dtype)->bytes;
    for (uint32_t i = 0; i < part->rows; i++)
        part_row(part->name, i, dtype, 1, out + (size_t)i * bytes);
}

static void *constant_bytes(const hy_value *value, uint64_t *bytes) {
    hy_bounds bounds = {{1, 1, 1, 1, 1, 1}};
    uint64_t rows = hy_value_elements(value, 0) / value->dim[value->rank - 1].factor;
    uint32_t columns = value->dim[value->rank - 1].factor;
    uint64_t row_bytes = hy_dtype_row_bytes(hy_dtype_get((hy_dtype)value->dtype), columns);
    assert_false(hy_value_bytes(value, &bounds, bytes));
    char *data = malloc(*bytes), *at = data;
    assert_non_null(data);
    if (value->kind == HY_VALUE_LITERAL) return memcpy(data, value->data, *bytes);
    if (value->rank == 1) {
        for (uint32_t p = 0; p < value->parts; p++) {
            vector_part(&value->part[p], (hy_dtype)value->dtype, at);
            at += (size_t)value->part[p].rows * hy_dtype_get((hy_dtype)value->dtype)->bytes;
        }
        return data;
    }
    /* axis 0: all rows of a part; axis 1: its rows inside each index of dim 0 */
    uint64_t outer = value->axis ? value->dim[0].factor : 1;
    uint64_t inner = rows / outer / value->dim[value->axis].factor; /* rows per index of the axis */
    for (uint64_t o = 0; o < outer; o++)
        for (uint32_t p = 0; p < value->parts; p++) {
            uint64_t count = value->part[p].rows * inner;
            for (uint64_t r = 0; r < count; r++, at += row_bytes)
                part_row(value->part[p].name, o * count + r, (hy_dtype)value->dtype, columns, at);
        }
    return data;
}

static void load_constant(program_task *task, const hy_program_constant *c) {
    hy_buffer *buffer = task->memory.buffer[c->place.device][c->place.arena];
    uint64_t bytes;
    const hy_value *value = &task->program->graph->value[c->value];
    void *data = constant_bytes(value, &bytes);
    uint64_t rows = hy_value_elements(value, 0) / value->dim[value->rank - 1].factor;
    if (c->packed) {
        hy_view view = {buffer, c->place.offset, c->place.size};
        must(HY_FN(buffer)->pack(buffer->device, &c->op, &c->kernel, c->operand, 0, rows, data,
                                 view));
    } else {
        assert_int_equal(bytes, c->place.size);
        must(HY_FN(buffer)->write(buffer, c->place.offset, data, bytes));
    }
    free(data);
}

static void fill(hy_buffer *buffer, int byte) {
    char *data = malloc(buffer->size);
    assert_non_null(data);
    memset(data, byte, buffer->size);
    must(HY_FN(buffer)->write(buffer, 0, data, buffer->size));
    free(data);
}

static void new_memory(program_task *task, uint32_t d) {
    hy_device *device = task->program->device[d];
    hy_device_info info;
    BACKEND(device)->info(device, &info);
    for (int a = 0; a < HY_ARENA_COUNT; a++) {
        uint64_t bytes = task->program->arena_bytes[d][a];
        hy_heap heap = a == HY_ARENA_STEP && info.host_memory ? HY_HEAP_HOST : HY_HEAP_DEVICE;
        if (!bytes) continue;
        must(BACKEND(device)->buffer_new(device, heap, bytes, &task->memory.buffer[d][a]));
        fill(task->memory.buffer[d][a], a == HY_ARENA_STATE || a == HY_ARENA_STEP ? 0 : POISON);
    }
    if (!info.host_memory)
        must(BACKEND(device)->buffer_new(device, HY_HEAP_HOST,
                                         task->program->arena_bytes[d][HY_ARENA_STEP],
                                         &task->memory.staging[d]));
    if (task->memory.staging[d]) fill(task->memory.staging[d], 0);
    must(BACKEND(device)->timeline_new(device, &task->timeline[d]));
}

program_task *task_new(const hy_graph *graph, const hy_compile_params *params) {
    program_task *task = calloc(1, sizeof *task);
    assert_non_null(task);
    must(hy_compile(graph, params, &task->program));
    for (uint32_t d = 0; d < task->program->devices; d++)
        new_memory(task, d);
    for (uint32_t i = 0; i < task->program->constants; i++)
        load_constant(task, &task->program->constant[i]);
    for (uint32_t b = 0; b < task->program->buckets; b++)
        must(hy_program_record(task->program, b, &task->memory, task->segment[b],
                               HY_COUNT_OF(task->segment[b]), &task->segments[b]));
    return task;
}

void task_free(program_task *task) {
    for (uint32_t b = 0; b < task->program->buckets; b++)
        for (uint32_t i = 0; i < task->segments[b]; i++)
            hy_cmd_free(task->segment[b][i].cmd);
    for (uint32_t d = 0; d < HY_MAX_DEVICES; d++) {
        hy_timeline_free(task->timeline[d]);
        hy_buffer_free(task->memory.staging[d]);
        for (int a = 0; a < HY_ARENA_COUNT; a++)
            hy_buffer_free(task->memory.buffer[d][a]);
    }
    hy_program_free(task->program);
    free(task);
}

/* ---- running ------------------------------------------------------------------------------------ */

static hy_buffer *step_block(program_task *task, uint32_t d) {
    hy_buffer *staging = task->memory.staging[d];
    return staging ? staging : task->memory.buffer[d][HY_ARENA_STEP];
}

void task_input(program_task *task, const char *name, const void *data, uint64_t bytes) {
    bool found = false;
    for (uint32_t i = 0; i < task->program->inputs; i++) {
        const hy_program_binding *b = &task->program->input[i];
        if (strcmp(b->name, name)) continue;
        hy_buffer *buffer = step_block(task, b->place.device);
        assert_true(bytes <= b->place.size);
        must(HY_FN(buffer)->write(buffer, b->place.offset, data, bytes));
        found = true;
    }
    assert_true(found);
}

static void transfer(program_task *task, const hy_program_step *step) {
    const hy_place *from = &step->operand[HY_COPY_x], *to = &step->operand[HY_COPY_out];
    hy_buffer *src = task->memory.buffer[from->device][from->arena];
    hy_buffer *dst = task->memory.buffer[to->device][to->arena];
    assert_int_equal(from->size, to->size);
    void *data = malloc(from->size);
    assert_non_null(data);
    must(HY_FN(src)->read(src, from->offset, data, from->size));
    must(HY_FN(dst)->write(dst, to->offset, data, to->size));
    free(data);
}

void task_run(program_task *task, uint32_t bucket, uint32_t t, uint32_t s, uint32_t r) {
    uint32_t counters[HY_COUNTER_COUNT] = {0, t, s, r};
    for (uint32_t d = 0; d < task->program->devices; d++) {
        hy_buffer *buffer = step_block(task, d);
        must(HY_FN(buffer)->write(buffer, 0, counters, sizeof counters));
    }
    for (uint32_t i = 0; i < task->segments[bucket]; i++) {
        const hy_program_segment *segment = &task->segment[bucket][i];
        uint32_t d = segment->device;
        if (!segment->cmd) {
            transfer(task, segment->transfer);
            continue;
        }
        must(HY_FN(segment->cmd)
                 ->submit(task->program->device[d], segment->cmd, task->timeline[d],
                          ++task->value[d]));
        must(HY_FN(segment->cmd)->timeline_wait(task->timeline[d], task->value[d], UINT64_MAX));
    }
}

void task_output(program_task *task, const char *name, float *out, uint64_t count) {
    for (uint32_t i = 0; i < task->program->outputs; i++) {
        const hy_program_binding *b = &task->program->output[i];
        if (strcmp(b->name, name)) continue;
        hy_buffer *buffer = task->memory.buffer[b->place.device][b->place.arena];
        assert_true(count * sizeof *out <= b->place.size);
        must(HY_FN(buffer)->read(buffer, b->place.offset, out, count * sizeof *out));
        return;
    }
    fail_msg("no output %s", name);
}

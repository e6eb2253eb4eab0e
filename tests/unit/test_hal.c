/* The registry, the life of objects on null and ref, the validating and the tracing wrapper. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/log.h"
#include "tests/unit/op_run.h"

#define FN(device) ((device)->backend)

/* The workspace of ref grows with its workers; the tests lay it out for two. */
static const hy_device_params two_threads = {.threads = 2};

static void breach(hy_status status, const char *text) {
    if (status == HY_OK) fail_msg("not noticed: %s", text);
    if (status != HY_E_INTERNAL || strncmp(hy_error_text(), "validate: ", 10) ||
        !strstr(hy_error_text(), text))
        fail_msg("\"%s\" does not say \"%s\"", hy_error_text(), text);
}

/* ---- registry ------------------------------------------------------------------------------------ */

static void registry(void **state) {
    (void)state;
    hy_device *device;
    hy_device_info info;
    const char *const names[] = {"cuda", "hip", "vulkan", "cpu", "ref", "null"};
    for (uint32_t i = 0; i < HY_COUNT_OF(names); i++)
        assert_string_equal(hy_backend_at(i)->name, names[i]);
    assert_null(hy_backend_at(HY_COUNT_OF(names)));
    assert_null(hy_backend_by_name("nul"));
    run_must(hy_device_open("null:1", NULL, &device));
    FN(device)->info(device, &info);
    assert_string_equal(info.name, "null 1");
    assert_true(info.memory_total > UINT64_C(1) << 40);
    hy_device_close(device);
    run_must(hy_device_open("auto", NULL, &device)); /* a card if there is one, else the CPU */
    FN(device)->info(device, &info);
    assert_false(info.software);
    hy_device_close(device);
    const char *const wrong[] = {"null:2",   "metal", "null:", "null:x",
                                 "null:1:2", ":1",    "",      "ref:99999999999999"};
    for (size_t i = 0; i < HY_COUNT_OF(wrong); i++) {
        assert_int_equal(hy_device_open(wrong[i], NULL, &device), HY_E_NOT_FOUND);
        assert_non_null(strstr(hy_error_text(), "cpu:0, ref:0, null:0"));
    }
}

/* ---- null ---------------------------------------------------------------------------------------- */

static void null_takes_all(void **state) {
    (void)state;
    hy_device *device;
    hy_buffer *buffer, *host;
    hy_kernel kernel[HY_MAX_CANDIDATES];
    uint32_t count;
    run_must(hy_device_open("null", NULL, &device));
    run_must(FN(device)->buffer_new(device, HY_HEAP_DEVICE, UINT64_C(100) << 30, &buffer));
    assert_null(buffer->host); /* a discrete device */
    run_must(FN(device)->write(buffer, (UINT64_C(100) << 30) - 3, "abc", 3));
    char back[4] = {0};
    run_must(FN(device)->read(buffer, (UINT64_C(100) << 30) - 3, back, 3));
    assert_string_equal(back, "abc");
    run_must(FN(device)->buffer_new(device, HY_HEAP_HOST, 10, &host));
    assert_non_null(host->host);
    for (unsigned kind = 0; kind < HY_OP_KIND_COUNT; kind++) {
        const hy_op op = op_sample((hy_op_kind)kind);
        run_must(FN(device)->candidates(device, &op, kernel, &count));
        assert_int_equal(count, 1);
        assert_memory_equal(kernel[0].name, "null.", 5);
        assert_string_equal(kernel[0].name + 5, hy_op_get((hy_op_kind)kind)->name);
    }
    hy_buffer_free(host);
    hy_buffer_free(buffer);
    hy_device_close(device);
}

/* Packing keeps the file's bytes, in chunks of any order. */
static void packing(void **state) {
    (void)state;
    const char *const specs[] = {"null", "ref"};
    for (int i = 0; i < 2; i++) {
        hy_device *device;
        hy_buffer *buffer;
        hy_kernel kernel[HY_MAX_CANDIDATES];
        uint32_t count;
        uint8_t file[6 * 34], back[6 * 34];
        hy_op op = op_sample(HY_OP_MATMUL);
        op.operand[HY_MATMUL_w].dtype = HY_DTYPE_Q8_0;
        op.operand[HY_MATMUL_w].constant = 1;
        for (size_t n = 0; n < sizeof file; n++)
            file[n] = (uint8_t)(n * 7);
        run_must(hy_device_open(specs[i], NULL, &device));
        run_must(hy_validate_open(device, &device));
        run_must(FN(device)->candidates(device, &op, kernel, &count));
        assert_int_equal(kernel[0].constant[HY_MATMUL_w].bytes, sizeof file);
        assert_int_equal(kernel[0].constant[HY_MATMUL_x].rows, 0);
        run_must(FN(device)->buffer_new(device, HY_HEAP_DEVICE, 4096, &buffer));
        const hy_view view = {buffer, 512, sizeof file};
        run_must(FN(device)->pack(device, &op, kernel, HY_MATMUL_w, 4, 2, file + 4 * 34, view));
        run_must(FN(device)->pack(device, &op, kernel, HY_MATMUL_w, 0, 4, file, view));
        run_must(FN(device)->unpack(device, &op, kernel, HY_MATMUL_w, view, back));
        assert_memory_equal(file, back, sizeof file);
        breach(FN(device)->pack(device, &op, kernel, HY_MATMUL_w, 4, 3, file, view),
               "rows [4, +3)");
        breach(FN(device)->pack(device, &op, kernel, HY_MATMUL_x, 0, 1, file, view), "constant");
        breach(FN(device)->pack(device, &op, kernel, HY_MATMUL_w, 0, 1, NULL, view), "src is NULL");
        const hy_view less = {buffer, 512, sizeof file - 1};
        breach(FN(device)->unpack(device, &op, kernel, HY_MATMUL_w, less, back), "203 bytes");
        hy_buffer_free(buffer);
        hy_device_close(device);
    }
}

static void *waits(void *timeline) {
    hy_status status = HY_FN((hy_timeline *)timeline)->timeline_wait(timeline, 3, UINT64_MAX);
    return status == HY_OK ? timeline : NULL;
}

/* Values grow, waits time out, another thread may wait before anything is submitted. */
static void timelines(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_ADD);
    const char *const specs[] = {"null", "ref"};
    for (int i = 0; i < 2; i++) {
        op_run run = run_open(specs[i], &op);
        hy_timeline *timeline;
        hy_cmd *cmd;
        pthread_t thread;
        void *woken = NULL;
        uint64_t value = 9;
        run_must(FN(run.device)->cmd_new(run.device, run_counters(&run, 1, 1, 1), &cmd));
        run_must(FN(run.device)->cmd_seal(cmd));
        run_must(FN(run.device)->timeline_new(run.device, &timeline));
        run_must(FN(run.device)->timeline_value(timeline, &value));
        assert_int_equal(value, 0);
        assert_int_equal(FN(run.device)->timeline_wait(timeline, 1, 2000), HY_E_TIMEOUT);
        assert_int_equal(pthread_create(&thread, NULL, waits, timeline), 0);
        run_must(FN(run.device)->submit(run.device, cmd, timeline, 2));
        run_must(FN(run.device)->timeline_wait(timeline, 2, 0));
        run_must(FN(run.device)->submit(run.device, cmd, timeline, 3));
        pthread_join(thread, &woken);
        assert_ptr_equal(woken, timeline);
        hy_timeline_free(timeline);
        hy_cmd_free(cmd);
        run_close(&run);
    }
}

/* A sealed list is replayed with other counters and contents; imported memory is used in place. */
static void replay(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_ADD);
    op_run run = run_open("ref", &op);
    const hy_backend *b = FN(run.device);
    hy_kernel kernel[HY_MAX_CANDIDATES];
    hy_timeline *timeline;
    hy_buffer *imported;
    hy_cmd *cmd;
    uint32_t count;
    static _Alignas(HY_VIEW_ALIGN) float memory[24];
    run_must(b->buffer_import(run.device, memory, sizeof memory, &imported));
    run.view[HY_ADD_a] = hy_view_of(imported);
    run_must(b->candidates(run.device, &op, kernel, &count));
    run_must(b->cmd_new(run.device, run_counters(&run, 1, 0, 0), &cmd));
    run_must(b->cmd_op(cmd, &op, kernel, run.view, run_space(&run, kernel[0].workspace)));
    run_must(b->cmd_barrier(cmd));
    const hy_view copy = run_space(&run, run.view[HY_ADD_out].size);
    run_must(b->cmd_copy(cmd, copy, run.view[HY_ADD_out]));
    run_must(b->cmd_seal(cmd));
    run_must(b->timeline_new(run.device, &timeline));
    for (uint32_t n = 1; n <= 3; n++) {
        memset(run_at(&run, HY_ADD_out), RUN_POISON, 96);
        for (int i = 0; i < 24; i++) {
            memory[i] = (float)(i * n);
            run_f32(&run, HY_ADD_b)[i] = 100;
        }
        run_counters(&run, n, 0, 0);
        run_must(b->submit(run.device, cmd, timeline, n));
        run_must(b->timeline_wait(timeline, n, UINT64_MAX));
        const float *out = hy_view_host(copy);
        for (uint32_t i = 0; i < 8 * n; i++)
            assert_true(out[i] == 100 + memory[i]);
        if (n < 3) assert_int_equal(((const uint8_t *)out)[32 * n], RUN_POISON);
    }
    hy_timeline_free(timeline);
    hy_cmd_free(cmd);
    hy_buffer_free(imported);
    run_close(&run);
}

/* ---- the validating wrapper ---------------------------------------------------------------------- */

/* An add [3,8] on a validated null device, with everything that a correct call needs. */
typedef struct valid {
    hy_device *device;
    hy_buffer *buffer;
    hy_cmd *cmd;
    hy_timeline *timeline;
    hy_kernel kernel[HY_MAX_CANDIDATES];
    hy_op op;
    hy_view view[HY_MAX_OPERANDS];
    hy_view counters, none;
} valid;

static void valid_open(valid *v, const char *spec) {
    uint32_t count;
    memset(v, 0, sizeof *v);
    run_must(hy_device_open(spec, &two_threads, &v->device));
    run_must(hy_validate_open(v->device, &v->device));
    run_must(FN(v->device)->buffer_new(v->device, HY_HEAP_HOST, 1 << 16, &v->buffer));
    v->op = op_sample(HY_OP_ADD);
    v->op.operand[HY_ADD_b] = v->op.operand[HY_ADD_a];
    run_must(FN(v->device)->candidates(v->device, &v->op, v->kernel, &count));
    v->counters = (hy_view){v->buffer, 0, 32};
    for (uint32_t i = 0; i < 3; i++)
        v->view[i] = (hy_view){v->buffer, 256 * (i + 1), 96};
    run_must(FN(v->device)->cmd_new(v->device, v->counters, &v->cmd));
    run_must(FN(v->device)->timeline_new(v->device, &v->timeline));
}

static void valid_close(valid *v) {
    hy_cmd_free(v->cmd);
    hy_timeline_free(v->timeline);
    hy_buffer_free(v->buffer);
    hy_device_close(v->device);
}

static hy_status record(valid *v) {
    return FN(v->device)->cmd_op(v->cmd, &v->op, v->kernel, v->view, v->none);
}

static void valid_buffers(void **state) {
    (void)state;
    valid v;
    hy_buffer *buffer;
    char bytes[8] = {0};
    valid_open(&v, "null");
    const hy_backend *b = FN(v.device);
    assert_string_equal(b->name, "null");
    breach(b->buffer_new(v.device, HY_HEAP_DEVICE, 0, &buffer), "0 bytes");
    breach(b->buffer_new(v.device, (hy_heap)2, 1, &buffer), "heap 2");
    breach(b->buffer_import(v.device, NULL, 8, &buffer), "no memory");
    breach(b->buffer_import(v.device, bytes + 1, 4, &buffer), "not aligned");
    breach(b->write(v.buffer, (1 << 16) - 4, bytes, 8), "of a buffer of 65536 bytes");
    breach(b->read(v.buffer, UINT64_MAX, bytes, 8), "of a buffer");
    breach(b->read(v.buffer, 0, NULL, 8), "at NULL");
    run_must(b->write(v.buffer, (1 << 16) - 8, bytes, 8));
    const hy_view outside = {v.buffer, (1 << 16) - 16, 32}, odd = {v.buffer, 2, 32};
    hy_cmd *cmd;
    breach(b->cmd_new(v.device, outside, &cmd), "counters is [65520, +32)");
    breach(b->cmd_new(v.device, odd, &cmd), "not a multiple of 4");
    breach(b->cmd_new(v.device, v.none, &cmd), "counters has no buffer");
    valid_close(&v);
}

static void valid_operands_of_one_op(void **state) {
    (void)state;
    valid v, other;
    valid_open(&v, "null");
    valid_open(&other, "null");
    const valid good = v;
    v.view[1].size = 95;
    breach(record(&v), "add: b has 95 bytes, not 96");
    v = good;
    v.view[1].offset = (1 << 16) - 64;
    breach(record(&v), "add: b is [65472, +96)");
    v = good;
    v.view[1].offset += 2;
    breach(record(&v), "add: b starts at 514, not a multiple of 4");
    v = good;
    v.view[1].buffer = other.buffer;
    breach(record(&v), "another device");
    v = good;
    v.view[1].buffer = NULL;
    breach(record(&v), "b has no buffer");
    v = good;
    v.view[2].offset = v.view[0].offset + 64;
    breach(record(&v), "add: out overlaps a");
    v = good;
    v.op.operand[2].dim[0] = 4;
    breach(record(&v), "dim 0 is 3 in a but 4 in out");
    v = good;
    v.kernel[0].name = "null.mul";
    breach(record(&v), "null.mul is not among the candidates");
    v = good;
    v.kernel[0].workspace = 4096;
    breach(record(&v), "not among the candidates");
    v = good;
    v.view[2] = v.view[0]; /* null allows nothing in place */
    breach(record(&v), "add: out overlaps a");
    v = good;
    run_must(record(&v));
    v.op.operand[1] = (hy_tensor){0};
    breach(record(&v), "b is missing");
    valid_close(&v);
    valid_close(&other);
}

/* Workspace and in place, which ref has. */
static void valid_workspace(void **state) {
    (void)state;
    valid v;
    valid_open(&v, "ref");
    hy_view space = {v.buffer, 4096, v.kernel[0].workspace};
    const hy_backend *b = FN(v.device);
    assert_true(v.kernel[0].workspace > 0);
    breach(b->cmd_op(v.cmd, &v.op, v.kernel, v.view, v.none), "workspace has no buffer");
    space.size--;
    breach(b->cmd_op(v.cmd, &v.op, v.kernel, v.view, space), "workspace has");
    space.size++;
    space.offset += 128;
    breach(b->cmd_op(v.cmd, &v.op, v.kernel, v.view, space), "not a multiple of 256");
    space.offset = 512;
    breach(b->cmd_op(v.cmd, &v.op, v.kernel, v.view, space), "the workspace overlaps b");
    space.offset = 4096;
    v.view[2] = v.view[1];
    v.view[2].offset += 4;
    breach(b->cmd_op(v.cmd, &v.op, v.kernel, v.view, space), "not the same view");
    v.view[2] = v.view[1]; /* out = b, as ref allows */
    run_must(b->cmd_op(v.cmd, &v.op, v.kernel, v.view, space));
    for (int i = 0; i < 3; i++)
        v.view[i].offset += 1024;
    breach(b->cmd_op(v.cmd, &v.op, v.kernel, v.view, space), "overlaps workspace of add (op 0)");
    valid_close(&v);
}

static void valid_waves(void **state) {
    (void)state;
    valid v;
    valid_open(&v, "null");
    const hy_backend *b = FN(v.device);
    run_must(record(&v));
    const valid first = v;
    v.view[0] = first.view[2]; /* reads what the first wrote */
    v.view[2].offset = 2048;
    breach(record(&v), "add (op 1) reads a, which overlaps out of add (op 0) written");
    v.view[0] = first.view[0];
    v.view[2] = first.view[1]; /* writes what the first read */
    v.view[1].offset = 2048;
    breach(record(&v), "writes out, which overlaps b of add (op 0) read");
    v = first;
    v.view[2].offset = 2048; /* reading the same is fine */
    run_must(record(&v));
    breach(b->cmd_copy(v.cmd, v.counters, (hy_view){v.buffer, 8192, 32}),
           "cmd_copy (op 2) writes dst, which overlaps counters of add");
    run_must(b->cmd_barrier(v.cmd));
    v.view[0] = first.view[2];
    v.view[2].offset = 4096;
    run_must(record(&v)); /* now it may */
    breach(b->cmd_copy(v.cmd, (hy_view){v.buffer, 8192, 32}, (hy_view){v.buffer, 8192, 32}),
           "dst overlaps src");
    breach(b->cmd_copy(v.cmd, (hy_view){v.buffer, 8192, 32}, (hy_view){v.buffer, 0, 31}),
           "31 bytes to 32");
    valid_close(&v);
}

/* Parts of rows that lie side by side do not overlap, though their ranges do. */
static void valid_strides(void **state) {
    (void)state;
    valid v;
    valid_open(&v, "null");
    for (uint32_t i = 0; i < 3; i++) {
        v.op.operand[i].stride[0] = 24;
        v.view[i] = (hy_view){v.buffer, 256 + 32 * (uint64_t)i, (2 * 24 + 8) * 4};
    }
    run_must(record(&v));
    v.view[2].offset -= 4;
    breach(record(&v), "out overlaps b");
    valid_close(&v);
}

static void valid_lists(void **state) {
    (void)state;
    valid v, other;
    valid_open(&v, "null");
    valid_open(&other, "null");
    const hy_backend *b = FN(v.device);
    run_must(record(&v));
    breach(b->submit(v.device, v.cmd, v.timeline, 1), "not sealed");
    run_must(b->cmd_seal(v.cmd));
    breach(record(&v), "cmd_op: the list is sealed");
    breach(b->cmd_barrier(v.cmd), "cmd_barrier: the list is sealed");
    breach(b->cmd_copy(v.cmd, v.view[0], v.view[1]), "cmd_copy: the list is sealed");
    breach(b->cmd_seal(v.cmd), "cmd_seal: the list is sealed");
    breach(b->submit(v.device, v.cmd, v.timeline, 0), "value 0 does not grow from 0");
    run_must(b->submit(v.device, v.cmd, v.timeline, 5));
    breach(b->submit(v.device, v.cmd, v.timeline, 5), "value 5 does not grow from 5");
    breach(b->submit(v.device, other.cmd, v.timeline, 6), "the list is freed or of another");
    breach(b->submit(v.device, v.cmd, other.timeline, 6), "the timeline is freed or of another");
    run_must(b->submit(v.device, v.cmd, v.timeline, 6));
    hy_buffer_free(v.buffer);
    breach(b->submit(v.device, v.cmd, v.timeline, 7), "a buffer that is freed");
    v.buffer = NULL;
    valid_close(&v);
    valid_close(&other);
}

/* A backend that breaks its promises: the null table with one function exchanged. */
static hy_backend liar;
static hy_kernel lie;
static hy_status lying_candidates(hy_device *device, const hy_op *op, hy_kernel *out,
                                  uint32_t *count) {
    (void)device, (void)op;
    out[0] = out[1] = lie;
    *count = 2;
    return HY_OK;
}
static hy_status refusing_op(hy_cmd *cmd, const hy_op *op, const hy_kernel *kernel,
                             const hy_view *views, hy_view workspace) {
    (void)cmd, (void)op, (void)kernel, (void)views, (void)workspace;
    return hy_fail(HY_E_UNSUPPORTED, "not today");
}

static void valid_backends(void **state) {
    (void)state;
    valid v;
    hy_device *inner;
    hy_kernel out[HY_MAX_CANDIDATES];
    uint32_t count;
    run_must(hy_device_open("null", NULL, &inner));
    liar = *inner->backend;
    liar.candidates = lying_candidates;
    inner->backend = &liar;
    run_must(hy_validate_open(inner, &v.device));
    const hy_backend *b = FN(v.device);
    v.op = op_sample(HY_OP_EMBED);
    v.op.operand[HY_EMBED_table].constant = 1;
    const uint64_t bytes = hy_tensor_bytes(&v.op.operand[HY_EMBED_table]);
    const hy_kernel honest = {.name = "liar", .constant[HY_EMBED_table] = {0, 1, bytes}};
    lie = honest;
    run_must(b->candidates(v.device, &v.op, out, &count));
    lie.name = "";
    breach(b->candidates(v.device, &v.op, out, &count), "has no name");
    lie = honest;
    lie.flags = 64;
    breach(b->candidates(v.device, &v.op, out, &count), "flags 0x40");
    lie = honest;
    lie.rounded = HY_DTYPE_F16;
    breach(b->candidates(v.device, &v.op, out, &count), "does not round and names dtype");
    lie.flags = HY_KERNEL_ROUNDS;
    run_must(b->candidates(v.device, &v.op, out, &count));
    lie.rounded = HY_DTYPE_BF16;
    run_must(b->candidates(v.device, &v.op, out, &count));
    lie.rounded = HY_DTYPE_Q4_0;
    breach(b->candidates(v.device, &v.op, out, &count), "rounds to dtype");
    lie = honest;
    lie.constant[HY_EMBED_table].rows = 0;
    breach(b->candidates(v.device, &v.op, out, &count), "lacks a layout for table");
    lie = honest;
    lie.constant[HY_EMBED_table].bytes--;
    breach(b->candidates(v.device, &v.op, out, &count), "packs table in");
    lie = honest;
    lie.constant[HY_EMBED_ids].rows = 1;
    breach(b->candidates(v.device, &v.op, out, &count), "has a layout for ids");
    lie = honest;
    lie.in_place = 1u << HY_EMBED_ids;
    breach(b->candidates(v.device, &v.op, out, &count), "in place of ids");
    hy_device_close(v.device);
}

/* Recording refuses what candidates offered; a kernel without REPLAYABLE runs once. */
static void valid_promises(void **state) {
    (void)state;
    hy_device *inner;
    valid v;
    run_must(hy_device_open("null", NULL, &inner));
    valid_open(&v, "null");
    const hy_op op = v.op;
    valid_close(&v);
    liar = *inner->backend;
    liar.candidates = lying_candidates;
    inner->backend = &liar;
    lie = (hy_kernel){.name = "liar"};
    run_must(hy_validate_open(inner, &v.device));
    const hy_backend *b = FN(v.device);
    run_must(b->buffer_new(v.device, HY_HEAP_HOST, 4096, &v.buffer));
    run_must(b->cmd_new(v.device, (hy_view){v.buffer, 0, 32}, &v.cmd));
    run_must(b->timeline_new(v.device, &v.timeline));
    for (uint32_t i = 0; i < 3; i++)
        v.view[i] = (hy_view){v.buffer, 256 * (i + 1), 96};
    liar.cmd_op = refusing_op;
    breach(b->cmd_op(v.cmd, &op, &lie, v.view, (hy_view){0}), "liar was refused: not today");
    run_must(hy_device_open("null", NULL, &inner));
    liar.cmd_op = inner->backend->cmd_op;
    hy_device_close(inner);
    run_must(b->cmd_barrier(v.cmd));
    run_must(b->cmd_op(v.cmd, &op, &lie, v.view, (hy_view){0}));
    run_must(b->cmd_seal(v.cmd));
    run_must(b->submit(v.device, v.cmd, v.timeline, 1));
    breach(b->submit(v.device, v.cmd, v.timeline, 2), "cannot be replayed");
    valid_close(&v);
}

static double false_rate;
static hy_view asked;
static hy_status false_peak(hy_device *device, hy_peak kind, hy_view memory, double *rate) {
    (void)device, (void)kind;
    asked = memory;
    *rate = false_rate;
    return HY_OK;
}

/* Peaks: preconditions, what a backend answers, and that both wrappers pass on what there is. */
static void peaks(void **state) {
    (void)state;
    hy_device *inner, *device;
    hy_buffer *buffer;
    double rate = -1;
    run_must(hy_device_open("null", NULL, &inner));
    assert_null(inner->backend->peak);
    run_must(hy_trace_open(inner, &device));
    run_must(hy_validate_open(device, &device));
    assert_null(FN(device)->peak);
    hy_device_close(device);
    run_must(hy_device_open("null", NULL, &inner));
    liar = *inner->backend;
    liar.peak = false_peak;
    inner->backend = &liar;
    run_must(hy_trace_open(inner, &device));
    run_must(hy_validate_open(device, &device));
    const hy_backend *b = FN(device);
    run_must(b->buffer_new(device, HY_HEAP_DEVICE, 2 * HY_PEAK_LEAST, &buffer));
    const hy_view good = {buffer, HY_VIEW_ALIGN, HY_PEAK_LEAST};
    hy_view bad = good;
    false_rate = 7;
    run_must(b->peak(device, HY_PEAK_INT8, good, &rate));
    assert_true(rate == 7);
    assert_true(asked.buffer != buffer && asked.buffer->device == inner);
    assert_int_equal(asked.offset, HY_VIEW_ALIGN);
    assert_int_equal(asked.size, HY_PEAK_LEAST);
    breach(b->peak(device, HY_PEAKS, good, &rate), "peak: kind 6");
    breach(b->peak(device, (hy_peak)-1, good, &rate), "peak: kind -1");
    breach(b->peak(device, HY_PEAK_READ, good, NULL), "rate is NULL");
    bad.size--;
    breach(b->peak(device, HY_PEAK_READ, bad, &rate), "1048575 bytes, not 1048576");
    bad = (hy_view){buffer, HY_VIEW_ALIGN / 2, HY_PEAK_LEAST};
    breach(b->peak(device, HY_PEAK_READ, bad, &rate), "not a multiple of 256");
    bad = (hy_view){buffer, HY_PEAK_LEAST + HY_VIEW_ALIGN, HY_PEAK_LEAST};
    breach(b->peak(device, HY_PEAK_READ, bad, &rate), "of a buffer of");
    breach(b->peak(device, HY_PEAK_READ, (hy_view){0}, &rate), "has no buffer");
    false_rate = -1;
    breach(b->peak(device, HY_PEAK_READ, good, &rate), "a rate of -1");
    false_rate = 0.0 / 0.0;
    breach(b->peak(device, HY_PEAK_READ, good, &rate), "a rate of");
    false_rate = 1e300 * 1e300;
    breach(b->peak(device, HY_PEAK_READ, good, &rate), "a rate of inf");
    hy_buffer_free(buffer);
    hy_device_close(device);
}

static void remember(void *user, hy_log_level level, const char *text) {
    char *lines = user;
    if (level == HY_LOG_ERROR) strncat(lines, text, 300);
}

static void valid_leaks(void **state) {
    (void)state;
    static char lines[1024];
    valid v;
    hy_log_set(remember, lines, HY_LOG_ERROR);
    valid_open(&v, "ref");
    valid_close(&v);
    assert_string_equal(lines, "");
    valid_open(&v, "ref");
    hy_device_close(v.device); /* frees what is left, and says so */
    hy_log_set(NULL, NULL, HY_LOG_ERROR);
    assert_non_null(strstr(lines, "1 buffer not freed"));
    assert_non_null(strstr(lines, "1 cmd not freed"));
    assert_non_null(strstr(lines, "1 timeline not freed"));
}

/* ---- the tracing wrapper ------------------------------------------------------------------------- */

typedef struct totals {
    uint32_t kernels;
    uint64_t add_calls, add_bytes, copy_calls, last_ns;
} totals;

static void count_totals(void *user, const char *kernel, uint64_t calls, uint64_t ns,
                         uint64_t bytes, double flops) {
    totals *t = user;
    assert_true(t->kernels == 0 || ns <= t->last_ns);
    t->last_ns = ns;
    t->kernels++;
    if (!strcmp(kernel, "ref.add")) {
        t->add_calls = calls;
        t->add_bytes = bytes;
        assert_true(flops == 24.0 * (double)calls);
    }
    if (!strcmp(kernel, "copy")) t->copy_calls = calls;
}

static void check_events(json_t *root, size_t count) {
    json_t *events = json_object_get(root, "traceEvents"), *event;
    size_t i;
    assert_int_equal(json_array_size(events), count);
    double last = 0;
    json_array_foreach(events, i, event) {
        const double ts = json_number_value(json_object_get(event, "ts"));
        const char *name = json_string_value(json_object_get(event, "name"));
        json_t *args = json_object_get(event, "args");
        assert_true(ts >= last && json_number_value(json_object_get(event, "dur")) >= 0);
        assert_string_equal(json_string_value(json_object_get(event, "ph")), "X");
        assert_string_equal(name, i % 3 == 2 ? "copy" : "ref.add");
        if (i % 3 == 2) continue;
        assert_string_equal(json_string_value(json_object_get(args, "op")),
                            "add a=f32[T3,8] b=f32[T3,8] out=f32[T3,8]");
        assert_int_equal(json_integer_value(json_object_get(args, "bytes")), 288);
        last = ts;
    }
}

static void trace(void **state) {
    (void)state;
    char path[] = "/tmp/halyard-trace-XXXXXX";
    hy_device *tracing;
    valid v;
    uint32_t count;
    const int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    valid_open(&v, "ref");
    const hy_op op = v.op;
    valid_close(&v);
    run_must(hy_device_open("ref", &two_threads, &tracing));
    run_must(hy_trace_open(tracing, &tracing));
    run_must(hy_validate_open(tracing, &v.device)); /* the two together */
    const hy_backend *b = FN(v.device);
    run_must(b->buffer_new(v.device, HY_HEAP_DEVICE, 1 << 16, &v.buffer));
    memset(v.buffer->host, 0, 1 << 16);
    ((uint32_t *)v.buffer->host)[HY_COUNTER_T] = 3;
    run_must(b->candidates(v.device, &op, v.kernel, &count));
    run_must(b->cmd_new(v.device, (hy_view){v.buffer, 0, 32}, &v.cmd));
    for (uint32_t n = 0; n < 2; n++) {
        const hy_view space = {v.buffer, 32768 + 8192 * n, v.kernel[0].workspace};
        for (uint32_t i = 0; i < 3; i++)
            v.view[i] = (hy_view){v.buffer, 256 * (4 * n + i + 1), 96};
        ((float *)hy_view_host(v.view[0]))[0] = 2;
        ((float *)hy_view_host(v.view[1]))[0] = (float)(n + 3);
        run_must(b->cmd_op(v.cmd, &op, v.kernel, v.view, space));
    }
    run_must(b->cmd_barrier(v.cmd));
    run_must(b->cmd_copy(v.cmd, (hy_view){v.buffer, 8192, 96}, v.view[2]));
    run_must(b->cmd_seal(v.cmd));
    run_must(b->timeline_new(v.device, &v.timeline));
    for (uint64_t n = 1; n <= 2; n++) {
        run_must(b->submit(v.device, v.cmd, v.timeline, n));
        run_must(b->timeline_wait(v.timeline, n, UINT64_MAX));
    }
    assert_true(*(float *)((char *)v.buffer->host + 8192) == 6); /* it ran */
    for (size_t events = 6; events <= 6; events -= 6) {          /* 6, then none are left */
        run_must(hy_trace_write(tracing, path));
        json_error_t error;
        json_t *root = json_load_file(path, 0, &error);
        if (!root) fail_msg("%s", error.text);
        check_events(root, events);
        json_decref(root);
    }
    totals t = {0};
    run_must(hy_trace_totals(tracing, count_totals, &t));
    assert_int_equal(t.kernels, 2);
    assert_int_equal(t.add_calls, 4);
    assert_int_equal(t.add_bytes, 4 * 288);
    assert_int_equal(t.copy_calls, 2);
    assert_int_equal(hy_trace_write(v.device, path), HY_E_ARGUMENT); /* not the tracing one */
    assert_int_equal(hy_trace_write(tracing, "/nowhere/trace.json"), HY_E_NOT_FOUND);
    unlink(path);
    valid_close(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registry),
        cmocka_unit_test(null_takes_all),
        cmocka_unit_test(packing),
        cmocka_unit_test(timelines),
        cmocka_unit_test(replay),
        cmocka_unit_test(valid_buffers),
        cmocka_unit_test(valid_operands_of_one_op),
        cmocka_unit_test(valid_workspace),
        cmocka_unit_test(valid_waves),
        cmocka_unit_test(valid_strides),
        cmocka_unit_test(valid_lists),
        cmocka_unit_test(valid_backends),
        cmocka_unit_test(valid_promises),
        cmocka_unit_test(peaks),
        cmocka_unit_test(valid_leaks),
        cmocka_unit_test(trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The compiler as a whole: programs on real devices give the same numbers whatever the passes chose. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/num.h"
#include "base/rng.h"
#include "tests/unit/program_task.h"
#include "tests/unit/random_graph.h"

enum { T = 8, R = 4 };

static const uint32_t buckets[] = {1, 3, T};

static hy_compile_params params_of(hy_device **device, uint32_t devices) {
    hy_compile_params params = {.device = device,
                                .devices = devices,
                                .bounds = {{1, T, 2, R, 4, 2}},
                                .bucket = buckets,
                                .buckets = HY_COUNT_OF(buckets)};
    return params;
}

/* The validating wrapper reports leaks and breaches at close through the log. */
static void loud(void *user, hy_log_level level, const char *text) {
    if (level == HY_LOG_ERROR) fail_msg("%s", text);
}

/* ---- one plan, checked cell by cell ------------------------------------------------------------- */

enum { CELL = HY_VIEW_ALIGN, CELLS = 1 << 14, GARBAGE = UINT32_MAX - 1 };

typedef struct cells {
    uint32_t owner[HY_MAX_DEVICES][CELLS]; /* value (root) whose bytes lie there */
} cells;

static void each_cell(cells *c, const hy_place *place, uint32_t value, bool write,
                      const char *what) {
    if (place->arena != HY_ARENA_ACTIVATIONS || !place->size) return;
    for (uint64_t i = place->offset / CELL; i <= (place->offset + place->size - 1) / CELL; i++) {
        assert_true(i < CELLS);
        uint32_t *owner = &c->owner[place->device][i];
        if (write)
            *owner = value;
        else if (*owner != value)
            fail_msg("%s reads value %u where %u lies", what, value, *owner);
    }
}

/* A result that takes over its operand's bytes: the operand is gone. */
static void step_cells(const hy_program *p, cells *c, const hy_program_step *step, bool write) {
    const hy_node *node = &p->graph->node[step->node];
    for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
        if (node->operand[k] == HY_NO_ID) continue;
        bool out = hy_node_role(node->kind, k) & HY_ROLE_OUT;
        if (out == write)
            each_cell(c, &step->operand[k], hy_graph_root(p->graph, node->operand[k]), write,
                      hy_node_kind_name(node->kind));
    }
    if (write) each_cell(c, &step->workspace, GARBAGE, true, "");
}

/* Plays the plan: reads must find what was written, in whichever order the ops of a wave run. */
static void check_plan(const hy_program *p, uint32_t index, bool backwards) {
    const hy_program_bucket *bucket = &p->bucket[index];
    cells *c = malloc(sizeof *c);
    assert_non_null(c);
    memset(c, 0xff, sizeof *c);
    for (uint32_t i = 0, end; i < bucket->steps; i = end) {
        for (end = i; end < bucket->steps && bucket->step[end].wave == bucket->step[i].wave;)
            end++;
        for (uint32_t k = 0; k < end - i; k++) {
            const hy_program_step *step = &bucket->step[backwards ? end - 1 - k : i + k];
            step_cells(p, c, step, false);
            step_cells(p, c, step, true);
        }
    }
    for (uint32_t i = 0; i < p->outputs; i++) {
        uint32_t root = hy_graph_root(p->graph, p->output[i].value);
        hy_place place = p->output[i].place;
        hy_tensor tensor;
        hy_graph_tensor(p->graph, p->output[i].value, &bucket->bounds, &tensor);
        place.size = hy_tensor_bytes(&tensor);
        each_cell(c, &place, root, false, "output");
    }
    free(c);
}

/* ---- random graphs ------------------------------------------------------------------------------ */

static void run_random(const hy_graph *graph, const hy_compile_params *params, uint32_t outputs,
                       uint32_t bucket, float *out) {
    float x[T * 64];
    int32_t rows[R] = {0, 0, 0, 0};
    uint32_t t = buckets[bucket], r = HY_MIN(t, (uint32_t)R);
    hy_rng rng = hy_rng_seed(99);
    for (uint32_t i = 0; i < T * 64; i++)
        x[i] = hy_rng_normal(&rng);
    for (uint32_t i = 0; i < r; i++)
        rows[i] = (int32_t)(t - 1 - i);
    program_task *task = task_new(graph, params);
    for (uint32_t b = 0; b < task->program->buckets; b++) {
        check_plan(task->program, b, false);
        check_plan(task->program, b, true);
    }
    task_input(task, "x", x, t * 64 * sizeof *x);
    task_input(task, "rows", rows, sizeof rows);
    task_run(task, bucket, t, 1, r);
    for (uint32_t i = 0; i < outputs; i++) {
        char name[16];
        snprintf(name, sizeof name, "out%u", i);
        const hy_program_binding *b = &task->program->output[i];
        /* row by row: an output may be a window */
        for (uint32_t row = 0; row < (i ? t : r); row++) {
            hy_buffer *buffer = task->memory.buffer[b->place.device][b->place.arena];
            must(HY_FN(buffer)->read(buffer, b->place.offset + row * b->tensor.stride[0] * 4,
                                     out + (i * T + row) * 64, b->tensor.dim[1] * 4));
        }
    }
    task_free(task);
}

static float largest_difference(const float *a, const float *b, uint32_t count) {
    float largest = 0;
    for (uint32_t i = 0; i < count; i++) {
        float d = fabsf(a[i] - b[i]) / (1 + fabsf(b[i]));
        if (!(d <= largest)) largest = d; /* NaN counts */
    }
    return largest;
}

/* Fused is close to unfused; shared memory gives the very bits of memory apart; waves are sound. */
static void random_graphs(const char *device_name, hy_dtype weights, uint32_t count,
                          float tolerance) {
    enum { WORDS = 2 * T * 64 };
    float *fused = calloc(3 * WORDS, sizeof *fused), *apart = fused + WORDS, *plain = apart + WORDS;
    assert_non_null(fused);
    float worst = 0;
    for (uint64_t seed = 1; seed <= count; seed++) {
        uint32_t outputs, bucket = (uint32_t)(seed % HY_COUNT_OF(buckets));
        hy_graph *graph = random_graph(seed, weights, &outputs);
        hy_device *device = task_device(device_name, true);
        hy_compile_params params = params_of(&device, 1);
        memset(fused, 0, 3 * WORDS * sizeof *fused);
        run_random(graph, &params, outputs, bucket, fused);
        params.no_sharing = true;
        run_random(graph, &params, outputs, bucket, apart);
        params.unfused = true;
        params.no_sharing = false;
        run_random(graph, &params, outputs, bucket, plain);
        if (memcmp(fused, apart, WORDS * sizeof *fused))
            fail_msg("seed %d on %s: shared memory changes results", (int)seed, device_name);
        float difference = largest_difference(fused, plain, WORDS);
        if (!(difference <= tolerance))
            fail_msg("seed %d on %s: fused differs by %g", (int)seed, device_name, difference);
        worst = HY_MAX(worst, difference);
        hy_device_close(device);
        hy_graph_free(graph);
    }
    print_message("%s %s: %u graphs, fused differs from unfused by at most %.2g\n", device_name,
                  hy_dtype_get(weights)->name, count, worst);
    free(fused);
}

static void test_random_ref(void **state) {
    random_graphs("ref", HY_DTYPE_F32, 60, 1e-4f);
    random_graphs("ref", HY_DTYPE_Q8_0, 30, 1e-4f);
}

static void test_random_cpu(void **state) {
    random_graphs("cpu", HY_DTYPE_F32, 30, 1e-3f);
    random_graphs("cpu", HY_DTYPE_Q4_0, 30, 0.2f); /* activations are rounded at other places */
}

/* ---- experts ------------------------------------------------------------------------------------ */

static const char experts_text[] =
    "graph \"experts\" {\n"
    "%x = input f32 [T,64]\n%rows = input i32 [R]\n"
    "%wr = weight f32 [4,64] \"router\"\n"
    "%r = matmul x=%x w=%wr : f32 [T,4]\n"
    "%ids %p = topk_route logits=%r {k=2 normalize=1} : i32 [T,2], f32 [T,2]\n"
    "%x1 = reshape %x : f32 [T,1,64]\n"
    "%wg = weight q8_0 [4,96,64] \"gate\"\n%wu = weight q8_0 [4,96,64] \"up\"\n"
    "%wd = weight q8_0 [4,64,96] \"down\"\n"
    "%g = grouped_matmul x=%x1 w=%wg ids=%ids : f32 [T,2,96]\n"
    "%u = grouped_matmul x=%x1 w=%wu ids=%ids : f32 [T,2,96]\n"
    "%a = glu gate=%g up=%u {act=silu} : f32 [T,2,96]\n"
    "%d = grouped_matmul x=%a w=%wd ids=%ids : f32 [T,2,64]\n"
    "%c = combine x=%d weights=%p : f32 [T,64]\n"
    "%h = add a=%x b=%c : f32 [T,64]\n"
    "%y = gather_rows x=%h rows=%rows : f32 [R,64]\n"
    "output \"out0\" %y\n}\n";

/* Gate and up rows of each expert lie together once fused: the order of parts on axis 1 matters. */
static void test_experts(void **state) {
    static const char *const names[] = {"ref", "cpu"};
    for (int i = 0; i < 2; i++) {
        float fused[2 * T * 64] = {0}, plain[2 * T * 64] = {0};
        hy_device *device = task_device(names[i], true);
        hy_compile_params params = params_of(&device, 1);
        hy_graph *graph;
        must(hy_graph_parse(experts_text, strlen(experts_text), &graph));
        run_random(graph, &params, 1, 2, fused);
        params.unfused = true;
        run_random(graph, &params, 1, 2, plain);
        assert_true(largest_difference(fused, plain, 2 * T * 64) <= (i ? 0.05f : 1e-5f));
        hy_graph_free(graph);
        hy_device_close(device);
    }
}

/* ---- a llama ------------------------------------------------------------------------------------ */

enum { VOCAB = 80 };

/* One sequence in pages 2, 3: `count` tokens from position `from`; logits of the last one. */
static void step_llama(program_task *task, uint32_t bucket, uint32_t from, uint32_t count,
                       float *logits) {
    int32_t tokens[T], pos[T], slot[T], row[T], rows[R] = {0}, len[2] = {0},
                                                table[4] = {2, 3, 0, 0};
    for (uint32_t i = 0; i < count; i++) {
        tokens[i] = (int32_t)((from + i) * 7 % VOCAB);
        pos[i] = (int32_t)(from + i);
        slot[i] = (int32_t)(2 * 64 + from + i);
        row[i] = 0;
    }
    rows[0] = (int32_t)count - 1;
    len[0] = (int32_t)(from + count);
    task_input(task, "tokens", tokens, count * sizeof *tokens);
    task_input(task, "pos", pos, count * sizeof *pos);
    task_input(task, "slot", slot, count * sizeof *slot);
    task_input(task, "row", row, count * sizeof *row);
    task_input(task, "rows", rows, sizeof *rows);
    task_input(task, "len", len, sizeof *len);
    task_input(task, "table", table, 2 * sizeof *table);
    task_run(task, bucket, count, 1, 1);
    task_output(task, "logits", logits, VOCAB);
}

/* Prefill of 5 in the largest bucket, then two tokens each alone in `decode`. */
static void run_llama(const hy_compile_params *params, const char *dtype, uint32_t decode,
                      float logits[3][VOCAB]) {
    char *text = llama_text(3, 64, 32, dtype);
    hy_graph *graph;
    must(hy_graph_parse(text, strlen(text), &graph));
    program_task *task = task_new(graph, params);
    for (uint32_t b = 0; b < task->program->buckets; b++)
        check_plan(task->program, b, true);
    step_llama(task, HY_COUNT_OF(buckets) - 1, 0, 5, logits[0]);
    step_llama(task, decode, 5, 1, logits[1]);
    step_llama(task, decode, 6, 1, logits[2]);
    task_free(task);
    hy_graph_free(graph);
    free(text);
}

static void llama_on(const char *name, const char *dtype, float tolerance) {
    float want[3][VOCAB], got[3][VOCAB];
    hy_device *device[2] = {task_device(name, true), task_device(name, true)};
    hy_compile_params params = params_of(device, 1);
    run_llama(&params, dtype, 0, want);
    assert_true(fabsf(want[2][0]) > 1e-6f && fabsf(want[2][0]) < 1e6f);
    run_llama(&params, dtype, 2, got); /* buckets do not change bits */
    assert_memory_equal(got, want, sizeof want);
    params.no_sharing = true;
    run_llama(&params, dtype, 0, got);
    assert_memory_equal(got, want, sizeof want);
    params.no_sharing = false;
    params.devices = 2; /* nor do devices */
    params.budget[0] = !strcmp(dtype, "f32") ? 500000 : 350000;
    run_llama(&params, dtype, 0, got);
    assert_memory_equal(got, want, sizeof want);
    params.devices = 1;
    params.budget[0] = 0;
    params.unfused = true;
    run_llama(&params, dtype, 0, got);
    float difference = largest_difference(&got[0][0], &want[0][0], 3 * VOCAB);
    print_message("llama %s on %s: fused differs from unfused by %.2g\n", dtype, name, difference);
    assert_true(difference <= tolerance);
    hy_device_close(device[0]);
    hy_device_close(device[1]);
}

static void test_llama_ref(void **state) {
    llama_on("ref", "f32", 1e-5f);
    llama_on("ref", "q8_0", 1e-5f);
}

static void test_llama_cpu(void **state) {
    llama_on("cpu", "f32", 1e-4f);
    llama_on("cpu", "q8_0", 0.1f);
}

/* The pattern table does what it is for on a whole model: ops per layer. */
static void test_llama_fuses(void **state) {
    char *text = llama_text(2, 64, 32, "q8_0");
    hy_graph *graph;
    memset(&stub, 0, sizeof stub);
    stub.rounds = 1;
    stub.strided = true;
    hy_device *device = task_device("stub", true);
    hy_compile_params params = params_of(&device, 1);
    hy_program *program;
    must(hy_graph_parse(text, strlen(text), &graph));
    must(hy_compile(graph, &params, &program));
    /* norm, qkv, kv_write, attention, o, norm, gate and up, down; embed, rope table, gather, norm, head */
    assert_int_equal(program->bucket[0].steps, 2 * 8 + 5);
    params.unfused = true;
    hy_program *plain;
    must(hy_compile(graph, &params, &plain));
    assert_int_equal(plain->bucket[0].steps, 2 * 18 + 5);
    assert_true(program->bucket[2].activation_bytes[0] < plain->bucket[2].activation_bytes[0]);
    hy_program_free(plain);
    hy_program_free(program);
    hy_graph_free(graph);
    hy_device_close(device);
    free(text);
}

/* ---- border and budget -------------------------------------------------------------------------- */

static void test_two_devices(void **state) {
    char *text = llama_text(4, 64, 32, "f32");
    hy_graph *graph;
    hy_program *program;
    hy_device *device[2] = {task_device("null", true), task_device("null", true)};
    hy_compile_params params = params_of(device, 2);
    params.budget[0] = 700000;
    must(hy_graph_parse(text, strlen(text), &graph));
    must(hy_compile(graph, &params, &program));
    uint32_t transfers = 0, on[2] = {0, 0};
    for (uint32_t i = 0; i < program->bucket[0].steps; i++) {
        const hy_program_step *step = &program->bucket[0].step[i];
        transfers += step->transfer;
        on[step->device]++;
        for (uint32_t k = 0; !step->transfer && k < HY_MAX_OPERANDS; k++)
            if (step->operand[k].size) assert_int_equal(step->operand[k].device, step->device);
    }
    assert_int_equal(transfers, 1); /* the residual stream; the rope table is made again */
    assert_true(on[0] > 8 && on[1] > 8);
    assert_true(program->arena_bytes[0][HY_ARENA_WEIGHTS] +
                    program->arena_bytes[0][HY_ARENA_STATE] <=
                700000 + 64 * HY_VIEW_ALIGN);
    for (uint32_t i = 0; i < program->inputs; i++) /* one image of the step block serves both */
        for (uint32_t k = 0; k < program->inputs; k++)
            if (program->input[i].value == program->input[k].value)
                assert_int_equal(program->input[i].place.offset, program->input[k].place.offset);
    hy_program_free(program);
    params.budget[0] = params.budget[1] = 300000;
    assert_int_equal(hy_compile(graph, &params, &program), HY_E_MEMORY);
    assert_non_null(strstr(hy_error_text(), "300000"));
    hy_graph_free(graph);
    hy_device_close(device[0]);
    hy_device_close(device[1]);
    free(text);
}

static void test_bad_params(void **state) {
    static const uint32_t falling[] = {4, 4, T};
    char *text = llama_text(1, 64, 32, "f32");
    hy_graph *graph;
    hy_program *program = NULL;
    hy_device *device = task_device("null", false);
    hy_compile_params good = params_of(&device, 1), params = good;
    must(hy_graph_parse(text, strlen(text), &graph));
    params.devices = 0;
    assert_int_equal(hy_compile(graph, &params, &program), HY_E_ARGUMENT);
    params = good;
    params.bucket = falling;
    assert_int_equal(hy_compile(graph, &params, &program), HY_E_ARGUMENT);
    params = good;
    params.bounds.of[HY_SYMBOL_T] = T + 1;
    assert_int_equal(hy_compile(graph, &params, &program), HY_E_ARGUMENT);
    params = good;
    params.bounds.of[HY_SYMBOL_P] = 0;
    assert_int_equal(hy_compile(graph, &params, &program), HY_E_ARGUMENT);
    params = good;
    params.bounds.of[HY_SYMBOL_P] = INT32_MAX; /* rows of 64 x 32 x 4 bytes: 2^44 bytes fit */
    must(hy_compile(graph, &params, &program));
    assert_true(program->arena_bytes[0][HY_ARENA_STATE] > UINT64_C(1) << 43);
    hy_program_free(program);
    hy_graph_free(graph);
    hy_device_close(device);
    free(text);
}

/* ---- devices whose buffers are in segments --------------------------------------------------------- */

static void check_place(const hy_place *place) {
    if (!place->size || place->arena == HY_ARENA_STEP) return;
    assert_int_equal(place->offset / stub.segment,
                     (place->offset + place->size - 1) / stub.segment);
}

/* The places of a model that needs many segments; -1: one of its tensors does not fit. */
static void test_segments(void **state) {
    static const uint64_t sizes[] = {1 << 20, 80 * 1024, 67 * 1024};
    char *text = llama_text(3, 64, 32, "f32");
    hy_graph *graph;
    hy_program *program = NULL;
    stub = (stub_settings){.workspace = 9000};
    hy_device *device = task_device("stub", false);
    const hy_compile_params params = params_of(&device, 1);
    must(hy_graph_parse(text, strlen(text), &graph));
    for (size_t i = 0; i < HY_COUNT_OF(sizes); i++) {
        stub.segment = sizes[i];
        must(hy_compile(graph, &params, &program));
        if (i) assert_true(program->arena_bytes[0][HY_ARENA_WEIGHTS] > stub.segment);
        for (uint32_t k = 0; k < program->constants; k++)
            check_place(&program->constant[k].place);
        for (uint32_t k = 0; k < program->states; k++)
            check_place(&program->state[k].place);
        for (uint32_t k = 0; k < program->outputs; k++)
            check_place(&program->output[k].place);
        for (uint32_t b = 0; b < program->buckets; b++) {
            check_plan(program, b, false);
            for (uint32_t k = 0; k < program->bucket[b].steps; k++) {
                const hy_program_step *step = &program->bucket[b].step[k];
                check_place(&step->workspace);
                for (uint32_t o = 0; o < HY_MAX_OPERANDS; o++)
                    check_place(&step->operand[o]);
            }
        }
        hy_program_free(program);
    }
    stub.segment = 4096;
    assert_int_equal(hy_compile(graph, &params, &program), HY_E_LIMIT);
    assert_non_null(strstr(hy_error_text(), "in one piece"));
    hy_graph_free(graph);
    hy_device_close(device);
    free(text);
    stub = (stub_settings){0};
}

/* ---- time --------------------------------------------------------------------------------------- */

/* Prints, and asserts only that time grows about as the model does. */
static void test_hundred_layers(void **state) {
    hy_device *device = task_device("null", false);
    double ms[2];
    for (int i = 0; i < 2; i++) {
        char *text = llama_text(i ? 100 : 10, 2048, 128, "q4_0");
        hy_graph *graph;
        hy_program *program;
        hy_compile_params params = params_of(&device, 1);
        must(hy_graph_parse(text, strlen(text), &graph));
        must(hy_compile(graph, &params, &program));
        ms[i] = (double)program->compile_ns / 1e6 / params.buckets;
        print_message("%d layers: %u steps, %.1f ms a bucket\n", i ? 100 : 10,
                      program->bucket[0].steps, ms[i]);
        hy_program_free(program);
        hy_graph_free(graph);
        free(text);
    }
    hy_device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_ref),  cmocka_unit_test(test_random_cpu),
        cmocka_unit_test(test_experts),     cmocka_unit_test(test_llama_ref),
        cmocka_unit_test(test_llama_cpu),   cmocka_unit_test(test_llama_fuses),
        cmocka_unit_test(test_two_devices), cmocka_unit_test(test_bad_params),
        cmocka_unit_test(test_segments),    cmocka_unit_test(test_hundred_layers),
    };
    hy_log_set(loud, NULL, HY_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

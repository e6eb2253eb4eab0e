/* tests/unit/program_task.h: compiles and runs graphs for the tests of src/compile; and a stub backend
 * whose answers a test can set. CMocka is included before. */
#ifndef HY_TESTS_PROGRAM_TASK_H
#define HY_TESTS_PROGRAM_TASK_H

#include "backends/registry.h"
#include "src/compile/compile.h"
#include "src/graph/edit.h"

/* Fails the running test with the error text. */
void must(hy_status status);

/* What the stub answers; it computes nothing. All zero: one invariant kernel per op, as null. */
typedef struct stub_settings {
    uint64_t declined;     /* op kinds without kernels, a bit each */
    uint64_t declined_glu; /* op kinds without a glu=1 form */
    /* 1: matmuls by block formats round x to a8 inside, and take x in a8; norms, glu and attention give
     * a8. 2: the same, but they round to f16. 0: nothing has a8 forms. */
    uint32_t rounds;
    bool strided;       /* 0: declines attention and matmul x that is not dense */
    bool large_only;    /* declines everything at T = 1 */
    bool variant;       /* kernels are not batch-invariant */
    uint64_t workspace; /* bytes for every matmul */
    uint32_t in_place;  /* mask of operands for add, mul and unary */
    uint32_t
        layouts; /* matmul has this many kernels with packed layouts 1.., embed only layout 0 */
    uint32_t embed_layouts; /* embed takes layouts 0 .. this */
    uint64_t segment;       /* hy_device_info.segment */
} stub_settings;
extern stub_settings stub;

/* "null", "stub", "ref", "cpu": one device of the list. validate: inside the validating wrapper. */
hy_device *task_device(const char *name, bool validate);

/* Text of a llama of `layers` layers with `dim` columns, two heads each of `head` elements, on one kv
 * head, over tokens, pos, slot, row, table, len, rows; output logits. Freed by the caller. */
char *llama_text(uint32_t layers, uint32_t dim, uint32_t head, const char *dtype);

/* One program with its memory on real devices. */
typedef struct program_task {
    hy_program *program;
    hy_program_memory memory;
    hy_timeline *timeline[HY_MAX_DEVICES];
    uint64_t value[HY_MAX_DEVICES];
    hy_program_segment segment[HY_MAX_BUCKETS][512];
    uint32_t segments[HY_MAX_BUCKETS];
} program_task;

/* Compiles, allocates arenas full of poison, loads constants (contents follow from the names of parts)
 * and records all buckets. */
program_task *task_new(const hy_graph *graph, const hy_compile_params *params);
void task_free(program_task *task);
/* Bytes of an input in the step block of every device that has it. */
void task_input(program_task *task, const char *name, const void *data, uint64_t bytes);
/* Sets the counters and runs a bucket. */
void task_run(program_task *task, uint32_t bucket, uint32_t t, uint32_t s, uint32_t r);
/* Reads `count` float32 from the start of an output. */
void task_output(program_task *task, const char *name, float *out, uint64_t count);

#endif

/* src/compile/compile.h: graph -> program: what runs on which device, where every byte lives.
 *
 * Passes, in order, one file each; hy_graph_verify runs after every pass that changes the graph:
 *   canonicalize  reshapes and slices become windows, equal nodes merge, dead ones go, constants fold
 *   place         layers to devices by byte budget; copies at the borders
 *   fuse          a table of patterns; a pattern is applied only where the device has a kernel for it
 *   select        asks candidates() once per distinct op and bucket, agrees on layouts of constants
 *   bucket        one plan per upper bound of T
 *   schedule      waves of independent ops; lower peak first
 *   plan_memory   lifetimes -> offsets in one activation arena, in place where legal
 *   emit          records command lists through the HAL
 *
 * Thread-safety: a compile belongs to one thread; a finished program is immutable. */
#ifndef HY_COMPILE_COMPILE_H
#define HY_COMPILE_COMPILE_H

#include <stdbool.h>
#include <stdint.h>

#include "hal/hal.h"
#include "src/graph/graph.h"

#define HY_MAX_DEVICES 8
#define HY_MAX_BUCKETS 16

typedef enum hy_pass {
    HY_PASS_NONE = 0, /* the graph as built */
    HY_PASS_CANONICALIZE,
    HY_PASS_PLACE,
    HY_PASS_FUSE,
    HY_PASS_SELECT,
    HY_PASS_BUCKET,
    HY_PASS_SCHEDULE,
    HY_PASS_PLAN_MEMORY,
    HY_PASS_EMIT,
    HY_PASS_COUNT
} hy_pass;

/* "fuse"; "unknown" when out of range. */
const char *hy_pass_name(hy_pass pass);
/* HY_PASS_COUNT when unknown. */
hy_pass hy_pass_by_name(const char *name);

typedef struct hy_compile_params {
    hy_device *const *device; /* [devices], kept open by the caller */
    uint32_t devices;
    uint64_t budget[HY_MAX_DEVICES]; /* bytes for weights + state per device; 0: no limit on it */
    hy_bounds bounds;                /* largest T, S, R; P and L exact */
    const uint32_t *bucket;          /* [buckets] upper bounds of T, rising, the last = bounds T */
    uint32_t buckets;
    bool fast;       /* numerics=fast: kernels that are not HY_KERNEL_INVARIANT are admitted */
    bool fallback;   /* an op without a kernel on its device may run on another of the list */
    bool unfused;    /* leave the fuse pass out (tests, --no-fuse) */
    bool no_sharing; /* every result and workspace in bytes of its own (tests of plan_memory) */
} hy_compile_params;

/* Where a piece of a program lives on its device. */
typedef enum hy_arena_kind {
    HY_ARENA_WEIGHTS = 0,     /* packed constants and literals */
    HY_ARENA_STATE = 1,       /* KV cache, recurrent state */
    HY_ARENA_ACTIVATIONS = 2, /* temporaries and workspace of the largest bucket, outputs */
    HY_ARENA_STEP = 3,        /* the step block: counters, then the inputs */
    HY_ARENA_COUNT
} hy_arena_kind;

typedef struct hy_place {
    uint8_t device;
    uint8_t arena;   /* hy_arena_kind */
    uint64_t offset; /* bytes */
    uint64_t size;
} hy_place;

/* One constant to load: file rows (or literal data) -> pack by `kernel` for `op`.operand -> place. Several
 * kernels may share it (equal layout). */
typedef struct hy_program_constant {
    uint32_t value; /* in program->graph: dtype, dims, parts or literal data */
    hy_op op;
    hy_kernel kernel;
    uint32_t operand;
    bool packed; /* false: the file's bytes as they are */
    hy_place place;
} hy_program_constant;

/* A named input, state or output. */
typedef struct hy_program_binding {
    const char *name;
    uint32_t value;
    hy_tensor tensor; /* at the largest bounds */
    hy_place place;
} hy_program_binding;

/* One recorded op of one bucket. */
typedef struct hy_program_step {
    uint32_t node; /* in program->graph */
    uint32_t wave; /* rises; a barrier between different waves of one device */
    uint8_t device;
    bool transfer; /* a copy between devices: operand 0 -> operand 1, done by the engine */
    hy_op op;
    hy_kernel kernel;
    hy_place operand[HY_MAX_OPERANDS]; /* size 0: absent */
    hy_place workspace;
} hy_program_step;

typedef struct hy_program_bucket {
    hy_bounds bounds;
    uint32_t steps, waves;
    const hy_program_step *step;
    uint64_t activation_bytes[HY_MAX_DEVICES]; /* this bucket's peak */
} hy_program_bucket;

typedef struct hy_program {
    hy_arena memory; /* everything below lives here */
    hy_graph *graph; /* after fuse */
    uint32_t devices;
    hy_device *device[HY_MAX_DEVICES];
    uint64_t arena_bytes[HY_MAX_DEVICES][HY_ARENA_COUNT];
    uint32_t constants, inputs, states, outputs, buckets;
    const hy_program_constant *constant;
    const hy_program_binding *input; /* step block: also on every device that reads it */
    const hy_program_binding *state;
    const hy_program_binding *output;
    const hy_program_bucket *bucket;
    uint64_t compile_ns;
} hy_program;

/* Runs all passes up to and including `last` (HY_PASS_EMIT here means: everything but recording). `source`
 * is not changed. HY_E_UNSUPPORTED with op and shapes when a device has no kernel; HY_E_MEMORY with needed
 * and allowed bytes when budgets cannot hold the layers. */
HY_NODISCARD hy_status hy_compile(const hy_graph *source, const hy_compile_params *params,
                                  hy_program **out);
void hy_program_free(hy_program *program);

/* The graph after one pass (HY_PASS_NONE .. HY_PASS_FUSE as graph text); later passes as the text that
 * hy_program_print gives for them. */
HY_NODISCARD hy_status hy_compile_print(const hy_graph *source, const hy_compile_params *params,
                                        hy_pass pass, hy_text *out);
/* What select (kernels, layouts), bucket (every bucket), schedule (waves), plan_memory (offsets) and emit
 * (barriers too) have decided; all but bucket show the largest bucket. */
void hy_program_print_pass(const hy_program *program, hy_pass pass, hy_text *out);
/* Kernels, layouts, waves and offsets of one bucket, bytes per arena, predicted peak. */
void hy_program_print(const hy_program *program, uint32_t bucket, hy_text *out);

/* Buffers of one device by arena, for recording. Both twins are NULL where the arenas are host memory. */
typedef struct hy_program_memory {
    hy_buffer *buffer[HY_MAX_DEVICES][HY_ARENA_COUNT];
    hy_buffer *staging[HY_MAX_DEVICES]; /* host-heap twin of the step arena, copied in first */
    hy_buffer *result[HY_MAX_DEVICES];  /* host-heap twin of the outputs at the front of the
                                           activations, copied out last */
} hy_program_memory;

/* Bytes at the front of a device's activations that hold outputs. */
uint64_t hy_program_result_bytes(const hy_program *program, uint32_t device);

/* Part of a bucket between two transfers: one sealed list on one device. */
typedef struct hy_program_segment {
    uint8_t device;
    hy_cmd *cmd; /* NULL for a transfer */
    const hy_program_step *transfer;
} hy_program_segment;

/* Records bucket `index` (pass emit): at most `capacity` segments, *count written. The caller frees the
 * lists with hy_cmd_free. */
HY_NODISCARD hy_status hy_program_record(const hy_program *program, uint32_t index,
                                         const hy_program_memory *memory,
                                         hy_program_segment *segments, uint32_t capacity,
                                         uint32_t *count);

/* ---- the passes, for tests; params as above ---- */
HY_NODISCARD hy_status hy_pass_canonicalize(hy_graph *graph);
HY_NODISCARD hy_status hy_pass_place(hy_graph *graph, const hy_compile_params *params);
HY_NODISCARD hy_status hy_pass_fuse(hy_graph *graph, const hy_compile_params *params);

#endif

/* src/compile/inner.h: what the passes share. Private to src/compile. */
#ifndef HY_COMPILE_INNER_H
#define HY_COMPILE_INNER_H

#include "src/compile/compile.h"
#include "src/graph/edit.h"

/* ---- sets of equal things (map.c) --------------------------------------------------------------- */

/* Item numbers by the hash of what they stand for. All zero is empty. */
typedef struct hy_map {
    uint64_t *hash; /* [slots] */
    uint32_t *item; /* [slots] item + 1; 0: free */
    size_t slots, count;
} hy_map;
typedef bool (*hy_map_equal)(const void *user, uint32_t a, uint32_t b);
/* The item in the map that equals `item`, or `item` itself once it is added; HY_NO_ID when memory ran out
 * (error text set). */
uint32_t hy_map_add(hy_map *map, uint64_t hash, uint32_t item, hy_map_equal equal,
                    const void *user);
void hy_map_free(hy_map *map);

/* ---- who reads what (uses.c) -------------------------------------------------------------------- */

/* Uses of every value as linked lists that a pass keeps up while it edits. A use is
 * node * HY_MAX_OPERANDS + operand. The pass adds values only through hy_uses_value_add, and no nodes. */
typedef struct hy_uses {
    hy_graph *graph;
    uint32_t *first;       /* [values] a use or HY_NO_ID */
    uint32_t *next;        /* [uses] */
    uint32_t *window;      /* [values] first window of a root, HY_NO_ID: none */
    uint32_t *window_next; /* [values] */
    bool *output;          /* [values] is a graph output */
    size_t room;           /* values that fit the arrays */
} hy_uses;

/* Reads the whole graph once. */
HY_NODISCARD hy_status hy_uses_new(hy_graph *graph, hy_uses *out);
/* Leaves the graph as it is. */
void hy_uses_free(hy_uses *uses);
/* HY_NO_ID when memory ran out. */
uint32_t hy_uses_value_add(hy_uses *uses, const hy_value *proto);
/* Nodes that read exactly this value (not through windows), counted up to 2. */
uint32_t hy_uses_count(const hy_uses *uses, uint32_t value);
/* The only reader of a value that has no windows and is no output; HY_NO_ID otherwise. */
uint32_t hy_uses_only(const hy_uses *uses, uint32_t value);
/* Unlinks the inputs of a node and marks it dead. */
void hy_uses_kill(hy_uses *uses, uint32_t node);
/* Puts other contents into a node's slot; values it makes get their producer set. */
void hy_uses_become(hy_uses *uses, uint32_t slot, const hy_node *node);
/* Turns a value without a producer of its own into a window of a root. */
void hy_uses_set_window(hy_uses *uses, uint32_t value, uint32_t base, const hy_window *window);

/* ---- asking devices (query.c) ------------------------------------------------------------------- */

/* The admitted kernels for one op on one device. */
typedef struct hy_answer {
    hy_op op;
    uint32_t device, count;
    const hy_kernel *kernel; /* [count] best first */
} hy_answer;

typedef struct hy_query {
    const hy_compile_params *params;
    hy_map map;
    hy_answer **answer; /* [answers] */
    size_t answers, room;
    hy_answer *spare; /* an answer to fill next */
    hy_arena arena;
    hy_status status; /* first failure of a device or of memory; its text is the thread's */
} hy_query;

/* Forgets all answers; pointers to them become invalid. */
void hy_query_free(hy_query *query);
/* Asked once per distinct op and device. NULL after a failure (query->status). An op that breaks a rule of
 * hy_op_check has no kernels. */
const hy_answer *hy_query_ask(hy_query *query, uint32_t device, const hy_op *op);
/* Kernels of one class give a row the same bits: equal order, or equal name where order is 0. In fast
 * mode all are one class. */
uint64_t hy_kernel_class(const hy_compile_params *params, const hy_kernel *kernel);
/* Some class can do the op at the smallest and at the largest bounds: op[0], op[1]. */
bool hy_query_both(hy_query *query, uint32_t device, const hy_op op[2]);
/* "cpu:0": backend and count among the same backend of the list. */
void hy_query_device_name(const hy_compile_params *params, uint32_t device, char out[64]);
/* Bounds of a bucket. */
hy_bounds hy_bucket_bounds(const hy_compile_params *params, uint32_t bucket);

/* ---- the compiler's state between select and emit ------------------------------------------------ */

/* One consistent way to run one op in all buckets. */
typedef struct hy_option {
    uint64_t class;
    float cost; /* microseconds a token, summed over buckets */
    const hy_kernel *kernel[HY_MAX_BUCKETS];
} hy_option;

/* All ways of one distinct op. */
typedef struct hy_options {
    const hy_answer *answer; /* at the largest bounds: the key */
    uint32_t count;
    const hy_option *option; /* [count] cheapest first */
} hy_options;

/* One live node. */
typedef struct hy_task {
    uint32_t node;
    bool transfer;
    uint32_t level;                     /* schedule: wave before renumbering */
    const hy_options *options;          /* NULL for a transfer */
    const hy_option *chosen;            /* NULL for a transfer */
    uint32_t fixed;                     /* operand bits whose layout is agreed with other readers */
    uint32_t constant[HY_MAX_OPERANDS]; /* index into constants, HY_NO_ID: not constant */
} hy_task;

typedef struct hy_compiler {
    const hy_compile_params *params;
    hy_graph *graph;
    hy_query query;
    hy_program *program; /* being made; its arena keeps everything that stays */
    hy_arena scratch;
    hy_task *task; /* [tasks] in graph order */
    uint32_t tasks;
    uint32_t *task_of; /* [nodes] or HY_NO_ID */
    hy_program_constant *constant;
    uint32_t *constant_next; /* [constants] earlier entry of the same value */
    size_t constants, constant_room;
    uint32_t *order; /* [tasks] tasks by wave */
    uint32_t *wave;  /* [tasks] wave of task order[i] */
    uint32_t waves;
    hy_place
        *place; /* [values] roots: place of inputs and states, then of results in this bucket */
    bool *is_output;                          /* [values] roots that outputs need */
    uint64_t activation_base[HY_MAX_DEVICES]; /* bytes of fixed outputs */
    uint64_t segment[HY_MAX_DEVICES];         /* hy_device_info.segment */
} hy_compiler;

/* The first place at or after `offset` where `size` bytes cross no multiple of `segment` (0: none). */
static inline uint64_t hy_segment_fit(uint64_t offset, uint64_t size, uint64_t segment) {
    if (!segment || !size || offset / segment == (offset + size - 1) / segment) return offset;
    return (offset / segment + 1) * segment;
}
/* HY_E_LIMIT when `size` bytes are more than one segment of the device. */
HY_NODISCARD hy_status hy_segment_check(const hy_compiler *c, const hy_place *place,
                                        const char *name);

/* Chooses a kernel per task and bucket, and lists the constants. */
HY_NODISCARD hy_status hy_compile_select(hy_compiler *c);
/* Fills order, wave and waves. */
HY_NODISCARD hy_status hy_compile_schedule(hy_compiler *c);
/* Arenas of constants, state and step block, and fixed places of outputs; all bindings. */
HY_NODISCARD hy_status hy_compile_arenas(hy_compiler *c);
/* One bucket: ops at its bounds, kernels, waves, places. */
HY_NODISCARD hy_status hy_compile_bucket(hy_compiler *c, uint32_t index);
/* Offsets of results (c->place) and of workspaces for the steps of one bucket. */
HY_NODISCARD hy_status hy_compile_plan_memory(hy_compiler *c, hy_program_bucket *bucket,
                                              hy_program_step *step);

/* place, then borders, given the query for fallback. */
HY_NODISCARD hy_status hy_place_run(hy_graph *graph, hy_query *query);
HY_NODISCARD hy_status hy_fuse_run(hy_graph *graph, hy_query *query);
/* The graph after canonicalize, place and fuse, up to `last`. */
HY_NODISCARD hy_status hy_compile_graph(const hy_graph *source, const hy_compile_params *params,
                                        hy_pass last, hy_query *query, hy_graph **out);
/* What a node reads is written by the other side of a border. */
bool hy_node_is_transfer(const hy_graph *graph, const hy_node *node);

#define HY_NO_MEMORY() hy_fail(HY_E_MEMORY, "out of memory while compiling")

#endif

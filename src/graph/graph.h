/* src/graph/graph.h: the intermediate representation: SSA over tensors, one arena per graph.
 *
 * Nodes and values are u32 ids. A dim is a constant, or a constant times a symbol. The only state is what
 * hy_graph_state declares; an op that writes state takes the old version as an operand and returns a new
 * one (same storage), so that order is data flow. The text form (print and parse) carries everything:
 *
 *   graph "llama" {
 *     %tokens = input i32 [T]
 *     %freq = literal f32 [2,2] { 0x3f800000 0x0 0x3dcccccd 0x31a00000 }
 *     %k.0 = state f16 [P,8,64,64]
 *     %wq = weight q4_0 [2048,2048] "blk.0.attn_q.weight"
 *     %x = embed ids=%tokens table=%emb : f32 [T,2048]
 *     %y = matmul x=%x w=%wq {act=silu} : f32 [T,2048]
 *     %q = reshape %y : f32 [T,32,64]
 *     %h = slice %y axis=1 begin=0 : f32 [T,64]
 *     %k.0' %q2 = kv_write k=%k v=%v slot=%slot ... : state %k.0, ...
 *     output "logits" %logits
 *   }
 *
 * (the exact grammar is in docs/ir.md). Thread-safety: one owner per graph; immutable graphs may be read
 * from several threads. */
#ifndef HY_GRAPH_GRAPH_H
#define HY_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/text.h"
#include "hal/ops.h"

#define HY_NO_ID UINT32_MAX

/* What an extent is a multiple of. */
typedef enum hy_symbol {
    HY_SYMBOL_NONE = 0, /* a plain number */
    HY_SYMBOL_T = 1,    /* tokens of the step; dynamic, counter T */
    HY_SYMBOL_S = 2,    /* sequences of the step; dynamic, counter S */
    HY_SYMBOL_R = 3,    /* output rows of the step; dynamic, counter R */
    HY_SYMBOL_P = 4,    /* pages of the KV arena; fixed when the engine is made */
    HY_SYMBOL_L = 5,    /* pages of the longest context of one sequence; fixed likewise */
    HY_SYMBOL_COUNT
} hy_symbol;

typedef struct hy_dim {
    uint32_t factor; /* the extent, or what multiplies the symbol */
    uint8_t symbol;  /* hy_symbol */
} hy_dim;

#define HY_DIM(n) ((hy_dim){(n), HY_SYMBOL_NONE})
#define HY_DIM_T ((hy_dim){1, HY_SYMBOL_T})
#define HY_DIM_S ((hy_dim){1, HY_SYMBOL_S})
#define HY_DIM_R ((hy_dim){1, HY_SYMBOL_R})
#define HY_DIM_P ((hy_dim){1, HY_SYMBOL_P})
#define HY_DIM_L ((hy_dim){1, HY_SYMBOL_L})

typedef enum hy_value_kind {
    HY_VALUE_INPUT,   /* an array of the step block */
    HY_VALUE_WEIGHT,  /* rows of one or more file tensors */
    HY_VALUE_LITERAL, /* numbers computed by the model's builder */
    HY_VALUE_STATE,   /* KV or recurrent state */
    HY_VALUE_NODE     /* result of a node */
} hy_value_kind;

/* File tensors that make one weight. With axis 0 the parts' rows follow each other; with axis 1 (rank 3)
 * they follow each other inside every index of dim 0 (gate and up rows of each expert). */
typedef struct hy_weight_part {
    const char *name; /* file tensor */
    uint32_t rows;    /* extent of this part on the axis */
} hy_weight_part;

typedef struct hy_value {
    const char *name; /* without %, unique in the graph; never NULL */
    uint8_t kind;     /* hy_value_kind */
    uint8_t dtype;    /* hy_dtype */
    uint8_t rank;
    uint8_t axis;            /* WEIGHT: how parts are joined */
    hy_dim dim[HY_MAX_RANK]; /* outermost first */
    uint32_t node;           /* producer of a NODE value, else HY_NO_ID */
    uint32_t output;         /* which operand of the producer */
    uint32_t parts;          /* WEIGHT */
    const hy_weight_part *part;
    const void *data; /* LITERAL: dense contents */
    /* Set by canonicalize when a reshape or slice vanishes: this value is a window of another one.
     * base HY_NO_ID: it has storage of its own. stride in elements, offset in elements. */
    uint32_t base;
    uint64_t offset;
    uint64_t stride[HY_MAX_RANK]; /* 0 everywhere: dense */
    /* New version of a state: the STATE value it stands for, else HY_NO_ID. */
    uint32_t state;
} hy_value;

/* Node kinds are hy_op_kind, then these two, which exist only until canonicalize. */
enum { HY_NODE_RESHAPE = HY_OP_KIND_COUNT, HY_NODE_SLICE, HY_NODE_KIND_COUNT };

typedef struct hy_node {
    uint32_t kind;
    uint32_t word[8];                  /* attributes as in hy_op.word; SLICE: axis, begin */
    uint32_t operand[HY_MAX_OPERANDS]; /* value ids, inputs and outputs by operand number; HY_NO_ID:
                                           absent. A STATE operand holds the version read ... */
    uint32_t written[HY_MAX_OPERANDS]; /* ... and here the version written */
    uint8_t device;                    /* index into the device list; set by place */
    bool dead;                         /* removed by a pass; ids stay stable */
    uint32_t layer;                    /* model layer, HY_NO_ID outside of any */
} hy_node;

/* A value that the caller reads after a step. */
typedef struct hy_graph_output {
    const char *name;
    uint32_t value;
} hy_graph_output;

typedef struct hy_graph {
    hy_arena arena; /* names, parts, literals */
    const char *name;
    hy_value *value;
    hy_node *node; /* in an order in which operands come first */
    hy_graph_output *output;
    size_t values, nodes, outputs;
    size_t value_room, node_room, output_room;
    uint32_t *name_slot; /* hash table of value ids by name, id + 1; 0: free */
    size_t name_slots;   /* a power of two, or 0 */
    uint32_t layer;      /* given to nodes that are added now */
    hy_status status;    /* first failure of a building call; later calls do nothing */
    char error[256];     /* its text */
} hy_graph;

/* An empty graph. HY_E_MEMORY. */
HY_NODISCARD hy_status hy_graph_new(const char *name, hy_graph **out);
/* NULL is fine. */
void hy_graph_free(hy_graph *graph);
/* A deep copy with equal ids. HY_E_MEMORY. */
HY_NODISCARD hy_status hy_graph_copy(const hy_graph *graph, hy_graph **out);

/* ---- building: on failure these return HY_NO_ID and set graph->status; HY_NO_ID as an operand that is
 * not optional fails as well, so that one check of hy_graph_status at the end suffices. Names and data are
 * copied; name NULL makes one up. ------------------------------------------------------------------- */

/* The first failure of a building call, with its text. */
HY_NODISCARD hy_status hy_graph_status(const hy_graph *graph);

/* Names of inputs and states must be new: the program binds by them. */
uint32_t hy_graph_input(hy_graph *graph, const char *name, hy_dtype dtype, uint32_t rank,
                        const hy_dim *dim);
/* Contents live from step to step; the first version of the state is returned. */
uint32_t hy_graph_state(hy_graph *graph, const char *name, hy_dtype dtype, uint32_t rank,
                        const hy_dim *dim);
/* One part is one whole tensor; the value is named after the first. */
uint32_t hy_graph_weight(hy_graph *graph, hy_dtype dtype, uint32_t rank, const uint32_t *dim,
                         uint8_t axis, uint32_t parts, const hy_weight_part *part);
/* Plain dtypes only; `data` is dense. A name that is taken gets a suffix. */
uint32_t hy_graph_literal(hy_graph *graph, const char *name, hy_dtype dtype, uint32_t rank,
                          const uint32_t *dim, const void *data);

/* What to add: operand[] by number with inputs (HY_NO_ID where absent), out_dtype[] by operand number for
 * outputs (0: absent optional output, or the default f32 / i32 of a required one). Outputs' extents are
 * inferred. */
typedef struct hy_node_desc {
    hy_op_kind kind;
    union {
        uint32_t word[8];
#define HY_OP(NAME, name) hy_##name##_attr name;
#include "hal/op.def"
    };
    uint32_t operand[HY_MAX_OPERANDS];
    uint8_t out_dtype[HY_MAX_OPERANDS];
} hy_node_desc;

/* A desc of one kind with nothing set (operands HY_NO_ID). */
hy_node_desc hy_node_desc_of(hy_op_kind kind);

/* Adds the node and returns its number; its outputs (and new state versions) are
 * hy_graph_result(graph, node, operand). */
uint32_t hy_graph_add(hy_graph *graph, const hy_node_desc *desc);
/* Value of output operand `operand`, or the written version of a STATE operand. HY_NO_ID for HY_NO_ID. */
uint32_t hy_graph_result(const hy_graph *graph, uint32_t node, uint32_t operand);

/* Same elements, other extents (row-major); a dynamic outermost dim stays outermost. */
uint32_t hy_graph_reshape(hy_graph *graph, uint32_t value, uint32_t rank, const hy_dim *dim);
/* [begin, begin + extent) of one axis that is not dynamic. */
uint32_t hy_graph_slice(hy_graph *graph, uint32_t value, uint32_t axis, uint32_t begin,
                        uint32_t extent);
/* Outputs appear in this order in the program; names must differ. */
void hy_graph_output_add(hy_graph *graph, const char *name, uint32_t value);

/* ---- reading ---- */

/* Numbers for the symbols: bounds[HY_SYMBOL_COUNT], bounds[HY_SYMBOL_NONE] = 1. */
typedef struct hy_bounds {
    uint32_t of[HY_SYMBOL_COUNT];
} hy_bounds;

/* The HAL description of a value / a node at given upper bounds: strides, counters, constant flags. */
void hy_graph_tensor(const hy_graph *graph, uint32_t value, const hy_bounds *bounds,
                     hy_tensor *out);
void hy_graph_op(const hy_graph *graph, uint32_t node, const hy_bounds *bounds, hy_op *out);

/* Every rule: ids in range, operands before users, shapes and dtypes (through hy_op_check at two
 * different bounds), state versions written once and read in order, windows inside their base, names
 * unique, outputs defined. HY_E_FORMAT with node and operand. Cheap enough to run after every pass. */
HY_NODISCARD hy_status hy_graph_verify(const hy_graph *graph);

/* Text form; parse(print(g)) prints the same text. Parse refuses bad text with line and column. */
void hy_graph_print(const hy_graph *graph, hy_text *out);
HY_NODISCARD hy_status hy_graph_parse(const char *text, size_t length, hy_graph **out);
/* Graphviz. */
void hy_graph_dot(const hy_graph *graph, hy_text *out);

#endif

/* backends/cpu/cpu.h: the inside of the CPU backend.
 *
 * A command list is an array of waves; a wave is an array of calls that are independent of each other; a
 * call has up to three phases. One hy_pool_run replays the whole list: every worker walks every wave, and
 * for phase 0, 1, 2 every call of the wave, with one pool barrier after each phase that any call has.
 * Kernels split their own work by (worker, workers), or by the call's shared chunk counter.
 *
 * One table of variants, filled upward: generic C, then AVX2, AVX-512, AMX; or NEON with sdot, smmla, SVE. A kernel file is compiled once
 * per ISA with that ISA's flags; everything it exports carries the ISA in its name. */
#ifndef HY_CPU_H
#define HY_CPU_H

#include <stdatomic.h>

#include "base/thread.h"
#include "hal/hal.h"

/* What the machine has and the mask allows; a variant needs all bits of its `isa`. */
typedef enum cpu_isa {
    CPU_GENERIC = 0,
    CPU_AVX2 = 1,   /* AVX2, FMA, F16C */
    CPU_AVX512 = 2, /* F BW CD DQ VL and VNNI */
    CPU_AVX512_BF16 = 4,
    CPU_DOTPROD = 8, /* NEON with sdot */
    CPU_I8MM = 16,   /* NEON with smmla */
    CPU_SVE256 = 32, /* vectors of exactly 256 bits, with smmla */
    CPU_SVE512 = 64, /* of exactly 512 bits */
    CPU_AMX = 128,   /* tile registers, of int8 and bf16 */
    CPU_AVX512_GFNI = 256
} cpu_isa;

typedef struct cpu_device {
    hy_device base;
    hy_pool *pool;
    uint32_t isa;                 /* cpu_isa bits in use */
    uint64_t peak_work[HY_PEAKS]; /* peak.c: of a pass */
} cpu_device;

typedef struct cpu_call cpu_call;
/* One phase of one call on one worker. Reads the true extents through cpu_rows(). */
typedef void (*cpu_fn)(cpu_call *call, uint32_t worker, uint32_t workers);

typedef struct cpu_variant cpu_variant;
struct cpu_variant {
    const char *name; /* "cpu.matmul.q4_0.avx512" */
    hy_op_kind kind;
    uint32_t isa;      /* cpu_isa bits needed */
    uint32_t flags;    /* hy_kernel_flags */
    uint32_t in_place; /* as hy_kernel.in_place */
    float accuracy;    /* as hy_kernel.accuracy */
    uint32_t order;    /* as hy_kernel.order */
    uint32_t rounded;  /* as hy_kernel.rounded */
    /* op passed hy_op_check; true when this variant does it. NULL: all of the kind. */
    bool (*accepts)(const hy_op *op);
    cpu_fn phase[3]; /* NULL from the first unused one on */
    /* NULL: none. Bytes, and microseconds at upper bounds for one worker. */
    uint64_t (*workspace)(const hy_op *op, uint32_t workers);
    float (*cost)(const hy_op *op);
    /* Constant operands; NULL: all of them in the file's layout (layout 0, rows 1). */
    void (*constants)(const hy_op *op, hy_constant_layout *constant);
    /* Packs rows [row, row + rows) of operand; called with disjoint ranges from several workers at once,
     * ranges start at multiples of constant.rows. NULL with layout 0: a plain copy. */
    void (*pack)(const hy_op *op, uint32_t operand, uint64_t row, uint64_t rows, const void *src,
                 void *dst);
    void (*unpack)(const hy_op *op, uint32_t operand, uint64_t row, uint64_t rows, const void *src,
                   void *dst); /* src: whole packed constant; dst: the file's bytes of these rows */
    /* Where a worker begins to stream constants, and how many bytes it will; NULL: of no use to know. */
    const void *(*streams)(const cpu_call *call, uint32_t worker, uint32_t workers,
                           uint64_t *bytes);
    uint64_t tag; /* free for the kernel file: which function table, which tile */
};

/* What the workers take from each other: items 0, 1, 2 ... of a call are dealt to them in turn, and each takes its own,
 * then what others have left. A word of its own counts those of a worker: one for all would cross from core to core
 * with every item, 250 ns between chiplets. */
typedef struct cpu_taken {
    _Alignas(64) _Atomic uint64_t mark; /* turn << 32 | items */
} cpu_taken;

struct cpu_call {
    const cpu_variant *variant;
    hy_op op;
    void *p[HY_MAX_OPERANDS]; /* address of each operand's first element; NULL when absent */
    const uint32_t *counters; /* the step block's counters */
    void *workspace;
    cpu_taken *taken;      /* [workers], of the whole list; for one phase of a call (take.h) */
    const cpu_call *then;  /* the next of the list that streams; NULL: none, or this does not */
    const uint64_t *first; /* turn of the list's first call: grows by all calls with every replay */
    uint64_t index;        /* of this call in the list, from 0 */
};

/* True extent of dim 0 of operand i. */
static inline uint32_t cpu_rows(const cpu_call *call, uint32_t i) {
    const hy_tensor *t = &call->op.operand[i];
    if (t->counter == HY_COUNTER_NONE) return t->dim[0];
    uint32_t n = call->counters[t->counter];
    return n < t->dim[0] ? n : t->dim[0];
}

/* Tables of the kernel files, each ended by a row with name NULL. Within one kind the better variant
 * stands first; candidates() keeps this order but for cost. */
extern const cpu_variant cpu_matmul_variants[]; /* matmul.c: matmul, grouped_matmul, embed */
extern const cpu_variant cpu_blas_variants[]; /* blas.c: matmul through a BLAS loaded at run time */
extern const cpu_variant cpu_attention_variants[];
extern const cpu_variant cpu_misc_variants[]; /* norms, rope, kv_write, elementwise, routing, ... */

/* Asks the machine once. */
uint32_t cpu_isa_detect(void);

#endif

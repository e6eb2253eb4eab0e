/* backends/ref/ref.h: the inside of the float64 oracle.
 *
 * Every op is written once, in double, from exactly dequantized values, and hands each result to
 * ref_emit() together with its magnitude. Run as a backend, ref_emit rounds once to the output's dtype and
 * stores; asked as the oracle, it keeps the double. So the two cannot disagree.
 *
 * Magnitudes. mag bounds how much an implementation in float32 may be off: |got - want| <= C u mag + u_out
 * |want|, u = 2^-24. It starts as the sum of |terms| of the reduction and is carried through what follows:
 *   z = sum x w + bias        mag = sum |x| terms(w) + |bias|, terms(w) = |d q| + |m| for formats with a
 *                             minimum (kernels add the two parts up apart, and they may cancel), else |w|
 *   y = f(z)                  mag = sup|f'| mag_z + |f(z)|       (f an activation; relu2: 2 |z| mag_z)
 *   y = a b                   mag = mag_a |b| + |a| mag_b        (+ 2^-20 mag_a mag_b, second order)
 *   y = softcap(z)            mag = mag_z + |y|                  (slope at most 1)
 *   y = a + b                 mag = mag_a + |b|
 *   softmax of s              mag = p (1 + A + mean A), A = mag_s + (max - s), mean by p
 *   attention                 mag = sum p |v| (1 + A) + (sum p |v|) mean A, with mag_s = |scale| sum |q k|
 *   norm: y = s w / r         mag = (mag_s + |s| rms(mag_s) / r) |w| / r, where rms(mag_s) / r says how
 *                             much r itself may be off
 * Values of a stored intermediate (sum of the norms) may round to the neighbour; where that is possible
 * within the bound, mag_s grows by that step. Discrete outputs (ids) and pure moves have mag 0. */
#ifndef HY_REF_H
#define HY_REF_H

#include "base/thread.h"
#include "hal/hal.h"

#define REF_ROWS 6 /* rows of scratch per worker that the plain ops get */

/* An operand when the op runs. */
typedef struct ref_tensor {
    const hy_tensor *t; /* NULL: absent */
    uint8_t *p;         /* its first element */
    uint32_t n;         /* true extent of dim 0 */
} ref_tensor;

/* A value and its magnitude. */
typedef struct ref_number {
    double value, mag;
} ref_number;

typedef struct ref_call {
    const hy_op *op;
    ref_tensor o[HY_MAX_OPERANDS];
    hy_pool *pool;   /* NULL: one worker */
    double *scratch; /* as many as the op's row of ref_entries says */
    double *want;    /* NULL: store into the operands; else dense results of operand `target` */
    double *mag;
    uint32_t target;
} ref_call;

/* Runs one op on one worker of several. */
typedef void (*ref_fn)(const ref_call *c, uint32_t worker, uint32_t workers);

typedef struct ref_entry {
    ref_fn run;
    uint64_t (*scratch)(const hy_op *op, uint32_t workers); /* doubles */
    bool parallel;                                          /* false: only worker 0 of 1 */
    uint32_t in_place; /* operands that output 0 may replace where dtype and shape agree */
} ref_entry;

/* ---- reading ---- */

/* Whether the operand is present. */
static inline bool ref_has(const ref_call *c, uint32_t operand) {
    return c->o[operand].t != NULL;
}
/* Innermost extent. */
static inline uint32_t ref_inner(const ref_tensor *o) {
    return o->t->dim[o->t->rank - 1];
}
/* Rows (all dims but the innermost) within the true extent; 1 for rank 1. */
uint64_t ref_rows(const ref_tensor *o);
/* Element offset of the first element of a row, rows counted over the upper bounds. */
uint64_t ref_at(const ref_tensor *o, uint64_t row);
/* One element of a plain type at an element offset. */
double ref_value(const ref_tensor *o, uint64_t at);
/* One element of an i32 operand. */
int32_t ref_int(const ref_tensor *o, uint64_t at);
/* A whole row, exactly dequantized, to dst [inner]. */
void ref_read(const ref_tensor *o, uint64_t row, double *dst);
/* The same, of each element the magnitude of the terms that its format adds up (hy_dequantize_terms). */
void ref_read_terms(const ref_tensor *o, uint64_t row, double *dst);
/* The pages of a KV cache, planar where they are q8_0: row (page, head, index) to dst [inner]. */
void ref_cache_read(const ref_tensor *o, uint64_t row, double *dst);

/* ---- results ---- */

/* Elements [column, column + count) of a row of an output. A8 outputs take whole rows. */
void ref_emit(const ref_call *c, uint32_t operand, uint64_t row, uint32_t column, uint32_t count,
              const double *want, const double *mag);
/* The same for a whole row of a KV cache. */
void ref_cache_emit(const ref_call *c, uint32_t operand, uint64_t row, const double *want,
                    const double *mag);
/* The value nearest to x in a float type, ties to even; other types: x. */
double ref_round(hy_dtype dtype, double x);

/* ---- arithmetic with magnitudes ---- */

/* The activation (hy_act) of z. */
ref_number ref_act(int32_t act, ref_number z);
/* The product of two values that are both inexact. */
ref_number ref_mul(ref_number a, ref_number b);
/* scale 0 means 1. */
ref_number ref_scale(float scale, ref_number y);
/* softcap 0 means none. */
ref_number ref_softcap(float softcap, ref_number y);
/* v, mag [n]: softmax in place, magnitudes as above. */
void ref_softmax(double *v, double *mag, uint32_t n);
/* v, mag [n]: the rms norm in place; weight [n] or NULL. */
void ref_rms(double *v, double *mag, uint32_t n, double eps, const double *weight);
/* Rotates v, mag [>= g] in place by a row of the rope table, table [g]. */
void ref_rotate(double *v, double *mag, const double *table, uint32_t g, int32_t style);
/* Waits for all workers of this run. */
void ref_sync(const ref_call *c, uint32_t workers);

/* ---- the ops ---- */

/* ref_fn of each op, as hal/ops.h says. */
#define REF_OP(name) void name(const ref_call *c, uint32_t worker, uint32_t workers)
/* Doubles of scratch that an op needs for all workers. */
#define REF_SCRATCH(name) uint64_t name(const hy_op *op, uint32_t workers)

/* ref_matmul.c */
REF_OP(ref_matmul);
REF_OP(ref_grouped_matmul);
REF_SCRATCH(ref_matmul_scratch);
REF_SCRATCH(ref_grouped_matmul_scratch);
/* ref_attention.c */
REF_OP(ref_attention);
REF_OP(ref_kv_write);
REF_SCRATCH(ref_attention_scratch);
REF_SCRATCH(ref_kv_write_scratch);
/* ref_norm.c */
REF_OP(ref_rms_norm);
REF_OP(ref_layer_norm);
REF_SCRATCH(ref_norm_scratch);
/* ref_rope.c */
REF_OP(ref_rope_table);
REF_OP(ref_rope);
REF_SCRATCH(ref_rope_scratch);
/* ref_misc.c; ref_move is cast, quantize_rows and copy */
REF_OP(ref_embed);
REF_OP(ref_add);
REF_OP(ref_multiply);
REF_OP(ref_unary);
REF_OP(ref_glu);
REF_OP(ref_softmax_op);
REF_OP(ref_gather_rows);
REF_OP(ref_move);
/* REF_ROWS rows of the widest operand; for ref_misc.c and ref_route.c. */
REF_SCRATCH(ref_rows_scratch);
/* ref_route.c */
REF_OP(ref_topk_route);
REF_OP(ref_combine);
REF_OP(ref_argmax);
REF_OP(ref_topk);

#endif

/* tests/conform/gen.h: building blocks of the case lists. */
#ifndef HY_CONFORM_GEN_H
#define HY_CONFORM_GEN_H

#include "tests/conform/conform.h"

typedef struct gen {
    conform_visit visit;
    void *user;
    hy_status status; /* first failure; later calls do nothing */
    bool quick;
    uint32_t made;
} gen;

/* A fresh op; then inputs by set(); emit() infers the outputs. */
hy_op gen_op(hy_op_kind kind);
/* Dense operand of rank 1..4 (dims 0 past the rank). */
void gen_set(hy_op *op, uint32_t operand, hy_dtype dtype, hy_counter counter, uint32_t a,
             uint32_t b, uint32_t c, uint32_t d);
/* The same, never changing (a weight). */
void gen_constant(hy_op *op, uint32_t operand, hy_dtype dtype, uint32_t a, uint32_t b, uint32_t c);
/* Adds `gap` elements between the rows of an operand that was set, or of an output (applied by emit). */
void gen_gap(hy_op *op, uint32_t operand, uint32_t gap);
/* Infers, checks and visits; the case's pattern and seed follow from its number. label: what is special. */
void gen_emit(gen *g, hy_op *op, const char *label);
void gen_emit_pattern(gen *g, hy_op *op, const char *label, conform_pattern pattern);

extern const hy_dtype gen_weights[]; /* every weight format */
extern const uint32_t gen_weight_count;
extern const hy_dtype gen_floats[3];

void gen_matmul(gen *g);
void gen_grouped_matmul(gen *g);
void gen_embed(gen *g);
void gen_attention(gen *g);
void gen_kv_write(gen *g);
void gen_rope(gen *g);
void gen_rope_table(gen *g);
void gen_norms(gen *g, hy_op_kind kind);
void gen_elementwise(gen *g, hy_op_kind kind);
void gen_routing(gen *g, hy_op_kind kind);
void gen_rows(gen *g, hy_op_kind kind);

#endif

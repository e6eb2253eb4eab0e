/* src/compile/fuse.h: what the patterns of the fuse pass share. Private to src/compile. */
#ifndef HY_COMPILE_FUSE_H
#define HY_COMPILE_FUSE_H

#include "src/compile/inner.h"

typedef struct hy_fuse {
    hy_graph *graph;
    hy_uses uses;
    hy_query *query;
    hy_bounds bounds[2]; /* of the smallest and the largest bucket */
    hy_status status;    /* first failure, other than a pattern that does not apply */
} hy_fuse;

/* Tries a pattern whose last node is `node`; true when it was applied. */
typedef bool (*hy_fuse_fn)(hy_fuse *f, uint32_t node);

bool hy_fuse_projections(hy_fuse *f, uint32_t node); /* matmuls of one x -> one matmul */
bool hy_fuse_glu(hy_fuse *f, uint32_t node);         /* gate, up, glu -> matmul glu=1 */
bool hy_fuse_epilogue(hy_fuse *f, uint32_t node);    /* matmul + bias / act / residual / cap */
bool hy_fuse_combine(hy_fuse *f, uint32_t node);     /* combine + residual */
bool hy_fuse_add_norm(hy_fuse *f, uint32_t node);    /* add + norm -> norm with residual and sum */
bool hy_fuse_kv_write(hy_fuse *f, uint32_t node);    /* norms and ropes of q and k into kv_write */
bool hy_fuse_quantize(hy_fuse *f, uint32_t node); /* a8 straight out of what makes x of a product */

/* The node that makes a whole value (not a window), or NULL. */
const hy_node *hy_fuse_maker(const hy_fuse *f, uint32_t value);
/* As hy_fuse_maker, when the value is f32 and only `reader` reads it: then it may vanish. */
const hy_node *hy_fuse_private(const hy_fuse *f, uint32_t value, uint32_t reader);
/* The node's device has kernels for that op at both bounds. */
bool hy_fuse_can(hy_fuse *f, const hy_node *node);
bool hy_fuse_can_op(hy_fuse *f, uint32_t device, const hy_op op[2]);
/* The description at both bounds. */
void hy_fuse_op(const hy_fuse *f, const hy_node *node, hy_op op[2]);
bool hy_fuse_fail(hy_fuse *f, hy_status status); /* records; false */
bool hy_fuse_is_constant(const hy_fuse *f, uint32_t value);
/* Float bits of an attribute, where 0 and 1 are neutral alike. */
uint32_t hy_fuse_neutral(uint32_t word);

#endif

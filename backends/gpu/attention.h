/* backends/gpu/attention.h: what follows from an attention op's shape alone, for every family of attention: spans of the
 * context, their partial results in the workspace, and what reading the context costs. */
#ifndef HY_GPU_ATTENTION_H
#define HY_GPU_ATTENTION_H

#include "backends/gpu/gpu.h"

typedef struct gpu_attention {
    uint32_t t, heads, kv_heads, group; /* T, A, H, A / H */
    uint32_t d, c;                      /* head dims */
    uint32_t length,
        span;       /* L; positions of one partial result: 512, rounded down to whole pages */
    uint64_t spans; /* upper bound */
} gpu_attention;

/* Of an attention op. */
gpu_attention gpu_attention_of(const hy_op *op);

/* A workgroup's heads of one kv head, and such blocks in a group. */
typedef struct gpu_heads {
    uint32_t heads, blocks;
} gpu_heads;

/* As few blocks as there can be, of about one size, at most `most` heads each. */
gpu_heads gpu_attention_heads(const gpu_attention *s, uint32_t most);

/* Partial results at upper bounds, [T, A, spans] of C + 2 floats each. */
uint64_t gpu_attention_partials(const gpu_attention *s);
uint64_t gpu_attention_partial_bytes(const gpu_attention *s);
/* They are no more than a workspace should have. */
bool gpu_attention_has_room(const gpu_attention *s);
/* gpu_family.workspace of families that keep them. */
uint64_t gpu_attention_workspace(const gpu_device *device, const gpu_variant *variant,
                                 const hy_op *op);

/* Bytes of keys and values that a token of every kv head sees, the window considered. */
double gpu_attention_context_bytes(const hy_op *op);

#endif

/* backends/cpu/attention.h: how attention divides its work; shared by the kernels and their table.
 *
 * The arithmetic of one (query row, head) is fixed by absolute positions alone: keys go in tiles of at most
 * 64 that never cross a page, tiles in order into the partial result of a span of about 512 positions,
 * spans in order into the final result. What a worker takes at a time (rows, heads, spans) changes nothing
 * in it, so that chunking, batching and the number of workers leave every bit alone. */
#ifndef HY_CPU_ATTENTION_H
#define HY_CPU_ATTENTION_H

#include "backends/cpu/cpu.h"
#include "base/num.h"

enum {
    ATT_TILE = 64,  /* keys scored together */
    ATT_SPAN = 512, /* positions of one partial result, rounded down to whole pages */
    ATT_ROWS =
        128, /* (token, head) rows of one work item at most: they share what it costs to turn keys over */
    ATT_GROUP = 16,         /* heads of one work item at most */
    ATT_ITEMS = 4,          /* work items per worker that balance well */
    ATT_PIECE = 64 << 10,   /* bytes of keys: fewer items will do if they read so much in one go */
    ATT_PARTIALS = 64 << 20 /* bytes of partial results at most */
};

/* Numbers that follow from the op's shape. */
typedef struct att_shape {
    uint32_t heads, kv_heads, group; /* A, H, A / H */
    uint32_t block, blocks;          /* heads of one item, items that make up a group */
    uint32_t d, c, dp, cp;           /* head dims and the same rounded up to 16 */
    uint32_t length, span;           /* L, positions of a span */
    uint64_t spans;                  /* upper bound */
    uint64_t page;                   /* bytes of one head's keys */
    uint64_t scratch;                /* floats per worker */
    uint64_t partials;               /* floats for partial results of all workers */
} att_shape;

static inline att_shape att_shape_of(const hy_op *op, uint32_t workers) {
    const hy_tensor *t = op->operand;
    att_shape s = {0};
    s.heads = t[HY_ATTENTION_q].dim[1];
    s.kv_heads = t[HY_ATTENTION_k_cache].dim[1];
    s.group = s.heads / s.kv_heads;
    s.block = HY_MIN(s.group, (uint32_t)ATT_GROUP);
    s.blocks = (s.group + s.block - 1) / s.block;
    s.d = t[HY_ATTENTION_q].dim[2];
    s.c = t[HY_ATTENTION_v_cache].dim[3];
    s.dp = (uint32_t)hy_align_up(s.d, 16);
    s.cp = (uint32_t)hy_align_up(s.c, 16);
    s.length = t[HY_ATTENTION_k_cache].dim[2];
    s.page = hy_dtype_row_bytes(hy_dtype_get((hy_dtype)t[HY_ATTENTION_k_cache].dtype),
                                (uint64_t)s.length * s.d);
    s.span = s.length * HY_MAX(ATT_SPAN / s.length, 1);
    s.spans = hy_div_up((uint64_t)t[HY_ATTENTION_table].dim[1] * s.length, s.span);
    s.scratch = ATT_ROWS * (s.dp + 2ull * s.cp + ATT_TILE + 16) +
                (ATT_TILE + ATT_TILE / 16) * (uint64_t)HY_MAX(s.dp, s.cp);
    /* Rows that are too few to keep all workers busy without a split of the context. */
    const uint64_t few = ATT_ITEMS * workers - 1;
    const uint64_t tokens = HY_MIN(few, t[HY_ATTENTION_q].dim[0]);
    s.partials = tokens * s.heads * s.spans * (s.cp + 16);
    s.partials = workers > 1 ? HY_MIN(s.partials, ATT_PARTIALS / sizeof(float)) : 0;
    return s;
}

/* First phase: the work; second phase: partial results of spans into the output. */
#define CPU_ATTENTION_DECLARE(isa)                                                                 \
    void cpu_attention_##isa(cpu_call *call, uint32_t worker, uint32_t workers);                   \
    void cpu_attention_join_##isa(cpu_call *call, uint32_t worker, uint32_t workers);
CPU_ATTENTION_DECLARE(generic)
CPU_ATTENTION_DECLARE(avx2)
CPU_ATTENTION_DECLARE(avx512)
CPU_ATTENTION_DECLARE(avx512bf16)
CPU_ATTENTION_DECLARE(amx)
CPU_ATTENTION_DECLARE(dotprod)

#endif

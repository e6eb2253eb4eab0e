/* shaders/simt/attention_shape.h: sizes of the attention kernels, for them and for the host that launches them. */
#ifndef HY_SIMT_ATTENTION_SHAPE_H
#define HY_SIMT_ATTENTION_SHAPE_H

#define ATT_TILE 64     /* keys at a time */
#define ATT_MAX_ROWS 32 /* (token, head) of a workgroup */
#define ATT_THREADS 128

/* In float32 (attention_float.h): rows of a workgroup whose threads have so many columns of values each. */
#define ATT_FLOAT_ROWS(wide) ((wide) <= 2 ? 8 : 4)

/* On matrix tiles (attention_tile.h). */
#define ATT_PAD 16 /* bytes behind each row of halves: neighbours meet different banks */
#define ATT_HALVES_BYTES(rows, columns) ((rows) * (2 * (columns) + ATT_PAD))
#define ATT_SCORE_PITCH (ATT_TILE + 4) /* floats */
/* Queries, keys, values, scores, weights, and four numbers for each row. */
#define ATT_TILE_BYTES(rows, columns)                                                              \
    (ATT_HALVES_BYTES(rows, columns) + 2 * ATT_HALVES_BYTES(ATT_TILE, columns) +                   \
     (rows)*ATT_SCORE_PITCH * 4 + ATT_HALVES_BYTES(rows, ATT_TILE) + (rows)*16)

#endif

/* shaders/simt/tile_shape.h: sizes of the products on matrix tiles, for kernels and for the host that launches
 * them. */
#ifndef HY_SIMT_TILE_SHAPE_H
#define HY_SIMT_TILE_SHAPE_H

#define TILE_SUBS 2 /* sub-blocks of 32 k of a step */
#define TILE_PITCH                                                                                 \
    80 /* bytes of a row's step: 64, and 16 so that eight rows lie in different banks */

/* Bytes of a step of int8 (tile.h); parts: scales of a sub-block, 1 or 2; minima: 0 or 1. */
#define TILE_STEP_BYTES(rows, columns, parts, minima)                                              \
    (((rows) + (columns)) * TILE_PITCH + TILE_SUBS * (columns)*8 +                                 \
     TILE_SUBS * (parts) * (rows)*4 * (1 + (minima)))

/* Large tiles (gemm_tile.h): a step twice; afterwards the same memory holds outputs. */
#define GEMM_TILE_THREADS 256
#define GEMM_TILE_ROWS 128
#define GEMM_TILE_COLUMNS 128
#define GEMM_TILE_BYTES(parts, minima)                                                             \
    (2 * TILE_STEP_BYTES(GEMM_TILE_ROWS, GEMM_TILE_COLUMNS, parts, minima))

/* Few rows of x (few_tile.h): each warp has steps of its own, twice, and partial sums; the workgroup has sums. */
#define FEW_TILE_THREADS 128
#define FEW_TILE_ROWS 32
#define FEW_TILE_PITCH (FEW_TILE_ROWS + 4) /* floats of a column of sums */
#define FEW_TILE_BYTES(warps, columns, parts, minima)                                              \
    ((warps)*2 * TILE_STEP_BYTES(FEW_TILE_ROWS, columns, parts, minima) +                          \
     ((warps) + 1) * (columns)*FEW_TILE_PITCH * 4)

/* f16 (gemm_half.h): a step of 64 k twice; afterwards the same memory holds outputs. */
#define HALF_TILE_THREADS 256
#define HALF_TILE_ROWS 128
#define HALF_TILE_COLUMNS 64
#define HALF_TILE_K 64
#define HALF_TILE_PITCH (2 * HALF_TILE_K + 16) /* bytes */
#define HALF_TILE_BYTES (2 * (HALF_TILE_ROWS + HALF_TILE_COLUMNS) * HALF_TILE_PITCH)

#endif

/* backends/gpu/layout.h: P16, the layout of constants on every GPU.
 *
 * A row of a block format is cut into planes: first the quants of all blocks, then their high bits, then
 * their scales; in each plane blocks follow in order, their bytes as the file has them. Planes begin at
 * multiples of 16 bytes and rows at multiples of 128, so that quants are read 16 bytes at a time and a row's
 * scales lie in the same page of DRAM. Rows of plain types are one plane, padded alike. Padding is zero.
 * Nothing is lost: unpacking gives the file's bytes. Thread-safety: pure. */
#ifndef HY_GPU_LAYOUT_H
#define HY_GPU_LAYOUT_H

#include "hal/hal.h"

enum {
    GPU_PLANES = 4,
    GPU_LAYOUT_P16 = 1 /* hy_constant_layout.layout */
};

typedef struct gpu_plane {
    uint32_t from;   /* first byte in the file's block */
    uint32_t bytes;  /* of each block */
    uint32_t offset; /* of the plane in a packed row */
} gpu_plane;

typedef struct gpu_layout {
    uint32_t planes;
    gpu_plane plane[GPU_PLANES];
    uint32_t blocks;    /* of a row */
    uint32_t row_bytes; /* packed */
} gpu_layout;

/* The layout of rows of `columns` elements. Any weight dtype. */
gpu_layout gpu_layout_of(hy_dtype dtype, uint32_t columns);

#endif

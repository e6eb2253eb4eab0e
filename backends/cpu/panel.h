/* backends/cpu/panel.h: the packed layout of weight matrices, shared by every ISA.
 *
 * Rows are taken 16 at a time as a panel; rows past the matrix are zero bytes. A panel is a sequence of
 * panel blocks in order of k; a panel block holds one file block of each of the 16 rows, the same bytes in
 * another order (so packed size = file size but for the tail panel and an odd k of bf16, and unpacking is
 * exact):
 *
 *   f32, f16         [k][16 rows], one element each
 *   bf16             [k / 2][16 rows][2]: k and k + 1 of a row are one little-endian word; zeros behind an odd k
 *   block formats    header, then one sub-block per 32 k:
 *     f16 scale fields and scale bytes: [field][16 rows] in file order; four scale bytes that belong
 *     together stay together as one little-endian word per row
 *     nibbles  256 bytes: 4 units of [16 rows][4]; byte j of unit u: low nibble = k 4u + j, high = 16 + 4u + j
 *     pairs    128 bytes (2 bits per element): unit h of [16 rows][4]; byte j: bits 2i = k 16h + 4i + j
 *     bits      64 bytes (1 bit per element): 8 little-endian 64-bit words, word g: bit 4 row + j = k 4g + j
 *     bytes    512 bytes (q8_0): 8 units of [16 rows][4], byte j of unit g = k 4g + j
 *
 *   format        header (bytes at which each field begins)              sub-block
 *   q4_0, iq4_nl  d 0                                                    nibbles
 *   q4_1          d 0, m 32                                              nibbles
 *   q5_0          d 0                                                    nibbles, bits at 256
 *   q5_1          d 0, m 32                                              nibbles, bits at 256
 *   q8_0          d 0                                                    bytes
 *   mxfp4         e 0 (one byte a row)                                   nibbles
 *   q2_k          d 0, dmin 32, scales 64: 16 x [16 rows] bytes          pairs
 *   q3_k          d 0, scales 32: 3 words a row                          pairs, bits at 128
 *   q4_k          d 0, dmin 32, scales 64: 3 words a row                 nibbles
 *   q5_k          d 0, dmin 32, scales 64: 3 words a row                 nibbles, bits at 256
 *   q6_k          d 0, scales 32: 16 x [16 rows] bytes                   nibbles, pairs at 256
 *   iq4_xs        d 0, scales_h 32, scales_l 64: 1 word a row            nibbles
 *
 * With glu = 1 the gate panel g and the up panel g (rows M + 16 g ...) stand next to each other. Experts
 * follow each other, each with its own tail panel. */
#ifndef HY_CPU_PANEL_H
#define HY_CPU_PANEL_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/cpu/cpu.h"

enum {
    CPU_PANEL = 16,          /* rows */
    CPU_LAYOUT_PANEL = 1,    /* hy_constant_layout.layout: 16 * dtype + 1 */
    CPU_LAYOUT_PANEL_GLU = 2 /* 16 * dtype + 2 */
};

/* A weight operand as panels. */
typedef struct cpu_panels {
    hy_dtype dtype;
    uint32_t experts;  /* 1 for a matrix */
    uint32_t n, k;     /* rows of one expert, columns */
    uint32_t m;        /* outputs: n, or n / 2 with glu */
    uint32_t groups;   /* of 16 outputs: panels of one expert, or pairs of them with glu */
    uint32_t units;    /* panels in a group: 1, or 2 with glu */
    uint32_t together; /* groups that share blocks of outputs: 2 where they are a8, else 1 */
    uint64_t bytes;    /* of one panel */
} cpu_panels;

/* Of the weight operand of an embed, matmul or grouped_matmul. */
cpu_panels cpu_panels_of(const hy_op *op);
/* Number of the weight operand of those ops. */
uint32_t cpu_weight_operand(const hy_op *op);
/* Header bytes and bytes per 32 k of a panel block; 0 for plain types. */
void cpu_panel_block(hy_dtype dtype, uint32_t *header, uint32_t *sub);

/* First byte of the first panel of a group. */
static inline uint64_t cpu_group_offset(const cpu_panels *p, uint32_t expert, uint32_t group) {
    return ((uint64_t)expert * p->groups + group) * p->units * p->bytes;
}

/* Groups [begin, end) of all experts' that `worker` streams when an op has few rows. Loading goes by it too:
 * a worker is the first to touch what it will read, so that on a machine of several nodes the memory is
 * its own node's. */
static inline void cpu_group_share(const cpu_panels *p, uint32_t worker, uint32_t workers,
                                   uint64_t *begin, uint64_t *end) {
    const uint64_t blocks = (uint64_t)p->experts * p->groups / p->together;
    *begin = blocks * worker / workers * p->together;
    *end = blocks * (worker + 1) / workers * p->together;
}

/* Whether the last groups of every share are left to whoever comes first, so that no worker waits for one that was held
 * up. Not of less than a megabyte each: that is read in 25 us, and what two ask for, and one uses, costs more. */
static inline bool cpu_leaves_groups(const cpu_panels *p, uint32_t workers) {
    return cpu_group_offset(p, p->experts, 0) >> 20 >= workers;
}

/* How many groups that is, of a share. */
static inline uint64_t cpu_groups_left(const cpu_panels *p, uint32_t workers, uint64_t begin,
                                       uint64_t end) {
    return cpu_leaves_groups(p, workers) ? (end - begin) / p->together / 8 * p->together : 0;
}

/* The file's bytes of blocks [block, block + count) of one row (lane of a panel); plain types count
 * elements. */
void cpu_panel_lane(hy_dtype dtype, const uint8_t *panel, uint32_t lane, uint32_t block,
                    uint32_t count, uint8_t *dst);

/* One group's panels (its units side by side) -> dst, from rows in the file's layout: `rows` is row 0 of
 * the expert, `stride` the bytes from row to row. */
void cpu_panel_pack_group(const cpu_panels *p, uint32_t group, const uint8_t *rows, uint64_t stride,
                          uint8_t *dst);

/* cpu_variant.constants, .pack and .unpack of all that use this layout. */
void cpu_panel_constants(const hy_op *op, hy_constant_layout *constant);
/* As hy_backend.pack. */
void cpu_panel_pack(const hy_op *op, uint32_t operand, uint64_t row, uint64_t rows, const void *src,
                    void *dst);
/* As hy_backend.unpack. */
void cpu_panel_unpack(const hy_op *op, uint32_t operand, uint64_t row, uint64_t rows,
                      const void *src, void *dst);

#endif

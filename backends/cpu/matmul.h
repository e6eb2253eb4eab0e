/* backends/cpu/matmul.h: between the matmul driver (plain C) and its kernels (compiled once per ISA).
 *
 * ONE ORDER OF ADDITIONS. An output element is a function of its weight row and its activation row alone:
 * not of the batch, not of how work is split, not of the ISA. With all operations in float32:
 *
 *   z = 0; for each chunk of consecutive k in order (64 k of float weights, 512 k of block formats, the
 *   last may be shorter): p = 0; what is below, in order of k; z = z + p. Chunks keep the error of long
 *   sums of one sign small.
 *   float weights: p = fma(w[k], x[k], p); matmul_dot.c, a class of its own, has dots of pairs of bf16 instead
 *   block formats: x as a8 blocks of 32 (scale xs), q its integers; per 32 k, v the weights' integers as
 *   the format defines them (q4_0: nibble - 8, iq4: code book values, mxfp4: doubled e2m1, q2_k, q4_k,
 *   q5_k and the _1 formats: unsigned), sc the integer scales of 16 k in q2_k and q3_k, else 1:
 *     isum = sum of sc v q (exact)          t = isum * a
 *     q6_k, whose isum and a are per 16 k   t = isum0 * a0; t = fma(isum1, a1, t)
 *     then                                  p = fma(t, xs, p)
 *     with minima: xsum = sum of q (exact)  then p = fma(b, xs * xsum, p); q2_k: twice, per 16 k
 *   a and b are scale and offset, exact in float32:
 *     q4_0 q5_0 q8_0 iq4_nl q3_k: a = d   q4_1 q5_1: a = d, b = m       mxfp4: a = 2^(e - 128)
 *     q4_k q5_k: a = d sc, b = -(dmin mn) q2_k: a = d, b = -(dmin mn)   q6_k iq4_xs: a = d sc
 *   epilogue: z + bias, act, * up, * scale, softcap, + residual, one rounding each, in that order. */
#ifndef HY_CPU_MATMUL_H
#define HY_CPU_MATMUL_H

#include "backends/cpu/cpu.h"
#include "backends/cpu/panel.h"

enum {
    MM_MAX_WIDTH = 32,   /* columns of the widest tile of any ISA */
    MM_WIDTHS = 6,       /* different tile widths of one ISA at most */
    MM_CHUNK = 64,       /* k after which float weights' partial sums are added up */
    MM_BLOCK_CHUNK = 512 /* the same for block formats; a multiple of every block */
};

/* A tile is `width` activation rows, interleaved for one pass over a panel; columns past the rows there
 * are hold zeros. For float weights: float32 [k][width], or bf16 [k / 2][width][2] in matmul_dot.c. For block
 * formats, per 32 k:
 *   int8 q [width][32] (with smmla, where width > 1: [width / 2][4][2 columns][8]); float32 scale [width]; aux [width] (q2_k, q3_k, q6_k: two such fields):
 *   what sums of products with unsigned weights need: with minima float32 xs * xsum, else int32 as the ISA
 *   wants it, such as -offset * xsum. */

/* Where what a worker reads in one go ends, and how many bytes on it reads after that: asking goes on there. */
typedef struct mm_ahead {
    const uint8_t *end;
    int64_t jump;
    bool second; /* asks lines to the second-level cache, and to the first when they are near */
} mm_ahead;

/* Multiplies one panel with one tile: z [width][16]. Float weights go on from the z that is there, so that k may
 * come in parts, each a multiple of 4 MM_CHUNK but the last; block formats overwrite it. */
typedef void (*mm_micro)(const uint8_t *panel, const uint8_t *tile, uint32_t k,
                         const mm_ahead *ahead, float *z);

/* Scales and offsets of consecutive k, all [16 rows]: a of 32 k (q6_k: 16), b of 32 k (q2_k: 16), sc of 16. */
typedef struct mm_scales {
    float a[MM_BLOCK_CHUNK / 16][CPU_PANEL], b[MM_BLOCK_CHUNK / 16][CPU_PANEL];
    /* AVX-512: takes MM_SUM_BEGIN (matmul_kernel.c) back from products with a; q6_k: of the first 16 k. */
    float down[MM_BLOCK_CHUNK / 32][CPU_PANEL];
    int8_t sc[MM_BLOCK_CHUNK / 16][CPU_PANEL]; /* q2_k, q3_k */
} __attribute__((aligned(64))) mm_scales;

/* A chunk of a panel of a block format, unpacked once for many tiles; small enough for the first-level
 * cache together with the tile's part. */
typedef struct mm_unpacked {
    uint8_t w[MM_BLOCK_CHUNK * CPU_PANEL]; /* [k / 4][16 rows][4], as the ISA multiplies them */
    mm_scales scales;
} __attribute__((aligned(64))) mm_unpacked;

/* What will be read next of one or two panels, and where outputs will go. Kernels ask for it a little at a time: a burst
 * would hold them up. */
typedef struct mm_next {
    const uint8_t *panel[2];
    uint32_t bytes;     /* of each, for every 32 k that are multiplied */
    uint32_t out_bytes; /* of one column's outputs; 0: not needed yet */
    const uint8_t *out; /* the first column's */
    uint64_t out_step;  /* bytes from column to column */
} mm_next;

/* Adds one chunk (k elements) times the tile's part to z [width][16]. */
typedef void (*mm_wide)(const mm_unpacked *chunk, const uint8_t *tile, uint32_t k,
                        const mm_next *next, float *z);

/* The same for two chunks, and an mm_micro of float weights for two panels `step` bytes apart; the second's z is
 * z_step floats behind the first's. */
typedef void (*mm_wide_pair)(const mm_unpacked chunk[2], const uint8_t *tile, uint32_t k,
                             const mm_next *next, float *z, uint64_t z_step);
typedef void (*mm_pair)(const uint8_t *panels, uint64_t step, const uint8_t *tile, uint32_t k,
                        float *z, uint64_t z_step);

/* What is done to a dot product on its way out. */
typedef struct mm_epilogue {
    const float *bias; /* of this expert, [N], or NULL */
    uint32_t m;        /* outputs; where the bias of the up half begins */
    int32_t act;
    float scale, softcap;
    uint32_t out_dtype, residual_dtype;
} mm_epilogue;

/* Where outputs go: the address of output `first` of the first row, bytes from row to row. */
typedef struct mm_place {
    void *out;
    const void *residual; /* or NULL */
    uint64_t out_stride, residual_stride;
} mm_place;

/* The functions of one ISA. */
typedef struct mm_kernels {
    uint32_t width[MM_WIDTHS];                 /* ascending, then 0 */
    mm_micro micro[HY_DTYPE_COUNT][MM_WIDTHS]; /* NULL: only `wide` has this width */
    /* Block formats of ISAs for which it pays; NULL: there are none. k <= MM_BLOCK_CHUNK, whole blocks. */
    void (*unpack[HY_DTYPE_COUNT])(const uint8_t *panel, uint32_t k, mm_unpacked *out);
    mm_wide wide[HY_DTYPE_COUNT][MM_WIDTHS];
    /* Panels of 16 bits to panels of f32, [k][16], for many tiles; NULL: multiplied as they are. */
    void (*widen[HY_DTYPE_COUNT])(const uint8_t *panel, uint32_t k, float *out);
    /* For two panels and a tile of the greatest width; NULL: they go one after the other. */
    mm_pair pair[HY_DTYPE_COUNT];
    mm_wide_pair wide_pair[HY_DTYPE_COUNT];
    /* Rounded weights (matmul_tile.c), for many columns: k of a panel, whole blocks, as bf16
     * [k / 32][16 pairs of k][16 rows][2]; NULL for bf16, whose panels are that. */
    void (*round[HY_DTYPE_COUNT])(const uint8_t *panel, uint32_t k, uint8_t *out);
    /* Adds products of one or two panels of rounded weights, w_step bytes apart, and k of a tile of `width` to z
     * [panel][width][16], z_step floats from panel to panel. NULL: this ISA has none. */
    void (*add)(uint32_t panels, const uint8_t *w, uint64_t w_step, const uint8_t *tile,
                uint32_t width, uint32_t k, float *z, uint64_t z_step);
    /* Around calls of all of those and add by one worker, for weights of one dtype; NULL: nothing to do. */
    void (*enter)(hy_dtype weights);
    void (*leave)(void);
    /* For so few columns unpacking on the way costs less than before; in tiles of few_width. */
    uint32_t few, few_width;
    /* Fills column `column` of a tile of `width` for k in [begin, end), multiples of 32 but for the end;
     * row: activations of dtype x (NULL: zeros). */
    void (*fill)(hy_dtype weights, hy_dtype x, const void *row, uint32_t begin, uint32_t end,
                 uint32_t width, uint32_t column, uint8_t *tile);
    /* Finishes outputs [first, first + count), count <= 16, of `rows` rows: z and, with glu, up: [row][16]
     * sums. */
    void (*finish)(const mm_epilogue *e, const float *z, const float *up, uint32_t first,
                   uint32_t count, uint32_t rows, const mm_place *to);
    /* float row -> a8 blocks [k / 32], bits as hy_quantize_row. NULL: no block formats here. */
    void (*quantize)(hy_dtype x, const void *row, uint32_t k, void *out);
} mm_kernels;

/* Plain C, every machine. */
extern const mm_kernels cpu_mm_generic;
#if defined(__x86_64__)
/* CPU_AVX2. */
extern const mm_kernels cpu_mm_avx2;
/* CPU_AVX512. */
extern const mm_kernels cpu_mm_avx512;
/* CPU_AVX512_GFNI: tiles of up to 4 columns of formats of 2 and 3 bits, else nothing. */
extern const mm_kernels cpu_mm_avx512_gfni;
/* CPU_AVX512_BF16: matmul_dot.c, for bf16 alone and in another order. */
extern const mm_kernels cpu_mm_avx512bf16;
/* CPU_AMX: matmul_amx.c, block formats alone. */
extern const mm_kernels cpu_mm_amx;
/* CPU_AMX: matmul_amx_bf16.c, in a third order. */
extern const mm_kernels cpu_mm_amx_bf16;
#elif defined(__aarch64__)
/* CPU_DOTPROD; and so on, by name. */
extern const mm_kernels cpu_mm_dotprod, cpu_mm_i8mm, cpu_mm_sve256, cpu_mm_sve512;
#endif

/* Asks for a line, to the first- or the second-level cache. */
static inline void mm_ask(const uint8_t *line, const int cache) {
    if (cache == 1)
        __builtin_prefetch(line, 0, 3);
    else
        __builtin_prefetch(line, 0, 2);
}

/* Asks for what panel i will need while the 32 k of `block` are multiplied. */
static inline void mm_ask_next(const mm_next *next, int i, uint32_t block) {
    const uint8_t *from = next->panel[i] + (uint64_t)block * next->bytes;
    for (uint32_t b = 0; b < next->bytes; b += 64)
        __builtin_prefetch(from + b, 0, 2);
}

/* Asks for the lines of a column's outputs. */
static inline void mm_ask_outputs(const mm_next *next, uint32_t column) {
    for (uint32_t b = 0; b < next->out_bytes; b += 64)
        __builtin_prefetch(next->out + column * next->out_step + b, 1);
}

/* Bytes of one column of a tile; of matmul_dot.c's at most. */
static inline uint64_t mm_column_bytes(hy_dtype weights, uint64_t k) {
    switch (weights) {
    case HY_DTYPE_F32:
    case HY_DTYPE_F16:
    case HY_DTYPE_BF16:
        return k * 4;
    case HY_DTYPE_Q2_K:
    case HY_DTYPE_Q3_K:
    case HY_DTYPE_Q6_K:
        return k / 32 * 44;
    default:
        return k / 32 * 40;
    }
}

#endif

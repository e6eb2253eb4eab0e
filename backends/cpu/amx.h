/* backends/cpu/amx.h: the tile registers of AMX, for files that are compiled for them. Any thread; each has its own. */
#ifndef HY_CPU_AMX_H
#define HY_CPU_AMX_H

#include <immintrin.h>
#include <stdint.h>

/* What _tile_loadconfig reads: palette 1, then of each register the bytes of a row and the rows. Takes some 200
 * cycles, and leaves zeros in all registers. Kernels release them when they are through: a thread's registers
 * are saved with it as long as they are in use. */
typedef struct amx_config {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} amx_config;

/* All registers whole: 16 rows of 64 bytes. */
static inline void amx_enter_whole(void) {
    static const amx_config config = {.palette = 1,
                                      .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                      .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&config);
}

/* X(dtype, name, how its sums of int8 are added up (matmul_amx.c), how far AVX-512's unpacked weights are raised) */
#define AMX_BLOCK_FORMATS(X)                                                                       \
    X(HY_DTYPE_Q8_0, q8_0, scaled, 128)                                                            \
    X(HY_DTYPE_Q4_0, q4_0, scaled, 8)                                                              \
    X(HY_DTYPE_Q4_1, q4_1, minima, 0)                                                              \
    X(HY_DTYPE_Q5_0, q5_0, scaled, 16)                                                             \
    X(HY_DTYPE_Q5_1, q5_1, minima, 0)                                                              \
    X(HY_DTYPE_Q2_K, q2_k, q2_k, 0)                                                                \
    X(HY_DTYPE_Q3_K, q3_k, q3_k, 127)                                                              \
    X(HY_DTYPE_Q4_K, q4_k, minima, 0)                                                              \
    X(HY_DTYPE_Q5_K, q5_k, minima, 0)                                                              \
    X(HY_DTYPE_Q6_K, q6_k, q6_k, 32)                                                               \
    X(HY_DTYPE_IQ4_NL, iq4_nl, scaled, 128)                                                        \
    X(HY_DTYPE_IQ4_XS, iq4_xs, scaled, 128)                                                        \
    X(HY_DTYPE_MXFP4, mxfp4, scaled, 12)

/* Some compilers do not see that tile loads read memory: between what was stored there and the first load. */
#define AMX_STORED() __asm__ volatile("" ::: "memory")

#endif

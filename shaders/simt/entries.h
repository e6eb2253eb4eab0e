/* shaders/simt/entries.h: every kernel of shaders/simt, once. X(unit, name): HY_ENTRY(name, ...) stands in that
 * unit (units.txt). gpu_variant.entry "matmul.q4_0.gemv1" is name matmul_q4_0_gemv1. From this list come the
 * host's table (backends/simt/kernel.c) and the emulator's. Parts have a macro each. */
#ifndef HY_SIMT_ENTRIES_H
#define HY_SIMT_ENTRIES_H

#define SIMT_BLOCK_FORMATS(DO, X)                                                                  \
    DO(X, q8_0)                                                                                    \
    DO(X, q4_0)                                                                                    \
    DO(X, q4_1)                                                                                    \
    DO(X, q5_0)                                                                                    \
    DO(X, q5_1)                                                                                    \
    DO(X, q2_k)                                                                                    \
    DO(X, q3_k)                                                                                    \
    DO(X, q4_k)                                                                                    \
    DO(X, q5_k)                                                                                    \
    DO(X, q6_k)                                                                                    \
    DO(X, iq4_nl)                                                                                  \
    DO(X, iq4_xs)                                                                                  \
    DO(X, mxfp4)
#define SIMT_FLOAT_FORMATS(DO, X) DO(X, f32) DO(X, f16) DO(X, bf16)

/* Kernels that go along rows. */
#define SIMT_ENTRIES_ROWS(X) X(elementwise, add)

#define SIMT_ENTRIES(X) SIMT_ENTRIES_ROWS(X)

#endif

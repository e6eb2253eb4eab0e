/* backends/cpu/transpose.h: exchanges of rows and columns in registers, for packing.
 *
 * Vectors of 16 bytes in the compilers' own notation: every 64-bit target has instructions for them, so
 * that packing needs no file per ISA. Loads and stores have no alignment. */
#ifndef HY_CPU_TRANSPOSE_H
#define HY_CPU_TRANSPOSE_H

#include <stdint.h>
#include <string.h>

/* 16 bytes as elements of one, two and four bytes. */
typedef uint8_t cpu_bytes16 __attribute__((vector_size(16)));
typedef uint16_t cpu_halves8 __attribute__((vector_size(16)));
typedef uint32_t cpu_words4 __attribute__((vector_size(16)));

static inline cpu_words4 cpu_load_words(const uint8_t *p) {
    cpu_words4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void cpu_store_words(uint8_t *p, cpu_words4 v) {
    memcpy(p, &v, sizeof v);
}

/* Word j of vector i <-> word i of vector j. */
static inline void cpu_transpose_words(cpu_words4 v[4]) {
    const cpu_words4 a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
    const cpu_words4 b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const cpu_words4 c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
    const cpu_words4 d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

/* The same with 8 vectors of 8 halves: three perfect shuffles of the 64 elements. */
static inline void cpu_transpose_halves(cpu_halves8 v[8]) {
    for (int stage = 0; stage < 3; stage++) {
        cpu_halves8 w[8];
        for (int i = 0; i < 4; i++) {
            w[2 * i] = __builtin_shufflevector(v[i], v[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            w[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(v, w, sizeof w);
    }
}

/* The same with 16 vectors of 16 bytes. */
static inline void cpu_transpose_bytes(cpu_bytes16 v[16]) {
    for (int stage = 0; stage < 4; stage++) {
        cpu_bytes16 w[16];
        for (int i = 0; i < 8; i++) {
            w[2 * i] = __builtin_shufflevector(v[i], v[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                               21, 6, 22, 7, 23);
            w[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                                   28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(v, w, sizeof w);
    }
}

/* In every word: the bits `mask` << shift of *a <-> the bits `mask` of *b. */
static inline void cpu_exchange(cpu_words4 *a, cpu_words4 *b, uint32_t shift, uint32_t mask) {
    const cpu_words4 swap = (*a >> shift ^ *b) & mask;
    *b ^= swap;
    *a ^= swap << shift;
}

/* Pair i of each byte of word vector j <-> pair j of each byte of word vector i. */
static inline void cpu_transpose_pairs(cpu_words4 v[4]) {
    cpu_exchange(&v[0], &v[1], 2, 0x33333333u);
    cpu_exchange(&v[2], &v[3], 2, 0x33333333u);
    cpu_exchange(&v[0], &v[2], 4, 0x0f0f0f0fu);
    cpu_exchange(&v[1], &v[3], 4, 0x0f0f0f0fu);
}

/* v[row]: bit s of byte j -> word s: bit 4 row + j, which is v[place of s]. Seen as numbers, place in a
 * word is (j1 j0 s2 s1 s0) and vector is (r2 r1 r0); each stage exchanges one digit of the one with one of
 * the other, and five of them give (r2 r1 r0 j1 j0) and (s1 s0 s2). */
static inline void cpu_transpose_bits(cpu_words4 v[8]) {
    for (int i = 0; i < 4; i++)
        cpu_exchange(&v[i], &v[i + 4], 16, 0x0000ffffu);
    for (int i = 0; i < 8; i++)
        if (!(i & 2)) cpu_exchange(&v[i], &v[i + 2], 8, 0x00ff00ffu);
    for (int i = 0; i < 8; i += 2)
        cpu_exchange(&v[i], &v[i + 1], 4, 0x0f0f0f0fu);
    for (int i = 0; i < 4; i++)
        cpu_exchange(&v[i], &v[i + 4], 2, 0x33333333u);
    for (int i = 0; i < 8; i++)
        if (!(i & 2)) cpu_exchange(&v[i], &v[i + 2], 1, 0x55555555u);
}

/* Which vector holds s after cpu_transpose_bits. */
static inline uint32_t cpu_bits_place(uint32_t s) {
    return (s >> 1 & 1) << 2 | (s & 1) << 1 | s >> 2;
}

#endif

/* shaders/simt/peak.cu: loops that do nothing but move memory or make products, as fast as the device can: what
 * benchmarks call its limits. No op's kernels. shaders/peak_shape.h says what they read.
 *
 * Every sum begins with another number, its chain's, for equal chains would be one to a compiler; it ends that much
 * above the number of products, so that the host sees whether all of them were made. */
#include "shaders/peak_shape.h"
#include "shaders/simt/simt.h"

#define ROUNDS args.extra[0]
#define ONE args.extra[3]
#define EACH_CHAIN HY_UNROLL for (u32 i = 0; i < PEAK_CHAINS; i++)

/* All threads of a workgroup: the sum of their counts is its word. */
HY_DEVICE void leave(const hy_args &args, u32 count) {
    HY_SHARED u32 counts[PEAK_THREADS];
    counts[hy_thread()] = count;
    hy_sync();
    if (hy_thread() != 0u) return;
    u32 all = 0;
    HY_NO_UNROLL for (u32 t = 0; t < PEAK_THREADS; t++) all += counts[t];
    ((u32 *)args.operand[1].address)[hy_group()] = all;
}

/* ---- memory ------------------------------------------------------------------------------------------ */

/* This thread's first quad of a piece; the others are PEAK_THREADS apart. */
HY_DEVICE u32x4 *quads_of(const hy_args &args, u32 piece) {
    return (u32x4 *)((u8 *)args.operand[0].address + (u64)piece * PEAK_PIECE) + hy_thread();
}

HY_ENTRY(peak_write, PEAK_THREADS) {
    const u32x4 v = {ONE, ONE, ONE, ONE};
    u32 words = 0;
    HY_NO_UNROLL for (u32 r = 0; r < ROUNDS; r++)
        HY_NO_UNROLL for (u32 p = hy_group(); p < args.extra[1]; p += args.extra[2]) {
        u32x4 *to = quads_of(args, p);
        HY_UNROLL for (u32 q = 0; q < PEAK_QUADS; q++) to[q * PEAK_THREADS] = v;
        words += 4u * PEAK_QUADS;
    }
    leave(args, words);
}

HY_ENTRY(peak_read, PEAK_THREADS) {
    u32 sum = 0;
    HY_NO_UNROLL for (u32 r = 0; r < ROUNDS; r++)
        HY_NO_UNROLL for (u32 p = hy_group(); p < args.extra[1]; p += args.extra[2]) {
        const u32x4 *from = quads_of(args, p);
        u32x4 v[PEAK_QUADS];
        HY_UNROLL for (u32 q = 0; q < PEAK_QUADS; q++) v[q] = hy_stream(from + q * PEAK_THREADS);
        HY_UNROLL for (u32 q = 0; q < PEAK_QUADS; q++) sum += v[q].x + v[q].y + v[q].z + v[q].w;
    }
    leave(args, sum);
}

/* ---- products ---------------------------------------------------------------------------------------- */

/* Numbers that differ between threads, or the scalar unit of some cards would do the work of a whole warp. */
#define FIRST (PEAK_CHAINS * hy_thread())

/* a b is 1. Neighbours have factors of their own, so that a card may issue them in pairs. */
HY_ENTRY(peak_f32, PEAK_THREADS) {
    float sum[PEAK_CHAINS], a[2], b[2];
    HY_UNROLL for (u32 i = 0; i < 2u; i++) {
        const u32 power = (hy_thread() % 8u + i) << 23;
        a[i] = hy_float(ONE + power);
        b[i] = hy_float(ONE - power);
    }
    EACH_CHAIN sum[i] = (float)(FIRST + i);
    HY_NO_UNROLL for (u32 r = 0; r < ROUNDS; r++) HY_UNROLL for (u32 s = 0; s < PEAK_STEPS; s++)
        EACH_CHAIN sum[i] = hy_fma(a[i % 2u], b[i % 2u], sum[i]);
    u32 products = 0;
    EACH_CHAIN products += (u32)sum[i] - FIRST - i;
    leave(args, products);
}

HY_ENTRY(peak_int8, PEAK_THREADS) {
    i32 sum[PEAK_CHAINS];
    EACH_CHAIN sum[i] = (i32)(PEAK_DOT_ONE + FIRST + i);
    HY_NO_UNROLL for (u32 r = 0; r < ROUNDS; r++) HY_UNROLL for (u32 s = 0; s < PEAK_STEPS; s++)
        EACH_CHAIN sum[i] = hy_dot4((u32)sum[i], ONE, sum[i]);
    u32 products = 0;
    EACH_CHAIN products += 4u * ((u32)sum[i] - PEAK_DOT_ONE - FIRST - i);
    leave(args, products);
}

#if HY_TILES

HY_DEVICE void multiply(hy_tile_i32 &sums, const hy_tile_a &a, const hy_tile_b &b) {
    hy_mma8(sums, a, b);
}
HY_DEVICE void multiply(hy_tile_f32 &sums, const hy_tile_a &a, const hy_tile_b &b) {
    hy_mma16(sums, a, b);
}

/* 16 rows by 16 columns of 32 bytes, every word of them one. */
template <class SUMS> HY_DEVICE void multiply_tiles(const hy_args &args) {
    HY_SHARED u32x4 rows[32];
    const u32x4 v = {ONE, ONE, ONE, ONE};
    hy_tile_a a;
    hy_tile_b b;
    SUMS sum[PEAK_CHAINS];
    if (hy_thread() < 32u) rows[hy_thread()] = v;
    hy_sync();
    hy_load_a(a, rows, 32u);
    hy_load_b(b, rows, 32u);
    EACH_CHAIN HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) sum[i].v[e] = i;
    HY_NO_UNROLL for (u32 r = 0; r < ROUNDS; r++)
        HY_UNROLL for (u32 s = 0; s < PEAK_TILE_STEPS; s++) EACH_CHAIN multiply(sum[i], a, b);
    u32 products = 0;
    EACH_CHAIN HY_UNROLL for (u32 e = 0; e < HY_TILE_SUMS; e++) products += (u32)sum[i].v[e] - i;
    leave(args, products);
}

HY_ENTRY(peak_int8_tile, PEAK_THREADS) {
    multiply_tiles<hy_tile_i32>(args);
}
HY_ENTRY(peak_f16_tile, PEAK_THREADS) {
    multiply_tiles<hy_tile_f32>(args);
}

#endif

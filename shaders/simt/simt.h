/* shaders/simt/simt.h: what a CUDA, HIP or emulated thread can do. Kernels are written over these names alone;
 * nvidia.h, amd.h and tests/emulator/emulator.h give them their meaning. No vendor's header is included.
 *
 *   HY_DEVICE                   a function of the device, inlined
 *   HY_ENTRY(name, threads)     { ... }: a kernel "simt_name" of at most so many threads, with hy_args args
 *   HY_SHARED                   before a declaration in a function: memory of the workgroup, not initialized
 *   hy_dynamic()                the launch's own shared memory, at a multiple of 16 bytes
 *   HY_WARP                     threads that run together: 32 or 64
 *   hy_thread() hy_threads()    of the workgroup, in x; hy_lane() of the warp
 *   hy_group()                  number of this workgroup in a grid made by gpu_grid
 *   hy_sync()                   all threads of the workgroup are here, and see each other's writes
 *   hy_warp_sync()              the same of the warp
 *   hy_shuffle(x, lane)         x (4 bytes) of that lane of the warp; hy_shuffle_xor(x, mask) of lane ^ mask
 *   hy_fma hy_sqrt hy_rint hy_floor hy_fabs     one rounding, IEEE 754; so have + - * / (built without contraction)
 *   hy_exp2_fast                within 2 units in the last place or so; differs between devices
 *   hy_dot4(a, b, c)            c + the four products of int8
 *   hy_lookup16(x, t0, t1, t2, t3, low, high)   bytes of a table of 16 by the low and the high nibbles of x's bytes
 *   hy_from_f16 hy_to_f16       exact; to nearest even. hy_to_f16x2(low, high): two in a word
 *   hy_stream(p)                16 bytes that nobody reads again soon
 *   hy_async8/16(to, from, is)  16 bytes from memory to shared memory, zeros unless `is`, by the time that
 *                               hy_async_wait<n>() has returned, which waits for all but the last n groups;
 *                               hy_async_commit() ends a group. Other threads see them after hy_sync()
 *   hy_atomic_add(p, x)         of a word in shared memory; returns what was there
 *
 * A matrix tile is 16 x 16 sums of products over 32 bytes: 32 int8 or 16 f16 (HY_TILES: this target has them).
 * All threads of a warp take part, and all call together.
 *
 *   hy_tile_a, hy_tile_b        16 rows of A, 16 columns of B
 *   hy_load_a(a, p, pitch)      from shared memory: row r is 32 bytes at p + r * pitch, both multiples of 16
 *   hy_load_b(b, p, pitch)      column n is 32 bytes at p + n * pitch
 *   hy_load_b_turned(b, p, pitch)   f16: element (k, n) is at p + k * pitch + 2 n
 *   hy_fill_b(b, word)          every four bytes of B
 *   hy_tile_i32, hy_tile_f32    sums: v[HY_TILE_SUMS] of each thread; number i is at hy_tile_row(i), hy_tile_column(i)
 *   hy_mma8(sums, a, b)         int8, 32 products; hy_mma8_half(sums, a, b, h) the first or last 16 of them
 *   hy_mma16(sums, a, b)        f16, 16 products; their order depends on the device alone */
#ifndef HY_SIMT_H
#define HY_SIMT_H

#include "shaders/args.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;

struct alignas(8) u32x2 {
    u32 x, y;
};
struct alignas(16) u32x4 {
    u32 x, y, z, w;
};
struct alignas(16) f32x4 {
    float v[4];
};

#if defined(HY_EMULATOR)
#include "tests/emulator/emulator.h"
#elif defined(__HIP__)
#include "shaders/simt/amd.h"
#else
#include "shaders/simt/nvidia.h"
#endif

/* ---- the same everywhere --------------------------------------------------------------------------- */

HY_DEVICE u32 hy_bits(float x) {
    union {
        float f;
        u32 u;
    } v;
    v.f = x;
    return v.u;
}
HY_DEVICE float hy_float(u32 bits) {
    union {
        u32 u;
        float f;
    } v;
    v.u = bits;
    return v.f;
}
HY_DEVICE u32 hy_min(u32 a, u32 b) {
    return a < b ? a : b;
}
HY_DEVICE u32 hy_max(u32 a, u32 b) {
    return a > b ? a : b;
}
HY_DEVICE float hy_shuffle(float x, u32 lane) {
    return hy_float(hy_shuffle(hy_bits(x), lane));
}
HY_DEVICE float hy_shuffle_xor(float x, u32 mask) {
    return hy_float(hy_shuffle_xor(hy_bits(x), mask));
}
HY_DEVICE i32 hy_shuffle(i32 x, u32 lane) {
    return (i32)hy_shuffle((u32)x, lane);
}
HY_DEVICE i32 hy_shuffle_xor(i32 x, u32 mask) {
    return (i32)hy_shuffle_xor((u32)x, mask);
}
HY_DEVICE float hy_from_bf16(u32 half_) {
    return hy_float(half_ << 16);
}
HY_DEVICE u32 hy_to_bf16(float x) {
    const u32 bits = hy_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

#define HY_INFINITY hy_float(0x7f800000u)
#define HY_NAN hy_float(0x7fc00000u)

#endif

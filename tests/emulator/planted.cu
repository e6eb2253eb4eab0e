/* tests/emulator/planted.cu: kernels for the emulator's own test: right ones, and ones with a mistake each. operand[0]:
 * int32 in, operand[1]: int32 out, both [threads]. */
#include "shaders/simt/common.h"

#define IN ((const i32 *)args.operand[0].address)
#define OUT ((i32 *)args.operand[1].address)

/* Each thread's neighbour's number, through shared memory. */
HY_ENTRY(rotate, 256) {
    HY_SHARED i32 part[256];
    const u32 t = hy_thread(), threads = hy_threads();
    part[t] = IN[t];
    hy_sync();
    OUT[t] = part[(t + 1u) % threads];
}

HY_ENTRY(missing_barrier, 256) {
    HY_SHARED i32 part[256];
    const u32 t = hy_thread(), threads = hy_threads();
    part[t] = IN[t];
    OUT[t] = part[(t + 1u) % threads];
    hy_sync();
    part[t] = -1; /* so that nothing is left of it for the next workgroup */
}

HY_ENTRY(divergent_barrier, 256) {
    if (hy_thread() < 7u)
        hy_sync();
    else
        hy_sync(); /* another one */
}

HY_ENTRY(returned, 256) {
    if (hy_thread() == 3u) return;
    hy_sync();
}

/* As wide as the warp. */
HY_ENTRY(shuffles, 256) {
    const u32 t = hy_thread();
    i32 sum = IN[t];
    for (u32 mask = 1; mask < HY_WARP; mask *= 2u)
        sum += hy_shuffle_xor(sum, mask);
    OUT[t] = sum + (i32)hy_shuffle(t, HY_WARP - 1u);
}

HY_ENTRY(outside_global, 256) {
    OUT[hy_thread()] = IN[hy_thread() + (hy_thread() == 5u ? 4096u : 0u)];
}
HY_ENTRY(outside_shared, 256) {
    HY_SHARED i32 part[256];
    volatile i32 *p = part;
    p[hy_thread() + (hy_thread() == 255u)] = 1;
    hy_sync();
    OUT[hy_thread()] = p[hy_thread()];
}
HY_ENTRY(outside_dynamic, 256) {
    ((volatile u8 *)hy_dynamic())[hy_thread() + (hy_thread() == 255u)] = 1;
}

/* 16 bytes for each thread. */
HY_ENTRY(waited, 256) {
    const u32 t = hy_thread();
    u32x4 *to = (u32x4 *)hy_dynamic();
    hy_async16(to + t, IN, t % 2u == 0u);
    hy_async_commit();
    hy_async_wait<0>();
    hy_sync();
    OUT[t] = (i32)to[(t + 1u) % hy_threads()].x;
}
HY_ENTRY(missing_wait, 256) {
    const u32 t = hy_thread();
    u32x4 *to = (u32x4 *)hy_dynamic();
    hy_async16(to + t, IN, t % 2u == 0u);
    hy_async_commit();
    hy_async16(to + t, IN, false);
    hy_async_commit();
    hy_sync();
    OUT[t] = (i32)to[t].x;
}
HY_ENTRY(misaligned, 256) {
    OUT[hy_thread()] = (i32)hy_stream((const u8 *)IN + 4).x;
}

/* One warp: A is row r: bytes r + k, B column n: bytes n - k; A B, and half of it. */
HY_ENTRY(tiles, 64) {
    HY_SHARED u32x4 a[32], b[32];
    for (u32 i = hy_thread(); i < 512u; i += hy_threads()) {
        ((u8 *)a)[i] = (u8)(i / 32u + i % 32u);
        ((u8 *)b)[i] = (u8)(i / 32u - i % 32u);
    }
    hy_sync();
    hy_tile_a x;
    hy_tile_b y;
    hy_tile_i32 c = {};
    hy_load_a(x, a, 32u);
    hy_load_b(y, b, 32u);
    hy_mma8(c, x, y);
    hy_mma8_half(c, x, y, 1u);
    for (u32 i = 0; i < HY_TILE_SUMS; i++)
        OUT[16u * hy_tile_row(i) + hy_tile_column(i)] = c.v[i];
}

/* The same of f16: A is r + k, B turned: row k, column n: n - k. */
HY_ENTRY(half_tiles, 64) {
    HY_SHARED u32x4 a[32], b[32];
    for (u32 i = hy_thread(); i < 256u; i += hy_threads()) {
        ((u16 *)a)[i] = (u16)hy_to_f16((float)(i / 16u + i % 16u));
        ((u16 *)b)[i] = (u16)hy_to_f16((float)(i % 16u) - (float)(i / 16u));
    }
    hy_sync();
    hy_tile_a x;
    hy_tile_b y;
    hy_tile_f32 c = {};
    hy_load_a(x, a, 32u);
    hy_load_b_turned(y, b, 32u);
    hy_mma16(c, x, y);
    for (u32 i = 0; i < HY_TILE_SUMS; i++)
        OUT[16u * hy_tile_row(i) + hy_tile_column(i)] = (i32)c.v[i];
}

/* Meets often, for the time that takes. */
HY_ENTRY(meetings, 256) {
    for (u32 i = 0; i < 1000u; i++)
        hy_sync();
    OUT[hy_thread()] = 1;
}

/* tests/emulator/emulator.h: shaders/simt/simt.h's names on a CPU, one fiber for each thread of a workgroup.
 *
 * Barriers, shuffles and matrix tiles are meetings of a workgroup or warp. Who waits for someone that waits at
 * another line, or has returned, ends the process with a line that says so. Asynchronous copies are made when
 * they are waited for, and what they will write is poison until then. */
#ifndef HY_EMULATOR_H
#define HY_EMULATOR_H

#include <math.h>
#include <string.h>

#define HY_DEVICE static inline __attribute__((unused))
#define HY_ENTRY(name, threads)                                                                    \
    extern "C" {                                                                                   \
    extern const uint32_t simt_limit_##name;                                                       \
    const uint32_t simt_limit_##name = threads;                                                    \
    }                                                                                              \
    extern "C" void simt_##name(const hy_args &args)
#define HY_SHARED static
#define HY_WARP ((u32)HY_EMULATOR_WARP)
#define HY_TILES 1
#define HY_UNROLL
#define HY_NO_UNROLL

/* ---- what emulator.cpp runs ------------------------------------------------------------------------- */

/* Where a meeting is called. */
struct hy_site {
    const char *what, *file;
    int line;
};
#define HY_SITE(what) const hy_site &site = {what, __builtin_FILE(), __builtin_LINE()}

/* Who meets: all threads of a warp, or of the workgroup. */
struct hy_meeting {
    u32 size, arrived, epoch;
    hy_site site;
};

struct hy_fragment {
    u8 bytes[32];
};

struct hy_warp {
    hy_meeting meeting;
    u32 word[2][HY_WARP]; /* of each lane, by the meeting's parity */
    hy_fragment a[2][16], b[2][16];
};

struct hy_copy {
    u8 *to;
    const u8 *from;
    u32 bytes, group;
    bool is;
};

struct hy_fiber {
    void *stack; /* saved pointer */
    u32 thread;
    hy_warp *warp;
    hy_meeting *waits; /* NULL: it can go on */
    u32 epoch;         /* of that meeting when it came */
    bool done;
    u32 group; /* of asynchronous copies */
    u32 copies, copy_room;
    hy_copy *copy;
};

/* Of the workgroup that runs. */
struct hy_workgroup {
    u32 threads, group;
    u8 *dynamic;
    u32 dynamic_bytes;
    hy_meeting meeting;
};

extern hy_fiber *hy_self;
extern hy_workgroup hy_now;

/* Returns when all have come. */
void hy_meet(hy_meeting &meeting, const hy_site &site);
/* Ends the process. */
[[noreturn]] void hy_emulator_die(const hy_site &site, const char *why);
void hy_copy_later(void *to, const void *from, u32 bytes, bool is);
void hy_copy_now(u32 last);

/* ---- simt.h ----------------------------------------------------------------------------------------- */

HY_DEVICE u8 *hy_dynamic() {
    return hy_now.dynamic;
}
HY_DEVICE u32 hy_thread() {
    return hy_self->thread;
}
HY_DEVICE u32 hy_threads() {
    return hy_now.threads;
}
HY_DEVICE u32 hy_lane() {
    return hy_self->thread % HY_WARP;
}
HY_DEVICE u32 hy_group() {
    return hy_now.group;
}
HY_DEVICE void hy_sync(HY_SITE("hy_sync")) {
    hy_meet(hy_now.meeting, site);
}
HY_DEVICE void hy_warp_sync(HY_SITE("hy_warp_sync")) {
    hy_meet(hy_self->warp->meeting, site);
}
HY_DEVICE u32 hy_shuffle(u32 x, u32 lane, HY_SITE("hy_shuffle")) {
    hy_warp &w = *hy_self->warp;
    const u32 parity = w.meeting.epoch & 1u;
    w.word[parity][hy_lane()] = x;
    hy_meet(w.meeting, site);
    if (lane >= w.meeting.size) hy_emulator_die(site, "reads a lane that is not there");
    return w.word[parity][lane];
}
HY_DEVICE u32 hy_shuffle_xor(u32 x, u32 mask, HY_SITE("hy_shuffle_xor")) {
    return hy_shuffle(x, hy_lane() ^ mask, site);
}

HY_DEVICE float hy_fma(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
}
HY_DEVICE float hy_sqrt(float x) {
    return __builtin_sqrtf(x);
}
HY_DEVICE float hy_rint(float x) {
    return __builtin_rintf(x);
}
HY_DEVICE float hy_floor(float x) {
    return __builtin_floorf(x);
}
HY_DEVICE float hy_fabs(float x) {
    return __builtin_fabsf(x);
}
HY_DEVICE float hy_exp2_fast(float x) {
    return exp2f(x);
}
HY_DEVICE i32 hy_dot4(u32 a, u32 b, i32 c) {
    for (u32 i = 0; i < 32; i += 8)
        c += (i32)(int8_t)(a >> i) * (i32)(int8_t)(b >> i);
    return c;
}
HY_DEVICE void hy_lookup16(u32 x, u32 t0, u32 t1, u32 t2, u32 t3, u32 &low, u32 &high) {
    const u32 table[4] = {t0, t1, t2, t3};
    low = high = 0;
    for (u32 i = 0; i < 32u; i += 8u) {
        const u32 l = x >> i & 15u, h = x >> (i + 4u) & 15u;
        low |= (table[l / 4u] >> l % 4u * 8u & 0xffu) << i;
        high |= (table[h / 4u] >> h % 4u * 8u & 0xffu) << i;
    }
}
HY_DEVICE float hy_from_f16(u32 half_) {
    const u32 sign = (half_ & 0x8000u) << 16, exponent = half_ >> 10 & 31u;
    const u32 fraction = half_ & 0x3ffu;
    float small;
    u32 bits;
    if (exponent == 0u) {
        small = (float)fraction * 0x1p-24f;
        return sign ? -small : small;
    }
    bits = sign | (exponent == 31u ? 255u : exponent + 112u) << 23 | fraction << 13;
    memcpy(&small, &bits, 4);
    return small;
}
HY_DEVICE u32 hy_to_f16(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    const u32 sign = bits >> 16 & 0x8000u, a = bits & 0x7fffffffu;
    if (a > 0x7f800000u) return sign | 0x7e00u;
    if (a >= 0x477ff000u) return sign | 0x7c00u; /* 65520 and above */
    if (a < 0x33000001u) return sign;            /* 2^-25 and below */
    if (a < 0x38800000u) {                       /* subnormal: in units of 2^-24 */
        const u32 shift = 126u - (a >> 23), m = (a & 0x7fffffu) | 0x800000u;
        const u32 q = m >> shift, rest = m & ((1u << shift) - 1u), tie = 1u << (shift - 1u);
        return sign | (q + (rest > tie || (rest == tie && (q & 1u))));
    }
    return sign | (((a + 0xfffu + (a >> 13 & 1u)) >> 13) - 0x1c000u);
}
HY_DEVICE u32 hy_to_f16x2(float low, float high) {
    return hy_to_f16(low) | hy_to_f16(high) << 16;
}

HY_DEVICE u32x4 hy_stream(const void *p, HY_SITE("hy_stream")) {
    if ((u64)p % 16u) hy_emulator_die(site, "reads 16 bytes at another address");
    return *(const u32x4 *)p;
}
HY_DEVICE void hy_async16(void *to, const void *from, bool is, HY_SITE("hy_async16")) {
    if ((u64)to % 16u || (is && (u64)from % 16u))
        hy_emulator_die(site, "copies 16 bytes at another address");
    hy_copy_later(to, from, 16, is);
}
HY_DEVICE void hy_async8(void *to, const void *from, bool is, HY_SITE("hy_async8")) {
    if ((u64)to % 8u || (is && (u64)from % 8u))
        hy_emulator_die(site, "copies 8 bytes at another address");
    hy_copy_later(to, from, 8, is);
}
HY_DEVICE void hy_async_commit() {
    hy_self->group++;
}
template <u32 N> HY_DEVICE void hy_async_wait() {
    hy_copy_now(N);
}
HY_DEVICE u32 hy_atomic_add(u32 *p, u32 x) {
    const u32 old = *p;
    *p = old + x;
    return old;
}

/* ---- matrix tiles: a thread holds row (of A) or column (of B) lane % 16 ------------------------------ */

#define HY_TILE_SUMS (256u / HY_WARP)

typedef hy_fragment hy_tile_a, hy_tile_b;
struct hy_tile_i32 {
    i32 v[HY_TILE_SUMS];
};
struct hy_tile_f32 {
    float v[HY_TILE_SUMS];
};

HY_DEVICE u32 hy_tile_row(u32 i) {
    return (hy_lane() * HY_TILE_SUMS + i) / 16u;
}
HY_DEVICE u32 hy_tile_column(u32 i) {
    return (hy_lane() * HY_TILE_SUMS + i) % 16u;
}
HY_DEVICE void hy_load_a(hy_tile_a &a, const void *p, u32 pitch, HY_SITE("hy_load")) {
    if ((u64)p % 16u || pitch % 16u) hy_emulator_die(site, "loads a tile from another address");
    hy_meet(hy_self->warp->meeting, site);
    memcpy(a.bytes, (const u8 *)p + hy_lane() % 16u * pitch, 32);
}
HY_DEVICE void hy_load_b(hy_tile_b &b, const void *p, u32 pitch, HY_SITE("hy_load")) {
    hy_load_a(b, p, pitch, site);
}
HY_DEVICE void hy_load_b_turned(hy_tile_b &b, const void *p, u32 pitch, HY_SITE("hy_load")) {
    if ((u64)p % 16u || pitch % 16u) hy_emulator_die(site, "loads a tile from another address");
    hy_meet(hy_self->warp->meeting, site);
    for (u32 k = 0; k < 16u; k++)
        memcpy(b.bytes + 2u * k, (const u8 *)p + k * pitch + 2u * (hy_lane() % 16u), 2);
}

HY_DEVICE void hy_fill_b(hy_tile_b &b, u32 word) {
    for (u32 i = 0; i < 32u; i += 4u)
        memcpy(b.bytes + i, &word, 4);
}

/* Gives this thread's fragments to the warp; returns the parity under which all of them are found. */
HY_DEVICE u32 hy_tile_meet(const hy_tile_a &a, const hy_tile_b &b, const hy_site &site) {
    hy_warp &w = *hy_self->warp;
    const u32 parity = w.meeting.epoch & 1u;
    if (hy_lane() < 16u) {
        w.a[parity][hy_lane()] = a;
        w.b[parity][hy_lane()] = b;
    }
    hy_meet(w.meeting, site);
    return parity;
}
HY_DEVICE void hy_tile_int8(hy_tile_i32 &c, const hy_tile_a &a, const hy_tile_b &b, u32 from,
                            u32 to, const hy_site &site) {
    const hy_warp &w = *hy_self->warp;
    const u32 parity = hy_tile_meet(a, b, site);
    for (u32 i = 0; i < HY_TILE_SUMS; i++) {
        const int8_t *x = (const int8_t *)w.a[parity][hy_tile_row(i)].bytes;
        const int8_t *y = (const int8_t *)w.b[parity][hy_tile_column(i)].bytes;
        i32 sum = c.v[i];
        for (u32 k = from; k < to; k++)
            sum += (i32)x[k] * (i32)y[k];
        c.v[i] = sum;
    }
}
HY_DEVICE void hy_mma8(hy_tile_i32 &c, const hy_tile_a &a, const hy_tile_b &b, HY_SITE("hy_mma8")) {
    hy_tile_int8(c, a, b, 0, 32, site);
}
HY_DEVICE void hy_mma8_half(hy_tile_i32 &c, const hy_tile_a &a, const hy_tile_b &b, u32 h,
                            HY_SITE("hy_mma8_half")) {
    hy_tile_int8(c, a, b, 16u * h, 16u * h + 16u, site);
}
HY_DEVICE void hy_mma16(hy_tile_f32 &c, const hy_tile_a &a, const hy_tile_b &b,
                        HY_SITE("hy_mma16")) {
    const hy_warp &w = *hy_self->warp;
    const u32 parity = hy_tile_meet(a, b, site);
    for (u32 i = 0; i < HY_TILE_SUMS; i++) {
        const u16 *x = (const u16 *)w.a[parity][hy_tile_row(i)].bytes;
        const u16 *y = (const u16 *)w.b[parity][hy_tile_column(i)].bytes;
        float sum = c.v[i];
        for (u32 k = 0; k < 16u; k++)
            sum += hy_from_f16(x[k]) * hy_from_f16(y[k]);
        c.v[i] = sum;
    }
}

#endif

/* shaders/simt/amd.h: simt.h's names on AMD: GCN and CDNA with warps of 64, RDNA with warps of 32. Freestanding:
 * clang's own functions (__builtin_amdgcn_*), no ROCm header. */
#ifndef HY_SIMT_AMD_H
#define HY_SIMT_AMD_H

#define HY_DEVICE static __attribute__((device, always_inline)) inline
#define HY_ENTRY(name, threads)                                                                    \
    extern "C" __attribute__((                                                                     \
        global, visibility("protected"),                                                           \
        amdgpu_flat_work_group_size(1, threads))) void simt_##name(const hy_args args)
#define HY_SHARED __attribute__((shared))
#define HY_UNROLL _Pragma("clang loop unroll(full)")
#define HY_NO_UNROLL _Pragma("clang loop unroll(disable)")

#if defined(__gfx906__) || defined(__gfx908__) || defined(__gfx90a__) || defined(__gfx942__)
#define HY_WARP 64u
#else
#define HY_WARP 32u
#endif
#if defined(__gfx908__) || defined(__gfx90a__) || defined(__gfx942__)
#define HY_MFMA 1
#elif defined(__GFX11__)
#define HY_WMMA 11
#elif defined(__GFX12__)
#define HY_WMMA 12
#endif
#if defined(HY_MFMA) || defined(HY_WMMA) || !defined(__HIP_DEVICE_COMPILE__)
#define HY_TILES 1
#else
#define HY_TILES 0
#endif

extern __attribute__((shared)) u32x4 hy_dynamic_memory[];

HY_DEVICE u8 *hy_dynamic() {
    return (u8 *)hy_dynamic_memory;
}
HY_DEVICE u32 hy_thread() {
    return __builtin_amdgcn_workitem_id_x();
}
HY_DEVICE u32 hy_threads() {
    return __builtin_amdgcn_workgroup_size_x();
}
HY_DEVICE u32 hy_lane() {
    return __builtin_amdgcn_workitem_id_x() % HY_WARP;
}
HY_DEVICE u32 hy_group() {
    return __builtin_amdgcn_workgroup_id_y() *
               (__builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x()) +
           __builtin_amdgcn_workgroup_id_x();
}
HY_DEVICE void hy_sync() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
HY_DEVICE void hy_warp_sync() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
HY_DEVICE u32 hy_shuffle(u32 x, u32 lane) {
    return (u32)__builtin_amdgcn_ds_bpermute((int)(lane * 4u), (int)x);
}
HY_DEVICE u32 hy_shuffle_xor(u32 x, u32 mask) {
    return (u32)__builtin_amdgcn_ds_bpermute((int)((hy_lane() ^ mask) * 4u), (int)x);
}

/* ---- arithmetic ------------------------------------------------------------------------------------ */

typedef _Float16 hy_half;
typedef hy_half hy_half4 __attribute__((ext_vector_type(4)));
typedef hy_half hy_half8 __attribute__((ext_vector_type(8)));
typedef hy_half hy_half16 __attribute__((ext_vector_type(16)));
typedef float hy_vf4 __attribute__((ext_vector_type(4)));
typedef float hy_vf8 __attribute__((ext_vector_type(8)));
typedef int hy_vi2 __attribute__((ext_vector_type(2)));
typedef int hy_vi4 __attribute__((ext_vector_type(4)));
typedef int hy_vi8 __attribute__((ext_vector_type(8)));
typedef u32 hy_vu4 __attribute__((ext_vector_type(4)));

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
    return __builtin_amdgcn_exp2f(x);
}
HY_DEVICE i32 hy_dot4(u32 a, u32 b, i32 c) {
#if defined(__GFX11__) || defined(__GFX12__)
    return __builtin_amdgcn_sudot4(true, (int)a, true, (int)b, c, false);
#else
    return __builtin_amdgcn_sdot4((int)a, (int)b, c, false);
#endif
}
/* A selector's byte chooses one of eight bytes. */
HY_DEVICE u32 hy_lookup_bytes(u32 x, u32 t0, u32 t1, u32 t2, u32 t3) {
    const u32 index = x & 0x07070707u, mask = (x >> 3 & 0x01010101u) * 0xffu;
    const u32 a = __builtin_amdgcn_perm(t1, t0, index), b = __builtin_amdgcn_perm(t3, t2, index);
    return (a & ~mask) | (b & mask);
}
HY_DEVICE void hy_lookup16(u32 x, u32 t0, u32 t1, u32 t2, u32 t3, u32 &low, u32 &high) {
    low = hy_lookup_bytes(x, t0, t1, t2, t3);
    high = hy_lookup_bytes(x >> 4, t0, t1, t2, t3);
}
HY_DEVICE float hy_from_f16(u32 half_) {
    return (float)__builtin_bit_cast(hy_half, (u16)half_);
}
HY_DEVICE u32 hy_to_f16(float x) {
    return __builtin_bit_cast(u16, (hy_half)x);
}
HY_DEVICE u32 hy_to_f16x2(float low, float high) {
    return hy_to_f16(low) | hy_to_f16(high) << 16;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

HY_DEVICE u32x4 hy_stream(const void *p) {
    const hy_vu4 v =
        __builtin_nontemporal_load((const __attribute__((address_space(1))) hy_vu4 *)p);
    const u32x4 out = {v.x, v.y, v.z, v.w};
    return out;
}
HY_DEVICE u32 hy_atomic_add(u32 *p, u32 x) {
    return __hip_atomic_fetch_add(p, x, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}
HY_DEVICE void hy_async16(void *to, const void *from, bool is) {
    const u32x4 zero = {0, 0, 0, 0};
    *(u32x4 *)to = is ? *(const u32x4 *)from : zero;
}
HY_DEVICE void hy_async8(void *to, const void *from, bool is) {
    const u32x2 zero = {0, 0};
    *(u32x2 *)to = is ? *(const u32x2 *)from : zero;
}
HY_DEVICE void hy_async_commit() {}
template <u32 N> HY_DEVICE void hy_async_wait() {}

/* ---- matrix tiles ------------------------------------------------------------------------------------
 *
 * A thread holds bytes of row (of A) or column (of B) lane % 16. Which ones is the same for A and B, so that
 * every order of k gives the same products: of each 16 bytes MFMA has 4 in each of 4 groups of lanes, WMMA of
 * gfx12 8 in each of 2, WMMA of gfx11 all in both. */

#if HY_TILES
#if defined(HY_MFMA) || !defined(HY_WMMA)
#define HY_TILE_WORDS 1u /* of each 16 bytes */
#elif HY_WMMA == 12
#define HY_TILE_WORDS 2u
#else
#define HY_TILE_WORDS 4u
#endif
#define HY_TILE_SUMS (256u / HY_WARP)

struct hy_tile_a {
    u32 r[2 * HY_TILE_WORDS]; /* of bytes 0-15, of bytes 16-31 */
};
typedef hy_tile_a hy_tile_b;
struct hy_tile_i32 {
    i32 v[HY_TILE_SUMS];
};
struct hy_tile_f32 {
    float v[HY_TILE_SUMS];
};

/* First byte of a thread's in each 16. */
HY_DEVICE u32 hy_tile_byte() {
    return 4u * HY_TILE_WORDS == 16u ? 0u : hy_lane() / 16u * (4u * HY_TILE_WORDS);
}
HY_DEVICE u32 hy_tile_row(u32 i) {
#if defined(HY_WMMA) && HY_WMMA == 11
    return 2u * i + hy_lane() / 16u;
#else
    return hy_lane() / 16u * HY_TILE_SUMS + i;
#endif
}
HY_DEVICE u32 hy_tile_column(u32 i) {
    return hy_lane() % 16u;
}
HY_DEVICE void hy_load_a(hy_tile_a &a, const void *p, u32 pitch) {
    const u32 *row = (const u32 *)((const u8 *)p + hy_lane() % 16u * pitch + hy_tile_byte());
    HY_UNROLL for (u32 h = 0; h < 2; h++) HY_UNROLL for (u32 i = 0; i < HY_TILE_WORDS; i++)
        a.r[h * HY_TILE_WORDS + i] = row[4u * h + i];
}
HY_DEVICE void hy_load_b(hy_tile_b &b, const void *p, u32 pitch) {
    hy_load_a(b, p, pitch);
}
HY_DEVICE void hy_load_b_turned(hy_tile_b &b, const void *p, u32 pitch) {
    const u8 *column = (const u8 *)p + hy_lane() % 16u * 2u;
    HY_UNROLL for (u32 h = 0; h < 2; h++) HY_UNROLL for (u32 i = 0; i < HY_TILE_WORDS; i++) {
        const u32 k = (16u * h + hy_tile_byte() + 4u * i) / 2u;
        b.r[h * HY_TILE_WORDS + i] = *(const u16 *)(column + k * pitch) |
                                     (u32) * (const u16 *)(column + (k + 1u) * pitch) << 16;
    }
}

HY_DEVICE void hy_fill_b(hy_tile_b &b, u32 word) {
    HY_UNROLL for (u32 i = 0; i < 2u * HY_TILE_WORDS; i++) b.r[i] = word;
}
HY_DEVICE void hy_mma8_half(hy_tile_i32 &c, const hy_tile_a &a, const hy_tile_b &b, u32 h) {
#if defined(HY_MFMA)
    hy_vi4 v = {c.v[0], c.v[1], c.v[2], c.v[3]};
#if defined(__gfx942__)
    v = __builtin_amdgcn_mfma_i32_16x16x32_i8((long)a.r[h], (long)b.r[h], v, 0, 0, 0);
#else
    v = __builtin_amdgcn_mfma_i32_16x16x16i8((int)a.r[h], (int)b.r[h], v, 0, 0, 0);
#endif
    HY_UNROLL for (u32 i = 0; i < HY_TILE_SUMS; i++) c.v[i] = v[i];
#elif defined(HY_WMMA)
    const u32 *x = a.r + h * HY_TILE_WORDS, *y = b.r + h * HY_TILE_WORDS;
    hy_vi8 v = __builtin_bit_cast(hy_vi8, c);
#if HY_WMMA == 12
    const hy_vi2 p = {(int)x[0], (int)x[1]}, q = {(int)y[0], (int)y[1]};
    v = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, p, true, q, v, false);
#else
    const hy_vi4 p = {(int)x[0], (int)x[1], (int)x[2], (int)x[3]},
                 q = {(int)y[0], (int)y[1], (int)y[2], (int)y[3]};
    v = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, p, true, q, v, false);
#endif
    c = __builtin_bit_cast(hy_tile_i32, v);
#endif
}
HY_DEVICE void hy_mma8(hy_tile_i32 &c, const hy_tile_a &a, const hy_tile_b &b) {
#if defined(__gfx942__)
    hy_vi4 v = __builtin_bit_cast(hy_vi4, c);
    v = __builtin_amdgcn_mfma_i32_16x16x32_i8(__builtin_bit_cast(long, a),
                                              __builtin_bit_cast(long, b), v, 0, 0, 0);
    c = __builtin_bit_cast(hy_tile_i32, v);
#else
    hy_mma8_half(c, a, b, 0);
    hy_mma8_half(c, a, b, 1);
#endif
}
HY_DEVICE void hy_mma16(hy_tile_f32 &c, const hy_tile_a &a, const hy_tile_b &b) {
#if defined(HY_MFMA)
    hy_vf4 v = __builtin_bit_cast(hy_vf4, c);
    v = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(hy_half4, a),
                                              __builtin_bit_cast(hy_half4, b), v, 0, 0, 0);
    c = __builtin_bit_cast(hy_tile_f32, v);
#elif defined(HY_WMMA)
    hy_vf8 v = __builtin_bit_cast(hy_vf8, c);
#if HY_WMMA == 12
    v = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(__builtin_bit_cast(hy_half8, a),
                                                         __builtin_bit_cast(hy_half8, b), v);
#else
    v = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(__builtin_bit_cast(hy_half16, a),
                                                   __builtin_bit_cast(hy_half16, b), v);
#endif
    c = __builtin_bit_cast(hy_tile_f32, v);
#endif
}
#endif

#endif

/* shaders/simt/nvidia.h: simt.h's names on NVIDIA, compute capability 7.5 and newer. What the compiler has no
 * function for is PTX (PTX ISA 8.5). */
#ifndef HY_SIMT_NVIDIA_H
#define HY_SIMT_NVIDIA_H

#define HY_DEVICE static __device__ __forceinline__
#define HY_ENTRY(name, threads)                                                                    \
    extern "C" __global__ void __launch_bounds__(threads)                                          \
        simt_##name(const __grid_constant__ hy_args args)
#define HY_SHARED __shared__
#define HY_WARP 32u
#define HY_TILES 1
#define HY_UNROLL _Pragma("unroll")
#define HY_NO_UNROLL _Pragma("unroll 1")

extern __shared__ u32x4 hy_dynamic_memory[];

HY_DEVICE u8 *hy_dynamic() {
    return (u8 *)hy_dynamic_memory;
}
HY_DEVICE u32 hy_thread() {
    return threadIdx.x;
}
HY_DEVICE u32 hy_threads() {
    return blockDim.x;
}
HY_DEVICE u32 hy_lane() {
    return threadIdx.x % HY_WARP;
}
HY_DEVICE u32 hy_group() {
    return blockIdx.y * gridDim.x + blockIdx.x;
}
HY_DEVICE void hy_sync() {
    __syncthreads();
}
HY_DEVICE void hy_warp_sync() {
    __syncwarp();
}
HY_DEVICE u32 hy_shuffle(u32 x, u32 lane) {
    return __shfl_sync(0xffffffffu, x, (int)lane);
}
HY_DEVICE u32 hy_shuffle_xor(u32 x, u32 mask) {
    return __shfl_xor_sync(0xffffffffu, x, (int)mask);
}

/* ---- arithmetic ------------------------------------------------------------------------------------ */

HY_DEVICE float hy_fma(float a, float b, float c) {
    return __fmaf_rn(a, b, c);
}
HY_DEVICE float hy_sqrt(float x) {
    return __fsqrt_rn(x);
}
HY_DEVICE float hy_rint(float x) {
    return rintf(x);
}
HY_DEVICE float hy_floor(float x) {
    return floorf(x);
}
HY_DEVICE float hy_fabs(float x) {
    return fabsf(x);
}
HY_DEVICE float hy_exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
HY_DEVICE i32 hy_dot4(u32 a, u32 b, i32 c) {
    return __dp4a((int)a, (int)b, c);
}
/* A selector's nibble chooses one of eight bytes: first by three bits among each half of the table, then by the fourth
 * among the two. */
HY_DEVICE void hy_lookup16(u32 x, u32 t0, u32 t1, u32 t2, u32 t3, u32 &low, u32 &high) {
    const u32 index = x & 0x77777777u, side = 0x32103210u | (x & 0x88888888u) >> 1;
    const u32 first = __byte_perm(__byte_perm(t0, t1, index), __byte_perm(t2, t3, index), side);
    const u32 second =
        __byte_perm(__byte_perm(t0, t1, index >> 16), __byte_perm(t2, t3, index >> 16), side >> 16);
    low = __byte_perm(first, second, 0x6420u);
    high = __byte_perm(first, second, 0x7531u);
}
HY_DEVICE float hy_from_f16(u32 half_) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((u16)half_));
    return x;
}
HY_DEVICE u32 hy_to_f16(float x) {
    u16 half_;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half_) : "f"(x));
    return half_;
}
HY_DEVICE u32 hy_to_f16x2(float low, float high) {
#if __CUDA_ARCH__ >= 800
    u32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#else
    return hy_to_f16(low) | hy_to_f16(high) << 16;
#endif
}

/* ---- memory ---------------------------------------------------------------------------------------- */

HY_DEVICE u32x4 hy_stream(const void *p) {
    u32x4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}
HY_DEVICE u32 hy_atomic_add(u32 *p, u32 x) {
    return atomicAdd(p, x);
}

HY_DEVICE u32 hy_shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}

#if __CUDA_ARCH__ >= 800
HY_DEVICE void hy_async16(void *to, const void *from, bool is) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(hy_shared_address(to)),
                 "l"(from), "r"(is ? 16u : 0u)
                 : "memory");
}
HY_DEVICE void hy_async8(void *to, const void *from, bool is) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(hy_shared_address(to)),
                 "l"(from), "r"(is ? 8u : 0u)
                 : "memory");
}
HY_DEVICE void hy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <u32 N> HY_DEVICE void hy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
#else
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
#endif

/* ---- matrix tiles: two m16n8 side by side ----------------------------------------------------------- */

#define HY_TILE_SUMS 8u

struct hy_tile_a {
    u32 r[4]; /* rows 0-7 and 8-15 of bytes 0-15, then of bytes 16-31 */
};
struct hy_tile_b {
    u32 r[4]; /* columns 0-7: bytes 0-15, 16-31; then columns 8-15 */
};
struct hy_tile_i32 {
    i32 v[HY_TILE_SUMS];
};
struct hy_tile_f32 {
    float v[HY_TILE_SUMS];
};

HY_DEVICE u32 hy_tile_row(u32 i) {
    return hy_lane() / 4u + (i & 2u) * 4u;
}
HY_DEVICE u32 hy_tile_column(u32 i) {
    return (i & 4u) * 2u + hy_lane() % 4u * 2u + (i & 1u);
}

/* Four matrices of 8 rows of 16 bytes; thread t gives the address of row t % 8 of matrix t / 8. */
HY_DEVICE void hy_ldmatrix(u32 r[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(hy_shared_address(p))
                 : "memory");
}
HY_DEVICE void hy_load_a(hy_tile_a &a, const void *p, u32 pitch) {
    const u32 t = hy_lane();
    hy_ldmatrix(a.r, (const u8 *)p + t % 16u * pitch + t / 16u * 16u);
}
HY_DEVICE void hy_load_b(hy_tile_b &b, const void *p, u32 pitch) {
    const u32 t = hy_lane();
    hy_ldmatrix(b.r, (const u8 *)p + (t % 8u + t / 16u * 8u) * pitch + t / 8u % 2u * 16u);
}
HY_DEVICE void hy_load_b_turned(hy_tile_b &b, const void *p, u32 pitch) {
    const u32 t = hy_lane();
    const u8 *row = (const u8 *)p + t % 16u * pitch + t / 16u * 16u;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b.r[0]), "=r"(b.r[1]), "=r"(b.r[2]), "=r"(b.r[3])
                 : "r"(hy_shared_address(row))
                 : "memory");
}

HY_DEVICE void hy_fill_b(hy_tile_b &b, u32 word) {
    HY_UNROLL for (u32 i = 0; i < 4u; i++) b.r[i] = word;
}

/* c: the four sums of one half of the columns. */
HY_DEVICE void hy_mma8_k16(i32 *c, u32 a0, u32 a1, u32 b) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
#else
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(c[0]), "+r"(c[1])
        : "r"(a0), "r"(b));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(c[2]), "+r"(c[3])
        : "r"(a1), "r"(b));
#endif
}
HY_DEVICE void hy_mma8_half(hy_tile_i32 &c, const hy_tile_a &a, const hy_tile_b &b, u32 h) {
    hy_mma8_k16(c.v, a.r[2 * h], a.r[2 * h + 1], b.r[h]);
    hy_mma8_k16(c.v + 4, a.r[2 * h], a.r[2 * h + 1], b.r[2 + h]);
}
HY_DEVICE void hy_mma8(hy_tile_i32 &c, const hy_tile_a &a, const hy_tile_b &b) {
#if __CUDA_ARCH__ >= 800
    HY_UNROLL for (u32 h = 0; h < 2; h++) {
        i32 *v = c.v + 4 * h;
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
            "{%8, %9}, {%0, %1, %2, %3};"
            : "+r"(v[0]), "+r"(v[1]), "+r"(v[2]), "+r"(v[3])
            : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[2 * h]),
              "r"(b.r[2 * h + 1]));
    }
#else
    hy_mma8_half(c, a, b, 0);
    hy_mma8_half(c, a, b, 1);
#endif
}
HY_DEVICE void hy_mma16(hy_tile_f32 &c, const hy_tile_a &a, const hy_tile_b &b) {
    HY_UNROLL for (u32 h = 0; h < 2; h++) {
        float *v = c.v + 4 * h;
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
            "{%8, %9}, {%0, %1, %2, %3};"
            : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3])
            : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[2 * h]),
              "r"(b.r[2 * h + 1]));
#else
        HY_UNROLL for (u32 k = 0; k < 2; k++) asm(
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
            "{%0, %1, %2, %3};" : "+f"(v[0]),
            "+f"(v[1]), "+f"(v[2]), "+f"(v[3]) : "r"(a.r[2 * k]), "r"(a.r[2 * k + 1]),
            "r"(b.r[2 * h + k]));
#endif
    }
}

#endif

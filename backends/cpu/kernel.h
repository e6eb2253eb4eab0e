/* backends/cpu/kernel.h: what kernel files share: rows of operands, conversion at load and store, the
 * split of work over workers. Included by files that are compiled once per ISA. */
#ifndef HY_CPU_KERNEL_H
#define HY_CPU_KERNEL_H

#include "backends/cpu/cpu.h"
#include "backends/cpu/simd.h"
#include "backends/cpu/vmath.h"
#include "base/num.h"

/* Bytes of `elements` (whole blocks) of a dtype. */
CPU_INLINE uint64_t cpu_bytes(uint32_t dtype, uint64_t elements) {
    switch (dtype) {
    case HY_DTYPE_F16:
    case HY_DTYPE_BF16:
        return elements * 2;
    case HY_DTYPE_Q8_0:
        return elements / 32 * 34;
    case HY_DTYPE_A8:
        return elements / 32 * sizeof(hy_a8_block);
    default:
        return elements * 4;
    }
}

/* Extent of the innermost dim. */
CPU_INLINE uint32_t cpu_columns(const hy_tensor *t) {
    return t->dim[t->rank - 1];
}

/* True number of rows: all dims but the innermost, flattened. */
CPU_INLINE uint64_t cpu_flat_rows(const cpu_call *call, uint32_t operand) {
    const hy_tensor *t = &call->op.operand[operand];
    if (t->rank == 1) return 1;
    uint64_t rows = cpu_rows(call, operand);
    for (uint32_t d = 1; d + 1 < t->rank; d++)
        rows *= t->dim[d];
    return rows;
}

/* Address of flattened row `row`; NULL when the operand is absent. */
CPU_INLINE char *cpu_row(const cpu_call *call, uint32_t operand, uint64_t row) {
    const hy_tensor *t = &call->op.operand[operand];
    if (!call->p[operand]) return NULL;
    uint64_t offset = 0;
    for (uint32_t d = t->rank - 1u; d-- > 1;) {
        offset += row % t->dim[d] * t->stride[d];
        row /= t->dim[d];
    }
    if (t->rank > 1) offset += row * t->stride[0];
    return (char *)call->p[operand] + cpu_bytes(t->dtype, offset);
}

/* Address of element [i, j, 0] of a tensor of rank 3 or more. */
CPU_INLINE char *cpu_at(const cpu_call *call, uint32_t operand, uint64_t i, uint64_t j) {
    const hy_tensor *t = &call->op.operand[operand];
    return (char *)call->p[operand] + cpu_bytes(t->dtype, i * t->stride[0] + j * t->stride[1]);
}

/* Lanes [i, i + 16) of a float row; those at and past `count` are 0. */
CPU_INLINE v16 cpu_get(uint32_t dtype, const void *row, uint32_t i, uint32_t count) {
    const uint32_t left = count - i;
    if (dtype == HY_DTYPE_F32) {
        const float *p = (const float *)row + i;
        return left >= 16 ? v16_load(p) : v16_load_n(p, left);
    }
    const uint16_t *p = (const uint16_t *)row + i;
    uint16_t lanes[16] = {0};
    if (left < 16) p = memcpy(lanes, p, left * sizeof *p);
    return dtype == HY_DTYPE_F16 ? v16_load_f16(p) : v16_load_bf16(p);
}

/* Stores lanes [i, min(i + 16, count)), rounded to the dtype. */
CPU_INLINE void cpu_put(uint32_t dtype, void *row, uint32_t i, uint32_t count, v16 x) {
    const uint32_t left = count - i;
    if (dtype == HY_DTYPE_F32) {
        float *p = (float *)row + i;
        if (left >= 16)
            v16_store(p, x);
        else
            v16_store_n(p, x, left);
        return;
    }
    uint16_t *p = (uint16_t *)row + i, lanes[16];
    uint16_t *to = left >= 16 ? p : lanes;
    if (dtype == HY_DTYPE_F16)
        v16_store_f16(to, x);
    else
        v16_store_bf16(to, x);
    if (left < 16) memcpy(p, lanes, left * sizeof *p);
}

/* As stored in `dtype` and read again. */
CPU_INLINE v16 cpu_rounded(uint32_t dtype, v16 x) {
    uint16_t lanes[16];
    if (dtype == HY_DTYPE_F16) {
        v16_store_f16(lanes, x);
        return v16_load_f16(lanes);
    }
    if (dtype == HY_DTYPE_BF16) {
        v16_store_bf16(lanes, x);
        return v16_load_bf16(lanes);
    }
    return x;
}

/* x: float32 [count], a multiple of 32 -> A8 blocks, by hal/dtype.h's definition. */
CPU_INLINE void cpu_quantize_a8(const float *x, void *dst, uint32_t count) {
    hy_a8_block *block = dst;
    for (uint32_t i = 0; i < count; i += 32)
        vm_a8_block(x + i, block + i / 32);
}

/* Elements that elementwise kernels buffer when the output is not float32; a multiple of 32. */
enum { CPU_CHUNK = 512 };

/* The float32 buffer or, for a float32 output, the output itself at element i. */
CPU_INLINE float *cpu_out(uint32_t dtype, void *row, uint32_t i, float buffer[CPU_CHUNK]) {
    return dtype == HY_DTYPE_F32 ? (float *)row + i : buffer;
}

/* Brings what was computed through cpu_out to its place. count <= CPU_CHUNK. */
CPU_INLINE void cpu_flush(uint32_t dtype, void *row, uint32_t i, uint32_t count, const float *x) {
    if (dtype == HY_DTYPE_F32) return;
    if (dtype == HY_DTYPE_A8) {
        cpu_quantize_a8(x, (char *)row + cpu_bytes(dtype, i), count);
        return;
    }
    char *to = (char *)row + (uint64_t)i * 2;
    for (uint32_t j = 0; j < count; j += 16)
        cpu_put(dtype, to, j, count, v16_load_n(x + j, HY_MIN(count - j, 16)));
}

/* Share of `worker` in [0, total): [*begin, *end). */
CPU_INLINE void cpu_share(uint64_t total, uint32_t worker, uint32_t workers, uint64_t *begin,
                          uint64_t *end) {
    *begin = total * worker / workers;
    *end = total * (worker + 1) / workers;
}

#endif

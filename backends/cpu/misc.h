/* backends/cpu/misc.h: the kernels of misc.c's table, in every ISA that this build has. */
#ifndef HY_CPU_MISC_H
#define HY_CPU_MISC_H

#include "backends/cpu/cpu.h"

/* X(name): cpu_<name>_<isa>, one phase, for operands of any float dtype that op.def allows. */
#define CPU_MISC_KERNELS(X)                                                                        \
    X(rms_norm)                                                                                    \
    X(layer_norm)                                                                                  \
    X(rope_table)                                                                                  \
    X(rope)                                                                                        \
    X(kv_write)                                                                                    \
    X(add)                                                                                         \
    X(mul)                                                                                         \
    X(unary)                                                                                       \
    X(glu)                                                                                         \
    X(softmax)                                                                                     \
    X(topk_route)                                                                                  \
    X(combine)                                                                                     \
    X(gather_rows)                                                                                 \
    X(argmax)                                                                                      \
    X(topk)                                                                                        \
    X(cast)                                                                                        \
    X(quantize_rows)                                                                               \
    X(copy)

#define CPU_MISC_DECLARE(name)                                                                     \
    void cpu_##name##_generic(cpu_call *call, uint32_t worker, uint32_t workers);                  \
    void cpu_##name##_avx2(cpu_call *call, uint32_t worker, uint32_t workers);                     \
    void cpu_##name##_avx512(cpu_call *call, uint32_t worker, uint32_t workers);                   \
    void cpu_##name##_dotprod(cpu_call *call, uint32_t worker, uint32_t workers);
CPU_MISC_KERNELS(CPU_MISC_DECLARE)

/* Floats of scratch that rope, kv_write and topk_route want for each worker. */
static inline uint64_t cpu_scratch_floats(const hy_op *op) {
    const hy_tensor *t = op->operand;
    switch (op->kind) {
    case HY_OP_ROPE:
        return t[HY_ROPE_x].dim[2] + 32;
    case HY_OP_KV_WRITE: {
        const uint32_t d = t[HY_KV_WRITE_k].dim[2], c = t[HY_KV_WRITE_v].dim[2];
        return (uint64_t)(d > c ? d : c) + 32;
    }
    case HY_OP_TOPK_ROUTE: /* per expert a probability and a key as double, and a mark */
        return 5 * (uint64_t)t[HY_TOPK_ROUTE_logits].dim[1];
    default:
        return 0;
    }
}

/* This worker's scratch, 128-byte aligned. */
static inline float *cpu_scratch(const cpu_call *call, uint32_t worker) {
    const uint64_t floats = (cpu_scratch_floats(&call->op) + 31) / 32 * 32;
    return (float *)call->workspace + floats * worker;
}

#endif

/* hal/peak.c: see peak.h. */
#include "hal/peak.h"

#include "base/clock.h"
#include "base/num.h"

enum {
    PASS_NS = 10000000,
    SHORT_NS = PASS_NS / 64, /* of a run that is a long way from being long enough */
    REPEATS = 3
};

/* A run that is long only because something came between is known by its rate: half of a shorter one's. */
hy_status hy_peak_pass(hy_peak_run run, void *context, uint64_t step, uint32_t most, uint64_t *work,
                       double *rate) {
    uint64_t rounds = HY_MIN(HY_MAX(*work / step, 1), most);
    double done, best = 0;
    if (!*work) HY_TRY(run(context, 1, &done)); /* kernels are loaded, workers woken */
    for (int repeats = 0;;) {
        const uint64_t begin = hy_clock_ns();
        HY_TRY(run(context, (uint32_t)rounds, &done));
        const uint64_t ns = HY_MAX(hy_clock_ns() - begin, 1);
        *rate = done / ((double)ns * 1e-9);
        best = HY_MAX(best, *rate);
        if (ns >= PASS_NS || rounds == most) {
            if (*rate * 2 >= best || repeats++ == REPEATS) break;
        } else {
            rounds = HY_MIN(rounds * (ns < SHORT_NS ? 16 : 2), most);
        }
    }
    *work = rounds * step;
    return HY_OK;
}

hy_peak hy_kernel_peak(const hy_op *op, const hy_kernel *kernel) {
    hy_dtype x = HY_DTYPE_NONE;
    if (op->kind == HY_OP_MATMUL) x = (hy_dtype)op->operand[HY_MATMUL_x].dtype;
    if (op->kind == HY_OP_GROUPED_MATMUL) x = (hy_dtype)op->operand[HY_GROUPED_MATMUL_x].dtype;
    if (x == HY_DTYPE_A8) return HY_PEAK_INT8;
    if (!(kernel->flags & HY_KERNEL_ROUNDS)) return HY_PEAK_F32;
    if (kernel->rounded == HY_DTYPE_F16) return HY_PEAK_F16;
    if (kernel->rounded == HY_DTYPE_BF16) return HY_PEAK_BF16;
    return x == HY_DTYPE_NONE ? HY_PEAK_F32 : HY_PEAK_INT8; /* others than products */
}

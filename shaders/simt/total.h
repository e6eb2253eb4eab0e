/* shaders/simt/total.h: sums and maxima over a workgroup, in an order that is a function of the number of threads
 * alone, that of shaders/vulkan/total.glsl: sixteen sums of every sixteenth thread's number, then the sum of those;
 * each in order. */
#ifndef HY_SIMT_TOTAL_H
#define HY_SIMT_TOTAL_H

#include "shaders/simt/rows.h"

/* Shared memory of a workgroup's totals. */
struct hy_totals {
    float part[HY_ROW_THREADS];
    float sum[16];
};

/* The sum of all threads' x, given to all of them. All call it together, again and again if they like. */
HY_DEVICE float hy_total(hy_totals &totals, float x) {
    const u32 t = hy_thread(), threads = hy_threads();
    totals.part[t] = x;
    hy_sync();
    if (t < 16u) {
        float sum = totals.part[t];
        for (u32 j = t + 16u; j < threads; j += 16u)
            sum = sum + totals.part[j];
        totals.sum[t] = sum;
    }
    hy_sync();
    float sum = totals.sum[0];
    HY_UNROLL for (u32 j = 1; j < 16u; j++) sum = sum + totals.sum[j];
    return sum;
}

/* The sum of the four, then of all threads'. */
HY_DEVICE float hy_total4(hy_totals &totals, f32x4 v) {
    return hy_total(totals, (v.v[0] + v.v[1]) + (v.v[2] + v.v[3]));
}

/* The largest of all threads' x. */
HY_DEVICE float hy_largest(hy_totals &totals, float x) {
    const u32 t = hy_thread(), threads = hy_threads();
    totals.part[t] = x;
    hy_sync();
    if (t < 16u) {
        for (u32 j = t + 16u; j < threads; j += 16u)
            x = totals.part[j] > x ? totals.part[j] : x;
        totals.sum[t] = x;
    }
    hy_sync();
    x = totals.sum[0];
    HY_UNROLL for (u32 j = 1; j < 16u; j++) x = totals.sum[j] > x ? totals.sum[j] : x;
    return x;
}

#endif

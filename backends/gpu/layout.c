/* backends/gpu/layout.c: where the bytes of a block go in P16. */
#include "backends/gpu/layout.h"

#include "base/num.h"

enum { PLANE_ALIGN = 16, ROW_ALIGN = 128 };

typedef struct cut {
    uint8_t from, bytes;
} cut;

/* By dtype: quants, high bits, scales; {0, 0} past the last. Field offsets: hal/dequantize's formats. */
static const cut cuts[HY_DTYPE_COUNT][GPU_PLANES] = {
    [HY_DTYPE_F32] = {{0, 4}},
    [HY_DTYPE_F16] = {{0, 2}},
    [HY_DTYPE_BF16] = {{0, 2}},
    [HY_DTYPE_Q8_0] = {{2, 32}, {0, 2}},
    [HY_DTYPE_Q4_0] = {{2, 16}, {0, 2}},
    [HY_DTYPE_Q4_1] = {{4, 16}, {0, 4}},
    [HY_DTYPE_Q5_0] = {{6, 16}, {2, 4}, {0, 2}},
    [HY_DTYPE_Q5_1] = {{8, 16}, {4, 4}, {0, 4}},
    [HY_DTYPE_Q2_K] = {{16, 64}, {0, 16}, {80, 4}},
    [HY_DTYPE_Q3_K] = {{32, 64}, {0, 32}, {96, 12}, {108, 2}},
    [HY_DTYPE_Q4_K] = {{16, 128}, {0, 16}},
    [HY_DTYPE_Q5_K] = {{48, 128}, {16, 32}, {0, 16}},
    [HY_DTYPE_Q6_K] = {{0, 128}, {128, 64}, {192, 16}, {208, 2}},
    [HY_DTYPE_IQ4_NL] = {{2, 16}, {0, 2}},
    [HY_DTYPE_IQ4_XS] = {{8, 128}, {0, 8}},
    [HY_DTYPE_MXFP4] = {{1, 16}, {0, 1}},
};

gpu_layout gpu_layout_of(hy_dtype dtype, uint32_t columns) {
    gpu_layout layout = {.blocks = columns / hy_dtype_get(dtype)->block};
    uint64_t end = 0;
    for (uint32_t p = 0; p < GPU_PLANES && cuts[dtype][p].bytes; p++) {
        end = hy_align_up(end, PLANE_ALIGN);
        layout.plane[p] = (gpu_plane){cuts[dtype][p].from, cuts[dtype][p].bytes, (uint32_t)end};
        end += (uint64_t)layout.blocks * cuts[dtype][p].bytes;
        layout.planes++;
    }
    layout.row_bytes = (uint32_t)hy_align_up(end, ROW_ALIGN);
    return layout;
}

/* shaders/simt/gemv_shape.h: sizes of the products for few tokens, for kernels and for the host that launches them. */
#ifndef HY_SIMT_GEMV_SHAPE_H
#define HY_SIMT_GEMV_SHAPE_H

#define GEMV_THREADS 128
#define GEMV_LANES 32 /* of a row */
/* Weight rows of a group, even: more read activations less often, and need more registers. */
#define GEMV_ROWS(columns) ((columns) <= 2 ? 4 : 2)

/* Float formats (gemv_float.h). */
#define GEMV_FLOAT_THREADS 128
#define GEMV_FLOAT_LANES 8 /* chunks of 64 k side by side */

#endif

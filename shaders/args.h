/* shaders/args.h: what a GPU kernel is told about its op. One definition for C, GLSL and CUDA C++: the host
 * fills it in once when a list is recorded (backends/gpu/args.c), it lies in device memory, and a kernel
 * gets its address (Vulkan, as push constant) or its value (CUDA, HIP). Layout: std430 and C agree, no
 * padding. */
#ifndef HY_SHADERS_ARGS_H
#define HY_SHADERS_ARGS_H

#ifdef GL_core_profile
#define hy_arg_u32 uint
#define hy_arg_address uvec2 /* low word, high word */
#else
#include <stdint.h>
#define hy_arg_u32 uint32_t
#define hy_arg_address uint64_t
typedef struct hy_arg_tensor hy_arg_tensor; /* GLSL names a struct without the keyword */
#endif

#define HY_ARG_OPERANDS 12
#define HY_ARG_WORDS 8
#define HY_ARG_EXTRA 8
#define HY_ARG_CONSTANTS 4

/* One operand. Packed constants (gpu_layout.h) are rows of bytes: stride[0] is the bytes of a row, stride[1],
 * stride[2], stride[3] are where planes 1, 2, 3 begin in it; plane 0 begins at 0. */
struct hy_arg_tensor {
    hy_arg_address address; /* 0: absent */
    hy_arg_u32 kind;        /* dtype | rank << 8 | counter << 16 | packed << 24 */
    hy_arg_u32 columns;     /* extent of the innermost dim */
    hy_arg_u32 dim[4];      /* as in hy_tensor: outermost first, upper bounds, padded with 1 */
    hy_arg_u32 stride[4];   /* elements, as in hy_tensor; innermost 1, padded with 0 */
};

/* One launch. */
struct hy_args {
    hy_arg_tensor operand[HY_ARG_OPERANDS]; /* in the order of op.def */
    hy_arg_address counters;                /* uint32 [HY_COUNTER_COUNT] */
    hy_arg_address workspace;
    hy_arg_u32
        word[HY_ARG_WORDS]; /* the op's attributes, as in hy_op.word; float32 by their bits */
    hy_arg_u32 extra[HY_ARG_EXTRA]; /* what the kernel's family adds; said beside its plan() */
    hy_arg_u32 constant[HY_ARG_CONSTANTS]; /* the launch's; specialized already in GLSL */
};

#endif

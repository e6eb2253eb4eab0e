/* shaders/peak_shape.h: sizes of the kernels that measure a device's limits, for C, GLSL and CUDA C++: the host counts
 * with them what the kernels say they did (backends/gpu/peak.c).
 *
 * Reads as in shaders/args.h: operand 0 is the memory to go through, operand 1 uint32 [workgroups], where each leaves
 * how many products it made, or words it wrote, or the sum of the words it read, modulo 2^32. extra[0] rounds,
 * extra[1] pieces of memory, extra[2] workgroups, extra[3] one: what a kernel makes products of, so that sums count. */
#ifndef HY_PEAK_SHAPE_H
#define HY_PEAK_SHAPE_H

#define PEAK_THREADS 128
#define PEAK_CHAINS 8     /* sums that do not depend on each other: they hide the latency */
#define PEAK_STEPS 16     /* products of each in a round: they hide the loop */
#define PEAK_TILE_STEPS 2 /* the same of matrix tiles */
#define PEAK_QUADS 8      /* loads of 16 bytes that a thread has under way */
#define PEAK_PIECE (PEAK_THREADS * PEAK_QUADS * 16) /* bytes, of a workgroup at a time */
#define PEAK_DOT_ONE                                                                               \
    0x01000000 /* four int8, of which one is 1: times itself it is 1, and so it is plus any sum below 2^24 */

#endif

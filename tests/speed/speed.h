/* tests/speed/speed.h: how fast each kernel of a device is, and how near the machine's limit; shipped as
 * `halyard verify --bench`.
 *
 * A case is one op at a shape of real models. Operands that a model reads from memory at every step (weights,
 * the KV cache) exist in enough copies, used in turn, that no cache holds them. The time of a case is the
 * median over a few rounds; in each round the machine's peaks are measured right before it, so that a share of
 * the peak compares neighbours in time. */
#ifndef HY_SPEED_H
#define HY_SPEED_H

#include "hal/hal.h"

/* One op at one shape. */
typedef struct speed_case {
    hy_op op;
    char shape[96];      /* "q4_k 8192x2048, 512 tokens" */
    uint32_t context;    /* attention: positions that the last token sees */
    uint32_t rotated;    /* bit i: operand i is read from memory, not from a cache */
    double flops, bytes; /* of one run: operations, and bytes moved at least */
    bool whole;          /* the case before again, x as float32 instead of a8 */
} speed_case;

/* Whether a kernel that a device offers for the case is to be measured on it: of those that take x either way, only
 * with a8. */
bool speed_suits(const speed_case *c, const hy_kernel *kernel);

/* Visits the cases. op: "matmul", ... or NULL for all; type: of weights or of the cache, or NULL for all;
 * shape: numbers as in speed_shape_help, or NULL for those of models. A visit that fails ends the walk.
 * HY_E_NOT_FOUND (op), HY_E_ARGUMENT (type, shape). */
typedef hy_status (*speed_visit)(void *user, const speed_case *c);
HY_NODISCARD hy_status speed_cases(const char *op, const char *type, const char *shape,
                                   speed_visit visit, void *user);

/* "matmul N,K,T; ...": one line. */
extern const char *const speed_shape_help;

/* Writes operand i of a case: small random numbers; ids that make sense. data: hy_tensor_bytes. */
HY_NODISCARD hy_status speed_fill(const speed_case *c, uint32_t operand, void *data);

/* A kernel on a case, ready to run again and again. */
typedef struct speed_trial speed_trial;
/* The device must outlive it; `c` and `kernel` too. HY_E_MEMORY, HY_E_DEVICE. */
HY_NODISCARD hy_status speed_trial_new(hy_device *device, const speed_case *c,
                                       const hy_kernel *kernel, speed_trial **out);
void speed_trial_free(speed_trial *trial);
/* Runs for about `ns` nanoseconds, at least once; seconds of one run of the op. */
HY_NODISCARD hy_status speed_trial_run(speed_trial *trial, uint64_t ns, double *seconds);

#endif

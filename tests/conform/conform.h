/* tests/conform/conform.h: the conformance runner, shipped as `halyard verify`.
 *
 * Every candidate kernel of every op on a device runs a list of cases: shapes at tile edges and primes,
 * strides, dynamic counts down to 0, several replays of one recording. Inputs are surrounded by NaN bytes,
 * outputs and red zones are poisoned with another word. Results are compared, element by element, with the
 * float64 oracle of the ref backend:
 *
 *     |got - want| <= C u mag + u_out |want|      (docs/numerics.md)
 *
 * C is the kernel's, mag the sum of |terms|. Kernels that round activations are held to this bound against
 * the oracle on the same rounded activations, and plain matmuls also against the exact ones plus the
 * rounding's own bound. Further: bits repeat from replay to replay, a row's bits do not change with the
 * count (HY_KERNEL_INVARIANT), in-place runs give the same bits, unpack(pack(x)) == x for random bytes. */
#ifndef HY_CONFORM_H
#define HY_CONFORM_H

#include <stdio.h>

#include "hal/hal.h"

/* One op at one shape with one style of input. */
typedef struct conform_case {
    char label[96];
    hy_op op;
    uint32_t pattern; /* conform_pattern */
    uint64_t seed;
} conform_case;

typedef enum conform_pattern {
    CONFORM_NORMAL,   /* standard normal */
    CONFORM_OUTLIERS, /* one in a hundred is 1000 times larger */
    CONFORM_ZEROS,    /* every third row is zero */
    CONFORM_SMALL,    /* scaled by 1e-3 */
    CONFORM_TIES,     /* few distinct values */
    CONFORM_PATTERNS
} conform_pattern;

/* Visits all cases of one op, or of all for HY_OP_KIND_COUNT, in a fixed order. A visit that fails ends
 * the walk with its status. quick: about a tenth of them (slow devices). */
typedef hy_status (*conform_visit)(void *user, const conform_case *c);
HY_NODISCARD hy_status conform_cases(hy_op_kind kind, bool quick, conform_visit visit, void *user);

/* Fills operand i of a case (inputs, constants and initial state) in the file's layout at the counts given;
 * rows past them and stride gaps stay as they are. data: hy_tensor_bytes. */
void conform_fill(const conform_case *c, uint32_t operand, const uint32_t *counters, void *data);

enum { CONFORM_INPUT_POISON = 0xff }; /* NaNs, where rows and strides leave gaps */

/* The constants of a case, in the file's layout: made once, read by every kernel of the case and in every
 * replay. conform_constants_free after either result. */
typedef struct conform_constants {
    uint8_t *data[HY_MAX_OPERANDS]; /* NULL: not a constant */
} conform_constants;
HY_NODISCARD hy_status conform_constants_new(const conform_case *c, conform_constants *constants);
void conform_constants_free(conform_constants *constants);

typedef struct conform_options {
    const char *op;     /* NULL: all */
    const char *kernel; /* only kernels whose name contains this; NULL: all */
    bool quick;
    bool verbose; /* print every case */
    FILE *log;    /* failures and progress; NULL: silent */
} conform_options;

/* What one kernel did. */
typedef struct conform_result {
    const char *kernel;
    hy_op_kind op;
    uint32_t cases, failures;
    double worst; /* largest error / bound seen; above 1 is a failure */
    char first_failure[256];
} conform_result;

typedef struct conform_report {
    conform_result *results; /* [count], freed by conform_report_free */
    size_t count, capacity;
    uint32_t cases;       /* op and shape combinations tried */
    uint32_t unsupported; /* of them without any candidate on this device */
    uint32_t failures;
} conform_report;

/* Runs all cases on `device` (wrap it with hy_validate_open to check the calls as well). HY_OK also when
 * kernels failed: look at report->failures. Errors are those of the machine (memory, device). */
HY_NODISCARD hy_status conform_run(hy_device *device, const conform_options *options,
                                   conform_report *report);
void conform_report_free(conform_report *report);

/* ONNX node cases: every .safetensors file of a folder, mapped to an op and run on the device, or skipped
 * with a named reason. Counts per outcome; one line per case to `log`. */
typedef struct conform_onnx_report {
    uint32_t passed, failed, skipped;
} conform_onnx_report;
HY_NODISCARD hy_status conform_onnx(hy_device *device, const char *folder, FILE *log,
                                    conform_onnx_report *report);

/* ---- inside ---- */

/* One kernel on one case; failures are written to `failure` (empty: passed), *worst is raised. */
HY_NODISCARD hy_status conform_kernel(hy_device *device, hy_device *oracle, const conform_case *c,
                                      const conform_constants *constants, const hy_kernel *kernel,
                                      double *worst, char failure[256]);

/* Compares one output with the oracle's. want NaN: not written by the op, then the bytes must be those of
 * `before`. Writes a line to `failure` on the first difference. */
void conform_compare(const conform_case *c, uint32_t operand, float accuracy, const uint8_t *before,
                     const uint8_t *after, const double *want, const double *mag, double *worst,
                     char failure[256]);

#endif

/* tests/conform/onnx.h: inside of the ONNX node cases (conform_onnx).
 *
 * A case is a safetensors file: tensors "input.NAME" and "output.NAME", and in __metadata__ the operator
 * ("op"), its attributes ("attrs", JSON) and the names of inputs and outputs in ONNX order ("inputs",
 * "outputs", JSON lists; "" is absent). One mapping per operator turns it into HAL ops. A mapping moves
 * data (axes, pages, rows of a table) and never computes: the arithmetic compared is the kernels'.
 *
 * A mapping's status is the case's outcome: HY_OK passed; HY_E_UNSUPPORTED skipped, its text the reason;
 * HY_E_MEMORY and HY_E_DEVICE end the run; anything else failed, its text says how. */
#ifndef HY_CONFORM_ONNX_H
#define HY_CONFORM_ONNX_H

#include <jansson.h>

#include "base/arena.h"
#include "src/format/safetensors.h"
#include "tests/conform/conform.h"

#define ONNX_MAX_KERNELS 64

/* A tensor of the case. */
typedef struct onnx_value {
    bool present;
    hy_dtype dtype;  /* HY_DTYPE_NONE: not in the dtype table */
    hy_safetensor t; /* data: aligned copy in the case's arena */
} onnx_value;

typedef struct onnx_case {
    hy_device *device, *oracle; /* oracle: the ref device, for magnitudes */
    hy_arena arena;             /* everything the mapping allocates */
    hy_safetensors *file;
    json_t *attrs, *inputs, *outputs;
    const char *op;
    const char *kernel[ONNX_MAX_KERNELS]; /* that ran, each once */
    uint32_t kernels;
    char note[160]; /* what a passed case did not cover; empty: nothing */
} onnx_case;

/* One HAL op of a case. Zero it, set kind and attributes of `op`, then fill it by onnx_set. Outputs are
 * inferred; set operand[].dtype for those that are not f32. */
typedef struct onnx_run {
    hy_op op;
    const void *in[HY_MAX_OPERANDS];     /* inputs and initial states, file layout */
    const double *want[HY_MAX_OPERANDS]; /* outputs and states, dense; NULL: not compared */
    bool exact[HY_MAX_OPERANDS];         /* want is met exactly: a move, a cast, an integer */
    uint8_t *out[HY_MAX_OPERANDS]; /* by onnx_run_op: outputs and states of the best candidate */
} onnx_run;

/* ---- onnx_case.c ---- */

/* Opens a file and reads its metadata. The case holds the failure's rest; always call onnx_close. */
HY_NODISCARD hy_status onnx_open(onnx_case *c, const char *path);
void onnx_close(onnx_case *c);

/* The i-th input or output of the operator; absent ones are not present. */
HY_NODISCARD hy_status onnx_input(onnx_case *c, size_t i, onnx_value *out);
HY_NODISCARD hy_status onnx_output(onnx_case *c, size_t i, onnx_value *out);
/* HY_E_FORMAT when a required value is absent. */
HY_NODISCARD hy_status onnx_require(const onnx_value *v, const char *what);
/* HY_E_UNSUPPORTED, naming the dtype, unless it is f32, f16 or bf16. */
HY_NODISCARD hy_status onnx_require_float(const onnx_value *v);

/* Attributes; `fallback` when absent. */
double onnx_number(const onnx_case *c, const char *name, double fallback);
const char *onnx_text(const onnx_case *c, const char *name, const char *fallback);
/* The attribute "axis", counted from the front. HY_E_FORMAT outside the rank. */
HY_NODISCARD hy_status onnx_axis(const onnx_case *c, uint32_t rank, int fallback, uint32_t *out);

/* Memory of the case; HY_E_MEMORY, or HY_E_LIMIT past 2^28 bytes (a hostile shape). */
HY_NODISCARD hy_status onnx_alloc(onnx_case *c, uint64_t count, uint64_t size, void *out);
/* All elements as double, float or int32 (HY_E_FORMAT when one does not fit). */
HY_NODISCARD hy_status onnx_f64(onnx_case *c, const onnx_value *v, double **out);
HY_NODISCARD hy_status onnx_f32(onnx_case *c, const onnx_value *v, float **out);
HY_NODISCARD hy_status onnx_i32(onnx_case *c, const onnx_value *v, int32_t **out);

/* Product of dims [begin, end). */
uint64_t onnx_extent(const onnx_value *v, uint32_t begin, uint32_t end);
/* Axis i of the result is axis order[i] of v. */
HY_NODISCARD hy_status onnx_permute(onnx_case *c, const onnx_value *v, const uint32_t *order,
                                    onnx_value *out);
/* Moves one axis to the end. */
HY_NODISCARD hy_status onnx_axis_last(onnx_case *c, const onnx_value *v, uint32_t axis,
                                      onnx_value *out);
/* Repeats v over the given dims as ONNX broadcasting does (aligned at the last dim). */
HY_NODISCARD hy_status onnx_broadcast(onnx_case *c, const onnx_value *v, uint32_t rank,
                                      const uint64_t *dim, onnx_value *out);

/* ---- onnx_run.c ---- */

/* Dense operand of rank 1..4 (dims 0 past the rank) with its bytes. */
void onnx_set(onnx_run *run, uint32_t operand, hy_dtype dtype, const void *data, uint64_t a,
              uint64_t b, uint64_t c, uint64_t d);
/* What an output must be. */
void onnx_expect(onnx_run *run, uint32_t operand, const double *want, bool exact);
/* Runs every candidate of the device and compares; weights both as packed constants and as plain
 * inputs. HY_E_UNSUPPORTED when the device has no kernel for it. */
HY_NODISCARD hy_status onnx_run_op(onnx_case *c, onnx_run *run);

/* ---- onnx_ops.c, onnx_attention.c ---- */

hy_status onnx_binary(onnx_case *c, hy_op_kind kind);
hy_status onnx_add(onnx_case *c);
hy_status onnx_mul(onnx_case *c);
hy_status onnx_gelu(onnx_case *c);
hy_status onnx_swish(onnx_case *c);
hy_status onnx_softmax(onnx_case *c);
hy_status onnx_rms_normalization(onnx_case *c);
hy_status onnx_layer_normalization(onnx_case *c);
hy_status onnx_matmul(onnx_case *c);
hy_status onnx_matmul_integer(onnx_case *c);
hy_status onnx_dequantize_linear(onnx_case *c);
hy_status onnx_cast(onnx_case *c);
hy_status onnx_gather(onnx_case *c);
hy_status onnx_argmax(onnx_case *c);
hy_status onnx_topk(onnx_case *c);
hy_status onnx_attention(onnx_case *c);
hy_status onnx_rotary_embedding(onnx_case *c);
hy_status onnx_tensor_scatter(onnx_case *c);

#endif

/* hal/ops.h: what each op means, and the description of one op at one shape (hy_op) that the compiler
 * hands to a backend. The list of ops, operands and attributes is hal/op.def.
 *
 * Common to all: tensors are dense row-major with strides on all dims but the innermost, whose stride is
 * 1; extents are upper bounds, and where hy_tensor.counter is set the true extent of dim 0 is that counter
 * of the step block. Elements at and past the true extent are neither read nor written. A float operand
 * ("f") is f32, f16 or bf16; arithmetic is float32 or better, results are rounded once when stored. Views
 * start at multiples of their element or block size; whole values and arenas at HY_VIEW_ALIGN bytes.
 * Operands never overlap, except exactly where hy_kernel.in_place allows it. An op never fails once
 * recorded; index operands (ids, slot, table, row, rows) outside their range are the caller's error and the
 * kernel must not touch memory out of bounds for -1 where it is listed as legal.
 *
 * embed           out[t] = scale * table[ids[t]]                                  (scale 0 means 1)
 *
 * matmul          z = x[t] . w[n] + bias[n]; M = N, or N / 2 when glu = 1;
 *                 glu = 0: y[m] = act(z[m]); glu = 1: y[m] = act(z[m]) * z[M + m] (gate rows, then up rows)
 *                 y *= scale (0 means 1); softcap > 0: y = softcap * tanh(y / softcap); y += residual.
 *                 x in a8 and w in a block format: products of the int8 values, see docs/numerics.md. An a8 out
 *                 is quantized from the float32 result.
 *
 * grouped_matmul  out[t,p] = as matmul, of x[t, Q == 1 ? 0 : p] and the weights of expert ids[t,p];
 *                 Q is 1 or P. ids -1: that out row is zero.
 *
 * rms_norm        s = x + residual; sum = s (as stored: rounded to sum's dtype before use, if present);
 *                 out = s / sqrt(mean(s^2) + eps) * weight. An a8 out is quantized from the float32 result.
 * layer_norm      the same with mean removed and bias added: (s - mean) / sqrt(var + eps) * weight + bias
 *
 * rope_table      angle[t,j] = pos[t] * (freq[j,0] + freq[j,1]) in radians (a frequency as an unevaluated
 *                 sum of two float32, so that long positions keep their phase);
 *                 out[t,j] = cos * magnitude, out[t,F + j] = sin * magnitude; G = 2 F. magnitude 0 means 1.
 * rope            rotates the first G elements of each head by table row t: style HY_ROPE_PAIRS pairs
 *                 (2j, 2j + 1), HY_ROPE_HALVES pairs (j, j + G / 2); (a, b) -> (a c - b s, a s + b c).
 *                 The other D - G elements are copied.
 *
 * kv_write        cache row slot[t] = (page, index in page) = (slot / L, slot % L), -1: skip this row.
 *                 k_cache[page, h, index] = rope(norm(k[t,h])), v_cache[page, h, index] = v[t,h]; q_out =
 *                 rope(norm(q)). norm by q_norm / k_norm (rms, eps) where present, rope where table is
 *                 present. Pages of q8_0 are planar: per (page, head) int8 [L, D], then f16 scales
 *                 [L, D / 32]; the bytes are those of L rows of q8_0 blocks, with d and q split. Scale =
 *                 max|x| / 127 in float32, stored as f16; q = round to nearest even of x / (float32 scale).
 *
 * attention       for query t of sequence s = row[t] (row -1: out row is zero), head a, h = a * H / A:
 *                 score(p) = scale * q . k(p), soft capped if softcap > 0 (softcap * tanh(score /
 *                 softcap)), + slopes[a] * (p - pos[t]); p runs over 0 <= p < len[s], p <= pos[t] if
 *                 causal, p > pos[t] - window if window > 0; k(p) is cache row (table[s, p / L], p % L).
 *                 out = sum softmax(score) v; sinks[a] adds exp(sinks[a]) to the denominator. No visible
 *                 p: out row is zero. Source: Dao 2023 arXiv:2307.08691; Kwon et al. 2023 arXiv:2309.06180.
 *
 * add, mul        elementwise; b has a's shape ("?" = same leading dims) or is one row [D] for all.
 * unary           out = softcap(scale * act(x))              (scale 0 means 1, softcap 0 means none)
 * glu             out = act(gate) * up
 * softmax         over the innermost dim of scale * x        (scale 0 means 1)
 * topk_route      p = gate(logits): HY_GATE_SOFTMAX over E, HY_GATE_SIGMOID each, HY_GATE_NONE as they are;
 *                 ids = the k largest of p + bias, largest first, ties to the lower id; weights = p of
 *                 those; normalize 1: divided by their sum, 2: softmax over the k; times scale (0 means 1).
 * combine         out[t] = residual[t] + sum over p in order of weights[t,p] * x[t,p]
 * gather_rows     out[r] = x[rows[r]]
 * argmax          index of the largest, ties to the lowest; NaN never wins
 * topk            the k largest, largest first, ties to the lower index
 * cast            dtype of x -> dtype of out, round to nearest even
 * quantize_rows   float -> a8 (hal/dtype.h)
 * copy            same dtype, any strides */
#ifndef HY_HAL_OPS_H
#define HY_HAL_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "hal/dtype.h"

#define HY_MAX_RANK 4
#define HY_MAX_OPERANDS 12
#define HY_VIEW_ALIGN 256

/* HY_OP_MATMUL, ... in the order of op.def. */
typedef enum hy_op_kind {
#define HY_OP(NAME, name) HY_OP_##NAME,
#include "hal/op.def"
    HY_OP_KIND_COUNT
} hy_op_kind;

/* Operand numbers HY_MATMUL_x, HY_ATTENTION_k_cache, ... and their count HY_MATMUL_OPERANDS. */
#define HY_OP(NAME, name) enum {
#define HY_OPERAND(NAME, operand, ROLE, dtypes, shape) HY_##NAME##_##operand,
#define HY_OP_END(NAME, name)                                                                      \
    HY_##NAME##_OPERANDS                                                                           \
    }                                                                                              \
    ;
#include "hal/op.def"

/* Attribute structs hy_matmul_attr, ...; every attribute is 4 bytes, 0 is its neutral value. */
#define HY_OP(NAME, name) typedef struct hy_##name##_attr {
#define HY_ATTR_I32(NAME, attr) int32_t attr;
#define HY_ATTR_F32(NAME, attr) float attr;
#define HY_OP_END(NAME, name)                                                                      \
    int32_t reserved_;                                                                             \
    }                                                                                              \
    hy_##name##_attr;
#include "hal/op.def"

/* Activations of the act attribute. */
typedef enum hy_act {
    HY_ACT_NONE = 0,
    HY_ACT_SILU,      /* x / (1 + exp(-x)) */
    HY_ACT_GELU_TANH, /* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
    HY_ACT_GELU_ERF,  /* x / 2 (1 + erf(x / sqrt 2)) */
    HY_ACT_RELU,
    HY_ACT_RELU2, /* relu(x)^2 */
    HY_ACT_TANH,
    HY_ACT_SIGMOID,
    HY_ACT_COUNT
} hy_act;

/* Which elements a rotation pairs. */
typedef enum hy_rope_style { HY_ROPE_PAIRS = 0, HY_ROPE_HALVES = 1 } hy_rope_style;

/* What topk_route makes of its logits. */
typedef enum hy_gate { HY_GATE_SOFTMAX = 0, HY_GATE_SIGMOID = 1, HY_GATE_NONE = 2 } hy_gate;

/* Which number of the step block gives a dynamic extent. The step block begins with uint32 counts
 * [HY_COUNTER_COUNT]; entry HY_COUNTER_NONE is unused. */
typedef enum hy_counter {
    HY_COUNTER_NONE = 0,
    HY_COUNTER_T = 1, /* tokens in this step */
    HY_COUNTER_S = 2, /* sequences in this step */
    HY_COUNTER_R = 3, /* output rows in this step */
    HY_COUNTER_COUNT = 8
} hy_counter;

/* One operand at one shape. */
typedef struct hy_tensor {
    uint8_t dtype;    /* hy_dtype; HY_DTYPE_NONE: the optional operand is absent */
    uint8_t rank;     /* 1..4 */
    uint8_t counter;  /* hy_counter of dim[0] */
    uint8_t constant; /* 1: never changes after load; may be packed by the kernel's layout */
    uint32_t dim[HY_MAX_RANK];    /* outermost first, upper bounds; padded with 1 */
    uint32_t reserved;            /* 0; so that no byte of the struct is padding */
    uint64_t stride[HY_MAX_RANK]; /* in elements, of each dim; innermost is 1; padded with 0 */
} hy_tensor;

/* One op at one shape: plain data, compared and hashed by its bytes (zero it before filling). */
typedef struct hy_op {
    uint32_t kind; /* hy_op_kind */
    union {
        uint32_t word[8];
#define HY_OP(NAME, name) hy_##name##_attr name;
#include "hal/op.def"
    };
    uint32_t reserved; /* 0; so that no byte of the struct is padding */
    hy_tensor operand[HY_MAX_OPERANDS];
} hy_op;

typedef enum hy_role {
    HY_ROLE_IN = 1,
    HY_ROLE_WEIGHT = 2,
    HY_ROLE_OUT = 4,
    HY_ROLE_STATE = 8,
    HY_ROLE_OPT = 16 /* added to one of the above */
} hy_role;

typedef struct hy_operand_info {
    const char *name;
    uint32_t role;      /* hy_role bits */
    const char *dtypes; /* as in op.def */
    const char *shape;  /* as in op.def */
} hy_operand_info;

/* One attribute of an op: float32, or else int32. */
typedef struct hy_attr_info {
    const char *name;
    bool is_float;
} hy_attr_info;

typedef struct hy_op_info {
    const char *name;
    uint32_t operands, attrs;
    const hy_operand_info *operand;
    const hy_attr_info *attr; /* in the order of hy_op.word[] */
} hy_op_info;

/* kind < HY_OP_KIND_COUNT. */
const hy_op_info *hy_op_get(hy_op_kind kind);
/* HY_OP_KIND_COUNT when there is none of that name. */
hy_op_kind hy_op_by_name(const char *name);

/* Text names of enumerated attributes ("silu", "halves", "softmax"); NULL when out of range or when the
 * attribute is a plain number. The reverse returns false for an unknown name. */
const char *hy_attr_value_name(hy_op_kind kind, uint32_t attr, int32_t value);
bool hy_attr_value_by_name(hy_op_kind kind, uint32_t attr, const char *name, int32_t *out);

/* A dense tensor of the given extents (rank 1..4, outermost first). */
hy_tensor hy_tensor_of(hy_dtype dtype, uint32_t rank, const uint32_t *dim, hy_counter counter);
/* Bytes from the first to past the last element at upper bounds, strides included. */
uint64_t hy_tensor_bytes(const hy_tensor *tensor);
/* Product of all dims but the innermost. */
uint64_t hy_tensor_rows(const hy_tensor *tensor);
bool hy_tensor_dense(const hy_tensor *tensor);

/* Every rule of op.def and ops.h on one op: operands present, dtypes, ranks, equal extents, attribute
 * ranges, counters that agree. HY_E_ARGUMENT with op, operand and numbers. The verifier, the validating
 * wrapper and backends all rely on this one function. */
HY_NODISCARD hy_status hy_op_check(const hy_op *op);

/* Fills the outputs' extents, strides and counters from the inputs and attributes; dtypes of outputs are
 * the caller's (0 means f32, or i32 where only that is allowed). */
HY_NODISCARD hy_status hy_op_infer(hy_op *op);

/* "matmul x=f32[T512,2048] w=q4_0[8192,2048] out=... act=silu glu=1" for messages, traces and plans. */
void hy_op_print(const hy_op *op, hy_text *out);

/* Floating-point operations and bytes touched at upper bounds (weights at their file size). */
double hy_op_flops(const hy_op *op);
uint64_t hy_op_bytes(const hy_op *op);

#endif

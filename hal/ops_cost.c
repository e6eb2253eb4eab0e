/* Work of one op at upper bounds: floating-point operations and bytes touched. Used for choosing,
 * traces and benchmarks; a multiplication and an addition count as two, a transcendental as one. */
#include <string.h>

#include "base/num.h"
#include "hal/ops.h"

static double elements(const hy_tensor *tensor) {
    double n = tensor->dtype == HY_DTYPE_NONE ? 0 : 1;
    for (uint32_t i = 0; i < tensor->rank; i++)
        n *= tensor->dim[i];
    return n;
}

static double attention_flops(const hy_op *op) {
    const hy_tensor *q = &op->operand[HY_ATTENTION_q], *v = &op->operand[HY_ATTENTION_v_cache];
    const hy_tensor *table = &op->operand[HY_ATTENTION_table];
    double context = (double)table->dim[1] * v->dim[2];
    if (op->attention.window > 0) context = HY_MIN(context, (double)op->attention.window);
    /* two dot products per visible position, and about four operations of softmax */
    return (double)q->dim[0] * q->dim[1] * context * (2.0 * q->dim[2] + 2.0 * v->dim[3] + 4.0);
}

double hy_op_flops(const hy_op *op) {
    const hy_tensor *t = op->operand;
    const double outputs = elements(&t[hy_op_get((hy_op_kind)op->kind)->operands - 1]);
    switch ((hy_op_kind)op->kind) {
    case HY_OP_MATMUL:
        return 2.0 * t[HY_MATMUL_x].dim[0] * t[HY_MATMUL_w].dim[0] * t[HY_MATMUL_w].dim[1];
    case HY_OP_GROUPED_MATMUL:
        return 2.0 * elements(&t[HY_GROUPED_MATMUL_ids]) * t[HY_GROUPED_MATMUL_w].dim[1] *
               t[HY_GROUPED_MATMUL_w].dim[2];
    case HY_OP_ATTENTION:
        return attention_flops(op);
    case HY_OP_RMS_NORM:
        return 4.0 * outputs;
    case HY_OP_LAYER_NORM:
        return 7.0 * outputs;
    case HY_OP_ROPE:
        return 3.0 * outputs;
    case HY_OP_KV_WRITE:
        return 3.0 * (elements(&t[HY_KV_WRITE_k]) + elements(&t[HY_KV_WRITE_q]));
    case HY_OP_SOFTMAX:
        return 4.0 * outputs;
    case HY_OP_TOPK_ROUTE:
        return 4.0 * elements(&t[HY_TOPK_ROUTE_logits]);
    case HY_OP_COMBINE:
        return 2.0 * elements(&t[HY_COMBINE_x]);
    case HY_OP_ARGMAX:
        return elements(&t[HY_ARGMAX_x]);
    case HY_OP_TOPK:
        return elements(&t[HY_TOPK_x]);
    case HY_OP_ROPE_TABLE:
    case HY_OP_GLU:
    case HY_OP_UNARY:
    case HY_OP_QUANTIZE_ROWS:
        return 2.0 * outputs;
    case HY_OP_ADD:
    case HY_OP_MUL:
        return outputs;
    case HY_OP_EMBED:
        return op->embed.scale != 0 && op->embed.scale != 1 ? outputs : 0;
    case HY_OP_GATHER_ROWS:
    case HY_OP_CAST:
    case HY_OP_COPY:
    case HY_OP_KIND_COUNT:
        break;
    }
    return 0;
}

/* Bytes of `rows` of the tensor's rows (all dims but the innermost), at most all of them. */
static uint64_t row_bytes(const hy_tensor *tensor, uint64_t rows) {
    if (tensor->dtype == HY_DTYPE_NONE) return 0;
    const uint64_t all = hy_tensor_rows(tensor), inner = tensor->dim[tensor->rank - 1];
    return HY_MIN(rows, all) * hy_dtype_row_bytes(hy_dtype_get(tensor->dtype), inner);
}

/* Rows of an operand that the op touches; UINT64_MAX for all. Gathers and pages touch only some. */
static uint64_t rows_touched(const hy_op *op, uint32_t operand) {
    const hy_tensor *t = op->operand;
    switch ((hy_op_kind)op->kind) {
    case HY_OP_EMBED:
        if (operand == HY_EMBED_table) return t[HY_EMBED_ids].dim[0];
        break;
    case HY_OP_GATHER_ROWS:
        if (operand == HY_GATHER_ROWS_x) return t[HY_GATHER_ROWS_rows].dim[0];
        break;
    case HY_OP_GROUPED_MATMUL:
        if (operand == HY_GROUPED_MATMUL_w)
            return (uint64_t)t[HY_GROUPED_MATMUL_ids].dim[0] * t[HY_GROUPED_MATMUL_ids].dim[1] *
                   t[HY_GROUPED_MATMUL_w].dim[1];
        break;
    case HY_OP_KV_WRITE:
        if (operand == HY_KV_WRITE_k_cache || operand == HY_KV_WRITE_v_cache)
            return (uint64_t)t[HY_KV_WRITE_k].dim[0] * t[HY_KV_WRITE_k].dim[1];
        break;
    case HY_OP_ATTENTION:
        if (operand == HY_ATTENTION_k_cache || operand == HY_ATTENTION_v_cache)
            return (uint64_t)t[HY_ATTENTION_table].dim[0] * t[HY_ATTENTION_table].dim[1] *
                   t[operand].dim[1] * t[operand].dim[2];
        break;
    default:
        break;
    }
    return UINT64_MAX;
}

uint64_t hy_op_bytes(const hy_op *op) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < hy_op_get((hy_op_kind)op->kind)->operands; i++)
        total += row_bytes(&op->operand[i], rows_touched(op, i));
    return total;
}

/* tests/conform/gen.c: what the case lists share, and the walk over all ops. */
#include "tests/conform/gen.h"

#include <string.h>

#include "base/num.h"

#define HY_WEIGHT(NAME, text, block, bytes, gguf) HY_DTYPE_##NAME,
/* I32 and A8 stand at the end of the list and are no weights. */
const hy_dtype gen_weights[] = {HY_DTYPE_LIST(HY_WEIGHT)};
const uint32_t gen_weight_count = HY_DTYPE_I32 - HY_DTYPE_F32;
const hy_dtype gen_floats[3] = {HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_BF16};

hy_op gen_op(hy_op_kind kind) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = kind;
    return op;
}

void gen_set(hy_op *op, uint32_t operand, hy_dtype dtype, hy_counter counter, uint32_t a,
             uint32_t b, uint32_t c, uint32_t d) {
    uint32_t dim[HY_MAX_RANK] = {a, b, c, d}, rank = 1;
    while (rank < HY_MAX_RANK && dim[rank])
        rank++;
    op->operand[operand] = hy_tensor_of(dtype, rank, dim, counter);
}

void gen_constant(hy_op *op, uint32_t operand, hy_dtype dtype, uint32_t a, uint32_t b, uint32_t c) {
    gen_set(op, operand, dtype, HY_COUNTER_NONE, a, b, c, 0);
    op->operand[operand].constant = 1;
}

static void widen(hy_tensor *t, uint64_t gap) {
    if (t->rank < 2) return;
    uint64_t stride = t->dim[t->rank - 1] + gap; /* between rows; outer dims follow densely */
    for (int d = (int)t->rank - 2; d >= 0; d--) {
        t->stride[d] = stride;
        stride *= t->dim[d];
    }
}

/* Outputs have no shape before inference: the gap waits in stride[3], which inference overwrites. */
enum { GAP_MARK = 1 << 20 };

void gen_gap(hy_op *op, uint32_t operand, uint32_t gap) {
    if (op->operand[operand].rank) {
        widen(&op->operand[operand], gap);
    } else {
        op->operand[operand].stride[3] = GAP_MARK + gap;
    }
}

void gen_emit_pattern(gen *g, hy_op *op, const char *label, conform_pattern pattern) {
    if (g->status != HY_OK) return;
    g->made++;
    if (g->quick && g->made % 10 != 1) return;
    uint64_t gap[HY_MAX_OPERANDS] = {0};
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        hy_tensor *t = &op->operand[i];
        if (t->rank || t->stride[3] < GAP_MARK) continue;
        gap[i] = t->stride[3] - GAP_MARK;
        t->stride[3] = 0;
    }
    g->status = hy_op_infer(op);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS && g->status == HY_OK; i++) {
        if (gap[i]) widen(&op->operand[i], gap[i]);
    }
    if (g->status == HY_OK) g->status = hy_op_check(op);
    if (g->status != HY_OK) {
        g->status = hy_fail_in(HY_E_INTERNAL, "conformance case %s: ", label);
        return;
    }
    conform_case c = {.op = *op, .pattern = pattern, .seed = 1000003ull * op->kind + g->made};
    hy_text text = {0};
    hy_op_print(op, &text);
    snprintf(c.label, sizeof c.label, "%.20s #%u %.64s", label, g->made,
             text.data ? text.data : "");
    hy_text_free(&text);
    g->status = g->visit(g->user, &c);
}

void gen_emit(gen *g, hy_op *op, const char *label) {
    gen_emit_pattern(g, op, label, (conform_pattern)(g->made % CONFORM_TIES));
}

static void walk(gen *g, hy_op_kind kind) {
    switch (kind) {
    case HY_OP_MATMUL:
        gen_matmul(g);
        break;
    case HY_OP_GROUPED_MATMUL:
        gen_grouped_matmul(g);
        break;
    case HY_OP_EMBED:
        gen_embed(g);
        break;
    case HY_OP_ATTENTION:
        gen_attention(g);
        break;
    case HY_OP_KV_WRITE:
        gen_kv_write(g);
        break;
    case HY_OP_ROPE:
        gen_rope(g);
        break;
    case HY_OP_ROPE_TABLE:
        gen_rope_table(g);
        break;
    case HY_OP_RMS_NORM:
    case HY_OP_LAYER_NORM:
        gen_norms(g, kind);
        break;
    case HY_OP_TOPK_ROUTE:
    case HY_OP_COMBINE:
    case HY_OP_ARGMAX:
    case HY_OP_TOPK:
        gen_routing(g, kind);
        break;
    case HY_OP_GATHER_ROWS:
    case HY_OP_QUANTIZE_ROWS:
    case HY_OP_COPY:
    case HY_OP_CAST:
        gen_rows(g, kind);
        break;
    default:
        gen_elementwise(g, kind);
        break;
    }
}

hy_status conform_cases(hy_op_kind kind, bool quick, conform_visit visit, void *user) {
    gen g = {visit, user, HY_OK, quick, 0};
    for (uint32_t k = 0; k < HY_OP_KIND_COUNT; k++) {
        g.made = 0;
        if (kind == HY_OP_KIND_COUNT || kind == (hy_op_kind)k) walk(&g, (hy_op_kind)k);
    }
    return g.status;
}

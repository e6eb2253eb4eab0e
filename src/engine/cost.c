/* What a step moves and computes, op by op, from the plan alone: for benchmarks, which set it against what the
 * machine can do. Weights count as packed, each once; keys and values as far as attention sees them;
 * activations once as written and once as read, whatever a cache may hold. */
#include <math.h>
#include <string.h>

#include "hal/peak.h"
#include "src/engine/engine.h"

/* A step of one shape in one bucket. */
typedef struct step {
    uint32_t count[HY_COUNTER_COUNT]; /* of HY_COUNTER_T, _S, _R */
    uint32_t past;
} step;

static bool is_cache(const hy_op *op, uint32_t operand) {
    if (op->kind == HY_OP_ATTENTION)
        return operand == HY_ATTENTION_k_cache || operand == HY_ATTENTION_v_cache;
    return op->kind == HY_OP_KV_WRITE &&
           (operand == HY_KV_WRITE_k_cache || operand == HY_KV_WRITE_v_cache);
}

/* The op with the true counts in place of upper bounds. */
static hy_op at_counts(const hy_op *bound, const step *s) {
    hy_op op = *bound;
    for (uint32_t i = 0; i < hy_op_get((hy_op_kind)op.kind)->operands; i++) {
        hy_tensor *t = &op.operand[i];
        if (t->counter != HY_COUNTER_NONE) t->dim[0] = HY_MIN(t->dim[0], s->count[t->counter]);
    }
    return op;
}

/* Positions seen by `tokens` tokens behind `past` others, added up. */
static double positions_seen(double past, double tokens, double window) {
    const double all = tokens * past + tokens * (tokens + 1) / 2;
    if (window <= 0 || past + tokens <= window) return all;
    const double short_ones = fmax(0, window - past); /* those that see less than the window */
    return short_ones * past + short_ones * (short_ones + 1) / 2 + (tokens - short_ones) * window;
}

/* Tokens are spread evenly over the sequences. */
static double attention_flops(const hy_op *op, const step *s) {
    const hy_tensor *q = &op->operand[HY_ATTENTION_q], *v = &op->operand[HY_ATTENTION_v_cache];
    const double sequences = s->count[HY_COUNTER_S], each = s->count[HY_COUNTER_T] / sequences;
    const double window = op->attention.window;
    const double seen =
        op->attention.causal ? positions_seen(s->past, each, window) : each * (s->past + each);
    return sequences * seen * q->dim[1] * (2.0 * q->dim[2] + 2.0 * v->dim[3] + 4.0);
}

static double cache_bytes(const hy_op *op, uint32_t operand, const step *s) {
    const hy_tensor *t = &op->operand[operand];
    const double row =
        (double)t->dim[1] * (double)hy_dtype_row_bytes(hy_dtype_get((hy_dtype)t->dtype), t->dim[3]);
    if (op->kind == HY_OP_KV_WRITE) return s->count[HY_COUNTER_T] * row;
    const double sequences = s->count[HY_COUNTER_S], each = s->count[HY_COUNTER_T] / sequences;
    double seen = s->past + each; /* by any of the sequence's tokens */
    if (op->attention.window > 0) seen = HY_MIN(seen, op->attention.window + each - 1);
    return sequences * seen * row;
}

/* The part of a constant that is read. Experts are taken to be drawn evenly. */
static double share_of_constant(const hy_op *op, uint32_t operand) {
    const hy_tensor *t = &op->operand[operand];
    if (op->kind == HY_OP_EMBED && operand == HY_EMBED_table)
        return HY_MIN(1.0, (double)op->operand[HY_EMBED_ids].dim[0] / t->dim[0]);
    if (op->kind == HY_OP_GROUPED_MATMUL) {
        const hy_tensor *ids = &op->operand[HY_GROUPED_MATMUL_ids];
        const double chosen = HY_MIN(1.0, (double)ids->dim[1] / t->dim[0]);
        return 1.0 - pow(1.0 - chosen, ids->dim[0]);
    }
    return 1.0;
}

static double tensor_bytes(const hy_tensor *t) {
    return (double)hy_tensor_rows(t) *
           (double)hy_dtype_row_bytes(hy_dtype_get((hy_dtype)t->dtype), t->dim[t->rank - 1]);
}

static hy_arithmetic arithmetic_of(const hy_op *op, const hy_kernel *kernel) {
    const hy_peak peak = hy_kernel_peak(op, kernel);
    return peak == HY_PEAK_F16    ? HY_ARITHMETIC_F16
           : peak == HY_PEAK_BF16 ? HY_ARITHMETIC_BF16
           : peak == HY_PEAK_INT8 ? HY_ARITHMETIC_INT8
                                  : HY_ARITHMETIC_F32;
}

static const char *type_name(const hy_tensor *t) {
    return hy_dtype_get((hy_dtype)t->dtype)->name;
}

/* type, tokens and extent[], as halyard.h has them. */
static void describe(const hy_op *op, const step *s, hy_op_cost *out) {
    const hy_tensor *t = op->operand;
    const hy_tensor *last = &t[hy_op_get((hy_op_kind)op->kind)->operands - 1];
    out->tokens = last->dim[0];
    out->extent[0] = last->dim[last->rank - 1];
    if (op->kind == HY_OP_MATMUL || op->kind == HY_OP_EMBED) {
        const hy_tensor *w = &t[op->kind == HY_OP_EMBED ? HY_EMBED_table : HY_MATMUL_w];
        out->type = type_name(w);
        memcpy(out->extent, w->dim, 2 * sizeof *w->dim);
    } else if (op->kind == HY_OP_GROUPED_MATMUL) {
        out->type = type_name(&t[HY_GROUPED_MATMUL_w]);
        memcpy(out->extent, t[HY_GROUPED_MATMUL_w].dim, 3 * sizeof *last->dim);
        out->extent[3] = t[HY_GROUPED_MATMUL_ids].dim[1];
    } else if (op->kind == HY_OP_ATTENTION) {
        out->type = type_name(&t[HY_ATTENTION_k_cache]);
        out->extent[0] = t[HY_ATTENTION_q].dim[1];
        out->extent[1] = t[HY_ATTENTION_k_cache].dim[1];
        out->extent[2] = t[HY_ATTENTION_q].dim[2];
        out->extent[3] = s->past + s->count[HY_COUNTER_T] / s->count[HY_COUNTER_S];
    }
}

static void cost_op(const hy_program_step *at, const step *s, hy_op_cost *out) {
    const hy_op op = at_counts(&at->op, s);
    double weights = 0, activations = 0, read = 0, written = 0;
    for (uint32_t i = 0; i < hy_op_get((hy_op_kind)op.kind)->operands; i++) {
        const hy_tensor *t = &op.operand[i];
        const hy_constant_layout *layout = &at->kernel.constant[i];
        if (t->dtype == HY_DTYPE_NONE) continue;
        if (is_cache(&op, i))
            *(op.kind == HY_OP_KV_WRITE ? &written : &read) += cache_bytes(&op, i, s);
        else if (t->constant)
            weights += share_of_constant(&op, i) *
                       (layout->rows ? (double)layout->bytes : tensor_bytes(t));
        else if (op.kind == HY_OP_GATHER_ROWS && i == HY_GATHER_ROWS_x)
            activations += tensor_bytes(&op.operand[HY_GATHER_ROWS_out]);
        else
            activations += tensor_bytes(t);
    }
    out->op = hy_op_get((hy_op_kind)op.kind)->name;
    out->kernel = at->kernel.name;
    out->weight_bytes = (uint64_t)weights;
    out->kv_read_bytes = (uint64_t)read;
    out->kv_written_bytes = (uint64_t)written;
    out->activation_bytes = (uint64_t)activations;
    out->flops = op.kind == HY_OP_ATTENTION ? attention_flops(&op, s) : hy_op_flops(&op);
    describe(&op, s, out);
    out->arithmetic = arithmetic_of(&op, &at->kernel);
}

static hy_status check_shape(const hy_setup *setup, const hy_step_shape *shape, step *out) {
    hy_step_shape want = {0};
    HY_TRY(hy_params_copy(&want, sizeof want, shape, "hy_step_shape"));
    const hy_engine_params *p = &setup->params;
    if (want.tokens == 0) want.tokens = 1;
    if (want.sequences == 0) want.sequences = 1;
    if (want.rows == 0) want.rows = HY_MIN(want.sequences, p->max_rows);
    if (want.tokens > p->max_batch || want.sequences > p->max_sequences ||
        want.sequences > want.tokens || want.rows > p->max_rows || want.rows > want.tokens)
        return hy_fail(
            HY_E_ARGUMENT, "hy_step_shape: %u tokens of %u sequences, %u rows; at most %u, %u, %u",
            want.tokens, want.sequences, want.rows, p->max_batch, p->max_sequences, p->max_rows);
    if ((uint64_t)want.past + want.tokens / want.sequences > p->context)
        return hy_fail(HY_E_ARGUMENT, "hy_step_shape: %u tokens behind %u; the context is %u",
                       want.tokens / want.sequences, want.past, p->context);
    *out = (step){.past = want.past};
    out->count[HY_COUNTER_T] = want.tokens;
    out->count[HY_COUNTER_S] = want.sequences;
    out->count[HY_COUNTER_R] = want.rows;
    return HY_OK;
}

hy_status hy_engine_costs(const hy_engine *engine, const hy_step_shape *shape, hy_cost_fn visit,
                          void *user) {
    step s;
    uint32_t index;
    if (!engine || !visit) return hy_fail(HY_E_ARGUMENT, "hy_engine_costs: an argument is NULL");
    const hy_setup *setup = &engine->setup;
    HY_TRY(check_shape(setup, shape, &s));
    HY_TRY(hy_program_find_bucket(setup->program, s.count[HY_COUNTER_T], s.count[HY_COUNTER_S],
                                  s.count[HY_COUNTER_R], &index));
    const hy_program_bucket *bucket = &setup->program->bucket[index];
    for (uint32_t i = 0; i < bucket->steps; i++) {
        const hy_program_step *at = &bucket->step[i];
        hy_op_cost cost = {.device = setup->id[at->device]};
        if (at->transfer) {
            cost.op = cost.kernel = "transfer";
            cost.activation_bytes = at->operand[0].size;
        } else {
            cost_op(at, &s, &cost);
        }
        visit(user, &cost);
    }
    return HY_OK;
}

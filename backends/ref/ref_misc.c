/* Embedding, elementwise ops, softmax over rows, gathers and moves. */
#include <math.h>

#include "backends/ref/ref.h"
#include "base/num.h"

uint64_t ref_rows_scratch(const hy_op *op, uint32_t workers) {
    uint64_t widest = 0;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_tensor *t = &op->operand[i];
        if (t->dtype != HY_DTYPE_NONE) widest = HY_MAX(widest, t->dim[t->rank - 1]);
    }
    return REF_ROWS * widest * workers;
}

static double *row_scratch(const ref_call *c, uint32_t worker, uint32_t width) {
    return c->scratch + (uint64_t)worker * REF_ROWS * width;
}

static ref_number exactly(double value) {
    ref_number number = {value, fabs(value)};
    return number;
}

void ref_embed(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *ids = &c->o[HY_EMBED_ids], *table = &c->o[HY_EMBED_table];
    const uint32_t d = ref_inner(table);
    const double scale = c->op->embed.scale == 0 ? 1 : c->op->embed.scale;
    double *v = row_scratch(c, worker, d), *mag = v + d;
    for (uint32_t t = worker; t < ids->n; t += workers) {
        const int32_t id = ref_int(ids, t);
        const bool inside = id >= 0 && (uint32_t)id < table->t->dim[0];
        if (inside) ref_read(table, (uint64_t)id, v);
        for (uint32_t i = 0; i < d; i++) {
            v[i] = inside ? v[i] * scale : 0;
            mag[i] = fabs(v[i]);
        }
        ref_emit(c, HY_EMBED_out, t, 0, d, v, mag);
    }
}

/* ---- elementwise: row(s) in, one row out --------------------------------------------------------- */

/* y = f(a, b) of one element; b is absent for unary ops. */
typedef ref_number (*element_fn)(const hy_op *op, double a, double b);

static ref_number add_element(const hy_op *op, double a, double b) {
    (void)op;
    ref_number y = {a + b, fabs(a) + fabs(b)};
    return y;
}
static ref_number mul_element(const hy_op *op, double a, double b) {
    (void)op;
    return exactly(a * b);
}
static ref_number unary_element(const hy_op *op, double x, double none) {
    (void)none;
    return ref_softcap(op->unary.softcap,
                       ref_scale(op->unary.scale, ref_act(op->unary.act, exactly(x))));
}
static ref_number glu_element(const hy_op *op, double gate, double up) {
    return ref_mul(ref_act(op->glu.act, exactly(gate)), exactly(up));
}

/* a is operand 0, b operand 1 (`two`), the output operand `out`; b may be one row for all. */
static void elementwise(const ref_call *c, uint32_t worker, uint32_t workers, bool two,
                        uint32_t out, element_fn f) {
    const ref_tensor *a = &c->o[0], *b = &c->o[1];
    const uint32_t d = ref_inner(a);
    double *x = row_scratch(c, worker, d), *y = x + d, *want = y + d, *mag = want + d;
    for (uint64_t row = worker; row < ref_rows(a); row += workers) {
        ref_read(a, row, x);
        if (two) ref_read(b, b->t->rank == 1 ? 0 : row, y);
        for (uint32_t i = 0; i < d; i++) {
            const ref_number number = f(c->op, x[i], two ? y[i] : 0);
            want[i] = number.value;
            mag[i] = number.mag;
        }
        ref_emit(c, out, row, 0, d, want, mag);
    }
}

void ref_add(const ref_call *c, uint32_t worker, uint32_t workers) {
    elementwise(c, worker, workers, true, HY_ADD_out, add_element);
}
void ref_multiply(const ref_call *c, uint32_t worker, uint32_t workers) {
    elementwise(c, worker, workers, true, HY_MUL_out, mul_element);
}
void ref_unary(const ref_call *c, uint32_t worker, uint32_t workers) {
    elementwise(c, worker, workers, false, HY_UNARY_out, unary_element);
}
void ref_glu(const ref_call *c, uint32_t worker, uint32_t workers) {
    elementwise(c, worker, workers, true, HY_GLU_out, glu_element);
}

void ref_softmax_op(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[HY_SOFTMAX_x];
    const uint32_t d = ref_inner(x);
    const double scale = c->op->softmax.scale == 0 ? 1 : c->op->softmax.scale;
    double *v = row_scratch(c, worker, d), *mag = v + d;
    for (uint64_t row = worker; row < ref_rows(x); row += workers) {
        ref_read(x, row, v);
        for (uint32_t i = 0; i < d; i++) {
            v[i] *= scale;
            mag[i] = fabs(v[i]);
        }
        ref_softmax(v, mag, d);
        ref_emit(c, HY_SOFTMAX_out, row, 0, d, v, mag);
    }
}

/* ---- moves --------------------------------------------------------------------------------------- */

void ref_gather_rows(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[HY_GATHER_ROWS_x], *rows = &c->o[HY_GATHER_ROWS_rows];
    const uint32_t d = ref_inner(x);
    double *v = row_scratch(c, worker, d), *mag = v + d;
    for (uint32_t r = worker; r < rows->n; r += workers) {
        const int32_t from = ref_int(rows, r);
        const bool inside = from >= 0 && (uint32_t)from < x->n;
        if (inside) ref_read(x, (uint64_t)from, v);
        for (uint32_t i = 0; i < d; i++) {
            v[i] = inside ? v[i] : 0;
            mag[i] = 0;
        }
        ref_emit(c, HY_GATHER_ROWS_out, r, 0, d, v, mag);
    }
}

void ref_move(const ref_call *c, uint32_t worker, uint32_t workers) {
    const ref_tensor *x = &c->o[0];
    const uint32_t d = ref_inner(x);
    double *v = row_scratch(c, worker, d), *mag = v + d;
    for (uint32_t i = 0; i < d; i++)
        mag[i] = 0;
    for (uint64_t row = worker; row < ref_rows(x); row += workers) {
        ref_read(x, row, v);
        ref_emit(c, 1, row, 0, d, v, mag);
    }
}

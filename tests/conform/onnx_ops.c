/* tests/conform/onnx_ops.c: ONNX operators that are one HAL op on rows. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "tests/conform/onnx.h"

/* The x and y of most operators. */
static hy_status first_pair(onnx_case *c, onnx_value *x, onnx_value *y) {
    HY_TRY(onnx_input(c, 0, x));
    HY_TRY(onnx_output(c, 0, y));
    HY_TRY(onnx_require(x, "input 0"));
    HY_TRY(onnx_require(y, "output 0"));
    return onnx_require_float(x);
}

static hy_status same_elements(const onnx_value *v, uint64_t count) {
    if (v->t.elements == count) return HY_OK;
    return hy_fail(HY_E_FORMAT, "'%s' has %llu elements, not %llu", v->t.name,
                   (unsigned long long)v->t.elements, (unsigned long long)count);
}

/* Last extent; 1 for rank 0. */
static uint64_t columns_of(const onnx_value *v) {
    return v->t.rank ? v->t.dim[v->t.rank - 1] : 1;
}

static hy_status no_elements(const onnx_value *v) {
    return hy_fail(HY_E_FORMAT, "'%s' has no elements", v->t.name);
}

/* ---- elementwise ---- */

static bool same_shape(const onnx_value *a, const onnx_value *b) {
    return a->t.rank == b->t.rank && memcmp(a->t.dim, b->t.dim, sizeof a->t.dim) == 0;
}

/* b is a's last axes: one row for all. */
static bool is_row_of(const onnx_value *b, const onnx_value *a) {
    if (b->t.rank == 0 || b->t.rank > a->t.rank) return false;
    for (uint32_t d = 0; d < b->t.rank; d++) {
        if (b->t.dim[d] != a->t.dim[a->t.rank - b->t.rank + d]) return false;
    }
    return true;
}

hy_status onnx_binary(onnx_case *c, hy_op_kind kind) {
    onnx_value a, b, y;
    double *want;
    HY_TRY(first_pair(c, &a, &y));
    HY_TRY(onnx_input(c, 1, &b));
    HY_TRY(onnx_require(&b, "input 1"));
    HY_TRY(onnx_require_float(&b));
    HY_TRY(onnx_require_float(&y));
    HY_TRY(onnx_f64(c, &y, &want));
    if (y.t.elements == 0) return no_elements(&y);
    if (!same_shape(&a, &y)) HY_TRY(onnx_broadcast(c, &a, y.t.rank, y.t.dim, &a));
    const bool row = !same_shape(&b, &y) && is_row_of(&b, &y);
    if (!row) HY_TRY(onnx_broadcast(c, &b, y.t.rank, y.t.dim, &b));
    const uint64_t columns = row ? b.t.elements : columns_of(&y), rows = y.t.elements / columns;
    onnx_run run = {.op = {.kind = kind}};
    onnx_set(&run, HY_ADD_a, a.dtype, a.t.data, rows, columns, 0, 0);
    onnx_set(&run, HY_ADD_b, b.dtype, b.t.data, row ? columns : rows, row ? 0 : columns, 0, 0);
    run.op.operand[HY_ADD_out].dtype = (uint8_t)y.dtype;
    onnx_expect(&run, HY_ADD_out, want, false);
    return onnx_run_op(c, &run);
}
_Static_assert((int)HY_ADD_a == (int)HY_MUL_a && (int)HY_ADD_b == (int)HY_MUL_b &&
                   (int)HY_ADD_out == (int)HY_MUL_out,
               "add and mul have the same operands");

hy_status onnx_add(onnx_case *c) {
    return onnx_binary(c, HY_OP_ADD);
}

hy_status onnx_mul(onnx_case *c) {
    return onnx_binary(c, HY_OP_MUL);
}

static hy_status unary(onnx_case *c, hy_act act) {
    onnx_value x, y;
    double *want;
    HY_TRY(first_pair(c, &x, &y));
    HY_TRY(onnx_require_float(&y));
    HY_TRY(same_elements(&y, x.t.elements));
    HY_TRY(onnx_f64(c, &y, &want));
    if (x.t.elements == 0) return no_elements(&x);
    onnx_run run = {.op = {.kind = HY_OP_UNARY}};
    run.op.unary.act = act;
    onnx_set(&run, HY_UNARY_x, x.dtype, x.t.data, x.t.elements / columns_of(&x), columns_of(&x), 0,
             0);
    run.op.operand[HY_UNARY_out].dtype = (uint8_t)y.dtype;
    onnx_expect(&run, HY_UNARY_out, want, false);
    return onnx_run_op(c, &run);
}

hy_status onnx_gelu(onnx_case *c) {
    const bool fitted = strcmp(onnx_text(c, "approximate", "none"), "tanh") == 0;
    return unary(c, fitted ? HY_ACT_GELU_TANH : HY_ACT_GELU_ERF);
}

hy_status onnx_swish(onnx_case *c) {
    const double alpha = onnx_number(c, "alpha", 1.0);
    if (alpha != 1.0)
        return hy_fail(HY_E_UNSUPPORTED, "alpha is %g: the op's silu has alpha 1", alpha);
    return unary(c, HY_ACT_SILU);
}

hy_status onnx_cast(onnx_case *c) {
    static const char *const names[] = {
        "UNDEFINED",      "FLOAT",    "UINT8",        "INT8",           "UINT16",
        "INT16",          "INT32",    "INT64",        "STRING",         "BOOL",
        "FLOAT16",        "DOUBLE",   "UINT32",       "UINT64",         "COMPLEX64",
        "COMPLEX128",     "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2",
        "FLOAT8E5M2FNUZ", "UINT4",    "INT4",         "FLOAT4E2M1",     "FLOAT8E8M0",
    };
    onnx_value x, y;
    double *want;
    HY_TRY(first_pair(c, &x, &y));
    const double to = onnx_number(c, "to", 0);
    if (to != 1 && to != 10 && to != 16) {
        const bool known = to >= 0 && to < (double)HY_COUNT_OF(names);
        return hy_fail(HY_E_UNSUPPORTED,
                       "dtype %s of the result is not a float type of the dtype table",
                       known ? names[(size_t)to] : "of an unknown number");
    }
    HY_TRY(onnx_require_float(&y));
    HY_TRY(same_elements(&y, x.t.elements));
    HY_TRY(onnx_f64(c, &y, &want));
    if (x.t.elements == 0) return no_elements(&x);
    onnx_run run = {.op = {.kind = HY_OP_CAST}};
    onnx_set(&run, HY_CAST_x, x.dtype, x.t.data, x.t.elements / columns_of(&x), columns_of(&x), 0,
             0);
    run.op.operand[HY_CAST_out].dtype = (uint8_t)y.dtype;
    onnx_expect(&run, HY_CAST_out, want, true);
    return onnx_run_op(c, &run);
}

/* ---- along one axis ---- */

/* x and y with the axis last. */
static hy_status axis_pair(onnx_case *c, int fallback, onnx_value *x, onnx_value *y) {
    uint32_t axis;
    HY_TRY(first_pair(c, x, y));
    HY_TRY(onnx_axis(c, x->t.rank, fallback, &axis));
    HY_TRY(onnx_axis_last(c, x, axis, x));
    if (x->t.elements == 0) return no_elements(x);
    if (y->t.rank == x->t.rank) return onnx_axis_last(c, y, axis, y);
    return HY_OK; /* keepdims 0: the axis is gone */
}

hy_status onnx_softmax(onnx_case *c) {
    onnx_value x, y;
    double *want;
    HY_TRY(axis_pair(c, -1, &x, &y));
    HY_TRY(onnx_require_float(&y));
    HY_TRY(same_elements(&y, x.t.elements));
    HY_TRY(onnx_f64(c, &y, &want));
    onnx_run run = {.op = {.kind = HY_OP_SOFTMAX}};
    onnx_set(&run, HY_SOFTMAX_x, x.dtype, x.t.data, x.t.elements / columns_of(&x), columns_of(&x),
             0, 0);
    run.op.operand[HY_SOFTMAX_out].dtype = (uint8_t)y.dtype;
    onnx_expect(&run, HY_SOFTMAX_out, want, false);
    return onnx_run_op(c, &run);
}

/* Whether the largest value of some row occurs twice. */
static bool has_ties(const double *x, uint64_t rows, uint64_t columns) {
    for (uint64_t r = 0; r < rows; r++, x += columns) {
        uint64_t first = 0, last = 0;
        for (uint64_t i = 1; i < columns; i++) {
            if (x[i] > x[first]) first = i;
            if (x[i] >= x[last]) last = i;
        }
        if (first != last) return true;
    }
    return false;
}

hy_status onnx_argmax(onnx_case *c) {
    onnx_value x, y;
    double *want, *values;
    HY_TRY(axis_pair(c, 0, &x, &y));
    const uint64_t columns = columns_of(&x), rows = x.t.elements / columns;
    HY_TRY(same_elements(&y, rows));
    HY_TRY(onnx_f64(c, &y, &want));
    HY_TRY(onnx_f64(c, &x, &values));
    if (onnx_number(c, "select_last_index", 0) != 0 && has_ties(values, rows, columns))
        return hy_fail(HY_E_UNSUPPORTED,
                       "select_last_index with ties in the data: ties go to the lowest index by "
                       "definition of the op");
    onnx_run run = {.op = {.kind = HY_OP_ARGMAX}};
    onnx_set(&run, HY_ARGMAX_x, x.dtype, x.t.data, rows, columns, 0, 0);
    onnx_expect(&run, HY_ARGMAX_out, want, true);
    return onnx_run_op(c, &run);
}

hy_status onnx_topk(onnx_case *c) {
    onnx_value x, values, indices, k;
    double *want_values, *want_ids;
    int32_t *count;
    uint32_t axis;
    if (onnx_number(c, "largest", 1) == 0)
        return hy_fail(HY_E_UNSUPPORTED, "largest=0: the op returns the largest");
    if (onnx_number(c, "sorted", 1) == 0)
        return hy_fail(HY_E_UNSUPPORTED, "sorted=0: the operator leaves the order open");
    HY_TRY(axis_pair(c, -1, &x, &values));
    HY_TRY(onnx_axis(c, x.t.rank, -1, &axis));
    HY_TRY(onnx_input(c, 1, &k));
    HY_TRY(onnx_output(c, 1, &indices));
    HY_TRY(onnx_require(&k, "k"));
    HY_TRY(onnx_require(&indices, "indices"));
    HY_TRY(same_elements(&k, 1));
    HY_TRY(onnx_i32(c, &k, &count));
    const uint64_t columns = columns_of(&x), rows = x.t.elements / columns;
    if (*count < 1) return hy_fail(HY_E_FORMAT, "k is %d", *count);
    HY_TRY(same_elements(&values, rows * (uint64_t)*count));
    HY_TRY(same_elements(&indices, rows * (uint64_t)*count));
    if (indices.t.rank != x.t.rank)
        return hy_fail(HY_E_FORMAT, "'%s' has rank %u", indices.t.name, indices.t.rank);
    HY_TRY(onnx_axis_last(c, &indices, axis, &indices));
    HY_TRY(onnx_f64(c, &values, &want_values));
    HY_TRY(onnx_f64(c, &indices, &want_ids));
    onnx_run run = {.op = {.kind = HY_OP_TOPK}};
    run.op.topk.k = *count;
    onnx_set(&run, HY_TOPK_x, x.dtype, x.t.data, rows, columns, 0, 0);
    onnx_expect(&run, HY_TOPK_values, want_values, true);
    onnx_expect(&run, HY_TOPK_ids, want_ids, true);
    return onnx_run_op(c, &run);
}

/* ---- norms ---- */

/* Scale or bias over the normalized axes as float32 [columns]. */
static hy_status norm_row(onnx_case *c, size_t i, uint64_t columns, onnx_run *run,
                          uint32_t operand) {
    onnx_value v;
    float *row;
    HY_TRY(onnx_input(c, i, &v));
    if (!v.present) return HY_OK;
    HY_TRY(onnx_require_float(&v));
    if (v.t.elements != columns)
        return hy_fail(HY_E_UNSUPPORTED, "'%s' is broadcast: the op's %s has the row's length",
                       v.t.name, hy_op_get((hy_op_kind)run->op.kind)->operand[operand].name);
    HY_TRY(onnx_f32(c, &v, &row));
    onnx_set(run, operand, HY_DTYPE_F32, row, columns, 0, 0, 0);
    return HY_OK;
}

/* x and out; all axes from `axis` on are one row. */
static hy_status norm(onnx_case *c, onnx_run *run, uint32_t x_operand, uint32_t out,
                      uint64_t *columns) {
    onnx_value x, y;
    double *want;
    uint32_t axis;
    HY_TRY(first_pair(c, &x, &y));
    HY_TRY(onnx_require_float(&y));
    HY_TRY(same_elements(&y, x.t.elements));
    HY_TRY(onnx_axis(c, x.t.rank, -1, &axis));
    if (x.t.elements == 0) return no_elements(&x);
    HY_TRY(onnx_f64(c, &y, &want));
    *columns = onnx_extent(&x, axis, x.t.rank);
    onnx_set(run, x_operand, x.dtype, x.t.data, x.t.elements / *columns, *columns, 0, 0);
    run->op.operand[out].dtype = (uint8_t)y.dtype;
    onnx_expect(run, out, want, false);
    return HY_OK;
}

hy_status onnx_rms_normalization(onnx_case *c) {
    onnx_run run = {.op = {.kind = HY_OP_RMS_NORM}};
    uint64_t columns;
    HY_TRY(norm(c, &run, HY_RMS_NORM_x, HY_RMS_NORM_out, &columns));
    HY_TRY(norm_row(c, 1, columns, &run, HY_RMS_NORM_weight));
    run.op.rms_norm.eps = (float)onnx_number(c, "epsilon", 1e-5);
    return onnx_run_op(c, &run);
}

hy_status onnx_layer_normalization(onnx_case *c) {
    onnx_run run = {.op = {.kind = HY_OP_LAYER_NORM}};
    uint64_t columns;
    HY_TRY(norm(c, &run, HY_LAYER_NORM_x, HY_LAYER_NORM_out, &columns));
    HY_TRY(norm_row(c, 1, columns, &run, HY_LAYER_NORM_weight));
    HY_TRY(norm_row(c, 2, columns, &run, HY_LAYER_NORM_bias));
    run.op.layer_norm.eps = (float)onnx_number(c, "epsilon", 1e-5);
    if (json_array_size(c->outputs) > 1)
        snprintf(c->note, sizeof c->note, "outputs Mean, InvStdDev: the op does not return them");
    return onnx_run_op(c, &run);
}

/* ---- gather ---- */

/* Rows of data [before * dim, after], whichever axis is gathered. */
static hy_status gather_rows(onnx_case *c, const onnx_value *data, const onnx_value *indices,
                             uint32_t axis, int32_t **out) {
    const uint64_t before = onnx_extent(data, 0, axis), dim = data->t.dim[axis];
    int32_t *index, *row;
    HY_TRY(onnx_i32(c, indices, &index));
    HY_TRY(onnx_alloc(c, before * indices->t.elements, sizeof *row, &row));
    *out = row;
    for (uint64_t b = 0; b < before; b++) {
        for (uint64_t i = 0; i < indices->t.elements; i++) {
            const int64_t at = index[i] < 0 ? index[i] + (int64_t)dim : index[i];
            if (at < 0 || (uint64_t)at >= dim)
                return hy_fail(HY_E_FORMAT, "index %d of an axis of %llu", index[i],
                               (unsigned long long)dim);
            *row++ = (int32_t)(b * dim + (uint64_t)at);
        }
    }
    return HY_OK;
}

/* The same rows by both ops that fetch rows. */
hy_status onnx_gather(onnx_case *c) {
    onnx_value data, indices, y;
    uint32_t axis;
    int32_t *rows;
    double *want;
    HY_TRY(first_pair(c, &data, &y));
    HY_TRY(onnx_input(c, 1, &indices));
    HY_TRY(onnx_require(&indices, "indices"));
    HY_TRY(onnx_axis(c, data.t.rank, 0, &axis));
    if (data.t.elements == 0 || indices.t.elements == 0) return no_elements(&data);
    const uint64_t columns = onnx_extent(&data, axis + 1, data.t.rank);
    const uint64_t count = onnx_extent(&data, 0, axis) * indices.t.elements;
    HY_TRY(gather_rows(c, &data, &indices, axis, &rows));
    HY_TRY(same_elements(&y, count * columns));
    HY_TRY(onnx_f64(c, &y, &want));
    onnx_run gather = {.op = {.kind = HY_OP_GATHER_ROWS}}, embed = {.op = {.kind = HY_OP_EMBED}};
    onnx_set(&gather, HY_GATHER_ROWS_x, data.dtype, data.t.data, data.t.elements / columns, columns,
             0, 0);
    onnx_set(&gather, HY_GATHER_ROWS_rows, HY_DTYPE_I32, rows, count, 0, 0, 0);
    onnx_expect(&gather, HY_GATHER_ROWS_out, want, true);
    HY_TRY(onnx_run_op(c, &gather));
    onnx_set(&embed, HY_EMBED_table, data.dtype, data.t.data, data.t.elements / columns, columns, 0,
             0);
    onnx_set(&embed, HY_EMBED_ids, HY_DTYPE_I32, rows, count, 0, 0, 0);
    onnx_expect(&embed, HY_EMBED_out, want, true);
    return onnx_run_op(c, &embed);
}

/* tests/conform/onnx_matmul.c: products, and the operators on 8-bit integers that are block formats. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "tests/conform/onnx.h"

/* ---- MatMul ---- */

/* Batch extents of a and b, broadcast against each other and aligned at the end. */
typedef struct batches {
    uint32_t rank;
    uint64_t dim[HY_SAFETENSORS_MAX_RANK], count;
} batches;

/* numpy's rule for vectors: a row in front, a column behind. */
static void as_matrix(onnx_value *v, bool row) {
    if (v->t.rank != 1) return;
    v->t.rank = 2;
    v->t.dim[row ? 1 : 0] = v->t.dim[0];
    v->t.dim[row ? 0 : 1] = 1;
}

static hy_status batches_of(const onnx_value *a, const onnx_value *b, batches *out) {
    *out = (batches){.rank = HY_MAX(a->t.rank, b->t.rank) - 2, .count = 1};
    for (uint32_t d = 0; d < out->rank; d++) {
        const uint32_t back = out->rank - d + 2; /* from the end of either's dims */
        const uint64_t x = back <= a->t.rank ? a->t.dim[a->t.rank - back] : 1;
        const uint64_t y = back <= b->t.rank ? b->t.dim[b->t.rank - back] : 1;
        if (x != y && x != 1 && y != 1)
            return hy_fail(HY_E_FORMAT, "batch dims %llu and %llu do not broadcast",
                           (unsigned long long)x, (unsigned long long)y);
        out->dim[d] = HY_MAX(x, y);
        out->count *= out->dim[d];
    }
    return HY_OK;
}

/* v [..., r, c] over all batches. */
static hy_status over(onnx_case *c, const batches *all, onnx_value *v) {
    uint64_t dim[HY_SAFETENSORS_MAX_RANK];
    memcpy(dim, all->dim, sizeof dim);
    dim[all->rank] = v->t.dim[v->t.rank - 2];
    dim[all->rank + 1] = v->t.dim[v->t.rank - 1];
    return onnx_broadcast(c, v, all->rank + 2, dim, v);
}

static hy_status transpose_last(onnx_case *c, onnx_value *v) {
    return onnx_axis_last(c, v, v->t.rank - 2, v);
}

/* One product per batch; the right operand is the weight [N, K]. */
hy_status onnx_matmul(onnx_case *c) {
    onnx_value a, b, y;
    batches all;
    double *want;
    HY_TRY(onnx_input(c, 0, &a));
    HY_TRY(onnx_input(c, 1, &b));
    HY_TRY(onnx_output(c, 0, &y));
    if (!a.present || !b.present || !y.present || !a.t.rank || !b.t.rank)
        return hy_fail(HY_E_FORMAT, "MatMul needs two tensors of rank 1 or more and a result");
    HY_TRY(onnx_require_float(&a));
    HY_TRY(onnx_require_float(&b));
    HY_TRY(onnx_require_float(&y));
    as_matrix(&a, true);
    as_matrix(&b, false);
    HY_TRY(batches_of(&a, &b, &all));
    HY_TRY(over(c, &all, &a));
    HY_TRY(over(c, &all, &b));
    HY_TRY(transpose_last(c, &b));
    HY_TRY(onnx_f64(c, &y, &want));
    const uint32_t last = a.t.rank - 1;
    const uint64_t m = a.t.dim[last - 1], n = b.t.dim[last - 1], k = a.t.dim[last];
    if (b.t.dim[last] != k || y.t.elements != all.count * m * n || y.t.elements == 0)
        return hy_fail(HY_E_FORMAT, "shapes of the product do not agree");
    for (uint64_t i = 0; i < all.count; i++) {
        onnx_run run = {.op = {.kind = HY_OP_MATMUL}};
        onnx_set(&run, HY_MATMUL_x, a.dtype, a.t.data + i * m * k * a.t.element_bytes, m, k, 0, 0);
        onnx_set(&run, HY_MATMUL_w, b.dtype, b.t.data + i * n * k * b.t.element_bytes, n, k, 0, 0);
        run.op.operand[HY_MATMUL_out].dtype = (uint8_t)y.dtype;
        onnx_expect(&run, HY_MATMUL_out, want + i * m * n, false);
        HY_TRY(onnx_run_op(c, &run));
    }
    return HY_OK;
}

/* ---- 8-bit integers ---- */

enum { BLOCK = 32, Q8_0_BYTES = 34 };

/* Integers [rows, columns] less a zero point, as int8 in rows padded by 0 to whole blocks. */
typedef struct bytes8 {
    uint64_t rows, columns, blocks; /* blocks of a row */
    int8_t *q;                      /* [rows, blocks * 32] */
} bytes8;

static bool is_8_bit(const onnx_value *v) {
    return strcmp(v->t.dtype, "U8") == 0 || strcmp(v->t.dtype, "I8") == 0;
}

static hy_status read_8(onnx_case *c, const onnx_value *v, const onnx_value *zero, uint64_t rows,
                        uint64_t columns, bytes8 *out) {
    double *value, *offset = NULL;
    if (!is_8_bit(v) || (zero->present && !is_8_bit(zero)))
        return hy_fail(HY_E_UNSUPPORTED, "'%s' is %s: only 8-bit integers have a block format",
                       v->t.name, v->t.dtype);
    if (zero->present && zero->t.elements != 1)
        return hy_fail(HY_E_UNSUPPORTED, "'%s' has %llu values: one per tensor has a block format",
                       zero->t.name, (unsigned long long)zero->t.elements);
    HY_TRY(onnx_f64(c, v, &value));
    if (zero->present) HY_TRY(onnx_f64(c, zero, &offset));
    *out = (bytes8){.rows = rows, .columns = columns, .blocks = hy_div_up(columns, BLOCK)};
    HY_TRY(onnx_alloc(c, rows * out->blocks, BLOCK, &out->q));
    for (uint64_t i = 0; i < rows * columns; i++) {
        const double q = value[i] - (offset ? *offset : 0);
        if (q < -128 || q > 127)
            return hy_fail(HY_E_UNSUPPORTED, "'%s' less its zero point has %g, beyond int8",
                           v->t.name, q);
        out->q[i / columns * out->blocks * BLOCK + i % columns] = (int8_t)q;
    }
    return HY_OK;
}

/* As q8_0 blocks of one scale, an f16. */
static hy_status as_q8_0(onnx_case *c, const bytes8 *b, uint16_t scale, uint8_t **out) {
    HY_TRY(onnx_alloc(c, b->rows * b->blocks, Q8_0_BYTES, out));
    for (uint64_t i = 0; i < b->rows * b->blocks; i++) {
        memcpy(*out + i * Q8_0_BYTES, &scale, sizeof scale);
        memcpy(*out + i * Q8_0_BYTES + sizeof scale, b->q + i * BLOCK, BLOCK);
    }
    return HY_OK;
}

/* As activation blocks of scale 1. */
static hy_status as_a8(onnx_case *c, const bytes8 *b, hy_a8_block **out) {
    HY_TRY(onnx_alloc(c, b->rows * b->blocks, sizeof **out, out));
    for (uint64_t i = 0; i < b->rows * b->blocks; i++) {
        hy_a8_block *block = &(*out)[i];
        memcpy(block->q, b->q + i * BLOCK, BLOCK);
        block->scale = 1;
        for (int e = 0; e < BLOCK; e++)
            block->sum += block->q[e];
    }
    return HY_OK;
}

/* Integers are exact in both formats, and so is their product. */
hy_status onnx_matmul_integer(onnx_case *c) {
    onnx_value a, b, a_zero, b_zero, y;
    bytes8 left, right;
    hy_a8_block *x;
    uint8_t *w;
    double *want;
    HY_TRY(onnx_input(c, 0, &a));
    HY_TRY(onnx_input(c, 1, &b));
    HY_TRY(onnx_input(c, 2, &a_zero));
    HY_TRY(onnx_input(c, 3, &b_zero));
    HY_TRY(onnx_output(c, 0, &y));
    if (!a.present || !b.present || !y.present)
        return hy_fail(HY_E_FORMAT, "MatMulInteger needs A, B and Y");
    if (a.t.rank != 2 || b.t.rank != 2)
        return hy_fail(HY_E_UNSUPPORTED, "ranks %u and %u: only matrices are mapped", a.t.rank,
                       b.t.rank);
    HY_TRY(transpose_last(c, &b));
    const uint64_t m = a.t.dim[0], k = a.t.dim[1], n = b.t.dim[0];
    if (b.t.dim[1] != k || y.t.elements != m * n || m * n * k == 0)
        return hy_fail(HY_E_FORMAT, "shapes of the product do not agree");
    HY_TRY(read_8(c, &a, &a_zero, m, k, &left));
    HY_TRY(read_8(c, &b, &b_zero, n, k, &right));
    HY_TRY(as_a8(c, &left, &x));
    HY_TRY(as_q8_0(c, &right, hy_f32_to_f16(1), &w));
    HY_TRY(onnx_f64(c, &y, &want));
    onnx_run run = {.op = {.kind = HY_OP_MATMUL}};
    onnx_set(&run, HY_MATMUL_x, HY_DTYPE_A8, x, m, left.blocks * BLOCK, 0, 0);
    onnx_set(&run, HY_MATMUL_w, HY_DTYPE_Q8_0, w, n, right.blocks * BLOCK, 0, 0);
    onnx_expect(&run, HY_MATMUL_out, want, true);
    return onnx_run_op(c, &run);
}

/* (x - zero) * scale is a row of q8_0 where the scale is an f16: fetched by embed. */
hy_status onnx_dequantize_linear(onnx_case *c) {
    onnx_value x, scale, zero, y;
    bytes8 row;
    uint8_t *table;
    double *want, *all, *factor;
    static const int32_t first = 0;
    HY_TRY(onnx_input(c, 0, &x));
    HY_TRY(onnx_input(c, 1, &scale));
    HY_TRY(onnx_input(c, 2, &zero));
    HY_TRY(onnx_output(c, 0, &y));
    if (!x.present || !scale.present || !y.present || y.t.elements != x.t.elements || !x.t.elements)
        return hy_fail(HY_E_FORMAT, "DequantizeLinear needs x, x_scale and a y of x's shape");
    HY_TRY(onnx_f64(c, &scale, &factor));
    if (scale.t.elements != 1)
        return hy_fail(HY_E_UNSUPPORTED, "'%s' has %llu values: blocks of 32 have one each",
                       scale.t.name, (unsigned long long)scale.t.elements);
    const uint16_t half = hy_f32_to_f16((float)*factor);
    if ((double)hy_f16_to_f32(half) != *factor)
        return hy_fail(HY_E_UNSUPPORTED, "scale %.9g is not an f16, as q8_0 stores it", *factor);
    HY_TRY(read_8(c, &x, &zero, 1, x.t.elements, &row));
    HY_TRY(as_q8_0(c, &row, half, &table));
    HY_TRY(onnx_f64(c, &y, &want));
    HY_TRY(onnx_alloc(c, row.blocks * BLOCK, sizeof *all, &all));
    memcpy(all, want, y.t.elements * sizeof *all); /* the padding is 0 */
    onnx_run run = {.op = {.kind = HY_OP_EMBED}};
    onnx_set(&run, HY_EMBED_table, HY_DTYPE_Q8_0, table, 1, row.blocks * BLOCK, 0, 0);
    onnx_set(&run, HY_EMBED_ids, HY_DTYPE_I32, &first, 1, 0, 0, 0);
    onnx_expect(&run, HY_EMBED_out, all, true);
    return onnx_run_op(c, &run);
}

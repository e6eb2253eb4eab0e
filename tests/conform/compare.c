/* tests/conform/compare.c: an output against the float64 oracle, and its surroundings against before. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "tests/conform/conform.h"

/* Where the walk stands: one row (all dims but the innermost fixed). */
typedef struct cursor {
    const conform_case *c;
    const hy_tensor *t;
    const hy_dtype_info *info;
    uint32_t operand;
    double accuracy;
    double *worst;
    char *failure;
    uint64_t row; /* dense row number */
} cursor;

static double unit_of(hy_dtype dtype) {
    switch (dtype) {
    case HY_DTYPE_F16:
        return 0x1p-11;
    case HY_DTYPE_BF16:
        return 0x1p-8;
    default:
        return 0x1p-24;
    }
}

static double tiny_of(hy_dtype dtype) {
    return dtype == HY_DTYPE_F16 ? 0x1p-24 : 0x1p-126; /* subnormals have an absolute step */
}

/* One element; extra is the bound of a rounding that the output format itself does. */
static void check(cursor *k, uint64_t column, double got, double want, double mag, double extra) {
    hy_dtype dtype = (hy_dtype)k->t->dtype;
    double bound =
        k->accuracy * 0x1p-24 * mag + unit_of(dtype) * fabs(want) + tiny_of(dtype) + extra;
    if (dtype == HY_DTYPE_I32) bound = 0.25;
    double ratio = fabs(got - want) / bound;
    /* too large for f16: infinity of the right sign is the rounded result */
    if (dtype == HY_DTYPE_F16 && fabs(want) + bound >= 65520 && isinf(got) && got * want > 0)
        ratio = 0;
    if (!(ratio <= *k->worst)) *k->worst = isnan(ratio) ? INFINITY : ratio;
    if (ratio <= 1.0 || k->failure[0]) return;
    snprintf(k->failure, 256, "%s: %s[row %llu, %llu] is %.9g, expected %.9g +- %.3g (mag %.3g)",
             k->c->label, hy_op_get((hy_op_kind)k->c->op.kind)->operand[k->operand].name,
             (unsigned long long)k->row, (unsigned long long)column, got, want, bound, mag);
}

static void untouched(cursor *k, const uint8_t *before, const uint8_t *after, uint64_t bytes,
                      const char *what) {
    if (k->failure[0] || memcmp(before, after, bytes) == 0) return;
    snprintf(k->failure, 256, "%s: %s wrote to %s near row %llu", k->c->label,
             hy_op_get((hy_op_kind)k->c->op.kind)->operand[k->operand].name, what,
             (unsigned long long)k->row);
}

static double plain_value(hy_dtype dtype, const uint8_t *at) {
    uint16_t half;
    float f;
    int32_t i;
    switch (dtype) {
    case HY_DTYPE_F16:
        memcpy(&half, at, 2);
        return hy_f16_to_f32(half);
    case HY_DTYPE_BF16:
        memcpy(&half, at, 2);
        return hy_bf16_to_f32(half);
    case HY_DTYPE_I32:
        memcpy(&i, at, 4);
        return i;
    default:
        memcpy(&f, at, 4);
        return f;
    }
}

static void plain_row(cursor *k, const uint8_t *before, const uint8_t *after, const double *want,
                      const double *mag, uint64_t columns) {
    uint32_t size = k->info->bytes;
    for (uint64_t i = 0; i < columns; i++) {
        if (isnan(want[i])) {
            untouched(k, before + i * size, after + i * size, size, "an element past the count");
        } else {
            check(k, i, plain_value((hy_dtype)k->t->dtype, after + i * size), want[i], mag[i], 0);
        }
    }
}

/* 32 values that share a scale: half a step of the block's scale is the format's own rounding. */
static void block_values(cursor *k, uint64_t column, const float *got, const double *want,
                         const double *mag, double slack) {
    double largest = 0, widest = 0;
    for (int i = 0; i < 32; i++) {
        largest = HY_MAX(largest, fabs(want[i]));
        widest = HY_MAX(widest, mag[i]);
    }
    double step = largest / 127.0 * (0.5 + slack);
    double carried = k->accuracy * 0x1p-24 * widest; /* moves the scale, and with it every value */
    for (int i = 0; i < 32; i++)
        check(k, column + (uint64_t)i, got[i], want[i], mag[i], step + carried);
}

static void a8_row(cursor *k, const uint8_t *before, const uint8_t *after, const double *want,
                   const double *mag, uint64_t columns) {
    for (uint64_t b = 0; b < columns / 32; b++) {
        const uint8_t *at = after + b * sizeof(hy_a8_block);
        if (isnan(want[b * 32])) {
            untouched(k, before + b * sizeof(hy_a8_block), at, sizeof(hy_a8_block),
                      "a block past the count");
            continue;
        }
        hy_a8_block block;
        float got[32];
        memcpy(&block, at, sizeof block);
        int32_t sum = 0;
        for (int i = 0; i < 32; i++)
            sum += block.q[i];
        if (sum != block.sum && !k->failure[0]) {
            snprintf(k->failure, 256, "%s: row %llu block %llu: sum is %d, the values add to %d",
                     k->c->label, (unsigned long long)k->row, (unsigned long long)b, block.sum,
                     sum);
        }
        hy_dequantize_row(HY_DTYPE_A8, at, got, 32);
        block_values(k, b * 32, got, want + b * 32, mag + b * 32, 1e-5);
    }
}

/* Planar q8_0 pages (hal/ops.h): per (page, head) int8 [L, D], then f16 [L, D / 32]. `row` counts all
 * (page, head, index). */
static void planar_row(cursor *k, const uint8_t *before, const uint8_t *after, const double *want,
                       const double *mag) {
    uint64_t length = k->t->dim[2], d = k->t->dim[3], tile = k->row / length,
             index = k->row % length;
    uint64_t tile_bytes = length * d / 32 * 34;
    for (uint64_t b = 0; b < d / 32; b++) {
        uint64_t quants = tile * tile_bytes + index * d + b * 32;
        uint64_t scale = tile * tile_bytes + length * d + (index * (d / 32) + b) * 2;
        if (isnan(want[b * 32])) {
            untouched(k, before + quants, after + quants, 32, "a cache row that was not asked for");
            untouched(k, before + scale, after + scale, 2, "a cache scale that was not asked for");
            continue;
        }
        float got[32], s = (float)plain_value(HY_DTYPE_F16, after + scale);
        for (int i = 0; i < 32; i++)
            got[i] = s * (float)(int8_t)after[quants + (uint64_t)i];
        /* the scale is stored in f16: 127 steps move by up to 127 * 2^-11 of a step */
        block_values(k, b * 32, got, want + b * 32, mag + b * 32, 127 * 0x1p-11 + 1e-3);
    }
}

/* Bytes of a row's start in a tensor with strides; dense row number -> dims. */
static uint64_t row_offset(const hy_tensor *t, const hy_dtype_info *info, uint64_t row) {
    uint64_t elements = 0;
    for (int d = (int)t->rank - 2; d >= 0; d--) {
        elements += row % t->dim[d] * t->stride[d];
        row /= t->dim[d];
    }
    return elements / info->block * info->bytes;
}

/* Everything between rows (stride gaps) must be as before. */
static void check_gaps(cursor *k, const uint8_t *before, const uint8_t *after) {
    if (hy_tensor_dense(k->t)) return;
    uint64_t rows = hy_tensor_rows(k->t),
             row_bytes = hy_dtype_row_bytes(k->info, k->t->dim[k->t->rank - 1]);
    for (k->row = 0; k->row + 1 < rows; k->row++) {
        uint64_t end = row_offset(k->t, k->info, k->row) + row_bytes;
        uint64_t next = row_offset(k->t, k->info, k->row + 1);
        if (next > end) untouched(k, before + end, after + end, next - end, "the gap behind a row");
    }
}

void conform_compare(const conform_case *c, uint32_t operand, float accuracy, const uint8_t *before,
                     const uint8_t *after, const double *want, const double *mag, double *worst,
                     char failure[256]) {
    const hy_tensor *t = &c->op.operand[operand];
    cursor k = {.c = c,
                .t = t,
                .info = hy_dtype_get((hy_dtype)t->dtype),
                .operand = operand,
                .accuracy = accuracy,
                .worst = worst,
                .failure = failure};
    uint64_t rows = hy_tensor_rows(t), columns = t->dim[t->rank - 1];
    for (k.row = 0; k.row < rows; k.row++) {
        uint64_t at = row_offset(t, k.info, k.row), first = k.row * columns;
        if (t->dtype == HY_DTYPE_A8) {
            a8_row(&k, before + at, after + at, want + first, mag + first, columns);
        } else if (t->dtype == HY_DTYPE_Q8_0) {
            planar_row(&k, before, after, want + first, mag + first);
        } else {
            plain_row(&k, before + at, after + at, want + first, mag + first, columns);
        }
    }
    check_gaps(&k, before, after);
}

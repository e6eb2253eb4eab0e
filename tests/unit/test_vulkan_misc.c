/* The Vulkan kernels of rows and elements, where the conformance runner's bound is too wide or its cases are
 * too small: a8 rows, roots and quotients bit for bit, elementary functions within the CPU's bounds, top-k of
 * long rows, grids that continue in y. On vulkan:0, a software device too; says so where there is none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cpu/vmath.h"
#include "backends/gpu/gpu.h"
#include "base/rng.h"
#include "tests/unit/op_run.h"

static hy_rng rng;
static bool have_device;

static op_run open_run(const hy_op *op) {
    if (!have_device) skip();
    return run_open("vulkan:0", op);
}

static hy_op op_of(hy_op_kind kind) {
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = kind;
    return op;
}

static hy_tensor matrix(hy_dtype dtype, uint32_t rows, uint32_t columns) {
    return hy_tensor_of(dtype, 2, (const uint32_t[]){rows, columns}, HY_COUNTER_NONE);
}

/* ---- a8 ------------------------------------------------------------------------------------------ */

enum { A8_ROWS = 96, A8_COLUMNS = 256 };

/* Any bits: NaN, infinities, subnormals. */
static float any_float(void) {
    return hy_f32_from_bits(hy_rng_u32(&rng));
}

/* One block by a kind of trouble. */
static void fill_block(uint32_t kind, float x[32]) {
    const float scale = hy_f32_from_bits((hy_rng_u32(&rng) % 254 + 1) << 23);
    for (int i = 0; i < 32; i++) {
        const float normal = hy_rng_normal(&rng);
        const int32_t half = (int32_t)hy_rng_below(&rng, 509) - 254;
        switch (kind) {
        case 0:
            x[i] = normal;
            break;
        case 1:
            x[i] = any_float();
            break;
        case 2: /* every second one a tie, once 254 is there */
            x[i] = (float)(i == 7 ? 254 : half) * 0.5f;
            break;
        case 3: /* subnormals alone */
            x[i] = hy_f32_from_bits(hy_rng_u32(&rng) & 0x807fffffu);
            break;
        case 4:
            x[i] = normal * scale; /* every magnitude, infinities too */
            break;
        case 5:
            x[i] = i % 5 == 0 ? NAN : normal;
            break;
        case 6:
            x[i] = i % 2 ? -0.0f : 0.0f;
            break;
        default: /* the largest numbers, and maybe an infinity */
            x[i] = i == 3 && normal > 0 ? -INFINITY : normal * 1.5e38f;
            break;
        }
    }
}

static void fill_rows(float *x, uint32_t rows, uint32_t columns) {
    for (uint32_t block = 0; block < rows * columns / 32; block++)
        fill_block(hy_rng_below(&rng, 8), x + block * 32);
}

/* Device against host, byte for byte. Nothing may differ where a device drops subnormals: all is done on
 * their bits. gap: elements between rows; max_grid 0: the device's own. */
static void check_a8(hy_dtype dtype, uint32_t gap, uint32_t max_grid) {
    float x[A8_ROWS * A8_COLUMNS], row[A8_COLUMNS];
    hy_op op = op_of(HY_OP_QUANTIZE_ROWS);
    op.operand[HY_QUANTIZE_ROWS_x] = matrix(dtype, A8_ROWS, A8_COLUMNS);
    op.operand[HY_QUANTIZE_ROWS_x].stride[0] += gap;
    op.operand[HY_QUANTIZE_ROWS_out] = matrix(HY_DTYPE_A8, A8_ROWS, A8_COLUMNS);
    op_run run = open_run(&op);
    if (max_grid) ((gpu_device *)run.device)->limits.max_grid = max_grid;
    fill_rows(x, A8_ROWS, A8_COLUMNS);
    const size_t bytes = hy_dtype_get(dtype)->bytes;
    for (uint32_t r = 0; r < A8_ROWS; r++)
        hy_quantize_row(dtype, x + r * A8_COLUMNS,
                        (char *)run_at(&run, 0) + r * (A8_COLUMNS + gap) * bytes, A8_COLUMNS);
    run_all(&run);
    const hy_a8_block *got = run_at(&run, HY_QUANTIZE_ROWS_out);
    for (uint32_t r = 0; r < A8_ROWS; r++) {
        hy_a8_block want[A8_COLUMNS / 32];
        hy_dequantize_row(dtype, (char *)run_at(&run, 0) + r * (A8_COLUMNS + gap) * bytes, row,
                          A8_COLUMNS);
        hy_quantize_row(HY_DTYPE_A8, row, want, A8_COLUMNS);
        for (uint32_t b = 0; b < A8_COLUMNS / 32; b++, got++) {
            if (memcmp(&want[b], got, sizeof *got) != 0)
                fail_msg("row %u block %u: scale %a, not %a; sum %d, not %d", r, b, got->scale,
                         want[b].scale, got->sum, want[b].sum);
        }
    }
    run_close(&run);
}

static void test_a8_rows_are_the_hosts(void **state) {
    (void)state;
    for (uint32_t turn = 0; turn < 3; turn++) {
        check_a8(HY_DTYPE_F32, turn, 0);
        check_a8(HY_DTYPE_F16, turn, 0);
        check_a8(HY_DTYPE_BF16, turn, 0);
    }
}

static void test_grids_continue_in_y(void **state) {
    (void)state;
    check_a8(HY_DTYPE_F32, 0, 1);
    check_a8(HY_DTYPE_F32, 0, 7); /* 48 groups: the last row of the grid has one too many */
}

/* ---- roots, quotients, elementary functions ------------------------------------------------------- */

/* An rms_norm of one column is s / sqrt(s * s + eps). */
static void test_roots_and_quotients_are_ieee(void **state) {
    (void)state;
    enum { ROWS = 8192 };
    hy_op op = op_of(HY_OP_RMS_NORM);
    op.operand[HY_RMS_NORM_x] = matrix(HY_DTYPE_F32, ROWS, 1);
    op.operand[HY_RMS_NORM_out] = matrix(HY_DTYPE_F32, ROWS, 1);
    for (uint32_t turn = 0; turn < 4; turn++) {
        op.rms_norm.eps = turn == 0 ? 0x1.8p-40f : hy_rng_f32(&rng);
        op_run run = open_run(&op);
        float *x = run_f32(&run, HY_RMS_NORM_x), *got = run_f32(&run, HY_RMS_NORM_out);
        for (uint32_t i = 0; i < ROWS; i++)
            x[i] = hy_rng_normal(&rng) * (turn % 2 ? 1e3f : 1e-4f);
        run_all(&run);
        for (uint32_t i = 0; i < ROWS; i++) {
            const float square = x[i] * x[i],
                        want = x[i] * (1.0f / sqrtf(square + op.rms_norm.eps));
            if (got[i] != want) fail_msg("%a gives %a, not %a", x[i], got[i], want);
        }
        run_close(&run);
    }
}

static double act64(double x, int32_t act) {
    switch (act) {
    case HY_ACT_SILU:
        return x / (1 + exp(-x));
    case HY_ACT_GELU_TANH:
        return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case HY_ACT_GELU_ERF:
        return x / 2 * erfc(-x * 0.70710678118654752440);
    case HY_ACT_TANH:
        return tanh(x);
    default:
        return 1 / (1 + exp(-x));
    }
}

typedef struct elementary {
    int32_t act;
    float low, high;
    double bound; /* |error| in units of 2^-24 |want|, as of vmath.h */
} elementary;

static void check_elementary(const elementary *f, uint32_t step) {
    enum { COUNT = 110000 };
    hy_op op = op_of(HY_OP_UNARY);
    op.operand[HY_UNARY_x] = matrix(HY_DTYPE_F32, 1, COUNT);
    op.operand[HY_UNARY_out] = matrix(HY_DTYPE_F32, 1, COUNT);
    op.unary.act = f->act;
    op_run run = open_run(&op);
    float *x = run_f32(&run, HY_UNARY_x), *got = run_f32(&run, HY_UNARY_out);
    for (uint32_t i = 0; i < COUNT; i++)
        x[i] = hy_f32_from_bits(i * step);
    run_all(&run);
    uint32_t differ = 0, seen = 0;
    double worst = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        if (!(x[i] >= f->low && x[i] <= f->high)) continue;
        const double want = act64(x[i], f->act);
        if (fabs(want) < 0x1p-126) continue; /* a device may drop subnormals */
        worst = fmax(worst, fabs(got[i] - want) / (fabs(want) * 0x1p-24));
        differ += got[i] != vm_act(x[i], f->act);
        seen++;
    }
    print_message("act %d: %.2f u, %u of %u not the CPU's bits\n", f->act, worst, differ, seen);
    assert_true(seen > COUNT / 4);
    assert_true(worst <= f->bound);
    run_close(&run);
}

static void test_elementary_functions(void **state) {
    static const elementary all[] = {{HY_ACT_TANH, -100, 100, 3},
                                     {HY_ACT_SIGMOID, -80, 100, 3},
                                     {HY_ACT_SILU, -80, 1e6f, 3},
                                     {HY_ACT_GELU_TANH, -3, 1e6f, 16},
                                     {HY_ACT_GELU_ERF, -3, 1e6f, 16}};
    (void)state;
    for (size_t i = 0; i < HY_COUNT_OF(all); i++)
        check_elementary(&all[i], 39041);
}

static void test_elementary_functions_at_the_ends(void **state) {
    (void)state;
    for (int32_t act = HY_ACT_SILU; act < HY_ACT_COUNT; act++) {
        hy_op op = op_of(HY_OP_UNARY);
        op.operand[HY_UNARY_x] = matrix(HY_DTYPE_F32, 1, 6);
        op.operand[HY_UNARY_out] = matrix(HY_DTYPE_F32, 1, 6);
        op.unary.act = act;
        op_run run = open_run(&op);
        RUN_PUT(&run, HY_UNARY_x, 0.0f, INFINITY, 1e30f, -1e30f, NAN, 200.0f);
        run_all(&run);
        const float *x = run_f32(&run, HY_UNARY_x), *got = run_f32(&run, HY_UNARY_out);
        for (int i = 0; i < 6; i++) {
            const float want = vm_act(x[i], act);
            if (!(got[i] == want || (isnan(got[i]) && isnan(want))))
                fail_msg("act %d of %g is %g, not %g", act, x[i], got[i], want);
        }
        run_close(&run);
    }
}

/* ---- argmax, topk -------------------------------------------------------------------------------- */

enum { TOP_PATTERNS = 8 };

static const float *sorted; /* what by_place orders columns of */

static int by_place(const void *a, const void *b) {
    const int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    const float x = sorted[i], y = sorted[j];
    if (isnan(x) != isnan(y)) return isnan(x) ? 1 : -1;
    if (x != y && !isnan(x)) return x > y ? -1 : 1;
    return i - j;
}

/* Element i of a row that makes one of topk's ways necessary. */
static float top_element(uint32_t pattern, uint32_t i) {
    switch (pattern) {
    case 0:
        return hy_rng_normal(&rng);
    case 1: /* few values, both zeros */
        return (float)((int32_t)hy_rng_below(&rng, 9) - 4) * (hy_rng_below(&rng, 2) ? 0.5f : -0.5f);
    case 2:
        return -7.25f;
    case 3: /* the large ones all in a few threads' columns: the floor must be raised */
        return i / 4 % 256 < 10 ? 5.0f + (float)i * 1e-4f : -1.0f;
    case 4: /* raised into the columns' bits: more equal ones than there is room for */
        return i / 4 % 256 < 10 ? 5.0f : -1.0f;
    case 5:
        return i % 1000 == 17 ? (float)(i % 7) - 3 : NAN;
    case 6:
        return (float)i;
    default:
        return i % 3 == 0 ? -INFINITY : any_float();
    }
}

/* A row for each pattern. */
static void check_topk(uint32_t columns, uint32_t k) {
    hy_op op = op_of(HY_OP_TOPK);
    op.operand[HY_TOPK_x] = matrix(HY_DTYPE_F32, TOP_PATTERNS, columns);
    op.operand[HY_TOPK_values] = matrix(HY_DTYPE_F32, TOP_PATTERNS, k);
    op.operand[HY_TOPK_ids] = matrix(HY_DTYPE_I32, TOP_PATTERNS, k);
    op.topk.k = (int32_t)k;
    op_run run = open_run(&op);
    float *x = run_f32(&run, HY_TOPK_x);
    int32_t *order = malloc(columns * sizeof *order);
    assert_non_null(order);
    for (uint32_t i = 0; i < TOP_PATTERNS * columns; i++)
        x[i] = top_element(i / columns, i % columns);
    run_all(&run);
    for (uint32_t row = 0; row < TOP_PATTERNS; row++) {
        for (uint32_t i = 0; i < columns; i++)
            order[i] = (int32_t)i;
        sorted = x + row * columns;
        qsort(order, columns, sizeof *order, by_place);
        for (uint32_t i = 0; i < k; i++) {
            const int32_t id = run_i32(&run, HY_TOPK_ids)[row * k + i];
            if (id != order[i])
                fail_msg("pattern %u, %u of %u: place %u is column %d, not %d", row, k, columns, i,
                         id, order[i]);
            assert_memory_equal(&run_f32(&run, HY_TOPK_values)[row * k + i], &sorted[id],
                                sizeof *x);
        }
    }
    free(order);
    run_close(&run);
}

static void test_topk_of_long_rows(void **state) {
    (void)state;
    check_topk(30000, 40);
    check_topk(20001, 300); /* three rounds */
    check_topk(1500, 1500); /* the whole row */
}

static void test_argmax(void **state) {
    (void)state;
    enum { COLUMNS = 9 };
    static const float x[][COLUMNS] = {
        {-INFINITY, -1, -0.0f, 0.0f, -3, NAN, -2, -0.0f, -9},
        {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
        {NAN, NAN, NAN, -INFINITY, NAN, -INFINITY, NAN, NAN, NAN},
        {NAN, 1, 2, INFINITY, 3, 4, INFINITY, 5, 6},
        {-5, -4, -3, -2, -1, -1e-45f, 0, 1e-45f, 1e-45f},
    };
    static const int32_t want[] = {2, 0, 3, 3, 7};
    enum { ROWS = HY_COUNT_OF(want) };
    hy_op op = op_of(HY_OP_ARGMAX);
    op.operand[HY_ARGMAX_x] = matrix(HY_DTYPE_F32, ROWS, COLUMNS);
    op.operand[HY_ARGMAX_out] =
        hy_tensor_of(HY_DTYPE_I32, 1, (const uint32_t[]){ROWS}, HY_COUNTER_NONE);
    op_run run = open_run(&op);
    run_put(&run, HY_ARGMAX_x, x[0]);
    run_all(&run);
    assert_memory_equal(run_at(&run, HY_ARGMAX_out), want, sizeof want);
    run_close(&run);
}

int main(void) {
    rng = hy_rng_seed(20261124);
    hy_device *device;
    have_device = hy_device_open("vulkan:0", NULL, &device) == HY_OK;
    if (have_device)
        hy_device_close(device);
    else
        print_message("skipped: %s\n", hy_error_text());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a8_rows_are_the_hosts),
        cmocka_unit_test(test_grids_continue_in_y),
        cmocka_unit_test(test_roots_and_quotients_are_ieee),
        cmocka_unit_test(test_elementary_functions),
        cmocka_unit_test(test_elementary_functions_at_the_ends),
        cmocka_unit_test(test_topk_of_long_rows),
        cmocka_unit_test(test_argmax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

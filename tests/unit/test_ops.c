/* The table of ops: names, hy_op_check, hy_op_infer, the printer, costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/num.h"
#include "tests/unit/op_build.h"

static void check_ok(const hy_op *op) {
    if (hy_op_check(op) != HY_OK) fail_msg("refused: %s", hy_error_text());
}

static void check_refused(const hy_op *op, const char *text) {
    assert_int_equal(hy_op_check(op), HY_E_ARGUMENT);
    if (!strstr(hy_error_text(), text))
        fail_msg("\"%s\" does not say \"%s\"", hy_error_text(), text);
}

static hy_tensor dense(hy_dtype dtype, uint32_t rank, uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t dim[] = {a, b, c};
    return hy_tensor_of(dtype, rank, dim, HY_COUNTER_NONE);
}

static void names(void **state) {
    (void)state;
    assert_int_equal(HY_OP_KIND_COUNT, 22);
    for (unsigned i = 0; i < HY_OP_KIND_COUNT; i++)
        assert_int_equal(hy_op_by_name(hy_op_get((hy_op_kind)i)->name), i);
    assert_int_equal(hy_op_by_name("matmu"), HY_OP_KIND_COUNT);
    const hy_op_info *attention = hy_op_get(HY_OP_ATTENTION);
    assert_int_equal(attention->operands, HY_ATTENTION_OPERANDS);
    assert_string_equal(attention->operand[HY_ATTENTION_sinks].name, "sinks");
    assert_int_equal(attention->operand[HY_ATTENTION_sinks].role, HY_ROLE_IN | HY_ROLE_OPT);
    assert_int_equal(attention->attrs, 4);
    assert_true(attention->attr[0].is_float);
    assert_false(attention->attr[3].is_float);
    assert_int_equal(hy_op_get(HY_OP_ADD)->attrs, 0);
}

static void attribute_names(void **state) {
    (void)state;
    int32_t value = -1;
    assert_string_equal(hy_attr_value_name(HY_OP_MATMUL, 0, HY_ACT_GELU_ERF), "gelu_erf");
    assert_null(hy_attr_value_name(HY_OP_MATMUL, 0, HY_ACT_COUNT));
    assert_null(hy_attr_value_name(HY_OP_MATMUL, 0, -1));
    assert_null(hy_attr_value_name(HY_OP_MATMUL, 1, 1)); /* glu is a number */
    assert_null(hy_attr_value_name(HY_OP_MATMUL, 9, 0));
    assert_true(hy_attr_value_by_name(HY_OP_ROPE, 0, "halves", &value));
    assert_int_equal(value, HY_ROPE_HALVES);
    assert_true(hy_attr_value_by_name(HY_OP_TOPK_ROUTE, 1, "none", &value));
    assert_int_equal(value, HY_GATE_NONE);
    assert_false(hy_attr_value_by_name(HY_OP_ROPE, 0, "quarters", &value));
}

static void every_kind_passes(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < HY_OP_KIND_COUNT; kind++) {
        hy_op op = op_sample((hy_op_kind)kind);
        check_ok(&op);
        for (uint32_t i = 0; i < hy_op_get((hy_op_kind)kind)->operands; i++) {
            hy_op without = op; /* every operand that is not optional must be there */
            memset(&without.operand[i], 0, sizeof without.operand[i]);
            if (!(hy_op_get((hy_op_kind)kind)->operand[i].role & HY_ROLE_OPT))
                check_refused(&without, "is missing");
        }
        op.kind = HY_OP_KIND_COUNT;
        check_refused(&op, "op kind");
    }
}

/* Infer gives back exactly the outputs that were taken away. */
static void infer_gives_outputs_back(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < HY_OP_KIND_COUNT; kind++) {
        const hy_op_info *info = hy_op_get((hy_op_kind)kind);
        const hy_op whole = op_sample((hy_op_kind)kind);
        hy_op op = whole;
        for (uint32_t i = 0; i < info->operands; i++) {
            if (!(info->operand[i].role & HY_ROLE_OUT)) continue;
            const uint8_t dtype = op.operand[i].dtype;
            memset(&op.operand[i], 0, sizeof op.operand[i]);
            if (info->operand[i].role & HY_ROLE_OPT) op.operand[i].dtype = dtype;
        }
        if (hy_op_infer(&op) != HY_OK) fail_msg("%s: %s", info->name, hy_error_text());
        if (memcmp(&op, &whole, sizeof op)) fail_msg("%s is inferred otherwise", info->name);
    }
}

static void infer_details(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_MATMUL);
    op.matmul.glu = 1;
    memset(&op.operand[HY_MATMUL_residual], 0, sizeof(hy_tensor));
    op.operand[HY_MATMUL_out].dtype = HY_DTYPE_BF16;
    assert_int_equal(hy_op_infer(&op), HY_OK);
    assert_int_equal(op.operand[HY_MATMUL_out].dim[1], 3);
    assert_int_equal(op.operand[HY_MATMUL_out].dtype, HY_DTYPE_BF16);
    assert_int_equal(op.operand[HY_MATMUL_out].counter, HY_COUNTER_T);

    op = op_sample(HY_OP_RMS_NORM); /* the optional sum stays absent; any leading dims */
    op.operand[HY_RMS_NORM_x] = dense(HY_DTYPE_F16, 3, 2, 5, 32);
    op.operand[HY_RMS_NORM_residual] = op.operand[HY_RMS_NORM_x];
    memset(&op.operand[HY_RMS_NORM_sum], 0, sizeof(hy_tensor));
    op.operand[HY_RMS_NORM_out] = dense(HY_DTYPE_A8, 1, 1, 0, 0);
    assert_int_equal(hy_op_infer(&op), HY_OK);
    assert_int_equal(op.operand[HY_RMS_NORM_sum].dtype, HY_DTYPE_NONE);
    assert_int_equal(op.operand[HY_RMS_NORM_out].rank, 3);
    assert_int_equal(op.operand[HY_RMS_NORM_out].stride[0], 160);
    check_ok(&op);

    op = op_sample(HY_OP_COPY);
    op.operand[HY_COPY_x].dtype = HY_DTYPE_I32;
    op.operand[HY_COPY_out].dtype = HY_DTYPE_NONE;
    assert_int_equal(hy_op_infer(&op), HY_OK);
    assert_int_equal(op.operand[HY_COPY_out].dtype, HY_DTYPE_I32);

    op = op_sample(HY_OP_MATMUL); /* inputs that disagree are refused here too */
    op.operand[HY_MATMUL_w].dim[1] = 64;
    op.operand[HY_MATMUL_w].stride[0] = 64;
    assert_int_equal(hy_op_infer(&op), HY_E_ARGUMENT);
}

/* ---- refusals ------------------------------------------------------------------------------------ */

typedef struct broken {
    hy_op_kind kind;
    uint32_t operand;
    hy_tensor tensor; /* replaces the operand */
    const char *text;
} broken;

static void wrong_tensors(void **state) {
    (void)state;
    const hy_tensor none = {0};
    const broken list[] = {
        {HY_OP_MATMUL, HY_MATMUL_w, dense(HY_DTYPE_F32, 2, 6, 33, 0), "K is 32 in x but 33 in w"},
        {HY_OP_MATMUL, HY_MATMUL_w, dense(HY_DTYPE_Q4_K, 2, 6, 32, 0), "not a multiple of 256"},
        {HY_OP_MATMUL, HY_MATMUL_w, dense(HY_DTYPE_I32, 2, 6, 32, 0), "w is i32, not w"},
        {HY_OP_MATMUL, HY_MATMUL_w, dense(HY_DTYPE_A8, 2, 6, 32, 0), "w is a8, not w"},
        {HY_OP_MATMUL, HY_MATMUL_w, dense(HY_DTYPE_F32, 3, 6, 32, 1), "has rank 3 but is [N,K]"},
        {HY_OP_MATMUL, HY_MATMUL_bias, dense(HY_DTYPE_F16, 1, 6, 0, 0), "bias is f16, not f32"},
        {HY_OP_MATMUL, HY_MATMUL_bias, dense(HY_DTYPE_F32, 1, 7, 0, 0), "N is 6 in w but 7"},
        {HY_OP_MATMUL, HY_MATMUL_out, dense(HY_DTYPE_F32, 2, 3, 6, 0), "counter of T is 1"},
        {HY_OP_MATMUL, HY_MATMUL_out, none, "out is missing"},
        {HY_OP_MATMUL, HY_MATMUL_x, dense(HY_DTYPE_F32, 2, 0, 32, 0), "x dim 0 is 0"},
        {HY_OP_MATMUL, HY_MATMUL_x, dense(HY_DTYPE_F32, 2, 1u << 31, 32, 0), "2147483648"},
        {HY_OP_GROUPED_MATMUL, HY_GROUPED_MATMUL_bias, dense(HY_DTYPE_F32, 2, 5, 5, 0), "N is 6"},
        {HY_OP_ADD, HY_ADD_b, dense(HY_DTYPE_F32, 2, 3, 8, 0), "counter of dim 0"},
        {HY_OP_ADD, HY_ADD_b, dense(HY_DTYPE_F32, 2, 1, 8, 0), "dim 0 is 3 in a but 1 in b"},
        {HY_OP_ADD, HY_ADD_b, dense(HY_DTYPE_F32, 1, 9, 0, 0), "D is 8 in a but 9 in b"},
        {HY_OP_ADD, HY_ADD_out, dense(HY_DTYPE_F32, 3, 3, 1, 8), "out has rank 3 but a has rank 2"},
        {HY_OP_ROPE_TABLE, HY_ROPE_TABLE_freq, dense(HY_DTYPE_F32, 2, 4, 1, 0),
         "where 2 is needed"},
        {HY_OP_ROPE_TABLE, HY_ROPE_TABLE_freq, dense(HY_DTYPE_F32, 2, 3, 2, 0), "G is 6 in 2 F"},
        {HY_OP_KV_WRITE, HY_KV_WRITE_q, none, "only q_out is present"},
        {HY_OP_KV_WRITE, HY_KV_WRITE_q_out, none, "only q is present"},
        {HY_OP_COPY, HY_COPY_out, dense(HY_DTYPE_F16, 2, 3, 32, 0), "x is f32 but out is f16"},
        {HY_OP_QUANTIZE_ROWS, HY_QUANTIZE_ROWS_out, dense(HY_DTYPE_F32, 2, 3, 32, 0), "not a8"},
        {HY_OP_EMBED, HY_EMBED_ids, dense(HY_DTYPE_F32, 1, 3, 0, 0), "ids is f32, not i32"},
    };
    for (size_t i = 0; i < HY_COUNT_OF(list); i++) {
        hy_op op = op_sample(list[i].kind);
        op.operand[list[i].operand] = list[i].tensor;
        check_refused(&op, list[i].text);
    }
}

static void wrong_fields(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].stride[1] = 2;
    check_refused(&op, "innermost stride 2");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].stride[0] = 31;
    check_refused(&op, "stride 31 of dim 0 is less than 32");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].stride[0] = UINT64_MAX / 2;
    check_refused(&op, "2^56");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].dtype = HY_DTYPE_A8;
    op.operand[HY_MATMUL_x].stride[0] = 64;
    check_refused(&op, "x of a8 is not dense");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_out].constant = 1;
    check_refused(&op, "out cannot be constant");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].constant = 1;
    check_refused(&op, "constant and has a counter");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_w].constant = 1;
    op.operand[HY_MATMUL_w].stride[0] = 64;
    check_refused(&op, "constant and not dense");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_w].counter = HY_COUNTER_T;
    check_refused(&op, "N is not dynamic");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].counter = 8;
    check_refused(&op, "counter 8 of 8");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].dim[3] = 0;
    check_refused(&op, "past the rank");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].rank = 5;
    check_refused(&op, "rank 5");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_x].dtype = HY_DTYPE_COUNT;
    check_refused(&op, "unknown type");
    op = op_sample(HY_OP_MATMUL);
    op.operand[HY_MATMUL_OPERANDS] = op.operand[0];
    check_refused(&op, "operand 5 is set");
    op = op_sample(HY_OP_RMS_NORM);
    op.operand[HY_RMS_NORM_x] = dense(HY_DTYPE_F32, 1, 32, 0, 0);
    op.operand[HY_RMS_NORM_x].counter = HY_COUNTER_T;
    check_refused(&op, "counter on its only dim");
}

static void wrong_attributes(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_MATMUL);
    op.matmul.act = HY_ACT_COUNT;
    check_refused(&op, "act is 8, not 0..7");
    op = op_sample(HY_OP_MATMUL);
    op.matmul.glu = 1;
    check_refused(&op, "M is 6 in residual but 3 in N / 2");
    op = op_sample(HY_OP_MATMUL);
    op.matmul.softcap = -1;
    check_refused(&op, "softcap is -1");
    op = op_sample(HY_OP_MATMUL);
    op.word[0] = 0;
    op.word[5] = 1;
    check_refused(&op, "word 5 is set");
    op = op_sample(HY_OP_RMS_NORM);
    memcpy(&op.rms_norm.eps, &(uint32_t){0x7fc00000}, 4);
    check_refused(&op, "eps is");
    op = op_sample(HY_OP_TOPK);
    op.topk.k = 8;
    check_refused(&op, "k is 8 of only V = 7");
    op = op_sample(HY_OP_TOPK);
    op.topk.k = 3;
    check_refused(&op, "P is 3 in k but 2 in values");
    op = op_sample(HY_OP_TOPK_ROUTE);
    op.topk_route.k = 0;
    check_refused(&op, "k is 0");
    op = op_sample(HY_OP_ATTENTION);
    op.attention.causal = 2;
    check_refused(&op, "causal is 2");
}

static void wrong_heads(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_ATTENTION);
    const uint32_t q[] = {3, 3, 32}, wide[] = {3, 2, 34}, table[] = {3, 34};
    op.operand[HY_ATTENTION_q] = hy_tensor_of(HY_DTYPE_F32, 3, q, HY_COUNTER_T);
    op.operand[HY_ATTENTION_out] = op.operand[HY_ATTENTION_q];
    memset(&op.operand[HY_ATTENTION_sinks], 0, sizeof(hy_tensor));
    memset(&op.operand[HY_ATTENTION_slopes], 0, sizeof(hy_tensor));
    check_refused(&op, "A is 3, not a multiple of H = 2");
    op = op_sample(HY_OP_ROPE);
    op.operand[HY_ROPE_table] = hy_tensor_of(HY_DTYPE_F32, 2, table, HY_COUNTER_T);
    check_refused(&op, "G is 34");
    op.operand[HY_ROPE_x] = op.operand[HY_ROPE_out] =
        hy_tensor_of(HY_DTYPE_F32, 3, wide, HY_COUNTER_T);
    check_ok(&op);
    op = op_sample(HY_OP_GROUPED_MATMUL); /* Q is 1 or P */
    const uint32_t x2[] = {3, 2, 32}, x3[] = {3, 3, 32};
    op.operand[HY_GROUPED_MATMUL_x] = hy_tensor_of(HY_DTYPE_F32, 3, x2, HY_COUNTER_T);
    check_ok(&op);
    op.operand[HY_GROUPED_MATMUL_x] = hy_tensor_of(HY_DTYPE_F32, 3, x3, HY_COUNTER_T);
    check_refused(&op, "Q is 3, neither 1 nor P = 2");
    op = op_sample(HY_OP_KV_WRITE); /* q8_0 pages need whole blocks */
    op.operand[HY_KV_WRITE_k_cache].dtype = HY_DTYPE_Q8_0;
    check_ok(&op);
}

/* ---- printing and cost --------------------------------------------------------------------------- */

static void printing(void **state) {
    (void)state;
    hy_op op;
    hy_text text = {0};
    const uint32_t x[] = {512, 2048}, w[] = {8192, 2048}, out[] = {512, 4096};
    memset(&op, 0, sizeof op);
    op.kind = HY_OP_MATMUL;
    op.operand[HY_MATMUL_x] = hy_tensor_of(HY_DTYPE_F32, 2, x, HY_COUNTER_T);
    op.operand[HY_MATMUL_w] = hy_tensor_of(HY_DTYPE_Q4_0, 2, w, HY_COUNTER_NONE);
    op.operand[HY_MATMUL_out] = hy_tensor_of(HY_DTYPE_F16, 2, out, HY_COUNTER_T);
    op.operand[HY_MATMUL_out].stride[0] = 6144;
    op.matmul.act = HY_ACT_SILU;
    op.matmul.glu = 1;
    op.matmul.softcap = 0.1f;
    check_ok(&op);
    hy_op_print(&op, &text);
    assert_string_equal(text.data,
                        "matmul x=f32[T512,2048] w=q4_0[8192,2048] out=f16[T512,4096;stride=6144] "
                        "act=silu glu=1 softcap=0.100000001");
    hy_text_free(&text);
    assert_true(hy_op_flops(&op) == 2.0 * 512 * 2048 * 8192);
    assert_int_equal(hy_op_bytes(&op), 512 * 2048 * 4 + 8192 * 2048 / 32 * 18 + 512 * 4096 * 2);
}

static void tensors(void **state) {
    (void)state;
    hy_tensor t = dense(HY_DTYPE_Q4_K, 3, 2, 3, 512);
    assert_int_equal(hy_tensor_rows(&t), 6);
    assert_int_equal(hy_tensor_bytes(&t), 6 * 2 * 144);
    assert_true(hy_tensor_dense(&t));
    t = dense(HY_DTYPE_F16, 2, 4, 8, 0);
    t.stride[0] = 24; /* one part of three side by side */
    assert_false(hy_tensor_dense(&t));
    assert_int_equal(hy_tensor_bytes(&t), (3 * 24 + 8) * 2);
    t.dim[0] = 1; /* the stride of one row says nothing */
    assert_true(hy_tensor_dense(&t));
}

/* A gather touches its rows, not the whole table. */
static void bytes_touched(void **state) {
    (void)state;
    hy_op op = op_sample(HY_OP_EMBED);
    assert_int_equal(hy_op_bytes(&op), 3 * 4 + 3 * 32 * 4 + 3 * 32 * 4);
    for (unsigned kind = 0; kind < HY_OP_KIND_COUNT; kind++) {
        op = op_sample((hy_op_kind)kind);
        assert_true(hy_op_bytes(&op) > 0);
        assert_true(hy_op_flops(&op) >= 0);
    }
    op = op_sample(HY_OP_ATTENTION); /* 3 queries, 4 heads, 8 positions */
    const double whole = hy_op_flops(&op);
    op.attention.window = 4;
    assert_true(hy_op_flops(&op) * 2 == whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(attribute_names),
        cmocka_unit_test(every_kind_passes),
        cmocka_unit_test(infer_gives_outputs_back),
        cmocka_unit_test(infer_details),
        cmocka_unit_test(wrong_tensors),
        cmocka_unit_test(wrong_fields),
        cmocka_unit_test(wrong_attributes),
        cmocka_unit_test(wrong_heads),
        cmocka_unit_test(printing),
        cmocka_unit_test(tensors),
        cmocka_unit_test(bytes_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

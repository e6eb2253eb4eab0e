/* Whole-file quantization: which tensor becomes what, and that the result is right, the same for any
 * number of threads, and whole or absent. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/half.h"
#include "base/log.h"
#include "base/num.h"
#include "base/rng.h"
#include "src/format/quantize.h"

static char folder[] = "/tmp/halyard-quantize-XXXXXX";

static const char *path_of(const char *name) {
    static char path[16][128];
    static unsigned turn;
    char *slot = path[turn++ % 16];
    snprintf(slot, sizeof path[0], "%s/%s", folder, name);
    return slot;
}

static hy_status quantize(const char *in, const char *out, const char *target, uint32_t threads) {
    const hy_quantize_file_params params = {.threads = threads};
    const hy_quantize_target *found = hy_quantize_target_find(target);
    assert_non_null(found);
    return hy_quantize_file(in, out, found, &params);
}

/* ---- the choice ----------------------------------------------------------------------------- */

static hy_dtype choose(const char *target, const char *name, uint32_t rank, uint64_t columns) {
    const hy_gguf_tensor tensor = {.name = name,
                                   .dtype = HY_DTYPE_F32,
                                   .rank = rank,
                                   .rows = rank > 1 ? 8 : 1,
                                   .columns = columns};
    return hy_quantize_choose(hy_quantize_target_find(target), &tensor, 16);
}

static void test_which_tensors(void **state) {
    static const char *const stay[] = {"blk.0.attn_norm.weight", "output_norm.weight",
                                       "rope_freqs.weight",      "blk.3.ffn_gate_inp.weight",
                                       "blk.0.attn_q.bias",      "blk.0.attn_q_norm.weight",
                                       "position_embd.weight",   "blk.0.ssm_a"};
    for (size_t i = 0; i < HY_COUNT_OF(stay); i++)
        assert_int_equal(choose("q4_0", stay[i], 2, 256), HY_DTYPE_F32);
    assert_int_equal(choose("q4_0", "blk.0.attn_q.weight", 1, 256), HY_DTYPE_F32);
    assert_int_equal(choose("q4_0", "blk.0.attn_q.weight", 2, 256), HY_DTYPE_Q4_0);
    assert_int_equal(choose("q4_0", "token_embd.weight", 2, 256), HY_DTYPE_Q4_0);
    assert_int_equal(choose("q4_0", "output.weight", 2, 256), HY_DTYPE_Q4_0);
    assert_int_equal(choose("f16", "blk.0.ffn_gate_exps.weight", 3, 256), HY_DTYPE_F16);
}

static void test_fallbacks(void **state) {
    static const struct {
        const char *target;
        uint64_t columns;
        hy_dtype want;
    } rows[] = {
        {"q4_k", 512, HY_DTYPE_Q4_K},    {"q4_k", 64, HY_DTYPE_Q5_0},
        {"q5_k", 96, HY_DTYPE_Q5_1},     {"q6_k", 32, HY_DTYPE_Q8_0},
        {"q2_k", 64, HY_DTYPE_IQ4_NL},   {"q3_k", 64, HY_DTYPE_IQ4_NL},
        {"iq4_xs", 64, HY_DTYPE_IQ4_NL}, {"q4_k", 40, HY_DTYPE_F16},
        {"q8_0", 40, HY_DTYPE_F16},      {"mxfp4", 96, HY_DTYPE_MXFP4},
        {"bf16", 7, HY_DTYPE_BF16},
    };
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++)
        assert_int_equal(choose(rows[i].target, "w.weight", 2, rows[i].columns), rows[i].want);
}

static void test_mix(void **state) {
    assert_int_equal(choose("Q4_K_M", "output.weight", 2, 256), HY_DTYPE_Q6_K);
    assert_int_equal(choose("q4_k_m", "token_embd.weight", 2, 256), HY_DTYPE_Q4_K);
    assert_int_equal(choose("q4_k_m", "blk.0.attn_v.weight", 2, 256), HY_DTYPE_Q6_K);
    assert_int_equal(choose("q4_k_m", "blk.2.attn_v.weight", 2, 256), HY_DTYPE_Q4_K);
    assert_int_equal(choose("q4_k_m", "blk.4.ffn_down.weight", 2, 256), HY_DTYPE_Q6_K);
    assert_int_equal(choose("q4_k_m", "blk.15.ffn_down.weight", 2, 256), HY_DTYPE_Q6_K);
    assert_int_equal(choose("q4_k_m", "blk.0.attn_k.weight", 2, 256), HY_DTYPE_Q4_K);
    assert_null(hy_quantize_target_find("q4_k_x"));
    assert_null(hy_quantize_target_find("i32"));
    assert_null(hy_quantize_target_find("a8"));
}

/* ---- a made model --------------------------------------------------------------------------- */

enum { ROWS = 37, COLUMNS = 512, SMALL = 64 };

static hy_span span(const char *text) {
    return (hy_span){text, strlen(text)};
}

static void write_model(const char *path, float *weights) {
    hy_gguf_writer *w = NULL;
    const uint64_t big[2] = {ROWS, COLUMNS}, small[2] = {3, SMALL}, norm[1] = {SMALL};
    const uint64_t experts[3] = {2, 3, 256};
    const hy_span words[2] = {span("one"), span("two")};
    hy_rng rng = hy_rng_seed(3);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        weights[i] = hy_rng_normal(&rng);
    assert_int_equal(hy_gguf_writer_new(path, &w), HY_OK);
    assert_int_equal(hy_gguf_write_string(w, "general.architecture", span("llama")), HY_OK);
    assert_int_equal(hy_gguf_write_u32(w, "general.file_type", 0), HY_OK);
    assert_int_equal(hy_gguf_write_strings(w, "words", words, 2), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "token_embd.weight", HY_DTYPE_F32, 2, big), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "small.weight", HY_DTYPE_F32, 2, small), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "output_norm.weight", HY_DTYPE_F32, 1, norm), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "e.weight", HY_DTYPE_F32, 3, experts), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, weights, sizeof(float) * ROWS * COLUMNS), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, weights, sizeof(float) * 3 * SMALL), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, weights, sizeof(float) * SMALL), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, weights, sizeof(float) * 6 * 256), HY_OK);
    assert_int_equal(hy_gguf_writer_finish(w), HY_OK);
}

/* Row by row through hal/dtype.h, the slow and obvious way. */
static void check_rows(const hy_gguf_tensor *tensor, const float *weights) {
    const hy_dtype_info *info = hy_dtype_get(tensor->dtype);
    const uint64_t bytes = hy_dtype_row_bytes(info, tensor->columns);
    uint8_t row[COLUMNS * 4];
    for (uint64_t r = 0; r < tensor->rows; r++) {
        hy_quantize_row(tensor->dtype, weights + r * tensor->columns, row, tensor->columns);
        assert_memory_equal(row, tensor->data + r * bytes, bytes);
    }
}

static void test_every_target(void **state) {
    static float weights[ROWS * COLUMNS];
    const char *in = path_of("in.gguf"), *out = path_of("out.gguf");
    const hy_quantize_target *target;
    write_model(in, weights);
    for (size_t i = 0; (target = hy_quantize_target_at(i)) != NULL; i++) {
        hy_gguf *gguf = NULL;
        uint32_t number = 99;
        assert_int_equal(quantize(in, out, target->name, 2), HY_OK);
        assert_int_equal(hy_gguf_open(out, &gguf), HY_OK);
        const hy_gguf_tensor *big = hy_gguf_tensor_find(gguf, "token_embd.weight");
        assert_int_equal(big->dtype, target->dtype);
        assert_int_equal(big->rows, ROWS);
        check_rows(big, weights);
        check_rows(hy_gguf_tensor_find(gguf, "small.weight"), weights);
        const hy_gguf_tensor *experts = hy_gguf_tensor_find(gguf, "e.weight");
        assert_int_equal(experts->rank, 3);
        assert_int_equal(experts->dim[0], 2);
        assert_int_equal(experts->dim[2], 256);
        check_rows(experts, weights);
        const hy_gguf_tensor *norm = hy_gguf_tensor_find(gguf, "output_norm.weight");
        assert_int_equal(norm->dtype, HY_DTYPE_F32);
        assert_memory_equal(norm->data, weights, sizeof(float) * SMALL);
        assert_int_equal(hy_gguf_u32(gguf, "general.file_type", 99, &number), HY_OK);
        assert_int_equal(number, target->file_type);
        assert_int_equal(hy_gguf_u32(gguf, "general.quantization_version", 99, &number), HY_OK);
        assert_int_equal(number, 2);
        assert_int_equal(hy_gguf_find(gguf, "words")->count, 2);
        hy_gguf_close(gguf);
    }
}

static void same_bytes(const char *a, const char *b) {
    uint8_t *x, *y;
    size_t nx, ny;
    assert_int_equal(hy_file_read(a, 1 << 26, &x, &nx), HY_OK);
    assert_int_equal(hy_file_read(b, 1 << 26, &y, &ny), HY_OK);
    assert_int_equal(nx, ny);
    assert_memory_equal(x, y, nx);
    free(x);
    free(y);
}

static void test_threads_do_not_matter(void **state) {
    static float weights[ROWS * COLUMNS];
    const char *in = path_of("in.gguf"), *one = path_of("one.gguf"), *many = path_of("many.gguf");
    write_model(in, weights);
    assert_int_equal(quantize(in, one, "q4_k", 1), HY_OK);
    assert_int_equal(quantize(in, many, "q4_k", 5), HY_OK);
    same_bytes(one, many);
}

/* ---- more than one piece -------------------------------------------------------------------- */

typedef struct seen {
    size_t calls;
    uint64_t done, total;
} seen;

static void note(void *user, const hy_quantize_progress *progress) {
    seen *s = user;
    assert_true(progress->bytes_done > s->done && progress->bytes_done <= progress->bytes_total);
    assert_string_equal(progress->from, "F32");
    assert_string_equal(progress->to, "Q4_0");
    s->calls++;
    s->done = progress->bytes_done;
    s->total = progress->bytes_total;
}

/* A tensor of more than 2^22 elements, whose end is no whole piece nor strip. */
static void test_pieces(void **state) {
    enum { WIDE = 32 * 1025, HIGH = 130 };
    const uint64_t dim[2] = {HIGH, WIDE};
    float *row = malloc(WIDE * sizeof *row);
    uint8_t *want = malloc(WIDE / 32 * 18);
    hy_gguf_writer *w = NULL;
    hy_gguf *gguf = NULL;
    seen s = {0};
    assert_true(row && want);
    assert_int_equal(hy_gguf_writer_new(path_of("in.gguf"), &w), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "w.weight", HY_DTYPE_F32, 2, dim), HY_OK);
    for (int r = 0; r < HIGH; r++) {
        for (int c = 0; c < WIDE; c++)
            row[c] = (float)((r * 7919 + c * 10473) % 2003 - 1001) * 0.001f;
        assert_int_equal(hy_gguf_write_data(w, row, WIDE * sizeof *row), HY_OK);
    }
    assert_int_equal(hy_gguf_writer_finish(w), HY_OK);
    const hy_quantize_file_params params = {.threads = 3, .progress = note, .user = &s};
    assert_int_equal(hy_quantize_file(path_of("in.gguf"), path_of("out.gguf"),
                                      hy_quantize_target_find("q4_0"), &params),
                     HY_OK);
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.done, s.total);
    assert_int_equal(hy_gguf_open(path_of("out.gguf"), &gguf), HY_OK);
    const hy_gguf_tensor *tensor = hy_gguf_tensor_find(gguf, "w.weight");
    for (int r = 0; r < HIGH; r++) {
        for (int c = 0; c < WIDE; c++)
            row[c] = (float)((r * 7919 + c * 10473) % 2003 - 1001) * 0.001f;
        hy_quantize_row(HY_DTYPE_Q4_0, row, want, WIDE);
        assert_memory_equal(want, tensor->data + (size_t)r * (WIDE / 32 * 18), WIDE / 32 * 18);
    }
    hy_gguf_close(gguf);
    free(row);
    free(want);
}

/* ---- from other types, and failures --------------------------------------------------------- */

static void count_warnings(void *user, hy_log_level level, const char *text) {
    if (level == HY_LOG_WARN && strstr(text, "quantized already (q8_0)")) ++*(int *)user;
}

static void test_requantize(void **state) {
    static float weights[ROWS * COLUMNS];
    const char *in = path_of("in.gguf"), *half = path_of("half.gguf");
    int warnings = 0;
    write_model(in, weights);
    hy_log_set(count_warnings, &warnings, HY_LOG_WARN);
    assert_int_equal(quantize(in, path_of("one.gguf"), "q8_0", 1), HY_OK);
    assert_int_equal(warnings, 0);
    assert_int_equal(quantize(path_of("one.gguf"), path_of("many.gguf"), "f32", 2), HY_OK);
    assert_int_equal(warnings, 1);
    hy_log_set(NULL, NULL, HY_LOG_ERROR);
    hy_gguf *eight = NULL, *back = NULL;
    assert_int_equal(hy_gguf_open(path_of("one.gguf"), &eight), HY_OK);
    assert_int_equal(hy_gguf_open(path_of("many.gguf"), &back), HY_OK);
    float row[COLUMNS];
    hy_dequantize_row(HY_DTYPE_Q8_0, hy_gguf_tensor_find(eight, "token_embd.weight")->data, row,
                      COLUMNS);
    assert_memory_equal(hy_gguf_tensor_find(back, "token_embd.weight")->data, row, sizeof row);
    hy_gguf_close(eight);
    hy_gguf_close(back);
    assert_int_equal(quantize(in, half, "f16", 1), HY_OK); /* f16 from f16 is a copy */
    assert_int_equal(quantize(half, path_of("one.gguf"), "f16", 2), HY_OK);
    same_bytes(half, path_of("one.gguf"));
}

static void test_failures(void **state) {
    static float weights[ROWS * COLUMNS];
    const char *in = path_of("in.gguf"), *out = path_of("none.gguf");
    write_model(in, weights);
    assert_int_equal(quantize(path_of("absent.gguf"), out, "q4_0", 1), HY_E_NOT_FOUND);
    assert_int_not_equal(quantize(in, path_of("no/folder.gguf"), "q4_0", 1), HY_OK);
    /* a type that this build cannot read: named, and nothing is left behind */
    hy_gguf_writer *w = NULL;
    const hy_gguf_tensor foreign = {.name = "blk.0.attn_q.weight",
                                    .gguf_type = 16,
                                    .rank = 2,
                                    .dim = {2, 256, 1, 1},
                                    .size = 2 * 66};
    const uint8_t zeros[2 * 66] = {0};
    assert_int_equal(hy_gguf_writer_new(path_of("one.gguf"), &w), HY_OK);
    assert_int_equal(hy_gguf_declare_copy(w, &foreign), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, zeros, sizeof zeros), HY_OK);
    assert_int_equal(hy_gguf_writer_finish(w), HY_OK);
    assert_int_equal(quantize(path_of("one.gguf"), out, "q4_0", 1), HY_E_UNSUPPORTED);
    assert_non_null(strstr(hy_error_text(), "blk.0.attn_q.weight"));
    assert_non_null(strstr(hy_error_text(), "IQ2_XXS"));
    assert_int_equal(access(out, F_OK), -1);
}

static void stop(void *user, const hy_quantize_progress *progress) {
    if (++*(int *)user == 2) *progress->cancel = true;
}

static void test_cancel(void **state) {
    static float weights[ROWS * COLUMNS];
    int calls = 0;
    const hy_quantize_file_params params = {.threads = 1, .progress = stop, .user = &calls};
    write_model(path_of("in.gguf"), weights);
    assert_int_equal(hy_quantize_file(path_of("in.gguf"), path_of("none.gguf"),
                                      hy_quantize_target_find("q8_0"), &params),
                     HY_E_STATE);
    assert_int_equal(calls, 2);
    assert_int_equal(access(path_of("none.gguf"), F_OK), -1);
}

static void test_real_model(void **state) {
    const char *data = getenv("HALYARD_TEST_DATA");
    char in[1024];
    snprintf(in, sizeof in, "%s/models/tinystories-260k/stories260K.gguf",
             data ? data : "../shared/data");
    if (access(in, R_OK) != 0) {
        print_message("skipped: %s is not there (set HALYARD_TEST_DATA)\n", in);
        skip();
    }
    hy_gguf *from = NULL, *to = NULL;
    assert_int_equal(quantize(in, path_of("out.gguf"), "f16", 2), HY_OK);
    assert_int_equal(hy_gguf_open(in, &from), HY_OK);
    assert_int_equal(hy_gguf_open(path_of("out.gguf"), &to), HY_OK);
    assert_int_equal(hy_gguf_tensor_count(from), hy_gguf_tensor_count(to));
    for (size_t i = 0; i < hy_gguf_tensor_count(from); i++) {
        const hy_gguf_tensor *a = hy_gguf_tensor_at(from, i), *b = hy_gguf_tensor_at(to, i);
        const bool weight = strstr(a->name, "norm") == NULL;
        assert_string_equal(a->name, b->name);
        assert_int_equal(b->dtype, weight ? HY_DTYPE_F16 : HY_DTYPE_F32);
        for (uint64_t k = 0; weight && k < a->rows * a->columns; k++) {
            float x;
            uint16_t h;
            memcpy(&x, a->data + 4 * k, 4);
            memcpy(&h, b->data + 2 * k, 2);
            assert_int_equal(h, hy_f32_to_f16(x));
        }
    }
    hy_gguf_close(from);
    hy_gguf_close(to);
    assert_int_equal(quantize(in, path_of("out.gguf"), "q8_0", 2), HY_OK);
    assert_int_equal(hy_gguf_open(path_of("out.gguf"), &to), HY_OK);
    assert_int_equal(hy_gguf_tensor_find(to, "blk.0.attn_q.weight")->dtype, HY_DTYPE_Q8_0);
    hy_gguf_close(to);
}

static int set_up(void **state) {
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
    static const char *const names[] = {"in.gguf",   "out.gguf",  "one.gguf",
                                        "many.gguf", "half.gguf", "none.gguf"};
    for (size_t i = 0; i < HY_COUNT_OF(names); i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_tensors),
        cmocka_unit_test(test_fallbacks),
        cmocka_unit_test(test_mix),
        cmocka_unit_test(test_every_target),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_requantize),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_real_model),
    };
    return cmocka_run_group_tests_name("quantize", tests, set_up, tear_down);
}

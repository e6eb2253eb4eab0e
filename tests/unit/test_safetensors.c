/* Safetensors and .npy: good files read right, damaged ones refused by name. */
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
#include "base/num.h"
#include "src/format/npy.h"
#include "src/format/safetensors.h"

/* A file of `header` and `bytes` data bytes 0, 1, 2 ... on the heap, exactly as long as it is. */
static uint8_t *make(const char *header, size_t bytes, size_t *size) {
    const size_t n = strlen(header);
    uint8_t *file = malloc(8 + n + bytes);
    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < bytes; i++)
        file[8 + n + i] = (uint8_t)i;
    *size = 8 + n + bytes;
    return file;
}

static void refuse(const char *header, size_t bytes, hy_status want, const char *text) {
    hy_safetensors *file = NULL;
    size_t size;
    uint8_t *data = make(header, bytes, &size);
    const hy_status got = hy_safetensors_open_memory(data, size, &file);
    if (got != want || !strstr(hy_error_text(), text))
        fail_msg("%s: %s (%s), wanted %s with '%s'", header, hy_status_name(got), hy_error_text(),
                 hy_status_name(want), text);
    free(data);
}

static void test_read(void **state) {
    hy_safetensors *file = NULL;
    size_t size;
    uint8_t *data = make("{\"__metadata__\":{\"op\":\"Add\"},"
                         "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                         "\"a\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
                         "\"empty\":{\"dtype\":\"F32\",\"shape\":[4,0],\"data_offsets\":[8,8]}}   ",
                         20, &size);
    assert_int_equal(hy_safetensors_open_memory(data, size, &file), HY_OK);
    assert_int_equal(hy_safetensors_count(file), 3);
    assert_string_equal(hy_safetensors_metadata(file, "op"), "Add");
    assert_null(hy_safetensors_metadata(file, "attrs"));
    const hy_safetensor *b = hy_safetensors_find(file, "b");
    assert_ptr_equal(b, hy_safetensors_at(file, 0));
    assert_string_equal(b->dtype, "F16");
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->dim[0], 2);
    assert_int_equal(b->dim[1], 3);
    assert_int_equal(b->dim[2], 1);
    assert_ptr_equal(b->data, data + size - 12);
    const hy_safetensor *a = hy_safetensors_find(file, "a");
    double value = 0;
    assert_int_equal(a->rank, 0);
    assert_int_equal(a->elements, 1);
    assert_int_equal(hy_safetensor_to_f64(a, &value), HY_OK);
    assert_true(value == (double)0x0706050403020100);
    assert_int_equal(hy_safetensors_find(file, "empty")->elements, 0);
    assert_null(hy_safetensors_find(file, "__metadata__"));
    assert_null(hy_safetensors_at(file, 3));
    hy_safetensors_close(file);
    hy_safetensors_close(NULL);
    free(data);
}

static void test_refused(void **state) {
#define TENSOR(dtype, shape, offsets)                                                              \
    "{\"t\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    refuse("", 0, HY_E_FORMAT, "header");
    refuse("[]", 0, HY_E_FORMAT, "not a JSON object");
    refuse("{\"t\":1}", 0, HY_E_FORMAT, "tensor 't': no dtype");
    refuse("{\"t\":{\"dtype\":\"F32\"}}", 0, HY_E_FORMAT, "no shape");
    refuse("{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, HY_E_FORMAT, "no data_offsets");
    refuse(TENSOR("F31", "[1]", "[0,4]"), 4, HY_E_UNSUPPORTED, "tensor 't': dtype F31");
    refuse(TENSOR("F32", "[1]", "[0,8]"), 8, HY_E_FORMAT, "8 bytes of data, its shape");
    refuse(TENSOR("F32", "[2]", "[0,8]"), 4, HY_E_FORMAT, "the file has 4");
    refuse(TENSOR("F32", "[2]", "[-8,0]"), 8, HY_E_FORMAT, "bytes -8 to 0");
    refuse(TENSOR("F32", "[2]", "[8,0]"), 8, HY_E_FORMAT, "bytes 8 to 0");
    refuse(TENSOR("F32", "[-2]", "[0,8]"), 8, HY_E_FORMAT, "dimension 0");
    refuse(TENSOR("F32", "[4611686018427387904,4]", "[0,0]"), 0, HY_E_FORMAT, "too many elements");
    refuse(TENSOR("F64", "[4611686018427387904]", "[0,0]"), 0, HY_E_FORMAT, "too many bytes");
    refuse(TENSOR("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, HY_E_LIMIT, "rank 9");
    refuse(TENSOR("F32", "[1]", "[4,8]"), 8, HY_E_FORMAT, "follow a hole");
    refuse(TENSOR("F32", "[1]", "[0,4]"), 8, HY_E_FORMAT, "8 bytes of data, the tensors have 4");
    refuse("{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
           "\"u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
           6, HY_E_FORMAT, "tensor 'u': its data overlap");
    refuse("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
           "\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
           1, HY_E_FORMAT, "header");
    hy_safetensors *file = NULL;
    const uint8_t huge[10] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    assert_int_equal(hy_safetensors_open_memory(huge, 10, &file), HY_E_FORMAT);
    assert_int_equal(hy_safetensors_open_memory(huge, 7, &file), HY_E_FORMAT);
    assert_int_equal(hy_safetensors_open("/nonexistent/x", &file), HY_E_NOT_FOUND);
}

static void test_to_f64(void **state) {
    static const struct {
        const char *dtype;
        uint32_t bytes;
        uint64_t bits;
        double want;
    } rows[] = {
        {"F64", 8, 0xbff8000000000000u, -1.5},
        {"F32", 4, 0x3fc00000u, 1.5},
        {"F16", 2, 0xc000, -2},
        {"BF16", 2, 0x3fc0, 1.5},
        {"I8", 1, 0xff, -1},
        {"I16", 2, 0x8000, -32768},
        {"I32", 4, 0xfffffffeu, -2},
        {"I64", 8, UINT64_MAX, -1},
        {"U8", 1, 0xff, 255},
        {"U16", 2, 0xffff, 65535},
        {"U32", 4, UINT32_MAX, 4294967295.0},
        {"U64", 8, UINT64_C(1) << 63, 0x1p63},
        {"BOOL", 1, 7, 1},
        {"F8_E4M3", 1, 0x7e, 448},
        {"F8_E4M3", 1, 0x01, 0x1p-9},
        {"F8_E4M3", 1, 0x88, -0x1p-6},
        {"F8_E5M2", 1, 0x7b, 57344},
        {"F8_E5M2", 1, 0x81, -0x1p-16},
    };
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        uint8_t raw[8];
        double got = 0;
        for (int b = 0; b < 8; b++)
            raw[b] = (uint8_t)(rows[i].bits >> 8 * b);
        const hy_safetensor tensor = {.name = "t",
                                      .dtype = rows[i].dtype,
                                      .elements = 1,
                                      .element_bytes = rows[i].bytes,
                                      .data = raw};
        assert_int_equal(hy_safetensor_to_f64(&tensor, &got), HY_OK);
        if (got != rows[i].want) fail_msg("%s: %g, wanted %g", rows[i].dtype, got, rows[i].want);
    }
    const uint8_t nan = 0x7f;
    double got = 0;
    hy_safetensor tensor = {
        .name = "t", .dtype = "F8_E4M3", .elements = 1, .element_bytes = 1, .data = &nan};
    assert_int_equal(hy_safetensor_to_f64(&tensor, &got), HY_OK);
    assert_true(isnan(got));
    tensor.dtype = "C64";
    assert_int_equal(hy_safetensor_to_f64(&tensor, &got), HY_E_UNSUPPORTED);
}

static void test_files(void **state) {
    const char *data = getenv("HALYARD_TEST_DATA");
    char path[1024];
    hy_safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/onnx-nodes/add.safetensors", data ? data : "../shared/data");
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is not there (set HALYARD_TEST_DATA)\n", path);
        skip();
    }
    assert_int_equal(hy_safetensors_open(path, &file), HY_OK);
    const hy_safetensor *x = hy_safetensors_find(file, "input.x");
    const hy_safetensor *y = hy_safetensors_find(file, "input.y");
    const hy_safetensor *sum = hy_safetensors_find(file, "output.sum");
    assert_string_equal(hy_safetensors_metadata(file, "op"), "Add");
    assert_true(x && y && sum && x->elements == 60 && y->elements == 60);
    double a[60], b[60], c[60];
    assert_int_equal(hy_safetensor_to_f64(x, a), HY_OK);
    assert_int_equal(hy_safetensor_to_f64(y, b), HY_OK);
    assert_int_equal(hy_safetensor_to_f64(sum, c), HY_OK);
    for (int i = 0; i < 60; i++)
        assert_true((float)a[i] + (float)b[i] == (float)c[i]);
    hy_safetensors_close(file);
}

/* ---- npy ------------------------------------------------------------------------------------ */

static char folder[] = "/tmp/halyard-npy-XXXXXX";
static char path[64];

static void test_npy_round_trip(void **state) {
    const uint64_t dims[3][2] = {{3, 5}, {1, 1}, {0, 7}};
    float values[15];
    for (int i = 0; i < 15; i++)
        values[i] = (float)i / 3.0f;
    for (size_t d = 0; d < 3; d++) {
        hy_npy_writer *w = NULL;
        hy_npy npy;
        const uint64_t n = dims[d][0] * dims[d][1];
        assert_int_equal(hy_npy_writer_new(path, 2, dims[d], &w), HY_OK);
        assert_int_equal(hy_npy_write(w, values, n / 2), HY_OK);
        assert_int_equal(hy_npy_write(w, values + n / 2, n - n / 2), HY_OK);
        assert_int_equal(hy_npy_write(w, values, 1), HY_E_ARGUMENT);
        assert_int_equal(hy_npy_writer_finish(w), HY_OK);
        assert_int_equal(hy_npy_open(path, &npy), HY_OK);
        assert_int_equal(npy.rank, 2);
        assert_memory_equal(npy.dim, dims[d], sizeof dims[d]);
        assert_int_equal((npy.map.size - n * 4) % 64, 0); /* as NumPy aligns it */
        if (n) assert_memory_equal(npy.data, values, n * 4);
        hy_npy_close(&npy);
    }
    hy_npy_writer *w = NULL;
    hy_npy npy;
    assert_int_equal(hy_npy_writer_new(path, 1, &dims[0][1], &w), HY_OK);
    assert_int_equal(hy_npy_write(w, values, 5), HY_OK);
    assert_int_equal(hy_npy_writer_finish(w), HY_OK);
    assert_int_equal(hy_npy_open(path, &npy), HY_OK);
    assert_int_equal(npy.rank, 1);
    assert_int_equal(npy.dim[0], 5);
    assert_int_equal(npy.dim[1], 1);
    hy_npy_close(&npy);
    unlink(path);
    assert_int_equal(hy_npy_writer_new(path, 1, &dims[0][1], &w), HY_OK);
    assert_int_equal(hy_npy_writer_finish(w), HY_E_STATE);
    assert_int_equal(access(path, F_OK), -1);
}

static hy_status open_npy(const char *dictionary, int version, size_t bytes) {
    FILE *out = fopen(path, "wb");
    const size_t n = strlen(dictionary);
    const unsigned char head[10] = {0x93,
                                    'N',
                                    'U',
                                    'M',
                                    'P',
                                    'Y',
                                    (unsigned char)version,
                                    0,
                                    (unsigned char)(n & 255),
                                    (unsigned char)(n >> 8)};
    assert_non_null(out);
    assert_int_equal(fwrite(head, 1, 10, out), 10);
    if (version == 2) assert_int_equal(fwrite("\0\0", 1, 2, out), 2);
    assert_int_equal(fwrite(dictionary, 1, n, out), n);
    for (size_t i = 0; i < bytes; i++)
        fputc(0, out);
    fclose(out);
    hy_npy npy;
    hy_status status = hy_npy_open(path, &npy);
    if (status == HY_OK) hy_npy_close(&npy);
    return status;
}

static void test_npy_headers(void **state) {
    static const struct {
        const char *dictionary;
        int version;
        size_t bytes;
        hy_status want;
    } rows[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } \n", 1, 24, HY_OK},
        {"{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}   \n", 1, 24, HY_OK},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), } \n", 2, 24, HY_OK},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } \n", 3, 24, HY_E_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } \n", 1, 23, HY_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } \n", 1, 28, HY_E_FORMAT},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), } \n", 1, 24, HY_E_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }  \n", 1, 24, HY_E_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,2,3)}  \n", 1, 24, HY_E_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }     \n", 1, 4, HY_E_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False}                    \n", 1, 4, HY_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3     \n", 1, 24, HY_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3)} \n", 1, 24,
         HY_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}  \n", 1, 0,
         HY_E_FORMAT},
        {"{'descr", 1, 24, HY_E_FORMAT},
        {"{", 1, 24, HY_E_FORMAT},
        {"", 1, 24, HY_E_FORMAT},
    };
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        char padded[256]; /* data must begin at a multiple of 4 */
        size_t n = strlen(rows[i].dictionary);
        memset(padded, ' ', sizeof padded);
        memcpy(padded, rows[i].dictionary, n);
        while ((n + (rows[i].version == 2 ? 12 : 10)) % 4)
            n++;
        padded[n] = 0;
        const hy_status got = open_npy(padded, rows[i].version, rows[i].bytes);
        if (got != rows[i].want)
            fail_msg("%s: %s (%s)", rows[i].dictionary, hy_status_name(got), hy_error_text());
    }
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    fputs("\x93NUMPY\x01", out);
    fclose(out);
    hy_npy npy;
    assert_int_equal(hy_npy_open(path, &npy), HY_E_FORMAT);
}

static int set_up(void **state) {
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/a.npy", folder);
    return 0;
}

static int tear_down(void **state) {
    unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),           cmocka_unit_test(test_refused),
        cmocka_unit_test(test_to_f64),         cmocka_unit_test(test_files),
        cmocka_unit_test(test_npy_round_trip), cmocka_unit_test(test_npy_headers),
    };
    return cmocka_run_group_tests_name("safetensors", tests, set_up, tear_down);
}

/* GGUF: what the writer writes the reader reads; hostile files get a clear status; split files; a
 * real model. */
#include <inttypes.h>
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
#include "base/text.h"
#include "src/format/gguf.h"

/* ---- files made by hand ---- */

static void put(hy_text *t, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        const uint8_t byte = (uint8_t)(value >> 8 * i);
        hy_text_bytes(t, (const char *)&byte, 1);
    }
}

static void put_name(hy_text *t, const char *text) {
    put(t, strlen(text), 8);
    hy_text_bytes(t, text, strlen(text));
}

static void put_header(hy_text *t, uint32_t version, uint64_t tensors, uint64_t values) {
    hy_text_bytes(t, "GGUF", 4);
    put(t, version, 4);
    put(t, tensors, 8);
    put(t, values, 8);
}

static void put_u32(hy_text *t, const char *key, uint32_t value) {
    put_name(t, key);
    put(t, HY_GGUF_U32, 4);
    put(t, value, 4);
}

static void put_tensor(hy_text *t, const char *name, uint64_t columns, uint64_t rows, uint32_t type,
                       uint64_t offset) {
    put_name(t, name);
    put(t, 2, 4);
    put(t, columns, 8);
    put(t, rows, 8);
    put(t, type, 4);
    put(t, offset, 8);
}

/* Pads to 32 and adds `bytes` of data. */
static void put_data(hy_text *t, size_t bytes) {
    static const char zeros[256];
    hy_text_bytes(t, zeros, (size_t)hy_align_up(t->length, 32) - t->length);
    for (size_t i = 0; i < bytes; i++) {
        const char byte = (char)i;
        hy_text_bytes(t, &byte, 1);
    }
}

/* Opens a copy of exactly the right size, so that a read past the end is seen by the sanitizer. */
static hy_status open_text(const hy_text *t, size_t length, hy_gguf **out) {
    uint8_t *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    if (length) memcpy(copy, t->data, length);
    hy_status status = hy_gguf_open_memory(copy, length, out);
    if (status != HY_OK) {
        free(copy);
        return status;
    }
    hy_gguf_close(*out);
    *out = NULL;
    free(copy);
    return HY_OK;
}

static void expect(hy_text *t, hy_status want, const char *text) {
    hy_gguf *gguf = NULL;
    const hy_status got = open_text(t, t->length, &gguf);
    if (got != want || (text && !strstr(hy_error_text(), text)))
        fail_msg("%s (%s), wanted %s with '%s'", hy_status_name(got), hy_error_text(),
                 hy_status_name(want), text ? text : "");
    hy_text_free(t);
}

static void test_two_tensors_by_hand(void **state) {
    hy_text t = {0};
    put_header(&t, 2, 2, 1);
    put_u32(&t, "a.key", 7);
    put_tensor(&t, "second", 4, 2, 0, 64);
    put_tensor(&t, "first", 32, 1, 2, 0);
    put_data(&t, 64 + 32);
    hy_gguf *gguf = NULL;
    assert_int_equal(hy_gguf_open_memory(t.data, t.length, &gguf), HY_OK);
    assert_int_equal(hy_gguf_version(gguf), 2);
    const hy_gguf_tensor *second = hy_gguf_tensor_find(gguf, "second");
    assert_ptr_equal(second, hy_gguf_tensor_at(gguf, 0));
    assert_int_equal(second->rank, 2);
    assert_int_equal(second->dim[0], 2); /* outermost first */
    assert_int_equal(second->dim[1], 4);
    assert_int_equal(second->dim[2], 1);
    assert_int_equal(second->rows, 2);
    assert_int_equal(second->columns, 4);
    assert_int_equal(second->size, 32);
    assert_ptr_equal(second->data, (const uint8_t *)t.data + t.length - 32);
    const hy_gguf_tensor *first = hy_gguf_tensor_find(gguf, "first");
    assert_int_equal(first->dtype, HY_DTYPE_Q4_0);
    assert_int_equal(first->size, 18);
    assert_null(hy_gguf_tensor_find(gguf, "third"));
    assert_null(hy_gguf_tensor_at(gguf, 2));
    assert_null(hy_gguf_find(gguf, "a.ke"));
    hy_gguf_close(gguf);
    hy_text_free(&t);
}

/* ---- hostile files ---- */

static void test_headers(void **state) {
    hy_text t = {0};
    expect(&t, HY_E_FORMAT, "truncated");
    hy_text_bytes(&t, "GGML", 4);
    put(&t, 3, 4);
    expect(&t, HY_E_FORMAT, "not a GGUF file");
    put_header(&t, 1, 0, 0);
    expect(&t, HY_E_UNSUPPORTED, "version 1");
    put_header(&t, 4, 0, 0);
    expect(&t, HY_E_UNSUPPORTED, "version 4");
    put_header(&t, 0x03000000, 0, 0);
    expect(&t, HY_E_UNSUPPORTED, "big-endian");
    put_header(&t, 3, 0, UINT64_C(1) << 60);
    expect(&t, HY_E_FORMAT, "1152921504606846976 keys");
    put_header(&t, 3, UINT64_C(1) << 60, 0);
    expect(&t, HY_E_FORMAT, "1152921504606846976 tensors");
    put_header(&t, 3, UINT64_MAX, UINT64_MAX);
    expect(&t, HY_E_FORMAT, NULL);
    put_header(&t, 3, 0, 0);
    expect(&t, HY_OK, NULL);
}

static void test_keys(void **state) {
    hy_text t = {0};
    put_header(&t, 3, 0, 2);
    put_u32(&t, "same", 1);
    put_u32(&t, "same", 2);
    expect(&t, HY_E_FORMAT, "key 'same' occurs twice");
    static const char *const bad[] = {
        "", "a\nb", "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xc3"};
    for (size_t i = 0; i < HY_COUNT_OF(bad); i++) {
        put_header(&t, 3, 0, 1);
        put_u32(&t, bad[i], 1);
        expect(&t, HY_E_FORMAT, "name");
    }
    put_header(&t, 3, 0, 1);
    put_u32(&t, "gr\xc3\xbc\xc3\x9f.\xe2\x82\xac.\xf0\x9f\x98\x80", 1);
    expect(&t, HY_OK, NULL);
    put_header(&t, 3, 0, 1); /* a string that reaches past the end, by a little and by a lot */
    put_name(&t, "text");
    put(&t, HY_GGUF_STRING, 4);
    put(&t, 5, 8);
    hy_text_bytes(&t, "four", 4);
    expect(&t, HY_E_FORMAT, "key 'text'");
    put_header(&t, 3, 0, 1);
    put_name(&t, "text");
    put(&t, HY_GGUF_STRING, 4);
    put(&t, UINT64_MAX - 3, 8);
    hy_text_bytes(&t, "four", 4);
    expect(&t, HY_E_FORMAT, "key 'text'");
    put_header(&t, 3, 0, 1);
    put_name(&t, "odd");
    put(&t, 13, 4);
    put(&t, 0, 8);
    expect(&t, HY_E_FORMAT, "unknown value type 13");
}

static void put_array(hy_text *t, uint32_t type, uint64_t count) {
    put_header(t, 3, 0, 1);
    put_name(t, "array");
    put(t, HY_GGUF_ARRAY, 4);
    put(t, type, 4);
    put(t, count, 8);
}

static void test_arrays(void **state) {
    hy_text t = {0};
    put_array(&t, HY_GGUF_U64, (UINT64_C(1) << 61) + 1); /* times 8 is 8 after overflow */
    put(&t, 1, 8);
    expect(&t, HY_E_FORMAT, "array");
    put_array(&t, HY_GGUF_STRING, UINT64_C(1) << 60);
    put(&t, 0, 8);
    expect(&t, HY_E_FORMAT, "strings");
    put_array(&t, HY_GGUF_ARRAY, UINT64_C(1) << 60);
    put(&t, 0, 8);
    expect(&t, HY_E_FORMAT, "truncated");
    put_array(&t, HY_GGUF_ARRAY, 2); /* [[1, 2], []]: skipped over safely */
    put(&t, HY_GGUF_U8, 4);
    put(&t, 2, 8);
    put(&t, 0x0201, 2);
    put(&t, HY_GGUF_STRING, 4);
    put(&t, 0, 8);
    expect(&t, HY_OK, NULL);
    put_array(&t, HY_GGUF_ARRAY, 1);
    for (int i = 0; i < 100; i++) {
        put(&t, HY_GGUF_ARRAY, 4);
        put(&t, 1, 8);
    }
    expect(&t, HY_E_LIMIT, "nested");
}

static void test_shapes(void **state) {
    hy_text t = {0};
    put_header(&t, 3, 1, 0);
    put_tensor(&t, "zero", 0, 2, 0, 0);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "dimension 0 is 0");
    put_header(&t, 3, 1, 0);
    put_tensor(&t, "huge", UINT64_C(1) << 60, UINT64_C(1) << 60, 0, 0);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "tensor 'huge'");
    put_header(&t, 3, 1, 0);
    put_tensor(&t, "bytes", UINT64_C(1) << 62, 1, 0, 0); /* elements fit, bytes do not */
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "tensor 'bytes'");
    put_header(&t, 3, 1, 0);
    put_tensor(&t, "partial", 33, 1, 2, 0);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "no whole blocks of 32");
    for (uint32_t rank = 0; rank < 8; rank += 5) { /* 0 and 5 */
        put_header(&t, 3, 1, 0);
        put_name(&t, "rank");
        put(&t, rank, 4);
        for (uint32_t i = 0; i < 5; i++)
            put(&t, 1, 8);
        put_data(&t, 64);
        expect(&t, HY_E_FORMAT, "rank");
    }
    put_header(&t, 3, 2, 0);
    put_tensor(&t, "twin", 4, 1, 0, 0);
    put_tensor(&t, "twin", 4, 1, 0, 32);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "tensor 'twin' occurs twice");
}

static void test_places(void **state) {
    hy_text t = {0};
    put_header(&t, 3, 2, 0);
    put_tensor(&t, "under", 16, 1, 0, 0);
    put_tensor(&t, "over", 4, 1, 0, 32);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "the data of tensor 'under' (64 bytes at offset 0) overlap");
    put_header(&t, 3, 1, 0);
    put_tensor(&t, "odd", 4, 1, 0, 16);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "not a multiple of the alignment 32");
    put_header(&t, 3, 1, 0);
    put_tensor(&t, "past", 4, 4, 0, 32);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "tensor 'past' has 64 bytes at offset 32, the file has 64 bytes");
    put_header(&t, 3, 1, 0);
    put_tensor(&t, "far", 4, 4, 0, UINT64_MAX - 31);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "tensor 'far'");
    put_header(&t, 3, 1, 0);
    put_tensor(&t, "none", 4, 4, 0, 0);
    expect(&t, HY_E_FORMAT, NULL);
}

static void test_alignment(void **state) {
    static const uint32_t bad[] = {0, 1, 4, 24, 33, 1u << 21, UINT32_MAX};
    hy_text t = {0};
    for (size_t i = 0; i < HY_COUNT_OF(bad); i++) {
        put_header(&t, 3, 0, 1);
        put_u32(&t, "general.alignment", bad[i]);
        expect(&t, HY_E_FORMAT, "general.alignment is");
    }
    put_header(&t, 3, 1, 1);
    put_u32(&t, "general.alignment", 8);
    put_tensor(&t, "odd", 2, 1, 0, 8);
    while (t.length % 8)
        put(&t, 0, 1);
    put(&t, 0, 8);
    put(&t, 1, 8);
    expect(&t, HY_OK, NULL);
}

/* A type without a hy_dtype is listed, with its size where its blocks are known, and otherwise all
 * that lies before its neighbour. */
static void test_foreign_types(void **state) {
    hy_text t = {0};
    put_header(&t, 3, 3, 0);
    put_tensor(&t, "iq2_xxs", 256, 1, 16, 0);
    put_tensor(&t, "unknown", 77, 1, 1000, 96);
    put_tensor(&t, "f32", 4, 1, 0, 160);
    put_data(&t, 176);
    hy_gguf *gguf = NULL;
    assert_int_equal(hy_gguf_open_memory(t.data, t.length, &gguf), HY_OK);
    assert_int_equal(hy_gguf_tensor_at(gguf, 0)->dtype, HY_DTYPE_NONE);
    assert_int_equal(hy_gguf_tensor_at(gguf, 0)->size, 66);
    assert_string_equal(hy_gguf_tensor_type_name(hy_gguf_tensor_at(gguf, 0)->gguf_type), "IQ2_XXS");
    assert_int_equal(hy_gguf_tensor_at(gguf, 1)->size, 64);
    assert_string_equal(hy_gguf_tensor_type_name(1000), "unknown");
    hy_gguf_close(gguf);
    hy_text_free(&t);
    put_header(&t, 3, 2, 0);
    put_tensor(&t, "unknown", 77, 1, 1000, 32);
    put_tensor(&t, "also", 77, 1, 1000, 32);
    put_data(&t, 64);
    expect(&t, HY_E_FORMAT, "has no data");
}

/* ---- writer and reader ---- */

static char folder[] = "/tmp/halyard-gguf-XXXXXX";

static const char *path_of(const char *name) {
    static char path[16][128];
    static unsigned turn;
    char *slot = path[turn++ % 16];
    snprintf(slot, sizeof path[0], "%s/%s", folder, name);
    return slot;
}

static hy_span span(const char *text) {
    return (hy_span){text, strlen(text)};
}

static const uint64_t shape3[3] = {2, 3, 32};

/* A file with a value of every kind and tensors of three types, in `alignment`. */
static void write_sample(const char *path, uint32_t alignment) {
    hy_gguf_writer *w = NULL;
    const hy_span words[3] = {span("a"), span(""), span("\xff raw bytes")};
    const float scores[2] = {-1.5f, 0.25f};
    const int16_t small[3] = {-2, 0, 300};
    uint8_t bytes[2 * 3 * 34];
    assert_int_equal(hy_gguf_writer_new(path, &w), HY_OK);
    assert_int_equal(hy_gguf_write_string(w, "general.architecture", span("llama")), HY_OK);
    if (alignment) assert_int_equal(hy_gguf_write_u32(w, "general.alignment", alignment), HY_OK);
    assert_int_equal(hy_gguf_write_f32(w, "x.epsilon", 1e-5f), HY_OK);
    assert_int_equal(hy_gguf_write_bool(w, "x.switch", true), HY_OK);
    assert_int_equal(hy_gguf_write_strings(w, "x.words", words, 3), HY_OK);
    assert_int_equal(hy_gguf_write_array(w, "x.scores", HY_GGUF_F32, scores, 2), HY_OK);
    assert_int_equal(hy_gguf_write_array(w, "x.small", HY_GGUF_I16, small, 3), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "q", HY_DTYPE_Q8_0, 3, shape3), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "f", HY_DTYPE_F32, 1, &shape3[1]), HY_OK);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    assert_int_equal(hy_gguf_write_data(w, bytes, 100), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, bytes + 100, sizeof bytes - 100), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, bytes, 12), HY_OK);
    assert_int_equal(hy_gguf_writer_finish(w), HY_OK);
}

static void check_sample(const hy_gguf *gguf) {
    hy_span text, words[3];
    uint32_t number;
    float real;
    bool flag;
    assert_int_equal(hy_gguf_version(gguf), 3);
    assert_int_equal(hy_gguf_string(gguf, "general.architecture", &text), HY_OK);
    assert_int_equal(text.length, 5);
    assert_memory_equal(text.data, "llama", 5);
    assert_int_equal(hy_gguf_f32(gguf, "x.epsilon", 0, &real), HY_OK);
    assert_true(real == 1e-5f);
    assert_int_equal(hy_gguf_bool(gguf, "x.switch", false, &flag), HY_OK);
    assert_true(flag);
    assert_int_equal(hy_gguf_find(gguf, "x.words")->count, 3);
    assert_int_equal(hy_gguf_strings(hy_gguf_find(gguf, "x.words"), words), HY_OK);
    assert_int_equal(words[1].length, 0);
    assert_int_equal(words[2].length, 11);
    assert_memory_equal(words[2].data, "\xff raw bytes", 11);
    const hy_gguf_value *small = hy_gguf_find(gguf, "x.small");
    assert_int_equal(hy_gguf_element_u32(small, 2, &number), HY_OK);
    assert_int_equal(number, 300);
    assert_int_equal(hy_gguf_element_u32(small, 0, &number), HY_E_FORMAT);
    assert_int_equal(hy_gguf_element_f32(small, 0, &real), HY_OK);
    assert_true(real == -2.0f);
    assert_int_equal(hy_gguf_element_u32(small, 3, &number), HY_E_ARGUMENT);
    const hy_gguf_tensor *q = hy_gguf_tensor_find(gguf, "q");
    assert_int_equal(q->rank, 3);
    assert_memory_equal(q->dim, shape3, sizeof shape3);
    assert_int_equal(q->rows, 6);
    assert_int_equal(q->size, 6 * 34);
    for (size_t i = 0; i < q->size; i++)
        assert_int_equal(q->data[i], (uint8_t)(i * 7));
    const hy_gguf_tensor *f = hy_gguf_tensor_find(gguf, "f");
    assert_int_equal(f->columns, 3);
    assert_int_equal(f->rows, 1);
    assert_int_equal(f->data[11], 77);
}

static void test_round_trip(void **state) {
    static const uint32_t alignments[] = {0, 8, 4096};
    for (size_t i = 0; i < HY_COUNT_OF(alignments); i++) {
        const char *path = path_of("sample.gguf");
        hy_gguf *gguf = NULL;
        write_sample(path, alignments[i]);
        assert_int_equal(hy_gguf_open(path, &gguf), HY_OK);
        check_sample(gguf);
        const size_t alignment = alignments[i] ? alignments[i] : 32;
        assert_int_equal((uintptr_t)hy_gguf_tensor_find(gguf, "f")->data % alignment, 0);
        assert_int_equal(hy_gguf_file_bytes(gguf) % alignment, 0);
        assert_string_equal(hy_gguf_path(gguf), path);
        hy_gguf_tensor_advise(gguf, hy_gguf_tensor_at(gguf, 0), 0, 1000000, 1);
        hy_gguf_tensor_advise(gguf, hy_gguf_tensor_at(gguf, 0), 0, 1000000, 0);
        hy_gguf_close(gguf);
    }
}

/* All that a file holds goes through write_value and declare_copy unchanged. */
static void test_copy(void **state) {
    const char *from = path_of("sample.gguf"), *to = path_of("copy.gguf");
    hy_gguf *gguf = NULL, *copy = NULL;
    hy_gguf_writer *w = NULL;
    write_sample(from, 64);
    assert_int_equal(hy_gguf_open(from, &gguf), HY_OK);
    assert_int_equal(hy_gguf_writer_new(to, &w), HY_OK);
    for (size_t i = 0; i < hy_gguf_value_count(gguf); i++)
        assert_int_equal(hy_gguf_write_value(w, hy_gguf_value_at(gguf, i)), HY_OK);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(hy_gguf_declare_copy(w, hy_gguf_tensor_at(gguf, i)), HY_OK);
    for (size_t i = 0; i < 2; i++) {
        const hy_gguf_tensor *t = hy_gguf_tensor_at(gguf, i);
        assert_int_equal(hy_gguf_write_data(w, t->data, t->size), HY_OK);
    }
    assert_int_equal(hy_gguf_writer_finish(w), HY_OK);
    hy_gguf_close(gguf);
    assert_int_equal(hy_gguf_open(to, &copy), HY_OK);
    check_sample(copy);
    hy_gguf_close(copy);
    uint8_t *a, *b;
    size_t na, nb;
    assert_int_equal(hy_file_read(from, 1 << 20, &a, &na), HY_OK);
    assert_int_equal(hy_file_read(to, 1 << 20, &b, &nb), HY_OK);
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na);
    free(a);
    free(b);
}

static void test_truncated_everywhere(void **state) {
    uint8_t *bytes;
    size_t size;
    write_sample(path_of("sample.gguf"), 0);
    assert_int_equal(hy_file_read(path_of("sample.gguf"), 1 << 20, &bytes, &size), HY_OK);
    const size_t needed = size - 20; /* 12 bytes of data and 20 of padding end the file */
    for (size_t n = 0; n < size; n++) {
        uint8_t *part = malloc(n ? n : 1);
        hy_gguf *gguf = NULL;
        assert_non_null(part);
        memcpy(part, bytes, n);
        const hy_status status = hy_gguf_open_memory(part, n, &gguf);
        if ((status == HY_OK) != (n >= needed) || (status != HY_OK && status != HY_E_FORMAT))
            fail_msg("%zu of %zu bytes: %s", n, size, hy_status_name(status));
        if (status == HY_OK) hy_gguf_close(gguf);
        free(part);
    }
    free(bytes);
}

/* Every single byte set to extremes: no crash, no read outside (the sanitizers watch). */
static void test_damaged_everywhere(void **state) {
    static const uint8_t values[] = {0, 1, 9, 0x7f, 0x80, 0xff};
    uint8_t *bytes;
    size_t size, opened = 0;
    write_sample(path_of("sample.gguf"), 0);
    assert_int_equal(hy_file_read(path_of("sample.gguf"), 1 << 20, &bytes, &size), HY_OK);
    for (size_t i = 0; i < size; i++) {
        const uint8_t old = bytes[i];
        for (size_t v = 0; v < HY_COUNT_OF(values); v++) {
            hy_gguf *gguf = NULL;
            bytes[i] = values[v];
            if (hy_gguf_open_memory(bytes, size, &gguf) != HY_OK) continue;
            opened++;
            for (size_t k = 0; k < hy_gguf_tensor_count(gguf); k++) {
                const hy_gguf_tensor *t = hy_gguf_tensor_at(gguf, k);
                assert_true(t->data >= bytes && t->data + t->size <= bytes + size);
            }
            hy_gguf_close(gguf);
        }
        bytes[i] = old;
    }
    assert_true(opened > 0);
    free(bytes);
}

static void test_typed_reads(void **state) {
    static const struct {
        uint32_t type;
        uint64_t bits;
        hy_status as_u32, as_f32, as_bool;
        uint32_t u;
        float f;
    } rows[] = {
        {HY_GGUF_U8, 200, HY_OK, HY_OK, HY_E_FORMAT, 200, 200},
        {HY_GGUF_I8, 0xff, HY_E_FORMAT, HY_OK, HY_E_FORMAT, 0, -1},
        {HY_GGUF_I64, 5, HY_OK, HY_OK, HY_E_FORMAT, 5, 5},
        {HY_GGUF_U64, UINT64_C(1) << 32, HY_E_FORMAT, HY_OK, HY_E_FORMAT, 0, 4294967296.0f},
        {HY_GGUF_U16, 65535, HY_OK, HY_OK, HY_E_FORMAT, 65535, 65535},
        {HY_GGUF_I32, 0x80000000u, HY_E_FORMAT, HY_OK, HY_E_FORMAT, 0, -2147483648.0f},
        {HY_GGUF_F32, 0x3fc00000u, HY_E_FORMAT, HY_OK, HY_E_FORMAT, 0, 1.5f},
        {HY_GGUF_F64, 0x3ff8000000000000u, HY_E_FORMAT, HY_OK, HY_E_FORMAT, 0, 1.5f},
        {HY_GGUF_F64, 0x7fe0000000000000u, HY_E_FORMAT, HY_E_FORMAT, HY_E_FORMAT, 0, 0},
        {HY_GGUF_BOOL, 1, HY_E_FORMAT, HY_E_FORMAT, HY_OK, 0, 0},
        {HY_GGUF_BOOL, 2, HY_E_FORMAT, HY_E_FORMAT, HY_E_FORMAT, 0, 0},
    };
    static const int sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        hy_text t = {0};
        hy_gguf *gguf = NULL;
        uint32_t u = 0;
        float f = 0;
        bool b = false;
        hy_span s;
        put_header(&t, 3, 0, 1);
        put_name(&t, "k");
        put(&t, rows[i].type, 4);
        put(&t, rows[i].bits, sizes[rows[i].type]);
        assert_int_equal(hy_gguf_open_memory(t.data, t.length, &gguf), HY_OK);
        assert_int_equal(hy_gguf_u32(gguf, "k", 9, &u), rows[i].as_u32);
        assert_int_equal(hy_gguf_f32(gguf, "k", 9, &f), rows[i].as_f32);
        assert_int_equal(hy_gguf_bool(gguf, "k", true, &b), rows[i].as_bool);
        assert_int_equal(hy_gguf_string(gguf, "k", &s), HY_E_FORMAT);
        assert_int_equal(u, rows[i].u);
        assert_true(f == rows[i].f);
        assert_int_equal(hy_gguf_u32(gguf, "absent", 9, &u), HY_OK);
        assert_int_equal(u, 9);
        assert_int_equal(hy_gguf_string(gguf, "absent", &s), HY_OK);
        assert_int_equal(s.length, 0);
        hy_gguf_close(gguf);
        hy_text_free(&t);
    }
}

static void test_writer_contract(void **state) {
    const char *path = path_of("contract.gguf");
    const uint64_t four = 4, zero = 0, odd = 33;
    hy_gguf_writer *w = NULL;
    unlink(path);
    assert_int_not_equal(hy_gguf_writer_new(path_of("no/such/folder.gguf"), &w), HY_OK);
    assert_int_equal(hy_gguf_writer_new(path, &w), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "t", HY_DTYPE_A8, 1, &four), HY_E_ARGUMENT);
    assert_int_equal(hy_gguf_declare(w, "t", HY_DTYPE_F32, 1, &zero), HY_E_ARGUMENT);
    assert_int_equal(hy_gguf_declare(w, "t", HY_DTYPE_Q8_0, 1, &odd), HY_E_ARGUMENT);
    assert_int_equal(hy_gguf_declare(w, "t", HY_DTYPE_F32, 5, shape3), HY_E_ARGUMENT);
    assert_int_equal(hy_gguf_write_u32(w, "general.alignment", 12), HY_E_ARGUMENT);
    assert_int_equal(hy_gguf_write_u32(w, "bad\nkey", 1), HY_E_ARGUMENT);
    assert_int_equal(hy_gguf_declare(w, "t", HY_DTYPE_F32, 1, &four), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, "0123456789", 10), HY_OK);
    assert_int_equal(hy_gguf_write_u32(w, "late", 1), HY_E_STATE);
    assert_int_equal(hy_gguf_declare(w, "late", HY_DTYPE_F32, 1, &four), HY_E_STATE);
    assert_int_equal(hy_gguf_writer_finish(w), HY_E_STATE); /* 6 bytes are missing */
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(hy_gguf_writer_new(path, &w), HY_OK);
    assert_int_equal(hy_gguf_declare(w, "t", HY_DTYPE_F32, 1, &four), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, "0123456789abcdef!", 17), HY_E_ARGUMENT);
    hy_gguf_writer_abandon(w);
    assert_int_equal(hy_gguf_writer_new(path, &w), HY_OK);
    assert_int_equal(hy_gguf_write_u32(w, "twice", 1), HY_OK);
    assert_int_equal(hy_gguf_write_u32(w, "twice", 2), HY_OK);
    assert_int_equal(hy_gguf_writer_finish(w), HY_E_ARGUMENT);
    assert_int_equal(access(path, F_OK), -1);
}

/* ---- split files ---- */

static void write_shard(const char *path, uint16_t number, uint16_t count, uint32_t total,
                        const char *tensor) {
    hy_gguf_writer *w = NULL;
    const uint64_t four = 4;
    hy_gguf_value value = {.key = span("split.no"), .type = HY_GGUF_U16, .count = 1, .size = 2};
    assert_int_equal(hy_gguf_writer_new(path, &w), HY_OK);
    value.data = (const uint8_t *)&number;
    assert_int_equal(hy_gguf_write_value(w, &value), HY_OK);
    value.key = span("split.count");
    value.data = (const uint8_t *)&count;
    assert_int_equal(hy_gguf_write_value(w, &value), HY_OK);
    assert_int_equal(hy_gguf_write_u32(w, "split.tensors.count", total), HY_OK);
    if (number == 0) assert_int_equal(hy_gguf_write_u32(w, "only.first", 1), HY_OK);
    assert_int_equal(hy_gguf_declare(w, tensor, HY_DTYPE_F32, 1, &four), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, tensor, 4), HY_OK);
    assert_int_equal(hy_gguf_write_data(w, "0123456789ab", 12), HY_OK);
    assert_int_equal(hy_gguf_writer_finish(w), HY_OK);
}

static void test_split(void **state) {
    hy_gguf *gguf = NULL;
    write_shard(path_of("m-00001-of-00003.gguf"), 0, 3, 3, "aaaa");
    write_shard(path_of("m-00002-of-00003.gguf"), 1, 3, 3, "bbbb");
    assert_int_equal(hy_gguf_open(path_of("m-00001-of-00003.gguf"), &gguf), HY_E_NOT_FOUND);
    assert_non_null(strstr(hy_error_text(), "m-00003-of-00003.gguf"));
    write_shard(path_of("m-00003-of-00003.gguf"), 2, 3, 3, "cccc");
    assert_int_equal(hy_gguf_open(path_of("m-00002-of-00003.gguf"), &gguf), HY_OK);
    assert_int_equal(hy_gguf_tensor_count(gguf), 3);
    assert_non_null(hy_gguf_find(gguf, "only.first"));
    const hy_gguf_tensor *c = hy_gguf_tensor_find(gguf, "cccc");
    assert_int_equal(c->shard, 2);
    assert_memory_equal(c->data, "cccc", 4);
    hy_gguf_tensor_advise(gguf, c, 0, c->size, 1);
    hy_gguf_close(gguf);
    write_shard(path_of("m-00003-of-00003.gguf"), 2, 3, 3, "aaaa");
    assert_int_equal(hy_gguf_open(path_of("m-00001-of-00003.gguf"), &gguf), HY_E_FORMAT);
    assert_non_null(strstr(hy_error_text(), "'aaaa' occurs twice"));
    write_shard(path_of("m-00003-of-00003.gguf"), 1, 3, 3, "cccc");
    assert_int_equal(hy_gguf_open(path_of("m-00001-of-00003.gguf"), &gguf), HY_E_FORMAT);
    assert_non_null(strstr(hy_error_text(), "says that it is file 2 of 3, not 3 of 3"));
    write_shard(path_of("m.gguf"), 0, 3, 3, "aaaa");
    assert_int_equal(hy_gguf_open(path_of("m.gguf"), &gguf), HY_E_FORMAT);
    assert_non_null(strstr(hy_error_text(), "-00001-of-00003.gguf"));
    write_shard(path_of("n-00001-of-00002.gguf"), 0, 2, 3, "aaaa");
    write_shard(path_of("n-00002-of-00002.gguf"), 1, 2, 3, "bbbb");
    assert_int_equal(hy_gguf_open(path_of("n-00001-of-00002.gguf"), &gguf), HY_E_FORMAT);
    assert_non_null(strstr(hy_error_text(), "split.tensors.count is 3, the shards have 2"));
    uint8_t *bytes;
    size_t size;
    assert_int_equal(hy_file_read(path_of("m.gguf"), 1 << 20, &bytes, &size), HY_OK);
    assert_int_equal(hy_gguf_open_memory(bytes, size, &gguf), HY_E_UNSUPPORTED);
    free(bytes);
}

/* ---- files on disk ---- */

static void test_bad_paths(void **state) {
    hy_gguf *gguf = NULL;
    assert_int_equal(hy_gguf_open(path_of("absent.gguf"), &gguf), HY_E_NOT_FOUND);
    assert_int_equal(hy_gguf_open(folder, &gguf), HY_E_IO);
    FILE *file = fopen(path_of("empty.gguf"), "wb");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(hy_gguf_open(path_of("empty.gguf"), &gguf), HY_E_FORMAT);
    assert_non_null(strstr(hy_error_text(), "empty.gguf: truncated"));
    hy_gguf_close(NULL);
}

static void test_real_model(void **state) {
    const char *data = getenv("HALYARD_TEST_DATA");
    char path[1024];
    hy_gguf *gguf = NULL;
    snprintf(path, sizeof path, "%s/models/tinystories-260k/stories260K.gguf",
             data ? data : "../shared/data");
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is not there (set HALYARD_TEST_DATA)\n", path);
        skip();
    }
    assert_int_equal(hy_gguf_open(path, &gguf), HY_OK);
    uint32_t number = 0;
    hy_span text;
    assert_int_equal(hy_gguf_string(gguf, "general.architecture", &text), HY_OK);
    assert_int_equal(text.length, 5);
    assert_memory_equal(text.data, "llama", 5);
    assert_int_equal(hy_gguf_u32(gguf, "llama.block_count", 0, &number), HY_OK);
    assert_int_equal(number, 5);
    const hy_gguf_value *tokens = hy_gguf_find(gguf, "tokenizer.ggml.tokens");
    assert_int_equal(tokens->count, 512);
    hy_span *spans = malloc(512 * sizeof *spans);
    assert_non_null(spans);
    assert_int_equal(hy_gguf_strings(tokens, spans), HY_OK);
    assert_memory_equal(spans[1].data, "<s>", 3);
    free(spans);
    const hy_gguf_tensor *embedding = hy_gguf_tensor_find(gguf, "token_embd.weight");
    assert_int_equal(embedding->dtype, HY_DTYPE_F32);
    assert_int_equal(embedding->rows, 512);
    assert_int_equal(embedding->columns, 64);
    hy_gguf_close(gguf);
}

static int set_up(void **state) {
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
    static const char *const names[] = {"sample.gguf",
                                        "copy.gguf",
                                        "contract.gguf",
                                        "m-00001-of-00003.gguf",
                                        "m-00002-of-00003.gguf",
                                        "m-00003-of-00003.gguf",
                                        "m.gguf",
                                        "n-00001-of-00002.gguf",
                                        "n-00002-of-00002.gguf",
                                        "empty.gguf"};
    for (size_t i = 0; i < HY_COUNT_OF(names); i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_tensors_by_hand),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_foreign_types),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_truncated_everywhere),
        cmocka_unit_test(test_damaged_everywhere),
        cmocka_unit_test(test_typed_reads),
        cmocka_unit_test(test_writer_contract),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_real_model),
    };
    return cmocka_run_group_tests_name("gguf", tests, set_up, tear_down);
}

/* The ground: arithmetic, half floats, arena, text, status, log, hash, random numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/num.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/text.h"

static void checked_arithmetic(void **state) {
    uint64_t out = 7;
    assert_false(hy_add_overflow(UINT64_MAX - 1, 1, &out));
    assert_true(out == UINT64_MAX);
    assert_true(hy_add_overflow(UINT64_MAX, 1, &out));
    assert_false(hy_mul_overflow(UINT64_C(1) << 32, UINT64_C(1) << 31, &out));
    assert_true(out == UINT64_C(1) << 63);
    assert_true(hy_mul_overflow(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    assert_false(hy_mul_overflow(0, UINT64_MAX, &out));
    assert_true(out == 0);
    assert_false(hy_align_overflow(33, 32, &out));
    assert_true(out == 64);
    assert_false(hy_align_overflow(0, 32, &out));
    assert_true(out == 0);
    assert_false(hy_align_overflow(UINT64_MAX - 31, 32, &out));
    assert_true(out == UINT64_MAX - 31);
    assert_true(hy_align_overflow(UINT64_MAX - 30, 32, &out));
    assert_true(hy_align_up(64, 64) == 64 && hy_align_up(65, 64) == 128);
    assert_true(hy_div_up(0, 7) == 0 && hy_div_up(7, 7) == 1 && hy_div_up(8, 7) == 2);
    assert_true(hy_div_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
}

/* The value of a finite binary16 by its definition. */
static double half_value(uint32_t h) {
    uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
    double magnitude = exponent ? ldexp(1024 + mantissa, (int)exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void f16_values(void **state) {
    for (uint32_t h = 0; h < 65536; h++) {
        float f = hy_f16_to_f32((uint16_t)h);
        uint16_t back = hy_f32_to_f16(f);
        if ((h & 0x7fff) > 0x7c00) {
            assert_true(isnan(f));
            assert_int_equal(back, h | 0x200); /* quiet, sign and payload kept */
        } else {
            if ((h & 0x7fff) == 0x7c00)
                assert_true(isinf(f) && (f < 0) == (h >> 15));
            else
                assert_true((double)f == half_value(h) && !signbit(f) == !(h >> 15));
            assert_int_equal(back, h);
        }
    }
}

/* Between every two neighbours: the middle goes to the even one, its own neighbours to the near
 * one. */
static void f16_rounding(void **state) {
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = half_value(h), high = h == 0x7bff ? 65536.0 : half_value(h + 1);
        float middle = (float)((low + high) / 2); /* exact: one bit more */
        assert_true((double)middle == (low + high) / 2);
        assert_int_equal(hy_f32_to_f16(middle), h + (h & 1));
        assert_int_equal(hy_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(hy_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(hy_f32_to_f16(-middle), 0x8000 | (h + (h & 1)));
        assert_int_equal(hy_f32_to_f16(-nextafterf(middle, 0)), 0x8000 | h);
    }
    assert_int_equal(hy_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(hy_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(hy_f32_to_f16(-3e38f), 0xfc00);
    assert_int_equal(hy_f32_to_f16(0x1p-149f), 0);
    assert_int_equal(hy_f32_to_f16(-0x1p-149f), 0x8000);
    assert_int_equal(hy_f32_to_f16(hy_f32_from_bits(0x7f800001)) & 0x7e00,
                     0x7e00); /* not infinity */
}

static void bf16_rounding(void **state) {
    for (uint32_t b = 0; b < 65536; b++) {
        float f = hy_bf16_to_f32((uint16_t)b);
        assert_true(hy_f32_bits(f) == b << 16);
        uint32_t expected = (b & 0x7fff) > 0x7f80 ? b | 0x40 : b;
        assert_int_equal(hy_f32_to_bf16(f), expected);
    }
    for (uint32_t b = 0; b < 0x7f80; b++) {
        float middle = hy_f32_from_bits(b << 16 | 0x8000);
        assert_int_equal(hy_f32_to_bf16(middle), b + (b & 1));
        assert_int_equal(hy_f32_to_bf16(nextafterf(middle, 0)), b);
        assert_int_equal(hy_f32_to_bf16(nextafterf(middle, INFINITY)), b + 1);
        assert_int_equal(hy_f32_to_bf16(-middle), 0x8000 | (b + (b & 1)));
    }
    assert_int_equal(hy_f32_to_bf16(hy_f32_from_bits(0x7f800001)), 0x7fc0); /* NaN, not infinity */
    assert_int_equal(hy_f32_to_bf16(hy_f32_from_bits(0xffffffff)), 0xffff);
}

static void arena_memory(void **state) {
    hy_arena arena = {0};
    enum { COUNT = 3000 };
    unsigned char *piece[COUNT];
    size_t size[COUNT];
    hy_rng rng = hy_rng_seed(1);
    for (size_t i = 0; i < COUNT; i++) {
        size[i] = hy_rng_below(&rng, i % 100 == 0 ? 300000 : 200);
        piece[i] = hy_arena_alloc(&arena, size[i], 1);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 16, 0);
        for (size_t k = 0; k < size[i]; k++)
            assert_int_equal(piece[i][k], 0);
        memset(piece[i], (int)(i % 255) + 1, size[i]);
    }
    for (size_t i = 0; i < COUNT; i++) /* no two overlap */
        for (size_t k = 0; k < size[i]; k++)
            assert_int_equal(piece[i][k], i % 255 + 1);
    assert_true(arena.bytes > 0);
    hy_arena_free(&arena);
    assert_null(arena.head);
    assert_int_equal(arena.bytes, 0);
    hy_arena_free(&arena);
}

static void arena_limits(void **state) {
    hy_arena arena = {0};
    assert_null(hy_arena_alloc(&arena, SIZE_MAX / 2, 3));
    assert_null(hy_arena_alloc(&arena, SIZE_MAX, 1));
    assert_null(hy_arena_alloc(&arena, SIZE_MAX - 20, 1));
    assert_null(hy_arena_text(&arena, "x", SIZE_MAX));
    void *a = hy_arena_alloc(&arena, 0, 8), *b = hy_arena_alloc(&arena, 8, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    char *text = hy_arena_text(&arena, "half\0float", 10);
    assert_memory_equal(text, "half\0float\0", 11);
    assert_string_equal(hy_arena_text(&arena, "", 0), "");
    /* A large piece in between does not throw away the room in the present block. */
    size_t before;
    hy_arena_alloc(&arena, 1, 1);
    hy_arena_alloc(&arena, 1 << 22, 1);
    before = arena.bytes;
    hy_arena_alloc(&arena, 1, 1);
    assert_int_equal(arena.bytes, before);
    hy_arena_free(&arena);
}

static void growing(void **state) {
    uint32_t *list = NULL;
    size_t capacity = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(hy_grow(&list, i, &capacity, sizeof *list), HY_OK);
        assert_true(capacity > i && capacity <= 2 * (size_t)i + 8);
        list[i] = i * 3;
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(list[i], i * 3);
    uint32_t *before = list;
    size_t full = SIZE_MAX / 4;
    assert_int_equal(hy_grow(&list, full, &full, sizeof *list), HY_E_MEMORY);
    assert_ptr_equal(list, before);
    assert_int_equal(full, SIZE_MAX / 4);
    free(list);
}

static void text_building(void **state) {
    hy_text text = {0};
    char expected[4000] = "";
    for (int i = 0; i < 500; i++) {
        hy_text_add(&text, "%d,", i);
        sprintf(expected + strlen(expected), "%d,", i);
        assert_int_equal(text.length, strlen(expected));
    }
    assert_string_equal(text.data, expected);
    assert_false(text.failed);
    hy_text_bytes(&text, "a\0b", 3);
    assert_memory_equal(text.data + text.length - 3, "a\0b\0", 4);
    size_t length = text.length;
    hy_text_bytes(&text, NULL, 0);
    hy_text_add(&text, "%s", "");
    assert_int_equal(text.length, length);
    hy_text_bytes(&text, "x", SIZE_MAX - 2); /* cannot be had */
    assert_true(text.failed);
    hy_text_add(&text, "more");
    assert_int_equal(text.length, length);
    assert_int_equal(text.data[length], 0);
    hy_text_free(&text);
    assert_null(text.data);
    hy_text_bytes(&text, "", 0); /* zero-terminated once anything was added, even nothing */
    assert_string_equal(text.data, "");
    hy_text_free(&text);
}

static void error_detail(void **state) {
    for (int s = 0; s <= HY_E_INTERNAL; s++) {
        assert_string_not_equal(hy_status_name((hy_status)s), "unknown status");
        for (int t = 0; t < s; t++)
            assert_string_not_equal(hy_status_name((hy_status)s), hy_status_name((hy_status)t));
    }
    assert_string_equal(hy_status_name((hy_status)99), "unknown status");
    assert_int_equal(hy_fail(HY_E_FORMAT, "bad %s %d", "magic", 7), HY_E_FORMAT);
    assert_string_equal(hy_error_text(), "bad magic 7");
    assert_int_equal(hy_fail_in(HY_E_IO, "tensor %s", "x"), HY_E_IO);
    assert_string_equal(hy_error_text(), "tensor x: bad magic 7");
    assert_int_equal(hy_fail_in(HY_E_IO, "file.gguf: "), HY_E_IO);
    assert_string_equal(hy_error_text(), "file.gguf: tensor x: bad magic 7");
    assert_int_equal(hy_fail(HY_E_IO, "again: %s", hy_error_text()), HY_E_IO); /* from itself */
    assert_string_equal(hy_error_text(), "again: file.gguf: tensor x: bad magic 7");
    assert_int_equal(hy_fail(HY_E_FORMAT, "two\nlines\x1b"), HY_E_FORMAT);
    assert_string_equal(hy_error_text(), "two lines ");
    char longer[2000];
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(hy_fail(HY_E_LIMIT, "%s", longer), HY_E_LIMIT);
    assert_int_equal(strlen(hy_error_text()), 511);
    assert_int_equal(hy_fail_in(HY_E_LIMIT, "front"), HY_E_LIMIT);
    assert_int_equal(strlen(hy_error_text()), 511);
    assert_memory_equal(hy_error_text(), "front: yyy", 10);
    assert_int_equal(hy_fail_in(HY_E_LIMIT, "%s", longer), HY_E_LIMIT);
    assert_int_equal(strlen(hy_error_text()), 511);
}

typedef struct heard {
    int count;
    hy_log_level level;
    char text[2048];
} heard;

static void hear(void *user, hy_log_level level, const char *text) {
    heard *h = user;
    h->count++;
    h->level = level;
    snprintf(h->text, sizeof h->text, "%s", text);
}

static void logging(void **state) {
    heard h = {0};
    hy_log(HY_LOG_ERROR, "nobody listens");
    hy_log_set(hear, &h, HY_LOG_INFO);
    hy_log(HY_LOG_DEBUG, "too talkative");
    assert_int_equal(h.count, 0);
    hy_log(HY_LOG_INFO, "loaded %d layers", 5);
    assert_int_equal(h.count, 1);
    assert_int_equal(h.level, HY_LOG_INFO);
    assert_string_equal(h.text, "loaded 5 layers");
    hy_log(HY_LOG_ERROR, "%01500d", 1);
    assert_int_equal(strlen(h.text), 1023);
    hy_log_set(hear, &h, HY_LOG_DEBUG);
    assert_int_equal(hy_fail(HY_E_IO, "gone"), HY_E_IO); /* details reach the log as well */
    assert_non_null(strstr(h.text, "gone"));
    int before = h.count;
    hy_log_set(NULL, NULL, HY_LOG_DEBUG);
    hy_log(HY_LOG_ERROR, "silenced");
    assert_int_equal(h.count, before);
}

static void hashing(void **state) {
    unsigned char data[64];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 37);
    for (size_t size = 0; size <= 40; size++) {
        uint64_t whole = hy_hash(data, size, 5);
        assert_true(whole == hy_hash(data, size, 5));
        assert_true(whole != hy_hash(data, size, 6));
        assert_true(whole != hy_hash(data, size + 1, 5));
        unsigned char moved[64]; /* alignment does not matter */
        memcpy(moved + 3, data, size);
        assert_true(whole == hy_hash(moved + 3, size, 5));
        for (size_t bit = 0; bit < size * 8; bit++) { /* every bit counts, and flips about half */
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            int flips = __builtin_popcountll(whole ^ hy_hash(data, size, 5));
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            assert_in_range(flips, 8, 56);
        }
    }
    const unsigned char zeros[32] = {0};
    for (size_t a = 0; a <= 32; a++) /* length alone distinguishes */
        for (size_t b = 0; b < a; b++)
            assert_true(hy_hash(zeros, a, 0) != hy_hash(zeros, b, 0));
}

/* Random123 kat_vectors, philox4x32 10. */
static void philox_known_answers(void **state) {
    uint32_t out[4];
    hy_philox(0, 0, 0, out);
    assert_memory_equal(out, ((uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}), 16);
    hy_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    assert_memory_equal(out, ((uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}), 16);
    hy_philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e, out);
    assert_memory_equal(out, ((uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}), 16);
}

static void random_numbers(void **state) {
    hy_rng a = hy_rng_seed(42), b = hy_rng_seed(42), c = hy_rng_seed(43);
    uint32_t out[4];
    int same = 0;
    for (uint64_t i = 0; i < 40; i++) {
        hy_philox(42, i / 4, 0, out);
        uint32_t x = hy_rng_u32(&a);
        assert_int_equal(x, out[i % 4]);
        assert_int_equal(x, hy_rng_u32(&b));
        same += x == hy_rng_u32(&c);
    }
    assert_int_equal(same, 0);
    enum { DRAWS = 70000, FACES = 7 };
    uint32_t faces[FACES] = {0};
    double sum = 0, square = 0, uniform = 0, uniform64 = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint32_t face = hy_rng_below(&a, FACES);
        assert_in_range(face, 0, FACES - 1);
        faces[face]++;
        float f = hy_rng_f32(&a), normal = hy_rng_normal(&a);
        double d = hy_rng_f64(&a);
        assert_true(f >= 0 && f < 1 && d >= 0 && d < 1 && isfinite(normal));
        uniform += f;
        uniform64 += d;
        sum += normal;
        square += (double)normal * normal;
    }
    for (int i = 0; i < FACES; i++)
        assert_in_range(faces[i], 9500, 10500); /* 5 sigma is 463 */
    assert_true(fabs(uniform / DRAWS - 0.5) < 0.006 && fabs(uniform64 / DRAWS - 0.5) < 0.006);
    assert_true(fabs(sum / DRAWS) < 0.02 && fabs(square / DRAWS - 1) < 0.03);
    assert_int_equal(hy_rng_below(&a, 1), 0);
}

static void monotonic(void **state) {
    uint64_t last = hy_clock_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = hy_clock_ns();
        assert_true(now >= last);
        last = now;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_arithmetic),
        cmocka_unit_test(f16_values),
        cmocka_unit_test(f16_rounding),
        cmocka_unit_test(bf16_rounding),
        cmocka_unit_test(arena_memory),
        cmocka_unit_test(arena_limits),
        cmocka_unit_test(growing),
        cmocka_unit_test(text_building),
        cmocka_unit_test(error_detail),
        cmocka_unit_test(logging),
        cmocka_unit_test(hashing),
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(random_numbers),
        cmocka_unit_test(monotonic),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}

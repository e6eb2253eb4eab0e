/* The table of KV pages: references, reuse by content, eviction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "src/engine/pages.h"

static hy_pages *make(uint32_t count) {
    hy_pages *pages = NULL;
    assert_int_equal(hy_pages_new(count, &pages), HY_OK);
    return pages;
}

static void tokens_of(int32_t *tokens, int32_t first) {
    for (int i = 0; i < HY_PAGE_LENGTH; i++)
        tokens[i] = first + i;
}

static void test_references(void **state) {
    hy_pages *pages = make(3);
    (void)state;
    uint32_t a = hy_pages_take(pages), b = hy_pages_take(pages), c = hy_pages_take(pages);
    assert_true(a != b && b != c && a != c && a < 3 && b < 3 && c < 3);
    assert_int_equal(hy_pages_take(pages), HY_NO_PAGE);
    hy_pages_retain(pages, b);
    hy_pages_release(pages, b);
    assert_int_equal(hy_pages_available(pages), 0);
    hy_pages_release(pages, b);
    assert_int_equal(hy_pages_available(pages), 1);
    assert_int_equal(hy_pages_take(pages), b);
    hy_pages_free(pages);
}

/* Memory that a page has had is memory that the machine has given already. */
static void test_taken_again(void **state) {
    hy_pages *pages = make(8);
    (void)state;
    const uint32_t a = hy_pages_take(pages), b = hy_pages_take(pages);
    hy_pages_release(pages, b);
    hy_pages_release(pages, a);
    assert_int_equal(hy_pages_take(pages), a);
    assert_int_equal(hy_pages_take(pages), b);
    hy_pages_free(pages);
}

static void test_found_by_content(void **state) {
    hy_pages *pages = make(4);
    int32_t x[HY_PAGE_LENGTH], y[HY_PAGE_LENGTH];
    uint64_t next = 0;
    (void)state;
    tokens_of(x, 10);
    tokens_of(y, 500);
    uint32_t a = hy_pages_take(pages), b = hy_pages_take(pages);
    const uint64_t past_a = hy_pages_publish(pages, a, HY_PAST_EMPTY, x);
    const uint64_t past_b = hy_pages_publish(pages, b, past_a, y);
    assert_true(past_a != HY_PAST_EMPTY && past_b != past_a);
    /* the same tokens after another past are another page */
    assert_int_equal(hy_pages_find(pages, HY_PAST_EMPTY, y, &next), HY_NO_PAGE);
    assert_int_equal(hy_pages_find(pages, past_b, x, &next), HY_NO_PAGE);
    assert_int_equal(hy_pages_find(pages, past_a, y, &next), b);
    assert_int_equal(next, past_b);
    assert_int_equal(hy_pages_references(pages, b), 2);
    /* one token differs */
    y[63]++;
    assert_int_equal(hy_pages_find(pages, past_a, y, &next), HY_NO_PAGE);
    /* equal content is published once and has one past */
    uint32_t c = hy_pages_take(pages);
    assert_int_equal(hy_pages_publish(pages, c, HY_PAST_EMPTY, x), past_a);
    hy_pages_release(pages, a);
    hy_pages_release(pages, c);
    assert_int_equal(hy_pages_find(pages, HY_PAST_EMPTY, x, &next), a);
    hy_pages_free(pages);
}

static void test_eviction_takes_the_oldest(void **state) {
    hy_pages *pages = make(3);
    int32_t tokens[HY_PAGE_LENGTH];
    uint64_t next;
    uint32_t page[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        page[i] = hy_pages_take(pages);
        tokens_of(tokens, 100 * i);
        hy_pages_publish(pages, page[i], HY_PAST_EMPTY, tokens);
    }
    hy_pages_release(pages, page[1]);
    hy_pages_release(pages, page[0]);
    hy_pages_release(pages, page[2]);
    assert_int_equal(hy_pages_available(pages), 3);
    /* a hit takes it out of the line, leaving it again puts it at the end */
    tokens_of(tokens, 100);
    assert_int_equal(hy_pages_find(pages, HY_PAST_EMPTY, tokens, &next), page[1]);
    hy_pages_release(pages, page[1]);
    assert_int_equal(hy_pages_take(pages), page[0]);
    assert_int_equal(hy_pages_take(pages), page[2]);
    tokens_of(tokens, 0);
    assert_int_equal(hy_pages_find(pages, HY_PAST_EMPTY, tokens, &next), HY_NO_PAGE);
    tokens_of(tokens, 100);
    assert_int_equal(hy_pages_find(pages, HY_PAST_EMPTY, tokens, &next), page[1]);
    assert_int_equal(hy_pages_take(pages), HY_NO_PAGE);
    hy_pages_free(pages);
}

static void test_unpublished_is_not_found(void **state) {
    hy_pages *pages = make(2);
    int32_t tokens[HY_PAGE_LENGTH];
    uint64_t next;
    (void)state;
    tokens_of(tokens, 7);
    uint32_t a = hy_pages_take(pages);
    const uint64_t before = hy_pages_publish(pages, a, HY_PAST_EMPTY, tokens);
    hy_pages_unpublish(pages, a);
    assert_int_equal(hy_pages_find(pages, HY_PAST_EMPTY, tokens, &next), HY_NO_PAGE);
    hy_pages_unpublish(pages, a); /* twice is fine */
    assert_true(hy_pages_publish(pages, a, HY_PAST_EMPTY, tokens) != before);
    hy_pages_release(pages, a);
    hy_pages_free(pages);
}

/* Random use against a plain model: counts, and a found page always holds what was asked for. */
static void test_random_use(void **state) {
    enum { PAGES = 24, CONTENTS = 16 };
    hy_pages *pages = make(PAGES);
    hy_rng rng = hy_rng_seed(5);
    uint32_t references[PAGES] = {0};
    int32_t holds[PAGES];
    (void)state;
    for (int i = 0; i < PAGES; i++)
        holds[i] = -1;
    for (int round = 0; round < 20000; round++) {
        int32_t tokens[HY_PAGE_LENGTH], content = (int32_t)hy_rng_below(&rng, CONTENTS);
        uint32_t p = hy_rng_below(&rng, PAGES);
        uint64_t next;
        tokens_of(tokens, 1000 * content);
        switch (hy_rng_below(&rng, 5)) {
        case 0:
            if ((p = hy_pages_take(pages)) == HY_NO_PAGE) break;
            assert_int_equal(references[p], 0);
            references[p] = 1;
            holds[p] = -1;
            break;
        case 1:
            if (references[p] == 0 || holds[p] >= 0) break;
            hy_pages_publish(pages, p, HY_PAST_EMPTY, tokens);
            holds[p] = content;
            break;
        case 2:
            if ((p = hy_pages_find(pages, HY_PAST_EMPTY, tokens, &next)) == HY_NO_PAGE) break;
            assert_int_equal(holds[p], content);
            references[p]++;
            break;
        default:
            if (references[p] == 0) break;
            hy_pages_release(pages, p);
            references[p]--;
        }
        uint32_t idle = 0;
        for (int i = 0; i < PAGES; i++)
            idle += references[i] == 0;
        assert_int_equal(hy_pages_available(pages), idle);
    }
    hy_pages_free(pages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_taken_again),
        cmocka_unit_test(test_found_by_content),
        cmocka_unit_test(test_eviction_takes_the_oldest),
        cmocka_unit_test(test_unpublished_is_not_found),
        cmocka_unit_test(test_random_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

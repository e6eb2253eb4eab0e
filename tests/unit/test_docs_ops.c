/* docs/ops.md against hal/op.def: a row for every op, each operand with its dtypes, shape and role, each
 * attribute; no row of an op that is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "hal/ops.h"

static char *page; /* docs/ops.md */

static int read_page(void **state) {
    (void)state;
    hy_text path = {0};
    const char *source = getenv("HALYARD_SOURCE");
    hy_text_add(&path, "%s/docs/ops.md", source ? source : ".");
    FILE *file = fopen(path.data, "rb");
    if (!file) print_error("cannot read %s\n", path.data);
    hy_text_free(&path);
    if (!file) return -1;
    hy_text text = {0};
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;)
        hy_text_bytes(&text, part, n);
    fclose(file);
    page = text.data;
    return page && !text.failed ? 0 : -1;
}

static int free_page(void **state) {
    (void)state;
    free(page);
    return 0;
}

/* The table row of one op, without its newline; to be freed. */
static char *row_of(const char *op) {
    hy_text start = {0};
    hy_text_add(&start, "\n| `%s` |", op);
    const char *row = strstr(page, start.data);
    hy_text_free(&start);
    if (!row) return NULL;
    row++;
    const size_t length = strcspn(row, "\n");
    char *copy = malloc(length + 1);
    assert_non_null(copy);
    memcpy(copy, row, length);
    copy[length] = 0;
    return copy;
}

/* "`x: f/a8 [T,K], weight, optional`" */
static void print_operand(const hy_operand_info *o, hy_text *out) {
    hy_text_add(out, "`%s: ", o->name);
    for (const char *p = o->dtypes; *p; p++)
        hy_text_add(out, "%c", *p == '|' ? '/' : *p);
    hy_text_add(out, " [%s]%s%s%s%s`", o->shape, o->role & HY_ROLE_WEIGHT ? ", weight" : "",
                o->role & HY_ROLE_OUT ? ", out" : "", o->role & HY_ROLE_STATE ? ", state" : "",
                o->role & HY_ROLE_OPT ? ", optional" : "");
}

static void every_op_is_described(void **state) {
    (void)state;
    for (uint32_t k = 0; k < HY_OP_KIND_COUNT; k++) {
        const hy_op_info *op = hy_op_get((hy_op_kind)k);
        char *row = row_of(op->name);
        if (!row) fail_msg("docs/ops.md has no row for %s", op->name);
        hy_text cells = {0}; /* operands in order, then attributes in order */
        for (uint32_t i = 0; i < op->operands; i++) {
            hy_text_add(&cells, "%s", i ? "<br>" : "| ");
            print_operand(&op->operand[i], &cells);
        }
        for (uint32_t i = 0; i < op->attrs; i++)
            hy_text_add(&cells, "%s`%s`", i ? ", " : " | ", op->attr[i].name);
        hy_text_add(&cells, op->attrs ? " | " : " | - | ");
        if (!strstr(row, cells.data))
            fail_msg("docs/ops.md, row of %s, lacks: %s", op->name, cells.data);
        hy_text_free(&cells);
        free(row);
    }
}

static void no_other_op_is(void **state) {
    (void)state;
    const char *table = strstr(page, "| op | operands |");
    assert_non_null(table);
    const char *end = strstr(table, "\n\n");
    uint32_t rows = 0;
    for (const char *p = table; (p = strstr(p, "\n| `")) && (!end || p < end); p++)
        rows++;
    assert_int_equal(rows, HY_OP_KIND_COUNT);
}

/* Enumerated attributes name all their values. */
static void every_value_is_named(void **state) {
    (void)state;
    for (uint32_t k = 0; k < HY_OP_KIND_COUNT; k++) {
        const hy_op_info *op = hy_op_get((hy_op_kind)k);
        for (uint32_t i = 0; i < op->attrs; i++) {
            char *row = hy_attr_value_name((hy_op_kind)k, i, 0) ? row_of(op->attr[i].name) : NULL;
            for (int32_t v = 0; hy_attr_value_name((hy_op_kind)k, i, v); v++) {
                if (!row || !strstr(row, hy_attr_value_name((hy_op_kind)k, i, v)))
                    fail_msg("docs/ops.md does not name %s=%s", op->attr[i].name,
                             hy_attr_value_name((hy_op_kind)k, i, v));
            }
            free(row);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_is_described),
        cmocka_unit_test(no_other_op_is),
        cmocka_unit_test(every_value_is_named),
    };
    return cmocka_run_group_tests(tests, read_page, free_page);
}

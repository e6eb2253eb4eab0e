/* Passes as text in, text out: every case of tests/golden/<pass>.txt.
 *
 *   == name of the case
 *   device stub stub       devices in order (null or stub); default: null
 *   set rounds=1           settings of the stub (program_task.h)
 *   budget 1000 0          bytes per device
 *   bucket 1 8             upper bounds of T; default 1 8
 *   flag fallback          or unfused, fast
 *   pass fuse              default: the file's name
 *   -- in
 *   -- out                 the graph, or the plan, or "error: ..."
 *
 * HALYARD_UPDATE_GOLDEN=1 writes what the passes give now into the files; look at the difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/num.h"
#include "tests/unit/program_task.h"

typedef struct golden {
    char name[120];
    hy_pass pass;
    uint32_t bucket[HY_MAX_BUCKETS];
    hy_device *device[HY_MAX_DEVICES];
    hy_compile_params params;
} golden;

/* ---- one case ----------------------------------------------------------------------------------- */

static void set_stub(const char *key, uint64_t value) {
    if (!strcmp(key, "declined"))
        stub.declined = value;
    else if (!strcmp(key, "rounds"))
        stub.rounds = (uint32_t)value;
    else if (!strcmp(key, "strided"))
        stub.strided = value;
    else if (!strcmp(key, "large_only"))
        stub.large_only = value;
    else if (!strcmp(key, "variant"))
        stub.variant = value;
    else if (!strcmp(key, "workspace"))
        stub.workspace = value;
    else if (!strcmp(key, "in_place"))
        stub.in_place = (uint32_t)value;
    else if (!strcmp(key, "layouts"))
        stub.layouts = (uint32_t)value;
    else if (!strcmp(key, "embed_layouts"))
        stub.embed_layouts = (uint32_t)value;
    else
        fail_msg("no setting %s", key);
}

/* declined=matmul, declined_glu=matmul: ops by name; other settings are numbers. */
static void setting(const char *word) {
    char key[64];
    const char *equals = strchr(word, '=');
    assert_non_null(equals);
    snprintf(key, sizeof key, "%.*s", (int)(equals - word), word);
    hy_op_kind op = hy_op_by_name(equals + 1);
    if (!strcmp(key, "declined") && op < HY_OP_KIND_COUNT)
        stub.declined |= (uint64_t)1 << op;
    else if (!strcmp(key, "declined_glu") && op < HY_OP_KIND_COUNT)
        stub.declined_glu |= (uint64_t)1 << op;
    else
        set_stub(key, strtoull(equals + 1, NULL, 0));
}

static void directive(golden *g, char *line) {
    char *rest = line, *word = strtok_r(rest, " ", &rest);
    uint32_t n = 0;
    for (char *arg; word && (arg = strtok_r(NULL, " ", &rest)) != NULL; n++) {
        if (!strcmp(word, "device"))
            g->device[g->params.devices++] = task_device(arg, false);
        else if (!strcmp(word, "set"))
            setting(arg);
        else if (!strcmp(word, "budget"))
            g->params.budget[n] = strtoull(arg, NULL, 0);
        else if (!strcmp(word, "bucket"))
            g->bucket[g->params.buckets++] = (uint32_t)strtoul(arg, NULL, 0);
        else if (!strcmp(word, "flag") && !strcmp(arg, "fallback"))
            g->params.fallback = true;
        else if (!strcmp(word, "flag") && !strcmp(arg, "unfused"))
            g->params.unfused = true;
        else if (!strcmp(word, "flag") && !strcmp(arg, "fast"))
            g->params.fast = true;
        else if (!strcmp(word, "pass"))
            g->pass = hy_pass_by_name(arg);
        else
            fail_msg("%s: bad line %s", g->name, word);
    }
}

/* What a pass leaves, it leaves alone the next time. */
static void run_again(golden *g, const hy_text *once) {
    hy_graph *graph;
    hy_text twice = {0};
    must(hy_graph_parse(once->data, once->length, &graph));
    must(hy_compile_print(graph, &g->params, g->pass, &twice));
    if (strcmp(once->data, twice.data)) fail_msg("%s: the second time:\n%s", g->name, twice.data);
    hy_text_free(&twice);
    hy_graph_free(graph);
}

static void run_case(golden *g, const char *in, size_t length, hy_text *out) {
    hy_graph *graph = NULL;
    if (!g->params.devices) g->device[g->params.devices++] = task_device("null", false);
    if (!g->params.buckets) {
        g->bucket[g->params.buckets++] = 1;
        g->bucket[g->params.buckets++] = 8;
    }
    g->params.device = g->device;
    g->params.bucket = g->bucket;
    g->params.bounds = (hy_bounds){{1, g->bucket[g->params.buckets - 1], 2, 2, 4, 2}};
    hy_status status = hy_graph_parse(in, length, &graph);
    if (status == HY_OK) status = hy_compile_print(graph, &g->params, g->pass, out);
    if (status != HY_OK)
        hy_text_add(out, "error: %s: %s\n", hy_status_name(status), hy_error_text());
    if (status == HY_OK && (g->pass == HY_PASS_CANONICALIZE || g->pass == HY_PASS_FUSE))
        run_again(g, out);
    hy_graph_free(graph);
    for (uint32_t d = 0; d < g->params.devices; d++)
        hy_device_close(g->device[d]);
}

/* ---- files -------------------------------------------------------------------------------------- */

static const char *next_line(const char *at) {
    const char *end = strchr(at, '\n');
    return end ? end + 1 : at + strlen(at);
}

static bool begins(const char *at, const char *text) {
    return !strncmp(at, text, strlen(text));
}

/* Past all lines up to one that begins with `mark` or the end. */
static const char *skip_to(const char *at, const char *mark) {
    while (*at && !begins(at, mark))
        at = next_line(at);
    return at;
}

/* Reads the case at `at`, appends it with its present result to `now`, and returns what follows. */
static const char *one_case(const char *at, hy_pass pass, hy_text *now, bool check) {
    golden g = {.pass = pass};
    const char *in = next_line(skip_to(at, "-- in")), *in_end = skip_to(in, "-- out");
    const char *out = next_line(in_end), *out_end = skip_to(out, "== ");
    hy_text result = {0};
    memset(&stub, 0, sizeof stub);
    snprintf(g.name, sizeof g.name, "%.*s", (int)(next_line(at) - at - 1), at);
    for (const char *line = next_line(at); line < in && !begins(line, "-- in");
         line = next_line(line)) {
        char copy[256];
        snprintf(copy, sizeof copy, "%.*s", (int)(next_line(line) - line - 1), line);
        if (*copy && *copy != '#') directive(&g, copy);
    }
    run_case(&g, in, (size_t)(in_end - in), &result);
    size_t length = (size_t)(out_end - out);
    while (length && out[length - 1] == '\n' && (length == 1 || out[length - 2] == '\n'))
        length--; /* empty lines between cases */
    bool same = result.length == length && !memcmp(result.data, out, length);
    if (check && !same) fail_msg("%s\n-- now:\n%s", g.name, result.data);
    hy_text_bytes(now, at, (size_t)(out - at));
    hy_text_bytes(now, result.data, result.length);
    if (*out_end) hy_text_add(now, "\n");
    hy_text_free(&result);
    return out_end;
}

static void golden_file(hy_pass pass) {
    const char *source = getenv("HALYARD_SOURCE"), *update = getenv("HALYARD_UPDATE_GOLDEN");
    char path[512];
    uint8_t *text;
    size_t size;
    uint32_t cases = 0;
    hy_text now = {0};
    snprintf(path, sizeof path, "%s/tests/golden/%s.txt", source ? source : ".",
             hy_pass_name(pass));
    must(hy_file_read(path, 1 << 20, &text, &size));
    const char *at = skip_to((const char *)text, "== ");
    hy_text_bytes(&now, text, (size_t)(at - (const char *)text));
    for (; *at; cases++)
        at = one_case(at, pass, &now, !update);
    assert_true(cases > 0);
    if (update) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(now.data, 1, now.length, file), now.length);
        assert_int_equal(fclose(file), 0);
    }
    hy_text_free(&now);
    free(text);
}

static void test_canonicalize(void **state) {
    golden_file(HY_PASS_CANONICALIZE);
}
static void test_place(void **state) {
    golden_file(HY_PASS_PLACE);
}
static void test_fuse(void **state) {
    golden_file(HY_PASS_FUSE);
}
static void test_select(void **state) {
    golden_file(HY_PASS_SELECT);
}
static void test_schedule(void **state) {
    golden_file(HY_PASS_SCHEDULE);
}
static void test_plan_memory(void **state) {
    golden_file(HY_PASS_PLAN_MEMORY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonicalize), cmocka_unit_test(test_place),
        cmocka_unit_test(test_fuse),         cmocka_unit_test(test_select),
        cmocka_unit_test(test_schedule),     cmocka_unit_test(test_plan_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a step moves by the plan, against what the kernel saw it touch: /proc/self/clear_refs forgets which pages were
 * used, a step runs, /proc/self/smaps says which were. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <cmocka.h>

#include "halyard/halyard.h"
#include "tests/unit/tiny_model.h"

enum { CONTEXT = 2048, DEPTH = 1900, BATCH = 128, LARGE_KIB = 1024 };

static hy_instance *instance;
static hy_model *model;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s", hy_error_text());
}

static bool clear_refs(const char *what) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return false;
    const bool written = fputs(what, file) != EOF;
    return fclose(file) == 0 && written;
}

/* "1" leaves the translations that processors remember, and use of a remembered page is not noted: a core of Zen 5
 * remembers 16 MB. "4", which is about writing, makes all forget them. */
static bool forget(void) {
    return clear_refs("1") && clear_refs("4");
}

/* Bytes of pages used since, in large mappings without a file: arenas. Small ones are stacks and heaps. */
static double touched(void) {
    char line[512];
    double bytes = 0;
    unsigned long size = 0, kib, inode = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%*x-%*x %*s %*x %*s %lu", &inode) == 1) continue;
        if (sscanf(line, "Size: %lu kB", &kib) == 1) size = kib;
        if (sscanf(line, "Referenced: %lu kB", &kib) == 1 && size >= LARGE_KIB && inode == 0)
            bytes += 1024.0 * (double)kib;
    }
    if (file) fclose(file);
    return bytes;
}

static void add(void *user, const hy_op_cost *c) {
    *(double *)user += (double)(c->weight_bytes + c->kv_read_bytes + c->kv_written_bytes);
}

static void feed(hy_engine *engine, hy_sequence *sequence, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const int32_t id = (int32_t)(i % 250);
        ok(hy_sequence_add(sequence, &id, 1, 0));
    }
    while (hy_sequence_pending(sequence))
        ok(hy_engine_step(engine, NULL, NULL));
}

/* One token behind `past` others. */
static void compare(hy_engine *engine, hy_sequence *sequence, uint32_t past, double out[2]) {
    ok(hy_sequence_truncate(sequence, 0));
    feed(engine, sequence, past);
    out[1] = 0;
    ok(hy_engine_costs(engine, hy_step_shape(.past = past), add, &out[1]));
    if (!forget()) skip();
    feed(engine, sequence, 1);
    out[0] = touched();
    print_message("behind %u tokens: %.1f MB touched, %.1f MB by the plan\n", past, out[0] * 1e-6,
                  out[1] * 1e-6);
}

static void test_decode(void **state) {
    hy_engine *engine;
    hy_sequence *sequence;
    double empty[2], deep[2];
    (void)state;
    ok(hy_engine_new(model,
                     hy_engine_params(.device = "cpu", .context = CONTEXT, .max_batch = BATCH,
                                      .kv_type = HY_KV_F32),
                     &engine));
    ok(hy_sequence_new(engine, &sequence));
    compare(engine, sequence, 1, empty);
    if (empty[0] == 0) {
        print_message("skipped: this kernel does not say which pages were used\n");
        skip();
    }
    compare(engine, sequence, DEPTH, deep);
    assert_true(fabs(empty[0] / empty[1] - 1) < 0.05);
    assert_true(fabs(deep[0] / deep[1] - 1) < 0.05);
    /* and what the depth adds is the cache */
    assert_true(fabs((deep[0] - empty[0]) / (deep[1] - empty[1]) - 1) < 0.05);
    hy_sequence_free(sequence);
    hy_engine_free(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decode)};
    if (getenv("HALYARD_SANITIZER")) {
        puts("skipped: a sanitizer's own memory cannot be told from the engine's");
        return 77;
    }
    /* whole pages of 2 MB would be counted where one byte was used */
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) perror("PR_SET_THP_DISABLE");
    ok(hy_instance_new(NULL, &instance));
    tiny_model_write(tiny_model_path("touched"), &(tiny_model){.layers = 4,
                                                               .embedding = 512,
                                                               .heads = 8,
                                                               .kv_heads = 8,
                                                               .head_dim = 64,
                                                               .ffn = 2048,
                                                               .vocab = 2000,
                                                               .context = CONTEXT,
                                                               .dtype = HY_DTYPE_F16});
    ok(hy_model_open(instance, tiny_model_path("touched"), NULL, &model));
    remove(tiny_model_path("touched"));
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hy_model_free(model);
    hy_instance_free(instance);
    return failed;
}

/* The emulator itself: kernels that are right give what they should, and every planted mistake is caught. Mistakes end a
 * process, so each runs in a child. With an argument only that kernel is run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/emulator/launch.h"

#define KERNELS(X)                                                                                 \
    X(rotate)                                                                                      \
    X(missing_barrier)                                                                             \
    X(divergent_barrier)                                                                           \
    X(returned)                                                                                    \
    X(shuffles)                                                                                    \
    X(outside_global)                                                                              \
    X(outside_shared)                                                                              \
    X(outside_dynamic)                                                                             \
    X(waited)                                                                                      \
    X(missing_wait)                                                                                \
    X(misaligned)                                                                                  \
    X(tiles)                                                                                       \
    X(half_tiles)                                                                                  \
    X(meetings)
#define DECLARE(name) extern "C" void simt_##name(const hy_args &args);
KERNELS(DECLARE)
#define ENTRY(name) {#name, simt_##name, 256},
static const hy_emulator_entry kernels[] = {KERNELS(ENTRY){nullptr, nullptr, 0}};

enum { THREADS = 256 };

static int32_t *in, *out;
static int failures;

static void run(const char *name, uint32_t threads, uint32_t shared_bytes,
                hy_emulator_order order) {
    hy_args args = {};
    args.operand[0].address = (uint64_t)(uintptr_t)in;
    args.operand[1].address = (uint64_t)(uintptr_t)out;
    for (const hy_emulator_entry *k = kernels; k->name; k++)
        if (strcmp(k->name, name) == 0)
            hy_emulator_launch(k, &args, 1, 1, threads, shared_bytes, order);
}

static void expect(bool right, const char *what) {
    if (right) return;
    printf("FAILED: %s\n", what);
    failures++;
}

/* ---- right kernels ----------------------------------------------------------------------------------- */

static bool rotated(const char *name, hy_emulator_order order) {
    run(name, THREADS, 0, order);
    for (int i = 0; i < THREADS; i++)
        if (out[i] != in[(i + 1) % THREADS]) return false;
    return true;
}

static bool shuffled() {
    run("shuffles", THREADS, 0, HY_ORDER_FORWARD);
    for (int i = 0; i < THREADS; i++) {
        const int warp = i / HY_EMULATOR_WARP * HY_EMULATOR_WARP;
        int sum = warp + HY_EMULATOR_WARP - 1;
        for (int j = warp; j < warp + HY_EMULATOR_WARP; j++)
            sum += in[j];
        if (out[i] != sum) return false;
    }
    return true;
}

static bool copied() {
    run("waited", THREADS, 16 * THREADS, HY_ORDER_REVERSE);
    for (int i = 0; i < THREADS; i++)
        if (out[i] != ((i + 1) % 2 == 0 ? in[0] : 0)) return false;
    return true;
}

static bool multiplied() {
    run("tiles", HY_EMULATOR_WARP, 0, HY_ORDER_FORWARD);
    for (int r = 0; r < 16; r++)
        for (int n = 0; n < 16; n++) {
            int sum = 0;
            for (int k = 0; k < 32; k++)
                sum += (r + k) * (n - k) * (k < 16 ? 1 : 2);
            if (out[16 * r + n] != sum) return false;
        }
    run("half_tiles", HY_EMULATOR_WARP, 0, HY_ORDER_REVERSE);
    for (int r = 0; r < 16; r++)
        for (int n = 0; n < 16; n++) {
            int sum = 0;
            for (int k = 0; k < 16; k++)
                sum += (r + k) * (n - k);
            if (out[16 * r + n] != sum) return false;
        }
    return true;
}

/* ---- mistakes ---------------------------------------------------------------------------------------- */

/* What a child that runs the kernel prints before it ends in some other way than well; "": it ends well. */
static void ends_with(const char *program, const char *name, char *text, size_t size) {
    char command[512];
    snprintf(command, sizeof command, "exec 2>&1; '%s' %s; echo \"code $?\"", program, name);
    FILE *child = popen(command, "r");
    if (!child) abort();
    const size_t bytes = fread(text, 1, size - 1, child);
    text[bytes] = 0;
    pclose(child);
    if (strstr(text, "code 0\n")) text[0] = 0;
}

static void expect_end(const char *program, const char *name, const char *words) {
    static char text[65536];
    ends_with(program, name, text, sizeof text);
    if (strstr(text, words)) return;
    printf("FAILED: %s ends with \"%s\", not with \"%s\"\n", name, text, words);
    failures++;
}

static void measure() {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    run("meetings", THREADS, 0, HY_ORDER_FORWARD);
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double ns =
        (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    printf("%.0f ns for each barrier and thread\n", ns / 1000 / THREADS);
}

int main(int count, char **arguments) {
    in = (int32_t *)malloc(THREADS * sizeof *in);
    out = (int32_t *)malloc(THREADS * sizeof *out);
    if (!in || !out) return 2;
    for (int i = 0; i < THREADS; i++)
        in[i] = 3 * i + 1;
    if (count == 2) {
        run(arguments[1], THREADS, strcmp(arguments[1], "outside_dynamic") ? 16 * THREADS : THREADS,
            HY_ORDER_FORWARD);
        return 0;
    }
    expect(rotated("rotate", HY_ORDER_FORWARD) && rotated("rotate", HY_ORDER_REVERSE), "rotate");
    expect(shuffled(), "shuffles");
    expect(copied(), "asynchronous copies");
    expect(multiplied(), "matrix tiles");
    /* Of the two orders at least one shows a missing barrier; a kernel's runs alternate between them. */
    expect(!rotated("missing_barrier", HY_ORDER_FORWARD) ||
               !rotated("missing_barrier", HY_ORDER_REVERSE),
           "a missing barrier is not seen");
    run("missing_wait", THREADS, 16 * THREADS, HY_ORDER_FORWARD);
    expect((uint32_t)out[0] == 0xfbfbfbfbu, "a missing wait is not seen");
    expect_end(arguments[0], "divergent_barrier", "while others are in hy_sync at ");
    expect_end(arguments[0], "returned", "waits for thread 3, which has returned");
    expect_end(arguments[0], "misaligned", "reads 16 bytes at another address");
#if defined(__SANITIZE_ADDRESS__)
    expect_end(arguments[0], "outside_global", "planted.cu:");
    expect_end(arguments[0], "outside_shared", "planted.cu:");
    expect_end(arguments[0], "outside_dynamic", "planted.cu:");
    printf("overruns of global, shared and dynamic memory are named\n");
#else
    printf("overruns are not looked for: this build has no AddressSanitizer\n");
#endif
    measure();
    free(in);
    free(out);
    return failures ? 1 : 0;
}

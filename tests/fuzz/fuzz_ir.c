/* IR text: what parses prints, what prints parses to the same text, and every graph compiles or is
 * refused with a reason, on one device and on two, fused and unfused. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/compile/compile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LARGEST = 1 << 16 };

static hy_device devices[2];
static hy_device *const device_list[2] = {&devices[0], &devices[1]};

/* A device that has one kernel for every op; block formats round, workspaces vary, results may replace
 * any operand. It is asked, never run. */
static hy_status accept_all(hy_device *device, const hy_op *op, hy_kernel *out, uint32_t *count) {
    (void)device;
    memset(out, 0, sizeof *out);
    out->name = "fuzz";
    out->flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT;
    if (hy_dtype_get((hy_dtype)op->operand[1].dtype)->quantized) out->flags |= HY_KERNEL_ROUNDS;
    out->in_place = 0xfff;
    out->workspace = op->kind % 3 * HY_VIEW_ALIGN;
    *count = 1;
    return HY_OK;
}

/* The second device's buffers are in segments: what does not fit into one is refused, the rest lies within. */
static void tell(hy_device *device, hy_device_info *out) {
    memset(out, 0, sizeof *out);
    out->segment = device == &devices[1] ? 4096 : 0;
}

static hy_backend backend = {.name = "fuzz", .candidates = accept_all, .info = tell};
static hy_device devices[2] = {{&backend}, {&backend}};

/* Neither a bug nor bad text: memory and limits may stop a sound graph. */
static void expected(hy_status status) {
    if (status == HY_E_INTERNAL || status == HY_E_FORMAT || status == HY_E_ARGUMENT) abort();
}

static void compile(const hy_graph *graph, uint32_t count, bool unfused) {
    static const uint32_t bucket[] = {1, 4};
    hy_compile_params params = {.device = device_list,
                                .devices = count,
                                .budget = {count > 1 ? 1000 : 0, 0},
                                .bounds = {{1, 4, 2, 2, 3, 2}},
                                .bucket = bucket,
                                .buckets = 2,
                                .fallback = count > 1,
                                .unfused = unfused};
    hy_program *program;
    hy_status status = hy_compile(graph, &params, &program);
    expected(status);
    if (status != HY_OK) return;
    hy_text text = {0};
    hy_program_print(program, 1, &text);
    hy_text_free(&text);
    hy_program_free(program);
}

static void round_trip(const hy_graph *graph) {
    hy_text first = {0}, second = {0};
    hy_graph *again;
    hy_graph_print(graph, &first);
    if (!first.failed && first.data) {
        hy_status status = hy_graph_parse(first.data, first.length, &again);
        if (status != HY_OK && status != HY_E_MEMORY) abort();
        if (status == HY_OK) {
            hy_graph_print(again, &second);
            if (!second.failed && strcmp(first.data, second.data)) abort();
            hy_graph_free(again);
        }
    }
    hy_text_free(&first);
    hy_text_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hy_graph *graph;
    if (size > LARGEST || hy_graph_parse((const char *)data, size, &graph) != HY_OK) return 0;
    round_trip(graph);
    compile(graph, 1, false);
    compile(graph, 2, false);
    compile(graph, 1, true);
    hy_text dot = {0};
    hy_graph_dot(graph, &dot);
    hy_text_free(&dot);
    hy_graph_free(graph);
    return 0;
}

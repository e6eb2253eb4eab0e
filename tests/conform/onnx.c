/* tests/conform/onnx.c: the folder of ONNX node cases: each file mapped and run, or skipped by reason. */
#include "tests/conform/onnx.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "base/num.h"

#define ENDING ".safetensors"

typedef struct mapping {
    const char *op;
    hy_status (*map)(onnx_case *c);
    const char *reason; /* map NULL: why no op of the table can do it */
} mapping;

// clang-format off
static const mapping mappings[] = {
    {"Add", onnx_add, NULL},
    {"ArgMax", onnx_argmax, NULL},
    {"Attention", onnx_attention, NULL},
    {"Cast", onnx_cast, NULL},
    {"CausalConvWithState", NULL, "op conv1d_state is not in this build's op table (it comes with the mamba family)"},
    {"DequantizeLinear", onnx_dequantize_linear, NULL},
    {"Gather", onnx_gather, NULL},
    {"Gelu", onnx_gelu, NULL},
    {"LayerNormalization", onnx_layer_normalization, NULL},
    {"LinearAttention", NULL, "op scan_state is not in this build's op table (it comes with the mamba family)"},
    {"MatMul", onnx_matmul, NULL},
    {"MatMulInteger", onnx_matmul_integer, NULL},
    {"Mul", onnx_mul, NULL},
    {"RMSNormalization", onnx_rms_normalization, NULL},
    {"RotaryEmbedding", onnx_rotary_embedding, NULL},
    {"Softmax", onnx_softmax, NULL},
    {"Swish", onnx_swish, NULL},
    {"TensorScatter", onnx_tensor_scatter, NULL},
    {"TopK", onnx_topk, NULL},
};
// clang-format on

static hy_status map_case(onnx_case *c) {
    for (size_t i = 0; i < HY_COUNT_OF(mappings); i++) {
        if (strcmp(mappings[i].op, c->op) != 0) continue;
        if (mappings[i].map) return mappings[i].map(c);
        return hy_fail(HY_E_UNSUPPORTED, "%s", mappings[i].reason);
    }
    return hy_fail(HY_E_UNSUPPORTED, "ONNX operator %s has no counterpart in the op table", c->op);
}

/* Bytes of a file name without its ending. */
static int label(const char *name) {
    return (int)(strlen(name) - strlen(ENDING));
}

static void log_passed(FILE *log, const char *name, const onnx_case *c) {
    fprintf(log, "ok %.*s (", label(name), name);
    for (uint32_t i = 0; i < c->kernels; i++)
        fprintf(log, "%s%s", i ? ", " : "", c->kernel[i]);
    fprintf(log, "%s%s)\n", c->note[0] ? "; " : "", c->note);
}

/* One file. Only a failure of the machine is a failure of the walk. */
static hy_status run_file(hy_device *device, hy_device *oracle, const char *folder,
                          const char *name, FILE *log, conform_onnx_report *report) {
    hy_text path = {0};
    onnx_case c = {.device = device, .oracle = oracle};
    hy_text_add(&path, "%s/%s", folder, name);
    hy_status status = path.failed ? hy_fail(HY_E_MEMORY, "no memory for a path") : HY_OK;
    if (status == HY_OK) status = onnx_open(&c, path.data);
    if (status == HY_OK) status = map_case(&c);
    if (status == HY_OK) {
        report->passed++;
        if (log) log_passed(log, name, &c);
    } else if (status == HY_E_UNSUPPORTED) {
        report->skipped++;
        if (log) fprintf(log, "skip %.*s: %s\n", label(name), name, hy_error_text());
    } else if (status != HY_E_MEMORY && status != HY_E_DEVICE) {
        report->failed++;
        if (log) fprintf(log, "FAIL %.*s: %s\n", label(name), name, hy_error_text());
    }
    onnx_close(&c);
    hy_text_free(&path);
    return status == HY_E_MEMORY || status == HY_E_DEVICE ? status : HY_OK;
}

static int is_case(const struct dirent *entry) {
    const size_t length = strlen(entry->d_name), tail = strlen(ENDING);
    return length > tail && strcmp(entry->d_name + length - tail, ENDING) == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

hy_status conform_onnx(hy_device *device, const char *folder, FILE *log,
                       conform_onnx_report *report) {
    memset(report, 0, sizeof *report);
    struct dirent **entries;
    const int count = scandir(folder, &entries, is_case, by_name);
    if (count < 0) return hy_fail(HY_E_IO, "%s: %s", folder, strerror(errno));
    hy_device *oracle = NULL;
    hy_status status = hy_device_open("ref", &(hy_device_params){.threads = 1}, &oracle);
    if (status == HY_OK && count == 0)
        status = hy_fail(HY_E_NOT_FOUND, "%s: no .safetensors file", folder);
    for (int i = 0; i < count; i++) {
        if (status == HY_OK)
            status = run_file(device, oracle, folder, entries[i]->d_name, log, report);
        free(entries[i]);
    }
    free(entries);
    hy_device_close(oracle);
    return status;
}

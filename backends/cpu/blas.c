/* backends/cpu/blas.c: matmul of f32 and f16 weights through a BLAS that is loaded at run time.
 *
 * Reads the same panels as matmul.c: a strip of them is copied to a float32 [K][columns] matrix in the
 * worker's part of the workspace, multiplied by one single-threaded cblas_sgemm call per block of K, and
 * finished like every other matmul. The library's order of additions is its own, so a row's bits may
 * depend on the batch: never a candidate with numerics=invariant. Without a library there are no
 * candidates. HALYARD_BLAS_LIBRARY names another library; the library's threads are switched off. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "backends/cpu/kernel.h"
#include "backends/cpu/matmul_job.h"
#include "base/log.h"

enum {
    MIN_ROWS = 32,  /* below this copying the weights costs more than it saves */
    STRIP = 128,    /* columns of a strip: outputs, or outputs and their gates */
    BLOCK_K = 2048, /* rows of a strip at a time */
    ROW_MAJOR = 101,
    NO_TRANSPOSE = 111
};

/* cblas_sgemm(layout, trans a, trans b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc); CBLAS enums are
 * ints. Source: the reference CBLAS interface. */
typedef void (*sgemm_fn)(int, int, int, int, int, int, float, const float *, int, const float *,
                         int, float, float *, int);

static sgemm_fn sgemm;
static const mm_kernels *finisher;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool open_library(const char *file) {
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) return false;
    sgemm_fn found;
    void *symbol = dlsym(library, "cblas_sgemm");
    memcpy(&found, &symbol, sizeof found);
    if (!found) {
        dlclose(library);
        return false;
    }
    void (*set_threads)(int);
    symbol = dlsym(library, "openblas_set_num_threads");
    memcpy(&set_threads, &symbol, sizeof set_threads);
    if (set_threads) set_threads(1);
    sgemm = found; /* stays open until the process ends */
    return true;
}

static void load(void) {
    finisher = &cpu_mm_generic;
#if defined(__x86_64__)
    const uint32_t isa = cpu_isa_detect();
    if (isa & CPU_AVX2) finisher = &cpu_mm_avx2;
    if (isa & CPU_AVX512) finisher = &cpu_mm_avx512;
#endif
    const char *named = getenv("HALYARD_BLAS_LIBRARY");
    if (named && *named) {
        if (!open_library(named))
            hy_log(HY_LOG_WARN, "HALYARD_BLAS_LIBRARY=%s: no cblas_sgemm there, going without",
                   named);
        return;
    }
    if (!open_library("libopenblas.so.0")) (void)open_library("libblas.so.3");
}

static bool accepts(const hy_op *op, hy_dtype dtype) {
    const hy_tensor *x = &op->operand[HY_MATMUL_x], *w = &op->operand[HY_MATMUL_w];
    if (w->dtype != dtype || !w->constant || x->dtype == HY_DTYPE_A8 || x->dim[0] < MIN_ROWS)
        return false;
    if (op->operand[HY_MATMUL_out].dtype == HY_DTYPE_A8) return false;
    if (x->stride[0] > INT32_MAX || w->dim[1] > INT32_MAX) return false;
    pthread_once(&once, load);
    return sgemm != NULL;
}

static bool accepts_f32(const hy_op *op) {
    return accepts(op, HY_DTYPE_F32);
}
static bool accepts_f16(const hy_op *op) {
    return accepts(op, HY_DTYPE_F16);
}

static uint64_t x_bytes(const hy_op *op) {
    const hy_tensor *x = &op->operand[HY_MATMUL_x];
    if (x->dtype == HY_DTYPE_F32) return 0;
    return hy_align_up(4 * (uint64_t)x->dim[0] * x->dim[1], MM_ALIGN);
}

/* One worker's strip of weights and its products. */
static uint64_t strip_floats(const hy_op *op) {
    return STRIP * ((uint64_t)BLOCK_K + op->operand[HY_MATMUL_x].dim[0]);
}

static uint64_t workspace(const hy_op *op, uint32_t workers) {
    return x_bytes(op) + 4 * strip_floats(op) * workers;
}

/* Phase 0: activations as float32. */
static void widen(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *x = &call->op.operand[HY_MATMUL_x];
    if (!x_bytes(&call->op)) return;
    uint64_t begin, end;
    cpu_share(cpu_rows(call, HY_MATMUL_x), worker, workers, &begin, &end);
    for (uint64_t t = begin; t < end; t++)
        hy_dequantize_row((hy_dtype)x->dtype, cpu_row(call, HY_MATMUL_x, t),
                          (float *)call->workspace + t * x->dim[1], x->dim[1]);
}

/* Rows k .. k + count of a panel -> columns of a strip `columns` wide. */
static void copy_panel(const cpu_panels *p, const uint8_t *panel, uint32_t k, uint32_t count,
                       uint32_t columns, float *out) {
    const uint64_t element = p->dtype == HY_DTYPE_F32 ? 4 : 2;
    for (uint32_t i = 0; i < count; i++)
        hy_dequantize_row(p->dtype, panel + (uint64_t)(k + i) * CPU_PANEL * element,
                          out + (uint64_t)i * columns, CPU_PANEL);
}

/* Groups [g, g_end) for all rows: their products into c [rows][columns]. */
static void multiply(const cpu_call *call, const mm_job *job, uint32_t g, uint32_t g_end,
                     uint32_t rows, float *strip, float *c) {
    const hy_tensor *x = &call->op.operand[HY_MATMUL_x];
    const bool own = x_bytes(&call->op) != 0;
    const float *a = own ? call->workspace : call->p[HY_MATMUL_x];
    const int lda = own ? (int)x->dim[1] : (int)x->stride[0];
    const uint32_t panels = (g_end - g) * job->panels.units, columns = panels * CPU_PANEL;
    const uint8_t *first = cpu_mm_group_panels(job, 0, g);
    for (uint32_t k = 0; k < job->panels.k; k += BLOCK_K) {
        const uint32_t count = HY_MIN(job->panels.k - k, (uint32_t)BLOCK_K);
        for (uint32_t i = 0; i < panels; i++)
            copy_panel(&job->panels, first + i * job->panels.bytes, k, count, columns,
                       strip + (uint64_t)i * CPU_PANEL);
        sgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, (int)rows, (int)columns, (int)count, 1.0f,
              a + k, lda, strip, (int)columns, k ? 1.0f : 0.0f, c, (int)columns);
    }
}

static void run(cpu_call *call, uint32_t worker, uint32_t workers) {
    const mm_job job = cpu_mm_job_of(call, UINT32_MAX);
    const uint32_t rows = cpu_rows(call, HY_MATMUL_x),
                   per_strip = STRIP / CPU_PANEL / job.panels.units;
    float *strip = (float *)(void *)((uint8_t *)call->workspace + x_bytes(&call->op)) +
                   worker * strip_floats(&call->op);
    float *c = strip + STRIP * BLOCK_K;
    cpu_taker taker = {call, worker, workers, 0};
    if (rows == 0) return;
    for (uint64_t i; cpu_take(&taker, hy_div_up(job.panels.groups, per_strip), &i);) {
        const uint64_t g = i * per_strip;
        const uint32_t g_end = (uint32_t)HY_MIN(g + per_strip, job.panels.groups);
        const uint32_t columns = (g_end - (uint32_t)g) * job.panels.units * CPU_PANEL;
        multiply(call, &job, (uint32_t)g, g_end, rows, strip, c);
        for (uint32_t t = 0; t < rows; t++)
            for (uint32_t group = (uint32_t)g; group < g_end; group++) {
                const float *z =
                    c + (uint64_t)t * columns + (group - g) * job.panels.units * CPU_PANEL;
                cpu_mm_finish(&job, finisher, 0, z, z + CPU_PANEL, group, t, 1);
            }
    }
}

/* 97 GFLOP/s a core, after a copy of the weights. */
static float cost(const hy_op *op) {
    const hy_tensor *w = &op->operand[HY_MATMUL_w];
    return (float)hy_op_flops(op) / 90e3f + 4.0f * (float)w->dim[0] * (float)w->dim[1] / 8e3f;
}

#define ROW(text)                                                                                  \
    {                                                                                              \
        .name = "cpu.matmul." #text ".blas", .kind = HY_OP_MATMUL,                                 \
        .flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC,                                   \
        .in_place = 1u << HY_MATMUL_residual, .accuracy = 16, .accepts = accepts_##text,           \
        .phase = {widen, run}, .workspace = workspace, .cost = cost,                               \
        .constants = cpu_panel_constants, .pack = cpu_panel_pack, .unpack = cpu_panel_unpack       \
    }

const cpu_variant cpu_blas_variants[] = {ROW(f32), ROW(f16), {0}};

/* tools/probe.c: see probe.h. */
#include "tools/probe.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backends/cpu/device.h"
#include "backends/cpu/peak.h"
#include "base/num.h"
#include "base/thread.h"
#include "tools/cli.h"

enum {
    PASSES = 5,
    PASS_NS = 10000000, /* of arithmetic */
    PAGE = 16384        /* shares of the memory are multiples of this */
};

struct probe {
    hy_pool *pool;
    const cpu_peak *peak;
    uint8_t *memory;
    uint64_t bytes;
    probe_kind kind; /* of the pass under way */
    _Atomic uint64_t operations;
    uint32_t rounds[PROBE_KINDS]; /* of arithmetic that take about PASS_NS */
};

static void share(const probe *p, uint32_t worker, uint32_t workers, uint64_t *begin,
                  uint64_t *end) {
    const uint64_t pages = p->bytes / PAGE;
    *begin = pages * worker / workers * PAGE;
    *end = pages * (worker + 1) / workers * PAGE;
}

/* By those who will read it, so that it lies near them. */
static void touch(void *context, uint32_t worker, uint32_t workers) {
    const probe *p = context;
    uint64_t begin, end;
    share(p, worker, workers, &begin, &end);
    memset(p->memory + begin, 1, end - begin);
}

static void pass(void *context, uint32_t worker, uint32_t workers) {
    probe *p = context;
    if (p->kind == PROBE_READ) {
        uint64_t begin, end;
        share(p, worker, workers, &begin, &end);
        atomic_fetch_add(&p->operations, p->peak->read(p->memory + begin, end - begin));
        return;
    }
    uint64_t (*const run)(uint32_t) = p->kind == PROBE_F32    ? p->peak->f32
                                      : p->kind == PROBE_INT8 ? p->peak->int8
                                                              : p->peak->bf16;
    atomic_fetch_add(&p->operations, run(p->rounds[p->kind]));
}

static bool can(const probe *p, probe_kind kind) {
    switch (kind) {
    case PROBE_READ:
        return p->memory != NULL;
    case PROBE_F32:
        return p->peak->f32 != NULL;
    case PROBE_INT8:
        return p->peak->int8 != NULL;
    default:
        return kind == PROBE_BF16 && p->peak->bf16 != NULL;
    }
}

static uint64_t run_ns(probe *p, probe_kind kind) {
    p->kind = kind;
    atomic_store(&p->operations, 0);
    const uint64_t begin = cli_now_ns();
    hy_pool_run(p->pool, pass, p);
    return HY_MAX(cli_now_ns() - begin, 1);
}

double probe_pass(probe *p, probe_kind kind) {
    if (!can(p, kind)) return 0;
    if (kind == PROBE_READ) return (double)p->bytes / ((double)run_ns(p, kind) * 1e-9);
    if (!p->rounds[kind]) {
        p->rounds[kind] = 10000;
        const uint64_t ns = run_ns(p, kind);
        p->rounds[kind] = (uint32_t)HY_MIN(10000ull * PASS_NS / ns, UINT32_MAX / 2) + 1;
    }
    const uint64_t ns = run_ns(p, kind);
    return (double)atomic_load(&p->operations) / ((double)ns * 1e-9);
}

double probe_best(probe *p, probe_kind kind) {
    double best = 0;
    for (int i = 0; i < PASSES; i++) {
        const double rate = probe_pass(p, kind);
        best = HY_MAX(best, rate);
    }
    return best;
}

uint32_t probe_threads(const probe *p) {
    return hy_pool_size(p->pool);
}

probe *probe_new(uint32_t threads, const char *cpus, const char *isa, uint64_t bytes) {
    probe *p = calloc(1, sizeof *p);
    uint32_t mask;
    if (!p || cpu_isa_mask(isa, &mask) != HY_OK || hy_pool_new(threads, cpus, &p->pool) != HY_OK) {
        free(p);
        return NULL;
    }
    p->peak = cpu_peak_of(cpu_isa_detect() & mask);
    p->bytes = bytes / PAGE * PAGE;
    if (!p->bytes) return p;
    void *memory = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        probe_free(p);
        return NULL;
    }
    p->memory = memory;
    madvise(memory, p->bytes, MADV_HUGEPAGE);
    hy_pool_run(p->pool, touch, p);
    return p;
}

void probe_free(probe *p) {
    if (!p) return;
    if (p->memory) munmap(p->memory, p->bytes);
    hy_pool_free(p->pool);
    free(p);
}

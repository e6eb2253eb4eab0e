/* backends/cpu/peak.c: hy_backend.peak: the loops of peak_kernel.c on all workers of the device at once. */
#include "backends/cpu/peak.h"

#include "backends/cpu/device.h"
#include "base/num.h"
#include "hal/peak.h"

enum {
    SHARE =
        16384, /* shares of the memory are multiples of so many bytes: no page has two readers */
    MOST = 1 << 30 /* rounds */
};

extern const cpu_peak cpu_peak_generic;
#if defined(__x86_64__)
extern const cpu_peak cpu_peak_avx2, cpu_peak_avx512, cpu_peak_avx512bf16, cpu_peak_amx;
#elif defined(__aarch64__)
extern const cpu_peak cpu_peak_dotprod, cpu_peak_i8mm, cpu_peak_sve256, cpu_peak_sve512;
#endif

const cpu_peak *cpu_peak_of(uint32_t isa) {
#if defined(__x86_64__)
    if (isa & CPU_AMX) return &cpu_peak_amx;
    if (isa & CPU_AVX512_BF16) return &cpu_peak_avx512bf16;
    if (isa & CPU_AVX512) return &cpu_peak_avx512;
    if (isa & CPU_AVX2) return &cpu_peak_avx2;
#elif defined(__aarch64__)
    if (isa & CPU_SVE512) return &cpu_peak_sve512;
    if (isa & CPU_SVE256) return &cpu_peak_sve256;
    if (isa & CPU_I8MM) return &cpu_peak_i8mm;
    if (isa & CPU_DOTPROD) return &cpu_peak_dotprod;
#endif
    return &cpu_peak_generic;
}

typedef struct job {
    hy_pool *pool;
    const cpu_peak *loops;
    uint64_t (*arithmetic)(uint32_t rounds); /* NULL: memory */
    bool write;
    uint8_t *memory;
    uint64_t bytes;
    uint32_t rounds;
    _Atomic uint64_t operations, seen; /* seen: what all reading returned, or-ed */
} job;

/* The same worker has the same share in every pass, so that it reads what it touched first. */
static void go_through(job *j, uint32_t worker, uint32_t workers) {
    const uint64_t shares = j->bytes / SHARE;
    uint8_t *begin = j->memory + shares * worker / workers * SHARE;
    const uint64_t bytes = (uint64_t)(j->memory + shares * (worker + 1) / workers * SHARE - begin);
    uint64_t seen = 0;
    for (uint32_t r = 0; r < j->rounds; r++) {
        if (j->write)
            j->loops->write(begin, bytes);
        else
            seen |= j->loops->read(begin, bytes);
    }
    atomic_fetch_or(&j->seen, seen);
}

static void work(void *context, uint32_t worker, uint32_t workers) {
    job *j = context;
    if (j->arithmetic)
        atomic_fetch_add(&j->operations, j->arithmetic(j->rounds));
    else
        go_through(j, worker, workers);
}

static hy_status run(void *context, uint32_t rounds, double *done) {
    job *j = context;
    const uint64_t written = UINT64_C(0x0101010101010101) * CPU_PEAK_BYTE;
    j->rounds = rounds;
    atomic_store(&j->operations, 0);
    atomic_store(&j->seen, 0);
    hy_pool_run(j->pool, work, j);
    if (!j->arithmetic && !j->write && atomic_load(&j->seen) != written)
        return hy_fail(HY_E_STATE, "cpu: the memory to read was not written by a pass before");
    *done = j->arithmetic ? (double)atomic_load(&j->operations) : (double)j->bytes * rounds;
    return HY_OK;
}

hy_status cpu_measure_peak(hy_device *base, hy_peak kind, hy_view memory, double *rate) {
    cpu_device *device = (cpu_device *)base;
    const cpu_peak *loops = cpu_peak_of(device->isa);
    const bool moves = kind == HY_PEAK_WRITE || kind == HY_PEAK_READ;
    job j = {.pool = device->pool,
             .loops = loops,
             .arithmetic = kind == HY_PEAK_F32    ? loops->f32
                           : kind == HY_PEAK_INT8 ? loops->int8
                           : kind == HY_PEAK_BF16 ? loops->bf16
                                                  : NULL,
             .write = kind == HY_PEAK_WRITE,
             .memory = hy_view_host(memory),
             .bytes = memory.size / SHARE * SHARE};
    *rate = 0;
    if (!moves && !j.arithmetic)
        return HY_OK; /* f16: no ISA of this build multiplies it natively */
    return hy_peak_pass(run, &j, moves ? j.bytes : 1, MOST, &device->peak_work[kind], rate);
}

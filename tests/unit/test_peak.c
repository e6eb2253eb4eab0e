/* What a device measures of itself: hy_backend.peak, and tools/probe.h over it. The device is the first argument, "cpu"
 * without one. No rate is compared with another: only whether there is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "backends/cpu/cpu.h"
#include "backends/cpu/peak.h"
#include "backends/gpu/gpu.h"
#include "backends/registry.h"
#include "base/num.h"
#include "hal/peak.h"
#include "tools/probe.h"

enum { GUARD = HY_VIEW_ALIGN, ODD = 3 * HY_VIEW_ALIGN, POISON = 0xa5 };

static const char *spec = "cpu";

static void must(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

static bool is_cpu(void) {
    return strncmp(spec, "cpu", 3) == 0;
}

/* ---- what to expect ------------------------------------------------------------------------------ */

/* Whether a device has a rate for `kind`. */
static bool has(const hy_device *device, hy_peak kind) {
    if (kind <= HY_PEAK_F32) return true;
    if (!is_cpu()) {
        const uint32_t features = ((const gpu_device *)device)->limits.features;
        if (kind == HY_PEAK_F16) return features & (GPU_TILES | GPU_COOPMAT);
        return kind == HY_PEAK_INT8 && features & (GPU_TILES | GPU_DOT8);
    }
    const uint32_t isa = ((const cpu_device *)device)->isa;
#if defined(__x86_64__)
    if (kind == HY_PEAK_INT8) return true;
#else
    if (kind == HY_PEAK_INT8) return isa != CPU_GENERIC;
#endif
    return kind == HY_PEAK_BF16 && isa & CPU_AVX512_BF16;
}

static void check_rate(const hy_device *device, hy_peak kind, double rate) {
    print_message("%s %.3g/s\n", probe_name(kind), rate);
    if (has(device, kind))
        assert_true(rate > 0 && rate < 1e18);
    else
        assert_true(rate == 0);
}

/* ---- hy_backend.peak ----------------------------------------------------------------------------- */

/* A device in the validating wrapper, its own one, and memory with a guard on both sides of a view of odd size. */
typedef struct rig {
    hy_device *device, *inner;
    hy_buffer *buffer;
    hy_view memory;
} rig;

static rig set_up(const hy_device_params *params) {
    rig r;
    must(hy_device_open(spec, params, &r.inner));
    must(hy_validate_open(r.inner, &r.device));
    const hy_backend *b = r.device->backend;
    must(b->buffer_new(r.device, HY_HEAP_DEVICE, GUARD + HY_PEAK_LEAST + ODD + GUARD, &r.buffer));
    r.memory = (hy_view){r.buffer, GUARD, HY_PEAK_LEAST + ODD};
    return r;
}

static void take_down(rig *r) {
    hy_buffer_free(r->buffer);
    hy_device_close(r->device);
}

static double pass(const rig *r, hy_peak kind) {
    double rate = -1;
    must(r->device->backend->peak(r->device, kind, r->memory, &rate));
    check_rate(r->inner, kind, rate);
    return rate;
}

static void fill(const rig *r, int value) {
    const size_t size = r->buffer->size;
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    memset(bytes, value, size);
    must(r->device->backend->write(r->buffer, 0, bytes, size));
    free(bytes);
}

static void every_kind(void **state) {
    rig r = set_up(NULL);
    uint8_t guard[2 * GUARD];
    (void)state;
    fill(&r, POISON);
    for (int repeat = 0; repeat < 2; repeat++)
        for (int kind = 0; kind < HY_PEAKS; kind++)
            pass(&r, (hy_peak)kind);
    const hy_backend *b = r.device->backend;
    must(b->read(r.buffer, 0, guard, GUARD));
    must(b->read(r.buffer, r.buffer->size - GUARD, guard + GUARD, GUARD));
    for (size_t i = 0; i < sizeof guard; i++)
        assert_int_equal(guard[i], POISON);
    take_down(&r);
}

/* Reading looks at the memory: what no pass wrote is noticed, and once written it is not. */
static void reads_what_was_written(void **state) {
    rig r = set_up(NULL);
    double rate;
    (void)state;
    fill(&r, 0);
    assert_int_equal(r.device->backend->peak(r.device, HY_PEAK_READ, r.memory, &rate), HY_E_STATE);
    assert_null(strchr(hy_error_text(), '\n'));
    pass(&r, HY_PEAK_WRITE);
    pass(&r, HY_PEAK_READ);
    take_down(&r);
}

/* What was learned with little memory is not too much for more, and the other way round. */
static void other_sizes(void **state) {
    rig r = set_up(NULL);
    (void)state;
    pass(&r, HY_PEAK_WRITE);
    pass(&r, HY_PEAK_READ);
    hy_buffer *small = r.buffer;
    const hy_view kept = r.memory;
    must(r.device->backend->buffer_new(r.device, HY_HEAP_DEVICE, 8 * HY_PEAK_LEAST, &r.buffer));
    r.memory = hy_view_of(r.buffer);
    pass(&r, HY_PEAK_WRITE);
    pass(&r, HY_PEAK_READ);
    hy_buffer_free(r.buffer);
    r.buffer = small;
    r.memory = kept;
    pass(&r, HY_PEAK_READ);
    take_down(&r);
}

/* Of several kernels for int8 the first pass tries all and the next the fastest. */
static void fastest_kernel(void **state) {
    (void)state;
    rig r = set_up(NULL);
    const gpu_peaks *peaks = &((const gpu_device *)r.inner)->peaks;
    uint32_t tried = 0, again = 0;
    uint64_t before[GPU_PEAK_KERNELS];
    pass(&r, HY_PEAK_INT8);
    for (int i = 0; i < GPU_PEAK_KERNELS; i++)
        tried += peaks->work[i] > 0;
    const uint32_t features = ((const gpu_device *)r.inner)->limits.features;
    assert_int_equal(tried, !!(features & GPU_DOT8) + !!(features & GPU_TILES));
    assert_true(!tried || peaks->fastest[HY_PEAK_INT8] > 0);
    memcpy(before, peaks->work, sizeof before);
    for (int i = 0; i < GPU_PEAK_KERNELS; i++) /* a pass always leaves what it did */
        ((gpu_device *)r.inner)->peaks.work[i] = 0;
    pass(&r, HY_PEAK_INT8);
    for (int i = 0; i < GPU_PEAK_KERNELS; i++)
        again += peaks->work[i] > 0;
    assert_int_equal(again, tried > 0);
    take_down(&r);
}

/* ---- hal/peak.h: how long a pass is -------------------------------------------------------------- */

typedef struct script {
    uint32_t calls, first, last; /* first, last: rounds of those calls */
    uint32_t slow;               /* this call, from 1, takes longer than a pass */
    uint32_t failing;            /* this one fails */
} script;

static hy_status play(void *context, uint32_t rounds, double *done) {
    const struct timespec longer = {.tv_nsec = 20000000};
    script *s = context;
    if (!s->calls) s->first = rounds;
    s->last = rounds;
    *done = rounds;
    if (++s->calls == s->slow) nanosleep(&longer, NULL);
    return s->calls == s->failing ? hy_fail(HY_E_DEVICE, "gone") : HY_OK;
}

static void long_passes(void **state) {
    script s = {0};
    uint64_t work = 0;
    double rate = -1;
    (void)state;
    must(hy_peak_pass(play, &s, 3, 50, &work,
                      &rate)); /* never long enough: as many as there may be */
    assert_int_equal(s.last, 50);
    assert_int_equal(work, 3 * 50);
    assert_true(rate > 0);
    s = (script){.slow = 1};
    work = 3 * 40;
    must(hy_peak_pass(play, &s, 3, 50, &work, &rate)); /* long enough at once: as many as before */
    assert_int_equal(s.calls, 1);
    assert_int_equal(s.last, 40);
    must(hy_peak_pass(play, &s, 12, 50, &work,
                      &rate)); /* rounds of four times the work: a quarter */
    assert_true(s.calls > 1 && work % 12 == 0);
    s = (script){.slow = 3};
    work = 0;
    must(hy_peak_pass(play, &s, 1, 50, &work, &rate)); /* what only came between is not believed */
    assert_int_equal(work, 50);
    s = (script){.failing = 2};
    work = 0;
    assert_int_equal(hy_peak_pass(play, &s, 1, 50, &work, &rate), HY_E_DEVICE);
    assert_int_equal(s.calls, 2);
}

/* ---- the CPU's loops ----------------------------------------------------------------------------- */

static const char *const isas[] = {
#if defined(__x86_64__)
    "generic", "avx2", "avx512", "avx512-bf16", "amx",
#elif defined(__aarch64__)
    "generic", "dotprod", "i8mm", "sve256", "sve512",
#else
    "generic",
#endif
};

static void every_isa(void **state) {
    (void)state;
    uint32_t seen = 0;
    for (size_t i = 0; i < HY_COUNT_OF(isas); i++) {
        const hy_device_params params = {.threads = 1, .isa = isas[i]};
        rig r = set_up(&params);
        const uint32_t isa = ((const cpu_device *)r.inner)->isa;
        if (i == 0 || cpu_peak_of(isa) != cpu_peak_of(seen)) {
            print_message("%s:\n", isas[i]);
            for (int kind = 0; kind < HY_PEAKS; kind++)
                pass(&r, (hy_peak)kind);
        }
        seen = isa;
        take_down(&r);
    }
}

/* Every loop writes and reads every byte, and no other. */
static void whole_memory(void **state) {
    enum { BYTES = 4 * CPU_PEAK_STEP };
    static _Alignas(64) uint8_t memory[64 + BYTES + 64];
    (void)state;
    for (size_t i = 0; i < HY_COUNT_OF(isas); i++) {
        const hy_device_params params = {.threads = 1, .isa = isas[i]};
        rig r = set_up(&params);
        const cpu_peak *loops = cpu_peak_of(((const cpu_device *)r.inner)->isa);
        memset(memory, POISON, sizeof memory);
        loops->write(memory + 64, BYTES);
        for (size_t at = 0; at < sizeof memory; at++) {
            const bool inside = at >= 64 && at < 64 + BYTES;
            if (memory[at] != (inside ? CPU_PEAK_BYTE : POISON)) fail_msg("%s: %zu", isas[i], at);
        }
        memset(memory + 64, 0, BYTES);
        for (size_t at = 0; at < sizeof memory; at++) {
            const bool inside = at >= 64 && at < 64 + BYTES;
            const uint8_t before = memory[at];
            memory[at] |= 0x40;
            const uint64_t all = loops->read(memory + 64, BYTES);
            if (all != (inside ? UINT64_C(0x40) << 8 * (at % 8) : 0))
                fail_msg("%s: byte %zu makes %llx", isas[i], at, (unsigned long long)all);
            memory[at] = before;
        }
        take_down(&r);
    }
}

/* Pages of new memory that this thread touches in the first pass of writing, which leaves nothing out. */
static long first_touches(uint32_t threads) {
    const hy_device_params params = {.threads = threads};
    struct rusage before, after;
    rig r = set_up(&params);
    madvise(r.buffer->host, r.buffer->size, MADV_NOHUGEPAGE);
    getrusage(RUSAGE_THREAD, &before);
    pass(&r, HY_PEAK_WRITE);
    getrusage(RUSAGE_THREAD, &after);
    const uint8_t *bytes = hy_view_host(r.memory);
    for (uint32_t i = 0; i < HY_PEAK_LEAST; i++)
        assert_int_equal(bytes[i], CPU_PEAK_BYTE);
    take_down(&r);
    return after.ru_minflt - before.ru_minflt;
}

/* The device's threads share the memory: of three this one touches a third. */
static void uses_its_threads(void **state) {
    (void)state;
    const long alone = first_touches(1), shared = first_touches(3);
    print_message("%ld pages alone, %ld of three\n", alone, shared);
    assert_true(shared < alone * 2 / 3);
}

/* ---- the probe ----------------------------------------------------------------------------------- */

static void probes(void **state) {
    probe *p;
    hy_device *device;
    (void)state;
    must(hy_device_open(spec, NULL, &device));
    must(probe_new(spec, NULL, &p));
    assert_true(probe_bytes(p) >= HY_PEAK_LEAST);
    assert_true(probe_units(p) >= 1);
    for (int kind = 0; kind < HY_PEAKS; kind++)
        check_rate(device, (hy_peak)kind, probe_pass(p, (hy_peak)kind));
    check_rate(device, HY_PEAK_F32, probe_best(p, HY_PEAK_F32));
    assert_int_equal(probe_status(p), HY_OK);
    assert_string_equal(probe_name(HY_PEAK_READ), "read");
    assert_string_equal(probe_name(HY_PEAK_INT8), "int8");
    probe_free(p);
    hy_device_close(device);
    probe_free(NULL);
}

static void probes_of_other_devices(void **state) {
    const hy_device_params unknown = {.isa = "mmx"};
    probe *p;
    (void)state;
    assert_int_equal(probe_new("toaster", NULL, &p), HY_E_NOT_FOUND);
    assert_int_equal(probe_new("cpu", &unknown, &p), HY_E_ARGUMENT);
    must(probe_new("ref", NULL, &p)); /* no peaks */
    assert_int_equal(probe_bytes(p), 0);
    assert_true(probe_best(p, HY_PEAK_READ) == 0);
    assert_int_equal(probe_status(p), HY_OK);
    probe_free(p);
}

int main(int count, char **arguments) {
    const struct CMUnitTest common[] = {
        cmocka_unit_test(every_kind),  cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(other_sizes), cmocka_unit_test(long_passes),
        cmocka_unit_test(probes),      cmocka_unit_test(probes_of_other_devices),
    };
    const struct CMUnitTest cpu[] = {
        cmocka_unit_test(every_isa),
        cmocka_unit_test(whole_memory),
        cmocka_unit_test(uses_its_threads),
    };
    const struct CMUnitTest gpu[] = {
        cmocka_unit_test(fastest_kernel),
    };
    hy_device *device;
    if (count > 1) spec = arguments[1];
    if (hy_device_open(spec, NULL, &device) != HY_OK) {
        printf("skipped: %s\n", hy_error_text());
        return 77;
    }
    hy_device_close(device);
    const int failed = cmocka_run_group_tests(common, NULL, NULL);
    return failed + (is_cpu() ? cmocka_run_group_tests(cpu, NULL, NULL)
                              : cmocka_run_group_tests(gpu, NULL, NULL));
}

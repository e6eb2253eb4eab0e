/* tools/probe.h: what the machine's processor and memory can do, measured in the same run as a benchmark.
 *
 * A pass is short (10 to 30 ms), so that passes can alternate with what is measured: on a shared machine a
 * rate taken a second ago says little. */
#ifndef HY_TOOLS_PROBE_H
#define HY_TOOLS_PROBE_H

#include <stdint.h>

typedef enum probe_kind {
    PROBE_READ, /* bytes/s of memory, each byte read once */
    PROBE_F32,  /* operations/s of float32 fused multiply-adds, two each */
    PROBE_INT8, /* operations/s of int8 products summed in int32, two each */
    PROBE_BF16, /* operations/s of bfloat16 products summed in float32, two each */
    PROBE_KINDS
} probe_kind;

typedef struct probe probe;

/* `threads` workers, 0: one per physical core, on `cpus` as hy_device_params.cpus; `isa` as hy_device_params.isa: instructions above it are not
 * used; `bytes` of memory to read, 0: none. NULL when there is no memory for it or `isa` is unknown. */
probe *probe_new(uint32_t threads, const char *cpus, const char *isa, uint64_t bytes);
/* Its workers. */
uint32_t probe_threads(const probe *p);
void probe_free(probe *p);

/* One pass; 0 when these instructions do not exist here (PROBE_BF16), or no memory was asked for. */
double probe_pass(probe *p, probe_kind kind);

/* Best of a few passes. */
double probe_best(probe *p, probe_kind kind);

#endif

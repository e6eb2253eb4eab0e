/* tools/probe.h: what a device can do, measured in the same run as a benchmark: through hy_backend.peak, on a device
 * and memory of the probe's own.
 *
 * A pass is short (10 to 30 ms), so that passes can alternate with what is measured: on a shared machine a
 * rate taken a second ago says little. Thread-safety: one thread at a time. */
#ifndef HY_TOOLS_PROBE_H
#define HY_TOOLS_PROBE_H

#include "hal/hal.h"

typedef struct probe probe;

/* Opens `device_id` ("cpu", "cuda:1") as hy_device_open does, and takes memory that is more than its caches hold:
 * 512 MiB or four times the caches on a CPU, 1 GiB on a GPU, an eighth of what is free at most. A backend without peaks
 * gives a probe whose rates are all 0. Errors: those of opening, of allocating and of a first pass. */
HY_NODISCARD hy_status probe_new(const char *device_id, const hy_device_params *params,
                                 probe **out);
void probe_free(probe *p);

/* One pass, per second; 0: the device has no such instructions, or has failed, in this pass or before. */
double probe_pass(probe *p, hy_peak kind);
/* Best of a few passes. */
double probe_best(probe *p, hy_peak kind);
/* What the device failed with; HY_OK so far. The pass that failed left its line in hy_error_text. */
hy_status probe_status(const probe *p);

/* The device that it opened; the probe's own. */
hy_device *probe_device(probe *p);
/* "read", "int8": in tables and JSON. */
const char *probe_name(hy_peak kind);
/* Of its memory. */
uint64_t probe_bytes(const probe *p);
/* Workers of a CPU's, multiprocessors of a GPU's device. */
uint32_t probe_units(const probe *p);

#endif

/* tools/bench/energy.h: joules that one device uses between two moments, from the first counter that answers:
 *
 *   cpu, ref                RAPL: the packages, and memory where it is counted apart
 *   a card, by its PCI bus  NVML (NVIDIA), ROCm SMI (AMD), hwmon (amdgpu, i915, xe)
 *
 * Everything is found at run time; nothing is linked. A counter sees the whole device, whoever uses it. Counters move every 1 ms
 * (RAPL) to 100 ms (NVML): an interval should be much longer.
 *
 * Thread-safety: one object is used by one thread at a time. */
#ifndef HY_TOOLS_BENCH_ENERGY_H
#define HY_TOOLS_BENCH_ENERGY_H

#include <stdbool.h>

typedef struct energy energy;

/* device_id: "cpu:0"; pci_bus: hy_device_desc.bus, "" without one. Never fails for want of a counter; NULL only
 * without memory. */
energy *energy_new(const char *device_id, const char *pci_bus);
/* NULL is fine. Ends an interval that is open. */
void energy_free(energy *e);

/* Where joules come from: "rapl package-0 dram", "nvml", "nvml power" (integrated), "rocm-smi", "hwmon amdgpu power";
 * NULL: there is no counter. */
const char *energy_source(const energy *e);
/* One line: why there is no counter, or why begin or end failed last. "": nothing is wrong. */
const char *energy_reason(const energy *e);

/* Opens an interval. False: energy_reason says why. */
bool energy_begin(energy *e);
/* Closes it; *joules are those since energy_begin. False: no interval is open, or the counter failed meanwhile. */
bool energy_end(energy *e, double *joules);

#endif

/* tools/bench/energy_nvml.c: NVIDIA's counter of millijoules (Volta and newer), or its power, integrated. */
#include <stdio.h>
#include <stdlib.h>

#include "tools/bench/energy_meter.h"
#include "tools/bench/nvml.h"

static bool read_energy(energy_meter *meter, double *value, char *reason) {
    const nvml *n = meter->state;
    unsigned long long mj;
    const int code = n->energy_mj(n->device, &mj);
    if (code)
        return energy_fail(reason, "NVML: nvmlDeviceGetTotalEnergyConsumption: %s",
                           nvml_error(n, code));
    *value = (double)mj * 1e-3;
    return true;
}

static bool read_power(energy_meter *meter, double *value, char *reason) {
    const nvml *n = meter->state;
    unsigned mw;
    const int code = n->power_mw(n->device, &mw);
    if (code) return energy_fail(reason, "NVML: nvmlDeviceGetPowerUsage: %s", nvml_error(n, code));
    *value = mw * 1e-3;
    return true;
}

static void close_nvml(energy_meter *meter) {
    nvml_close(meter->state);
    free(meter->state);
}

static bool choose(energy_meter *out, nvml *n, char *reason) {
    double value;
    if (!n->energy_mj && !n->power_mw)
        return energy_fail(reason, "NVML: the library has neither energy nor power");
    *out = (energy_meter){.name = "nvml", .read = read_energy, .close = close_nvml, .state = n};
    if (n->energy_mj && read_energy(out, &value, reason)) return true;
    *out = (energy_meter){.name = "nvml power",
                          .power = true,
                          .period_ms = ENERGY_POWER_MS,
                          .read = read_power,
                          .close = close_nvml,
                          .state = n};
    return n->power_mw && read_power(out, &value, reason);
}

bool energy_nvml(const char *bus, energy_meter *out, char *reason) {
    nvml *n = malloc(sizeof *n);
    if (!n) return energy_fail(reason, "NVML: no memory");
    if (nvml_open(n, bus, reason, ENERGY_TEXT)) {
        if (choose(out, n, reason)) return true;
        nvml_close(n);
    }
    free(n);
    return false;
}

/* tools/bench/energy_hwmon.c: a card's sensors in the kernel's own form (Documentation/hwmon/sysfs-interface):
 * microjoules (i915, xe), or microwatts (amdgpu) that are integrated. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "tools/bench/energy_meter.h"
#include "tools/bench/sysfs.h"

enum { MAX_MONITORS = 16 };

typedef struct hwmon {
    char path[SYS_PATH];
} hwmon;

/* Files of a monitor, the best first. Of xe's channels the first is the card, the second its package. */
static const struct {
    const char *name;
    bool power;
} files[] = {{"energy1_input", false},
             {"energy2_input", false},
             {"power1_average", true},
             {"power1_input", true}};

static bool read_hwmon(energy_meter *meter, double *value, char *reason) {
    const hwmon *h = meter->state;
    uint64_t millionths;
    if (!sys_u64(&millionths, "%s", h->path)) return energy_unreadable(reason, "hwmon", h->path);
    *value = (double)millionths * 1e-6;
    return true;
}

static void close_hwmon(energy_meter *meter) {
    free(meter->state);
}

/* The best file that any of the card's monitors has and that can be read. */
static bool find(const char *bus, hwmon *h, energy_meter *out, char *reason) {
    char monitors[MAX_MONITORS][SYS_NAME], driver[32], folder[96];
    snprintf(folder, sizeof folder, "/sys/bus/pci/devices/%.40s/hwmon", bus);
    const uint32_t count = sys_list(monitors, MAX_MONITORS, "hwmon", "%s", folder);
    energy_fail(reason, "hwmon: neither energy nor power under %s", folder);
    for (size_t f = 0; f < HY_COUNT_OF(files); f++) {
        for (uint32_t i = 0; i < count; i++) {
            double value;
            if (!sys_line(driver, sizeof driver, "%s/%s/name", folder, monitors[i])) driver[0] = 0;
            if (strstr(driver, "_gt")) continue; /* i915_gt0: a part of the card */
            snprintf(h->path, sizeof h->path, "%s/%.63s/%s", folder, monitors[i], files[f].name);
            if (!sys_exists("%s", h->path) || !read_hwmon(out, &value, reason)) continue;
            snprintf(out->name, sizeof out->name, "hwmon%s%s%s", *driver ? " " : "", driver,
                     files[f].power ? " power" : "");
            out->power = files[f].power;
            /* Counters of 32 bits, continued by their drivers whenever they are read. */
            out->period_ms = files[f].power ? ENERGY_POWER_MS : ENERGY_WRAP_MS;
            return true;
        }
    }
    return false;
}

bool energy_hwmon(const char *bus, energy_meter *out, char *reason) {
    hwmon *h = calloc(1, sizeof *h);
    if (!h) return energy_fail(reason, "hwmon: no memory");
    *out = (energy_meter){.read = read_hwmon, .close = close_hwmon, .state = h};
    if (find(bus, h, out, reason)) return true;
    free(h);
    return false;
}

/* tools/bench/energy_rapl.c: processors' own counters, which Linux shows under /sys/class/powercap for Intel and AMD
 * alike (Documentation/power/powercap of the kernel). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "tools/bench/energy_meter.h"
#include "tools/bench/sysfs.h"

#define POWERCAP "/sys/class/powercap"

enum {
    MAX_ZONES = 64, /* packages, or zones of a package */
    MAX_DOMAINS = 64,
    MOST_WATTS = 1000 /* that no domain exceeds for long */
};

typedef struct domain {
    char folder[80];      /* "/sys/class/powercap/intel-rapl:0" */
    uint64_t last, range; /* microjoules; the counter goes from 0 to `range` and round */
} domain;

typedef struct rapl {
    domain domain[MAX_DOMAINS];
    uint32_t count;
    uint64_t total_uj; /* since it was opened */
} rapl;

static bool read_domain(const domain *d, uint64_t *out, char *reason) {
    char path[112];
    snprintf(path, sizeof path, "%s/energy_uj", d->folder);
    return sys_u64(out, "%s", path) || energy_unreadable(reason, "RAPL", path);
}

static bool read_rapl(energy_meter *meter, double *value, char *reason) {
    rapl *r = meter->state;
    for (uint32_t i = 0; i < r->count; i++) {
        domain *d = &r->domain[i];
        uint64_t now;
        if (!read_domain(d, &now, reason)) return false;
        if (now < d->last && d->last > d->range)
            return energy_fail(reason, "RAPL: the counter in %s went back", d->folder);
        r->total_uj += now >= d->last ? now - d->last : d->range - d->last + now;
        d->last = now;
    }
    *value = (double)r->total_uj * 1e-6;
    return true;
}

static void close_rapl(energy_meter *meter) {
    free(meter->state);
}

/* Takes the domain of a folder if it is to be counted: a package, or memory beside one. The cores and the graphics
 * inside a package are part of it; "psys" is the whole board, packages included. */
static bool add_domain(rapl *r, energy_meter *out, bool package, const char *folder, char *reason) {
    char name[32];
    if (r->count == MAX_DOMAINS || !sys_line(name, sizeof name, "%s/name", folder)) return true;
    if (strncmp(name, package ? "package" : "dram", package ? 7 : 4) != 0) return true;
    domain *d = &r->domain[r->count++];
    snprintf(d->folder, sizeof d->folder, "%s", folder);
    if (!read_domain(d, &d->last, reason)) return false;
    if (!sys_u64(&d->range, "%s/max_energy_range_uj", folder)) d->range = 0;
    /* Read so often that no domain comes round between two looks. */
    const uint64_t half_ms = d->range / MOST_WATTS / 1000 / 2;
    if (d->range) out->period_ms = (uint32_t)HY_MIN(out->period_ms, HY_MAX(half_ms, 20));
    const size_t used = strlen(out->name);
    snprintf(out->name + used, sizeof out->name - used, " %s", name);
    return true;
}

static bool add_all(rapl *r, energy_meter *out, char *reason) {
    char folder[64];
    for (uint32_t i = 0; i < MAX_ZONES; i++) {
        snprintf(folder, sizeof folder, POWERCAP "/intel-rapl:%u", i);
        if (!sys_exists("%s", folder)) continue;
        if (!add_domain(r, out, true, folder, reason)) return false;
        for (uint32_t j = 0; j < MAX_ZONES; j++) {
            snprintf(folder, sizeof folder, POWERCAP "/intel-rapl:%u:%u", i, j);
            if (!sys_exists("%s", folder)) break;
            if (!add_domain(r, out, false, folder, reason)) return false;
        }
    }
    return r->count || energy_fail(reason, "RAPL: no package under " POWERCAP
                                           "/intel-rapl:* (virtual machines seldom have one)");
}

bool energy_rapl(const char *bus, energy_meter *out, char *reason) {
    (void)bus;
    rapl *r = calloc(1, sizeof *r);
    if (!r) return energy_fail(reason, "RAPL: no memory");
    *out = (energy_meter){.name = "rapl",
                          .period_ms = ENERGY_WRAP_MS,
                          .read = read_rapl,
                          .close = close_rapl,
                          .state = r};
    if (add_all(r, out, reason)) return true;
    free(r);
    return false;
}

/* tools/bench/machine_gpu.c: a card's part of the record: from the system's files for its place on PCI, and from NVML for
 * NVIDIA. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "tools/bench/machine.h"
#include "tools/bench/machine_inner.h"
#include "tools/bench/nvml.h"
#include "tools/bench/sysfs.h"

#define DEVICES "/sys/bus/pci/devices"

/* What both kinds of sources tell. 0: not known; flags: -1. */
typedef struct facts {
    char driver[32], version[96];
    double clock_mhz, clock_max_mhz, memory_mhz, memory_max_mhz, limit_w, temperature;
    uint32_t gen, gen_max, width, width_max;
    bool warm; /* `temperature` is known */
    int ecc, mig, persistence;
    json_t *throttle; /* NULL: not known */
} facts;

/* ---- the system's files ---- */

/* "16.0 GT/s PCIe" -> 4; 0: something else. */
static uint32_t generation_of(const char *speed) {
    static const double rates[] = {2.5, 5, 8, 16, 32, 64, 128};
    const double rate = strtod(speed, NULL);
    for (uint32_t i = 0; i < HY_COUNT_OF(rates); i++)
        if (rate == rates[i]) return i + 1;
    return 0;
}

static uint32_t small_number(const char *bus, const char *name) {
    uint64_t value;
    return sys_u64(&value, DEVICES "/%s/%s", bus, name) && value <= 64 ? (uint32_t)value : 0;
}

static void read_link(facts *f, const char *bus) {
    char text[64];
    if (sys_line(text, sizeof text, DEVICES "/%s/current_link_speed", bus))
        f->gen = generation_of(text);
    if (sys_line(text, sizeof text, DEVICES "/%s/max_link_speed", bus))
        f->gen_max = generation_of(text);
    f->width = small_number(bus, "current_link_width");
    f->width_max = small_number(bus, "max_link_width");
}

/* amdgpu's table of clocks, "1: 2100Mhz *": the star is at the present one. */
static void read_levels(const char *bus, const char *name, double *now, double *most) {
    char line[64];
    FILE *file = sys_open(DEVICES "/%s/%s", bus, name);
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        const double mhz = colon ? strtod(colon + 1, NULL) : 0;
        *most = HY_MAX(*most, mhz);
        if (strchr(line, '*')) *now = mhz;
    }
    if (file) fclose(file);
}

static double sensor(const char *bus, const char *monitor, const char *name) {
    uint64_t value;
    return sys_u64(&value, DEVICES "/%s/hwmon/%s/%s", bus, monitor, name) ? (double)value : 0;
}

static void read_sensors(facts *f, const char *bus) {
    char monitors[1][SYS_NAME];
    if (!sys_list(monitors, 1, "hwmon", DEVICES "/%s/hwmon", bus)) return;
    f->limit_w = sensor(bus, monitors[0], "power1_cap") * 1e-6;
    if (!(f->limit_w > 0)) f->limit_w = sensor(bus, monitors[0], "power1_max") * 1e-6;
    f->temperature = sensor(bus, monitors[0], "temp1_input") * 1e-3;
    f->warm = f->temperature > 0;
}

static void read_system(facts *f, const char *bus) {
    if (sys_link(f->driver, sizeof f->driver, DEVICES "/%s/driver", bus))
        sys_line(f->version, sizeof f->version, "/sys/module/%s/version", f->driver);
    read_link(f, bus);
    read_levels(bus, "pp_dpm_sclk", &f->clock_mhz, &f->clock_max_mhz);
    read_levels(bus, "pp_dpm_mclk", &f->memory_mhz, &f->memory_max_mhz);
    read_sensors(f, bus);
}

/* ---- NVML ---- */

/* Why clocks are below the highest, by bit. */
static const char *const reasons[] = {"idle",        "application_clocks", "power_cap",
                                      "hw_slowdown", "sync_boost",         "thermal",
                                      "hw_thermal",  "hw_power_brake",     "display_clocks"};

static json_t *throttle_of(unsigned long long bits) {
    json_t *list = json_array();
    for (size_t i = 0; i < HY_COUNT_OF(reasons); i++)
        if (bits >> i & 1) json_array_append_new(list, json_string(reasons[i]));
    return list;
}

static double clock_of(int (*get)(void *device, int kind, unsigned *out), void *device, int kind) {
    unsigned mhz;
    return get && get(device, kind, &mhz) == 0 ? mhz : 0;
}

static uint32_t link_of(int (*get)(void *device, unsigned *out), void *device, uint32_t known) {
    unsigned value;
    return !known && get && get(device, &value) == 0 ? value : known;
}

static int mode_of(int (*get)(void *device, int *now, int *pending), void *device) {
    int now, pending;
    return get && get(device, &now, &pending) == 0 ? now != 0 : -1;
}

static void read_nvml(facts *f, const nvml *n) {
    unsigned value;
    unsigned long long bits;
    int on;
    if (n->driver_version) n->driver_version(f->version, sizeof f->version);
    f->clock_mhz = clock_of(n->clock_mhz, n->device, NVML_CLOCK_SM);
    f->clock_max_mhz = clock_of(n->clock_max_mhz, n->device, NVML_CLOCK_SM);
    f->memory_mhz = clock_of(n->clock_mhz, n->device, NVML_CLOCK_MEMORY);
    f->memory_max_mhz = clock_of(n->clock_max_mhz, n->device, NVML_CLOCK_MEMORY);
    if (n->power_limit_mw && n->power_limit_mw(n->device, &value) == 0) f->limit_w = value * 1e-3;
    f->warm = n->temperature && n->temperature(n->device, NVML_SENSOR_GPU, &value) == 0;
    if (f->warm) f->temperature = value;
    f->ecc = mode_of(n->ecc, n->device);
    f->mig = mode_of(n->mig, n->device);
    if (n->persistence && n->persistence(n->device, &on) == 0) f->persistence = on != 0;
    if (n->throttle && n->throttle(n->device, &bits) == 0) f->throttle = throttle_of(bits);
    f->gen = link_of(n->link_gen, n->device, f->gen);
    f->gen_max = link_of(n->link_gen_max, n->device, f->gen_max);
    f->width = link_of(n->link_width, n->device, f->width);
    f->width_max = link_of(n->link_width_max, n->device, f->width_max);
}

/* ---- the object ---- */

static json_t *link_json(const facts *f) {
    json_t *o = json_object();
    machine_number(o, "generation", f->gen > 0, f->gen);
    machine_number(o, "generation_max", f->gen_max > 0, f->gen_max);
    machine_number(o, "width", f->width > 0, f->width);
    machine_number(o, "width_max", f->width_max > 0, f->width_max);
    return o;
}

static void write_facts(json_t *o, const facts *f) {
    machine_text(o, "driver", f->driver);
    machine_text(o, "driver_version", f->version);
    machine_real(o, "clock_mhz", f->clock_mhz > 0, f->clock_mhz);
    machine_real(o, "clock_max_mhz", f->clock_max_mhz > 0, f->clock_max_mhz);
    machine_real(o, "memory_clock_mhz", f->memory_mhz > 0, f->memory_mhz);
    machine_real(o, "memory_clock_max_mhz", f->memory_max_mhz > 0, f->memory_max_mhz);
    machine_real(o, "power_limit_w", f->limit_w > 0, f->limit_w);
    machine_real(o, "temperature_c", f->warm, f->temperature);
    machine_flag(o, "ecc", f->ecc >= 0, f->ecc > 0);
    machine_flag(o, "mig", f->mig >= 0, f->mig > 0);
    machine_flag(o, "persistence", f->persistence >= 0, f->persistence > 0);
    json_object_set_new(o, "throttle", f->throttle ? f->throttle : json_null());
    json_object_set_new(o, "pcie", link_json(f));
}

json_t *machine_gpu_json(const char *pci_bus) {
    facts f = {.ecc = -1, .mig = -1, .persistence = -1};
    char vendor[16] = "", device[16] = "", id[40] = "", reason[256]; /* "0x10de", "0x2330" */
    nvml n;
    json_t *o = json_object();
    if (!o) return NULL;
    if (*pci_bus) {
        sys_line(vendor, sizeof vendor, DEVICES "/%s/vendor", pci_bus);
        sys_line(device, sizeof device, DEVICES "/%s/device", pci_bus);
        read_system(&f, pci_bus);
        if ((!*vendor || !strcmp(vendor, "0x10de")) &&
            nvml_open(&n, pci_bus, reason, sizeof reason)) {
            read_nvml(&f, &n);
            nvml_close(&n);
        }
    }
    if (strlen(vendor) > 2 && strlen(device) > 2)
        snprintf(id, sizeof id, "%s:%s", vendor + 2, device + 2);
    machine_text(o, "bus", pci_bus);
    machine_text(o, "pci_id", id);
    write_facts(o, &f);
    return o;
}

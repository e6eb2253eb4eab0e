/* tools/bench/energy_rocm.c: AMD's counter by ROCm SMI, whose functions are declared here: no header of ROCm's is
 * needed. 0 is success. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/bench/dynamic.h"
#include "tools/bench/energy_meter.h"

typedef struct rocm {
    int (*init)(uint64_t flags);
    int (*shut_down)(void);
    int (*count)(uint32_t *out);
    int (*bus)(uint32_t device, uint64_t *out);
    int (*energy)(uint32_t device, uint64_t *ticks, float *tick_uj, uint64_t *time_ns);
    int (*error_text)(int code, const char **out); /* NULL: absent */
    uint32_t device;
} rocm;

static const char *error_of(const rocm *r, int code) {
    const char *text = NULL;
    return r->error_text && r->error_text(code, &text) == 0 && text ? text : "an unknown error";
}

static bool read_rocm(energy_meter *meter, double *value, char *reason) {
    const rocm *r = meter->state;
    uint64_t ticks, time_ns;
    float tick_uj;
    const int code = r->energy(r->device, &ticks, &tick_uj, &time_ns);
    if (code)
        return energy_fail(reason, "ROCm SMI: rsmi_dev_energy_count_get: %s", error_of(r, code));
    if (ticks == 0) /* the second die of a card of two */
        return energy_fail(reason, "ROCm SMI: this die counts no energy");
    *value = (double)ticks * (double)tick_uj * 1e-6;
    return true;
}

static void close_rocm(energy_meter *meter) {
    ((rocm *)meter->state)->shut_down();
    free(meter->state);
}

/* "0000:c1:00.0" as rsmi_dev_pci_id_get has it: the domain in bits 63..32, then bus, device, function in bits 15..0;
 * bits 31..28 are a partition's number. */
static bool id_of(const char *bus, uint64_t *out) {
    unsigned domain, number, device, function;
    if (sscanf(bus, "%x:%x:%x.%x", &domain, &number, &device, &function) != 4) return false;
    *out = (uint64_t)domain << 32 | (uint64_t)(number << 8 | device << 3 | function);
    return true;
}

static bool find(rocm *r, const char *bus, char *reason) {
    const uint64_t mask = ~UINT64_C(0xf0000000);
    uint32_t count = 0;
    uint64_t want, have;
    const int code = r->count(&count);
    if (code)
        return energy_fail(reason, "ROCm SMI: rsmi_num_monitor_devices: %s", error_of(r, code));
    for (r->device = 0; id_of(bus, &want) && r->device < count; r->device++)
        if (r->bus(r->device, &have) == 0 && (have & mask) == want) return true;
    return energy_fail(reason, "ROCm SMI: no device at %s", bus);
}

static bool start(rocm *r, char *reason) {
    static const char *const names[] = {"librocm_smi64.so.7", "librocm_smi64.so.6",
                                        "librocm_smi64.so.5", "librocm_smi64.so.1",
                                        "librocm_smi64.so",   NULL};
    const dynamic_symbol symbols[] = {{"rsmi_init", &r->init, false},
                                      {"rsmi_shut_down", &r->shut_down, false},
                                      {"rsmi_num_monitor_devices", &r->count, false},
                                      {"rsmi_dev_pci_id_get", &r->bus, false},
                                      {"rsmi_dev_energy_count_get", &r->energy, false},
                                      {"rsmi_status_string", &r->error_text, true},
                                      {NULL, NULL, false}};
    if (!dynamic_open("ROCm SMI", "HALYARD_ROCM_SMI_LIBRARY", names, symbols, reason, ENERGY_TEXT))
        return false;
    const int code = r->init(0);
    return code == 0 || energy_fail(reason, "ROCm SMI: rsmi_init: %s", error_of(r, code));
}

bool energy_rocm(const char *bus, energy_meter *out, char *reason) {
    double value;
    rocm *r = calloc(1, sizeof *r);
    if (!r) return energy_fail(reason, "ROCm SMI: no memory");
    *out = (energy_meter){.name = "rocm-smi", .read = read_rocm, .close = close_rocm, .state = r};
    if (start(r, reason)) {
        if (find(r, bus, reason) && read_rocm(out, &value, reason)) return true;
        r->shut_down();
    }
    free(r);
    return false;
}

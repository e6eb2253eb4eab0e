/* tests/bench/stand_in_rocm.c: a ROCm SMI for tests, with the declarations of tools/bench/energy_rocm.c.
 * WITHOUT_ENERGY leaves the counter out. Device 1 of two is the one at STAND_IN_BUS, as partition 3 of it. */
#include <stdint.h>

#include "tests/bench/stand_in.h"

STAND_IN_EXPORT int rsmi_init(uint64_t flags) {
    (void)flags;
    STAND_IN_CALL();
    stand_in_start();
    return 0;
}

STAND_IN_EXPORT int rsmi_shut_down(void) {
    stand_in.open--;
    return 0;
}

STAND_IN_EXPORT int rsmi_status_string(int code, const char **out) {
    *out = code == 2 ? "RSMI_STATUS_NOT_SUPPORTED" : "RSMI_STATUS_UNKNOWN_ERROR";
    return 0;
}

STAND_IN_EXPORT int rsmi_num_monitor_devices(uint32_t *out) {
    STAND_IN_CALL();
    *out = 2;
    return 0;
}

STAND_IN_EXPORT int rsmi_dev_pci_id_get(uint32_t device, uint64_t *out) {
    STAND_IN_CALL();
    *out = UINT64_C(1) << 32 | UINT64_C(3) << 28 | 0x65 << 8 | (device ? 0x1f : 0x1e) << 3;
    return 0;
}

#ifndef WITHOUT_ENERGY
/* A die that draws nothing counts nothing; device 0 is another card, at rest. */
STAND_IN_EXPORT int rsmi_dev_energy_count_get(uint32_t device, uint64_t *ticks, float *tick_uj,
                                              uint64_t *time_ns) {
    STAND_IN_CALL();
    *tick_uj = 15.3F;
    *time_ns = (uint64_t)(stand_in_now() * 1e9);
    *ticks = device == 1 && stand_in.watts ? 1 + (uint64_t)(stand_in_joules() * 1e6 / 15.3) : 0;
    return 0;
}
#endif

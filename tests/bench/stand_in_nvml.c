/* tests/bench/stand_in_nvml.c: an NVML for tests, with the declarations of tools/bench/nvml.h. WITHOUT_ENERGY and
 * WITHOUT_INIT leave functions out. */
#include <stdio.h>
#include <string.h>

#include "tests/bench/stand_in.h"

enum { NOT_FOUND = 6 };

#ifndef WITHOUT_INIT
STAND_IN_EXPORT int nvmlInit_v2(void) {
    STAND_IN_CALL();
    stand_in_start();
    return 0;
}
#endif

STAND_IN_EXPORT int nvmlShutdown(void) {
    stand_in.open--;
    return 0;
}

STAND_IN_EXPORT const char *nvmlErrorString(int code) {
    if (code == 3) return "Not Supported";
    if (code == NOT_FOUND) return "Not Found";
    if (code == 9) return "Driver Not Loaded";
    return code == 15 ? "GPU is lost" : NULL;
}

STAND_IN_EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned length) {
    STAND_IN_CALL();
    snprintf(out, length, "550.54.15");
    return 0;
}

STAND_IN_EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
    STAND_IN_CALL();
    *device = &stand_in;
    return strcmp(bus, STAND_IN_BUS) == 0 ? 0 : NOT_FOUND;
}

#ifndef WITHOUT_ENERGY
STAND_IN_EXPORT int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *out) {
    STAND_IN_CALL();
    *out = (unsigned long long)(stand_in_joules() * 1000);
    return device == &stand_in ? 0 : NOT_FOUND;
}
#endif

STAND_IN_EXPORT int nvmlDeviceGetPowerUsage(void *device, unsigned *out) {
    const int call = stand_in.calls;
    STAND_IN_CALL();
    if (call < STAND_IN_MOST) stand_in.called[call] = stand_in_now();
    *out = (unsigned)stand_in.watts * 1000;
    stand_in.calls++;
    return device == &stand_in ? 0 : NOT_FOUND;
}

/* ---- for the record of the machine ---- */

/* Of a graphics, an SM and a memory clock. */
STAND_IN_EXPORT int nvmlDeviceGetClockInfo(void *device, int kind, unsigned *out) {
    static const unsigned mhz[] = {7, 1980, 2619};
    (void)device;
    STAND_IN_CALL();
    *out = mhz[kind];
    return 0;
}

STAND_IN_EXPORT int nvmlDeviceGetMaxClockInfo(void *device, int kind, unsigned *out) {
    (void)device;
    STAND_IN_CALL();
    *out = 2000 + (unsigned)kind;
    return 0;
}

STAND_IN_EXPORT int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out) {
    (void)device;
    STAND_IN_CALL();
    *out = sensor ? 7 : 41;
    return 0;
}

#define ANSWER(name, type, value)                                                                  \
    STAND_IN_EXPORT int name(void *device, type *out) {                                            \
        (void)device;                                                                              \
        STAND_IN_CALL();                                                                           \
        *out = value;                                                                              \
        return 0;                                                                                  \
    }
#define ANSWER_MODE(name, value, next)                                                             \
    STAND_IN_EXPORT int name(void *device, int *out, int *pending) {                               \
        (void)device;                                                                              \
        STAND_IN_CALL();                                                                           \
        *out = value;                                                                              \
        *pending = next;                                                                           \
        return 0;                                                                                  \
    }
ANSWER(nvmlDeviceGetEnforcedPowerLimit, unsigned, 700000)
ANSWER(nvmlDeviceGetPersistenceMode, int, 1)
ANSWER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, 0x4 | 0x100)
ANSWER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, 4)
ANSWER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, 5)
ANSWER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, 8)
ANSWER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, 16)
ANSWER_MODE(nvmlDeviceGetEccMode, 1, 0)
ANSWER_MODE(nvmlDeviceGetMigMode, 0, 1)

/* tools/bench/nvml.h: NVIDIA's management library as far as it is used, declared here: no header of NVIDIA's is
 * needed. Handles are pointers, results and enums ints; 0 is success.
 *
 * Thread-safety: one object is used by one thread at a time. */
#ifndef HY_TOOLS_BENCH_NVML_H
#define HY_TOOLS_BENCH_NVML_H

#include <stdbool.h>
#include <stddef.h>

/* X(field, symbol, parameters) */
#define NVML_FUNCTIONS(X)                                                                          \
    X(init, "nvmlInit_v2", (void))                                                                 \
    X(shutdown, "nvmlShutdown", (void))                                                            \
    X(device_find, "nvmlDeviceGetHandleByPciBusId_v2", (const char *bus, void **device))

/* May be absent: NULL. */
#define NVML_MORE_FUNCTIONS(X)                                                                     \
    X(driver_version, "nvmlSystemGetDriverVersion", (char *out, unsigned length))                  \
    X(energy_mj, "nvmlDeviceGetTotalEnergyConsumption", (void *device, unsigned long long *out))   \
    X(power_mw, "nvmlDeviceGetPowerUsage", (void *device, unsigned *out))                          \
    X(power_limit_mw, "nvmlDeviceGetEnforcedPowerLimit", (void *device, unsigned *out))            \
    X(clock_mhz, "nvmlDeviceGetClockInfo", (void *device, int kind, unsigned *out))                \
    X(clock_max_mhz, "nvmlDeviceGetMaxClockInfo", (void *device, int kind, unsigned *out))         \
    X(temperature, "nvmlDeviceGetTemperature", (void *device, int sensor, unsigned *out))          \
    X(ecc, "nvmlDeviceGetEccMode", (void *device, int *now, int *pending))                         \
    X(mig, "nvmlDeviceGetMigMode", (void *device, int *now, int *pending))                         \
    X(persistence, "nvmlDeviceGetPersistenceMode", (void *device, int *out))                       \
    X(throttle, "nvmlDeviceGetCurrentClocksThrottleReasons",                                       \
      (void *device, unsigned long long *out))                                                     \
    X(link_gen, "nvmlDeviceGetCurrPcieLinkGeneration", (void *device, unsigned *out))              \
    X(link_gen_max, "nvmlDeviceGetMaxPcieLinkGeneration", (void *device, unsigned *out))           \
    X(link_width, "nvmlDeviceGetCurrPcieLinkWidth", (void *device, unsigned *out))                 \
    X(link_width_max, "nvmlDeviceGetMaxPcieLinkWidth", (void *device, unsigned *out))

/* Kinds of clocks and sensors. */
enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEMORY = 2, NVML_SENSOR_GPU = 0 };

#define NVML_FIELD(field, symbol, parameters) int(*field) parameters;
/* The library's functions and one device. */
typedef struct nvml {
    NVML_FUNCTIONS(NVML_FIELD)
    NVML_MORE_FUNCTIONS(NVML_FIELD)
    const char *(*error_text)(int code); /* NULL: absent */
    void *device;
} nvml;
#undef NVML_FIELD

/* Starts libnvidia-ml.so.1 (or the file that HALYARD_NVML_LIBRARY names) and finds the device at a PCI bus id.
 * False: `reason` is one line that begins with NVML. */
bool nvml_open(nvml *out, const char *bus, char *reason, size_t size);
/* The counterpart of one nvml_open that went well. */
void nvml_close(nvml *n);
/* "GPU is lost" */
const char *nvml_error(const nvml *n, int code);

#endif

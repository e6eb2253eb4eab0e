/* backends/registry.h: the backends in this build. Thread-safety: the table is constant. */
#ifndef HY_BACKENDS_REGISTRY_H
#define HY_BACKENDS_REGISTRY_H

#include "hal/hal.h"

/* NULL past the end; the order is that of preference for a default device. */
const hy_backend *hy_backend_at(uint32_t index);
/* NULL when there is none of that name. */
const hy_backend *hy_backend_by_name(const char *name);

/* The first device that is not software, in the order of preference: what "auto" opens. HY_E_NOT_FOUND lists
 * the devices that exist. */
HY_NODISCARD hy_status hy_default_device(const hy_backend **backend, uint32_t *index);

/* Opens "cpu", "cpu:0", "vulkan:1", "ref"; NULL or "auto" picks the first backend with a device that is
 * not software. HY_E_NOT_FOUND lists the devices that exist. */
HY_NODISCARD hy_status hy_device_open(const char *spec, const hy_device_params *params,
                                      hy_device **out);

#endif

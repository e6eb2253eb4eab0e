/* backends/cpu/cpu_backend.h: the CPU backend, for backends/registry.c. */
#ifndef HY_CPU_BACKEND_H
#define HY_CPU_BACKEND_H

#include "hal/hal.h"

/* One device: the processors that this process may use. */
extern const hy_backend hy_cpu_backend;

#endif

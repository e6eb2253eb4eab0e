/* backends/hip/hip_backend.h: what the registry sees. */
#ifndef HY_HIP_HIP_BACKEND_H
#define HY_HIP_HIP_BACKEND_H

#include "hal/hal.h"

/* AMD GPUs through libamdhip64, which is looked for at run time. */
extern const hy_backend hy_hip_backend;

#endif

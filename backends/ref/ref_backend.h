/* backends/ref/ref_backend.h: the float64 oracle as a backend. */
#ifndef HY_REF_BACKEND_H
#define HY_REF_BACKEND_H

#include "hal/hal.h"

/* One device; the only backend with hy_backend.oracle. */
extern const hy_backend hy_ref_backend;

#endif

/* backends/null/null_backend.h: the backend that accepts everything and runs nothing. */
#ifndef HY_NULL_BACKEND_H
#define HY_NULL_BACKEND_H

#include "hal/hal.h"

/* Eight devices, null:0 .. null:7. */
extern const hy_backend hy_null_backend;

#endif

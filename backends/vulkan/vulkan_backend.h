/* backends/vulkan/vulkan_backend.h: what the registry sees. */
#ifndef HY_VULKAN_VULKAN_BACKEND_H
#define HY_VULKAN_VULKAN_BACKEND_H

#include "hal/hal.h"

/* Any GPU with a Vulkan 1.2 driver and buffer addresses. A build without a GLSL compiler has a stub whose
 * devices() says so. */
extern const hy_backend hy_vulkan_backend;

#endif

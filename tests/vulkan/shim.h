/* tests/vulkan/shim.h: a libvulkan for tests. It stands in front of the real one (HALYARD_VULKAN_LIBRARY names
 * it) and passes every call on, but counts commands recorded and objects alive, and fails calls on demand. The
 * test opens the same file with dlopen and finds `vulkan_shim`. */
#ifndef HY_TESTS_VULKAN_SHIM_H
#define HY_TESTS_VULKAN_SHIM_H

#include <stdatomic.h>

#include "tests/gpu/fault_state.h"

typedef struct vulkan_shim_state {
    fault_state faults; /* VkResults; VK_ERROR_DEVICE_LOST means loss, of submissions and waits */
    _Atomic uint64_t commands; /* vkCmd* calls so far */
    _Atomic uint64_t submits;  /* vkQueueSubmit calls so far */
    /* Of the two semaphores that a submission sets, the second is set when it is waited for; `early` counts
     * those that were destroyed before. */
    bool late;
    int early;
    bool no_addresses;       /* no device has bufferDeviceAddress */
    bool no_driver;          /* vkEnumeratePhysicalDevices finds none */
    uint64_t max_allocation; /* maxMemoryAllocationSize that devices report; 0: their own */
} vulkan_shim_state;

#endif

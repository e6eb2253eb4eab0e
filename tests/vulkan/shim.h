/* tests/vulkan/shim.h: a libvulkan for tests. It stands in front of the real one (HALYARD_VULKAN_LIBRARY names
 * it) and passes every call on, but counts commands recorded and objects alive, and fails calls on demand. The
 * test opens the same file with dlopen and finds `vulkan_shim`. */
#ifndef HY_TESTS_VULKAN_SHIM_H
#define HY_TESTS_VULKAN_SHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct vulkan_shim_state {
    _Atomic uint64_t commands; /* vkCmd* calls so far */
    _Atomic uint64_t submits;  /* vkQueueSubmit calls so far */
    _Atomic int64_t alive;     /* objects of a device and pieces of memory not destroyed yet */
    /* The fail_at-th call from now that can fail does so with `failure` (a VkResult) and is not passed on; 0:
     * none. It counts down to 0. With `failure` VK_ERROR_DEVICE_LOST all later submissions and waits fail so
     * until `lost` is cleared. */
    _Atomic int64_t fail_at;
    _Atomic int32_t failure;
    const char *fail_only; /* only calls of this name count ("vkAllocateMemory"); NULL: all */
    _Atomic bool lost;     /* submissions and waits fail with VK_ERROR_DEVICE_LOST */
    _Atomic bool hang;     /* submissions are swallowed: nothing is ever done */
    /* Of the two semaphores that a submission sets, the second is set when it is waited for; `early` counts
     * those that were destroyed before. */
    bool late;
    int early;
    bool no_addresses;       /* no device has bufferDeviceAddress */
    bool no_driver;          /* vkEnumeratePhysicalDevices finds none */
    uint64_t max_allocation; /* maxMemoryAllocationSize that devices report; 0: their own */
    void (*enter)(void);     /* called before and after each call that is passed on; NULL: none */
    void (*leave)(void);
} vulkan_shim_state;

#endif

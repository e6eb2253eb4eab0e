/* backends/vulkan/timeline.c: timeline semaphores, waits that end, device loss.
 *
 * Besides the caller's timelines one semaphore of our own counts submissions. It tells when a command buffer
 * or staging slot is free again, and whether the device still works: if submissions are pending and none has
 * ended for patience_us, the device counts as lost. Waiting for a value that nobody has submitted yet is not
 * that. Waits are cut into slices, so that loss seen by one thread ends the waits of all. */
#include <stdlib.h>

#include "backends/vulkan/vulkan.h"
#include "base/clock.h"
#include "base/num.h"

enum { SLICE_US = 250000, SLICE_MIN_US = 1000 };

static uint64_t now_us(void) {
    return hy_clock_ns() / 1000;
}

hy_status vulkan_semaphore_new(vulkan_device *device, VkSemaphore *out) {
    const VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                        .pNext = &type};
    return vulkan_check(device, device->vk.CreateSemaphore(device->handle, &info, NULL, out),
                        "vkCreateSemaphore");
}

static hy_status counter_of(vulkan_device *device, VkSemaphore semaphore, uint64_t *value) {
    return vulkan_check(device,
                        device->vk.GetSemaphoreCounterValue(device->handle, semaphore, value),
                        "vkGetSemaphoreCounterValue");
}

/* HY_E_DEVICE when work is pending and nothing has ended for too long. Any thread. */
static hy_status check_progress(vulkan_device *device) {
    uint64_t done;
    const uint64_t submitted = atomic_load(&device->submitted);
    HY_TRY(counter_of(device, device->progress, &done));
    const uint64_t now = now_us();
    if (done >= submitted || atomic_exchange(&device->seen, done) != done) {
        atomic_store(&device->stirred_us, now);
        return HY_OK;
    }
    const uint64_t since = atomic_load(&device->stirred_us);
    if (!device->patience_us || now < since || now - since < device->patience_us) return HY_OK;
    atomic_store(&device->lost, true);
    return hy_fail(HY_E_DEVICE, "vulkan: %s: no answer for %.1f s; the device counts as lost",
                   device->info.name, (double)(now - since) / 1e6);
}

static uint64_t slice_of(const vulkan_device *device) {
    const uint64_t slice = device->patience_us ? device->patience_us / 4 : SLICE_US;
    return HY_MIN(HY_MAX(slice, SLICE_MIN_US), SLICE_US);
}

hy_status vulkan_wait(vulkan_device *device, VkSemaphore semaphore, uint64_t value,
                      uint64_t timeout_us) {
    const VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                      .semaphoreCount = 1,
                                      .pSemaphores = &semaphore,
                                      .pValues = &value};
    const uint64_t start = now_us(), slice = slice_of(device);
    for (uint64_t spent = 0;;) {
        HY_TRY(vulkan_alive(device));
        const uint64_t part = HY_MIN(slice, timeout_us - spent);
        const VkResult result = device->vk.WaitSemaphores(device->handle, &info, part * 1000);
        if (result != VK_TIMEOUT) return vulkan_check(device, result, "vkWaitSemaphores");
        HY_TRY(check_progress(device));
        spent = now_us() - start;
        if (spent >= timeout_us)
            return hy_fail(HY_E_TIMEOUT, "vulkan: not done after %llu us",
                           (unsigned long long)timeout_us);
    }
}

hy_status vulkan_settle(vulkan_device *device, uint64_t number) {
    return vulkan_wait(device, device->progress, number, UINT64_MAX);
}

void vulkan_quiesce(vulkan_device *device, uint64_t number) {
    if (!atomic_load(&device->lost) && vulkan_settle(device, number) != HY_OK)
        return; /* lost by now: there is nothing to wait for */
}

hy_status vulkan_timeline_new(hy_device *base, hy_timeline **out) {
    vulkan_device *device = (vulkan_device *)base;
    HY_TRY(vulkan_alive(device));
    vulkan_timeline *timeline = calloc(1, sizeof *timeline);
    if (!timeline) return hy_fail(HY_E_MEMORY, "vulkan: no memory for a timeline");
    timeline->base.device = base;
    const hy_status status = vulkan_semaphore_new(device, &timeline->semaphore);
    if (status != HY_OK) {
        free(timeline);
        return status;
    }
    *out = &timeline->base;
    return HY_OK;
}

void vulkan_timeline_free(hy_timeline *base) {
    if (!base) return;
    vulkan_timeline *timeline = (vulkan_timeline *)base;
    vulkan_device *device = (vulkan_device *)base->device;
    /* Not device->progress: of two semaphores that one submission sets, either may be set first. */
    if (!atomic_load(&device->lost))
        (void)vulkan_wait(device, timeline->semaphore, timeline->last, UINT64_MAX);
    device->vk.DestroySemaphore(device->handle, timeline->semaphore, NULL);
    free(timeline);
}

hy_status vulkan_timeline_value(hy_timeline *base, uint64_t *value) {
    vulkan_device *device = (vulkan_device *)base->device;
    HY_TRY(vulkan_alive(device));
    HY_TRY(check_progress(device));
    return counter_of(device, ((vulkan_timeline *)base)->semaphore, value);
}

hy_status vulkan_timeline_wait(hy_timeline *base, uint64_t value, uint64_t timeout_us) {
    return vulkan_wait((vulkan_device *)base->device, ((vulkan_timeline *)base)->semaphore, value,
                       timeout_us);
}

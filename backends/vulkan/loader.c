/* backends/vulkan/loader.c: libvulkan at run time, one instance per process, and the texts of results. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan.h"
#include "base/num.h"

/* Devices of drivers that lack parts of Vulkan (layers over other APIs) are listed only for those who ask. */
#define PORTABILITY "VK_KHR_portability_enumeration"
#ifndef VK_KHR_portability_enumeration
#define VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR 0x00000001
#endif

/* Drivers lose memory when they are unloaded, which a leak checker would take for ours. */
#if defined(__SANITIZE_ADDRESS__)
enum { KEEP_INSTANCE = 1 };
#else
enum { KEEP_INSTANCE = 0 };
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static vulkan_loader loader;
static uint32_t users;
static void *library; /* stays open: drivers do not like to be unloaded */

/* ---- library ------------------------------------------------------------------------------------- */

static hy_status open_library(void) {
    if (library) return HY_OK;
    const char *named = getenv("HALYARD_VULKAN_LIBRARY");
    if (named && *named) {
        library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        return library
                   ? HY_OK
                   : hy_fail(HY_E_UNAVAILABLE,
                             "no Vulkan loader: HALYARD_VULKAN_LIBRARY=%s cannot be opened", named);
    }
    library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libvulkan.so", RTLD_NOW | RTLD_LOCAL);
    return library ? HY_OK
                   : hy_fail(HY_E_UNAVAILABLE,
                             "no Vulkan loader: neither libvulkan.so.1 nor libvulkan.so is there");
}

static hy_status open_entry(void) {
    if (loader.GetInstanceProcAddr) return HY_OK;
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    if (!symbol) {
        dlclose(library);
        library = NULL;
        return hy_fail(HY_E_UNAVAILABLE,
                       "no Vulkan loader: the library lacks vkGetInstanceProcAddr");
    }
    memcpy(&loader.GetInstanceProcAddr, &symbol, sizeof symbol);
#define GET(name)                                                                                  \
    loader.name = (PFN_vk##name)loader.GetInstanceProcAddr(VK_NULL_HANDLE, "vk" #name);
    VK_GLOBAL_FUNCTIONS(GET)
#undef GET
    return HY_OK;
}

/* ---- instance ------------------------------------------------------------------------------------ */

static bool has_portability(void) {
    VkExtensionProperties list[64];
    uint32_t count = HY_COUNT_OF(list);
    VkResult result = loader.EnumerateInstanceExtensionProperties(NULL, &count, list);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) return false;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(list[i].extensionName, PORTABILITY) == 0) return true;
    }
    return false;
}

static hy_status create_instance(void) {
    const char *const extensions[] = {PORTABILITY};
    const bool portability = has_portability();
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .pApplicationName = "halyard",
                                           .pEngineName = "halyard",
                                           .apiVersion = loader.api};
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .flags = portability ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo = &application,
        .enabledExtensionCount = portability ? 1 : 0,
        .ppEnabledExtensionNames = extensions};
    const VkResult result = loader.CreateInstance(&info, NULL, &loader.instance);
    if (result == VK_SUCCESS) return HY_OK;
    loader.instance = VK_NULL_HANDLE;
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return hy_fail(HY_E_UNAVAILABLE,
                       "no Vulkan driver: the loader found no working manifest in "
                       "vulkan/icd.d of its folders or in VK_DRIVER_FILES");
    return hy_fail(result == VK_ERROR_OUT_OF_HOST_MEMORY ? HY_E_MEMORY : HY_E_UNAVAILABLE,
                   "no Vulkan instance: vkCreateInstance: %s", vulkan_result_name(result));
}

static hy_status load_functions(void) {
    const char *missing = NULL;
#define GET(name)                                                                                  \
    loader.name = (PFN_vk##name)loader.GetInstanceProcAddr(loader.instance, "vk" #name);           \
    if (!loader.name) missing = "vk" #name;
    VK_INSTANCE_FUNCTIONS(GET)
#undef GET
    if (missing) return hy_fail(HY_E_UNAVAILABLE, "the Vulkan loader lacks %s", missing);
    loader.GetPhysicalDeviceCooperativeMatrixPropertiesKHR = loader.GetInstanceProcAddr(
        loader.instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    return HY_OK;
}

static void destroy_instance(void) {
    if (loader.instance && loader.DestroyInstance) loader.DestroyInstance(loader.instance, NULL);
    loader.instance = VK_NULL_HANDLE;
}

static hy_status open_locked(void) {
    if (loader.instance) return HY_OK;
    HY_TRY(open_library());
    HY_TRY(open_entry());
    uint32_t version = VK_API_VERSION_1_0;
    if (loader.EnumerateInstanceVersion && loader.EnumerateInstanceVersion(&version) != VK_SUCCESS)
        version = VK_API_VERSION_1_0;
    if (version < VK_API_VERSION_1_2 || !loader.CreateInstance ||
        !loader.EnumerateInstanceExtensionProperties)
        return hy_fail(HY_E_UNAVAILABLE, "the Vulkan loader is of version %u.%u; 1.2 is needed",
                       VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    loader.api = HY_MIN(version, VK_API_VERSION_1_3);
    HY_TRY(create_instance());
    hy_status status = load_functions();
    if (status != HY_OK) destroy_instance();
    return status;
}

hy_status vulkan_loader_open(const vulkan_loader **out) {
    pthread_mutex_lock(&mutex);
    hy_status status = open_locked();
    if (status == HY_OK) {
        users++;
        *out = &loader;
    }
    pthread_mutex_unlock(&mutex);
    return status;
}

void vulkan_loader_close(void) {
    pthread_mutex_lock(&mutex);
    if (users && --users == 0 && !KEEP_INSTANCE) destroy_instance();
    pthread_mutex_unlock(&mutex);
}

/* ---- results ------------------------------------------------------------------------------------- */

const char *vulkan_result_name(VkResult result) {
#define NAME(value)                                                                                \
    case value:                                                                                    \
        return #value;
    switch (result) {
        NAME(VK_SUCCESS)
        NAME(VK_NOT_READY)
        NAME(VK_TIMEOUT)
        NAME(VK_INCOMPLETE)
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY)
        NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        NAME(VK_ERROR_INITIALIZATION_FAILED)
        NAME(VK_ERROR_DEVICE_LOST)
        NAME(VK_ERROR_MEMORY_MAP_FAILED)
        NAME(VK_ERROR_LAYER_NOT_PRESENT)
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT)
        NAME(VK_ERROR_FEATURE_NOT_PRESENT)
        NAME(VK_ERROR_INCOMPATIBLE_DRIVER)
        NAME(VK_ERROR_TOO_MANY_OBJECTS)
        NAME(VK_ERROR_FRAGMENTED_POOL)
        NAME(VK_ERROR_OUT_OF_POOL_MEMORY)
        NAME(VK_ERROR_INVALID_EXTERNAL_HANDLE)
        NAME(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS)
        NAME(VK_ERROR_INVALID_SHADER_NV)
        NAME(VK_ERROR_NOT_PERMITTED_KHR)
        NAME(VK_PIPELINE_COMPILE_REQUIRED)
        NAME(VK_ERROR_UNKNOWN)
    default:
        return "an unknown VkResult";
    }
#undef NAME
}

hy_status vulkan_alive(vulkan_device *device) {
    if (!atomic_load_explicit(&device->lost, memory_order_acquire)) return HY_OK;
    return hy_fail(HY_E_DEVICE, "vulkan: %s is lost: earlier work on it failed or hung",
                   device->info.name);
}

hy_status vulkan_check(vulkan_device *device, VkResult result, const char *what) {
    if (result == VK_SUCCESS) return HY_OK;
    hy_status status = HY_E_DEVICE;
    if (result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        status = HY_E_MEMORY;
    if (result == VK_ERROR_DEVICE_LOST)
        atomic_store_explicit(&device->lost, true, memory_order_release);
    return hy_fail(status, "vulkan: %s: %s: %s", device->info.name, what,
                   vulkan_result_name(result));
}

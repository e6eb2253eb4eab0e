/* The list of backends in this build, and opening a device by name. */
#include "backends/registry.h"

#include <stdlib.h>
#include <string.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/hip/hip_backend.h"
#include "backends/null/null_backend.h"
#include "backends/ref/ref_backend.h"
#include "backends/vulkan/vulkan_backend.h"
#include "base/num.h"
#include "base/text.h"

/* In the order of preference for a default device. */
static const hy_backend *const backends[] = {
    &hy_cuda_backend, &hy_hip_backend, &hy_vulkan_backend,
    &hy_cpu_backend,  &hy_ref_backend, &hy_null_backend,
};

#define MAX_DEVICES 16 /* per backend, for the search and for messages */

const hy_backend *hy_backend_at(uint32_t index) {
    return index < HY_COUNT_OF(backends) ? backends[index] : NULL;
}

const hy_backend *hy_backend_by_name(const char *name) {
    for (size_t i = 0; i < HY_COUNT_OF(backends); i++) {
        if (strcmp(backends[i]->name, name) == 0) return backends[i];
    }
    return NULL;
}

/* Fails with the list of what could have been named instead. */
static hy_status no_such_device(const char *spec) {
    hy_device_info infos[MAX_DEVICES];
    hy_text list = {0};
    for (size_t i = 0; i < HY_COUNT_OF(backends); i++) {
        uint32_t count = 0;
        if (backends[i]->devices(infos, MAX_DEVICES, &count) != HY_OK) continue;
        for (uint32_t d = 0; d < count && d < MAX_DEVICES; d++) {
            if (infos[d].unusable) continue;
            hy_text_add(&list, "%s%s:%u", list.length ? ", " : "", backends[i]->name, d);
        }
    }
    hy_status status = hy_fail(HY_E_NOT_FOUND, "no device %s; there are: %s", spec,
                               list.data ? list.data : "none");
    hy_text_free(&list);
    return status;
}

hy_status hy_default_device(const hy_backend **backend, uint32_t *index) {
    hy_device_info infos[MAX_DEVICES];
    for (size_t i = 0; i < HY_COUNT_OF(backends); i++) {
        uint32_t count = 0;
        if (backends[i]->devices(infos, MAX_DEVICES, &count) != HY_OK) continue;
        for (uint32_t d = 0; d < count && d < MAX_DEVICES; d++) {
            if (infos[d].software || infos[d].unusable) continue;
            *backend = backends[i];
            *index = d;
            return HY_OK;
        }
    }
    return no_such_device("auto");
}

static hy_status open_default(const hy_device_params *params, hy_device **out) {
    const hy_backend *backend;
    uint32_t index;
    HY_TRY(hy_default_device(&backend, &index));
    return backend->open(index, params, out);
}

/* "name" or "name:index"; false when `spec` is neither. */
static bool parse_spec(const char *spec, char *name, size_t size, uint32_t *index) {
    const size_t length = strcspn(spec, ":");
    *index = 0;
    if (length == 0 || length >= size) return false;
    memcpy(name, spec, length);
    name[length] = 0;
    if (spec[length] == 0) return true;
    const char *digits = spec + length + 1;
    const size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 4 || digits[count] != 0) return false;
    *index = (uint32_t)strtoul(digits, NULL, 10);
    return true;
}

hy_status hy_device_open(const char *spec, const hy_device_params *params, hy_device **out) {
    static const hy_device_params none = {0};
    char name[32];
    uint32_t index, count = 0;
    if (!params) params = &none;
    if (!spec || strcmp(spec, "auto") == 0) return open_default(params, out);
    if (!parse_spec(spec, name, sizeof name, &index)) return no_such_device(spec);
    const hy_backend *backend = hy_backend_by_name(name);
    if (!backend) return no_such_device(spec);
    HY_TRY(backend->devices(NULL, 0, &count)); /* says why, if the backend cannot run here */
    if (index >= count) return no_such_device(spec);
    return backend->open(index, params, out);
}

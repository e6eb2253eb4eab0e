/* Instances, devices, version, and the handling of parameter structs. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "base/log.h"
#include "src/engine/engine.h"

#define MAX_ENTRIES 64
#define MAX_PER_BACKEND 16

/* One line of the device list. */
typedef struct entry {
    const hy_backend *backend;
    uint32_t index;
    bool available;
    char reason[256]; /* why not */
} entry;

struct hy_instance {
    pthread_mutex_t lock;
    bool
        listed; /* the devices were looked for: only when someone asks, drivers of GPUs load slowly */
    uint32_t entries;
    entry entry[MAX_ENTRIES];
};

static _Atomic(hy_instance *) logging; /* whose callback is set */

#define TEXT_OF(x) #x
#define VERSION_TEXT(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *hy_version(void) {
    return VERSION_TEXT(HY_VERSION_MAJOR, HY_VERSION_MINOR, HY_VERSION_PATCH);
}

hy_status hy_params_copy(void *dst, uint32_t size, const void *src, const char *name) {
    if (!src) return HY_OK;
    uint32_t given;
    memcpy(&given, src, sizeof given);
    if (given < sizeof given || given > 4096)
        return hy_fail(HY_E_ARGUMENT, "%s.size is %u, expected %u: make it with %s(...)", name,
                       given, size, name);
    memcpy(dst, src, HY_MIN(given, size));
    memcpy(dst, &size, sizeof size);
    return HY_OK;
}

hy_status hy_info_copy(void *dst, const void *src, uint32_t size, const char *name) {
    if (!dst) return hy_fail(HY_E_ARGUMENT, "%s: out is NULL", name);
    uint32_t given;
    memcpy(&given, dst, sizeof given);
    if (given < sizeof given || given > 65536)
        return hy_fail(HY_E_ARGUMENT, "%s.size is %u: set it to sizeof(%s) before the call", name,
                       given, name);
    memcpy((char *)dst + sizeof given, (const char *)src + sizeof given,
           HY_MIN(given, size) - sizeof given);
    return HY_OK;
}

static void add_entry(hy_instance *instance, const hy_backend *backend, uint32_t index,
                      const char *reason) {
    if (instance->entries == MAX_ENTRIES) return;
    entry *e = &instance->entry[instance->entries++];
    e->backend = backend;
    e->index = index;
    e->available = reason == NULL;
    snprintf(e->reason, sizeof e->reason, "%s", reason ? reason : "");
}

static void list_devices(hy_instance *instance) {
    hy_device_info *infos = calloc(MAX_PER_BACKEND, sizeof *infos);
    if (!infos) return; /* again when next asked */
    const hy_backend *backend;
    for (uint32_t i = 0; (backend = hy_backend_at(i)) != NULL; i++) {
        uint32_t count = 0;
        hy_status status = backend->devices(infos, MAX_PER_BACKEND, &count);
        if (status != HY_OK) {
            add_entry(instance, backend, 0, hy_error_text());
            continue;
        }
        if (count == 0) add_entry(instance, backend, 0, "no device found");
        for (uint32_t d = 0; d < count && d < MAX_PER_BACKEND; d++)
            add_entry(instance, backend, d, NULL);
    }
    free(infos);
    instance->listed = true;
}

hy_status hy_instance_new(const hy_instance_params *params, hy_instance **out) {
    hy_instance_params p = {0};
    if (!out) return hy_fail(HY_E_ARGUMENT, "hy_instance_new: out is NULL");
    HY_TRY(hy_params_copy(&p, sizeof p, params, "hy_instance_params"));
    hy_instance *instance = calloc(1, sizeof *instance);
    if (!instance) return hy_fail(HY_E_MEMORY, "no memory for an instance");
    hy_log_set(p.log, p.log_user, p.log_level);
    atomic_store(&logging, instance);
    pthread_mutex_init(&instance->lock, NULL);
    *out = instance;
    return HY_OK;
}

void hy_instance_free(hy_instance *instance) {
    if (!instance) return;
    hy_instance *mine = instance;
    if (atomic_compare_exchange_strong(&logging, &mine, NULL)) hy_log_set(NULL, NULL, HY_LOG_ERROR);
    pthread_mutex_destroy(&instance->lock);
    free(instance);
}

uint32_t hy_device_count(const hy_instance *instance) {
    if (!instance) return 0;
    hy_instance *mine = (hy_instance *)(uintptr_t)instance; /* what it lists does not change */
    pthread_mutex_lock(&mine->lock);
    if (!mine->listed) list_devices(mine);
    pthread_mutex_unlock(&mine->lock);
    return instance->entries;
}

static void describe(const entry *e, const hy_device_info *info, hy_device_desc *desc) {
    desc->available = !info->unusable;
    snprintf(desc->id, sizeof desc->id, "%.20s:%u", e->backend->name, e->index);
    memcpy(desc->name, info->name, sizeof desc->name);
    memcpy(desc->arch, info->arch, sizeof desc->arch);
    memcpy(desc->detail, info->detail, sizeof desc->detail);
    memcpy(desc->bus, info->bus, sizeof desc->bus);
    desc->memory_total = info->memory_total;
    desc->memory_free = info->memory_free;
    desc->units = info->units;
    desc->software = info->software;
}

hy_status hy_device_get(const hy_instance *instance, uint32_t index, hy_device_desc *out) {
    if (index >= hy_device_count(instance))
        return hy_fail(HY_E_ARGUMENT, "device index %u, there are %u", index,
                       hy_device_count(instance));
    const entry *e = &instance->entry[index];
    hy_device_desc desc = {0};
    snprintf(desc.id, sizeof desc.id, "%s", e->backend->name);
    snprintf(desc.detail, sizeof desc.detail, "%s", e->reason);
    if (e->available) {
        hy_device_info *infos = calloc(MAX_PER_BACKEND, sizeof *infos);
        if (!infos) return hy_fail(HY_E_MEMORY, "no memory for the list of devices");
        uint32_t count = 0;
        hy_status status = e->backend->devices(infos, MAX_PER_BACKEND, &count);
        if (status == HY_OK && e->index < count)
            describe(e, &infos[e->index], &desc);
        else
            snprintf(desc.detail, sizeof desc.detail, "%s",
                     status == HY_OK ? "the device is gone" : hy_error_text());
        free(infos);
    }
    return hy_info_copy(out, &desc, sizeof desc, "hy_device_desc");
}

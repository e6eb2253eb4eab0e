/* backends/simt/kernel.c: functions by entry. An entry's unit comes from shaders/simt/entries.h; a unit's module is
 * loaded when its first function is asked for, and stays until the device is closed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/simt/simt.h"
#include "base/file.h"
#include "base/num.h"
#include "shaders/simt/entries.h"

enum { MAX_SYMBOL = 96, MAX_PATH = 512 };

typedef struct entry {
    const char *unit, *symbol; /* "q4_0", "simt_matmul_q4_0_gemv1" */
} entry;

#define ENTRY(unit, name) {#unit, "simt_" #name},
static const entry entries[] = {SIMT_ENTRIES(ENTRY)};

/* An entry and what it has become. */
typedef struct function {
    const entry *entry;
    void *handle;    /* NULL: not asked for yet */
    uint32_t shared; /* bytes of dynamic shared memory that it may have */
} function;

typedef struct module {
    const char *unit;
    void *handle;
} module;

struct simt_kernels {
    function function[HY_COUNT_OF(entries)]; /* sorted by symbol */
    module module[HY_COUNT_OF(entries)];     /* [modules] */
    uint32_t modules;
};

/* ---- images -------------------------------------------------------------------------------------- */

const char *simt_folder(const simt_vendor *vendor) {
    const char *folder = getenv(vendor->folder_name);
    return folder && *folder ? folder : NULL;
}

static const simt_image *find_image(const simt_vendor *vendor, const char *unit, const char *arch) {
    for (size_t i = 0; i < *vendor->image_count; i++) {
        const simt_image *image = &vendor->images[i];
        if (unit && strcmp(image->unit, unit) != 0) continue;
        if (!*image->arch || strcmp(image->arch, arch) == 0) return image;
    }
    return NULL;
}

const simt_image *simt_any_image(const simt_vendor *vendor, const char *arch) {
    return find_image(vendor, NULL, arch);
}

/* The file of a unit in the named folder, or the one for all units. */
static hy_status map_image(const simt_vendor *vendor, const char *folder, const char *unit,
                           hy_mapping *out) {
    char path[MAX_PATH];
    snprintf(path, sizeof path, "%s/%s.%s", folder, unit, vendor->suffix);
    if (hy_mapping_open(path, out) == HY_OK) return HY_OK;
    snprintf(path, sizeof path, "%s/any.%s", folder, vendor->suffix);
    if (hy_mapping_open(path, out) == HY_OK) return HY_OK;
    return hy_fail(HY_E_NOT_FOUND, "%s=%s has no %s.%s", vendor->folder_name, folder, unit,
                   vendor->suffix);
}

static hy_status load_module(simt_device *device, const char *unit, void **out) {
    const simt_vendor *vendor = device->vendor;
    const char *folder = simt_folder(vendor);
    hy_mapping file = {0};
    const void *bytes = NULL;
    if (folder) {
        HY_TRY(map_image(vendor, folder, unit, &file));
        bytes = file.data;
    } else {
        const simt_image *image = find_image(vendor, unit, device->info.arch);
        if (!image)
            return hy_fail(HY_E_UNSUPPORTED, "%s: this build has no kernels of unit %s for %s",
                           vendor->backend->name, unit, device->info.arch);
        bytes = image->bytes;
    }
    char what[MAX_SYMBOL];
    snprintf(what, sizeof what, "loading kernels (%s)", unit);
    const hy_status status = simt_check(device, device->api->module_new(out, bytes), what);
    hy_mapping_close(&file);
    return status;
}

static hy_status find_module(simt_device *device, const char *unit, void **out) {
    simt_kernels *kernels = device->kernels;
    for (uint32_t i = 0; i < kernels->modules; i++) {
        if (strcmp(kernels->module[i].unit, unit) != 0) continue;
        *out = kernels->module[i].handle;
        return HY_OK;
    }
    HY_TRY(load_module(device, unit, out));
    kernels->module[kernels->modules++] = (module){unit, *out};
    return HY_OK;
}

/* ---- functions ----------------------------------------------------------------------------------- */

static int by_symbol(const void *a, const void *b) {
    return strcmp(((const function *)a)->entry->symbol, ((const function *)b)->entry->symbol);
}

hy_status simt_kernels_open(simt_device *device) {
    simt_kernels *kernels = calloc(1, sizeof *kernels);
    if (!kernels) return hy_fail(HY_E_MEMORY, "no memory for a table of kernels");
    for (size_t i = 0; i < HY_COUNT_OF(entries); i++)
        kernels->function[i] = (function){.entry = &entries[i], .shared = SIMT_PLAIN_SHARED};
    qsort(kernels->function, HY_COUNT_OF(entries), sizeof *kernels->function, by_symbol);
    device->kernels = kernels;
    return HY_OK;
}

void simt_kernels_close(simt_device *device) {
    for (uint32_t i = 0; i < device->kernels->modules; i++)
        device->api->module_free(device->kernels->module[i].handle);
    free(device->kernels);
    device->kernels = NULL;
}

/* "matmul.q4_0.gemv1" is simt_matmul_q4_0_gemv1. */
static function *find_function(simt_kernels *kernels, const char *name) {
    char symbol[MAX_SYMBOL];
    snprintf(symbol, sizeof symbol, "simt_%s", name);
    for (char *c = symbol; *c; c++)
        if (*c == '.') *c = '_';
    const entry wanted_entry = {.symbol = symbol};
    const function wanted = {.entry = &wanted_entry};
    return bsearch(&wanted, kernels->function, HY_COUNT_OF(entries), sizeof wanted, by_symbol);
}

hy_status simt_kernel(gpu_device *base, const gpu_launch *launch, uint64_t *out) {
    simt_device *device = (simt_device *)base;
    if (strcmp(launch->entry, "blas") == 0) {
        *out = SIMT_BLAS;
        return HY_OK;
    }
    function *f = find_function(device->kernels, launch->entry);
    if (!f) return hy_fail(HY_E_INTERNAL, "no kernel %s", launch->entry);
    HY_TRY(simt_enter(device));
    if (!f->handle) {
        void *loaded, *handle;
        HY_TRY(find_module(device, f->entry->unit, &loaded));
        HY_TRY(simt_check(device, device->api->function(&handle, loaded, f->entry->symbol),
                          f->entry->symbol));
        f->handle = handle;
    }
    if (launch->shared > f->shared) {
        HY_TRY(simt_check(device, device->api->function_shared(f->handle, launch->shared),
                          "asking for shared memory"));
        f->shared = launch->shared;
    }
    *out = (uint64_t)(uintptr_t)f->handle;
    return HY_OK;
}

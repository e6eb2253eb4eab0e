/* backends/simt/device.c: opening and closing devices, and what results mean. */
#include <stdio.h>
#include <stdlib.h>

#include "backends/simt/simt.h"
#include "base/num.h"

/* A software device may take minutes for one list. */
static const uint64_t patience_hardware_us = UINT64_C(120000000),
                      patience_software_us = UINT64_C(3600000000);

static const gpu_driver driver = {.kernel = simt_kernel,
                                  .record = simt_record,
                                  .stage = simt_stage,
                                  .run = simt_run,
                                  .args_by_value = true};

/* ---- results ------------------------------------------------------------------------------------- */

/* Whether no later call will work: faults of kernels, time-outs, hardware errors; the numbers are CUDA's and
 * HIP's. */
static bool loses(int code) {
    return code == 214 || code == 702 || (code >= 709 && code <= 719) || code == 700 || code == 999;
}

hy_status simt_check(simt_device *device, int code, const char *what) {
    if (code == SIMT_OK) return HY_OK;
    if (loses(code)) atomic_store(&device->lost, true);
    return hy_fail(code == SIMT_OUT_OF_MEMORY ? HY_E_MEMORY : HY_E_DEVICE, "%s: %s: %s: %s",
                   device->vendor->backend->name, device->info.name, what,
                   device->api->error_name(code));
}

hy_status simt_enter(simt_device *device) {
    if (atomic_load(&device->lost))
        return hy_fail(HY_E_DEVICE, "%s: %s is lost: earlier work on it failed or hung",
                       device->vendor->backend->name, device->info.name);
    return simt_check(device, device->api->bind(device->ordinal, device->context),
                      "choosing the device");
}

/* ---- open and close ------------------------------------------------------------------------------ */

static void set_up(simt_device *device, const simt_vendor *vendor, const simt_probe *probe,
                   const hy_device_params *params) {
    device->gpu = (gpu_device){.base = {vendor->backend},
                               .driver = &driver,
                               .variants = vendor->variants,
                               .limits = probe->limits};
    device->vendor = vendor;
    device->api = vendor->api;
    device->info = probe->info;
    device->ordinal = probe->ordinal;
    device->graphs = vendor->api->capture_begin && !params->no_graphs;
    device->patience_us = probe->info.software ? patience_software_us : patience_hardware_us;
}

static hy_status open_parts(simt_device *device, bool libraries) {
    const simt_api *api = device->api;
    HY_TRY(simt_check(device, api->context_new(device->ordinal, &device->context),
                      "opening the device"));
    hy_status status;
    HY_TRY_GOTO(status, simt_enter(device), no_stream);
    HY_TRY_GOTO(status, simt_check(device, api->stream_new(&device->stream), "making a stream"),
                no_stream);
    HY_TRY_GOTO(status, simt_events_open(device), no_events);
    HY_TRY_GOTO(status, simt_staging_open(device), no_staging);
    HY_TRY_GOTO(status, simt_kernels_open(device), no_kernels);
    if (libraries) simt_blas_open(device);
    return HY_OK;
no_kernels:
    simt_staging_close(device);
no_staging:
    simt_events_close(device);
no_events:
    api->stream_free(device->stream);
no_stream:
    api->context_free(device->ordinal);
    return status;
}

hy_status simt_open(const simt_vendor *vendor, const simt_probe *probe,
                    const hy_device_params *params, hy_device **out) {
    if (probe->info.unusable)
        return hy_fail(HY_E_UNSUPPORTED, "%s: %s: %s", vendor->backend->name, probe->info.name,
                       probe->info.detail);
    simt_device *device = calloc(1, sizeof *device);
    if (!device) return hy_fail(HY_E_MEMORY, "%s: no memory for a device", vendor->backend->name);
    set_up(device, vendor, probe, params);
    const hy_status status = open_parts(device, params->libraries);
    if (status != HY_OK) {
        free(device);
        return status;
    }
    *out = &device->gpu.base;
    return HY_OK;
}

void simt_close(hy_device *base) {
    if (!base) return;
    simt_device *device = (simt_device *)base;
    simt_quiesce(device, atomic_load(&device->submitted));
    device->api->bind(device->ordinal, device->context);
    simt_blas_close(device);
    simt_kernels_close(device);
    simt_staging_close(device);
    simt_events_close(device);
    device->api->stream_free(device->stream);
    device->api->context_free(device->ordinal);
    free(device);
}

/* CUDA writes capitals. */
void simt_set_bus(hy_device_info *info, const char *said) {
    unsigned domain, bus, device, function;
    if (sscanf(said, "%x:%x:%x.%x", &domain, &bus, &device, &function) == 4)
        snprintf(info->bus, sizeof info->bus, "%04x:%02x:%02x.%x", domain, bus, device, function);
}

void simt_info(hy_device *base, hy_device_info *out) {
    simt_device *device = (simt_device *)base;
    size_t free_bytes, total;
    *out = device->info;
    if (atomic_load(&device->lost) || device->api->bind(device->ordinal, device->context)) return;
    if (device->api->memory_info(&free_bytes, &total) != SIMT_OK) return;
    out->memory_free = free_bytes;
    out->memory_total = total;
}

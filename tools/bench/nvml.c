/* tools/bench/nvml.c: starting NVML and finding a device. */
#include "tools/bench/nvml.h"

#include <stdio.h>

#include "tools/bench/dynamic.h"

const char *nvml_error(const nvml *n, int code) {
    const char *text = n->error_text ? n->error_text(code) : NULL;
    return text ? text : "an unknown error";
}

bool nvml_open(nvml *out, const char *bus, char *reason, size_t size) {
    static const char *const names[] = {"libnvidia-ml.so.1", NULL};
#define NEEDED(field, symbol, parameters) {symbol, &out->field, false},
#define OPTIONAL(field, symbol, parameters) {symbol, &out->field, true},
    const dynamic_symbol symbols[] = {NVML_FUNCTIONS(NEEDED) NVML_MORE_FUNCTIONS(OPTIONAL){
                                          "nvmlErrorString", &out->error_text, true},
                                      {NULL, NULL, false}};
#undef NEEDED
#undef OPTIONAL
    *out = (nvml){.device = NULL};
    if (!dynamic_open("NVML", "HALYARD_NVML_LIBRARY", names, symbols, reason, size)) return false;
    int code = out->init();
    if (code) {
        snprintf(reason, size, "NVML: nvmlInit_v2: %s", nvml_error(out, code));
        return false;
    }
    code = out->device_find(bus, &out->device);
    if (!code) return true;
    snprintf(reason, size, "NVML: no device at %s: %s", bus, nvml_error(out, code));
    out->shutdown();
    return false;
}

void nvml_close(nvml *n) {
    n->shutdown();
}

/* tools/devices.c: `halyard devices`: what can run a model here, and why the rest cannot. */
#include <jansson.h>

#include "tools/cli.h"

static void print_device(const hy_device_desc *d) {
    if (!d->available) {
        printf("%-10s not available: %s%s%s\n", d->id, d->name, d->name[0] ? ": " : "", d->detail);
        return;
    }
    printf("%-10s %s, %s, %u %s, %.1f of %.1f GiB free%s\n", d->id, d->name, d->arch, d->units,
           d->units == 1 ? "unit" : "units", (double)d->memory_free / (1 << 30),
           (double)d->memory_total / (1 << 30),
           d->software ? " (software: never chosen by default)" : "");
    if (d->detail[0]) printf("%-10s %s\n", "", d->detail);
}

static json_t *device_json(const hy_device_desc *d) {
    return json_pack("{s:s, s:b, s:s, s:s, s:s, s:I, s:I, s:i, s:b, s:s?}", "id", d->id,
                     "available", d->available, "name", d->name, "arch", d->arch, "detail",
                     d->detail, "memory_total", (json_int_t)d->memory_total, "memory_free",
                     (json_int_t)d->memory_free, "units", (int)d->units, "software", d->software,
                     "bus", d->bus[0] ? d->bus : NULL);
}

static int devices_main(int argc, char **argv) {
    bool json = false;
    const cli_option options[] = {
        {"--json", CLI_FLAG, &json, NULL, "one JSON array"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code = cli_parse(argc, argv, "devices [--json]", options, NULL, NULL, 0, NULL);
    if (code >= 0) return code;
    hy_instance *instance;
    if (hy_instance_new(NULL, &instance) != HY_OK) return cli_status("devices");
    json_t *list = json_array();
    code = 0;
    for (uint32_t i = 0; i < hy_device_count(instance) && !code; i++) {
        hy_device_desc d = {.size = sizeof d};
        if (hy_device_get(instance, i, &d) != HY_OK) {
            code = cli_status("devices");
        } else if (json) {
            json_array_append_new(list, device_json(&d));
        } else {
            print_device(&d);
        }
    }
    if (json && !code) {
        json_dumpf(list, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(list);
    hy_instance_free(instance);
    return code ? code : cli_flush("devices");
}

const cli_command cli_devices = {"devices", "list devices, and why others are not available",
                                 devices_main};

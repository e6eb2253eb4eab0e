/* tools/bench/record.c: what all rows of a call have in common. */
#include <string.h>
#include <time.h>

#include "tools/bench/build_id.h" /* made by Meson: BUILD_ID "9315f7b 123" */
#include "tools/bench/row.h"

#ifndef BENCH_COMPILER
#define BENCH_COMPILER "unknown"
#endif
#ifndef BENCH_FLAGS
#define BENCH_FLAGS ""
#endif

/* Backends of this build, whether they have a device here or not. */
static json_t *backends(void) {
    json_t *list = json_array();
    char last[32] = "";
    hy_instance *instance = NULL;
    if (hy_instance_new(NULL, &instance) != HY_OK) return list;
    for (uint32_t i = 0; i < hy_device_count(instance); i++) {
        hy_device_desc d = {.size = sizeof d};
        if (hy_device_get(instance, i, &d) != HY_OK) continue;
        d.id[strcspn(d.id, ":")] = 0;
        if (strcmp(d.id, last) != 0) json_array_append_new(list, json_string(d.id));
        snprintf(last, sizeof last, "%s", d.id);
    }
    hy_instance_free(instance);
    return list;
}

static json_t *build(void) {
    char commit[64] = "";
    sscanf(BUILD_ID, "%63s", commit);
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "version", hy_version(), "commit", commit,
                     "compiler", BENCH_COMPILER, "flags", BENCH_FLAGS, "backends", backends());
}

static json_t *arguments(const bench_options *o) {
    json_t *list = json_array();
    for (int i = 0; i < o->argc; i++) {
        json_t *word = json_string(o->argv[i]);
        json_array_append_new(list, word ? word : json_string("?")); /* no UTF-8 */
    }
    return list;
}

json_t *bench_record(const bench_options *o) {
    char now[32];
    int number = 0;
    const time_t seconds = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
    sscanf(BUILD_ID, "%*s %d", &number);
    json_t *cpu = machine_cpu_json();
    const char *model = json_string_value(json_object_get(cpu, "model"));
    return json_pack("{s:s, s:i, s:s, s:{s:o, s:o, s:o}, s:o, s:o}", "test_time", now,
                     "build_number", number, "cpu_info", model ? model : "unknown", "machine",
                     "cpu", cpu, "memory", machine_memory_json(), "host", machine_host_json(),
                     "build", build(), "argv", arguments(o));
}

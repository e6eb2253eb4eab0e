/* tools/bench/machine_host.c: memory, system and load. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include "base/num.h"
#include "tools/bench/machine.h"
#include "tools/bench/machine_inner.h"
#include "tools/bench/sysfs.h"

/* ---- memory ---- */

static void add_bytes(json_t *o, const char *name, const char *key) {
    char text[64];
    const bool known = machine_value("/proc/meminfo", ':', key, text, sizeof text);
    machine_number(o, name, known, known ? strtoull(text, NULL, 10) * 1024 : 0);
}

/* "always [madvise] never" -> "madvise" */
static void add_choice(json_t *o, const char *name, const char *path) {
    char line[128] = "";
    char *from = sys_line(line, sizeof line, "%s", path) ? strchr(line, '[') : NULL;
    char *to = from ? strchr(from, ']') : NULL;
    if (to) *to = 0;
    machine_text(o, name, to ? from + 1 : NULL);
}

json_t *machine_memory_json(void) {
    uint64_t pages;
    json_t *o = json_object();
    if (!o) return NULL;
    add_bytes(o, "total_bytes", "MemTotal");
    add_bytes(o, "available_bytes", "MemAvailable");
    add_choice(o, "transparent_huge_pages", "/sys/kernel/mm/transparent_hugepage/enabled");
    add_bytes(o, "huge_page_bytes", "Hugepagesize");
    const bool known = sys_u64(&pages, "/proc/sys/vm/nr_hugepages");
    machine_number(o, "huge_pages", known, known ? pages : 0);
    return o;
}

/* ---- system ---- */

static void add_system(json_t *o) {
    char name[128] = "", kernel[128] = "", release[96];
    struct utsname about;
    if (!machine_value("/etc/os-release", '=', "PRETTY_NAME", name, sizeof name))
        machine_value("/usr/lib/os-release", '=', "PRETTY_NAME", name, sizeof name);
    machine_text(o, "os", name);
    if (sys_line(release, sizeof release, "/proc/sys/kernel/osrelease"))
        snprintf(kernel, sizeof kernel, "Linux %s", release);
    machine_text(o, "kernel", kernel);
    machine_text(o, "arch", uname(&about) == 0 ? about.machine : NULL);
#ifdef __GLIBC__
    snprintf(name, sizeof name, "glibc %s", gnu_get_libc_version());
    machine_text(o, "libc", name);
#else
    machine_text(o, "libc", NULL);
#endif
}

static void add_load(json_t *o) {
    char line[512];
    double load[3];
    unsigned long long t[8]; /* user nice system idle iowait irq softirq steal */
    const bool loads = sys_line(line, sizeof line, "/proc/loadavg") &&
                       sscanf(line, "%lf %lf %lf", &load[0], &load[1], &load[2]) == 3;
    json_object_set_new(o, "load_average",
                        loads ? json_pack("[f, f, f]", load[0], load[1], load[2]) : json_null());
    const bool known = sys_line(line, sizeof line, "/proc/stat") &&
                       sscanf(line, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1],
                              &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) == 8;
    double all = 0;
    for (size_t i = 0; known && i < HY_COUNT_OF(t); i++)
        all += (double)t[i];
    machine_real(o, "steal_since_boot", all > 0, all > 0 ? (double)t[7] / all : 0);
}

json_t *machine_host_json(void) {
    json_t *o = json_object();
    if (!o) return NULL;
    add_system(o);
    machine_virtual(o);
    add_load(o);
    return o;
}

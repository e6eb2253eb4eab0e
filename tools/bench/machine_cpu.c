/* tools/bench/machine_cpu.c: the processor's part of the record. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/num.h"
#include "base/thread.h"
#include "tools/bench/machine.h"
#include "tools/bench/machine_inner.h"
#include "tools/bench/sysfs.h"

#define CPUS "/sys/devices/system/cpu"

/* ---- /proc/cpuinfo ---- */

/* Instructions that kernels of this field make a difference with, as the system names them. */
static const char *const wanted[] = {
    "sse4_2",        "avx",     "f16c",     "fma",      "avx2",        "avx_vnni",
    "avx_vnni_int8", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16",   "avx10",   "amx_tile", "amx_int8", "amx_bf16",    "amx_fp16",
    "neon",          "asimd",   "asimdhp",  "asimddp",  "i8mm",        "bf16",
    "sve",           "sve2",    "svei8mm",  "svebf16",  "sme",         "sme2"};

/* Kinds of cores with the same implementer and part. */
enum { MAX_KINDS = 8 };

typedef struct cpuinfo {
    char model[128], vendor[64], microcode[32];
    json_t *isa; /* array; NULL: no line of flags */
    uint32_t implementer, part[MAX_KINDS], count[MAX_KINDS], kinds;
    double mhz; /* sum over `clocks` cpus */
    uint32_t clocks;
} cpuinfo;

static bool has_word(const char *words, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = strstr(words, word); at; at = strstr(at + n, word))
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0)) return true;
    return false;
}

static void note_isa(cpuinfo *c, const char *words) {
    if (c->isa) return; /* of the first cpu */
    c->isa = json_array();
    for (size_t i = 0; i < HY_COUNT_OF(wanted); i++)
        if (has_word(words, wanted[i])) json_array_append_new(c->isa, json_string(wanted[i]));
}

static void note_part(cpuinfo *c, uint32_t part) {
    uint32_t i = 0;
    while (i < c->kinds && c->part[i] != part)
        i++;
    if (i == MAX_KINDS) return;
    if (i == c->kinds) c->part[c->kinds++] = part;
    c->count[i]++;
}

static void keep_first(char *out, size_t size, const char *value) {
    if (!*out) snprintf(out, size, "%s", value);
}

static void note(cpuinfo *c, const char *key, const char *value) {
    if (!strcmp(key, "model name") || !strcmp(key, "uarch"))
        keep_first(c->model, sizeof c->model, value);
    if (!strcmp(key, "vendor_id")) keep_first(c->vendor, sizeof c->vendor, value);
    if (!strcmp(key, "microcode")) keep_first(c->microcode, sizeof c->microcode, value);
    if (!strcmp(key, "flags") || !strcmp(key, "Features")) note_isa(c, value);
    if (!strcmp(key, "CPU implementer")) c->implementer = (uint32_t)strtoul(value, NULL, 0);
    if (!strcmp(key, "CPU part")) note_part(c, (uint32_t)strtoul(value, NULL, 0));
    if (!strcmp(key, "cpu MHz")) {
        c->mhz += strtod(value, NULL);
        c->clocks++;
    }
}

/* AArch64 has numbers for names: "Cortex-X1 x 2, Cortex-A55 x 4" where there are several. */
static void name_parts(cpuinfo *c) {
    size_t used = 0;
    const char *vendor = machine_arm_vendor(c->implementer);
    if (c->kinds == 0) return;
    if (vendor)
        keep_first(c->vendor, sizeof c->vendor, vendor);
    else
        snprintf(c->vendor, sizeof c->vendor, "0x%02x", c->implementer);
    if (*c->model) return;
    for (uint32_t i = 0; i < c->kinds && used < sizeof c->model; i++) {
        const char *name = machine_arm_core(c->implementer, c->part[i]);
        char number[16], times[16] = "";
        snprintf(number, sizeof number, "0x%03x", c->part[i]);
        if (c->kinds > 1) snprintf(times, sizeof times, " x %u", c->count[i]);
        used += (size_t)snprintf(c->model + used, sizeof c->model - used, "%s%s%s", i ? ", " : "",
                                 name ? name : number, times);
    }
}

static void read_cpuinfo(cpuinfo *c) {
    machine_lines lines = {.file = sys_open("/proc/cpuinfo"), .separator = ':'};
    while (machine_next(&lines))
        note(c, lines.key, lines.value);
    name_parts(c);
}

/* ---- topology ---- */

/* Sets of cpus or nodes from a file such as "0-3,8". */
static bool read_set(hy_cpu_set *out, const char *path) {
    char line[4096];
    return sys_line(line, sizeof line, "%s", path) && hy_cpu_set_parse(line, out) == HY_OK;
}

static bool first_of(const hy_cpu_set *set, uint32_t cpu) {
    for (uint32_t other = 0; other < cpu; other++)
        if (hy_cpu_set_has(set, other)) return false;
    return true;
}

static void add_counts(json_t *o, const hy_cpu_set *online, bool known) {
    char sysfs[SYS_PATH];
    hy_cpu_set packages = {{0}}, nodes, allowed;
    snprintf(sysfs, sizeof sysfs, "%.500s/sys", sys_root());
    for (uint32_t cpu = 0; cpu < HY_MAX_CPUS; cpu++) {
        uint64_t package;
        if (hy_cpu_set_has(online, cpu) &&
            sys_u64(&package, CPUS "/cpu%u/topology/physical_package_id", cpu) &&
            package < HY_MAX_CPUS)
            hy_cpu_set_add(&packages, (uint32_t)package);
    }
    const uint32_t sockets = hy_cpu_set_count(&packages);
    machine_number(o, "sockets", sockets > 0, sockets);
    machine_number(o, "cores", known, hy_cpu_cores(sysfs, online, false, NULL, 0));
    machine_number(o, "threads", known, hy_cpu_set_count(online));
    hy_cpu_allowed(&allowed);
    machine_number(o, "affinity", true, hy_cpu_set_count(&allowed));
    const uint32_t quota = hy_cpu_quota();
    machine_number(o, "quota", quota != UINT32_MAX, quota);
    machine_number(o, "usable", true, hy_cpu_threads());
    const bool numa = read_set(&nodes, "/sys/devices/system/node/online");
    machine_number(o, "numa_nodes", numa, numa ? hy_cpu_set_count(&nodes) : 0);
}

/* ---- caches ---- */

/* "512K" or "32M" in bytes; 0: something else. */
static uint64_t size_of(const char *text) {
    char *end;
    const uint64_t value = strtoull(text, &end, 10);
    return *end == 'K' ? value << 10 : *end == 'M' ? value << 20 : *end == 0 ? value : 0;
}

typedef struct cache {
    uint64_t bytes; /* of one; of the first cpu's */
    uint32_t count; /* how many there are */
} cache;

/* Counts cache number `index` of a cpu in list[its level - 1] unless a lower cpu shares it. False: there is none. */
static bool note_cache(cache list[3], uint32_t cpu, uint32_t index) {
    char text[32], path[128];
    uint64_t level;
    hy_cpu_set shared;
    if (!sys_u64(&level, CPUS "/cpu%u/cache/index%u/level", cpu, index)) return false;
    if (level < 1 || level > 3) return true;
    if (sys_line(text, sizeof text, CPUS "/cpu%u/cache/index%u/type", cpu, index) &&
        !strcmp(text, "Instruction"))
        return true;
    snprintf(path, sizeof path, CPUS "/cpu%u/cache/index%u/shared_cpu_list", cpu, index);
    if (read_set(&shared, path) && !first_of(&shared, cpu)) return true;
    cache *c = &list[level - 1];
    c->count++;
    if (!c->bytes && sys_line(text, sizeof text, CPUS "/cpu%u/cache/index%u/size", cpu, index))
        c->bytes = size_of(text);
    return true;
}

static void add_caches(json_t *o, const hy_cpu_set *online) {
    static const char *const names[] = {"l1d", "l2", "l3"};
    cache list[3] = {{0, 0}};
    for (uint32_t cpu = 0; cpu < HY_MAX_CPUS; cpu++)
        for (uint32_t i = 0; hy_cpu_set_has(online, cpu) && note_cache(list, cpu, i); i++)
            ;
    json_t *caches = json_object();
    for (size_t i = 0; i < 3; i++)
        json_object_set_new(caches, names[i],
                            list[i].bytes
                                ? json_pack("{s:I, s:i}", "bytes", (json_int_t)list[i].bytes,
                                            "count", (int)list[i].count)
                                : json_null());
    json_object_set_new(o, "caches", caches);
}

/* ---- clocks ---- */

typedef struct clocks {
    uint64_t least, most, sum; /* kHz; sum over `count` cpus of what they run at */
    uint32_t count;
    char governors[128], driver[32], preference[32];
} clocks;

static void note_clock(clocks *c, uint32_t cpu) {
    char text[32];
    uint64_t khz;
    if (sys_u64(&khz, CPUS "/cpu%u/cpufreq/scaling_min_freq", cpu))
        c->least = c->least ? HY_MIN(c->least, khz) : khz;
    if (sys_u64(&khz, CPUS "/cpu%u/cpufreq/scaling_max_freq", cpu)) c->most = HY_MAX(c->most, khz);
    if (sys_u64(&khz, CPUS "/cpu%u/cpufreq/scaling_cur_freq", cpu)) {
        c->sum += khz;
        c->count++;
    }
    if (sys_line(text, sizeof text, CPUS "/cpu%u/cpufreq/scaling_governor", cpu) &&
        !has_word(c->governors, text) && strlen(c->governors) + sizeof text < sizeof c->governors) {
        if (*c->governors) strcat(c->governors, " ");
        strcat(c->governors, text);
    }
    if (!*c->driver)
        sys_line(c->driver, sizeof c->driver, CPUS "/cpu%u/cpufreq/scaling_driver", cpu);
    if (!*c->preference)
        sys_line(c->preference, sizeof c->preference,
                 CPUS "/cpu%u/cpufreq/energy_performance_preference", cpu);
}

/* Whether clocks may rise above the nominal one: intel_pstate says when they may not. */
static void add_boost(json_t *o) {
    uint64_t value;
    if (sys_u64(&value, CPUS "/intel_pstate/no_turbo")) {
        machine_flag(o, "boost", true, value == 0);
    } else {
        const bool known = sys_u64(&value, CPUS "/cpufreq/boost") ||
                           sys_u64(&value, CPUS "/cpufreq/policy0/boost");
        machine_flag(o, "boost", known, known && value != 0);
    }
}

static void add_clocks(json_t *o, const hy_cpu_set *online, const cpuinfo *info) {
    clocks c = {0};
    for (uint32_t cpu = 0; cpu < HY_MAX_CPUS; cpu++)
        if (hy_cpu_set_has(online, cpu)) note_clock(&c, cpu);
    json_t *frequency = json_object();
    machine_text(frequency, "driver", c.driver);
    machine_text(frequency, "governor", c.governors);
    machine_text(frequency, "preference", c.preference);
    machine_real(frequency, "min_mhz", c.least > 0, (double)c.least * 1e-3);
    machine_real(frequency, "max_mhz", c.most > 0, (double)c.most * 1e-3);
    if (c.count)
        machine_real(frequency, "current_mhz", true, (double)c.sum * 1e-3 / c.count);
    else
        machine_real(frequency, "current_mhz", info->clocks > 0,
                     info->mhz / HY_MAX(info->clocks, 1));
    add_boost(frequency);
    json_object_set_new(o, "frequency", frequency);
}

json_t *machine_cpu_json(void) {
    cpuinfo info = {.isa = NULL};
    hy_cpu_set online;
    json_t *o = json_object();
    if (!o) return NULL;
    const bool known = read_set(&online, CPUS "/online");
    if (!known) hy_cpu_allowed(&online);
    read_cpuinfo(&info);
    machine_text(o, "model", info.model);
    machine_text(o, "vendor", info.vendor);
    machine_text(o, "microcode", info.microcode);
    json_object_set_new(o, "isa", info.isa ? info.isa : json_null());
    add_counts(o, &online, known);
    add_caches(o, &online);
    add_clocks(o, &online, &info);
    return o;
}

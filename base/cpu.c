/* base/cpu.c: the processors of this process: affinity, control groups, cores, fast and slow ones. */
#include "base/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/thread.h"

enum {
    FAST = 1024, /* capacity of the fastest cores, as the system counts it */
    SLOW = 512,  /* of those only known to be slower */
    ENOUGH = 4   /* fast cores that do without slow ones */
};

/* ---- sets ---- */

bool hy_cpu_set_has(const hy_cpu_set *set, uint32_t cpu) {
    return cpu < HY_MAX_CPUS && (set->word[cpu / 64] >> cpu % 64 & 1);
}

void hy_cpu_set_add(hy_cpu_set *set, uint32_t cpu) {
    if (cpu < HY_MAX_CPUS) set->word[cpu / 64] |= UINT64_C(1) << cpu % 64;
}

uint32_t hy_cpu_set_count(const hy_cpu_set *set) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < HY_MAX_CPUS / 64; i++)
        count += (uint32_t)__builtin_popcountll(set->word[i]);
    return count;
}

/* "0-3,8": false when it is anything else, or empty, or has a number that is too large. */
static bool parse_list(const char *text, hy_cpu_set *out) {
    for (;;) {
        char *end;
        if (*text < '0' || *text > '9') return false;
        unsigned long first = strtoul(text, &end, 10), last = first;
        if (*end == '-') {
            text = end + 1;
            if (*text < '0' || *text > '9') return false;
            last = strtoul(text, &end, 10);
        }
        if (last < first || last >= HY_MAX_CPUS) return false;
        for (unsigned long cpu = first; cpu <= last; cpu++)
            hy_cpu_set_add(out, (uint32_t)cpu);
        if (*end == 0 || *end == '\n') return true;
        if (*end != ',') return false;
        text = end + 1;
    }
}

static bool parse_mask(const char *digits, hy_cpu_set *out) {
    const size_t length = strlen(digits);
    if (length == 0 || length > HY_MAX_CPUS / 4) return false;
    for (size_t i = 0; i < length; i++) {
        const char c = digits[length - 1 - i];
        const int value = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (value < 0) return false;
        out->word[i / 16] |= (uint64_t)value << i % 16 * 4;
    }
    return true;
}

hy_status hy_cpu_set_parse(const char *text, hy_cpu_set *out) {
    hy_cpu_set set = {{0}};
    const bool mask = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    if (!(mask ? parse_mask(text + 2, &set) : parse_list(text, &set)) || !hy_cpu_set_count(&set))
        return hy_fail(HY_E_ARGUMENT,
                       "'%s' is not a valid set of cpus: a mask such as 0xff, a list such as 0-3,8",
                       text);
    *out = set;
    return HY_OK;
}

static bool read_line(const char *path, char *line, int size) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool got = fgets(line, size, file) != NULL;
    fclose(file);
    return got;
}

static bool read_set(const char *sysfs, const char *name, hy_cpu_set *out) {
    char path[512], line[4096];
    hy_cpu_set set = {{0}};
    snprintf(path, sizeof path, "%s/devices/%s", sysfs, name);
    if (!read_line(path, line, sizeof line) || !parse_list(line, &set)) return false;
    *out = set;
    return true;
}

/* ---- cores ---- */

/* True when no lower cpu of `set` is in the list that a file of cpu's gives. */
static bool first_of(const char *sysfs, const hy_cpu_set *set, uint32_t cpu, const char *list) {
    char name[96];
    hy_cpu_set siblings;
    snprintf(name, sizeof name, "system/cpu/cpu%u/%s", cpu, list);
    if (!read_set(sysfs, name, &siblings)) return true;
    for (uint32_t other = 0; other < cpu; other++)
        if (hy_cpu_set_has(&siblings, other) && hy_cpu_set_has(set, other)) return false;
    return true;
}

/* Of a core: what the system says, or else whether Intel's list of efficient cores has it. */
static uint32_t capacity_of(const char *sysfs, const hy_cpu_set *efficient, uint32_t cpu) {
    char path[512], line[64];
    snprintf(path, sizeof path, "%s/devices/system/cpu/cpu%u/cpu_capacity", sysfs, cpu);
    const unsigned long said = read_line(path, line, sizeof line) ? strtoul(line, NULL, 10) : 0;
    if (said > 0 && said < UINT16_MAX) return (uint32_t)said;
    return hy_cpu_set_has(efficient, cpu) ? SLOW : FAST;
}

/* The least capacity that a core needs to take part. A matrix-vector product gives every worker an equal
 * share of the weights, so that the slowest sets the pace; and on the machines that are built this way about
 * four cores fill the memory bus. So a class of slower cores (by more than a tenth) joins only where there
 * are fewer than four, and only if all at its pace are more than the fast ones at theirs. */
static uint32_t least_capacity(const uint16_t *capacity) {
    uint32_t least = UINT32_MAX, taken = 0;
    for (;;) {
        uint32_t top = 0, low = UINT32_MAX, count = 0;
        for (uint32_t cpu = 0; cpu < HY_MAX_CPUS; cpu++)
            if (capacity[cpu] < least) top = HY_MAX(top, capacity[cpu]);
        for (uint32_t cpu = 0; cpu < HY_MAX_CPUS && top; cpu++) {
            if (capacity[cpu] >= least || capacity[cpu] * 10u < top * 9u) continue;
            low = HY_MIN(low, capacity[cpu]);
            count++;
        }
        if (!top) return least;
        if (taken &&
            (taken >= ENOUGH || (uint64_t)(taken + count) * low <= (uint64_t)taken * least))
            return least;
        taken += count;
        least = low;
    }
}

uint32_t hy_cpu_cores(const char *sysfs, const hy_cpu_set *allowed, bool fast, uint32_t *order,
                      uint32_t capacity) {
    uint16_t power[HY_MAX_CPUS] = {0}; /* of the cores' first cpus; 0 for all others */
    hy_cpu_set set = *allowed, online, efficient = {{0}};
    if (read_set(sysfs, "system/cpu/online", &online))
        for (uint32_t i = 0; i < HY_MAX_CPUS / 64; i++)
            set.word[i] &= online.word[i];
    if (!hy_cpu_set_count(&set)) set = *allowed;
    if (fast) read_set(sysfs, "cpu_atom/cpus", &efficient);
    for (uint32_t cpu = 0; cpu < HY_MAX_CPUS; cpu++)
        if (hy_cpu_set_has(&set, cpu) &&
            first_of(sysfs, &set, cpu, "topology/thread_siblings_list"))
            power[cpu] = (uint16_t)(fast ? capacity_of(sysfs, &efficient, cpu) : FAST);
    const uint32_t least = fast ? least_capacity(power) : 1;
    uint32_t count = 0;
    for (uint32_t cpu = 0; cpu < HY_MAX_CPUS; cpu++) {
        if (power[cpu] == 0 || power[cpu] < least) continue;
        if (count < capacity) order[count] = cpu;
        count++;
    }
    return count;
}

uint32_t hy_cpu_count(void) {
    hy_cpu_set allowed;
    hy_cpu_allowed(&allowed);
    const uint32_t cores = hy_cpu_cores("/sys", &allowed, true, NULL, 0), quota = hy_cpu_quota();
    return HY_MAX(HY_MIN(cores, quota), 1);
}

uint32_t hy_cpu_threads(void) {
    hy_cpu_set allowed;
    hy_cpu_allowed(&allowed);
    const uint32_t cpus = hy_cpu_set_count(&allowed), quota = hy_cpu_quota();
    return HY_MAX(HY_MIN(cpus, quota), 1);
}

/* ---- caches ---- */

/* Bytes of "32768K", "96M"; 0 for anything else. */
static uint64_t size_of(const char *text) {
    char *end;
    const unsigned long long number = strtoull(text, &end, 10);
    const uint64_t unit = *end == 'K' ? 1 << 10 : *end == 'M' ? 1 << 20 : 0;
    return number < UINT64_C(1) << 40 ? number * unit : 0;
}

/* The largest index there is is the last level. */
static uint64_t last_level(const char *sysfs, const hy_cpu_set *cpus, uint32_t cpu) {
    enum { INDICES = 8 };
    char path[512], line[64], list[48];
    for (uint32_t index = INDICES; index-- > 0;) {
        snprintf(path, sizeof path, "%s/devices/system/cpu/cpu%u/cache/index%u/size", sysfs, cpu,
                 index);
        if (!read_line(path, line, sizeof line)) continue;
        snprintf(list, sizeof list, "cache/index%u/shared_cpu_list", index);
        return first_of(sysfs, cpus, cpu, list) ? size_of(line) : 0;
    }
    return 0;
}

uint64_t hy_cpu_cache_bytes(const char *sysfs, const hy_cpu_set *cpus) {
    uint64_t bytes = 0;
    for (uint32_t cpu = 0; cpu < HY_MAX_CPUS; cpu++)
        if (hy_cpu_set_has(cpus, cpu)) bytes += last_level(sysfs, cpus, cpu);
    return bytes;
}

/* ---- what the system allows ---- */

#ifdef __linux__

void hy_cpu_allowed(hy_cpu_set *out) {
    memset(out, 0, sizeof *out);
    if (sched_getaffinity(0, sizeof *out, (cpu_set_t *)out) != 0) hy_cpu_set_add(out, 0);
}

/* Whole cpus that one group's quota allows; UINT32_MAX without a quota. */
static uint32_t quota_of(const char *folder) {
    char path[600], line[64];
    long long quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (read_line(path, line, sizeof line)) {
        if (sscanf(line, "%lld %lld", &quota, &period) != 2) return UINT32_MAX; /* "max 100000" */
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
        if (!read_line(path, line, sizeof line) || sscanf(line, "%lld", &quota) != 1)
            return UINT32_MAX;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        if (!read_line(path, line, sizeof line) || sscanf(line, "%lld", &period) != 1)
            return UINT32_MAX;
    }
    if (quota <= 0 || period <= 0) return UINT32_MAX; /* -1: none */
    long long cpus = quota / period;
    return cpus < 1 ? 1 : cpus > UINT32_MAX - 1 ? UINT32_MAX : (uint32_t)cpus;
}

/* The tightest quota of a group and the groups around it. In a container the path is often the
 * host's and does not exist; the walk then ends at the mount point, which is the container's own
 * group. */
static uint32_t quota_upward(const char *mount, const char *group) {
    char folder[512];
    uint32_t least = UINT32_MAX;
    size_t root = strlen(mount);
    int length = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (length < 0 || (size_t)length >= sizeof folder) folder[root] = 0;
    for (;;) {
        uint32_t quota = quota_of(folder);
        least = HY_MIN(least, quota);
        char *slash = strrchr(folder, '/');
        if (!slash || strlen(folder) <= root || slash < folder + root) return least;
        *slash = 0;
    }
}

/* True for a version 1 controller list ("cpu,cpuacct") that names cpu. */
static bool names_cpu(const char *list) {
    for (const char *item = list; item; item = strchr(item, ',') ? strchr(item, ',') + 1 : NULL)
        if (!strncmp(item, "cpu", 3) && (item[3] == 0 || item[3] == ',')) return true;
    return false;
}

uint32_t hy_cpu_quota(void) {
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return UINT32_MAX;
    uint32_t least = UINT32_MAX;
    char line[512];
    while (fgets(line, sizeof line, file)) { /* "4:cpu,cpuacct:/path" or "0::/path" */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *group;
        if (!controllers || !(group = strchr(controllers + 1, ':'))) continue;
        *group++ = 0;
        uint32_t quota = UINT32_MAX;
        if (!*++controllers) {
            quota = quota_upward("/sys/fs/cgroup", group);
        } else if (names_cpu(controllers)) {
            quota = quota_upward("/sys/fs/cgroup/cpu", group);
        }
        least = HY_MIN(least, quota);
    }
    fclose(file);
    return least;
}

#else

void hy_cpu_allowed(hy_cpu_set *out) {
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    memset(out, 0, sizeof *out);
    hy_cpu_set_add(out, 0);
    for (long cpu = 1; cpu < count; cpu++)
        hy_cpu_set_add(out, (uint32_t)cpu);
}

uint32_t hy_cpu_quota(void) {
    return UINT32_MAX;
}

#endif

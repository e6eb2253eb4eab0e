/* base/cpu.c: how many processors this process may use. */
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/thread.h"

#ifdef __linux__

enum { MAX_CPUS = 8192, WORD_BITS = 8 * sizeof(unsigned long) };

typedef struct cpu_set {
    unsigned long word[MAX_CPUS / WORD_BITS];
} cpu_set;

static bool has_cpu(const cpu_set *set, uint32_t cpu) {
    return cpu < MAX_CPUS && (set->word[cpu / WORD_BITS] >> cpu % WORD_BITS & 1);
}

static bool read_line(const char *path, char *line, int size) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool got = fgets(line, size, file) != NULL;
    fclose(file);
    return got;
}

/* The lowest allowed cpu of a list such as "0,64" or "4-5,12-13", or `fallback`. */
static uint32_t first_allowed(const char *list, const cpu_set *allowed, uint32_t fallback) {
    while (*list >= '0' && *list <= '9') {
        char *end;
        unsigned long first = strtoul(list, &end, 10), last = first;
        if (*end == '-') last = strtoul(end + 1, &end, 10);
        for (unsigned long cpu = first; cpu <= last && cpu < MAX_CPUS; cpu++)
            if (has_cpu(allowed, (uint32_t)cpu)) return (uint32_t)cpu;
        if (*end != ',') break;
        list = end + 1;
    }
    return fallback;
}

/* Allowed cpus, or (cores) those of them that are the first allowed one of their core. */
static uint32_t count_allowed(bool cores) {
    cpu_set allowed = {{0}};
    if (sched_getaffinity(0, sizeof allowed, (cpu_set_t *)&allowed) != 0) return 1;
    uint32_t count = 0;
    for (uint32_t cpu = 0; cpu < MAX_CPUS; cpu++) {
        if (!has_cpu(&allowed, cpu)) continue;
        char path[96], list[256];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list",
                 cpu);
        if (!cores || !read_line(path, list, sizeof list) ||
            first_allowed(list, &allowed, cpu) == cpu)
            count++;
    }
    return HY_MAX(count, 1);
}

uint64_t hy_cpu_mask(void) {
    cpu_set allowed = {{0}};
    if (sched_getaffinity(0, sizeof allowed, (cpu_set_t *)&allowed) != 0) return UINT64_MAX;
    uint64_t mask = 0;
    for (uint32_t cpu = 0; cpu < 64; cpu++)
        mask |= (uint64_t)has_cpu(&allowed, cpu) << cpu;
    return mask;
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

static uint32_t cgroup_quota(void) {
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

uint32_t hy_cpu_count(void) {
    uint32_t cores = count_allowed(true), quota = cgroup_quota();
    return HY_MIN(cores, quota);
}

uint32_t hy_cpu_threads(void) {
    uint32_t cpus = count_allowed(false), quota = cgroup_quota();
    return HY_MIN(cpus, quota);
}

#else

uint32_t hy_cpu_threads(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : (uint32_t)count;
}

uint32_t hy_cpu_count(void) {
    return hy_cpu_threads();
}

uint64_t hy_cpu_mask(void) {
    return UINT64_MAX;
}

#endif

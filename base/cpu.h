/* base/cpu.h: which processors this process may use, and which of them a pool should. */
#ifndef HY_BASE_CPU_H
#define HY_BASE_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { HY_MAX_CPUS = 8192 }; /* numbers of cpus end here */

/* A set of logical cpus (hardware threads). */
typedef struct hy_cpu_set {
    uint64_t word[HY_MAX_CPUS / 64];
} hy_cpu_set;

/* False for numbers past HY_MAX_CPUS. */
bool hy_cpu_set_has(const hy_cpu_set *set, uint32_t cpu);
/* Numbers past HY_MAX_CPUS are left out. */
void hy_cpu_set_add(hy_cpu_set *set, uint32_t cpu);
uint32_t hy_cpu_set_count(const hy_cpu_set *set);
/* A mask such as "0xff", of any length, or a list such as "0-3,8". HY_E_ARGUMENT. */
HY_NODISCARD hy_status hy_cpu_set_parse(const char *text, hy_cpu_set *out);

/* The cpus of this process' affinity mask. */
void hy_cpu_allowed(hy_cpu_set *out);
/* Whole cpus that the tightest control group's quota allows, at least 1; UINT32_MAX without one. */
uint32_t hy_cpu_quota(void);
/* One cpu for each physical core that `allowed` has a cpu of, into order [capacity], ascending; returns
 * their number, which may be more than capacity. `sysfs` is "/sys", or a made-up tree. `fast` leaves out the
 * slow cores of machines with cores of several speeds. What cannot be read counts as a fast core of one cpu
 * that is on line. */
uint32_t hy_cpu_cores(const char *sysfs, const hy_cpu_set *allowed, bool fast, uint32_t *order,
                      uint32_t capacity);
/* Bytes of the last-level caches that these cpus have, each cache once; 0 where nothing can be read. `sysfs` as
 * above. */
uint64_t hy_cpu_cache_bytes(const char *sysfs, const hy_cpu_set *cpus);

#endif

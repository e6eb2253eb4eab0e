/* tools/probe.h: what the machine itself can do, measured in the same run as a benchmark. */
#ifndef HY_TOOLS_PROBE_H
#define HY_TOOLS_PROBE_H

#include <stdint.h>

/* Best of a few passes in which `threads` threads read `bytes` of memory once; bytes per second, 0
 * when there is no memory for it. */
double probe_read_bandwidth(uint32_t threads, uint64_t bytes);

#endif

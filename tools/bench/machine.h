/* tools/bench/machine.h: the record of the machine that a result was measured on, and whether it was quiet
 * (docs/machine.md has the fields). What is not known is null. Nothing in it names the machine or its user.
 *
 * Thread-safety: one thread at a time. */
#ifndef HY_TOOLS_BENCH_MACHINE_H
#define HY_TOOLS_BENCH_MACHINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Each returns an object that the caller releases, or NULL without memory. */
/* Model, instructions, cores, caches, NUMA nodes, clocks and their governor. */
json_t *machine_cpu_json(void);
/* Totals and what is available, huge pages. */
json_t *machine_memory_json(void);
/* System, kernel, C library; virtual machine, cloud, container; load. */
json_t *machine_host_json(void);
/* The card at hy_device_desc.bus; "": every field is null. */
json_t *machine_gpu_json(const char *pci_bus);

/* The largest resident set since the process began, or since machine_peak_reset, in bytes; 0: not told. */
uint64_t machine_peak_bytes(void);
/* Forgets the peak so far. False: the system cannot (it is Linux's /proc/self/clear_refs). */
bool machine_peak_reset(void);

/* Processor time up to a moment, in ticks of 1/100 s on most systems. */
typedef struct machine_busy {
    uint64_t all, used, stolen; /* of the cpus that this process may use */
    uint64_t far_all, far_used; /* of all others */
    double own;                 /* ticks that this process used */
    bool known;
} machine_busy;

/* Shares of the time between two moments, 0 to 1. */
typedef struct machine_share {
    double others; /* of this process' cpus, used by other processes and by interrupts */
    double stolen; /* of this process' cpus, taken by the hypervisor */
    double far;    /* of the other cpus, used by anyone; 0: there are none */
} machine_share;

/* Notes the moment from which machine_busy_end counts. */
void machine_busy_begin(machine_busy *busy);
/* False: /proc/stat does not tell, or too little time has passed to tell anything (20 ticks of all cpus). */
bool machine_busy_end(const machine_busy *busy, machine_share *out);

#endif

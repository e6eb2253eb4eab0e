/* backends/hip/topology.c: what amdkfd, the kernel's driver, tells of a device under /sys/class/kfd. HIP's own
 * answers moved between releases; these have not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/hip/hip.h"

#define NODES "/sys/class/kfd/kfd/topology/nodes"
enum { MAX_NODES = 64 };

/* One node's properties, by name. */
typedef struct node {
    uint64_t gfx_target_version, simd_count, simd_per_cu, location_id, domain;
    uint64_t max_engine_clk_fcompute;
} node;

static void set(node *n, const char *name, uint64_t value) {
    if (strcmp(name, "gfx_target_version") == 0) n->gfx_target_version = value;
    if (strcmp(name, "simd_count") == 0) n->simd_count = value;
    if (strcmp(name, "simd_per_cu") == 0) n->simd_per_cu = value;
    if (strcmp(name, "location_id") == 0) n->location_id = value;
    if (strcmp(name, "domain") == 0) n->domain = value;
    if (strcmp(name, "max_engine_clk_fcompute") == 0) n->max_engine_clk_fcompute = value;
}

static bool read_node(uint32_t number, node *out) {
    char path[96], name[64];
    unsigned long long value;
    snprintf(path, sizeof path, NODES "/%u/properties", number);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    *out = (node){0};
    while (fscanf(file, "%63s %llu", name, &value) == 2)
        set(out, name, value);
    fclose(file);
    return true;
}

/* Of a memory bank of the node: width in bits times clock in MHz, two transfers a clock. */
static uint64_t bandwidth_of(uint32_t number) {
    char path[96], name[64];
    unsigned long long value, width = 0, clock = 0;
    snprintf(path, sizeof path, NODES "/%u/mem_banks/0/properties", number);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    while (fscanf(file, "%63s %llu", name, &value) == 2) {
        if (strcmp(name, "width") == 0) width = value;
        if (strcmp(name, "mem_clk_max") == 0) clock = value;
    }
    fclose(file);
    return width / 8 * clock * 2;
}

/* 90402 is gfx942, 100300 gfx1030: major, minor, stepping in two decimal digits each, printed in hexadecimal. */
static void name_arch(uint64_t version, char *out, size_t size) {
    snprintf(out, size, "gfx%u%x%x", (unsigned)(version / 10000), (unsigned)(version / 100 % 100),
             (unsigned)(version % 100));
}

bool hip_topology_of(const char *bus, hip_topology *out) {
    unsigned domain, number, slot, function;
    if (sscanf(bus, "%x:%x:%x.%x", &domain, &number, &slot, &function) != 4) return false;
    const uint64_t location = (uint64_t)number << 8 | slot << 3 | function;
    for (uint32_t i = 0; i < MAX_NODES; i++) {
        node n;
        if (!read_node(i, &n)) return false;
        if (n.gfx_target_version == 0 || n.location_id != location || n.domain != domain) continue;
        *out = (hip_topology){.clock_mhz = (uint32_t)n.max_engine_clk_fcompute,
                              .bytes_per_us = bandwidth_of(i)};
        if (n.simd_per_cu) out->units = (uint32_t)(n.simd_count / n.simd_per_cu);
        name_arch(n.gfx_target_version, out->arch, sizeof out->arch);
        return true;
    }
    return false;
}

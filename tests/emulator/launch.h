/* tests/emulator/launch.h: runs a kernel on the CPU. For the stand-in libraries and the emulator's own tests. */
#ifndef HY_EMULATOR_LAUNCH_H
#define HY_EMULATOR_LAUNCH_H

#include <stdint.h>

#include "shaders/args.h"

typedef void hy_emulator_kernel(const hy_args &args);

/* Which thread of a workgroup goes first: the first in even workgroups and the last in odd ones, or always the
 * same. What is missing a barrier comes out differently. */
enum hy_emulator_order { HY_ORDER_BOTH, HY_ORDER_FORWARD, HY_ORDER_REVERSE };

struct hy_emulator_entry {
    const char *name; /* "simt_add" */
    hy_emulator_kernel *kernel;
    uint32_t threads; /* at most */
};

/* Every kernel of entries.h; ends with name NULL. table.cpp. */
extern const hy_emulator_entry hy_emulator_entries[];

/* One launch, one workgroup after the other, on the caller's thread; one at a time in a process. grid: in x and y.
 * Mistakes of the kernel end the process with a line on stderr. */
void hy_emulator_launch(const hy_emulator_entry *entry, const hy_args *args, uint32_t grid_x,
                        uint32_t grid_y, uint32_t threads, uint32_t shared_bytes,
                        hy_emulator_order order);

#endif

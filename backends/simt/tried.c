/* backends/simt/tried.c: on which cards the kernels have run and passed: what tools/gpu-check adds to when it has
 * passed. Until then what a user is told is the truth: emulated only. */
#include <string.h>

#include "backends/simt/simt.h"

static const char *const tried[] = {
    NULL, /* no target yet */
};

const char *simt_tried(const simt_probe *probe) {
    if (probe->info.software) return "emulated";
    for (size_t i = 0; tried[i]; i++)
        if (strcmp(tried[i], probe->info.arch) == 0) return "run on such a card";
    return "never run on such a card, emulated only (tools/gpu-check)";
}

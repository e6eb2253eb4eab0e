/* tests/emulator/emulator_state.h: what a test sees and sets of a stand-in libcuda or libamdhip64: exported as
 * `emulator_state`. Plain C. */
#ifndef HY_EMULATOR_STATE_H
#define HY_EMULATOR_STATE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct emulator_state_of {
    /* Since the beginning; the test may set them to 0. */
    uint64_t launches;       /* of kernels, outside of graphs */
    uint64_t graph_launches; /* of whole graphs */
    uint64_t graph_nodes;    /* that those ran */
    uint64_t calls;          /* of functions that can fail */
    int64_t alive;           /* allocations, modules, streams, events, graphs, contexts */
    /* The call number fail_at (1: the next one; 0: none) of functions that can fail, or of the one named
     * fail_only, returns `failure`. 719: from then on every call of a device returns it. */
    int64_t fail_at;
    int32_t failure;
    const char *fail_only;
    bool lost;
    bool hang; /* events do not come to pass */
    /* Called around every call, where set. */
    void (*enter)(void);
    void (*leave)(void);
} emulator_state_of;

#endif

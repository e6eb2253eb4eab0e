/* tests/emulator/emulator_state.h: what a test sees and sets of a stand-in libcuda or libamdhip64: exported as
 * `emulator_state`. Plain C. */
#ifndef HY_EMULATOR_STATE_H
#define HY_EMULATOR_STATE_H

#include "tests/gpu/fault_state.h"

typedef struct emulator_state_of {
    fault_state faults; /* the driver's codes; 719 means loss */
    /* Since the beginning; the test may set them to 0. */
    uint64_t launches;       /* of kernels, outside of graphs */
    uint64_t graph_launches; /* of whole graphs */
    uint64_t graph_nodes;    /* that those ran */
} emulator_state_of;

#endif

/* backends/simt/rows_misc.h */
#define SIMT_ROWS_MISC(B)                                                                          \
    {.name = B ".add.any",                                                                         \
     .kind = HY_OP_ADD,                                                                            \
     .family = &gpu_family_elements,                                                               \
     .entry = {"add"},                                                                             \
     .tile = {128, HY_ADD_a, 4},                                                                   \
     .flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC | HY_KERNEL_INVARIANT,                \
     .accuracy = 8},

/* tests/emulator/table.cpp: every kernel of entries.h, by name. */
#include "shaders/simt/entries.h"
#include "tests/emulator/launch.h"

#define DECLARE(unit, name)                                                                        \
    extern "C" void simt_##name(const hy_args &args);                                              \
    extern "C" const uint32_t simt_limit_##name;
SIMT_ENTRIES(DECLARE)

#define ENTRY(unit, name) {"simt_" #name, simt_##name, simt_limit_##name},
const hy_emulator_entry hy_emulator_entries[] = {SIMT_ENTRIES(ENTRY){nullptr, nullptr, 0}};

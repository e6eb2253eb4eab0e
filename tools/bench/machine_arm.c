/* tools/bench/machine_arm.c: names of AArch64 cores: MIDR_EL1's implementer and part, from the vendors' manuals. */
#include "base/num.h"
#include "tools/bench/machine_inner.h"

static const struct {
    uint32_t implementer;
    const char *name;
} vendors[] = {{0x41, "ARM"},       {0x42, "Broadcom"}, {0x43, "Cavium"}, {0x46, "Fujitsu"},
               {0x48, "HiSilicon"}, {0x4e, "NVIDIA"},   {0x50, "APM"},    {0x51, "Qualcomm"},
               {0x53, "Samsung"},   {0x56, "Marvell"},  {0x61, "Apple"},  {0x69, "Intel"},
               {0x6d, "Microsoft"}, {0x70, "Phytium"},  {0xc0, "Ampere"}};

static const struct {
    uint32_t implementer, part;
    const char *name;
} cores[] = {
    {0x41, 0xd03, "Cortex-A53"},   {0x41, 0xd04, "Cortex-A35"},   {0x41, 0xd05, "Cortex-A55"},
    {0x41, 0xd06, "Cortex-A65"},   {0x41, 0xd07, "Cortex-A57"},   {0x41, 0xd08, "Cortex-A72"},
    {0x41, 0xd09, "Cortex-A73"},   {0x41, 0xd0a, "Cortex-A75"},   {0x41, 0xd0b, "Cortex-A76"},
    {0x41, 0xd0c, "Neoverse-N1"},  {0x41, 0xd0d, "Cortex-A77"},   {0x41, 0xd0e, "Cortex-A76AE"},
    {0x41, 0xd40, "Neoverse-V1"},  {0x41, 0xd41, "Cortex-A78"},   {0x41, 0xd42, "Cortex-A78AE"},
    {0x41, 0xd44, "Cortex-X1"},    {0x41, 0xd46, "Cortex-A510"},  {0x41, 0xd47, "Cortex-A710"},
    {0x41, 0xd48, "Cortex-X2"},    {0x41, 0xd49, "Neoverse-N2"},  {0x41, 0xd4a, "Neoverse-E1"},
    {0x41, 0xd4b, "Cortex-A78C"},  {0x41, 0xd4c, "Cortex-X1C"},   {0x41, 0xd4d, "Cortex-A715"},
    {0x41, 0xd4e, "Cortex-X3"},    {0x41, 0xd4f, "Neoverse-V2"},  {0x41, 0xd80, "Cortex-A520"},
    {0x41, 0xd81, "Cortex-A720"},  {0x41, 0xd82, "Cortex-X4"},    {0x41, 0xd83, "Neoverse-V3AE"},
    {0x41, 0xd84, "Neoverse-V3"},  {0x41, 0xd85, "Cortex-X925"},  {0x41, 0xd87, "Cortex-A725"},
    {0x41, 0xd8e, "Neoverse-N3"},  {0x43, 0x0af, "ThunderX2"},    {0x46, 0x001, "A64FX"},
    {0x48, 0xd01, "TaiShan-v110"}, {0x48, 0xd02, "TaiShan-v120"}, {0x4e, 0x004, "Carmel"},
    {0x50, 0x000, "X-Gene"},       {0x51, 0x001, "Oryon"},        {0x6d, 0xd49, "Azure-Cobalt-100"},
    {0xc0, 0xac3, "Ampere-1"},     {0xc0, 0xac4, "Ampere-1a"},
};

const char *machine_arm_core(uint32_t implementer, uint32_t part) {
    for (size_t i = 0; i < HY_COUNT_OF(cores); i++)
        if (cores[i].implementer == implementer && cores[i].part == part) return cores[i].name;
    return NULL;
}

const char *machine_arm_vendor(uint32_t implementer) {
    for (size_t i = 0; i < HY_COUNT_OF(vendors); i++)
        if (vendors[i].implementer == implementer) return vendors[i].name;
    return NULL;
}

#include <string.h>

#include "base/num.h"
#include "models/archs.h"

static const hy_arch *const archs[] = {
    &hy_arch_llama,
    &hy_arch_qwen2,
    &hy_arch_qwen3,
    &hy_arch_qwen3moe,
};

const hy_arch *hy_arch_at(uint32_t index) {
    return index < HY_COUNT_OF(archs) ? archs[index] : NULL;
}

const hy_arch *hy_arch_find(const char *name) {
    for (uint32_t i = 0; i < HY_COUNT_OF(archs); i++)
        if (strcmp(archs[i]->name, name) == 0) return archs[i];
    return NULL;
}

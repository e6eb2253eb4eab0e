/* models/archs.h: the architectures in this build, one file each; the table is models/registry.c. */
#ifndef HY_MODELS_ARCHS_H
#define HY_MODELS_ARCHS_H

#include "models/model.h"

extern const hy_arch hy_arch_llama;    /* llama.c: Llama 1 to 3, Mistral, Mixtral, TinyLlama, ... */
extern const hy_arch hy_arch_qwen2;    /* qwen2.c */
extern const hy_arch hy_arch_qwen3;    /* qwen3.c */
extern const hy_arch hy_arch_qwen3moe; /* qwen3moe.c */

#endif

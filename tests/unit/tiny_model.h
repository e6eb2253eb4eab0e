/* tests/unit/tiny_model.h: writes small random GGUF models, whole or broken in one place. */
#ifndef HY_TESTS_TINY_MODEL_H
#define HY_TESTS_TINY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "hal/dtype.h"

/* Zero takes the default that stands behind each field. */
typedef struct tiny_model {
    const char *arch;               /* "llama" */
    uint32_t layers;                /* 2 */
    uint32_t embedding;             /* 64 */
    uint32_t heads, kv_heads;       /* 2, 1 */
    uint32_t head_dim;              /* 32, as attention.key_length and value_length */
    uint32_t ffn, vocab, context;   /* 96, 80, 256 */
    uint32_t experts, experts_used; /* 0, 2: a mixture */
    hy_dtype dtype;                 /* of matrices: f32 */
    hy_dtype vector_dtype;          /* of norms and biases: f32 */
    uint64_t seed;
    bool tied, biases, joined_qkv;
    bool vocabulary; /* byte tokens and a few control tokens; vocab 260 */
    /* Defects */
    const char *without_tensor; /* this one is left out */
    const char *without_key;    /* without the "llama." in front */
    const char *misshapen;      /* this tensor gets one row more */
    const char *unknown_type;   /* this tensor is declared as GGUF type 29 (IQ1_M) */
    const char *bad_key;        /* this u32 key (without "llama.") gets bad_value */
    uint32_t bad_value;
    float eps;           /* 1e-5 */
    const char *scaling; /* rope.scaling.type with factor 4 and original context 64 */
} tiny_model;

/* Writes `path`; fails the running test otherwise. */
void tiny_model_write(const char *path, const tiny_model *model);
/* "/tmp/halyard-<pid>-<name>.gguf", in a static buffer per name slot; remove it yourself. */
const char *tiny_model_path(const char *name);

#endif

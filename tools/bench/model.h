/* tools/bench/model.h: what is benchmarked: a file, or random weights of a known shape. */
#ifndef HY_TOOLS_BENCH_MODEL_H
#define HY_TOOLS_BENCH_MODEL_H

#include "tools/cli.h"

enum {
    BENCH_CHECK_TOKENS = 32, /* at most, that are verified */
    BENCH_MAX_REFERENCES = 6 /* of two devices, with three types of cache */
};

/* Logits of one device that others are measured against. */
typedef struct bench_reference {
    const char *device, *isa; /* that computed them; isa NULL: the best */
    hy_kv_type kv_type;
    uint32_t tokens; /* 0: there are none, for `reason` */
    float *logits;   /* [tokens, vocab] */
    char reason[256];
} bench_reference;

typedef struct bench_model {
    hy_instance *instance;
    hy_model *model;
    hy_model_desc desc;
    char spec[512]; /* as given: a path or SHAPE:TYPE */
    bool synthetic;
    char sha256[65]; /* of the whole file, hexadecimal; "": left out */
    bench_reference reference[BENCH_MAX_REFERENCES];
    uint32_t references;
    double token_flops; /* check.c; 0: not asked yet */
} bench_model;

/* Opens a file, or makes SHAPE:TYPE and removes it again. `sparse`: header only, the weights are holes.
 * 0, or an exit code after an error line. */
int bench_model_open(const char *spec, bool synthetic, bool sparse, bool hash, bool *verbose,
                     bench_model *out);
void bench_model_close(bench_model *m);

/* check.c: logits for what runs on `device`, from a device that is trusted more: ref where it is quick enough, or the
 * CPU's plain C; the CPU for everything else. Computed at the first call; do it before an engine takes the memory. */
const bench_reference *bench_reference_for(bench_model *m, const char *device, hy_kv_type kv_type);

/* The device that `id` names, or the first of several: "cpu", "cuda:1", "cpu:0,vulkan:0". False: there is none, and
 * *out is empty. */
bool bench_device(const bench_model *m, const char *id, hy_device_desc *out);

/* Id of token `position` of a sequence: random, the same in every run. */
int32_t bench_token(const bench_model *m, uint32_t sequence, uint32_t position);

#endif

/* src/format/quantize.h: a whole GGUF file in another weight type. */
#ifndef HY_FORMAT_QUANTIZE_H
#define HY_FORMAT_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "hal/dtype.h"
#include "src/format/gguf.h"

/* What a file can be turned into: one type for all weights, or a mix with more bits where they matter. */
typedef struct hy_quantize_target {
    const char *name; /* "q4_k", "q4_k_m" */
    hy_dtype dtype;   /* of most weights */
    hy_dtype better; /* of output.weight and of every third value and down projection; NONE: pure */
    uint32_t file_type; /* GGUF's general.file_type */
} hy_quantize_target;

/* By name, letter case ignored; NULL when there is none. Thread-safety: any thread, as all here. */
const hy_quantize_target *hy_quantize_target_find(const char *name);
/* All of them, for lists; NULL past the end. */
const hy_quantize_target *hy_quantize_target_at(size_t index);

/* Where the work stands: told from the calling thread, after each piece and tensor. */
typedef struct hy_quantize_progress {
    const char *tensor;               /* its name */
    const char *from, *to;            /* type names, equal where the tensor is copied */
    size_t index, count;              /* which tensor, of how many */
    uint64_t bytes_done, bytes_total; /* of the input's tensors */
    bool *cancel;                     /* set it to true to stop: nothing is written */
} hy_quantize_progress;

/* How to do it; all zero is the default. */
typedef struct hy_quantize_file_params {
    uint32_t threads; /* 0: one per physical core */
    void (*progress)(void *user, const hy_quantize_progress *progress); /* may be NULL */
    void *user;
} hy_quantize_file_params;

/* Layers whose value and down projections a mix gives its better type: the first and last eighth, and every
 * third between (llama.cpp's rule). */
bool hy_quantize_more_bits(uint64_t layer, uint32_t layers);

/* The type that the tensor gets. Weights are matrices whose name ends in ".weight", without norms, routers,
 * position tables and what small recurrent parts keep in full; all else keeps its own type. Rows that
 * are no whole blocks get a type of similar width with smaller blocks, or f16. `layers`: block_count of
 * the model, for mixes. */
hy_dtype hy_quantize_choose(const hy_quantize_target *target, const hy_gguf_tensor *tensor,
                            uint32_t layers);

/* Reads `in` (any known type, dequantized first; warns in the log when weights were quantized already) and
 * writes `out`, whole or not at all. Metadata are copied, general.file_type and
 * general.quantization_version set; a split file becomes one. Memory stays under 32 MiB plus the
 * mapping's own pages; the bytes do not depend on the number of threads. Errors: as of hy_gguf_open and
 * the writer; HY_E_UNSUPPORTED names a tensor whose type cannot be read; HY_E_STATE when cancelled. */
HY_NODISCARD hy_status hy_quantize_file(const char *in, const char *out,
                                        const hy_quantize_target *target,
                                        const hy_quantize_file_params *params);

#endif

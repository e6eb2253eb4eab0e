/* src/format/safetensors.h: safetensors files, read by mapping.
 *
 * A file is a 64-bit length, a JSON object of that length, and the tensors' bytes. The same care as
 * with GGUF: everything is checked before it is used, and nothing outside the mapping is read.
 * Source: github.com/huggingface/safetensors, README, section "Format". */
#ifndef HY_FORMAT_SAFETENSORS_H
#define HY_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define HY_SAFETENSORS_MAX_RANK 8

typedef struct hy_safetensor {
    const char *name; /* 0-terminated, owned by the reader */
    const char
        *dtype; /* as the file has it: "F32", "BF16", "I64", "F8_E4M3"; owned by the reader */
    uint32_t element_bytes;                /* 1, 2, 4 or 8 */
    uint32_t rank;                         /* 0 (one element) to 8 */
    uint64_t dim[HY_SAFETENSORS_MAX_RANK]; /* outermost first; may be 0; padded with 1 */
    uint64_t elements;                     /* product of dim */
    const uint8_t *data;                   /* in the mapping, of any alignment */
    uint64_t size;                         /* bytes: elements * element_bytes */
} hy_safetensor;

typedef struct hy_safetensors hy_safetensors;

/* Errors: HY_E_FORMAT (damaged, or offsets that overlap or leave holes), HY_E_LIMIT (header over
 * 100 MB, rank over 8), HY_E_UNSUPPORTED (a dtype without a known size, named). Thread-safety:
 * immutable after opening. */
HY_NODISCARD hy_status hy_safetensors_open(const char *path, hy_safetensors **out);
/* The same from memory that outlives the reader. */
HY_NODISCARD hy_status hy_safetensors_open_memory(const void *data, size_t size,
                                                  hy_safetensors **out);
/* NULL is fine. */
void hy_safetensors_close(hy_safetensors *file);

/* Tensors, __metadata__ not counted. */
size_t hy_safetensors_count(const hy_safetensors *file);
/* In the order of the header; NULL past the end. */
const hy_safetensor *hy_safetensors_at(const hy_safetensors *file, size_t index);
/* NULL when absent. Constant time. */
const hy_safetensor *hy_safetensors_find(const hy_safetensors *file, const char *name);
/* A string of the header's __metadata__, 0-terminated; NULL when absent. */
const char *hy_safetensors_metadata(const hy_safetensors *file, const char *key);

/* All elements as float64, rounded where they are 64-bit integers: dtypes F64 F32 F16 BF16 F8_E4M3
 * F8_E5M2, I8 to I64, U8 to U64, BOOL (0 or 1). HY_E_UNSUPPORTED, naming it, for another dtype.
 * out: [tensor->elements] */
HY_NODISCARD hy_status hy_safetensor_to_f64(const hy_safetensor *tensor, double *out);

#endif

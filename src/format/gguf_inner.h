/* src/format/gguf_inner.h: what the files gguf*.c share; private to src/format/. */
#ifndef HY_FORMAT_GGUF_INNER_H
#define HY_FORMAT_GGUF_INNER_H

#include "base/arena.h"
#include "base/file.h"
#include "src/format/gguf.h"
#include "src/format/names.h"

/* The table of limits: what a file may claim before anything is allocated or added up. Every count
 * is also bounded by the bytes that are there. */
enum {
    HY_GGUF_MAX_VALUES = 1 << 16,
    HY_GGUF_MAX_TENSORS = 1 << 20,
    HY_GGUF_MAX_KEY = 65535, /* bytes; the format's own limit */
    HY_GGUF_MAX_NAME = 255,  /* bytes of a tensor's name that is read */
    HY_GGUF_MAX_WRITTEN_NAME =
        64, /* bytes of a tensor's name that is written; the format's own limit */
    HY_GGUF_MAX_ARRAY_DEPTH = 4, /* arrays of arrays */
    HY_GGUF_MIN_ALIGNMENT = 8,   /* the format's own limit */
    HY_GGUF_MAX_ALIGNMENT = 1 << 20,
    HY_GGUF_DEFAULT_ALIGNMENT = 32,
    HY_GGUF_MAX_SHARDS = 4096
};

/* One parsed file. Everything is in the arena or the image. */
typedef struct hy_gguf_image {
    uint32_t version;
    uint32_t alignment;
    hy_gguf_value *values;
    size_t value_count;
    hy_gguf_tensor *tensors;
    size_t tensor_count;
} hy_gguf_image;

/* Parses and checks one whole file; `shard` goes into its tensors. Duplicate names are the
 * caller's. */
HY_NODISCARD hy_status hy_gguf_parse(const uint8_t *data, size_t size, uint32_t shard,
                                     hy_arena *arena, hy_gguf_image *out);

/* Blocks of a GGUF tensor type: false when the number is not known. */
bool hy_gguf_type_blocks(uint32_t gguf_type, uint32_t *block, uint32_t *bytes);

/* Bytes per element of a value type; 0 for strings, arrays and unknown types. */
uint32_t hy_gguf_element_bytes(uint32_t type);

/* Whether text is well-formed UTF-8 without control characters, fit for a name. */
bool hy_gguf_name_is_clean(const char *text, size_t length);

/* A power of two within the limits. */
bool hy_gguf_alignment_is_valid(uint64_t alignment);

#endif

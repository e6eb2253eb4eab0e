/* src/format/gguf.h: GGUF files, read by mapping (v2, v3, split files) and written (v3).
 *
 * Everything read from the file is checked against a table of limits before it is used; a hostile file
 * gives HY_E_FORMAT, HY_E_LIMIT or HY_E_UNSUPPORTED with the offending name and numbers, and never reads
 * outside the mapping. Source: ggml docs/gguf.md. */
#ifndef HY_FORMAT_GGUF_H
#define HY_FORMAT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"
#include "hal/dtype.h"

#define HY_GGUF_MAX_RANK 4

/* Types of metadata values, by the file's numbers. */
typedef enum hy_gguf_type {
    HY_GGUF_U8 = 0,
    HY_GGUF_I8 = 1,
    HY_GGUF_U16 = 2,
    HY_GGUF_I16 = 3,
    HY_GGUF_U32 = 4,
    HY_GGUF_I32 = 5,
    HY_GGUF_F32 = 6,
    HY_GGUF_BOOL = 7,
    HY_GGUF_STRING = 8,
    HY_GGUF_ARRAY = 9,
    HY_GGUF_U64 = 10,
    HY_GGUF_I64 = 11,
    HY_GGUF_F64 = 12
} hy_gguf_type;

/* Bytes inside the mapping or the writer's caller; not 0-terminated. */
typedef struct hy_span {
    const char *data;
    size_t length;
} hy_span;

typedef struct hy_gguf_value {
    hy_span key;
    hy_gguf_type type;         /* of the value */
    hy_gguf_type element_type; /* of an array's elements */
    uint64_t count;            /* elements of an array, else 1 */
    const uint8_t *data; /* raw little-endian bytes; an array's first element; a string's bytes */
    uint64_t size;       /* bytes at data */
} hy_gguf_value;

typedef struct hy_gguf_tensor {
    const char *name;   /* 0-terminated, owned by the reader */
    hy_dtype dtype;     /* HY_DTYPE_NONE when this build does not know the type */
    uint32_t gguf_type; /* the file's number */
    uint32_t rank;      /* 1..4 */
    uint64_t
        dim[HY_GGUF_MAX_RANK]; /* outermost first (GGUF stores innermost first); padded with 1 */
    uint64_t rows;             /* product of all dims but the innermost */
    uint64_t columns;          /* innermost dim */
    const uint8_t *data;       /* in the mapping */
    uint64_t size;  /* bytes; of a type with unknown blocks: up to the next tensor's data */
    uint32_t shard; /* which mapping of a split file */
} hy_gguf_tensor;

typedef struct hy_gguf hy_gguf;

/* "Q4_K", "IQ2_XXS": every tensor type that GGUF has given a number, also those without a hy_dtype;
 * "unknown" for other numbers. Thread-safety: any thread. */
const char *hy_gguf_tensor_type_name(uint32_t gguf_type);
/* "u32", "string", "array"; "unknown" past the end. */
const char *hy_gguf_value_type_name(hy_gguf_type type);

/* Opens a file; of a split file any shard may be named, all must lie beside it. Metadata is the first
 * shard's. Tensors of types that this build does not know are listed with dtype NONE and refused by
 * whoever needs their data. Thread-safety: immutable after opening. */
HY_NODISCARD hy_status hy_gguf_open(const char *path, hy_gguf **out);
/* The same from memory that outlives the reader (fuzzing, tests); split files are refused. */
HY_NODISCARD hy_status hy_gguf_open_memory(const void *data, size_t size, hy_gguf **out);
void hy_gguf_close(hy_gguf *gguf);

/* As given to hy_gguf_open; "" for memory. */
const char *hy_gguf_path(const hy_gguf *gguf);
/* 2 or 3. */
uint32_t hy_gguf_version(const hy_gguf *gguf);
uint64_t hy_gguf_file_bytes(const hy_gguf *gguf); /* all shards */

/* Metadata in the file's order. */
size_t hy_gguf_value_count(const hy_gguf *gguf);
/* NULL past the end. */
const hy_gguf_value *hy_gguf_value_at(const hy_gguf *gguf, size_t index);
/* NULL when absent. Constant time. */
const hy_gguf_value *hy_gguf_find(const hy_gguf *gguf, const char *key);

/* Typed reads. Integers of every width and sign are read alike when the value fits; floats from f32, f64
 * and integers. `fallback` when the key is absent; HY_E_FORMAT when it has another type. */
HY_NODISCARD hy_status hy_gguf_u32(const hy_gguf *gguf, const char *key, uint32_t fallback,
                                   uint32_t *out);
HY_NODISCARD hy_status hy_gguf_f32(const hy_gguf *gguf, const char *key, float fallback,
                                   float *out);
HY_NODISCARD hy_status hy_gguf_bool(const hy_gguf *gguf, const char *key, bool fallback, bool *out);
/* Empty span when absent. */
HY_NODISCARD hy_status hy_gguf_string(const hy_gguf *gguf, const char *key, hy_span *out);

/* Walks an array of strings: fills out[0, count) with spans; `count` must be value->count. */
HY_NODISCARD hy_status hy_gguf_strings(const hy_gguf_value *value, hy_span *out);
/* One element of a numeric array, by the rules of the typed reads. index < value->count. */
HY_NODISCARD hy_status hy_gguf_element_u32(const hy_gguf_value *value, uint64_t index,
                                           uint32_t *out);
HY_NODISCARD hy_status hy_gguf_element_f32(const hy_gguf_value *value, uint64_t index, float *out);

/* Tensors in the file's order, shard after shard. */
size_t hy_gguf_tensor_count(const hy_gguf *gguf);
/* NULL past the end. */
const hy_gguf_tensor *hy_gguf_tensor_at(const hy_gguf *gguf, size_t index);
/* NULL when absent. Constant time. */
const hy_gguf_tensor *hy_gguf_tensor_find(const hy_gguf *gguf, const char *name);
/* Bytes [offset, offset + size) of one tensor -> out, without mapping them. HY_E_IO. */
HY_NODISCARD hy_status hy_gguf_tensor_read(const hy_gguf *gguf, const hy_gguf_tensor *tensor,
                                           uint64_t offset, uint64_t size, void *out);
/* Page hints for a byte range of one tensor: will_need = 1 reads ahead, 0 drops from residency. */
void hy_gguf_tensor_advise(const hy_gguf *gguf, const hy_gguf_tensor *tensor, uint64_t offset,
                           uint64_t size, int will_need);

/* ---- writing ---- */

/* Metadata first, then tensor declarations, then data in the order of declaration; all of it appears
 * under `path` at finish or not at all. */
typedef struct hy_gguf_writer hy_gguf_writer;

/* Errors: HY_E_IO, HY_E_NOT_FOUND (its folder), HY_E_MEMORY. */
HY_NODISCARD hy_status hy_gguf_writer_new(const char *path, hy_gguf_writer **out);
/* Metadata: HY_E_STATE once data have begun, HY_E_ARGUMENT for a bad key; a key given twice is found
 * when the data begin. general.alignment, when written, is followed. */
HY_NODISCARD hy_status hy_gguf_write_u32(hy_gguf_writer *w, const char *key, uint32_t value);
/* As hy_gguf_write_u32. */
HY_NODISCARD hy_status hy_gguf_write_f32(hy_gguf_writer *w, const char *key, float value);
/* As hy_gguf_write_u32. */
HY_NODISCARD hy_status hy_gguf_write_bool(hy_gguf_writer *w, const char *key, bool value);
/* As hy_gguf_write_u32. */
HY_NODISCARD hy_status hy_gguf_write_string(hy_gguf_writer *w, const char *key, hy_span value);
/* As hy_gguf_write_u32. */
HY_NODISCARD hy_status hy_gguf_write_strings(hy_gguf_writer *w, const char *key,
                                             const hy_span *values, uint64_t count);
/* A numeric array of one of the fixed-size types. */
HY_NODISCARD hy_status hy_gguf_write_array(hy_gguf_writer *w, const char *key, hy_gguf_type type,
                                           const void *values, uint64_t count);
/* Copies a value as it is. */
HY_NODISCARD hy_status hy_gguf_write_value(hy_gguf_writer *w, const hy_gguf_value *value);
/* dim outermost first. */
HY_NODISCARD hy_status hy_gguf_declare(hy_gguf_writer *w, const char *name, hy_dtype dtype,
                                       uint32_t rank, const uint64_t *dim);
/* A tensor by the file's type number, copied as it is: also of a type that this build does not know. */
HY_NODISCARD hy_status hy_gguf_declare_copy(hy_gguf_writer *w, const hy_gguf_tensor *tensor);
/* Bytes of the declared tensors, in order, in pieces of any size. */
HY_NODISCARD hy_status hy_gguf_write_data(hy_gguf_writer *w, const void *data, uint64_t size);
/* What is left of the current tensor as zeros that take no room on the disk. */
HY_NODISCARD hy_status hy_gguf_write_hole(hy_gguf_writer *w);
/* Completes the file and frees the writer, also on failure. HY_E_STATE when data is missing. */
HY_NODISCARD hy_status hy_gguf_writer_finish(hy_gguf_writer *w);
void hy_gguf_writer_abandon(hy_gguf_writer *w);

#endif

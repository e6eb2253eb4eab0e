/* tests/unit/gguf_blob.h: builds a small GGUF file (version 3, no tensors) in memory, also one that
 * a writer would refuse to write. */
#ifndef HY_TESTS_GGUF_BLOB_H
#define HY_TESTS_GGUF_BLOB_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "src/format/gguf.h"

typedef struct gguf_blob {
    hy_text bytes;
    uint64_t keys;
} gguf_blob;

static inline void blob_u32(gguf_blob *b, uint32_t value) {
    hy_text_bytes(&b->bytes, &value, sizeof value);
}

static inline void blob_u64(gguf_blob *b, uint64_t value) {
    hy_text_bytes(&b->bytes, &value, sizeof value);
}

static inline void blob_span(gguf_blob *b, const char *text, size_t length) {
    blob_u64(b, length);
    hy_text_bytes(&b->bytes, text, length);
}

static inline gguf_blob blob_begin(void) {
    gguf_blob b = {{0}, 0};
    hy_text_bytes(&b.bytes, "GGUF", 4);
    blob_u32(&b, 3);
    blob_u64(&b, 0); /* tensors */
    blob_u64(&b, 0); /* keys, written by blob_open */
    return b;
}

static inline void blob_key(gguf_blob *b, const char *key, hy_gguf_type type) {
    blob_span(b, key, strlen(key));
    blob_u32(b, (uint32_t)type);
    b->keys++;
}

static inline void blob_key_u32(gguf_blob *b, const char *key, uint32_t value) {
    blob_key(b, key, HY_GGUF_U32);
    blob_u32(b, value);
}

static inline void blob_key_bool(gguf_blob *b, const char *key, bool value) {
    blob_key(b, key, HY_GGUF_BOOL);
    hy_text_bytes(&b->bytes, value ? "\1" : "\0", 1);
}

static inline void blob_key_string(gguf_blob *b, const char *key, const char *value) {
    blob_key(b, key, HY_GGUF_STRING);
    blob_span(b, value, strlen(value));
}

/* The head of an array; its elements follow. */
static inline void blob_key_array(gguf_blob *b, const char *key, hy_gguf_type type,
                                  uint64_t count) {
    blob_key(b, key, HY_GGUF_ARRAY);
    blob_u32(b, (uint32_t)type);
    blob_u64(b, count);
}

static inline void blob_key_strings(gguf_blob *b, const char *key, const hy_span *values,
                                    uint64_t count) {
    blob_key_array(b, key, HY_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++)
        blob_span(b, values[i].data, values[i].length);
}

static inline void blob_key_floats(gguf_blob *b, const char *key, const float *values,
                                   uint64_t count) {
    blob_key_array(b, key, HY_GGUF_F32, count);
    hy_text_bytes(&b->bytes, values, (size_t)count * sizeof *values);
}

static inline void blob_key_ints(gguf_blob *b, const char *key, const int32_t *values,
                                 uint64_t count) {
    blob_key_array(b, key, HY_GGUF_I32, count);
    hy_text_bytes(&b->bytes, values, (size_t)count * sizeof *values);
}

/* Opens what was built; the blob must outlive the reader. */
static inline hy_status blob_open(gguf_blob *b, hy_gguf **out) {
    if (b->bytes.failed) return HY_E_MEMORY;
    memcpy(b->bytes.data + 16, &b->keys, sizeof b->keys);
    return hy_gguf_open_memory(b->bytes.data, b->bytes.length, out);
}

static inline void blob_free(gguf_blob *b) {
    hy_text_free(&b->bytes);
}

#endif

/* Writing of GGUF v3.
 *
 * Metadata gather in memory and go out with the declarations when the data begin (or at finish);
 * the file itself is hy_writer's, so it appears whole or not at all. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "src/format/gguf_inner.h"

typedef struct declared {
    char *name;
    uint32_t gguf_type, rank;
    uint64_t dim[HY_GGUF_MAX_RANK]; /* outermost first */
    uint64_t size;                  /* bytes without padding */
} declared;

struct hy_gguf_writer {
    hy_writer *file;
    hy_arena arena; /* names and keys */
    hy_text values; /* encoded metadata */
    hy_span *keys;  /* [key_count] in the arena */
    size_t key_count, key_room;
    declared *tensors; /* [tensor_count] */
    size_t tensor_count, tensor_room;
    uint64_t alignment;
    bool begun;     /* the header is out */
    bool broken;    /* the header failed: nothing may be committed */
    size_t current; /* tensor whose bytes come next */
    uint64_t left;  /* bytes that it still wants */
};

static void writer_free(hy_gguf_writer *w) {
    hy_arena_free(&w->arena);
    hy_text_free(&w->values);
    free(w->keys);
    free(w->tensors);
    free(w);
}

hy_status hy_gguf_writer_new(const char *path, hy_gguf_writer **out) {
    hy_gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return hy_fail(HY_E_MEMORY, "%s: out of memory", path);
    hy_status status = hy_writer_open(path, &w->file);
    if (status != HY_OK) {
        writer_free(w);
        return status;
    }
    w->alignment = HY_GGUF_DEFAULT_ALIGNMENT;
    *out = w;
    return HY_OK;
}

void hy_gguf_writer_abandon(hy_gguf_writer *w) {
    if (!w) return;
    hy_writer_abandon(w->file);
    writer_free(w);
}

/* ---- metadata ---- */

static void put(hy_text *text, uint64_t value, uint32_t bytes) {
    uint8_t raw[8];
    for (uint32_t i = 0; i < bytes; i++)
        raw[i] = (uint8_t)(value >> 8 * i);
    hy_text_bytes(text, raw, bytes);
}

static void put_string(hy_text *text, hy_span value) {
    put(text, value.length, 8);
    hy_text_bytes(text, value.data, value.length);
}

static hy_status check_room(const hy_gguf_writer *w) {
    if (w->values.failed) return hy_fail(HY_E_MEMORY, "out of memory: the metadata of a GGUF file");
    return HY_OK;
}

/* Starts a value: key and type go out, the payload is the caller's. */
static hy_status put_key(hy_gguf_writer *w, hy_span key, hy_gguf_type type) {
    if (w->begun)
        return hy_fail(HY_E_STATE, "key '%.*s' after the first tensor data",
                       (int)HY_MIN(key.length, 200), key.data);
    if (key.length == 0 || key.length > HY_GGUF_MAX_KEY ||
        !hy_gguf_name_is_clean(key.data, key.length))
        return hy_fail(HY_E_ARGUMENT, "a key of %zu bytes that is not clean UTF-8 of 1 to %d bytes",
                       key.length, HY_GGUF_MAX_KEY);
    if (w->key_count == HY_GGUF_MAX_VALUES)
        return hy_fail(HY_E_LIMIT, "more than %d keys", HY_GGUF_MAX_VALUES);
    HY_TRY(hy_grow(&w->keys, w->key_count, &w->key_room, sizeof *w->keys));
    const char *copy = hy_arena_text(&w->arena, key.data, key.length);
    if (!copy) return hy_fail(HY_E_MEMORY, "out of memory: a key");
    w->keys[w->key_count++] = (hy_span){copy, key.length};
    put_string(&w->values, key);
    put(&w->values, type, 4);
    return check_room(w);
}

static hy_span span_of(const char *text) {
    return (hy_span){text, strlen(text)};
}

/* The file's own alignment is a value like others, but the writer must follow it. */
static hy_status note_alignment(hy_gguf_writer *w, hy_span key, uint64_t value) {
    static const char name[] = "general.alignment";
    if (key.length != sizeof name - 1 || memcmp(key.data, name, sizeof name - 1) != 0) return HY_OK;
    if (!hy_gguf_alignment_is_valid(value))
        return hy_fail(HY_E_ARGUMENT,
                       "general.alignment %" PRIu64 " is no power of two from %d to %d", value,
                       HY_GGUF_MIN_ALIGNMENT, HY_GGUF_MAX_ALIGNMENT);
    w->alignment = value;
    return HY_OK;
}

hy_status hy_gguf_write_u32(hy_gguf_writer *w, const char *key, uint32_t value) {
    HY_TRY(note_alignment(w, span_of(key), value));
    HY_TRY(put_key(w, span_of(key), HY_GGUF_U32));
    put(&w->values, value, 4);
    return check_room(w);
}

hy_status hy_gguf_write_f32(hy_gguf_writer *w, const char *key, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    HY_TRY(put_key(w, span_of(key), HY_GGUF_F32));
    put(&w->values, bits, 4);
    return check_room(w);
}

hy_status hy_gguf_write_bool(hy_gguf_writer *w, const char *key, bool value) {
    HY_TRY(put_key(w, span_of(key), HY_GGUF_BOOL));
    put(&w->values, value, 1);
    return check_room(w);
}

hy_status hy_gguf_write_string(hy_gguf_writer *w, const char *key, hy_span value) {
    HY_TRY(put_key(w, span_of(key), HY_GGUF_STRING));
    put_string(&w->values, value);
    return check_room(w);
}

hy_status hy_gguf_write_strings(hy_gguf_writer *w, const char *key, const hy_span *values,
                                uint64_t count) {
    HY_TRY(put_key(w, span_of(key), HY_GGUF_ARRAY));
    put(&w->values, HY_GGUF_STRING, 4);
    put(&w->values, count, 8);
    for (uint64_t i = 0; i < count; i++)
        put_string(&w->values, values[i]);
    return check_room(w);
}

hy_status hy_gguf_write_array(hy_gguf_writer *w, const char *key, hy_gguf_type type,
                              const void *values, uint64_t count) {
    const uint32_t bytes = hy_gguf_element_bytes(type);
    uint64_t size;
    if (bytes == 0 || hy_mul_overflow(count, bytes, &size) || size > SIZE_MAX)
        return hy_fail(HY_E_ARGUMENT, "key '%s': no array of %" PRIu64 " %s", key, count,
                       hy_gguf_value_type_name(type));
    HY_TRY(put_key(w, span_of(key), HY_GGUF_ARRAY));
    put(&w->values, type, 4);
    put(&w->values, count, 8);
    hy_text_bytes(&w->values, (const char *)values,
                  (size_t)size); /* a little-endian host's own bytes */
    return check_room(w);
}

hy_status hy_gguf_write_value(hy_gguf_writer *w, const hy_gguf_value *value) {
    uint64_t number = 0;
    if (value->type != HY_GGUF_ARRAY && value->type != HY_GGUF_STRING) {
        for (uint64_t i = 0; i < value->size && i < 8; i++)
            number |= (uint64_t)value->data[i] << 8 * i;
    }
    HY_TRY(note_alignment(w, value->key, number));
    HY_TRY(put_key(w, value->key, value->type));
    if (value->type == HY_GGUF_STRING) put(&w->values, value->size, 8);
    if (value->type == HY_GGUF_ARRAY) {
        put(&w->values, value->element_type, 4);
        put(&w->values, value->count, 8);
    }
    hy_text_bytes(&w->values, (const char *)value->data, (size_t)value->size);
    return check_room(w);
}

/* ---- declarations ---- */

static hy_status declare(hy_gguf_writer *w, const char *name, const declared *tensor) {
    const size_t length = strlen(name);
    if (w->begun)
        return hy_fail(HY_E_STATE, "tensor '%s' declared after the first tensor data", name);
    if (length == 0 || length > HY_GGUF_MAX_WRITTEN_NAME || !hy_gguf_name_is_clean(name, length))
        return hy_fail(HY_E_ARGUMENT, "tensor '%s': a name is clean UTF-8 of 1 to %d bytes", name,
                       HY_GGUF_MAX_WRITTEN_NAME);
    if (w->tensor_count == HY_GGUF_MAX_TENSORS)
        return hy_fail(HY_E_LIMIT, "more than %d tensors", HY_GGUF_MAX_TENSORS);
    HY_TRY(hy_grow(&w->tensors, w->tensor_count, &w->tensor_room, sizeof *w->tensors));
    declared *slot = &w->tensors[w->tensor_count];
    *slot = *tensor;
    slot->name = hy_arena_text(&w->arena, name, length);
    if (!slot->name) return hy_fail(HY_E_MEMORY, "out of memory: tensor '%s'", name);
    w->tensor_count++;
    return HY_OK;
}

hy_status hy_gguf_declare(hy_gguf_writer *w, const char *name, hy_dtype dtype, uint32_t rank,
                          const uint64_t *dim) {
    const hy_dtype_info *info = hy_dtype_get(dtype);
    if (info->gguf_type < 0)
        return hy_fail(HY_E_ARGUMENT, "tensor '%s': type %s is in no file", name, info->name);
    if (rank == 0 || rank > HY_GGUF_MAX_RANK)
        return hy_fail(HY_E_ARGUMENT, "tensor '%s': rank %" PRIu32 " (1 to %d)", name, rank,
                       HY_GGUF_MAX_RANK);
    declared tensor = {.gguf_type = (uint32_t)info->gguf_type, .rank = rank};
    uint64_t elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        if (dim[i] == 0 || hy_mul_overflow(elements, dim[i], &elements) || elements > INT64_MAX)
            return hy_fail(HY_E_ARGUMENT, "tensor '%s': dimension %" PRIu64, name, dim[i]);
        tensor.dim[i] = dim[i];
    }
    if (dim[rank - 1] % info->block)
        return hy_fail(HY_E_ARGUMENT, "tensor '%s': rows of %" PRIu64 " are no whole blocks of %s",
                       name, dim[rank - 1], info->name);
    if (hy_mul_overflow(elements / info->block, info->bytes, &tensor.size))
        return hy_fail(HY_E_ARGUMENT, "tensor '%s': %" PRIu64 " elements are too many", name,
                       elements);
    return declare(w, name, &tensor);
}

hy_status hy_gguf_declare_copy(hy_gguf_writer *w, const hy_gguf_tensor *tensor) {
    declared copy = {.gguf_type = tensor->gguf_type, .rank = tensor->rank, .size = tensor->size};
    memcpy(copy.dim, tensor->dim, sizeof copy.dim);
    return declare(w, tensor->name, &copy);
}

/* ---- data ---- */

static hy_span key_name(const void *items, size_t index) {
    return ((const hy_span *)items)[index];
}

static hy_span tensor_name(const void *items, size_t index) {
    return span_of(((const declared *)items)[index].name);
}

static hy_status check_names(hy_gguf_writer *w) {
    hy_name_index index;
    if (hy_name_index_build(&index, &w->arena, w->keys, w->key_count, key_name, "key") != HY_OK ||
        hy_name_index_build(&index, &w->arena, w->tensors, w->tensor_count, tensor_name,
                            "tensor") != HY_OK)
        return hy_fail(HY_E_ARGUMENT, "%s", hy_error_text());
    return HY_OK;
}

static hy_status put_declarations(hy_gguf_writer *w, hy_text *text) {
    uint64_t offset = 0, end;
    for (size_t i = 0; i < w->tensor_count; i++) {
        const declared *tensor = &w->tensors[i];
        put_string(text, span_of(tensor->name));
        put(text, tensor->rank, 4);
        for (uint32_t d = tensor->rank; d-- > 0;)
            put(text, tensor->dim[d], 8);
        put(text, tensor->gguf_type, 4);
        put(text, offset, 8);
        if (hy_add_overflow(offset, tensor->size, &end) ||
            hy_align_overflow(end, w->alignment, &offset))
            return hy_fail(HY_E_ARGUMENT, "tensor '%s': the file is too large", tensor->name);
    }
    return HY_OK;
}

static hy_status pad(hy_gguf_writer *w) {
    static const uint8_t zeros[4096];
    uint64_t left =
        hy_align_up(hy_writer_offset(w->file), w->alignment) - hy_writer_offset(w->file);
    for (; left; left -= HY_MIN(left, sizeof zeros))
        HY_TRY(hy_writer_write(w->file, zeros, (size_t)HY_MIN(left, sizeof zeros)));
    return HY_OK;
}

static hy_status write_header(hy_gguf_writer *w, hy_text *text) {
    hy_text_bytes(text, "GGUF", 4);
    put(text, 3, 4);
    put(text, w->tensor_count, 8);
    put(text, w->key_count, 8);
    HY_TRY(hy_writer_write(w->file, text->data, text->length));
    HY_TRY(hy_writer_write(w->file, w->values.data, w->values.length));
    text->length = 0;
    HY_TRY(put_declarations(w, text));
    if (text->failed) return hy_fail(HY_E_MEMORY, "out of memory: %zu tensors", w->tensor_count);
    HY_TRY(hy_writer_write(w->file, text->data, text->length));
    return pad(w);
}

static hy_status begin(hy_gguf_writer *w) {
    if (w->broken) return hy_fail(HY_E_STATE, "the header of this GGUF file failed");
    if (w->begun) return HY_OK;
    hy_text text = {0};
    HY_TRY(check_room(w));
    HY_TRY(check_names(w));
    w->begun = true;
    hy_status status = write_header(w, &text);
    hy_text_free(&text);
    w->broken = status != HY_OK;
    if (w->tensor_count) w->left = w->tensors[0].size;
    return status;
}

/* `size` bytes of the current tensor are there; the next one follows its end. */
static hy_status advance(hy_gguf_writer *w, uint64_t size) {
    w->left -= size;
    if (w->left) return HY_OK;
    HY_TRY(pad(w));
    w->current++;
    if (w->current < w->tensor_count) w->left = w->tensors[w->current].size;
    return HY_OK;
}

hy_status hy_gguf_write_data(hy_gguf_writer *w, const void *data, uint64_t size) {
    const uint8_t *bytes = data;
    HY_TRY(begin(w));
    while (size) {
        if (w->current == w->tensor_count)
            return hy_fail(HY_E_ARGUMENT, "%" PRIu64 " bytes more than the declared tensors have",
                           size);
        const uint64_t part = HY_MIN(size, w->left);
        HY_TRY(hy_writer_write(w->file, bytes, (size_t)part));
        bytes += part;
        size -= part;
        HY_TRY(advance(w, part));
    }
    return HY_OK;
}

hy_status hy_gguf_write_hole(hy_gguf_writer *w) {
    HY_TRY(begin(w));
    if (w->current == w->tensor_count)
        return hy_fail(HY_E_ARGUMENT, "every declared tensor has its data");
    HY_TRY(hy_writer_skip(w->file, w->left));
    return advance(w, w->left);
}

hy_status hy_gguf_writer_finish(hy_gguf_writer *w) {
    hy_status status = begin(w);
    if (status == HY_OK && w->current < w->tensor_count)
        status = hy_fail(HY_E_STATE, "tensor '%s' still wants %" PRIu64 " bytes",
                         w->tensors[w->current].name, w->left);
    if (status != HY_OK) {
        hy_gguf_writer_abandon(w);
        return status;
    }
    hy_writer *file = w->file;
    writer_free(w);
    return hy_writer_commit(file);
}

/* Safetensors: the header is JSON (jansson), the rest are bounds. */
#include "src/format/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/num.h"
#include "src/format/names.h"

enum {
    MAX_HEADER_BYTES = 100000000, /* the format's own limit */
    MAX_TENSORS = 1 << 20
};

struct hy_safetensors {
    hy_arena arena;
    hy_mapping map;
    bool owns_map;
    json_t *header;
    const json_t *metadata; /* in the header; NULL when absent */
    hy_safetensor *tensors;
    size_t count;
    hy_name_index index;
};

// clang-format off
static const struct {
    const char *name;
    uint32_t bytes;
} dtypes[] = {
    {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
    {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
    {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1}, {"C64", 8},
};
// clang-format on

static hy_span tensor_name(const void *items, size_t index) {
    const char *name = ((const hy_safetensor *)items)[index].name;
    return (hy_span){name, strlen(name)};
}

void hy_safetensors_close(hy_safetensors *file) {
    if (!file) return;
    if (file->owns_map) hy_mapping_close(&file->map);
    json_decref(file->header);
    hy_arena_free(&file->arena);
    free(file);
}

static hy_status read_dtype(const json_t *entry, hy_safetensor *tensor) {
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (!name) return hy_fail(HY_E_FORMAT, "no dtype");
    for (size_t i = 0; i < HY_COUNT_OF(dtypes); i++) {
        if (strcmp(name, dtypes[i].name) != 0) continue;
        tensor->dtype = dtypes[i].name;
        tensor->element_bytes = dtypes[i].bytes;
        return HY_OK;
    }
    return hy_fail(HY_E_UNSUPPORTED, "dtype %.40s", name);
}

static hy_status read_shape(const json_t *entry, hy_safetensor *tensor) {
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape)) return hy_fail(HY_E_FORMAT, "no shape");
    const size_t rank = json_array_size(shape);
    if (rank > HY_SAFETENSORS_MAX_RANK)
        return hy_fail(HY_E_LIMIT, "rank %zu; at most %d is read", rank, HY_SAFETENSORS_MAX_RANK);
    tensor->rank = (uint32_t)rank;
    tensor->elements = 1;
    for (size_t i = 0; i < HY_SAFETENSORS_MAX_RANK; i++)
        tensor->dim[i] = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return hy_fail(HY_E_FORMAT, "dimension %zu is no size", i);
        tensor->dim[i] = (uint64_t)json_integer_value(dim);
        if (hy_mul_overflow(tensor->elements, tensor->dim[i], &tensor->elements))
            return hy_fail(HY_E_FORMAT, "dimension %zu of %" PRIu64 ": too many elements", i,
                           tensor->dim[i]);
    }
    if (hy_mul_overflow(tensor->elements, tensor->element_bytes, &tensor->size))
        return hy_fail(HY_E_FORMAT, "%" PRIu64 " elements: too many bytes", tensor->elements);
    return HY_OK;
}

/* `data`, `room`: the section of tensor bytes. */
static hy_status read_place(const json_t *entry, const uint8_t *data, uint64_t room,
                            hy_safetensor *tensor) {
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *a = json_array_get(offsets, 0), *b = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return hy_fail(HY_E_FORMAT, "no data_offsets");
    const int64_t begin = json_integer_value(a), end = json_integer_value(b);
    if (begin < 0 || end < begin || (uint64_t)end > room)
        return hy_fail(HY_E_FORMAT,
                       "bytes %" PRId64 " to %" PRId64 ", the file has %" PRIu64 ": truncated?",
                       begin, end, room);
    if ((uint64_t)(end - begin) != tensor->size)
        return hy_fail(HY_E_FORMAT, "%" PRId64 " bytes of data, its shape and dtype want %" PRIu64,
                       end - begin, tensor->size);
    tensor->data = data + begin;
    return HY_OK;
}

static int by_place(const void *a, const void *b) {
    const hy_safetensor *x = *(const hy_safetensor *const *)a,
                        *y = *(const hy_safetensor *const *)b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

/* The format wants the tensors to cover their section without overlap or hole, so that no byte can
 * mean two things or hide. */
static hy_status check_cover(hy_safetensors *file, const uint8_t *data, uint64_t room) {
    const hy_safetensor **order = malloc(HY_MAX(file->count, 1) * sizeof *order);
    if (!order) return hy_fail(HY_E_MEMORY, "out of memory: %zu tensors", file->count);
    for (size_t i = 0; i < file->count; i++)
        order[i] = &file->tensors[i];
    qsort(order, file->count, sizeof *order, by_place);
    const uint8_t *at = data;
    hy_status status = HY_OK;
    for (size_t i = 0; i < file->count && status == HY_OK; i++) {
        if (order[i]->data != at)
            status = hy_fail(HY_E_FORMAT, "tensor '%s': its data %s", order[i]->name,
                             order[i]->data < at ? "overlap another's" : "follow a hole");
        at = order[i]->data + order[i]->size;
    }
    if (status == HY_OK && (uint64_t)(at - data) != room)
        status = hy_fail(HY_E_FORMAT, "%" PRIu64 " bytes of data, the tensors have %" PRIu64, room,
                         (uint64_t)(at - data));
    free(order);
    return status;
}

static hy_status read_tensors(hy_safetensors *file, const uint8_t *data, uint64_t room) {
    const size_t entries = json_object_size(file->header);
    const char *name;
    json_t *entry;
    if (entries > MAX_TENSORS)
        return hy_fail(HY_E_LIMIT, "%zu tensors; at most %d are read", entries, MAX_TENSORS);
    file->tensors = hy_arena_alloc(&file->arena, entries, sizeof *file->tensors);
    if (!file->tensors) return hy_fail(HY_E_MEMORY, "out of memory: %zu tensors", entries);
    json_object_foreach(file->header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            file->metadata = entry;
            continue;
        }
        hy_safetensor *tensor = &file->tensors[file->count];
        tensor->name = name; /* the header keeps it */
        hy_status status = read_dtype(entry, tensor);
        if (status == HY_OK) status = read_shape(entry, tensor);
        if (status == HY_OK) status = read_place(entry, data, room, tensor);
        if (status != HY_OK) return hy_fail_in(status, "tensor '%.200s'", name);
        file->count++;
    }
    HY_TRY(check_cover(file, data, room));
    return hy_name_index_build(&file->index, &file->arena, file->tensors, file->count, tensor_name,
                               "tensor");
}

static hy_status parse(hy_safetensors *file) {
    const uint8_t *data = file->map.data;
    uint64_t length = 0;
    json_error_t error;
    if (file->map.size < 8)
        return hy_fail(HY_E_FORMAT, "not a safetensors file: %zu bytes", file->map.size);
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)data[i] << 8 * i;
    if (length > file->map.size - 8)
        return hy_fail(HY_E_FORMAT,
                       "not a safetensors file, or truncated: a header of %" PRIu64
                       " bytes, the file has %zu",
                       length, file->map.size);
    if (length > MAX_HEADER_BYTES)
        return hy_fail(HY_E_LIMIT, "a header of %" PRIu64 " bytes; at most %d are read", length,
                       MAX_HEADER_BYTES);
    file->header =
        json_loadb((const char *)data + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return hy_fail(json_error_code(&error) == json_error_out_of_memory ? HY_E_MEMORY
                                                                           : HY_E_FORMAT,
                       "header: %s at byte %d", error.text, error.position);
    if (!json_is_object(file->header)) return hy_fail(HY_E_FORMAT, "header: not a JSON object");
    return read_tensors(file, data + 8 + length, file->map.size - 8 - length);
}

hy_status hy_safetensors_open_memory(const void *data, size_t size, hy_safetensors **out) {
    hy_safetensors *file = calloc(1, sizeof *file);
    if (!file) return hy_fail(HY_E_MEMORY, "out of memory");
    file->map = (hy_mapping){data, size, 0};
    hy_status status = parse(file);
    if (status != HY_OK) {
        hy_safetensors_close(file);
        return status;
    }
    *out = file;
    return HY_OK;
}

hy_status hy_safetensors_open(const char *path, hy_safetensors **out) {
    hy_mapping map;
    HY_TRY(hy_mapping_open(path, &map));
    hy_status status = hy_safetensors_open_memory(map.data, map.size, out);
    if (status != HY_OK) {
        hy_mapping_close(&map);
        return hy_fail_in(status, "%s", path);
    }
    (*out)->owns_map = true;
    return HY_OK;
}

size_t hy_safetensors_count(const hy_safetensors *file) {
    return file->count;
}

const hy_safetensor *hy_safetensors_at(const hy_safetensors *file, size_t index) {
    return index < file->count ? &file->tensors[index] : NULL;
}

const hy_safetensor *hy_safetensors_find(const hy_safetensors *file, const char *name) {
    return hy_safetensors_at(
        file, hy_name_index_find(&file->index, file->tensors, tensor_name, name, strlen(name)));
}

const char *hy_safetensors_metadata(const hy_safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}

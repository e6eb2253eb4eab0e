/* Opening of GGUF files, single and split, and lookup. */
#include "src/format/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "src/format/gguf_inner.h"

struct hy_gguf {
    hy_arena arena;
    char *path;       /* as given; "" for memory */
    hy_mapping *maps; /* [map_count]; of memory one that is not ours */
    uint32_t map_count;
    bool owns_maps;
    uint64_t bytes;
    uint32_t version;
    hy_gguf_value *values; /* of the first shard */
    size_t value_count;
    hy_gguf_tensor *tensors; /* of all shards */
    size_t tensor_count;
    hy_name_index value_index, tensor_index;
};

static hy_span value_name(const void *items, size_t index) {
    return ((const hy_gguf_value *)items)[index].key;
}

static hy_span tensor_name(const void *items, size_t index) {
    const char *name = ((const hy_gguf_tensor *)items)[index].name;
    return (hy_span){name, strlen(name)};
}

void hy_gguf_close(hy_gguf *gguf) {
    if (!gguf) return;
    for (uint32_t i = 0; gguf->owns_maps && i < gguf->map_count; i++)
        hy_mapping_close(&gguf->maps[i]);
    hy_arena_free(&gguf->arena);
    free(gguf);
}

static hy_status new_gguf(const char *path, uint32_t maps, bool owns, hy_gguf **out) {
    hy_gguf *gguf = calloc(1, sizeof *gguf);
    if (!gguf) return hy_fail(HY_E_MEMORY, "out of memory");
    gguf->path = hy_arena_text(&gguf->arena, path, strlen(path));
    gguf->maps = hy_arena_alloc(&gguf->arena, maps, sizeof *gguf->maps);
    gguf->owns_maps = owns;
    if (!gguf->path || !gguf->maps) {
        hy_gguf_close(gguf);
        return hy_fail(HY_E_MEMORY, "out of memory");
    }
    *out = gguf;
    return HY_OK;
}

/* Parses the newest mapping; the first one's values become the file's. */
static hy_status add_image(hy_gguf *gguf, hy_gguf_image *image) {
    const uint32_t shard = gguf->map_count - 1;
    const hy_mapping *map = &gguf->maps[shard];
    HY_TRY(hy_gguf_parse(map->data, map->size, shard, &gguf->arena, image));
    gguf->bytes += map->size;
    if (shard > 0) return HY_OK;
    gguf->version = image->version;
    gguf->values = image->values;
    gguf->value_count = image->value_count;
    gguf->tensors = image->tensors;
    gguf->tensor_count = image->tensor_count;
    return hy_name_index_build(&gguf->value_index, &gguf->arena, gguf->values, gguf->value_count,
                               value_name, "key");
}

static hy_status index_tensors(hy_gguf *gguf) {
    return hy_name_index_build(&gguf->tensor_index, &gguf->arena, gguf->tensors, gguf->tensor_count,
                               tensor_name, "tensor");
}

/* ---- split files ---- */

/* What a shard says about itself; count 0 in a file that is not split. */
typedef struct split_keys {
    uint32_t number, count, tensors;
} split_keys;

static hy_status read_split(const hy_gguf *gguf, split_keys *out) {
    HY_TRY(hy_gguf_u32(gguf, "split.no", 0, &out->number));
    HY_TRY(hy_gguf_u32(gguf, "split.count", 0, &out->count));
    HY_TRY(hy_gguf_u32(gguf, "split.tensors.count", 0, &out->tensors));
    if (out->count > HY_GGUF_MAX_SHARDS)
        return hy_fail(HY_E_LIMIT, "split into %" PRIu32 " files; at most %d are read", out->count,
                       HY_GGUF_MAX_SHARDS);
    if (out->count && out->number >= out->count)
        return hy_fail(HY_E_FORMAT, "split.no is %" PRIu32 " of %" PRIu32 " files", out->number,
                       out->count);
    return HY_OK;
}

/* The length of what stands before "-00001-of-00009.gguf", or SIZE_MAX when the name does not end
 * so. */
static size_t split_prefix(const char *path, const split_keys *keys) {
    char suffix[64];
    const int n = snprintf(suffix, sizeof suffix, "-%05" PRIu32 "-of-%05" PRIu32 ".gguf",
                           keys->number + 1, keys->count);
    const size_t length = strlen(path);
    if (n < 0 || (size_t)n > length || strcmp(path + length - (size_t)n, suffix) != 0)
        return SIZE_MAX;
    return length - (size_t)n;
}

/* Appends an image's tensors; `room` is the size of the array in gguf->tensors. */
static hy_status append_tensors(hy_gguf *gguf, const hy_gguf_image *image, size_t room) {
    if (image->tensor_count > room - gguf->tensor_count)
        return hy_fail(HY_E_FORMAT, "split.tensors.count is %zu, the shards have more", room);
    if (image->tensor_count)
        memcpy(gguf->tensors + gguf->tensor_count, image->tensors,
               image->tensor_count * sizeof *image->tensors);
    gguf->tensor_count += image->tensor_count;
    return HY_OK;
}

static hy_status check_shard(const hy_gguf_image *image, uint32_t number, const split_keys *want) {
    hy_gguf probe = {.values = image->values, .value_count = image->value_count};
    hy_status status = hy_name_index_build(&probe.value_index, &probe.arena, probe.values,
                                           probe.value_count, value_name, "key");
    split_keys keys = {0};
    if (status == HY_OK) status = read_split(&probe, &keys);
    hy_arena_free(&probe.arena);
    if (status != HY_OK) return status;
    if (keys.number != number || keys.count != want->count)
        return hy_fail(HY_E_FORMAT,
                       "says that it is file %" PRIu32 " of %" PRIu32 ", not %" PRIu32
                       " of %" PRIu32,
                       keys.number + 1, keys.count, number + 1, want->count);
    return HY_OK;
}

static hy_status open_shard(hy_gguf *gguf, const char *prefix, size_t prefix_length,
                            uint32_t number, const split_keys *want) {
    const size_t room = prefix_length + 40; /* two numbers of up to ten digits */
    char *path = hy_arena_alloc(&gguf->arena, room, 1);
    hy_gguf_image image;
    if (!path) return hy_fail(HY_E_MEMORY, "out of memory");
    snprintf(path, room, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)prefix_length, prefix,
             number + 1, want->count);
    hy_status status = hy_mapping_open(path, &gguf->maps[gguf->map_count]);
    if (status != HY_OK)
        return hy_fail_in(status, "file %" PRIu32 " of %" PRIu32 " of a split model", number + 1,
                          want->count);
    gguf->map_count++;
    status = add_image(gguf, &image);
    if (status == HY_OK) status = check_shard(&image, number, want);
    if (status == HY_OK && number == 0) { /* an array for all: the first image's is only its own */
        gguf->tensors = hy_arena_alloc(&gguf->arena, want->tensors, sizeof *gguf->tensors);
        gguf->tensor_count = 0;
        if (!gguf->tensors) status = hy_fail(HY_E_MEMORY, "out of memory");
    }
    if (status == HY_OK) status = append_tensors(gguf, &image, want->tensors);
    return status == HY_OK ? HY_OK : hy_fail_in(status, "%s", path);
}

static hy_status open_split(const char *path, const split_keys *keys, hy_gguf **out) {
    hy_gguf *gguf = NULL;
    const size_t prefix = split_prefix(path, keys);
    if (prefix == SIZE_MAX)
        return hy_fail(HY_E_FORMAT,
                       "%s: file %" PRIu32 " of %" PRIu32
                       " of a split model, but its name does not end in -%05" PRIu32
                       "-of-%05" PRIu32 ".gguf",
                       path, keys->number + 1, keys->count, keys->number + 1, keys->count);
    if (keys->tensors > HY_GGUF_MAX_TENSORS)
        return hy_fail(HY_E_LIMIT, "%s: split.tensors.count is %" PRIu32 "; at most %d are read",
                       path, keys->tensors, HY_GGUF_MAX_TENSORS);
    HY_TRY(new_gguf(path, keys->count, true, &gguf));
    hy_status status = HY_OK;
    for (uint32_t i = 0; i < keys->count && status == HY_OK; i++)
        status = open_shard(gguf, path, prefix, i, keys);
    if (status == HY_OK && gguf->tensor_count != keys->tensors)
        status = hy_fail(HY_E_FORMAT, "%s: split.tensors.count is %" PRIu32 ", the shards have %zu",
                         path, keys->tensors, gguf->tensor_count);
    if (status == HY_OK) {
        status = index_tensors(gguf);
        if (status != HY_OK) status = hy_fail_in(status, "%s", path);
    }
    if (status != HY_OK) {
        hy_gguf_close(gguf);
        return status;
    }
    *out = gguf;
    return HY_OK;
}

/* ---- opening ---- */

hy_status hy_gguf_open(const char *path, hy_gguf **out) {
    hy_gguf *gguf = NULL;
    hy_gguf_image image;
    split_keys keys = {0};
    HY_TRY(new_gguf(path, 1, true, &gguf));
    hy_status status = hy_mapping_open(path, &gguf->maps[0]);
    if (status != HY_OK) {
        hy_gguf_close(gguf);
        return status;
    }
    gguf->map_count = 1;
    status = add_image(gguf, &image);
    if (status == HY_OK) status = read_split(gguf, &keys);
    if (status == HY_OK && keys.count <= 1) status = index_tensors(gguf);
    if (status != HY_OK) {
        hy_gguf_close(gguf);
        return hy_fail_in(status, "%s", path);
    }
    if (keys.count > 1) { /* read again as one of several */
        hy_gguf_close(gguf);
        return open_split(path, &keys, out);
    }
    *out = gguf;
    return HY_OK;
}

hy_status hy_gguf_open_memory(const void *data, size_t size, hy_gguf **out) {
    hy_gguf *gguf = NULL;
    hy_gguf_image image;
    split_keys keys = {0};
    HY_TRY(new_gguf("", 1, false, &gguf));
    gguf->maps[0] = (hy_mapping){data, size, 0};
    gguf->map_count = 1;
    hy_status status = add_image(gguf, &image);
    if (status == HY_OK) status = read_split(gguf, &keys);
    if (status == HY_OK && keys.count > 1)
        status = hy_fail(HY_E_UNSUPPORTED, "one of %" PRIu32 " files of a split model, in memory",
                         keys.count);
    if (status == HY_OK) status = index_tensors(gguf);
    if (status != HY_OK) {
        hy_gguf_close(gguf);
        return status;
    }
    *out = gguf;
    return HY_OK;
}

/* ---- access ---- */

const char *hy_gguf_path(const hy_gguf *gguf) {
    return gguf->path;
}

uint32_t hy_gguf_version(const hy_gguf *gguf) {
    return gguf->version;
}

uint64_t hy_gguf_file_bytes(const hy_gguf *gguf) {
    return gguf->bytes;
}

size_t hy_gguf_value_count(const hy_gguf *gguf) {
    return gguf->value_count;
}

const hy_gguf_value *hy_gguf_value_at(const hy_gguf *gguf, size_t index) {
    return index < gguf->value_count ? &gguf->values[index] : NULL;
}

const hy_gguf_value *hy_gguf_find(const hy_gguf *gguf, const char *key) {
    return hy_gguf_value_at(
        gguf, hy_name_index_find(&gguf->value_index, gguf->values, value_name, key, strlen(key)));
}

size_t hy_gguf_tensor_count(const hy_gguf *gguf) {
    return gguf->tensor_count;
}

const hy_gguf_tensor *hy_gguf_tensor_at(const hy_gguf *gguf, size_t index) {
    return index < gguf->tensor_count ? &gguf->tensors[index] : NULL;
}

const hy_gguf_tensor *hy_gguf_tensor_find(const hy_gguf *gguf, const char *name) {
    return hy_gguf_tensor_at(gguf, hy_name_index_find(&gguf->tensor_index, gguf->tensors,
                                                      tensor_name, name, strlen(name)));
}

hy_status hy_gguf_tensor_read(const hy_gguf *gguf, const hy_gguf_tensor *tensor, uint64_t offset,
                              uint64_t size, void *out) {
    const hy_mapping *map = &gguf->maps[tensor->shard];
    if (offset > tensor->size || size > tensor->size - offset)
        return hy_fail(HY_E_INTERNAL, "tensor %s has no byte %llu", tensor->name,
                       (unsigned long long)(offset + size));
    hy_status status = hy_mapping_read(map, (size_t)(tensor->data - map->data) + (size_t)offset,
                                       (size_t)size, out);
    return status == HY_OK ? HY_OK : hy_fail_in(status, "tensor %s", tensor->name);
}

void hy_gguf_tensor_advise(const hy_gguf *gguf, const hy_gguf_tensor *tensor, uint64_t offset,
                           uint64_t size, int will_need) {
    if (!gguf->owns_maps || offset > tensor->size) return;
    const hy_mapping *map = &gguf->maps[tensor->shard];
    hy_mapping_advise(map, (size_t)(tensor->data - map->data) + (size_t)offset,
                      (size_t)HY_MIN(size, tensor->size - offset), will_need);
}

/* Parsing of one GGUF file: header, values, tensor declarations, and where the data lie.
 *
 * The file is hostile until proven otherwise: a reader never moves past its end, every count is
 * compared with the bytes that are left before memory is asked for, and every size goes through
 * base/num.h. Source: ggml docs/gguf.md. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "src/format/gguf_inner.h"

/* Smallest encodings: a key of one byte, type and one byte; a name of one byte, one dimension, type
 * and offset. */
enum { MIN_VALUE_BYTES = 8 + 1 + 4 + 1, MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 };

typedef struct reader {
    const uint8_t *data;
    uint64_t size, at; /* at <= size */
} reader;

static hy_status take(reader *r, uint64_t bytes, const uint8_t **out) {
    if (bytes > r->size - r->at)
        return hy_fail(HY_E_FORMAT,
                       "truncated: %" PRIu64 " bytes wanted at offset %" PRIu64
                       ", the file has %" PRIu64,
                       bytes, r->at, r->size);
    *out = r->data + r->at;
    r->at += bytes;
    return HY_OK;
}

static hy_status take_u32(reader *r, uint32_t *out) {
    const uint8_t *p = NULL;
    HY_TRY(take(r, 4, &p));
    *out = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return HY_OK;
}

static hy_status take_u64(reader *r, uint64_t *out) {
    uint32_t low = 0, high = 0;
    HY_TRY(take_u32(r, &low));
    HY_TRY(take_u32(r, &high));
    *out = (uint64_t)high << 32 | low;
    return HY_OK;
}

static hy_status take_string(reader *r, hy_span *out) {
    uint64_t length = 0;
    const uint8_t *p = NULL;
    HY_TRY(take_u64(r, &length));
    HY_TRY(take(r, length, &p));
    *out = (hy_span){(const char *)p, (size_t)length};
    return HY_OK;
}

/* A key or tensor name: 1 .. limit bytes of clean UTF-8. */
static hy_status take_name(reader *r, size_t limit, const char *what, uint64_t number,
                           hy_span *out) {
    const uint64_t at = r->at;
    HY_TRY(take_string(r, out));
    if (out->length == 0 || out->length > limit)
        return hy_fail(HY_E_FORMAT,
                       "%s %" PRIu64 " at offset %" PRIu64 " has a name of %zu bytes (1 to %zu)",
                       what, number, at, out->length, limit);
    if (!hy_gguf_name_is_clean(out->data, out->length))
        return hy_fail(HY_E_FORMAT,
                       "%s %" PRIu64 " at offset %" PRIu64 " has a name that is not clean UTF-8",
                       what, number, at);
    return HY_OK;
}

/* ---- values ---- */

static hy_status skip_elements(reader *r, uint32_t type, uint64_t count, int depth);

static hy_status skip_arrays(reader *r, uint64_t count, int depth) {
    if (depth >= HY_GGUF_MAX_ARRAY_DEPTH)
        return hy_fail(HY_E_LIMIT, "arrays nested more than %d deep", HY_GGUF_MAX_ARRAY_DEPTH);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t type = 0;
        uint64_t inner = 0;
        HY_TRY(take_u32(r, &type));
        HY_TRY(take_u64(r, &inner));
        HY_TRY(skip_elements(r, type, inner, depth + 1));
    }
    return HY_OK;
}

/* Moves past `count` elements. Strings and arrays take at least 8 bytes each, so that a huge count
 * ends at the end of the file. */
static hy_status skip_elements(reader *r, uint32_t type, uint64_t count, int depth) {
    const uint32_t bytes = hy_gguf_element_bytes(type);
    if (bytes) {
        uint64_t total;
        const uint8_t *p = NULL;
        if (hy_mul_overflow(count, bytes, &total))
            return hy_fail(HY_E_FORMAT, "an array of %" PRIu64 " elements cannot be", count);
        return take(r, total, &p);
    }
    if (type == HY_GGUF_ARRAY) return skip_arrays(r, count, depth);
    if (type != HY_GGUF_STRING) return hy_fail(HY_E_FORMAT, "unknown value type %" PRIu32, type);
    if (count > (r->size - r->at) / 8)
        return hy_fail(HY_E_FORMAT,
                       "truncated: an array of %" PRIu64 " strings, %" PRIu64 " bytes are left",
                       count, r->size - r->at);
    for (uint64_t i = 0; i < count; i++) {
        hy_span ignored;
        HY_TRY(take_string(r, &ignored));
    }
    return HY_OK;
}

static hy_status take_payload(reader *r, hy_gguf_value *value) {
    uint32_t type = 0;
    HY_TRY(take_u32(r, &type));
    value->type = value->element_type = (hy_gguf_type)type;
    value->count = 1;
    if (type == HY_GGUF_STRING) {
        hy_span text = {0};
        HY_TRY(take_string(r, &text));
        value->data = (const uint8_t *)text.data;
        value->size = text.length;
        return HY_OK;
    }
    if (type == HY_GGUF_ARRAY) {
        uint32_t element = 0;
        HY_TRY(take_u32(r, &element));
        HY_TRY(take_u64(r, &value->count));
        value->element_type = (hy_gguf_type)element;
        type = element;
    }
    const uint64_t at = r->at;
    HY_TRY(skip_elements(r, type, value->count, 1));
    value->data = r->data + at;
    value->size = r->at - at;
    return HY_OK;
}

static hy_status take_values(reader *r, uint64_t count, hy_arena *arena, hy_gguf_image *out) {
    out->values = hy_arena_alloc(arena, (size_t)count, sizeof *out->values);
    if (!out->values) return hy_fail(HY_E_MEMORY, "out of memory: %" PRIu64 " keys", count);
    for (uint64_t i = 0; i < count; i++) {
        hy_gguf_value *value = &out->values[i];
        HY_TRY(take_name(r, HY_GGUF_MAX_KEY, "key", i, &value->key));
        hy_status status = take_payload(r, value);
        if (status != HY_OK)
            return hy_fail_in(status, "key '%.*s'", (int)HY_MIN(value->key.length, 200),
                              value->key.data);
        out->value_count++;
    }
    return HY_OK;
}

static hy_status find_alignment(hy_gguf_image *out) {
    static const char key[] = "general.alignment";
    out->alignment = HY_GGUF_DEFAULT_ALIGNMENT;
    for (size_t i = 0; i < out->value_count; i++) {
        const hy_gguf_value *value = &out->values[i];
        if (value->key.length != sizeof key - 1 ||
            memcmp(value->key.data, key, sizeof key - 1) != 0)
            continue;
        uint64_t number = 0;
        if (value->type != HY_GGUF_U32 && value->type != HY_GGUF_U64)
            return hy_fail(HY_E_FORMAT, "%s is a value of type %s, not a u32", key,
                           hy_gguf_value_type_name(value->type));
        for (uint64_t b = 0; b < value->size; b++)
            number |= (uint64_t)value->data[b] << 8 * b;
        if (!hy_gguf_alignment_is_valid(number))
            return hy_fail(HY_E_FORMAT, "%s is %" PRIu64 ", not a power of two from %d to %d", key,
                           number, HY_GGUF_MIN_ALIGNMENT, HY_GGUF_MAX_ALIGNMENT);
        out->alignment = (uint32_t)number;
    }
    return HY_OK;
}

/* ---- tensors ---- */

/* Declarations give offsets into the data section, whose place is known only after the last one;
 * until then `offset` stands beside the tensor. */
typedef struct declared {
    uint64_t offset;
    size_t index;
    bool sized; /* the type's blocks are known */
} declared;

static hy_status take_shape(reader *r, hy_gguf_tensor *tensor) {
    HY_TRY(take_u32(r, &tensor->rank));
    if (tensor->rank == 0 || tensor->rank > HY_GGUF_MAX_RANK)
        return hy_fail(HY_E_FORMAT, "rank %" PRIu32 " (1 to %d)", tensor->rank, HY_GGUF_MAX_RANK);
    for (uint32_t i = 0; i < HY_GGUF_MAX_RANK; i++)
        tensor->dim[i] = 1;
    tensor->rows = 1;
    uint64_t elements = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        uint64_t dim = 0;
        HY_TRY(take_u64(r, &dim));
        if (dim == 0) return hy_fail(HY_E_FORMAT, "dimension %" PRIu32 " is 0", i);
        if (hy_mul_overflow(elements, dim, &elements) || elements > INT64_MAX)
            return hy_fail(HY_E_FORMAT, "dimension %" PRIu32 " of %" PRIu64 ": too many elements",
                           i, dim);
        tensor->dim[tensor->rank - 1 - i] = dim; /* the file has the innermost first */
        if (i > 0) tensor->rows *= dim;
    }
    tensor->columns = tensor->dim[tensor->rank - 1];
    return HY_OK;
}

static hy_status size_of(hy_gguf_tensor *tensor, bool *sized) {
    uint32_t block, bytes;
    *sized = hy_gguf_type_blocks(tensor->gguf_type, &block, &bytes);
    if (!*sized) return HY_OK;
    if (tensor->columns % block)
        return hy_fail(HY_E_FORMAT,
                       "rows of %" PRIu64 " elements are no whole blocks of %" PRIu32 " (%s)",
                       tensor->columns, block, hy_gguf_tensor_type_name(tensor->gguf_type));
    uint64_t row;
    if (hy_mul_overflow(tensor->columns / block, bytes, &row) ||
        hy_mul_overflow(row, tensor->rows, &tensor->size))
        return hy_fail(HY_E_FORMAT, "%" PRIu64 " rows of %" PRIu64 " elements: too many bytes",
                       tensor->rows, tensor->columns);
    return HY_OK;
}

static hy_status take_tensor(reader *r, uint32_t alignment, hy_gguf_tensor *tensor,
                             declared *where) {
    HY_TRY(take_shape(r, tensor));
    HY_TRY(take_u32(r, &tensor->gguf_type));
    HY_TRY(take_u64(r, &where->offset));
    tensor->dtype = hy_dtype_by_gguf(tensor->gguf_type);
    if (where->offset % alignment)
        return hy_fail(HY_E_FORMAT,
                       "data at offset %" PRIu64 ", not a multiple of the alignment %" PRIu32,
                       where->offset, alignment);
    return size_of(tensor, &where->sized);
}

static int by_offset(const void *a, const void *b) {
    const declared *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Gives each tensor its bytes; none may reach past the end or into the next one's. */
static hy_status place(const reader *r, uint32_t alignment, hy_gguf_image *out, declared *where) {
    uint64_t begin;
    if (hy_align_overflow(r->at, alignment, &begin)) begin = UINT64_MAX;
    if (out->tensor_count && begin > r->size)
        return hy_fail(HY_E_FORMAT,
                       "truncated: the data begin at %" PRIu64 ", the file has %" PRIu64 " bytes",
                       begin, r->size);
    const uint64_t room = begin <= r->size ? r->size - begin : 0;
    qsort(where, out->tensor_count, sizeof *where, by_offset);
    for (size_t i = 0; i < out->tensor_count; i++) {
        hy_gguf_tensor *tensor = &out->tensors[where[i].index];
        const bool last = i + 1 == out->tensor_count;
        const uint64_t offset = where[i].offset, next = last ? room : where[i + 1].offset;
        if (offset > room || (where[i].sized && tensor->size > room - offset))
            return hy_fail(HY_E_FORMAT,
                           "tensor '%s' has %" PRIu64 " bytes at offset %" PRIu64
                           ", the file has %" PRIu64 " bytes of data: truncated?",
                           tensor->name, tensor->size, offset, room);
        if (!where[i].sized) tensor->size = HY_MIN(next, room) - offset;
        if (tensor->size == 0)
            return hy_fail(HY_E_FORMAT, "tensor '%s' has no data at offset %" PRIu64, tensor->name,
                           offset);
        if (!last && tensor->size > next - offset)
            return hy_fail(HY_E_FORMAT,
                           "the data of tensor '%s' (%" PRIu64 " bytes at offset %" PRIu64
                           ") overlap those of '%s' at %" PRIu64,
                           tensor->name, tensor->size, offset,
                           out->tensors[where[i + 1].index].name, next);
        tensor->data = r->data + begin + offset;
    }
    return HY_OK;
}

static hy_status take_tensors(reader *r, uint64_t count, uint32_t shard, hy_arena *arena,
                              hy_gguf_image *out) {
    declared *where = malloc(HY_MAX((size_t)count, 1) * sizeof *where); /* count <= 2^20 */
    out->tensors = hy_arena_alloc(arena, (size_t)count, sizeof *out->tensors);
    hy_status status = HY_OK;
    if (!where || !out->tensors)
        status = hy_fail(HY_E_MEMORY, "out of memory: %" PRIu64 " tensors", count);
    for (uint64_t i = 0; i < count && status == HY_OK; i++) {
        hy_gguf_tensor *tensor = &out->tensors[i];
        hy_span name = {0};
        status = take_name(r, HY_GGUF_MAX_NAME, "tensor", i, &name);
        if (status != HY_OK) break;
        tensor->name = hy_arena_text(arena, name.data, name.length);
        tensor->shard = shard;
        where[i].index = (size_t)i;
        if (!tensor->name) {
            status = hy_fail(HY_E_MEMORY, "out of memory: the name of tensor %" PRIu64, i);
        } else if ((status = take_tensor(r, out->alignment, tensor, &where[i])) != HY_OK) {
            status = hy_fail_in(status, "tensor '%s'", tensor->name);
        }
        out->tensor_count++;
    }
    if (status == HY_OK) status = place(r, out->alignment, out, where);
    free(where);
    return status;
}

/* ---- the whole ---- */

static hy_status take_header(reader *r, uint32_t *version) {
    const uint8_t *magic = NULL;
    HY_TRY(take(r, 4, &magic));
    if (memcmp(magic, "FUGG", 4) == 0)
        return hy_fail(HY_E_UNSUPPORTED, "a big-endian GGUF file; little-endian ones are read");
    if (memcmp(magic, "GGUF", 4) != 0)
        return hy_fail(HY_E_FORMAT, "not a GGUF file: it begins with %02x %02x %02x %02x", magic[0],
                       magic[1], magic[2], magic[3]);
    HY_TRY(take_u32(r, version));
    if (*version != 0 && (*version & 0xffff) == 0)
        return hy_fail(HY_E_UNSUPPORTED,
                       "a big-endian GGUF file (version %" PRIu32 "); little-endian ones are read",
                       __builtin_bswap32(*version));
    if (*version < 2 || *version > 3)
        return hy_fail(HY_E_UNSUPPORTED, "GGUF version %" PRIu32 "; 2 and 3 are read", *version);
    return HY_OK;
}

static hy_status check_count(const reader *r, uint64_t count, uint64_t smallest, uint64_t limit,
                             const char *what) {
    if (count > (r->size - r->at) / smallest)
        return hy_fail(HY_E_FORMAT,
                       "%" PRIu64 " %s do not fit in the %" PRIu64 " bytes that are left", count,
                       what, r->size - r->at);
    if (count > limit)
        return hy_fail(HY_E_LIMIT, "%" PRIu64 " %s; at most %" PRIu64 " are read", count, what,
                       limit);
    return HY_OK;
}

hy_status hy_gguf_parse(const uint8_t *data, size_t size, uint32_t shard, hy_arena *arena,
                        hy_gguf_image *out) {
    reader r = {data, size, 0};
    uint64_t tensors = 0, values = 0;
    *out = (hy_gguf_image){0};
    HY_TRY(take_header(&r, &out->version));
    HY_TRY(take_u64(&r, &tensors));
    HY_TRY(take_u64(&r, &values));
    HY_TRY(check_count(&r, values, MIN_VALUE_BYTES, HY_GGUF_MAX_VALUES, "keys"));
    HY_TRY(check_count(&r, tensors, MIN_TENSOR_BYTES, HY_GGUF_MAX_TENSORS, "tensors"));
    HY_TRY(take_values(&r, values, arena, out));
    HY_TRY(find_alignment(out));
    HY_TRY(check_count(&r, tensors, MIN_TENSOR_BYTES, HY_GGUF_MAX_TENSORS, "tensors"));
    return take_tensors(&r, tensors, shard, arena, out);
}

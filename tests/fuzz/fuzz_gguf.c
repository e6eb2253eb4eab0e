/* Any bytes as a GGUF file: opening must refuse or give values and tensors that lie inside them. */
#include <stdint.h>
#include <stdlib.h>

#include "src/format/gguf.h"

static volatile uint64_t sink; /* keeps the reads */

static void touch(const uint8_t *data, uint64_t size) {
    if (size) sink += (uint64_t)data[0] + data[size - 1] + data[size / 2];
}

static void walk_strings(const hy_gguf_value *value) {
    if (value->count == 0 || value->count > 4096) return;
    hy_span *spans = malloc((size_t)value->count * sizeof *spans);
    if (!spans) return;
    if (hy_gguf_strings(value, spans) == HY_OK) {
        for (uint64_t i = 0; i < value->count; i++)
            touch((const uint8_t *)spans[i].data, spans[i].length);
    }
    free(spans);
}

static void walk_value(const hy_gguf *gguf, const hy_gguf_value *value) {
    char key[256];
    uint32_t u = 0;
    float f = 0;
    bool b = false;
    hy_span text = {"", 0};
    touch(value->data, value->size);
    walk_strings(value);
    for (uint64_t i = 0; i < value->count && i < 8; i++) {
        if (hy_gguf_element_u32(value, i, &u) != HY_OK) u = 0;
        if (hy_gguf_element_f32(value, value->count - 1 - i, &f) != HY_OK) f = 0;
    }
    if (value->key.length >= sizeof key) return;
    for (size_t i = 0; i < value->key.length; i++)
        key[i] = value->key.data[i];
    key[value->key.length] = 0;
    if (hy_gguf_find(gguf, key) != value) abort();
    if (hy_gguf_u32(gguf, key, 0, &u) != HY_OK) u = 0;
    if (hy_gguf_f32(gguf, key, 0, &f) != HY_OK) f = 0;
    if (hy_gguf_bool(gguf, key, false, &b) != HY_OK) b = false;
    if (hy_gguf_string(gguf, key, &text) != HY_OK) text.length = 0;
    touch((const uint8_t *)text.data, text.length);
    sink += u + (uint64_t)b;
}

static void walk_tensor(const hy_gguf *gguf, const hy_gguf_tensor *tensor, const uint8_t *data,
                        size_t size) {
    if (hy_gguf_tensor_find(gguf, tensor->name) != tensor) abort();
    if (tensor->data < data || tensor->size > size ||
        (size_t)(tensor->data - data) > size - tensor->size)
        abort();
    touch(tensor->data, tensor->size);
    const hy_dtype_info *info = hy_dtype_get(tensor->dtype);
    if (tensor->dtype == HY_DTYPE_NONE || tensor->dtype == HY_DTYPE_I32 || tensor->columns > 1024)
        return;
    float row[1024]; /* the last row ends where the data end */
    const uint64_t bytes = hy_dtype_row_bytes(info, tensor->columns);
    hy_dequantize_row(tensor->dtype, tensor->data + (tensor->rows - 1) * bytes, row,
                      tensor->columns);
    sink += row[tensor->columns - 1] == row[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hy_gguf *gguf = NULL;
    if (hy_gguf_open_memory(data, size, &gguf) != HY_OK) return 0;
    for (size_t i = 0; i < hy_gguf_value_count(gguf); i++)
        walk_value(gguf, hy_gguf_value_at(gguf, i));
    for (size_t i = 0; i < hy_gguf_tensor_count(gguf); i++)
        walk_tensor(gguf, hy_gguf_tensor_at(gguf, i), data, size);
    hy_gguf_close(gguf);
    return 0;
}

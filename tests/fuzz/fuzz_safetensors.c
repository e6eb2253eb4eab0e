/* Any bytes as a safetensors file. */
#include <stdint.h>
#include <stdlib.h>

#include "src/format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hy_safetensors *file = NULL;
    if (hy_safetensors_open_memory(data, size, &file) != HY_OK) return 0;
    double *values = malloc((size + 1) * sizeof *values); /* no element is under a byte */
    for (size_t i = 0; values && i < hy_safetensors_count(file); i++) {
        const hy_safetensor *tensor = hy_safetensors_at(file, i);
        if (hy_safetensors_find(file, tensor->name) != tensor) abort();
        if (tensor->data < data || (size_t)(tensor->data - data) > size - tensor->size) abort();
        if (hy_safetensor_to_f64(tensor, values) != HY_OK) continue;
    }
    (void)hy_safetensors_metadata(file, "op");
    free(values);
    hy_safetensors_close(file);
    return 0;
}

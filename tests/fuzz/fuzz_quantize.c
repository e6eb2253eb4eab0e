/* Any bytes as float32 through every quantizer, and any bytes as blocks through every dequantizer: no
 * undefined behaviour, and blocks made by a quantizer are finite. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hal/dtype.h"

enum { COUNT = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    float in[COUNT] = {0}, out[COUNT];
    uint8_t blocks[COUNT / 32 * 40 > COUNT * 4 ? COUNT / 32 * 40 : COUNT * 4];
    memcpy(in, data, size < sizeof in ? size : sizeof in);
    for (int d = HY_DTYPE_NONE + 1; d < HY_DTYPE_COUNT; d++) {
        const hy_dtype dtype = (hy_dtype)d;
        if (dtype == HY_DTYPE_I32) continue;
        hy_dequantize_row(dtype, in, out, COUNT); /* in has room for any format's 256 elements */
        hy_quantize_row(dtype, in, blocks, COUNT);
        hy_dequantize_row(dtype, blocks, out, COUNT);
        for (int i = 0; hy_dtype_get(dtype)->quantized && i < COUNT; i++) {
            if (!isfinite(out[i])) abort();
        }
    }
    return 0;
}

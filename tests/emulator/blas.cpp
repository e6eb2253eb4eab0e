/* tests/emulator/blas.cpp: a libcublasLt, or with HY_EMULATED_HIP a libhipblaslt, as far as backends/simt uses it, with
 * the types of its own declarations. Only the one kind of product that is asked for is known; another is refused. */
#include <stddef.h>

#include "tests/emulator/device.h"

#ifdef HY_EMULATED_HIP
#define BLAS(name) hipblasLt##name
enum { COMPUTE_F32 = 2, TURN_A = 0, TURNED = 112 };
#else
#define BLAS(name) cublasLt##name
enum { COMPUTE_F32 = 68, TURN_A = 3, TURNED = 1 };
#endif
enum { TYPE_F32 = 0, TYPE_F16 = 2, OK = 0, NOT_SUPPORTED = 15 };

namespace {

struct desc {
    bool turned;
};
struct layout {
    int type;
    uint64_t rows, columns;
    int64_t step;
};

} // namespace

EMU_EXPORT int BLAS(Create)(void **handle) {
    *handle = new int;
    return OK;
}
EMU_EXPORT int BLAS(Destroy)(void *handle) {
    delete (int *)handle;
    return OK;
}
EMU_EXPORT int BLAS(MatmulDescCreate)(desc **out, int compute, int scale_type) {
    if (compute != COMPUTE_F32 || scale_type != TYPE_F32) return NOT_SUPPORTED;
    *out = new desc();
    return OK;
}
EMU_EXPORT int BLAS(MatmulDescDestroy)(desc *d) {
    delete d;
    return OK;
}
EMU_EXPORT int BLAS(MatmulDescSetAttribute)(desc *d, int attribute, const void *value,
                                            size_t bytes) {
    if (attribute != TURN_A || bytes != 4 || *(const int32_t *)value != TURNED)
        return NOT_SUPPORTED;
    d->turned = true;
    return OK;
}
EMU_EXPORT int BLAS(MatrixLayoutCreate)(layout **out, int type, uint64_t rows, uint64_t columns,
                                        int64_t step) {
    *out = new layout{type, rows, columns, step};
    return OK;
}
EMU_EXPORT int BLAS(MatrixLayoutDestroy)(layout *l) {
    delete l;
    return OK;
}
EMU_EXPORT int BLAS(Matmul)(void *, const desc *product, const float *alpha, const void *a,
                            const layout *la, const void *b, const layout *lb, const float *beta,
                            const void *, const layout *, void *d, const layout *ld, const void *,
                            void *, size_t, emu_stream *stream) {
    if (!product->turned || *alpha != 1 || *beta != 0 || la->type != TYPE_F16 ||
        lb->type != TYPE_F16 || ld->type != TYPE_F32 || la->rows != lb->rows ||
        la->columns != ld->rows || lb->columns != ld->columns)
        return NOT_SUPPORTED;
    const emu_product p = {(const uint16_t *)a,
                           (const uint16_t *)b,
                           (float *)d,
                           ld->rows,
                           ld->columns,
                           la->rows,
                           la->step,
                           lb->step,
                           ld->step};
    return emu_multiply(&p, stream);
}

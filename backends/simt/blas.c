/* backends/simt/blas.c: the vendor's BLAS (cuBLASLt, hipBLASLt), looked for at run time, as one more way to multiply many
 * rows. The two libraries are call for call alike.
 *
 * Family simt_family_blas, no tile numbers, in four phases:
 *   rows_to_f16       x -> f16 rows, each scaled by a power of two
 *   matmul.F.halves   block formats and bf16: weights -> f16
 *   blas              f16 x f16 -> float32 [T, N], for all T that there may be
 *   matmul.finish     what is multiplied and added on the way out
 * args.extra: halves of a row of x and of the weights, and where in the workspace there are the rows' scales, the
 * weights' halves, the sums. Its order of additions is its own, and may differ between sizes: never in invariant
 * mode. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/simt/families.h"
#include "backends/simt/simt.h"
#include "base/num.h"

enum {
    TYPE_F32 = 0,
    TYPE_F16 = 2, /* of cudaDataType and of hipDataType */
    SCRATCH_BYTES = 32 << 20,
    THREADS = 128,
    FEWEST_ROWS = 16, /* fewer are not worth four launches */
    HALF_ALIGN = 32
};

struct simt_blas {
    const simt_blas_facts *facts;
    void *handle, *scratch; /* scratch: SCRATCH_BYTES on the device */
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_new)(void **out, int compute, int scale_type);
    int (*desc_free)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t bytes);
    int (*layout_new)(void **out, int type, uint64_t rows, uint64_t columns, int64_t step);
    int (*layout_free)(void *layout);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                  const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                  void *d, void *d_layout, const void *algorithm, void *scratch,
                  size_t scratch_bytes, void *stream);
};

/* ---- the library --------------------------------------------------------------------------------- */

static void *open_library(const simt_blas_facts *facts) {
    const char *named = getenv(facts->variable);
    if (named && *named) return dlopen(named, RTLD_NOW | RTLD_LOCAL);
    for (const char *const *name = facts->libraries; *name; name++) {
        void *library = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
        if (library) return library;
    }
    return NULL;
}

static bool find_functions(void *library, simt_blas *blas) {
    const struct {
        const char *name;
        void *field;
    } all[] = {{"Create", &blas->create},
               {"Destroy", &blas->destroy},
               {"MatmulDescCreate", &blas->desc_new},
               {"MatmulDescDestroy", &blas->desc_free},
               {"MatmulDescSetAttribute", &blas->desc_set},
               {"MatrixLayoutCreate", &blas->layout_new},
               {"MatrixLayoutDestroy", &blas->layout_free},
               {"Matmul", &blas->matmul}};
    for (size_t i = 0; i < HY_COUNT_OF(all); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", blas->facts->prefix, all[i].name);
        void *symbol = dlsym(library, name);
        if (!symbol) return false;
        memcpy(all[i].field, &symbol, sizeof symbol);
    }
    return true;
}

void simt_blas_open(simt_device *device) {
    const simt_blas_facts *facts = device->vendor->blas;
    void *library = open_library(facts); /* stays open: such libraries do not like to be unloaded */
    simt_blas *blas = library ? calloc(1, sizeof *blas) : NULL;
    if (!blas) return;
    blas->facts = facts;
    if (find_functions(library, blas) &&
        device->api->memory_new(&blas->scratch, SCRATCH_BYTES) == SIMT_OK) {
        if (blas->create(&blas->handle) == 0) {
            device->blas = blas;
            device->gpu.limits.features |= GPU_BLAS;
            return;
        }
        device->api->memory_free(blas->scratch);
    }
    free(blas);
}

void simt_blas_close(simt_device *device) {
    if (!device->blas) return;
    device->blas->destroy(device->blas->handle);
    device->api->memory_free(device->blas->scratch);
    free(device->blas);
    device->blas = NULL;
}

/* The descriptions of one product. */
typedef struct descriptions {
    void *product, *weights, *x, *sums;
} descriptions;

static void forget(const simt_blas *blas, const descriptions *d) {
    if (d->sums) blas->layout_free(d->sums);
    if (d->x) blas->layout_free(d->x);
    if (d->weights) blas->layout_free(d->weights);
    if (d->product) blas->desc_free(d->product);
}

/* Columns first, as these libraries count: sums [N, T] = weights [K, N]^T x [K, T]. */
static int describe(const simt_blas *blas, uint64_t n, uint64_t t, uint64_t k, int64_t weights_step,
                    int64_t x_step, descriptions *d) {
    const int32_t turned = blas->facts->turned;
    int code = blas->desc_new(&d->product, blas->facts->compute_f32, TYPE_F32);
    if (!code) code = blas->desc_set(d->product, blas->facts->turn_a, &turned, sizeof turned);
    if (!code) code = blas->layout_new(&d->weights, TYPE_F16, k, n, weights_step);
    if (!code) code = blas->layout_new(&d->x, TYPE_F16, k, t, x_step);
    if (!code) code = blas->layout_new(&d->sums, TYPE_F32, n, t, (int64_t)n);
    return code;
}

hy_status simt_blas_launch(simt_device *device, const hy_args *args) {
    static const float one = 1, zero = 0;
    const simt_blas *blas = device->blas;
    const hy_arg_tensor *w = &args->operand[HY_MATMUL_w];
    const uint64_t n = w->dim[0], t = args->operand[HY_MATMUL_x].dim[0], k = w->columns;
    char *workspace = (char *)(uintptr_t)args->workspace;
    const bool as_it_is = args->extra[2] == 0; /* f16 weights are read where they are */
    const void *weights =
        as_it_is ? (const void *)(uintptr_t)w->address : workspace + args->extra[2];
    void *sums = workspace + args->extra[3];
    descriptions d = {0};
    int code =
        describe(blas, n, t, k, as_it_is ? w->stride[0] / 2 : args->extra[0], args->extra[0], &d);
    if (!code)
        code = blas->matmul(blas->handle, d.product, &one, weights, d.weights, workspace, d.x,
                            &zero, sums, d.sums, sums, d.sums, NULL, blas->scratch, SCRATCH_BYTES,
                            device->stream);
    forget(blas, &d);
    if (!code) return HY_OK;
    return hy_fail(HY_E_DEVICE, "%s: %s: %sMatmul: status %d", device->vendor->backend->name,
                   device->info.name, blas->facts->prefix, code);
}

/* ---- the family ----------------------------------------------------------------------------------- */

typedef struct places {
    uint64_t row, scales, weights, sums,
        end; /* row: halves; the others: bytes into the workspace */
} places;

static places places_of(const gpu_variant *variant, const hy_op *op) {
    const hy_tensor *x = &op->operand[HY_MATMUL_x], *w = &op->operand[HY_MATMUL_w];
    places p = {.row = hy_align_up(w->dim[1], HALF_ALIGN)};
    p.scales = hy_align_up(x->dim[0] * p.row * 2, HY_VIEW_ALIGN);
    p.weights = hy_align_up(p.scales + x->dim[0] * sizeof(float), HY_VIEW_ALIGN);
    p.sums = p.weights;
    if (variant->dtype != HY_DTYPE_F16)
        p.sums = hy_align_up(p.weights + w->dim[0] * p.row * 2, HY_VIEW_ALIGN);
    p.end = p.sums + (uint64_t)x->dim[0] * w->dim[0] * sizeof(float);
    return p;
}

static bool accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    return op->operand[HY_MATMUL_w].dtype == variant->dtype &&
           op->operand[HY_MATMUL_x].dim[0] >= FEWEST_ROWS &&
           places_of(variant, op).end <= UINT32_MAX;
}

/* A matrix unit does about fourteen times the operations of the rest, two thirds of the time. */
static float cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const places p = places_of(variant, op);
    return gpu_time(device, (double)hy_op_bytes(op) + 2.0 * (double)p.end, 0.1 * hy_op_flops(op),
                    4);
}

static uint64_t workspace(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    return places_of(variant, op).end;
}

static void plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                 uint32_t phase, gpu_launch *out) {
    const places p = places_of(variant, op);
    const hy_tensor *x = &op->operand[HY_MATMUL_x], *w = &op->operand[HY_MATMUL_w];
    const bool as_it_is = variant->dtype == HY_DTYPE_F16;
    const uint64_t outputs = op->operand[HY_MATMUL_out].dim[1];
    out->threads = THREADS;
    out->args.extra[0] = (uint32_t)p.row;
    out->args.extra[1] = (uint32_t)p.scales;
    out->args.extra[2] = as_it_is ? 0 : (uint32_t)p.weights;
    out->args.extra[3] = (uint32_t)p.sums;
    if (phase == 0)
        gpu_grid(device, x->dim[0], out);
    else if (phase == 1 && as_it_is)
        out->grid[0] = 0;
    else if (phase == 1)
        gpu_grid(device, hy_div_up(w->dim[0] * (p.row / HALF_ALIGN), THREADS), out);
    else if (phase == 2)
        gpu_grid(device, 1, out);
    else
        gpu_grid(device, x->dim[0] * hy_div_up(hy_div_up(outputs, 2), THREADS), out);
}

const gpu_family simt_family_blas = {.accepts = accepts,
                                     .cost = cost,
                                     .workspace = workspace,
                                     .plan = plan,
                                     .packed = 1u << HY_MATMUL_w};

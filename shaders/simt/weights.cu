/* shaders/simt/weights.cu: every kernel that reads weights of one format (quant.h). Entries carry the format's name. */
#include "shaders/simt/quant.h"

#ifdef FORMAT_FLOAT
#include "shaders/simt/gemm_float.h"
#include "shaders/simt/gemv_float.h"
#else
#include "shaders/simt/gemm_int8.h"
#include "shaders/simt/gemv.h"
#if HY_TILES
#include "shaders/simt/few_tile.h"
#include "shaders/simt/gemm_tile.h"
#endif
#endif
#ifndef FORMAT_f32
#include "shaders/simt/halves.h"
#if HY_TILES
#include "shaders/simt/gemm_half.h"
#endif
#endif

#define NAME_OF(op, format, variant) op##_##format##variant
#define NAME(op, format, variant) NAME_OF(op, format, variant)
/* HY_ENTRY with a name that is made of the format's. */
#define ENTRY_OF(name, threads) HY_ENTRY(name, threads)
#define ENTRY(op, variant, threads) ENTRY_OF(NAME(op, FORMAT_NAME, variant), threads)

/* ---- embed: rows of the table dequantized exactly as hal/dtype.c does it: a v + b with two roundings, then the scale.
 * One thread for each four elements. A row of an id that is not in the table is zeros. */

HY_DEVICE f32x4 embedded(const hy_args &args, const u8 *row, u32 k, u32 columns) {
#ifdef FORMAT_FLOAT
    return hy_load4(FORMAT, row, k, columns);
#else
    const u32 *stride = args.operand[HY_EMBED_table].stride;
    const hy_weights w = hy_load_weights(row, stride[1], stride[2], stride[3], k / 32u);
    const u32 word = k / 4u % 8u, part = word / 4u * SPLIT;
    u32 q = w.q[0];
    HY_UNROLL for (u32 i = 1; i < 8u; i++) if (i == word) q = w.q[i];
    const float a = part == 0u ? w.a[0] : w.a[SPLIT];
    f32x4 x;
    HY_UNROLL for (u32 j = 0; j < 4u; j++) {
        x.v[j] = (float)hy_int8((i32)q, 8u * j) * a;
#if HAS_MINIMA
        x.v[j] = x.v[j] + (part == 0u ? w.b[0] : w.b[SPLIT]);
#endif
    }
    return x;
#endif
}

ENTRY(embed, , 128) {
    const u32 columns = hy_columns(args, HY_EMBED_out), width = 4u * hy_threads();
    const u32 groups = (columns + width - 1u) / width; /* of a token */
    const u32 t = hy_group() / groups, k = hy_group() % groups * width + 4u * hy_thread();
    if (t >= hy_count(args, HY_EMBED_ids) || k >= columns) return;
    const u32 id = ((const u32 *)hy_address(args, HY_EMBED_ids))[t];
    const float scale = hy_word_float(args, HY_EMBED_ATTR_scale);
    f32x4 x = {};
    if (id < args.operand[HY_EMBED_table].dim[0]) {
        const u64 at = (u64)id * args.operand[HY_EMBED_table].stride[0];
        x = embedded(args, hy_address(args, HY_EMBED_table) + at, k, columns);
    }
    HY_UNROLL for (u32 j = 0; j < 4u; j++) if (scale != 0.0f) x.v[j] = x.v[j] * scale;
    hy_store4(hy_dtype(args, HY_EMBED_out), hy_row(args, HY_EMBED_out, t), k, columns, x);
}

/* ---- products ---------------------------------------------------------------------------------------- */

#ifdef FORMAT_FLOAT

#define GEMV(columns)                                                                              \
    ENTRY(matmul, _gemv##columns, GEMV_FLOAT_THREADS) {                                            \
        gemv_float<MATMUL, columns>(args);                                                         \
    }
GEMV(1)
GEMV(2)
GEMV(4)
GEMV(8)
ENTRY(matmul, _gemm2, GEMM_THREADS) {
    gemm_float<MATMUL, 2>(args);
}
ENTRY(matmul, _gemm8, GEMM_THREADS) {
    gemm_float<MATMUL, 8>(args);
}
ENTRY(grouped_matmul, _gemv, GEMV_FLOAT_THREADS) {
    gemv_float<GROUPED, 1>(args);
}
ENTRY(grouped_matmul, _gemm2, GEMM_THREADS) {
    gemm_float<SORTED, 2>(args);
}
ENTRY(grouped_matmul, _gemm8, GEMM_THREADS) {
    gemm_float<SORTED, 8>(args);
}

#else

#define GEMV(columns)                                                                              \
    ENTRY(matmul, _gemv##columns, GEMV_THREADS) {                                                  \
        gemv<MATMUL, GEMV_ROWS(columns), columns>(args);                                           \
    }
GEMV(1)
GEMV(2)
GEMV(4)
GEMV(8)
ENTRY(matmul, _gemm2, GEMM_THREADS) {
    gemm_int8<MATMUL, 2>(args);
}
ENTRY(matmul, _gemm8, GEMM_THREADS) {
    gemm_int8<MATMUL, 8>(args);
}
ENTRY(grouped_matmul, _gemv, GEMV_THREADS) {
    gemv<GROUPED, GEMV_ROWS(1), 1>(args);
}
ENTRY(grouped_matmul, _gemm2, GEMM_THREADS) {
    gemm_int8<SORTED, 2>(args);
}
ENTRY(grouped_matmul, _gemm8, GEMM_THREADS) {
    gemm_int8<SORTED, 8>(args);
}
#if HY_TILES
ENTRY(matmul, _tile16, FEW_TILE_THREADS) {
    few_tile_product<MATMUL, 16>(args);
}
ENTRY(matmul, _tile32, FEW_TILE_THREADS) {
    few_tile_product<MATMUL, 32>(args);
}
ENTRY(matmul, _tile128, GEMM_TILE_THREADS) {
    gemm_tile_product(args);
}
ENTRY(grouped_matmul, _tile16, FEW_TILE_THREADS) {
    few_tile_product<SORTED, 16>(args);
}
ENTRY(grouped_matmul, _tile32, FEW_TILE_THREADS) {
    few_tile_product<SORTED, 32>(args);
}
#endif
#endif

#if HY_TILES && !defined(FORMAT_f32)
ENTRY(matmul, _half, HALF_TILE_THREADS) {
    half_tile_product(args);
}
#endif

#if defined(FORMAT_bf16) || !defined(FORMAT_FLOAT)
ENTRY(matmul, _halves, 128) {
    halves(args);
}
#endif

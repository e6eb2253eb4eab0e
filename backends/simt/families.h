/* backends/simt/families.h: families of kernels that CUDA and HIP have and Vulkan has not. tile[] of each is said
 * in its file. */
#ifndef HY_SIMT_FAMILIES_H
#define HY_SIMT_FAMILIES_H

#include "backends/gpu/gpu.h"

extern const gpu_family simt_family_attention, simt_family_attention_tile;  /* attention.c */
extern const gpu_family simt_family_blas;                                   /* blas.c */
extern const gpu_family simt_family_gemv, simt_family_gemm;                 /* product.c */
extern const gpu_family simt_family_grouped_gemv, simt_family_grouped_gemm; /* product.c */
extern const gpu_family simt_family_tile, simt_family_grouped_tile, simt_family_half; /* tile.c */

#endif

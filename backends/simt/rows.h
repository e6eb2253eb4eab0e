/* backends/simt/rows.h: the table of variants of CUDA and HIP, B being the backend's name. */
#ifndef HY_SIMT_ROWS_H
#define HY_SIMT_ROWS_H

#include "backends/simt/families.h"
#include "backends/simt/rows_attention.h"
#include "backends/simt/rows_misc.h"
#include "backends/simt/rows_product.h"
#include "backends/simt/rows_tile.h"

#define SIMT_ROWS(B) SIMT_ROWS_MISC(B) SIMT_ROWS_ATTENTION(B) SIMT_ROWS_PRODUCT(B) SIMT_ROWS_TILE(B)

#endif

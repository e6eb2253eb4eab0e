/* backends/simt/rows.h: the table of variants of CUDA and HIP, B being the backend's name. */
#ifndef HY_SIMT_ROWS_H
#define HY_SIMT_ROWS_H

#include "backends/simt/families.h"
#include "backends/simt/rows_misc.h"

#define SIMT_ROWS(B) SIMT_ROWS_MISC(B)

#endif

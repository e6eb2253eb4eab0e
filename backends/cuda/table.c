/* backends/cuda/table.c: every kernel of the backend. Rows by part; better ones need not come first, for
 * candidates are sorted by cost. */
#include "backends/cuda/cuda.h"
#include "backends/simt/rows.h"

const gpu_variant cuda_variants[] = {SIMT_ROWS("cuda"){.name = NULL}};

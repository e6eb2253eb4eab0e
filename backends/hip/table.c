/* backends/hip/table.c: every kernel of the backend. Rows by part; better ones need not come first, for
 * candidates are sorted by cost. */
#include "backends/hip/hip.h"
#include "backends/simt/rows.h"

const gpu_variant hip_variants[] = {SIMT_ROWS("hip"){.name = NULL}};

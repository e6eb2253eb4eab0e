/* backends/vulkan/table.c: every kernel of the backend. Rows by part; better ones need not come first, for
 * candidates are sorted by cost. */
#include "backends/vulkan/rows_attention.h"
#include "backends/vulkan/rows_gemm.h"
#include "backends/vulkan/rows_gemv.h"
#include "backends/vulkan/rows_grouped.h"
#include "backends/vulkan/rows_misc.h"
#include "backends/vulkan/vulkan.h"

const gpu_variant vulkan_variants[] = {
    VK_ROWS_GEMV VK_ROWS_GEMM VK_ROWS_GROUPED VK_ROWS_ATTENTION VK_ROWS_MISC{.name = NULL},
};

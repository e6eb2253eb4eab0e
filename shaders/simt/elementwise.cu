/* shaders/simt/elementwise.cu: to be written. */
#include "shaders/simt/common.h"

HY_ENTRY(add, 128) {
    const u32 columns = hy_columns(args, HY_ADD_a), each = (columns + 3u) / 4u;
    const u32 n = hy_group() * hy_threads() + hy_thread(), row = n / each, i = 4u * (n % each);
    if (row >= hy_rows(args, HY_ADD_a)) return;
    f32x4 a = hy_load4(hy_dtype(args, HY_ADD_a), hy_row(args, HY_ADD_a, row), i, columns);
    const f32x4 b = hy_load4(hy_dtype(args, HY_ADD_b), hy_row(args, HY_ADD_b, row), i, columns);
    a = {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
    hy_store4(hy_dtype(args, HY_ADD_out), hy_row(args, HY_ADD_out, row), i, columns, a);
}

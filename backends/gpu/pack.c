/* backends/gpu/pack.c: the file's rows <-> P16 (layout.h). Packing runs on the device (entry "pack"), from
 * pieces that fit the staging memory: whole rows, or for rows longer than that whole blocks of one row.
 * Unpacking is for tests and reads back through the host. Layout 0 is the file's own and is copied. */
#include <stdlib.h>
#include <string.h>

#include "backends/gpu/gpu.h"
#include "backends/gpu/layout.h"
#include "base/num.h"

enum {
    THREADS = 128,
    PIECE = 16,           /* bytes of a packed row that one thread makes */
    WHOLE = 16,           /* so many blocks fill whole pieces of every plane */
    READ_BYTES = 4 << 20, /* of packed rows at once when unpacking; at least one row */
};

/* Blocks [first, first + count) of `rows` consecutive rows; all blocks if there are several rows. */
typedef struct part {
    uint64_t rows;
    uint32_t first, count;
} part;

static uint32_t plane_end(const gpu_layout *layout, uint32_t p) {
    return p + 1 < layout->planes ? layout->plane[p + 1].offset : layout->row_bytes;
}

/* The arguments of shaders/vulkan/pack.comp. The last part of a row makes its padding too. */
static void describe(const gpu_layout *layout, uint32_t block_bytes, const part *what,
                     hy_args *args) {
    const bool last = what->first + what->count == layout->blocks;
    const bool plain = layout->planes == 1; /* then a row is as well one long block */
    hy_arg_tensor *file = &args->operand[0], *packed = &args->operand[1];
    uint32_t pieces = 0;
    file->columns = what->count * block_bytes;
    packed->columns = layout->row_bytes;
    for (uint32_t p = 0; p < layout->planes; p++) {
        const gpu_plane *plane = &layout->plane[p];
        const uint32_t begin = plane->offset + what->first * plane->bytes;
        const uint32_t end = last ? plane_end(layout, p) : begin + what->count * plane->bytes;
        file->dim[p] = plane->from;
        file->stride[p] = plain ? file->columns : plane->bytes;
        packed->dim[p] = (end - begin) / PIECE;
        packed->stride[p] = begin;
        pieces += packed->dim[p];
    }
    args->extra[0] = (uint32_t)what->rows;
    args->extra[1] = pieces;
    args->extra[2] = plain ? 1 : what->count;
    args->extra[3] = plain ? file->columns : block_bytes;
}

/* src: the part's bytes; `to`: device address of its first packed row. */
static hy_status pack_part(gpu_device *device, const gpu_layout *layout, uint32_t block_bytes,
                           const part *what, const void *src, uint64_t to) {
    gpu_launch launch = {.entry = "pack", .threads = THREADS};
    describe(layout, block_bytes, what, &launch.args);
    const uint64_t bytes = what->rows * launch.args.operand[0].columns;
    void *host;
    HY_TRY(device->driver->stage(device, hy_align_up(bytes, 4), &host,
                                 &launch.args.operand[0].address));
    memcpy(host, src, bytes);
    launch.args.operand[1].address = to;
    gpu_grid(device, hy_div_up(what->rows * launch.args.extra[1], THREADS), &launch);
    return device->driver->run(device, &launch);
}

static hy_status pack_rows(gpu_device *device, const gpu_layout *layout, uint32_t block_bytes,
                           uint64_t rows, const uint8_t *src, uint64_t to) {
    const uint64_t row_bytes = (uint64_t)layout->blocks * block_bytes;
    const uint64_t step = row_bytes <= GPU_STAGE ? GPU_STAGE / row_bytes : 1;
    const uint32_t most =
        row_bytes <= GPU_STAGE ? layout->blocks : GPU_STAGE / block_bytes / WHOLE * WHOLE;
    for (uint64_t row = 0; row < rows; row += step) {
        part what = {.rows = HY_MIN(step, rows - row)};
        for (; what.first < layout->blocks; what.first += what.count) {
            what.count = HY_MIN(most, layout->blocks - what.first);
            HY_TRY(pack_part(device, layout, block_bytes, &what,
                             src + row * row_bytes + (uint64_t)what.first * block_bytes,
                             to + row * layout->row_bytes));
        }
    }
    return HY_OK;
}

hy_status gpu_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                   uint64_t row, uint64_t rows, const void *src, hy_view dst) {
    const hy_tensor *t = &op->operand[operand];
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
    const uint32_t columns = t->dim[t->rank - 1];
    if (kernel->constant[operand].layout != GPU_LAYOUT_P16) {
        const uint64_t row_bytes = hy_dtype_row_bytes(info, columns);
        return device->backend->write(dst.buffer, dst.offset + row * row_bytes, src,
                                      rows * row_bytes);
    }
    const gpu_layout layout = gpu_layout_of((hy_dtype)t->dtype, columns);
    return pack_rows((gpu_device *)device, &layout, info->bytes, rows, src,
                     gpu_address(dst) + row * layout.row_bytes);
}

/* One packed row -> the file's. */
static void unpack_row(const gpu_layout *layout, uint32_t block_bytes, const uint8_t *packed,
                       uint8_t *file) {
    for (uint32_t p = 0; p < layout->planes; p++) {
        const gpu_plane *plane = &layout->plane[p];
        const uint8_t *from = packed + plane->offset;
        for (uint32_t b = 0; b < layout->blocks; b++, from += plane->bytes)
            memcpy(file + (uint64_t)b * block_bytes + plane->from, from, plane->bytes);
    }
}

static hy_status unpack_rows(const gpu_layout *layout, uint32_t block_bytes, uint64_t rows,
                             hy_view src, uint8_t *dst) {
    const uint64_t row_bytes = (uint64_t)layout->blocks * block_bytes;
    const uint64_t step = HY_MIN(HY_MAX(READ_BYTES / layout->row_bytes, 1), rows);
    uint8_t *packed = malloc(step * layout->row_bytes);
    if (!packed) return hy_fail(HY_E_MEMORY, "no memory to unpack rows");
    hy_status status = HY_OK;
    for (uint64_t row = 0; status == HY_OK && row < rows; row += step) {
        const uint64_t here = HY_MIN(step, rows - row);
        status = src.buffer->device->backend->read(src.buffer, src.offset + row * layout->row_bytes,
                                                   packed, here * layout->row_bytes);
        for (uint64_t r = 0; status == HY_OK && r < here; r++)
            unpack_row(layout, block_bytes, packed + r * layout->row_bytes,
                       dst + (row + r) * row_bytes);
    }
    free(packed);
    return status;
}

hy_status gpu_unpack(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                     hy_view src, void *dst) {
    const hy_tensor *t = &op->operand[operand];
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
    const uint32_t columns = t->dim[t->rank - 1];
    const uint64_t rows = hy_tensor_rows(t);
    if (kernel->constant[operand].layout != GPU_LAYOUT_P16)
        return device->backend->read(src.buffer, src.offset, dst,
                                     rows * hy_dtype_row_bytes(info, columns));
    const gpu_layout layout = gpu_layout_of((hy_dtype)t->dtype, columns);
    return unpack_rows(&layout, info->bytes, rows, src, dst);
}

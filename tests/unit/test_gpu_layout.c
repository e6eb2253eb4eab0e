/* P16: planes that are disjoint, aligned and hold every byte of a block; packing in pieces on a driver made of
 * host memory, whose "pack" kernel does what shaders/vulkan/pack.comp says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/gpu/gpu.h"
#include "backends/gpu/layout.h"
#include "base/num.h"
#include "base/rng.h"

static const uint32_t counts[] = {1, 2, 3, 5, 8, 31, 33, 256, 344, 1000};

/* ---- the layout ------------------------------------------------------------------------------------ */

static void check_planes(hy_dtype dtype, uint32_t columns) {
    const hy_dtype_info *info = hy_dtype_get(dtype);
    const gpu_layout layout = gpu_layout_of(dtype, columns);
    uint8_t taken[256] = {0};
    uint64_t end = 0;
    assert_int_equal(layout.blocks, columns / info->block);
    assert_in_range(layout.planes, 1, GPU_PLANES);
    for (uint32_t p = 0; p < layout.planes; p++) {
        const gpu_plane *plane = &layout.plane[p];
        assert_int_equal(plane->offset % 16, 0);
        assert_true(plane->offset >= end); /* behind the plane before */
        assert_true(plane->offset < end + 16);
        end = plane->offset + (uint64_t)layout.blocks * plane->bytes;
        for (uint32_t i = 0; i < plane->bytes; i++)
            taken[plane->from + i]++;
    }
    assert_int_equal(layout.plane[0].offset, 0);
    for (uint32_t i = 0; i < sizeof taken; i++)
        assert_int_equal(taken[i], i < info->bytes);
    assert_int_equal(layout.row_bytes % 128, 0);
    assert_true(layout.row_bytes >= end && layout.row_bytes < end + 128);
}

static void planes_hold_every_byte_once(void **state) {
    (void)state;
    for (hy_dtype dtype = HY_DTYPE_F32; dtype < HY_DTYPE_I32; dtype++)
        for (size_t i = 0; i < HY_COUNT_OF(counts); i++)
            check_planes(dtype, counts[i] * hy_dtype_get(dtype)->block);
}

/* What the shaders assume. */
static void known_rows(void **state) {
    (void)state;
    gpu_layout l = gpu_layout_of(HY_DTYPE_Q4_0, 4096);
    assert_int_equal(l.plane[1].offset, 2048);
    assert_int_equal(l.row_bytes, 2048 + 256);
    l = gpu_layout_of(HY_DTYPE_Q5_0, 96);
    assert_int_equal(l.plane[1].offset, 48);
    assert_int_equal(l.plane[2].offset, 64);
    assert_int_equal(l.row_bytes, 128);
    l = gpu_layout_of(HY_DTYPE_Q6_K, 768);
    assert_int_equal(l.plane[1].offset, 384);
    assert_int_equal(l.plane[2].offset, 576);
    assert_int_equal(l.plane[3].offset, 624);
    assert_int_equal(l.row_bytes, 640);
    l = gpu_layout_of(HY_DTYPE_MXFP4, 32 * 33);
    assert_int_equal(l.plane[1].offset, 528);
    assert_int_equal(l.row_bytes, 640);
    assert_int_equal(gpu_layout_of(HY_DTYPE_F16, 33).row_bytes, 128);
}

/* ---- packing ------------------------------------------------------------------------------------- */

typedef struct fake_device {
    gpu_device gpu;
    uint8_t *staged;
    uint64_t staged_bytes;
    uint32_t runs;
} fake_device;

static hy_status fake_stage(gpu_device *base, uint64_t bytes, void **host, uint64_t *address) {
    fake_device *device = (fake_device *)base;
    assert_in_range(bytes, 1, GPU_STAGE);
    free(device->staged);
    device->staged = malloc(bytes);
    device->staged_bytes = bytes;
    *host = device->staged;
    *address = (uint64_t)(uintptr_t)device->staged;
    return device->staged ? HY_OK : HY_E_MEMORY;
}

/* The word of shaders/vulkan/pack.comp, byte by byte. */
static uint8_t piece_byte(const fake_device *device, const hy_args *a, uint64_t row, uint32_t p,
                          uint32_t at) {
    const hy_arg_tensor *file = &a->operand[0];
    const uint32_t block = at / file->stride[p], in_block = at % file->stride[p];
    if (block >= a->extra[2]) return 0;
    const uint64_t offset = row * file->columns + (uint64_t)block * a->extra[3] + file->dim[p];
    assert_true(offset + in_block < device->staged_bytes);
    return device->staged[offset + in_block];
}

static hy_status fake_run(gpu_device *base, const gpu_launch *launch) {
    fake_device *device = (fake_device *)base;
    const hy_args *a = &launch->args;
    const uint64_t threads = (uint64_t)launch->threads * launch->grid[0] * launch->grid[1];
    assert_string_equal(launch->entry, "pack");
    assert_true(threads >= (uint64_t)a->extra[0] * a->extra[1]);
    for (uint64_t i = 0; i < (uint64_t)a->extra[0] * a->extra[1]; i++) {
        const uint64_t row = i / a->extra[1];
        uint32_t p = 0, at = (uint32_t)(i % a->extra[1]);
        for (; at >= a->operand[1].dim[p]; p++)
            at -= a->operand[1].dim[p];
        uint8_t *to = (uint8_t *)(uintptr_t)a->operand[1].address + row * a->operand[1].columns +
                      a->operand[1].stride[p] + 16 * (uint64_t)at;
        for (uint32_t b = 0; b < 16; b++)
            to[b] = piece_byte(device, a, row, p, 16 * at + b);
    }
    device->runs++;
    return HY_OK;
}

static hy_status fake_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size) {
    assert_true(offset + size <= buffer->size);
    memcpy(dst, (uint8_t *)buffer->host + offset, size);
    return HY_OK;
}

static hy_status fake_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size) {
    assert_true(offset + size <= buffer->size);
    memcpy((uint8_t *)buffer->host + offset, src, size);
    return HY_OK;
}

static const hy_backend fake_backend = {.name = "fake", .read = fake_read, .write = fake_write};
static const gpu_driver fake_driver = {.stage = fake_stage, .run = fake_run};

/* Packs [rows, columns] of random bytes behind `before` bytes of a buffer, the second half first, and
 * compares: with the file after unpacking, and with nothing on either side. Returns the launches. */
static uint32_t round_trip(hy_dtype dtype, uint32_t rows, uint32_t columns, uint32_t layout) {
    fake_device device = {.gpu = {.base = {&fake_backend},
                                  .driver = &fake_driver,
                                  .limits = {.max_grid = 65535, .max_threads = 128}}};
    const uint64_t file_row = hy_dtype_row_bytes(hy_dtype_get(dtype), columns);
    const uint64_t packed =
        layout ? (uint64_t)rows * gpu_layout_of(dtype, columns).row_bytes : rows * file_row;
    const uint64_t size = packed + 2 * HY_VIEW_ALIGN;
    uint8_t *file = malloc(rows * file_row), *back = malloc(rows * file_row);
    uint8_t *memory = aligned_alloc(HY_VIEW_ALIGN, hy_align_up(size, HY_VIEW_ALIGN));
    assert_true(file && back && memory);
    hy_rng rng = hy_rng_seed(dtype * 1000 + columns);
    for (uint64_t i = 0; i < rows * file_row; i++)
        file[i] = (uint8_t)hy_rng_u32(&rng);
    memset(memory, 0xa5, size);

    const uint64_t address = (uint64_t)(uintptr_t)memory;
    gpu_buffer buffer = {{&device.gpu.base, size, memory}, UINT64_MAX, &address};
    const hy_view view = {&buffer.base, HY_VIEW_ALIGN, packed};
    hy_op op = {.kind = HY_OP_MATMUL};
    op.operand[HY_MATMUL_w] = hy_tensor_of(dtype, 2, (uint32_t[]){rows, columns}, HY_COUNTER_NONE);
    op.operand[HY_MATMUL_w].constant = 1;
    hy_kernel kernel = {.name = "fake"};
    kernel.constant[HY_MATMUL_w] = (hy_constant_layout){layout, 1, packed};
    const uint64_t half = rows / 2;
    assert_int_equal(gpu_pack(&device.gpu.base, &op, &kernel, HY_MATMUL_w, half, rows - half,
                              file + half * file_row, view),
                     HY_OK);
    if (half)
        assert_int_equal(gpu_pack(&device.gpu.base, &op, &kernel, HY_MATMUL_w, 0, half, file, view),
                         HY_OK);
    assert_int_equal(gpu_unpack(&device.gpu.base, &op, &kernel, HY_MATMUL_w, view, back), HY_OK);
    assert_memory_equal(file, back, rows * file_row);
    for (uint64_t i = 0; i < HY_VIEW_ALIGN; i++) {
        assert_int_equal(memory[i], 0xa5);
        assert_int_equal(memory[HY_VIEW_ALIGN + packed + i], 0xa5);
    }
    free(device.staged);
    free(file);
    free(back);
    free(memory);
    return device.runs;
}

static void every_format_comes_back(void **state) {
    (void)state;
    for (hy_dtype dtype = HY_DTYPE_F32; dtype < HY_DTYPE_I32; dtype++) {
        const uint32_t block = hy_dtype_get(dtype)->block;
        for (size_t i = 0; i < HY_COUNT_OF(counts); i++) {
            round_trip(dtype, 1 + (uint32_t)i, counts[i] * block, GPU_LAYOUT_P16);
            assert_int_equal(round_trip(dtype, 1 + (uint32_t)i, counts[i] * block, 0), 0);
        }
    }
}

/* Several launches: of rows that do not all fit, and of the blocks of one row that does not fit. */
static void more_than_the_stage_holds(void **state) {
    (void)state;
    assert_true(round_trip(HY_DTYPE_Q5_0, 700, 32 * 700, GPU_LAYOUT_P16) >= 2);
    assert_true(round_trip(HY_DTYPE_Q3_K, 1, 256 * 90000, GPU_LAYOUT_P16) >= 2);
    assert_true(round_trip(HY_DTYPE_MXFP4, 2, 32 * 500001, GPU_LAYOUT_P16) >= 4);
    assert_true(round_trip(HY_DTYPE_F16, 1, 4500001, GPU_LAYOUT_P16) >= 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planes_hold_every_byte_once),
        cmocka_unit_test(known_rows),
        cmocka_unit_test(every_format_comes_back),
        cmocka_unit_test(more_than_the_stage_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* backends/cpu/buffer.c: buffers are anonymous mappings, or the caller's memory. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backends/cpu/device.h"
#include "base/num.h"

enum { PAGE = 4096 };

typedef struct cpu_buffer {
    hy_buffer base;
    void *map; /* NULL: imported */
    size_t map_bytes;
} cpu_buffer;

static hy_status new_object(hy_device *device, void *host, uint64_t size, cpu_buffer **out) {
    cpu_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) return hy_fail(HY_E_MEMORY, "cpu: out of memory for a buffer");
    buffer->base = (hy_buffer){device, size, host};
    *out = buffer;
    return HY_OK;
}

hy_status cpu_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out) {
    (void)heap; /* one kind of memory */
    uint64_t align = size >= CPU_HUGE_PAGE ? CPU_HUGE_PAGE : PAGE, bytes, mapped;
    if (hy_align_overflow(HY_MAX(size, 1), align, &bytes) ||
        hy_add_overflow(bytes, align - PAGE, &mapped) || mapped > SIZE_MAX)
        return hy_fail(HY_E_MEMORY, "cpu: a buffer of %llu bytes", (unsigned long long)size);
    char *map = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return hy_fail(HY_E_MEMORY, "cpu: no memory for a buffer of %llu bytes",
                       (unsigned long long)size);
    char *start = (char *)hy_align_up((uintptr_t)map, align);
    if (start > map) munmap(map, (size_t)(start - map));
    if (map + mapped > start + bytes)
        munmap(start + bytes, (size_t)(map + mapped - (start + bytes)));
#ifdef MADV_HUGEPAGE
    if (align == CPU_HUGE_PAGE) madvise(start, bytes, MADV_HUGEPAGE);
#endif
    cpu_buffer *buffer = NULL;
    hy_status status = new_object(device, start, size, &buffer);
    if (status != HY_OK) {
        munmap(start, bytes);
        return status;
    }
    buffer->map = start;
    buffer->map_bytes = bytes;
    *out = &buffer->base;
    return HY_OK;
}

hy_status cpu_buffer_import(hy_device *device, void *host, uint64_t size, hy_buffer **out) {
    cpu_buffer *buffer = NULL;
    HY_TRY(new_object(device, host, size, &buffer));
    *out = &buffer->base;
    return HY_OK;
}

void cpu_buffer_free(hy_buffer *base) {
    if (!base) return;
    cpu_buffer *buffer = (cpu_buffer *)base;
    if (buffer->map) munmap(buffer->map, buffer->map_bytes);
    free(buffer);
}

hy_status cpu_buffer_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size) {
    if (size) memcpy((char *)buffer->host + offset, src, size);
    return HY_OK;
}

hy_status cpu_buffer_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size) {
    if (size) memcpy(dst, (const char *)buffer->host + offset, size);
    return HY_OK;
}

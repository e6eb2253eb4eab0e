#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"

static hy_status fail_errno(int error, const char *what, const char *path) {
    hy_status status = error == ENOENT || error == ENOTDIR ? HY_E_NOT_FOUND
                       : error == ENOMEM                   ? HY_E_MEMORY
                                                           : HY_E_IO;
    char buffer[128];
    return hy_fail(status, "%s: %s: %s", path, what, strerror_r(error, buffer, sizeof buffer));
}

/* Opens a regular file for reading; `st` gets its state. */
static hy_status open_regular(const char *path, int *out, struct stat *st) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block the open */
    if (fd < 0) return fail_errno(errno, "cannot open", path);
    if (fstat(fd, st) != 0) {
        int error = errno;
        close(fd);
        return fail_errno(error, "cannot stat", path);
    }
    if (!S_ISREG(st->st_mode)) {
        close(fd);
        return hy_fail(HY_E_IO, "%s: is %s, not a regular file", path,
                       S_ISDIR(st->st_mode) ? "a directory" : "a device, pipe or socket");
    }
    *out = fd;
    return HY_OK;
}

hy_status hy_mapping_open(const char *path, hy_mapping *out) {
    struct stat st;
    int fd = -1;
    HY_TRY(open_regular(path, &fd, &st));
    hy_mapping mapping = {NULL, (size_t)st.st_size, 0};
    if ((uint64_t)st.st_size > SIZE_MAX / 2) {
        close(fd);
        return hy_fail(HY_E_LIMIT, "%s: %lld bytes cannot be mapped", path, (long long)st.st_size);
    }
    if (mapping.size) {
        void *data = mmap(NULL, mapping.size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            int error = errno;
            close(fd);
            return fail_errno(error, "cannot map", path);
        }
        mapping.data = data;
    }
    mapping.file = fd + 1;
    *out = mapping;
    return HY_OK;
}

void hy_mapping_close(hy_mapping *mapping) {
    if (mapping->data) munmap((void *)(uintptr_t)mapping->data, mapping->size);
    if (mapping->file) close(mapping->file - 1);
    *mapping = (hy_mapping){0};
}

hy_status hy_mapping_read(const hy_mapping *mapping, size_t offset, size_t size, void *out) {
    uint8_t *bytes = out;
    if (offset > mapping->size || size > mapping->size - offset)
        return hy_fail(HY_E_INTERNAL, "%zu bytes at %zu of a file of %zu", size, offset,
                       mapping->size);
    if (!mapping->file) {
        if (size) memcpy(bytes, mapping->data + offset, size);
        return HY_OK;
    }
    while (size) {
        const ssize_t count = pread(mapping->file - 1, bytes, size, (off_t)offset);
        if (count < 0 && errno == EINTR) continue;
        char buffer[128];
        if (count < 0)
            return hy_fail(HY_E_IO, "cannot read: %s", strerror_r(errno, buffer, sizeof buffer));
        if (count == 0) return hy_fail(HY_E_IO, "the file has become shorter");
        bytes += count;
        offset += (size_t)count;
        size -= (size_t)count;
    }
    return HY_OK;
}

/* Looks at the first page and the last: to ask for pages that are there costs a walk over each of them. */
static bool resident(const uint8_t *begin, const uint8_t *end, size_t page) {
    unsigned char first = 0, last = 0;
    const uint8_t *tail = begin + (size_t)(end - begin - 1) / page * page;
    return mincore((void *)(uintptr_t)begin, 1, &first) == 0 &&
           mincore((void *)(uintptr_t)tail, 1, &last) == 0 && (first & 1) && (last & 1);
}

void hy_mapping_advise(const hy_mapping *mapping, size_t offset, size_t size, int will_need) {
    if (!mapping->data || offset >= mapping->size) return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), begin = offset;
    size_t end = size > mapping->size - offset ? mapping->size : offset + size;
    if (will_need) {
        begin -= begin % page;
    } else { /* neighbours may still be in use: whole pages only */
        begin = (size_t)hy_align_up(begin, page);
        if (end != mapping->size) end -= end % page;
        if (begin >= end) return;
    }
    int error = errno;
    if (!will_need)
        madvise((void *)(uintptr_t)(mapping->data + begin), end - begin, MADV_DONTNEED);
    else if (begin < end && !resident(mapping->data + begin, mapping->data + end, page))
        madvise((void *)(uintptr_t)(mapping->data + begin), end - begin, MADV_WILLNEED);
    errno = error;
}

static hy_status read_all(const char *path, int fd, uint8_t *data, size_t size, size_t *got) {
    size_t n = 0;
    while (n < size) {
        ssize_t count = read(fd, data + n, size - n);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return fail_errno(errno, "cannot read", path);
        if (count == 0) break; /* it shrank meanwhile */
        n += (size_t)count;
    }
    *got = n;
    return HY_OK;
}

hy_status hy_file_read(const char *path, size_t limit, uint8_t **data, size_t *size) {
    struct stat st;
    int fd = -1;
    HY_TRY(open_regular(path, &fd, &st));
    hy_status status = HY_OK;
    uint8_t *bytes = NULL;
    if ((uint64_t)st.st_size > limit || (uint64_t)st.st_size >= SIZE_MAX) {
        status = hy_fail(HY_E_LIMIT, "%s: %lld bytes, more than the limit of %zu", path,
                         (long long)st.st_size, limit);
    } else if (!(bytes = malloc((size_t)st.st_size + 1))) {
        status = hy_fail(HY_E_MEMORY, "%s: out of memory: %lld bytes", path, (long long)st.st_size);
    } else {
        size_t got = 0;
        status = read_all(path, fd, bytes, (size_t)st.st_size, &got);
        if (status == HY_OK) {
            bytes[got] = 0;
            *data = bytes;
            *size = got;
            bytes = NULL;
        }
    }
    free(bytes);
    close(fd);
    return status;
}

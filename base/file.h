/* base/file.h: read-only mappings of files, and files that are written whole or not at all. */
#ifndef HY_BASE_FILE_H
#define HY_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct hy_mapping {
    const uint8_t *data; /* file bytes; NULL for an empty file */
    size_t size;         /* bytes */
    int file;            /* its descriptor + 1; 0: none, the bytes are someone's memory */
} hy_mapping;

/* Maps a regular file read-only. HY_E_NOT_FOUND, HY_E_IO (directory, permission). */
HY_NODISCARD hy_status hy_mapping_open(const char *path, hy_mapping *out);
void hy_mapping_close(hy_mapping *mapping);
/* Copies [offset, offset + size) to `out` without mapping a page: cheaper than through `data` when each
 * byte is looked at once. Any number of threads at a time. HY_E_IO, also when the file has become
 * shorter. */
HY_NODISCARD hy_status hy_mapping_read(const hy_mapping *mapping, size_t offset, size_t size,
                                       void *out);
/* Asks the system to read [offset, offset + size) soon (true), or to drop it from our resident set
 * (false: the page cache keeps it). Both are hints and never fail. */
void hy_mapping_advise(const hy_mapping *mapping, size_t offset, size_t size, int will_need);

/* A file without a name (or, where the system lacks that, under a temporary name beside `path`)
 * until commit puts it at `path`: a killed or failed writer leaves what was at `path` as it was. A
 * device or pipe is written in place. */
typedef struct hy_writer hy_writer;
HY_NODISCARD hy_status hy_writer_open(const char *path, hy_writer **out);
HY_NODISCARD hy_status hy_writer_write(hy_writer *writer, const void *data, size_t size);
/* Zeros that take no room on the disk, where the file system can do so. Not into a pipe. */
HY_NODISCARD hy_status hy_writer_skip(hy_writer *writer, uint64_t size);
/* Bytes written so far. */
uint64_t hy_writer_offset(const hy_writer *writer);
/* Flushes, renames and frees. On failure the temporary file is removed and the writer freed as
 * well. */
HY_NODISCARD hy_status hy_writer_commit(hy_writer *writer);
/* Removes the temporary file and frees. NULL is fine. */
void hy_writer_abandon(hy_writer *writer);

/* Whole file, with a 0 after its last byte, on the heap. `limit` bytes at most (HY_E_LIMIT). */
HY_NODISCARD hy_status hy_file_read(const char *path, size_t limit, uint8_t **data, size_t *size);

#endif

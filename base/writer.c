/* base/writer.c: files that appear whole or not at all.
 *
 * Where the system can, the file has no name at all until commit (O_TMPFILE), so that even a killed
 * process leaves nothing behind. Elsewhere it has a temporary name beside its target. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"

enum { BUFFER_BYTES = 1 << 16, NAME_TRIES = 100 };

struct hy_writer {
    char *path;      /* target, links resolved */
    char *temporary; /* name while writing; may not exist (has_name) */
    int fd;          /* open for writing */
    bool direct;     /* the target is a device or pipe: written in place */
    bool has_name;   /* `temporary` exists */
    bool failed;     /* an earlier write failed: commit must too */
    uint64_t offset; /* bytes accepted */
    size_t buffered; /* bytes waiting in `buffer` */
    uint8_t buffer[BUFFER_BYTES];
};

static hy_status fail_write(int error, const char *what, const char *path) {
    char buffer[128];
    return hy_fail(error == ENOENT || error == ENOTDIR ? HY_E_NOT_FOUND : HY_E_IO, "%s: %s: %s",
                   path, what, strerror_r(error, buffer, sizeof buffer));
}

static void writer_free(hy_writer *writer) {
    if (writer->fd >= 0) close(writer->fd);
    if (writer->has_name) unlink(writer->temporary);
    free(writer->path);
    free(writer->temporary);
    free(writer);
}

/* Another name beside the target on every call; at most 255 bytes of last component. */
static void next_name(hy_writer *writer) {
    const char *slash = strrchr(writer->path, '/');
    size_t folder = slash ? (size_t)(slash + 1 - writer->path) : 0;
    const char *base = writer->path + folder;
    sprintf(writer->temporary, "%.*s.%.200s.%lx.%llx", (int)folder, writer->path, base,
            (unsigned long)getpid(), (unsigned long long)hy_clock_ns());
}

/* A file without a name in the target's folder; fails where the file system or /proc cannot do it.
 */
static bool open_nameless(hy_writer *writer) {
    const char *slash = strrchr(writer->path, '/');
    size_t folder = slash ? (size_t)(slash - writer->path) : 0;
    char link[64];
    if (!slash)
        strcpy(writer->temporary, ".");
    else
        sprintf(writer->temporary, "%.*s", (int)HY_MAX(folder, 1), writer->path);
    writer->fd = open(writer->temporary, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    if (writer->fd < 0) return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", writer->fd);
    struct stat st;
    if (stat(link, &st) == 0) return true;
    close(writer->fd);
    writer->fd = -1;
    return false;
}

static bool open_named(hy_writer *writer) {
    for (int i = 0; i < NAME_TRIES; i++) {
        next_name(writer);
        writer->fd = open(writer->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
        if (writer->fd >= 0) return writer->has_name = true;
        if (errno != EEXIST) return false;
    }
    return false;
}

static hy_status open_target(hy_writer *writer, const char *path) {
    struct stat st;
    bool exists = stat(path, &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) return hy_fail(HY_E_IO, "%s: is a directory", path);
    if (exists && !S_ISREG(st.st_mode)) {
        writer->direct = true;
        writer->fd = open(path, O_WRONLY | O_CLOEXEC);
        return writer->fd >= 0 ? HY_OK : fail_write(errno, "cannot write", path);
    }
    if (exists && access(path, W_OK) != 0) return fail_write(errno, "cannot write", path);
    if (!open_nameless(writer) && !open_named(writer))
        return fail_write(errno, "cannot write", path);
    if (exists && fchmod(writer->fd, st.st_mode & 0777) != 0)
        return fail_write(errno, "cannot set the mode", path);
    return HY_OK;
}

hy_status hy_writer_open(const char *path, hy_writer **out) {
    if (!*path) return hy_fail(HY_E_ARGUMENT, "the name of the file to write is empty");
    hy_writer *writer = malloc(sizeof *writer);
    if (!writer) return hy_fail(HY_E_MEMORY, "%s: out of memory", path);
    memset(writer, 0, offsetof(hy_writer, buffer));
    writer->fd = -1;
    writer->path = realpath(path, NULL); /* a link keeps pointing at the new file */
    if (!writer->path) writer->path = strdup(path);
    writer->temporary = writer->path ? malloc(strlen(writer->path) + 64) : NULL;
    if (!writer->temporary) {
        writer_free(writer);
        return hy_fail(HY_E_MEMORY, "%s: out of memory", path);
    }
    hy_status status = open_target(writer, path);
    if (status != HY_OK) {
        writer_free(writer);
        return status;
    }
    *out = writer;
    return HY_OK;
}

static hy_status write_through(hy_writer *writer, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t count = write(writer->fd, data, size);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            writer->failed = true;
            return fail_write(errno, "cannot write", writer->path);
        }
        data += count;
        size -= (size_t)count;
    }
    return HY_OK;
}

static hy_status flush(hy_writer *writer) {
    size_t size = writer->buffered;
    writer->buffered = 0;
    return write_through(writer, writer->buffer, size);
}

hy_status hy_writer_skip(hy_writer *writer, uint64_t size) {
    if (writer->failed) return hy_fail(HY_E_IO, "%s: an earlier write failed", writer->path);
    HY_TRY(flush(writer));
    writer->offset += size;
    if (writer->offset > INT64_MAX || ftruncate(writer->fd, (off_t)writer->offset) != 0 ||
        lseek(writer->fd, 0, SEEK_END) < 0) {
        writer->failed = true;
        return fail_write(errno, "cannot leave a hole", writer->path);
    }
    return HY_OK;
}

hy_status hy_writer_write(hy_writer *writer, const void *data, size_t size) {
    if (writer->failed) return hy_fail(HY_E_IO, "%s: an earlier write failed", writer->path);
    if (size > BUFFER_BYTES - writer->buffered) HY_TRY(flush(writer));
    if (size >= BUFFER_BYTES) {
        HY_TRY(write_through(writer, data, size));
    } else if (size) {
        memcpy(writer->buffer + writer->buffered, data, size);
        writer->buffered += size;
    }
    writer->offset += size;
    return HY_OK;
}

uint64_t hy_writer_offset(const hy_writer *writer) {
    return writer->offset;
}

/* linkat cannot replace a file, so the nameless file first gets a temporary name. */
static hy_status give_name(hy_writer *writer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", writer->fd);
    for (int i = 0; i < NAME_TRIES; i++) {
        next_name(writer);
        if (linkat(AT_FDCWD, link, AT_FDCWD, writer->temporary, AT_SYMLINK_FOLLOW) == 0) {
            writer->has_name = true;
            return HY_OK;
        }
        if (errno != EEXIST) break;
    }
    return fail_write(errno, "cannot name the file", writer->path);
}

static hy_status finish(hy_writer *writer) {
    if (writer->failed) return hy_fail(HY_E_IO, "%s: an earlier write failed", writer->path);
    HY_TRY(flush(writer));
    /* Delayed errors (quota, network file systems) show here, and a crash cannot leave an empty
     * file. */
    if (!writer->direct && fsync(writer->fd) != 0)
        return fail_write(errno, "cannot write", writer->path);
    if (!writer->direct && !writer->has_name) HY_TRY(give_name(writer));
    int fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0) return fail_write(errno, "cannot write", writer->path);
    if (writer->direct) return HY_OK;
    if (rename(writer->temporary, writer->path) != 0)
        return fail_write(errno, "cannot rename to it", writer->path);
    writer->has_name = false;
    return HY_OK;
}

hy_status hy_writer_commit(hy_writer *writer) {
    hy_status status = finish(writer);
    writer_free(writer);
    return status;
}

void hy_writer_abandon(hy_writer *writer) {
    if (writer) writer_free(writer);
}

/* tools/npy.c: see npy.h. Source: NumPy's format description, version 1.0. */
#include "tools/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct npy_writer {
    FILE *file;
    char *path, *temporary;
};

static void writer_free(npy_writer *w) {
    if (!w) return;
    free(w->path);
    free(w->temporary);
    free(w);
}

npy_writer *npy_create(const char *path, uint64_t rows, uint64_t columns, const char **error) {
    npy_writer *w = calloc(1, sizeof *w);
    size_t room = strlen(path) + 32;
    if (w) w->path = strdup(path);
    if (w) w->temporary = malloc(room);
    if (!w || !w->path || !w->temporary) {
        *error = "out of memory";
        writer_free(w);
        return NULL;
    }
    snprintf(w->temporary, room, "%s.tmp%ld", path, (long)getpid());
    w->file = fopen(w->temporary, "wb");
    if (!w->file) {
        *error = strerror(errno);
        writer_free(w);
        return NULL;
    }
    char
        header[128]; /* magic, version 1.0, length of the rest; padded so that data starts at 128 */
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n = snprintf(header + 10, 117,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %llu), }",
                     (unsigned long long)rows, (unsigned long long)columns);
    header[10 + n] = ' ';
    header[127] = '\n';
    fwrite(header, 1, sizeof header, w->file);
    return w;
}

int npy_write(npy_writer *w, const float *values, uint64_t count) {
    return fwrite(values, sizeof *values, count, w->file) == count ? 0 : -1;
}

int npy_close(npy_writer *w, int keep) {
    if (!w) return 0;
    int failed = fflush(w->file) != 0 || ferror(w->file);
    failed |= fclose(w->file) != 0;
    if (keep && !failed) failed = rename(w->temporary, w->path) != 0;
    if (!keep || failed) unlink(w->temporary);
    writer_free(w);
    return failed ? -1 : 0;
}

/* Reads "'shape': (3, 4)" of the header text; false when it is not rank 1 or 2. */
static int shape_of(const char *header, npy_file *out) {
    const char *at = strstr(header, "'shape'");
    unsigned long long a = 0, b = 0;
    if (!at || !(at = strchr(at, '('))) return 0;
    int n = sscanf(at, "(%llu , %llu )", &a, &b);
    if (n == 2) {
        const char *end = strchr(at, ')');
        const char *second = strchr(at, ',');
        second = second ? strchr(second + 1, ',') : NULL;
        if (!end || (second && second < end && second[1] != ')')) return 0;
        out->rows = a;
        out->columns = b;
    } else if (n == 1) {
        out->rows = 1;
        out->columns = a;
    }
    return n == 1 || n == 2;
}

static int parse(npy_file *f, const char **error) {
    const unsigned char *d = f->map;
    if (f->map_size < 12 || memcmp(d, "\x93NUMPY", 6) != 0) {
        *error = "not an .npy file";
        return -1;
    }
    size_t begin = d[6] == 1 ? 10 : 12;
    size_t length = d[8] | (size_t)d[9] << 8;
    if (d[6] != 1) length |= (size_t)d[10] << 16 | (size_t)d[11] << 24;
    char header[1024];
    if (length >= sizeof header || length > f->map_size - begin) {
        *error = "damaged .npy header";
        return -1;
    }
    memcpy(header, d + begin, length);
    header[length] = 0;
    uint64_t count, bytes;
    if (!strstr(header, "'<f4'") || !strstr(header, "'fortran_order': False") ||
        !shape_of(header, f)) {
        *error = "not a float32 array of rank 1 or 2 in C order";
        return -1;
    }
    if (__builtin_mul_overflow(f->rows, f->columns, &count) ||
        __builtin_mul_overflow(count, (uint64_t)sizeof(float), &bytes) ||
        bytes > f->map_size - begin - length || (begin + length) % sizeof(float) != 0) {
        *error = "shorter than its shape says";
        return -1;
    }
    f->values = (const float *)(const void *)(d + begin + length);
    return 0;
}

int npy_open(const char *path, npy_file *out, const char **error) {
    memset(out, 0, sizeof *out);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0) {
        *error = strerror(errno);
        if (fd >= 0) close(fd);
        return -1;
    }
    out->map_size = (size_t)s.st_size;
    out->map =
        s.st_size > 0 ? mmap(NULL, out->map_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (out->map == MAP_FAILED) {
        out->map = NULL;
        *error = s.st_size > 0 ? "cannot be mapped" : "not an .npy file";
        return -1;
    }
    if (parse(out, error) == 0) return 0;
    npy_free(out);
    return -1;
}

void npy_free(npy_file *file) {
    if (file->map) munmap(file->map, file->map_size);
    memset(file, 0, sizeof *file);
}

/* tools/npy.h: NumPy .npy files of float32 [rows, columns], the exchange format of `eval`. */
#ifndef HY_TOOLS_NPY_H
#define HY_TOOLS_NPY_H

#include <stddef.h>
#include <stdint.h>

/* A file being written row by row under a temporary name. */
typedef struct npy_writer npy_writer;

/* NULL with *error set to a static or thread-local text when it cannot be created. */
npy_writer *npy_create(const char *path, uint64_t rows, uint64_t columns, const char **error);
/* 0, or -1 when the disk refused. */
int npy_write(npy_writer *writer, const float *values, uint64_t count);
/* Renames to the final name and frees; with keep 0 removes what was written. 0, or -1. */
int npy_close(npy_writer *writer, int keep);

/* A mapped file: little-endian float32, C order, rank 2 (or 1, read as one row). */
typedef struct npy_file {
    const float *values; /* [rows, columns] */
    uint64_t rows, columns;
    void *map;
    size_t map_size;
} npy_file;

/* 0, or -1 with *error. */
int npy_open(const char *path, npy_file *out, const char **error);
void npy_free(npy_file *file);

#endif

/* src/format/npy.h: NumPy's .npy arrays of float32 in C order, rank 1 or 2: logits in and out.
 * Source: numpy.lib.format, "Format Version 1.0". */
#ifndef HY_FORMAT_NPY_H
#define HY_FORMAT_NPY_H

#include <stdint.h>

#include "base/file.h"
#include "base/status.h"

typedef struct hy_npy {
    uint32_t rank;     /* 1 or 2 */
    uint64_t dim[2];   /* outermost first; dim[1] is 1 at rank 1 */
    const float *data; /* [dim[0], dim[1]], in the mapping */
    hy_mapping map;
} hy_npy;

/* Maps an array. HY_E_FORMAT (damaged, or sizes that do not agree), HY_E_UNSUPPORTED (another
 * dtype, order or rank, named). */
HY_NODISCARD hy_status hy_npy_open(const char *path, hy_npy *out);
/* Unmaps; all zero is fine. */
void hy_npy_close(hy_npy *npy);

/* An array that is written row by row and appears whole or not at all. */
typedef struct hy_npy_writer hy_npy_writer;
/* dim: [rank], outermost first; rank 1 or 2. */
HY_NODISCARD hy_status hy_npy_writer_new(const char *path, uint32_t rank, const uint64_t *dim,
                                         hy_npy_writer **out);
/* The next `count` elements. HY_E_ARGUMENT past the end. */
HY_NODISCARD hy_status hy_npy_write(hy_npy_writer *w, const float *data, uint64_t count);
/* Completes the file and frees the writer, also on failure. HY_E_STATE when elements are missing.
 */
HY_NODISCARD hy_status hy_npy_writer_finish(hy_npy_writer *w);
/* Leaves no file and frees the writer. NULL is fine. */
void hy_npy_writer_abandon(hy_npy_writer *w);

#endif

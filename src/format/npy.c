/* .npy: a magic, a length, and a Python dictionary as text. */
#include "src/format/npy.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static const char magic[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

enum { PREFIX_BYTES = 10, HEADER_MULTIPLE = 64, MAX_WORD = 16 };

/* ---- the dictionary ---- */

typedef struct scanner {
    const char *at, *end;
} scanner;

static void skip_space(scanner *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n'))
        s->at++;
}

/* Whether `c` comes next, which is then behind. */
static bool take(scanner *s, char c) {
    skip_space(s);
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}

/* A string in quotes, or a bare word such as True. */
static bool take_word(scanner *s, char out[MAX_WORD]) {
    size_t n = 0;
    const char quote = take(s, '\'') ? '\'' : take(s, '"') ? '"' : 0;
    while (s->at < s->end && n + 1 < MAX_WORD &&
           (quote ? *s->at != quote : strchr("TrueFalse", *s->at) && *s->at))
        out[n++] = *s->at++;
    out[n] = 0;
    return n > 0 && (!quote || take(s, quote));
}

static bool take_number(scanner *s, uint64_t *out) {
    skip_space(s);
    const char *first = s->at;
    for (*out = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        if (hy_mul_overflow(*out, 10, out) || hy_add_overflow(*out, (uint64_t)(*s->at - '0'), out))
            return false;
    }
    return s->at > first;
}

/* "(3, 4)" or "(3,)". */
static hy_status take_shape(scanner *s, hy_npy *npy) {
    uint64_t dim = 0;
    if (!take(s, '(')) return hy_fail(HY_E_FORMAT, "no shape in the header");
    for (npy->rank = 0; !take(s, ')'); npy->rank++) {
        if (!take_number(s, &dim))
            return hy_fail(HY_E_FORMAT, "the shape in the header is damaged");
        if (npy->rank == 2) return hy_fail(HY_E_UNSUPPORTED, "rank above 2; 1 and 2 are read");
        npy->dim[npy->rank] = dim;
        if (!take(s, ',') && (s->at == s->end || *s->at != ')'))
            return hy_fail(HY_E_FORMAT, "the shape in the header is damaged");
    }
    if (npy->rank == 0) return hy_fail(HY_E_UNSUPPORTED, "rank 0; 1 and 2 are read");
    if (npy->rank == 1) npy->dim[1] = 1;
    return HY_OK;
}

static hy_status take_entry(scanner *s, hy_npy *npy, unsigned *seen) {
    char key[MAX_WORD], value[MAX_WORD];
    if (!take_word(s, key) || !take(s, ':')) return hy_fail(HY_E_FORMAT, "the header is damaged");
    if (strcmp(key, "shape") == 0) {
        *seen |= 1;
        return take_shape(s, npy);
    }
    if (!take_word(s, value)) return hy_fail(HY_E_FORMAT, "the header is damaged after '%s'", key);
    if (strcmp(key, "descr") == 0) {
        *seen |= 2;
        if (strcmp(value, "<f4") != 0)
            return hy_fail(HY_E_UNSUPPORTED, "elements of type %s; <f4 (float32) is read", value);
    } else if (strcmp(key, "fortran_order") == 0) {
        *seen |= 4;
        if (strcmp(value, "False") != 0)
            return hy_fail(HY_E_UNSUPPORTED, "an array in Fortran order; C order is read");
    } else {
        return hy_fail(HY_E_FORMAT, "unknown entry '%s' in the header", key);
    }
    return HY_OK;
}

static hy_status read_dictionary(scanner s, hy_npy *npy) {
    unsigned seen = 0; /* a bit per entry; all three must be there */
    if (!take(&s, '{')) return hy_fail(HY_E_FORMAT, "no dictionary in the header");
    while (!take(&s, '}')) {
        HY_TRY(take_entry(&s, npy, &seen));
        if (take(&s, ',')) continue;
        if (!take(&s, '}')) return hy_fail(HY_E_FORMAT, "the header is damaged");
        break;
    }
    if (seen != 7) return hy_fail(HY_E_FORMAT, "the header lacks descr, fortran_order or shape");
    return HY_OK;
}

/* ---- reading ---- */

static hy_status parse(hy_npy *npy) {
    const uint8_t *data = npy->map.data;
    const size_t size = npy->map.size;
    if (size < PREFIX_BYTES + 2 || memcmp(data, magic, sizeof magic) != 0)
        return hy_fail(HY_E_FORMAT, "not an .npy file");
    if (data[6] != 1 && data[6] != 2)
        return hy_fail(HY_E_UNSUPPORTED, ".npy version %u.%u; 1.0 and 2.0 are read", data[6],
                       data[7]);
    const size_t prefix = data[6] == 1 ? PREFIX_BYTES : PREFIX_BYTES + 2;
    uint64_t length = (uint64_t)data[8] | (uint64_t)data[9] << 8;
    if (data[6] == 2) length |= (uint64_t)data[10] << 16 | (uint64_t)data[11] << 24;
    if (length > size - prefix)
        return hy_fail(HY_E_FORMAT, "truncated: a header of %" PRIu64 " bytes, the file has %zu",
                       length, size);
    const char *text = (const char *)data + prefix;
    HY_TRY(read_dictionary((scanner){text, text + length}, npy));
    const uint64_t room = size - prefix - length;
    uint64_t bytes;
    if (hy_mul_overflow(npy->dim[0], npy->dim[1], &bytes) || hy_mul_overflow(bytes, 4, &bytes) ||
        bytes != room)
        return hy_fail(HY_E_FORMAT,
                       "[%" PRIu64 ", %" PRIu64 "] float32, but %" PRIu64
                       " bytes of data: truncated?",
                       npy->dim[0], npy->dim[1], room);
    if ((prefix + length) % 4)
        return hy_fail(HY_E_UNSUPPORTED, "data at offset %" PRIu64 ", not a multiple of 4",
                       prefix + length);
    npy->data = (const float *)(const void *)(data + prefix + length);
    return HY_OK;
}

hy_status hy_npy_open(const char *path, hy_npy *out) {
    hy_npy npy = {0};
    HY_TRY(hy_mapping_open(path, &npy.map));
    hy_status status = parse(&npy);
    if (status != HY_OK) {
        hy_mapping_close(&npy.map);
        return hy_fail_in(status, "%s", path);
    }
    *out = npy;
    return HY_OK;
}

void hy_npy_close(hy_npy *npy) {
    hy_mapping_close(&npy->map);
    *npy = (hy_npy){0};
}

/* ---- writing ---- */

struct hy_npy_writer {
    hy_writer *file;
    uint64_t left; /* elements that are still to come */
};

static hy_status write_header(hy_writer *file, uint32_t rank, const uint64_t *dim) {
    char header[256], shape[64];
    if (rank == 1)
        snprintf(shape, sizeof shape, "(%" PRIu64 ",)", dim[0]);
    else
        snprintf(shape, sizeof shape, "(%" PRIu64 ", %" PRIu64 ")", dim[0], dim[1]);
    memset(header, ' ', sizeof header);
    memcpy(header, magic, sizeof magic);
    header[6] = 1;
    header[7] = 0;
    const int n = snprintf(header + PREFIX_BYTES, sizeof header - PREFIX_BYTES,
                           "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", shape);
    const size_t used = PREFIX_BYTES + (size_t)n;
    const size_t total = (size_t)hy_align_up(used + 1, HEADER_MULTIPLE);
    header[used] = ' ';
    header[total - 1] = '\n';
    header[8] = (char)((total - PREFIX_BYTES) & 255);
    header[9] = (char)((total - PREFIX_BYTES) >> 8);
    return hy_writer_write(file, header, total);
}

hy_status hy_npy_writer_new(const char *path, uint32_t rank, const uint64_t *dim,
                            hy_npy_writer **out) {
    uint64_t elements = 1;
    if (rank < 1 || rank > 2)
        return hy_fail(HY_E_ARGUMENT, "%s: rank %" PRIu32 " (1 or 2)", path, rank);
    for (uint32_t i = 0; i < rank; i++) {
        if (hy_mul_overflow(elements, dim[i], &elements) || elements > SIZE_MAX / 4)
            return hy_fail(HY_E_ARGUMENT, "%s: too many elements", path);
    }
    hy_npy_writer *w = calloc(1, sizeof *w);
    if (!w) return hy_fail(HY_E_MEMORY, "%s: out of memory", path);
    w->left = elements;
    hy_status status = hy_writer_open(path, &w->file);
    if (status == HY_OK) status = write_header(w->file, rank, dim);
    if (status != HY_OK) {
        hy_npy_writer_abandon(w);
        return status;
    }
    *out = w;
    return HY_OK;
}

hy_status hy_npy_write(hy_npy_writer *w, const float *data, uint64_t count) {
    if (count > w->left)
        return hy_fail(HY_E_ARGUMENT, "%" PRIu64 " elements, the array wants %" PRIu64 " more",
                       count, w->left);
    HY_TRY(hy_writer_write(w->file, data, (size_t)count * sizeof *data));
    w->left -= count;
    return HY_OK;
}

hy_status hy_npy_writer_finish(hy_npy_writer *w) {
    hy_writer *file = w->file;
    if (w->left) {
        hy_status status = hy_fail(HY_E_STATE, "%" PRIu64 " elements are missing", w->left);
        hy_npy_writer_abandon(w);
        return status;
    }
    free(w);
    return hy_writer_commit(file);
}

void hy_npy_writer_abandon(hy_npy_writer *w) {
    if (!w) return;
    hy_writer_abandon(w->file);
    free(w);
}

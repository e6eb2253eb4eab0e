/* hal/validate.h: the inside of the validating wrapper (hal/validate.c, validate_cmd.c). */
#ifndef HY_HAL_VALIDATE_H
#define HY_HAL_VALIDATE_H

#include "hal/wrap.h"

/* The bytes that an operand touches. A strided operand touches `width` bytes every `pitch`. */
typedef struct valid_region {
    uint64_t buffer; /* number of the buffer; 0: nothing */
    uint64_t begin, end;
    uint64_t pitch, width; /* pitch 0: all bytes of [begin, end) */
} valid_region;

/* What one op of the present wave touches. */
typedef struct valid_touch {
    valid_region region;
    bool write;
    uint32_t number; /* of the op in its list */
    const char *op, *operand;
} valid_touch;

/* A buffer by address and number: the number tells whether it is still the same one. */
typedef struct valid_used {
    const hy_buffer *buffer;
    uint64_t id;
} valid_used;

typedef struct valid_cmd {
    hy_wrap_cmd wrap;
    bool sealed, once; /* once: has a kernel that cannot be replayed */
    uint64_t runs;
    hy_view counters;
    uint32_t ops;
    valid_touch *wave;
    size_t wave_count, wave_capacity;
    valid_used *used; /* every buffer that a view named */
    size_t used_count, used_capacity;
    const hy_timeline *last; /* of the last submission */
    uint64_t last_id, last_value;
} valid_cmd;

typedef struct valid_timeline {
    hy_wrap_timeline wrap;
    uint64_t submitted; /* largest value so far */
} valid_timeline;

/* HY_E_INTERNAL with "validate: <text>". */
HY_NODISCARD hy_status hy_valid_breach(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
/* The same where there is nobody to return it to: into the log. */
void hy_valid_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* `view` lies in a buffer alive on `device`, has `bytes` bytes and starts at a multiple of `align`. `where`
 * and `name` are for the message. */
HY_NODISCARD hy_status hy_valid_view(const hy_device *device, const char *where, const char *name,
                                     hy_view view, uint64_t bytes, uint64_t align);
/* Views, dtypes and packed sizes of all operands; kernel NULL: the file's layouts. */
HY_NODISCARD hy_status hy_valid_operands(const hy_device *device, const hy_op *op,
                                         const hy_kernel *kernel, const hy_view *views);
/* hy_op_check, and that `kernel` is among the candidates for `op`. */
HY_NODISCARD hy_status hy_valid_kernel(hy_device *device, const char *where, const hy_op *op,
                                       const hy_kernel *kernel);

/* Fills in the table's functions on command lists (validate_cmd.c). */
void hy_valid_cmd_functions(hy_backend *table);

#endif

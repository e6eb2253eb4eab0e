/* base/status.h: how the inside of Halyard reports failure. */
#ifndef HY_BASE_STATUS_H
#define HY_BASE_STATUS_H

#include "halyard/status.h"

/* Formats one line of detail into the thread's buffer (truncated at 511 bytes). */
void hy_detail(hy_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* hy_detail, then `status` as the value, so that a failure reads
 * `return hy_fail(HY_E_FORMAT, "%s: bad magic", path);`. A macro, so that the compiler sees that what is
 * returned is a failure (`status` is evaluated twice). */
#define hy_fail(status, ...) (hy_detail((status), __VA_ARGS__), (status))

/* Puts text in front of the present detail ("model.gguf: tensor x: ...") and returns `status`. A colon
 * and a space go between them unless the text ends in a space. */
HY_NODISCARD hy_status hy_fail_in(hy_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Returns from the calling function when `expression` is not HY_OK. */
#define HY_TRY(expression)                                                                         \
    do {                                                                                           \
        hy_status hy_try_status_ = (expression);                                                   \
        if (hy_try_status_ != HY_OK) return hy_try_status_;                                        \
    } while (0)

/* Jumps to `label` when `expression` is not HY_OK, with the status in `variable`. */
#define HY_TRY_GOTO(variable, expression, label)                                                   \
    do {                                                                                           \
        (variable) = (expression);                                                                 \
        if ((variable) != HY_OK) goto label;                                                       \
    } while (0)

#endif

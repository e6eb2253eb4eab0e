#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

enum { DETAIL_BYTES = 512 };

static _Thread_local char detail[DETAIL_BYTES];

const char *hy_status_name(hy_status status) {
    switch (status) {
    case HY_OK:
        return "ok";
    case HY_E_ARGUMENT:
        return "bad argument";
    case HY_E_STATE:
        return "wrong state";
    case HY_E_MEMORY:
        return "not enough memory";
    case HY_E_IO:
        return "input/output error";
    case HY_E_FORMAT:
        return "bad format";
    case HY_E_UNSUPPORTED:
        return "unsupported";
    case HY_E_NOT_FOUND:
        return "not found";
    case HY_E_UNAVAILABLE:
        return "unavailable";
    case HY_E_DEVICE:
        return "device failed";
    case HY_E_LIMIT:
        return "limit reached";
    case HY_E_TEXT:
        return "bad text";
    case HY_E_TIMEOUT:
        return "timed out";
    case HY_E_INTERNAL:
        return "internal error";
    }
    return "unknown status";
}

const char *hy_error_text(void) {
    return detail;
}

/* The detail is one line: text from a file may hold anything, so control characters become spaces.
 */
static void to_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = ' ';
}

void hy_detail(hy_status status, const char *format, ...) {
    char line[DETAIL_BYTES]; /* an argument may be the present detail itself */
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    to_one_line(line);
    memcpy(detail, line, strlen(line) + 1);
    hy_log(HY_LOG_DEBUG, "%s: %s", hy_status_name(status), detail);
}

hy_status hy_fail_in(hy_status status, const char *format, ...) {
    char line[DETAIL_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    to_one_line(line);
    size_t used = strlen(line), room = sizeof line - used;
    const char *between = !detail[0] || (used && line[used - 1] == ' ') ? "" : ": ";
    size_t n = strlen(between);
    if (n < room) {
        memcpy(line + used, between, n);
        size_t rest = strlen(detail);
        if (rest > room - n - 1) rest = room - n - 1;
        memcpy(line + used + n, detail, rest);
        line[used + n + rest] = 0;
    }
    memcpy(detail, line, strlen(line) + 1);
    return status;
}

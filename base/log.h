/* base/log.h: messages for people, through one callback. Silent until a callback is set. */
#ifndef HY_BASE_LOG_H
#define HY_BASE_LOG_H

#include "halyard/status.h"

/* Sets the process-wide callback and the most talkative level that reaches it. NULL silences.
 * Thread-safety: any thread; a message in flight may still reach the old callback. */
void hy_log_set(hy_log_fn callback, void *user, hy_log_level max_level);

/* Formats and delivers one line (no trailing newline), truncated at 1023 bytes. */
void hy_log(hy_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

enum { LINE_BYTES = 1024, SILENT = -1 };

static struct {
    pthread_mutex_t lock; /* callback and user change together */
    hy_log_fn callback;
    void *user;
    atomic_int max_level; /* read without the lock: a silent message costs one load */
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .max_level = SILENT};

void hy_log_set(hy_log_fn callback, void *user, hy_log_level max_level) {
    pthread_mutex_lock(&sink.lock);
    sink.callback = callback;
    sink.user = user;
    atomic_store(&sink.max_level, callback ? (int)max_level : SILENT);
    pthread_mutex_unlock(&sink.lock);
}

void hy_log(hy_log_level level, const char *format, ...) {
    if ((int)level > atomic_load_explicit(&sink.max_level, memory_order_relaxed)) return;
    pthread_mutex_lock(&sink.lock);
    hy_log_fn callback = sink.callback;
    void *user = sink.user;
    pthread_mutex_unlock(&sink.lock);
    if (!callback) return;
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    callback(user, level, line); /* outside the lock: it may log or set another callback */
}

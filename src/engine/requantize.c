#include "src/engine/requantize.h"

#include "base/text.h"
#include "src/format/quantize.h"

/* The caller's progress function behind the quantizer's. */
typedef struct watcher {
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} watcher;

static void tell(void *user, const hy_quantize_progress *at) {
    const watcher *w = user;
    (void)w->progress(w->user, at->bytes_done, at->bytes_total);
}

static hy_status unknown_type(const char *type) {
    hy_text known = {0};
    for (size_t i = 0; hy_quantize_target_at(i); i++)
        hy_text_add(&known, "%s%s", i ? ", " : "", hy_quantize_target_at(i)->name);
    hy_status status = hy_fail(HY_E_ARGUMENT, "type '%s' is not known; known: %s", type,
                               known.data ? known.data : "");
    hy_text_free(&known);
    return status;
}

hy_status hy_requantize(const char *input, const char *output, const char *type, uint32_t threads,
                        int (*progress)(void *user, uint64_t done, uint64_t total), void *user) {
    const hy_quantize_target *target = hy_quantize_target_find(type);
    if (!target) return unknown_type(type);
    watcher w = {progress, user};
    const hy_quantize_params params = {
        .threads = threads, .progress = progress ? tell : NULL, .user = &w};
    return hy_quantize_file(input, output, target, &params);
}

/* hy_quantize of the public API, over the quantizer of src/format. */
#include "base/text.h"
#include "src/engine/engine.h"
#include "src/format/quantize.h"

static void tell(void *user, const hy_quantize_progress *at) {
    const hy_quantize_params *p = user;
    if (p->progress(p->user, at->bytes_done, at->bytes_total) != 0) *at->cancel = true;
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

hy_status hy_quantize(const char *input, const char *output, const hy_quantize_params *params) {
    hy_quantize_params p = {0};
    if (!input || !output) return hy_fail(HY_E_ARGUMENT, "hy_quantize: a path is NULL");
    HY_TRY(hy_params_copy(&p, sizeof p, params, "hy_quantize_params"));
    if (!p.type) return hy_fail(HY_E_ARGUMENT, "hy_quantize_params.type is NULL");
    const hy_quantize_target *target = hy_quantize_target_find(p.type);
    if (!target) return unknown_type(p.type);
    const hy_quantize_file_params inner = {
        .threads = p.threads, .progress = p.progress ? tell : NULL, .user = &p};
    return hy_quantize_file(input, output, target, &inner);
}

/* Asking candidates() once per distinct op and device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "src/compile/inner.h"

void hy_query_free(hy_query *query) {
    hy_map_free(&query->map);
    free(query->answer);
    hy_arena_free(&query->arena);
    query->answer = NULL;
    query->answers = query->room = 0;
}

static uint32_t required_flags(const hy_compile_params *params) {
    uint32_t flags = HY_KERNEL_REPLAYABLE | HY_KERNEL_DETERMINISTIC;
    return params->fast ? flags : flags | HY_KERNEL_INVARIANT;
}

static bool equal_answer(const void *user, uint32_t a, uint32_t b) {
    hy_answer *const *answer = user;
    return answer[a]->device == answer[b]->device &&
           !memcmp(&answer[a]->op, &answer[b]->op, sizeof answer[a]->op);
}

/* Fills an answer from the device. */
static hy_status ask_device(hy_query *query, hy_answer *answer) {
    hy_kernel kernel[HY_MAX_CANDIDATES];
    uint32_t count = 0, required = required_flags(query->params);
    hy_device *device = query->params->device[answer->device];
    if (hy_op_check(&answer->op) != HY_OK) return HY_OK;
    memset(kernel, 0, sizeof kernel);
    HY_TRY(device->backend->candidates(device, &answer->op, kernel, &count));
    if (count > HY_MAX_CANDIDATES)
        return hy_fail(HY_E_INTERNAL, "%s: %u candidates", device->backend->name, count);
    hy_kernel *kept = hy_arena_alloc(&query->arena, count, sizeof *kept);
    if (!kept) return HY_NO_MEMORY();
    for (uint32_t i = 0; i < count; i++)
        if ((kernel[i].flags & required) == required) kept[answer->count++] = kernel[i];
    answer->kernel = kept;
    return HY_OK;
}

static const hy_answer *query_failed(hy_query *query, hy_status status) {
    if (query->status == HY_OK) query->status = status;
    return NULL;
}

const hy_answer *hy_query_ask(hy_query *query, uint32_t device, const hy_op *op) {
    if (query->status != HY_OK) return NULL;
    uint64_t hash = hy_hash(op, sizeof *op, device);
    hy_answer *answer = query->spare;
    if (!answer) answer = query->spare = hy_arena_alloc(&query->arena, 1, sizeof *answer);
    if (!answer) return query_failed(query, HY_NO_MEMORY());
    hy_status status = hy_grow(&query->answer, query->answers, &query->room, sizeof *query->answer);
    if (status != HY_OK) return query_failed(query, status);
    answer->op = *op;
    answer->device = device;
    uint32_t index = (uint32_t)query->answers;
    query->answer[index] = answer;
    uint32_t found = hy_map_add(&query->map, hash, index, equal_answer, query->answer);
    if (found == HY_NO_ID) return query_failed(query, HY_E_MEMORY);
    if (found != index) return query->answer[found];
    query->answers++;
    query->spare = NULL;
    status = ask_device(query, answer);
    return status == HY_OK ? answer : query_failed(query, status);
}

uint64_t hy_kernel_class(const hy_compile_params *params, const hy_kernel *kernel) {
    if (params->fast) return 0;
    if (kernel->order) return kernel->order;
    return hy_hash(kernel->name, strlen(kernel->name), 0) | (uint64_t)1 << 63;
}

bool hy_query_both(hy_query *query, uint32_t device, const hy_op op[2]) {
    const hy_answer *a = hy_query_ask(query, device, &op[0]);
    const hy_answer *b = hy_query_ask(query, device, &op[1]);
    for (uint32_t i = 0; a && b && i < a->count; i++)
        for (uint32_t k = 0; k < b->count; k++)
            if (hy_kernel_class(query->params, &a->kernel[i]) ==
                hy_kernel_class(query->params, &b->kernel[k]))
                return true;
    return false;
}

void hy_query_device_name(const hy_compile_params *params, uint32_t device, char out[64]) {
    const char *name = params->device[device]->backend->name;
    uint32_t number = 0;
    for (uint32_t i = 0; i < device; i++)
        number += !strcmp(params->device[i]->backend->name, name);
    snprintf(out, 64, "%.40s:%u", name, number);
}

hy_bounds hy_bucket_bounds(const hy_compile_params *params, uint32_t bucket) {
    hy_bounds bounds = params->bounds;
    uint32_t t = params->bucket[bucket];
    bounds.of[HY_SYMBOL_NONE] = 1;
    bounds.of[HY_SYMBOL_T] = t;
    bounds.of[HY_SYMBOL_S] = HY_MIN(bounds.of[HY_SYMBOL_S], t);
    bounds.of[HY_SYMBOL_R] = HY_MIN(bounds.of[HY_SYMBOL_R], t);
    return bounds;
}

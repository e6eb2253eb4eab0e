/* One model file: opening, describing, metadata. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "src/engine/engine.h"

/* Names the type of every tensor that the file has and this build has not, before anything else fails. */
static hy_status check_types(const hy_gguf *gguf) {
    for (size_t i = 0; i < hy_gguf_tensor_count(gguf); i++) {
        const hy_gguf_tensor *t = hy_gguf_tensor_at(gguf, i);
        if (t->dtype != HY_DTYPE_NONE) continue;
        hy_text known = {0};
        for (int d = 1; d < HY_DTYPE_COUNT; d++)
            if (hy_dtype_get((hy_dtype)d)->gguf_type >= 0 && d != HY_DTYPE_I32)
                hy_text_add(&known, "%s%s", known.length ? ", " : "",
                            hy_dtype_get((hy_dtype)d)->name);
        hy_status status = hy_fail(
            HY_E_UNSUPPORTED, "tensor %s has type %s (%u), which is not known; known: %s", t->name,
            hy_gguf_tensor_type_name(t->gguf_type), t->gguf_type, known.data ? known.data : "");
        hy_text_free(&known);
        return status;
    }
    return HY_OK;
}

/* Builds the graph once, so that a missing or misshapen tensor is found when the file is opened. */
static hy_status check_graph(const hy_model *model) {
    hy_graph *graph = NULL;
    const hy_model_graph_params params = {.kv_dtype = HY_DTYPE_F32};
    HY_TRY(hy_model_graph(model->gguf, &model->h, &params, &graph));
    hy_graph_free(graph);
    return HY_OK;
}

static hy_status read_tokenizer(hy_model *model) {
    hy_status status = hy_tokenizer_new(model->gguf, &model->tokenizer);
    if (status == HY_E_NOT_FOUND) {
        model->tokenizer = NULL;
        return HY_OK;
    }
    HY_TRY(status);
    const uint32_t size = hy_tokenizer_size(model->tokenizer);
    if (!model->vocabulary_only && size > model->h.vocab)
        return hy_fail(HY_E_FORMAT, "vocabulary of %u tokens, but token_embd.weight has %u rows",
                       size, model->h.vocab);
    if (model->vocabulary_only) model->h.vocab = size;
    return HY_OK;
}

static hy_status open_into(hy_model *model, const char *path) {
    HY_TRY(hy_gguf_open(path, &model->gguf));
    model->vocabulary_only = hy_gguf_tensor_count(model->gguf) == 0;
    if (!model->vocabulary_only) {
        HY_TRY(hy_hparams_read(model->gguf, &model->h));
        HY_TRY(check_types(model->gguf));
        HY_TRY(check_graph(model));
    }
    return read_tokenizer(model);
}

hy_status hy_model_open(hy_instance *instance, const char *path, const void *params,
                        hy_model **out) {
    if (!instance || !path || !out || params)
        return hy_fail(HY_E_ARGUMENT, "hy_model_open: %s",
                       params ? "params is reserved, give NULL" : "an argument is NULL");
    hy_model *model = calloc(1, sizeof *model);
    if (!model) return hy_fail(HY_E_MEMORY, "no memory for a model");
    atomic_init(&model->references, 1);
    hy_status status = open_into(model, path);
    if (status != HY_OK) {
        if (!strstr(hy_error_text(), path)) status = hy_fail_in(status, "%s", path);
        hy_model_free(model);
        return status;
    }
    *out = model;
    return HY_OK;
}

hy_model *hy_model_retain(hy_model *model) {
    if (model) atomic_fetch_add(&model->references, 1);
    return model;
}

void hy_model_free(hy_model *model) {
    if (!model || atomic_fetch_sub(&model->references, 1) != 1) return;
    hy_tokenizer_free(model->tokenizer);
    hy_gguf_close(model->gguf);
    free(model);
}

/* Sums over the tensors, and the type with the most elements among matrices. */
static void sum_tensors(const hy_gguf *gguf, hy_model_desc *desc) {
    uint64_t by_type[HY_DTYPE_COUNT] = {0};
    for (size_t i = 0; i < hy_gguf_tensor_count(gguf); i++) {
        const hy_gguf_tensor *t = hy_gguf_tensor_at(gguf, i);
        desc->parameters += t->rows * t->columns;
        desc->bytes += t->size;
        if (t->rank > 1) by_type[t->dtype] += t->rows * t->columns;
    }
    int most = 0;
    for (int d = 1; d < HY_DTYPE_COUNT; d++)
        if (by_type[d] > by_type[most]) most = d;
    const int32_t type = hy_dtype_get((hy_dtype)most)->gguf_type;
    snprintf(desc->type, sizeof desc->type, "%s",
             most ? hy_gguf_tensor_type_name((uint32_t)type) : "none");
}

static void name_of(const hy_gguf *gguf, char *name, size_t capacity) {
    hy_span text = {0};
    if (hy_gguf_string(gguf, "general.name", &text) == HY_OK && text.length > 0) {
        snprintf(name, capacity, "%.*s", (int)HY_MIN(text.length, capacity - 1), text.data);
        return;
    }
    const char *path = hy_gguf_path(gguf) ? hy_gguf_path(gguf) : "model";
    const char *slash = strrchr(path, '/');
    snprintf(name, capacity, "%s", slash ? slash + 1 : path);
}

hy_status hy_model_describe(const hy_model *model, hy_model_desc *out) {
    if (!model) return hy_fail(HY_E_ARGUMENT, "hy_model_describe: model is NULL");
    hy_model_desc desc = {0};
    const hy_hparams *h = &model->h;
    hy_span arch = {0};
    if (hy_gguf_string(model->gguf, "general.architecture", &arch) == HY_OK && arch.data)
        snprintf(desc.arch, sizeof desc.arch, "%.*s", (int)HY_MIN(arch.length, 31), arch.data);
    name_of(model->gguf, desc.name, sizeof desc.name);
    sum_tensors(model->gguf, &desc);
    desc.vocab = h->vocab;
    desc.context = h->context;
    desc.layers = h->layers;
    desc.embedding = h->embedding;
    desc.heads = h->heads;
    desc.kv_heads = h->kv_heads;
    desc.head_dim = h->head_dim;
    desc.bos = desc.eos = -1;
    if (model->tokenizer) {
        desc.bos = hy_tokenizer_special(model->tokenizer)->bos;
        desc.eos = hy_tokenizer_special(model->tokenizer)->eos;
    }
    return hy_info_copy(out, &desc, sizeof desc, "hy_model_desc");
}

/* The shortest decimal text that reads back as the same number. */
static int print_real(char *text, size_t capacity, const hy_gguf_value *value) {
    if (value->type == HY_GGUF_F64) {
        double d;
        memcpy(&d, value->data, sizeof d);
        return snprintf(text, capacity, "%.17g", d);
    }
    float f;
    memcpy(&f, value->data, sizeof f);
    for (int digits = 6; digits < 9; digits++) {
        int n = snprintf(text, capacity, "%.*g", digits, (double)f);
        if (strtof(text, NULL) == f) return n;
    }
    return snprintf(text, capacity, "%.9g", (double)f);
}

static int print_integer(char *text, size_t capacity, const hy_gguf_value *value) {
    uint64_t bits = 0;
    memcpy(&bits, value->data, HY_MIN(value->size, sizeof bits)); /* little-endian */
    const bool is_signed = value->type == HY_GGUF_I8 || value->type == HY_GGUF_I16 ||
                           value->type == HY_GGUF_I32 || value->type == HY_GGUF_I64;
    if (!is_signed) return snprintf(text, capacity, "%llu", (unsigned long long)bits);
    const unsigned shift = (unsigned)(64 - 8 * value->size);
    return snprintf(text, capacity, "%lld", (long long)((int64_t)(bits << shift) >> shift));
}

hy_status hy_model_meta(const hy_model *model, const char *key, char *text, size_t capacity,
                        size_t *length) {
    if (!model || !key || !length || (capacity && !text))
        return hy_fail(HY_E_ARGUMENT, "hy_model_meta: an argument is NULL");
    const hy_gguf_value *value = hy_gguf_find(model->gguf, key);
    if (!value) return hy_fail(HY_E_NOT_FOUND, "%s has no key %s", hy_gguf_path(model->gguf), key);
    char small[96];
    const char *data = small;
    if (value->type == HY_GGUF_STRING) {
        data = (const char *)value->data;
        *length = (size_t)value->size;
    } else if (value->type == HY_GGUF_ARRAY) {
        *length = (size_t)snprintf(small, sizeof small, "%s[%llu]",
                                   hy_gguf_value_type_name(value->element_type),
                                   (unsigned long long)value->count);
    } else if (value->type == HY_GGUF_F32 || value->type == HY_GGUF_F64) {
        *length = (size_t)print_real(small, sizeof small, value);
    } else if (value->type == HY_GGUF_BOOL) {
        *length = (size_t)snprintf(small, sizeof small, "%s", value->data[0] ? "true" : "false");
    } else {
        *length = (size_t)print_integer(small, sizeof small, value);
    }
    if (capacity) {
        const size_t n = HY_MIN(*length, capacity - 1);
        memcpy(text, data, n);
        text[n] = 0;
    }
    return HY_OK;
}

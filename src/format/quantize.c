/* Quantization of whole files: which tensor becomes what, and the streaming through a pool.
 *
 * A tensor is worked on as one flat sequence of elements: rows are whole blocks of both types, so pieces of
 * a multiple of 256 elements begin and end on blocks of both. Each worker owns a fixed part of a piece;
 * blocks do not see each other, so the bytes are the same for any number of workers. */
#include "src/format/quantize.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "base/thread.h"

enum {
    PIECE = 1 << 22, /* elements worked on between two writes: 16 MiB of float32 at most */
    STRIP = 4096,    /* elements that a worker converts at once, on its stack */
};

// clang-format off
static const hy_quantize_target targets[] = {
    {"f32", HY_DTYPE_F32, HY_DTYPE_NONE, 0},        {"f16", HY_DTYPE_F16, HY_DTYPE_NONE, 1},
    {"bf16", HY_DTYPE_BF16, HY_DTYPE_NONE, 32},     {"q8_0", HY_DTYPE_Q8_0, HY_DTYPE_NONE, 7},
    {"q4_0", HY_DTYPE_Q4_0, HY_DTYPE_NONE, 2},      {"q4_1", HY_DTYPE_Q4_1, HY_DTYPE_NONE, 3},
    {"q5_0", HY_DTYPE_Q5_0, HY_DTYPE_NONE, 8},      {"q5_1", HY_DTYPE_Q5_1, HY_DTYPE_NONE, 9},
    {"q2_k", HY_DTYPE_Q2_K, HY_DTYPE_NONE, 10},     {"q3_k", HY_DTYPE_Q3_K, HY_DTYPE_NONE, 11},
    {"q4_k", HY_DTYPE_Q4_K, HY_DTYPE_NONE, 14},     {"q4_k_m", HY_DTYPE_Q4_K, HY_DTYPE_Q6_K, 15},
    {"q5_k", HY_DTYPE_Q5_K, HY_DTYPE_NONE, 16},     {"q5_k_m", HY_DTYPE_Q5_K, HY_DTYPE_Q6_K, 17},
    {"q6_k", HY_DTYPE_Q6_K, HY_DTYPE_NONE, 18},     {"iq4_nl", HY_DTYPE_IQ4_NL, HY_DTYPE_NONE, 25},
    {"iq4_xs", HY_DTYPE_IQ4_XS, HY_DTYPE_NONE, 30}, {"mxfp4", HY_DTYPE_MXFP4, HY_DTYPE_NONE, 38},
};

/* Parts of names that keep their type: small, and sensitive. */
static const char *const kept[] = {
    "_norm.", "norm.weight", "ffn_gate_inp", "rope_freqs", "position_embd", "token_types", "ssm_conv1d",
    "shortconv.conv", "time_mix_", "attn_rel_b", ".bias",
};
// clang-format on

const hy_quantize_target *hy_quantize_target_at(size_t index) {
    return index < HY_COUNT_OF(targets) ? &targets[index] : NULL;
}

static char lower(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

const hy_quantize_target *hy_quantize_target_find(const char *name) {
    for (size_t i = 0; name && i < HY_COUNT_OF(targets); i++) {
        const char *a = targets[i].name, *b = name;
        while (*a && *a == lower(*b)) {
            a++;
            b++;
        }
        if (!*a && !*b) return &targets[i];
    }
    return NULL;
}

/* ---- the choice of types -------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool is_weight(const hy_gguf_tensor *tensor) {
    if (tensor->rank < 2 || !ends_with(tensor->name, ".weight")) return false;
    if (tensor->rows == 1) return false; /* a vector that was given two dimensions */
    for (size_t i = 0; i < HY_COUNT_OF(kept); i++) {
        if (strstr(tensor->name, kept[i])) return false;
    }
    return true;
}

bool hy_quantize_more_bits(uint64_t layer, uint32_t layers) {
    const uint64_t eighth = layers / 8;
    return layer < eighth || layer >= (uint64_t)7 * layers / 8 || (layer - eighth) % 3 == 2;
}

/* Whether a mix gives this tensor its better type: the output, and those projections. */
static bool deserves_more(const hy_gguf_tensor *tensor, uint32_t layers) {
    const char *name = tensor->name;
    if (strcmp(name, "output.weight") == 0) return true;
    if (strncmp(name, "blk.", 4) != 0) return false;
    if (!ends_with(name, ".attn_v.weight") && !strstr(name, ".ffn_down")) return false;
    return hy_quantize_more_bits(strtoul(name + 4, NULL, 10), layers);
}

/* A type of similar width in blocks of 32; the same where it has them already. */
static hy_dtype smaller_blocks(hy_dtype dtype) {
    switch (dtype) {
    case HY_DTYPE_Q2_K:
    case HY_DTYPE_Q3_K:
    case HY_DTYPE_IQ4_XS:
        return HY_DTYPE_IQ4_NL;
    case HY_DTYPE_Q4_K:
        return HY_DTYPE_Q5_0;
    case HY_DTYPE_Q5_K:
        return HY_DTYPE_Q5_1;
    case HY_DTYPE_Q6_K:
        return HY_DTYPE_Q8_0;
    default:
        return dtype;
    }
}

hy_dtype hy_quantize_choose(const hy_quantize_target *target, const hy_gguf_tensor *tensor,
                            uint32_t layers) {
    if (!is_weight(tensor) || tensor->dtype == HY_DTYPE_I32) return tensor->dtype;
    hy_dtype dtype = target->dtype;
    if (target->better != HY_DTYPE_NONE && deserves_more(tensor, layers)) dtype = target->better;
    if (tensor->columns % hy_dtype_get(dtype)->block) dtype = smaller_blocks(dtype);
    if (tensor->columns % hy_dtype_get(dtype)->block) dtype = HY_DTYPE_F16;
    return dtype;
}

/* ---- the file ------------------------------------------------------------------------------- */

typedef struct job {
    const hy_gguf *in;
    hy_gguf_writer *out;
    const hy_quantize_target *target;
    const hy_quantize_file_params *params;
    hy_pool *pool;
    uint8_t *buffer; /* one converted piece */
    uint32_t layers;
    hy_quantize_progress progress;
    bool cancelled; /* by the progress function */
} job;

static bool key_is(const hy_gguf_value *value, const char *key) {
    const size_t n = strlen(key);
    return value->key.length == n && memcmp(value->key.data, key, n) == 0;
}

static hy_status copy_metadata(const job *j) {
    bool typed = false, versioned = false;
    for (size_t i = 0; i < hy_gguf_value_count(j->in); i++) {
        const hy_gguf_value *value = hy_gguf_value_at(j->in, i);
        if (key_is(value, "split.no") || key_is(value, "split.count") ||
            key_is(value, "split.tensors.count"))
            continue;
        if (key_is(value, "general.file_type")) {
            typed = true;
            HY_TRY(hy_gguf_write_u32(j->out, "general.file_type", j->target->file_type));
        } else if (key_is(value, "general.quantization_version")) {
            versioned = true;
            HY_TRY(hy_gguf_write_u32(j->out, "general.quantization_version", 2));
        } else {
            HY_TRY(hy_gguf_write_value(j->out, value));
        }
    }
    if (!typed) HY_TRY(hy_gguf_write_u32(j->out, "general.file_type", j->target->file_type));
    if (!versioned) HY_TRY(hy_gguf_write_u32(j->out, "general.quantization_version", 2));
    return HY_OK;
}

static hy_status read_layers(const hy_gguf *in, uint32_t *out) {
    char key[128];
    hy_span name;
    HY_TRY(hy_gguf_string(in, "general.architecture", &name));
    *out = 0;
    if (name.length == 0 || name.length > 64) return HY_OK;
    memcpy(key, name.data, name.length);
    memcpy(key + name.length, ".block_count", sizeof ".block_count");
    return hy_gguf_u32(in, key, 0, out);
}

/* Declares every tensor and refuses what cannot be converted, before any byte is written. */
static hy_status declare_all(job *j) {
    hy_dtype lossy = HY_DTYPE_NONE;
    for (size_t i = 0; i < hy_gguf_tensor_count(j->in); i++) {
        const hy_gguf_tensor *tensor = hy_gguf_tensor_at(j->in, i);
        const hy_dtype to = hy_quantize_choose(j->target, tensor, j->layers);
        j->progress.bytes_total += tensor->size;
        if (to == tensor->dtype) {
            HY_TRY(hy_gguf_declare_copy(j->out, tensor));
            continue;
        }
        if (tensor->dtype == HY_DTYPE_NONE)
            return hy_fail(
                HY_E_UNSUPPORTED,
                "tensor '%s' has type %s (number %" PRIu32 "), which this build cannot read",
                tensor->name, hy_gguf_tensor_type_name(tensor->gguf_type), tensor->gguf_type);
        if (hy_dtype_get(tensor->dtype)->quantized) lossy = tensor->dtype;
        HY_TRY(hy_gguf_declare(j->out, tensor->name, to, tensor->rank, tensor->dim));
    }
    if (lossy != HY_DTYPE_NONE)
        hy_log(HY_LOG_WARN,
               "%s: weights are quantized already (%s): quantizing them again loses quality",
               hy_gguf_path(j->in), hy_dtype_get(lossy)->name);
    return HY_OK;
}

/* ---- one tensor ----------------------------------------------------------------------------- */

/* One piece: count elements of `from` blocks at src to `to` blocks at dst. */
typedef struct piece {
    hy_dtype from, to;
    const uint8_t *src;
    uint8_t *dst;
    uint64_t count;
} piece;

static void convert(void *context, uint32_t worker, uint32_t workers) {
    const piece *p = context;
    const hy_dtype_info *from = hy_dtype_get(p->from), *to = hy_dtype_get(p->to);
    const uint64_t strips = hy_div_up(p->count, STRIP);
    float values[STRIP];
    for (uint64_t s = strips * worker / workers; s < strips * (worker + 1) / workers; s++) {
        const uint64_t at = s * STRIP, count = HY_MIN(p->count - at, STRIP);
        hy_dequantize_row(p->from, p->src + hy_dtype_row_bytes(from, at), values, count);
        hy_quantize_row(p->to, values, p->dst + hy_dtype_row_bytes(to, at), count);
    }
}

static hy_status report(job *j, uint64_t bytes) {
    j->progress.bytes_done += bytes;
    if (j->params->progress) j->params->progress(j->params->user, &j->progress);
    if (j->cancelled) return hy_fail(HY_E_STATE, "cancelled in tensor '%s'", j->progress.tensor);
    return HY_OK;
}

/* Bytes of an unchanged tensor; `step` keeps few pages of the mapping in memory. */
static hy_status copy_tensor(job *j, const hy_gguf_tensor *tensor) {
    const uint64_t step = (uint64_t)PIECE * 4;
    for (uint64_t at = 0; at < tensor->size; at += step) {
        const uint64_t n = HY_MIN(step, tensor->size - at);
        HY_TRY(hy_gguf_write_data(j->out, tensor->data + at, n));
        hy_gguf_tensor_advise(j->in, tensor, at, n, 0);
        HY_TRY(report(j, n));
    }
    return HY_OK;
}

static hy_status convert_tensor(job *j, const hy_gguf_tensor *tensor, hy_dtype to) {
    const hy_dtype_info *from_info = hy_dtype_get(tensor->dtype), *to_info = hy_dtype_get(to);
    const uint64_t elements = tensor->rows * tensor->columns; /* opening has checked the product */
    for (uint64_t at = 0; at < elements; at += PIECE) {
        const uint64_t n = HY_MIN(PIECE, elements - at), offset = hy_dtype_row_bytes(from_info, at);
        const uint64_t bytes = hy_dtype_row_bytes(from_info, n);
        hy_gguf_tensor_advise(j->in, tensor, offset + bytes, bytes, 1);
        piece p = {tensor->dtype, to, tensor->data + offset, j->buffer, n};
        hy_pool_run(j->pool, convert, &p);
        HY_TRY(hy_gguf_write_data(j->out, j->buffer, hy_dtype_row_bytes(to_info, n)));
        hy_gguf_tensor_advise(j->in, tensor, offset, bytes, 0);
        HY_TRY(report(j, bytes));
    }
    return HY_OK;
}

static hy_status write_all(job *j) {
    j->progress.count = hy_gguf_tensor_count(j->in);
    j->progress.cancel = &j->cancelled;
    for (size_t i = 0; i < j->progress.count; i++) {
        const hy_gguf_tensor *tensor = hy_gguf_tensor_at(j->in, i);
        const hy_dtype to = hy_quantize_choose(j->target, tensor, j->layers);
        j->progress.index = i;
        j->progress.tensor = tensor->name;
        j->progress.from = hy_gguf_tensor_type_name(tensor->gguf_type);
        j->progress.to = to == tensor->dtype
                             ? j->progress.from
                             : hy_gguf_tensor_type_name((uint32_t)hy_dtype_get(to)->gguf_type);
        HY_TRY(to == tensor->dtype ? copy_tensor(j, tensor) : convert_tensor(j, tensor, to));
    }
    return HY_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static hy_status run(job *j) {
    HY_TRY(read_layers(j->in, &j->layers));
    HY_TRY(copy_metadata(j));
    HY_TRY(declare_all(j));
    return write_all(j);
}

hy_status hy_quantize_file(const char *in, const char *out, const hy_quantize_target *target,
                           const hy_quantize_file_params *params) {
    hy_gguf *gguf = NULL;
    job j = {.target = target, .params = params};
    HY_TRY(hy_gguf_open(in, &gguf));
    j.in = gguf;
    hy_status status = hy_pool_new(params->threads, NULL, &j.pool);
    if (status == HY_OK) {
        j.buffer = malloc((size_t)PIECE * sizeof(float)); /* f32 is the widest type */
        if (!j.buffer) status = hy_fail(HY_E_MEMORY, "out of memory: a buffer to quantize into");
    }
    if (status == HY_OK) status = hy_gguf_writer_new(out, &j.out);
    if (status == HY_OK && (status = run(&j)) != HY_OK) {
        status = hy_fail_in(status, "%s", in);
        hy_gguf_writer_abandon(j.out);
        j.out = NULL;
    }
    if (j.out) status = hy_gguf_writer_finish(j.out);
    free(j.buffer);
    hy_pool_free(j.pool);
    hy_gguf_close(gguf);
    return status;
}

/* tests/conform/fill.c: inputs for a case: random, reproducible, legal for the op. */
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "base/rng.h"
#include "tests/conform/conform.h"

static uint32_t true_rows(const hy_tensor *t, const uint32_t *counters) {
    if (t->counter == HY_COUNTER_NONE) return t->dim[0];
    return HY_MIN(counters[t->counter], t->dim[0]);
}

static hy_rng rng_of(const conform_case *c, uint32_t operand) {
    return hy_rng_seed(c->seed * 16 + operand);
}

/* Standard deviation 1, at most 3.5: four uniform numbers of 16 bits. Logarithms and cosines would be half the
 * runner's time. */
static float near_normal(hy_rng *rng) {
    const uint32_t a = hy_rng_u32(rng), b = hy_rng_u32(rng);
    const uint32_t sum = (a & 0xffffu) + (a >> 16) + (b & 0xffffu) + (b >> 16);
    return ((float)sum - 131070.0f) / 37837.2f;
}

/* ---- floats and blocks ---- */

static float value(hy_rng *rng, uint32_t pattern, uint64_t row) {
    float x = near_normal(rng);
    switch (pattern) {
    case CONFORM_OUTLIERS:
        return hy_rng_below(rng, 100) == 0 ? x * 1000.0f : x;
    case CONFORM_ZEROS:
        return row % 3 == 0 ? 0.0f : x;
    case CONFORM_SMALL:
        return x * 1e-3f;
    case CONFORM_TIES:
        return (float)hy_rng_below(rng, 5) * 0.5f - 1.0f;
    default:
        return x;
    }
}

/* Rows of one tensor by strides; weights stay normal so that outliers meet ordinary weights. */
static void fill_floats(const conform_case *c, uint32_t operand, uint32_t rows0, uint8_t *data) {
    const hy_tensor *t = &c->op.operand[operand];
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
    uint32_t columns = t->dim[t->rank - 1], last = t->rank - 1;
    hy_rng rng = rng_of(c, operand);
    float *row = malloc((columns + 1) * sizeof *row);
    if (!row) return;
    uint32_t pattern = t->constant ? CONFORM_NORMAL : c->pattern;
    uint32_t d1 = last > 1 ? t->dim[1] : 1, d2 = last > 2 ? t->dim[2] : 1;
    uint64_t index = 0;
    uint32_t outer = last > 0 ? rows0 : 1;
    for (uint32_t a = 0; a < outer; a++) {
        for (uint32_t b = 0; b < d1; b++) {
            for (uint32_t d = 0; d < d2; d++, index++) {
                uint64_t at = last > 0 ? a * t->stride[0] : 0;
                if (last > 1) at += b * t->stride[1];
                if (last > 2) at += d * t->stride[2];
                for (uint32_t i = 0; i < columns; i++)
                    row[i] = value(&rng, pattern, index);
                uint32_t n = last > 0 ? columns : HY_MIN(columns, rows0);
                hy_quantize_row((hy_dtype)t->dtype, row, data + at / info->block * info->bytes, n);
            }
        }
    }
    free(row);
}

/* q8_0 pages are planar: int8 [L, D], then f16 [L, D / 32], per (page, head). */
static void fill_planar(const conform_case *c, uint32_t operand, uint8_t *data) {
    const hy_tensor *t = &c->op.operand[operand];
    uint64_t length = t->dim[2], d = t->dim[3], tiles = (uint64_t)t->dim[0] * t->dim[1];
    hy_rng rng = rng_of(c, operand);
    for (uint64_t tile = 0; tile < tiles; tile++) {
        uint8_t *at = data + tile * (length * d / 32 * 34);
        for (uint64_t i = 0; i < length * d; i++)
            at[i] = (uint8_t)(int8_t)(hy_rng_below(&rng, 255) - 127);
        for (uint64_t i = 0; i < length * d / 32; i++) {
            uint16_t scale = hy_f32_to_f16(0.005f + 0.01f * hy_rng_f32(&rng));
            memcpy(at + length * d + i * 2, &scale, 2);
        }
    }
}

/* ---- indices ---- */

static void put(const hy_tensor *t, uint8_t *data, uint32_t a, uint32_t b, int32_t v) {
    uint64_t at = t->rank > 1 ? a * t->stride[0] + b : a;
    memcpy(data + at * 4, &v, 4);
}

/* [rows, columns] uniform in [0, below), -1 once in `absent` (0: never). */
static void fill_below(const conform_case *c, uint32_t operand, uint32_t rows, uint32_t below,
                       uint32_t absent, uint8_t *data) {
    const hy_tensor *t = &c->op.operand[operand];
    hy_rng rng = rng_of(c, operand);
    uint32_t columns = t->rank > 1 ? t->dim[1] : 1;
    for (uint32_t a = 0; a < t->dim[0]; a++) {
        for (uint32_t b = 0; b < columns; b++) {
            int32_t v = (int32_t)hy_rng_below(&rng, below);
            if (absent && hy_rng_below(&rng, absent) == 0) v = -1;
            if (a < rows) put(t, data, a, b, v);
        }
    }
}

/* Distinct cache rows in random order, some -1. */
static void fill_slots(const conform_case *c, uint32_t rows, uint8_t *data) {
    const hy_tensor *cache = &c->op.operand[HY_KV_WRITE_k_cache];
    uint32_t n = cache->dim[0] * cache->dim[2];
    hy_rng rng = rng_of(c, HY_KV_WRITE_slot);
    uint32_t *order = malloc(n * sizeof *order);
    if (!order) return;
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = hy_rng_below(&rng, i), x = order[i - 1];
        order[i - 1] = order[j];
        order[j] = x;
    }
    for (uint32_t t = 0; t < rows; t++) {
        int32_t v = t % 7 == 5 ? -1 : (int32_t)order[t % n];
        put(&c->op.operand[HY_KV_WRITE_slot], data, t, 0, v);
    }
    free(order);
}

/* Lengths of the sequences of an attention case; sequence 0 is the longest there can be. */
static uint32_t length_of(const conform_case *c, uint32_t s) {
    const hy_op *op = &c->op;
    uint32_t longest =
        op->operand[HY_ATTENTION_table].dim[1] * op->operand[HY_ATTENTION_k_cache].dim[2];
    hy_rng rng = hy_rng_seed(c->seed * 977 + s);
    return s == 0 ? longest : 1 + hy_rng_below(&rng, longest);
}

static void fill_attention(const conform_case *c, uint32_t operand, uint32_t rows, uint8_t *data) {
    const hy_op *op = &c->op;
    const hy_tensor *t = &op->operand[operand];
    uint32_t sequences = op->operand[HY_ATTENTION_table].dim[0];
    uint32_t page = op->operand[HY_ATTENTION_k_cache].dim[2],
             pages = op->operand[HY_ATTENTION_k_cache].dim[0];
    for (uint32_t a = 0; a < rows; a++) {
        hy_rng rng = hy_rng_seed(c->seed * 31 + a);
        int32_t s = (int32_t)(hy_rng_u32(&rng) % sequences);
        uint32_t pos = hy_rng_u32(&rng) % length_of(c, (uint32_t)s);
        if (operand == HY_ATTENTION_row) put(t, data, a, 0, a % 11 == 10 ? -1 : s);
        if (operand == HY_ATTENTION_pos) put(t, data, a, 0, (int32_t)pos);
        if (operand == HY_ATTENTION_len) put(t, data, a, 0, (int32_t)length_of(c, a));
        if (operand != HY_ATTENTION_table) continue;
        uint32_t used = (length_of(c, a) + page - 1) / page;
        for (uint32_t p = 0; p < t->dim[1];
             p++) { /* 7 is prime to the page counts used: a permutation */
            put(t, data, a, p, p < used ? (int32_t)((a * 3 + p * 7 + 1) % pages) : -1);
        }
    }
}

static void fill_indices(const conform_case *c, uint32_t operand, uint32_t rows, uint8_t *data) {
    const hy_op *op = &c->op;
    switch (op->kind) {
    case HY_OP_EMBED:
        fill_below(c, operand, rows, op->operand[HY_EMBED_table].dim[0], 0, data);
        break;
    case HY_OP_GROUPED_MATMUL:
        fill_below(c, operand, rows, op->operand[HY_GROUPED_MATMUL_w].dim[0], 9, data);
        break;
    case HY_OP_GATHER_ROWS: /* stays below the count of half-full replays */
        fill_below(c, operand, rows, (op->operand[HY_GATHER_ROWS_x].dim[0] + 1) / 2, 0, data);
        break;
    case HY_OP_KV_WRITE:
        fill_slots(c, rows, data);
        break;
    case HY_OP_ATTENTION:
        fill_attention(c, operand, rows, data);
        break;
    default: /* positions, copies */
        fill_below(c, operand, rows, 100000, 0, data);
        break;
    }
}

/* Rotation frequencies as hi + lo; lo below the last bit of hi. */
static void fill_frequencies(const conform_case *c, uint8_t *data) {
    hy_rng rng = rng_of(c, HY_ROPE_TABLE_freq);
    uint32_t n = c->op.operand[HY_ROPE_TABLE_freq].dim[0];
    float *f = (float *)(void *)data;
    for (uint32_t i = 0; i < n; i++) {
        f[2 * i] = i == 0 ? 1.0f : hy_rng_f32(&rng);
        f[2 * i + 1] = f[2 * i] * 0x1p-26f * (hy_rng_f32(&rng) - 0.5f);
    }
}

void conform_fill(const conform_case *c, uint32_t operand, const uint32_t *counters, void *data) {
    const hy_tensor *t = &c->op.operand[operand];
    uint32_t rows = true_rows(t, counters);
    uint32_t role = hy_op_get((hy_op_kind)c->op.kind)->operand[operand].role;
    if (t->dtype == HY_DTYPE_I32) {
        fill_indices(c, operand, rows, data);
    } else if (c->op.kind == HY_OP_ROPE_TABLE) {
        fill_frequencies(c, data);
    } else if (t->dtype == HY_DTYPE_Q8_0 && !(role & HY_ROLE_WEIGHT)) {
        fill_planar(c, operand, data);
    } else {
        fill_floats(c, operand, rows, data);
    }
}

hy_status conform_constants_new(const conform_case *c, conform_constants *constants) {
    const uint32_t counters[HY_COUNTER_COUNT] = {0}; /* constants have none */
    *constants = (conform_constants){{NULL}};
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        const hy_tensor *t = &c->op.operand[i];
        if (t->dtype == HY_DTYPE_NONE || !t->constant) continue;
        const uint64_t bytes = hy_tensor_bytes(t);
        constants->data[i] = malloc(bytes);
        if (!constants->data[i]) return hy_fail(HY_E_MEMORY, "no memory for a case");
        memset(constants->data[i], CONFORM_INPUT_POISON, bytes);
        conform_fill(c, i, counters, constants->data[i]);
    }
    return HY_OK;
}

void conform_constants_free(conform_constants *constants) {
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        free(constants->data[i]);
}

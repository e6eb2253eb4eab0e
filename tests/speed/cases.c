/* tests/speed/cases.c: ops at shapes of real models: a 1B llama's matrices, heads and rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/rng.h"
#include "tests/speed/speed.h"

enum { MAX_NUMBERS = 5, PAGE = 64 };

const char *const speed_shape_help =
    "matmul N,K,T; grouped_matmul E,N,K,P,T; attention H,HKV,D,CONTEXT,T; embed V,D,T; others D,T";

typedef struct walk {
    speed_visit visit;
    void *user;
    hy_dtype type;           /* NONE: all */
    uint32_t n[MAX_NUMBERS]; /* the shape that was asked for */
    uint32_t numbers;        /* 0: those of models */
} walk;

static const hy_dtype cache_types[] = {HY_DTYPE_F32, HY_DTYPE_F16, HY_DTYPE_BF16, HY_DTYPE_Q8_0};
#define WEIGHT(NAME, text, block, bytes, gguf) HY_DTYPE_##NAME,
static const hy_dtype all_types[] = {HY_DTYPE_LIST(WEIGHT)}; /* i32 and a8 stand last */
enum { WEIGHT_TYPES = HY_DTYPE_I32 - HY_DTYPE_F32 };

static void set(hy_op *op, uint32_t operand, hy_dtype dtype, hy_counter counter, uint32_t a,
                uint32_t b, uint32_t c, uint32_t d) {
    const uint32_t dim[HY_MAX_RANK] = {a, b, c, d};
    uint32_t rank = 1;
    while (rank < HY_MAX_RANK && dim[rank])
        rank++;
    op->operand[operand] = hy_tensor_of(dtype, rank, dim, counter);
}

static speed_case begin(hy_op_kind kind) {
    speed_case c;
    memset(&c, 0, sizeof c);
    c.op.kind = kind;
    return c;
}

/* flops and bytes, unless they are there already; then the visit. */
static hy_status emit(const walk *w, speed_case *c) {
    HY_TRY(hy_op_infer(&c->op));
    HY_TRY(hy_op_check(&c->op));
    if (c->flops == 0) c->flops = hy_op_flops(&c->op);
    if (c->bytes == 0) c->bytes = (double)hy_op_bytes(&c->op);
    return w->visit(w->user, c);
}

/* Activations as a model's fused ops leave them. */
static hy_dtype activations(hy_dtype weights) {
    return hy_dtype_get(weights)->quantized ? HY_DTYPE_A8 : HY_DTYPE_F32;
}

bool speed_suits(const speed_case *c, const hy_kernel *kernel) {
    return !c->whole || kernel->rounded == HY_DTYPE_BF16;
}

/* ---- matrices ---------------------------------------------------------------------------------- */

static hy_status matmul(const walk *w, hy_dtype type, uint32_t n, uint32_t k, uint32_t t) {
    speed_case c = begin(HY_OP_MATMUL);
    set(&c.op, HY_MATMUL_x, activations(type), HY_COUNTER_T, t, k, 0, 0);
    set(&c.op, HY_MATMUL_w, type, HY_COUNTER_NONE, n, k, 0, 0);
    c.op.operand[HY_MATMUL_w].constant = 1;
    c.rotated = 1u << HY_MATMUL_w;
    snprintf(c.shape, sizeof c.shape, "%s %ux%u, %u tokens", hy_dtype_get(type)->name, n, k, t);
    HY_TRY(emit(w, &c));
    c.whole = activations(type) == HY_DTYPE_A8;
    if (!c.whole) return HY_OK;
    set(&c.op, HY_MATMUL_x, HY_DTYPE_F32, HY_COUNTER_T, t, k, 0, 0);
    c.op.operand[HY_MATMUL_out] = (hy_tensor){0};
    return emit(w, &c);
}

static hy_status matmuls(const walk *w, hy_dtype type) {
    static const uint32_t tokens[] = {1, 4, 8, 16, 32, 512};
    if (w->numbers) return matmul(w, type, w->n[0], w->n[1], w->n[2]);
    for (size_t i = 0; i < HY_COUNT_OF(tokens); i++)
        HY_TRY(matmul(w, type, 8192, 2048, tokens[i]));
    return HY_OK;
}

static hy_status grouped(const walk *w, hy_dtype type, uint32_t e, uint32_t n, uint32_t k,
                         uint32_t p, uint32_t t) {
    speed_case c = begin(HY_OP_GROUPED_MATMUL);
    set(&c.op, HY_GROUPED_MATMUL_x, activations(type), HY_COUNTER_T, t, 1, k, 0);
    set(&c.op, HY_GROUPED_MATMUL_w, type, HY_COUNTER_NONE, e, n, k, 0);
    set(&c.op, HY_GROUPED_MATMUL_ids, HY_DTYPE_I32, HY_COUNTER_T, t, p, 0, 0);
    c.op.operand[HY_GROUPED_MATMUL_w].constant = 1;
    c.rotated = 1u << HY_GROUPED_MATMUL_w;
    snprintf(c.shape, sizeof c.shape, "%s %u of %u experts %ux%u, %u tokens",
             hy_dtype_get(type)->name, p, e, n, k, t);
    return emit(w, &c);
}

static hy_status groupeds(const walk *w, hy_dtype type) {
    if (w->numbers) return grouped(w, type, w->n[0], w->n[1], w->n[2], w->n[3], w->n[4]);
    HY_TRY(grouped(w, type, 32, 768, 2048, 4, 1));
    return grouped(w, type, 32, 768, 2048, 4, 128);
}

static hy_status embed(const walk *w, hy_dtype type, uint32_t v, uint32_t d, uint32_t t) {
    speed_case c = begin(HY_OP_EMBED);
    set(&c.op, HY_EMBED_ids, HY_DTYPE_I32, HY_COUNTER_T, t, 0, 0, 0);
    set(&c.op, HY_EMBED_table, type, HY_COUNTER_NONE, v, d, 0, 0);
    c.op.operand[HY_EMBED_table].constant = 1;
    c.op.operand[HY_EMBED_out].dtype = HY_DTYPE_F32;
    snprintf(c.shape, sizeof c.shape, "%s %ux%u, %u tokens", hy_dtype_get(type)->name, v, d, t);
    return emit(w, &c);
}

static hy_status embeds(const walk *w, hy_dtype type) {
    if (w->numbers) return embed(w, type, w->n[0], w->n[1], w->n[2]);
    return embed(w, type, 32000, 2048, 512);
}

/* ---- attention --------------------------------------------------------------------------------- */

static hy_status attention(const walk *w, hy_dtype type, uint32_t heads, uint32_t kv_heads,
                           uint32_t d, uint32_t context, uint32_t t) {
    if (context < t)
        return hy_fail(HY_E_ARGUMENT, "a context of %u is less than %u tokens", context, t);
    speed_case c = begin(HY_OP_ATTENTION);
    const uint32_t pages = (uint32_t)hy_div_up(context, PAGE);
    set(&c.op, HY_ATTENTION_q, HY_DTYPE_F32, HY_COUNTER_T, t, heads, d, 0);
    set(&c.op, HY_ATTENTION_k_cache, type, HY_COUNTER_NONE, pages, kv_heads, PAGE, d);
    set(&c.op, HY_ATTENTION_v_cache, type, HY_COUNTER_NONE, pages, kv_heads, PAGE, d);
    set(&c.op, HY_ATTENTION_table, HY_DTYPE_I32, HY_COUNTER_S, 1, pages, 0, 0);
    set(&c.op, HY_ATTENTION_row, HY_DTYPE_I32, HY_COUNTER_T, t, 0, 0, 0);
    set(&c.op, HY_ATTENTION_pos, HY_DTYPE_I32, HY_COUNTER_T, t, 0, 0, 0);
    set(&c.op, HY_ATTENTION_len, HY_DTYPE_I32, HY_COUNTER_S, 1, 0, 0, 0);
    c.op.operand[HY_ATTENTION_out].dtype = HY_DTYPE_F32;
    c.op.attention.scale = 0.125f;
    c.op.attention.causal = 1;
    c.context = context;
    c.rotated = 1u << HY_ATTENTION_k_cache | 1u << HY_ATTENTION_v_cache;
    /* What is seen, not the upper bound: t tokens see context - t + 1 .. context positions. */
    const double seen = (double)t * context - (double)t * (t - 1) / 2;
    c.flops = seen * heads * 4.0 * d;
    snprintf(c.shape, sizeof c.shape, "%s %u/%u heads of %u, context %u, %u tokens",
             hy_dtype_get(type)->name, heads, kv_heads, d, context, t);
    return emit(w, &c);
}

static hy_status attentions(const walk *w, hy_dtype type) {
    static const uint32_t shapes[][2] = {{512, 1}, {4096, 1}, {512, 512}, {4096, 512}};
    if (w->numbers) return attention(w, type, w->n[0], w->n[1], w->n[2], w->n[3], w->n[4]);
    for (size_t i = 0; i < HY_COUNT_OF(shapes); i++)
        HY_TRY(attention(w, type, 16, 8, 128, shapes[i][0], shapes[i][1]));
    return HY_OK;
}

/* ---- rows -------------------------------------------------------------------------------------- */

static void set_rows(speed_case *c, uint32_t d, uint32_t t) {
    const hy_op_info *info = hy_op_get((hy_op_kind)c->op.kind);
    for (uint32_t i = 0; i < info->operands; i++) {
        if (info->operand[i].role & HY_ROLE_OUT) {
            c->op.operand[i].dtype = HY_DTYPE_F32;
        } else {
            set(&c->op, i, HY_DTYPE_F32, HY_COUNTER_T, t, d, 0, 0);
        }
    }
}

static hy_status rows(const walk *w, hy_op_kind kind, uint32_t d, uint32_t t) {
    speed_case c = begin(kind);
    const bool norm = kind == HY_OP_RMS_NORM;
    if (norm) { /* as between two layers: residual stream in and out, a8 for the next matmul */
        set(&c.op, HY_RMS_NORM_x, HY_DTYPE_F32, HY_COUNTER_T, t, d, 0, 0);
        set(&c.op, HY_RMS_NORM_residual, HY_DTYPE_F32, HY_COUNTER_T, t, d, 0, 0);
        set(&c.op, HY_RMS_NORM_weight, HY_DTYPE_F32, HY_COUNTER_NONE, d, 0, 0, 0);
        c.op.operand[HY_RMS_NORM_sum].dtype = HY_DTYPE_F32;
        c.op.operand[HY_RMS_NORM_out].dtype = HY_DTYPE_A8;
        c.op.rms_norm.eps = 1e-5f;
    } else {
        set_rows(&c, d, t);
        if (kind == HY_OP_GLU) {
            c.op.glu.act = HY_ACT_SILU;
            c.op.operand[HY_GLU_out].dtype = HY_DTYPE_A8;
        }
        if (kind == HY_OP_UNARY) c.op.unary.act = HY_ACT_SILU;
        if (kind == HY_OP_QUANTIZE_ROWS) c.op.operand[HY_QUANTIZE_ROWS_out].dtype = HY_DTYPE_A8;
        if (kind == HY_OP_SOFTMAX) c.op.softmax.scale = 1.0f;
    }
    snprintf(c.shape, sizeof c.shape, "%u columns, %u tokens", d, t);
    return emit(w, &c);
}

static hy_status all_rows(const walk *w, hy_op_kind kind) {
    if (w->numbers) return rows(w, kind, w->n[0], w->n[1]);
    HY_TRY(rows(w, kind, 2048, 1));
    return rows(w, kind, 2048, 512);
}

/* ---- the walk ---------------------------------------------------------------------------------- */

typedef struct family {
    hy_op_kind kind;
    uint32_t numbers; /* of a shape */
    const hy_dtype *types;
    uint32_t type_count; /* 0: the op has none to choose */
    hy_status (*run)(const walk *w, hy_dtype type);
} family;

static const family families[] = {
    {HY_OP_MATMUL, 3, all_types, WEIGHT_TYPES, matmuls},
    {HY_OP_GROUPED_MATMUL, 5, all_types, WEIGHT_TYPES, groupeds},
    {HY_OP_ATTENTION, 5, cache_types, HY_COUNT_OF(cache_types), attentions},
    {HY_OP_EMBED, 3, all_types, WEIGHT_TYPES, embeds},
    {HY_OP_RMS_NORM, 2, NULL, 0, NULL},
    {HY_OP_GLU, 2, NULL, 0, NULL},
    {HY_OP_ADD, 2, NULL, 0, NULL},
    {HY_OP_MUL, 2, NULL, 0, NULL},
    {HY_OP_UNARY, 2, NULL, 0, NULL},
    {HY_OP_SOFTMAX, 2, NULL, 0, NULL},
    {HY_OP_QUANTIZE_ROWS, 2, NULL, 0, NULL},
};

static hy_status read_shape(walk *w, const char *text) {
    for (const char *at = text; at && *at;) {
        char *end;
        const unsigned long v = strtoul(at, &end, 10);
        const bool good = end != at && v > 0 && v < 1u << 24 && (*end == ',' || !*end);
        if (!good || w->numbers == MAX_NUMBERS)
            return hy_fail(HY_E_ARGUMENT, "shape \"%s\" is not: %s", text, speed_shape_help);
        w->n[w->numbers++] = (uint32_t)v;
        at = *end ? end + 1 : end;
    }
    return HY_OK;
}

static hy_status run_family(const walk *w, const family *f) {
    if (!f->type_count) return w->type ? HY_OK : all_rows(w, f->kind);
    for (uint32_t i = 0; i < f->type_count; i++)
        if (!w->type || w->type == f->types[i]) HY_TRY(f->run(w, f->types[i]));
    return HY_OK;
}

hy_status speed_cases(const char *op, const char *type, const char *shape, speed_visit visit,
                      void *user) {
    walk w = {.visit = visit, .user = user};
    if (type) {
        w.type = hy_dtype_by_name(type);
        if (!w.type || w.type >= HY_DTYPE_I32)
            return hy_fail(HY_E_ARGUMENT, "no type '%s' of weights or caches", type);
    }
    HY_TRY(read_shape(&w, shape));
    bool found = false;
    for (size_t i = 0; i < HY_COUNT_OF(families); i++) {
        const family *f = &families[i];
        if (op && strcmp(op, hy_op_get(f->kind)->name) != 0) continue;
        found = true;
        if (w.numbers && w.numbers != f->numbers) {
            if (op)
                return hy_fail(HY_E_ARGUMENT, "shape \"%s\" is not: %s", shape, speed_shape_help);
            continue;
        }
        HY_TRY(run_family(&w, f));
    }
    return found ? HY_OK : hy_fail(HY_E_NOT_FOUND, "no speed is measured of op '%s'", op);
}

/* ---- operands ---------------------------------------------------------------------------------- */

static void fill_ids(const speed_case *c, uint32_t operand, int32_t *data) {
    const hy_tensor *t = &c->op.operand[operand];
    const uint64_t count = hy_tensor_bytes(t) / sizeof *data;
    hy_rng rng = hy_rng_seed(7);
    for (uint64_t i = 0; i < count; i++) {
        data[i] = 0;
        if (c->op.kind == HY_OP_ATTENTION && operand == HY_ATTENTION_table) data[i] = (int32_t)i;
        if (c->op.kind == HY_OP_ATTENTION && operand == HY_ATTENTION_len)
            data[i] = (int32_t)c->context;
        if (c->op.kind == HY_OP_ATTENTION && operand == HY_ATTENTION_pos)
            data[i] = (int32_t)(c->context - count + i);
        if (c->op.kind == HY_OP_GROUPED_MATMUL)
            data[i] = (int32_t)hy_rng_below(&rng, c->op.operand[HY_GROUPED_MATMUL_w].dim[0]);
        if (c->op.kind == HY_OP_EMBED)
            data[i] = (int32_t)hy_rng_below(&rng, c->op.operand[HY_EMBED_table].dim[0]);
    }
}

hy_status speed_fill(const speed_case *c, uint32_t operand, void *data) {
    enum { DISTINCT = 16 }; /* rows; the others repeat them */
    const hy_tensor *t = &c->op.operand[operand];
    const hy_dtype dtype = (hy_dtype)t->dtype;
    const uint64_t bytes = hy_tensor_bytes(t);
    if (dtype == HY_DTYPE_I32) {
        fill_ids(c, operand, data);
        return HY_OK;
    }
    if (c->op.kind == HY_OP_ATTENTION && dtype == HY_DTYPE_Q8_0) {
        memset(data, 0x21, bytes); /* planes: as int8 33, as f16 scale 0.01 */
        return HY_OK;
    }
    const uint32_t columns = t->dim[t->rank - 1];
    const uint64_t row_bytes = hy_dtype_row_bytes(hy_dtype_get(dtype), columns);
    float *row = malloc(columns * sizeof *row);
    if (!row) return hy_fail(HY_E_MEMORY, "no memory for a row of %u columns", columns);
    hy_rng rng = hy_rng_seed(operand + 1);
    for (uint64_t at = 0, i = 0; at < bytes; at += row_bytes, i++) {
        if (i >= DISTINCT) {
            memcpy((uint8_t *)data + at, (const uint8_t *)data + i % DISTINCT * row_bytes,
                   row_bytes);
            continue;
        }
        for (uint32_t k = 0; k < columns; k++)
            row[k] = hy_rng_normal(&rng);
        hy_quantize_row(dtype, row, (uint8_t *)data + at, columns);
    }
    free(row);
    return HY_OK;
}

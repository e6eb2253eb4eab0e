/* backends/simt/attention.c: attention in float32 and on matrix tiles (shaders/simt/attention_float.h,
 * attention_tile.h), each by rows and by spans.
 *
 * rows, tile         One phase: workgroups take several tokens and walk their whole contexts.
 * split, tile_split  Partial results of spans to the workspace, then their join.
 *
 * gpu_variant.dtype is that of the keys; the entry gets the size of a head behind its name. No constants. extra: spans,
 * positions of a span, heads of a workgroup, such blocks of heads in a group, tokens of a workgroup, unused, partial
 * results in the workspace. */
#include <string.h>

#include "backends/simt/families.h"
#include "base/num.h"
#include "shaders/simt/attention_shape.h"

enum {
    SPAN = 512,               /* positions of one partial result, rounded down to whole pages */
    PARTIAL_BYTES = 64 << 20, /* of partial results at most */
    WIDE_COLUMNS = 128,       /* of values that a workgroup's threads have once */
    MOST_WIDE = 5,
    JOIN_GROUP = 32, /* threads of 128 columns of a result */
    BUSY = 256       /* workgroups below which a large device is not full */
};

/* Numbers that follow from the op's shape. */
typedef struct shape {
    uint32_t t, heads, kv_heads, group; /* T, A, H, A / H */
    uint32_t d, c;                      /* head dims */
    uint32_t length, span;              /* L, positions of a span */
    uint64_t spans;                     /* upper bound */
} shape;

static shape shape_of(const hy_op *op) {
    const hy_tensor *t = op->operand;
    shape s = {.t = t[HY_ATTENTION_q].dim[0],
               .heads = t[HY_ATTENTION_q].dim[1],
               .kv_heads = t[HY_ATTENTION_k_cache].dim[1],
               .d = t[HY_ATTENTION_q].dim[2],
               .c = t[HY_ATTENTION_v_cache].dim[3],
               .length = t[HY_ATTENTION_k_cache].dim[2]};
    s.group = s.heads / s.kv_heads;
    s.span = s.length * HY_MAX(SPAN / s.length, 1);
    s.spans = hy_div_up((uint64_t)t[HY_ATTENTION_table].dim[1] * s.length, s.span);
    return s;
}

/* How workgroups are made up. */
typedef struct work {
    uint32_t heads, blocks, tokens; /* heads of a workgroup, such blocks in a group; tokens */
    uint64_t groups;
} work;

/* `most` rows of a workgroup; as few blocks of heads as there can be, of about one size. */
static work work_of(const shape *s, uint32_t most, bool split) {
    work w = {.blocks = (s->group + most - 1) / most, .tokens = 1};
    w.heads = (s->group + w.blocks - 1) / w.blocks;
    w.blocks = (s->group + w.heads - 1) / w.heads;
    if (!split) w.tokens = HY_MIN(most / w.heads, s->t);
    w.groups = hy_div_up(s->t, w.tokens) * s->kv_heads * w.blocks * (split ? s->spans : 1);
    return w;
}

static uint32_t wide_of(const shape *s) {
    const uint32_t wide = (s->c + WIDE_COLUMNS - 1) / WIDE_COLUMNS;
    return wide <= 2 ? wide : MOST_WIDE;
}

/* Size in the names of the tile kernels. */
static uint32_t tile_size(const shape *s) {
    return s->d <= 64 ? 64 : s->d <= 128 ? 128 : 256;
}

static uint32_t tile_rows(const shape *s, bool split) {
    return split || tile_size(s) == 256 ? 16 : 32;
}

/* ---- what is accepted ----------------------------------------------------------------------------- */

static uint64_t partials_of(const shape *s) {
    return (uint64_t)s->t * s->heads * s->spans;
}

static bool has_room(const shape *s) {
    return s->spans <= PARTIAL_BYTES / sizeof(float) &&
           (uint64_t)s->t * s->heads <= PARTIAL_BYTES / sizeof(float) / s->spans / (s->c + 2);
}

static uint64_t split_workspace(const gpu_device *device, const gpu_variant *variant,
                                const hy_op *op) {
    (void)device;
    (void)variant;
    const shape s = shape_of(op);
    return partials_of(&s) * (s.c + 2) * sizeof(float);
}

static bool rows_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    const shape s = shape_of(op);
    return op->operand[HY_ATTENTION_k_cache].dtype == variant->dtype &&
           s.c <= MOST_WIDE * WIDE_COLUMNS && work_of(&s, 4, false).groups <= UINT32_MAX;
}

static bool split_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const shape s = shape_of(op);
    return rows_accepts(device, variant, op) && has_room(&s) &&
           work_of(&s, 4, true).groups <= UINT32_MAX;
}

/* Rows of a cache begin at multiples of 16 bytes and consist of such. */
static bool is_wide(const hy_tensor *t) {
    for (uint32_t d = 0; d < 3; d++)
        if (t->stride[d] % 8) return false;
    return t->dim[3] % 16 == 0;
}

static bool tile_accepts_of(const gpu_device *device, const hy_op *op, bool split) {
    const shape s = shape_of(op);
    const hy_tensor *k = &op->operand[HY_ATTENTION_k_cache];
    const hy_tensor *v = &op->operand[HY_ATTENTION_v_cache];
    return k->dtype == HY_DTYPE_F16 && v->dtype == HY_DTYPE_F16 && s.d == s.c && s.d <= 256 &&
           s.length % ATT_TILE == 0 && is_wide(k) && is_wide(v) && (!split || has_room(&s)) &&
           ATT_TILE_BYTES(tile_rows(&s, split), s.d) + 1024 <= device->limits.shared_bytes &&
           work_of(&s, tile_rows(&s, split), split).groups <= UINT32_MAX;
}

static bool tile_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    return tile_accepts_of(device, op, false);
}

static bool tile_split_accepts(const gpu_device *device, const gpu_variant *variant,
                               const hy_op *op) {
    (void)variant;
    return tile_accepts_of(device, op, true);
}

/* ---- what it costs -------------------------------------------------------------------------------- */

/* The context is read once for each workgroup's rows, mostly from a cache; few workgroups reach neither bandwidth nor
 * rate. `each`: instructions' worth of operations for one of the op's. */
static float time_of(const gpu_device *device, const hy_op *op, const shape *s, const work *w,
                     bool split, double each) {
    const hy_dtype_info *k = hy_dtype_get((hy_dtype)op->operand[HY_ATTENTION_k_cache].dtype);
    const hy_dtype_info *v = hy_dtype_get((hy_dtype)op->operand[HY_ATTENTION_v_cache].dtype);
    double context = (double)op->operand[HY_ATTENTION_table].dim[1] * s->length;
    if (op->attention.window > 0) context = HY_MIN(context, (double)op->attention.window);
    const double row = (double)s->d * k->bytes / k->block + (double)s->c * v->bytes / v->block;
    const double passes = (double)hy_div_up(s->t, w->tokens) * w->blocks;
    const double partials = split ? 2.0 * (double)(partials_of(s) * (s->c + 2) * 4) : 0;
    const double busy = HY_MIN((double)w->groups / BUSY, 1.0);
    const double rows = (double)w->heads * w->tokens; /* that are there, of those computed */
    const double most = split ? 16 : 32;
    const double waste = each < 1 ? most / rows : 1;
    return gpu_time(device, (passes * context * s->kv_heads * row + partials) / busy,
                    each * waste * hy_op_flops(op) / busy, split ? 2 : 1);
}

static float float_cost(const gpu_device *device, const hy_op *op, bool split) {
    const shape s = shape_of(op);
    const work w = work_of(&s, ATT_FLOAT_ROWS(wide_of(&s)), split);
    return time_of(device, op, &s, &w, split, 4);
}

static float rows_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    return float_cost(device, op, false);
}

static float split_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    return float_cost(device, op, true);
}

/* A matrix unit does about eight times the operations of the rest; half of the time goes elsewhere. */
static float tile_cost_of(const gpu_device *device, const hy_op *op, bool split) {
    const shape s = shape_of(op);
    const work w = work_of(&s, tile_rows(&s, split), split);
    return time_of(device, op, &s, &w, split, 0.25);
}

static float tile_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    return tile_cost_of(device, op, false);
}

static float tile_split_cost(const gpu_device *device, const gpu_variant *variant,
                             const hy_op *op) {
    (void)variant;
    return tile_cost_of(device, op, true);
}

/* ---- launches ------------------------------------------------------------------------------------- */

static void fill(const gpu_device *device, const shape *s, const work *w, gpu_launch *out) {
    const uint32_t extra[] = {(uint32_t)s->spans,      s->span, w->heads, w->blocks, w->tokens, 0,
                              (uint32_t)partials_of(s)};
    memcpy(out->args.extra, extra, sizeof extra);
    out->threads = ATT_THREADS;
    gpu_grid(device, w->groups, out);
}

static void plan_join(const gpu_device *device, const shape *s, gpu_launch *out) {
    const uint64_t slices = hy_div_up(s->c, 4 * JOIN_GROUP);
    gpu_grid(device, hy_div_up((uint64_t)s->t * s->heads * slices, ATT_THREADS / JOIN_GROUP), out);
}

static void float_plan(const gpu_device *device, const hy_op *op, bool split, uint32_t phase,
                       gpu_launch *out) {
    static const char *const names[2][MOST_WIDE + 1] = {
        {NULL, "attention.rows1", "attention.rows2", NULL, NULL, "attention.rows5"},
        {NULL, "attention.split1", "attention.split2", NULL, NULL, "attention.split5"}};
    const shape s = shape_of(op);
    const work w = work_of(&s, ATT_FLOAT_ROWS(wide_of(&s)), split);
    fill(device, &s, &w, out);
    if (phase == 0)
        out->entry = names[split][wide_of(&s)];
    else
        plan_join(device, &s, out);
}

static void rows_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    (void)variant;
    float_plan(device, op, false, phase, out);
}

static void split_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                       uint32_t phase, gpu_launch *out) {
    (void)variant;
    float_plan(device, op, true, phase, out);
}

static void tile_plan_of(const gpu_device *device, const hy_op *op, bool split, uint32_t phase,
                         gpu_launch *out) {
    static const char *const names[2][3] = {
        {"attention.tile64", "attention.tile128", "attention.tile256"},
        {"attention.tile_split64", "attention.tile_split128", "attention.tile_split256"}};
    const shape s = shape_of(op);
    const work w = work_of(&s, tile_rows(&s, split), split);
    fill(device, &s, &w, out);
    if (phase == 1) {
        plan_join(device, &s, out);
        return;
    }
    out->entry = names[split][tile_size(&s) == 64 ? 0 : tile_size(&s) == 128 ? 1 : 2];
    out->shared = ATT_TILE_BYTES(tile_rows(&s, split), s.d);
}

static void tile_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    (void)variant;
    tile_plan_of(device, op, false, phase, out);
}

static void tile_split_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                            uint32_t phase, gpu_launch *out) {
    (void)variant;
    tile_plan_of(device, op, true, phase, out);
}

const gpu_family simt_family_attention_rows = {
    .accepts = rows_accepts, .cost = rows_cost, .plan = rows_plan};
const gpu_family simt_family_attention_split = {
    .accepts = split_accepts, .cost = split_cost, .workspace = split_workspace, .plan = split_plan};
const gpu_family simt_family_attention_tile = {
    .accepts = tile_accepts, .cost = tile_cost, .plan = tile_plan};
const gpu_family simt_family_attention_tile_split = {.accepts = tile_split_accepts,
                                                     .cost = tile_split_cost,
                                                     .workspace = split_workspace,
                                                     .plan = tile_split_plan};

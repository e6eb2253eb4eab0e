/* backends/simt/attention.c: attention in float32 and on matrix tiles (shaders/simt/attention_float.h,
 * attention_tile.h).
 *
 * tile[0] 0   By rows. One phase: workgroups take several tokens and walk their whole contexts.
 * tile[0] 1   By spans: partial results to the workspace, then their join.
 *
 * gpu_variant.dtype is that of the keys; the entry gets the size of a head behind its name. No constants. extra: spans,
 * positions of a span, heads of a workgroup, such blocks of heads in a group, tokens of a workgroup, unused, partial
 * results in the workspace. */
#include <string.h>

#include "backends/gpu/attention.h"
#include "backends/simt/families.h"
#include "base/num.h"
#include "shaders/simt/attention_shape.h"

enum {
    WIDE_COLUMNS = 128, /* of values that a workgroup's threads have once */
    MOST_WIDE = 5,
    JOIN_GROUP = 32, /* threads of 128 columns of a result */
    BUSY = 256       /* workgroups below which a large device is not full */
};

/* How workgroups are made up. */
typedef struct work {
    gpu_heads by;
    uint32_t tokens;
    uint64_t groups;
} work;

/* At most `most` rows in a workgroup. */
static work work_of(const gpu_attention *s, uint32_t most, bool split) {
    work w = {.by = gpu_attention_heads(s, most), .tokens = 1};
    if (!split) w.tokens = HY_MIN(most / w.by.heads, s->t);
    w.groups = hy_div_up(s->t, w.tokens) * s->kv_heads * w.by.blocks * (split ? s->spans : 1);
    return w;
}

static uint32_t wide_of(const gpu_attention *s) {
    const uint32_t wide = (s->c + WIDE_COLUMNS - 1) / WIDE_COLUMNS;
    return wide <= 2 ? wide : MOST_WIDE;
}

/* Size in the names of the tile kernels. */
static uint32_t tile_size(const gpu_attention *s) {
    return s->d <= 64 ? 64 : s->d <= 128 ? 128 : 256;
}

static uint32_t tile_rows(const gpu_attention *s, bool split) {
    return split || tile_size(s) == 256 ? 16 : 32;
}

/* ---- what is accepted ----------------------------------------------------------------------------- */

static uint64_t workspace(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    return variant->tile[0] ? gpu_attention_workspace(device, variant, op) : 0;
}

static bool float_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)device;
    const bool split = variant->tile[0];
    const gpu_attention s = gpu_attention_of(op);
    return op->operand[HY_ATTENTION_k_cache].dtype == variant->dtype &&
           s.c <= MOST_WIDE * WIDE_COLUMNS && (!split || gpu_attention_has_room(&s)) &&
           work_of(&s, 4, false).groups <= UINT32_MAX && work_of(&s, 4, split).groups <= UINT32_MAX;
}

/* Rows of a cache begin at multiples of 16 bytes and consist of such. */
static bool is_wide(const hy_tensor *t) {
    for (uint32_t d = 0; d < 3; d++)
        if (t->stride[d] % 8) return false;
    return t->dim[3] % 16 == 0;
}

static bool tile_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const bool split = variant->tile[0];
    const gpu_attention s = gpu_attention_of(op);
    const hy_tensor *k = &op->operand[HY_ATTENTION_k_cache];
    const hy_tensor *v = &op->operand[HY_ATTENTION_v_cache];
    return k->dtype == variant->dtype && v->dtype == variant->dtype && s.d == s.c && s.d <= 256 &&
           s.length % ATT_TILE == 0 && is_wide(k) && is_wide(v) &&
           (!split || gpu_attention_has_room(&s)) &&
           ATT_TILE_BYTES(tile_rows(&s, split), s.d) + 1024 <= device->limits.shared_bytes &&
           work_of(&s, tile_rows(&s, split), split).groups <= UINT32_MAX;
}

/* ---- what it costs -------------------------------------------------------------------------------- */

/* The context is read once for each workgroup's rows, mostly from a cache; few workgroups reach neither bandwidth nor
 * rate. `each`: instructions' worth of operations for one of the op's. */
static float time_of(const gpu_device *device, const hy_op *op, const gpu_attention *s,
                     const work *w, bool split, double each) {
    const double passes = (double)hy_div_up(s->t, w->tokens) * w->by.blocks;
    const double partials = split ? 2.0 * (double)gpu_attention_partial_bytes(s) : 0;
    const double busy = HY_MIN((double)w->groups / BUSY, 1.0);
    const double rows = (double)w->by.heads * w->tokens; /* that are there, of those computed */
    const double most = split ? 16 : 32;
    const double waste = each < 1 ? most / rows : 1;
    return gpu_time(device, (passes * gpu_attention_context_bytes(op) + partials) / busy,
                    each * waste * hy_op_flops(op) / busy, split ? 2 : 1);
}

static float float_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const bool split = variant->tile[0];
    const gpu_attention s = gpu_attention_of(op);
    const work w = work_of(&s, ATT_FLOAT_ROWS(wide_of(&s)), split);
    return time_of(device, op, &s, &w, split, 4);
}

/* A matrix unit does about eight times the operations of the rest; half of the time goes elsewhere. */
static float tile_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const bool split = variant->tile[0];
    const gpu_attention s = gpu_attention_of(op);
    const work w = work_of(&s, tile_rows(&s, split), split);
    return time_of(device, op, &s, &w, split, 0.25);
}

/* ---- launches ------------------------------------------------------------------------------------- */

/* The second phase is the join, of either kind. */
static void fill(const gpu_device *device, const gpu_attention *s, const work *w, uint32_t phase,
                 gpu_launch *out) {
    const uint32_t extra[] = {(uint32_t)s->spans,
                              s->span,
                              w->by.heads,
                              w->by.blocks,
                              w->tokens,
                              0,
                              (uint32_t)gpu_attention_partials(s)};
    const uint64_t slices = hy_div_up(s->c, 4 * JOIN_GROUP);
    const uint64_t joins = hy_div_up((uint64_t)s->t * s->heads * slices, ATT_THREADS / JOIN_GROUP);
    memcpy(out->args.extra, extra, sizeof extra);
    out->threads = ATT_THREADS;
    gpu_grid(device, phase == 0 ? w->groups : joins, out);
}

static void float_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                       uint32_t phase, gpu_launch *out) {
    static const char *const names[2][MOST_WIDE + 1] = {
        {NULL, "attention.rows1", "attention.rows2", NULL, NULL, "attention.rows5"},
        {NULL, "attention.split1", "attention.split2", NULL, NULL, "attention.split5"}};
    const bool split = variant->tile[0];
    const gpu_attention s = gpu_attention_of(op);
    const work w = work_of(&s, ATT_FLOAT_ROWS(wide_of(&s)), split);
    fill(device, &s, &w, phase, out);
    if (phase == 0) out->entry = names[split][wide_of(&s)];
}

static void tile_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    static const char *const names[2][3] = {
        {"attention.tile64", "attention.tile128", "attention.tile256"},
        {"attention.tile_split64", "attention.tile_split128", "attention.tile_split256"}};
    const bool split = variant->tile[0];
    const gpu_attention s = gpu_attention_of(op);
    const work w = work_of(&s, tile_rows(&s, split), split);
    fill(device, &s, &w, phase, out);
    if (phase > 0) return;
    out->entry = names[split][tile_size(&s) == 64 ? 0 : tile_size(&s) == 128 ? 1 : 2];
    out->shared = ATT_TILE_BYTES(tile_rows(&s, split), s.d);
}

const gpu_family simt_family_attention = {
    .accepts = float_accepts, .cost = float_cost, .workspace = workspace, .plan = float_plan};
const gpu_family simt_family_attention_tile = {
    .accepts = tile_accepts, .cost = tile_cost, .workspace = workspace, .plan = tile_plan};

/* backends/gpu/attention.c: attention by rows and by spans.
 *
 * rows    One phase. tile[0]: 1 when rows of values may be longer than one workgroup weighs (ATT_COLUMNS); then
 *         several workgroups read one query, and none may write over it.
 * split   Partial results of spans to the workspace, then their join. tile unused.
 *
 * Both: gpu_variant.dtype is that of the keys. constant: rows of a thread, threads of the same row of values,
 * what the op is (types_of), vec4s of a query. extra: spans, positions
 * of a span, heads of a workgroup, such blocks of heads in a group, tokens of a workgroup, slices of a row of
 * values, partial results in the workspace. */
#include <string.h>

#include "backends/gpu/attention.h"
#include "base/num.h"

enum {
    ATT_TILE = 64,
    ATT_SPAN = 512,          /* positions of one partial result, rounded down to whole pages */
    ATT_COLUMNS = 256,       /* of the values, at most, that a workgroup weighs */
    ATT_PARTIALS = 64 << 20, /* bytes of partial results at most */
    ATT_SPLIT_THREADS = 64,
    ATT_SPLIT_HEADS = 8, /* of a workgroup at most */
    ATT_ROW_THREADS = 128,
    ATT_ROW_LANES = 8,     /* rows of a workgroup are a multiple of these */
    ATT_BUSY_RATE = 40000, /* operations a microsecond that one workgroup keeps busy */
    /* Bytes of shared memory besides those of rows: what is staged, a8, scales of q8_0. */
    ATT_SHARED = ATT_TILE * 9 * 16 + 2048,
    ATT_SPLIT_SHARED = ATT_TILE * 33 * 8 + 2048 + 2048,
    ATT_SMALL_SHARED = ATT_TILE * 17 * 8 + 2048 + 2048
};

/* ---- shapes -------------------------------------------------------------------------------------- */

gpu_attention gpu_attention_of(const hy_op *op) {
    const hy_tensor *t = op->operand;
    gpu_attention s = {.t = t[HY_ATTENTION_q].dim[0],
                       .heads = t[HY_ATTENTION_q].dim[1],
                       .kv_heads = t[HY_ATTENTION_k_cache].dim[1],
                       .d = t[HY_ATTENTION_q].dim[2],
                       .c = t[HY_ATTENTION_v_cache].dim[3],
                       .length = t[HY_ATTENTION_k_cache].dim[2]};
    s.group = s.heads / s.kv_heads;
    s.span = s.length * HY_MAX(ATT_SPAN / s.length, 1);
    s.spans = hy_div_up((uint64_t)t[HY_ATTENTION_table].dim[1] * s.length, s.span);
    return s;
}

gpu_heads gpu_attention_heads(const gpu_attention *s, uint32_t most) {
    gpu_heads h = {.blocks = (s->group + most - 1) / most};
    h.heads = (s->group + h.blocks - 1) / h.blocks;
    h.blocks = (s->group + h.heads - 1) / h.heads;
    return h;
}

uint64_t gpu_attention_partials(const gpu_attention *s) {
    return (uint64_t)s->t * s->heads * s->spans;
}

uint64_t gpu_attention_partial_bytes(const gpu_attention *s) {
    return gpu_attention_partials(s) * (s->c + 2) * sizeof(float);
}

bool gpu_attention_has_room(const gpu_attention *s) {
    return s->spans <= ATT_PARTIALS / sizeof(float) &&
           (uint64_t)s->t * s->heads <= ATT_PARTIALS / sizeof(float) / s->spans / (s->c + 2);
}

uint64_t gpu_attention_workspace(const gpu_device *device, const gpu_variant *variant,
                                 const hy_op *op) {
    (void)device;
    (void)variant;
    const gpu_attention s = gpu_attention_of(op);
    return gpu_attention_partial_bytes(&s);
}

double gpu_attention_context_bytes(const hy_op *op) {
    const gpu_attention s = gpu_attention_of(op);
    const hy_dtype_info *k = hy_dtype_get((hy_dtype)op->operand[HY_ATTENTION_k_cache].dtype);
    const hy_dtype_info *v = hy_dtype_get((hy_dtype)op->operand[HY_ATTENTION_v_cache].dtype);
    double context = (double)op->operand[HY_ATTENTION_table].dim[1] * s.length;
    if (op->attention.window > 0) context = HY_MIN(context, (double)op->attention.window);
    const double key = (double)s.d * k->bytes / k->block, value = (double)s.c * v->bytes / v->block;
    return context * s.kv_heads * (key + value);
}

/* ---- workgroups ---------------------------------------------------------------------------------- */

static uint32_t quads_of(const gpu_attention *s) { /* vec4s of a query */
    return (s->d + 3) / 4;
}

static uint32_t slices_of(const gpu_attention *s) { /* of a row of values */
    return (s->c + ATT_COLUMNS - 1) / ATT_COLUMNS;
}

static uint32_t lanes_of(const gpu_attention *s) { /* threads of 4 columns of values */
    uint32_t lanes = 8;
    while (lanes < 64 && 4 * lanes < s->c)
        lanes *= 2;
    return lanes;
}

/* How a workgroup's rows are made up. */
typedef struct att_work {
    uint32_t heads, blocks; /* heads of a workgroup, such blocks in a group */
    uint32_t tokens;
    uint32_t rows; /* of a thread */
    uint64_t groups;
} att_work;

static att_work divide_heads(const gpu_attention *s, uint32_t most) {
    const gpu_heads h = gpu_attention_heads(s, most);
    return (att_work){.heads = h.heads, .blocks = h.blocks, .tokens = 1};
}

/* Bytes of shared memory of a head, or row: queries, weights, four-key results, three numbers. */
static uint32_t split_row_bytes(const gpu_attention *s) {
    return quads_of(s) * 16 + ATT_TILE * 4 + 64 + 12;
}
enum { ROW_BYTES = 17 * 16 + 64 + 12 + 12 };

/* Half as much is staged where shared memory is scarce. */
static bool is_small(const gpu_device *device, const gpu_attention *s) {
    return device->limits.shared_bytes < ATT_SPLIT_SHARED + ATT_SPLIT_HEADS * split_row_bytes(s);
}

/* Heads of a workgroup at most; 0: shared memory does not suffice. */
static uint32_t split_heads(const gpu_device *device, const gpu_attention *s) {
    const uint32_t fixed = is_small(device, s) ? ATT_SMALL_SHARED : ATT_SPLIT_SHARED;
    if (device->limits.shared_bytes < fixed) return 0;
    return HY_MIN((uint32_t)ATT_SPLIT_HEADS,
                  (device->limits.shared_bytes - fixed) / split_row_bytes(s));
}

static att_work split_work(const gpu_device *device, const gpu_attention *s) {
    att_work w = divide_heads(s, split_heads(device, s));
    w.rows = w.heads;
    w.groups = (uint64_t)s->t * s->kv_heads * w.blocks * slices_of(s) * s->spans;
    return w;
}

/* Rows of a workgroup at most, by shared memory and by registers: a thread has 4 columns of rows * lanes /
 * 128 rows, twice. */
static uint32_t most_rows(const gpu_device *device, const gpu_attention *s) {
    uint32_t rows = lanes_of(s) == 64 ? 16 : 32;
    while (rows > ATT_ROW_LANES && ATT_SHARED + rows * ROW_BYTES > device->limits.shared_bytes)
        rows /= 2;
    return rows;
}

/* Workgroups of ATT_ROW_THREADS that keep the device busy. */
static uint32_t busy_groups(const gpu_device *device) {
    const double wanted = (double)device->limits.ops_per_us / ATT_BUSY_RATE;
    return (uint32_t)HY_MAX(HY_MIN(wanted, 256.0), 4.0);
}

static att_work rows_work(const gpu_device *device, const gpu_attention *s) {
    const uint32_t most = most_rows(device, s);
    att_work w = divide_heads(s, most);
    w.tokens = HY_MIN(most / w.heads, s->t);
    const uint64_t per_token = (uint64_t)s->kv_heads * w.blocks * slices_of(s);
    while (w.tokens > 1 && hy_div_up(s->t, w.tokens) * per_token < busy_groups(device))
        w.tokens = (w.tokens + 1) / 2;
    for (w.rows = 1; w.rows * ATT_ROW_LANES < w.tokens * w.heads; w.rows *= 2)
        ; /* few different numbers, for each is a kernel of its own */
    w.groups = hy_div_up(s->t, w.tokens) * per_token;
    return w;
}

/* ---- what is accepted, and what it costs --------------------------------------------------------- */

static bool split_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const gpu_attention s = gpu_attention_of(op);
    return op->operand[HY_ATTENTION_k_cache].dtype == variant->dtype &&
           split_heads(device, &s) > 0 && gpu_attention_has_room(&s);
}

static bool rows_accepts(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    const gpu_attention s = gpu_attention_of(op);
    return op->operand[HY_ATTENTION_k_cache].dtype == variant->dtype &&
           (slices_of(&s) > 1) == (variant->tile[0] != 0) &&
           ATT_SHARED + ATT_ROW_LANES * ROW_BYTES <= device->limits.shared_bytes;
}

/* `passes`: how often the context is read. Few threads reach neither bandwidth nor rate. */
static float time_of(const gpu_device *device, const hy_op *op, double passes, double threads,
                     double ops, double extra_bytes, uint32_t launches) {
    const double busy = HY_MIN(threads / (busy_groups(device) * ATT_ROW_THREADS), 1.0);
    return gpu_time(device, (passes * gpu_attention_context_bytes(op) + extra_bytes) / busy,
                    ops / busy, launches);
}

static float split_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    const gpu_attention s = gpu_attention_of(op);
    const att_work w = split_work(device, &s);
    /* A key is read from shared memory for each product: about half the rate. */
    return time_of(device, op, (double)s.t * w.blocks, (double)w.groups * ATT_SPLIT_THREADS,
                   2 * hy_op_flops(op), 2.0 * (double)gpu_attention_partial_bytes(&s), 2);
}

static float rows_cost(const gpu_device *device, const gpu_variant *variant, const hy_op *op) {
    (void)variant;
    const gpu_attention s = gpu_attention_of(op);
    const att_work w = rows_work(device, &s);
    return time_of(device, op, (double)hy_div_up(s.t, w.tokens) * w.blocks * slices_of(&s),
                   (double)w.groups * ATT_ROW_THREADS, hy_op_flops(op), 0, 1);
}

/* ---- launches ------------------------------------------------------------------------------------ */

/* Whether rows of a cache begin at multiples of 16 bytes and consist of such. */
static bool is_wide(const hy_tensor *t, uint64_t address) {
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
    if (address % 16) return false;
    if (t->dtype == HY_DTYPE_Q8_0) return (uint64_t)t->dim[2] * t->dim[3] / 32 * 34 % 16 == 0;
    for (uint32_t d = 0; d < 3; d++)
        if (t->stride[d] * info->bytes % 16) return false;
    return t->dim[3] * info->bytes % 16 == 0;
}

enum { JOIN_TYPES = 31 << 12 | 1 << 21 }; /* what the join looks at */

/* ATT_TYPES of attention.glsl. */
static uint32_t types_of(const hy_op *op, const hy_arg_tensor *args) {
    const hy_tensor *t = op->operand;
    uint32_t types = t[HY_ATTENTION_k_cache].dtype | (uint32_t)t[HY_ATTENTION_v_cache].dtype << 4 |
                     (uint32_t)t[HY_ATTENTION_q].dtype << 8 |
                     (uint32_t)t[HY_ATTENTION_out].dtype << 12;
    types |= (uint32_t)is_wide(&t[HY_ATTENTION_k_cache], args[HY_ATTENTION_k_cache].address) << 17;
    types |= (uint32_t)is_wide(&t[HY_ATTENTION_v_cache], args[HY_ATTENTION_v_cache].address) << 18;
    types |= (uint32_t)(op->attention.softcap > 0) << 19;
    types |= (uint32_t)(t[HY_ATTENTION_slopes].dtype != HY_DTYPE_NONE) << 20;
    types |= (uint32_t)(t[HY_ATTENTION_sinks].dtype != HY_DTYPE_NONE) << 21;
    return types;
}

static void fill(const hy_op *op, const gpu_attention *s, const att_work *w, gpu_launch *out) {
    out->constant[0] = w->rows;
    out->constant[1] = lanes_of(s);
    out->constant[2] = types_of(op, out->args.operand);
    const uint32_t extra[] = {(uint32_t)s->spans, s->span,      w->heads, w->blocks,
                              w->tokens,          slices_of(s), 0};
    memcpy(out->args.extra, extra, sizeof extra);
}

/* Loads of a thread under way together, as a power of two. None on a software device: it gains nothing from them
 * and compiles each. */
static uint32_t loads_of(const gpu_device *device, uint32_t most) {
    return device->limits.ops_per_us < ATT_BUSY_RATE ? 0 : most;
}

static void split_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                       uint32_t phase, gpu_launch *out) {
    (void)variant;
    const gpu_attention s = gpu_attention_of(op);
    const att_work w = split_work(device, &s);
    fill(op, &s, &w, out);
    out->args.extra[6] = (uint32_t)gpu_attention_partials(&s);
    out->threads = ATT_SPLIT_THREADS;
    if (phase == 0) {
        out->constant[2] |= (uint32_t)is_small(device, &s) << 22 | loads_of(device, 3) << 23;
        out->constant[3] = quads_of(&s);
        gpu_grid(device, w.groups, out);
        return;
    }
    out->constant[0] = 0; /* one join for all of an output's dtype */
    out->constant[2] &= JOIN_TYPES;
    gpu_grid(device,
             hy_div_up((uint64_t)s.t * s.heads, ATT_SPLIT_THREADS / lanes_of(&s)) * slices_of(&s),
             out);
}

static void rows_plan(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                      uint32_t phase, gpu_launch *out) {
    (void)variant;
    (void)phase;
    const gpu_attention s = gpu_attention_of(op);
    const att_work w = rows_work(device, &s);
    fill(op, &s, &w, out);
    out->constant[2] |= loads_of(device, 1) << 23;
    out->threads = ATT_ROW_THREADS;
    gpu_grid(device, w.groups, out);
}

const gpu_family gpu_family_attention_split = {.accepts = split_accepts,
                                               .cost = split_cost,
                                               .workspace = gpu_attention_workspace,
                                               .plan = split_plan};
const gpu_family gpu_family_attention_rows = {
    .accepts = rows_accepts, .cost = rows_cost, .plan = rows_plan};

/* tests/conform/run.c: one kernel on one case: pack, record once, replay at several counts, compare. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/rng.h"
#include "tests/conform/conform.h"
#include "tests/conform/round.h"
#include "tests/qemu.h"

enum { ZONE = 256, OUTPUT_POISON = 0xa5, INPUT_POISON = CONFORM_INPUT_POISON, REPLAYS = 4 };

typedef struct slot {
    uint32_t role;
    uint64_t bytes;    /* in the file's layout */
    uint8_t *data;     /* what the operand holds before a replay; a constant's is the case's */
    uint8_t *after;    /* what the device's buffer holds after it (outputs and states) */
    hy_buffer *buffer; /* red zone, contents, red zone */
    hy_view view;
    hy_buffer *oracle_buffer;
    hy_view oracle_view;
    double *want, *mag; /* outputs and states: dense */
} slot;

typedef struct trial {
    hy_device *device, *oracle;
    const conform_case *c;
    const conform_constants *constants;
    const hy_kernel *kernel;
    slot slot[HY_MAX_OPERANDS];
    hy_op oracle_op; /* x, or x and w, rounded as the kernel rounds */
    hy_buffer *counters, *oracle_counters, *workspace;
    hy_cmd *cmd;
    hy_timeline *timeline;
    uint64_t tick;
    uint32_t count[HY_COUNTER_COUNT];
    uint8_t *bits[HY_MAX_OPERANDS]; /* outputs of the first replay */
    double *worst;
    char *failure;
} trial;

static bool written(const slot *s) {
    return s->role & (HY_ROLE_OUT | HY_ROLE_STATE);
}

static uint64_t elements(const hy_tensor *t) {
    return hy_tensor_rows(t) * t->dim[t->rank - 1];
}

/* ---- set-up and tear-down ---- */

static void *zeroed(uint64_t bytes) {
    return calloc(1, bytes ? bytes : 1);
}

static hy_status prepare_slot(trial *k, uint32_t i) {
    const hy_tensor *t = &k->c->op.operand[i];
    slot *s = &k->slot[i];
    if (t->dtype == HY_DTYPE_NONE) return HY_OK;
    s->role = hy_op_get((hy_op_kind)k->c->op.kind)->operand[i].role;
    s->bytes = hy_tensor_bytes(t);
    uint64_t device_bytes =
        t->constant && k->kernel->constant[i].rows ? k->kernel->constant[i].bytes : s->bytes;
    s->data = t->constant ? k->constants->data[i] : zeroed(s->bytes);
    s->after = zeroed(device_bytes + 2 * ZONE);
    if (!s->data || !s->after) return hy_fail(HY_E_MEMORY, "no memory for a case");
    if (written(s)) {
        s->want = zeroed(elements(t) * sizeof(double));
        s->mag = zeroed(elements(t) * sizeof(double));
        k->bits[i] = zeroed(s->bytes);
        if (!s->want || !s->mag || !k->bits[i]) return hy_fail(HY_E_MEMORY, "no memory for a case");
    }
    HY_TRY(k->device->backend->buffer_new(k->device, HY_HEAP_DEVICE,
                                          hy_align_up(device_bytes, ZONE) + 2 * ZONE, &s->buffer));
    HY_TRY(k->oracle->backend->buffer_new(k->oracle, HY_HEAP_DEVICE, s->bytes, &s->oracle_buffer));
    s->view = (hy_view){s->buffer, ZONE, device_bytes};
    s->oracle_view = hy_view_of(s->oracle_buffer);
    return HY_OK;
}

static void tear_down(trial *k) {
    hy_cmd_free(k->cmd);
    hy_timeline_free(k->timeline);
    hy_buffer_free(k->counters);
    hy_buffer_free(k->oracle_counters);
    hy_buffer_free(k->workspace);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        slot *s = &k->slot[i];
        hy_buffer_free(s->buffer);
        hy_buffer_free(s->oracle_buffer);
        if (!k->c->op.operand[i].constant) free(s->data);
        free(s->after);
        free(s->want);
        free(s->mag);
        free(k->bits[i]);
    }
}

/* ---- constants ---- */

/* Packs in pieces, the later ones first, as the contract allows. */
static hy_status pack_bytes(trial *k, uint32_t i, const uint8_t *file, hy_view dst) {
    const hy_tensor *t = &k->c->op.operand[i];
    uint64_t rows = hy_tensor_rows(t), step = k->kernel->constant[i].rows;
    uint64_t row_bytes = hy_dtype_row_bytes(hy_dtype_get((hy_dtype)t->dtype), t->dim[t->rank - 1]);
    uint64_t middle = rows / 2 / step * step;
    HY_TRY(k->device->backend->pack(k->device, &k->c->op, k->kernel, i, middle, rows - middle,
                                    file + middle * row_bytes, dst));
    if (middle == 0) return HY_OK;
    return k->device->backend->pack(k->device, &k->c->op, k->kernel, i, 0, middle, file, dst);
}

/* unpack(pack(x)) == x for arbitrary bytes, then the case's weights. */
static hy_status load_constant(trial *k, uint32_t i) {
    slot *s = &k->slot[i];
    uint8_t *noise = malloc(s->bytes), *back = malloc(s->bytes);
    hy_status status =
        noise && back ? HY_OK : hy_fail(HY_E_MEMORY, "no memory for %s", k->c->label);
    hy_rng rng = hy_rng_seed(k->c->seed + 77);
    for (uint64_t b = 0; status == HY_OK && b < s->bytes; b += 4) {
        const uint32_t word = hy_rng_u32(&rng);
        memcpy(noise + b, &word, HY_MIN(s->bytes - b, sizeof word));
    }
    if (status == HY_OK) status = pack_bytes(k, i, noise, s->view);
    if (status == HY_OK) {
        status = k->device->backend->unpack(k->device, &k->c->op, k->kernel, i, s->view, back);
    }
    if (status == HY_OK && memcmp(noise, back, s->bytes) != 0 && !k->failure[0]) {
        uint64_t at = 0;
        while (noise[at] == back[at])
            at++;
        snprintf(k->failure, 256, "%s: unpack(pack(x)) differs from x at byte %llu of %llu",
                 k->c->label, (unsigned long long)at, (unsigned long long)s->bytes);
    }
    free(noise);
    free(back);
    return status == HY_OK ? pack_bytes(k, i, s->data, s->view) : status;
}

/* The device's buffer of an operand that is not packed: s->data between red zones. */
static hy_status write_zoned(trial *k, slot *s, uint8_t poison) {
    memset(s->after, poison, s->bytes + 2 * ZONE);
    memcpy(s->after + ZONE, s->data, s->bytes);
    return k->device->backend->write(s->buffer, 0, s->after, s->bytes + 2 * ZONE);
}

/* Once: replays read it again. */
static hy_status place_constant(trial *k, uint32_t i) {
    slot *s = &k->slot[i];
    HY_TRY(k->oracle->backend->write(s->oracle_buffer, 0, s->data, s->bytes));
    return k->kernel->constant[i].rows ? load_constant(k, i) : write_zoned(k, s, INPUT_POISON);
}

/* ---- the op on the same rounded operands ---- */

/* The oracle's operand becomes what the kernel rounds it to. */
static hy_status round_operand(trial *k, uint32_t i) {
    slot *s = &k->slot[i];
    const hy_tensor *from = &k->c->op.operand[i];
    hy_tensor *to = &k->oracle_op.operand[i];
    const uint8_t constant = to->constant;
    *to = hy_tensor_of(HY_DTYPE_F32, from->rank, from->dim, (hy_counter)from->counter);
    to->constant = constant;
    const uint64_t bytes = hy_tensor_bytes(to);
    hy_buffer_free(s->oracle_buffer);
    s->oracle_buffer = NULL;
    HY_TRY(k->oracle->backend->buffer_new(k->oracle, HY_HEAP_DEVICE, HY_MAX(bytes, s->bytes),
                                          &s->oracle_buffer));
    s->oracle_view = hy_view_of(s->oracle_buffer);
    float *rounded = malloc(bytes);
    hy_status status = rounded ? conform_round(&k->c->op, k->kernel, i, s->data, rounded)
                               : hy_fail(HY_E_MEMORY, "no memory for a case");
    if (status == HY_OK) status = k->oracle->backend->write(s->oracle_buffer, 0, rounded, bytes);
    free(rounded);
    return status;
}

/* ---- one replay ---- */

static hy_status set_inputs(trial *k) {
    HY_TRY(k->device->backend->write(k->counters, 0, k->count, sizeof k->count));
    HY_TRY(k->oracle->backend->write(k->oracle_counters, 0, k->count, sizeof k->count));
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        slot *s = &k->slot[i];
        if (!s->bytes || k->c->op.operand[i].constant) continue;
        bool output = s->role & HY_ROLE_OUT;
        const uint8_t poison = output ? OUTPUT_POISON : INPUT_POISON;
        memset(s->data, poison, s->bytes);
        if (!output) conform_fill(k->c, i, k->count, s->data);
        HY_TRY(k->oracle->backend->write(s->oracle_buffer, 0, s->data, s->bytes));
        HY_TRY(write_zoned(k, s, poison));
    }
    return HY_OK;
}

static hy_status ask_oracle(trial *k) {
    hy_view views[HY_MAX_OPERANDS];
    k->oracle_op = k->c->op;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (conform_rounds(&k->c->op, k->kernel, i)) HY_TRY(round_operand(k, i));
        views[i] = k->slot[i].oracle_view;
    }
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        slot *s = &k->slot[i];
        if (!s->bytes || !written(s)) continue;
        uint64_t n = elements(&k->c->op.operand[i]);
        for (uint64_t e = 0; e < n; e++)
            s->want[e] = s->mag[e] = NAN;
        HY_TRY(k->oracle->backend->oracle(k->oracle, &k->oracle_op, views,
                                          hy_view_of(k->oracle_counters), i, s->want, s->mag));
    }
    return HY_OK;
}

/* The oracle must have written every element within the count, or a comparison proves nothing. */
static void check_oracle(trial *k, uint32_t i) {
    const hy_tensor *t = &k->c->op.operand[i];
    uint64_t rows0 = t->counter ? HY_MIN(k->count[t->counter], t->dim[0]) : t->dim[0];
    uint64_t expected = elements(t) / t->dim[0] * rows0, seen = 0;
    for (uint64_t e = 0; e < elements(t); e++)
        seen += !isnan(k->slot[i].want[e]);
    if (seen != expected && !k->failure[0]) {
        snprintf(k->failure, 256, "%s: the oracle gave %llu of %llu elements", k->c->label,
                 (unsigned long long)seen, (unsigned long long)expected);
    }
}

static hy_status check_replay(trial *k) {
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        slot *s = &k->slot[i];
        const hy_tensor *t = &k->c->op.operand[i];
        bool packed = t->constant && k->kernel->constant[i].rows;
        if (!s->bytes || packed) continue;
        HY_TRY(k->device->backend->read(s->buffer, 0, s->after, s->bytes + 2 * ZONE));
        const uint8_t zone = (s->role & HY_ROLE_OUT) ? OUTPUT_POISON : INPUT_POISON;
        for (uint32_t b = 0; b < ZONE && !k->failure[0]; b++) {
            if (s->after[b] == zone && s->after[ZONE + s->bytes + b] == zone) continue;
            snprintf(k->failure, 256, "%s: red zone of %s overwritten", k->c->label,
                     hy_op_get((hy_op_kind)k->c->op.kind)->operand[i].name);
        }
        if (written(s)) {
            if (s->role & HY_ROLE_OUT) check_oracle(k, i);
            conform_compare(k->c, i, k->kernel->accuracy, s->data, s->after + ZONE, s->want, s->mag,
                            k->worst, k->failure);
        } else if (memcmp(s->data, s->after + ZONE, s->bytes) != 0 && !k->failure[0]) {
            snprintf(k->failure, 256, "%s: input %s was changed", k->c->label,
                     hy_op_get((hy_op_kind)k->c->op.kind)->operand[i].name);
        }
    }
    return HY_OK;
}

/* ---- repeated bits ---- */

/* Rows of this replay against the first one, which had at least as many. */
static void check_bits(trial *k, uint32_t replay) {
    bool full = memcmp(k->count, (uint32_t[HY_COUNTER_COUNT]){0}, sizeof k->count) != 0;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        slot *s = &k->slot[i];
        const hy_tensor *t = &k->c->op.operand[i];
        if (!s->bytes || !(s->role & HY_ROLE_OUT) || t->rank < 1) continue;
        const hy_dtype_info *info = hy_dtype_get((hy_dtype)t->dtype);
        uint64_t rows0 = t->counter ? HY_MIN(k->count[t->counter], t->dim[0]) : t->dim[0];
        uint64_t bytes = rows0 == t->dim[0]
                             ? s->bytes
                             : rows0 * (t->rank > 1 ? t->stride[0] : 1) / info->block * info->bytes;
        if (replay == 0) {
            memcpy(k->bits[i], s->after + ZONE, s->bytes);
        } else if (full && memcmp(k->bits[i], s->after + ZONE, bytes) != 0 && !k->failure[0]) {
            snprintf(k->failure, 256, "%s: %s has other bits in replay %u (counts %u %u %u)",
                     k->c->label, hy_op_get((hy_op_kind)k->c->op.kind)->operand[i].name, replay + 1,
                     k->count[1], k->count[2], k->count[3]);
        }
    }
}

static uint32_t bound_of(const hy_op *op, hy_counter counter) {
    uint32_t bound = 0;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (op->operand[i].dtype != HY_DTYPE_NONE && op->operand[i].counter == counter) {
            bound = HY_MAX(bound, op->operand[i].dim[0]);
        }
    }
    return bound;
}

/* Replay 0 and 3: full; 1: about half the tokens and rows; 2: none at all. */
static void set_counts(trial *k, uint32_t replay) {
    memset(k->count, 0, sizeof k->count);
    for (uint32_t counter = HY_COUNTER_T; counter <= HY_COUNTER_R; counter++) {
        uint32_t full = bound_of(&k->c->op, (hy_counter)counter);
        uint32_t half = counter == HY_COUNTER_S ? full : (full + 1) / 2;
        k->count[counter] = replay == 1 ? half : replay == 2 ? 0 : full;
    }
}

static hy_status run_once(trial *k) {
    HY_TRY(k->device->backend->submit(k->device, k->cmd, k->timeline, ++k->tick));
    HY_TRY(k->device->backend->timeline_wait(k->timeline, k->tick, UINT64_MAX));
    qemu_settle();
    return HY_OK;
}

static hy_status record(trial *k, const hy_view *views) {
    hy_cmd_free(k->cmd);
    k->cmd = NULL;
    HY_TRY(k->device->backend->cmd_new(k->device, hy_view_of(k->counters), &k->cmd));
    HY_TRY(k->device->backend->cmd_op(k->cmd, &k->c->op, k->kernel, views,
                                      k->workspace ? hy_view_of(k->workspace)
                                                   : (hy_view){NULL, 0, 0}));
    return k->device->backend->cmd_seal(k->cmd);
}

/* Output 0 in the memory of operand `from`: the same bits. */
static hy_status check_in_place(trial *k, uint32_t from) {
    uint32_t out = 0;
    while (!(k->slot[out].role & HY_ROLE_OUT) || !k->slot[out].bytes)
        out++;
    slot *a = &k->slot[from], *o = &k->slot[out];
    const hy_tensor *ta = &k->c->op.operand[from], *to = &k->c->op.operand[out];
    bool same = a->bytes && ta->dtype == to->dtype && ta->rank == to->rank &&
                memcmp(ta->dim, to->dim, sizeof ta->dim) == 0 &&
                memcmp(ta->stride, to->stride, sizeof ta->stride) == 0;
    if (!same) return HY_OK;
    hy_view views[HY_MAX_OPERANDS];
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        views[i] = k->slot[i].view;
    views[out] = a->view;
    set_counts(k, 0);
    HY_TRY(set_inputs(k));
    HY_TRY(record(k, views));
    HY_TRY(run_once(k));
    HY_TRY(k->device->backend->read(a->buffer, ZONE, a->after, a->bytes));
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)to->dtype);
    uint64_t row_bytes = hy_dtype_row_bytes(info, to->dim[to->rank - 1]);
    if (hy_tensor_dense(to)) row_bytes = o->bytes;
    if (memcmp(a->after, k->bits[out], row_bytes) != 0 && !k->failure[0]) {
        snprintf(k->failure, 256, "%s: other bits when %s is the output too", k->c->label,
                 hy_op_get((hy_op_kind)k->c->op.kind)->operand[from].name);
    }
    return HY_OK;
}

/* ---- rounded operands against exact ones ---- */

/* A plain product only: |got - exact| <= tight bound + what rounding may move. */
static hy_status check_rounding(trial *k) {
    const hy_op *op = &k->c->op;
    const hy_tensor *x = &op->operand[HY_MATMUL_x], *w = &op->operand[HY_MATMUL_w];
    bool plain = op->kind == HY_OP_MATMUL && conform_rounds(op, k->kernel, HY_MATMUL_x) &&
                 !op->matmul.act && !op->matmul.glu && op->matmul.scale == 0 &&
                 op->matmul.softcap == 0 && !k->slot[HY_MATMUL_bias].bytes &&
                 !k->slot[HY_MATMUL_residual].bytes && x->dtype == HY_DTYPE_F32 &&
                 op->operand[HY_MATMUL_out].dtype == HY_DTYPE_F32 &&
                 hy_tensor_dense(&op->operand[HY_MATMUL_out]);
    if (!plain || k->failure[0]) return HY_OK;
    uint32_t columns = x->dim[1], tokens = x->dim[0], n = w->dim[0];
    float *weights = malloc((uint64_t)columns * sizeof(float));
    const float *out = (const float *)(const void *)k->bits[HY_MATMUL_out];
    if (!weights) return hy_fail(HY_E_MEMORY, "no memory for a row of weights");
    uint64_t row_bytes = hy_dtype_row_bytes(hy_dtype_get((hy_dtype)w->dtype), columns);
    for (uint32_t r = 0; r < n && !k->failure[0]; r++) {
        hy_dequantize_row((hy_dtype)w->dtype, k->slot[HY_MATMUL_w].data + r * row_bytes, weights,
                          columns);
        for (uint32_t t = 0; t < tokens && !k->failure[0]; t++) {
            const float *row =
                (const float *)(const void *)k->slot[HY_MATMUL_x].data + t * x->stride[0];
            const double allowed = conform_rounding(k->kernel, row, weights, columns);
            double exact = 0, mag = 0;
            for (uint32_t i = 0; i < columns; i++) {
                exact += (double)row[i] * (double)weights[i];
                mag += fabs((double)row[i] * (double)weights[i]);
            }
            double error = fabs((double)out[(uint64_t)t * n + r] - exact);
            if (error <=
                allowed * 1.001 + k->kernel->accuracy * 0x1p-24 * (mag + allowed) + 0x1p-126)
                continue;
            snprintf(k->failure, 256,
                     "%s: out[%u, %u] is %.3g from the exact product, rounding explains %.3g",
                     k->c->label, t, r, error, allowed);
        }
    }
    free(weights);
    return HY_OK;
}

/* ---- the whole trial ---- */

static hy_status prepare(trial *k) {
    const hy_backend *b = k->device->backend;
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        HY_TRY(prepare_slot(k, i));
    uint64_t counter_bytes = HY_COUNTER_COUNT * sizeof(uint32_t);
    HY_TRY(b->buffer_new(k->device, HY_HEAP_HOST, counter_bytes, &k->counters));
    HY_TRY(k->oracle->backend->buffer_new(k->oracle, HY_HEAP_HOST, counter_bytes,
                                          &k->oracle_counters));
    if (k->kernel->workspace) {
        HY_TRY(b->buffer_new(k->device, HY_HEAP_DEVICE, k->kernel->workspace, &k->workspace));
    }
    HY_TRY(b->timeline_new(k->device, &k->timeline));
    set_counts(k, 0);
    HY_TRY(set_inputs(k));
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++) {
        if (k->slot[i].bytes && k->c->op.operand[i].constant) HY_TRY(place_constant(k, i));
    }
    return HY_OK;
}

static hy_status try_all(trial *k) {
    HY_TRY(prepare(k));
    hy_view views[HY_MAX_OPERANDS];
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        views[i] = k->slot[i].view;
    HY_TRY(record(k, views));
    bool replayable = k->kernel->flags & HY_KERNEL_REPLAYABLE;
    for (uint32_t r = 0; r < (replayable ? REPLAYS : 1) && !k->failure[0]; r++) {
        set_counts(k, r);
        HY_TRY(set_inputs(k));
        HY_TRY(run_once(k));
        HY_TRY(ask_oracle(k));
        HY_TRY(check_replay(k));
        bool compare = (r == 1 && (k->kernel->flags & HY_KERNEL_INVARIANT)) ||
                       (r == 3 && (k->kernel->flags & HY_KERNEL_DETERMINISTIC)) || r == 0;
        if (compare) check_bits(k, r);
    }
    for (uint32_t i = 0; i < HY_MAX_OPERANDS && !k->failure[0]; i++) {
        if (k->kernel->in_place >> i & 1) HY_TRY(check_in_place(k, i));
    }
    return check_rounding(k);
}

hy_status conform_kernel(hy_device *device, hy_device *oracle, const conform_case *c,
                         const conform_constants *constants, const hy_kernel *kernel, double *worst,
                         char failure[256]) {
    trial *k = calloc(1, sizeof *k);
    if (!k) return hy_fail(HY_E_MEMORY, "no memory for a trial");
    failure[0] = 0;
    *k = (trial){.device = device,
                 .oracle = oracle,
                 .c = c,
                 .constants = constants,
                 .kernel = kernel,
                 .worst = worst,
                 .failure = failure};
    hy_status status = try_all(k);
    tear_down(k);
    free(k);
    return status == HY_OK ? HY_OK : hy_fail_in(status, "%s on %s: ", kernel->name, c->label);
}

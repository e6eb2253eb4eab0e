/* backends/cpu/route.c: argmax, topk, topk_route, gather_rows, copy. */
#include <math.h>

#include "backends/cpu/kernel.h"
#include "backends/cpu/misc.h"

enum { SCAN = 64 }; /* elements that are looked at together for anything above a threshold */

/* Elements [i, i + SCAN) of a row of `count` as float32; those past it are NaN. */
CPU_INLINE uint32_t scan_load(uint32_t dtype, const void *row, uint32_t i, uint32_t count,
                              float lanes[SCAN]) {
    const uint32_t n = HY_MIN(count - i, SCAN);
    for (uint32_t j = 0; j < n; j += 16)
        v16_store(lanes + j, cpu_get(dtype, row, i + j, count));
    for (uint32_t j = n; j < SCAN; j++)
        lanes[j] = NAN;
    return n;
}

/* The largest of SCAN lanes, NaN passed over; -infinity when all are. */
CPU_INLINE float scan_max(const float lanes[SCAN]) {
    v16 m = v16_set(-INFINITY);
    for (uint32_t j = 0; j < SCAN; j += 16)
        m = v16_max(v16_load(lanes + j), m);
    return v16_max_lane(m);
}

static int32_t argmax_row(uint32_t dtype, const void *row, uint32_t count) {
    float best = -INFINITY, lanes[SCAN];
    int64_t index = -1, not_nan = -1;
    for (uint32_t i = 0; i < count; i += SCAN) {
        const uint32_t n = scan_load(dtype, row, i, count, lanes);
        if (scan_max(lanes) > best) {
            for (uint32_t j = 0; j < n; j++) {
                if (lanes[j] > best) {
                    best = lanes[j];
                    index = i + j;
                }
            }
        }
        for (uint32_t j = 0; index < 0 && not_nan < 0 && j < n; j++) {
            if (lanes[j] == lanes[j]) not_nan = i + j; /* a row of -infinity and NaN */
        }
    }
    return (int32_t)(index >= 0 ? index : not_nan >= 0 ? not_nan : 0);
}

void CPU_NAME(cpu_argmax)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    int32_t *out = call->p[HY_ARGMAX_out];
    uint64_t row, end;
    cpu_share(cpu_rows(call, HY_ARGMAX_x), worker, workers, &row, &end);
    for (; row < end; row++)
        out[row] = argmax_row(t[HY_ARGMAX_x].dtype, cpu_row(call, HY_ARGMAX_x, row),
                              t[HY_ARGMAX_x].dim[1]);
}

/* NaN sorts below everything. */
CPU_INLINE bool above(float a, float b) {
    return a > b || (a == a && b != b);
}

/* Inserts into the list values/ids of *held <= k entries, largest first; equals stay in order of arrival. */
static void insert(float *values, int32_t *ids, uint32_t *held, uint32_t k, float x, int32_t id) {
    uint32_t place = *held;
    if (*held == k) {
        if (!above(x, values[k - 1])) return;
        place = k - 1;
    } else {
        ++*held;
    }
    for (; place && above(x, values[place - 1]); place--) {
        values[place] = values[place - 1];
        ids[place] = ids[place - 1];
    }
    values[place] = x;
    ids[place] = id;
}

static void topk_row(uint32_t dtype, const void *row, uint32_t count, uint32_t k, float *values,
                     int32_t *ids) {
    uint32_t held = 0;
    float lanes[SCAN];
    for (uint32_t i = 0; i < count; i += SCAN) {
        const uint32_t n = scan_load(dtype, row, i, count, lanes);
        if (held == k && !above(scan_max(lanes), values[k - 1])) continue;
        for (uint32_t j = 0; j < n; j++)
            insert(values, ids, &held, k, lanes[j], (int32_t)(i + j));
    }
}

void CPU_NAME(cpu_topk)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    uint64_t row, end;
    cpu_share(cpu_rows(call, HY_TOPK_x), worker, workers, &row, &end);
    for (; row < end; row++)
        topk_row(t[HY_TOPK_x].dtype, cpu_row(call, HY_TOPK_x, row), t[HY_TOPK_x].dim[1],
                 (uint32_t)call->op.topk.k, (float *)cpu_row(call, HY_TOPK_values, row),
                 (int32_t *)cpu_row(call, HY_TOPK_ids, row));
}

/* p[e] = gate(logits): double, so that a bias added to it does not make ties out of near-ties. */
static void gates(const float *logits, uint32_t experts, int32_t gate, double *p) {
    double largest = -INFINITY, sum = 0;
    for (uint32_t e = 0; e < experts; e++)
        largest = logits[e] > largest ? logits[e] : largest;
    for (uint32_t e = 0; e < experts; e++) {
        const double x = logits[e];
        p[e] = gate == HY_GATE_SOFTMAX   ? exp(x - largest)
               : gate == HY_GATE_SIGMOID ? 1 / (1 + exp(-x))
                                         : x;
        sum += p[e];
    }
    for (uint32_t e = 0; gate == HY_GATE_SOFTMAX && e < experts; e++)
        p[e] /= sum;
}

/* The place of the largest key not yet taken (NaN last); takes it. */
static uint32_t take_largest(const double *keys, uint8_t *taken, uint32_t count) {
    uint32_t best = count;
    for (uint32_t e = 0; e < count; e++) {
        if (taken[e]) continue;
        if (best == count || keys[e] > keys[best] ||
            (keys[e] == keys[e] && keys[best] != keys[best]))
            best = e;
    }
    taken[best] = 1;
    return best;
}

static void normalize(double *w, uint32_t k, int32_t how, double scale) {
    double sum = 0, largest = w[0];
    for (uint32_t i = 1; i < k; i++)
        largest = w[i] > largest ? w[i] : largest;
    for (uint32_t i = 0; how == 2 && i < k; i++)
        w[i] = exp(w[i] - largest);
    for (uint32_t i = 0; i < k; i++)
        sum += w[i];
    for (uint32_t i = 0; i < k; i++)
        w[i] = (how ? w[i] / sum : w[i]) * scale;
}

static void route_row(cpu_call *call, uint64_t row, double *p, double *keys, uint8_t *taken) {
    const hy_topk_route_attr *attr = &call->op.topk_route;
    const uint32_t experts = call->op.operand[HY_TOPK_ROUTE_logits].dim[1];
    const uint32_t k = (uint32_t)attr->k;
    const float *logits = (const float *)cpu_row(call, HY_TOPK_ROUTE_logits, row);
    const float *bias = call->p[HY_TOPK_ROUTE_bias];
    int32_t *ids = (int32_t *)cpu_row(call, HY_TOPK_ROUTE_ids, row);
    float *weights = (float *)cpu_row(call, HY_TOPK_ROUTE_weights, row);
    gates(logits, experts, attr->gate, p);
    for (uint32_t e = 0; e < experts; e++) {
        keys[e] = bias ? p[e] + (double)bias[e] : (double)logits[e]; /* gates keep the order */
        taken[e] = 0;
    }
    for (uint32_t i = 0; i < k; i++)
        ids[i] = (int32_t)take_largest(keys, taken, experts);
    for (uint32_t i = 0; i < k; i++)
        keys[i] = p[ids[i]];
    normalize(keys, k, attr->normalize, attr->scale == 0 ? 1.0 : (double)attr->scale);
    for (uint32_t i = 0; i < k; i++)
        weights[i] = (float)keys[i];
}

void CPU_NAME(cpu_topk_route)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const uint32_t experts = call->op.operand[HY_TOPK_ROUTE_logits].dim[1];
    double *p = (double *)cpu_scratch(call, worker), *keys = p + experts;
    uint8_t *taken = (uint8_t *)(keys + experts);
    uint64_t row, end;
    cpu_share(cpu_rows(call, HY_TOPK_ROUTE_logits), worker, workers, &row, &end);
    for (; row < end; row++)
        route_row(call, row, p, keys, taken);
}

void CPU_NAME(cpu_gather_rows)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const int32_t *rows = call->p[HY_GATHER_ROWS_rows];
    const uint32_t columns = t[HY_GATHER_ROWS_x].dim[1];
    uint64_t row, end;
    cpu_share(cpu_rows(call, HY_GATHER_ROWS_rows), worker, workers, &row, &end);
    for (; row < end; row++) {
        const char *x = cpu_row(call, HY_GATHER_ROWS_x, (uint64_t)(uint32_t)rows[row]);
        char *out = cpu_row(call, HY_GATHER_ROWS_out, row);
        for (uint32_t i = 0; i < columns; i += 16)
            cpu_put(t[HY_GATHER_ROWS_out].dtype, out, i, columns,
                    cpu_get(t[HY_GATHER_ROWS_x].dtype, x, i, columns));
    }
}

void CPU_NAME(cpu_copy)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = &call->op.operand[HY_COPY_x];
    const uint64_t bytes = cpu_bytes(t->dtype, cpu_columns(t));
    uint64_t row, end;
    cpu_share(cpu_flat_rows(call, HY_COPY_x), worker, workers, &row, &end);
    for (; row < end; row++)
        memcpy(cpu_row(call, HY_COPY_out, row), cpu_row(call, HY_COPY_x, row), bytes);
}

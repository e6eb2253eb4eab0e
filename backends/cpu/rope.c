/* backends/cpu/rope.c: rope_table, rope, kv_write. Work is split by heads. */
#include <math.h>

#include "backends/cpu/kernel.h"
#include "backends/cpu/misc.h"

void CPU_NAME(cpu_rope_table)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const int32_t *pos = call->p[HY_ROPE_TABLE_pos];
    const uint32_t pairs = t[HY_ROPE_TABLE_freq].dim[0];
    const double magnitude =
        call->op.rope_table.magnitude == 0 ? 1.0 : (double)call->op.rope_table.magnitude;
    uint64_t i, end;
    cpu_share((uint64_t)cpu_rows(call, HY_ROPE_TABLE_out) * pairs, worker, workers, &i, &end);
    for (; i < end; i++) {
        const uint64_t row = i / pairs, j = i % pairs;
        const float *freq = (const float *)cpu_row(call, HY_ROPE_TABLE_freq, j);
        float *out = (float *)cpu_row(call, HY_ROPE_TABLE_out, row);
        const double angle = pos[row] * ((double)freq[0] + (double)freq[1]);
        out[j] = (float)(cos(angle) * magnitude);
        out[pairs + j] = (float)(sin(angle) * magnitude);
    }
}

/* Turns the first 2 * pairs elements of x in place; table: pairs cosines, then as many sines. */
static void rotate(float *x, const float *table, uint32_t pairs, int32_t style) {
    const float *c = table, *s = table + pairs;
    if (style == HY_ROPE_PAIRS) {
        for (uint32_t j = 0; j < pairs; j++) {
            const float a = x[2 * j], b = x[2 * j + 1];
            x[2 * j] = a * c[j] - b * s[j];
            x[2 * j + 1] = a * s[j] + b * c[j];
        }
        return;
    }
    for (uint32_t j = 0; j < pairs; j += 16) {
        const v16 a = cpu_get(HY_DTYPE_F32, x, j, pairs);
        const v16 b = cpu_get(HY_DTYPE_F32, x + pairs, j, pairs);
        const v16 cs = cpu_get(HY_DTYPE_F32, c, j, pairs), sn = cpu_get(HY_DTYPE_F32, s, j, pairs);
        cpu_put(HY_DTYPE_F32, x, j, pairs, v16_sub(v16_mul(a, cs), v16_mul(b, sn)));
        cpu_put(HY_DTYPE_F32, x + pairs, j, pairs, v16_add(v16_mul(a, sn), v16_mul(b, cs)));
    }
}

static void load_head(uint32_t dtype, const void *x, float *head, uint32_t count) {
    for (uint32_t i = 0; i < count; i += 16)
        cpu_put(HY_DTYPE_F32, head, i, count, cpu_get(dtype, x, i, count));
}

static void store_head(uint32_t dtype, void *out, const float *head, uint32_t count) {
    for (uint32_t i = 0; i < count; i += 16)
        cpu_put(dtype, out, i, count, cpu_get(HY_DTYPE_F32, head, i, count));
}

void CPU_NAME(cpu_rope)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const uint32_t heads = t[HY_ROPE_x].dim[1], columns = t[HY_ROPE_x].dim[2];
    const uint32_t pairs = t[HY_ROPE_table].dim[1] / 2;
    float *head = cpu_scratch(call, worker);
    uint64_t i, end;
    cpu_share((uint64_t)cpu_rows(call, HY_ROPE_x) * heads, worker, workers, &i, &end);
    for (; i < end; i++) {
        load_head(t[HY_ROPE_x].dtype, cpu_at(call, HY_ROPE_x, i / heads, i % heads), head, columns);
        rotate(head, (const float *)cpu_row(call, HY_ROPE_table, i / heads), pairs,
               call->op.rope.style);
        store_head(t[HY_ROPE_out].dtype, cpu_at(call, HY_ROPE_out, i / heads, i % heads), head,
                   columns);
    }
}

/* x * weight / sqrt(mean(x^2) + eps), in place. */
static void norm_head(float *x, const float *weight, uint32_t count, float eps) {
    v16 sum = v16_zero();
    for (uint32_t i = 0; i < count; i += 16) {
        const v16 s = cpu_get(HY_DTYPE_F32, x, i, count);
        sum = v16_add(sum, v16_mul(s, s));
    }
    const v16 scale = v16_set(1.0f / sqrtf(v16_sum(sum) / (float)count + eps));
    for (uint32_t i = 0; i < count; i += 16) {
        const v16 s = v16_mul(cpu_get(HY_DTYPE_F32, x, i, count), scale);
        cpu_put(HY_DTYPE_F32, x, i, count, v16_mul(s, cpu_get(HY_DTYPE_F32, weight, i, count)));
    }
}

/* Puts one head at `slot` of a cache operand. */
static void store_cache(const cpu_call *call, uint32_t operand, uint32_t slot, uint32_t kv_head,
                        const float *head) {
    const hy_tensor *t = &call->op.operand[operand];
    const uint32_t length = t->dim[2], columns = t->dim[3], index = slot % length;
    char *page = cpu_at(call, operand, slot / length, kv_head);
    if (t->dtype != HY_DTYPE_Q8_0) {
        store_head(t->dtype, page + cpu_bytes(t->dtype, index * t->stride[2]), head, columns);
        return;
    }
    int8_t *q = (int8_t *)page + (uint64_t)index * columns;
    uint16_t *scales = (uint16_t *)(page + (uint64_t)length * columns) + index * (columns / 32);
    for (uint32_t i = 0; i < columns; i += 32) {
        int32_t sum;
        scales[i / 32] = hy_f32_to_f16(vm_a8_quantize(head + i, q + i, &sum));
    }
}

/* Heads of a row: H + H + A. */
static uint32_t heads_of(const cpu_call *call) {
    const hy_tensor *t = call->op.operand;
    return 2 * t[HY_KV_WRITE_k].dim[1] + (call->p[HY_KV_WRITE_q] ? t[HY_KV_WRITE_q].dim[1] : 0);
}

/* What head `head` of a row is read from, and its index there: kv head after kv head, its key, its value, the queries
 * that go with it. So a worker writes what it reads again in attention, and not what another core has to send for. */
static uint32_t source_of(const cpu_call *call, uint32_t head, uint32_t *index) {
    const uint32_t kv_heads = call->op.operand[HY_KV_WRITE_k].dim[1], all = heads_of(call);
    const uint32_t kv_head = ((head + 1) * kv_heads - 1) / all, i = head - all * kv_head / kv_heads;
    *index = i < 2 ? kv_head : head - 2 * (kv_head + 1);
    return i == 0 ? HY_KV_WRITE_k : i == 1 ? HY_KV_WRITE_v : HY_KV_WRITE_q;
}

/* Asks for what write_head will read. */
static void ask_for_head(const cpu_call *call, uint32_t row, uint32_t head) {
    uint32_t index;
    const uint32_t from = source_of(call, head, &index);
    const hy_tensor *t = &call->op.operand[from];
    const char *x = cpu_at(call, from, row, index);
    for (uint64_t b = 0; b < cpu_bytes(t->dtype, t->dim[2]); b += 64)
        __builtin_prefetch(x + b);
}

/* One of T x (H + H + A) heads. */
static void write_head(cpu_call *call, uint32_t row, uint32_t head, float *x) {
    const hy_tensor *t = call->op.operand;
    const hy_kv_write_attr *attr = &call->op.kv_write;
    const int32_t slot = ((const int32_t *)call->p[HY_KV_WRITE_slot])[row];
    uint32_t index;
    const uint32_t from = source_of(call, head, &index), columns = t[from].dim[2];
    const bool is_q = from == HY_KV_WRITE_q, is_v = from == HY_KV_WRITE_v;
    if (!is_q && slot < 0) return;
    load_head(t[from].dtype, cpu_at(call, from, row, index), x, columns);
    if (!is_v) {
        const float *weight = call->p[is_q ? HY_KV_WRITE_q_norm : HY_KV_WRITE_k_norm];
        if (weight) norm_head(x, weight, columns, attr->eps);
        if (call->p[HY_KV_WRITE_table])
            rotate(x, (const float *)cpu_row(call, HY_KV_WRITE_table, row),
                   t[HY_KV_WRITE_table].dim[1] / 2, attr->style);
    }
    if (is_q)
        store_head(t[HY_KV_WRITE_q_out].dtype, cpu_at(call, HY_KV_WRITE_q_out, row, index), x,
                   columns);
    else
        store_cache(call, is_v ? HY_KV_WRITE_v_cache : HY_KV_WRITE_k_cache, (uint32_t)slot, index,
                    x);
}

/* How far ahead heads are asked for: each is a chain of steps, too long for a core to begin with the next. */
enum { HEADS_AHEAD = 6 };

void CPU_NAME(cpu_kv_write)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const uint32_t heads = heads_of(call);
    float *head = cpu_scratch(call, worker);
    uint64_t i, end;
    cpu_share((uint64_t)cpu_rows(call, HY_KV_WRITE_k) * heads, worker, workers, &i, &end);
    for (; i < end; i++) {
        const uint64_t next = i + HEADS_AHEAD;
        if (next < end) ask_for_head(call, (uint32_t)(next / heads), (uint32_t)(next % heads));
        write_head(call, (uint32_t)(i / heads), (uint32_t)(i % heads), head);
    }
}

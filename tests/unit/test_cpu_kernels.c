/* The small kernels of the CPU backend: every ISA and any number of workers give the same bits, and these
 * are within the bound around the float64 oracle of backends/ref. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/ref/ref_backend.h"
#include "base/half.h"
#include "base/num.h"
#include "tests/unit/cpu_task.h"

enum { MISC_T = 5, MISC_TRUE_T = 4 };

static void set_rows(ct_task *k, uint32_t i, hy_dtype dtype, uint32_t columns) {
    ct_set_operand(k, i, dtype, HY_COUNTER_T, 2, MISC_T, columns, 1, 1);
    if (dtype <= HY_DTYPE_BF16) ct_fill(k, i, 0, (size_t)MISC_TRUE_T * columns);
}

static void set_weight(ct_task *k, uint32_t i, uint32_t count) {
    ct_set_operand(k, i, HY_DTYPE_F32, HY_COUNTER_NONE, 1, count, 1, 1, 1);
    ct_fill(k, i, 0, count);
}

static ct_task misc_task(hy_op_kind kind) {
    ct_task k = {.op.kind = kind};
    k.counters[HY_COUNTER_T] = MISC_TRUE_T;
    k.counters[HY_COUNTER_R] = 2;
    return k;
}

/* One norm of many: residual and sum by the bits of `extra`. */
static ct_task make_norm(hy_op_kind kind, hy_dtype dtype, uint32_t columns, uint32_t extra) {
    ct_task k = misc_task(kind);
    const bool rms = kind == HY_OP_RMS_NORM;
    set_rows(&k, 0, dtype, columns);
    if (extra & 1) set_rows(&k, 1, HY_DTYPE_F32, columns);
    if (extra & 2) set_weight(&k, 2, columns);
    if ((extra & 2) && !rms) set_weight(&k, HY_LAYER_NORM_bias, columns);
    if (extra & 4) set_rows(&k, rms ? HY_RMS_NORM_sum : HY_LAYER_NORM_sum, dtype, columns);
    set_rows(&k, rms ? HY_RMS_NORM_out : HY_LAYER_NORM_out,
             extra & 8    ? HY_DTYPE_A8
             : extra & 16 ? HY_DTYPE_F16
                          : HY_DTYPE_F32,
             columns);
    k.op.rms_norm.eps = 1e-5f; /* the first attribute of both */
    for (uint32_t i = 0; !rms && dtype == HY_DTYPE_F32 && i < MISC_TRUE_T * columns; i++)
        ((float *)k.data[0])[i] += 100; /* a mean that would eat the digits */
    return k;
}

static ct_task make_elementwise(hy_op_kind kind, hy_dtype in, hy_dtype out, uint32_t columns,
                                int32_t act) {
    ct_task k = misc_task(kind);
    const bool two = kind == HY_OP_ADD || kind == HY_OP_MUL || kind == HY_OP_GLU;
    set_rows(&k, 0, in, columns);
    if (kind == HY_OP_MUL)
        set_weight(&k, 1, columns);
    else if (two)
        set_rows(&k, 1, HY_DTYPE_F32, columns);
    set_rows(&k, two ? 2 : 1, out, columns);
    if (kind == HY_OP_GLU) k.op.glu.act = act;
    if (kind == HY_OP_UNARY) k.op.unary = (hy_unary_attr){.act = act, .scale = 1.5f, .softcap = 2};
    if (kind == HY_OP_SOFTMAX) k.op.softmax.scale = 0.7f;
    return k;
}

static ct_task make_rope(hy_dtype dtype, uint32_t d, uint32_t g, int32_t style) {
    ct_task k = misc_task(HY_OP_ROPE);
    ct_set_operand(&k, HY_ROPE_x, dtype, HY_COUNTER_T, 3, MISC_T, 3, d, 1);
    ct_fill(&k, HY_ROPE_x, 0, MISC_TRUE_T * 3 * d);
    set_rows(&k, HY_ROPE_table, HY_DTYPE_F32, g);
    ct_set_operand(&k, HY_ROPE_out, dtype, HY_COUNTER_T, 3, MISC_T, 3, d, 1);
    k.op.rope.style = style;
    return k;
}

static ct_task make_kv_write(hy_dtype in, hy_dtype cache, uint32_t d, uint32_t c, bool all) {
    ct_task k = misc_task(HY_OP_KV_WRITE);
    ct_set_operand(&k, HY_KV_WRITE_k, in, HY_COUNTER_T, 3, MISC_T, 2, d, 1);
    ct_set_operand(&k, HY_KV_WRITE_v, in, HY_COUNTER_T, 3, MISC_T, 2, c, 1);
    ct_fill(&k, HY_KV_WRITE_k, 0, MISC_TRUE_T * 2 * d);
    ct_fill(&k, HY_KV_WRITE_v, 0, MISC_TRUE_T * 2 * c);
    ct_set_operand(&k, HY_KV_WRITE_slot, HY_DTYPE_I32, HY_COUNTER_T, 1, MISC_T, 1, 1, 1);
    memcpy(k.data[HY_KV_WRITE_slot], (int32_t[]){63, 64, -1, 150, 7}, MISC_T * 4);
    ct_set_operand(&k, HY_KV_WRITE_k_cache, cache, 0, 4, 3, 2, 64, d);
    ct_set_operand(&k, HY_KV_WRITE_v_cache, cache, 0, 4, 3, 2, 64, c);
    if (all) {
        ct_set_operand(&k, HY_KV_WRITE_q, in, HY_COUNTER_T, 3, MISC_T, 6, d, 1);
        ct_fill(&k, HY_KV_WRITE_q, 0, MISC_TRUE_T * 6 * d);
        ct_set_operand(&k, HY_KV_WRITE_q_out, in, HY_COUNTER_T, 3, MISC_T, 6, d, 1);
        set_rows(&k, HY_KV_WRITE_table, HY_DTYPE_F32, d / 2 * 2);
        set_weight(&k, HY_KV_WRITE_q_norm, d);
        set_weight(&k, HY_KV_WRITE_k_norm, d);
        k.op.kv_write.style = HY_ROPE_HALVES;
        k.op.kv_write.eps = 1e-6f;
    }
    return k;
}

static ct_task make_choice(hy_op_kind kind, hy_dtype dtype, uint32_t columns) {
    ct_task k = misc_task(kind);
    if (kind == HY_OP_TOPK_ROUTE) {
        set_rows(&k, HY_TOPK_ROUTE_logits, HY_DTYPE_F32, columns);
        set_rows(&k, HY_TOPK_ROUTE_ids, HY_DTYPE_I32, 3);
        set_rows(&k, HY_TOPK_ROUTE_weights, HY_DTYPE_F32, 3);
        k.op.topk_route =
            (hy_topk_route_attr){.k = 3, .normalize = (int32_t)columns % 3, .scale = 2.5f};
        if (columns % 2) set_weight(&k, HY_TOPK_ROUTE_bias, columns);
        return k;
    }
    ct_set_operand(&k, 0, dtype, HY_COUNTER_R, 2, 3, columns, 1, 1);
    ct_fill(&k, 0, 0, 2 * columns);
    if (kind == HY_OP_ARGMAX) {
        ct_set_operand(&k, HY_ARGMAX_out, HY_DTYPE_I32, HY_COUNTER_R, 1, 3, 1, 1, 1);
        return k;
    }
    k.op.topk.k = (int32_t)HY_MIN(columns, 40);
    ct_set_operand(&k, HY_TOPK_values, HY_DTYPE_F32, HY_COUNTER_R, 2, 3, HY_MIN(columns, 40), 1, 1);
    ct_set_operand(&k, HY_TOPK_ids, HY_DTYPE_I32, HY_COUNTER_R, 2, 3, HY_MIN(columns, 40), 1, 1);
    return k;
}

/* Elements of an output against the oracle; NaN in `want` means not written. */
static void compare(const ct_task *k, uint32_t i, const double *want, const double *mag) {
    const hy_tensor *t = &k->op.operand[i];
    const size_t count = (size_t)t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
    const double u = t->dtype == HY_DTYPE_F16    ? 0x1p-11
                     : t->dtype == HY_DTYPE_BF16 ? 0x1p-8
                                                 : 0x1p-24;
    for (size_t e = 0; e < count; e++) {
        if (isnan(want[e])) continue;
        const double got =
            t->dtype == HY_DTYPE_I32 ? ((int32_t *)k->data[i])[e] : ct_element(k, i, e);
        const double floor = t->dtype == HY_DTYPE_F16 ? 0x1p-25 : 0; /* subnormal halves */
        if (!(fabs(got - want[e]) <= 8 * 0x1p-24 * mag[e] + u * fabs(want[e]) + floor))
            fail_msg("%s operand %u element %zu: %g, not %g",
                     hy_op_get((hy_op_kind)k->op.kind)->name, i, e, got, want[e]);
    }
}

static void check_oracle(ct_task *k) {
    hy_device *ref;
    assert_int_equal(hy_ref_backend.open(0, &(hy_device_params){.threads = 1}, &ref), HY_OK);
    hy_view views[HY_MAX_OPERANDS] = {{0}};
    hy_buffer *buffers[HY_MAX_OPERANDS] = {0}, *counters;
    for (int i = 0; i < HY_MAX_OPERANDS; i++) {
        if (!k->data[i]) continue;
        assert_int_equal(hy_ref_backend.buffer_import(
                             ref, k->data[i], hy_tensor_bytes(&k->op.operand[i]), &buffers[i]),
                         HY_OK);
        views[i] = hy_view_of(buffers[i]);
    }
    assert_int_equal(hy_ref_backend.buffer_import(ref, k->counters, sizeof k->counters, &counters),
                     HY_OK);
    const hy_op_info *info = hy_op_get((hy_op_kind)k->op.kind);
    for (uint32_t i = 0; i < info->operands; i++) {
        const hy_tensor *t = &k->op.operand[i];
        if (!k->data[i] || !(info->operand[i].role & (HY_ROLE_OUT | HY_ROLE_STATE)) ||
            hy_dtype_get(t->dtype)->quantized)
            continue;
        const size_t count = (size_t)t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        double *want = ct_allocate(count * sizeof *want), *mag = ct_allocate(count * sizeof *mag);
        assert_int_equal(
            hy_ref_backend.oracle(ref, &k->op, views, hy_view_of(counters), i, want, mag), HY_OK);
        compare(k, i, want, mag);
        free(want);
        free(mag);
    }
    for (int i = 0; i < HY_MAX_OPERANDS; i++)
        hy_buffer_free(buffers[i]);
    hy_buffer_free(counters);
    hy_device_close(ref);
}

/* Runs on every ISA with 1 and 3 workers: the same bits everywhere, and those of the oracle. */
static void check_misc(ct_task k) {
    const hy_op_info *info = hy_op_get((hy_op_kind)k.op.kind);
    void *first[HY_MAX_OPERANDS] = {0};
    for (size_t isa = 0; isa < HY_COUNT_OF(ct_isas); isa++) {
        if (!ct_machine_has(ct_isas[isa])) continue;
        for (uint32_t threads = 1; threads <= 3; threads += 2) {
            for (uint32_t i = 0; i < info->operands; i++) {
                if (k.data[i] && (info->operand[i].role & (HY_ROLE_OUT | HY_ROLE_STATE)))
                    memset(k.data[i], 0xff, hy_tensor_bytes(&k.op.operand[i]));
            }
            ct_run(ct_isas[isa], threads, &k);
            for (uint32_t i = 0; i < info->operands; i++) {
                if (!k.data[i] || !(info->operand[i].role & (HY_ROLE_OUT | HY_ROLE_STATE)))
                    continue;
                const uint64_t bytes = hy_tensor_bytes(&k.op.operand[i]);
                if (!first[i]) {
                    first[i] = ct_allocate(bytes);
                    memcpy(first[i], k.data[i], bytes);
                }
                if (memcmp(first[i], k.data[i], bytes) != 0)
                    fail_msg("%s: %s with %u workers gives other bits", info->name, ct_isas[isa],
                             threads);
            }
        }
    }
    check_oracle(&k);
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        free(first[i]);
    ct_free_task(&k);
}

/* An a8 output is the float32 output quantized by hal/dtype.h. */
static void check_a8(ct_task a8, uint32_t out) {
    ct_task plain = a8;
    const uint32_t columns = a8.op.operand[out].dim[1];
    set_rows(&plain, out, HY_DTYPE_F32, columns);
    hy_a8_block *want = ct_allocate(columns / 32 * sizeof *want);
    for (size_t isa = 0; isa < HY_COUNT_OF(ct_isas); isa++) {
        if (!ct_machine_has(ct_isas[isa])) continue;
        ct_run(ct_isas[isa], 2, &plain);
        memset(a8.data[out], 0xff, hy_tensor_bytes(&a8.op.operand[out]));
        ct_run(ct_isas[isa], 2, &a8);
        for (uint32_t t = 0; t < MISC_TRUE_T; t++) {
            const size_t bytes = columns / 32 * sizeof *want;
            hy_quantize_row(HY_DTYPE_A8, (float *)plain.data[out] + (size_t)t * columns, want,
                            columns);
            assert_memory_equal(want, (uint8_t *)a8.data[out] + t * bytes, bytes);
        }
    }
    free(want);
    free(plain.data[out]);
    ct_free_task(&a8);
}

static void test_norms(void **state) {
    (void)state;
    static const uint32_t columns[] = {1, 15, 64, 1030};
    for (uint32_t n = 0; n < HY_COUNT_OF(columns); n++) {
        for (uint32_t dtype = HY_DTYPE_F32; dtype <= HY_DTYPE_BF16; dtype++) {
            for (uint32_t extra = 0; extra < 32; extra++) {
                if (extra & 8) continue;
                check_misc(make_norm(HY_OP_RMS_NORM, (hy_dtype)dtype, columns[n], extra));
                check_misc(make_norm(HY_OP_LAYER_NORM, (hy_dtype)dtype, columns[n], extra));
            }
        }
    }
    check_a8(make_norm(HY_OP_RMS_NORM, HY_DTYPE_F32, 1056, 15), HY_RMS_NORM_out);
    check_a8(make_norm(HY_OP_LAYER_NORM, HY_DTYPE_BF16, 32, 11), HY_LAYER_NORM_out);
}

static void test_elementwise(void **state) {
    (void)state;
    static const hy_op_kind kinds[] = {HY_OP_ADD, HY_OP_MUL, HY_OP_SOFTMAX, HY_OP_CAST};
    static const uint32_t columns[] = {1, 31, 512, 1100};
    for (uint32_t n = 0; n < HY_COUNT_OF(columns); n++) {
        for (uint32_t in = HY_DTYPE_F32; in <= HY_DTYPE_BF16; in++) {
            for (uint32_t out = HY_DTYPE_F32; out <= HY_DTYPE_BF16; out++) {
                for (size_t i = 0; i < HY_COUNT_OF(kinds); i++)
                    check_misc(
                        make_elementwise(kinds[i], (hy_dtype)in, (hy_dtype)out, columns[n], 0));
            }
        }
        for (int32_t act = 0; act < HY_ACT_COUNT; act++) {
            check_misc(make_elementwise(HY_OP_UNARY, HY_DTYPE_F32, HY_DTYPE_F32, columns[n], act));
            check_misc(make_elementwise(HY_OP_GLU, HY_DTYPE_F16, HY_DTYPE_F32, columns[n], act));
        }
    }
    check_a8(make_elementwise(HY_OP_GLU, HY_DTYPE_F32, HY_DTYPE_A8, 1088, HY_ACT_SILU), HY_GLU_out);
    for (uint32_t in = HY_DTYPE_F32; in <= HY_DTYPE_BF16; in++) {
        ct_task k = make_elementwise(HY_OP_QUANTIZE_ROWS, (hy_dtype)in, HY_DTYPE_A8, 608, 0);
        ct_run(NULL, 3, &k);
        float row[608];
        hy_a8_block want[608 / 32];
        for (uint32_t t = 0; t < MISC_TRUE_T; t++) {
            for (uint32_t i = 0; i < 608; i++)
                row[i] = (float)ct_element(&k, 0, t * 608 + i);
            hy_quantize_row(HY_DTYPE_A8, row, want, 608);
            assert_memory_equal(want, (uint8_t *)k.data[1] + t * sizeof want, sizeof want);
        }
        ct_free_task(&k);
    }
}

static void test_rope(void **state) {
    (void)state;
    for (uint32_t dtype = HY_DTYPE_F32; dtype <= HY_DTYPE_BF16; dtype++) {
        for (int32_t style = 0; style < 2; style++) {
            check_misc(make_rope((hy_dtype)dtype, 128, 128, style));
            check_misc(make_rope((hy_dtype)dtype, 70, 22, style));
        }
    }
    ct_task k = misc_task(HY_OP_ROPE_TABLE);
    ct_set_operand(&k, HY_ROPE_TABLE_pos, HY_DTYPE_I32, HY_COUNTER_T, 1, MISC_T, 1, 1, 1);
    memcpy(k.data[0], (int32_t[]){0, 1, 131071, 1000000, 5}, MISC_T * 4);
    ct_set_operand(&k, HY_ROPE_TABLE_freq, HY_DTYPE_F32, 0, 2, 19, 2, 1, 1);
    for (int j = 0; j < 19; j++) {
        const double f = pow(10000, -j / 19.0);
        ((float *)k.data[1])[2 * j] = (float)f;
        ((float *)k.data[1])[2 * j + 1] = (float)(f - (float)f);
    }
    set_rows(&k, HY_ROPE_TABLE_out, HY_DTYPE_F32, 38);
    k.op.rope_table.magnitude = 1.25f;
    check_misc(k);
}

/* The quantized cache against its definition, in double but for the float32 that it names. */
static void check_q8_cache(const ct_task *k) {
    const uint32_t d = k->op.operand[HY_KV_WRITE_v].dim[2];
    for (uint32_t t = 0; t < MISC_TRUE_T; t++) {
        const int32_t slot = ((int32_t *)k->data[HY_KV_WRITE_slot])[t];
        for (uint32_t i = 0; slot >= 0 && i < 2 * d; i++) {
            const uint32_t head = i / d, block = i % d / 32;
            float largest = 0;
            for (uint32_t j = 0; j < 32; j++)
                largest =
                    fmaxf(largest, fabsf((float)ct_element(k, HY_KV_WRITE_v,
                                                           (t * 2 + head) * d + block * 32 + j)));
            const float scale = largest / 127;
            const uint8_t *page = (uint8_t *)k->data[HY_KV_WRITE_v_cache] +
                                  ((size_t)slot / 64 * 2 + head) * 64 * d / 32 * 34;
            const float x = (float)ct_element(k, HY_KV_WRITE_v, t * 2 * d + i);
            assert_int_equal((int8_t)page[(size_t)slot % 64 * d + i % d], (int)rintf(x / scale));
            const uint16_t *scales = (const uint16_t *)(page + (size_t)64 * d);
            assert_int_equal(scales[(size_t)slot % 64 * d / 32 + block], hy_f32_to_f16(scale));
        }
    }
    /* slot 65 was never written, nor its scales */
    const uint8_t *page = (uint8_t *)k->data[HY_KV_WRITE_v_cache] + (size_t)2 * 64 * d / 32 * 34;
    for (uint32_t i = 0; i < d; i++)
        assert_int_equal(page[d + i], 0xff);
    assert_int_equal(page[64 * d + d / 32 * 2], 0xff);
}

static void test_kv_write(void **state) {
    (void)state;
    for (uint32_t in = HY_DTYPE_F32; in <= HY_DTYPE_BF16; in++) {
        for (uint32_t cache = HY_DTYPE_F32; cache <= HY_DTYPE_BF16; cache++) {
            check_misc(make_kv_write((hy_dtype)in, (hy_dtype)cache, 64, 32, true));
            check_misc(make_kv_write((hy_dtype)in, (hy_dtype)cache, 17, 5, false));
        }
        for (size_t isa = 0; isa < HY_COUNT_OF(ct_isas); isa++) {
            if (!ct_machine_has(ct_isas[isa])) continue;
            ct_task k = make_kv_write((hy_dtype)in, HY_DTYPE_Q8_0, 64, 96, in == HY_DTYPE_F32);
            ct_run(ct_isas[isa], 2, &k);
            check_q8_cache(&k);
            ct_free_task(&k);
        }
    }
}

static void test_choices(void **state) {
    (void)state;
    static const uint32_t columns[] = {3, 8, 127, 1000};
    for (uint32_t n = 0; n < HY_COUNT_OF(columns); n++) {
        for (uint32_t dtype = HY_DTYPE_F32; dtype <= HY_DTYPE_BF16; dtype++) {
            check_misc(make_choice(HY_OP_ARGMAX, (hy_dtype)dtype, columns[n]));
            check_misc(make_choice(HY_OP_TOPK, (hy_dtype)dtype, columns[n]));
        }
        for (int32_t gate = 0; gate < 3; gate++) {
            ct_task k = make_choice(HY_OP_TOPK_ROUTE, HY_DTYPE_F32, columns[n]);
            k.op.topk_route.gate = gate;
            if (gate == HY_GATE_NONE && k.op.topk_route.normalize == 1)
                k.op.topk_route.normalize = 2;
            check_misc(k);
        }
    }
    ct_task k = make_choice(HY_OP_ARGMAX, HY_DTYPE_F32, 200); /* NaN, ties, and nothing but NaN */
    float *x = k.data[0];
    for (int i = 0; i < 200; i++) {
        x[i] = i % 3 ? NAN : i == 90 || i == 150 ? 7.0f : -INFINITY;
        x[200 + i] = i == 17 || i == 18 ? -INFINITY : NAN;
    }
    ct_run(NULL, 1, &k);
    assert_int_equal(((int32_t *)k.data[1])[0], 90);
    assert_int_equal(((int32_t *)k.data[1])[1], 17);
    ct_free_task(&k);
}

static void test_rows(void **state) {
    (void)state;
    ct_task k = misc_task(HY_OP_GATHER_ROWS);
    ct_set_operand(&k, HY_GATHER_ROWS_x, HY_DTYPE_F16, HY_COUNTER_T, 2, MISC_T, 77, 1, 1);
    ct_fill(&k, HY_GATHER_ROWS_x, 0, MISC_TRUE_T * 77);
    ct_set_operand(&k, HY_GATHER_ROWS_rows, HY_DTYPE_I32, HY_COUNTER_R, 1, 3, 1, 1, 1);
    memcpy(k.data[HY_GATHER_ROWS_rows], (int32_t[]){3, 0, 99}, 12);
    ct_set_operand(&k, HY_GATHER_ROWS_out, HY_DTYPE_F32, HY_COUNTER_R, 2, 3, 77, 1, 1);
    check_misc(k);
    k = misc_task(HY_OP_COMBINE);
    ct_set_operand(&k, HY_COMBINE_x, HY_DTYPE_BF16, HY_COUNTER_T, 3, MISC_T, 3, 600, 1);
    ct_fill(&k, HY_COMBINE_x, 0, MISC_TRUE_T * 3 * 600);
    set_rows(&k, HY_COMBINE_weights, HY_DTYPE_F32, 3);
    set_rows(&k, HY_COMBINE_residual, HY_DTYPE_F16, 600);
    set_rows(&k, HY_COMBINE_out, HY_DTYPE_F32, 600);
    check_misc(k);
    /* copy of the transposed outer dims: x[j, i, :] of a [3, T, 9] block */
    k = misc_task(HY_OP_COPY);
    ct_set_operand(&k, HY_COPY_x, HY_DTYPE_I32, HY_COUNTER_T, 3, MISC_T, 3, 9, 1);
    ct_set_operand(&k, HY_COPY_out, HY_DTYPE_I32, HY_COUNTER_T, 3, MISC_T, 3, 9, 1);
    k.op.operand[HY_COPY_x].stride[0] = 9;
    k.op.operand[HY_COPY_x].stride[1] = 9 * MISC_T;
    for (int i = 0; i < MISC_T * 3 * 9; i++)
        ((int32_t *)k.data[0])[i] = i;
    ct_run(NULL, 2, &k);
    for (int i = 0; i < MISC_T * 3 * 9; i++) {
        const int t = i / 27, j = i / 9 % 3;
        assert_int_equal(((int32_t *)k.data[1])[i],
                         t < MISC_TRUE_T ? (j * MISC_T + t) * 9 + i % 9 : -1);
    }
    ct_free_task(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),   cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_rope),    cmocka_unit_test(test_kv_write),
        cmocka_unit_test(test_choices), cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

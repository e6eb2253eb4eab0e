/* backends/cpu/elementwise.c: add, mul, unary, glu, cast, combine, quantize_rows. Work is split by pieces
 * of rows, so that one long row keeps several workers busy. */
#include "backends/cpu/kernel.h"
#include "backends/cpu/misc.h"

typedef struct piece {
    uint64_t row;
    uint32_t begin, count; /* elements of the row */
} piece;

/* A worker's pieces of `rows` rows of `columns`: numbers [*next, *end). */
CPU_INLINE uint32_t pieces_a_row(uint32_t columns) {
    return (columns + CPU_CHUNK - 1) / CPU_CHUNK;
}

CPU_INLINE piece piece_at(uint64_t number, uint32_t columns) {
    const uint32_t each = pieces_a_row(columns);
    piece p = {number / each, (uint32_t)(number % each) * CPU_CHUNK, 0};
    p.count = HY_MIN(columns - p.begin, CPU_CHUNK);
    return p;
}

/* Row `row` of operand `i` from element `begin` on. */
CPU_INLINE char *piece_of(const cpu_call *call, uint32_t i, piece p) {
    return cpu_row(call, i, p.row) + cpu_bytes(call->op.operand[i].dtype, p.begin);
}

#define FOR_PIECES(call, operand, columns)                                                         \
    uint64_t number, end;                                                                          \
    cpu_share(cpu_flat_rows(call, operand) * pieces_a_row(columns), worker, workers, &number,      \
              &end);                                                                               \
    for (; number < end; number++)

/* add and mul have the same operands. */
static void binary(cpu_call *call, uint32_t worker, uint32_t workers, bool product) {
    const hy_tensor *t = call->op.operand;
    const uint32_t columns = cpu_columns(&t[HY_ADD_a]);
    const bool one_row = t[HY_ADD_b].rank < t[HY_ADD_a].rank;
    FOR_PIECES(call, HY_ADD_a, columns) {
        const piece p = piece_at(number, columns), q = {one_row ? 0 : p.row, p.begin, p.count};
        const char *a = piece_of(call, HY_ADD_a, p), *b = piece_of(call, HY_ADD_b, q);
        char *out = piece_of(call, HY_ADD_out, p);
        for (uint32_t i = 0; i < p.count; i += 16) {
            const v16 x = cpu_get(t[HY_ADD_a].dtype, a, i, p.count);
            const v16 y = cpu_get(t[HY_ADD_b].dtype, b, i, p.count);
            cpu_put(t[HY_ADD_out].dtype, out, i, p.count, product ? v16_mul(x, y) : v16_add(x, y));
        }
    }
}

void CPU_NAME(cpu_add)(cpu_call *call, uint32_t worker, uint32_t workers) {
    binary(call, worker, workers, false);
}

void CPU_NAME(cpu_mul)(cpu_call *call, uint32_t worker, uint32_t workers) {
    binary(call, worker, workers, true);
}

/* Elements of a piece as float32. */
CPU_INLINE void load_piece(uint32_t dtype, const void *x, uint32_t count, float *to) {
    for (uint32_t i = 0; i < count; i += 16)
        cpu_put(HY_DTYPE_F32, to, i, count, cpu_get(dtype, x, i, count));
}

CPU_INLINE void store_piece(uint32_t dtype, void *out, uint32_t count, const float *from) {
    for (uint32_t i = 0; i < count; i += 16)
        cpu_put(dtype, out, i, count, cpu_get(HY_DTYPE_F32, from, i, count));
}

void CPU_NAME(cpu_unary)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const hy_unary_attr *attr = &call->op.unary;
    const uint32_t columns = cpu_columns(&t[HY_UNARY_x]);
    const float scale = attr->scale == 0 ? 1.0f : attr->scale;
    float y[CPU_CHUNK];
    FOR_PIECES(call, HY_UNARY_x, columns) {
        const piece p = piece_at(number, columns);
        load_piece(t[HY_UNARY_x].dtype, piece_of(call, HY_UNARY_x, p), p.count, y);
        vm_act_row(y, (int)p.count, attr->act);
        for (uint32_t i = 0; i < p.count; i++)
            y[i] *= scale;
        for (uint32_t i = 0; attr->softcap > 0 && i < p.count; i++)
            y[i] = vm_softcap(y[i], attr->softcap);
        store_piece(t[HY_UNARY_out].dtype, piece_of(call, HY_UNARY_out, p), p.count, y);
    }
}

void CPU_NAME(cpu_glu)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const uint32_t columns = cpu_columns(&t[HY_GLU_gate]), dtype = t[HY_GLU_out].dtype;
    float y[CPU_CHUNK];
    FOR_PIECES(call, HY_GLU_gate, columns) {
        const piece p = piece_at(number, columns);
        const char *up = piece_of(call, HY_GLU_up, p);
        load_piece(t[HY_GLU_gate].dtype, piece_of(call, HY_GLU_gate, p), p.count, y);
        vm_act_row(y, (int)p.count, call->op.glu.act);
        for (uint32_t i = 0; i < p.count; i += 16) {
            const v16 u = cpu_get(t[HY_GLU_up].dtype, up, i, p.count);
            cpu_put(HY_DTYPE_F32, y, i, p.count, v16_mul(cpu_get(HY_DTYPE_F32, y, i, p.count), u));
        }
        if (dtype == HY_DTYPE_A8)
            cpu_quantize_a8(y, piece_of(call, HY_GLU_out, p), p.count);
        else
            store_piece(dtype, piece_of(call, HY_GLU_out, p), p.count, y);
    }
}

void CPU_NAME(cpu_cast)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const uint32_t columns = cpu_columns(&t[HY_CAST_x]);
    FOR_PIECES(call, HY_CAST_x, columns) {
        const piece p = piece_at(number, columns);
        const char *x = piece_of(call, HY_CAST_x, p);
        char *out = piece_of(call, HY_CAST_out, p);
        for (uint32_t i = 0; i < p.count; i += 16)
            cpu_put(t[HY_CAST_out].dtype, out, i, p.count,
                    cpu_get(t[HY_CAST_x].dtype, x, i, p.count));
    }
}

void CPU_NAME(cpu_quantize_rows)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand;
    const uint32_t columns = cpu_columns(&t[HY_QUANTIZE_ROWS_x]);
    const uint32_t dtype = t[HY_QUANTIZE_ROWS_x].dtype;
    float buffer[CPU_CHUNK];
    FOR_PIECES(call, HY_QUANTIZE_ROWS_x, columns) {
        const piece p = piece_at(number, columns);
        const char *x = piece_of(call, HY_QUANTIZE_ROWS_x, p);
        const float *from = (const float *)x;
        if (dtype != HY_DTYPE_F32) {
            load_piece(dtype, x, p.count, buffer);
            from = buffer;
        }
        cpu_quantize_a8(from, piece_of(call, HY_QUANTIZE_ROWS_out, p), p.count);
    }
}

void CPU_NAME(cpu_combine)(cpu_call *call, uint32_t worker, uint32_t workers) {
    const hy_tensor *t = call->op.operand, *x = &t[HY_COMBINE_x];
    const uint32_t columns = x->dim[2], experts = x->dim[1];
    FOR_PIECES(call, HY_COMBINE_out, columns) {
        const piece p = piece_at(number, columns);
        const float *weights = (const float *)cpu_row(call, HY_COMBINE_weights, p.row);
        const char *from = cpu_at(call, HY_COMBINE_x, p.row, 0) + cpu_bytes(x->dtype, p.begin);
        const uint64_t step = cpu_bytes(x->dtype, x->stride[1]);
        char *out = piece_of(call, HY_COMBINE_out, p);
        for (uint32_t i = 0; i < p.count; i += 16) {
            v16 sum = v16_zero();
            if (call->p[HY_COMBINE_residual])
                sum = cpu_get(t[HY_COMBINE_residual].dtype, piece_of(call, HY_COMBINE_residual, p),
                              i, p.count);
            for (uint32_t e = 0; e < experts; e++)
                sum = v16_add(sum, v16_mul(v16_set(weights[e]),
                                           cpu_get(x->dtype, from + e * step, i, p.count)));
            cpu_put(t[HY_COMBINE_out].dtype, out, i, p.count, sum);
        }
    }
}

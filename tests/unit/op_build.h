/* tests/unit/op_build.h: small valid ops of every kind, for the tests of hal and of backends. */
#ifndef HY_TEST_OP_BUILD_H
#define HY_TEST_OP_BUILD_H

#include <string.h>

#include "hal/ops.h"

/* Extents by letter of op.def; T, S and R get their counters. */
static inline uint32_t op_extent(hy_op_kind kind, char letter) {
    switch (letter) {
    case 'T':
        return 3;
    case 'S':
        return 2;
    case 'R':
        return 2;
    case 'A':
        return 4;
    case 'H':
        return 2;
    case 'P':
        return 2;
    case 'Q':
        return 1;
    case 'B':
        return 5;
    case 'L':
        return 4;
    case 'F':
        return 4;
    case 'G':
        return 8;
    case 'N':
        return 6;
    case 'M':
        return 6;
    case 'E':
        return 5;
    case 'V':
        return 7;
    case '2':
        return 2;
    default: /* K, D, C */
        return kind == HY_OP_ADD || kind == HY_OP_MUL ? 8 : 32;
    }
}

static inline hy_dtype op_first_dtype(const char *list) {
    if (list[0] == 'f' || list[0] == 'w') {
        if (list[1] == 0 || list[1] == '|') return HY_DTYPE_F32;
    }
    return hy_dtype_by_name(list);
}

static inline hy_tensor op_tensor(hy_op_kind kind, const char *dtypes, const char *shape) {
    uint32_t dim[HY_MAX_RANK], rank = 0;
    hy_counter counter = HY_COUNTER_NONE;
    if (shape[0] == '*' || shape[0] == 'T') counter = HY_COUNTER_T;
    if (shape[0] == 'S') counter = HY_COUNTER_S;
    if (shape[0] == 'R') counter = HY_COUNTER_R;
    for (const char *s = shape; *s; s++) {
        if (*s == '*') dim[rank++] = op_extent(kind, 'T');
        if (*s == '*' || *s == '?' || *s == ',') continue;
        dim[rank++] = op_extent(kind, *s);
    }
    return hy_tensor_of(op_first_dtype(dtypes), rank, dim, counter);
}

/* Every operand present, dtypes the first of each list. */
static inline hy_op op_sample(hy_op_kind kind) {
    const hy_op_info *info = hy_op_get(kind);
    hy_op op;
    memset(&op, 0, sizeof op);
    op.kind = kind;
    for (uint32_t i = 0; i < info->operands; i++)
        op.operand[i] = op_tensor(kind, info->operand[i].dtypes, info->operand[i].shape);
    if (kind == HY_OP_TOPK_ROUTE) op.topk_route.k = 2;
    if (kind == HY_OP_TOPK) op.topk.k = 2;
    if (kind == HY_OP_ATTENTION) op.attention.scale = 0.25f;
    return op;
}

#endif
